"""What datasets need from elsewhere, and how much that is."""

from __future__ import annotations

from dataclasses import dataclass

from seekbench.datasets.load import stored
from seekbench.datasets.resolve import DatasetSpec
from seekbench.errors import SeekbenchError
from seekbench.store import Store


@dataclass(frozen=True)
class Need:
    """stored: whether the collection is in the store already. files, bytes: that must be fetched; bytes is None where
    nobody says. problem: why that can't be told, '' otherwise."""

    spec: DatasetSpec
    stored: bool
    files: int = 0
    bytes: int | None = 0
    problem: str = ""


def need_of(spec: DatasetSpec, store: Store, *, offline: bool = False) -> Need:
    """What one dataset needs. Asks the hub or server for sizes, unless `offline`."""
    try:
        there, why = stored(spec, store=store, offline=offline)
        if there:
            return Need(spec, True)
        to_fetch = getattr(spec.source, "to_fetch", None)
        if to_fetch is None:
            return Need(spec, False)
        if offline:
            return Need(spec, False, problem=f"not in the store ({why})")
        files, size = to_fetch()
    except SeekbenchError as error:
        return Need(spec, False, problem=str(error))
    return Need(spec, False, files, size)
