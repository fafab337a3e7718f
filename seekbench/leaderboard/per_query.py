"""Scores per query of a metric, as they lie beside the records."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from seekbench.errors import InputError
from seekbench.leaderboard.records import PER_QUERY_FILE
from seekbench.metrics.measure import parse

Floats = npt.NDArray[np.float64]

#: A mean and its scores per query that differ by more were not made together. Rounding of sums is far below.
SAME_MEAN = 1e-9


class PerQuery:
    """Scores per query of a metric, beside the records; each file is read once."""

    def __init__(self, metric: str) -> None:
        self.measure = parse(metric)
        self._known: dict[Path, tuple[Any, Any]] = {}

    def there(self, folder: Path) -> bool:
        """Whether there are scores per query: the file may be gone, and a figure of the whole run has none."""
        return self.measure.definition.aggregate != "run" and (folder / PER_QUERY_FILE).is_file()

    def all(self, folder: Path) -> tuple[Any, npt.NDArray[np.float64]]:
        """(query ids: arrow array of strings, float64 [queries]: NaN where the metric is not defined for a query).
        Raises InputError where the file is gone or lacks the metric."""
        if folder not in self._known:
            import pyarrow as pa
            import pyarrow.parquet as pq

            try:
                read = pq.read_table(
                    folder / PER_QUERY_FILE, columns=["query_id", self.measure.name]
                ).combine_chunks()
            except (FileNotFoundError, pa.ArrowInvalid):
                raise InputError(
                    f"the scores per query are gone, damaged or lack '{self.measure.name}'",
                    where=str(folder / PER_QUERY_FILE),
                    remedy="run it again: what is stored is not searched anew",
                ) from None
            ids = read.column("query_id").cast(pa.string())
            self._known[folder] = (
                pa.concat_arrays(ids.chunks) if ids.num_chunks else pa.array([], pa.string()),
                read.column(self.measure.name).to_numpy(),
            )
        return self._known[folder]

    def on(self, folder: Path, ids: Any) -> npt.NDArray[np.float64] | None:
        """float64 [ids], in their order; None where the record lacks one of them."""
        import pyarrow.compute as pc

        known, values = self.all(folder)
        if known.equals(ids):
            return values
        at = pc.index_in(ids, value_set=known)
        return None if at.null_count else values[at.to_numpy()]


def check_means(metrics: Mapping[str, float | None], scores: Mapping[str, Floats], where: str) -> None:
    """Raises InputError where a figure is not that of its scores per query: one of the two was changed alone."""
    for name, values in scores.items():
        told, made = metrics[name], parse(name).aggregate(values)
        if (told is None) != bool(np.isnan(made)) or (told is not None and abs(told - made) > SAME_MEAN):
            raise InputError(
                f"{name} is {told}, but its scores per query give {made:.6f}: they were not made together",
                where=where,
                remedy="make both anew",
            )
