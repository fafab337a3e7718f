"""Tables, JSON and pictures of a study of growing corpora."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import orjson

from seekbench import tables
from seekbench.studies.common import chosen_metrics, number, picture
from seekbench.studies.growing import ALPHA, SCRATCH, Corpus, Result, Row
from seekbench.tables import Grid, Text, best_shown

SCHEMA_VERSION = 1

#: Figures of a metric in the order of columns, with headers.
_FIGURES = {
    "before": "old on D0",
    "old": "old on all",
    "forgetting": "forgetting",
    "new": "new",
    "mixed": "mixed",
    "all": "all",
}
_COSTS = (
    ("parameters_first", "parameters D0", 0),
    ("parameters", "parameters", 0),
    ("examples_seen", "examples seen", 0),
    ("training_seconds", "training s", 1),
    ("first_seconds", "D0 index s", 1),
    ("update_seconds", "update s", 1),
    ("queries_per_second", "queries/s", 1),
    ("invalid_rate", "invalid rate", 4),
)


def grids(result: Result, metrics: Sequence[str] | None = None) -> list[Grid]:
    """A table a dataset and metric, one row a system; where a system learnt from another split one more, without the
    queries that are close to what was learnt; then one of the bias to D1 and of costs.

    metrics: all by default. Raises InputError for a metric that the study lacks.
    """
    shown, out = chosen_metrics(result.metrics, metrics), []
    for corpus in result.corpora:
        rows = _rows_of(result, corpus)
        name = f"{result.name}: {corpus.dataset} ({corpus.split})"
        for metric in shown:
            out.append(_scores(rows, metric, "", f"{name}, {metric}"))
            if corpus.learnt:
                out.append(_scores(rows, metric, "_apart", f"{name}, {metric} †"))
        out.append(_costs(result, corpus, rows, f"{name}, hits and costs"))
    return out


def _rows_of(result: Result, corpus: Corpus) -> list[Row]:
    return [r for r in result.rows if (r.dataset, r.split) == (corpus.dataset, corpus.split)]


def _scores(rows: Sequence[Row], metric: str, ending: str, title: str) -> Grid:
    from seekbench.metrics.measure import parse

    lower = parse(metric).definition.lower
    queries = rows[0].queries
    parts = [p for p in _FIGURES if p != "mixed" or "mixed" in queries]
    best = {
        part: best_shown([_figure(r, metric, part + ending) for r in rows], lower)
        for part in parts
        if part != "forgetting"
    }
    headers = ["system"]
    for part in parts:
        counted = queries.get(("old" if part in ("before", "forgetting") else part) + ending)
        headers.append(_FIGURES[part] if part == "forgetting" else f"{_FIGURES[part]} ({counted:,})")
    lines = []
    for row in rows:
        line = [Text(row.system)]
        for part in parts:
            value = _figure(row, metric, part + ending)
            is_best = part in best and value is not None and round(value, 4) == best[part]
            mark = _mark(row, metric, ending) if part == "forgetting" else ""
            line.append(_score(row, value, is_best, mark))
        lines.append(line)
    return Grid(headers, lines, title, (), frozenset({0}))


def _figure(row: Row, metric: str, part: str) -> float | None:
    return row.scores.get(metric, {}).get(part)


def _mark(row: Row, metric: str, ending: str) -> str:
    """▼ where old queries are answered significantly worse than on D0, ▲ better."""
    lost, p = (_figure(row, metric, name + ending) for name in ("forgetting", "adjusted"))
    if lost is None or p is None or p >= ALPHA:
        return ""
    return "▼" if lost > 0 else "▲"


def _score(row: Row, value: float | None, best: bool = False, mark: str = "") -> Text:
    if value is None:
        # CSV has an empty field, and the cause in a column of its own.
        return Text("failed" if row.failure else "–", value=float("nan"))
    return Text(f"{value:.4f}{mark}", best, value)


def _costs(result: Result, corpus: Corpus, rows: Sequence[Row], title: str) -> Grid:
    share = f"D1@{result.depth}"
    costs = [c for c in _COSTS if any(getattr(r, c[0]) is not None for r in rows)]
    headers = ["system", f"{share} old", f"{share} new", *(header for _, header, _ in costs)]
    lines = [
        [
            Text(r.system),
            *(number(r.new_share.get(name), 4) for name in ("old", "new")),
            *(number(getattr(r, name), digits) for name, _, digits in costs),
        ]
        for r in rows
    ]
    failures = [f"{r.system}: failed {r.failure}" for r in rows if r.failure]
    return Grid(headers, lines, title, [*_notes(result, corpus), *failures], frozenset({0}))


def _notes(result: Result, corpus: Corpus) -> list[str]:
    later = 1 - corpus.first / corpus.documents
    out = [
        *corpus.notes,
        f"forgetting: old queries' figure on D0 minus that on all documents; ▼ lost, ▲ gained: paired t-test per "
        f"query, p < {ALPHA} after Holm's correction over the study. What {SCRATCH} (trained on all documents at once) "
        "and the baselines lose is the price of more documents, not forgetting",
        f"D1@{result.depth}: share of D1's documents among the first {result.depth} hits of old and of new queries; of "
        f"all documents it is {later:.4f}",
        "update s: what adding D1 took: continued training, or for others indexing all documents anew",
    ]
    if corpus.learnt:
        out.append(
            "†: without the queries that are close to a training query with the same answer, which taught "
            + ", ".join(corpus.learnt)
        )
    return out


def wide_grid(result: Result, metrics: Sequence[str] | None = None) -> Grid:
    """One table with all there is a row, for CSV."""
    shown = chosen_metrics(result.metrics, metrics)
    sets = list(dict.fromkeys(name for r in result.rows for name in r.queries))
    endings = ["", "_apart"] if any(c.learnt for c in result.corpora) else [""]
    figures = [p + e for e in endings for p in (*_FIGURES, "p", "adjusted")]
    corpora = {(c.dataset, c.split): c for c in result.corpora}
    headers = ["dataset", "split", "documents", "first", "unseen_document_rate", "system", "kind"]
    headers += [f"queries_{name}" for name in sets]
    headers += [m if p == "all" else f"{m}_{p}" for m in shown for p in figures]
    headers += [f"d1@{result.depth}_{name}" for name in ("old", "new")]
    headers += [*(name for name, _, _ in _COSTS), "failure"]
    lines = []
    for r in result.rows:
        corpus = corpora[r.dataset, r.split]
        lines.append(
            [
                *map(Text, (r.dataset, r.split, str(corpus.documents), str(corpus.first))),
                number(corpus.unseen_document_rate, 4),
                *map(Text, (r.system, r.kind)),
                *(Text(str(r.queries.get(name, ""))) for name in sets),
                *(_score(r, _figure(r, m, p)) for m in shown for p in figures),
                *(number(r.new_share.get(name), 4) for name in ("old", "new")),
                *(number(getattr(r, name), digits) for name, _, digits in _COSTS),
                Text(r.failure or ""),
            ]
        )
    return Grid(headers, lines)


def as_json(result: Result, metrics: Sequence[str] | None = None) -> dict[str, Any]:
    """The whole table; figures of the chosen metrics."""
    shown = chosen_metrics(result.metrics, metrics)
    rows = []
    for row in result.rows:
        entry = asdict(row)
        entry["scores"] = {name: figures for name, figures in row.scores.items() if name in shown}
        rows.append(entry)
    return {
        "schema_version": SCHEMA_VERSION,
        "study": "growing",
        "name": result.name,
        "first": result.first,
        "seed": result.seed,
        "new_share_depth": result.depth,
        "significance": {"test": "paired t, two-sided", "correction": "holm", "alpha": ALPHA},
        "metrics": list(shown),
        "datasets": [asdict(corpus) for corpus in result.corpora],
        "rows": rows,
    }


# -- the picture ----------------------------------------------------------------------------------------------

#: Bars of a system: colour-blind safe, and apart in grey too.
_BARS = {"before": "#9ecae1", "old": "#08519c", "new": "#e6550d"}


def plot(result: Result, path: Path, *, metric: str) -> None:
    """A PNG: three bars a system: old queries on D0, old queries on all documents, new queries; a picture a dataset.
    Where a system learnt from another split, without the queries close to that."""
    os.environ.setdefault("MPLBACKEND", "Agg")
    from matplotlib.figure import Figure

    from seekbench.store import atomic_file

    most = max(len(_rows_of(result, corpus)) for corpus in result.corpora)
    width = max(6.0, 1.6 + 1.15 * most)
    figure = Figure(figsize=(width, 0.9 + 3.3 * len(result.corpora)), dpi=120, layout="constrained")
    axes = figure.subplots(len(result.corpora), 1, squeeze=False)[:, 0]
    for corpus, axis in zip(result.corpora, axes, strict=True):
        rows = _rows_of(result, corpus)
        _draw(axis, rows, metric, "_apart" if corpus.learnt else "")
        title = f"{corpus.dataset} ({corpus.split}): {corpus.first:,} documents, then {corpus.documents:,}"
        axis.set_title(title + (" †" if corpus.learnt else ""), fontsize=9)
        axis.set_ylabel(metric)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncol=len(handles), frameon=False, fontsize=8)
    figure.suptitle(result.name, fontsize=10)
    with atomic_file(path) as part_file:
        figure.savefig(part_file, format="png")


def _draw(axis: Any, rows: Sequence[Row], metric: str, ending: str) -> None:
    step = 0.8 / len(_BARS)
    said: Mapping[str, str] = {
        "before": "old queries on D0",
        "old": "old queries on all",
        "new": "new queries",
    }
    for i, (part, colour) in enumerate(_BARS.items()):
        values = [_figure(row, metric, part + ending) for row in rows]
        places = [at + (i - (len(_BARS) - 1) / 2) * step for at in range(len(rows))]
        heights = [math.nan if v is None else v for v in values]
        bars = axis.bar(places, heights, width=step * 0.92, color=colour, label=said[part])
        shown = ["" if v is None else f"{v:.2f}" for v in values]
        axis.bar_label(bars, shown, fontsize=6.5, padding=1)
    axis.set_xticks(range(len(rows)), [row.system for row in rows], fontsize=8)
    axis.set_xlim(-0.6, len(rows) - 0.4)
    axis.margins(y=0.12)
    axis.set_ylim(bottom=0)
    axis.grid(axis="y", alpha=0.25)
    axis.set_axisbelow(True)


def write(output: Path, result: Result) -> list[Path]:
    """growing.json, growing.md, growing.csv with all metrics, and growing-<metric>.png of each, below the output."""
    from seekbench.store import write_atomic

    texts = {
        "growing.json": orjson.dumps(as_json(result), option=orjson.OPT_INDENT_2),
        "growing.md": tables.render(grids(result), "md").encode(),
        "growing.csv": tables.as_csv(wide_grid(result)).encode(),
    }
    for name, data in texts.items():
        write_atomic(output / name, data)
    pictures = {output / picture("growing", m): m for m in result.metrics}
    for path, metric in pictures.items():
        plot(result, path, metric=metric)
    return [*(output / name for name in texts), *pictures]
