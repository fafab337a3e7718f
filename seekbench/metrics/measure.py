"""Measures by name: `ndcg@10`, `p(rel=2)@5`, `map`. A measure is a value; its canonical name parses back to it.

Aliases of other tools' spellings (trec_eval, ir_measures, ranx, BEIR, MTEB) are accepted and turned into the
canonical name, so that results can be compared by name.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, get_args, get_type_hints

from seekbench.errors import InputError, Report, did_you_mean

#: Modules that define measures; each registers its functions on import.
FAMILIES = ("gain", "binary")

_FUNCTIONS: dict[str, Callable[..., Any]] = {}
_NAME = re.compile(r"^(?P<base>[a-z_]+)(?:\((?P<args>[^()]*)\))?(?:@(?P<k>[0-9]+))?$", re.IGNORECASE)

#: other tools' base names -> ours; compared in lower case
ALIASES = {
    "ndcg_cut": "ndcg",
    "nDCG": "ndcg",
    "map": "ap",
    "map_cut": "ap",
    "mean_average_precision": "ap",
    "r": "recall",
    "recall_cap": "r_cap",
    "mrr": "rr",
    "recip_rank": "rr",
    "precision": "p",
    "hit_rate": "success",
    "hit": "success",
    "accuracy": "success",
    "top_k_accuracy": "success",
}
#: the name that is shown, where the field says something else than the function's name
SHOWN = {"ap": "map", "rr": "mrr"}


@dataclass(frozen=True)
class Measure:
    """base: the function's name; k: cutoff or None; args: further parameters that differ from the default."""

    base: str
    k: int | None = None
    args: tuple[tuple[str, int | str], ...] = ()

    @property
    def name(self) -> str:
        """The canonical name, e.g. `ndcg@10`, `p(rel=2)@5`, `map`, `mrr@10`."""
        args = "(" + ",".join(f"{k}={v}" for k, v in self.args) + ")" if self.args else ""
        return SHOWN.get(self.base, self.base) + args + (f"@{self.k}" if self.k is not None else "")

    def __str__(self) -> str:
        return self.name

    def compute(self, judged: Any) -> Any:
        """float64 [queries] of a `judged.Judged`."""
        return functions()[self.base](judged, k=self.k, **dict(self.args))


def register(function: Callable[..., Any]) -> Callable[..., Any]:
    """Makes a measure of a function `(judged, *, k, ...) -> float64 [queries]` under its own name."""
    if function.__name__ in _FUNCTIONS:
        raise ValueError(f"measure {function.__name__} is defined twice")
    _FUNCTIONS[function.__name__] = function
    return function


@cache
def functions() -> dict[str, Callable[..., Any]]:
    """All measures' functions by base name."""
    import importlib

    for family in FAMILIES:
        importlib.import_module(f"seekbench.metrics.{family}")
    return _FUNCTIONS


def parse(name: str) -> Measure:
    """The measure of a name in our spelling or another tool's. Raises InputError."""
    text = name.strip()
    # trec_eval `ndcg_cut.10`, pytrec_eval `ndcg_cut_10`, MTEB `ndcg_at_10`
    text = re.sub(r"^([A-Za-z_]+?)(?:_at_|\.|_)([0-9]+)$", r"\1@\2", text)
    match = _NAME.match(text)
    if not match:
        raise InputError(
            f"can't read the metric '{name}'", remedy="e.g. ndcg@10, recall@100, map, mrr@10, p(rel=2)@5"
        )
    base = match["base"].lower()
    base = ALIASES.get(base, base)
    if base not in functions():
        shown = [SHOWN.get(b, b) for b in functions()]
        remedy = did_you_mean(match["base"], shown) or did_you_mean(match["base"], ALIASES)
        if match["k"] and remedy.startswith("did you mean"):
            remedy = re.sub(r"'([a-z_]+)'", rf"'\1@{match['k']}'", remedy)
        raise InputError(f"unknown metric '{name}'", remedy=remedy)
    function = functions()[base]
    parameters = inspect.signature(function).parameters
    k = int(match["k"]) if match["k"] else None
    if k == 0:
        raise InputError(f"metric '{name}': the cutoff must be at least 1")
    if k is None and parameters["k"].default is inspect.Parameter.empty:
        raise InputError(f"metric '{name}' needs a cutoff", remedy=f"e.g. {base}@10")
    args: list[tuple[str, int | str]] = []
    for part in filter(None, (match["args"] or "").split(",")):
        key, _, value = (p.strip() for p in part.partition("="))
        known = [p for p in parameters if p not in ("judged", "k")]
        if key not in known:
            raise InputError(f"metric '{name}': unknown parameter '{key}'", remedy=did_you_mean(key, known))
        default = parameters[key].default
        try:
            given: int | str = int(value) if isinstance(default, int) else value
        except ValueError:
            raise InputError(f"metric '{name}': {key} must be a whole number, not '{value}'") from None
        if key == "rel" and isinstance(given, int) and given < 1:
            raise InputError(f"metric '{name}': rel must be at least 1", remedy="grade 0 is not relevant")
        allowed = get_args(get_type_hints(function).get(key))
        if allowed and given not in allowed:
            raise InputError(
                f"metric '{name}': {key} can't be '{value}'", remedy=did_you_mean(value, map(str, allowed))
            )
        if given != default:
            args.append((key, given))
    return Measure(base, k, tuple(sorted(args)))


def parse_all(names: Sequence[str], *, where: str = "metrics") -> list[Measure]:
    """Parses many, without repeating one; all mistakes are reported together."""
    report, out = Report(), []
    for name in names:
        try:
            measure = parse(name)
        except InputError as error:
            report.error("metric", str(error), where=where)
            continue
        if measure not in out:
            out.append(measure)
    report.raise_if_errors()
    return out
