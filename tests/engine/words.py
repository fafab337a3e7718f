"""A retriever for tests of the runner: counts common words; slow, failing or interrupted on demand.

Run as a script it is the `seekbench` command with the type `words` registered, for tests that kill it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from seekbench.errors import SeekbenchError
from seekbench.retrievers import registry
from seekbench.retrievers.protocol import Context, Params, TextView
from seekbench.runs import Run

CALLS: list[str] = []


class WordsParams(Params):
    lower: bool = True
    weight: float = 1.0
    sleep: float = 0.0
    fail: str = ""


class Words:
    Params: ClassVar[type[Params]] = WordsParams
    index_params = frozenset({"lower"})
    search_params = frozenset({"weight", "fail"})
    modules = ("seekbench.runs",)
    needs = ()
    indexes = True

    def __init__(self, params: WordsParams) -> None:
        self.params = params

    def identity(self, *, context: Context) -> Mapping[str, Any]:
        return {"version": 1}

    def index(self, documents: TextView, folder: Path, *, context: Context) -> Mapping[str, Any]:
        CALLS.append("index")
        if self.params.fail == "index":
            raise SeekbenchError("asked to fail")
        with context.progress.stage("index", total=len(documents), unit="docs") as stage:
            for start, texts in documents.blocks(20):
                shard = folder / f"shard-{start}.txt"
                if not shard.exists():
                    time.sleep(self.params.sleep)
                    part = shard.with_suffix(".part")
                    part.write_text("\n".join(" ".join(t.split()) for t in texts))
                    part.rename(shard)
                stage.advance(len(texts))
        return {"bytes": sum(f.stat().st_size for f in folder.iterdir()), "documents": len(documents)}

    def open(self, folder: Path | None, documents: TextView, *, context: Context) -> WordsSearcher:
        assert folder is not None
        shards = sorted(folder.glob("shard-*.txt"), key=lambda p: int(p.stem.split("-")[1]))
        lines = [line for shard in shards for line in shard.read_text().split("\n")]
        return WordsSearcher(self, lines, documents.order)

    def describe(self, *, context: Context) -> Mapping[str, Any]:
        return {"kind": "word overlap"}

    def render(self, texts: list[str], side: str, *, context: Context) -> list[str]:
        return texts


class WordsSearcher:
    def __init__(self, owner: Words, lines: list[str], order: Any) -> None:
        self.owner, self.order = owner, order
        self.sets = [set(self._words(line)) for line in lines]

    def _words(self, text: str) -> list[str]:
        return (text.lower() if self.owner.params.lower else text).split()

    def search(self, queries: TextView, k: int, *, context: Context) -> Run:
        if len(queries) > 1:
            CALLS.append("search")
            time.sleep(self.owner.params.sleep)
        if self.owner.params.fail == "search":
            raise ValueError("broken inside")
        scores = np.array(
            [[len(s & set(self._words(q))) for s in self.sets] for q in queries.texts()], dtype=np.float32
        )
        rows = np.broadcast_to(np.arange(len(self.sets)), scores.shape)
        return Run.ranked(rows, scores * np.float32(self.owner.params.weight), self.order).cut(k)

    def close(self) -> None:
        return


def register() -> None:
    registry.BUILTIN["words"] = (f"{__name__}:Words", "for tests")
    registry.known.cache_clear()


if __name__ == "__main__":
    import sys

    sys.path.insert(0, str(Path(__file__).parent))
    import words

    words.register()
    from seekbench import search

    search.BLOCK_HITS = 200  # several blocks of queries even in a small collection
    from seekbench.cli.app import main

    main()
