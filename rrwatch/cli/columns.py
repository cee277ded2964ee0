"""Aligned columns of plain text, fast for thousands of rows."""

import os
import shutil
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TextIO

from rrwatch.report.text import visible

_GAP = 2  # spaces between two columns
_LEAST = 8  # cells that a column keeps when it is cut
_MORE = "…"


@dataclass(frozen=True, slots=True)
class Size:
    """The room on a terminal.

    Attributes:
        columns, lines: in cells.
    """

    columns: int
    lines: int


def size_of(stream: TextIO) -> Size | None:
    """Returns the size of a terminal; None if the stream is none, and nothing needs to be cut."""
    return Size(*shutil.get_terminal_size()) if stream.isatty() else None


def has_colors(stream: TextIO) -> bool:
    """Whether a stream shows colors, and the user wants them (https://no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def cells(text: str) -> int:
    """Returns how many cells a terminal needs for a text: some letters need two, some none."""
    if text.isascii() or text.replace(_MORE, "").isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def cut(text: str, width: int | None) -> str:
    """Returns a text that fits, with … in the place of what does not."""
    if width is None or cells(text) <= width:
        return text
    if width < 1:
        return ""
    kept = text[: width - 1]  # a letter needs two cells at most
    while cells(kept) > width - 1:
        kept = kept[:-1]
    return kept + _MORE


def cut_front(text: str, width: int) -> str:
    """Returns a text that fits, of which the end is kept."""
    return cut(text[::-1], width)[::-1]


def columns(
    titles: Sequence[str],
    rows: Sequence[Sequence[object]],
    width: int | None = None,
    *,
    right: Collection[str] = (),
    fixed: Collection[str] = (),
    keys: Collection[str] = (),
) -> list[str]:
    """Returns the lines of a table, the titles first. Text that is not printable is escaped.

    Args:
        titles: of the columns.
        rows: a cell for each column; None is an empty cell.
        width: the longest line in cells; None for no limit.
        right: titles of the columns that are aligned to the right.
        fixed: titles of the columns that are not cut as long as others can be.
        keys: titles of the columns that are cut at the front: of a key, the end says most.
    """
    table = [[*titles], *(["" if cell is None else visible(str(cell)) for cell in row] for row in rows)]
    widths = [max(map(cells, column)) for column in zip(*table, strict=True)]
    if width is not None:
        _narrow(widths, [title in fixed for title in titles], width)
        cuts = [cut_front if title in keys else cut for title in titles]
        table = [[one(cell, most) for one, cell, most in zip(cuts, row, widths, strict=True)] for row in table]
    is_right = [title in right for title in titles]
    gap = " " * _GAP
    lines = [
        gap.join(_padded(cell, most, at_right) for cell, most, at_right in zip(row, widths, is_right, strict=True))
        for row in table
    ]
    return [cut(line.rstrip(), width) for line in lines]


def _padded(cell: str, width: int, at_right: bool) -> str:
    # str.ljust counts characters, which are cells only in ASCII.
    blank = " " * (width - cells(cell))
    return blank + cell if at_right else cell + blank


def _narrow(widths: list[int], is_fixed: Sequence[bool], width: int) -> None:
    """Takes cells away from the widest columns until a line fits, or every column is as narrow as it may be."""
    room = width - _GAP * (len(widths) - 1)
    for candidates in [i for i, one in enumerate(is_fixed) if not one], range(len(widths)):
        while sum(widths) > room:
            widest = max(candidates, key=lambda i: widths[i], default=None)
            if widest is None or widths[widest] <= _LEAST:
                break
            widths[widest] -= 1
