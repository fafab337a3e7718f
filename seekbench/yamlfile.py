"""YAML with line numbers: plain values, and for each of them the file and line that it came from.

Numbers and booleans follow YAML 1.2 (`1e-5` is a number, `no` is a word): PyYAML's 1.1 rules read the
language code of Norwegian as false. A repeated key is an error, never a silent override.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from seekbench.errors import InputError, Report

Path_ = tuple[str | int, ...]


class _Loader(yaml.SafeLoader):
    """SafeLoader (data only, never code) with YAML 1.2's core schema for scalars."""


_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("tag:yaml.org,2002:bool", r"^(?:true|True|TRUE|false|False|FALSE)$", "tTfF"),
    ("tag:yaml.org,2002:int", r"^[-+]?[0-9]+$", "-+0123456789"),
    (
        "tag:yaml.org,2002:float",
        r"^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$|^[-+]?\.(?:inf|Inf|INF)$|^\.(?:nan|NaN|NAN)$",
        "-+0123456789.",
    ),
    ("tag:yaml.org,2002:null", r"^(?:~|null|Null|NULL|)$", ["~", "n", "N", ""]),
):
    _Loader.add_implicit_resolver(_tag, re.compile(_pattern), list(_first))


def _int(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    return int(node.value)  # YAML 1.1 would read 010 as octal


def _float(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> float:
    return float(node.value.lower().replace(".inf", "inf").replace(".nan", "nan"))


_Loader.add_constructor("tag:yaml.org,2002:int", _int)
_Loader.add_constructor("tag:yaml.org,2002:float", _float)


@dataclass
class Marked:
    """A value and where each part of it stands: path of keys and positions -> (file, line)."""

    value: Any
    marks: dict[Path_, tuple[str, int | None]] = field(default_factory=dict)

    def where(self, path: Path_) -> tuple[str, int | None]:
        """File and line of a path, or of its nearest parent that is written down."""
        while path and path not in self.marks:
            path = path[:-1]
        return self.marks.get(path, ("", None))


def parse_value(text: str) -> Any:
    """A single YAML value, e.g. of `--set a.b=[1, 2]`."""
    try:
        return yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        raise InputError(f"can't read the value {text!r}: {_first_line(error)}") from None


def load(path: Path, shown: str | None = None) -> Marked:
    """Reads one YAML file. Raises InputError with file:line for what is no YAML, and for repeated keys."""
    name = shown or str(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise InputError("no such file", where=name) from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"can't read it: {error}", where=name) from None
    report, loader = Report(), None
    try:
        loader = _Loader(text)  # which refuses control characters at once
        node = loader.get_single_node()
        marked = Marked(None)
        if node is not None:
            marked.value = _build(loader, node, (), name, marked.marks, report)
        marked.marks[()] = (name, 1)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else None
        raise InputError(f"no valid YAML: {error.problem}", where=name, line=line) from None
    except yaml.YAMLError as error:
        raise InputError(f"no valid YAML: {_first_line(error)}", where=name) from None
    finally:
        if loader is not None:
            loader.dispose()
    report.raise_if_errors()
    return marked


def _build(
    loader: _Loader,
    node: yaml.Node,
    path: Path_,
    name: str,
    marks: dict[Path_, tuple[str, int | None]],
    report: Report,
) -> Any:
    marks.setdefault(path, (name, node.start_mark.line + 1))
    if isinstance(node, yaml.MappingNode):
        out: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                report.error(
                    "yaml-key", "a key must be a word", where=name, line=key_node.start_mark.line + 1
                )
                continue
            key = key_node.value
            line = key_node.start_mark.line + 1
            if key in out:
                report.error(
                    "yaml-repeated-key",
                    f"the key '{key}' is repeated",
                    where=name,
                    line=line,
                    remedy=f"first at line {marks[(*path, key)][1]}; keep one",
                )
                continue
            marks[(*path, key)] = (name, line)
            out[key] = _build(loader, value_node, (*path, key), name, marks, report)
        return out
    if isinstance(node, yaml.SequenceNode):
        return [_build(loader, item, (*path, i), name, marks, report) for i, item in enumerate(node.value)]
    try:
        return loader.construct_object(node, deep=True)
    except (yaml.YAMLError, ValueError) as error:
        report.error(
            "yaml-value",
            f"can't read this value: {_first_line(error)}",
            where=name,
            line=node.start_mark.line + 1,
        )
        return None


def _first_line(error: Exception) -> str:
    problem = getattr(error, "problem", None)
    return str(problem) if problem else (str(error).splitlines() or [type(error).__name__])[0]
