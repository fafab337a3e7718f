from seekbench.cli import common
@common.handled
def select_tasks() -> None:
    return
