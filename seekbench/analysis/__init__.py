"""What lies behind a figure: two rankings compared, one query looked at, the queries a system fails on, and smaller
collections and sets of tasks that rank systems as the whole ones do."""
