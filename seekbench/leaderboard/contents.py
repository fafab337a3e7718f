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


def of_columns(found: Found, names: Sequence[str], baseline: str | None) -> dict[Key, str]:
    """The content of each dataset's column: that of the baseline's newest record, else that of most systems."""
    told: dict[Key, dict[str, set[str]]] = {}
    newest: dict[Key, tuple[str, str]] = {}
    for (_, record), name in zip(found, names, strict=True):
        content, key = _content(record), dataset_key(record)
        if content is None:
            continue
        told.setdefault(key, {}).setdefault(content, set()).add(name)
        if name == baseline:
            newest[key] = max(newest.get(key, ("", "")), (record["recorded_at"], content))
    most = {key: max(contents, key=lambda c: len(contents[c])) for key, contents in told.items()}
    return {key: newest[key][1] if key in newest else content for key, content in most.items()}


def checked(
    found: Found, place: Place, columns: Mapping[Key, str], baseline: str | None, *, allow_mixed: bool
) -> tuple[Cells, list[str]]:
    """(the cells whose figures are on other data than the rest of their column, notes). found: all records; place:
    those that are shown; columns: as of `of_columns`. Raises InputError where there are any on other data, unless
    `allow_mixed`. Of published figures the content is not known, only the dataset's revision."""
    mixed, revised, notes = [], [], []
    of_key: dict[Key, list[dict[str, Any]]] = {}
    for _, record in found:
        of_key.setdefault(dataset_key(record), []).append(record)
    other = {
        cell
        for cell, (_, record) in place.items()
        if (content := _content(record)) is not None and content != columns[cell[:2]]
    }
    for key, there in of_key.items():
        contents = {_content(r) for r in there} - {None}
        if len(contents) > 1:
            told = ", ".join(sorted(str(h)[:10] for h in contents))
            mixed.append(f"{label(key)}: {len(contents)} different contents: {told}")
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
