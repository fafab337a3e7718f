"""The gate's comparison: what always holds, and each status by a case of its own."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.stats import ttest_rel

from seekbench.errors import InputError, Report
from seekbench.gate import baseline as baselines
from seekbench.gate import efficiency
from seekbench.gate.compare import FAILING, Rule, Status, Verdict, by_tolerance, compare, select
from seekbench.gate.efficiency import EfficiencyRule
from seekbench.gate.results import EFFICIENCY, Change, FailedCell, Result
from seekbench.metrics.measure import parse

BOTH = [Rule(), Rule(test="t", min_effect=0.0, correction="none")]
#: a measure of which a lower figure is better
LOWER = "unj@10"


def result(
    scores: dict[str, list[float]] | None = None, system: str = "bm25", dataset: str = "d/x", **more: Any
) -> Result:
    values = {m: np.array(v) for m, v in (scores or {"ndcg@10": [0.5, 0.25, 1.0]}).items()}
    count = len(next(iter(values.values())))
    facts: dict[str, Any] = {
        "conditions": {"dataset.hashes.dataset": "a" * 64, "dataset.hashes.corpus": "b" * 64, "k": 10},
        "recipe": {"type": "bm25", "params.k1": 0.9},
        "needs": (),
        "key": "key",
        "metrics": {m: parse(m).aggregate(v) for m, v in values.items()},
        "query_ids": tuple(f"q{i}" for i in range(count)),
        "efficiency": dict.fromkeys(EFFICIENCY, 2.0),
        "machine": {"cpu": "x"},
        "made": {"at": None, "python": "3", "seekbench": "0"},
        "where": "here",
        **more,
    }
    return Result(dataset=dataset, split="test", system=system, scores=values, **facts)


def statuses(verdict: Verdict) -> list[str]:
    return [f.status.value for f in verdict.findings]


unit = st.floats(0, 1, allow_nan=False).map(lambda v: round(v, 6))
score_lists = st.lists(unit, min_size=1, max_size=12)
rules = st.builds(
    Rule,
    tolerance=st.floats(0, 0.1),
    test=st.sampled_from([None, "t", "wilcoxon", "randomization"]),
    alpha=st.floats(0.001, 0.5),
    min_effect=st.floats(0, 0.1),
    correction=st.sampled_from(["none", "holm", "bonferroni", "bh"]),
)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=60)
@given(score_lists, rules)
def test_a_result_passes_against_itself(values: list[float], rule: Rule) -> None:
    one = result({"ndcg@10": values, "map": values})
    verdict = compare([one], [], [one], rule)
    assert set(statuses(verdict)) == {"ok"}
    assert verdict.exit_code == 0
    assert all(not f.lost and not f.changes for f in verdict.findings)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(unit, unit), min_size=1, max_size=12), rules, st.booleans())
def test_what_is_nowhere_worse_never_fails(pairs: list[tuple[float, float]], rule: Rule, lower: bool) -> None:
    metric = LOWER if lower else "ndcg@10"
    better, worse = [max(p) for p in pairs], [min(p) for p in pairs]
    old, new = (better, worse) if lower else (worse, better)
    verdict = compare([result({metric: new})], [], [result({metric: old})], rule)
    (found,) = verdict.findings
    assert found.status in (Status.OK, Status.WITHIN, Status.IMPROVED)
    assert found.worse == 0
    assert not found.lost


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(unit, unit), min_size=1, max_size=12), rules)
def test_swapped_sides_have_opposite_verdicts(pairs: list[tuple[float, float]], rule: Rule) -> None:
    a, b = result({"map": [p[0] for p in pairs]}), result({"map": [p[1] for p in pairs]})
    (one,), (other,) = (compare([x], [], [y], rule).findings for x, y in ((a, b), (b, a)))
    opposite = {Status.FAIL: Status.IMPROVED, Status.IMPROVED: Status.FAIL}
    assert other.status is opposite.get(one.status, one.status)
    assert (one.better, one.same, one.worse) == (other.worse, other.same, other.better)


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    scores=st.lists(st.floats(0, 1) | st.just(float("nan")), min_size=1, max_size=8),
    ids=st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), min_size=8, max_size=8, unique=True),
    change=st.none() | st.floats(0, 1),
)  # fmt: skip
def test_a_stored_baseline_reads_back_equal(
    tmp_path: Path, scores: list[float], ids: list[str], change: float | None
) -> None:
    """Whatever stands in the ids (commas, quotes, line breaks) and to the last bit of a score."""
    folder = tmp_path / "base"
    mean = parse("map").aggregate(np.array(scores))
    told = {"map": None if np.isnan(mean) else mean}
    one = result({"map": scores}, query_ids=tuple(ids[: len(scores)]), metrics=told)
    baselines.write(folder, [one])
    (back,) = baselines.read(folder)
    assert baselines.changes([back], [one], efficiency=True) == []
    assert sorted(back.query_ids) == sorted(one.query_ids)
    assert set(statuses(compare([one], [], [back], Rule(tolerance=0.0)))) == {"ok"}
    if change is not None and not np.isnan(scores[0]) and change != scores[0]:
        changed = [change, *scores[1:]]
        mean = parse("map").aggregate(np.array(changed))
        other = dataclasses.replace(result({"map": changed}, query_ids=one.query_ids), metrics={"map": mean})
        (found,) = baselines.changes([back], [other])
        assert (found.kind, found.queries) == ("changed", 1)


@pytest.mark.parametrize(
    ("loss", "status"),
    [
        (0.0, Status.OK), (1e-12, Status.OK), (0.0005, Status.WITHIN), (0.5 - 0.499, Status.WITHIN),
        (0.0011, Status.FAIL), (-0.0005, Status.WITHIN), (-0.0011, Status.IMPROVED),
    ],
)  # fmt: skip
def test_by_tolerance(loss: float, status: Status) -> None:
    assert by_tolerance(loss, 0.001) is status


def test_the_queries_that_lost_most_are_named() -> None:
    old = result({"map": [0.9, 0.5, 0.4, 0.1]})
    new = result({"map": [0.1, 0.5, 0.2, 0.3]})
    (found,) = compare([new], [], [old], Rule(), most=1).findings
    assert found.status is Status.FAIL
    assert [(q.query, q.before, q.after) for q in found.lost] == [("q0", 0.9, 0.1)]
    assert (found.better, found.same, found.worse) == (1, 1, 2)


def test_queries_are_paired_by_id() -> None:
    old = result({"map": [0.9, 0.5, 0.4]})
    new = result({"map": [0.4, 0.5, 0.9]}, query_ids=("q2", "q1", "q0"))
    (found,) = compare([new], [], [old], Rule()).findings
    assert (found.better, found.same, found.worse) == (0, 3, 0)


def test_lower_is_better() -> None:
    metric = LOWER
    assert parse(metric).definition.lower
    (worse,) = compare([result({metric: [3.0, 2.0]})], [], [result({metric: [1.0, 2.0]})], Rule()).findings
    assert (worse.status, worse.lower, worse.delta) == (Status.FAIL, True, 1.0)
    assert [q.query for q in worse.lost] == ["q0"]
    (better,) = compare([result({metric: [1.0, 2.0]})], [], [result({metric: [3.0, 2.0]})], Rule()).findings
    assert better.status is Status.IMPROVED


def test_a_tolerance_of_one_metric() -> None:
    old, new = result({"map": [0.5], "p@1": [0.5]}), result({"map": [0.49], "p@1": [0.49]})
    verdict = compare([new], [], [old], Rule(by_metric={"map": 0.02}))
    assert statuses(verdict) == ["within", "fail"]


def test_the_test_decides_with_its_minimum_effect() -> None:
    """The p-value is scipy's; Holm doubles the smaller of two."""
    before, after = [0.5, 0.6, 0.7, 0.8, 0.9], [0.45, 0.54, 0.66, 0.74, 0.86]
    old = result({"map": before, "p@1": before})
    new = result({"map": after, "p@1": [*before[:4], 0.1]})
    p = ttest_rel(after, before).pvalue
    verdict = compare([new], [], [old], Rule(test="t", min_effect=0.04))
    assert statuses(verdict) == ["fail", "within"], "-.16 of one query in five is not significant"
    assert verdict.findings[0].p == pytest.approx(p)
    assert verdict.findings[0].adjusted == pytest.approx(2 * p)
    assert statuses(compare([new], [], [old], Rule(test="t", min_effect=0.06))) == ["within", "within"]
    by = Rule(test="t", min_effect=0.06, by_metric={"p@1": 0.1})
    assert statuses(compare([new], [], [old], by)) == ["within", "fail"]


def test_equal_scores_cost_a_test_no_power() -> None:
    old, new = result({"map": [0.5, 0.6, 0.7, 0.8]}), result({"map": [0.4, 0.49, 0.61, 0.7]})
    same = [result({"map": [0.1, 0.2]}, system=f"s{i}") for i in range(30)]
    verdict = compare([new, *same], [], [old, *same], Rule(test="t"))
    assert verdict.findings[0].adjusted == verdict.findings[0].p
    assert statuses(verdict) == ["fail", *["ok"] * 30]


@pytest.mark.parametrize("rule", BOTH)
def test_what_is_not_there_fails(rule: Rule) -> None:
    old = [result(), result(system="dense"), result({"map": [0.1], "p@1": [0.1]}, system="sparse")]
    new = [result(), result({"map": [0.1]}, system="sparse")]
    verdict = compare(new, [FailedCell(("d__x", "test", "dense"), "no memory")], old, rule)
    assert statuses(verdict) == ["ok", "failed", "ok", "missing"]
    assert verdict.findings[1].reason == "no memory"
    assert verdict.exit_code == 1
    assert statuses(compare([], [], old[:1], rule)) == ["missing"]


def test_a_failure_counts_even_beside_an_older_result_and_outside_the_baseline() -> None:
    failed = FailedCell(("d__x", "test", "bm25"), "no memory")
    assert statuses(compare([result()], [failed], [result()], Rule())) == ["failed"]
    other = FailedCell(("d__x", "test", "other"), "no memory")
    verdict = compare([result()], [other], [result()], Rule())
    assert statuses(verdict) == ["ok", "failed"]
    assert verdict.exit_code == 1


def test_what_is_undefined() -> None:
    nothing = result({"map": [float("nan")]}, metrics={"map": None})
    some = result({"map": [0.5]})
    assert statuses(compare([nothing], [], [nothing], Rule())) == ["ok"]
    assert statuses(compare([nothing], [], [some], Rule())) == ["missing"]
    assert statuses(compare([some], [], [nothing], Rule())) == ["new"]


def test_new_cells_and_metrics_pass() -> None:
    new = [result({"ndcg@10": [0.5, 0.25, 1.0], "map": [0.1, 0.2, 0.3]}), result(system="dense")]
    verdict = compare(new, [], [result()], Rule())
    assert statuses(verdict) == ["ok", "new", "new"]
    assert verdict.exit_code == 0


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("dataset.hashes.corpus", "c" * 64),
        ("k", 100),
        ("dataset.template", "{text}"),
        ("policies.ranking", "x"),
    ],
)
def test_other_conditions_are_refused_and_named(field: str, value: Any) -> None:
    old = result()
    new = result(conditions={**old.conditions, "dataset.hashes.dataset": "d" * 64, field: value})
    verdict = compare([new], [], [old], Rule())
    (found,) = verdict.findings
    assert (found.status, verdict.exit_code) == (Status.REFUSED, 2)
    assert [c.name for c in found.changes] == [field], "the hash of the whole is implied"
    assert field in found.reason


def test_other_queries_under_equal_conditions_are_refused() -> None:
    new = result(query_ids=("q0", "q1", "q9"))
    assert statuses(compare([new], [], [result()], Rule())) == ["refused"]


def test_another_recipe_is_compared_and_named() -> None:
    new = result(recipe={"type": "bm25", "params.k1": 1.2}, key="other")
    (found,) = compare([new], [], [result()], Rule()).findings
    assert found.status is Status.OK
    assert found.changes == [Change("params.k1", 0.9, 1.2)]
    (found,) = compare([result(key="other")], [], [result()], Rule()).findings
    assert found.changes == [Change("code", "key", "other")]


def test_a_changed_part_is_named_at_the_composite() -> None:
    recipe = {"type": "fusion"}
    old = [result(), result(system="hybrid", recipe=recipe, needs=("bm25",))]
    changed = result(recipe={"type": "bm25", "params.k1": 1.2}, key="other")
    new = [changed, result(system="hybrid", recipe=recipe, needs=("bm25",), key="other")]
    found = compare(new, [], old, Rule()).findings[1]
    assert found.changes == [Change("parts.bm25.params.k1", 0.9, 1.2)]


def test_wrong_names() -> None:
    with pytest.raises(InputError, match="did you mean 'bm25'"):
        select([result()], [], [], systems=["bm52"])
    with pytest.raises(InputError, match="the baseline has no 'map'"):
        compare([result()], [], [result()], Rule(), metrics=["map"])
    with pytest.raises(InputError, match=r"no 'p@1'"):
        compare([result()], [], [result()], Rule(by_metric={"p@1": 0.1}))
    with pytest.raises(InputError, match="none of these cells"):
        compare([result()], [], [], Rule())


def test_a_sum_is_not_tested() -> None:
    one = result({"num_rel_ret": [1.0, 2.0]})
    assert one.metrics["num_rel_ret"] == 3
    with pytest.raises(InputError, match="num_rel_ret is a sum and no mean over queries"):
        compare([one], [], [one], Rule(test="t"))
    assert statuses(compare([one], [], [one], Rule(test="t", by_metric={"num_rel_ret": 0.0}))) == ["ok"]


def test_selected_cells() -> None:
    cells = [result(), result(system="dense"), result(dataset="other")]
    found, _, expected = select(cells, [], cells, datasets=["d/x"], systems=["bm25"])
    assert [r.cell for r in found] == [r.cell for r in expected] == [("d__x", "test", "bm25")]


# --- efficiency ---------------------------------------------------------------------------------------------


def speeds(rate: float, *, size: float = 100.0, **more: Any) -> Result:
    figures = {"queries_per_second": rate, "latency_p50_ms": 1 / rate, "latency_p95_ms": 2 / rate,
               "index_seconds": 1.0, "index_bytes": size}  # fmt: skip
    return result(efficiency=figures, **more)


def judged(old: list[Result], new: list[Result], rule: EfficiencyRule) -> list[Any]:
    found = efficiency.compare(new, old, rule, {r.cell for r in old})
    return [(f.system, f.metric, f.status.value) for f in found]


RATE = EfficiencyRule(("queries_per_second",), "bm25", 1.5)


@given(st.floats(0.001, 1000))
def test_a_slower_machine_does_not_fail(times: float) -> None:
    old = [speeds(1000), speeds(100, system="dense")]
    new = [speeds(1000 * times), speeds(100 * times, system="dense")]
    for name in ("queries_per_second", "latency_p50_ms", "latency_p95_ms"):
        ((_, _, status),) = judged(old, new, EfficiencyRule((name,), "bm25"))
        assert Status(status) not in FAILING


@pytest.mark.parametrize("name", ["queries_per_second", "latency_p95_ms"])
def test_a_system_that_got_slower_beside_the_reference_fails(name: str) -> None:
    old = [speeds(1000), speeds(100, system="dense")]
    rule = EfficiencyRule((name,), "bm25", 1.5)
    label = f"{name} / bm25"
    assert judged(old, [speeds(1000), speeds(60, system="dense")], rule) == [("dense", label, "fail")]
    assert judged(old, [speeds(1000), speeds(70, system="dense")], rule) == [("dense", label, "within")]
    assert judged(old, [speeds(1000), speeds(900, system="dense")], rule) == [("dense", label, "improved")]


def test_bytes_are_compared_as_they_are() -> None:
    rule = EfficiencyRule(("index_bytes",), max_growth=1.1)
    assert judged([speeds(1)], [speeds(1, size=111)], rule) == [("bm25", "index_bytes", "fail")]
    assert judged([speeds(1)], [speeds(1, size=109)], rule) == [("bm25", "index_bytes", "within")]
    assert judged([speeds(1)], [speeds(1, size=50)], rule) == [("bm25", "index_bytes", "improved")]


def test_a_ratio_that_says_nothing_fails() -> None:
    old = [speeds(1000), speeds(100, system="dense")]
    elsewhere = [speeds(1000, machine={"cpu": "other"}), speeds(100, system="dense")]
    (found,) = efficiency.compare(elsewhere, old, RATE, {r.cell for r in old})
    assert (found.status, "different machines in the results" in found.reason) == (Status.MISSING, True)
    alone = [*elsewhere[1:], speeds(1, dataset="another")]
    (found,) = efficiency.compare(alone, old, RATE, {r.cell for r in old})
    assert (found.status, "no queries_per_second" in found.reason) == (Status.MISSING, True)
    unmeasured = dict.fromkeys(EFFICIENCY)
    gone = [speeds(1000), result(system="dense", efficiency=unmeasured)]
    assert judged(old, gone, RATE) == [("dense", "queries_per_second / bm25", "missing")]
    assert judged(gone, gone, RATE) == []


def test_wrong_efficiency_options() -> None:
    for rule, said in [
        (EfficiencyRule(("qps",)), "no figure 'qps'"),
        (EfficiencyRule(("queries_per_second",)), "name one with --reference"),
        (EfficiencyRule((), "bm25"), "nothing to divide"),
    ]:
        report = Report()
        rule.check(report)
        assert said in str(report.problems[0])
    with pytest.raises(InputError, match="no system 'bm52'"):
        efficiency.compare([speeds(1)], [speeds(1)], EfficiencyRule(("index_seconds",), "bm52"), set())


# --- the stored baseline ------------------------------------------------------------------------------------


def test_equal_results_are_stored_as_equal_bytes(tmp_path: Path) -> None:
    cells = [result(), result(system="dense")]
    baselines.write(tmp_path / "a", cells)
    baselines.write(tmp_path / "b", cells[::-1])
    files = sorted(p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*") if p.is_file())
    assert [str(f) for f in files] == ["baseline.json", "d__x/test/bm25.csv", "d__x/test/dense.csv"]
    assert all((tmp_path / "a" / f).read_bytes() == (tmp_path / "b" / f).read_bytes() for f in files)


def test_files_of_removed_cells_go(tmp_path: Path) -> None:
    baselines.write(tmp_path, [result(), result(dataset="gone")])
    baselines.write(tmp_path, [result()])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["baseline.json", "d__x"]


def test_damaged_baselines_are_refused(tmp_path: Path) -> None:
    baselines.write(tmp_path, [result(), result(system="dense")])
    for name in ("bm25", "dense"):
        file = tmp_path / "d__x" / "test" / f"{name}.csv"
        file.write_text(file.read_text().replace("0.25", "0.26"))
    with pytest.raises(InputError) as caught:
        baselines.read(tmp_path)
    assert caught.value.report.errors == 2, "all of them at once"
    assert "not made together" in str(caught.value)
    file.write_text("query_id,ndcg@10\nq0,x\nq1\n")
    with pytest.raises(InputError, match=r"dense.csv:2: .*numbers"):
        baselines.read(tmp_path)
    file.unlink()
    with pytest.raises(InputError, match="are gone"):
        baselines.read(tmp_path)
    for text, said in [
        ("{", "no valid JSON"), ("[]", "no seekbench baseline"), ('{"schema_version": 99, "cells": []}', "newer"),
        ('{"schema_version": 1, "cells": [{}]}', "cell 1 lacks"),
    ]:  # fmt: skip
        (tmp_path / "baseline.json").write_text(text)
        with pytest.raises(InputError, match=said):
            baselines.read(tmp_path)


def test_a_folder_of_baselines_names_them(tmp_path: Path) -> None:
    baselines.write(tmp_path / "one", [result()])
    with pytest.raises(InputError, match=r"several baselines here .name one: .*one"):
        baselines.load(tmp_path)
    with pytest.raises(InputError, match="no such baseline"):
        baselines.load(tmp_path / "none")
