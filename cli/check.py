"""`seekbench check`: results against a baseline, for continuous integration."""

from __future__ import annotations

import enum
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from seekbench.cli import cells as cells_
from seekbench.cli import common, figures, options

if TYPE_CHECKING:
    from seekbench.config import RunConfig
    from seekbench.errors import Report
    from seekbench.gate.compare import Rule, Verdict
    from seekbench.gate.results import FailedCell, Key, Result
    from seekbench.gate.texts import Texts


class Test(enum.StrEnum):
    t = "t"
    wilcoxon = "wilcoxon"
    randomization = "randomization"


class Format(enum.StrEnum):
    table = "table"
    md = "md"
    csv = "csv"
    json = "json"


#: Formats of --save by the file's ending.
ENDINGS = {".md": "md", ".csv": "csv", ".json": "json", ".xml": "junit"}


@common.handled
def check(
    results: Annotated[
        list[str],
        typer.Argument(
            help="Result folders of `seekbench run`, or run configs (path or shipped name), which are run first."
        ),
    ],
    against: Annotated[
        Path,
        typer.Option("--against", help="The baseline: a folder that --update wrote, or a results folder."),
    ],
    tolerance: Annotated[
        list[str] | None,
        typer.Option(
            metavar="X|METRIC=X", help="The largest loss that is allowed; repeatable.  [default: 0.001]"
        ),
    ] = None,
    test: Annotated[
        Test | None, typer.Option(help="Decide by a paired test over the queries instead of a tolerance.")
    ] = None,
    alpha: Annotated[
        float | None, typer.Option(min=0.0001, max=0.5, help="Level of the test.  [default: 0.05]")
    ] = None,
    min_effect: Annotated[
        float | None,
        typer.Option(min=0.0, help="With --test, the smallest loss that can fail.  [default: 0.005]"),
    ] = None,
    correction: Annotated[
        figures.Correction | None,
        typer.Option(help="With --test, over all cells that are tested.  [default: holm]"),
    ] = None,
    metric: Annotated[
        list[str] | None, typer.Option("--metric", "-m", help="Only these metrics.  [default: all]")
    ] = None,
    dataset: Annotated[list[str] | None, typer.Option(help="Only cells of this dataset; repeatable.")] = None,
    system: Annotated[list[str] | None, typer.Option(help="Only cells of this system; repeatable.")] = None,
    efficiency: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FIGURE",
            help="Check this as well: queries_per_second, latency_p50_ms, latency_p95_ms, index_seconds (ratios to "
            "--reference), index_bytes; repeatable.",
        ),
    ] = None,
    reference: Annotated[
        str | None, typer.Option(help="The system of the same run that speeds are divided by.")
    ] = None,
    max_slowdown: Annotated[
        float, typer.Option(min=1.0, help="How many times slower, beside the reference, is allowed.")
    ] = 1.5,
    max_growth: Annotated[
        float, typer.Option(min=1.0, help="How many times more index bytes are allowed.")
    ] = 1.1,
    changed: Annotated[
        int, typer.Option("--changed", "-n", min=0, help="How many queries that lost most to show.")
    ] = 10,
    update: Annotated[
        bool, typer.Option("--update", help="Show what would change in the baseline, ask, and write it.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="With --update: don't ask.")] = False,
    prune: Annotated[
        bool, typer.Option("--prune", help="With --update: remove cells that the results lack.")
    ] = False,
    format: Annotated[Format, typer.Option("--format", "-f", help="How to print it.")] = Format.table,
    save: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE", help="Write it to a .md, .json, .csv or .xml (JUnit) file too; repeatable."
        ),
    ] = None,
    junit: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write JUnit XML to this file, whatever its ending.")
    ] = None,
    github: Annotated[
        bool,
        typer.Option("--github", help="Annotations for GitHub Actions (on stderr), and the step's summary."),
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Where a config's results go.  [default: results/<name>]"),
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="As for `seekbench run`.")
    ] = None,
    offline: options.Offline = False,
    device: options.Device = "auto",
    threads: options.Threads = None,
    store: options.Store = None,
    trust_remote_code: options.TrustRemoteCode = False,
) -> None:
    """Check results against a baseline: what got worse, and which queries lost.

    A cell fails that is worse by more than the tolerance, is missing, failed, or lacks a metric. A better one never
    fails. Exit codes: 0 all good, 1 something fails, 2 it can't be compared (other data, k or rules), or wrong input.

    Examples:  seekbench check my.yaml --against results/baseline --update   |   seekbench check results/mine
    --against results/baseline --test t --min-effect .01 --junit check.xml
    """
    from seekbench.errors import Report
    from seekbench.gate import baseline as baselines
    from seekbench.gate import compare, texts
    from seekbench.gate import efficiency as speeds
    from seekbench.store import Store

    if against.name == baselines.FILE:
        against = against.parent
    report = Report()
    folders, configs = _told_apart(results, report)
    rule = _rule(tolerance, test, alpha, min_effect, correction, report)
    speed = speeds.EfficiencyRule(tuple(efficiency or ()), reference, max_slowdown, max_growth)
    speed.check(report)
    metrics = _metrics(metric, report)
    files = _files(save or [], junit, report)
    _check_update(against, update, yes, prune, report)
    if output is not None and len(configs) != 1:
        report.error("option", "this is for the results of one run config", where="--output")
    if set_ and not configs:
        report.error("option", "this is for a run config, and none is named", where="--set")
    stored = _baseline(against, update, report)
    report.raise_if_errors()
    opened = Store(store)
    context = cells_.context_of(cells_.progress_of(False), offline, device, threads, trust_remote_code)
    anew = any(name not in speeds.SIZES for name in speed.figures)
    loaded = [cells_.load_config(c, set_ or [], context) for c in configs]
    if not folders:  # before anything is searched
        speed.refuse_other({r.name for config in loaded for r in config.retrievers})
    found, failed, fresh = _measured(folders, loaded, output, opened, context, dataset, system, anew)
    chosen, failures, expected = compare.select(
        found, failed, stored, datasets=dataset or (), systems=system or ()
    )
    if update:
        _update(against, chosen, failures, stored, expected, yes, prune, bool(speed.figures))
        return
    verdict = compare.compare(chosen, failures, expected, rule, metrics=metrics, most=changed)
    refused = {(f.dataset, f.split, f.system) for f in verdict.refused}
    cells = {r.cell for r in expected if (r.dataset, r.split, r.system) not in refused}
    verdict.findings += speeds.compare(found, stored, speed, cells)
    verdict.notes += speeds.notes(found, speed, fresh)
    if len(expected) < len(stored):
        verdict.notes.append(
            f"only {len(expected)} of the {len(stored)} cells of the baseline were asked for"
        )
    known = texts.load(found, verdict.findings, opened)
    _print(verdict, known, format)
    for file, kind in files.items():
        file.write_bytes(_rendered(verdict, known, kind))
    if github:
        _tell_github(verdict, known)
    _end(verdict)


def _rule(
    tolerance: list[str] | None,
    test: Test | None,
    alpha: float | None,
    min_effect: float | None,
    correction: figures.Correction | None,
    report: Report,
) -> Rule:
    from seekbench.errors import InputError
    from seekbench.gate.compare import Rule
    from seekbench.metrics.measure import parse

    general, by_metric = None, {}
    for text in tolerance or []:
        # A metric's own name may hold `=`: rbp(p=0.8)@10=.01
        name, _, number = text.rpartition("=")
        try:
            value = float(number)
        except ValueError:
            value = -1.0
        if not (math.isfinite(value) and value >= 0):
            report.error(
                "tolerance", f"'{text}' is no tolerance", where="--tolerance", remedy="such as .001 or ndcg@10=.002"
            )  # fmt: skip
            continue
        if not name:
            general = value
            continue
        try:
            by_metric[parse(name).name] = value
        except InputError as error:
            report.error("tolerance", str(error), where="--tolerance")
    if test is None:
        for option, given in (("--alpha", alpha), ("--min-effect", min_effect), ("--correction", correction)):
            if given is not None:
                report.error("option", "this belongs to --test", where=option, remedy="add --test t")
    elif general is not None:
        report.error(
            "option",
            "a tolerance for all metrics and --test exclude each other",
            where="--tolerance",
            remedy="--min-effect is the smallest loss that fails; --tolerance METRIC=X takes a metric from the test",
        )
    default = Rule()
    return Rule(
        default.tolerance if general is None else general,
        by_metric,
        None if test is None else test.value,
        default.alpha if alpha is None else alpha,
        default.min_effect if min_effect is None else min_effect,
        default.correction if correction is None else correction.value,
    )


def _metrics(given: list[str] | None, report: Report) -> list[str]:
    from seekbench.errors import InputError
    from seekbench.metrics.measure import parse_all

    try:
        return [m.name for m in parse_all(given, where="--metric")] if given else []
    except InputError as error:
        report.extend(error.report)
        return []


def _files(save: Sequence[Path], junit: Path | None, report: Report) -> dict[Path, str]:
    """What to write where; wrong places are said before anything runs."""
    from seekbench.errors import InputError

    files = {path: ENDINGS.get(path.suffix.lower(), "") for path in save}
    for path, kind in files.items():
        if not kind:
            report.error("file", f"{path} has none of the endings {', '.join(ENDINGS)}", where="--save")
    if junit is not None:
        files[junit] = "junit"
    for path, kind in files.items():
        option = "--save" if path in save else "--junit"
        if path.is_dir():
            report.error("file", f"{path} is a folder", where=option)
        elif kind:
            try:
                common.make_writable(path.parent, option)
            except InputError as error:
                report.extend(error.report)
    return files


def _baseline(against: Path, update: bool, report: Report) -> list[Result]:
    from seekbench.errors import InputError
    from seekbench.gate import baseline as baselines

    if update and not baselines.is_baseline(against):
        return []
    try:
        return baselines.load(against)
    except InputError as error:
        report.extend(error.report)
        return []


def _check_update(against: Path, update: bool, yes: bool, prune: bool, report: Report) -> None:
    from seekbench.gate import baseline as baselines

    if not update:
        for option, given in (("--yes", yes), ("--prune", prune)):
            if given:
                report.error("option", "this belongs to --update", where=option)
        return
    if (
        against.exists()
        and not baselines.is_baseline(against)
        and (not against.is_dir() or any(against.iterdir()))
    ):
        report.error(
            "update",
            f"{against} is there already and is no stored baseline",
            where="--update",
            remedy="name a new folder or one that --update wrote",
        )
    if not yes and not _can_ask():
        report.error(
            "update", "there is nobody to ask", where="--update", remedy="--yes writes without asking"
        )


def _can_ask() -> bool:
    return sys.stdin.isatty()


def _told_apart(given: Sequence[str], report: Report) -> tuple[list[Path], list[str]]:
    """(result folders and files, run configs)."""
    from seekbench.errors import InputError

    folders, configs = [], []
    for text in given:
        path = Path(text)
        if path.is_dir() or path.suffix == ".json":
            folders.append(path)
            continue
        if path.is_file() and path.suffix not in (".yaml", ".yml"):
            report.error(
                "no-results",
                "this is neither a results folder nor a run config",
                where=text,
                remedy="a run file is checked through a config with a retriever of type run_file",
            )
            continue
        try:
            common.find_config(text)
            configs.append(text)
        except InputError as error:
            (problem,) = error.report.problems
            report.error("no-results", f"no results and no config '{text}'", remedy=problem.remedy)
    return folders, configs


def _measured(
    folders: Sequence[Path],
    configs: Sequence[RunConfig],
    output: Path | None,
    store: Any,
    context: Any,
    datasets: list[str] | None,
    systems: list[str] | None,
    anew: bool,
) -> tuple[list[Result], list[FailedCell], set[Key]]:
    """The results that are there, and those of configs, which are run now; which cells' speeds were measured now. anew:
    searches that are stored are made again, since their speeds would be those of another day."""
    from seekbench.errors import Report
    from seekbench.gate.results import FailedCell, load, of_record, refuse_doubles
    from seekbench.leaderboard import records

    found, failed = load(folders) if folders else ([], [])
    fresh: set[Key] = set()
    for config, partly in (_narrowed(c, datasets, systems) for c in configs):
        folder = output or Path("results") / config.name
        outcome = _run(config, folder, store, context, partly, anew)
        # Not all that the folder holds: an earlier run's cell would stand for one that this config lacks.
        for r in outcome.records:
            d = r["dataset"]
            place = records.cell_folder(folder, d["id"], d["split"], r["retriever"]["name"])
            found.append(of_record(place, r))
            fresh.update({found[-1].cell} if anew else ())
        failed += [
            FailedCell((records.dataset_folder(f.dataset), f.split, f.retriever), f.cause)
            for f in outcome.failures
        ]
    report = Report()
    refuse_doubles(found, report)
    report.raise_if_errors()
    return found, failed, fresh


def _narrowed(
    config: RunConfig, datasets: list[str] | None, systems: list[str] | None
) -> tuple[RunConfig, bool]:
    """(the config with those cells alone that are asked for, and what they need; whether any was left out)."""
    from dataclasses import replace

    wanted = {s for s in systems or () if any(r.name == s for r in config.retrievers)}
    for entry in reversed(config.retrievers):  # composites come after what they need
        if entry.name in wanted:
            wanted.update(entry.retriever.needs)
    kept = tuple(r for r in config.retrievers if not systems or r.name in wanted)
    chosen = tuple(d for d in config.datasets if not datasets or d.id in datasets)
    partly = len(kept) < len(config.retrievers) or len(chosen) < len(config.datasets)
    return replace(config, retrievers=kept, datasets=chosen), partly


def _run(config: RunConfig, folder: Path, store: Any, context: Any, partly: bool, anew: bool) -> Any:
    from seekbench.leaderboard import render
    from seekbench.runner import execute

    common.make_writable(folder, "--output")
    common.make_writable(store.root, "--store")
    outcome = execute(
        config, output=folder, store=store, context=context, anew=anew, on_error=cells_.traceback
    )
    if not partly:  # a part would replace the whole table
        render.write(folder, cells_.boards_of(config, outcome, folder))
    return outcome


def _print(verdict: Verdict, known: Texts, format: Format) -> None:
    from seekbench.gate import report

    if format is not Format.table:
        typer.echo(_rendered(verdict, known, format.value).decode(), nl=False)
        return
    # What is refused is said on stderr when all is printed.
    grid = report.grid(verdict.findings, lines=report.notes(verdict, refused=False))
    figures.show([grid, *report.lost_grids(verdict, known, each=False)], figures.TableFormat.table)
    typer.echo(f"\n{report.headline(verdict)}")


def _rendered(verdict: Verdict, known: Texts, kind: str) -> bytes:
    import orjson

    from seekbench import tables
    from seekbench.gate import junit, report

    if kind == "md":
        return report.markdown(verdict, known).encode()
    if kind == "csv":
        return tables.as_csv(report.csv_grid(verdict)).encode()
    if kind == "json":
        options = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
        return orjson.dumps(report.as_json(verdict, known), option=options)
    return junit.xml(verdict, known)


def _tell_github(verdict: Verdict, known: Texts) -> None:
    from seekbench.gate import github

    # The runner reads commands from both streams, and what is printed must stay one document.
    for line in github.commands(verdict):
        typer.echo(line, err=True)
    summary = os.environ.get("GITHUB_STEP_SUMMARY")
    if summary:
        with Path(summary).open("a", encoding="utf-8") as handle:
            handle.write(github.summary(verdict, known))


def _end(verdict: Verdict) -> None:
    """Says again on stderr what can't be compared, and exits."""
    from seekbench.errors import InputError, Report
    from seekbench.gate.compare import grouped

    if verdict.refused:
        report, systems = Report(shown=50), dict[tuple[str, str, str], list[str]]()
        for (dataset, split, system), findings in grouped(verdict.refused).items():
            systems.setdefault((dataset, split, findings[0].reason), []).append(system)
        for (dataset, split, reason), names in systems.items():
            report.error(
                "not-comparable",
                f"{dataset} ({split}) {', '.join(names)}: {reason}",
                remedy="if that is meant, accept it with --update",
            )
        raise InputError(report=report)
    if verdict.failing:
        raise typer.Exit(common.FAILED)


def _update(
    folder: Path,
    results: Sequence[Result],
    failures: Sequence[FailedCell],
    stored: Sequence[Result],
    expected: Sequence[Result],
    yes: bool,
    prune: bool,
    efficiency: bool,
) -> None:
    """Shows what changes, asks, and writes. stored: the whole baseline; expected: the part that is asked for."""
    from seekbench.gate import baseline as baselines
    from seekbench.gate.results import name_of

    for failure in failures:
        typer.echo(f"failed: {name_of(failure.cell)}: {failure.cause}; not stored", err=True)
    lost = {f.cell for f in failures}
    new = [r for r in results if r.cell not in lost]
    there = {r.cell for r in new}
    absent = [r for r in expected if r.cell not in there and r.cell not in lost]
    removed = {r.cell for r in absent} if prune else set()
    for r in absent if not prune else []:
        typer.echo(
            f"kept: {name_of(r.cell, r.dataset)}, which the results lack (--prune removes it)", err=True
        )
    for r in new:
        if r.limited:
            typer.echo(
                f"warning: {name_of(r.cell, r.dataset)} is of a part of the queries (limited)", err=True
            )
    found = baselines.changes(stored, new, removed=removed, efficiency=efficiency)
    if not found:
        typer.echo(f"{folder}: nothing changes")
    else:
        _show_changes(found)
        kept = [r for r in stored if r.cell not in removed and r.cell not in there]
        if not yes and not typer.confirm(f"write {folder}?", default=False):
            typer.echo("not written", err=True)
            raise typer.Exit(common.FAILED)
        common.make_writable(folder, "--against")
        baselines.write(folder, [*kept, *new])
        typer.echo(f"written: {folder} ({len(kept) + len(new)} cells); review and commit it")
    if failures:
        raise typer.Exit(common.FAILED)


def _show_changes(found: Sequence[Any]) -> None:
    from seekbench.gate.report import figure
    from seekbench.gate.results import name_of
    from seekbench.store import short
    from seekbench.tables import Grid, Text

    def value(given: Any) -> str:
        if given is None:
            return "–"
        return figure(given) if isinstance(given, float) else short(given)

    rows: list[list[Text | str]] = []
    for change in found:
        name = name_of(change.cell, change.dataset)
        for i, field in enumerate(change.fields):
            rows.append(
                [
                    "" if i else name,
                    "" if i else change.kind,
                    field.name,
                    value(field.before),
                    value(field.after),
                ]
            )
        queries = f"scores of {change.queries:,} queries"
        rows.append(["" if change.fields else name, "" if change.fields else change.kind, queries, "", ""])
    figures.show(
        [Grid(["cell", "", "what", "baseline", "new"], rows, left=frozenset({0, 1, 2}))],
        figures.TableFormat.table,
    )
