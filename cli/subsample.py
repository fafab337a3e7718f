from seekbench.cli import common
@common.handled
def subsample() -> None:
    return
