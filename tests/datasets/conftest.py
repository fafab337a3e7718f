"""A small good collection, written in any of the forms that the readers take."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

DOCUMENTS: list[dict[str, Any]] = [
    {"_id": "d1", "title": "First", "text": "one text", "metadata": {"year": 2001}},
    {"_id": "d2", "title": "", "text": "another text\nof two lines"},
    {"_id": "d10", "title": "Third", "text": "with ümlauts and 漢字"},
]
QUERIES: list[dict[str, Any]] = [
    {"_id": "q1", "text": "which is one"},
    {"_id": "q2", "text": "which is other"},
]
JUDGMENTS = [("q1", "d1", 2), ("q2", "d2", 1), ("q2", "d10", 0)]
HEADER = "query-id\tcorpus-id\tscore\n"


def as_jsonl(rows: Sequence[Any]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def as_tsv(judgments: Sequence[tuple[str, str, Any]], header: str = HEADER) -> bytes:
    return (header + "".join(f"{q}\t{d}\t{g}\n" for q, d, g in judgments)).encode()


def write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".gz":
        data = gzip.compress(data)
    elif path.suffix == ".zst":
        data = zstandard.compress(data)
    path.write_bytes(data)


@pytest.fixture
def make_beir(tmp_path: Path) -> Callable[..., Path]:
    """make(corpus=..., queries=..., test=...) -> folder; each part as rows, or as the file's bytes."""

    def make(
        corpus: Sequence[Any] | bytes = DOCUMENTS,
        queries: Sequence[Any] | bytes = QUERIES,
        test: Sequence[tuple[str, str, Any]] | bytes = JUDGMENTS,
        *,
        ending: str = "",
        name: str = "collection",
        **splits: Sequence[tuple[str, str, Any]] | bytes,
    ) -> Path:
        folder = tmp_path / name
        for stem, rows in (("corpus", corpus), ("queries", queries)):
            if ending == ".parquet":
                assert not isinstance(rows, bytes)
                folder.mkdir(exist_ok=True)
                pq.write_table(pa.Table.from_pylist(list(rows)), folder / f"{stem}.parquet")
            else:
                write(folder / f"{stem}.jsonl{ending}", rows if isinstance(rows, bytes) else as_jsonl(rows))
        for split, judged in {"test": test, **splits}.items():
            if ending == ".parquet":
                table = pa.Table.from_pylist(
                    [{"query-id": q, "corpus-id": d, "score": g} for q, d, g in judged]  # type: ignore[misc]
                )
                (folder / "qrels").mkdir(exist_ok=True)
                pq.write_table(table, folder / "qrels" / f"{split}.parquet")
            else:
                data = judged if isinstance(judged, bytes) else as_tsv(judged)
                write(folder / "qrels" / f"{split}.tsv{ending}", data)
        return folder

    return make
