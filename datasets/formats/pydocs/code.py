"""The variant `code`: a document is the source of a function without its docstring.

- Functions without a docstring are documents too: distractors, as a real code base has them.
- A function whose source says nothing but its signature (`pass`, `raise NotImplementedError`) gives no query
  of its own: there is nothing to find it by except its name.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence

from seekbench.datasets.formats.pydocs.collection import Definition
from seekbench.datasets.formats.pydocs.docstrings import defect, first_sentence
from seekbench.datasets.formats.pydocs.library import definitions, parse

Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions(text: str, prefix: tuple[str, ...] = ()) -> Iterator[Definition]:
    """The public functions and methods of a module's text.

    Functions inside functions are part of the outer one's source and no documents of their own. Raises what
    ast.parse raises.
    """
    tree = parse(text)
    # Positions are in UTF-8 bytes of lines as the tokenizer sees them: \f and others do not end a line.
    lines = [line + b"\n" for line in text.encode().split(b"\n")]
    for names, node in definitions(tree.body, prefix):
        if not isinstance(node, Function):
            continue
        docstring = ast.get_docstring(node, clean=False)
        sentence = "" if docstring is None else first_sentence(docstring, node.name)
        why = "without_docstring" if docstring is None else defect(sentence)
        yield Definition(
            ".".join(names),
            node.lineno,
            source_without_docstring(lines, node),
            "" if why else sentence,
            (why,) if why else (),
            _has_code(node),
        )


def source_without_docstring(lines: Sequence[bytes], node: Function) -> str:
    """The function's source from its first decorator on, minus exactly the docstring, dedented.

    The docstring's lines go where nothing else stands on them; comments, `; statement` after it and all
    other layout stay. lines: the module's lines in UTF-8.
    """
    # Whole lines: nothing but comments can share one with a definition.
    first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
    pieces = list(lines[first - 1 : node.end_lineno])
    if ast.get_docstring(node, clean=False) is not None:
        # The statement and not its constant: it spans parentheses and implicit concatenation.
        statement = node.body[0]
        top, bottom = statement.lineno - first, (statement.end_lineno or statement.lineno) - first
        before = pieces[top][: statement.col_offset]
        after = pieces[bottom][statement.end_col_offset :].strip().removeprefix(b";").lstrip()
        rest = before + after if after else before.rstrip()
        pieces[top : bottom + 1] = [rest + b"\n"] if rest else []
    pieces[0] = pieces[0].lstrip(b"\f")
    indent = pieces[0][: len(pieces[0]) - len(pieces[0].lstrip(b" \t"))]
    # Not textwrap.dedent: a string's lines may begin further left than the code, and must not stop the rest.
    return b"".join(piece.removeprefix(indent) for piece in pieces).decode().rstrip()


def _has_code(node: Function) -> bool:
    """Whether the body does anything besides `pass`, constants, and raising NotImplementedError."""
    for statement in node.body:
        if isinstance(statement, ast.Pass):
            continue
        if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
            continue
        if isinstance(statement, ast.Raise):
            raised = statement.exc.func if isinstance(statement.exc, ast.Call) else statement.exc
            if isinstance(raised, ast.Name) and raised.id == "NotImplementedError":
                continue
        return True
    return False
