"""Results as boards take them: files in their layouts, and a pre-flight check of what their reviewers would reject.

Nothing is sent anywhere. `targets` lists the boards, one module each; `bundle` gathers the records of one system,
`metadata` reads what records can't know, `preflight` checks what holds for every board.
"""
