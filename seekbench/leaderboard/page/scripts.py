"""Data as scripts: a page that was opened from disk may not fetch files, but may load scripts."""

from __future__ import annotations

from typing import Any

import orjson

#: What would end a script, begin a comment in it, or end a line in older JavaScript. All of them stand in JSON's
#: strings only, where an escape means the same.
_ESCAPES = (
    ("<", "\\u003c"),
    (">", "\\u003e"),
    ("&", "\\u0026"),
    ("\u2028", "\\u2028"),
    ("\u2029", "\\u2029"),
)


def json_text(value: Any) -> str:
    """JSON that is safe inside a <script> element of any type. NaN and infinity become null."""
    text = orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY).decode()
    for character, escape in _ESCAPES:
        text = text.replace(character, escape)
    return text


def data_script(name: str, value: Any) -> bytes:
    """A script that hands a value to the page under a name (`page.js`, `put`)."""
    return f"seekbench.put({json_text(name)}, {json_text(value)});\n".encode()
