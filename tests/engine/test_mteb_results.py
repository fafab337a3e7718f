"""MTEB result files against mteb's own reader (mteb 2.26)."""

from __future__ import annotations

import json
import math
import warnings
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seekbench import mteb_results
from seekbench.errors import InputError

CURRENT: dict[str, Any] = {
    "dataset_revision": "0228b52",
    "task_name": "SciFact",
    "mteb_version": "2.4.2",
    "scores": {
        "test": [
            {
                "main_score": 0.5,
                "ndcg_at_10": 0.5,
                "nauc_map_at_1_max": math.nan,
                "hf_subset": "default",
                "languages": ["eng-Latn"],
            }
        ]
    },
    "evaluation_time": 1.5,
    "kg_co2_emissions": None,
    "date": 1760000000.5,
}


def theirs(path: Path) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from mteb.results import TaskResult

        return TaskResult.from_disk(path)


def save(path: Path, value: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))
    return path


def equal(a: Any, b: Any) -> bool:
    """Equal values, where NaN equals NaN."""
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(equal(a[k], b[k]) for k in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(equal, a, b))
    if isinstance(a, float) and isinstance(b, float) and math.isnan(a):
        return math.isnan(b)
    return bool(a == b)


def test_a_current_file_is_written_back_as_it_was(tmp_path: Path) -> None:
    result = mteb_results.read(save(tmp_path / "SciFact.json", CURRENT))
    assert (result.task, result.legacy, result.main_score("test"), result.main_score("dev")) == (
        "SciFact",
        False,
        0.5,
        None,
    )
    assert result.other == {"kg_co2_emissions": None, "date": 1760000000.5}
    mteb_results.write(tmp_path / "again.json", result)
    assert equal(json.loads((tmp_path / "again.json").read_text()), CURRENT)
    assert theirs(tmp_path / "again.json").main_score == 0.5


@pytest.mark.shared
def test_every_published_file(published: Path, tmp_path: Path) -> None:
    """496 files of 20 models: written back equal in meaning, and with mteb's own reader the same main scores."""
    folders = mteb_results.find(published / "mteb_results")
    assert len(folders) == 20
    assert sum(len(f.files) for f in folders) == 496
    for folder in folders:
        assert folder.meta is not None
        assert folder.model == folder.meta["name"]
        assert folder.revision == folder.meta["revision"]
        for path in folder.files:
            result, own = mteb_results.read(path), theirs(path)
            assert (result.task, result.dataset_revision) == (own.task_name, own.dataset_revision)
            mteb_results.write(tmp_path / "again.json", result)
            assert equal(json.loads((tmp_path / "again.json").read_text()), json.loads(path.read_text())), (
                path
            )
            for split in own.scores:
                assert result.main_score(split) == pytest.approx(own.get_score(splits=[split]), abs=1e-12)


METRICS = {"ndcg_at_10": 0.25, "map_at_10": 0.125, "mrr_at_5": 0.5}
LEGACY: dict[str, dict[str, Any]] = {
    "metrics": {
        "mteb_dataset_name": "SciFact",
        "mteb_version": "1.0.2",
        "dataset_revision": "a75ae04",
        "test": {**METRICS, "evaluation_time": 12.5},
        "train": {"ndcg_at_10": 0.75, "evaluation_time": 7.5},
    },
    "main score and subsets": {
        "mteb_dataset_name": "MIRACLRetrieval",
        "mteb_version": "1.7.1",
        "dataset_revision": "main",
        "dev": {
            "evaluation_time": 3,
            "de": {**METRICS, "main_score": 0.3},
            "es": {**METRICS, "ndcg_at_10": 0.5},
        },
    },
    "no version, no revision": {"mteb_dataset_name": "NFCorpus", "test": dict(METRICS)},
    "another main score": {"mteb_dataset_name": "GermanQuAD-Retrieval", "mteb_version": "1.1.1", "test": METRICS},
    "groups of metrics": {
        "mteb_dataset_name": "STS12",
        "mteb_version": "1.0.2",
        "test": {"cos_sim": {"spearman": 0.7}, "manhattan": {"spearman": 0.6}, "main_score": 0.7},
    },
    "renamed task": {
        "mteb_dataset_name": "PPC",
        "mteb_version": "1.5.0",
        "test": {"max": {"ap": 0.9}, "main_score": 0.9},
    },
}  # fmt: skip


@pytest.mark.parametrize("name", LEGACY)
def test_legacy_files_read_as_mteb_converts_them(name: str, tmp_path: Path) -> None:
    path = save(tmp_path / "legacy.json", LEGACY[name])
    result, own = mteb_results.read(path), theirs(path)
    assert result.legacy
    assert result.task == own.task_name
    assert (result.dataset_revision or mteb_results.NO_REVISION) == own.dataset_revision
    assert (result.evaluation_time or 0) == own.evaluation_time
    assert list(result.scores) == list(own.scores)
    for split, entries in own.scores.items():
        want = [{k: v for k, v in e.items() if k not in ("languages", "mteb_version")} for e in entries]
        got = [{k: v for k, v in e.items() if k != "languages"} for e in result.scores[split]]
        assert got == want
    # Written in the current layout, mteb reads the same main score from it, and we read the same result.
    mteb_results.write(tmp_path / "now.json", result)
    assert theirs(tmp_path / "now.json").get_score() == result.main_score()
    again = mteb_results.read(tmp_path / "now.json")
    assert not again.legacy
    assert mteb_results.as_json(again) == mteb_results.as_json(result)


def test_a_legacy_file_whose_main_score_nobody_knows(tmp_path: Path) -> None:
    legacy = {
        "mteb_dataset_name": "Banking77Classification",
        "mteb_version": "1.0.2",
        "test": {"accuracy": 0.5},
    }
    result = mteb_results.read(save(tmp_path / "x.json", legacy))
    assert result.scores["test"][0]["main_score"] is None
    assert result.main_score() is None


scores = st.one_of(st.none(), st.floats(width=32), st.integers(-5, 5))
entries = st.fixed_dictionaries(
    {"main_score": scores, "hf_subset": st.text(), "languages": st.lists(st.text(), max_size=2)},
    optional={"ndcg_at_10": scores, "näme": st.text()},
)
files = st.fixed_dictionaries(
    {
        "dataset_revision": st.text(),
        "task_name": st.text(min_size=1),
        "mteb_version": st.none() | st.text(),
        "scores": st.dictionaries(st.text(), st.lists(entries, max_size=3), max_size=3),
        "evaluation_time": st.none() | st.floats(0, 1e6),
    },
    optional={"date": st.floats(0, 2e9), "evaluation_phases": st.lists(st.none())},
)


@settings(max_examples=50, deadline=None)
@given(files)
def test_reading_and_writing_loses_nothing(
    tmp_path_factory: pytest.TempPathFactory, file: dict[str, Any]
) -> None:
    folder = tmp_path_factory.mktemp("files")
    mteb_results.write(folder / "b.json", mteb_results.read(save(folder / "a.json", file)))
    assert equal(json.loads((folder / "b.json").read_bytes()), file)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", r"x\.json:1: no valid JSON"),
        ("[]", "expected a JSON object"),
        ('{"metrics": {}}', "no MTEB result file"),
        ('{"task_name": "A", "scores": []}', "'scores' must map each split"),
        ('{"task_name": "A", "scores": {"test": {}}}', r"scores\.test must be a list"),
        ('{"task_name": "A", "scores": {"test": [{}]}}', r"scores\.test\[0\] has no main_score"),
        ('{"task_name": "A", "scores": {"test": [{"main_score": "1"}]}}', "must be a number"),
        ('{"task_name": "A", "scores": {"test": [{"main_score": 1}]}}', "hf_subset must be a string"),
        (
            '{"task_name": "A", "scores": {"test": [{"main_score": 1, "hf_subset": "d", "languages": "en"}]}}',
            "languages must be",
        ),
        ('{"task_name": 3, "scores": {}}', "must be the task's name"),
        ('{"mteb_dataset_name": "A", "mteb_version": "1.0"}', "without a split"),
        (
            '{"mteb_dataset_name": "A", "test": {"de": {"ndcg_at_10": 1}, "x": 3}}',
            r"test\.x must be an object",
        ),
        ('{"mteb_dataset_name": "A", "test": {"evaluation_time": "long"}}', "number of seconds"),
    ],
)
def test_anything_else_is_refused(content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(InputError, match=message):
        mteb_results.read(tmp_path / "x.json")


def test_missing_files_are_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        mteb_results.read(tmp_path / "none.json")
    with pytest.raises(InputError, match="no such file or folder"):
        mteb_results.find(tmp_path / "none")


def test_finding_folders(tmp_path: Path) -> None:
    """From any level; experiments apart; predictions, settings and model_meta.json are no results."""
    revision = tmp_path / "results" / "org__a__b" / "rev1"
    save(revision / "SciFact.json", CURRENT)
    save(revision / "NFCorpus.json", CURRENT)
    save(revision / "SciFact_predictions.json", {})
    (revision / "run_settings.jsonl").write_text("{}\n")
    save(revision / "experiments" / "dtype_half" / "SciFact.json", CURRENT)
    meta = {"name": "Org/Other", "revision": "r", "use_instuctions": False, "memory_usage": None}
    save(tmp_path / "results" / "x__y" / "r" / "model_meta.json", meta)
    save(tmp_path / "results" / "x__y" / "r" / "SciFact.json", CURRENT)
    found = mteb_results.find(tmp_path)
    assert [(f.model, f.revision, f.experiment, [p.name for p in f.files], f.meta) for f in found] == [
        ("Org/Other", "r", None, ["SciFact.json"], meta),
        ("org/a__b", "rev1", None, ["NFCorpus.json", "SciFact.json"], None),
        ("org/a__b", "rev1", "dtype_half", ["SciFact.json"], None),
    ]
    assert mteb_results.find(revision)[0].model == "org/a__b"
