"""The scripts of others, taken from their Python packages when a page is written: DataTables (from itables) sorts and
filters tables, plotly.js draws.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
from pathlib import Path

from seekbench.errors import MissingError

_EXPORT = re.compile(r"export\{([^{}]*)\};?")


def datatables() -> str:
    """itables' bundle as a classic script that sets `window.DataTable`.

    The bundle is a module, and a browser loads no module from disk (its origin is nobody's); a module whose only export
    is a list at its end is a function body otherwise.
    """
    text = _file("itables", "html/dt_bundle.js").read_text(encoding="utf-8")
    exports = list(_EXPORT.finditer(text))
    names = re.search(r"(\w+) as default", exports[0].group(1)) if len(exports) == 1 else None
    if names is None or "import.meta" in text:
        raise MissingError("itables' bundle of DataTables is not in the form that seekbench knows")
    body = text[: exports[0].start()] + f"window.DataTable={names.group(1)};" + text[exports[0].end() :]
    return '(()=>{"use strict";' + body + "})();\n"


def plotly() -> bytes:
    return _file("plotly", "package_data/plotly.min.js").read_bytes()


def licences() -> str:
    """The licences of both, and where they came from."""
    of_tables, of_plots = (importlib.metadata.version(name) for name in ("itables", "plotly"))
    return f"""Two scripts in this folder are the work of others, both under the MIT licence.

datatables.js: DataTables and its extensions (SpryMedia Ltd, https://datatables.net/license/mit) and jQuery, as bundled
by itables {of_tables}, made a classic script. Their own notices stand at its end.

{_licence("itables")}

plotly.js: as packaged by plotly {of_plots} (https://plotly.com/javascript).

{_licence("plotly")}"""


def _licence(package: str) -> str:
    files = importlib.metadata.files(package) or []
    texts = [Path(str(f.locate())).read_text(encoding="utf-8") for f in files if f.name.startswith("LICENSE")]
    return texts[0] if texts else "(the package has no text of its licence)\n"


def _file(package: str, path: str) -> Path:
    """A file of an installed package, which is not imported for it: that takes seconds."""
    spec = importlib.util.find_spec(package)
    places = (spec.submodule_search_locations if spec else None) or []
    for place in places:
        if (file := Path(place) / path).is_file():
            return file
    raise MissingError(f"the package '{package}' lacks {path}; install it (pip install {package})")
