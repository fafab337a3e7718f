"""`seekbench subsample`: a smaller collection of a dataset, and how it ranks systems."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from seekbench.cli import cases, common, figures
from seekbench.cli.figures import ReportFormat

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from seekbench.analysis.cases import Case
    from seekbench.analysis.cells import RunCell
    from seekbench.analysis.subsample import Report, Sample
    from seekbench.collection import Dataset
    from seekbench.tables import Grid

#: What the folder was made of; another folder's content is never overwritten.
PROVENANCE = "subsample.json"


@common.handled
def subsample(
    dataset: Annotated[str, typer.Argument(help="A dataset's name or folder.", show_default=False)],
    runs: Annotated[
        list[str],
        typer.Argument(
            help="Systems on it: run files or folders of results; PATH or NAME=PATH.", show_default=False
        ),
    ],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="The folder to write, in BEIR's layout.", show_default=False),
    ],
    depth: Annotated[int, typer.Option(min=1, help="Hits of each pooled run and query that are kept.")] = 250,
    pool: Annotated[
        list[str] | None, typer.Option(help="Once a system that is pooled; others only rank.  [default: all]")
    ] = None,
    queries: Annotated[int | None, typer.Option(min=1, help="Draw so many queries.  [default: all]")] = None,
    random: Annotated[int, typer.Option(min=0, help="Keep so many other documents, drawn at random.")] = 0,
    seed: Annotated[int, typer.Option(min=0, help="Of everything that is drawn.")] = 13,
    split: Annotated[str | None, typer.Option(help="The dataset's split.  [default: its own]")] = None,
    metric: Annotated[str, typer.Option("--metric", "-m", help="What systems are ranked by.")] = "ndcg@10",
    rerun: Annotated[
        list[Path] | None,
        typer.Option(
            help="Results of the same systems on the folder, from an earlier call: added to the report."
        ),
    ] = None,
    format: Annotated[ReportFormat, figures.FORMAT] = ReportFormat.table,
    json_: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
) -> None:
    """Make a smaller collection: all relevant documents, and hard negatives pooled from runs (as MMTEB did).

    The report says whether it still ranks the systems alike: by their runs restricted to it, by each system on a
    collection pooled without it, and, with --rerun, by systems that searched it.

    Example:  seekbench subsample ./scifact results/x -o ./scifact-small --depth 100 --queries 200
    """
    import json

    from seekbench.analysis import subsample as sampling
    from seekbench.api import load_dataset
    from seekbench.errors import InputError
    from seekbench.metrics.measure import parse

    measure = parse(metric)
    if measure.definition.aggregate != "mean":
        raise InputError(f"{measure.name} is no mean over queries", where="--metric")
    entry: Any = {"path": dataset} if Path(dataset).is_dir() else dataset
    if split is not None:
        entry = {**(entry if isinstance(entry, dict) else {"name": entry}), "split": split}
    data = load_dataset(entry)
    if data.candidates is not None:
        raise InputError(
            f"in {data.id} every query has its own candidates, which are the hard negatives already",
            where=dataset,
        )
    names, cells = _systems(runs, data)
    case = _case(data, names, cells, measure.name)
    places = _places(pool, names)
    sample = sampling.draw(case, places, depth=depth, queries=queries, random=random, seed=seed)
    recipe = {
        "dataset": {"id": data.id, "split": data.split, "hashes": data.hashes},
        "depth": depth,
        "queries": queries,
        "random": random,
        "seed": seed,
        "runs": [
            _run_of(name, cell, i in places) for i, (name, cell) in enumerate(zip(names, cells, strict=True))
        ],
    }
    facts = _written(output, case, sample, recipe)
    found = sampling.report(case, sample, places, depth=depth)
    again = _rerun(rerun or [], facts, names, measure.name)
    out = {**facts, "report": _as_json(case, found, places, again)}
    _note(output, out)
    if json_ or format is ReportFormat.json:
        typer.echo(json.dumps(figures.plain(out), indent=2, ensure_ascii=False))
        return
    shallow = [name for name, run in zip(names, case.runs, strict=True) if run.k < depth]
    grids = _grids(case, sample, found, places, again, facts, output)
    if shallow:
        grids[0].notes = [
            *grids[0].notes,
            f"fewer than {depth} hits a query, of which all are taken: {', '.join(shallow)}",
        ]
    figures.show(grids, figures.TableFormat(format.value))


def _systems(runs: list[str], data: Dataset) -> tuple[list[str], list[RunCell]]:
    """Names and runs of the systems; of folders of results, the cells of this dataset."""
    from seekbench import hashing
    from seekbench.errors import InputError, Report
    from seekbench.leaderboard.again import refuse_other

    report, pairs = Report(), []
    for file, cells in cases.cells_of(runs):
        fitting = []
        for cell in cells:
            try:
                if cell.record is not None:
                    refuse_other(data, cell.record, cell.run.parent)
                fitting.append((file, cell))
            except InputError as error:
                # A folder of results may hold other datasets; a cell that was named must fit.
                if len(cells) == 1 or cell.dataset == (data.id, data.split):
                    report.extend(error.report)
        if not fitting and not report.errors:
            report.error(
                "no-runs", f"there is no result of {data.id} ({data.split}) below it", where=file.key,
                remedy="name results on this dataset",
            )  # fmt: skip
        pairs += fitting
    report.raise_if_errors()
    names, cells = cases.names_of(pairs), [cell for _, cell in pairs]
    # A run that is named twice would stay in the pool that its twin is left out of.
    by_content: dict[str, str] = {}
    kept = []
    for name, cell in zip(names, cells, strict=True):
        first = by_content.setdefault(hashing.of_file(cell.run), name)
        if first == name:
            kept.append((name, cell))
        else:
            typer.echo(f"note: {name} is the same run as {first}, and is left out", err=True)
    return [name for name, _ in kept], [cell for _, cell in kept]


def _case(data: Dataset, names: list[str], cells: list[RunCell], metric: str) -> Case:
    from seekbench.analysis.cases import Judged, build
    from seekbench.metrics.measure import parse_all

    return build(data.id, cells, Judged.of_dataset(data), parse_all([metric]), names=names, dataset=data)


def _places(pool: list[str] | None, names: list[str]) -> list[int]:
    from seekbench.errors import InputError, Report, did_you_mean

    report = Report()
    for name in pool or []:
        if name not in names:
            report.extend(
                InputError(f"no system '{name}'", where="--pool", remedy=did_you_mean(name, names)).report
            )
    report.raise_if_errors()
    return [i for i, name in enumerate(names) if pool is None or not pool or name in pool]


def _run_of(name: str, cell: RunCell, pooled: bool) -> dict[str, Any]:
    from seekbench import hashing

    return {
        "name": name,
        "sha256": hashing.of_file(cell.run),
        "system": None if cell.record is None else cell.record["retriever"]["system"],
        "pooled": pooled,
    }


def _written(output: Path, case: Case, sample: Sample, recipe: dict[str, Any]) -> dict[str, Any]:
    """Writes the folder, or finds that it was made of the same; what PROVENANCE holds, but for the report."""
    import os
    import shutil

    import orjson

    from seekbench import __version__, hashing
    from seekbench.analysis import subsample as sampling
    from seekbench.api import load_dataset
    from seekbench.errors import InputError

    if output.exists():
        try:
            known = orjson.loads((output / PROVENANCE).read_bytes())
            same = known["key"] == hashing.of_json(recipe)
        except (OSError, ValueError, KeyError, TypeError):
            known, same = {}, False
        if same:
            known.pop("report", None)
            return dict(known)
        if not output.is_dir() or any(output.iterdir()):
            raise InputError(
                "it exists already, and was not made of the same dataset, runs and options",
                where=str(output), remedy="choose another folder, or remove it",
            )  # fmt: skip
        output.rmdir()
    common.make_writable(output.absolute().parent, "--output")
    part = output.with_name(f".{output.name}.{os.getpid()}.part")
    try:
        judgments = sampling.write(part, case, sample)
        part.replace(output)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    assert case.dataset is not None
    # Loaded as a user would: what can't be read must not be said to be made.
    made = load_dataset({"path": str(output), "split": case.dataset.split})
    facts = {
        "subsample_version": 1,
        "key": hashing.of_json(recipe),
        "recipe": recipe,
        "seekbench": __version__,
        "made": {"split": made.split, "hashes": made.hashes},
        "documents": {
            "of": len(case.dataset.corpus),
            "kept": int(sample.documents.sum()),
            "relevant": len(sample.relevant),
            "pooled": len(sample.pooled),
            "random": len(sample.random),
            "relevant_absent": len(made.qrels.absent_ids),
        },
        "queries": {"of": len(case.query_ids), "kept": len(sample.queries)},
        "judgments": judgments,
        "template": case.dataset.template,
        "query_template": case.dataset.query_template,
        "exclude": case.dataset.exclusion.kind,
        "source": dict(case.dataset.source),
    }
    _note(output, facts)
    return facts


def _note(output: Path, facts: dict[str, Any]) -> None:
    import orjson

    from seekbench.store import write_atomic

    write_atomic(output / PROVENANCE, orjson.dumps(figures.plain(facts), option=orjson.OPT_INDENT_2))


def _rerun(
    folders: list[Path], facts: dict[str, Any], names: list[str], metric: str
) -> npt.NDArray[np.float64] | None:  # fmt: skip
    """float64 [systems]: scores of systems that searched the folder, NaN where there is none; None without results.

    Raises InputError where no result is of the folder's content.
    """
    import numpy as np

    from seekbench.analysis.cells import below
    from seekbench.errors import InputError, did_you_mean

    if not folders:
        return None
    scores = np.full(len(names), np.nan)
    for folder in folders:
        of_it = 0
        for cell in below(folder):
            record = cell.record
            if record is None or any(
                record["dataset"]["hashes"].get(p) != facts["made"]["hashes"][p]
                for p in ("corpus", "queries", "qrels")
            ):
                continue
            of_it += 1
            if metric not in record["metrics"]:
                raise InputError(
                    f"has no metric '{metric}'", where=str(cell.run.parent),
                    remedy=did_you_mean(metric, record["metrics"]),
                )  # fmt: skip
            if cell.name in names:
                scores[names.index(cell.name)] = record["metrics"][metric]["mean"]
        if not of_it:
            raise InputError(
                "there is no result on this folder's content", where=str(folder), remedy="run its config on the folder"
            )  # fmt: skip
    if np.isnan(scores).all():
        raise InputError(f"no system in {folders[0]} is called {' or '.join(names)}", where="--rerun")
    return scores


def _grids(
    case: Case, sample: Sample, found: Report, pool: list[int], again: npt.NDArray[np.float64] | None,
    facts: dict[str, Any], output: Path,
) -> list[Grid]:  # fmt: skip
    import numpy as np

    from seekbench.analysis.subsample import FEWEST_SYSTEMS, agreement
    from seekbench.tables import Grid, Text

    drawn = len(sample.queries) < len(case.query_ids)
    columns = ["system", "pooled", "whole", *(["same queries"] if drawn else []), "restricted", "left out"]
    columns += ["run anew"] if again is not None else []
    figures_of = [found.before, *([found.same_queries] if drawn else []), found.after, found.left_out]
    figures_of += [again] if again is not None else []
    order = np.argsort(
        -found.before if not case.measures[0].definition.lower else found.before, kind="stable"
    )
    rows = []
    for i in order.tolist():
        cells = [Text(figures.number(float(v[i])), value=float(v[i])) for v in figures_of]
        rows.append([Text(case.systems[i]), Text("yes" if i in pool else ""), *cells])
    d = facts["documents"]
    title = (
        f"{output}: {d['kept']:,} of {d['of']:,} documents ({d['relevant']:,} relevant, {d['pooled']:,} pooled, "
        f"{d['random']:,} random), {facts['queries']['kept']:,} of {facts['queries']['of']:,} queries"
    )
    notes = [
        f"{case.measures[0].name}. restricted: each run's hits on the kept documents alone, exact where a score hangs "
        "on query and document alone, an approximation where it hangs on the corpus (BM25) or on other hits (fusion)",
        "left out: restricted to a collection pooled without that system",
    ]
    short = [f"{case.systems[i]} {n:,}" for i, n in enumerate(found.short.tolist()) if n]
    if short:
        notes.append(
            f"queries whose run ends before its restricted list is full (scores too low): {', '.join(short)}"
        )
    if facts["exclude"] != "none":
        notes.append(
            f"the dataset excludes documents ({facts['exclude']}): say so in the config of the new one"
        )
    grids = [Grid(columns, rows, title=title, notes=[*notes, *case.notes], left=frozenset({0, 1}))]
    lines = []
    conditions = [("same queries, whole collection", found.same_queries)] if drawn else []
    conditions += [("restricted", found.after), ("left out, each in its own", found.left_out)]
    conditions += [("run anew", again)] if again is not None else []
    for name, scores in conditions:
        a = agreement(found.before, scores)
        lines.append(_agreement_row(name, a.tau, a.rho, f"{a.swaps} of {a.pairs}", a.largest))
    if len(found.without) > 1:
        every = list(found.without.values())
        worst = min(every, key=lambda a: (a.tau, a.rho))
        lines.append(_agreement_row(
            f"pooled without one, worst of {len(every)}", worst.tau, worst.rho, f"{worst.swaps} of {worst.pairs}",
            max(a.largest for a in every),
        ))  # fmt: skip
    said = [
        "order of the systems on the whole collection beside that on the sample: Kendall's tau-b, Spearman's rho"
    ]
    fewest = min(int((~np.isnan(scores)).sum()) for _, scores in conditions)
    if fewest < FEWEST_SYSTEMS:
        said.append(
            f"correlations of fewer than {FEWEST_SYSTEMS} systems say little; here some are of {fewest}"
        )
    heads = ["against the whole", "tau", "rho", "swapped pairs", "largest change"]
    grids.append(Grid(heads, lines, notes=said))
    return grids


def _agreement_row(name: str, tau: float, rho: float, swaps: str, largest: float) -> list[Any]:
    from seekbench.tables import Text

    return [
        Text(name), Text(figures.number(tau, 3), value=tau), Text(figures.number(rho, 3), value=rho), Text(swaps),
        Text(figures.number(largest), value=largest),
    ]  # fmt: skip


def _as_json(
    case: Case, found: Report, pool: list[int], again: npt.NDArray[np.float64] | None
) -> dict[str, Any]:  # fmt: skip
    from dataclasses import asdict

    from seekbench.analysis.subsample import agreement

    scores = {
        "whole": found.before, "same_queries": found.same_queries, "restricted": found.after,
        "left_out": found.left_out,
        **({"run_anew": again} if again is not None else {}),
    }  # fmt: skip
    return {
        "metric": case.measures[0].name,
        "systems": {
            name: {
                "pooled": i in pool, **{what: float(values[i]) for what, values in scores.items()},
                "short_lists": int(found.short[i]),
            }
            for i, name in enumerate(case.systems)
        },
        "agreement": {
            what: asdict(agreement(found.before, values)) for what, values in scores.items() if what != "whole"
        },
        "pooled_without": {case.systems[i]: asdict(a) for i, a in found.without.items()},
        "notes": case.notes,
    }  # fmt: skip
