"""Tables of text for the terminal, Markdown, LaTeX and CSV."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

Format = Literal["table", "md", "latex", "csv"]
#: Names are not cut to less.
_SHORTEST_NAME = 12


@dataclass(frozen=True)
class Text:
    """A cell: what is shown, whether it is the best or the second best of its column, and the full value that CSV
    writes instead."""

    shown: str
    best: bool = False
    value: Any = None
    second: bool = False


@dataclass
class Grid:
    """columns: headers; rows: cells as Text or str. title, notes: said above and below. left: columns of text, which
    are not aligned to the right. csv_columns: other headers for CSV, where each must be unique."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Text | str]]
    title: str = ""
    notes: Sequence[str] = ()
    left: frozenset[int] = field(default_factory=lambda: frozenset({0}))
    csv_columns: Sequence[str] | None = None

    def cells(self) -> list[list[Text]]:
        return [[c if isinstance(c, Text) else Text(c) for c in row] for row in self.rows]


def best_shown(values: Iterable[float | None], lower: bool) -> float | None:
    """The best figure, the lowest if `lower`, as tables show it; None where none is defined."""
    shown = [round(v, 4) for v in values if v is not None and math.isfinite(v)]
    return (min(shown) if lower else max(shown)) if shown else None


def two_best(values: Iterable[float | None], lower: bool) -> tuple[float | None, float | None]:
    """The best and the second best figure, as tables show them; None where there is none."""
    shown = {round(v, 4) for v in values if v is not None and math.isfinite(v)}
    order = [*sorted(shown, reverse=not lower), None, None]
    return order[0], order[1]


def render(grids: Iterable[Grid], format: Format) -> str:
    """All grids in a text format (`table` is for `as_rich`)."""
    how = {"md": as_markdown, "latex": as_latex, "csv": as_csv}[format]
    return "\n".join(how(grid) for grid in grids)


def as_markdown(grid: Grid) -> str:
    lines = [f"### {grid.title}", ""] if grid.title else []
    lines.append("| " + " | ".join(_md(c) for c in grid.columns) + " |")
    lines.append(
        "|" + "|".join(" --- " if i in grid.left else " ---: " for i in range(len(grid.columns))) + "|"
    )
    shown = [[f"**{_md(c.shown)}**" if c.best and c.shown else _md(c.shown) for c in r] for r in grid.cells()]
    lines += ["| " + " | ".join(row) + " |" for row in shown]
    return "\n".join([*lines, "", *(f"{_md(n)}  " for n in grid.notes)]).rstrip() + "\n"


def as_latex(grid: Grid) -> str:
    """A booktabs tabular; notes stand as comments above it."""
    lines = [f"% {line}" for line in [grid.title, *grid.notes] if line]
    lines.append(r"% needs \usepackage{booktabs}, and amssymb for the triangles")
    align = "".join("l" if i in grid.left else "r" for i in range(len(grid.columns)))
    lines += [rf"\begin{{tabular}}{{{align}}}", r"\toprule"]
    lines.append(" & ".join(_latex(c) for c in grid.columns) + r" \\")
    lines.append(r"\midrule")
    for row in grid.cells():
        lines.append(" & ".join(_emphasised(c) for c in row) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def _emphasised(cell: Text) -> str:
    """The best bold, the second best underlined."""
    shown = _latex(cell.shown)
    if not shown or not (cell.best or cell.second):
        return shown
    return rf"\textbf{{{shown}}}" if cell.best else rf"\underline{{{shown}}}"


def as_csv(grid: Grid) -> str:
    """With full values, where a cell has one; a pair (an interval) fills two columns. Title and notes are left out."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    cells = grid.cells()
    pairs = {i for row in cells for i, c in enumerate(row) if isinstance(c.value, tuple)}
    header: list[str] = []
    for i, name in enumerate(grid.csv_columns or grid.columns):
        header += [f"{name}_lower", f"{name}_upper"] if i in pairs else [name]
    writer.writerow(header)
    for row in cells:
        line: list[Any] = []
        for i, c in enumerate(row):
            value = (c.shown if c.shown != "–" else None) if c.value is None else c.value
            line += list(value if isinstance(value, tuple) else (None, None)) if i in pairs else [value]
        # Not defined is an empty field.
        writer.writerow(["" if isinstance(v, float) and v != v else v for v in line])
    return out.getvalue()


def as_rich(grid: Grid, width: int | None = None) -> Any:
    """A rich table, best in bold. Systems are rows, or columns where that is what fits into `width` characters."""
    from rich.table import Table
    from rich.text import Text as Rich

    columns, rows, left = list(grid.columns), grid.cells(), grid.left
    if width is not None and _width(columns, rows) > width:
        lines = [[Text(name), *(row[i + 1] for row in rows)] for i, name in enumerate(columns[1:])]
        turned = [columns[0], *(row[0].shown for row in rows)]
        if _width(turned, lines) < _width(columns, rows):
            columns, rows, left = turned, lines, frozenset({0})
    table = Table(title=None, show_edge=False, pad_edge=False, header_style="bold")
    for i, name in enumerate(columns):
        table.add_column(Rich(printable(name)), justify="left" if i in left else "right", overflow="fold")
    for row in rows:
        table.add_row(
            *(
                Rich(printable(c.shown), style="bold" if c.best else "underline" if c.second else "")
                for c in row
            )
        )
    return table


def split(grid: Grid, width: int) -> list[Grid]:
    """Tables of at most `width` characters, each with the first column and some of the others; the grid alone where it
    fits, also with rows as columns, or where texts are too long to be set beside others."""
    cells = grid.cells()
    widths = _widths(grid.columns, cells)
    turned = _widths(
        [grid.columns[0], *(row[0].shown for row in cells)],
        [[Text(name), *(row[i + 1] for row in cells)] for i, name in enumerate(grid.columns[1:])],
    )
    if min(sum(widths), sum(turned)) <= width:
        return [grid]
    if 0 in grid.left:
        cells = _shorter_names(cells, widths, width)
        widths = _widths(grid.columns, cells)
    if widths[0] + max(widths[1:], default=0) > width:
        return [grid]
    parts: list[list[int]] = [[]]
    for i, own in enumerate(widths[1:], 1):
        if widths[0] + sum(widths[j] for j in parts[-1]) + own > width:
            parts.append([])
        parts[-1].append(i)
    return [
        replace(
            grid,
            columns=[grid.columns[i] for i in (0, *part)],
            rows=[[row[i] for i in (0, *part)] for row in cells],
            left=frozenset(place for place, i in enumerate((0, *part)) if i in grid.left),
            csv_columns=None,
        )
        for part in parts
    ]


def _shorter_names(cells: list[list[Text]], widths: list[int], width: int) -> list[list[Text]]:
    """Rows with their names cut to two fifths of the width, so that more columns stand beside them, if they still
    differ; or to what the widest column leaves."""
    names = [row[0].shown for row in cells]
    left = width - max(widths[1:], default=0) - 3
    for room, must_differ in ((min(left, width * 2 // 5), True), (left, False)):
        shorter = [cut(name, room) for name in names] if room >= _SHORTEST_NAME else names
        if not must_differ or len(set(shorter)) == len(set(names)):
            return [[replace(row[0], shown=name), *row[1:]] for row, name in zip(cells, shorter, strict=True)]
    return cells


def fitted(grid: Grid, texts: Iterable[int], width: int, *, least: int = 16, drop: bool = False) -> Grid:
    """The grid with its columns of texts cut so that it is at most `width` characters wide.

    Where less than `least` characters would be left of each, they are cut to that, or left out if `drop`.
    """
    from rich.cells import cell_len

    chosen, cells = list(texts), grid.cells()
    rest = [i for i in range(len(grid.columns)) if i not in chosen]
    needed = sum(max(map(cell_len, [grid.columns[i], *(row[i].shown for row in cells)])) + 3 for i in rest)
    room = (width - needed) // max(1, len(chosen)) - 3
    if drop and room < least:
        left = frozenset(place for place, i in enumerate(rest) if i in grid.left)
        return replace(
            grid,
            columns=[grid.columns[i] for i in rest],
            rows=[[r[i] for i in rest] for r in cells],
            left=left,
        )
    rows = [
        [replace(c, shown=cut(c.shown, max(least, room))) if i in chosen else c for i, c in enumerate(row)]
        for row in cells
    ]
    return replace(grid, rows=rows)


def cut(text: str, width: int) -> str:
    """At most `width` characters of a terminal of a text on one line, what can't be printed left out; ends in … where
    it was longer."""
    from rich.cells import cell_len

    shown = "".join(c if c.isprintable() else " " for c in text)
    shown = " ".join(shown.split())
    if cell_len(shown) <= width:
        return shown
    shown = shown[:width]  # no character is narrower than one
    while cell_len(shown) > width - 1:
        shown = shown[:-1]
    return shown.rstrip() + "…"


def _width(columns: Sequence[str], rows: Sequence[Sequence[Text]]) -> int:
    return sum(_widths(columns, rows))


def _widths(columns: Sequence[str], rows: Sequence[Sequence[Text]]) -> list[int]:
    """Characters of each column, with what stands between two."""
    cells = zip(columns, *([c.shown for c in row] for row in rows), strict=True)
    return [max(map(len, column)) + 3 for column in cells]


def printable(text: str) -> str:
    """What a terminal would obey, as the sign for what can't be shown."""
    return "".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in text)


def _md(text: str) -> str:
    return printable(text).replace("|", "\\|").replace("*", "\\*").replace("<", "&lt;").replace("\n", " ")


#: The characters of LaTeX's own, and of our tables, that its fonts would not print.
_LATEX = {
    "\\": r"\textbackslash{}", "|": r"\textbar{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "[": "{[}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "▲": r"$\blacktriangle$",
    "▼": r"$\blacktriangledown$", "◆": r"$\blacklozenge$",
    "<": r"$<$", ">": r"$>$", "Δ": r"$\Delta$", "–": "--", "±": r"$\pm$", "−": "$-$",
}  # fmt: skip


def _latex(text: str) -> str:
    # A minus is no hyphen.
    signed = re.sub(r"(?<![\w-])-(?=[\d.])", "−", printable(text))
    return "".join(_LATEX.get(c, c) for c in signed).replace("\n", " ")
