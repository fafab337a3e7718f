"""The files of a library folder and the public definitions in them. They are parsed, never imported."""

from __future__ import annotations

import ast
import hashlib
import io
import os
import platform
import sys
import sysconfig
import tokenize
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path

from seekbench.errors import MissingError

#: Folders that are not read. Tests and demonstrations are no library; lib2to3 and ensurepip are programs
#: of their own with vendored parts; `encodings` is one generated file a code page, near-copies of each other.
SKIPPED_FOLDERS = frozenset(
    {"test", "tests", "idle_test", "idlelib", "turtledemo", "lib2to3", "ensurepip", "encodings", "pydoc_data"}
)

Node = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def standard_library() -> Path:
    """The folder of the running interpreter's standard library."""
    folder = Path(sysconfig.get_path("stdlib"))
    if not (folder / "argparse.py").is_file():
        raise MissingError(
            f"{folder} holds no sources of the standard library, which the dataset pydocs is made from: "
            "use an interpreter that comes with them"
        )
    return folder


def library_files(stdlib: Path, unreadable: list[str] | None = None) -> list[Path]:
    """The public modules below a folder, sorted by module name.

    A part that is private (`_pyio.py`, `__pycache__`) or no identifier (`site-packages`, `lib-dynload`)
    can't be in a public function's name.
    """

    def failed(error: OSError) -> None:
        if unreadable is not None:
            unreadable.append(str(error.filename))

    found: list[tuple[tuple[str, ...], Path]] = []
    for parent, folders, files in os.walk(stdlib, onerror=failed):
        folders[:] = [f for f in folders if _is_public(f) and f not in SKIPPED_FOLDERS]
        for file in files:
            stem, extension = os.path.splitext(file)
            if extension == ".py" and (stem == "__init__" or _is_public(stem)):
                path = Path(parent, file)
                found.append((module_name(path.relative_to(stdlib)), path))
    return [path for _, path in sorted(found)]


def identity(stdlib: Path) -> dict[str, str]:
    """What the content depends on besides the reader's code: the interpreter and the bytes of all files.

    The bytes and not their sizes and times: distributions patch the library, and reading it takes a tenth of
    a second. The interpreter too, since its parser decides where a function begins and ends.
    """
    digest = hashlib.sha256()
    for path in library_files(stdlib):
        digest.update(path.relative_to(stdlib).as_posix().encode() + b"\0")
        try:
            data = path.read_bytes().replace(b"\r\n", b"\n")
            digest.update(b"%d\0" % len(data) + data)
        except OSError:
            digest.update(b"unreadable\0")
    return {"interpreter": interpreter(), "sha256": digest.hexdigest()}


def interpreter() -> str:
    """The dataset's version, e.g. `cpython-3.11.7`."""
    return f"{sys.implementation.name}-{platform.python_version()}"


def _is_public(name: str) -> bool:
    return name.isidentifier() and not name.startswith("_")


def module_name(relative: Path) -> tuple[str, ...]:
    """The parts of a module's name, by its path below the library folder."""
    parts = relative.with_suffix("").parts
    return parts[:-1] if parts[-1] == "__init__" else parts


def decode(data: bytes) -> str:
    """A file's text by its declared encoding, without byte order mark, lines ended by \\n.

    Raises SyntaxError for an unknown encoding and UnicodeDecodeError.
    """
    encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
    return data.decode(encoding).replace("\r\n", "\n").replace("\r", "\n")


def parse(text: str) -> ast.Module:
    """A module's syntax tree. Raises what ast.parse raises."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # invalid escapes in old modules are no concern of the user
        return ast.parse(text)


def definitions(body: Iterable[ast.AST], names: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Node]]:
    """The public classes, functions and methods below a module's body, in the order of their positions.

    Not what is inside functions. names: the parts of the module's name.
    """
    for node in body:
        if isinstance(node, Node):
            if not node.name.startswith("_"):
                yield (*names, node.name), node
                if isinstance(node, ast.ClassDef):
                    yield from definitions(node.body, (*names, node.name))
        elif isinstance(node, ast.stmt | ast.excepthandler | ast.match_case):
            # Below `if`, `try` or `with` it is still this level.
            yield from definitions(ast.iter_child_nodes(node), names)
