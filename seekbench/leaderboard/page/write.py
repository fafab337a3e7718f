"""Writes the folder of pages: index.html, systems/, datasets/, data/ (scripts of single queries), assets/."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

import seekbench
from seekbench.errors import InputError
from seekbench.leaderboard.board import ALPHA, Key, Leaderboard
from seekbench.leaderboard.columns import label
from seekbench.leaderboard.page import details, libraries, overview, queries
from seekbench.leaderboard.page.links import file_names
from seekbench.leaderboard.page.scripts import data_script, json_text
from seekbench.store import write_atomic

_HERE = Path(__file__).parent
#: By this line of its first page a folder is known to be one of ours, whose files may be replaced.
_MARK = '<meta name="generator" content="seekbench'
_FOLDERS = ("systems", "datasets", "data", "assets")
#: Documents up to which a collection's texts are measured.
_MOST_MEASURED = 1_000_000


@dataclass(frozen=True)
class Written:
    """bytes: without assets. without_texts: dataset -> why its pages have no texts."""

    index: Path
    pages: int
    bytes: int
    without_texts: dict[str, str]


def check_folder(folder: Path) -> None:
    """Raises InputError for a folder that holds anything but a page that was written before."""
    if folder.exists() and not folder.is_dir():
        raise InputError("this is a file", where=str(folder), remedy="name a folder")
    if not folder.is_dir() or not any(folder.iterdir()):
        return
    try:
        ours = _MARK in (folder / "index.html").read_text(encoding="utf-8", errors="replace")[:4000]
    except OSError:
        ours = False
    if not ours:
        raise InputError(
            "the folder holds other files, and is left as it is",
            where=str(folder),
            remedy="name a new or empty folder, or one of an earlier page",
        )


def write(
    folder: Path,
    boards: Sequence[Leaderboard],
    *,
    title: str = "Leaderboard",
    texts: bool = True,
    most: int = 50,
) -> Written:
    """boards: of the same results, a metric each; the first is shown first. texts: with texts of queries and documents,
    where the datasets are found. most: queries of a dataset whose documents are shown.

    Raises InputError for a folder with other files, MissingError where a library's script is not found.
    """
    check_folder(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name in _FOLDERS:
        shutil.rmtree(folder / name, ignore_errors=True)
    try:
        return _Writer(folder, boards, title, texts, most).write()
    except BaseException:
        # Half a page would be taken for somebody's other files the next time.
        for name in _FOLDERS:
            shutil.rmtree(folder / name, ignore_errors=True)
        raise


class _Writer:
    def __init__(
        self, folder: Path, boards: Sequence[Leaderboard], title: str, texts: bool, most: int
    ) -> None:
        self.folder, self.boards, self.title, self.texts, self.most = folder, boards, title, texts, most
        board = boards[0]
        there = {(d, s) for d, s, _ in board.place}
        self.keys = [key for column in board.columns for key in column.keys if key in there]
        self.systems = file_names(row.system for row in board.rows)
        by_label = file_names(label(key) for key in self.keys)
        self.datasets = {key: by_label[label(key)] for key in self.keys}
        self.metrics = file_names(b.metric for b in boards)
        self.written = self.pages = 0
        self.environment = Environment(
            loader=FileSystemLoader(_HERE / "templates"), autoescape=True, undefined=StrictUndefined,
            trim_blocks=True, lstrip_blocks=True,
        )  # fmt: skip
        dates = [r.get("recorded_at") or "" for _, r in board.place.values()]
        self.shared = {
            "version": seekbench.__version__,
            "title": title,
            "newest": max(dates, default="")[:10],
            "alpha": f"{ALPHA:g}",
            "baseline": board.baseline,
            "json": json_text,
        }

    def write(self) -> Written:
        self._assets()
        without = self._datasets()
        self._systems()
        self._index()
        return Written(self.folder / "index.html", self.pages, self.written, without)

    def _put(self, path: str, data: bytes) -> None:
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(file, data)
        self.written += len(data)

    def _page(self, path: str, template: str, **context: Any) -> None:
        root = "../" * path.count("/")
        text = self.environment.get_template(template).render(root=root, **self.shared, **context)
        self._put(path, text.encode())
        self.pages += 1

    def _assets(self) -> None:
        folder = self.folder / "assets"
        folder.mkdir()
        for file in sorted((_HERE / "static").iterdir()):
            shutil.copyfile(file, folder / file.name)
        (folder / "datatables.js").write_text(libraries.datatables(), encoding="utf-8")
        (folder / "plotly.js").write_bytes(libraries.plotly())
        (folder / "LICENSES.txt").write_text(libraries.licences(), encoding="utf-8")

    def _index(self) -> None:
        systems = {name: f"systems/{file}.html" for name, file in self.systems.items()}
        datasets = {key: f"datasets/{file}.html" for key, file in self.datasets.items()}
        template = self.environment.get_template("board.html")
        shown = None
        for board in self.boards:
            table = overview.table_of(board, system_links=systems, dataset_links=datasets)
            points = overview.points_of(board)
            if shown is None:
                shown = (table, points)
                continue
            value = {"html": template.render(table=table, **self.shared), "plot": points}
            name = f"tables/{self.metrics[board.metric]}"
            self._put(f"data/{name}.js", data_script(name, value))
        assert shown is not None
        board = self.boards[0]
        self._page(
            "index.html", "index.html", table=shown[0],
            about={
                "metrics": [{"name": b.metric, "file": self.metrics[b.metric]} for b in self.boards],
                "plot": shown[1],
            },
            families=sorted({row.family for row in board.rows}),
            languages=sorted({code for column in board.columns for code in column.languages}),
            datasets=[self._listed(key, datasets[key]) for key in self.keys],
            suite=board.suite,
        )  # fmt: skip

    def _listed(self, key: Key, link: str) -> dict[str, Any]:
        """A line of the list of datasets."""
        facts = details.first_record(self.boards[0], key)["dataset"]
        column = next(c for c in self.boards[0].columns if key in c.keys)
        return {
            "name": label(key),
            "link": link,
            "counts": [facts.get(name) for name in ("documents", "queries", "judgments")],
            "language": facts.get("language"),
            "kind": column.kind,
        }

    def _systems(self) -> None:
        links = {key: f"../datasets/{file}.html" for key, file in self.datasets.items()}
        for row in self.boards[0].rows:
            self._page(
                f"systems/{self.systems[row.system]}.html", "system.html",
                page=details.system_page(self.boards, row, texts=self.texts), links=links, texts=self.texts,
                metrics=[b.metric for b in self.boards],
            )  # fmt: skip

    def _datasets(self) -> dict[str, str]:
        """Why texts are missing, by dataset."""
        systems = {name: f"../systems/{file}.html" for name, file in self.systems.items()}
        without = {}
        names = [row.system for row in self.boards[0].rows]
        for key, file in self.datasets.items():
            column = next(j for j, c in enumerate(self.boards[0].columns) if key in c.keys)
            metrics = list(dict.fromkeys(b.columns[column].metric for b in self.boards))
            data = queries.of_dataset(self.boards[0].place, key, names, metrics, most=self.most)
            files = file_names(data.scores) if data else {}
            if data is not None:
                if data.without:
                    without[label(key)] = data.without
                asked = queries.queries_json(data, texts=self.texts)
                self._put(f"data/{file}/queries.js", data_script(f"{file}/queries", asked))
                for metric, name in files.items():
                    value = queries.scores_json(data, metric)
                    self._put(f"data/{file}/scores-{name}.js", data_script(f"{file}/scores-{name}", value))
                if data.chosen:
                    found = queries.documents_json(data, texts=self.texts)
                    self._put(f"data/{file}/documents.js", data_script(f"{file}/documents", found))
            about = {
                "file": file,
                "metrics": [
                    {"name": m, "file": f"scores-{n}", "lower": self._is_lower(column, m)}
                    for m, n in files.items()
                ],
                "systems": [{"name": s, "link": systems[s]} for s in data.systems] if data else [],
                "chosen": sorted(data.chosen) if data else [],
                "texts": bool(self.texts and data and data.collection is not None),
                "hits": queries.HITS,
            }
            self._page(
                f"datasets/{file}.html", "dataset.html", page=details.dataset_page(self.boards, key), about=about,
                links=systems, statistics=self._statistics(data, key), texts=self.texts,
                without=data.without if data else "", queries=len(data.ids) if data else 0,
                characters=queries.DOCUMENT_CHARACTERS, relevant=queries.RELEVANT,
            )  # fmt: skip
        return without

    def _is_lower(self, column: int, metric: str) -> bool:
        return next(b.columns[column].lower for b in self.boards if b.columns[column].metric == metric)

    @staticmethod
    def _statistics(data: queries.QueryData | None, key: Key) -> dict[str, Any]:
        """Of documents, queries and judgments; {} where the collection is not here, or so large that reading all of
        its texts takes minutes."""
        from seekbench.datasets.statistics import statistics

        if data is None or data.collection is None or len(data.collection.corpus) > _MOST_MEASURED:
            return {}
        found = statistics(data.collection)
        return {
            "documents": found["documents"],
            "queries of all splits": found["queries"],
            "judgments": found["splits"].get(key[1], {}),
        }
