"""What commands share: exit codes, how errors are printed, and finding configs."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import typer

from seekbench.errors import InputError, MissingError, Report, SeekbenchError, did_you_mean

OK, FAILED, WRONG_INPUT, INTERRUPTED = 0, 1, 2, 130

F = TypeVar("F", bound=Callable[..., Any])


def handled(function: F) -> F:
    """Turns errors into lines on stderr and exit codes: 2 wrong input, 1 failed, 130 interrupted.

    SEEKBENCH_TRACEBACK=1 shows Python's traceback as well.
    """

    @functools.wraps(function)
    def inner(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except KeyboardInterrupt:
            typer.echo("interrupted; run the same command again to continue", err=True)
            raise typer.Exit(INTERRUPTED) from None
        except (SeekbenchError, OSError) as error:
            if isinstance(error, BrokenPipeError):
                raise
            if os.environ.get("SEEKBENCH_TRACEBACK"):
                raise
            if isinstance(error, InputError):
                print_report(error.report)
                raise typer.Exit(WRONG_INPUT) from None
            typer.echo(f"error: {_said(error)}", err=True)
            raise typer.Exit(WRONG_INPUT if isinstance(error, MissingError) else FAILED) from None

    return inner  # type: ignore[return-value]


def _said(error: SeekbenchError | OSError) -> str:
    """One line; for the system's errors with the file, and what to do about a full disk."""
    import errno

    if not isinstance(error, OSError):
        return str(error)
    place = f"{error.filename}: " if error.filename else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT) or "No space left" in str(error):
        return f"{place}the disk is full; make room and run the same command again, it continues"
    return f"{place}{error.strerror or error}"


def make_writable(folder: Path, option: str) -> None:
    """Makes a folder and tries it, so that a wrong place is said before any work. Raises InputError."""
    import tempfile

    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(
            f"can't write to {folder}: {error.strerror or error}",
            where=option,
            remedy="choose another folder",
        ) from None


def print_report(report: Report) -> None:
    """All problems, one line each, errors last so that they stand above the prompt."""
    for line in [*report.lines("warning"), *report.lines("error")]:
        typer.echo(line, err=True)
    if report.errors > 1:
        typer.echo(f"{report.errors} errors", err=True)


def shipped_configs() -> Iterator[tuple[str, Path]]:
    """(name, path) of the configs that come with the package, e.g. `quickstart`."""
    import seekbench

    root = Path(seekbench.__file__).parent / "configs"
    for path in sorted(root.rglob("*.yaml")):
        yield path.relative_to(root).with_suffix("").as_posix(), path


def find_config(name: str) -> tuple[Path, str]:
    """(path, name to show) of a config given by path or by the name of a shipped one."""
    path = Path(name)
    if path.is_file():
        return path, name
    shipped = dict(shipped_configs())
    bare = name.removesuffix(".yaml").removesuffix(".yml")
    if bare in shipped:
        return shipped[bare], f"{bare} (shipped)" if bare == name else name
    if path.is_dir():
        raise InputError("this is a folder, not a config", where=name, remedy="name a .yaml file")
    near = [str(p) for p in sorted(path.parent.glob("*.y*ml"))] if path.parent.is_dir() else []
    raise InputError(f"no config '{name}'", remedy=did_you_mean(name, [*near, *shipped]))


def is_terminal() -> bool:
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


def size_text(count: float) -> str:
    """Bytes as 1.5 GB."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
