"""Progress of long work: one small protocol, shown with rich, as plain lines, as JSON events, or not at all.

Work reports `with progress.stage("encode corpus", total=5183, unit="docs") as stage: stage.advance(n)`.
Who shows it, and how, is decided once by the command line; the engine never prints.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any, Protocol


class Stage(Protocol):
    def advance(self, n: int = 1) -> None: ...


class Progress(Protocol):
    def stage(self, name: str, *, total: int | None = None, unit: str = "", done: int = 0) -> Any:
        """A context manager that yields a Stage; `done` units were there already (a continued run)."""

    def note(self, message: str, **facts: object) -> None:
        """One line that stays visible."""


class _Silent:
    def advance(self, n: int = 1) -> None:
        return


class NoProgress:
    """Shows nothing; the default of the Python API."""

    @contextmanager
    def stage(self, name: str, *, total: int | None = None, unit: str = "", done: int = 0) -> Iterator[Stage]:
        yield _Silent()

    def note(self, message: str, **facts: object) -> None:
        return


class Labelled:
    """Puts `label: ` before the names of stages: whose work it is."""

    def __init__(self, inner: Progress, label: str) -> None:
        self.inner, self.label = inner, label

    def stage(self, name: str, *, total: int | None = None, unit: str = "", done: int = 0) -> Any:
        return self.inner.stage(f"{self.label}: {name}", total=total, unit=unit, done=done)

    def note(self, message: str, **facts: object) -> None:
        self.inner.note(f"{self.label}: {message}", **facts)


class _Timed:
    """Counts, and calls `show` at most every `every` seconds and at the end."""

    def __init__(self, name: str, total: int | None, unit: str, done: int, every: float) -> None:
        self.name, self.total, self.unit, self.every = name, total, unit, every
        self.done = self.first = done
        self.start = self.last = time.monotonic()

    def advance(self, n: int = 1) -> None:
        self.done += n
        now = time.monotonic()
        if now - self.last >= self.every:
            self.last = now
            self.show(final=False)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.start

    @property
    def rate(self) -> float:
        return (self.done - self.first) / max(self.seconds, 1e-9)

    @property
    def eta(self) -> float | None:
        if self.total is None or self.rate <= 0:
            return None
        return max(0.0, (self.total - self.done) / self.rate)

    def show(self, *, final: bool) -> None:
        raise NotImplementedError


class _PlainStage(_Timed):
    out: IO[str]

    def show(self, *, final: bool) -> None:
        count = f"{self.done:,}" if self.total is None else f"{self.done:,}/{self.total:,}"
        tail = f"done in {self.seconds:.1f} s" if final else f"ETA {_clock(self.eta)}"
        print(
            f"{self.name}: {count} {self.unit}, {self.rate:,.0f} {self.unit or 'steps'}/s, {tail}",
            file=self.out,
            flush=True,
        )


class PlainProgress:
    """Plain lines for logs and pipes: one every few seconds, one at the end of a stage."""

    def __init__(self, out: IO[str] | None = None, every: float = 15.0) -> None:
        self.out, self.every = out or sys.stderr, every

    @contextmanager
    def stage(self, name: str, *, total: int | None = None, unit: str = "", done: int = 0) -> Iterator[Stage]:
        stage = _PlainStage(name, total, unit, done, self.every)
        stage.out = self.out
        yield stage
        stage.show(final=True)

    def note(self, message: str, **facts: object) -> None:
        print(message, file=self.out, flush=True)


class _JsonStage(_Timed):
    progress: JsonProgress

    def show(self, *, final: bool) -> None:
        self.progress.emit(
            "end" if final else "progress",
            stage=self.name,
            done=self.done,
            total=self.total,
            unit=self.unit,
            rate=round(self.rate, 3),
            eta_s=None if self.eta is None else round(self.eta, 1),
            seconds=round(self.seconds, 3),
        )


class JsonProgress:
    """One JSON object a line, for machines: {"event": "start"|"progress"|"end"|"note", ...}."""

    def __init__(self, out: IO[str] | None = None, every: float = 1.0) -> None:
        self.out, self.every = out or sys.stderr, every

    def emit(self, event: str, **facts: object) -> None:
        print(json.dumps({"event": event, "time": round(time.time(), 3), **facts}), file=self.out, flush=True)

    @contextmanager
    def stage(self, name: str, *, total: int | None = None, unit: str = "", done: int = 0) -> Iterator[Stage]:
        self.emit("start", stage=name, total=total, unit=unit, done=done)
        stage = _JsonStage(name, total, unit, done, self.every)
        stage.progress = self
        yield stage
        stage.show(final=True)

    def note(self, message: str, **facts: object) -> None:
        self.emit("note", message=message, **facts)


class RichProgress:
    """Bars with rate and ETA on a terminal; a finished stage leaves one line."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

        self.console = Console(stderr=True)
        self._bars = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[count]} {task.fields[unit]}"),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            console=self.console,
            transient=True,
        )
        self._depth = 0

    @contextmanager
    def stage(self, name: str, *, total: int | None = None, unit: str = "", done: int = 0) -> Iterator[Stage]:
        if self._depth == 0:
            self._bars.start()
        self._depth += 1
        stage = _RichStage(name, total, unit, done, 0.1)
        stage.attach(self._bars)
        try:
            yield stage
            stage.finish(self.console)
        finally:
            self._bars.remove_task(stage.task)
            self._depth -= 1
            if self._depth == 0:
                self._bars.stop()

    def note(self, message: str, **facts: object) -> None:
        self.console.print(message, markup=False, highlight=False)


class _RichStage(_Timed):
    def attach(self, bars: Any) -> None:
        self.bars = bars
        self.task = bars.add_task(
            self.name, total=self.total, completed=self.done, unit=self.unit, count="", rate=""
        )

    def show(self, *, final: bool) -> None:
        count = f"{self.done:,}" if self.total is None else f"{self.done:,}/{self.total:,}"
        self.bars.update(self.task, completed=self.done, count=count, rate=f"{self.rate:,.0f}/s")

    def finish(self, console: Any) -> None:
        console.print(
            f"  {self.name}: {self.done:,} {self.unit} in {self.seconds:.1f} s ({self.rate:,.0f}/s)",
            style="dim",
            markup=False,
            highlight=False,
        )


def _clock(seconds: float | None) -> str:
    if seconds is None:
        return "?"
    minutes, s = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{s:02d}" if hours else f"{minutes}:{s:02d}"
