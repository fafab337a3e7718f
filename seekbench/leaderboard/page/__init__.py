"""The leaderboard as a folder of web pages that opens from disk: no server, no request to anywhere else.

`write` makes the folder; `boards` the tables, `overview`, `system` and `dataset` what the pages of `templates/` show,
`queries` the data of single queries, which the scripts of `static/` load when they are looked at.
"""
