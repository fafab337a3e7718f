"""`seekbench select-tasks`: fewer tasks that rank systems as all do."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from seekbench.cli import common, figures
from seekbench.cli.figures import ReportFormat

if TYPE_CHECKING:
    from seekbench.analysis.score_table import ScoreTable
    from seekbench.analysis.task_selection import Selection
    from seekbench.tables import Grid

#: Random sets of tasks that a selection is compared with.
DRAWS = 200


class Incomplete(enum.StrEnum):
    systems = "systems"
    tasks = "tasks"


@common.handled
def select_tasks(
    results: Annotated[
        list[Path],
        typer.Argument(
            help="Systems x tasks: results of `seekbench run`, MTEB's result files, .csv tables of scores.",
            show_default=False,
        ),
    ],
    keep: Annotated[
        int | None, typer.Option(min=2, help="Stop at so many tasks.  [default: by the thresholds alone]")
    ] = None,
    min_spearman: Annotated[
        float | None,
        typer.Option(
            min=-1.0,
            max=1.0,
            help="Remove a task that is predicted as well.  [default: 0.95, none with --keep]",
        ),
    ] = None,
    max_error: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            help="Squared error, in variances, of a task to remove.  [default: 0.2, none with --keep]",
        ),
    ] = None,
    always: Annotated[list[str] | None, typer.Option(help="Once a task that always stays.")] = None,
    held_out: Annotated[
        float, typer.Option(min=0.0, max=0.9, help="Share of the systems that don't select but only check.")
    ] = 0.3,
    seed: Annotated[int, typer.Option(min=0, help="Of the held-out systems, and of the random sets.")] = 13,
    suite: Annotated[
        str | None,
        typer.Option(
            help="The tasks of a suite, whose groups are one task, e.g. beir (`seekbench ls suites`)."
        ),
    ] = None,
    incomplete: Annotated[
        Incomplete, typer.Option(help="What is left out where a score is missing.")
    ] = Incomplete.systems,
    metric: Annotated[
        str | None, typer.Option("--metric", "-m", help="Which metric.  [default: the main one]")
    ] = None,
    format: Annotated[ReportFormat, figures.FORMAT] = ReportFormat.table,
    json_: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
) -> None:
    """Remove the tasks that the others predict best (MMTEB's selection), and say how the rest ranks systems.

    Rankings are compared on the systems that selected, and on held-out ones, which the selection never saw; beside
    random sets of as many tasks.

    Example:  seekbench select-tasks mteb-results/ --keep 10
    """
    import json

    import numpy as np

    from seekbench.analysis import score_table, task_selection
    from seekbench.metrics.measure import parse

    name = metric if metric in (None, "main") else parse(metric).name
    table = score_table.read(results, metric=name, suite=suite, incomplete=incomplete.value)
    locked = _locked(always or [], table, keep)
    chosen, checked = task_selection.split(len(table.systems), held_out, seed)
    _check_sizes(len(chosen), len(checked), held_out)
    loose = keep is not None
    least = min_spearman if min_spearman is not None else -1.0 if loose else task_selection.LEAST_SPEARMAN
    most = max_error if max_error is not None else np.inf if loose else task_selection.MOST_ERROR
    found = task_selection.select(table.scores[chosen], keep=keep or 2, least=least, most=most, locked=locked)
    lines = []
    for group, rows, others in (("selecting", chosen, None), ("held out", checked, table.scores[chosen])):
        if not len(rows):
            continue
        by = task_selection.rankings(table.scores[rows], found.kept, others)
        random = task_selection.of_random_sets(
            table.scores[rows], len(found.kept), others, draws=DRAWS, seed=seed, locked=locked
        )
        lines += [(group, len(rows), ranking, own, random[ranking]) for ranking, own in by.items()]
    if json_ or format is ReportFormat.json:
        typer.echo(
            json.dumps(
                figures.plain(_as_json(table, found, lines, chosen, checked)), indent=2, ensure_ascii=False
            )
        )
        return
    figures.show([_removed(table, found), _agreement(table, found, lines)], figures.TableFormat(format.value))


def _locked(always: list[str], table: ScoreTable, keep: int | None) -> set[int]:
    from seekbench.errors import InputError, Report, did_you_mean

    report = Report()
    for task in always:
        if task not in table.tasks:
            report.extend(
                InputError(
                    f"no task '{task}'", where="--always", remedy=did_you_mean(task, table.tasks)
                ).report
            )
    if keep is not None and keep > len(table.tasks):
        report.error("keep", f"there are only {len(table.tasks)} tasks", where="--keep")
    if keep is not None and len(set(always)) > keep:
        report.error(
            "always", f"{len(set(always))} tasks always stay, more than --keep {keep}", where="--always"
        )
    report.raise_if_errors()
    return {table.tasks.index(task) for task in always}


def _check_sizes(chosen: int, checked: int, share: float) -> None:
    from seekbench.errors import InputError

    if chosen < 4 or (share and checked < 3):
        raise InputError(
            f"{chosen} systems would select and {checked} check: too few to rank",
            where="--held-out", remedy="at least 4 and 3; --held-out 0 checks nothing",
        )  # fmt: skip


def _removed(table: ScoreTable, found: Selection) -> Grid:
    from seekbench.tables import Grid, Text

    rows: list[list[Any]] = []
    for place, p in enumerate(found.removed, 1):
        rows.append([
            Text(str(place)), Text(table.tasks[p.task]), Text(f"{p.rho:.4f}", value=p.rho),
            Text(f"{p.r:.4f}", value=p.r), Text(f"{p.error:.4f}", value=p.error),
        ])  # fmt: skip
    notes = [
        "each as predicted, when it was removed, by linear regression on the tasks then left, the system itself left "
        "out; error: mean squared, in variances of the scores",
        f"kept: {', '.join(table.tasks[t] for t in found.kept)}",
    ]
    if found.stop is not None:
        notes.append(
            f"next would have been {table.tasks[found.stop.task]}: rho {found.stop.rho:.4f}, "
            f"error {found.stop.error:.4f}"
        )
    title = f"{len(found.kept)} of {len(table.tasks)} tasks kept, {len(table.systems)} systems"
    return Grid(["#", "removed task", "rho", "r", "error"], rows, title=title, notes=[*notes, *table.notes],
                left=frozenset({1}))  # fmt: skip


def _agreement(table: ScoreTable, found: Selection, lines: list[Any]) -> Grid:
    import numpy as np

    from seekbench.tables import Grid, Text

    rows = []
    for group, count, ranking, own, random in lines:
        taus = np.quantile([r.tau for r in random], [0.05, 0.5, 0.95]).tolist()
        below = float(np.mean([r.tau < own.tau for r in random]))
        rows.append([
            Text(group), Text(f"{count:,}", value=count), Text(ranking), Text(figures.number(own.rho), value=own.rho),
            Text(figures.number(own.tau), value=own.tau), Text(figures.number(taus[1]), value=taus[1]),
            Text(f"[{taus[0]:.4f}, {taus[2]:.4f}]"), Text(f"{below:.0%}", value=below),
        ])  # fmt: skip
    columns = ["systems", "count", "ranking", "rho", "tau", "tau of random", "5% to 95%", "beaten"]
    notes = [
        f"order of the systems by the {len(found.kept)} tasks kept beside that by all {len(table.tasks)}: Spearman's "
        f"rho, Kendall's tau-b; random: {DRAWS} sets of as many tasks; beaten: the share of them with a lower tau",
        "estimate: the mean over all tasks, predicted from the tasks kept by least squares on the selecting systems",
        "the tasks kept are part of all tasks, which alone makes the two alike",
    ]
    return Grid(columns, rows, notes=notes, left=frozenset({0, 2}))


def _as_json(
    table: ScoreTable, found: Selection, lines: list[Any], chosen: Any, checked: Any
) -> dict[str, Any]:
    from dataclasses import asdict

    import numpy as np

    return {
        "kept": [table.tasks[t] for t in found.kept],
        "removed": [{**asdict(p), "task": table.tasks[p.task]} for p in found.removed],
        "next": None if found.stop is None else {**asdict(found.stop), "task": table.tasks[found.stop.task]},
        "systems": {
            "selecting": [table.systems[i] for i in chosen],
            "held_out": [table.systems[i] for i in checked],
        },
        "agreement": [
            {
                "systems": group, "count": count, "ranking": ranking, "rho": own.rho, "tau": own.tau,
                "random_tau": np.quantile([r.tau for r in random], [0.05, 0.5, 0.95]).tolist(),
                "beaten": float(np.mean([r.tau < own.tau for r in random])),
            }
            for group, count, ranking, own, random in lines
        ],
        "notes": list(table.notes),
    }  # fmt: skip
