"""Tables, JSON and pictures of a study of candidates (`muvera`)."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import orjson

from seekbench import tables
from seekbench.studies.common import chosen_metrics, number
from seekbench.studies.muvera import Corpus, Result, Row
from seekbench.studies.muvera_file import TARGETS
from seekbench.tables import Grid, Text, best_shown

SCHEMA_VERSION = 1


def grids(result: Result, metrics: Sequence[str] | None = None) -> list[Grid]:
    """A table a dataset and k (recall, candidates that levels of recall take), one a metric (what re-ranked candidates
    lose), one of costs; a row a method with its parameters.

    metrics: all by default. Raises InputError for a metric that the study lacks.
    """
    shown, out = chosen_metrics(result.metrics, metrics), []
    for corpus in result.corpora:
        rows = [r for r in result.rows if (r.dataset, r.split) == (corpus.dataset, corpus.split)]
        name = f"{result.name}: {corpus.dataset} ({corpus.split})"
        out += [_recall(result, corpus, rows, k, f"{name}, recall@{k}") for k in result.recall_at]
        out += [_lost(corpus, rows, m, f"{name}, {m} lost after re-ranking") for m in shown]
        out.append(_costs(result, corpus, rows, f"{name}, costs"))
    return out or [_failures(result)]


def label(row: Row) -> str:
    """A system's name, of an encoding with its dimension."""
    return row.system if row.fde_dim is None else f"{row.system} ({row.fde_dim:,})"


def _recall(result: Result, corpus: Corpus, rows: Sequence[Row], k: int, title: str) -> Grid:
    compared = result.reference is not None
    headers = ["method", *(f"@{n:,}" for n in corpus.candidates), *(f"≥{t}" for t in TARGETS)]
    headers += [f"×{t}" for t in TARGETS] if compared else []
    best = {n: best_shown([_of(r.recall, k, n) for r in rows], False) for n in corpus.candidates}
    lines = []
    for r in rows:
        line = [Text(label(r))]
        line += [_figure(r, _of(r.recall, k, n), best[n]) for n in corpus.candidates]
        line += [number(_of(r.needed, k, t), 0) for t in TARGETS]
        line += [number(_of(r.ratio, k, t), 2) for t in TARGETS] if compared else []
        lines.append(line)
    return Grid(headers, lines, title, (), frozenset({0}))


def _lost(corpus: Corpus, rows: Sequence[Row], metric: str, title: str) -> Grid:
    best = {n: best_shown([_of(r.lost, metric, n) for r in rows], True) for n in corpus.candidates}
    lines = [
        [
            Text(label(r)),
            *(_figure(r, _of(r.lost, metric, n), best[n], sign=True) for n in corpus.candidates),
        ]
        for r in rows
    ]
    exact = corpus.exact[metric]
    note = f"exact: {'–' if exact is None else f'{exact:.4f}'}; above 0: so much less than the exact search"
    return Grid(["method", *(f"@{n:,}" for n in corpus.candidates)], lines, title, [note], frozenset({0}))


def _costs(result: Result, corpus: Corpus, rows: Sequence[Row], title: str) -> Grid:
    headers = ["method", "FDE dim", "bytes/doc", "index s", "ms/query", "candidates found"]
    last = corpus.candidates[-1]
    lines = [
        [
            Text(label(r)),
            number(r.fde_dim, 0),
            number(r.bytes_per_document, 0),
            number(r.index_seconds, 2),
            number(r.milliseconds.get(last), 3),
            number(r.found.get(last), 1),
        ]
        for r in rows
    ]
    failures = [f"{r.system}: failed: {r.failure}" for r in rows if r.failure]
    return Grid(headers, lines, title, [*_notes(result, corpus, rows), *failures], frozenset({0}))


def _notes(result: Result, corpus: Corpus, rows: Sequence[Row]) -> list[str]:
    last = corpus.candidates[-1]
    out = [
        f"{corpus.documents:,} documents, {corpus.queries:,} queries; {corpus.vectors:,} token vectors of {corpus.dim} "
        f"dimensions, {corpus.bytes_per_document:,.0f} bytes a document, which all methods need to re-rank",
        *corpus.notes,
        "recall@k at N: mean share of the exact search's first k documents among the first N candidates, before "
        "re-ranking (the most that k > N can reach is N / k, and more where documents have equal texts, which come "
        "together); judgments play no part in it",
    ]
    levels = ", ".join(map(str, TARGETS))
    said = f"≥: the fewest candidates with a recall of {levels}"
    if any(r.method == "plaid" or r.parameters.get("dedup") is False for r in rows):
        said += "; of methods that are asked for each N anew, on a line between two N, rounded up"
    out.append(said)
    if result.reference is not None:
        out.append(f"×: candidates of {result.reference} / those of the method, at that recall")
    if any(r.method == "plaid" and r.parameters.get("ndocs") is None for r in rows):
        out.append(
            f"plaid: `ndocs` is 4 N, so that its stages keep N; what is not stated is PLAID's default for "
            f"k = {result.recall_at[-1]}"
        )
    out.append(
        f"bytes/doc, index s: of what finds candidates, besides the token vectors. ms/query: to find {last:,} "
        f"candidates, queries in batches, encoding not counted; the exact search takes "
        f"{corpus.exact_milliseconds:,.3f}"
    )
    return out


def _failures(result: Result) -> Grid:
    lines = [[Text(r.dataset), Text(r.system), Text(r.failure or "")] for r in result.rows]
    return Grid(["dataset", "method", "failure"], lines, result.name, (), frozenset({0, 1, 2}))


def _of(figures: Mapping[Any, Mapping[Any, Any]], outer: Any, inner: Any) -> Any:
    return figures.get(outer, {}).get(inner)


def _figure(row: Row, value: float | None, best: float | None, *, sign: bool = False) -> Text:
    if value is None:
        # CSV has an empty field, and the cause in a column of its own.
        return Text("failed" if row.failure else "–", value=float("nan"))
    shown = f"{value:+.4f}" if sign else f"{value:.4f}"
    return Text(shown, round(value, 4) == best, value)


def wide_grid(result: Result, metrics: Sequence[str] | None = None) -> Grid:
    """One table with all there is of a point, for CSV."""
    shown, counts = chosen_metrics(result.metrics, metrics), result.candidates
    headers = ["dataset", "split", "system", "method", "parameters", "fde_dim"]
    headers += [f"recall@{k}_of_{n}" for k in result.recall_at for n in counts]
    headers += [f"candidates_for_{t}_of_recall@{k}" for k in result.recall_at for t in TARGETS]
    headers += [f"ratio_for_{t}_of_recall@{k}" for k in result.recall_at for t in TARGETS]
    headers += [f"{m}{kind}_of_{n}" for m in shown for kind in ("", "_lost") for n in counts]
    headers += [f"found_of_{n}" for n in counts] + [f"milliseconds_of_{n}" for n in counts]
    headers += ["bytes_per_document", "index_seconds", "failure"]
    lines = []
    for r in result.rows:
        line = [*map(Text, (r.dataset, r.split, r.system, r.method))]
        line += [Text(orjson.dumps(r.parameters).decode()), number(r.fde_dim, 0)]
        line += [number(_of(r.recall, k, n), 4) for k in result.recall_at for n in counts]
        line += [number(_of(r.needed, k, t), 0) for k in result.recall_at for t in TARGETS]
        line += [number(_of(r.ratio, k, t), 2) for k in result.recall_at for t in TARGETS]
        line += [number(_of(kind, m, n), 4) for m in shown for kind in (r.scores, r.lost) for n in counts]
        line += [number(r.found.get(n), 1) for n in counts]
        line += [number(r.milliseconds.get(n), 3) for n in counts]
        line += [number(r.bytes_per_document, 1), number(r.index_seconds, 2), Text(r.failure or "")]
        lines.append(line)
    return Grid(headers, lines)


def as_json(result: Result, metrics: Sequence[str] | None = None) -> dict[str, Any]:
    """The whole table; figures of the chosen metrics. Keys that are numbers are text."""
    shown = chosen_metrics(result.metrics, metrics)
    rows = []
    for row in result.rows:
        entry = asdict(row)
        for name in ("scores", "lost"):
            entry[name] = {metric: figures for metric, figures in entry[name].items() if metric in shown}
        rows.append(_keyed(entry))
    corpora = []
    for corpus in result.corpora:
        entry = asdict(corpus)
        entry["exact"] = {metric: figure for metric, figure in corpus.exact.items() if metric in shown}
        rows_ = [r for r in result.rows if (r.dataset, r.split) == (corpus.dataset, corpus.split)]
        corpora.append({**entry, "notes": _notes(result, corpus, rows_)})
    return {
        "schema_version": SCHEMA_VERSION,
        "study": "muvera",
        "name": result.name,
        "metrics": list(shown),
        "candidates": list(result.candidates),
        "recall_at": list(result.recall_at),
        "levels": list(TARGETS),
        "reference": result.reference,
        "datasets": corpora,
        "rows": rows,
    }


def _keyed(value: Any) -> Any:
    return {str(k): _keyed(v) for k, v in value.items()} if isinstance(value, dict) else value


# -- the picture ----------------------------------------------------------------------------------------------


def plot(result: Result, corpus: Corpus, path: Path) -> None:
    """A PNG of a dataset: recall against the number of candidates (logarithmic), a line a method, a picture a k.
    Encodings are coloured by their dimension, small ones light; heuristics are black, PLAID is red."""
    os.environ.setdefault("MPLBACKEND", "Agg")
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullLocator

    rows = [r for r in result.rows if (r.dataset, r.split) == (corpus.dataset, corpus.split) and r.recall]
    looks = _looks(rows)
    columns = min(3, max(1, len(rows)))
    wide = max(2, len(result.recall_at))
    height = 3.9 + 0.19 * math.ceil(len(rows) / columns)
    figure = Figure(figsize=(4.2 * wide, height), dpi=120, layout="constrained")
    axes = figure.subplots(1, len(result.recall_at), sharey=True, squeeze=False)[0]
    for axis, k in zip(axes, result.recall_at, strict=True):
        for row in rows:
            points = sorted(row.recall[k].items())
            axis.plot(
                [n for n, _ in points], [v for _, v in points], label=label(row), markersize=3.5,
                linewidth=1.2, **looks[row.system],
            )  # fmt: skip
        axis.set_xscale("log")
        axis.set_xticks(corpus.candidates, [f"{n:,}" for n in corpus.candidates], fontsize=8)
        axis.xaxis.set_minor_locator(NullLocator())
        axis.set_ylim(0, 1.02)
        axis.grid(alpha=0.25)
        axis.set_title(f"recall@{k}", fontsize=9)
        axis.set_xlabel("candidates", fontsize=9)
    axes[0].set_ylabel("of the exact top k among the candidates", fontsize=9)
    lines = axes[0].get_lines()
    figure.legend(
        lines, [str(line.get_label()) for line in lines], loc="outside lower center", ncol=columns,
        frameon=False, fontsize=7.5,
    )  # fmt: skip
    figure.suptitle(f"{result.name}: {corpus.dataset} ({corpus.split})", fontsize=10)
    from seekbench.store import atomic_file

    with atomic_file(path) as part:
        figure.savefig(part, format="png")


def _looks(rows: Sequence[Row]) -> dict[str, dict[str, Any]]:
    """System -> how its line is drawn."""
    from matplotlib import colormaps

    sizes = sorted({r.fde_dim for r in rows if r.fde_dim is not None})
    same: dict[Any, int] = {}
    out: dict[str, dict[str, Any]] = {}
    for row in rows:
        at = same[row.fde_dim or row.method] = same.get(row.fde_dim or row.method, -1) + 1
        style = {"marker": "osD^v"[at % 5], "linestyle": ("-", "--", "-.", (0, (1, 1)))[at % 4]}
        if row.fde_dim is not None:
            share = sizes.index(row.fde_dim) / max(1, len(sizes) - 1)
            color: Any = colormaps["viridis"](0.9 - 0.85 * share)
        else:
            color = "black" if row.method == "heuristic" else "C3"
            style["marker"] = "xP*+"[at % 4]
        out[row.system] = {**style, "color": color}
    return out


def picture(corpus: Corpus) -> str:
    """The name of a dataset's picture."""
    return f"muvera-{re.sub(r'[^A-Za-z0-9._@=+-]+', '_', f'{corpus.dataset}-{corpus.split}')}.png"


def write(output: Path, result: Result) -> list[Path]:
    """muvera.json, muvera.md, muvera.tex, muvera.csv with all metrics, and muvera-<dataset>-<split>.png of each
    dataset, below the output."""
    from seekbench.store import write_atomic

    texts = {
        "muvera.json": orjson.dumps(as_json(result), option=orjson.OPT_INDENT_2),
        "muvera.md": tables.render(grids(result), "md").encode(),
        "muvera.tex": tables.render(grids(result), "latex").encode(),
        "muvera.csv": tables.as_csv(wide_grid(result)).encode(),
    }
    output.mkdir(parents=True, exist_ok=True)
    for name, data in texts.items():
        write_atomic(output / name, data)
    pictures = [output / picture(corpus) for corpus in result.corpora]
    for corpus, path in zip(result.corpora, pictures, strict=True):
        plot(result, corpus, path)
    return [*(output / name for name in texts), *pictures]
