"""Which results a leaderboard shows, under which names: one record of each system and dataset."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from seekbench.errors import Report, did_you_mean
from seekbench.leaderboard.board import Key
from seekbench.leaderboard.columns import dataset_key, label
from seekbench.leaderboard.sources import Found, is_published

#: (dataset, split, system) -> cause
Failures = Mapping[tuple[str, str, str], str]


def recorded_baseline(found: Found, names: Sequence[str]) -> str | None:
    """The system that all our records name as the baseline of their run, where it is one system; the records know it by
    its retriever's name, which may have become a longer one."""
    own = [(record, name) for (_, record), name in zip(found, names, strict=True) if not is_published(record)]
    recorded = {record.get("baseline") for record, _ in own}
    if len(recorded) != 1:
        return None
    (baseline,) = recorded
    called = {name for record, name in own if record["retriever"]["name"] == baseline}
    return called.pop() if len(called) == 1 else None


def narrowed(
    found: Found, names: Sequence[str], failures: Failures, datasets: Sequence[str], systems: Sequence[str]
) -> tuple[Found, list[str], Failures]:
    """What is on these datasets and of these systems, each a name or a pattern (`beir/*`); all, where there are none.
    Raises InputError with every pattern that nothing has."""
    report = Report()
    known = {dataset_key(record) for _, record in found} | {(d, s) for d, s, _ in failures}
    places = {key: {key[0], label(key), key[0].rpartition("/")[2]} for key in known}
    wanted = _matching("--dataset", datasets, places, report)
    shown = _matching("--system", systems, {n: {n} for n in [*names, *(f[2] for f in failures)]}, report)
    report.raise_if_errors()
    left = {(d, s, n): c for (d, s, n), c in failures.items() if (d, s) in wanted and n in shown}
    found, names = keep(found, names, lambda record, name: dataset_key(record) in wanted and name in shown)
    return found, names, left


def keep(
    found: Found, names: Sequence[str], wanted: Callable[[Mapping[str, Any], str], bool]
) -> tuple[Found, list[str]]:
    """The records that are wanted, and their systems' names."""
    kept = [(entry, name) for entry, name in zip(found, names, strict=True) if wanted(entry[1], name)]
    return [entry for entry, _ in kept], [name for _, name in kept]


def _matching(
    option: str, patterns: Sequence[str], called: Mapping[Any, set[str]], report: Report
) -> set[Any]:
    """Those of the things, known under some names each, that any pattern fits."""
    if not patterns:
        return set(called)
    found = set()
    for pattern in patterns:
        fits = {thing for thing, names in called.items() if any(fnmatchcase(n, pattern) for n in names)}
        if not fits:
            every = {name for names in called.values() for name in names}
            report.error(
                "nothing-fits", f"there are no results of '{pattern}'", where=option,
                remedy=did_you_mean(pattern, every),
            )  # fmt: skip
        found |= fits
    return found


def as_member(record: dict[str, Any], members: Mapping[Key, Key]) -> dict[str, Any]:
    """The record under the name that a suite has for its dataset."""
    id, split = members[dataset_key(record)]
    return {**record, "dataset": {**record["dataset"], "id": id, "split": split}}


def system_names(found: Sequence[tuple[Path, dict[str, Any]]]) -> list[str]:
    """A name for each record's system: the retriever's own; with the results' folder before it (the revision behind it,
    for a published one), and then a hash behind it, where different systems (type, parameters, model, k) have the same
    name."""
    # .../<output>/<dataset>/<split>/<retriever>: the folder that the user chose tells runs apart.
    systems = [
        (
            r["retriever"]["name"],
            _revised(r) if is_published(r) else f"{_output(folder)}/{r['retriever']['name']}",
            r["retriever"]["system"],
        )
        for folder, r in found
    ]
    of_name: dict[str, set[str]] = {}
    of_longer: dict[str, set[str]] = {}
    for name, longer, system in systems:
        of_name.setdefault(name, set()).add(system)
        of_longer.setdefault(longer, set()).add(system)
    names = []
    for name, longer, system in systems:
        if len(of_name[name]) == 1:
            names.append(name)
        elif len(of_longer[longer]) == 1:
            names.append(longer)
        else:
            names.append(f"{longer}#{system[:6]}")
    return names


def _output(folder: Path) -> str:
    """The name of the folder that the user chose for a run, above those of dataset, split and system."""
    return (folder.absolute().parts[:-3] or ("",))[-1]


def _revised(record: Mapping[str, Any]) -> str:
    revision = record["published"]["revision"]
    return f"{record['retriever']['name']}@{revision[:8] if revision else 'published'}"


def newest(
    found: Sequence[tuple[Path, dict[str, Any]]], names: Sequence[str], contents: Mapping[Key, str]
) -> tuple[dict[tuple[str, str, str], tuple[Path, dict[str, Any]]], list[str]]:
    """One record a cell: where the same system was recorded more than once for a dataset, the newest on the content of
    its column, and a note; of published figures, the one with the most metrics, and a note where two disagree."""
    place: dict[tuple[str, str, str], tuple[Path, dict[str, Any]]] = {}
    left_out, which, notes = 0, "older", []
    for entry, name in zip(found, names, strict=True):
        key = (*dataset_key(entry[1]), name)
        known = place.get(key)
        if known is None:
            place[key] = entry
            continue
        if is_published(entry[1]):
            differ = [
                f"{metric} {figure['mean']:g} ({entry[0]}) and {other['mean']:g} ({known[0]})"
                for metric, figure in entry[1]["metrics"].items()
                if (other := known[1]["metrics"].get(metric)) and abs(other["mean"] - figure["mean"]) > 5e-6
            ]
            if differ:
                notes.append(
                    f"{name} has two published figures on {label(dataset_key(entry[1]))}: {differ[0]}"
                )
        else:
            left_out += 1
            if entry[1]["dataset"]["hashes"] != known[1]["dataset"]["hashes"]:
                which = "other"
        content = contents.get(key[:2])
        if _worth(entry[1], content) > _worth(known[1], content):
            place[key] = entry
    if left_out:
        notes.append(f"{left_out} {which} record(s) of the same system and dataset are left out")
    return place, notes


def _worth(record: Mapping[str, Any], content: str | None) -> tuple[bool, bool, str, int]:
    """A result on the column's data goes before one on others, a full one before a trial, a newer one before an older
    one."""
    same = content is None or record["dataset"]["hashes"]["dataset"] == content
    metrics = len(record["metrics"]) if is_published(record) else 0
    return same, record["comparable"], record["recorded_at"], metrics
