"""`pydocs`: collections made from the standard library of the running interpreter.

They need no download, so they are what a fresh installation is tried on. Files are parsed, never imported:
nothing of the library runs, and optional parts (tkinter, curses) do not have to work here.

A query is the first sentence of a public docstring. What it is to find is the variant's:

- `code`: the source of the function or method without its docstring, as in CodeSearchNet (`code`).
- `prose`: what the docstring says below that sentence (`prose`).

The qualified name is a column, `title`, but not part of what retrievers should be given (`{text}`): a
sentence often holds words of the name, and the text alone is the task. What was decided besides stands in
`collection` and in the variants' modules.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from seekbench.datasets.formats.pydocs import code, prose
from seekbench.datasets.formats.pydocs.collection import Extraction, collect
from seekbench.datasets.formats.pydocs.library import identity, interpreter, library_files, standard_library
from seekbench.errors import InputError
from seekbench.progress import Progress

if TYPE_CHECKING:
    from seekbench.datasets.builder import Builder

Variant = Literal["code", "prose"]


def extract(
    stdlib: Path, variant: Variant = "code", on_file: Callable[[], object] = lambda: None
) -> Extraction:
    """The whole collection of a library folder (see `collection.collect`)."""
    if variant == "prose":
        return collect(stdlib, prose.descriptions, prose.COUNTED, unsaid=True, on_file=on_file)
    return collect(stdlib, code.functions, on_file=on_file)


class PyDocs:
    """The source `pydocs`, in one of its variants.

    limit: a smaller collection of that many documents (see Extraction.limited). stdlib: another folder than
    the running interpreter's library. `counts` is filled by `read`.
    """

    modules: ClassVar[tuple[str, ...]] = (
        "seekbench.datasets.formats.pydocs",
        *(
            f"seekbench.datasets.formats.pydocs.{name}"
            for name in ("library", "docstrings", "collection", "code", "prose")
        ),
    )

    def __init__(
        self, limit: int | None = None, *, variant: Variant = "code", stdlib: Path | None = None
    ) -> None:
        if limit is not None and limit < 1:
            raise InputError(f"limit must be at least 1, not {limit}")
        self.limit = limit
        self.variant = variant
        self.stdlib = stdlib
        self.counts: dict[str, int] = {}

    @property
    def subject(self) -> str:
        return "pydocs" if self.variant == "code" else f"pydocs-{self.variant}"

    @property
    def folder(self) -> None:
        return None

    def files(self) -> Sequence[Path]:
        """None: `identity` holds the hash of all, which is quicker than several hundred keys of files."""
        return ()

    def identity(self, *, offline: bool = False) -> Mapping[str, Any]:
        return {"variant": self.variant, **identity(self._folder()), "limit": self.limit}

    def read(self, builder: Builder, *, progress: Progress, offline: bool = False) -> None:
        stdlib = self._folder()
        with progress.stage("parse", total=len(library_files(stdlib)), unit="files") as stage:
            extraction = extract(stdlib, self.variant, stage.advance)
        if self.limit is not None:
            extraction = extraction.limited(self.limit)
        self.counts = counts = extraction.counts
        places = {}
        for d in extraction.documents:
            places[d.id] = d.path, d.line
            metadata = {"path": d.path, "line": d.line, "aliases": list(d.aliases) or None}
            builder.document(d.id, d.title, d.text, metadata, where=d.path, line=d.line)
        for query in extraction.queries:
            where, line = places[query.relevant[0]]
            builder.query(query.id, query.text, where=where, line=line)
        for split, query_id, document_id, grade in extraction.judgments:
            where, line = places[document_id]
            builder.judgment(split, query_id, document_id, grade, where=where, line=line)
        skipped = counts["files_unreadable"] + counts["files_not_parsed"]
        progress.note(
            f"{counts['documents']:,} documents and {counts['queries']:,} queries from "
            f"{counts['files']:,} files of {interpreter()}"
            + (f", {skipped:,} files left out" if skipped else ""),
            **counts,
        )

    def _folder(self) -> Path:
        return standard_library() if self.stdlib is None else self.stdlib
