"""The verdict as tables for the terminal, Markdown, CSV and JSON."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

from seekbench.gate.compare import FAILING, Finding, Status, Verdict, grouped
from seekbench.gate.texts import Texts
from seekbench.tables import Grid, Text, as_markdown

SCHEMA_VERSION = 1
#: GitHub refuses comments of more characters.
MOST_MARKDOWN = 65_536
_MENTION = re.compile(r"(?<!\w)@(?=\w)")

_SAID = {
    Status.OK: "OK",
    Status.IMPROVED: "improved",
    Status.NEW: "new",
    Status.FAIL: "FAIL",
    Status.MISSING: "MISSING",
    Status.FAILED: "FAILED",
    Status.REFUSED: "REFUSED",
}
_TESTS = {
    "t": "paired t-test",
    "wilcoxon": "Wilcoxon's signed-rank test",
    "randomization": "randomisation test",
}


def said(finding: Finding) -> str:
    """The status as it is shown."""
    if finding.status is Status.WITHIN:
        return "within tolerance" if finding.p is None else "not significant"
    return _SAID[finding.status]


def headline(verdict: Verdict) -> str:
    """`FAIL: 8 figures: 3 worse, 1 improved, 4 equal`"""
    counts = Counter(f.status for f in verdict.findings)
    parts = [f"{counts[s]} {word}" for s, word in _COUNTED if counts[s]]
    title = {0: "PASS", 1: "FAIL", 2: "REFUSED"}[verdict.exit_code]
    return f"{title}: {len(verdict.findings)} figures: {', '.join(parts)}"


_COUNTED = [
    (Status.REFUSED, "not comparable"),
    (Status.FAIL, "worse"),
    (Status.MISSING, "missing"),
    (Status.FAILED, "failed"),
    (Status.IMPROVED, "improved"),
    (Status.NEW, "new"),
    (Status.WITHIN, "within the limit"),
    (Status.OK, "equal"),
]


def rule_note(verdict: Verdict) -> str:
    """How it was decided, in one line."""
    rule, parts = verdict.rule, []
    if rule.test is None:
        parts.append(f"a loss of more than {rule.tolerance:g} fails")
    else:
        corrected = "uncorrected" if rule.correction == "none" else f"{rule.correction}-corrected"
        parts.append(
            f"a loss of at least {rule.min_effect:g} with p < {rule.alpha:g} fails "
            f"({_TESTS[rule.test]}, two-sided, {corrected})"
        )
    parts += [f"{name}: more than {value:g}" for name, value in rule.by_metric.items()]
    return "; ".join(parts)


def notes(verdict: Verdict, *, refused: bool = True) -> list[str]:
    """refused: whether to say why cells are refused."""
    return [rule_note(verdict), *change_lines(verdict), *verdict.notes, *reasons(verdict, refused)]


def change_lines(verdict: Verdict) -> list[str]:
    """What differs in the systems, each change once with the datasets it holds for."""
    places: dict[tuple[str, str], list[str]] = {}
    for (dataset, split, system), findings in grouped(verdict.findings).items():
        if findings[0].status is Status.REFUSED:
            continue  # said as the reason
        for line in dict.fromkeys(str(c) for f in findings for c in f.changes):
            places.setdefault((system, line), []).append(f"{dataset} ({split})")
    return [f"changed: {system}: {line} [{', '.join(at)}]" for (system, line), at in places.items()]


def reasons(verdict: Verdict, refused: bool) -> list[str]:
    """Why cells are missing, failed or refused, or too slow or large; each reason once, with the cells it holds for."""
    without = {Status.FAIL, Status.MISSING, Status.FAILED} | ({Status.REFUSED} if refused else set())
    lines: dict[str, dict[str, list[str]]] = {}
    for (dataset, split, system), findings in grouped(verdict.findings).items():
        for f in findings:
            if f.status in without and f.reason:
                cells = lines.setdefault(f"{said(f)}: {f.reason}", {})
                cells.setdefault(f"{dataset} ({split}) {system}", []).append(f.metric)
    every = {f"{d} ({s}) {n}": [f.metric for f in fs] for (d, s, n), fs in grouped(verdict.findings).items()}
    out = []
    for reason, cells in lines.items():
        places = [c if m == every[c] else f"{c} {', '.join(m)}" for c, m in cells.items()]
        out.append(f"{reason} [{'; '.join(places)}]")
    return out


def grid(findings: Sequence[Finding], *, title: str = "", lines: Sequence[str] = ()) -> Grid:
    """A row a finding; those that fail in bold."""
    tested = any(f.p is not None for f in findings)
    columns = ["dataset", "system", "metric", "baseline", "now", "Δ"]
    columns += ["p (corrected)", "detectable"] if tested else []
    columns += ["better/same/worse", "verdict"]
    rows = []
    for f in findings:
        bad = f.status in FAILING or f.status is Status.REFUSED
        row: list[Text | str] = [
            f"{f.dataset}" if f.split == "test" else f"{f.dataset} ({f.split})",
            f.system,
        ]
        row += [f.metric, figure(f.before), figure(f.after), figure(f.delta, sign=True)]
        row += [_p(f.adjusted), figure(f.detectable)] if tested else []
        counted = f.better or f.same or f.worse
        row += [f"{f.better}/{f.same}/{f.worse}" if counted else "", Text(said(f), bad)]
        rows.append(row)
    left = frozenset({0, 1, 2, len(columns) - 1})
    return Grid(columns, rows, title=title, notes=lines, left=left)


def csv_grid(verdict: Verdict) -> Grid:
    """Every finding with full figures."""
    columns = [
        "dataset", "split", "system", "metric", "status", "baseline", "now", "delta", "tolerance", "p", "p_adjusted",
        "detectable", "better", "same", "worse", "reason", "changes",
    ]  # fmt: skip
    rows = []
    for f in verdict.findings:
        values = [
            f.dataset, f.split, f.system, f.metric, f.status.value, f.before, f.after, f.delta, f.tolerance, f.p,
            f.adjusted, f.detectable, f.better, f.same, f.worse, f.reason, "; ".join(map(str, f.changes)),
        ]  # fmt: skip
        rows.append([Text("", value=v) for v in values])
    return Grid(columns, rows)


def lost_grid(finding: Finding, texts: Texts) -> Grid:
    """The queries that lost most."""
    known = texts.get((finding.dataset, finding.split), {})
    columns = ["query", "before", "after", "Δ"]
    rows: list[list[Text | str]] = [
        [q.query, figure(q.before), figure(q.after), figure(q.after - q.before, sign=True)]
        for q in finding.lost
    ]
    if known:
        columns.append("text")
        rows = [[*row, cut(known.get(q.query, ""))] for row, q in zip(rows, finding.lost, strict=True)]
    more = finding.worse - len(finding.lost)
    return Grid(
        columns,
        rows,
        title=f"{finding.place}: the queries that lost most",
        notes=[f"and {more} more"] if more > 0 else [],
        left=frozenset({0, 4}),
    )


def lost_grids(verdict: Verdict, texts: Texts, *, each: bool = True) -> list[Grid]:
    """each: for every metric that fails, and not only for the first of a cell."""
    bad = [f for f in verdict.findings if f.status is Status.FAIL and f.lost]
    chosen = bad if each else [findings[0] for findings in grouped(bad).values()]
    return [lost_grid(f, texts) for f in chosen]


def markdown(verdict: Verdict, texts: Texts, most: int = MOST_MARKDOWN) -> str:
    """For a comment on a pull request: what fails stands open, the rest is folded. Parts that would make it longer than
    `most` characters are left out, the least telling first, and that is said."""
    bad = [f for f in verdict.findings if f.status in FAILING or f.status is Status.REFUSED]
    rest = [f for f in verdict.findings if f not in bad]
    head = f"### seekbench check: {headline(verdict)}\n"
    said_ = [as_markdown(grid(bad))] if bad else []
    said_ += ["\n".join(f"- {escaped(line)}" for line in notes(verdict)) + "\n"]
    folded = [_folded(g.title, as_markdown(Grid(g.columns, g.rows, notes=g.notes, left=g.left)))
              for g in lost_grids(verdict, texts)]  # fmt: skip
    others = [_folded(f"{len(rest)} that pass", as_markdown(grid(rest)))] if rest else []
    out, cut_off = head, False
    for part in [*said_, *folded, *others]:
        if len(out) + len(part) + 200 > most:
            cut_off = True
            continue
        out += "\n" + part
    # A query's `@name` would call that person.
    out = _MENTION.sub("@\u200b", out)
    return out + ("\nThis is shortened: the report has the rest.\n" if cut_off else "")


def _folded(title: str, body: str) -> str:
    return f"<details><summary>{escaped(title)}</summary>\n\n{body}\n</details>\n"


def escaped(text: str) -> str:
    """Text in Markdown that allows HTML."""
    for mark, instead in (
        ("&", "&amp;"),
        ("<", "&lt;"),
        (">", "&gt;"),
        ("`", "\\`"),
        ("*", "\\*"),
        ("_", "\\_"),
    ):
        text = text.replace(mark, instead)
    return text


def as_json(verdict: Verdict, texts: Texts) -> dict[str, Any]:
    rule = verdict.rule
    return {
        "schema_version": SCHEMA_VERSION,
        "verdict": {0: "pass", 1: "fail", 2: "refused"}[verdict.exit_code],
        "exit_code": verdict.exit_code,
        "rule": {
            "tolerance": rule.tolerance if rule.test is None else None,
            "tolerances": dict(rule.by_metric),
            "test": rule.test,
            "alpha": rule.alpha if rule.test else None,
            "min_effect": rule.min_effect if rule.test else None,
            "correction": rule.correction if rule.test else None,
        },
        "counts": {s.value: sum(f.status is s for f in verdict.findings) for s in Status},
        "cells": [_finding_json(f, texts) for f in verdict.findings],
        "notes": verdict.notes,
    }


def _finding_json(f: Finding, texts: Texts) -> dict[str, Any]:
    known = texts.get((f.dataset, f.split), {})
    return {
        "dataset": f.dataset,
        "split": f.split,
        "system": f.system,
        "metric": f.metric,
        "status": f.status.value,
        "baseline": f.before,
        "now": f.after,
        "delta": f.delta,
        "lower_is_better": f.lower,
        "tolerance": f.tolerance,
        "p": f.p,
        "p_adjusted": f.adjusted,
        "detectable": f.detectable,
        "queries": {"better": f.better, "same": f.same, "worse": f.worse},
        "lost": [
            {"query": q.query, "before": q.before, "after": q.after, "text": known.get(q.query)}
            for q in f.lost
        ],
        "changes": [{"field": c.name, "baseline": c.before, "now": c.after} for c in f.changes],
        "reason": f.reason,
    }


def figure(value: float | None, *, sign: bool = False) -> str:
    if value is None:
        return "–"
    if abs(value) >= 10_000:
        return f"{value:+,.0f}" if sign else f"{value:,.0f}"
    # A difference that is shown must not look like none.
    digits = 4 if value == 0 or abs(value) >= 0.00005 else 7
    return f"{value:+.{digits}f}" if sign else f"{value:.{digits}f}"


def _p(value: float | None) -> str:
    return "" if value is None else "<0.0001" if value < 0.0001 else f"{value:.4f}"


def cut(text: str, most: int = 100) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def line_of(f: Finding) -> str:
    figures = "" if f.before is None and f.after is None else f" {figure(f.before)} -> {figure(f.after)}"
    change = "" if f.delta is None else f" ({figure(f.delta, sign=True)})"
    why = f": {f.reason}" if f.reason else ""
    counts = f", {f.worse} queries worse, {f.better} better" if f.worse or f.better else ""
    return f"{said(f)}{figures}{change}{counts}{why}"
