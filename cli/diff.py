"""`seekbench diff`: what changed from one ranking to another, down to the documents that moved."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from seekbench.cli import cases, common, figures
from seekbench.cli.figures import ReportFormat

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from seekbench.analysis.cases import Case
    from seekbench.analysis.failures import Slicing
    from seekbench.analysis.moved import Changed
    from seekbench.comparison import Comparison
    from seekbench.tables import Grid

#: Depths at which overlap is shown.
DEPTHS = (1, 10, 100)

RANKING = typer.Argument(
    help="A TREC run file, a cell's result folder, or a folder of results; PATH or NAME=PATH.", show_default=False
)  # fmt: skip


@dataclass
class _Found:
    """One dataset. k: cutoff of the first measure; overlap: name -> float64 [queries]."""

    case: Case
    k: int
    pairs: list[Comparison]
    overlap: dict[str, npt.NDArray[np.float64]]
    changed: list[Changed]
    slices: Slicing | None


@common.handled
def diff(
    a: Annotated[str, RANKING],
    b: Annotated[str, RANKING],
    metric: Annotated[list[str] | None, cases.METRIC] = None,
    changed: Annotated[
        int,
        typer.Option(
            "--changed", "-n", min=0, help="How many of the queries that fell most, and that rose most."
        ),
    ] = 3,
    slices: Annotated[bool, cases.SLICES] = False,
    by: Annotated[list[str] | None, cases.BY] = None,
    min_slice: Annotated[int, cases.FEWEST] = 10,
    alpha: Annotated[float, cases.ALPHA] = 0.05,
    p: Annotated[
        float, typer.Option("--persistence", min=0.01, max=0.999, help="p of rank-biased overlap.")
    ] = 0.9,
    depth: Annotated[
        int, typer.Option(min=1, help="Hits that rank-biased overlap and Kendall's tau look at.")
    ] = 100,
    qrels: Annotated[Path | None, cases.QRELS] = None,
    dataset: Annotated[str | None, cases.DATASET] = None,
    queries: Annotated[Path | None, figures.QUERIES] = None,
    allow_mixed: Annotated[
        bool, typer.Option("--allow-mixed", help="Compare results of different data, marked as such.")
    ] = False,
    format: Annotated[ReportFormat, figures.FORMAT] = ReportFormat.table,
    json_: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
) -> None:
    """Show what changed from ranking A to ranking B: figures, overlap, and the relevant documents gained, lost, moved.

    Of two folders of results, all cells of the same dataset and system. --slices: the kinds of queries that lose.
    `seekbench compare` is for many systems at once: their means, tests and groups.

    Examples:  seekbench diff results/old results/new
    seekbench diff results/x/scifact/test/bm25 results/x/scifact/test/minilm --slices
    seekbench diff bm25.trec dense.trec --dataset ./scifact
    """
    import json

    from seekbench.analysis.cells import pairs
    from seekbench.errors import InputError

    sides = cases.cells_of([a, b])
    if len(sides) < 2:
        raise InputError("diff needs two different rankings")
    (first, ours), (second, theirs) = sides
    matched = pairs(ours, theirs, (a, b))
    found = []
    for one, other in matched:
        names = cases.names_of([(first, one), (second, other)])
        case = cases.case_of(
            [one, other],
            names,
            metric,
            qrels=qrels,
            dataset=dataset,
            queries=queries,
            allow_mixed=allow_mixed,
        )
        if len(matched) > 1 and not metric:
            case = _first_metric(case)
        found.append(_examine(case, p, depth, changed, slices or bool(by), by, min_slice, alpha))
    _correct(found)
    systems = [one.name if len(matched) > 1 else "" for one, _ in matched]
    notes = _left_over(ours, theirs, matched, (a, b))
    if json_ or format is ReportFormat.json:
        out = {
            "a": a, "b": b, "persistence": p, "depth": depth, "alpha": alpha, "notes": notes,
            "cells": [_as_json(f, system, alpha, depth) for f, system in zip(found, systems, strict=True)],
        }  # fmt: skip
        typer.echo(json.dumps(figures.plain(out), indent=2, ensure_ascii=False))
        return
    width = figures.terminal_width() if format is ReportFormat.table else 160
    grids = [_figures(found, systems, alpha, notes), _overlaps(found, systems, p, depth)]
    for f, system in zip(found, systems, strict=True):
        if f.changed:
            grids.append(_moved(f, system, width))
        if f.slices is not None:
            grids.append(cases.slices_grid(f.case, f.slices, 0, f.case.systems, alpha, 10))
    figures.show(grids, figures.TableFormat(format.value))


def _first_metric(case: Case) -> Case:
    """Many cells are shown by one metric unless the user names more."""
    from dataclasses import replace

    return replace(case, measures=case.measures[:1], scores=case.scores[:, :1])


def _examine(
    case: Case, p: float, depth: int, most: int, sliced: bool, by: list[str] | None, fewest: int, alpha: float
) -> _Found:  # fmt: skip
    from seekbench.analysis import failures, overlap
    from seekbench.analysis.moved import changed_queries
    from seekbench.comparison import compare

    left, right = (run.doc_rows for run in case.runs)
    widest = max(left.shape[1], right.shape[1])
    depths = [k for k in DEPTHS if k <= max(1, widest)]
    overlaps = {f"overlap@{k}": overlap.overlap(left, right, k) for k in depths}
    overlaps[f"RBO (p {p:g})"] = overlap.rank_biased_overlap(left, right, p=p, depth=depth)
    overlaps["Kendall's tau"] = overlap.tau_of_common(left, right, depth=depth)
    k = case.measures[0].k or 10
    return _Found(
        case,
        k,
        [
            compare(m.name, case.systems, case.scores[:, i], alpha=alpha, lower=m.definition.lower)
            for i, m in enumerate(case.measures)
        ],
        overlaps,
        changed_queries(case, 0, most, k),
        failures.against_baseline(case, 0, failures.slices_of(case, by), fewest) if sliced else None,
    )


def _correct(found: list[_Found]) -> None:
    """Holm's correction over the cells, within each metric, as over the systems of `compare`."""
    from dataclasses import replace

    from seekbench.statistics.corrections import holm

    names = dict.fromkeys(c.measure for f in found for c in f.pairs)
    for name in names:
        places = [(f, i) for f in found for i, c in enumerate(f.pairs) if c.measure == name]
        adjusted = holm([f.pairs[i].pairs[0].p for f, i in places])
        for (f, i), value in zip(places, adjusted, strict=True):
            pair = replace(f.pairs[i].pairs[0], adjusted=value)
            f.pairs[i] = replace(f.pairs[i], pairs=(pair,))


def _left_over(ours: Any, theirs: Any, matched: Any, names: tuple[str, str]) -> list[str]:
    used = {id(cell) for pair in matched for cell in pair}
    out = []
    for side, cells in zip(names, (ours, theirs), strict=True):
        alone = [c for c in cells if id(c) not in used]
        if alone:
            said = ", ".join(
                c.name if c.dataset is None else f"{c.name} on {c.dataset[0]}" for c in alone[:6]
            )
            out.append(f"only in {side}: {said}" + (", ..." if len(alone) > 6 else ""))
    return out


def _figures(found: list[_Found], systems: list[str], alpha: float, notes: list[str]) -> Grid:
    from seekbench.tables import Grid, Text

    several = len(found) > 1
    one = found[0].case
    first, second = ("A", "B") if several else one.systems
    columns = [*(["dataset", "system"] if several else []), "metric", first, second]
    columns += ["Δ", "95% CI of Δ", "p (holm)" if several else "p", "W/T/L"]
    rows, said = [], list(notes)
    for f, system in zip(found, systems, strict=True):
        for c in f.pairs:
            pair = c.pairs[0]
            better = (pair.delta > 0) != c.lower
            mark = (" ▲" if better else " ▼") if pair.adjusted < alpha else ""
            rows.append([
                *([Text(f.case.label), Text(system)] if several else []), Text(c.measure),
                Text(figures.number(c.means[0]), value=c.means[0]), Text(figures.number(c.means[1]), value=c.means[1]),
                Text(figures.number(pair.delta, sign=True) + mark, value=pair.delta), figures.text_of(pair.interval),
                Text(figures.p_text(pair.adjusted), value=pair.adjusted),
                Text(f"{pair.wins}/{pair.ties}/{pair.losses}"),
            ])  # fmt: skip
        said += [f"{f.case.label}: {line}" if several else line for line in f.case.notes]
    corrected = f", Holm-corrected over {len(found)} cells" if several else ""
    said.append(
        f"▲ better, ▼ worse: paired t-test per query{corrected}, p < {alpha:g}; W/T/L: queries won, tied, lost"
    )
    title = (
        f"{len(found)} cells in both"
        if several
        else f"{first} → {second} on {one.label} ({len(one.query_ids):,} queries)"
    )
    return Grid(columns, rows, title=title, notes=said, left=frozenset({0, 1, 2} if several else {0}))


def _overlaps(found: list[_Found], systems: list[str], p: float, depth: int) -> Grid:
    import numpy as np

    from seekbench.statistics.intervals import t_interval
    from seekbench.tables import Grid, Text

    several = len(found) > 1
    names = list(dict.fromkeys(name for f in found for name in f.overlap))
    rows = []
    for f, system in zip(found, systems, strict=True):
        for name in names if not several else [""]:
            if several:
                rows.append([
                    Text(f.case.label), Text(system),
                    *(_mean_text(f.overlap.get(n)) for n in names), Text(f"{_same_top(f):,}"),
                ])  # fmt: skip
                continue
            values = f.overlap[name][~np.isnan(f.overlap[name])]
            low, high = t_interval(values).tolist()
            rows.append([
                Text(name), _mean_text(values), figures.text_of((low, high)),
                *(Text(figures.number(_quantile(values, q), 3)) for q in (0.1, 0.5, 0.9)),
                Text(f"{len(values):,}"),
            ])  # fmt: skip
    columns = (
        ["dataset", "system", *names, "same top"]
        if several
        else ["rank overlap", "mean", "95% CI", "10%", "median", "90%", "queries"]
    )
    top = ", ".join(f"{_same_top(f):,} of {len(f.case.query_ids):,}" for f in found[:1])
    notes = [
        f"overlap@k: documents in the first k of both; RBO: extrapolated rank-biased overlap (Webber et al. 2010, eq. "
        f"32) and Kendall's tau of the common documents, both of the first {depth} hits",
    ]  # fmt: skip
    if several:
        notes.append(f"same top: queries whose first {found[0].k} documents are the same in the same order")
    else:
        notes.append(f"the first {found[0].k} documents are the same in the same order in {top} queries")
    return Grid(columns, rows, notes=notes, left=frozenset({0, 1} if several else {0}))


def _quantile(values: npt.NDArray[np.float64], share: float) -> float | None:
    import numpy as np

    return float(np.quantile(values, share)) if len(values) else None


def _mean_text(values: Any) -> Any:
    import numpy as np

    from seekbench.tables import Text

    known = np.empty(0) if values is None else values[~np.isnan(values)]
    mean = float(known.mean()) if len(known) else None
    return Text(figures.number(mean, 3), value=mean)


def _same_top(found: _Found) -> int:
    import numpy as np

    left, right = (np.asarray(run.top_rows(found.k)) for run in found.case.runs)
    width = max(left.shape[1], right.shape[1])
    left, right = (
        np.pad(rows, ((0, 0), (0, width - rows.shape[1])), constant_values=-1) for rows in (left, right)
    )
    return int((left == right).all(axis=1).sum())


def _moved(found: _Found, system: str, width: int) -> Grid:
    """The queries that changed most, and below each the relevant documents that moved."""
    from seekbench.tables import Grid, Text, fitted

    case = found.case
    name = case.measures[0].name
    rows: list[list[Any]] = []
    for c in found.changed:
        query = case.query_ids[c.query]
        rows.append([
            Text(query, True), Text(""), Text(figures.number(c.before), value=c.before),
            Text(figures.number(c.after), value=c.after), Text(f"{c.after - c.before:+.4f}", True),
            Text(case.info.text(query), True),
        ])  # fmt: skip
        texts = cases.one_line(case, [d.row for d in c.documents])
        for d, text in zip(c.documents, texts, strict=True):
            rows.append([
                Text(f"  {case.doc_id(d.row)}"), Text(str(d.grade)), Text(_rank(d.before)), Text(_rank(d.after)),
                Text(d.change(found.k)), Text(text),
            ])  # fmt: skip
        kept = sum(g > 0 for g in case.grades(c.query).values()) - len(c.documents)
        rest = f"{c.new} of its first {found.k} documents are new" if c.new else "no new document at the top"
        rest += f"; {kept} relevant unmoved" if kept else ""
        rows.append([Text(""), Text(""), Text(""), Text(""), Text(""), Text(f"({rest})")])
    title = f"{name}: the queries that changed most" + (f", {case.label} {system}" if system else "")
    first, second = case.systems
    columns = ["query, relevant documents", "grade", first, second, "change", "text"]
    notes = [
        f"of a query: {name}; of a document: its rank. gained, lost: in the list of {second} alone, of {first} alone; "
        f"enters, leaves: the first {found.k}"
    ]
    grid = Grid(columns, rows, title=title, notes=notes, left=frozenset({0, 4, 5}))
    return fitted(grid, [5], width)


def _rank(rank: int | None) -> str:
    return "–" if rank is None else f"{rank:,}"


def _as_json(found: _Found, system: str, alpha: float, depth: int) -> dict[str, Any]:
    import numpy as np

    case = found.case
    changed = []
    for c in found.changed:
        texts = case.texts([d.row for d in c.documents])
        changed.append({
            "query_id": case.query_ids[c.query], "text": case.info.text(case.query_ids[c.query]) or None,
            "a": c.before, "b": c.after, "new_at_the_top": c.new,
            "documents": [
                {
                    "doc_id": case.doc_id(d.row), "grade": d.grade, "rank_a": d.before, "rank_b": d.after,
                    "change": d.change(found.k), "text": text or None,
                }
                for d, text in zip(c.documents, texts, strict=True)
            ],
        })  # fmt: skip
    return {
        "dataset": case.label,
        "system": system or None,
        "systems": list(case.systems),
        "queries": len(case.query_ids),
        "metrics": {
            c.measure: {
                "a": c.means[0], "b": c.means[1], "delta": c.pairs[0].delta, "interval": c.pairs[0].interval,
                "p": c.pairs[0].p, "p_adjusted": c.pairs[0].adjusted, "wins": c.pairs[0].wins, "ties": c.pairs[0].ties,
                "losses": c.pairs[0].losses,
            }
            for c in found.pairs
        },
        "overlap": {
            name: float(np.nanmean(v)) if (~np.isnan(v)).any() else None for name, v in found.overlap.items()
        },
        "same_top": _same_top(found),
        "changed_most": changed,
        "slices": None
        if found.slices is None
        else cases.slices_json(found.slices, alpha, case.measures[0].definition.lower),
        "notes": case.notes,
    }  # fmt: skip
