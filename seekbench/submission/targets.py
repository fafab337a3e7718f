"""The boards: a name -> what it is, and `module:function` of its exporter, imported when it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING

from seekbench.errors import InputError, Report, did_you_mean

if TYPE_CHECKING:
    from seekbench.submission.bundle import Bundle


@dataclass(frozen=True)
class File:
    """path: relative, with `/`. blocks: makes the content, piece by piece, when it is written."""

    path: str
    blocks: Callable[[], Iterator[bytes]]


@dataclass(frozen=True)
class Row:
    """A line of the summary. figure: the board's own, e.g. `ndcg_at_10`; known: the same of a known result."""

    dataset: str
    file: str
    queries: int
    depth: int
    figure: str = ""
    score: float | None = None
    known: float | None = None


@dataclass
class Submission:
    """files, in the order written; next_steps: what the user does then, a line each."""

    files: list[File] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    next_steps: list[str] = field(default_factory=list)


#: Exporters take the bundle and a report; what a board would reject goes to the report as an error.
Exporter = Callable[["Bundle", Report], Submission]

TARGETS: Mapping[str, tuple[str, str]] = {
    "mteb": ("MTEB's results repository", "seekbench.submission.mteb:export"),
    "beir": ("TREC runs of 1,000 hits and BEIR's figures", "seekbench.submission.beir:export"),
    "air-bench": ("AIR-Bench's search results", "seekbench.submission.air_bench:export"),
    "trec": ("run files for a TREC track", "seekbench.submission.trec:export"),
    "ir-metadata": ("runs with ir_metadata 0.1 beside them", "seekbench.submission.ir_metadata:export"),
}


def resolve(name: str) -> Exporter:
    """The exporter of a board. Raises InputError for an unknown one."""
    if name not in TARGETS:
        raise InputError(f"there is no target '{name}'", remedy=did_you_mean(name, TARGETS))
    module, function = TARGETS[name][1].split(":")
    found: Exporter = getattr(import_module(module), function)
    return found
