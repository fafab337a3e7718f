"""Result files of MTEB, in both layouts, and the `model_meta.json` beside them.

Current layout (mteb 1.11 and later): `scores` holds, a split, one entry a subset with its metrics, `main_score`,
`hf_subset` and `languages`. Legacy layout: one top-level key a split, which holds metrics or subsets of metrics.
Folders: `<org>__<model>/<revision>/<Task>.json`; variants of a model's run in `<revision>/experiments/<name>/`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from seekbench.errors import InputError
from seekbench.store import write_atomic

META_FILE, SETTINGS_FILE = "model_meta.json", "run_settings.jsonl"

#: What mteb writes where a legacy file names no revision; its reader wants a string.
NO_REVISION = "dataset revision not available"

#: A legacy file does not name languages: ISO 639-3 and ISO 15924 for "undetermined".
UNDETERMINED = "und-Zyyy"

#: Main score of a legacy retrieval file that has none: mteb's own of nearly all retrieval tasks (`main_score` of their
#: TaskMetadata in mteb 2.26), and of those tasks older than mteb 1.11 that have another.
_MAIN_SCORE = "ndcg_at_10"
_OTHER_MAIN_SCORE = {
    "BSARDRetrieval": "recall_at_100",
    "FeedbackQARetrieval": "precision_at_1",
    "GermanGovServiceRetrieval": "ndcg_at_5",
    "GermanQuAD-Retrieval": "mrr_at_5",
    "LEMBNeedleRetrieval": "ndcg_at_1",
    "LEMBPasskeyRetrieval": "ndcg_at_1",
    "NeuCLIR2022Retrieval": "ndcg_at_20",
    "NeuCLIR2023Retrieval": "ndcg_at_20",
}

#: Tasks that were renamed since they were written in the legacy layout (mteb 2.26, results/task_result.py).
_RENAMED = {
    "8TagsClustering": "EightTagsClustering",
    "CMedQAv1": "CMedQAv1-reranking",
    "CMedQAv2": "CMedQAv2-reranking",
    "NorwegianParliament": "NorwegianParliamentClassification",
    "PPC": "PpcPC",
}

#: Groups of metrics of the legacy layout, which are no subsets, and what the metrics of a group begin with now.
_GROUPS = {
    "cos_sim": "cosine",
    "dot": "dot",
    "euclidean": "euclidean",
    "manhattan": "manhattan",
    "max": "max",
    "similarity": "similarity",
}
_NO_SUBSETS = {*_GROUPS, "v_measures"}


@dataclass(frozen=True)
class TaskResult:
    """One file: what a model scored on a task.

    scores: a split -> one entry a subset, in the current layout whatever the file's. evaluation_time: seconds.
    other: all further top-level keys as read, such as `date` and `kg_co2_emissions`. A metric may be NaN or None, as
    mteb writes both for what is not defined.
    """

    task: str
    dataset_revision: str | None
    mteb_version: str | None
    scores: dict[str, list[dict[str, Any]]]
    evaluation_time: float | None
    other: dict[str, Any] = field(default_factory=dict)
    legacy: bool = False

    def main_score(self, split: str | None = None) -> float | None:
        """Mean of the main scores of a split's subsets, or over all splits' subsets (mteb's `get_score`). None where
        one of them is not defined, or there is no such split."""
        entries = [e for name, es in self.scores.items() if split in (None, name) for e in es]
        values = [e["main_score"] for e in entries]
        if not values or any(v is None or math.isnan(v) for v in values):
            return None
        return float(sum(values) / len(values))


@dataclass(frozen=True)
class ModelResults:
    """One folder of result files. model: `org/name`. experiment: the variant's name, None for the model as it is.
    meta: `model_meta.json` as read, None where there is none. files: paths of task results, sorted."""

    model: str
    revision: str
    meta: dict[str, Any] | None
    files: list[Path]
    experiment: str | None = None


def read(path: Path) -> TaskResult:
    """A result file of either layout. Raises InputError for anything else, with the file and what is wrong."""
    data = _object(path)
    if "scores" in data and "task_name" in data:
        return _current(data, str(path))
    if "mteb_dataset_name" in data:
        return _legacy(data, str(path))
    raise InputError(
        "this is no MTEB result file: it has neither 'task_name' and 'scores' nor, of the legacy layout, "
        "'mteb_dataset_name'",
        where=str(path),
    )


def as_json(result: TaskResult) -> dict[str, Any]:
    """The current layout, as mteb's own reader takes it."""
    return {
        "dataset_revision": NO_REVISION if result.dataset_revision is None else result.dataset_revision,
        "task_name": result.task,
        "mteb_version": result.mteb_version,
        "scores": result.scores,
        "evaluation_time": result.evaluation_time,
        **result.other,
    }


def write(path: Path, result: TaskResult) -> None:
    """Writes the current layout. NaN stands as `NaN`, as mteb writes it (which strict JSON readers refuse)."""
    write_atomic(path, json.dumps(as_json(result), indent=2).encode() + b"\n")


def read_meta(path: Path) -> dict[str, Any]:
    """`model_meta.json` with all keys as they stand: mteb renamed and added some over the years, and a name or a
    revision may be missing. Raises InputError for what is no JSON object."""
    return _object(path)


def find(root: Path) -> list[ModelResults]:
    """All folders of result files at or below a folder, sorted by model, revision and experiment; a file counts alone.

    No result file is opened. The model's name is that of its `model_meta.json`, else the folder's (`org__name`).
    Predictions (`*_predictions.json`) are no results. Raises InputError where the folder is none.
    """
    if not root.exists():
        raise InputError("no such file or folder", where=str(root))
    found = []
    for folder, files in _folders(root) if root.is_dir() else [(root.parent, [root])]:
        meta = read_meta(folder / META_FILE) if (folder / META_FILE).is_file() else None
        place, experiment = folder.absolute(), None
        if place.parent.name == "experiments":
            place, experiment = place.parent.parent, place.name
        name = (meta or {}).get("name") or place.parent.name.replace("__", "/", 1)
        found.append(ModelResults(str(name), place.name, meta, files, experiment))
    return sorted(found, key=lambda r: (r.model, r.revision, r.experiment or ""))


def _folders(root: Path) -> Iterator[tuple[Path, list[Path]]]:
    by_folder: dict[Path, list[Path]] = {}
    for path in sorted(root.rglob("*.json")):
        if path.name != META_FILE and not path.stem.endswith("_predictions"):
            by_folder.setdefault(path.parent, []).append(path)
    yield from by_folder.items()


def _object(path: Path) -> dict[str, Any]:
    try:
        # Python's own parser: NaN is no JSON, but mteb writes it.
        data = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise InputError("no such file", where=str(path)) from None
    except json.JSONDecodeError as error:
        raise InputError(f"no valid JSON: {error.msg}", where=str(path), line=error.lineno) from None
    except UnicodeDecodeError as error:
        raise InputError(f"no valid JSON: no UTF-8 at byte {error.start}", where=str(path)) from None
    if not isinstance(data, dict):
        raise InputError("expected a JSON object", where=str(path))
    return data


def _current(data: dict[str, Any], where: str) -> TaskResult:
    splits = data.pop("scores")
    if not isinstance(splits, dict):
        raise InputError("'scores' must map each split to a list of entries", where=where)
    for split, entries in splits.items():
        if not isinstance(entries, list) or not all(isinstance(e, dict) for e in entries):
            raise InputError(f"scores.{split} must be a list of objects, one a subset", where=where)
        for i, entry in enumerate(entries):
            place = f"scores.{split}[{i}]"
            if "main_score" not in entry:
                raise InputError(f"{place} has no main_score", where=where)
            _check_main(entry["main_score"], place, where)
            if not isinstance(entry.get("hf_subset"), str):
                raise InputError(f"{place}.hf_subset must be a string", where=where)
            languages = entry.get("languages")
            if not isinstance(languages, list) or not all(isinstance(code, str) for code in languages):
                raise InputError(f"{place}.languages must be a list of strings", where=where)
    revision = _text(data, "dataset_revision", where)
    return TaskResult(
        task=_task(data, "task_name", where),
        dataset_revision=None if revision == NO_REVISION else revision,
        mteb_version=_text(data, "mteb_version", where),
        scores=splits,
        evaluation_time=_seconds(data.pop("evaluation_time", None), "evaluation_time", where),
        other=data,
    )


def _legacy(data: dict[str, Any], where: str) -> TaskResult:
    task = _task(data, "mteb_dataset_name", where)
    task = _RENAMED.get(task, task)
    revision, version = _text(data, "dataset_revision", where), _text(data, "mteb_version", where)
    splits = {name: dict(value) for name, value in data.items() if isinstance(value, dict)}
    other = {name: value for name, value in data.items() if name not in splits}
    if not splits:
        raise InputError("a legacy result file without a split", where=where)
    times = [other.pop("evaluation_time", None), *(s.pop("evaluation_time", None) for s in splits.values())]
    seconds = [s for t in times if (s := _seconds(t, "evaluation_time", where)) is not None]
    has_subsets = any(
        isinstance(v, dict) and k not in _NO_SUBSETS for split in splits.values() for k, v in split.items()
    )
    main = _OTHER_MAIN_SCORE.get(task, _MAIN_SCORE)
    scores: dict[str, list[dict[str, Any]]] = {}
    for name, split in splits.items():
        scores[name] = []
        for subset, metrics in (split if has_subsets else {"default": split}).items():
            place = f"{name}.{subset}" if has_subsets else name
            if not isinstance(metrics, dict):
                raise InputError(
                    f"{place} must be an object of metrics, as the file's other subsets are", where=where
                )
            entry = _flat(metrics)
            entry.setdefault("main_score", entry.get(main))
            _check_main(entry["main_score"], place, where)
            scores[name].append({**entry, "hf_subset": subset, "languages": [UNDETERMINED]})
    return TaskResult(task, revision, version, scores, sum(seconds) if seconds else None, other, legacy=True)


def _flat(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """{"cos_sim": {"ap": .8}} -> {"cosine_ap": .8}"""
    out: dict[str, Any] = {}
    for name, value in metrics.items():
        if name in _GROUPS and isinstance(value, dict):
            out.update({f"{_GROUPS[name]}_{k}": v for k, v in value.items()})
        else:
            out[name] = value
    return out


def _check_main(value: Any, place: str, where: str) -> None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise InputError(f"the main score of {place} must be a number", where=where)


def _task(data: dict[str, Any], key: str, where: str) -> str:
    name = data.pop(key)
    if not isinstance(name, str) or not name:
        raise InputError(f"'{key}' must be the task's name", where=where)
    return name


def _text(data: dict[str, Any], key: str, where: str) -> str | None:
    value = data.pop(key, None)
    if value is not None and not isinstance(value, str):
        raise InputError(f"'{key}' must be a string", where=where)
    return value


def _seconds(value: Any, key: str, where: str) -> float | None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise InputError(f"'{key}' must be a number of seconds", where=where)
    return value
