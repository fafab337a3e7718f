"""Whether figures of one column were made on the same data, and scored by the same rules."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from seekbench.errors import InputError
from seekbench.leaderboard.board import Key
from seekbench.leaderboard.columns import dataset_key, label
from seekbench.leaderboard.overall import Cells, Place
from seekbench.leaderboard.sources import Found, is_published


def checked(
    found: Found, place: Place, keys: Sequence[Key], baseline: str | None, *, allow_mixed: bool
) -> tuple[Cells, list[str]]:
    """(the cells whose figures are on other data than the rest of their column, notes). found: all records; place:
    those that are shown. Raises InputError where there are any on other data, unless `allow_mixed`.

    The data of a column are those of the baseline, else those of most systems. Of published figures the content is not
    known, only the dataset's revision.
    """
    mixed, revised, notes = [], [], []
    other: set[tuple[str, str, str]] = set()
    of_key: dict[Key, list[dict[str, Any]]] = {}
    for _, record in found:
        of_key.setdefault(dataset_key(record), []).append(record)
    shown: dict[Key, dict[str, str]] = {}
    for (dataset, split, system), (_, record) in place.items():
        if (content := _content(record)) is not None:
            shown.setdefault((dataset, split), {})[system] = content
    for key in keys:
        there = of_key.get(key, [])
        contents = {_content(r) for r in there} - {None}
        if len(contents) > 1:
            told = ", ".join(sorted(str(h)[:10] for h in contents))
            mixed.append(f"{label(key)}: {len(contents)} different contents: {told}")
            own = shown[key]
            column = own.get(baseline or "") or Counter(own.values()).most_common(1)[0][0]
            other |= {(*key, system) for system, h in own.items() if h != column}
        revisions = Counter(map(_dataset_revision, there))
        known = {revision: n for revision, n in revisions.items() if revision}
        if len(known) > 1:
            said = ", ".join(f"{revision[:8]}: {n}" for revision, n in sorted(known.items()))
            revised.append(f"{label(key)} ({said})")
    if mixed and not allow_mixed:
        raise InputError(
            "these results were made on different data: " + "; ".join(mixed),
            remedy="--allow-mixed shows them all the same",
        )
    notes += [f"NOT COMPARABLE: made on different data: {line}" for line in mixed]
    if other:
        systems = sorted({name for *_, name in other})
        notes.append(
            f"in brackets: {', '.join(systems)} on other data than "
            + (baseline if baseline and baseline not in systems else "most systems")
            + "; such figures are in no mean, rank or test"
        )
    if revised:
        notes.append(f"figures of several revisions of a dataset: {', '.join(revised)}")
    if {is_published(r) for _, r in found} == {True, False}:
        notes.append(
            "published figures stand beside measured ones: that they are of the same data is not checked"
        )
    rules = {
        orjson.dumps(p, option=orjson.OPT_SORT_KEYS) for _, r in found if (p := _policies(r)) is not None
    }
    if len(rules) > 1:
        notes.append(
            "NOT COMPARABLE: these results were scored under different policies (see `policies` in the records)"
        )
    return other, notes


def _content(record: Mapping[str, Any]) -> str | None:
    found: str | None = record["dataset"]["hashes"]["dataset"]
    return found


def _dataset_revision(record: Mapping[str, Any]) -> str | None:
    if is_published(record):
        found: str | None = record["published"]["dataset_revision"]
        return found
    source = record["dataset"].get("source") or {}
    return source.get("revision")


def _policies(record: Mapping[str, Any]) -> dict[str, Any] | None:
    """Those of scoring; the exclusion and the relevance level belong to the dataset. None for published figures, which
    don't say."""
    if is_published(record):
        return None
    of_dataset = ("exclusion", "relevance_level")
    return {name: value for name, value in record["policies"].items() if name not in of_dataset}
