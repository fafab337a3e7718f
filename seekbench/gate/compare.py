"""Compares results with a baseline: a finding for every dataset x split x system x metric.

A finding fails where the figure got worse by more than a tolerance, or significantly and by more than a minimum
effect; and where there is none any more: the cell is missing or failed, or lacks the metric. A better figure never
fails. What was measured under other conditions (`results.Result.conditions`) is refused.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from seekbench.errors import InputError, Report, did_you_mean
from seekbench.gate.results import Change, FailedCell, Floats, Key, Result, differing
from seekbench.leaderboard import records
from seekbench.metrics.measure import parse
from seekbench.statistics.corrections import CORRECTIONS
from seekbench.statistics.effect import minimum_detectable_difference, win_tie_loss
from seekbench.statistics.paired import TESTS

Test = Literal["t", "wilcoxon", "randomization"]

#: Figures that are nearer than this are equal: sums of the same terms in another order.
EQUAL = 1e-9
#: The difference that two runs of one system may have by rounding and ties, as result boards allow it.
TOLERANCE = 0.001


class Status(enum.StrEnum):
    """ok: equal. within: the difference is allowed, or not significant. new: not in the baseline."""

    OK = "ok"
    WITHIN = "within"
    IMPROVED = "improved"
    NEW = "new"
    FAIL = "fail"
    MISSING = "missing"
    FAILED = "failed"
    REFUSED = "refused"


#: What makes the gate fail.
FAILING = frozenset({Status.FAIL, Status.MISSING, Status.FAILED})


@dataclass(frozen=True)
class Rule:
    """When a difference fails. tolerance: the largest loss that is allowed; by_metric: other ones, by canonical name.
    test: if named, a metric without a tolerance of its own fails where the loss is at least min_effect and the test's
    two-sided p, corrected over all cells and metrics whose scores differ, is below alpha."""

    tolerance: float = TOLERANCE
    by_metric: Mapping[str, float] = field(default_factory=dict)
    test: Test | None = None
    alpha: float = 0.05
    min_effect: float = 0.005
    correction: Literal["none", "holm", "bonferroni", "bh"] = "holm"

    def tolerance_of(self, metric: str) -> float | None:
        """None where the test decides."""
        if metric in self.by_metric:
            return self.by_metric[metric]
        return self.tolerance if self.test is None else None


@dataclass(frozen=True)
class Lost:
    """A query that lost: its score before and after."""

    query: str
    before: float
    after: float


@dataclass
class Finding:
    """metric: canonical name, or `queries_per_second / bm25` for a ratio; '' where a whole cell is meant. before,
    after: figures of the baseline and now. tolerance: what was allowed, None where a test decided. p, adjusted: of the
    test. detectable: the smallest difference that a paired t-test of these queries finds with 80% chance. better, same,
    worse: numbers of queries. lost: those that lost most. changes: what differs in the system. reason: why it has this
    status, where the figures don't tell."""

    dataset: str
    split: str
    system: str
    metric: str
    status: Status
    before: float | None = None
    after: float | None = None
    lower: bool = False
    tolerance: float | None = None
    p: float | None = None
    adjusted: float | None = None
    detectable: float | None = None
    better: int = 0
    same: int = 0
    worse: int = 0
    lost: list[Lost] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    reason: str = ""

    @property
    def delta(self) -> float | None:
        return None if self.before is None or self.after is None else self.after - self.before

    @property
    def loss(self) -> float:
        """How much worse it is, in the metric's unit; negative if better."""
        delta = self.delta or 0.0
        return delta if self.lower else -delta

    @property
    def place(self) -> str:
        return f"{self.dataset} ({self.split}) {self.system}" + (f" {self.metric}" if self.metric else "")


@dataclass
class Verdict:
    """findings in the baseline's order, new ones last. notes: what else is to be said."""

    findings: list[Finding]
    rule: Rule
    notes: list[str] = field(default_factory=list)

    @property
    def refused(self) -> list[Finding]:
        return [f for f in self.findings if f.status is Status.REFUSED]

    @property
    def failing(self) -> list[Finding]:
        return [f for f in self.findings if f.status in FAILING]

    @property
    def exit_code(self) -> int:
        """2: something can't be compared; 1: something fails; 0."""
        return 2 if self.refused else 1 if self.failing else 0


def select(
    results: Iterable[Result],
    failures: Iterable[FailedCell],
    baseline: Iterable[Result],
    *,
    datasets: Sequence[str] = (),
    systems: Sequence[str] = (),
) -> tuple[list[Result], list[FailedCell], list[Result]]:
    """The cells of these datasets and systems; of all where none is named. Raises InputError for a name that neither
    side has."""
    results, failures, baseline = list(results), list(failures), list(baseline)
    every = [*results, *baseline]
    report = Report()
    for names, known, option in (
        (datasets, {r.dataset for r in every} | {f.cell[0] for f in failures}, "--dataset"),
        (systems, {r.system for r in every} | {f.cell[2] for f in failures}, "--system"),
    ):
        for name in names:
            if name not in known:
                report.error(
                    "unknown-cell",
                    f"neither the results nor the baseline have '{name}'",
                    where=option,
                    remedy=did_you_mean(name, known),
                )
    report.raise_if_errors()
    folders = {records.dataset_folder(d) for d in datasets}

    def kept(cell: Key) -> bool:
        return (not datasets or cell[0] in folders) and (not systems or cell[2] in systems)

    return (
        [r for r in results if kept(r.cell)],
        [f for f in failures if kept(f.cell)],
        [r for r in baseline if kept(r.cell)],
    )


def compare(
    results: Sequence[Result],
    failures: Sequence[FailedCell],
    baseline: Sequence[Result],
    rule: Rule,
    *,
    metrics: Sequence[str] = (),
    most: int = 10,
) -> Verdict:
    """metrics: canonical names; all of the baseline by default. most: how many queries that lost to name.

    Raises InputError for metrics that no cell has, that a test can't decide, and a baseline without cells.
    """
    if not baseline:
        raise InputError("the baseline has none of these cells", remedy="--update adds them")
    _check_metrics(results, baseline, rule, metrics)
    now = {r.cell: r for r in results}
    lost = {f.cell: f for f in failures}
    before = {r.cell: r for r in baseline}
    findings: list[Finding] = []
    for cell, old in before.items():
        names = [m for m in old.metrics if not metrics or m in metrics]
        if cell in lost:
            findings += [_without(old, m, Status.FAILED, lost[cell].cause) for m in names]
        elif cell not in now:
            findings += [_without(old, m, Status.MISSING, "the results lack this cell") for m in names]
        else:
            findings += _cell(old, now[cell], names, metrics, rule, most, before, now)
    for cell, new in now.items():
        if cell not in before and cell not in lost:
            chosen = [m for m in new.metrics if not metrics or m in metrics]
            findings += [_new(new, m) for m in chosen]
    for cell, failure in lost.items():
        if cell not in before:
            dataset = cell[0].replace("__", "/")
            findings.append(Finding(dataset, *cell[1:], "", Status.FAILED, reason=failure.cause))
    if rule.test is not None:
        _decide(findings, rule)
    return Verdict(findings, rule, _notes(results, baseline))


def _check_metrics(
    results: Sequence[Result], baseline: Sequence[Result], rule: Rule, metrics: Sequence[str]
) -> None:
    report = Report()
    known = {m for r in baseline for m in r.metrics}
    for option, names in (("--metric", metrics), ("--tolerance", list(rule.by_metric))):
        for name in names:
            if name not in known:
                report.error(
                    "no-metric",
                    f"the baseline has no '{name}'",
                    where=option,
                    remedy=did_you_mean(name, known),
                )
    if rule.test is not None:
        for name in sorted(known if not metrics else known & set(metrics)):
            aggregate = parse(name).definition.aggregate
            if aggregate != "mean" and name not in rule.by_metric:
                report.error(
                    "untestable",
                    f"{name} is a {aggregate} and no mean over queries, so no test can decide",
                    where="--test",
                    remedy=f"--tolerance {name}=...",
                )
    report.raise_if_errors()


def _cell(
    old: Result,
    new: Result,
    names: Sequence[str],
    metrics: Sequence[str],
    rule: Rule,
    most: int,
    before: Mapping[Key, Result],
    now: Mapping[Key, Result],
) -> list[Finding]:
    other = conditions_that_differ(old, new)
    if other:
        reason = "not comparable: " + "; ".join(map(str, other))
        return [
            Finding(
                old.dataset, old.split, old.system, m, Status.REFUSED, old.metrics[m], new.metrics.get(m),
                parse(m).definition.lower, changes=other, reason=reason,
            )
            for m in names
        ]  # fmt: skip
    changes = recipe_changes(old, new, before, now)
    out = []
    for name in names:
        if name not in new.metrics:
            out.append(_without(old, name, Status.MISSING, "the result lacks this metric", changes))
        else:
            out.append(_finding(old, new, name, rule, most, changes))
    added = [m for m in new.metrics if m not in old.metrics and (not metrics or m in metrics)]
    return [*out, *(_new(new, m) for m in added)]


def conditions_that_differ(old: Result, new: Result) -> list[Change]:
    """The hash of the whole dataset is named only where nothing more exact is."""
    found = differing(old.conditions, new.conditions)
    exact = [c for c in found if c.name != "dataset.hashes.dataset"]
    ids_differ = not found and old.query_ids and new.query_ids and set(old.query_ids) != set(new.query_ids)
    if ids_differ:
        return [Change("queries", len(old.query_ids), len(new.query_ids))]
    return exact or found


def recipe_changes(
    old: Result, new: Result, before: Mapping[Key, Result], now: Mapping[Key, Result]
) -> list[Change]:
    """What differs in a system, and of a composite in its parts as well. Where no field differs but the run was made
    from other code, `code` is named."""
    found = differing(old.recipe, new.recipe)
    for part in new.needs:
        cell = (*new.cell[:2], part)
        if cell in before and cell in now:
            inner = recipe_changes(before[cell], now[cell], before, now)
            found += [Change(f"parts.{part}.{c.name}", c.before, c.after) for c in inner if c.name != "code"]
    if not found and old.key and new.key and old.key != new.key:
        found = [Change("code", old.key, new.key)]
    return found


def _without(
    old: Result, metric: str, status: Status, reason: str, changes: Sequence[Change] = ()
) -> Finding:
    lower = parse(metric).definition.lower
    return Finding(
        old.dataset, old.split, old.system, metric, status, old.metrics[metric], None, lower,
        changes=list(changes), reason=reason,
    )  # fmt: skip


def _new(new: Result, metric: str) -> Finding:
    lower = parse(metric).definition.lower
    return Finding(
        new.dataset, new.split, new.system, metric, Status.NEW, None, new.metrics[metric], lower,
        reason="not in the baseline",
    )  # fmt: skip


def _finding(
    old: Result, new: Result, metric: str, rule: Rule, most: int, changes: Sequence[Change]
) -> Finding:
    measure = parse(metric)
    found = Finding(
        old.dataset, old.split, old.system, metric, Status.OK, old.metrics[metric], new.metrics[metric],
        measure.definition.lower, changes=list(changes),
    )  # fmt: skip
    pair = _aligned(old, new, metric)
    if pair is not None:
        a, b = pair
        first, second = (a, b) if found.lower else (b, a)
        found.better, found.same, found.worse = win_tie_loss(first, second, tolerance=1e-12)
        found.lost = _most_lost(old.query_ids, a, b, found.lower, most)
    if found.before is None and found.after is None:
        return found
    if found.after is None:
        found.status, found.reason = Status.MISSING, "the metric is not defined any more"
        return found
    if found.before is None:
        found.status, found.reason = Status.NEW, "the metric was not defined in the baseline"
        return found
    found.tolerance = rule.tolerance_of(metric)
    if found.tolerance is None:
        assert rule.test is not None
        assert pair is not None  # `_check_metrics` refuses metrics without scores per query
        found.p = TESTS[rule.test](pair[1], pair[0]).p
        detectable = minimum_detectable_difference(pair[1] - pair[0], alpha=rule.alpha)
        # Of equal scores it is 0, which says nothing of the queries.
        found.detectable = detectable if detectable and math.isfinite(detectable) else None
        return found  # all p-values are corrected together
    found.status = by_tolerance(found.loss, found.tolerance)
    return found


def by_tolerance(loss: float, tolerance: float) -> Status:
    """A loss of exactly the tolerance is allowed, whatever its last bits say."""
    if abs(loss) <= EQUAL:
        return Status.OK
    if loss > tolerance + EQUAL:
        return Status.FAIL
    return Status.IMPROVED if -loss > tolerance + EQUAL else Status.WITHIN


def _aligned(old: Result, new: Result, metric: str) -> tuple[Floats, Floats] | None:
    """Both scores per query, in the baseline's order of queries; None where the metric has none."""
    if metric not in old.scores or metric not in new.scores:
        return None
    a, b = old.scores[metric], new.scores[metric]
    if old.query_ids != new.query_ids:
        row = {query: i for i, query in enumerate(new.query_ids)}
        b = b[[row[query] for query in old.query_ids]]
    return a, b


def _most_lost(ids: Sequence[str], before: Floats, after: Floats, lower: bool, most: int) -> list[Lost]:
    loss = np.nan_to_num((after - before) if lower else (before - after))
    order = [i for i in np.argsort(-loss, kind="stable")[:most].tolist() if loss[i] > 1e-12]
    return [Lost(ids[i], float(before[i]), float(after[i])) for i in order]


def _decide(findings: Sequence[Finding], rule: Rule) -> None:
    """Sets the status of what a test decides. Scores that are equal query by query are left out of the correction: no
    signs of their differences could be significant, so they can't give a false alarm (Tarone 1990)."""
    tested = [f for f in findings if f.p is not None]
    counted = [f for f in tested if f.better or f.worse]
    adjusted = CORRECTIONS[rule.correction]([f.p for f in counted if f.p is not None])
    for found in tested:
        found.adjusted = found.p
    for found, p in zip(counted, adjusted, strict=True):
        found.adjusted = p
    for found in tested:
        p = found.adjusted if found.adjusted is not None else 1.0
        if abs(found.loss) <= EQUAL:
            found.status = Status.OK
        elif p < rule.alpha and abs(found.loss) >= rule.min_effect - EQUAL:
            found.status = Status.FAIL if found.loss > 0 else Status.IMPROVED
        else:
            found.status = Status.WITHIN


def _notes(results: Sequence[Result], baseline: Sequence[Result]) -> list[str]:
    limited = sorted({r.dataset for r in [*results, *baseline] if r.limited})
    return [f"only a part of {', '.join(limited)} was run (limited)"] if limited else []


def grouped(findings: Iterable[Finding]) -> dict[Any, list[Finding]]:
    """Findings by (dataset, split, system), in their order."""
    out: dict[Any, list[Finding]] = {}
    for f in findings:
        out.setdefault((f.dataset, f.split, f.system), []).append(f)
    return out
