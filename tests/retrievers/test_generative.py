"""Generative retrieval end to end on a small collection with a tiny encoder: learning, resuming, guards, records."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import tiny_checkpoints as tiny

from seekbench import config, plan, runner
from seekbench.collection import Corpus
from seekbench.errors import InputError
from seekbench.retrievers.generative import examples, pairs, targets
from seekbench.retrievers.generative.docids import BuildInputs, Docids, make
from seekbench.retrievers.generative.examples import Input
from seekbench.retrievers.generative.growth import shares
from seekbench.retrievers.generative.models.decoder import dense_tokens
from seekbench.retrievers.generative.params import GenerativeParams
from seekbench.retrievers.generative.retriever import Generative
from seekbench.retrievers.protocol import Context, TextView
from seekbench.store import Store

TEXT = (
    "Dr. Smith was born in 1950. He studied flow over wings at 3.5 km! Was it laminar? Yes.\n\nThe second paragraph "
    "has more words. It ends here."
)


def test_sentences_are_split_at_their_ends() -> None:
    found = pairs.sentences(TEXT)
    assert "He studied flow over wings at 3.5 km!" in found
    assert found[-1] == "It ends here."
    assert " ".join(found) == " ".join(TEXT.split())
    assert all(len(s.split()) >= 4 for s in pairs.sentences(TEXT, least_words=4)[1:-1])


@pytest.mark.parametrize("kind", list(pairs.KINDS))
def test_texts_of_a_document_do_not_depend_on_blocks(kind: str) -> None:
    titles, texts = [f"title {i}" for i in range(6)], [f"{TEXT} number {i}." * 3 for i in range(6)]
    rows, made = pairs.make(kind, titles, texts, seed=3)
    again: tuple[list[int], list[str]] = ([], [])
    for start in (0, 2, 4):
        r, m = pairs.make(kind, titles[start : start + 2], texts[start : start + 2], seed=3, start=start)
        again = (again[0] + r, again[1] + m)
    assert (rows, made) == again
    assert set(rows) == set(range(6))
    assert all(t.strip() for t in made)


def test_rehearsal_contents_are_se_dsis() -> None:
    text = " ".join(f"Sentence number {i} is here." for i in range(20))
    rng = np.random.default_rng(0)
    found = pairs.rehearsal("", text, rng)
    assert found[0] == text
    assert found[1].startswith("Sentence number 0")
    assert found[2].startswith("Sentence number 2")
    assert len(found) == 1 + 3 + 6
    assert pairs.central("", text, rng)[0] == text


def test_keyword_queries_prefer_rare_words() -> None:
    texts = [f"the common words and the rare{i} rare{i} thing" for i in range(50)]
    maker = pairs.KeywordQueries(iter([texts]))
    made = [q for i in range(50) for q in maker("", texts[i], np.random.default_rng(i), count=3)]
    words = [w for q in made for w in q.split()]
    assert sum(w.startswith("rare") for w in words) > sum(w == "the" for w in words)


def made_of(
    corpus: Corpus, kinds: list[dict[str, Any]], tmp_path: Path, watched: int = 0
) -> examples.Examples:
    inputs = [Input.model_validate(k) for k in kinds]
    return examples.make(TextView(corpus, "{text}"), inputs, None, tmp_path, seed=0, watched=watched)


def test_watched_queries_are_not_learnt_from(tmp_path: Path) -> None:
    corpus = Corpus.from_lists([f"d{i}" for i in range(30)], [f"{TEXT} about topic{i}" for i in range(30)])
    made = made_of(corpus, [{"kind": "sentences"}, {"kind": "keywords"}], tmp_path, watched=20)
    held = {k.made.texts[i] for k in made.kinds for i in np.flatnonzero(k.held_out)}
    learnt = {k.made.texts[i] for k in made.kinds for i in k.learnt}
    assert 0 < len(held) <= 20
    assert not held & learnt
    with pytest.raises(InputError, match="needs a training split"):
        made_of(corpus, [{"kind": "queries"}], tmp_path)
    with pytest.raises(ValueError, match="has no option 'conut'"):
        Input.model_validate({"kind": "sentences", "options": {"conut": 3}})


def test_no_document_loses_its_last_text(tmp_path: Path) -> None:
    corpus = Corpus.from_lists([f"d{i}" for i in range(40)], [f"{TEXT} about topic{i}" for i in range(40)])
    alone = made_of(corpus, [{"kind": "first"}], tmp_path, watched=20)
    assert alone.facts()["documents_without_text"] == 0
    assert not alone.kinds[0].held_out.any()
    beside = made_of(corpus, [{"kind": "first"}, {"kind": "lead"}], tmp_path, watched=20)
    assert beside.facts()["documents_without_text"] == 0
    assert beside.kinds[0].held_out.sum() == 4


def test_prefixes_hide_no_held_out_text(tmp_path: Path) -> None:
    corpus = Corpus.from_lists(
        [f"d{i}" for i in range(40)], [f"words{i} of document{i} here" for i in range(40)]
    )
    kinds = [{"kind": "first", "prefix": "A: "}, {"kind": "keywords"}, {"kind": "first", "prefix": "B: "}]
    made = made_of(corpus, kinds, tmp_path, watched=20)
    held = {k.bare(i) for k in made.kinds for i in np.flatnonzero(k.held_out).tolist()}
    assert held
    assert not held & {k.bare(i) for k in made.kinds for i in k.learnt.tolist()}


def test_texts_of_a_kind_do_not_depend_on_the_others(tmp_path: Path) -> None:
    """So that systems share their vectors."""
    corpus = Corpus.from_lists([f"d{i}" for i in range(9)], [f"{TEXT} about topic{i}" for i in range(9)])
    alone = made_of(corpus, [{"kind": "keywords"}], tmp_path).kinds[0].made
    beside = made_of(corpus, [{"kind": "chunks"}, {"kind": "keywords"}], tmp_path).kinds[1].made
    assert alone.texts == beside.texts
    prefixed = made_of(corpus, [{"kind": "keywords", "prefix": "Query: "}], tmp_path).kinds[0].made
    assert prefixed.texts == ["Query: " + t for t in alone.texts]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """24 documents, 12 training queries, 8 test queries of which one is a training query too; a tiny encoder."""
    tiny.bert(tmp_path / "encoder")
    texts = tiny.texts(24, seed=1, longest=20)
    data = tmp_path / "data"
    (data / "qrels").mkdir(parents=True)
    documents = [{"_id": f"d{i}", "title": "", "text": t} for i, t in enumerate(texts)]
    (data / "corpus.jsonl").write_text("".join(json.dumps(d) + "\n" for d in documents))
    queries = [{"_id": f"q{i}", "text": " ".join(texts[i % 24].split()[:6])} for i in range(20)]
    queries[12]["text"] = queries[0]["text"].upper()  # the first test query is a training query in capitals
    (data / "queries.jsonl").write_text("".join(json.dumps(q) + "\n" for q in queries))
    header = "query-id\tcorpus-id\tscore\n"
    (data / "qrels" / "train.tsv").write_text(header + "".join(f"q{i}\td{i}\t1\n" for i in range(12)))
    (data / "qrels" / "test.tsv").write_text(
        header + "q12\td0\t1\n" + "".join(f"q{i}\td{i}\t1\n" for i in range(13, 20))
    )
    return tmp_path


def run(
    folder: Path, retriever: dict[str, Any], split: str = "test", datasets: tuple[str, ...] = ("data",)
) -> Any:
    text = {
        "datasets": [{"path": f"./{name}", "split": split, "language": "en"} for name in datasets],
        "retrievers": {"gen": {"type": "generative", "encoder": "./encoder", **retriever}},
        "metrics": ["mrr@10", "success@1"],
        "k": 10,
    }
    (folder / "c.yaml").write_text(json.dumps(text))
    loaded = config.load(folder / "c.yaml")
    return runner.execute(
        loaded, output=folder / "out", store=Store(folder / "store"), context=Context(device="cpu", threads=1)
    )


SMALL = {
    "docids": {"type": "naive"},
    "inputs": [{"kind": "sentences"}, {"kind": "keywords", "options": {"count": 8}}],
    "model": {"width": 32, "layers": 1, "heads": 2, "dropout": 0.0},
    "training": {
        "steps": 150,
        "batch": 32,
        "rate": 0.01,
        "evaluate_every": 75,
        "smoothing": 0.0,
        "watched": 8,
    },
    "decoding": {"beams": 5},
}


@pytest.mark.parametrize(
    "docids", [{"type": "naive"}, {"type": "semantic", "k": 3, "c": 4}, {"type": "atomic"}]
)
def test_it_learns_and_writes_no_invalid_docid(folder: Path, docids: dict[str, Any]) -> None:
    outcome = run(folder, {**SMALL, "docids": docids})
    assert not outcome.failures, outcome.failures
    (record,) = outcome.records
    assert record["metrics"]["mrr@10"]["mean"] > 0.3, "chance is about .1"
    assert record["retriever"]["details"]["invalid_rate"] == 0
    assert record["index"]["training"]["steps"] == 150
    assert record["index"]["docids"]["collisions"]["documents"] == 0
    assert record["training"] is None


def test_queries_of_a_training_split(folder: Path) -> None:
    """The test query that is a training query is not learnt from; what is left is said."""
    outcome = run(folder, {**SMALL, "train": "train", "inputs": [{"kind": "sentences"}, {"kind": "queries"}]})
    assert not outcome.failures, outcome.failures
    told = outcome.records[0]["training"]
    assert (told["split"], told["pairs"], told["left_out"]) == ("train", 11, 1)
    assert told["queries_with_neighbour"] + told["queries_without_neighbour"] == 8
    assert set(told["without_neighbour"]) == {"mrr@10", "success@1"}


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"docids": {"type": "semnatic"}}, "unknown docids 'semnatic'"),
        ({"docids": {"type": "semantic", "kk": 3}}, "unknown parameter"),
        ({"model": {"width": 30}}, "width 30 is no multiple of 4 heads"),
        ({"training": {"stpes": 3}}, "has no key 'stpes'"),
        ({"inputs": [{"kind": "sentense"}]}, "not 'sentense'"),
    ],
)
def test_wrong_parameters_are_said_with_their_line(folder: Path, wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError) as error:
        run(folder, wrong)
    assert said in str(error.value)
    assert "c.yaml:1" in str(error.value)


def test_the_evaluated_split_can_not_be_learnt_from(folder: Path) -> None:
    """Neither by a config, nor where a dataset is bound without one."""
    with pytest.raises(InputError, match="'test' is the split that data is evaluated on"):
        run(folder, {**SMALL, "train": "test", "inputs": [{"kind": "queries"}]})
    params = GenerativeParams.model_validate({**SMALL, "train": "test"})
    entry: Any = SimpleNamespace(name="gen", retriever=Generative(params))
    dataset: Any = SimpleNamespace(split="test", id="data")
    with pytest.raises(InputError, match="would learn from the split 'test', which is evaluated"):
        plan.bound(entry, dataset, lambda split: pytest.fail("it was read"))


def test_a_killed_index_goes_on_as_if_nothing_had_been(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from seekbench.retrievers.generative import retriever as module

    corpus = Corpus.from_lists([f"d{i}" for i in range(24)], tiny.texts(24, seed=1, longest=20))
    params = GenerativeParams.model_validate({**SMALL, "encoder": str(folder / "encoder")})
    context = Context(device="cpu", threads=1)
    whole = Generative(params).index(TextView(corpus, "{text}"), folder / "whole", context=context)
    calls, original = 0, module.Watch.__call__

    def dying(self: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise KeyboardInterrupt
        return original(self)

    monkeypatch.setattr(module.Watch, "__call__", dying)
    with pytest.raises(KeyboardInterrupt):
        Generative(params).index(TextView(corpus, "{text}"), folder / "killed", context=context)
    again = Generative(params).index(TextView(corpus, "{text}"), folder / "killed", context=context)
    assert (folder / "killed" / "log.jsonl").read_bytes() == (folder / "whole" / "log.jsonl").read_bytes()
    assert (folder / "killed" / "docids" / "docids.json").read_bytes() == (
        folder / "whole" / "docids" / "docids.json"
    ).read_bytes()
    assert again["training"]["last_loss"] == whole["training"]["last_loss"]
    assert (folder / "killed" / "curves.png").exists()


def test_the_record_is_read_back(folder: Path) -> None:
    outcome = run(folder, SMALL)
    again = run(folder, SMALL)
    assert again.records == outcome.records


def test_lists_are_ranked_and_never_repeat(folder: Path) -> None:
    lists = {"lists": {"source": "similar", "length": 3, "most": 4}, "decoding": {"beams": 1}}
    longer = {"training": {**SMALL["training"], "steps": 400, "evaluate_every": 200}}  # type: ignore[dict-item]
    outcome = run(folder, {**SMALL, "docids": {"type": "semantic", "k": 3, "c": 4}, **lists, **longer})
    assert not outcome.failures, outcome.failures
    (record,) = outcome.records
    assert record["retriever"]["details"]["decoding"]["mode"] == "list"
    assert record["retriever"]["details"]["duplicate_per_query"] == 0
    assert record["index"]["training"]["last_loss"] < 0.2, "lists are learnt"
    assert record["metrics"]["mrr@10"]["mean"] > 0.2, "chance is about .1"


def test_lists_hold_all_answers_of_a_query_first() -> None:
    data = examples.TrainingData(
        "train", "test", TextView(Corpus.from_lists(["a", "b"], ["one", "two"]), "{text}"),
        np.array([0, 1, 0, 0]), np.array([5, 2, 3, 4]),
    )  # fmt: skip
    made = examples._of_queries(data)
    assert made.more is not None
    found = [made.more[1][made.more[0][i] : made.more[0][i + 1]].tolist() for i in range(4)]
    assert sorted(zip(made.texts, made.doc.tolist(), found, strict=True)) == [
        ("one", 3, [3, 5, 4]), ("one", 4, [4, 5, 3]), ("one", 5, [5, 3, 4]), ("two", 2, [2]),
    ]  # fmt: skip
    docids = make("naive", {}).build(BuildInputs(7))
    lists = targets.lists_of(made, [np.array([6, 3, 0])] * 4, docids, 4)
    assert [x.tolist() for x in lists if len(x) and x[0] == 3] == [[3, 5, 4, 6]]


def test_targets_end_and_are_padded() -> None:
    docids = make("naive", {}).build(BuildInputs(12))
    tokens = dense_tokens(docids, None, lists=False)
    made = examples.Made(["x", "y"], np.array([11, 3]))
    taught = targets.of_docids(docids, tokens, made)
    one = tokens.flat[tokens.indptr[11] : tokens.indptr[12]]
    assert taught.batch(np.array([0, 1])).tolist() == [
        [*one, tokens.end], [tokens.flat[tokens.indptr[3]], tokens.end, -100],
    ]  # fmt: skip
    listed = dense_tokens(docids, None, lists=True)
    taught = targets.of_lists(docids, listed, [np.array([3, 11])])
    assert taught.batch(np.array([0])).tolist() == [
        [listed.flat[listed.indptr[3]], listed.separator, *one, listed.end]
    ]


def test_similar_documents_are_the_nearest() -> None:
    vectors = np.random.default_rng(0).normal(size=(40, 8)).astype(np.float32)
    found = targets.similar(vectors, 3)
    scores = vectors @ vectors.T
    for i, row in enumerate(found.tolist()):
        others = sorted((j for j in range(40) if j != i), key=lambda j: (-scores[i, j], j))
        assert row == others[:3]


def test_a_grown_index_keeps_docids_and_learns_new_documents(folder: Path) -> None:
    corpus = Corpus.from_lists([f"d{i}" for i in range(24)], tiny.texts(24, seed=1, longest=20))
    context = Context(device="cpu", threads=1)
    base = {**SMALL, "docids": {"type": "semantic", "k": 3, "c": 4}, "encoder": str(folder / "encoder")}
    view = TextView(corpus, "{text}")

    def made(growth: dict[str, Any], name: str) -> tuple[Docids, dict[str, float]]:
        retriever = Generative(GenerativeParams.model_validate({**base, "growth": growth}))
        facts = retriever.index(view, folder / name, context=context)
        assert facts["growth"] == {"first": 16, "added": 8}
        asked = TextView(
            Corpus.from_lists(
                [str(i) for i in range(24)], [t[: len(t) // 2] for t in corpus.texts("{text}")]
            ),
            "{text}",
        )
        hits = retriever.open(folder / name, view, context=context).search(asked, 1, context=context)
        right = hits.doc_rows[:, 0] == np.arange(24)
        return Docids.load(folder / name / "docids"), {"old": right[:16].mean(), "new": right[16:].mean()}

    first = Generative(GenerativeParams.model_validate(base))
    first.index(view.take(np.arange(16)), folder / "first", context=context)
    known = Docids.load(folder / "first" / "docids").names()
    still, before = made({"first": 16, "steps": 0}, "still")
    grown, after = made({"first": 16, "steps": 150, "replay": 0.5}, "grown")
    assert still.names()[:16] == grown.names()[:16] == known
    assert len(set(grown.names())) == 24
    assert after["new"] > before["new"]
    with pytest.raises(InputError, match="leaves 24 of 24 documents first"):
        made({"first": 24}, "none")


def test_a_grown_index_watches_nothing_that_was_learnt(folder: Path) -> None:
    corpus = Corpus.from_lists([f"d{i}" for i in range(24)], tiny.texts(24, seed=1, longest=20))
    base = {**SMALL, "encoder": str(folder / "encoder"), "training": {**SMALL["training"], "steps": 2}}  # type: ignore[dict-item]
    context, view = Context(device="cpu", threads=1), TextView(corpus, "{text}")

    def texts(name: str, held: bool) -> set[str]:
        with pa.memory_map(str(folder / name / "examples.arrow")) as file:
            table = pa.ipc.open_file(file).read_all()
        rows = zip(table["text"].to_pylist(), table["held_out"].to_pylist(), strict=True)
        return {text for text, own in rows if own == held}

    first = GenerativeParams.model_validate(base)
    Generative(first).index(view.take(np.arange(16)), folder / "first", context=context)
    grown = GenerativeParams.model_validate({**base, "growth": {"first": 16, "steps": 2}})
    Generative(grown).index(view, folder / "grown", context=context)
    assert texts("grown", held=True)
    assert not texts("grown", held=True) & texts("first", held=False)
    assert not texts("grown", held=True) & texts("grown", held=False)


def test_shares_of_a_continued_training() -> None:
    docs = [np.array([0, 0, 5]), np.array([1, 2]), np.array([6])]
    found = shares([1.0, 3.0, 1.0], docs, known=4, replay=0.25)
    assert sum(s for _, which, _, s in found if which == "old") == pytest.approx(0.25)
    assert sum(s for *_, s in found) == pytest.approx(1)
    assert [(i, which, rows.tolist()) for i, which, rows, _ in found] == [
        (0, "new", [False, False, True]), (2, "new", [True]), (0, "old", [True, True, False]), (1, "old", [True, True]),
    ]  # fmt: skip
    assert {which for _, which, _, _ in shares([1.0], docs[:1], 4, 0)} == {"new"}


def test_an_index_does_not_depend_on_how_it_is_searched(folder: Path) -> None:
    corpus = Corpus.from_lists([f"d{i}" for i in range(24)], tiny.texts(24, seed=1, longest=20))
    base = {
        **SMALL,
        "encoder": str(folder / "encoder"),
        "training": {**SMALL["training"], "steps": 20, "keep": "best"},
    }  # type: ignore[dict-item]
    logs = []
    for i, decoding in enumerate(
        ({"beams": 1}, {"beams": 7, "length_penalty": -2.0, "normalisation": "children"})
    ):
        retriever = Generative(GenerativeParams.model_validate({**base, "decoding": decoding}))
        retriever.index(TextView(corpus, "{text}"), folder / str(i), context=Context(device="cpu", threads=1))
        logs.append(
            (folder / str(i) / "log.jsonl").read_bytes() + (folder / str(i) / "model/model.pt").read_bytes()
        )
    assert logs[0] == logs[1]


def test_documents_of_one_docid_take_no_place_from_others(folder: Path) -> None:
    """24 documents, of which 20 have the same title: with two beams both docids are found, and all documents."""
    titles = ["same title"] * 20 + ["another one", "the third", "fourth name", "last of all"]
    corpus = Corpus.from_lists(
        [f"d{i:02}" for i in range(24)], tiny.texts(24, seed=1, longest=20), titles=titles
    )
    docids = {"type": "title", "disambiguate": "leave"}
    base = {**SMALL, "docids": docids, "encoder": str(folder / "encoder"), "decoding": {"beams": 2}}
    retriever = Generative(GenerativeParams.model_validate(base))
    view, context = TextView(corpus, "{text}"), Context(device="cpu", threads=1)
    retriever.index(view, folder / "index", context=context)
    hits = retriever.open(folder / "index", view, context=context).search(
        view.take(np.arange(2)), 24, context=context
    )
    assert hits.lengths().tolist() == [21, 21]
    shared = np.sort(hits.doc_rows, axis=1)[:, -21:]
    assert (shared[:, :20] == np.arange(20)).all()


def test_the_best_generated_query_is_the_docid(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = Corpus.from_lists(["a", "b"], ["one text", "two texts"])
    made = examples.Made(
        ["bad", "best", "fair", "only"], np.array([0, 0, 0, 1]), score=np.array([-3, 7, 0, 1], np.float32)
    )
    real = examples.of_kind

    def of_kind(documents: Any, entry: Any, *rest: Any, **more: Any) -> Any:
        return made if entry.kind == "generated" else real(documents, entry, *rest, **more)

    monkeypatch.setattr(examples, "of_kind", of_kind)
    inputs = [{"kind": "generated", "generator": {"model": "x"}}]
    docids = {"type": "description"}
    retriever = Generative(GenerativeParams.model_validate({"docids": docids, "inputs": inputs}))
    given = retriever._doc_queries(frozenset({"queries"}), TextView(corpus, "{text}"), folder, Context())
    assert given is not None
    assert given.texts.to_pylist()[:4] == ["best", "only", "fair", "bad"]


def test_a_system_is_one_row_over_several_datasets(folder: Path) -> None:
    """What it learnt from differs by dataset, the system does not."""
    second = folder / "data2"
    shutil.copytree(folder / "data", second)
    lines = (second / "qrels" / "train.tsv").read_text().splitlines(keepends=True)
    (second / "qrels" / "train.tsv").write_text("".join(lines[:-2]))
    trained = {**SMALL, "train": "train", "inputs": [{"kind": "sentences"}, {"kind": "queries"}]}
    outcome = run(folder, trained, datasets=("data", "data2"))
    assert not outcome.failures, outcome.failures
    assert len({r["retriever"]["system"] for r in outcome.records}) == 1
    assert outcome.records[0]["retriever"]["details"]["queries_decoded"] == 8


def test_a_corpus_without_links_skips_hip_and_says_so(folder: Path) -> None:
    outcome = run(folder, {**SMALL, "inputs": [{"kind": "sentences"}, {"kind": "links"}]})
    assert not outcome.failures, outcome.failures
    assert "links" in outcome.records[0]["index"]["examples"]["skipped"]


def test_systems_share_vectors(folder: Path) -> None:
    """Two systems of one encoder, and the dense retriever, encode each text once."""
    run(folder, SMALL)
    before = {p.name for p in (folder / "store" / "index").iterdir()}
    run(folder, {**SMALL, "docids": {"type": "atomic"}})
    new = {p.name for p in (folder / "store" / "index").iterdir()} - before
    assert len(new) == 1, "the index itself"


def test_generated_queries_are_training_texts(folder: Path) -> None:
    """By any seq2seq checkpoint; this one writes nonsense, but it is kept beside the index."""
    tiny.t5(folder / "generator")
    generated = {"kind": "generated", "generator": {"model": "./generator", "count": 2, "max_new_tokens": 6}}
    outcome = run(folder, {**SMALL, "inputs": [generated, {"kind": "sentences"}]})
    assert not outcome.failures, outcome.failures
    kinds = outcome.records[0]["index"]["examples"]["kinds"]
    assert kinds[0]["kind"] == "generated"
    assert kinds[0]["texts"] == kinds[0]["generation"]["kept"] > 0
    assert outcome.records[0]["index"]["parts_seconds"]["examples"] > 0
    described = run(folder, {**SMALL, "docids": {"type": "description"}, "inputs": [generated]})
    assert not described.failures, described.failures


@pytest.mark.parametrize("kind", ["t5", "gpt2", "encoder"])
def test_other_models_learn_too(folder: Path, kind: str) -> None:
    model: dict[str, Any] = {"type": "encoder", "width": 32, "layers": 1, "heads": 2, "dropout": 0.0}
    if kind != "encoder":
        getattr(tiny, kind)(folder / kind)
        model = {"type": "checkpoint", "name": f"./{kind}", "max_length": 32}
    training = {
        "steps": 120,
        "batch": 16,
        "micro": 8,
        "rate": 0.01,
        "evaluate_every": 60,
        "smoothing": 0.0,
        "watched": 8,
    }
    outcome = run(folder, {**SMALL, "model": model, "training": training})
    assert not outcome.failures, outcome.failures
    (record,) = outcome.records
    assert record["metrics"]["mrr@10"]["mean"] > 0.3, "chance is about .1"
    assert record["retriever"]["details"]["invalid_rate"] == 0
    assert record["index"]["parameters"]["total"] > record["index"]["parameters"]["docid_table"]


def test_a_checkpoint_is_taken_as_it_is(folder: Path) -> None:
    tiny.t5(folder / "t5")
    model = {"type": "checkpoint", "name": "./t5", "max_length": 32}
    outcome = run(folder, {**SMALL, "model": model, "training": {"steps": 0}})
    assert not outcome.failures, outcome.failures
    assert outcome.records[0]["index"]["training"]["steps"] == 0
    with pytest.raises(InputError, match="which only a checkpoint can be"):
        run(folder, {**SMALL, "training": {"steps": 0}})
