"""BEIR's folder: corpus.jsonl, queries.jsonl and qrels/<split>.tsv, each also .gz, .zst or .parquet; and, where queries
have candidates of their own, top_ranked.jsonl with `query-id` and `corpus-ids`, as MTEB's re-ranking tasks have it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from seekbench.datasets.formats import qrels
from seekbench.datasets.formats.records import ID_KEYS, Reader, rows
from seekbench.datasets.source import file_name
from seekbench.errors import InputError, Report
from seekbench.progress import Progress, Stage

if TYPE_CHECKING:
    from seekbench.datasets.builder import Builder

_TEXTS = (".jsonl", ".jsonl.gz", ".jsonl.zst", ".parquet")
_QRELS = (".tsv", ".tsv.gz", ".tsv.zst", ".parquet", ".jsonl", ".jsonl.gz", ".jsonl.zst")
#: Rows between two calls of a progress stage.
_STEP = 512

MODULES = (
    "seekbench.datasets.formats.beir",
    "seekbench.datasets.formats.qrels",
    "seekbench.datasets.formats.records",
    "seekbench.datasets.formats.lines",
)


class Beir:
    """A folder in BEIR's layout. All splits of qrels/ are read."""

    modules: ClassVar[tuple[str, ...]] = MODULES

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def subject(self) -> str:
        return str(self.folder)

    def files(self) -> Sequence[Path]:
        corpus, queries, splits = self._parts
        return [corpus, queries, *splits.values(), *self._top_ranked]

    def identity(self, *, offline: bool = False) -> Mapping[str, Any]:
        return {"format": "beir", "files": [file_name(p, self.folder) for p in self.files()]}

    def read(self, builder: Builder, *, progress: Progress, offline: bool = False) -> None:
        corpus, queries, splits = self._parts
        read_texts(corpus, builder, progress, kind="documents")
        read_texts(queries, builder, progress, kind="queries")
        for split, path in splits.items():
            read_qrels(path, split, builder)
        for path in self._top_ranked:
            read_candidates(path, builder, progress)

    @property
    def _top_ranked(self) -> list[Path]:
        report = Report()
        found = [p for p in (self.folder / f"top_ranked{e}" for e in _TEXTS) if p.is_file()]
        if len(found) > 1:
            _ambiguous(found, report)
        report.raise_if_errors()
        return found

    def splits(self) -> list[str]:
        """Names of the splits, as far as they can be told from the files' names."""
        return sorted(self._splits(Report()))

    @cached_property
    def _parts(self) -> tuple[Path, Path, dict[str, Path]]:
        report = Report()
        if not self.folder.is_dir():
            raise InputError("there is no such folder", where=self.subject)
        corpus = self._one("corpus", report)
        queries = self._one("queries", report)
        splits = self._splits(report)
        report.raise_if_errors()
        assert corpus is not None  # or there would be an error
        assert queries is not None
        return corpus, queries, splits

    def _one(self, stem: str, report: Report) -> Path | None:
        found = [p for p in (self.folder / f"{stem}{e}" for e in _TEXTS) if p.is_file()]
        if len(found) == 1:
            return found[0]
        if found:
            _ambiguous(found, report)
        else:
            near = sorted(p.name for p in self.folder.glob(f"{stem}*")) if self.folder.is_dir() else []
            report.error(
                "missing-file",
                f"there is no {stem}.jsonl (nor .jsonl.gz, .jsonl.zst, .parquet)",
                where=self.subject,
                remedy=f"found {', '.join(near)}"
                if near
                else "a BEIR folder has corpus.jsonl, queries.jsonl, qrels/*.tsv",
            )
        return None

    def _splits(self, report: Report) -> dict[str, Path]:
        folder = self.folder / "qrels"
        splits: dict[str, list[Path]] = {}
        for path in sorted(folder.iterdir()) if folder.is_dir() else []:
            ending = next((e for e in sorted(_QRELS, key=len, reverse=True) if path.name.endswith(e)), None)
            if path.is_file() and ending and not path.name.startswith("."):
                splits.setdefault(path.name.removesuffix(ending), []).append(path)
        if not splits:
            report.error(
                "missing-file",
                "there are no judgments: no qrels/*.tsv (nor .tsv.gz, .tsv.zst, .parquet)",
                where=self.subject,
                remedy="add e.g. qrels/test.tsv",
            )
        for paths in splits.values():
            if len(paths) > 1:
                _ambiguous(paths, report)
        return {name: splits[name][0] for name in sorted(splits)}


def _ambiguous(paths: list[Path], report: Report) -> None:
    report.error(
        "ambiguous-files",
        f"there are {' and '.join(p.name for p in paths)}",
        where=str(paths[0].parent),
        remedy="keep one of them; they may differ",
    )


def read_texts(path: Path, builder: Builder, progress: Progress, *, kind: str, lenient: bool = False) -> None:
    """Reads one file of documents or queries."""
    reader = Reader(builder, str(path), id_keys=ID_KEYS[:2] if lenient else ("_id",), lenient=lenient)
    take = reader.document if kind == "documents" else reader.query
    with progress.stage(f"read {kind}", unit="docs" if kind == "documents" else "queries") as stage:
        feed(rows(path, builder.report), take, stage)


def read_candidates(path: Path, builder: Builder, progress: Progress) -> None:
    """Reads one file of candidates of queries."""
    with progress.stage("read candidates", unit="queries") as stage:
        feed(rows(path, builder.report), Reader(builder, str(path)).candidates, stage)


def feed(found: Any, take: Callable[[int, dict[str, Any]], None], stage: Stage) -> None:
    """Hands rows on, telling the progress every few hundred."""
    count = 0
    for line, row in found:
        take(line, row)
        count += 1
        if count == _STEP:
            stage.advance(count)
            count = 0
    stage.advance(count)


def read_qrels(path: Path, split: str, builder: Builder, *, lenient: bool = False) -> None:
    """Reads one file of judgments, by its ending."""
    before = builder.report.errors
    if ".tsv" in path.suffixes:
        count = qrels.read_beir(path, split, builder)
    elif ".csv" in path.suffixes:
        count = qrels.read_beir(path, split, builder, separator=",")
    else:
        reader = Reader(builder, str(path), lenient=lenient)
        count = 0
        for line, row in rows(path, builder.report):
            reader.judgment(split, line, row)
            count += 1
    if not count and builder.report.errors == before:
        builder.report.warning(
            "no-judgments-in-file",
            "the file holds no judgment",
            where=str(path),
            remedy=f"remove it, or fill the split '{split}'",
        )
