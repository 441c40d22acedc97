"""Tables for people: the same cells as Markdown, in the terminal, as plain text and as a piece of HTML.

Why: whatever explains a number ends in a table, and each table is shown in four places.

Data structures: ``Cells``, a header and lines of texts, with what stands above and below them.  A class that can
be shown derives from ``Shown`` and says what its cells are; the ways of showing are here.

Where to start reading: ``Shown``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from valuegrad.pictures.cards import Html, card, paragraph, table

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["Cells", "Shown"]

WIDEST_TITLE = 9  # in the terminal a longer column title is broken into lines, so that the figures have room


@dataclass(frozen=True)
class Cells:
    """A table as texts.

    Args:
        header: the columns' titles.
        lines: a text for each column.
        title: what the table is about; "" for none.
        notes: sentences that stand below.
    """

    header: Sequence[str]
    lines: Sequence[Sequence[str]]
    title: str = ""
    notes: Sequence[str] = field(default=())


class Shown:
    """What is shown as a table: derive from it and define ``_cells`` (or ``_tables``, if there are several).

    Example:
        >>> class Sum(Shown):
        ...     def _cells(self):
        ...         return Cells(["a", "b", "a + b"], [["1", "2", "3"]])
        >>> print(Sum())
        a  b  a + b
        1  2  3
        >>> print(Sum().markdown())
        | a | b | a + b |
        | --- | --- | --- |
        | 1 | 2 | 3 |
    """

    def _cells(self) -> Cells:
        raise NotImplementedError

    def _tables(self) -> list[Cells]:
        return [self._cells()]

    def __str__(self) -> str:
        """The tables as plain text, in columns."""
        return "\n\n".join(map(_plain, self._tables()))

    def __repr__(self) -> str:
        """The same: at a prompt one asks to see the table, not how it is kept."""
        return str(self)

    def markdown(self) -> str:
        """The tables in Markdown, with their notes."""
        return "\n\n".join(part for cells in self._tables() for part in _markdown_parts(cells))

    def html(self) -> str:
        """The tables as a piece of HTML, complete in itself: texts are escaped, and it fits light and dark pages."""
        return card(*[part for cells in self._tables() for part in _html_parts(cells)])

    def _repr_html_(self) -> str:
        return self.html()

    def __rich__(self) -> Any:
        """The tables for the terminal: ``rich.print(table)``."""
        from rich.console import Group

        tables = [_rich(cells) for cells in self._tables()]
        return tables[0] if len(tables) == 1 else Group(*[part for table in tables for part in (table, "")][:-1])


def _plain(cells: Cells) -> str:
    rows = [cells.header, *cells.lines] if cells.lines else []
    widths = [max(len(row[i]) for row in rows) for i in range(len(cells.header))] if rows else []
    lines = ["  ".join(text.ljust(width) for text, width in zip(row, widths)).rstrip() for row in rows]
    return "\n".join([*([cells.title] if cells.title else []), *lines, *cells.notes])


def _markdown_parts(cells: Cells) -> list[str]:
    parts = [_markdown(cells.title)] if cells.title else []
    if cells.lines:
        texts = [cells.header, ["---"] * len(cells.header), *cells.lines]
        parts.append("\n".join(f"| {' | '.join(map(_markdown, line))} |" for line in texts))
    return [*parts, *map(_markdown, cells.notes)]


def _html_parts(cells: Cells) -> list[Html]:
    parts = [paragraph(cells.title, group="vg-quiet")] if cells.title and not cells.lines else []
    if cells.lines:
        parts.append(table(cells.header, cells.lines, cells.title))
    return [*parts, *[paragraph(note, group="vg-quiet") for note in cells.notes]]


def _rich(cells: Cells) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    shown = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False, caption_justify="left")
    if cells.title:
        shown.title, shown.title_justify = Text(cells.title), "left"
    for title in cells.header if cells.lines else ():
        broken = "\n".join(wrap(title, WIDEST_TITLE, break_long_words=False))
        shown.add_column(Text(title.replace(" to ", "\nto ") if "Nudge " in title else broken), overflow="fold")
    for line in cells.lines:
        shown.add_row(*map(Text, line))
    if cells.notes:
        shown.caption = Text("\n".join(cells.notes))
    return shown


def _markdown(text: str) -> str:
    """A text as Markdown shows it letter by letter, inside a table too."""
    for sign in "\\_|<":
        text = text.replace(sign, f"\\{sign}")
    return text.replace("\n", " ")
