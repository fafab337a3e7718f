"""What goes wrong because of the user's input, and how it is said: file, line, what, what to do.

A `Problem` is one defect. A `Report` collects all of them, so that a user repairs a file once and not once
a defect. `InputError` carries a report out to the command line, which prints it and exits with 2; no module
below the command line prints or exits.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

Severity = Literal["error", "warning"]


@dataclass(frozen=True)
class Problem:
    """One defect of something that the user gave.

    code: a stable short name, such as `duplicate-id` (tests and machine output rely on it).
    where: the file or the config, as the user wrote it; line: 1-based, None where a line makes no sense.
    """

    code: str
    message: str
    where: str = ""
    line: int | None = None
    remedy: str = ""
    severity: Severity = "error"

    def __str__(self) -> str:
        place = self.where if self.line is None else f"{self.where}:{self.line}"
        text = f"{place}: {self.message}" if place else self.message
        return f"{text} ({self.remedy})" if self.remedy else text


@dataclass
class Report:
    """Collects problems; keeps `shown` full ones of each code and file, and counts the rest.

    called: folders -> what the user calls them (the archive that a folder was unpacked from)."""

    shown: int = 10
    called: dict[str, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    counts: Counter[tuple[str, str, Severity]] = field(default_factory=Counter)

    def add(
        self,
        code: str,
        message: str,
        *,
        where: str = "",
        line: int | None = None,
        remedy: str = "",
        severity: Severity = "error",
    ) -> None:
        for folder, name in self.called.items():
            if where.startswith(folder):
                where = name + where.removeprefix(folder)
        key = (code, where, severity)
        self.counts[key] += 1
        if self.counts[key] <= self.shown:
            self.problems.append(Problem(code, message, where, line, remedy, severity))

    def error(
        self, code: str, message: str, *, where: str = "", line: int | None = None, remedy: str = ""
    ) -> None:
        self.add(code, message, where=where, line=line, remedy=remedy)

    def warning(
        self, code: str, message: str, *, where: str = "", line: int | None = None, remedy: str = ""
    ) -> None:
        self.add(code, message, where=where, line=line, remedy=remedy, severity="warning")

    def extend(self, other: Report) -> None:
        """Takes over the problems of another report."""
        self.problems += other.problems
        self.counts.update(other.counts)

    @property
    def errors(self) -> int:
        return sum(n for (_, _, severity), n in self.counts.items() if severity == "error")

    @property
    def warnings(self) -> int:
        return sum(n for (_, _, severity), n in self.counts.items() if severity == "warning")

    def lines(self, severity: Severity | None = None) -> list[str]:
        """One line a problem, in the order found, and a line for each code whose rest was cut."""
        chosen = [p for p in self.problems if severity in (None, p.severity)]
        out = [f"{p.severity}: {p}" for p in chosen]
        for (code, where, kind), n in self.counts.items():
            if n > self.shown and severity in (None, kind):
                out.append(f"{kind}: {where}: {n - self.shown} more like this [{code}]")
        return out

    def raise_if_errors(self) -> None:
        if self.errors:
            raise InputError(report=self)


class SeekbenchError(Exception):
    """Base of all errors that a user can act on; its text is one line."""


class InputError(SeekbenchError):
    """The user's input is wrong (exit code 2). `report` holds every problem that was found."""

    def __init__(
        self,
        message: str = "",
        *,
        where: str = "",
        line: int | None = None,
        remedy: str = "",
        report: Report | None = None,
    ) -> None:
        if report is None:
            report = Report()
            report.error("input", message, where=where, line=line, remedy=remedy)
        self.report = report
        super().__init__("; ".join(str(p) for p in report.problems if p.severity == "error"))


class MissingError(SeekbenchError):
    """Something that the user named needs a download or a package that cannot be had now."""


def did_you_mean(name: str, known: Iterable[str], *, most: int = 3) -> str:
    """`did you mean 'x'?`, or the known names where none is near and they are few, else ''."""
    names: Sequence[str] = sorted(set(known))
    lowered = {n.lower(): n for n in names}
    near = [lowered[m] for m in difflib.get_close_matches(name.lower(), list(lowered), n=most, cutoff=0.6)]
    if near:
        return "did you mean " + " or ".join(f"'{n}'" for n in near) + "?"
    if 0 < len(names) <= 30:
        return "known: " + ", ".join(names)
    return ""
