"""Names of the page's files, from names of systems, datasets and metrics, which may hold anything."""

from __future__ import annotations

import re
from collections.abc import Iterable

_ODD = re.compile(r"[^a-z0-9@._-]+")
_MOST = 80


def file_names(names: Iterable[str]) -> dict[str, str]:
    """A name of a file, without ending, for each of different names: lower case, so that they stay apart on file
    systems that ignore case; no blank and nothing that a URL needs escaped."""
    out: dict[str, str] = {}
    taken: set[str] = set()
    for name in names:
        bare = _ODD.sub("-", name.lower()).strip("-.")[:_MOST] or "unnamed"
        chosen, n = bare, 2
        while chosen in taken:
            chosen, n = f"{bare}-{n}", n + 1
        taken.add(chosen)
        out[name] = chosen
    return out
