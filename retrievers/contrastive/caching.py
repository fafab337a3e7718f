"""Gradients of a batch that does not fit into memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

#: Side and texts.
Chunk = tuple[str, list[str]]


def cached(
    chunks: Sequence[Chunk],
    encode: Callable[[Chunk], tuple[torch.Tensor, torch.Tensor]],
    score: Callable[[Sequence[tuple[torch.Tensor, torch.Tensor]]], torch.Tensor],
) -> torch.Tensor:
    """The loss of all chunks, whose `backward` encodes them again one at a time (gradient caching, Gao et al. 2021,
    arXiv 2101.06983).

    The gradient is that of the whole: of the loss for the vectors, then of each chunk's vectors for the weights, under
    the chunk's own dropout. It is added to the weights' `grad`; torch.autograd.grad sees nothing of it.
    """
    import torch

    states, parts = [], []
    for chunk in chunks:
        states.append(_random_state())
        with torch.no_grad():
            vectors, mask = encode(chunk)
        parts.append((vectors.detach().requires_grad_(), mask))
    with torch.enable_grad():
        value = score(parts)
        gradients = torch.autograd.grad(value, [vectors for vectors, _ in parts])
    out = value.detach().requires_grad_()

    def replay(factor: torch.Tensor) -> None:
        after = _random_state()
        for chunk, state, gradient in zip(chunks, states, gradients, strict=True):
            _set_random_state(state)
            with torch.enable_grad():
                vectors, _ = encode(chunk)
            if vectors.requires_grad:  # a query that is looked up in a table teaches nothing
                vectors.backward(gradient * factor)  # type: ignore[no-untyped-call]
        _set_random_state(after)

    out.register_hook(replay)  # type: ignore[no-untyped-call]
    return out


def _random_state() -> tuple[torch.Tensor, list[torch.Tensor]]:
    import torch

    return torch.get_rng_state(), torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []


def _set_random_state(state: tuple[torch.Tensor, list[torch.Tensor]]) -> None:
    import torch

    torch.set_rng_state(state[0])
    if state[1]:
        torch.cuda.set_rng_state_all(state[1])
