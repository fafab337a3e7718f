"""Names of docid builders; a new one is a class and a line here. Modules are imported on first use."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any, ClassVar, Protocol, cast, runtime_checkable

from pydantic import ValidationError

from seekbench.errors import InputError, Report, did_you_mean
from seekbench.retrievers.generative.docids.inputs import BuildInputs
from seekbench.retrievers.generative.docids.sequences import Docids
from seekbench.retrievers.protocol import Params

_HERE = "seekbench.retrievers.generative.docids"

#: name -> ("module:Class", one line for `seekbench ls`)
BUILTIN: dict[str, tuple[str, str]] = {
    "atomic": (f"{_HERE}.numbers:Atomic", "one symbol of its own for each document"),
    "naive": (f"{_HERE}.numbers:Naive", "the row's decimal number, or the corpus' own id, as text"),
    "random": (f"{_HERE}.numbers:Random", "a random number of fixed length, as text"),
    "sequential": (
        f"{_HERE}.numbers:Sequential",
        "numbers in corpus order or along training histories (SID)",
    ),
    "title": (f"{_HERE}.texts:Title", "the title, made unique (GENRE)"),
    "url": (f"{_HERE}.texts:Url", "the words of the document's URL"),
    "ngram": (f"{_HERE}.texts:Ngram", "several distinctive n-grams of the document"),
    "description": (f"{_HERE}.texts:Description", "a query of the document (SE-DSI)"),
    "semantic": (f"{_HERE}.semantic:Semantic", "path in a hierarchical k-means (DSI)"),
    "semantic_2d": (f"{_HERE}.semantic:Semantic2D", "the same with symbols of its own on each level"),
    "pq": (f"{_HERE}.quantisation:PQ", "product quantisation of the vector"),
    "rqvae": (f"{_HERE}.rqvae:RQVAE", "codes of a residual-quantised autoencoder (LC-Rec)"),
    "collaborative": (f"{_HERE}.collaborative:Collaborative", "spectral clusters of co-occurrence (CID)"),
    "hybrid": (f"{_HERE}.hybrid:Hybrid", "docids of several builders, one after another (HID)"),
}


@runtime_checkable
class Builder(Protocol):
    """What makes docids. `build` is deterministic: equal inputs and parameters give equal docids whatever the
    number of threads. (Another machine or library version may round otherwise and move a document that lies
    between two clusters.)

    Params: its pydantic model. needs: the fields of `BuildInputs` that it takes.
    """

    Params: ClassVar[type[Params]]
    params: Any

    def __init__(self, params: Any) -> None: ...

    @property
    def needs(self) -> frozenset[str]: ...

    def build(self, inputs: BuildInputs) -> Docids:
        """Raises InputError where a needed input is absent or cannot be used."""


def known() -> dict[str, str]:
    """Name and one line of every builder."""
    return {name: line for name, (_, line) in BUILTIN.items()}


def resolve(name: str) -> type[Builder]:
    """The class of a builder. Raises InputError for an unknown name."""
    if name not in BUILTIN:
        raise InputError(f"unknown docids '{name}'", remedy=did_you_mean(name, BUILTIN))
    module, _, attribute = BUILTIN[name][0].partition(":")
    return cast("type[Builder]", getattr(importlib.import_module(module), attribute))


def make(name: str, params: Mapping[str, Any] | None = None) -> Builder:
    """A builder with these parameters. Raises InputError with every one that is wrong."""
    kind = resolve(name)
    try:
        return kind(kind.Params(**(params or {})))
    except ValidationError as error:
        report = Report()
        for one in error.errors():
            place = ".".join(str(part) for part in one["loc"])
            unknown = one["type"] == "extra_forbidden" and len(one["loc"]) == 1
            report.error(
                "docids",
                f"docids '{name}': {place}: {'unknown parameter' if unknown else one['msg']}",
                remedy=did_you_mean(place, kind.Params.model_fields) if unknown else "",
            )
        raise InputError(report=report) from None


def build(name: str, inputs: BuildInputs, params: Mapping[str, Any] | None = None) -> Docids:
    """Docids of one builder; see `make` and the builder's `Params`."""
    return make(name, params).build(inputs)
