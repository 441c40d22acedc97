"""Where the numbers of a tile's members are, as LLVM IR.

Why: members of a tile share rows and columns; what two of them read is read once, and its address computed once.

Where to start reading: ``Access.read``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from valuegrad.lower.boxes import BOXES
from valuegrad.lower.lookup import entry_at, fits_registers, registers
from valuegrad.lower.tiles import Place
from valuegrad.lower.writer import Whole

if TYPE_CHECKING:
    from valuegrad.lower.boxes import Box
    from valuegrad.lower.loops import Loops

__all__ = ["Access"]


class Access:
    """Addresses and numbers of a tile's columns, each computed and read once.

    Args:
        loops: the function being written.
        box: whose members.
    """

    def __init__(self, loops: Loops, box: Box) -> None:
        self.loops, self.box = loops, box
        self.pieces = [xy for pieces in loops.nest.pieces.values() for xy in pieces]
        self.addresses: dict[object, str] = {}
        self.loaded: dict[object, str] = {}
        self.tables: dict[object, list[str]] = {}
        self.bases: dict[tuple[str, Whole], str] = {}

    def offset(self, column: int, place: Place) -> tuple[Whole, int]:
        """How far a member's number is from the beginning of its space: so far, and so many bytes more."""
        box = self.box.of(place)
        base, more = box.bases[column], 0
        for d, i in place.items():
            s = 0 if d == BOXES else box.strides[d][column]
            if isinstance(s, int):
                more += i * s
            else:
                base = self.loops.w.add(base, self.loops.w.mul(s, i))
        return base, more

    def place(self, column: int, place: Place) -> tuple[str, int]:
        """The address of a member's number: one that others may share, and so many bytes more."""
        base, more = self.offset(column, place)
        key = self.loops.memory[column], base
        if key not in self.bases:
            self.bases[key] = self.loops.w(f"getelementptr i8, ptr {key[0]}, i64 {base}")
        return self.bases[key], more

    def where(self, column: int, place: Place) -> tuple[object, str]:
        """The address of a member's number; the key that it shares with members that have the same one."""
        w = self.loops.w
        key = (column, *[(d, i) for d, i in place.items() if self._moves(column, d, i)])
        if key not in self.addresses:
            base, more = self.offset(column, place)
            memory = self.loops.memory[column]
            if isinstance(base, int):
                at = w(f"getelementptr i8, ptr {memory}, i64 {base + more}")
            else:
                at = w(f"getelementptr i8, ptr {memory}, i64 {base}")
                at = w(f"getelementptr i8, ptr {at}, i64 {more}") if more else at
            self.addresses[key] = at
        return key, self.addresses[key]

    def _moves(self, column: int, d: int, i: int) -> bool:
        """Whether a column is elsewhere i members further along a dimension."""
        if d != BOXES:
            return self.box.strides[d][column] != 0
        steps = [(p, side) for p, xy in enumerate(self.pieces) for side, c in enumerate(xy) if c == column]

        def of(box: Box) -> list[object]:
            return [box.bases[column], [row[column] for row in box.strides], [box.inner[p][s::2] for p, s in steps]]

        return of(self.box.beside[i]) != of(self.box)

    def read(self, column: int, place: Place) -> str:
        """A member's number."""
        key, at = self.where(column, place)
        if key not in self.loaded:
            self.loaded[key] = self.loops.load(column, at)
        return self.loaded[key]

    def entry(self, column: int, place: Place, length: Whole, step: Whole, index: str, sharing: int) -> str:
        """Of a list that begins at a member's number, the entry at an index; so many members share the list."""
        key, at = self.where(column, place)
        if key not in self.tables and isinstance(length, int) and fits_registers(self.loops, column, length, sharing):
            self.tables[key] = registers(self.loops, at, length, step)
        return entry_at(self.loops, column, at, length, step, index, self.tables.get(key))
