"""Gates on speed and size that a noisy machine does not fail.

A rate or time is divided by that of a reference system of the same run, and this ratio is compared with the same ratio
in the baseline: a machine that is twice as slow is so for both. Bytes of an index are not noisy and are compared as
they are.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from seekbench.errors import InputError, Report, did_you_mean
from seekbench.gate.compare import EQUAL, Finding, Status
from seekbench.gate.results import EFFICIENCY, Key, Result

#: What is compared without a reference.
SIZES = frozenset({"index_bytes"})


@dataclass(frozen=True)
class EfficiencyRule:
    """figures: names of `results.EFFICIENCY`. reference: the system that rates and times are divided by. max_slowdown:
    how many times slower, in these ratios, a system may get; max_growth: how many times larger its index."""

    figures: tuple[str, ...] = ()
    reference: str | None = None
    max_slowdown: float = 1.5
    max_growth: float = 1.1

    def refuse_other(self, systems: Collection[str]) -> None:
        """Raises InputError where these systems lack the reference."""
        if self.reference is not None and self.reference not in systems:
            raise InputError(
                f"the results have no system '{self.reference}'", where="--reference",
                remedy=did_you_mean(self.reference, systems),
            )  # fmt: skip

    def check(self, report: Report) -> None:
        """Adds what is wrong with it to the report."""
        unknown = [n for n in self.figures if n not in EFFICIENCY]
        timed = [n for n in self.figures if n not in SIZES and n not in unknown]
        for name in unknown:
            remedy = did_you_mean(name, EFFICIENCY)
            report.error("no-figure", f"no figure '{name}'", where="--efficiency", remedy=remedy)
        if timed and self.reference is None:
            report.error(
                "no-reference",
                f"{', '.join(timed)} is compared as a ratio to a reference system of the same run",
                where="--efficiency",
                remedy="name one with --reference",
            )
        if self.reference is not None and not timed and not unknown:
            remedy = "--efficiency queries_per_second"
            report.error("no-timing", "there is nothing to divide by it", where="--reference", remedy=remedy)


def compare(
    results: Sequence[Result], baseline: Sequence[Result], rule: EfficiencyRule, cells: Collection[Key]
) -> list[Finding]:
    """Findings of those of these cells that both sides have, the reference itself left out. results, baseline: all
    cells, since the reference may be none of those that are checked. Missing cells are found by `compare.compare`.

    Raises InputError for a reference that no result has.
    """
    if not rule.figures:
        return []
    rule.refuse_other({r.system for r in results})
    old, now = {r.cell: r for r in baseline}, {r.cell: r for r in results}
    return [
        finding
        for cell, before in old.items()
        if cell in cells and cell in now
        for finding in _cell(before, now[cell], rule, old, now)
    ]


def notes(results: Sequence[Result], rule: EfficiencyRule, fresh: Collection[Key]) -> list[str]:
    """What fails, and when speeds were measured that were not measured now. fresh: cells that were."""
    timed = [name for name in rule.figures if name not in SIZES]
    parts = []
    if timed:
        parts.append(
            f"{', '.join(timed)}: more than {rule.max_slowdown:g} times slower beside {rule.reference} fails"
        )
    if SIZES.intersection(rule.figures):
        parts.append(f"an index more than {rule.max_growth:g} times larger fails")
    stored = sorted(str(r.made.get("at")) for r in results if r.cell not in fresh)
    if timed and stored:
        when = " to ".join(dict.fromkeys((stored[0], stored[-1])))
        parts.append(
            f"speeds of {len(stored)} cell(s) are not of now, but of when they were run ({when}): check the run config "
            "to measure them again"
        )
    if "index_seconds" in timed:
        parts.append("index_seconds are of when each index was made; an empty --store makes them again")
    return parts


def _cell(
    before: Result, after: Result, rule: EfficiencyRule, old: Mapping[Key, Result], now: Mapping[Key, Result]
) -> Iterator[Finding]:
    for name in rule.figures:
        label = name if name in SIZES else f"{name} / {rule.reference}"
        found = Finding(after.dataset, after.split, after.system, label, Status.OK, lower=EFFICIENCY[name])
        if name in SIZES:
            found.before, found.after = before.efficiency[name], after.efficiency[name]
            allowed = rule.max_growth
        elif after.system == rule.reference:
            continue
        else:
            assert rule.reference is not None
            reference = (*after.cell[:2], rule.reference)
            try:
                found.before = _ratio(before, old.get(reference), name, "baseline")
                found.after = _ratio(after, now.get(reference), name, "results")
            except LookupError as error:
                found.status, found.reason = Status.MISSING, str(error.args[0])
                yield found
                continue
            allowed = rule.max_slowdown
        if found.before is None and found.after is None:
            continue  # a run file has no speed, a fusion no index
        if found.after is None:
            found.status, found.reason = Status.MISSING, "it was not measured"
        elif found.before is None:
            found.status, found.reason = Status.NEW, "not in the baseline"
        else:
            _judge(found, found.before, found.after, allowed)
        yield found


def _judge(found: Finding, before: float, after: float, allowed: float) -> None:
    if before == after:
        return
    worse, better = (after, before) if found.lower else (before, after)
    times = float("inf") if better == 0 else worse / better
    found.reason = f"{times:.2f} times, {allowed:g} allowed"
    if times > allowed * (1 + EQUAL):
        found.status = Status.FAIL
    else:
        found.status = Status.IMPROVED if times < 1 / allowed else Status.WITHIN


def _ratio(result: Result, reference: Result | None, name: str, side: str) -> float | None:
    """None where it was not measured. Raises LookupError where there is nothing to divide by."""
    own = result.efficiency[name]
    if own is None:
        return None
    base = reference.efficiency[name] if reference is not None else None
    if reference is None or not base:
        raise LookupError(f"the reference has no {name} on this dataset in the {side}")
    if result.machine != reference.machine:
        raise LookupError(f"it and the reference were measured on different machines in the {side}")
    return own / base
