"""Measures by name: `ndcg@10`, `p(rel=2)@5`, `map`. A measure is a value; its canonical name parses back to it.

Other tools' spellings (trec_eval, ir_measures, ranx, BEIR, MTEB; `names.py`) are turned into the canonical name, so
that results can be compared by name.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from math import inf, isfinite
from types import NoneType
from typing import Any, Literal, NewType, get_args, get_type_hints, overload

from seekbench.errors import InputError, Report, did_you_mean
from seekbench.metrics.names import ALIASES, expanded, top_level, translated

#: Modules that define measures; each registers its functions on import.
FAMILIES = (
    "gain",
    "binary",
    "pool",
    "cascade",
    "curve",
    "sets",
    "experimental",
    "scores",
    "diversity",
    "abstention",
    "instructions",
    "segments",
    "correlation",
    "topics",
    "bitext",
)

#: How a run's figure comes from those of its queries. mean: of the queries for which it is defined (not NaN);
#: sum; geometric: mean of logarithms, with 0.00001 for what is smaller (trec_eval); run: there are none, the
#: function gives the run's figure alone.
Aggregate = Literal["mean", "sum", "geometric", "run"]
#: what a parameter of a measure can be
Value = int | float | str
#: trec_eval's MIN_GEO_MEAN
SMALLEST = 1e-5


@dataclass(frozen=True)
class Definition:
    """function: `(judged, *, k, ...) -> float64 [queries]` (float where aggregate is `run`), NaN where the measure is
    not defined for a query; needs: what the judgments must bring (`subtopics`, `query_ids`, `doc_rows`); lower: whether
    a lower figure is the better one; by_grade: whether no order of tied documents is better than that of their grades,
    so that the best and the worst value can be told."""

    function: Callable[..., Any]
    aggregate: Aggregate = "mean"
    needs: tuple[str, ...] = ()
    lower: bool = False
    by_grade: bool = True

    @cached_property
    def hints(self) -> Mapping[str, Any]:
        return get_type_hints(self.function)

    @cached_property
    def parameters(self) -> Mapping[str, inspect.Parameter]:
        """Those that a name can give, without the cutoff."""
        every = inspect.signature(self.function).parameters
        return {key: value for key, value in every.items() if key not in ("judged", "k")}

    @property
    def cutoff(self) -> Literal["none", "optional", "required"]:
        if self.hints["k"] is NoneType:
            return "none"
        default = inspect.signature(self.function).parameters["k"].default
        return "required" if default is inspect.Parameter.empty else "optional"

    @property
    def pattern(self) -> str:
        """How it is named: `ndcg[@k]`, `p@k`, `rbp(p=...)[@k]`."""
        needed = [f"{k}=..." for k, v in self.parameters.items() if v.default is inspect.Parameter.empty]
        cutoff = {"none": "", "optional": "[@k]", "required": "@k"}[self.cutoff]
        return _shown(self.function.__name__) + (f"({','.join(needed)})" if needed else "") + cutoff


_DEFINITIONS: dict[str, Definition] = {}
_NAME = re.compile(r"^(?P<base>[a-z_0-9-]+?)(?:\((?P<args>.*)\))?(?:@(?P<k>[0-9]+))?$", re.IGNORECASE)
#: a run has no more hits, and ranks are compared as int64
_DEEPEST = 2**31 - 1

#: `1:3;2:9`: the gain of grade 1 is 3, of grade 2 it is 9
Gains = NewType("Gains", str)
#: `0.25;0.5`: levels of recall
Levels = NewType("Levels", str)
#: a measure's canonical name
MeasureName = NewType("MeasureName", str)

#: the name that is shown, where the field says something else than the function's name
SHOWN = {"ap": "map", "rr": "mrr"}


@dataclass(frozen=True)
class Measure:
    """base: the function's name; k: cutoff or None; args: further parameters that differ from the default."""

    base: str
    k: int | None = None
    args: tuple[tuple[str, Value], ...] = ()

    @property
    def name(self) -> str:
        """The canonical name, e.g. `ndcg@10`, `p(rel=2)@5`, `map`, `mrr@10`."""
        values = (f"{k}={_plain(v) if isinstance(v, float) else v}" for k, v in self.args)
        args = f"({','.join(values)})" if self.args else ""
        return SHOWN.get(self.base, self.base) + args + (f"@{self.k}" if self.k is not None else "")

    def __str__(self) -> str:
        return self.name

    @property
    def has_tie_band(self) -> bool:
        """Whether the order of tied documents by grade gives the best and the worst value."""
        # Gains of one's own need not rise with the grade.
        return (
            self.definition.by_grade and self.definition.aggregate != "run" and "gains" not in dict(self.args)
        )

    @property
    def definition(self) -> Definition:
        return definitions()[self.base]

    def at(self, level: int) -> Measure:
        """The measure as it is reckoned on a dataset whose relevant documents are those of this grade and above: a
        measure of binary relevance that names no `rel` takes it."""
        if level == 1:
            return self
        definition, args = self.definition, dict(self.args)
        for key, hint in definition.hints.items():
            if hint is MeasureName and key in definition.parameters:
                inner = args.get(key, definition.parameters[key].default)
                args[key] = parse(str(inner)).at(level).name
        if "rel" in definition.parameters:
            args.setdefault("rel", level)
        return Measure(
            self.base, self.k, tuple((key, args[key]) for key in definition.parameters if key in args)
        )

    def compute(self, judged: Any) -> Any:
        """float64 [queries] of a `judged.Judged`; one float where the definition's aggregate is `run`."""
        return self.definition.function(judged, k=self.k, **dict(self.args))

    def aggregate(self, values: Any) -> float:
        """The run's figure of per-query values (float64 [queries]): 0.0 without queries, NaN where the measure is
        defined for none of them."""
        import numpy as np

        defined = values[~np.isnan(values)]
        if not len(defined):
            return float("nan") if len(values) else 0.0
        values = defined
        how = self.definition.aggregate
        if how == "sum":
            return float(values.sum())
        if how == "geometric":
            return float(np.exp(np.log(np.maximum(values, SMALLEST)).mean()))
        return float(values.mean())


@overload
def register(function: Callable[..., Any], /) -> Callable[..., Any]: ...
@overload
def register(
    *,
    aggregate: Aggregate = "mean",
    needs: tuple[str, ...] = (),
    lower: bool = False,
    by_grade: bool = True,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]: ...
def register(
    function: Callable[..., Any] | None = None,
    /,
    *,
    aggregate: Aggregate = "mean",
    needs: tuple[str, ...] = (),
    lower: bool = False,
    by_grade: bool = True,
) -> Any:
    """Makes a measure of a function under its own name: `@register`, or `@register(aggregate="sum")`."""

    def add(function: Callable[..., Any]) -> Callable[..., Any]:
        if function.__name__ in _DEFINITIONS:
            raise ValueError(f"measure {function.__name__} is defined twice")
        _DEFINITIONS[function.__name__] = Definition(function, aggregate, needs, lower, by_grade)
        return function

    return add if function is None else add(function)


@cache
def definitions() -> dict[str, Definition]:
    """All measures by base name."""
    import importlib

    for family in FAMILIES:
        importlib.import_module(f"seekbench.metrics.{family}")
    return _DEFINITIONS


def parse(name: str) -> Measure:
    """The measure of a name in our spelling or another tool's. Raises InputError."""
    if len(many := expanded(name)) > 1:
        raise InputError(
            f"metric '{name}' stands for {len(many)}", remedy=f"name one, e.g. {parse(many[0]).name}"
        )
    match = _NAME.match(translated(name)) if len(name) <= 300 else None
    if not match:
        parts = [p for p in re.split(r"[\s,]+", name.strip()) if p]
        several = len(parts) > 1 and all(_NAME.match(p) for p in parts)
        raise InputError(
            f"can't read the metric '{name[:100]}'",
            remedy="name them one by one: " + " and ".join(parts[:3])
            if several
            else "e.g. ndcg@10, recall@100, map, mrr@10, p(rel=2)@5",
        )
    base = match["base"].lower()
    base = ALIASES.get(base, base)
    if base not in definitions():
        raise InputError(f"unknown metric '{name}'", remedy=_near(match["base"], match["k"]))
    definition = definitions()[base]
    k = int(match["k"]) if match["k"] else None
    if k == 0:
        raise InputError(f"metric '{name}': the cutoff must be at least 1")
    if k is not None and k > _DEEPEST:
        raise InputError(f"metric '{name}': the cutoff is too large", remedy=f"at most {_DEEPEST}")
    if k is None and definition.cutoff == "required":
        raise InputError(f"metric '{name}' needs a cutoff", remedy=f"e.g. {_shown(base)}@10")
    if k is not None and definition.cutoff == "none":
        raise InputError(f"metric '{name}': {_shown(base)} takes no cutoff", remedy="cut the run itself")
    given: dict[str, Value] = {}
    known = definition.parameters
    for part in top_level(match["args"] or ""):
        key, equals, text = (p.strip() for p in part.partition("="))
        if key not in known:
            raise InputError(f"metric '{name}': unknown parameter '{key}'", remedy=did_you_mean(key, known))
        if not equals or not text or key in given:
            raise InputError(f"metric '{name}': {key} must be given once, as {key}=value")
        given[key] = _value(name, key, text, definition.hints[key])
    for key, parameter in known.items():
        if parameter.default is inspect.Parameter.empty and key not in given:
            raise InputError(f"metric '{name}' needs {key}", remedy=f"as in {definition.pattern}")
    # In the order that the function declares, whatever order they were given in: equal measures are equal values.
    args = ((key, given[key]) for key, p in known.items() if key in given and given[key] != p.default)
    return Measure(base, k, tuple(args))


def _near(base: str, k: str | None) -> str:
    shown = [_shown(b) for b in definitions()]
    remedy = did_you_mean(base, shown) or did_you_mean(base, ALIASES)
    if not remedy.startswith("did you mean"):
        return remedy or "`seekbench ls metrics` lists them"

    def with_cutoff(found: re.Match[str]) -> str:
        ours = definitions().get(ALIASES.get(found[1], found[1]))
        return f"'{found[1]}@{k}'" if ours and ours.cutoff != "none" else f"'{found[1]}'"

    return re.sub(r"'([a-z_]+)'", with_cutoff, remedy) if k else remedy


def _shown(base: str) -> str:
    return SHOWN.get(base, base)


#: bounds of parameters: lowest, highest, whether these are allowed
_BOUNDS: Mapping[str, tuple[float, float, bool]] = {
    "p": (0, 1, False),
    "recall": (0, 1, True),
    "alpha": (0, 1, True),
    "beta": (0, 1000, False),
    "x": (0, 1e6, False),
    "mult": (0, 1000, False),
    "max": (1, 50, True),
    "depth": (1, _DEEPEST, True),
    "rel": (1, _DEEPEST, True),
}


def _value(name: str, key: str, text: str, hint: Any) -> Value:
    """A parameter's value as its type says."""
    try:
        if hint is int:
            number: int | float = int(_ascii(text))
        elif hint is float:
            number = float(_ascii(text))
            if not isfinite(number):
                raise ValueError
        else:
            return _word(name, key, text, hint)
    except ValueError as error:
        what = {int: "a whole number", float: "a number"}.get(hint, str(error))
        raise InputError(f"metric '{name}': {key} must be {what}, not '{text}'") from None
    low, high, closed = _BOUNDS.get(key, (-inf, inf, True))
    if not (low <= number <= high if closed else low < number < high):
        if key == "rel" and number < low:
            raise InputError(f"metric '{name}': rel must be at least 1", remedy="grade 0 is not relevant")
        span = f"from {low} to {high}" if closed else f"between {low} and {high}"
        raise InputError(f"metric '{name}': {key} must be {span}")
    return number


def _ascii(text: str) -> str:
    """Python's own numbers may have underscores and any script's digits."""
    if not re.fullmatch(r"[+-]?[0-9.]+(e[+-]?[0-9]+)?", text, re.IGNORECASE):
        raise ValueError
    return text


def _word(name: str, key: str, text: str, hint: Any) -> str:
    if hint is Gains:
        return ";".join(f"{level}:{_plain(gain)}" for level, gain in sorted(split_gains(text)))
    if hint is Levels:
        return ";".join(_plain(level) for level in split_levels(text))
    if hint is MeasureName:
        measure = parse(text)
        if measure.definition.aggregate != "mean":
            raise InputError(f"metric '{name}': {key} must be a mean over queries, not {measure.name}")
        return measure.name
    allowed = get_args(hint)
    if text not in allowed:
        raise InputError(
            f"metric '{name}': {key} can't be '{text}'", remedy=did_you_mean(text, map(str, allowed))
        )
    return text


def _plain(number: float) -> str:
    """A number as short as it reads back to the same one."""
    text = repr(number)
    return text.removesuffix(".0")


def split_gains(text: str) -> tuple[tuple[int, float], ...]:
    """(grade, gain) pairs of `1:3;2:9`. Raises ValueError."""
    out = {}
    for part in filter(None, text.split(";")):
        level, colon, gain = part.partition(":")
        if not colon or not level.strip().isdigit() or int(level) in out or abs(float(gain)) > 1e9:
            raise ValueError("grade:gain pairs as in 1:3;2:9")
        out[int(level)] = float(gain)
    if any(gain != gain for gain in out.values()):
        raise ValueError("grade:gain pairs as in 1:3;2:9")
    return tuple(out.items())


def split_levels(text: str) -> tuple[float, ...]:
    """Levels of recall of `0.25;0.5`. Raises ValueError."""
    levels = tuple(float(part) for part in filter(None, text.split(";")))
    if any(not 0 <= level <= 1 for level in levels):
        raise ValueError("levels of recall from 0 to 1, as in 0.25;0.5")
    return levels


def parse_all(names: Sequence[str], *, where: str = "metrics") -> list[Measure]:
    """Parses many, without repeating one; all mistakes are reported together. trec_eval's lists of cutoffs (`P.5,10`)
    and its groups (`official`, `set`, `all_trec`) stand for many."""
    report, out = Report(), []
    for name in (n for given in names for n in expanded(given)):
        try:
            measure = parse(name)
        except InputError as error:
            report.error("metric", str(error), where=where)
            continue
        if measure not in out:
            out.append(measure)
    report.raise_if_errors()
    return out


def listing() -> list[tuple[str, str]]:
    """(how it is named, its definition in a line) of all measures, for `seekbench ls`."""
    found = [
        (d.pattern, (inspect.getdoc(d.function) or "").split("\n", 1)[0]) for d in definitions().values()
    ]
    return sorted(found)


def describe(name: str) -> str:
    """All about a measure by name, with or without its cutoff and parameters, for `seekbench show`.

    Raises InputError.
    """
    base = ALIASES.get(name.lower(), name.lower())
    try:
        measure = parse(name)
    except InputError:
        if base not in definitions():
            raise
        definition, given = definitions()[base], {}
        lines = [f"metric {definition.pattern}"]
    else:
        definition, given = measure.definition, dict(measure.args)
        lines = [f"metric {measure.name}"]
    for key, parameter in definition.parameters.items():
        allowed = " | ".join(map(str, get_args(definition.hints[key])))
        default = parameter.default if parameter.default is not inspect.Parameter.empty else "(must be given)"
        lines.append(f"  {key}={given.get(key, default)}{f'   of {allowed}' if allowed else ''}")
    how = {"mean": "", "sum": "summed over queries", "run": "a figure of the whole run, none a query"}
    if how.get(definition.aggregate):
        lines.append(f"  {how[definition.aggregate]}")
    return "\n".join([*lines, inspect.getdoc(definition.function) or ""])
