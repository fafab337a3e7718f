"""Measures against the tools that they come from, and properties that must always hold.

Figures of other tools stand with their source; `synthetic` makes the same data in every Python.
"""

from __future__ import annotations

import inspect
import math
from random import Random
from typing import Any, get_args

import numpy as np
import pytest
import pytrec_eval
from hypothesis import given, settings
from hypothesis import strategies as st

from seekbench import evaluate
from seekbench.collection import Qrels
from seekbench.errors import InputError
from seekbench.metrics.evaluate import score
from seekbench.metrics.judged import Subtopics
from seekbench.metrics.measure import (
    Gains,
    Levels,
    Measure,
    MeasureName,
    definitions,
    describe,
    listing,
    parse,
    parse_all,
)
from seekbench.metrics.names import GROUPS
from seekbench.runs import Run

#: one measure of every definition, most of them twice
MEASURES = [
    "dcg@3", "dcg(gain=exp)", "ndcg@3", "ndcg", "ndcg(gain=exp)@5", "ndcg(gains=1:3;2:9)@5", "map", "map(rel=2)@3",
    "gmap", "mrr", "mrr@3", "p@3", "p(rel=2)@10", "recall@3", "f@3", "f(beta=2)@5", "success@1", "success@3", "hits@3",
    "r_cap@3", "rprec", "rprec(mult=0.5)", "bpref", "bpref(rel=2)", "gm_bpref", "infap", "judged", "judged@3", "unj@3",
    "err@3", "err(max=5)", "rbp(p=0.8)", "rbp(p=0.8)@3", "rbp(p=0.9,gain=share)", "rbp(p=0.9,gain=grade)",
    "rbp_resid(p=0.9)", "iprec(recall=0.5)", "iprec(recall=0.5,rounding=nearest)", "ip_auc", "ip_auc(levels=0.2;0.8)",
    "set_p", "set_recall", "set_relative_p", "set_map", "set_f", "set_f(x=2)", "utility", "num_q", "num_ret",
    "num_rel", "num_rel_ret", "num_nonrel_judged_ret", "ndcg_rel", "rndcg", "g", "bin_g", "roc_auc",
    "nauc(of=ndcg@3,by=max)", "nauc(of=map,by=std)", "nauc(of=mrr,by=diff1)", "spearman", "pearson",
]  # fmt: skip
#: those that need more than scores and grades by id
OTHERS = [
    "hole@3",
    "alpha_ndcg@5",
    "err_ia@5",
    "st_recall@5",
    "p_mrr",
    "min_distance@3",
    "topic_f1",
    "bitext_f1",
]
UNBOUNDED = ("dcg", "hits", "utility", "num_", "nauc", "p_mrr", "min_distance", "rbp(p=0.9,gain=grade")
#: 1 for a run that ranks all judged documents by their grade
IDEAL = [
    "ndcg", "ndcg@3", "ndcg(gain=exp)@5", "ndcg(gains=1:3;2:9;3:10)", "map", "gmap", "mrr", "mrr@3", "r_cap@3",
    "recall@99", "success@1", "rprec", "bpref", "iprec(recall=0.5)", "ip_auc", "set_recall", "set_relative_p",
    "ndcg_rel", "rndcg", "g", "bin_g", "judged",
]  # fmt: skip
DOCS = [f"d{i}" for i in range(12)] + ["é", "10", "9", "D1"]
Rankings = dict[str, dict[str, float]]
Grades = dict[str, dict[str, int]]

# Few distinct scores: most hits are tied. 16777216 and ...17 are equal in float32 and not in float64.
scores = st.sampled_from([0.0, 1.0, -1.0, 0.1, 16777216.0, 16777217.0, 0.12345678901, 0.12345678900])
runs = st.dictionaries(
    st.sampled_from(["q1", "q2", "q3"]),
    st.dictionaries(st.sampled_from(DOCS), scores, min_size=1),
    min_size=1,
)
# No negative grades here: pytrec_eval 0.5.11 does not return from some runs with them.
judgments = st.dictionaries(
    st.sampled_from(["q1", "q2", "q3"]),
    st.dictionaries(st.sampled_from(DOCS), st.integers(0, 3), min_size=1),
    min_size=1,
)
with_pooled = st.dictionaries(
    st.sampled_from(["q1", "q2", "q3"]),
    st.dictionaries(st.sampled_from(DOCS), st.integers(-2, 3), min_size=1),
    min_size=1,
)


def dcg(relevant: int) -> float:
    return sum(1 / math.log2(rank + 1) for rank in range(1, relevant + 1))


def any_query(run: Rankings, qrels: Grades) -> Rankings:
    """With a query of the judgments in it: a run of none of them is refused."""
    return run if run.keys() & qrels.keys() else {next(iter(qrels)): next(iter(run.values()))}


def synthetic(seed: int, queries: int = 40) -> tuple[Rankings, Grades]:
    """A run and graded judgments from Random.random() alone."""
    r = Random(seed).random
    run: Rankings = {}
    qrels: Grades = {}
    for q in range(queries):
        docs = sorted((f"d{i:02d}" for i in range(60)), key=lambda _: r())
        grades = {d: int(4 * r() * r()) for d in sorted(docs, key=lambda _: r())[:20]}
        qrels[f"q{q}"] = grades
        run[f"q{q}"] = {
            d: round(r() + 0.1 * grades.get(d, 0), 3) + i * 1e-6
            for i, d in enumerate(docs[: 5 + int(30 * r())])
        }
    return run, qrels


def mean(run: Any, qrels: Any, name: str) -> float:
    return evaluate(run, qrels, [name]).mean[parse(name).name]


# --- trec_eval, by pytrec_eval


def trec_eval_names() -> dict[str, str]:
    """Ours -> pytrec_eval's, of all measures that pytrec_eval 0.5.11 has."""
    out = {}
    for name in GROUPS["all_trec"]:
        family, _, parameter = name.rpartition("_")
        if family in ("iprec_at_recall", "Rprec_mult"):
            out[parse(name).name] = f"{family}_{float(parameter):.2f}"
        elif not name.startswith(("unj", "rbp")):
            out[parse(name).name] = name
    return out


PAIRS = trec_eval_names()
ASKED = pytrec_eval.supported_measures - {"runid", "relstring"}


def tied(rng: np.random.Generator, queries: int) -> tuple[Rankings, Grades]:
    """Rankings of up to 35 documents with seven different scores, two of them equal as float32."""
    values = np.array([0.0, 1.0, 2.0, 0.5, 16777216.0, 16777217.0, -1.0])
    run: Rankings = {}
    qrels: Grades = {}
    for q in range(queries):
        hits = rng.permutation(40)[: rng.integers(1, 36)]
        run[f"q{q}"] = dict(zip((f"d{i}" for i in hits), rng.choice(values, len(hits)).tolist(), strict=True))
        known = rng.permutation(40)[: rng.integers(1, 31)]
        grades = rng.integers(0, rng.integers(2, 5), len(known))
        qrels[f"q{q}"] = dict(zip((f"d{i}" for i in known), grades.tolist(), strict=True))
    return run, qrels


def test_ten_thousand_tied_rankings_equal_to_trec_eval() -> None:
    """All measures of pytrec_eval 0.5.11, to 1e-9."""
    rng, names = np.random.default_rng(20261121), list(PAIRS)
    worst = 0.0
    for _ in range(100):
        run, qrels = tied(rng, 100)
        reference = pytrec_eval.RelevanceEvaluator(qrels, ASKED).evaluate(run)
        ours = evaluate(run, qrels, names)
        expected = np.array([[reference[q][PAIRS[n]] for n in names] for q in ours.query_ids])
        for i, name in enumerate(names):
            if parse(name).definition.aggregate == "geometric":  # pytrec_eval's per query are logarithms
                logarithms = expected[:, i]
                assert ours.mean[name] == pytest.approx(math.exp(logarithms.mean()), abs=1e-9)
                expected[:, i] = ours.values[:, i]
        worst = max(worst, float(np.abs(ours.values - expected).max()))
    assert worst < 1e-9
    assert len(names) > 75


@settings(max_examples=200, deadline=None)
@given(runs, judgments)
def test_equal_to_trec_eval_on_tied_runs(run: Rankings, qrels: Grades) -> None:
    run = any_query(run, qrels)
    names = [n for n in PAIRS if parse(n).definition.aggregate == "mean"]
    reference = pytrec_eval.RelevanceEvaluator(qrels, ASKED).evaluate(run)
    for row in evaluate(run, qrels, names, most_unjudged=1.0).per_query.to_pylist():
        for ours in names:
            expected = reference.get(row["query_id"], {}).get(PAIRS[ours], 0.0)
            # trec_eval divides 0 by 0 for some measures without relevant documents.
            expected = 0.0 if math.isnan(expected) else expected
            if row["query_id"] in reference:
                assert math.isclose(row[ours], expected, abs_tol=1e-12), (row["query_id"], ours)


def test_relevance_level_is_trec_evals() -> None:
    run, qrels = synthetic(5)
    names = [
        "map",
        "recip_rank",
        "P_5",
        "recall_10",
        "bpref",
        "infAP",
        "Rprec",
        "set_F",
        "set_map",
        "success_5",
    ]
    reference = pytrec_eval.RelevanceEvaluator(qrels, set(names), relevance_level=2).evaluate(run)
    for name in names:
        measure = parse(name)
        measure = Measure(measure.base, measure.k, (("rel", 2),))
        ours = evaluate(run, qrels, [measure.name])
        expected = [reference[q][name] for q in ours.query_ids]
        np.testing.assert_allclose(ours.of(measure.name), expected, atol=1e-9)


# --- ../shared/field/METRICS.md, section 12


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize(
    ("run", "qrels", "expected"),
    [
        # T1a-d: equal scores. The highest id comes first.
        ({"d1": 1.0, "d2": 1.0, "d3": 1.0}, {"d1": 1}, {"ndcg@10": 0.5, "mrr@10": 1 / 3}),
        ({"d2": 1.0, "d3": 1.0, "d1": 1.0}, {"d1": 1}, {"ndcg@10": 0.5, "mrr@10": 1 / 3}),
        ({"d1": 1.0, "d2": 1.0, "d3": 1.0}, {"d3": 1}, {"ndcg@10": 1.0, "mrr@10": 1.0}),
        ({"9": 1.0, "10": 1.0}, {"10": 1}, {"ndcg@10": 1 / math.log2(3), "mrr@10": 0.5}),
        # T2: grades 3 and 1 swapped; linear and exponential gain
        (
            {"a": 2.0, "b": 1.0},
            {"a": 1, "b": 3},
            {
                "ndcg@10": (1 + 3 / math.log2(3)) / (3 + 1 / math.log2(3)),
                "ndcg(gain=exp)@10": (1 + 7 / math.log2(3)) / (7 + 1 / math.log2(3)),
            },
        ),
        # T7: a negative grade first gains 0
        ({"a": 2.0, "b": 1.0}, {"a": -1, "b": 1}, {"ndcg@10": 1 / math.log2(3), "mrr": 0.5}),
        ({"a": 3.0, "b": 2.0, "c": 1.0}, {"a": -2, "b": 1, "c": 2}, {"ndcg@10": 0.6199062332840657}),
        # T8: fewer documents than k
        ({"a": 2.0}, {"a": 1, "b": 1}, {"p@10": 0.1, "map": 0.5, "map@10": 0.5, "recall@10": 0.5}),
        # T9: 20 relevant, 5 of them on top of 10
        (
            {f"d{i}": 100.0 - i for i in range(5)} | {f"x{i}": 50.0 - i for i in range(5)},
            {f"d{i}": 1 for i in range(20)},
            {"recall@10": 0.25, "map@10": 0.25, "p@10": 0.5, "ndcg@10": dcg(5) / dcg(10), "r_cap@10": 0.5},
        ),
        # T12, T12b: scores that only float64 tells apart
        ({"a": 0.12345678901, "b": 0.123456789}, {"a": 1}, {"ndcg@10": 1 / math.log2(3), "mrr@10": 0.5}),
        ({"a": 16777217.0, "b": 16777216.0}, {"a": 1}, {"ndcg@10": 1 / math.log2(3), "mrr@10": 0.5}),
        # T16: a threshold does not touch trec_eval's nDCG; ranx's ndcg@10-l2 it does
        (
            {"a": 2.0, "b": 1.0},
            {"a": 1, "b": 2},
            {"ndcg@10": 0.8597186998521972, "ndcg@10-l2": 0.6309297535714575},
        ),
        # bpref without judged non-relevant documents, and with unjudged ones above
        ({"a": 2.0, "b": 1.0}, {"a": 1, "b": 1}, {"bpref": 1.0}),
        ({"x": 3.0, "a": 2.0, "b": 1.0}, {"a": 1, "b": 0}, {"bpref": 1.0}),
        # T15: no hits at all
        ({}, {"a": 1}, {"ndcg@10": 0.0, "mrr": 0.0, "judged@10": 0.0}),
    ],
)
def test_the_checklist(
    run: dict[str, float], qrels: dict[str, int], expected: dict[str, float], backwards: bool
) -> None:
    if backwards:
        run = dict(reversed(run.items()))
    for name, value in expected.items():
        assert mean({"q": run}, {"q": qrels}, name) == pytest.approx(value, abs=1e-9), name
        theirs = {v: k for k, v in PAIRS.items()}
        if run and min(qrels.values()) >= 0 and parse(name).name in theirs.values():
            theirs_name = PAIRS[parse(name).name]
            reference = pytrec_eval.RelevanceEvaluator({"q": qrels}, ASKED).evaluate({"q": run})["q"]
            assert reference[theirs_name] == pytest.approx(value, abs=1e-9), theirs_name


@pytest.mark.parametrize(
    ("run", "qrels", "policy", "expected"),
    [
        # T3: q1 perfect, q2 missing
        ({"q1": {"a": 1.0}}, {"q1": {"a": 1}, "q2": {"b": 1}}, "zero", 0.5),
        ({"q1": {"a": 1.0}}, {"q1": {"a": 1}, "q2": {"b": 1}}, "drop", 1.0),
        # T4: q2 without hits
        ({"q1": {"a": 1.0}, "q2": {}}, {"q1": {"a": 1}, "q2": {"b": 1}}, "zero", 0.5),
        # T5: a query without judgments
        ({"q1": {"a": 1.0}, "q2": {"a": 1.0}}, {"q1": {"a": 1}}, "zero", 1.0),
        # T6: q2 judged with 0 only; T6b: not at all
        ({"q1": {"a": 1.0}, "q2": {"a": 1.0}}, {"q1": {"a": 1}, "q2": {"a": 0}}, "zero", 0.5),
        ({"q1": {"a": 1.0}, "q2": {"a": 1.0}}, {"q1": {"a": 1}, "q2": {}}, "zero", 1.0),
    ],
)
def test_which_queries_count(run: Rankings, qrels: Grades, policy: Any, expected: float) -> None:
    result = evaluate(run, qrels, ["ndcg@10", "mrr", "mrr@10"], missing_queries=policy)
    assert result.mean == {"ndcg@10": expected, "mrr": expected, "mrr@10": expected}


def test_nan_and_float_grades_are_refused() -> None:
    with pytest.raises(InputError, match="NaN"):
        evaluate({"q": {"a": math.nan}}, {"q": {"a": 1}}, ["mrr"])
    with pytest.raises(InputError):  # T14
        evaluate({"q": {"a": 1.0}}, {"q": {"a": 0.5}}, ["mrr"])


# --- other tools' figures

#: ir_measures 0.4.3 (with cwl-eval, pyndeval, perl), calc_aggregate on synthetic(1) with the q taken off the ids
IR_MEASURES = {
    "nDCG@10": 0.167016762179404, "nDCG(dcg='exp-log2')@10": 0.155697, "AP(rel=2)@100": 0.08309031743039097,
    "RR": 0.44597312409812406, "RR@10": 0.43640873015873016, "R@10": 0.1581679431679432, "P(rel=2)@5": 0.075,
    "Bpref": 0.23585838158754818, "infAP": 0.11915660189800226, "ERR@20": 0.08366925,
    "RBP(p=0.8,rel=1)": 0.16186663019899855, "RBP(rel=2)": 0.06270537974785759, "IPrec@0.1": 0.39904609755712706,
    "IPrec(recall=0.7)": 0.025372006510113926, "Judged@10": 0.33166666666666667, "Judged@40": 0.3387662982618117,
    "Judged": 0.3387662982618117, "SetP": 0.13360255746068317, "SetR": 0.30684905372405374,
    "SetF": 0.17382710724354367, "SetF(beta=2.0)": 0.19829886508739047, "SetAP": 0.0551760780226908,
    "SetRelP": 0.3111942918192918, "Rprec": 0.14986131923631923, "NumRet": 721.0, "NumRel": 327.0, "NumQ": 40.0,
    "NumRelRet": 102.0, "NumRet(rel=2)": 33.0, "Success@5": 0.55, "Success(rel=3)@2": 0.05,
    "nDCG(gains={1:5,2:2})@10": 0.16473534213322558,
}  # fmt: skip
#: ranx 0.3.21, evaluate(Qrels, Run, name) on synthetic(1)
RANX = {
    "hits@10": 1.375, "hit_rate@10": 0.725, "precision@10": 0.1375, "recall@10": 0.15816794316794316,
    "f1@10": 0.14418427597178102, "r-precision": 0.14986131923631923, "mrr@10": 0.43640873015873016,
    "map@10": 0.08790315066877566, "map": 0.11915659799536463, "dcg@10": 1.1313941327791288,
    "dcg_burges@10": 1.6883417033468135, "ndcg@10": 0.167016762179404, "ndcg_burges@10": 0.1556968900802596,
    "rbp.95": 0.12336531373963502, "rbp.8": 0.24539028988859055, "ndcg@10-l2": 0.12528749016604798,
    "ndcg@10-l3": 0.06843125386140306, "ndcg_burges@10-l2": 0.12388945793946123, "map@100-l2": 0.08309031743039097,
    "rbp.95-l2": 0.06691118402459839, "f1@10-l2": 0.07712558275058275, "recall@10-l2": 0.17125, "hits@5-l3": 0.125,
    "precision@50": 0.051,
}  # fmt: skip


@pytest.mark.parametrize(("name", "value"), [*IR_MEASURES.items(), *RANX.items()])
def test_a_spelling_gives_its_tools_number(name: str, value: float) -> None:
    # gdeval prints five decimals a query.
    tolerance = 5e-6 if "exp-log2" in name or name == "ERR@20" else 1e-9
    assert mean(*synthetic(1), name) == pytest.approx(value, abs=tolerance)


@pytest.mark.parametrize(
    ("seed", "expected"),
    [
        (1, {
            "ndcg_at_10_max": 0.618123963733136, "ndcg_at_10_std": 0.28329601769354557,
            "ndcg_at_10_diff1": 0.31793459148790765, "map_at_10_std": 0.36352311819581845,
            "precision_at_1_max": 0.7189663128749423, "mrr_at_10_diff1": 0.5093430310251549,
        }),
        (2, {
            "ndcg_at_10_max": 0.7026427306017584, "ndcg_at_10_std": 0.22456196940270695,
            "ndcg_at_10_diff1": 0.1761330895443142, "map_at_10_std": 0.2652605481999294,
            "precision_at_1_max": 0.802166231879272, "mrr_at_10_diff1": 0.35548736354405036,
        }),
        (3, {
            "ndcg_at_10_max": 0.623807132046044, "ndcg_at_10_std": 0.45314497003268867,
            "ndcg_at_10_diff1": 0.08080178643060183, "map_at_10_std": 0.5807078613871649,
            "precision_at_1_max": 0.7711447646963032, "mrr_at_10_diff1": 0.1426086079523966,
        }),
    ],
)  # fmt: skip
def test_abstention_is_mtebs(seed: int, expected: dict[str, float]) -> None:
    """mteb 2.26.24, calculate_retrieval_scores(run, qrels, [1, 10, 1000]) with the scores as float32."""
    names = [f"nauc_{n}" for n in expected]
    figures = evaluate(*synthetic(seed), names).mean
    for name, value in expected.items():
        assert figures[parse(f"nauc_{name}").name] == pytest.approx(value, abs=1e-9), name


def test_abstention_of_a_constant_measure_is_undefined() -> None:
    run, qrels = synthetic(1)
    for name in ("nauc(of=map,by=max)", "nauc(of=judged@1,by=diff1)"):
        assert math.isnan(mean(run, {q: {"nowhere": 1} for q in qrels}, name))


def test_abstention_hangs_on_the_depth() -> None:
    """METRICS.md section 7: cut to 10 hits, `std` is another figure; the depth is MTEB's 1,000 unless told."""
    run, qrels = synthetic(1)
    short = {q: dict(sorted(h.items(), key=lambda x: -x[1])[:10]) for q, h in run.items()}
    deep, cut = "nauc(of=ndcg@10,by=std)", "nauc(of=ndcg@10,by=std,depth=10)"
    assert mean(run, qrels, deep) != pytest.approx(mean(short, qrels, deep))
    assert mean(run, qrels, cut) == pytest.approx(mean(short, qrels, deep))


def pairs(seed: int) -> tuple[Rankings, Grades]:
    r = Random(seed).random
    run: Rankings = {}
    qrels: Grades = {}
    for q in range(8):
        docs = [f"d{i:02d}" for i in range(20)]
        original = {d: int(2 * r()) for d in docs}
        changed = {d: int(bool(g) and r() < 0.6) for d, g in original.items()}
        qrels[f"{q}-og"], qrels[f"{q}-changed"] = original, changed
        for kind in ("og", "changed"):
            run[f"{q}-{kind}"] = {d: int(8 * r()) / 8 for d in docs if r() < 0.8}
    return run, qrels


@pytest.mark.parametrize(
    ("seed", "value"), [(1, -0.21477603049971472), (2, 0.06099790277220296), (3, 0.0017177625213685016)]
)
def test_p_mrr_is_mtebs(seed: int, value: float) -> None:
    """mteb 2.26.24, calculate_pmrr(run, run, changed) of `pairs`, changed: 1 before and 0 after."""
    assert mean(*pairs(seed), "p-MRR") == pytest.approx(value, abs=1e-12)


def test_p_mrr_says_what_it_lacks() -> None:
    run, qrels = pairs(1)
    del qrels["0-changed"]["d00"], qrels["0-og"]["d00"]
    qrels["0-og"]["d00"] = 1
    with pytest.raises(InputError, match="have no judgment under the changed one"):
        evaluate(run, qrels, ["p_mrr"])
    with pytest.raises(InputError, match="X-og and X-changed"):
        evaluate(*synthetic(1), ["p_mrr"])


def subtopical(seed: int) -> tuple[Run, Qrels, Subtopics]:
    """Six queries, 30 documents whose rows are in the order of their ids, up to five subtopics."""
    r = Random(seed).random
    ranked, rows = [], []
    for q in range(6):
        for topic in range(1 + int(5 * r())):
            rows += [(q, topic, d, int(3 * r())) for d in range(30) if r() < 0.35]
        ranked.append(sorted(range(30), key=lambda _: r())[:25])
    table = np.array(rows, dtype=np.int64)
    table = table[np.lexsort((table[:, 2], table[:, 0]))]
    query, topic, doc, grade = table.T
    key = query * 30 + doc
    best = np.full(180, -1)
    np.maximum.at(best, key, grade)
    known = np.flatnonzero(best >= 0)
    qrels = Qrels.from_triples(known // 30, known % 30, best[known], queries=6, corpus_size=30)
    falling = np.broadcast_to(1000.0 - np.arange(25, dtype=np.float32), (6, 25)).astype(np.float32)
    return Run(np.array(ranked), falling), qrels, Subtopics(query, topic, doc, grade, order=doc)


#: pyndeval 0.0.8 on `subtopical` (documents named d00 ... d29): a value a query
NDEVAL = [
    (1, 0.5, "alpha_nDCG", 5, [0.2836238851, 0.7859360507, 0.4155014815, 0.2927408804, 0.6398284085, 0.4110056686]),
    (1, 0.5, "alpha_nDCG", 20, [0.4337400447, 0.8631273703, 0.5943626138, 0.5371306686, 0.7233303477, 0.4851415804]),
    (1, 0.5, "ERR_IA", 5, [0.1815431165, 0.7987897126, 0.363086233, 0.139183056, 0.3649016641, 0.2541603631]),
    (1, 0.5, "ERR_IA", 20, [0.2307057118, 0.8248625175, 0.4396153731, 0.2297377002, 0.4037733188, 0.2872735042]),
    (1, 0.5, "StRecall", 5, [1.0, 1.0, 1.0, 0.6, 1.0, 1.0]),
    (2, 0.3, "alpha_nDCG", 5, [0.5003902599, 0.6197368488, 0.5188723617, 0.3989502097, 0.6196071931, 0.4837983253]),
    (2, 0.3, "alpha_nDCG", 20, [0.6653413669, 0.7119380772, 0.6826911085, 0.5896310856, 0.6297643834, 0.5936583867]),
    (2, 0.3, "ERR_IA", 5, [0.2779627265, 0.3550424887, 0.6071264503, 0.2165417673, 0.318488417, 0.4098103539]),
    (2, 0.3, "ERR_IA", 20, [0.3427460583, 0.3981032672, 0.637144028, 0.2953977776, 0.3270179862, 0.4447104142]),
    (2, 0.3, "StRecall", 5, [0.8, 0.75, 1.0, 1.0, 1.0, 1.0]),
]  # fmt: skip


@pytest.mark.parametrize(("seed", "alpha", "base", "k", "expected"), NDEVAL)
def test_diversity_is_ndevals(seed: int, alpha: float, base: str, k: int, expected: list[float]) -> None:
    run, qrels, subtopics = subtopical(seed)
    name = f"{base}@{k}" if base == "StRecall" else f"{base}(alpha={alpha})@{k}"
    ours = score(run, qrels, [parse(name)], query_ids=[f"q{i}" for i in range(6)], subtopics=subtopics)
    np.testing.assert_allclose(ours.values[:, 0], expected, atol=1e-9)


@pytest.mark.parametrize("name", ["alpha_ndcg@5", "err_ia@5", "st_recall@5"])
def test_diversity_needs_subtopics(name: str) -> None:
    with pytest.raises(InputError, match="subtopics"):
        evaluate(*synthetic(1), [name])


def test_hole_counts_documents_that_nobody_judged() -> None:
    """mteb 2.26.24, hole(qrels, run, [5, 10]) on synthetic(1) of three queries; BEIR's is the same."""
    run, qrels = synthetic(1, queries=3)
    assert evaluate(run, qrels, ["judged@5"]).mean  # the ids are read
    docs = sorted({d for h in (*run.values(), *qrels.values()) for d in h})
    row = {d: i for i, d in enumerate(docs)}
    width = max(map(len, run.values()))
    rows = np.full((3, width), -1)
    values = np.full((3, width), -np.inf, np.float32)
    for i, hits in enumerate(run.values()):
        ranked = sorted(hits.items(), key=lambda x: (np.float32(x[1]), x[0]), reverse=True)
        rows[i, : len(hits)] = [row[d] for d, _ in ranked]
        values[i, : len(hits)] = [v for _, v in ranked]
    triples = np.array([(i, row[d], g) for i, grades in enumerate(qrels.values()) for d, g in grades.items()])
    arrays = Qrels.from_triples(*triples.T, queries=3, corpus_size=len(docs))
    ours = score(Run(rows, values), arrays, parse_all(["Hole@5", "hole@10"]), query_ids=list(qrels))
    np.testing.assert_allclose(ours.values, [[0.4, 0.3], [0.2, 0.1], [0.4, 0.3]])


def test_distance_to_a_segment() -> None:
    """Worked by hand: targets at 2 and 9 of ten segments; no target; no hits."""
    rows = np.array([[5, 0, 8], [1, 2, 3], [-1, -1, -1]])
    values = np.where(rows >= 0, 3.0 - np.arange(3), -np.inf).astype(np.float32)
    qrels = Qrels.from_triples(
        np.array([0, 0, 1, 2]), np.array([2, 9, 4, 4]), np.array([1, 1, 0, 1]), queries=3, corpus_size=10
    )
    names = parse_all(["min_distance@1", "min_distance@2", "min_distance@3"])
    ours = score(Run(rows, values), qrels, names, query_ids=["a", "b", "c"])
    np.testing.assert_array_equal(ours.values[0], [3, 2, 1])
    assert np.isnan(ours.values[1:]).all()
    assert ours.mean == {"min_distance@1": 3.0, "min_distance@2": 2.0, "min_distance@3": 1.0}


def test_roc_auc_equals_sklearn() -> None:
    """Everything retrieved, then without what is not: those documents tie below all others."""
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(7)
    for _ in range(50):
        docs = [f"d{i}" for i in range(20)]
        grades = {d: int(g) for d, g in zip(docs, rng.integers(0, 2, 20), strict=True)} | {"d0": 1, "d1": 0}
        hits = {d: float(s) for d, s in zip(docs, rng.integers(0, 6, 20), strict=True)}
        for run in (hits, {d: s for d, s in hits.items() if s > 1}):
            expected = metrics.roc_auc_score([grades[d] for d in docs], [run.get(d, -1.0) for d in docs])
            assert mean({"q": run}, {"q": grades}, "roc_auc") == pytest.approx(expected, abs=1e-12)
    assert math.isnan(evaluate({"q": {"a": 1.0}}, {"q": {"a": 1}}, ["roc_auc"]).values[0, 0])


def test_inferred_ap_leaves_pooled_documents_out() -> None:
    """By hand after m_infap.c: relevant at ranks 1 and 4; rank 2 pooled and unjudged, rank 3 judged 0."""
    ours = mean(
        {"q": {"a": 4.0, "b": 3.0, "c": 2.0, "d": 1.0}}, {"q": {"a": 1, "b": -1, "c": 0, "d": 1}}, "infAP"
    )
    estimated = 1 / 4 + 3 / 4 * (3 / 3) * (1 + 1e-5) / (2 + 2e-5)
    assert ours == pytest.approx((1 + estimated) / 2, abs=1e-12)


def test_a_grade_beyond_the_scale_is_refused() -> None:
    with pytest.raises(InputError, match=r"err\(max=5\)"):
        evaluate({"q": {"a": 1.0}}, {"q": {"a": 5}}, ["err@10"])
    with pytest.raises(InputError, match="gain=linear"):
        evaluate({"q": {"a": 1.0}}, {"q": {"a": 500}}, ["ndcg(gain=exp)@10"])
    assert mean({"q": {"a": 1.0}}, {"q": {"a": 5}}, "err(max=5)") == 31 / 32


# --- properties


def bounded(name: str) -> bool:
    return not name.startswith(UNBOUNDED)


def test_every_measure_is_tried() -> None:
    assert {parse(n).base for n in (*MEASURES, *OTHERS)} == definitions().keys()
    assert all(parse(n).name == n for n in (*MEASURES, *OTHERS))


@settings(max_examples=100, deadline=None)
@given(runs, with_pooled, st.randoms())
def test_input_order_changes_nothing(run: Rankings, qrels: Grades, random: Any) -> None:
    run = any_query(run, qrels)
    shuffled = {q: dict(random.sample(list(h.items()), len(h))) for q, h in run.items()}
    regraded = {q: dict(random.sample(list(g.items()), len(g))) for q, g in qrels.items()}
    before = evaluate(run, qrels, MEASURES, most_unjudged=1.0)
    after = evaluate(shuffled, regraded, MEASURES, most_unjudged=1.0)
    np.testing.assert_array_equal(before.values, after.values)
    np.testing.assert_array_equal(before.means, after.means)
    for measure, column in zip(before.measures, before.values.T, strict=True):
        if bounded(measure.name):
            column = column[~np.isnan(column)]
            assert ((column >= 0) & (column <= 1 + 1e-12)).all(), measure.name


@settings(max_examples=100, deadline=None)
@given(judgments)
def test_the_ideal_run_scores_one(qrels: Grades) -> None:
    ideal = {q: {d: float(g) for d, g in grades.items()} for q, grades in qrels.items()}
    result = evaluate(ideal, qrels, IDEAL)
    for query, row in zip(result.query_ids, result.values, strict=True):
        if any(g > 0 for g in qrels[query].values()):
            np.testing.assert_allclose(row, 1.0, err_msg=str(IDEAL))
        else:
            assert not row[:-1].any()


@settings(max_examples=100, deadline=None)
@given(runs, with_pooled)
def test_an_unjudged_document_below_k_changes_nothing_at_k(run: Rankings, qrels: Grades) -> None:
    longer = {q: {**h, "unjudged": min(h.values()) - 1e9} for q, h in run.items() if len(h) >= 3}
    if not longer.keys() & qrels.keys():
        return
    shorter = {q: run[q] for q in longer}
    at = [n for n in MEASURES if n.endswith("@3")]
    before = evaluate(shorter, qrels, at, most_unjudged=1.0)
    after = evaluate(longer, qrels, at, most_unjudged=1.0)
    np.testing.assert_array_equal(before.values, after.values)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_diversity_stays_within_bounds(seed: int) -> None:
    run, qrels, subtopics = subtopical(seed)
    names = parse_all(
        ["alpha_ndcg@5", "alpha_ndcg", "err_ia@5", "err_ia(alpha=0)@10", "st_recall@5", "hole@5"]
    )
    ours = score(run, qrels, names, query_ids=[f"q{i}" for i in range(6)], subtopics=subtopics)
    # The greedy ideal is not always the best ranking.
    assert ((ours.values >= 0) & (ours.values <= 1.1)).all()


# --- names


@st.composite
def measures(draw: st.DrawFn) -> Measure:
    base = draw(st.sampled_from(sorted(definitions())))
    definition = definitions()[base]
    k = None
    if definition.cutoff == "required" or (definition.cutoff == "optional" and draw(st.booleans())):
        k = draw(st.integers(1, 10_000))
    args: dict[str, Any] = {}
    for key, parameter in definition.parameters.items():
        required = parameter.default is inspect.Parameter.empty
        hint = definition.hints[key]
        kinds: dict[Any, Any] = {
            int: st.integers(1, 40),
            float: st.floats(0.001, 0.999),
            Gains: st.sampled_from(["1:3;2:9", "0:1", "2:0.5;3:-1"]),
            Levels: st.sampled_from(["0.5", "0;0.25;1"]),
            MeasureName: st.sampled_from(["ndcg@10", "map", "ndcg(gain=exp)@5", "f(beta=2)@10"]),
        }
        value = draw(kinds[hint] if hint in kinds else st.sampled_from(get_args(hint)))
        if (required or draw(st.booleans())) and value != parameter.default:
            args[key] = value
    return Measure(base, k, tuple(args.items()))


@settings(max_examples=500, deadline=None)
@given(measures())
def test_names_are_read_back(measure: Measure) -> None:
    assert parse(measure.name) == measure


@settings(max_examples=1000, deadline=None)
@given(st.text(alphabet="ndcg@10().,=;:_-PRaMAl2é\x00{}' ", max_size=30))
def test_no_name_crashes_the_parser(name: str) -> None:
    try:
        measure = parse(name)
    except InputError:
        return
    assert parse(measure.name) == measure


SPELLINGS = {
    # TREC, Anserini, DPR
    "P30": "p@30", "R@1K": "recall@1000", "J@20": "judged@20", "top_20_accuracy": "success@20",
    # trec_eval, pytrec_eval
    "ndcg_cut.10": "ndcg@10", "ndcg_cut_10": "ndcg@10", "ndcg": "ndcg", "ndcg.1=3,2=9": "ndcg(gains=1:3;2:9)",
    "map": "map", "map_cut.5": "map@5", "gm_map": "gmap", "recip_rank": "mrr", "P.5": "p@5", "P_5": "p@5",
    "recall.100": "recall@100", "recall_100": "recall@100", "relative_P.10": "r_cap@10", "success.1": "success@1",
    "Rprec": "rprec", "Rprec_mult.0.2": "rprec(mult=0.2)", "Rprec_mult_0.20": "rprec(mult=0.2)", "bpref": "bpref",
    "gm_bpref": "gm_bpref", "infAP": "infap", "iprec_at_recall_0.10": "iprec(recall=0.1)",
    "iprec_at_recall..10": "iprec(recall=0.1)", "11pt_avg": "ip_auc",
    "11pt_avg..25,.5,.75": "ip_auc(levels=0.25;0.5;0.75)",
    "set_P": "set_p", "set_recall": "set_recall", "set_relative_P": "set_relative_p", "set_map": "set_map",
    "set_F": "set_f", "set_F.0.5": "set_f(x=0.5)", "utility": "utility", "utility.2,-1,0,0": "utility(a=2)",
    "num_q": "num_q", "num_ret": "num_ret", "num_rel": "num_rel", "num_rel_ret": "num_rel_ret",
    "num_nonrel_judged_ret": "num_nonrel_judged_ret", "binG": "bin_g", "G": "g", "ndcg_rel": "ndcg_rel",
    "Rndcg": "rndcg", "rbp": "rbp(p=0.9,gain=share)", "rbp.p=0.5": "rbp(p=0.5,gain=share)",
    "rbp_resid": "rbp_resid(p=0.9)", "unj_5": "unj@5",
    # ir_measures, Anserini
    "nDCG@10": "ndcg@10", "nDCG(dcg='exp-log2')@10": "ndcg(gain=exp)@10", "NDCG@20": "ndcg@20", "AP": "map",
    "AP(rel=2)@100": "map(rel=2)@100", "AP(judged_only=False)": "map", "MAP@100": "map@100", "RR": "mrr",
    "RR@10": "mrr@10", "R@100": "recall@100", "Recall@5": "recall@5", "P(rel=2)@5": "p(rel=2)@5", "Precision@5": "p@5",
    "Bpref": "bpref", "BPref": "bpref", "ERR@20": "err@20", "RBP(p=0.8,rel=1)": "rbp(p=0.8)",
    "RBP(rel=2)": "rbp(p=0.8,rel=2)", "IPrec@0.1": "iprec(recall=0.1)", "IPrec(recall=0.1)": "iprec(recall=0.1)",
    "Judged@10": "judged@10", "SetP": "set_p", "SetR": "set_recall", "SetF": "set_f", "SetF(beta=2)": "set_f(x=2)",
    "SetAP": "set_map", "SetRelP": "set_relative_p", "SetP(relative=True)": "set_relative_p", "RPrec": "rprec",
    "NumRet": "num_ret", "NumRet(rel=2)": "num_rel_ret(rel=2)", "NumRelRet": "num_rel_ret", "NumRel": "num_rel",
    "NumQ": "num_q", "Success@5": "success@5", "alpha_nDCG@20": "alpha_ndcg@20", "α_nDCG@20": "alpha_ndcg@20",
    "ERR_IA@20": "err_ia@20", "StRecall@10": "st_recall@10",
    # ranx
    "ndcg_burges@10": "ndcg(gain=exp)@10", "hit_rate@10": "success@10", "hits@10": "hits@10", "precision@10": "p@10",
    "r_precision": "rprec", "r-precision": "rprec", "f1@10": "f@10", "rbp.95": "rbp(p=0.95,gain=grade)",
    "map@100-l2": "map(rel=2)@100", "ndcg@10-l2": "ndcg(gains=1:0)@10", "mrr-l2": "mrr(rel=2)",
    # BEIR
    "NDCG@10": "ndcg@10", "MAP@10": "map@10", "Recall@100": "recall@100", "R_cap@100": "r_cap@100",
    "Hole@10": "hole@10",
    "Accuracy@10": "success@10", "MRR@10": "mrr@10", "P@3": "p@3",
    # MTEB
    "ndcg_at_10": "ndcg@10", "hit_rate_at_5": "success@5", "R_cap_at_100": "r_cap@100", "accuracy": "recall@1",
    "precision_at_1": "p@1", "nauc_ndcg_at_10_max": "nauc(of=ndcg@10,by=max)", "p-MRR": "p_mrr",
    "nauc_mrr_at_10_diff1": "nauc(of=mrr@10,by=diff1)", "nAUC_NDCG@10_std": "nauc(of=ndcg@10,by=std)",
    # ours
    "p(rel=2)@5": "p(rel=2)@5", "ndcg(gain=linear)@10": "ndcg@10", "ndcg( gain = exp )@10": "ndcg(gain=exp)@10",
}  # fmt: skip


@pytest.mark.parametrize(("spelling", "name"), SPELLINGS.items())
def test_names(spelling: str, name: str) -> None:
    assert parse(spelling).name == name
    assert parse(name) == parse(spelling)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("Accuracy", "roc_auc for pairs"),
        ("RBP", r"RBP\(p=0.8,rel=1\)"),
        ("RBP(p=0.5)", "averages over ties"),
        ("ERR_IA@1", "not normalised"),
        ("INSQ(max_rel=3)", "not among our measures"),
        ("nERR_IA@10", "not among our measures"),
        ("relstring_20", "not among our measures"),
        ("AP(judged_only=True)", "judged_only"),
        ("utility.1,-1,0,2", "four weights"),
        ("nDGC@10", "did you mean 'ndcg@10'"),
        ("recall", "needs a cutoff"),
        ("p@0", "at least 1"),
        ("ndcg@99999999999999999999", "too large"),
        ("ndcg@-1", "can't read"),
        ("ndcg@1.5", "can't read"),
        ("bpref@10", "takes no cutoff"),
        ("map(x=1)", "unknown parameter"),
        ("p(rel=0)@5", "at least 1"),
        ("p(rel=1.5)@5", "a whole number"),
        ("p(rel)@5", "given once"),
        ("p(rel=1,rel=2)@5", "given once"),
        ("rbp(p=1)", "between 0 and 1"),
        ("rbp(p=nan)", "a number"),
        ("rbp(gain=share)", "needs p"),
        ("iprec(recall=1.5)", "from 0 to 1"),
        ("ip_auc(levels=2)", "levels of recall"),
        ("ndcg(gain=cubic)@10", "linear"),
        ("ndcg(gains=1)@10", "1:3;2:9"),
        ("nauc(of=num_ret,by=max)", "a mean over queries"),
        ("nauc(of=nauc(of=map,by=max),by=max)", "a mean over queries"),
        ("nauc(of=nonsense)", "unknown metric"),
        ("ndcg." + "111=" * 70 + "x", "can't read"),  # at once: no pattern tries all ways to split it
        ("nauc(of=" * 40, "can't read"),
    ],
)
def test_names_that_are_refused(name: str, says: str) -> None:
    with pytest.raises(InputError, match=says) as caught:
        parse(name)
    assert "\n" not in str(caught.value)


def test_lists_of_cutoffs_are_trec_evals() -> None:
    assert [m.name for m in parse_all(["P.5,10", "ndcg_cut.10,20", "p@5"])] == [
        "p@5",
        "p@10",
        "ndcg@10",
        "ndcg@20",
    ]
    assert len(parse_all(["official"])) == 29
    assert [m.name for m in parse_all(["set"])][-1] == "set_f"


def test_every_measure_has_a_definition_and_a_source() -> None:
    for name, definition in definitions().items():
        text = inspect.getdoc(definition.function) or ""
        assert "Source:" in text, name
        assert len(text.split("\n", 1)[0]) <= 120, name
        assert text.split("\n", 1)[0].rstrip()[-1] in ".,", name


def test_listing_and_description() -> None:
    listed = dict(listing())
    assert listed.keys() == {d.pattern for d in definitions().values()}
    assert {"ndcg[@k]", "p@k", "rprec", "rbp(p=...)[@k]", "map[@k]", "nauc(of=...,by=...)"} <= listed.keys()
    assert describe("ndcg@10").startswith("metric ndcg@10\n  gain=linear   of linear | exp\n")
    assert describe("rprec").startswith("metric rprec\n")
    assert describe("AP").startswith("metric map\n")
    assert "  recall=(must be given)" in describe("iprec")
    assert describe("p").startswith("metric p@k\n")
    with pytest.raises(InputError, match="unknown metric"):
        describe("nonsense")


def test_wrong_names_are_reported_together() -> None:
    with pytest.raises(InputError) as caught:
        parse_all(["nDGC@10", "recall", "p@0", "map(x=1)", "p(rel=0)@5"])
    text = "\n".join(caught.value.report.lines())
    assert "did you mean 'ndcg@10'" in text
    assert "needs a cutoff" in text
    assert caught.value.report.errors == 5


def test_the_api_stays_callable() -> None:
    """`seekbench.run` is a function; a submodule of that name would take its place once it is imported."""
    import importlib
    import pkgutil

    import seekbench

    for module in pkgutil.iter_modules(seekbench.__path__):
        assert module.name not in seekbench.__all__
        importlib.import_module(f"seekbench.{module.name}")
    assert all(callable(getattr(seekbench, name)) for name in seekbench.__all__)


def test_listing_measures_loads_no_arrow() -> None:
    """`seekbench ls metrics` is instant: numpy alone."""
    import subprocess
    import sys

    code = (
        "import sys; from seekbench.metrics.measure import definitions; definitions(); "
        "print([m for m in ('pyarrow', 'scipy', 'torch', 'pandas', 'sklearn') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"
