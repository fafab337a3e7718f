"""Seconds of the parts of an index, kept beside it while it is made."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson

from seekbench.store import write_atomic

_SECONDS = "seconds.json"


class Work:
    """Seconds of the parts of an index, over all calls that it took."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / _SECONDS
        self.seconds: dict[str, float] = {}
        if self.path.exists():
            self.seconds = orjson.loads(self.path.read_bytes())

    @contextmanager
    def timed(self, part: str) -> Iterator[None]:
        """Adds the time of the block."""
        before, began = self.seconds.get(part, 0.0), time.perf_counter()
        try:
            yield
        finally:
            self.take(part, before + time.perf_counter() - began)

    def take(self, part: str, seconds: float) -> None:
        self.seconds[part] = seconds
        write_atomic(self.path, orjson.dumps(self.seconds))

    def encoded(self, part: str, facts: Mapping[str, Any]) -> None:
        """The time of an encoding, which another system may have made."""
        self.take(f"encoding of {part}", float(facts.get("encode_seconds") or facts.get("seconds") or 0.0))

    def total(self) -> float:
        return sum(self.seconds.values())

    def rounded(self) -> dict[str, float]:
        return {part: round(seconds, 3) for part, seconds in self.seconds.items()}
