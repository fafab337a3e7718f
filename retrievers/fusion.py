"""Fusion of other retrievers' runs: reciprocal ranks, weighted min-max sums, or a method of ranx by its name.

RRF and min-max are computed on arrays, all queries at once; ranx (dictionaries, numba) is loaded only for a
method that we do not have. A document that a run does not hold gets nothing from it. Ties of the fused scores
follow the ranking rule.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field, field_validator, model_validator

from seekbench.errors import SeekbenchError, did_you_mean
from seekbench.retrievers import protocol
from seekbench.retrievers.protocol import Context, TextView
from seekbench.runs import Run

Floats = npt.NDArray[np.float64]

OURS = ("rrf", "minmax")
#: ranx's unsupervised methods, and the options that each takes (`weights` comes from the field of that name).
RANX: dict[str, tuple[str, ...]] = {
    "anz": (), "gmnz": ("gamma",), "max": (), "med": (), "min": (), "mnz": (), "sum": (),
    "wsum": ("weights",), "wmnz": ("weights",), "mixed": ("weights",),
    "bordafuse": (), "w_bordafuse": ("weights",), "condorcet": (), "w_condorcet": ("weights",),
    "isr": (), "log_isr": (), "logn_isr": ("sigma",), "rbc": ("phi",),
}  # fmt: skip
#: Options without a default in ranx.
_REQUIRED = {"gmnz": "gamma", "rbc": "phi"}
#: ranx's methods that are trained on judgments, which a retriever never sees.
TRAINED = ("bayesfuse", "mapfuse", "posfuse", "probfuse", "segfuse", "slidefuse")


class FusionParams(protocol.Params):
    """Fields of `type: fusion`."""

    method: str = Field("rrf", description=f"rrf, minmax, or of ranx: {', '.join(RANX)}")
    of: tuple[str, ...] = Field(min_length=2, description="names of retrievers in the same config")
    weights: tuple[float, ...] | None = Field(None, description="one a retriever; 1 each where not stated")
    rrf_k: float = Field(60, gt=-1, description="the constant of RRF; 60 in its paper")
    depth: int | None = Field(None, ge=1, description="use only the first hits of each run")
    norm: Literal["min-max", "max", "sum", "zmuv", "rank", "borda"] | None = Field(
        "min-max", description="normalisation before a ranx method"
    )
    options: dict[str, float] = Field(
        default_factory=dict, description="options of a ranx method (gamma, phi, sigma)"
    )

    @field_validator("method", mode="before")
    @classmethod
    def _by_the_names_of_the_field(cls, value: Any) -> Any:
        """CombMNZ, CombSUM ... are ranx's mnz, sum ..."""
        if isinstance(value, str):
            bare = value.lower().removeprefix("comb")
            return bare if bare in RANX else value
        return value

    @model_validator(mode="after")
    def _consistent(self) -> FusionParams:
        if len(set(self.of)) != len(self.of):
            raise ValueError(f"of: names a retriever twice ({', '.join(self.of)})")
        if self.weights is not None and len(self.weights) != len(self.of):
            raise ValueError(f"weights: {len(self.weights)} given for {len(self.of)} retrievers")
        if self.method in TRAINED:
            raise ValueError(
                f"method: '{self.method}' is trained on judgments, which a retriever must not see"
            )
        if self.method not in OURS and self.method not in RANX:
            raise ValueError(f"method: unknown '{self.method}'; {did_you_mean(self.method, [*OURS, *RANX])}")
        if self.method in OURS:
            if self.options:
                raise ValueError(f"options: '{self.method}' takes none")
            return self
        takes = RANX[self.method]
        unknown = [name for name in self.options if name not in takes or name == "weights"]
        if unknown:
            raise ValueError(f"options: '{self.method}' has no option {', '.join(unknown)}")
        required = _REQUIRED.get(self.method)
        if required and required not in self.options:
            raise ValueError(f"options: '{self.method}' needs {required}")
        if self.weights is not None and "weights" not in takes:
            raise ValueError(f"weights: '{self.method}' takes none")
        return self


class Fusion:
    """Combines the runs of `of`; makes no index and loads no model."""

    Params: ClassVar[type[protocol.Params]] = FusionParams
    index_params: ClassVar[frozenset[str]] = frozenset()
    search_params: ClassVar[frozenset[str]] = frozenset(
        {"method", "of", "weights", "rrf_k", "depth", "norm", "options"}
    )
    modules: ClassVar[tuple[str, ...]] = ("seekbench.retrievers.fusion",)
    indexes = False

    def __init__(self, params: FusionParams) -> None:
        self.params = params

    @property
    def needs(self) -> tuple[str, ...]:
        return self.params.of

    def identity(self, *, context: Context) -> Mapping[str, Any]:
        if self.params.method in OURS:
            return {}
        from importlib.metadata import version

        return {"versions": {"ranx": version("ranx")}}

    def index(self, documents: TextView, folder: Path, *, context: Context) -> Mapping[str, Any]:
        return {"bytes": 0, "documents": len(documents)}

    def open(self, folder: Path | None, documents: TextView, *, context: Context) -> FusionSearcher:
        return FusionSearcher(self.params, documents)

    def describe(self, *, context: Context) -> Mapping[str, Any]:
        p = self.params
        facts: dict[str, Any] = {
            "method": p.method, "of": list(p.of), "depth": p.depth,
            "weights": list(p.weights or [1.0] * len(p.of)),
            "computed_by": "seekbench" if p.method in OURS else "ranx",
        }  # fmt: skip
        if p.method == "rrf":
            facts["rrf_k"] = p.rrf_k
        if p.method in RANX:
            facts |= {"norm": p.norm, "options": dict(p.options)}
        return facts

    def render(self, texts: list[str], side: str, *, context: Context) -> list[str]:
        return texts


class FusionSearcher:
    def __init__(self, params: FusionParams, documents: TextView) -> None:
        self._params, self._documents = params, documents

    def search(self, queries: TextView, k: int, *, context: Context) -> Run:
        p = self._params
        missing = [name for name in p.of if name not in context.runs]
        if missing:
            raise SeekbenchError(f"fusion has no run of {', '.join(missing)}")
        runs = [context.runs[name] for name in p.of]
        for name, run in zip(p.of, runs, strict=True):
            if run.num_queries != len(queries):
                raise SeekbenchError(f"the run of {name} has {run.num_queries} queries, not {len(queries)}")
        if p.depth is not None:
            runs = [run.cut(p.depth) for run in runs]
        order = self._documents.order
        if p.method == "rrf":
            return rrf(runs, k, order, weights=p.weights, rrf_k=p.rrf_k)
        if p.method == "minmax":
            return min_max(runs, k, order, weights=p.weights, names=p.of)
        return _by_ranx(p, runs, k, order)

    def close(self) -> None:
        return


def rrf(
    runs: Sequence[Run],
    k: int,
    order: npt.NDArray[Any],
    *,
    weights: Sequence[float] | None = None,
    rrf_k: float = 60,
) -> Run:
    """Reciprocal rank fusion: the sum over runs of weight / (rrf_k + rank), ranks from 1 (Cormack et al.
    2009, https://doi.org/10.1145/1571941.1572114). Ranks are those of the ranking rule, so tied scores have
    different ranks."""
    parts = []
    for run, weight in zip(runs, weights or [1.0] * len(runs), strict=True):
        gain = weight / (rrf_k + np.arange(1, run.k + 1, dtype=np.float64))
        parts.append((run.doc_rows, np.broadcast_to(gain, run.doc_rows.shape)))
    return _summed(parts, k, order)


def min_max(
    runs: Sequence[Run], k: int, order: npt.NDArray[Any], *, weights: Sequence[float] | None = None,
    names: Sequence[str] = (),
) -> Run:  # fmt: skip
    """Weighted sum of scores scaled to [0, 1] per query and run: (score - lowest) / (highest - lowest).

    As in ranx: lowest and highest are those of the run's own hits, the divisor is at least 1e-9, so a run
    whose hits all have one score gives them 0; a document that a run lacks gets 0 from it, like its last hit.
    """
    parts = []
    for i, (run, weight) in enumerate(zip(runs, weights or [1.0] * len(runs), strict=True)):
        hit = np.asarray(run.doc_rows) >= 0
        scores = np.asarray(run.scores, dtype=np.float64)
        _refuse_infinite(scores[hit], names[i] if names else str(i), "min-max")
        lowest = np.min(scores, axis=1, where=hit, initial=np.inf, keepdims=True)
        highest = np.max(scores, axis=1, where=hit, initial=-np.inf, keepdims=True)
        with np.errstate(invalid="ignore"):  # queries without hits
            scaled = (scores - lowest) / np.maximum(highest - lowest, 1e-9)
        parts.append((run.doc_rows, np.where(hit, weight * np.where(hit, scaled, 0.0), 0.0)))
    return _summed(parts, k, order)


def _refuse_infinite(scores: npt.NDArray[Any], name: str, norm: str) -> None:
    if not np.isfinite(scores).all():
        raise SeekbenchError(
            f"the run of {name} has infinite scores, which {norm} can't scale; method rrf takes ranks alone"
        )


def _summed(parts: Sequence[tuple[npt.NDArray[Any], Floats]], k: int, order: npt.NDArray[Any]) -> Run:
    """Adds what each run gives to each document (in float64, in the order of the runs) and ranks the sums."""
    queries = len(parts[0][0])
    width = sum(rows.shape[1] for rows, _ in parts)
    out_rows = np.full((queries, min(k, width)), -1, dtype=np.int64 if len(order) >= 2**31 else np.int32)
    out_scores = np.full(out_rows.shape, -np.inf, dtype=np.float32)
    # Blocks bound the memory of the joined arrays.
    step = max(1, 2_000_000 // max(1, width))
    for at in range(0, queries, step):
        rows = np.concatenate([np.asarray(r[at : at + step], dtype=np.int64) for r, _ in parts], axis=1)
        gains = np.concatenate([g[at : at + step] for _, g in parts], axis=1)
        # A stable sort keeps the order of the runs among the gains of one document.
        by = np.argsort(rows, axis=1, kind="stable")
        rows, gains = np.take_along_axis(rows, by, axis=1), np.take_along_axis(gains, by, axis=1)
        first = np.ones(rows.shape, dtype=bool)
        first[:, 1:] = rows[:, 1:] != rows[:, :-1]
        if not rows.size:
            continue
        starts = np.flatnonzero(first.ravel())
        sums = np.add.reduceat(gains.ravel(), starts)
        # Each document's sum stays at its first place; what is left over is padding.
        kept_rows = np.where(first, rows, -1)
        kept_scores = np.full(rows.shape, -np.inf)
        kept_scores.ravel()[starts] = sums
        run = Run.ranked(kept_rows, kept_scores, order).cut(k)
        out_rows[at : at + step], out_scores[at : at + step] = run.doc_rows, run.scores
    return Run(out_rows, out_scores)


def _by_ranx(p: FusionParams, runs: Sequence[Run], k: int, order: npt.NDArray[Any]) -> Run:
    """A method of ranx. Rows become ids of ten digits (one length, since numba compiles once a length)."""
    from numba.core.errors import NumbaWarning
    from ranx import Run as RanxRun
    from ranx import fuse

    queries = runs[0].num_queries
    some = [
        q for q in range(queries) if any(run.doc_rows[q, :1].size and run.doc_rows[q, 0] >= 0 for run in runs)
    ]
    if not some:
        return Run.empty(queries, 0)
    # ranx loses hits of other queries where a list is empty (its norms run in threads, which an error ends without a
    # word), and takes no run that is empty as a whole. A document that isn't there stands in such a list alone, and is
    # taken out again: what a list lacks adds nothing to other documents.
    nobody = f"{len(order):010d}"
    converted = []
    for name, run in zip(p.of, runs, strict=True):
        if p.norm not in ("rank", "borda"):
            _refuse_infinite(run.scores[run.doc_rows >= 0], name, p.norm or p.method)
        table = {}
        for q in some:
            hit = run.doc_rows[q] >= 0
            ids = [f"{row:010d}" for row in run.doc_rows[q][hit].tolist()]
            found = dict(zip(ids, run.scores[q][hit].astype(np.float64).tolist(), strict=True))
            table[f"{q:010d}"] = found or {nobody: 1.0}
        converted.append(RanxRun(table))
    options: dict[str, Any] = dict(p.options)
    if "weights" in RANX[p.method]:
        options["weights"] = [float(w) for w in p.weights or [1.0] * len(runs)]
    with warnings.catch_warnings():
        # numba's remarks on ranx's code are no news to a user.
        warnings.simplefilter("ignore", NumbaWarning)
        fused = fuse(converted, norm=p.norm, method=p.method, params=options)
    width = max(len(fused.run[f"{q:010d}"]) for q in some)
    rows = np.full((queries, width), -1, dtype=np.int32 if len(order) < 2**31 else np.int64)
    scores = np.full((queries, width), -np.inf, dtype=np.float64)
    for q in some:
        hits = {row: score for row, score in fused.run[f"{q:010d}"].items() if row != nobody}
        rows[q, : len(hits)] = [int(row) for row in hits]
        scores[q, : len(hits)] = list(hits.values())
    return Run.ranked(rows, scores, order).cut(k)
