"""Tables and lists for terminals of any width: what does not fit wraps or gets a line of its own, and no digit is cut."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

# Rich is slow to import, and `dpe env` and `dpe db url` do not need it.
if TYPE_CHECKING:
    from rich.console import RenderableType

# Between the columns of a table; and the least width at which a column of text may break words.
_GAP = 2
_NARROWEST_TEXT = 20


def pairs(named: Sequence[tuple[str, str]]) -> RenderableType:
    """Return names with their values, one per line; both wrap in a narrow terminal."""
    from rich.table import Table as RichTable
    from rich.text import Text

    grid = RichTable.grid(padding=(0, 2, 0, 0))
    grid.add_column(overflow="fold")
    grid.add_column(overflow="fold")
    for name, value in named:
        grid.add_row(Text(name, style="dim"), Text(value))
    return grid


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], numeric: Sequence[bool], width: int) -> RenderableType:
    """Return a table, or if the terminal is too narrow for it, one group of lines per row: a cut number would be another number."""
    from rich import box
    from rich.cells import cell_len
    from rich.console import Group
    from rich.table import Table as RichTable
    from rich.text import Text

    widest, narrowest = [], []
    for position, column in enumerate(columns):
        cells = [row[position] for row in rows]
        parts = [*column.split(), *(cells if numeric[position] else [part for cell in cells for part in cell.split()])]
        longest = max(map(cell_len, parts), default=0)
        widest.append(max(map(cell_len, [column, *cells])))
        narrowest.append(longest if numeric[position] else min(longest, _NARROWEST_TEXT))
    available = width - _GAP * (len(columns) - 1)
    if sum(narrowest) > available:
        groups = [pairs(list(zip(columns, row, strict=True))) for row in rows]
        return Group(*(part for group in groups for part in (Text(""), group)))
    made = RichTable(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), show_edge=False, header_style="dim")
    for column, is_numeric, chosen in zip(columns, numeric, _shared(available, narrowest, widest), strict=True):
        made.add_column(Text(column), justify="right" if is_numeric else "left", width=chosen, overflow="fold")
    for row in rows:
        made.add_row(*map(Text, row))
    return made


def _shared(available: int, narrowest: Sequence[int], widest: Sequence[int]) -> list[int]:
    """Return the widths of columns: what is left after the narrowest is given to those that need least, so that few of them wrap."""
    chosen = list(narrowest)
    left = available - sum(narrowest)
    needy = sorted(range(len(chosen)), key=lambda position: widest[position] - narrowest[position])
    for done, position in enumerate(needy):
        more = min(widest[position] - narrowest[position], left // (len(needy) - done))
        chosen[position] += more
        left -= more
    return chosen
