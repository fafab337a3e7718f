"""Generative retrieval end to end on a small collection with a tiny encoder: learning, resuming, guards, records."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_checkpoints as tiny

from seekbench import config, runner
from seekbench.collection import Corpus
from seekbench.errors import InputError
from seekbench.retrievers.generative import examples, pairs
from seekbench.retrievers.generative.examples import Input
from seekbench.retrievers.generative.retriever import Generative, GenerativeParams
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


def test_watched_queries_are_not_learnt_from() -> None:
    corpus = Corpus.from_lists([f"d{i}" for i in range(30)], [f"{TEXT} about topic{i}" for i in range(30)])
    inputs = [Input.model_validate({"kind": k}) for k in ("sentences", "keywords")]
    made = examples.make(corpus, inputs, None, seed=0, watched=20)
    held = set(np.array(made.texts.to_pylist(), dtype=object)[made.held_out])
    assert 0 < len(held) <= 20
    assert not held & set(np.array(made.texts.to_pylist(), dtype=object)[~made.held_out])
    with pytest.raises(InputError, match="needs a training split"):
        examples.make(corpus, [Input.model_validate({"kind": "queries"})], None, seed=0, watched=0)
    wrong = Input.model_validate({"kind": "sentences", "options": {"conut": 3}})
    with pytest.raises(InputError, match="has no option 'conut'"):
        examples.make(corpus, [wrong], None, seed=0, watched=0)


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


def run(folder: Path, retriever: dict[str, Any], split: str = "test") -> Any:
    text = {
        "datasets": [{"path": "./data", "split": split, "language": "en"}],
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
    "width": 32,
    "layers": 1,
    "heads": 2,
    "dropout": 0.0,
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
        ({"width": 30}, "width 30 is no multiple of 4 heads"),
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
    outcome = run(folder, {**SMALL, "train": "test", "inputs": [{"kind": "queries"}]})
    assert "would learn from the split 'test', which is evaluated" in outcome.failures[0].cause


def test_a_killed_index_goes_on_as_if_nothing_had_been(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from seekbench.retrievers.generative import retriever as module

    corpus = Corpus.from_lists([f"d{i}" for i in range(24)], tiny.texts(24, seed=1, longest=20))
    params = GenerativeParams.model_validate({**SMALL, "encoder": str(folder / "encoder")})
    context = Context(device="cpu", threads=1)
    whole = Generative(params).index(TextView(corpus, "{text}"), folder / "whole", context=context)
    calls, original = 0, module._Watch.__call__

    def dying(self: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise KeyboardInterrupt
        return original(self)

    monkeypatch.setattr(module._Watch, "__call__", dying)
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
