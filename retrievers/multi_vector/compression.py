"""Compressed stores of token vectors."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from seekbench.retrievers.multi_vector.params import Compression
from seekbench.retrievers.multi_vector.tokens import Tokens, rewrite
from seekbench.retrievers.protocol import Context
from seekbench.store import write_atomic

_FACTS = "codec.json"


def compress(
    tokens: Tokens, compression: Compression, folder: Path, *, context: Context, seed: int = 0
) -> tuple[Tokens, Mapping[str, Any]]:
    """(the store in `folder`, facts of its codec); continues what an interrupted call left."""
    folder.mkdir(parents=True, exist_ok=True)
    known = folder / _FACTS
    if not known.exists():
        facts: Mapping[str, Any] = {"type": compression.type}
        if compression.type == "residual":
            from seekbench.retrievers.multi_vector.residual import ResidualCodec

            codec = ResidualCodec.fit(
                tokens, bits=compression.bits, folder=folder, seed=seed, context=context
            )
            (folder / "codec").mkdir(exist_ok=True)
            codec.save(folder / "codec")
            facts = {**facts, "bits": compression.bits, **codec.facts}
        write_atomic(known, orjson.dumps(facts))
    return rewrite(tokens, folder, compression.type, context.progress), orjson.loads(known.read_bytes())
