"""`seekbench compare`: systems side by side on the same queries, with tests."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from seekbench.cli import common, figures
from seekbench.cli.figures import Exclude, Missing, TableFormat, TieBreak

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from seekbench.comparison import Comparison
    from seekbench.metrics.evaluate import Scores
    from seekbench.query_info import QueryInfo
    from seekbench.tables import Grid


class Test(enum.StrEnum):
    t = "t"
    wilcoxon = "wilcoxon"
    randomization = "randomization"
    bootstrap = "bootstrap"
    tukey = "tukey"


#: How tests and corrections are written out.
SAID = {
    "t": "paired t-test",
    "wilcoxon": "Wilcoxon's signed-rank test",
    "randomization": "randomisation test",
    "bootstrap": "bootstrap test",
    "tukey": "Tukey's HSD (queries as blocks)",
    "none": "uncorrected",
    "holm": "Holm's correction",
    "bonferroni": "Bonferroni's correction",
    "bh": "Benjamini-Hochberg",
}


@common.handled
def compare(
    runs: Annotated[list[str], figures.RUNS],
    qrels: Annotated[Path, typer.Option("--qrels", help="TREC qrels or BEIR's TSV; plain, .gz or .zst.")],
    metric: Annotated[list[str] | None, figures.METRIC] = None,
    baseline: Annotated[
        str | None, typer.Option(help="The run that others are compared with.  [default: the first]")
    ] = None,
    test: Annotated[Test, typer.Option(help="The test of a difference.")] = Test.t,
    correction: Annotated[
        figures.Correction, typer.Option(help="For many comparisons; within each metric.")
    ] = figures.Correction.holm,
    alpha: Annotated[float, typer.Option(min=0.0001, max=0.5, help="Level of significance.")] = 0.05,
    changed: Annotated[
        int, typer.Option("--changed", "-n", min=0, help="How many of the queries that changed most to show.")
    ] = 10,
    per_query: Annotated[bool, typer.Option("--per-query", "-q", help="Every query's values.")] = False,
    by: Annotated[list[str] | None, figures.BY] = None,
    queries: Annotated[Path | None, figures.QUERIES] = None,
    dataset: Annotated[str | None, figures.DATASET] = None,
    tie_break: Annotated[TieBreak, figures.TIES] = TieBreak.trec_eval,
    missing_queries: Annotated[Missing, figures.MISSING] = Missing.zero,
    exclude: Annotated[Exclude, figures.EXCLUDE] = Exclude.none,
    max_unjudged: Annotated[float, figures.UNJUDGED] = 0.9,
    format: Annotated[TableFormat, figures.FORMAT] = TableFormat.table,
    json_: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
) -> None:
    """Compare runs: differences with intervals and tests, groups, and the queries that changed most.

    Example:  seekbench compare bm25.trec dense.trec --qrels qrels.txt -m ndcg@10
    """
    from seekbench.comparison import compare as compared
    from seekbench.errors import InputError

    files = figures.run_files(runs)
    if len(files) < 2:
        raise InputError("compare needs two different runs")
    scores = figures.score_files(
        qrels, files, metric, tie_break=tie_break, missing_queries=missing_queries, exclude=exclude,
        max_unjudged=max_unjudged,
    )  # fmt: skip
    measures = next(iter(scores.values())).measures
    info = figures.info_of(queries, dataset)
    figures.check_info(info, scores, str(queries or dataset))
    names = figures.short_names(files)
    first = _place(baseline, list(scores), names)
    ids, values = _aligned(scores)
    if not len(ids):
        raise InputError("the runs have no judged query in common")
    chosen = [i for i, m in enumerate(measures) if m.definition.aggregate == "mean"]
    if not chosen:
        raise InputError("none of these metrics is a mean over queries, so there is nothing to test")
    found = [
        compared(
            measures[i].name, names, values[:, i, :], baseline=first, test=test.value,
            correction=correction.value, alpha=alpha, lower=measures[i].definition.lower,
        )
        for i in chosen
    ]  # fmt: skip
    for i, m in enumerate(measures):
        if i not in chosen:
            typer.echo(
                f"warning: {m.name} is a {m.definition.aggregate} and no mean over queries, so it is not compared; "
                "`seekbench eval` shows it",
                err=True,
            )
    if json_ or format is TableFormat.json:
        import json

        out = _as_json(found, scores, ids, values, chosen, first, changed, per_query, info, by or [])
        typer.echo(json.dumps(figures.plain(out), indent=2, ensure_ascii=False, allow_nan=False))
        return
    figures.warn(scores)
    if per_query:
        grids = [_per_query(found, values, chosen, names, ids, info)]
    elif format is TableFormat.csv:  # one table alone, so that programs can read it
        grids = [_tidy(found, first)]
    else:
        grids = []
        for place, (i, comparison) in enumerate(zip(chosen, found, strict=True)):
            grids.append(_table(comparison, first, scores))
            grids += [
                _slices(comparison, values[:, i, :], first, info, column, ids, scores) for column in by or []
            ]
            # For one metric, or a page would be lists of queries.
            if changed and not place and format is not TableFormat.latex:
                grids.append(_changed(comparison, values[:, i, :], first, ids, info, changed))
        grids[-1].notes = [*grids[-1].notes, *_legend(found[0], len(ids), scores)]
    figures.show(grids, format)


def _legend(found: Comparison, queries: int, scores: dict[str, Scores]) -> list[str]:
    correction = "" if found.test == "tukey" else f", {SAID[found.correction]}"
    notes = [
        f"{queries:,} queries · {SAID[found.test]}{correction}, two-sided, ▲ better, ▼ worse: p < {found.alpha} · "
        "d: Cohen's, of paired differences · W/T/L: queries better, equal, worse",
        "detectable: the smallest difference that a paired t-test of these queries finds with 80% chance",
    ]
    if found.groups is not None:
        pairs = len(found.systems) * (len(found.systems) - 1) // 2
        notes.append(
            f"group: runs with a letter in common can't be told apart, corrected over all {pairs} pairs; ▲ ▼ are "
            f"corrected over {len(found.pairs)}, so a letter may be shared where an arrow stands"
            if found.test != "tukey"
            else "group: runs with a letter in common can't be told apart"
        )
    return [*notes, figures.policy_note(next(iter(scores.values())))]


def _tidy(found: list[Comparison], first: int) -> Grid:
    """Every figure of every metric in a row a run."""
    from seekbench.tables import Grid, Text

    columns = [
        "metric", "run", "mean", "mean", "baseline", "delta", "delta", "p", "p_adjusted", "cohens_d", "detectable",
        "wins", "ties", "losses", "group",
    ]  # fmt: skip
    rows = []
    for c in found:
        pairs = {p.b: p for p in c.pairs}
        for i, name in enumerate(c.systems):
            p = pairs.get(i)
            row = [Text(c.measure), Text(name), Text("", value=c.means[i]), figures.text_of(c.intervals[i])]
            if p is None:
                row += [Text(""), Text(""), figures.text_of(None), *[Text("")] * 7]
            else:
                row += [Text(c.systems[first]), Text("", value=p.delta), figures.text_of(p.interval)]
                row += [
                    Text("", value=v)
                    for v in (p.p, p.adjusted, p.effect, p.detectable, p.wins, p.ties, p.losses)
                ]
            rows.append([*row, Text(c.groups[i] if c.groups else "")])
    return Grid(columns, rows)


def _place(baseline: str | None, runs: list[str], names: list[str]) -> int:
    from seekbench.errors import InputError, did_you_mean

    if baseline is None:
        return 0
    for known in (runs, names):
        if baseline in known:
            return known.index(baseline)
    raise InputError(
        f"no run '{baseline}' among these", where="--baseline", remedy=did_you_mean(baseline, names)
    )


def _aligned(scores: dict[str, Scores]) -> tuple[list[str], npt.NDArray[np.float64]]:
    """(query ids, float64 [queries, measures, systems]) of the queries that all runs have: with `drop` they may
    differ."""
    import numpy as np

    found = list(scores.values())
    ids = list(found[0].query_ids)
    if all(list(s.query_ids) == ids for s in found[1:]):
        return ids, np.stack([s.values for s in found], axis=2)
    common_ = set(ids).intersection(*(s.query_ids for s in found[1:]))
    ids = [q for q in ids if q in common_]
    rows = [{q: i for i, q in enumerate(s.query_ids)} for s in found]
    return ids, np.stack(
        [s.values[[row[q] for q in ids]] for s, row in zip(found, rows, strict=True)], axis=2
    )


def _table(found: Comparison, first: int, scores: dict[str, Scores]) -> Grid:
    from seekbench.cli.evaluate import tie_notes
    from seekbench.tables import Grid, Text, best_shown

    base = found.systems[first]
    pairs = {p.b: p for p in found.pairs}
    adjusted = "p" if found.test == "tukey" or found.correction == "none" else f"p ({found.correction})"
    columns = [
        "run",
        found.measure,
        "95% CI",
        f"Δ {base}",
        "Δ%",
        "95% CI of Δ",
        adjusted,
        "d",
        "detectable",
        "W/T/L",
    ]
    if found.groups is not None:
        columns.append("group")
    best = best_shown(found.means, found.lower)
    rows = []
    for i in sorted(range(len(found.systems)), key=lambda i: figures.place(found.means[i], found.lower)):
        mean = found.means[i]
        row = [Text(found.systems[i]), Text(figures.number(mean), round(mean, 4) == best, mean)]
        row.append(figures.text_of(found.intervals[i]))
        pair = pairs.get(i)
        if pair is None:
            row += [Text("")] * 7
        else:
            better = (pair.delta > 0) != found.lower
            mark = ("▲" if better else "▼") if pair.adjusted < found.alpha else ""
            share = pair.delta / found.means[first] if pair.queries and found.means[first] else None
            row += [
                Text(figures.number(pair.delta, sign=True) + (f" {mark}" if mark else ""), value=pair.delta),
                Text("" if share is None else f"{share:+.1%}", value=share),
                figures.text_of(pair.interval),
                Text(figures.p_text(pair.adjusted), value=pair.adjusted),
                Text(figures.number(pair.effect, 2, sign=True), value=pair.effect),
                Text(figures.number(pair.detectable), value=pair.detectable),
                Text(f"{pair.wins}/{pair.ties}/{pair.losses}"),
            ]
        if found.groups is not None:
            row.append(Text(found.groups[i]))
        rows.append(row)
    notes = [
        n
        for name, s in zip(found.systems, scores.values(), strict=True)
        for n in tie_notes(name, s, found.measure)
    ]
    left = {0, len(columns) - 1} if found.groups is not None else {0}
    return Grid(columns, rows, title=found.measure, notes=notes, left=frozenset(left))


def _slices(
    found: Comparison, values: npt.NDArray[np.float64], first: int, info: QueryInfo, by: str, ids: list[str],
    scores: dict[str, Scores],
) -> Grid:  # fmt: skip
    """Means of each slice, and the differences to the baseline with their intervals."""
    from seekbench.comparison import by_slice
    from seekbench.tables import Grid, Text

    parts = _slices_of(info, by, ids, scores)
    figures_, against = by_slice(values, parts), by_slice(values - values[:, [first]], parts)
    rows = []
    for figure, difference in zip(figures_, against, strict=True):
        row = [Text(figure.slice.label), Text(f"{len(figure.slice.rows):,}", value=len(figure.slice.rows))]
        row += [Text(figures.number(mean), value=mean) for mean in figure.means]
        for i, delta in enumerate(difference.means):
            if i != first:
                row.append(Text(figures.number(delta, sign=True), value=delta))
                row.append(figures.text_of(difference.intervals[i]))
        rows.append(row)
    columns = [by, "queries", *found.systems]
    for i, name in enumerate(found.systems):
        columns += [] if i == first else [f"Δ {name}", "95% CI of Δ"]
    return Grid(columns, rows, title=f"{found.measure} by {by}")


def _slices_of(info: QueryInfo, by: str, ids: list[str], scores: dict[str, Scores]) -> Any:
    """Slices of the common queries; the judgments are those of a run that has exactly these, where there is one."""
    for s in scores.values():
        if list(s.query_ids) == ids:
            return info.slices(by, ids, s.qrels)
    from seekbench.errors import InputError
    from seekbench.query_info import RELEVANT

    s = next(iter(scores.values()))
    if by == RELEVANT:
        raise InputError("can't slice by 'relevant' while runs drop different queries", where="--by")
    return info.slices(by, ids, s.qrels)


def _changed(
    found: Comparison, values: npt.NDArray[np.float64], first: int, ids: list[str], info: QueryInfo, most: int
) -> Grid:
    """The queries that changed most between the baseline and each other run."""
    from seekbench.comparison import most_changed
    from seekbench.tables import Grid, Text

    base, rows = found.systems[first], []
    texts = "text" in info.columns
    for pair in found.pairs:
        for row in most_changed(values[:, first], values[:, pair.b], most).tolist():
            before, after = float(values[row, first]), float(values[row, pair.b])
            line = [Text(found.systems[pair.b])] if len(found.pairs) > 1 else []
            line += [
                Text(ids[row]),
                Text(f"{after - before:+.4f}", value=after - before),
                Text(figures.number(before), value=before),
                Text(figures.number(after), value=after),
            ]
            rows.append([*line, *([Text(info.text(ids[row]))] if texts else [])])
    named = len(found.pairs) > 1
    columns = [
        *(["run"] if named else []),
        "query",
        "Δ",
        base,
        "run" if named else found.systems[found.pairs[0].b],
    ]
    columns += ["text"] if texts else []
    left = {0, *({1} if named else set()), *({len(columns) - 1} if texts else set())}
    return Grid(columns, rows, title=f"{found.measure}: queries that changed most", left=frozenset(left))


def _per_query(
    found: list[Comparison], values: npt.NDArray[np.float64], chosen: list[int], names: list[str],
    ids: list[str], info: QueryInfo,
) -> Grid:  # fmt: skip
    from seekbench.tables import Grid, Text

    texts = "text" in info.columns
    columns = [
        "query",
        *(f"{c.measure} {name}" for c in found for name in names),
        *(["text"] if texts else []),
    ]
    rows = []
    for row, query in enumerate(ids):
        line: list[Text | str] = [query]
        for i in chosen:
            line += [Text(figures.number(v), value=v) for v in values[row, i, :].tolist()]
        rows.append([*line, *([info.text(query)] if texts else [])])
    return Grid(columns, rows, left=frozenset({0, *({len(columns) - 1} if texts else set())}))


def _as_json(
    found: list[Comparison], scores: dict[str, Scores], ids: list[str], values: npt.NDArray[np.float64],
    chosen: list[int], first: int, changed: int, per_query: bool, info: QueryInfo, by: list[str],
) -> dict[str, Any]:  # fmt: skip
    from seekbench.comparison import by_slice, most_changed

    runs = list(scores)
    metrics: dict[str, Any] = {}
    for i, c in zip(chosen, found, strict=True):
        table = values[:, i, :]
        entry: dict[str, Any] = {
            "means": dict(zip(runs, c.means, strict=True)),
            "intervals": dict(zip(runs, c.intervals, strict=True)),
            "groups": None if c.groups is None else dict(zip(runs, c.groups, strict=True)),
            "comparisons": [
                {
                    "run": runs[p.b],
                    "queries": p.queries,
                    "delta": p.delta,
                    "interval": p.interval,
                    "p": p.p,
                    "p_adjusted": p.adjusted,
                    "significant": p.adjusted < c.alpha,
                    "cohens_d": p.effect,
                    "minimum_detectable_difference": p.detectable,
                    "wins": p.wins,
                    "ties": p.ties,
                    "losses": p.losses,
                    "changed_most": [
                        {
                            "query_id": ids[row],
                            "baseline": float(table[row, first]),
                            "run": float(table[row, p.b]),
                            **({"text": info.text(ids[row])} if "text" in info.columns else {}),
                        }
                        for row in most_changed(table[:, first], table[:, p.b], changed).tolist()
                    ],
                }
                for p in c.pairs
            ],
        }
        if by:
            entry["slices"] = {
                column: {
                    f.slice.label: {
                        "queries": len(f.slice.rows),
                        "means": dict(zip(runs, f.means, strict=True)),
                        "intervals": dict(zip(runs, f.intervals, strict=True)),
                    }
                    for f in by_slice(table, _slices_of(info, column, ids, scores))
                }
                for column in by
            }
        if per_query:
            entry["per_query"] = {
                run: dict(zip(ids, table[:, j].tolist(), strict=True)) for j, run in enumerate(runs)
            }
        metrics[c.measure] = entry
    one = next(iter(scores.values()))
    return {
        "baseline": runs[first],
        "test": found[0].test,
        "correction": "none" if found[0].test == "tukey" else found[0].correction,
        "alpha": found[0].alpha,
        "queries": len(ids),
        "metrics": metrics,
        "not_compared": [m.name for i, m in enumerate(one.measures) if i not in chosen],
        "about": {
            "policies": dict(one.policies),
            "warnings": {run: list(s.warnings) for run, s in scores.items() if s.warnings},
        },
    }
