"""The command line as a user calls it, for tests."""

from __future__ import annotations

import json
from typing import Any

from typer.testing import CliRunner, Result

from seekbench.cli.app import app


def call(*args: object) -> Result:
    return CliRunner().invoke(app, [str(arg) for arg in args], terminal_width=160)


def ok(*args: object) -> str:
    """What a command that ends well prints."""
    result = call(*args)
    assert result.exit_code == 0, result.output
    return result.stdout


def refused(*args: object) -> str:
    """What a command that refuses its input says."""
    result = call(*args)
    assert result.exit_code == 2, result.output
    return result.stderr


def as_json(*args: object) -> Any:
    return json.loads(ok(*args, "--json"))
