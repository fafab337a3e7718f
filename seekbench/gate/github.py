"""Workflow commands and the step summary of GitHub Actions.

Facts from GitHub's documentation of workflow commands: `::error title=...::message`, in which % and line breaks are
escaped, and in properties `:` and `,` as well; ten annotations of a kind are shown for a step; a summary holds 1 MiB.
"""

from __future__ import annotations

from collections import Counter

from seekbench.gate import report
from seekbench.gate.compare import FAILING, Status, Verdict
from seekbench.gate.texts import Texts

MOST_ANNOTATIONS = 10
MOST_SUMMARY = 1024 * 1024


def commands(verdict: Verdict) -> list[str]:
    """Commands, one a line: an error for each cell that fails or is refused, the last one for all that would not be
    shown; a notice of what got better."""
    bad = [f for f in verdict.findings if f.status in FAILING or f.status is Status.REFUSED]
    shown = bad if len(bad) <= MOST_ANNOTATIONS else bad[: MOST_ANNOTATIONS - 1]
    out = []
    for f in shown:
        lost = ", ".join(f"{q.query} ({q.before:.3f} -> {q.after:.3f})" for q in f.lost[:3])
        line = report.line_of(f) + (f"; lost most: {lost}" if lost else "")
        changes = "; ".join(map(str, f.changes)) if f.status is not Status.REFUSED else ""
        out.append(command("error", f.place, line + (f"\nchanged: {changes}" if changes else "")))
    if len(shown) < len(bad):
        counts = Counter(report.said(f) for f in bad[len(shown) :])
        rest = ", ".join(f"{n} {what}" for what, n in counts.items())
        out.append(command("error", "seekbench check", f"and {len(bad) - len(shown)} more: {rest}"))
    better = [f for f in verdict.findings if f.status is Status.IMPROVED]
    if better:
        lines = "\n".join(f"{f.place}: {report.line_of(f)}" for f in better)
        out.append(command("notice", f"{len(better)} improved", lines))
    return out


def command(kind: str, title: str, message: str) -> str:
    """A workflow command, escaped."""
    return f"::{kind} title={_property(title)}::{_data(message)}"


def summary(verdict: Verdict, texts: Texts) -> str:
    """Markdown for the file that GITHUB_STEP_SUMMARY names; its limit is one of bytes."""
    text = report.markdown(verdict, texts, most=MOST_SUMMARY // 4)
    return text + "\n"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
