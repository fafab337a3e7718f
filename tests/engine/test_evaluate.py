"""`seekbench.evaluate`: what it takes, how it ranks, and what it says of ties, policies and queries."""

from __future__ import annotations

import math
from collections import namedtuple
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import ranx
from hypothesis import given, settings
from hypothesis import strategies as st

from seekbench import columns, evaluate
from seekbench.collection import Qrels
from seekbench.errors import InputError
from seekbench.metrics.measure import parse
from seekbench.runs import Run, write_trec

RUN = {"q1": {"a": 3.0, "b": 2.0, "c": 1.0}, "q2": {"c": 2.0, "a": 1.0}, "301": {"10": 0.5}}
QRELS = {"q1": {"b": 2, "a": 0, "z": 1}, "q2": {"a": 1}, "301": {"10": 1}}
NAMES = ["ndcg@10", "map", "p@1", "recall@2"]


def _rows(nested: dict[str, dict[str, Any]], third: str) -> dict[str, list[Any]]:
    rows = [(q, d, v) for q, hits in nested.items() for d, v in hits.items()]
    return {"query_id": [r[0] for r in rows], "doc_id": [r[1] for r in rows], third: [r[2] for r in rows]}


def _same(found: Any) -> None:
    expected = evaluate(RUN, QRELS, NAMES)
    assert found.mean == expected.mean
    table = {r["query_id"]: r for r in found.per_query.to_pylist()}
    assert table == {r["query_id"]: r for r in expected.per_query.to_pylist()}


@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame, pa.table], ids=["pandas", "polars", "pyarrow"])
def test_frames(make: Any) -> None:
    _same(evaluate(make(_rows(RUN, "score")), make(_rows(QRELS, "relevance")), NAMES))


@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame, pa.table], ids=["pandas", "polars", "pyarrow"])
def test_frames_with_other_names_and_numbers_as_ids(make: Any) -> None:
    run = make({"qid": [1, 1, 2], "docno": [10, 11, 10], "score": [2, 1, 1]})
    qrels = make({"qid": ["1", "2"], "docno": ["11", "10"], "label": [1.0, 1.0]})
    assert evaluate(run, qrels, "mrr").mean == {"mrr": 0.75}


def test_categorical_columns_of_pandas() -> None:
    run = pd.DataFrame(_rows(RUN, "score")).astype({"query_id": "category", "doc_id": "category"})
    _same(evaluate(run, QRELS, NAMES))


@pytest.mark.filterwarnings("ignore::numba.core.errors.NumbaTypeSafetyWarning")
def test_ranx_objects() -> None:
    qrels = {q: dict(j.items()) for q, j in QRELS.items()}
    _same(evaluate(ranx.Run(RUN), ranx.Qrels(qrels), NAMES))


def test_tuples_of_ir_measures() -> None:
    scored = namedtuple("ScoredDoc", ["query_id", "doc_id", "score"])
    judged = namedtuple("Qrel", ["query_id", "doc_id", "relevance", "iteration"])
    run = [scored(q, d, s) for q, hits in RUN.items() for d, s in hits.items()]
    qrels = (judged(q, d, g, "0") for q, grades in QRELS.items() for d, g in grades.items())
    _same(evaluate(iter(run), qrels, NAMES))


def test_files(tmp_path: Path) -> None:
    (tmp_path / "run").write_text(
        "".join(f"{q} Q0 {d} 1 {s} t\n" for q, h in RUN.items() for d, s in h.items())
    )
    (tmp_path / "qrels").write_text(
        "".join(f"{q} 0 {d} {g}\n" for q, j in QRELS.items() for d, g in j.items())
    )
    _same(evaluate(str(tmp_path / "run"), tmp_path / "qrels", NAMES))


def test_whole_numbers_as_ids_of_dictionaries() -> None:
    run: Any = {1: {10: 2.0, 11: 1.0}}
    assert evaluate(run, {"1": {"11": 1}}, "mrr").mean == {"mrr": 0.5}


@pytest.mark.parametrize(
    ("run", "qrels", "said"),
    [
        ({"q": {"a": math.nan}}, {"q": {"a": 1}}, "query 'q', document 'a': the score is NaN"),
        ({"q": {"a": "x"}}, {"q": {"a": 1}}, "the score 'x' is no number"),
        ({"q": {"a": None}}, {"q": {"a": 1}}, "the score None is no number"),
        ({"q": {"a": 1.0}}, {"q": {"a": 0.5}}, "the grade 0.5 is no integer"),
        ({"q": {"a": 1.0}}, {"q": {"a": math.nan}}, "the grade nan is no integer"),
        ({"q": {"a": 1.0}}, {"q": {"a": 2**40}}, "is no integer"),
        ({"q": {1.5: 1.0}}, {"q": {"a": 1}}, "document ids must be strings"),
        ({"q": ["a"]}, {"q": {"a": 1}}, "holds a list, not a mapping"),
        (3, {"q": {"a": 1}}, "can't read a int"),
        ({"other": {"a": 1.0}}, {"q": {"a": 1}}, "none of the run's 1 queries ('other') is judged"),
        (
            pd.DataFrame({"qid": ["q"] * 2, "did": ["a"] * 2, "score": [1.0, 2.0]}),
            {"q": {"a": 1}},
            "has document 'a' a second time",
        ),
        (pd.DataFrame({"qid": ["q"], "did": ["a"]}), {"q": {"a": 1}}, "no column 'score'"),
        (
            pd.DataFrame({"qid": ["q", None], "did": ["a", "b"], "score": [1, 2]}),
            {"q": {"a": 1}},
            "have no 'qid'",
        ),
        ({1: {"a": 1.0}, "1": {"a": 1.0}}, {"1": {"a": 1}}, "as a number and as a string"),
    ],
)
def test_what_can_not_be_scored_is_refused(run: Any, qrels: Any, said: str) -> None:
    with pytest.raises(InputError) as error:
        evaluate(run, qrels, "mrr")
    assert said in str(error.value)


def test_missing_queries_can_be_dropped() -> None:
    """METRICS.md T3: q1 perfect, q2 missing: trec_eval -c .5, without -c 1.0."""
    run, qrels = {"q1": {"a": 1.0}}, {"q1": {"a": 1}, "q2": {"b": 1}}
    zero, drop = evaluate(run, qrels, "mrr"), evaluate(run, qrels, "mrr", missing_queries="drop")
    assert zero.mean == {"mrr": 0.5}
    assert drop.mean == {"mrr": 1.0}
    assert zero.facts["queries"] == 2
    assert zero.facts["queries_missing"] == 1
    assert drop.facts["queries"] == 1
    assert zero.policies["missing_queries"].startswith("zero")
    assert drop.policies["missing_queries"].startswith("drop")
    assert "1 judged queries have no hits" in zero.warnings[0]


def test_a_query_answered_with_nothing_is_not_missing() -> None:
    """METRICS.md T4: q2 present with {}: .5 in every tool."""
    run: Any = {"q1": {"a": 1.0}, "q2": {}}
    assert evaluate(run, {"q1": {"a": 1}, "q2": {"b": 1}}, "mrr", missing_queries="drop").mean == {"mrr": 0.5}


def test_identical_ids_can_be_excluded() -> None:
    """METRICS.md T10: run {q1: {q1: 9, a: 1}}: .6309 as it is, 1.0 without the query's own document."""
    run, qrels = {"q1": {"q1": 9.0, "a": 1.0}, "q": {"q1": 1.0, "a": 0.5}}, {"q1": {"a": 1}, "q": {"q1": 1}}
    assert evaluate(run, qrels, "ndcg@10").of("ndcg@10")[0] == pytest.approx(0.6309, abs=5e-5)
    without = evaluate(run, qrels, "ndcg@10", exclude_identical=True)
    assert without.mean == {"ndcg@10": 1.0}
    assert without.facts["hits_excluded"] == 1
    assert without.policies["exclusion"] == "identical_id"


@pytest.mark.parametrize(
    ("policy", "value"), [("trec_eval", 0.5), ("docid_asc", 1.0), ("file", 1 / 3), ("error", None)]
)
def test_ties_are_ranked_as_asked(policy: Any, value: float | None) -> None:
    run, qrels = {"q": {"c": 1.0, "b": 1.0, "a": 2.0}}, {"q": {"b": 1}}
    run = {"q": {"x": 1.0, "c": 1.0, "b": 1.0}} if policy == "file" else {"q": {"c": 1.0, "b": 1.0}}
    if value is None:
        with pytest.raises(InputError, match="equal score"):
            evaluate(run, qrels, "mrr", tie_break=policy)
        return
    found = evaluate(run, qrels, "mrr", tie_break=policy)
    assert found.mean["mrr"] == value
    assert ("ascending" in found.policies["ranking"]) == (policy == "docid_asc")


def test_what_ties_are_worth() -> None:
    """Four tied documents, one relevant, cut at 2: RR is 1 at best and 0 at worst, .5 by the rule (d c b a)."""
    run = {"q": dict.fromkeys("abcd", 1.0), "r": {"a": 2.0, "b": 1.0}}
    found = evaluate(run, {"q": {"c": 1}, "r": {"b": 1}}, ["mrr@2", "ndcg", "nauc(of=ndcg@10,by=max)"])
    tie = found.ties["mrr@2"]
    assert tie is not None
    assert (tie.across, tie.affected, tie.worst, tie.best) == (1, 1, 0.25, 0.75)
    assert found.mean["mrr@2"] == 0.5
    assert found.ties["nauc(of=ndcg@10,by=max)"] is None


def test_scores_that_float32_makes_equal_are_warned_of() -> None:
    """METRICS.md T12: the docid decides, and the reader is told."""
    run = {"q": {"a": 0.12345678901, "b": 0.12345678900}, "r": {"a": 2.0, "b": 1.0}}
    found = evaluate(run, {"q": {"a": 1}, "r": {"a": 1}}, "mrr")
    assert found.mean["mrr"] == 0.75
    assert any("in 1 queries scores that differ are equal as float32" in w for w in found.warnings)
    below = {"q": {"z": 9.0, **run["q"]}, "r": run["r"]}
    assert not any("float32" in w for w in evaluate(below, {"q": {"a": 1}, "r": {"a": 1}}, "mrr@1").warnings)


def test_infinite_scores_rank_and_are_warned_of() -> None:
    """METRICS.md T11: inf and -inf rank as numbers do; 1e400 is inf."""
    run = {"q": {"a": -math.inf, "b": math.inf, "c": 0.0}}
    found = evaluate(run, {"q": {"a": 1}}, "mrr")
    assert found.mean["mrr"] == pytest.approx(1 / 3)
    assert any("2 scores are infinite" in w for w in found.warnings)


def test_a_run_mostly_of_other_queries_is_refused_beyond_the_threshold() -> None:
    run = {f"q{i}": {"a": 1.0} for i in range(100)}
    qrels = {f"q{i}": {"a": 1} for i in range(5)}
    with pytest.raises(InputError, match="only 5 of the run's 100 queries"):
        evaluate(run, qrels, "mrr")
    assert evaluate(run, qrels, "mrr", most_unjudged=0.95).mean == {"mrr": 1.0}


def test_an_empty_run_scores_zero() -> None:
    """METRICS.md T15."""
    found = evaluate({}, QRELS, NAMES)
    assert set(found.mean.values()) == {0.0}
    assert found.facts["queries_missing"] == 3


def test_intervals_hold_the_mean() -> None:
    rng = np.random.default_rng(0)
    qrels = {f"q{i}": {"a": 1} for i in range(200)}
    run = {q: {"a": rng.random(), "b": rng.random()} for q in qrels}
    found = evaluate(run, qrels, ["mrr", "num_ret"])
    low, high = found.intervals()["mrr"] or (0, 0)
    assert low < found.mean["mrr"] < high
    assert high - low < 0.1
    assert found.intervals()["num_ret"] is None
    assert evaluate({"q": {"a": 1.0}}, {"q": {"a": 1}}, "mrr").intervals() == {"mrr": None}


ids = st.text(st.sampled_from("ab0é-日 "), max_size=20).map(lambda t: t.replace(" ", "_"))
values = st.sampled_from([0.0, -0.0, 1.0, -1.0, 0.1, 16777216.0, 16777217.0, 1e-50, 3e38])
runs = st.dictionaries(st.sampled_from(["q1", "q2", "q3"]), st.dictionaries(ids, values), max_size=3)


@settings(max_examples=300, deadline=None)
@given(
    runs,
    st.dictionaries(st.sampled_from(["q1", "q2", "q3"]), st.dictionaries(ids, st.integers(-1, 3))),
    st.randoms(),
)
def test_ids_arrays_and_shuffled_lines_agree(run: Any, qrels: Any, random: Any) -> None:
    """The same run as dictionaries, as rows in any order, and as arrays has the same values."""
    if not any(run.get(q) is not None for q in qrels if qrels[q]) and any(run.values()):
        return
    names = ["ndcg@3", "map", "mrr", "p@2", "recall@2", "bpref"]
    if run and not any(qrels.get(q) for q in run):
        return
    first = evaluate(run, qrels, names)
    rows = [(q, d, s) for q, hits in run.items() for d, s in hits.items()]
    random.shuffle(rows)
    shuffled = (
        evaluate(
            pa.table(
                {
                    "query_id": pa.array([r[0] for r in rows], pa.string()),
                    "doc_id": pa.array([r[1] for r in rows], pa.string()),
                    "score": pa.array([r[2] for r in rows], pa.float64()),
                }
            ),
            qrels,
            names,
        )
        if any(qrels.get(r[0]) for r in rows)
        else None
    )
    if shuffled is not None:
        assert np.array_equal(first.values, shuffled.values)
        for name, tie in first.ties.items():
            assert tie == shuffled.ties[name]
            if tie is not None and name != "bpref":
                assert tie.worst - 1e-12 <= first.mean[name] <= tie.best + 1e-12
    documents = sorted(
        {d for part in (run, qrels) for h in part.values() for d in h}, key=lambda d: d.encode()
    )
    judged = [q for q in qrels if qrels[q]]
    if not judged:
        return
    k = max([len(run.get(q, {})) for q in judged]) or 1
    rows_ = np.full((len(judged), k), -1, np.int64)
    scores = np.full((len(judged), k), -np.inf, np.float32)
    triples = []
    for i, q in enumerate(judged):
        for j, (d, s) in enumerate(run.get(q, {}).items()):
            rows_[i, j], scores[i, j] = documents.index(d), s
        triples += [(i, documents.index(d), g) for d, g in qrels[q].items()]
    arrays = evaluate(
        Run.ranked(rows_, scores, np.arange(len(documents))),
        Qrels.from_triples(*np.array(triples).T, queries=len(judged), corpus_size=len(documents)),
        names,
    )
    assert np.array_equal(arrays.values, first.values)
    assert arrays.ties == first.ties


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text(st.sampled_from("ab\u00e9日"), max_size=30), min_size=1, unique=True))
def test_words_compare_as_bytes_do(strings: list[str]) -> None:
    keys = columns.words(pa.array(strings, pa.large_string()), 20)
    assert keys is not None
    by = np.lexsort(keys[::-1])
    assert [strings[i] for i in by] == sorted(strings, key=lambda s: s.encode())
    sliced = pa.array(["", "xyz", *strings], pa.large_string()).slice(2)
    assert np.array_equal(
        columns.hash_strings(sliced), columns.hash_strings(pa.array(strings, pa.large_string()))
    )
    assert len(set(columns.hash_strings(sliced).tolist())) == len(strings)


def test_equal_hashes_are_no_match(monkeypatch: pytest.MonkeyPatch) -> None:
    """Were all hashes equal, figures would be the same: every match is verified by its bytes."""
    expected = evaluate(RUN, QRELS, NAMES, exclude_identical=True)
    monkeypatch.setattr(columns, "_mix", lambda x: x & np.uint64(1))
    assert evaluate(RUN, QRELS, NAMES, exclude_identical=True).mean == expected.mean


def test_a_written_run_is_read_back_with_the_same_scores(tmp_path: Path) -> None:
    from seekbench.collection import Corpus, Queries

    rng = np.random.default_rng(1)
    corpus = Corpus.from_lists([f"d{i}" for i in range(50)], ["x"] * 50)
    queries = Queries.from_lists([f"q{i}" for i in range(20)], ["x"] * 20)
    rows = np.stack([rng.permutation(50)[:20] for _ in range(20)])
    run = Run.ranked(rows, rng.integers(0, 9, rows.shape).astype(np.float32), corpus.order)
    judged = {
        f"q{i}": {f"d{j}": int(rng.integers(0, 3)) for j in rng.permutation(50)[:10]} for i in range(20)
    }
    triples = [(int(q[1:]), int(d[1:]), g) for q, j in judged.items() for d, g in j.items()]
    qrels = Qrels.from_triples(*np.array(triples).T, queries=20, corpus_size=50)
    write_trec(run, corpus, queries, tmp_path / "run.gz", "t")
    assert np.array_equal(
        evaluate(tmp_path / "run.gz", judged, NAMES).values, evaluate(run, qrels, NAMES).values
    )


def test_pyterriers_docno_goes_before_its_docid() -> None:
    run = pd.DataFrame(
        {"qid": ["q"] * 2, "docid": [0, 1], "docno": ["d7", "d9"], "rank": [0, 1], "score": [2.0, 1.0]}
    )
    assert evaluate(run, pd.DataFrame({"qid": ["q"], "docno": ["d7"], "label": [1]}), "mrr").mean == {
        "mrr": 1.0
    }


def test_frames_of_odd_types() -> None:
    expected = {"mrr": 0.75}
    qrels = {"1": {"11": 1}, "2": {"10": 1}}
    data = {"qid": ["1", "1", "2"], "docno": ["10", "11", "10"], "score": [2, 1, 1]}
    polars = pl.DataFrame(data).with_columns(
        pl.col("qid").cast(pl.Categorical), pl.col("docno").cast(pl.Enum(["10", "11"]))
    )
    assert evaluate(polars, qrels, "mrr").mean == expected
    mixed = pd.DataFrame({**data, "docno": pd.Series(["10", 11, "10"], dtype=object)})
    assert evaluate(mixed, qrels, "mrr").mean == expected
    nullable = pd.DataFrame(data).astype({"score": "Int64", "qid": "string"})
    assert evaluate(nullable, qrels, "mrr").mean == expected
    with pytest.raises(InputError, match="LazyFrame"):
        evaluate(pl.DataFrame(data).lazy(), qrels, "mrr")


@pytest.mark.parametrize("run", [{"q": {None: 0.5, "a": 1.0}}, {"q": {"a": 10**400}}, {"q": {"\ud800": 1.0}}])
def test_odd_values_of_dictionaries_are_refused(run: Any) -> None:
    with pytest.raises(InputError):
        evaluate(run, {"q": {"a": 1}}, "mrr")


def test_subtopics_of_ir_measures_tuples() -> None:
    judged = namedtuple("Qrel", ["query_id", "doc_id", "relevance", "iteration"])
    qrels = [judged("q", "a", 1, "1"), judged("q", "a", 1, "2"), judged("q", "b", 1, "2")]
    assert evaluate({"q": {"a": 2.0, "b": 1.0}}, qrels, "alpha_ndcg@2").mean["alpha_ndcg@2"] == 1.0
    assert evaluate([], qrels, "mrr").mean == {"mrr": 0.0}


@pytest.mark.parametrize(
    "name", ["judged@1", "hole@1", "unj@1", "rbp_resid(p=0.8)", "ndcg(gains=1:5;2:1)@2", "infap"]
)
def test_no_tie_band_where_grades_do_not_tell_the_best_order(name: str) -> None:
    found = evaluate({"q": {"a": 1.0, "b": 1.0}}, {"q": {"b": 0, "c": 1}}, [name])
    assert list(found.ties.values()) == [None]


def test_tie_bands_are_those_of_all_orders() -> None:
    """Against brute force over the orders of tied documents."""
    from itertools import permutations

    rng = np.random.default_rng(7)
    names = ["ndcg@2", "ndcg", "map", "mrr@2", "p@2", "recall@2", "bpref", "err@3", "rbp(p=0.8)", "rprec"]
    for _ in range(60):
        docs = [f"d{i}" for i in range(5)]
        scores = rng.integers(0, 2, 5).astype(float)
        judged = {d: int(rng.integers(0, 3)) for d in rng.permutation(docs)[:3]} | {"x": 1}
        found = evaluate({"q": dict(zip(docs, scores.tolist(), strict=True))}, {"q": judged}, names)
        values = []
        for order in permutations(range(5)):
            exact = {docs[i]: scores[i] * 100 - place for place, i in enumerate(order)}
            values.append(evaluate({"q": exact}, {"q": judged}, names).values[0])
        for name, low, high in zip(names, np.min(values, axis=0), np.max(values, axis=0), strict=True):
            tie = found.ties[parse(name).name]
            assert tie is not None
            assert (tie.worst, tie.best) == pytest.approx((low, high), abs=1e-12), (name, scores, judged)


def test_a_measure_that_no_query_defines_is_not_zero() -> None:
    found = evaluate({"q": {"a": 1.0}}, {"q": {"a": 1}}, ["roc_auc", "mrr"])
    assert math.isnan(found.mean["roc_auc"])
    assert found.per_query.to_pylist() == [{"query_id": "q", "roc_auc": None, "mrr": 1.0}]
    assert found.intervals()["roc_auc"] is None


def test_collapse_is_seen_across_the_cutoff_and_below_all_cutoffs() -> None:
    docs = {f"d{i:02}": 1.0 for i in range(30)}
    run = {"q": {**docs, "d05": 1.0 + 1e-12}, "r": {"a": 2.0, "b": 1.0}}
    assert any("float32" in w for w in evaluate(run, {"q": {"d05": 1}, "r": {"a": 1}}, "mrr@10").warnings)
    deep = {"q": {**{f"x{i:02}": 99.0 - i for i in range(30)}, "a": 1.0, "b": 1.0 + 1e-12}}
    assert any("float32" in w for w in evaluate(deep, {"q": {"b": 1}}, ["mrr@10", "map"]).warnings)
    assert not any("float32" in w for w in evaluate(deep, {"q": {"b": 1}}, ["mrr@10"]).warnings)


def test_one_query_has_nothing_of_anothers_rounding() -> None:
    docs = [f"d{i}" for i in range(50)]
    big = {"a": dict.fromkeys(docs, 2**31 - 1)}
    small = {"b": {d: 1 + i % 2 for i, d in enumerate(docs)}}
    run = {q: {d: float(i * 7 % 50) for i, d in enumerate(docs)} for q in "ab"}
    both = evaluate(run, big | small, ["ndcg_rel", "g", "rndcg"])
    assert np.array_equal(
        both.values[1], evaluate({"b": run["b"]}, small, ["ndcg_rel", "g", "rndcg"]).values[0]
    )


def test_long_and_short_queries_together_need_no_table() -> None:
    """ERR once kept a table of queries x the longest query."""
    run = {f"q{i}": {"a": 1.0} for i in range(500)} | {"long": {f"d{i}": float(i) for i in range(3000)}}
    qrels = {f"q{i}": {"a": 1} for i in range(500)} | {"long": dict.fromkeys(run["long"], 1)}
    found = evaluate(run, qrels, "err")
    assert found.of("err")[0] == pytest.approx(1 / 16)
    r = 1 / 16
    assert found.of("err")[-1] == pytest.approx(
        sum(r * (1 - r) ** i / (i + 1) for i in range(3000)), rel=1e-9
    )


def test_queries_that_find_their_own_documents_have_hashes_of_their_own() -> None:
    ids = pa.array([f"{i}" for i in range(1000)], pa.large_string())
    table = columns.Columns(ids, np.arange(1000, dtype=np.int32), ids)
    assert len(np.unique(table.keys)) == 1000
