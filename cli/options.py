"""Options that several commands have, as types of their parameters."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ConfigName = Annotated[
    str, typer.Argument(help="A run config: a path, or the name of a shipped one (`seekbench ls configs`).")
]
Json = Annotated[
    bool, typer.Option("--json", help="Progress and result as JSON events on stdout, one a line.")
]
Offline = Annotated[
    bool, typer.Option("--offline", help="Never touch the network.", envvar="SEEKBENCH_OFFLINE")
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")]
Threads = Annotated[int | None, typer.Option(min=1, help="Threads.  [default: all cores]")]
Store = Annotated[
    Path | None,
    typer.Option(help="Folder of cached artifacts.  [default: $SEEKBENCH_HOME or ~/.cache/seekbench]"),
]
TrustRemoteCode = Annotated[
    bool, typer.Option("--trust-remote-code", help="Let checkpoints run their own Python code.")
]
