"""What pydantic says of a file, in lines with file, line and a suggestion; and what its models allow."""

from __future__ import annotations

import re
from collections.abc import Sequence
from types import UnionType
from typing import Annotated, Any, TypeGuard, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from seekbench.errors import Report, did_you_mean
from seekbench.yamlfile import Marked, Path_


def add_validation_errors(
    report: Report,
    error: ValidationError,
    marked: Marked,
    prefix: Path_,
    model: type[BaseModel],
    what: str = "a config",
    given: Any = None,
) -> None:
    """Turns pydantic's errors into lines with file, line and a suggestion.

    given: the value that was validated, if not what the file has at `prefix` (a sweep changes it).
    """
    if given is None:
        given = marked.value
        for part in prefix:
            given = given[part]
    said: set[tuple[Path_, str]] = set()
    for item in error.errors():
        kind, context = item["type"], item.get("ctx", {})
        path, owner = _place(model, item["loc"], given)
        if kind in ("union_tag_invalid", "union_tag_not_found"):
            path = (*path, str(context["discriminator"]).strip("'"))
        dotted = ".".join(map(str, path))
        if kind == "extra_forbidden":
            level = ".".join(map(str, path[:-1])) or what
            known = owner.model_fields if owner else ()
            message, remedy = f"{level} has no key '{path[-1]}'", did_you_mean(str(path[-1]), known)
        elif kind in ("missing", "union_tag_not_found"):
            message, remedy = f"the key '{dotted}' is missing", ""
        elif kind == "union_tag_invalid":
            message = f"{dotted}: unknown '{context['tag']}'"
            remedy = did_you_mean(str(context["tag"]), re.findall(r"'([^']*)'", context["expected_tags"]))
        else:
            shown = item.get("input")
            text = "" if isinstance(shown, dict | list) else f", not {shown!r}"
            cause = item["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
            said_of = f"{dotted}: " if dotted else ""
            message, remedy = f"{said_of}{cause[:1].lower()}{cause[1:]}{text}", ""
        at: Path_ = (*prefix, *path)
        if (at[: len(prefix) + 1], message) in said:
            continue
        said.add((at[: len(prefix) + 1], message))
        where, line = marked.where(at)
        report.error(f"config-{kind}", message, where=where, line=line, remedy=remedy)


def _place(
    model: type[BaseModel], loc: Sequence[int | str], given: Any
) -> tuple[Path_, type[BaseModel] | None]:
    """The keys of the file that pydantic's location stands for, and the model that the last of them is a field of.

    pydantic says the tried member of a union, too, by its tag or by its type's name, which is no key of the file.
    """
    path: list[str | int] = []
    owner: type[BaseModel] | None = None
    current: Any = model
    for part in loc:
        members = union_members(current)
        if len(members) > 1 and isinstance(part, str):
            # A union says first which member it tried; of what has no model, the location ends there.
            current = next((m for m in members if _answers_to(m, part)), None)
            continue
        found = members[0] if members else None
        if is_model(found):
            owner = found
            field = found.model_fields.get(str(part))
            current = field.annotation if field else None
        else:
            if isinstance(part, str) and not (isinstance(given, dict) and part in given):
                continue
            owner = None
            args = [a for a in get_args(found) if a is not Ellipsis]
            current = args[-1] if args else None
        path.append(part)
        if isinstance(given, dict):
            given = given.get(part)
        elif isinstance(given, list) and isinstance(part, int) and part < len(given):
            given = given[part]
        else:
            given = None
    return tuple(path), owner


def is_model(kind: Any) -> TypeGuard[type[BaseModel]]:
    """Whether a type is that of nested parameters."""
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def union_members(kind: Any) -> list[Any]:
    """The types that a type annotation allows, without None; [kind] where it is no union."""
    if get_origin(kind) is Annotated:
        return union_members(get_args(kind)[0])
    if get_origin(kind) in (Union, UnionType):
        return [m for a in get_args(kind) if a is not type(None) for m in union_members(a)]
    return [kind]


def tag_of(model: type[BaseModel]) -> tuple[str, str] | None:
    """(field, its only value) that tells a model of a union from the others; None where it has no such field."""
    for name, field in model.model_fields.items():
        values = get_args(field.annotation)
        if len(values) == 1 and isinstance(values[0], str):
            return name, values[0]
    return None


def _answers_to(member: Any, said: str) -> bool:
    if not is_model(member):
        return False
    tag = tag_of(member)
    return bool(said == member.__name__ or (tag and said == tag[1]))
