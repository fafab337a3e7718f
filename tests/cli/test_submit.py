"""`seekbench submit`: what each board's files hold, read by other tools, and what the pre-flight check refuses."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from seekbench import api, mteb_results
from seekbench.cli.app import app
from seekbench.columns import HitColumns
from seekbench.datasets import catalogue, mteb_tasks
from seekbench.submission import mteb, run_lines
from seekbench.trec import read_run

REVISION = mteb_tasks.tasks()["SciFact"].revision
#: A name that mteb implements: its leaderboard shows no others.
MODEL = "mteb/baseline-bm25s"
QUERIES, DOCUMENTS, HITS = 12, 40, 25


def _collection(folder: Path, seed: int) -> dict[str, dict[str, int]]:
    """A BEIR folder; its judgments. Query q0 has the id of a document."""
    rng = np.random.default_rng(seed)
    queries = ["d0", *(f"q{i}" for i in range(1, QUERIES))]
    grades = {
        q: {f"d{d}": int(rng.integers(0, 3)) for d in rng.permutation(DOCUMENTS)[:6].tolist()}
        for q in queries
    }
    (folder / "qrels").mkdir(parents=True)
    lines = [json.dumps({"_id": f"d{i}", "title": "", "text": f"document {i}"}) for i in range(DOCUMENTS)]
    (folder / "corpus.jsonl").write_text("\n".join(lines))
    (folder / "queries.jsonl").write_text(
        "\n".join(json.dumps({"_id": q, "text": f"what of {q}"}) for q in queries)
    )
    rows = [f"{q}\t{d}\t{g}" for q, found in grades.items() for d, g in found.items()]
    (folder / "qrels" / "test.tsv").write_text("\n".join(["query-id\tcorpus-id\tscore", *rows]) + "\n")
    return grades


def _run(seed: int, queries: list[str]) -> dict[str, dict[str, float]]:
    """Scores without ties; the document with the query's own id is among q0's hits."""
    rng = np.random.default_rng(seed + 100)
    out = {}
    for q in queries:
        docs = rng.permutation(DOCUMENTS)[:HITS].tolist()
        docs = [0, *[d for d in docs if d][: HITS - 1]] if q == "d0" else docs
        out[q] = {f"d{d}": float(np.float32(s)) for d, s in zip(docs, rng.permutation(100), strict=False)}
    return out


def _trec(run: dict[str, dict[str, float]]) -> str:
    return "".join(f"{q} Q0 {d} 0 {s} x\n" for q, hits in run.items() for d, s in hits.items())


class World:
    """Two datasets searched by two systems, and their runs and judgments."""

    def __init__(self, root: Path, store: Path) -> None:
        self.results, self.store = root / "results", store
        self.judged: dict[str, dict[str, dict[str, int]]] = {}
        self.runs: dict[str, dict[str, dict[str, float]]] = {}
        for seed, name in enumerate(("alpha", "beta")):
            self.judged[name] = _collection(root / name, seed)
            self.runs[name] = _run(seed, list(self.judged[name]))
            (root / f"{name}.trec").write_text(_trec(self.runs[name]))
        config = {
            "datasets": [{"path": str(root / name)} for name in ("alpha", "beta")],
            "retrievers": {
                "mine": {"type": "run_file", "path": str(root / "{dataset}.trec")},
                "other": {"type": "run_file", "path": str(root / "alpha.trec")},
            },
            "metrics": ["ndcg@10", "recall@100"],
        }
        (root / "c.yaml").write_text(yaml.safe_dump(config))
        api.run(root / "c.yaml", output=self.results, store=store)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("world"), tmp_path_factory.mktemp("store"))


@pytest.fixture
def world(made: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """A copy of the results, which a test may change; the tasks that stand for its data are as small."""
    small = {(task, "test", ""): (DOCUMENTS, QUERIES) for task in ("SciFact", "NFCorpus")}
    monkeypatch.setattr(mteb_tasks, "counts", lambda: small)
    shutil.copytree(made.results, tmp_path / "results")
    monkeypatch.chdir(tmp_path)
    copy = World.__new__(World)
    copy.__dict__ = {**made.__dict__, "results": tmp_path / "results"}
    return copy


def meta(path: Path = Path("meta.yaml"), **changes: Any) -> str:
    model = {
        "name": MODEL, "revision": "0_1_10", "release_date": "2024-07-10", "languages": ["eng-Latn"],
        "license": "mit", "open_weights": True, "training_datasets": [],
    }  # fmt: skip
    datasets = {
        "alpha": {"task": "SciFact", "revision": REVISION},
        "beta": {"task": "NFCorpus", "revision": mteb_tasks.tasks()["NFCorpus"].revision},
    }
    model |= changes.pop("model", {})
    value = {"model": {k: v for k, v in model.items() if v is not None}, "datasets": datasets, **changes}
    path.write_text(yaml.safe_dump(value, sort_keys=False))
    return str(path)


def submit(world: World, target: str, *more: str, results: str | None = None, system: str = "mine") -> Result:
    given = ["--system", system] if system else []
    return CliRunner().invoke(
        app,
        ["submit", target, results or str(world.results), *given, "--store", str(world.store), *more],
    )


def change(world: World, dataset: str, function: Callable[[dict[str, Any]], object]) -> None:
    path = world.results / dataset / "test" / "mine" / "result.json"
    record = json.loads(path.read_text())
    function(record)
    path.write_text(json.dumps(record))


# --- mteb ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def theirs() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import mteb
    return mteb


def test_mteb_reads_what_is_exported_and_its_leaderboard_shows_it(world: World, theirs: Any) -> None:
    from mteb.cache import ResultCache

    ran = submit(world, "mteb", "--meta", meta())
    assert ran.exit_code == 0, ran.output
    folder = Path("submissions/mteb/results/mteb__baseline-bm25s/0_1_10")
    assert sorted(p.name for p in folder.iterdir()) == [
        "NFCorpus.json", "SciFact.json", "model_meta.json", "run_settings.jsonl",
    ]  # fmt: skip
    ours = {
        name: json.loads((world.results / d / "test/mine/result.json").read_text())["metrics"]["ndcg@10"][
            "mean"
        ]
        for d, name in (("alpha", "SciFact"), ("beta", "NFCorpus"))
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, score in ours.items():
            result = theirs.results.TaskResult.from_disk(folder / f"{name}.json")
            assert result.get_score() == pytest.approx(score, abs=1e-6)
            assert result.dataset_revision == result.task.metadata.revision
            assert result.get_missing_evaluations(result.task) == {}
            assert result.validate_and_filter_scores().scores.keys() == {"test"}
        bench = theirs.Benchmark(name="two", tasks=theirs.get_tasks(tasks=list(ours)))
        cache = ResultCache("submissions/mteb")
        loaded = cache.load_results(
            models=[MODEL], tasks=bench, include_remote=False, require_model_meta=True
        )
        (model,) = loaded.model_results
        assert model.model_meta is not None
        assert model.model_meta.name == MODEL
        assert not model.model_meta.training_datasets
        table = loaded.get_benchmark_result()
    assert table["Model"].tolist() == [MODEL]
    assert table["Mean (Task)"].iloc[0] == pytest.approx(sum(ours.values()) / 2, abs=1e-6)
    lines = [json.loads(x) for x in (folder / "run_settings.jsonl").read_text().splitlines()]
    assert [(x["task"], x["splits"], x["subsets"]) for x in lines] == [
        ("SciFact", ["test"], ["default"]),
        ("NFCorpus", ["test"], ["default"]),
    ]
    assert {"mteb", "torch", "sentence-transformers", "flash-attn", "transformers"} <= set(
        lines[0]["version"]
    )


def test_all_metrics_are_those_of_mteb(world: World, theirs: Any) -> None:
    """Every key that mteb 2.26 writes, each equal to its own function's to the six decimals written."""
    from mteb._evaluators.retrieval_metrics import calculate_retrieval_scores, make_score_dict

    assert submit(world, "mteb", "--meta", meta()).exit_code == 0
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        found = calculate_retrieval_scores(world.runs["alpha"], world.judged["alpha"], mteb.CUTOFFS)
        want = make_score_dict(
            ndcg=found.ndcg, _map=found.map, recall=found.recall, precision=found.precision, mrr=found.mrr,
            naucs=found.naucs, naucs_mrr=found.naucs_mrr, hit_rate=found.hit_rate, task_scores={},
        )  # fmt: skip
    (path,) = Path("submissions").rglob("SciFact.json")
    (entry,) = mteb_results.read(path).scores["test"]
    assert set(entry) - set(want) == {"main_score", "hf_subset", "languages"}
    assert set(want) <= set(entry)
    for key, value in want.items():
        # mteb rounds some figures to five decimals before it writes them.
        assert entry[key] == pytest.approx(float(value), abs=6e-6, nan_ok=True), key


def test_cards_of_the_hub_have_their_task_and_its_revision() -> None:
    cards = [catalogue.card(n) for n in catalogue.names()]
    # Those of MS MARCO and TREC-DL that read a task's repository by another rule are not that task.
    hub = [c for c in cards if c.source.format == "hub" and c.source.tables is None and c.mteb]
    assert len(hub) == 26
    for card in hub:
        name = mteb_tasks.task_of(card.id, None)
        assert name == mteb_tasks.task_of("", card.source.repo) or name == "MSMARCO"
        assert name is not None
        task = mteb_tasks.tasks()[name]
        assert (card.source.repo, card.source.revision) == (task.repo, task.revision)
        assert card.default_split in task.splits
        assert card.exclude == task.exclude


def _hub(repo: str, revision: str) -> Callable[[dict[str, Any]], None]:
    def make(record: dict[str, Any]) -> None:
        record["dataset"]["source"] |= {"format": "hub", "repo": repo, "revision": revision}

    return make


def test_a_hub_source_tells_task_and_revision(world: World) -> None:
    change(world, "alpha", _hub("mteb/scifact", REVISION))
    results = str(world.results / "alpha")
    text = meta(datasets={})
    assert submit(world, "mteb", "--meta", text, results=results).exit_code == 0
    wrong = submit(world, "mteb", "--meta", text, "--dataset-revision", "alpha=abc", results=results)
    assert wrong.exit_code == 1
    assert f"searched was revision {REVISION}, not abc" in wrong.output


#: A change of alpha's record, options, and what is said of it.
REFUSED: dict[str, tuple[Callable[[dict[str, Any]], object], list[str], str]] = {
    "trial": (
        lambda r: r.update(comparable=False, limited={"queries": 5}),
        [],
        "alpha (test): a trial run, limited to 5 queries",
    ),
    "shallow": (
        lambda r: (r.update(k=10), r["dataset"].update(documents=5000)),
        [],
        "10 hits a query were kept, 1,000 are needed",
    ),
    "two systems": (lambda r: r["retriever"].update(system="abc"), [], "'mine' had different parameters"),
    "other figures": (
        lambda r: r["metrics"]["ndcg@10"].update(mean=0.99),
        [],
        "the record says 0.9900",
    ),
    "trained, not declared": (
        lambda r: r.update(training={"split": "train"}),
        [],
        "`training_datasets` lacks SciFact",
    ),
    "trained on test": (
        lambda r: r.update(training={"split": "train, test"}),
        [],
        "learnt from the split 'test' that it is evaluated on",
    ),
    "wrong revision": (_hub("mteb/scifact", "abc"), ["--dataset-revision", "alpha=abc"], "on " + REVISION),
    "excluded": (lambda r: r["dataset"].update(exclusion="identical_id"), [], "which the board counts"),
    "own ids": (lambda r: None, ["--task", "alpha=ArguAna"], "in 1 of 12 queries the document with the query's own id"),
    "two datasets, one task": (
        lambda r: None,
        ["--task", "alpha=NFCorpus", "--dataset-revision", f"alpha={mteb_tasks.tasks()['NFCorpus'].revision}"],
        "another dataset is NFCorpus, split test, subset default too",
    ),
    "another dataset": (
        lambda r: r["dataset"].update(documents=41),
        [],
        "41 documents and 12 queries; SciFact (test) has 40 and 12",
    ),
    "unknown task": (lambda r: None, ["--task", "alpha=Scifact"], "did you mean 'SciFact'"),
    "wrong split": (lambda r: None, ["--task", "alpha=MSMARCO"], "the board evaluates dev, not test"),
    "other run file": (
        lambda r: r["files"].update({"run.trec.gz": "0"}),
        [],
        "not the run file that its result.json is about",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_mteb_refuses(name: str, world: World) -> None:
    function, options, message = REFUSED[name]
    change(world, "alpha", function)
    ran = submit(world, "mteb", "--meta", meta(), *options)
    assert ran.exit_code == 1, ran.output
    assert message in ran.output
    assert "nothing is written" in ran.output
    assert not Path("submissions").exists()


def test_failed_cells_and_damaged_runs_are_refused(world: World) -> None:
    cell = world.results / "alpha" / "test" / "mine"
    (cell / "result.json").rename(cell / "result.previous.json")
    (cell / "failure.json").write_text('{"cause": "out of memory"}')
    ran = submit(world, "mteb", "--meta", meta(datasets={}), "--task", "beta=NFCorpus")
    assert ran.exit_code == 1
    assert "alpha (test): it failed: out of memory" in ran.output


@pytest.mark.parametrize(
    "key", ["name", "revision", "release_date", "languages", "training_datasets", "license"]
)
def test_an_incomplete_sheet_is_refused(key: str, world: World) -> None:
    ran = submit(world, "mteb", "--meta", meta(model={key: None}))
    assert ran.exit_code == 1
    assert f"missing of the model: {key}" in ran.output


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"license": "Apache 2.0"}, "mteb has no licence 'Apache 2.0' (did you mean 'apache-2.0'"),
        ({"license": "my own"}, "mteb has no licence 'my own' (one of not specified, mit"),
        ({"revision": "main"}, "'main' is a branch, which moves"),
    ],
)
def test_a_sheet_that_mteb_would_not_read(changes: dict[str, str], message: str, world: World) -> None:
    ran = submit(world, "mteb", "--meta", meta(model=changes))
    assert ran.exit_code == 2
    assert message in ran.output


def test_the_licences_are_those_of_mteb(theirs: Any) -> None:
    from typing import get_args

    from mteb.types import Licenses

    from seekbench.submission.metadata import LICENCES

    assert set(get_args(Licenses)) == set(LICENCES)


def test_a_language_that_no_task_has_is_warned_of(world: World) -> None:
    ran = submit(world, "mteb", "--meta", meta(model={"languages": ["eng-Latn", "xyz-Latn"]}), "--check")
    assert ran.exit_code == 0
    assert "no task of MTEB is in xyz-Latn" in ran.output


def test_declared_training_passes(world: World) -> None:
    change(world, "alpha", lambda r: r.update(training={"split": "train"}))
    ran = submit(world, "mteb", "--meta", meta(model={"training_datasets": ["SciFact"]}), "--check")
    assert ran.exit_code == 0, ran.output
    assert "the system learnt from SciFact: the board marks it as not zero-shot" in ran.output
    assert "nothing is written (--check)" in ran.output
    assert not Path("submissions").exists()


def test_known_scores(world: World) -> None:
    text = meta()
    assert submit(world, "mteb", "--meta", text).exit_code == 0
    known = Path("submissions/mteb/results")
    same = submit(world, "mteb", "--meta", text, "--known", str(known), "--check")
    assert same.exit_code == 0
    assert "+0.00000" in same.output
    (path,) = known.rglob("SciFact.json")
    result = json.loads(path.read_text())
    result["scores"]["test"][0]["main_score"] += 0.0011
    path.write_text(json.dumps(result))
    differs = submit(world, "mteb", "--meta", text, "--known", str(known), "--check")
    assert differs.exit_code == 1
    assert "by more than 0.001" in differs.output
    path.parent.rename(path.parent.with_name("older"))
    other = submit(world, "mteb", "--meta", text, "--known", str(known), "--check")
    assert other.exit_code == 0, "of another revision a difference is only warned of"
    assert "of revision older" in other.output


def test_what_a_known_result_has_may_not_be_removed(world: World) -> None:
    text = meta()
    assert submit(world, "mteb", "--meta", text).exit_code == 0
    (path,) = Path("submissions").rglob("SciFact.json")
    result = json.loads(path.read_text())
    result["scores"]["train"] = result["scores"]["test"]
    path.write_text(json.dumps(result))
    ran = submit(world, "mteb", "--meta", text, "--known", "submissions/mteb/results", "--check")
    assert ran.exit_code == 1
    assert "SciFact: split train, subset default of" in ran.output


def test_subsets_of_a_task_go_into_one_file(world: World, theirs: Any) -> None:
    """A task that is not known here, with two datasets as its subsets; its facts are the user's."""
    rows = {
        name: {"task": "BelebeleRetrieval", "revision": "abc", "subset": code, "languages": [language]}
        for name, code, language in (("alpha", "de", "deu-Latn"), ("beta", "es", "spa-Latn"))
    }
    ran = submit(world, "mteb", "--meta", meta(datasets=rows))
    assert ran.exit_code == 0, ran.output
    assert "of BelebeleRetrieval can't be checked here" in ran.output
    (path,) = Path("submissions").rglob("BelebeleRetrieval.json")
    entries = mteb_results.read(path).scores["test"]
    assert [(e["hf_subset"], e["languages"]) for e in entries] == [("de", ["deu-Latn"]), ("es", ["spa-Latn"])]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert (
            theirs.results.TaskResult.from_disk(path).get_score(languages=["spa"]) == entries[1]["main_score"]
        )
    known = submit(
        world, "mteb", "--meta", meta(datasets=rows), "--known", "submissions/mteb/results", "--check"
    )
    assert known.exit_code == 0, "each subset is compared with its own score"
    assert known.output.count("+0.00000") == 2


def test_files_beyond_the_limit_are_refused(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    from seekbench.submission import mteb

    monkeypatch.setattr(mteb, "_MOST_BYTES", 1000)
    ran = submit(world, "mteb", "--meta", meta())
    assert ran.exit_code == 1
    assert "bytes, the repository takes 1,000" in ran.output


def test_known_scores_in_a_csv(world: World) -> None:
    record = json.loads((world.results / "alpha/test/mine/result.json").read_text())
    score = record["metrics"]["ndcg@10"]["mean"]
    csv = Path("known.csv")
    csv.write_text(f"dataset,condition,metric,value\nalpha,Mine,nDCG@10,{score:.4f}\nalpha,Mine,odd,1\n")
    same = submit(world, "beir", "--known", "known.csv", "--check")
    assert same.exit_code == 0
    assert "beta (test): known.csv has no score of it" in same.output
    csv.write_text(f"dataset,condition,metric,value\nalpha,Bm25,nDCG@10,{score + 0.1:.4f}\n")
    differs = submit(world, "beir", "--known", "known.csv", "--known-as", "bm25", "--check")
    assert differs.exit_code == 1
    assert "(known.csv:2)" in differs.output
    absent = submit(world, "beir", "--known", "known.csv", "--check")
    assert absent.exit_code == 0
    assert "it has no scores of mine" in absent.output
    csv.write_text("a,b\n1,2\n")
    assert submit(world, "beir", "--known", "known.csv").exit_code == 2
    csv.write_text("task,main_score\nalpha,many\n")
    assert "known.csv:2: 'many' is no number" in submit(world, "beir", "--known", "known.csv").output


# --- the other boards ---------------------------------------------------------------------------------------


def _judge(path: Path, judged: dict[str, dict[str, int]]) -> dict[str, float]:
    """pytrec_eval's means of a run file, read by its own reader."""
    import pytrec_eval

    with path.open() as handle:
        run = pytrec_eval.parse_run(handle)
    measures = {"ndcg_cut.10", "recall.100"}
    scores = pytrec_eval.RelevanceEvaluator(judged, measures).evaluate(run)
    return {m: float(np.mean([s[m] for s in scores.values()])) for m in ("ndcg_cut_10", "recall_100")}


def test_trec(world: World) -> None:
    ran = submit(world, "trec", "--tag", "seek.1", "--depth", "20", "-o", "out")
    assert ran.exit_code == 0, ran.output
    lines = [x.split(" ") for x in Path("out/alpha.seek.1.trec").read_text().splitlines()]
    assert {len(x) for x in lines} == {6}
    assert {(x[1], x[5]) for x in lines} == {("Q0", "seek.1")}
    for query, hits in world.runs["alpha"].items():
        own = [x for x in lines if x[0] == query]
        assert [int(x[3]) for x in own] == list(range(1, 21))
        best = sorted(hits.items(), key=lambda hit: -hit[1])[:20]
        assert [(x[2], float(x[4])) for x in own] == best


@pytest.mark.parametrize("tag", ["a b", "", "x" * 21, "naïve", "a/b"])
def test_a_tag_that_trec_would_refuse(tag: str, world: World) -> None:
    ran = submit(world, "trec", "--tag", tag)
    assert ran.exit_code == 1
    assert "is no run tag: 1 to 20 letters" in ran.output


def test_unknown_topics_are_refused(world: World) -> None:
    Path("few.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td1\t1\n")
    ran = submit(world, "trec", "--qrels", "alpha=few.tsv")
    assert ran.exit_code == 1
    assert "alpha (test): 11 topics of the run are unknown ('d0', 'q2', 'q3')" in ran.output
    assert "run file and judgments give ndcg@10" in ran.output


def test_beir(world: World) -> None:
    ran = submit(world, "beir", "-o", "out")
    assert ran.exit_code == 0, ran.output
    assert "of 1 of 12 queries the document with the query's own id is taken out" in ran.output
    assert "alpha (test): this is none of BEIR's datasets" in ran.output
    assert "15 of the 15 public datasets of BEIR are not there, or not whole: " in ran.output
    scores = json.loads(Path("out/scores.json").read_text())["scores"]
    for name in ("alpha", "beta"):
        path = Path(f"out/runs/{name}.trec")
        hits = read_run(path)
        assert not [q for q, d in map(hits.pair, range(len(hits))) if q == d]
        want = _judge(path, world.judged[name])
        assert scores[name]["nDCG@10"] == pytest.approx(want["ndcg_cut_10"], abs=6e-6)
        assert scores[name]["Recall@100"] == pytest.approx(want["recall_100"], abs=6e-6)


def test_air_bench(world: World) -> None:
    place = {"task_type": "qa", "domain": "wiki", "language": "en", "split": "test"}
    text = meta(datasets={"alpha": {"air_bench": place}}, air_bench={"model_name": "m"})
    lacking = submit(world, "air-bench", "--meta", text)
    assert lacking.exit_code == 1
    assert "beta (test): where it stands in AIR-Bench" in lacking.output
    ran = submit(world, "air-bench", "--meta", text, "-o", "out", results=str(world.results / "alpha"))
    assert ran.exit_code == 0, ran.output
    found = json.loads(Path("out/m/NoReranker/qa/wiki/en_default_test.json").read_text())
    assert found.pop("search_results") == world.runs["alpha"]
    assert found == {
        "model_name": "m", "reranker_name": "NoReranker", "benchmark_version": "AIR-Bench_24.05", "task_type": "qa",
        "domain": "wiki", "language": "en", "dataset_name": "default", "split": "test",
    }  # fmt: skip


def test_ir_metadata(world: World) -> None:
    extra = {
        "actor": {"name": "Ada"},
        "method": {"automatic": "false"},
        "research goal": {"venue": {"name": "V"}},
    }
    text = meta(ir_metadata=extra)
    ran = submit(world, "ir-metadata", "--meta", text, "-o", "out")
    assert ran.exit_code == 0, ran.output
    _judge(Path("out/alpha.mine.trec"), world.judged["alpha"])  # no comment in it that a reader breaks on
    beside = yaml.safe_load(Path("out/alpha.mine.ir_metadata.yaml").read_text())
    assert beside["schema-version"] == 0.1
    assert beside["actor"] == {"name": "Ada"}
    assert beside["method"]["automatic"] == "false"
    assert beside["research goal"]["venue"] == {"name": "V"}
    assert beside["research goal"]["evaluation"]["reported_measures"] == ["ndcg@10", "recall@100"]
    assert beside["data"]["test collection"]["name"] == "alpha"
    ran = submit(world, "ir-metadata", "--meta", text, "-o", "inline", "--inline")
    assert ran.exit_code == 0
    assert "pytrec_eval, ir_measures, ranx" in ran.output
    lines = Path("inline/alpha.mine.trec").read_text().splitlines()
    end = lines.index("# ir_metadata.end")
    assert lines[0] == "# ir_metadata.start"
    assert yaml.safe_load("\n".join(x.removeprefix("# ") for x in lines[1:end])) == beside
    assert "\n".join(lines[end + 1 :]) + "\n" == Path("out/alpha.mine.trec").read_text()
    assert len(read_run(Path("inline/alpha.mine.trec"))) == QUERIES * HITS
    with pytest.raises(ValueError, match="unpack"):
        _judge(Path("inline/alpha.mine.trec"), world.judged["alpha"])


# --- input --------------------------------------------------------------------------------------------------


def test_wrong_input(world: World) -> None:
    for options, message in [
        (("mtebb",), "there is no target 'mtebb' (did you mean 'mteb'?)"),
        (
            ("mteb", "--task", "alfa=SciFact"),
            "--task: there are no results of 'alfa' (did you mean 'alpha'?)",
        ),
        (("mteb", "--task", "alpha=../x"), "--task: '../x' is no task"),
        (("mteb", "--task", "alpha"), "give it as DATASET=VALUE, not 'alpha'"),
        (("mteb", "--qrels", "beta="), "--qrels: give it as DATASET=VALUE"),
        (("mteb", "--meta", "none.yaml"), "none.yaml: no such file"),
        (("mteb", "--known", "none"), "none: no such file or folder"),
        (
            ("mteb", "--depth", "10", "--inline"),
            "--depth: it means nothing for mteb; air-bench and trec and ir-metadata take it",
        ),
    ]:
        ran = submit(world, *options)
        assert ran.exit_code == 2, ran.output
        assert message in ran.output
    assert "name one of mine, other" in submit(world, "mteb", system="").output
    assert "did you mean 'mine'?" in submit(world, "mteb", system="min").output
    assert "none: no such file or folder" in submit(world, "mteb", results="none").output
    Path("leaderboard.json").write_text('{"schema_version": 1, "metrics": []}')
    board = submit(world, "mteb", results="leaderboard.json")
    assert board.exit_code == 2
    assert "this is no seekbench result record" in board.output
    Path("empty").mkdir()
    assert "there are no results here" in submit(world, "mteb", results="empty").output


def test_mistakes_of_the_file_are_said_together_with_their_lines(world: World) -> None:
    Path("meta.yaml").write_text(
        "model:\n"
        "  name: nobody\n"
        "  realease_date: 2026-01-01\n"
        "  languages: [en]\n"
        "datasets:\n"
        "  alfa: {task: SciFact}\n"
        "ir_metadata: {actors: {}}\n"
    )
    ran = submit(world, "mteb", "--meta", "meta.yaml")
    assert ran.exit_code == 2
    for line in (
        "meta.yaml:2: model.name:",
        "meta.yaml:3: model has no key 'realease_date' (did you mean 'release_date'?)",
        "meta.yaml:4: model.languages.0:",
        "meta.yaml:6: there are no results of 'alfa' (did you mean 'alpha'?)",
        "meta.yaml:7: ir_metadata has no key 'actors' (did you mean 'actor'?)",
    ):
        assert line in ran.output, ran.output


def test_two_results_of_one_dataset_are_refused(world: World) -> None:
    shutil.copytree(world.results / "alpha", world.results / "again" / "alpha")
    assert submit(world, "trec", "--check").exit_code == 0, "the same result twice is one"
    change(world, "alpha", lambda r: r.update(key="other"))
    ran = submit(world, "trec", "--check")
    assert ran.exit_code == 2
    assert "alpha (test) has another result of 'mine'" in ran.output


def test_judgments_come_from_the_source_again_where_the_store_is_empty(world: World, tmp_path: Path) -> None:
    assert submit(world, "trec", "--check", "--store", str(tmp_path / "new")).exit_code == 0
    change(world, "alpha", lambda r: r["dataset"]["source"].update(entry={"path": "/nowhere"}))
    ran = submit(world, "trec", "--check", "--store", str(tmp_path / "newer"))
    assert ran.exit_code == 1
    assert "alpha (test): its dataset can't be read again" in ran.output
    assert "give its judgments: --qrels alpha=FILE" in ran.output
    change(world, "beta", lambda r: r["dataset"]["hashes"].update(qrels="0"))
    ran = submit(world, "trec", "--check", "--store", str(tmp_path / "newest"))
    assert "beta (test): it was made on other qrels than beta (test) has now" in ran.output


# --- runs ---------------------------------------------------------------------------------------------------


@given(
    lengths=st.lists(st.integers(0, 6), min_size=1, max_size=6),
    depth=st.integers(1, 8),
    data=st.data(),
)
def test_cutting_keeps_the_first_hits_of_each_query_and_their_scores(
    lengths: list[int], depth: int, data: st.DataObject
) -> None:
    scores = [
        sorted(data.draw(st.lists(st.floats(-100, 100, width=32), min_size=n, max_size=n)), reverse=True)
        for n in lengths
    ]
    hits = HitColumns(
        pa.array([f"q{i}" for i in range(len(lengths))], pa.large_string()),
        np.repeat(np.arange(len(lengths), dtype=np.int32), lengths),
        pa.array([f"d{j}" for n in lengths for j in range(n)], pa.large_string()),
        scores=np.array([s for query in scores for s in query], np.float64),
    )
    lines = b"".join(run_lines.lines(run_lines.cut(hits, depth), "t")).decode().splitlines()
    want = [(i, j, s) for i, found in enumerate(scores) for j, s in enumerate(found) if j < depth]
    assert len(lines) == len(want)
    for line, (i, j, score) in zip(lines, want, strict=True):
        words = line.split(" ")
        assert words[:4] == [f"q{i}", "Q0", f"d{j}", str(j + 1)]
        assert np.float32(words[4]) == np.float32(score)
