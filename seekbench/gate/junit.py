"""The verdict as JUnit XML: a suite a dataset and split, a test case a cell and metric.

Elements, their order and required attributes are those of the Ant JUnit schema (windyroad/JUnit-Schema, JUnit.xsd),
which Jenkins' xunit plugin and GitLab read as well.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from xml.etree import ElementTree as Tree

from seekbench.gate import report
from seekbench.gate.compare import FAILING, Finding, Status, Verdict
from seekbench.gate.texts import Texts

#: What XML 1.0 can't hold, even as a reference.
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def xml(verdict: Verdict, texts: Texts, *, now: datetime | None = None) -> bytes:
    """A document in UTF-8. Regressions and missing cells are failures; what can't be compared, or did not run, is an
    error. now: the time that the suites bear, by default this one."""
    # The schema's pattern of a time has no zone.
    stamp = (now or datetime.now(UTC)).strftime("%Y-%m-%dT%H:%M:%S")
    suites: dict[tuple[str, str], list[Finding]] = {}
    for f in verdict.findings:
        suites.setdefault((f.dataset, f.split), []).append(f)
    root = Tree.Element("testsuites")
    for i, ((dataset, split), findings) in enumerate(suites.items()):
        errors = sum(f.status in (Status.REFUSED, Status.FAILED) for f in findings)
        failures = sum(f.status in FAILING for f in findings) - sum(
            f.status is Status.FAILED for f in findings
        )
        suite = Tree.SubElement(
            root, "testsuite", name=_clean(f"{dataset}.{split}"), package="seekbench", id=str(i), timestamp=stamp,
            hostname="localhost", tests=str(len(findings)), failures=str(failures), errors=str(errors), skipped="0",
            time="0",
        )  # fmt: skip
        properties = Tree.SubElement(suite, "properties")
        Tree.SubElement(properties, "property", name="rule", value=_clean(report.rule_note(verdict)))
        for f in findings:
            _case(suite, f, texts)
        Tree.SubElement(suite, "system-out").text = "\n".join(_clean(line) for line in report.notes(verdict))
        Tree.SubElement(suite, "system-err")
    Tree.indent(root)
    written: bytes = Tree.tostring(root, encoding="utf-8", xml_declaration=True)
    return written + b"\n"


def _case(suite: Tree.Element, f: Finding, texts: Texts) -> None:
    case = Tree.SubElement(
        suite, "testcase", name=_clean(f.metric or "(all)"), classname=_clean(f"{f.dataset}.{f.split}.{f.system}"),
        time="0",
    )  # fmt: skip
    if f.status not in FAILING and f.status is not Status.REFUSED:
        return
    kind = "error" if f.status in (Status.REFUSED, Status.FAILED) else "failure"
    line = report.line_of(f)
    element = Tree.SubElement(case, kind, message=_clean(line), type=f.status.value)
    known = texts.get((f.dataset, f.split), {})
    lost = [f"{q.query}: {q.before:.4f} -> {q.after:.4f}  {known.get(q.query, '')}".rstrip() for q in f.lost]
    lines = [line, *map(str, f.changes), *(["queries that lost most:", *lost] if lost else [])]
    element.text = _clean("\n".join(lines))


def _clean(text: str) -> str:
    return _NOT_XML.sub("\ufffd", text)
