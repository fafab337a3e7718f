"""What finds the documents that are scored: all of them, or those that an approximation proposes.

`METHODS` names what can be built over token vectors. A method is built once (`build`), opened (`open_method`) and asked
for passages, best first by its own score (`candidates`); late interaction then ranks them.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from pydantic import Field

from seekbench.retrievers import protocol
from seekbench.retrievers.dense import ann
from seekbench.retrievers.multi_vector.heuristic import HeuristicParams
from seekbench.retrievers.multi_vector.muvera import MuveraParams
from seekbench.retrievers.multi_vector.plaid import PlaidParams
from seekbench.retrievers.protocol import Context

if TYPE_CHECKING:
    from seekbench.retrievers.multi_vector.maxsim import Packed
    from seekbench.retrievers.multi_vector.ragged import Ints
    from seekbench.retrievers.multi_vector.tokens import Tokens

_DEPTH: Any = Field(
    None,
    ge=1,
    description="documents that are scored by late interaction; as many as are asked for where not stated",
)


class ExactParams(protocol.Params):
    """Every document is scored."""

    type: Literal["exact"] = "exact"


class RerankParams(protocol.Params):
    """Documents that another retriever of the config found."""

    type: Literal["rerank"] = "rerank"
    of: str = Field(description="its name")
    depth: int | None = Field(None, ge=1, description="its first hits; all where not stated")


class MuveraCandidates(MuveraParams):
    """MUVERA: one vector a document whose inner product approximates late interaction."""

    type: Literal["muvera"] = "muvera"
    depth: int | None = _DEPTH


class PlaidCandidates(PlaidParams):
    """PLAID: centroids of token vectors, in stages."""

    type: Literal["plaid"] = "plaid"
    depth: int | None = Field(
        None,
        ge=1,
        description="documents that are scored by late interaction; all that stage 3 keeps where not stated",
    )


class HeuristicCandidates(HeuristicParams):
    """Documents that own a nearest token of a query's tokens."""

    type: Literal["heuristic"] = "heuristic"
    depth: int | None = _DEPTH


CandidatesParams = ExactParams | RerankParams | MuveraCandidates | PlaidCandidates | HeuristicCandidates

#: type -> ("module:Class", fields that change a search and no index; those of an `index` are `ann`'s to say).
METHODS: dict[str, tuple[str, tuple[str, ...]]] = {
    "muvera": ("muvera:Muvera", ("depth",)),
    "plaid": ("plaid:Plaid", ("depth", "ncells", "centroid_score_threshold", "ndocs", "query_maxlen")),
    "heuristic": ("heuristic:Heuristic", ("depth", "tokens_per_query_token")),
}


class Method(Protocol):
    """An opened method. counts: numbers by name, summed over all searches."""

    counts: dict[str, float]

    def candidates(self, queries: Packed, count: int, *, context: Context, k: int | None = None) -> Ints:
        """int64 [queries, <= count]: passages, best first, padded with -1. k: hits that are wanted in the end."""


def depth_of(params: Any, k: int, passages: int) -> int:
    """How many passages are scored for k hits."""
    unstated = passages if params.type == "plaid" else k  # its stages say how many they keep
    return min(params.depth or unstated, passages)


def method_class(type: str) -> Any:
    """The class of a method; its kernels are compiled and its libraries loaded when it is used."""
    module, _, name = METHODS[type][0].partition(":")
    return getattr(importlib.import_module(f"seekbench.retrievers.multi_vector.{module}"), name)


def index_part(params: Any) -> dict[str, Any]:
    """JSON: what an index of candidates depends on."""
    if params.type == "rerank":
        return {"type": "exact"}  # it scores what others found over the same vectors
    _, search_only = METHODS.get(params.type, ("", ()))
    values: dict[str, Any] = params.model_dump(mode="json", exclude=set(search_only))
    if hasattr(params, "index"):
        values["index"] = ann.fixed(params.index)
    return values


def build(params: Any, tokens: Tokens, folder: Path, *, context: Context) -> Mapping[str, Any]:
    """Builds the index of a method's candidates in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    facts: Mapping[str, Any] = method_class(params.type).build(
        tokens, folder, params, seed=params.seed, context=context
    )
    return facts


def open_method(params: Any, tokens: Tokens, folder: Path, *, context: Context) -> Method:
    method: Method = method_class(params.type)(folder, tokens, params, context=context)
    return method
