"""Running: caching by content, failures, exclusions, records, and being killed."""

from __future__ import annotations

import gzip
import json
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pyarrow.parquet as pq
import pytest
import pytrec_eval
from typer.testing import CliRunner

sys.path.insert(0, str(Path(__file__).parent))
import words

from seekbench import config, runner, search
from seekbench.cli.app import app
from seekbench.errors import InputError
from seekbench.leaderboard import records, render, sources, table
from seekbench.retrievers import registry
from seekbench.retrievers.protocol import Context, Params, TrainingData
from seekbench.store import Store

WORDS = [
    "alpha",
    "beta",
    "gamma",
    "delta",
    "epsilon",
    "zeta",
    "eta",
    "theta",
    "iota",
    "kappa",
    "lambda",
    "mu",
    "nu",
    "xi",
    "omicron",
    "pi",
    "rho",
    "sigma",
    "tau",
    "upsilon",
]


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(registry, "BUILTIN", dict(registry.BUILTIN))
    words.register()
    words.CALLS.clear()
    monkeypatch.setattr(search, "_WARM_UP", 1)  # a single query, which `words` does not count
    yield
    registry.known.cache_clear()


def make_collection(folder: Path, documents: int = 60, queries: int = 12, seed: int = 0) -> Path:
    rng = random.Random(seed)
    (folder / "qrels").mkdir(parents=True)
    texts = [" ".join(rng.choices(WORDS, k=8)) for _ in range(documents)]
    (folder / "corpus.jsonl").write_text(
        "".join(json.dumps({"_id": f"d{i}", "text": t}) + "\n" for i, t in enumerate(texts))
    )
    (folder / "queries.jsonl").write_text(
        "".join(
            json.dumps({"_id": f"q{i}", "text": " ".join(rng.choices(WORDS, k=3))}) + "\n"
            for i in range(queries)
        )
    )
    lines = [
        f"q{i}\td{d}\t{rng.randint(0, 2)}\n" for i in range(queries) for d in rng.sample(range(documents), 5)
    ]
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(lines))
    return folder


CONFIG = """\
datasets: [{path: ./data}]
retrievers:
  words: {type: words}
  heavy: {type: words, weight: 2.0, lower: false}
  both: {type: fusion, of: [words, heavy]}
metrics: [ndcg@10, map, recall@10]
baseline: words
k: 20
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_collection(tmp_path / "data")
    (tmp_path / "run.yaml").write_text(CONFIG)
    return tmp_path


def execute(folder: Path, *overrides: str, **more: Any) -> runner.Outcome:
    loaded = config.load(folder / "run.yaml", overrides)
    return runner.execute(
        loaded, output=folder / "out", store=Store(folder / "store"), context=Context(), **more
    )


def test_a_run_writes_what_the_contract_says(folder: Path) -> None:
    outcome = execute(folder)
    assert not outcome.failures
    cell = folder / "out" / "data" / "test" / "words"
    record = json.loads((cell / "result.json").read_bytes())
    assert record["metrics"]["ndcg@10"]["mean"] == outcome.records[0]["metrics"]["ndcg@10"]["mean"]
    assert record["comparable"] is True
    assert record["retriever"]["inputs"]["query"]
    assert record["efficiency"]["latency_ms"]["p50"] > 0
    per_query = pq.read_table(cell / "per_query.parquet")
    assert per_query.column_names == ["query_id", "ndcg@10", "map", "recall@10"]
    # The written run, read by trec_eval's own code, gives the recorded scores.
    with gzip.open(cell / "run.trec.gz", "rt") as handle:
        run = pytrec_eval.parse_run(handle)
    with (folder / "data" / "qrels" / "test.tsv").open() as handle:
        qrels: dict[str, dict[str, int]] = {}
        for line in list(handle)[1:]:
            q, d, g = line.split("\t")
            qrels.setdefault(q, {})[d] = int(g)
    reference = pytrec_eval.RelevanceEvaluator(qrels, {"ndcg_cut_10", "map"}).evaluate(run)
    for row in per_query.to_pylist():
        assert abs(row["ndcg@10"] - reference[row["query_id"]]["ndcg_cut_10"]) < 1e-9
        assert abs(row["map"] - reference[row["query_id"]]["map"]) < 1e-9


def test_nothing_is_done_twice(folder: Path) -> None:
    first = execute(folder)
    assert words.CALLS == ["index", "search", "index", "search"]
    words.CALLS.clear()
    second = execute(folder)
    assert words.CALLS == []
    assert [r["recorded_at"] for r in second.records] == [r["recorded_at"] for r in first.records]
    assert all("reused" in line for line in second.explained)


@pytest.mark.parametrize(
    ("override", "calls", "why"),
    [
        ("retrievers.words.weight=3.0", ["search"], "params.weight: 1.0 -> 3.0"),
        (
            "retrievers.words.lower=false",
            ["search"],
            "params.weight: 2.0 -> 1.0",
        ),  # the nearest is heavy, whose index serves
        ("retrievers.words.sleep=0.001", [], ""),  # speed only
        ("k=30", ["search", "search"], "k: 20 -> 30"),
        ("metrics=[p@5]", [], ""),
        ("datasets.0.template='{text}!'", ["index", "search", "index", "search"], "documents.template"),
        ("datasets.0.query_template='{text} alpha'", ["search", "search"], "queries.template"),
    ],
)
def test_a_change_invalidates_what_depends_on_it(
    folder: Path, override: str, calls: list[str], why: str
) -> None:
    execute(folder)
    words.CALLS.clear()
    outcome = execute(folder, override)
    assert calls == words.CALLS
    assert why in "\n".join(outcome.explained)


def test_a_changed_document_invalidates_its_index(folder: Path) -> None:
    before = execute(folder).records[0]
    corpus = folder / "data" / "corpus.jsonl"
    corpus.write_text(corpus.read_text().replace("alpha", "omega", 1))
    words.CALLS.clear()
    after = execute(folder).records[0]
    assert words.CALLS == ["index", "search", "index", "search"]
    assert before["dataset"]["hashes"]["corpus"] != after["dataset"]["hashes"]["corpus"]


def test_changed_judgments_only_score_again(folder: Path) -> None:
    before = execute(folder).records[0]
    qrels = folder / "data" / "qrels" / "test.tsv"
    qrels.write_text(qrels.read_text().replace("\t0\n", "\t1\n"))
    words.CALLS.clear()
    after = execute(folder).records[0]
    assert words.CALLS == []
    assert before["dataset"]["hashes"]["qrels"] != after["dataset"]["hashes"]["qrels"]
    assert before["metrics"] != after["metrics"]


def test_a_failing_cell_loses_no_other(folder: Path) -> None:
    outcome = execute(folder, "retrievers.heavy.fail=search")
    assert [(f.retriever, f.cause) for f in outcome.failures] == [
        ("heavy", "ValueError: broken inside"),
        ("both", "needs heavy, which failed"),
    ]
    assert [r["retriever"]["name"] for r in outcome.records] == ["words"]
    again = execute(folder)
    assert not again.failures


def test_defective_data_stops_before_any_work(folder: Path) -> None:
    make_collection(folder / "more")
    (folder / "more" / "queries.jsonl").write_text('{"id": "q0", "text": "x"}\n{"_id": "q1", "text": ""}\n')
    (folder / "run.yaml").write_text(CONFIG.replace("[{path: ./data}]", "[{path: ./data}, {path: ./more}]"))
    with pytest.raises(InputError) as caught:
        execute(folder)
    assert words.CALLS == []
    assert any("queries.jsonl:1" in line for line in caught.value.report.lines())
    assert caught.value.report.errors >= 2


def test_exclusions_leave_k_hits(folder: Path) -> None:
    path = folder / "exclude.json"
    path.write_text(json.dumps({"q0": [f"d{i}" for i in range(30)]}))
    execute(folder, f"datasets.0.exclude={{file: {path}}}")
    with gzip.open(folder / "out" / "data" / "test" / "words" / "run.trec.gz", "rt") as handle:
        hits = [line.split()[2] for line in handle if line.startswith("q0 ")]
    assert len(hits) == 20
    assert all(int(h[1:]) >= 30 for h in hits)


def test_limit_is_marked_everywhere(folder: Path) -> None:
    outcome = execute(folder, limit=3)
    assert all(r["comparable"] is False and r["dataset"]["queries"] == 3 for r in outcome.records)
    found = [(folder / "out" / "data" / "test" / r["retriever"]["name"], r) for r in outcome.records]
    board = table.build(found)
    assert "not comparable" in render.as_markdown(board)
    assert "not comparable" in json.dumps(render.as_json(board))


def test_different_data_is_not_put_into_one_column(folder: Path) -> None:
    execute(folder)
    first = list(sources.load([folder / "out"]))
    make_collection(folder / "other" / "data", seed=1)
    (folder / "other" / "run.yaml").write_text(CONFIG)
    execute(folder / "other")
    second = list(sources.load([folder / "other" / "out"]))
    with pytest.raises(InputError, match="different data"):
        table.build([*first, *second])
    assert "NOT COMPARABLE" in render.as_markdown(table.build([*first, *second], allow_mixed=True))


def test_old_schemas_load_and_newer_ones_are_refused(folder: Path) -> None:
    execute(folder)
    path = folder / "out" / "data" / "test" / "words" / "result.json"
    record = records.read(path)
    assert record["schema_version"] == 1
    path.write_text(json.dumps({**record, "schema_version": 99}))
    with pytest.raises(InputError, match="newer"):
        records.read(path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda r: r["dataset"].pop("split"), "'dataset.split' is not there, and must be a text"),
        (lambda r: r.update(retriever=5), "'retriever.name' is not there"),
        (lambda r: r["metrics"]["map"].update(mean="x"), "'metrics.map.mean' is \"x\", and must be a number"),
        (lambda r: r["efficiency"].update(index_bytes="x"), "'efficiency.index_bytes' is \"x\""),
        (lambda r: r.update(comparable=1), "'comparable' is 1, and must be a flag"),
    ],
)
def test_a_record_that_was_changed_is_refused(folder: Path, change: Any, said: str) -> None:
    execute(folder)
    file = folder / "out" / "data" / "test" / "words" / "result.json"
    record = json.loads(file.read_text())
    change(record)
    file.write_text(json.dumps(record))
    for command in (["leaderboard"], ["submit", "trec"]):
        done = CliRunner().invoke(app, [*command, str(folder / "out")])
        assert done.exit_code == 2, done.output
        assert said in done.output
    with pytest.raises(InputError, match=r"result\.json"):
        records.read(file)


def test_a_damaged_record_is_made_again(folder: Path) -> None:
    execute(folder)
    cell = folder / "out" / "data" / "test" / "words"
    before = records.read(cell)
    (cell / "result.json").write_text('{"half')
    assert execute(folder).records[0]["metrics"] == before["metrics"]


def test_command_line_exit_codes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    cli = CliRunner()
    good = cli.invoke(app, ["run", "run.yaml"])
    assert good.exit_code == 0, good.output
    assert "both" in good.output
    assert (folder / "results" / "run" / "leaderboard.md").exists()
    assert cli.invoke(app, ["run", "run.yaml", "--set", "retrievers.heavy.fail=search"]).exit_code == 1
    wrong = cli.invoke(app, ["run", "run.yml"])
    assert wrong.exit_code == 2
    assert "run.yaml" in wrong.output
    assert cli.invoke(app, ["leaderboard", "results/run", "--baseline", "words"]).exit_code == 0
    assert cli.invoke(app, ["leaderboard", "nowhere"]).exit_code == 2


def test_dry_run_tells_what_is_stored(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    cli = CliRunner()
    before = cli.invoke(app, ["run", "run.yaml", "--dry-run"])
    assert before.exit_code == 0
    assert "3 to do" in before.output
    cli.invoke(app, ["run", "run.yaml"])
    after = cli.invoke(app, ["run", "run.yaml", "--dry-run"])
    assert "3 stored, 0 to do" in after.output
    changed = cli.invoke(app, ["run", "run.yaml", "--dry-run", "--set", "retrievers.words.weight=4"])
    assert "params.weight: 1.0 -> 4.0" in changed.output


def _comparable(output: Path) -> dict[str, Any]:
    found = {}
    for path in sorted(output.rglob("result.json")):
        record = json.loads(path.read_bytes())
        with gzip.open(path.parent / "run.trec.gz", "rt") as handle:
            found[str(path.relative_to(output))] = (
                record["metrics"],
                record["key"],
                handle.read(),
                pq.read_table(path.parent / "per_query.parquet").to_pylist(),
            )
    return found


def _command(folder: Path, name: str) -> list[str]:
    return [
        sys.executable,
        str(Path(__file__).parent / "words.py"),
        "run",
        "run.yaml",
        "--output",
        name,
        "--store",
        f"{name}-store",
        "--set",
        "retrievers.words.sleep=0.02",
        "--set",
        "retrievers.heavy.sleep=0.02",
    ]


def test_killed_at_random_moments_it_ends_the_same(folder: Path) -> None:
    """Ten kills (-9); the final records, runs and per-query scores equal those of an undisturbed run."""
    subprocess.run(_command(folder, "calm"), cwd=folder, check=True, capture_output=True)
    rng = random.Random(4)
    killed = 0
    for _ in range(10):
        process = subprocess.Popen(
            _command(folder, "rough"), cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        time.sleep(rng.uniform(0.3, 1.6))
        process.kill()
        killed += process.wait() == -9
    assert killed > 0
    subprocess.run(_command(folder, "rough"), cwd=folder, check=True, capture_output=True)
    assert _comparable(folder / "rough") == _comparable(folder / "calm")
    assert len(_comparable(folder / "calm")) == 3
    assert not list((folder / "rough").rglob("*.part"))


def test_interrupted_by_hand_it_says_so(folder: Path) -> None:
    import signal

    command = [*_command(folder, "out"), "--set", "retrievers.words.sleep=30"]
    process = subprocess.Popen(
        command, cwd=folder, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    )
    assert process.stderr is not None
    deadline = time.monotonic() + 60
    while not list(folder.glob("out-store/index/*.part")) and time.monotonic() < deadline:
        time.sleep(0.05)  # until it sleeps in the first block of the index
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "continue" in err
    assert "Traceback" not in err


def test_two_runs_share_a_store(folder: Path) -> None:
    def start(output: str) -> subprocess.Popen[bytes]:
        command = _command(folder, output)
        command[command.index("--store") + 1] = "shared-store"
        return subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    both = [start("a"), start("b")]
    assert [p.wait(timeout=120) for p in both] == [0, 0]
    assert _comparable(folder / "a") == _comparable(folder / "b")


def test_a_run_file_scores_like_the_system_that_wrote_it(folder: Path) -> None:
    execute(folder)
    written = folder / "out" / "data" / "test" / "words" / "run.trec.gz"
    (folder / "again.yaml").write_text(
        CONFIG.replace(
            "retrievers:",
            f"retrievers:\n  file: {{type: run_file, path: {written.parent.parent}/words/run.trec.gz}}",
        )
    )
    loaded = config.load(folder / "again.yaml")
    outcome = runner.execute(loaded, output=folder / "out2", store=Store(folder / "store"), context=Context())
    by_name = {r["retriever"]["name"]: r for r in outcome.records}
    assert by_name["file"]["metrics"] == by_name["words"]["metrics"]
    assert by_name["file"]["efficiency"]["queries_per_second"] is None


def test_the_run_of_another_dataset_is_refused(folder: Path) -> None:
    (folder / "other.trec").write_text("zzz Q0 d1 1 1.0 x\n")
    (folder / "run.yaml").write_text(
        "datasets: [{path: ./data}]\nretrievers: {file: {type: run_file, path: other.trec}}\nmetrics: [map]\nk: 10\n"
    )
    outcome = execute(folder)
    assert "none of its 1 queries" in outcome.failures[0].cause


def test_a_failure_does_not_leave_an_old_score_behind(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    cli = CliRunner()
    assert cli.invoke(app, ["run", "run.yaml"]).exit_code == 0
    broken = ["--set", "retrievers.heavy.fail=search", "--set", "retrievers.words.fail=search"]
    assert cli.invoke(app, ["run", "run.yaml", *broken]).exit_code == 1
    cell = folder / "results" / "run" / "data" / "test" / "heavy"
    assert {p.name for p in cell.glob("*.json")} == {"failure.json", "result.previous.json"}
    assert "failed" in (folder / "results" / "run" / "leaderboard.md").read_text()
    assert cli.invoke(app, ["leaderboard", "results/run"]).exit_code == 2
    assert cli.invoke(app, ["run", "run.yaml"]).exit_code == 0
    assert not (cell / "failure.json").exists()


def test_mixed_files_of_two_runs_are_written_anew(folder: Path) -> None:
    before = execute(folder).records[0]
    cell = folder / "out" / "data" / "test"
    (cell / "heavy" / "per_query.parquet").replace(cell / "words" / "per_query.parquet")
    after = execute(folder).records[0]
    assert after["recorded_at"] >= before["recorded_at"]
    means = pq.read_table(cell / "words" / "per_query.parquet").to_pandas()["ndcg@10"].mean()
    assert abs(means - after["metrics"]["ndcg@10"]["mean"]) < 1e-12


def test_different_systems_of_one_name_are_told_apart(folder: Path) -> None:
    execute(folder)
    loaded = config.load(folder / "run.yaml", ["retrievers.heavy.weight=-1.0"])
    runner.execute(loaded, output=folder / "out2", store=Store(folder / "store"), context=Context())
    board = table.build(sources.load([folder / "out", folder / "out2"]))
    names = sorted(r.system for r in board.rows)
    assert names[-1] == "words"  # the same system in both
    assert names[:4] == ["out/both", "out/heavy", "out2/both", "out2/heavy"]  # both: its parts differ
    assert any("older record" in note for note in board.notes)


def test_a_damaged_artifact_is_made_again(folder: Path) -> None:
    before = execute(folder).records[0]
    for path in (folder / "store" / "run").glob("*/doc_rows.npy"):
        path.write_bytes(path.read_bytes()[:100])
    (folder / "out").rename(folder / "gone")
    outcome = execute(folder)
    assert outcome.records[0]["metrics"] == before["metrics"]
    assert any("damaged" in line for line in outcome.explained)


def test_a_document_twice_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = words.WordsSearcher.search

    def twice(self: Any, queries: Any, k: int, *, context: Context) -> Any:
        run = original(self, queries, k, context=context)
        run.doc_rows[:, 1] = run.doc_rows[:, 0]
        return run

    monkeypatch.setattr(words.WordsSearcher, "search", twice)
    outcome = execute(folder)
    assert "returned a document twice for 12 queries" in outcome.failures[0].cause


def test_a_composite_takes_the_time_of_its_parts(folder: Path) -> None:
    by_name = {r["retriever"]["name"]: r for r in execute(folder).records}
    rate = {name: r["efficiency"]["queries_per_second"] for name, r in by_name.items()}
    assert rate["both"] < min(rate["words"], rate["heavy"])


def test_the_first_search_of_a_process_is_no_measure_of_speed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a clock that stands still but for searches: the first of all takes a second, each later one a tenth."""
    clock, original = [0.0], words.WordsSearcher.search

    def slow_at_first(self: Any, queries: Any, k: int, *, context: Context) -> Any:
        if len(queries) > 1:
            clock[0] += 0.1 if clock[0] else 1.0
        return original(self, queries, k, context=context)

    monkeypatch.setattr(search, "_TIMED_SECONDS", 1.25)
    monkeypatch.setattr(search.time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(words.WordsSearcher, "search", slow_at_first)
    by_name = {r["retriever"]["name"]: r["efficiency"] for r in execute(folder).records}
    assert by_name["words"]["search_passes"] == 4, "1 second and three times a tenth"
    assert by_name["words"]["queries_per_second"] == pytest.approx(12 / 0.1)
    assert by_name["heavy"]["queries_per_second"] == pytest.approx(12 / 0.1)
    assert by_name["heavy"]["search_passes"] == 13, "until 1.25 seconds are spent"


def test_a_runtime_that_compiles_is_warmed_up_once_a_process(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a clock that searches alone move, a second each."""
    clock, original = [0.0], words.WordsSearcher.search

    def timed(self: Any, queries: Any, k: int, *, context: Context) -> Any:
        clock[0] += 1.0
        return original(self, queries, k, context=context)

    monkeypatch.setattr(search, "_warm", set())
    monkeypatch.setattr(search, "_RUNTIME_SECONDS", {"java": 5.0})
    for name in ("perf_counter", "process_time"):
        monkeypatch.setattr(search.time, name, lambda: clock[0])
    monkeypatch.setattr(words.WordsSearcher, "search", timed)
    monkeypatch.setattr(words.WordsSearcher, "runtime", "java", raising=False)
    execute(folder)
    assert search._warm == {"java"}
    # words: one query to begin with and four of four seconds more, then all; heavy: one, then all.
    assert words.CALLS.count("search") == 4 + 1 + 1


def test_searches_are_made_anew_where_their_speed_is_wanted(folder: Path) -> None:
    first = execute(folder).records
    words.CALLS.clear()
    outcome = execute(folder, anew=True)
    assert words.CALLS == ["search", "search"], "and no index"
    assert [r["metrics"] for r in outcome.records] == [r["metrics"] for r in first]
    assert "data words: run made (wanted anew)" in outcome.explained
    words.CALLS.clear()
    assert not execute(folder).failures
    assert words.CALLS == []


def test_a_trial_does_not_replace_full_results(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    cli = CliRunner()
    assert cli.invoke(app, ["run", "run.yaml"]).exit_code == 0
    assert cli.invoke(app, ["run", "run.yaml", "--limit", "3"]).exit_code == 0
    assert records.read(folder / "results" / "run" / "data" / "test" / "words")["comparable"]
    assert not records.read(folder / "results" / "run.limit-3" / "data" / "test" / "words")["comparable"]
    refused = cli.invoke(app, ["run", "run.yaml", "--limit", "3", "--output", "results/run"])
    assert refused.exit_code == 2
    assert "full run" in refused.output


def test_wrong_places_are_said_before_any_work(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    (folder / "file").write_text("")
    cli = CliRunner()
    for option in ("--output", "--store"):
        result = cli.invoke(app, ["run", "run.yaml", option, "file"])
        assert result.exit_code == 2
        assert f"{option}: can't write to" in result.output
    assert words.CALLS == []


def test_json_events_tell_of_mistakes_too(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    good = CliRunner().invoke(app, ["run", "run.yaml", "--json"])
    events = [json.loads(line) for line in good.stdout.splitlines()]
    assert events[-1]["event"] == "result"
    assert events[-1]["leaderboard"]["metric"] == "ndcg@10"
    bad = CliRunner().invoke(app, ["run", "run.yaml", "--json", "--set", "k=0"])
    assert bad.exit_code == 2
    assert json.loads(bad.stdout.splitlines()[0])["problems"]


def test_local_data_is_checked_with_the_config(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    (folder / "data" / "queries.jsonl").write_text('{"id": "q0", "text": "x"}\n')
    assert CliRunner().invoke(app, ["validate", "run.yaml"]).exit_code == 0
    result = CliRunner().invoke(app, ["validate", "run.yaml", "--data"])
    assert result.exit_code == 2
    assert "queries.jsonl:1" in result.output


# -- training splits ------------------------------------------------------------------------------------------------


class PupilParams(words.WordsParams):
    train: str | None = None
    steps: int = 1


class Pupil(words.Words):
    """Has a training split, and learns nothing of it."""

    Params: ClassVar[type[Params]] = PupilParams
    index_params = frozenset({"train", "steps"})
    search_params: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, params: PupilParams) -> None:
        super().__init__(params)

    @property
    def trains_on(self) -> str | None:
        return self.params.train  # type: ignore[attr-defined,no-any-return]

    def with_training(self, data: TrainingData) -> Pupil:
        return self


PUPIL = """\
datasets: [{path: ./data, split: test}]
retrievers:
  words: {type: words}
  pupil:
    type: pupil
    train: train
  other:
    type: pupil
    train: train
metrics: [ndcg@10]
k: 20
"""


@pytest.fixture
def taught(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    registry.BUILTIN["pupil"] = (f"{__name__}:Pupil", "for tests")
    registry.known.cache_clear()
    (folder / "run.yaml").write_text(PUPIL)
    monkeypatch.chdir(folder)
    return folder


def _teach(folder: Path, split: str, queries: list[str]) -> None:
    with (folder / "data" / "queries.jsonl").open("a") as handle:
        handle.writelines(json.dumps({"_id": q, "text": f"about {q}"}) + "\n" for q in queries if q[0] == "t")
    lines = "".join(f"{q}\td1\t1\n" for q in queries)
    (folder / "data" / "qrels" / f"{split}.tsv").write_text(f"query-id\tcorpus-id\tscore\n{lines}")


@pytest.mark.parametrize(
    ("split", "queries", "said"),
    [
        ("trian", ["t0"], "train: data: there is no split 'train' (did you mean 'trian'?)"),
        ("train", ["q0"], "train: the split 'train' of data has no query to learn from that 'test' lacks"),
    ],
)
def test_a_split_that_cannot_be_learnt_from_is_refused_before_any_work(
    taught: Path, split: str, queries: list[str], said: str
) -> None:
    _teach(taught, split, queries)
    with pytest.raises(InputError) as caught:
        execute(taught)
    expected = [f"{taught}/run.yaml:{line}: {said}" for line in (6, 9)]
    assert [str(p) for p in caught.value.report.problems] == expected
    assert words.CALLS == []
    cli = CliRunner()
    assert cli.invoke(app, ["validate", "run.yaml"]).exit_code == 0
    for command in (["validate", "run.yaml", "--data"], ["run", "run.yaml"]):
        result = cli.invoke(app, command)
        assert result.exit_code == 2
        assert f"error: run.yaml:6: {said}" in result.output
    # The data is in the store now, so that a plan knows too, and tells of the other cells.
    plan = cli.invoke(app, ["run", "run.yaml", "--dry-run"])
    assert plan.exit_code == 2
    assert "documents to index" in plan.output
    assert "    problem    " in plan.output
    assert f"error: run.yaml:6: {said}" in plan.output
    events = [
        json.loads(e) for e in cli.invoke(app, ["run", "run.yaml", "--dry-run", "--json"]).stdout.splitlines()
    ]
    assert [e["event"] for e in events] == ["plan", "error"]
    assert words.CALLS == []


def test_the_evaluated_split_is_refused_before_any_work(taught: Path) -> None:
    for command in (["validate", "run.yaml"], ["run", "run.yaml"], ["run", "run.yaml", "--dry-run"]):
        result = CliRunner().invoke(app, [*command, "--set", "retrievers.pupil.train=test"])
        assert result.exit_code == 2
        assert "train: 'test' is the split that data is evaluated on" in result.output
    assert words.CALLS == []


def test_a_good_training_split_runs(taught: Path) -> None:
    _teach(taught, "train", ["t0", "t1"])
    assert not execute(taught, "retrievers.other.train=null").failures


def test_a_plan_takes_the_rate_of_equal_parameters_alone(taught: Path) -> None:
    execute(taught, "retrievers.pupil.train=null", "retrievers.other.train=null")
    make_collection(taught / "more", seed=1)
    more = ["--set", "retrievers.pupil.train=null", "--set", "retrievers.other.train=null"]
    more += ["--set", "datasets=[./data, ./more]", "--set", "retrievers.other.steps=9"]
    cli = CliRunner()
    loaded = config.load(taught / "run.yaml", more[1::2])
    store = Store(taught / "store")
    runner.check_local_data(loaded, store, Context())
    plan = cli.invoke(app, ["run", "run.yaml", "--dry-run", "--store", str(taught / "store"), *more])
    assert plan.exit_code == 0, plan.output
    parts = plan.output.split("more (test)")
    assert "at the last measured rate" in next(p for p in parts if p.startswith("  pupil")).split("run  ")[0]
    assert (
        "at the last measured rate" not in next(p for p in parts if p.startswith("  other")).split("run  ")[0]
    )
