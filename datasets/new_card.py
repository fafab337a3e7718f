"""A card from a folder: what can be counted and guessed is, and the rest is marked."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from seekbench import archives, hashing
from seekbench.datasets.folder import open_collection
from seekbench.datasets.load import build
from seekbench.datasets.resolve import resolve
from seekbench.datasets.source import file_name
from seekbench.datasets.statistics import main_language
from seekbench.errors import Report
from seekbench.progress import Progress

#: Marks what only the user knows.
TODO = "TODO"


def of_folder(
    folder: Path, base: Path, *, id: str | None, title: str | None, progress: Progress
) -> tuple[str, list[str]]:
    """(the card, notes) of a collection. base: the card's own folder, which its path is relative to.

    Raises InputError with every defect of the collection.
    """
    import yaml

    wanted = resolve({"path": folder}, any_split=True)
    report = Report()
    with tempfile.TemporaryDirectory(prefix="seekbench-new-") as place:
        facts = build(wanted.source, Path(place), report, progress=progress)
        collection = open_collection(Path(place))
        language = main_language(collection.corpus)
        titled = "title" in collection.corpus.columns
    splits = sorted(facts["splits"])
    card = {
        "id": id or wanted.id,
        "title": title or f"{TODO}: one line that says what it is",
        "source": {
            "format": "folder",
            "path": os.path.relpath(folder.resolve(), base),
            "layout": "auto" if archives.is_archive(folder) else str(wanted.source.identity()["format"]),
            "checksums": {
                file_name(path, wanted.source.folder): hashing.of_file(path) for path in wanted.source.files()
            },
        },
        "splits": splits,
        "default_split": "test" if "test" in splits else splits[0],
        "languages": [language or "en"],
        "task": "retrieval",
        "main_metric": "ndcg@10",
        "template": "{title} {text}" if titled else "{text}",
        "expected": {
            "documents": facts["documents"],
            "queries": {name: facts["splits"][name]["queries"] for name in splits},
        },
        "licence": f"{TODO}: who may use it for what",
        "citation": f"{TODO}: what to cite",
        "verified": "offline",
    }
    notes = report.lines("warning")
    if language is None:
        notes.append("no language shows in the texts: the card says en, which decides how bm25 reads them")
    return yaml.safe_dump(card, sort_keys=False, allow_unicode=True, width=110), notes
