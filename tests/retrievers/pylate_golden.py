"""Writes pylate_golden.json: what PyLate computes on the checkpoints of `tiny_multi_vector`.

PyLate pins other versions of sentence-transformers and transformers than this project, so it runs in an environment of
its own, over checkpoints that this project's environment wrote:

    python -m tests.retrievers.pylate_golden make FOLDER           (here)
    PYLATE_PYTHON tests/retrievers/pylate_golden.py encode FOLDER  (where PyLate is installed)
"""

from __future__ import annotations

import json
import sys
from pathlib import Path


def make(folder: Path) -> None:
    from tests.retrievers import test_multi_vector_encode as test

    for layout in test.LAYOUTS:
        if layout.startswith("pylate") or layout == "colbert":
            test.made(folder / layout, layout)
    texts = {"query": test.QUERIES, "document": test.DOCUMENTS}
    (folder / "texts.json").write_text(json.dumps(texts))


def encode(folder: Path) -> None:
    import numpy as np
    import pylate
    from pylate import models, scores

    texts = json.loads((folder / "texts.json").read_text())
    out: dict[str, object] = {"version": pylate.__version__}
    for place in sorted(p for p in folder.iterdir() if p.is_dir()):
        model = models.ColBERT(str(place / "checkpoint"), device="cpu")
        found = {}
        entry: dict[str, object] = {}
        for side in ("query", "document"):
            parts = model.encode(texts[side], is_query=side == "query", show_progress_bar=False)
            found[side] = parts
            entry[side] = {
                "lengths": [len(part) for part in parts],
                "sums": [np.round(part.astype(np.float64).sum(axis=0), 6).tolist() for part in parts],
                "fourth": np.round(parts[3].astype(np.float64), 6).tolist(),
            }
        table = [
            [float(scores.colbert_scores(q[None], d[None])[0, 0]) for d in found["document"]]
            for q in found["query"]
        ]
        entry["scores"] = np.round(table, 6).tolist()
        out[place.name] = entry
    Path(__file__).with_name("pylate_golden.json").write_text(json.dumps(out))


if __name__ == "__main__":
    {"make": make, "encode": encode}[sys.argv[1]](Path(sys.argv[2]))
