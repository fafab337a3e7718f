"""The study of growing corpora: cuts against their definition, the study file, figures by brute force, D0 made once."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.stats import ttest_rel
from typer.testing import CliRunner

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "retrievers"))
import tiny_checkpoints as tiny
import words

from seekbench import config, runner, search
from seekbench.cli.app import app
from seekbench.datasets import catalogue
from seekbench.datasets.load import load
from seekbench.errors import InputError
from seekbench.leaderboard import records
from seekbench.retrievers import registry
from seekbench.retrievers.generative.growth import Growth, restricted
from seekbench.retrievers.protocol import Context, Params, TextView, TrainingData
from seekbench.store import Store
from seekbench.studies import growing, growing_table
from seekbench.studies.grown import SETS, Grown, describe, first_of
from seekbench.training.queries import training_data
from seekbench.trec import read_run

CONTEXT = Context(device="cpu", threads=1)

# -- a retriever that grows, without the cost of training ---------------------------------------------------------


class SproutParams(Params):
    train: str | None = None
    growth: Growth | None = None
    fail_above: int = 10**9


class Sprout(words.Words):
    """Counts common words. Of documents that came later it reads the title alone, but with `growth.steps`."""

    Params: ClassVar[type[Params]] = SproutParams
    index_params = frozenset({"train", "growth", "fail_above"})
    search_params: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, params: SproutParams, training: TrainingData | None = None) -> None:
        super().__init__(words.WordsParams())
        self.grown, self.training = params, training
        self.params = params  # type: ignore[assignment]

    @property
    def trains_on(self) -> str | None:
        return self.grown.train

    def with_training(self, data: TrainingData) -> Sprout:
        return Sprout(self.grown, data)

    def identity(self, *, context: Context) -> Mapping[str, Any]:
        return {"training": self.training.content_hash if self.training else None}

    def index(self, documents: TextView, folder: Path, *, context: Context) -> Mapping[str, Any]:
        words.CALLS.append(f"index {len(documents)}")
        growth, facts = self.grown.growth, dict[str, Any]()
        if len(documents) > self.grown.fail_above:
            raise InputError("too many documents for this test")
        texts = [" ".join(t.split()) for t in documents.texts()]
        if growth:
            known = growth.known(len(documents))
            own = Sprout(self.grown.model_copy(update={"growth": None}), restricted(self.training, known))
            assert context.shared is not None
            _, first = context.shared("sprout", own, documents.take(np.arange(known)))
            facts = {"parts_seconds": {"first documents": first["seconds"]}}
            if not growth.steps:
                texts[known:] = ["title"] * (len(texts) - known)
        (folder / "shard-0.txt").write_text("\n".join(texts))
        n = len(documents)
        return {
            "bytes": 1,
            "seconds": 2.5 + facts.get("parts_seconds", {}).get("first documents", 0),
            "parameters": {"total": 1000 + n},
            "training": {"examples_seen": 7 * n, "seconds": 0.5},
            **facts,
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
    registry.BUILTIN["sprout"] = (f"{__name__}:Sprout", "for tests")
    words.register()
    words.CALLS.clear()
    monkeypatch.setattr(search, "_WARM_UP", 1)
    yield
    registry.known.cache_clear()


# -- collections ------------------------------------------------------------------------------------------------


def write_collection(
    folder: Path, documents: int, judged: Mapping[str, Mapping[tuple[int, int], int]], *, queries: int
) -> Path:
    """judged: split -> {(query, document): grade}; a document beyond the corpus is one that it lacks. Query i asks for
    document i by its word."""
    (folder / "qrels").mkdir(parents=True)
    rows = [
        {"_id": f"d{i}", "text": f"word{i} common text {'x ' * (i % 4)}", "title": f"t{i}"}
        for i in range(documents)
    ]
    (folder / "corpus.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    asked = [{"_id": f"q{i}", "text": f"word{i} Ä"} for i in range(queries)]
    (folder / "queries.jsonl").write_text("".join(json.dumps(r) + "\n" for r in asked))
    for split, pairs in judged.items():
        lines = [f"q{q}\td{d}\t{g}\n" for (q, d), g in pairs.items()]
        (folder / "qrels" / f"{split}.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(lines))
    return folder


def grown_of(folder: Path, store: Store, first: float, *, seed: int = 0, **entry: Any) -> Grown:
    (spec,) = catalogue.parse({"path": str(folder), "split": "test", "language": "en", **entry})
    return Grown.of(load(spec, store=store), spec, store, first, seed)


def written(grown: Grown, store: Store, output: Path) -> dict[str, Any]:
    """Both parts as datasets, by name."""
    out = {}
    for name in ("first", "all"):
        folder = grown.folder(output, name)
        part = grown.part(name, store, CONTEXT)
        part.write(folder)
        out[name] = part.spec(grown.spec, grown.dataset, grown.id(name), folder)
    return out


def read_qrels(path: Path) -> dict[tuple[int, int], int]:
    if not path.exists():
        return {}
    rows = [line.split("\t") for line in path.read_text().splitlines()[1:]]
    return {(int(q[1:]), int(d[1:])): int(g) for q, d, g in rows}


def contents(folder: Path) -> dict[str, bytes]:
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()
    }


PAIRS = st.dictionaries(
    st.tuples(st.integers(0, 9), st.integers(0, 16)), st.integers(-1, 2), min_size=1, max_size=30
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(test=PAIRS, train=PAIRS, seed=st.integers(0, 2**63 - 1), count=st.integers(3, 12))
def test_a_cut_is_what_it_is_said_to_be(
    tmp_path_factory: pytest.TempPathFactory,
    test: dict[tuple[int, int], int],
    train: dict[tuple[int, int], int],
    seed: int,
    count: int,
) -> None:
    """By brute force over ids: D0 before D1, the sets of queries, judgments, what may be learnt."""
    documents, root = 15, tmp_path_factory.mktemp("c")
    store = Store(root / "store")
    data = write_collection(root / "data", documents, {"test": test, "train": train}, queries=10)
    relevant: dict[int, set[int]] = {}
    for (q, d), grade in test.items():
        if grade >= 1 and d < documents:
            relevant.setdefault(q, set()).add(d)
    grown = None
    with contextlib.suppress(InputError):  # no old query, or no new one
        grown = grown_of(data, store, count, seed=seed)
    if grown is None:
        return
    first = set(np.flatnonzero(grown.first).tolist())
    assert len(first) == grown.known == count
    wanted = {
        "old": {q for q, docs in relevant.items() if docs <= first},
        "new": {q for q, docs in relevant.items() if not docs & first},
        "mixed": {q for q, docs in relevant.items() if docs & first and docs - first},
    }
    assert {n: {int(i[1:]) for i in grown.query_ids(n)} for n in SETS} == wanted
    assert grown.unseen_rate == len(wanted["new"]) / len(relevant)
    assert grown.unanswerable == len({q for q, _ in test}) - len(relevant)
    specs = written(grown, store, root)
    found = {name: load(spec, store=store) for name, spec in specs.items()}
    order = [int(i[1:]) for i in found["all"].corpus.ids().to_pylist()]
    assert order == [*sorted(first), *sorted(set(range(documents)) - first)]
    assert [int(i[1:]) for i in found["first"].corpus.ids().to_pylist()] == sorted(first)
    evaluated = set(relevant)
    for name, asked, inside in (("first", wanted["old"], first), ("all", evaluated, set(range(documents)))):
        folder = grown.folder(root, name)
        kept = {(q, d): g for (q, d), g in test.items() if q in asked and (d in inside or d >= documents)}
        assert read_qrels(folder / "qrels" / "test.tsv") == kept
    assert read_qrels(grown.folder(root, "all") / "qrels" / "train.tsv") == train
    taught = {q for (q, d), g in train.items() if g >= 1 and d in first} - evaluated
    assert read_qrels(grown.folder(root, "first") / "qrels" / "train.tsv") == {
        (q, d): g for (q, d), g in train.items() if q in taught and (d in first or d >= documents)
    }
    # what growth takes for D0 in `all` is `first`: the same bytes, the same lessons, hence one index
    view = runner.plan.documents_view(found["all"]).take(np.arange(count))
    assert view.content_hash == runner.plan.documents_view(found["first"]).content_hash
    if taught:
        lessons = {n: training_data(found[n], load(_split(specs[n], "train"), store=store)) for n in specs}
        grown_lessons = restricted(lessons["all"], count)
        assert grown_lessons is not None
        assert grown_lessons.content_hash == lessons["first"].content_hash


def _split(spec: Any, split: str) -> Any:
    from dataclasses import replace

    return replace(spec, split=split)


#: Query q asks for document q (and some for q + 10): 20 documents, 12 queries.
PLAIN = {(q, q): 1 for q in range(12)} | {(q, q + 8): 1 for q in range(8, 12)}


def test_the_bytes_depend_on_content_and_seed_alone(tmp_path: Path) -> None:
    data = write_collection(tmp_path / "data", 20, {"test": PLAIN, "train": {(0, 3): 1}}, queries=12)
    made = []
    for at in ("a", "b"):
        store = Store(tmp_path / at)
        written(grown_of(data, store, 0.6), store, tmp_path / at)
        made.append(contents(tmp_path / at / "subsets"))
    assert made[0] == made[1]
    lines = (data / "corpus.jsonl").read_text().splitlines(keepends=True)
    ids = []
    for order in (lines, lines[::-1]):
        (data / "corpus.jsonl").write_text("".join(order))
        grown = grown_of(data, store, 0.6)
        ids.append(set(grown.collection.corpus.ids(np.flatnonzero(grown.first)).to_pylist()))
    assert ids[0] == ids[1], "D0 does not depend on the corpus' order"
    other = grown_of(data, store, 0.6, seed=1)
    assert set(other.collection.corpus.ids(np.flatnonzero(other.first)).to_pylist()) != ids[0]


def test_d0_is_drawn_from_all_documents(tmp_path: Path) -> None:
    """Not the relevant ones first: over seeds each document is in D0 as often as any."""
    data = write_collection(tmp_path / "data", 20, {"test": PLAIN}, queries=12)
    store, counts = Store(tmp_path / "store"), np.zeros(20)
    for seed in range(200):
        try:
            counts += grown_of(data, store, 10, seed=seed).first
        except InputError:
            counts += 0.5
    assert counts.min() > 65
    assert counts.max() < 135


def test_a_number_of_documents_is_counted_as_the_retriever_does() -> None:
    for documents, first in ((24, 0.8), (25, 0.5), (27, 0.5), (100, 17), (3, 0.34)):
        assert first_of(documents, first) == Growth.model_validate({"first": first}).known(documents)
    for first in (24, 0.01):
        with pytest.raises(InputError, match="of 24 documents leave none"):
            first_of(24, first)


def test_a_column_that_d1_alone_has_is_said(tmp_path: Path) -> None:
    """Its titles make D0 in `all` another content than D0 alone, which is then indexed for itself."""
    data = write_collection(tmp_path / "data", 20, {"test": PLAIN}, queries=12)
    store = Store(tmp_path / "store")
    grown = grown_of(data, store, 0.6)
    assert not grown.later_columns
    rows = [json.loads(line) for line in (data / "corpus.jsonl").read_text().splitlines()]
    for row, known in zip(rows, grown.first.tolist(), strict=True):
        row["title"] = "" if known else row["title"]
    (data / "corpus.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    again = grown_of(data, store, 0.6)
    assert again.later_columns == ["title"]
    assert describe(again)[-1] == "only D1 has title, so D0 is indexed twice, to the same effect"


def test_exclusions_are_kept(tmp_path: Path) -> None:
    data = write_collection(tmp_path / "data", 20, {"test": PLAIN}, queries=12)
    lists = {f"q{q}": [f"d{q + 1}", "d19"] for q in range(12)}
    (tmp_path / "list.json").write_text(json.dumps(lists))
    store = Store(tmp_path / "store")
    grown = grown_of(data, store, 0.6, exclude={"file": str(tmp_path / "list.json")})
    for spec in written(grown, store, tmp_path).values():
        found = load(spec, store=store)
        queries = found.queries.ids(found.exclusion.query_rows).to_pylist()
        pairs = set(zip(queries, found.corpus.ids(found.exclusion.doc_rows).to_pylist(), strict=True))
        there = set(found.queries.ids().to_pylist()), set(found.corpus.ids().to_pylist())
        assert pairs == {(q, d) for q, ds in lists.items() for d in ds if q in there[0] and d in there[1]}
        assert pairs


def test_what_is_said_of_a_cut(tmp_path: Path) -> None:
    judged = PLAIN | {(0, 0): 0}
    data = write_collection(tmp_path / "data", 20, {"test": judged}, queries=12)
    grown = grown_of(data, Store(tmp_path / "store"), 0.6)
    lines = describe(grown)
    assert "12 of 20 documents are indexed first (D0, at random, seed 0), 8 are added (D1)" in lines[0]
    counts = grown.counts
    assert f"queries: {counts['old']} old, {counts['new']} new" in lines[1]
    assert sum(counts.values()) == 11
    assert "1 queries without a relevant document" in lines[2]
    alone = write_collection(tmp_path / "alone", 20, {"test": {(0, 0): 1}}, queries=1)
    for count, kind in ((19, "new"), (1, "old")):
        with pytest.raises(InputError, match=f"of 20 documents of alone .test. leave no {kind} query"):
            grown_of(alone, Store(tmp_path / "store"), count)


# -- the study file -----------------------------------------------------------------------------------------------

GOOD = """\
study: growing
datasets: [{path: ./data, language: en}]
first: 0.6
retriever:
  type: sprout
growth:
  naive: {steps: 0}
  tuned: {steps: 9, replay: 0.25}
baselines:
  words: {type: words}
metrics: [mrr@10, success@1]
k: 15
seed: 3
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_collection(tmp_path / "data", 20, {"test": PLAIN, "train": {(0, 3): 1}}, queries=12)
    (tmp_path / "s.yaml").write_text(GOOD)
    return tmp_path


def problems(folder: Path, text: str, *overrides: str) -> list[str]:
    (folder / "bad.yaml").write_text(text)
    with pytest.raises(InputError) as error:
        growing.load(folder / "bad.yaml", overrides, shown="S")
    return [str(p) for p in error.value.report.problems]


def test_a_good_file(folder: Path) -> None:
    study = growing.load(folder / "s.yaml", ["growth.tuned.rate=0.01"])
    assert study.systems == ["words", "scratch", "naive", "tuned"]
    assert [study.kind(s) for s in study.systems] == ["baseline", "scratch", "growth", "growth"]
    assert study.config.retriever("tuned").params == {
        "growth": {"first": 0.6, "steps": 9, "replay": 0.25, "rate": 0.01}
    }
    assert study.config.retriever("scratch").params == {}
    assert (study.first, study.seed, study.config.k, study.name) == (0.6, 3, 15, "s")
    assert [r.name for r in study.part_config("first", ()).retrievers] == ["scratch", "words"]


def test_all_mistakes_at_once_each_with_its_line(folder: Path) -> None:
    text = GOOD.replace("path: ./data", "path: ./dada").replace("first: 0.6", "first: 1.5")
    text = text.replace("type: sprout", "type: sprout\n  trian: train\n  sweep: {train: [a]}\n  growth: {}")
    text = text.replace("naive: {steps: 0}", "naive: {stpes: 0}").replace(
        "replay: 0.25", "first: 3, replay: 2"
    )
    text = text.replace("words: {type: words}", "words: {type: wrods}\n  scratch: {type: words}")
    text = text.replace("mrr@10", "mmr@10").replace("seed: 3", "sede: 3")
    found = problems(folder, text)
    expected = [
        ("S:2", "dada does not exist"),
        ("S:3", "first: a number of documents, or a share between 0 and 1, not 1.5"),
        ("S:6", "has no key 'trian' (did you mean 'train'?)"),
        ("S:7", "a study has no sweep"),
        ("S:8", "'growth' differs by variant"),
        ("S:10", "has no key 'stpes' (did you mean 'steps'?)"),
        ("S:11", "'tuned' has a `first` of its own"),
        ("S:11", "replay: input should be less than 1"),
        ("S:13", "unknown retriever type 'wrods' (did you mean 'words'?)"),
        ("S:14", "'scratch' is the retriever that is trained on all documents at once"),
        ("S:15", "mmr@10"),
        ("S:17", "no key 'sede' (did you mean 'seed'?)"),
    ]
    for line, said in expected:
        assert any(p.startswith(f"{line}: ") and said in p for p in found), (line, said, found)
    assert len(found) == len(expected), found


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("study: growing", "study: growign", "S:1: study: input should be 'growing', not 'growign'"),
        ("type: sprout", "type: words", "S:5: the retriever type 'words' can't grow"),
        ("  type: sprout\n", "  train: train\n", "S:4: the retriever has no type (type: generative)"),
        ("words: {type: words}", "naive: {type: words}", "S:10: a variant of growth is called 'naive' too"),
        ("  naive: {steps: 0}\n  tuned: {steps: 9, replay: 0.25}", "  {}", "S:6: growth: dictionary should have at"),
        ("{path: ./data, language: en}", "{path: ./data, limit: 3}", "S:2: limit: this study takes datasets whole"),
        ("metrics: [mrr@10, success@1]\nk: 15", "k: 5", "S:11: success@10 looks deeper than k=5"),
        ("first: 0.6\n", "", "S:1: the key 'first' is missing"),
        ("first: 0.6", "first: true", "S:3: first: a number of documents"),
        (
            "words: {type: words}",
            "both: {type: fusion, method: rrf, of: [words, naive]}\n  words: {type: words}",
            "S:10: 'both' needs 'naive', which does not exist on D0",
        ),
    ],
)  # fmt: skip
def test_a_mistake(folder: Path, old: str, new: str, said: str) -> None:
    assert old in GOOD
    found = problems(folder, GOOD.replace(old, new))
    assert any(p.startswith(said) for p in found), found


def test_the_shipped_study_is_good() -> None:
    path = Path(growing.__file__).parents[1] / "configs" / "studies" / "growing.yaml"
    study = growing.load(path)
    assert study.systems == ["bm25", "scratch", "naive", "finetune", "replay"]


# -- the run ------------------------------------------------------------------------------------------------------


def execute(folder: Path, *overrides: str) -> growing.Result:
    study = growing.load(folder / "s.yaml", overrides)
    return growing.execute(study, output=folder / "out", store=Store(folder / "store"), context=CONTEXT)


def scores_of(folder: Path, part: str, system: str) -> tuple[dict[str, Any], dict[str, dict[str, float]]]:
    cell = records.cell_folder(folder / "out", f"data/{part}", "test", system)
    rows = pq.read_table(cell / "per_query.parquet").to_pylist()
    return records.read(cell), {r["query_id"]: r for r in rows}


def test_figures_are_those_of_the_records(folder: Path) -> None:
    """By brute force from the scores per query, the runs and the sets."""
    result = execute(folder)
    assert not result.outcome.failures
    grown = grown_of(folder / "data", Store(folder / "store"), 0.6, seed=3)
    sets = {n: grown.query_ids(n) for n in grown.counts}
    assert set(sets) == {"old", "new", "mixed"}, "the collection of this test has all three"
    later = set(grown.collection.corpus.ids(np.flatnonzero(~grown.first)).to_pylist())
    assert [(r.system, r.kind) for r in result.rows] == [
        ("words", "baseline"), ("scratch", "scratch"), ("naive", "growth"), ("tuned", "growth"),
    ]  # fmt: skip
    tests = []
    for row in result.rows:
        record, after = scores_of(folder, "all", row.system)
        origin, before = scores_of(folder, "first", "scratch" if row.kind == "growth" else row.system)
        assert set(before) == sets["old"]
        assert set(after) == set().union(*sets.values())
        for metric in ("mrr@10", "success@1"):
            found = row.scores[metric]
            for name, ids in sets.items():
                assert found[name] == pytest.approx(np.mean([after[i][metric] for i in ids]))
            assert found["all"] == record["metrics"][metric]["mean"]
            assert found["before"] == origin["metrics"][metric]["mean"]
            assert found["forgetting"] == pytest.approx(found["before"] - found["old"])
            pairs = [(before[i][metric], after[i][metric]) for i in sets["old"]]
            if any(a != b for a, b in pairs):
                assert found["p"] == pytest.approx(ttest_rel(*zip(*pairs, strict=True)).pvalue)
            else:
                assert found["p"] == 1
            tests.append((found["p"], found["adjusted"]))
        run = read_run(records.cell_folder(folder / "out", "data/all", "test", row.system) / "run.trec.gz")
        hits: dict[str, list[str]] = {}
        names = run.query_ids.to_pylist()
        for q, d in zip(run.query.tolist(), run.doc.to_pylist(), strict=True):
            hits.setdefault(names[q], []).append(d)
        for name in ("old", "new"):
            first = [d for i in sets[name] for d in hits[i][:10]]
            assert row.new_share[name] == pytest.approx(np.mean([d in later for d in first]))
        assert row.queries == {n: len(ids) for n, ids in sets.items()} | {"all": 12}
    smallest = min(tests)
    assert smallest[1] == pytest.approx(min(1, smallest[0] * len(tests)))
    assert all(adjusted >= p for p, adjusted in tests)
    by = {r.system: r for r in result.rows}
    assert by["naive"].scores["mrr@10"]["new"] < by["tuned"].scores["mrr@10"]["new"]
    assert by["words"].scores["mrr@10"] == by["scratch"].scores["mrr@10"] | {
        "adjusted": by["words"].scores["mrr@10"]["adjusted"]
    }
    (corpus,) = result.corpora
    assert (corpus.documents, corpus.first) == (20, 12)
    assert corpus.unseen_document_rate == len(sets["new"]) / 12


def test_costs(folder: Path) -> None:
    by = {r.system: r for r in execute(folder).rows}
    tuned, scratch, plain = by["tuned"], by["scratch"], by["words"]
    assert (tuned.parameters_first, tuned.parameters) == (1012, 1020)
    assert (tuned.examples_seen, tuned.training_seconds, tuned.invalid_rate) == (140, 0.5, 0.25)
    assert (tuned.first_seconds, tuned.update_seconds) == (2.5, 2.5)
    assert (scratch.first_seconds, scratch.update_seconds) == (2.5, 2.5)
    assert (plain.parameters, plain.examples_seen, plain.invalid_rate) == (None,) * 3
    assert plain.update_seconds is not None


def test_d0_is_indexed_once(folder: Path) -> None:
    execute(folder)
    made = [c for c in words.CALLS if c.startswith("index ")]
    assert sorted(made) == ["index 12", "index 20", "index 20", "index 20"], "D0; scratch, naive, tuned"
    words.CALLS.clear()
    first = execute(folder)
    assert not words.CALLS
    assert execute(folder).rows == first.rows
    execute(folder, "growth.more={steps: 3}")
    assert [c for c in words.CALLS if c.startswith("index ")] == ["index 20"], "a new variant needs no new D0"


def teach(folder: Path) -> None:
    """A train split: every document of the corpus has a query; that of d0 has the words of the test query q0, that of
    d1 is close to those of q1."""
    queries = [{"_id": f"q{i}", "text": f"word{i} Ä"} for i in range(12)]
    taught = [{"_id": f"t{i}", "text": f"about word{i} and number {i}"} for i in range(20)]
    taught[0]["text"] = "WORD0  ä"
    taught[1]["text"] = "word1 word1 Ä Ä"
    (folder / "data" / "queries.jsonl").write_text("".join(json.dumps(q) + "\n" for q in [*queries, *taught]))
    (folder / "data" / "qrels" / "train.tsv").write_text(
        "query-id\tcorpus-id\tscore\n" + "".join(f"t{i}\td{i}\t1\n" for i in range(20))
    )


def test_d0_is_indexed_once_when_queries_are_learnt_from(folder: Path) -> None:
    """Although D0 and all documents are evaluated on different queries."""
    teach(folder)
    result = execute(folder, "retriever.train=train")
    assert not result.outcome.failures, result.outcome.failures
    made = [c for c in words.CALLS if c.startswith("index ")]
    assert sorted(made) == ["index 12", "index 20", "index 20", "index 20"]
    (corpus,) = result.corpora
    assert corpus.learnt == ["scratch", "naive", "tuned"]
    grown = grown_of(folder / "data", Store(folder / "store"), 0.6, seed=3)
    for row in result.rows:
        for name in grown.counts:
            near = 1 if "q1" in grown.query_ids(name) else 0
            assert row.queries[f"{name}_apart"] == row.queries[name] - near
        assert row.queries["all_apart"] == row.queries["all"] - 1
        found = row.scores["mrr@10"]
        assert {"before_apart", "forgetting_apart", "p_apart", "adjusted_apart"} <= set(found)
    shown = growing_table.grids(result)
    assert [g.title.rpartition(", ")[2] for g in shown] == [
        "mrr@10", "mrr@10 †", "success@1", "success@1 †", "hits and costs",
    ]  # fmt: skip
    assert any(n.startswith("†: without the queries") for n in shown[-1].notes)


def test_a_failing_cell_is_a_row_that_says_so(folder: Path) -> None:
    result = execute(folder, "retriever.fail_above=15")
    by = {r.system: r for r in result.rows}
    assert by["words"].failure is None
    assert by["naive"].failure == "on all documents: too many documents for this test"
    assert by["scratch"].scores["mrr@10"].keys() == {"before"}
    growing_table.write(folder / "out", result)
    shown = growing_table.grids(result)
    assert any("naive: failed on all documents" in n for n in shown[-1].notes)
    result = execute(folder, "retriever.fail_above=5")
    by = {r.system: r for r in result.rows}
    assert by["scratch"].failure == (
        "on D0: too many documents for this test; on all documents: too many documents for this test"
    )
    assert by["naive"].scores == {}


def test_an_impossible_first_is_refused_with_its_line_before_anything_runs(folder: Path) -> None:
    for value, said in (("20", "leave none in D0, or none in D1"), ("1", "leave no old query")):
        with pytest.raises(InputError) as error:
            execute(folder, f"first={value}", "seed=1")
        (problem,) = error.value.report.problems
        assert said in problem.message
        assert not (folder / "out").exists()
    text = GOOD.replace("first: 0.6", "first: 20")
    (folder / "s.yaml").write_text(text)
    with pytest.raises(InputError) as error:
        execute(folder)
    assert str(error.value).startswith(f"{folder}/s.yaml:3: ")


def test_the_plan_writes_nothing_and_knows_what_is_stored(folder: Path) -> None:
    study = growing.load(folder / "s.yaml")
    store = Store(folder / "store")
    lines, cells = growing.plan(study, output=folder / "out", store=store, context=CONTEXT)
    assert "not read yet" in lines[0]
    assert [(c.dataset, c.retriever) for c in cells] == [
        ("data/first", "scratch"), ("data/first", "words"), ("data/all", "scratch"), ("data/all", "naive"),
        ("data/all", "tuned"), ("data/all", "words"),
    ]  # fmt: skip
    assert not (folder / "out").exists()
    load(study.config.datasets[0], store=store)
    lines, cells = growing.plan(study, output=folder / "out", store=store, context=CONTEXT)
    assert "12 of 20 documents are indexed first" in lines[0]
    assert {s.why for c in cells for s in c.stages} == {"the part is not written yet"}
    assert not (folder / "out").exists()
    execute(folder)
    _, cells = growing.plan(study, output=folder / "out", store=store, context=CONTEXT)
    assert {s.state for c in cells for s in c.stages} == {"cached"}


def test_what_is_written_and_shown(folder: Path) -> None:
    result = execute(folder)
    made = growing_table.write(folder / "out", result)
    assert [p.name for p in made] == [
        "growing.json", "growing.md", "growing.csv", "growing-mrr@10.png", "growing-success@1.png",
    ]  # fmt: skip
    assert made[3].read_bytes().startswith(b"\x89PNG")
    before = contents(folder / "out")
    growing_table.write(folder / "out", execute(folder))
    assert contents(folder / "out") == before, "the same bytes from stored records"
    table = json.loads(made[0].read_bytes())
    assert table["datasets"][0]["first"] == 12
    assert [r["system"] for r in table["rows"]] == ["words", "scratch", "naive", "tuned"]
    rows = list(csv.DictReader(io.StringIO(made[2].read_text())))
    assert len(rows) == 4
    header = made[2].read_text().splitlines()[0].split(",")
    assert len(set(header)) == len(header)
    assert float(rows[3]["mrr@10_forgetting"]) == result.rows[3].scores["mrr@10"]["forgetting"]
    assert float(rows[0]["unseen_document_rate"]) == result.corpora[0].unseen_document_rate
    scores, costs = growing_table.grids(result, ["MRR@10"])
    counts = result.rows[0].queries
    assert list(scores.columns) == [
        "system", f"old on D0 ({counts['old']})", f"old on all ({counts['old']})", "forgetting",
        f"new ({counts['new']})", f"mixed ({counts['mixed']})", "all (12)",
    ]  # fmt: skip
    assert costs.columns[1:3] == ["D1@10 old", "D1@10 new"]
    with pytest.raises(InputError, match="the study has no metric 'map'"):
        growing_table.grids(result, ["map"])


def test_marks_of_forgetting() -> None:
    def row(lost: float, p: float) -> growing.Row:
        scores: dict[str, dict[str, float | None]] = {
            "mrr@10": {
                "before": 0.5,
                "old": 0.5 - lost,
                "forgetting": lost,
                "adjusted": p,
                "new": 0.1,
                "all": 0.2,
            }
        }
        return growing.Row("d", "test", f"s{lost}", "growth", {"old": 3, "new": 2, "all": 5}, scores)

    grid = growing_table._scores([row(0.2, 0.01), row(-0.2, 0.01), row(0.2, 0.2)], "mrr@10", "", "t")
    assert [line[3].shown for line in grid.cells()] == ["0.2000▼", "-0.2000▲", "0.2000"]
    assert [line[2].best for line in grid.cells()] == [False, True, False]


def test_lower_is_better_turns_forgetting_round(folder: Path) -> None:
    """As a positive figure is a loss for every metric."""
    study = growing.load(folder / "s.yaml")
    (mrr, _) = study.config.measures
    assert not mrr.definition.lower
    from seekbench.metrics.measure import definitions

    lower = next(
        (n for n, d in definitions().items() if d.lower and d.aggregate == "mean" and not d.needs), None
    )
    if lower is None:
        pytest.skip("no such metric is registered")
    result = execute(folder, f"metrics=['{lower}@10']")
    found = result.rows[2].scores[result.metrics[0]]
    assert found["forgetting"] == pytest.approx(found["old"] - found["before"])  # type: ignore[operator]


# -- the generative retriever -----------------------------------------------------------------------------------------

SMALL = {
    "type": "generative",
    "encoder": "./encoder",
    "docids": {"type": "semantic", "k": 3, "c": 4},
    "train": "train",
    "inputs": [{"kind": "sentences"}, {"kind": "keywords", "options": {"count": 8}}, {"kind": "queries"}],
    "model": {"width": 32, "layers": 1, "heads": 2, "dropout": 0.0},
    "training": {
        "steps": 80, "batch": 32, "rate": 0.01, "evaluate_every": 80, "smoothing": 0.0, "watched": 0,
    },
    "decoding": {"beams": 10},
}  # fmt: skip


def test_the_generative_retriever_grows_from_one_index_of_d0(tmp_path: Path) -> None:
    """It learns from a training split, whose queries D0 and all documents see in parts."""
    tiny.bert(tmp_path / "encoder")
    texts = tiny.texts(24, seed=1, longest=20)
    data = tmp_path / "data"
    (data / "qrels").mkdir(parents=True)
    documents = [{"_id": f"d{i}", "title": "", "text": t} for i, t in enumerate(texts)]
    (data / "corpus.jsonl").write_text("".join(json.dumps(d) + "\n" for d in documents))
    queries = [{"_id": f"q{i}", "text": " ".join(texts[i].split()[:6])} for i in range(24)]
    taught = [{"_id": f"t{i}", "text": " ".join(texts[i].split()[-5:])} for i in range(24)]
    (data / "queries.jsonl").write_text("".join(json.dumps(q) + "\n" for q in [*queries, *taught]))
    header = "query-id\tcorpus-id\tscore\n"
    (data / "qrels" / "test.tsv").write_text(header + "".join(f"q{i}\td{i}\t1\n" for i in range(24)))
    (data / "qrels" / "train.tsv").write_text(header + "".join(f"t{i}\td{i}\t1\n" for i in range(24)))
    study = {
        "study": "growing",
        "datasets": [{"path": "./data", "split": "test", "language": "en"}],
        "first": 0.7,
        "retriever": SMALL,
        "growth": {"naive": {"steps": 0}, "replay": {"steps": 60, "replay": 0.5}},
        "metrics": ["mrr@10"],
        "k": 10,
    }
    (tmp_path / "s.yaml").write_text(json.dumps(study))
    loaded = growing.load(tmp_path / "s.yaml")
    store = Store(tmp_path / "store")
    result = growing.execute(loaded, output=tmp_path / "out", store=store, context=CONTEXT)
    assert not result.outcome.failures, result.outcome.failures
    recipes = [json.loads(p.read_bytes()) for p in (store.root / "index").glob("*/recipe.json")]
    made = [r["params"]["growth"] for r in recipes if r["subject"] == "generative"]
    assert sorted(g["steps"] if g else -1 for g in made) == [-1, -1, 0, 60], "D0 once; scratch, naive, replay"
    by = {r.system: r for r in result.rows}
    naive, replay = by["naive"], by["replay"]
    assert naive.scores["mrr@10"]["before"] == replay.scores["mrr@10"]["before"]
    assert replay.scores["mrr@10"]["new"] > naive.scores["mrr@10"]["new"]  # type: ignore[operator]
    assert (naive.examples_seen, replay.examples_seen) == (0, 60 * 32)
    assert replay.parameters_first is not None
    assert replay.first_seconds == naive.first_seconds
    assert by["scratch"].first_seconds == replay.first_seconds
    part = records.cell_folder(tmp_path / "out", "data/all", "test", "replay")
    assert records.read(part)["index"]["growth"] == {"first": 17, "added": 7}


def test_the_file_of_another_study_is_refused_in_a_line(folder: Path) -> None:
    found = problems(folder, GOOD.replace("study: growing", "study: scaling"))
    assert found == ["S:1: this is a scaling study (seekbench study scaling S)"]


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
        "growing",
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
    with pytest.raises(InputError):
        config.load(folder / "s.yaml")
