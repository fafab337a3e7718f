"""MTEB: `results/<org>__<model>/<revision>/<Task>.json`, model_meta.json and run_settings.jsonl."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from seekbench import mteb_results
from seekbench.datasets import mteb_tasks
from seekbench.errors import Report, did_you_mean
from seekbench.metrics.measure import parse
from seekbench.submission import model_sheet, preflight
from seekbench.submission.bundle import Bundle, Cell
from seekbench.submission.known import MAIN
from seekbench.submission.targets import File, Row, Submission

#: Cutoffs of every retrieval metric.
CUTOFFS = (1, 3, 5, 10, 20, 100, 1000)
#: The results repository takes no larger file.
_MOST_BYTES = 10_000_000
_DEPTH = max(CUTOFFS)

#: mteb's keys, besides `accuracy` and `main_score`, in its order. Its nAUC figures are of all but the hit rate.
_BASES = ("ndcg", "map", "recall", "precision", "mrr", "hit_rate")
_KEYS = [f"{base}_at_{k}" for base in _BASES for k in CUTOFFS] + [
    f"nauc_{base}_at_{k}_{by}" for base in _BASES[:-1] for k in CUTOFFS for by in ("max", "std", "diff1")
]


@dataclass(frozen=True)
class _Place:
    """Where a cell's scores go. task: None where it is not known here. own_id: whether the document with the query's
    own id counts as a hit."""

    name: str
    task: mteb_tasks.Task | None
    revision: str
    splits: tuple[str, ...]
    subset: str
    languages: tuple[str, ...]
    main_score: str
    own_id: bool

    @property
    def subsets(self) -> list[str]:
        """Of a known task."""
        return [subset or "default" for subset in self.task.languages] if self.task else []


def export(bundle: Bundle, report: Report) -> Submission:
    out = Submission()
    sheet = model_sheet.model_sheet(bundle.metadata, bundle.cells, report)
    bundle = replace(bundle, metadata=replace(bundle.metadata, model=sheet))
    preflight.check_known_system(bundle, report)
    results: dict[str, mteb_results.TaskResult] = {}
    places: dict[str, _Place] = {}
    settings: list[dict[str, Any]] = []
    revision = sheet.revision or "no_revision_available"
    folder = f"results/{(sheet.name or 'no/name').replace('/', '__')}/{revision}"
    for cell in bundle.cells:
        place = _place(cell, bundle, report)
        if place is None:
            continue
        preflight.check_training(bundle, cell, sheet.training_datasets, place.name, report)
        preflight.check_split(cell, place.splits, report)
        read = preflight.read(bundle, cell, report)
        if read is None:
            continue
        hits, judged = read
        _check_counts(cell, place, len(judged.query_ids), report)
        preflight.check_own_ids(cell, hits, place.own_id, report)
        preflight.check_ids(cell, hits, judged, report)
        preflight.check_figures(cell, hits, judged, report)
        if not preflight.check_depth(cell, hits, judged, _DEPTH, report):
            continue
        keys = [*dict.fromkeys([*_KEYS, place.main_score])]
        measures = {m.name: m for m in map(parse, keys)}
        entry = _entry(preflight.figures(hits, judged, list(measures.values()), own=True), place, keys)
        value = float(entry["main_score"])
        metrics = [MAIN, parse(place.main_score).name]
        known = preflight.check_known(bundle, cell, [place.name], metrics, value, report, subset=place.subset)
        result = _merged(results.get(place.name), cell, place, entry, report)
        results[place.name], places[place.name] = result, place
        settings.append(_settings(cell, place))
        out.rows.append(
            Row(
                cell.label,
                f"{place.name}.json",
                len(judged.query_ids),
                _DEPTH,
                place.main_score,
                value,
                known,
            )
        )
    _check_complete(results, places, report)
    _check_removed(results, bundle, report)
    for task, result in results.items():
        content = _json(mteb_results.as_json(result))
        if len(content) > _MOST_BYTES:
            report.error(
                "size", f"{len(content):,} bytes, the repository takes {_MOST_BYTES:,}", where=f"{task}.json"
            )
        out.files.append(_file(f"{folder}/{task}.json", content))
    out.files.append(_file(f"{folder}/{mteb_results.META_FILE}", _json(model_sheet.as_json(sheet))))
    lines = b"".join(json.dumps(line).encode() + b"\n" for line in settings)
    out.files.append(_file(f"{folder}/{mteb_results.SETTINGS_FILE}", lines))
    report.warning(
        "not-mteb",
        "MTEB's checklist asks for results obtained with the model's implementation in mteb; these were reckoned by "
        "seekbench, and mteb_version is null",
        remedy="say so in the pull request",
    )
    out.next_steps = [
        "fork github.com/embeddings-benchmark/results and copy results/ into it",
        "check that mteb implements the model (mteb/models/model_implementations): its leaderboard shows no other; "
        "if not, add it there first",
        "open a pull request with the repository's checklist: results from that implementation, model available, "
        "not trained on test data",
    ]
    if any(name.startswith("CQADupstack") for name in results):
        out.next_steps.append("CQADupstackRetrieval, the mean of the twelve forums, is made by mteb itself")
    return out


def _place(cell: Cell, bundle: Bundle, report: Report) -> _Place | None:
    """The task, from the user or from the hub repository that the data came from, and its revision likewise."""
    entry = bundle.metadata.entry(cell.dataset)
    source: Mapping[str, Any] = cell.record["dataset"]["source"]
    is_hub = source.get("format") == "hub"
    name = entry.task or (_task_of(source) if is_hub else None)
    if name is None:
        report.error(
            "no-task",
            "which MTEB task this is, its source does not tell",
            where=cell.label,
            remedy=f"--task {cell.dataset}=TASK, or datasets.{cell.dataset}.task in the file of --meta",
        )
        return None
    revision = entry.revision or (source.get("revision") if is_hub else None)
    if revision is None:
        report.error(
            "no-revision",
            f"which revision of {name}'s data was searched, its source does not tell",
            where=cell.label,
            remedy=f"--dataset-revision {cell.dataset}=COMMIT, if the data is that commit's",
        )
        return None
    if is_hub and entry.revision and entry.revision != source.get("revision"):
        report.error(
            "revision",
            f"searched was revision {source.get('revision')}, not {entry.revision}",
            where=cell.label,
            remedy="leave the option out",
        )
    if not is_hub:
        report.warning(
            "revision-unchecked",
            f"its source is {source.get('subject')}; that this is revision {revision} of {name}'s data is your word",
            where=cell.label,
        )
    task = mteb_tasks.tasks().get(name)
    if task is not None:
        if revision != task.revision:
            report.error(
                "revision",
                f"revision {revision} of the data; MTEB evaluates {name} on {task.revision}",
                where=cell.label,
                remedy="search that revision",
            )
        subset = entry.subset if entry.subset != "default" else str(source.get("subset") or "default")
        languages = task.languages.get("" if subset == "default" else subset)
        if languages is None:
            report.error(
                "subset", f"{name} has no subset '{subset}'", where=cell.label,
                remedy=did_you_mean(subset, task.languages),
            )  # fmt: skip
            return None
        if entry.languages is not None and tuple(entry.languages) != languages:
            report.error("languages", f"{name} is {', '.join(languages)}", where=cell.label)
        own = task.exclude == "none"
        return _Place(name, task, task.revision, task.splits, subset, languages, task.main_score, own)
    if not entry.languages:
        near = did_you_mean(name, mteb_tasks.tasks())
        report.error(
            "no-languages",
            f"{name} is no task of MTEB that is known here, so its languages must be told",
            where=cell.label,
            remedy=near
            if near.startswith("did")
            else f"datasets.{cell.dataset}.languages in the file of --meta",
        )
        return None
    report.warning(
        "task-unchecked", f"splits, languages and revision of {name} can't be checked here", where=cell.label
    )
    own = cell.record["dataset"]["exclusion"] == "none"
    languages = tuple(entry.languages)
    return _Place(name, None, revision, (cell.split,), entry.subset, languages, entry.main_score, own)


def _check_counts(cell: Cell, place: _Place, queries: int, report: Report) -> None:
    """Whether the data can be the task's: as many documents and queries as mteb has counted."""
    subset = "" if place.subset == "default" else place.subset
    counted = mteb_tasks.counts().get((place.name, cell.split, subset))
    own = (int(cell.record["dataset"]["documents"]), queries)
    if counted is None or own == counted or place.task is None:
        return
    report.add(
        "counts",
        f"{own[0]:,} documents and {own[1]:,} queries; {place.name} ({cell.split}) has {counted[0]:,} and "
        f"{counted[1]:,}",
        where=cell.label,
        # What mteb counts of documents that are re-ranked depends on its version.
        severity="error" if place.task.type == "Retrieval" else "warning",
        remedy="is it that task, and all of it?",
    )


def _task_of(source: Mapping[str, Any]) -> str | None:
    return mteb_tasks.task_of(source.get("card") or "", source.get("repo"))


def _entry(figures: Mapping[str, float], place: _Place, keys: Sequence[str]) -> dict[str, Any]:
    """mteb's keys; six decimals, as mteb writes them. NaN (nAUC of a constant) stands, as there."""
    scores = {key: round(figures[parse(key).name], 6) for key in keys}
    main = place.main_score
    return {
        **scores,
        "accuracy": scores["recall_at_1"],  # mteb's own choice
        "main_score": scores[main],
        "hf_subset": place.subset,
        "languages": list(place.languages),
    }


def _merged(
    known: mteb_results.TaskResult | None, cell: Cell, place: _Place, entry: dict[str, Any], report: Report
) -> mteb_results.TaskResult:
    """The task's result with one more entry."""
    record = cell.record
    times = [record["efficiency"].get(name) for name in ("index_seconds", "search_seconds", "score_seconds")]
    seconds = sum(float(t) for t in times if t)
    date = datetime.fromisoformat(record["made_at"]).timestamp()
    if known is None:
        other = {"kg_co2_emissions": None, "date": date}
        return mteb_results.TaskResult(
            place.name, place.revision, None, {cell.split: [entry]}, seconds, other
        )
    if any(e["hf_subset"] == place.subset for e in known.scores.get(cell.split, [])):
        report.error(
            "duplicate",
            f"another dataset is {place.name}, split {cell.split}, subset {place.subset} too",
            where=cell.label,
            remedy="leave one of them out, or give it a subset of its own",
        )
        return known
    scores = {**known.scores, cell.split: [*known.scores.get(cell.split, []), entry]}
    other = {**known.other, "date": max(date, known.other["date"])}
    return replace(known, scores=scores, evaluation_time=(known.evaluation_time or 0) + seconds, other=other)


def _check_complete(
    results: Mapping[str, mteb_results.TaskResult], places: Mapping[str, _Place], report: Report
) -> None:
    for name, result in results.items():
        place = places[name]
        missing = [s for s in place.splits if s not in result.scores]
        if place.task and missing:
            report.error("split", f"the split {', '.join(missing)} is missing", where=name)
        for split in place.splits:
            subsets = {e["hf_subset"] for e in result.scores.get(split, [])}
            lacking = [s for s in place.subsets if s not in subsets]
            if lacking and subsets:
                report.error("subset", f"{', '.join(lacking)} of split {split} is missing", where=name)


def _check_removed(results: Mapping[str, mteb_results.TaskResult], bundle: Bundle, report: Report) -> None:
    """Scores that the known result of the same model and revision has, and that ours would take away."""
    for name, result in results.items():
        ours = {(split, e["hf_subset"]) for split, entries in result.scores.items() for e in entries}
        for score in bundle.known.of([name], [MAIN]) if bundle.known else ():
            same = score.revision == bundle.metadata.model.revision
            if same and None not in (score.split, score.subset) and (score.split, score.subset) not in ours:
                report.error(
                    "removed",
                    f"split {score.split}, subset {score.subset} of {score.where} would be removed",
                    where=name,
                    remedy="evaluate it too",
                )


def _settings(cell: Cell, place: _Place) -> dict[str, Any]:
    """A line of run_settings.jsonl; mteb's packages, and seekbench, which made the figures."""
    versions = cell.record["versions"]
    packages = ("mteb", "torch", "sentence-transformers", "flash-attn", "transformers")
    found = {name: versions.get(name) for name in packages}
    return {
        "task": place.name,
        "splits": [cell.split],
        "version": {**found, "mteb": None, "seekbench": versions.get("seekbench")},
        "encode_kwargs": {},
        "subsets": [place.subset],
    }


def _json(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, indent=2).encode() + b"\n"


def _file(path: str, content: bytes) -> File:
    return File(path, lambda: iter([content]))
