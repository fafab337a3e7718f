"""Studies of corpus size: subsets against their definition, the study file, the table of a grid."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

sys.path.insert(0, str(Path(__file__).parent))
import words

from seekbench import search
from seekbench.api import load_dataset
from seekbench.cli.app import app
from seekbench.datasets import catalogue
from seekbench.datasets.load import load
from seekbench.errors import InputError
from seekbench.leaderboard import records
from seekbench.retrievers import registry
from seekbench.retrievers.protocol import Context, Params, TextView, TrainingData
from seekbench.store import Store
from seekbench.studies import scaling
from seekbench.studies.subsets import MANIFEST, Nested, Subset, describe, subset_folder

# -- a retriever that has docids, inputs and a training split, and none of their cost ---------------------------


class GridParams(Params):
    docids: dict[str, Any]
    inputs: list[dict[str, Any]]
    train: str | None = None
    fail_above: int = 10**9


class Grid(words.Words):
    """Counts common words of the first `length` words of a document."""

    Params: ClassVar[type[Params]] = GridParams
    index_params = frozenset({"docids", "inputs", "train", "fail_above"})
    search_params: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, params: GridParams, training: TrainingData | None = None) -> None:
        super().__init__(words.WordsParams())
        self.grid, self.training = params, training
        self.params = params  # type: ignore[assignment]

    @property
    def trains_on(self) -> str | None:
        return self.grid.train

    def with_training(self, data: TrainingData) -> Grid:
        return Grid(self.grid, data)

    def index(self, documents: TextView, folder: Path, *, context: Context) -> Mapping[str, Any]:
        if len(documents) > self.grid.fail_above:
            raise InputError("too many documents for this test")
        length = int(self.grid.inputs[0]["length"])
        lines = [" ".join(t.split()[:length]) for _, texts in documents.blocks(20) for t in texts]
        (folder / "shard-0.txt").write_text("\n".join(lines))
        n = len(documents)
        return {
            "bytes": 1,
            "documents": n,
            "docids": {"lengths": {"unit": "tokens", "mean": 2.5}},
            "examples": {"kinds": [{"texts": 3 * n, "held_out": n}, {"texts": 5, "held_out": 0}]},
            "parameters": {"total": 1000 + n, "non_embedding": 1000, "docid_table": n},
            "training": {"tokens_seen": 7 * n, "seconds": 0.5},
        }

    def open(self, folder: Path | None, documents: TextView, *, context: Context) -> Any:
        shown, self.params = self.params, words.WordsParams()  # type: ignore[assignment]
        found = super().open(folder, documents, context=context)
        found.owner, self.params = words.Words(words.WordsParams()), shown
        found.finish = lambda run: {"invalid_rate": 0.25}
        return found

    def embed_queries(self, texts: list[str], *, context: Context) -> Any:
        """float32 [texts, 64]: bags of hashed words, so that equal words are a neighbour."""
        out = np.zeros((len(texts), 64), dtype=np.float32)
        for row, text in enumerate(texts):
            for word in text.lower().split():
                out[row, sum(word.encode()) % 64] += 1
        return out


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(registry, "BUILTIN", dict(registry.BUILTIN))
    registry.BUILTIN["grid"] = (f"{__name__}:Grid", "for tests")
    words.register()
    monkeypatch.setattr(search, "_WARM_UP", 1)
    yield
    registry.known.cache_clear()


# -- collections ------------------------------------------------------------------------------------------------


def write_collection(
    folder: Path, documents: int, judged: Mapping[str, Mapping[tuple[int, int], int]], *, queries: int
) -> Path:
    """judged: split -> {(query, document): grade}; a document beyond the corpus is one that it lacks."""
    (folder / "qrels").mkdir(parents=True)
    rows = [
        {"_id": f"d{i}", "text": f"word{i} common text", "title": f"title {i}" if i % 3 else ""}
        | ({"metadata": {"year": i, "_id": "x"}} if i % 2 else {})
        for i in range(documents)
    ]
    (folder / "corpus.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    asked = [{"_id": f"q{i}", "text": f"word{i} Ä", "language": "en"} for i in range(queries)]
    (folder / "queries.jsonl").write_text("".join(json.dumps(r) + "\n" for r in asked))
    for split, pairs in judged.items():
        lines = [f"q{q}\td{d}\t{g}\n" for (q, d), g in pairs.items()]
        (folder / "qrels" / f"{split}.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(lines))
    return folder


def nested_of(folder: Path, store: Store, *, seed: int = 0, **entry: Any) -> tuple[Nested, Any]:
    (spec,) = catalogue.parse({"path": str(folder), "split": "test", **entry})
    return Nested.of(load(spec, store=store), store, seed), spec


PAIRS = st.dictionaries(
    st.tuples(st.integers(0, 7), st.integers(0, 17)), st.integers(-1, 2), min_size=1, max_size=30
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(test=PAIRS, train=PAIRS, seed=st.integers(0, 2**63 - 1), size=st.integers(1, 15))
def test_subsets_are_what_they_are_said_to_be(
    tmp_path_factory: pytest.TempPathFactory,
    test: dict[tuple[int, int], int],
    train: dict[tuple[int, int], int],
    seed: int,
    size: int,
) -> None:
    """By brute force over ids: nested, relevant documents first, queries and judgments as defined."""
    documents, root = 15, tmp_path_factory.mktemp("c")
    store = Store(root / "store")
    data = write_collection(root / "data", documents, {"test": test, "train": train}, queries=8)
    nested, spec = nested_of(data, store, seed=seed)
    relevant: dict[int, set[int]] = {}
    for (q, d), grade in test.items():
        if grade >= 1 and d < documents:
            relevant.setdefault(q, set()).add(d)
    first = set().union(*relevant.values())

    def inside(n: int) -> set[int]:
        return set(np.flatnonzero(nested._inside(n)).tolist())

    assert [len(inside(n)) for n in range(documents + 1)] == list(range(documents + 1))
    assert all(inside(n) < inside(n + 1) for n in range(documents))
    assert inside(len(first)) == first
    kept = inside(size)
    wanted = {q for q, docs in relevant.items() if docs <= kept}
    assert nested.smallest == min(
        (n for n in range(1, documents + 1) if any(docs <= inside(n) for docs in relevant.values())),
        default=0,
    )
    if not wanted:
        with pytest.raises(InputError, match="leave no query"):
            nested.of_size(size)
        return
    subset = nested.of_size(size)
    assert set(subset.documents.tolist()) == kept
    assert {int(i[1:]) for i in nested.query_ids(subset)} == wanted
    folder = root / "subset"
    assert nested.write(subset, folder)
    found = load(nested.spec(spec, subset, folder), store=store)
    assert [int(i[1:]) for i in found.corpus.ids().to_pylist()] == sorted(kept)
    assert {int(i[1:]) for i in found.queries.ids().to_pylist()} == wanted
    judged = {(q, d): g for (q, d), g in test.items() if q in wanted and (d in kept or d >= documents)}
    assert read_qrels(folder / "qrels" / "test.tsv") == judged
    asked = {q for q, d in train if d in kept}
    others = {(q, d): g for (q, d), g in train.items() if q in asked and (d in kept or d >= documents)}
    path = folder / "qrels" / "train.tsv"
    assert (read_qrels(path) if path.exists() else {}) == others


def read_qrels(path: Path) -> dict[tuple[int, int], int]:
    rows = [line.split("\t") for line in path.read_text().splitlines()[1:]]
    return {(int(q[1:]), int(d[1:])): int(g) for q, d, g in rows}


def contents(folder: Path) -> dict[str, bytes]:
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()
    }


PLAIN = {(q, d): 1 for q in range(8) for d in (q, q + 8)}


def test_the_bytes_depend_on_content_and_seed_alone(tmp_path: Path) -> None:
    data = write_collection(tmp_path / "data", 30, {"test": PLAIN, "train": {(0, 3): 1}}, queries=8)
    made = []
    for at in ("a", "b"):
        nested, _ = nested_of(data, Store(tmp_path / at))
        nested.write(nested.of_size(12), tmp_path / at / "subset")
        made.append(contents(tmp_path / at / "subset"))
    assert made[0] == made[1]
    other, _ = nested_of(data, Store(tmp_path / "a"), seed=1)
    assert set(other.of_size(20).documents.tolist()) != set(nested.of_size(20).documents.tolist())


def test_the_order_does_not_change_with_the_corpus_order(tmp_path: Path) -> None:
    data = write_collection(tmp_path / "data", 30, {"test": PLAIN}, queries=8)
    lines = (data / "corpus.jsonl").read_text().splitlines(keepends=True)
    store, found = Store(tmp_path / "store"), []
    for order in (lines, lines[::-1]):
        (data / "corpus.jsonl").write_text("".join(order))
        nested, _ = nested_of(data, store)
        found.append(set(nested.collection.corpus.ids(nested.of_size(20).documents).to_pylist()))
    assert found[0] == found[1]


def test_a_written_subset_is_kept_and_a_damaged_one_written_anew(tmp_path: Path) -> None:
    data = write_collection(tmp_path / "data", 30, {"test": PLAIN, "train": {(0, 3): 1}}, queries=8)
    nested, _ = nested_of(data, Store(tmp_path / "store"))
    subset, folder = nested.of_size(20), tmp_path / "subset"
    assert nested.write(subset, folder)
    before = contents(folder)
    stamp = (folder / "corpus.jsonl").stat().st_mtime_ns
    assert not nested.write(subset, folder)
    assert (folder / "corpus.jsonl").stat().st_mtime_ns == stamp
    with (folder / "corpus.jsonl").open("a") as handle:
        handle.write("{}\n")
    (folder / "qrels" / "dev.tsv").write_text("left by somebody")
    assert nested.write(subset, folder)
    assert contents(folder) == before
    (folder / MANIFEST).unlink()  # as if it had been killed
    assert nested.write(subset, folder)
    assert contents(folder) == before
    assert nested.write(nested.of_size(16), folder), "another subset takes its place"


def test_a_subset_of_everything_is_the_dataset(tmp_path: Path) -> None:
    """Texts, titles, metadata, judgments of documents that the corpus lacks, templates, language, metric."""
    judged = PLAIN | {(1, 99): 2, (2, 29): 0}
    data = write_collection(tmp_path / "data", 30, {"test": judged}, queries=8)
    store = Store(tmp_path / "store")
    nested, spec = nested_of(
        data, store, id="a/b", template="{title}: {text} {year}", query_template="{text} {language}",
        language="de", main_metric="map",
    )  # fmt: skip
    subset = nested.of_size(30)
    nested.write(subset, tmp_path / "subset")
    found = load(nested.spec(spec, subset, tmp_path / "subset"), store=store)
    assert found.hashes == nested.dataset.hashes
    assert (found.id, found.split, found.language, found.main_metric) == ("a/b/30", "test", "de", "map")
    assert found.source["language"] == "declared"
    assert found.corpus.texts(found.template) == nested.dataset.corpus.texts(nested.dataset.template)


def test_a_guessed_language_is_that_of_the_whole_at_every_size(tmp_path: Path) -> None:
    data = write_collection(tmp_path / "data", 30, {"test": PLAIN}, queries=8)
    rows = [json.loads(line) for line in (data / "corpus.jsonl").read_text().splitlines()]
    german = "das ist ein Text und der Hund ist nicht auf der Wiese"
    rows = [r | {"text": "alpha beta" if i < 8 else german} for i, r in enumerate(rows)]
    (data / "corpus.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    store = Store(tmp_path / "store")
    nested, spec = nested_of(data, store)
    assert (nested.dataset.language, nested.dataset.source["language"]) == ("de", "guessed")
    for size in (nested.smallest, 30):
        subset = nested.of_size(size)
        nested.write(subset, tmp_path / str(size))
        assert load(nested.spec(spec, subset, tmp_path / str(size)), store=store).language == "de"


@pytest.mark.parametrize("kind", ["identical_id", "file", "key"])
def test_exclusions_are_kept(tmp_path: Path, kind: str) -> None:
    data = write_collection(tmp_path / "data", 30, {"test": PLAIN}, queries=8)
    exclude: Any = kind
    lists = {f"q{q}": [f"d{q + 9}", "d29"] for q in range(6)}
    if kind == "identical_id":
        (data / "corpus.jsonl").write_text((data / "corpus.jsonl").read_text().replace('"d25"', '"q3"'))
    elif kind == "file":
        (tmp_path / "list.json").write_text(json.dumps(lists))
        exclude = {"file": str(tmp_path / "list.json")}
    else:
        rows = [json.loads(line) for line in (data / "queries.jsonl").read_text().splitlines()]
        rows = [r | {"no": lists.get(r["_id"], ["N/A"])} for r in rows]
        (data / "queries.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
        exclude = {"key": "no"}
    store = Store(tmp_path / "store")
    nested, spec = nested_of(data, store, exclude=exclude)
    assert len(nested.dataset.exclusion)
    for size in (nested.smallest, 25, 30):
        subset = nested.of_size(size)
        folder = tmp_path / str(size)
        nested.write(subset, folder)
        found = load(nested.spec(spec, subset, folder), store=store)

        def pairs(dataset: Any, exclusion: Any) -> set[tuple[str, str]]:
            queries = dataset.queries.ids(exclusion.query_rows).to_pylist()
            return set(zip(queries, dataset.corpus.ids(exclusion.doc_rows).to_pylist(), strict=True))

        there = set(found.queries.ids().to_pylist()), set(found.corpus.ids().to_pylist())
        whole = pairs(nested.dataset, nested.dataset.exclusion)
        assert pairs(found, found.exclusion) == {(q, d) for q, d in whole if q in there[0] and d in there[1]}


def test_queries_without_a_relevant_document_are_left_out_and_counted(tmp_path: Path) -> None:
    judged = {(0, 0): 1, (1, 1): 0, (2, 99): 1, (3, 3): 1}
    data = write_collection(tmp_path / "data", 10, {"test": judged}, queries=8)
    nested, _ = nested_of(data, Store(tmp_path / "store"))
    assert nested.unanswerable == 2
    subset = nested.of_size(10)
    assert nested.query_ids(subset) == ["q0", "q3"]
    lines = describe(nested, {10: subset})
    assert lines[0].endswith("10 of 10 documents: 2 of 2 queries have all their relevant documents inside")
    assert "2 queries without a relevant document" in lines[1]
    with pytest.raises(InputError, match="has 10 documents, so there is no subset of 11"):
        nested.of_size(11)


# -- the study file -----------------------------------------------------------------------------------------------

GOOD = """\
study: scaling
datasets: [{path: ./data, language: en}]
sizes: [all, 12, 20]
docids:
  naive: {type: naive}
  tree: {type: tree}
inputs:
  short: [{length: 1}]
  long: [{length: 9}]
retriever:
  type: grid
baselines:
  words: {type: words}
metrics: [mrr@10, success@1]
k: 10
seed: 3
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_collection(tmp_path / "data", 30, {"test": PLAIN, "train": {(0, 3): 1}}, queries=8)
    (tmp_path / "s.yaml").write_text(GOOD)
    return tmp_path


def problems(folder: Path, text: str, *overrides: str) -> list[str]:
    (folder / "bad.yaml").write_text(text)
    with pytest.raises(InputError) as error:
        scaling.load(folder / "bad.yaml", overrides, shown="S")
    return [str(p) for p in error.value.report.problems]


def test_a_good_file(folder: Path) -> None:
    study = scaling.load(folder / "s.yaml")
    assert study.sizes == (12, 20, None)
    assert list(study.cells) == ["naive+short", "naive+long", "tree+short", "tree+long"]
    assert study.cells["tree+long"] == ("tree", "long")
    assert [r.name for r in study.config.retrievers] == [*study.cells, "words"]
    assert study.config.retriever("tree+long").params == {
        "docids": {"type": "tree"},
        "inputs": [{"length": 9}],
    }
    assert (study.seed, study.config.k, study.name) == (3, 10, "s")
    assert [m.name for m in study.config.measures] == ["mrr@10", "success@1"]


def test_overrides_reach_every_cell(folder: Path) -> None:
    study = scaling.load(folder / "s.yaml", ["retriever.train=train", "sizes=[20]", "inputs.long.0.length=4"])
    assert all(study.config.retriever(n).params["train"] == "train" for n in study.cells)
    assert study.config.retriever("naive+long").params["inputs"] == [{"length": 4}]
    assert study.sizes == (20,)


def test_all_mistakes_at_once_each_with_its_line(folder: Path) -> None:
    text = GOOD.replace("path: ./data", "path: ./dada").replace("[all, 12, 20]", "[all, 0, 20, 20, many]")
    text = text.replace("type: grid", "type: grid\n  trian: train\n  sweep: {train: [a]}\n  docids: {}")
    text = text.replace("words: {type: words}", "words: {type: wrods}").replace("mrr@10", "mmr@10")
    text = text.replace("  tree:", "  tr ee:").replace("seed: 3", "sede: 3")
    found = problems(folder, text)
    expected = [
        ("S:2", "dada does not exist"),
        ("S:3", "not 0"),
        ("S:3", "20 is there already"),
        ("S:3", "not 'many'"),
        ("S:6", "'tr ee' can't name docids"),
        ("S:12", "has no key 'trian' (did you mean 'train'?)"),
        ("S:13", "a study has no sweep"),
        ("S:14", "'docids' differs by cell"),
        ("S:16", "unknown retriever type 'wrods' (did you mean 'words'?)"),
        ("S:17", "mmr@10"),
        ("S:19", "no key 'sede' (did you mean 'seed'?)"),
    ]
    for line, said in expected:
        assert any(p.startswith(f"{line}: ") and said in p for p in found), (line, said, found)
    assert len(found) == len(expected), found


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("study: scaling", "study: scalnig", "S:1: study: input should be 'scaling', not 'scalnig'"),
        ("  type: grid\n", "  seed: 1\n", "S:10: the retriever has no type (type: generative)"),
        (
            "words: {type: words}",
            "naive+long: {type: words}",
            "S:13: the cell of docids and inputs 'naive+long'",
        ),
        (
            "  naive: {type: naive}\n  tree: {type: tree}",
            "  {}",
            "S:4: docids: dictionary should have at least 1",
        ),
        ("  long: [{length: 9}]", "  long: {length: 9}", "S:9: "),
        ("{path: ./data, language: en}", "{path: ./data, limit: 3}", "S:2: limit: a study of sizes takes"),
        ("metrics: [mrr@10, success@1]\nk: 10", "k: 5", "S:14: mrr@10 looks deeper than k=5"),
        ("datasets: [{path: ./data, language: en}]\n", "", "S:1: the key 'datasets' is missing"),
    ],
)
def test_a_mistake(folder: Path, old: str, new: str, said: str) -> None:
    assert old in GOOD
    assert any(p.startswith(said) for p in problems(folder, GOOD.replace(old, new))), said


def test_the_file_of_another_study_is_refused_in_a_line(folder: Path) -> None:
    found = problems(folder, GOOD.replace("study: scaling", "study: growing"))
    assert found == ["S:1: this is a growing study (seekbench study growing S)"]


def test_training_splits_are_refused_before_anything_runs(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = next(i for i, said in enumerate(GOOD.splitlines(), 1) if said.startswith("  type: ")) + 1
    text = "".join(
        f"{row}\n  train: SPLIT\n" if row.startswith("  type: ") else f"{row}\n" for row in GOOD.splitlines()
    )
    found = problems(folder, text.replace("SPLIT", "test"))
    assert len(found) == 1
    assert found[0].startswith(f"S:{line}: train: 'test' is the split that data is evaluated on")
    (folder / "bad.yaml").write_text(text.replace("SPLIT", "trian"))
    monkeypatch.chdir(folder)
    command = [
        "study",
        "scaling",
        str(folder / "bad.yaml"),
        "--store",
        str(folder / "store"),
        "--output",
        str(folder / "out"),
    ]
    words.CALLS.clear()
    refused = CliRunner().invoke(app, command)
    assert not words.CALLS
    execute(folder)  # writes the parts, which a plan then reads
    planned = CliRunner().invoke(app, [*command, "--dry-run"])
    for result in (refused, planned):
        assert result.exit_code == 2
        assert all(f"bad.yaml:{line}: train: " in s for s in result.output.splitlines() if s[:5] == "error")
        assert "there is no split 'trian'" in result.output


def test_a_run_config_is_no_study(folder: Path) -> None:
    found = problems(folder, "datasets: [{path: ./data}]\nretrievers: {words: {type: words}}\n")
    assert any("the key 'study' is missing" in p for p in found)


# -- the grid -------------------------------------------------------------------------------------------------------


def execute(folder: Path, *overrides: str) -> scaling.Result:
    study = scaling.load(folder / "s.yaml", overrides)
    return scaling.execute(
        study, output=folder / "out", store=Store(folder / "store"), context=Context(threads=1)
    )


def test_the_table_of_a_grid(folder: Path) -> None:
    result = execute(folder)
    assert not result.outcome.failures
    assert [(r.documents, r.system) for r in result.rows] == [
        (n, s)
        for n in (12, 20, 30)
        for s in ("naive+short", "naive+long", "tree+short", "tree+long", "words")
    ]
    row = next(r for r in result.rows if (r.documents, r.system) == (20, "tree+long"))
    assert (row.docids, row.inputs, row.dataset, row.split) == ("tree", "long", "data", "test")
    assert (row.parameters, row.parameters_non_embedding, row.parameters_docid_table) == (1020, 1000, 20)
    assert (row.docid_tokens, row.examples, row.training_tokens) == (2.5, 45, 140)
    assert (row.training_seconds, row.invalid_rate) == (0.5, 0.25)
    assert row.index_seconds is not None
    assert row.queries_per_second is not None
    baseline = next(r for r in result.rows if r.system == "words")
    assert (baseline.docids, baseline.inputs, baseline.parameters, baseline.invalid_rate) == (None,) * 4
    assert baseline.queries_per_second is not None
    # relevant documents are all among the first 16, so every query is there from 20 documents on
    queries = {r.documents: r.queries for r in result.rows}
    assert queries[20]["all"] == queries[30]["all"] == 8
    assert queries[12]["all"] == queries[12]["common"] == queries[30]["common"] < 8
    assert set(queries[12]) == {"all", "common"}, "nothing was learnt from another split"


def test_figures_are_those_of_the_records(folder: Path) -> None:
    """All: the record's mean. Common: the mean over the smallest size's queries, from the scores per query."""
    import pyarrow.parquet as pq

    result = execute(folder)
    first = records.cell_folder(folder / "out", "data/12", "test", "words")
    common = set(pq.read_table(first / "per_query.parquet").column("query_id").to_pylist())
    for row in result.rows:
        cell = records.cell_folder(folder / "out", f"data/{row.documents}", "test", row.system)
        record = records.read(cell)
        rows = pq.read_table(cell / "per_query.parquet").to_pylist()
        for metric, figures in row.scores.items():
            assert figures["all"] == record["metrics"][metric]["mean"]
            assert figures["common"] == pytest.approx(
                np.mean([r[metric] for r in rows if r["query_id"] in common])
            )
    smallest = [r for r in result.rows if r.documents == 12]
    assert all(f["all"] == pytest.approx(f["common"]) for r in smallest for f in r.scores.values())


def test_a_second_run_makes_nothing(folder: Path) -> None:
    first = execute(folder)
    words.CALLS.clear()
    subset = subset_folder(folder / "out", "data", "test", 20)
    stamps = {p: p.stat().st_mtime_ns for p in subset.rglob("*")}
    again = execute(folder)
    assert again.rows == first.rows
    assert not words.CALLS
    assert {p: p.stat().st_mtime_ns for p in subset.rglob("*")} == stamps
    third = execute(folder, "sizes=[20, 25]")
    assert sorted({r.documents for r in third.rows}) == [20, 25]


def test_a_failing_cell_is_a_row_that_says_so(folder: Path) -> None:
    result = execute(folder, "retriever.fail_above=25")
    failed = [r for r in result.rows if r.failure]
    assert [(r.documents, r.system) for r in failed] == [
        (30, s) for s in ("naive+short", "naive+long", "tree+short", "tree+long")
    ]
    assert all(not r.scores for r in failed)
    shown, _ = scaling.grids(result)
    assert any("failed: too many documents" in note for note in shown.notes)
    scaling.write(folder / "out", result)
    table = json.loads((folder / "out" / "scaling.json").read_bytes())
    assert [r["failure"] for r in table["rows"]].count("too many documents for this test") == 4


def test_figures_apart_from_neighbours_of_training_queries(folder: Path) -> None:
    """A test query has a training query's words and its answer: it counts in all, not in the figures apart, which
    the baseline has too, over the same queries."""
    queries = [{"_id": f"q{i}", "text": f"word{i}"} for i in range(8)]
    near = int(Nested.query_ids(*_smallest(folder))[0][1:])
    queries.append({"_id": "t", "text": f"word{near}  "})  # not the same bytes, or it would be left out
    queries[-1]["text"] = f"word{near} word{near}"
    (folder / "data" / "queries.jsonl").write_text("".join(json.dumps(q) + "\n" for q in queries))
    (folder / "data" / "qrels" / "train.tsv").write_text(
        f"query-id\tcorpus-id\tscore\nt\td{near}\t1\nt\td{near + 8}\t1\n"
    )
    result = execute(folder, "retriever.train=train")
    assert not result.outcome.failures, result.outcome.failures
    for row in result.rows:
        assert row.queries["all_apart"] == row.queries["all"] - 1
        assert row.queries["common_apart"] == row.queries["common"] - 1
        assert set(row.scores["mrr@10"]) == {"all", "common", "all_apart", "common_apart"}
    shown, _ = scaling.grids(result)
    assert "mrr@10†" in shown.columns
    assert "mrr@10 common†" in shown.columns
    assert any(n.startswith("†: without the queries") for n in shown.notes)
    plain, _ = scaling.grids(result, common=False)
    assert list(plain.columns) == [
        "documents",
        "system",
        "queries",
        "mrr@10",
        "mrr@10†",
        "success@1",
        "success@1†",
    ]


def _smallest(folder: Path) -> tuple[Nested, Subset]:
    nested, _ = nested_of(folder / "data", Store(folder / "other"), seed=3)
    return nested, nested.of_size(12)


def test_impossible_sizes_are_refused_together_before_anything_runs(folder: Path) -> None:
    with pytest.raises(InputError) as error:
        execute(folder, "sizes=[1, 20, 99]")
    found = [str(p) for p in error.value.report.problems]
    assert len(found) == 2
    assert "1 documents of data (test) leave no query" in found[0]
    assert "with " in found[0]
    assert "there is no subset of 99 (`all` takes every document)" in found[1]
    assert not (folder / "out").exists()


def test_the_plan_writes_nothing_and_knows_what_is_stored(folder: Path) -> None:
    study = scaling.load(folder / "s.yaml")
    store, context = Store(folder / "store"), Context(threads=1)
    lines, cells = scaling.plan(study, output=folder / "out", store=store, context=context)
    assert "not read yet" in lines[0]
    assert len(cells) == 15
    assert not (folder / "out").exists()
    load_dataset({"path": str(folder / "data"), "split": "test", "language": "en"}, store=store.root)
    lines, cells = scaling.plan(study, output=folder / "out", store=store, context=context)
    assert lines[1].endswith("20 of 30 documents: 8 of 8 queries have all their relevant documents inside")
    assert {s.why for c in cells for s in c.stages} == {"the subset is not written yet"}
    execute(folder)
    _, cells = scaling.plan(study, output=folder / "out", store=store, context=context)
    assert {s.state for c in cells for s in c.stages} == {"cached"}


def test_what_is_written_and_shown(folder: Path) -> None:
    result = execute(folder)
    written = scaling.write(folder / "out", result)
    assert [p.name for p in written] == [
        "scaling.json", "scaling.md", "scaling.csv", "scaling-mrr@10.png", "scaling-success@1.png",
    ]  # fmt: skip
    assert written[3].read_bytes().startswith(b"\x89PNG")
    assert os.environ["MPLBACKEND"] == "Agg"
    header, *lines = (folder / "out" / "scaling.csv").read_text().splitlines()
    assert header.startswith(
        "dataset,split,documents,system,docids,inputs,queries_all,queries_common,mrr@10,"
    )
    assert len(lines) == 15
    assert len(set(header.split(","))) == len(header.split(","))
    scores, costs = scaling.grids(result, ["MRR@10"])
    assert list(scores.columns) == ["documents", "system", "queries", "mrr@10", "mrr@10 common"]
    for size in ("12", "20", "30"):
        cells = [row[3] for row in scores.cells() if row[0].shown == size]
        best = max(float(c.shown) for c in cells)
        assert all(c.best == (float(c.shown) == best) for c in cells)
    assert "docid table" in costs.columns
    with pytest.raises(InputError, match="the study has no metric 'map'"):
        scaling.grids(result, ["map"])
