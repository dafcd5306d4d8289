"""Wide tables as lines of text. Rich takes .3 s to lay out a hundred runs; counting characters takes .01 s."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from everloop.cli.frame import table
from everloop.domain.widths import width_of

WIDEST = 60
"""Characters of a cell that are shown."""


def lines(columns: Sequence[str], rows: Sequence[Sequence[str]], *, right: Iterable[str] = ()) -> Any:
    """A table like `frame.table`, for cells that are text already. On a terminal that is too narrow, rich folds it.

    >>> print(lines(["name", "rmse"], [["first", "0.5"]], right=["rmse"]))
    name   rmse
    ───────────
    first   0.5
    """
    cells = [[_one_line(cell) for cell in row] for row in rows]
    widths = [max(map(width_of, column)) for column in zip(columns, *cells, strict=True)]
    total = sum(widths) + 2 * (len(widths) - 1)
    if sys.stdout.isatty() and total > shutil.get_terminal_size().columns:
        return table(columns, rows, right=right)
    numeric = set(right)
    made = [
        "  ".join(
            _padded(cell, width, right=name in numeric)
            for cell, width, name in zip(row, widths, columns, strict=True)
        ).rstrip()
        for row in (list(columns), *cells)
    ]
    return "\n".join([made[0], "─" * total, *made[1:]])


def _one_line(cell: str) -> str:
    """A cell that cannot leave its line, nor tell the terminal what to do; a long one is cut."""
    if len(cell) > WIDEST:
        cell = cell[: WIDEST - 1] + "…"
    if cell.isprintable():
        return cell
    return "".join(each if each.isprintable() else " " for each in cell)


def _padded(cell: str, width: int, *, right: bool) -> str:
    space = " " * (width - width_of(cell))
    return space + cell if right else cell + space
