"""AIR-Bench: `<retriever>/<reranker>/<task type>/<domain>/<language>_<dataset>_<split>.json` with all hits."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from typing import Any

from seekbench.errors import Report
from seekbench.submission import preflight
from seekbench.submission.bundle import Bundle, Cell
from seekbench.submission.run_lines import cut
from seekbench.submission.targets import File, Row, Submission

DEPTH = 1000


def export(bundle: Bundle, report: Report) -> Submission:
    out = Submission()
    board = bundle.metadata.air_bench
    model = board.model_name or (bundle.metadata.model.name or bundle.system).rsplit("/", 1)[-1]
    depth = bundle.options.depth or DEPTH
    taken: dict[str, Cell] = {}
    for cell in bundle.cells:
        place = bundle.metadata.entry(cell.dataset).air_bench
        if place is None:
            report.error(
                "no-place",
                "where it stands in AIR-Bench, its record does not tell",
                where=cell.label,
                remedy=f"datasets.{cell.dataset}.air_bench: {{task_type, domain, language, dataset_name, split}} in "
                "the file of --meta",
            )
            continue
        if place.split != cell.split:
            report.error(
                "split", f"the results are of {cell.split}, datasets.{cell.dataset}.air_bench says {place.split}",
                where=cell.label, remedy="say the split that was searched",
            )  # fmt: skip
        read = preflight.read(bundle, cell, report)
        if read is None:
            continue
        hits, judged = read
        preflight.check_ids(cell, hits, judged, report)
        preflight.check_figures(cell, hits, judged, report)
        preflight.check_depth(cell, hits, judged, depth, report, may_choose=True)
        name = f"{place.language}_{place.dataset_name}_{place.split}.json"
        path = f"{model}/{board.reranker_name}/{place.task_type}/{place.domain}/{name}"
        if path in taken:
            report.error("duplicate", f"it has the place of {taken[path].label}: {path}", where=cell.label)
        taken[path] = cell
        head = {
            "model_name": model,
            "reranker_name": board.reranker_name,
            "benchmark_version": board.version,
            "task_type": place.task_type,
            "domain": place.domain,
            "language": place.language,
            "dataset_name": place.dataset_name,
            "split": place.split,
        }
        out.files.append(File(path, partial(_content, cell, head, depth)))
        out.rows.append(Row(cell.label, path, len(judged.query_ids), depth))
    out.next_steps = [
        f"zip the folder {model}/",
        "upload the archive on AIR-Bench's Hugging Face space, with the model's link",
    ]
    return out


def _content(cell: Cell, head: dict[str, Any], depth: int) -> Iterator[bytes]:
    """One JSON object, a query a line."""
    import numpy as np

    hits = cut(cell.hits(), depth)
    names = hits.query_ids.to_pylist()
    first = np.flatnonzero(np.diff(hits.query, prepend=-1))
    yield json.dumps(head, ensure_ascii=False)[:-1].encode() + b', "search_results": {'
    for i, (start, stop) in enumerate(zip(first.tolist(), [*first[1:].tolist(), len(hits)], strict=True)):
        documents = hits.doc[start:stop].to_pylist()
        scores = dict(zip(documents, hits.scores[start:stop].tolist(), strict=True))
        key = json.dumps(names[int(hits.query[start])], ensure_ascii=False)
        yield f"{',' if i else ''}\n{key}: {json.dumps(scores, ensure_ascii=False)}".encode()
    yield b"\n}}\n"
