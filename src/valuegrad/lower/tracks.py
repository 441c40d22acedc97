"""Where the operands of a loop's iterations are, and what was read of them.

Where to start reading: ``Loads.read``.
"""

from __future__ import annotations

from collections.abc import Sequence as Listed
from typing import Any

from valuegrad.lower.loops import Loops
from valuegrad.lower.vectors import BROADCAST, SIDE_BY_SIDE
from valuegrad.roll.sequences import Track

__all__ = ["Loads"]


class Loads:
    """Addresses of tracks, and what was read from them.

    Args:
        e: the emitter, at work on a function.
        tracks: of the kernel.
        name: for tables.
    """

    def __init__(self, e: Loops, tracks: list[Track], name: str) -> None:
        self.e, self.w, self.tracks, self.name = e, e.w, tracks, name
        self.where = [e.space(track.space, track.group) for track in tracks]  # pointer, unit, beginning
        e.memory = [memory for memory, _, _ in self.where]
        e.along = [BROADCAST if e.single or memory == "%uniform" else SIDE_BY_SIDE for memory in e.memory]
        self.fixed: dict[Any, Any] = {}
        self.now: dict[Any, Any] = {}
        self.t: Any = 0

    def begin(self, t: Any) -> None:
        """From here on it is iteration t."""
        self.t, self.now = t, {}

    def offset(self, c: int) -> tuple[Any, int]:
        """Bytes of this iteration's element: what changes, and a constant."""
        track, (_, unit, base) = self.tracks[c], self.where[c]
        if track.table is None:
            key = ("move", track.step * unit)
            if key not in self.now:
                self.now[key] = self.w.mul(self.t, track.step * unit)
            return self.now[key], base + track.first * unit
        name = f"@{self.name}_{c}"
        key = ("table", c)
        if key not in self.now:
            rows = ", ".join(f"i64 {x}" for x in (track.table * unit).tolist())
            text = f"{name} = private unnamed_addr constant [{len(track.table)} x i64] [{rows}]"
            if text not in self.e.tables:
                self.e.tables.append(text)
            self.now[key] = self.w("load i64, ptr " + self.w(f"getelementptr i64, ptr {name}, i64 {self.t}"))
        return self.now[key], base

    def address(self, c: int) -> str:
        """Where this iteration's element is."""
        pointer = self.where[c][0]
        move, constant = self.offset(c)
        if isinstance(move, int):
            return str(self.w(f"getelementptr i8, ptr {pointer}, i64 {move + constant}"))
        key = (pointer, move)
        if key not in self.now:
            self.now[key] = self.w(f"getelementptr i8, ptr {pointer}, i64 {move}")
        return str(self.w(f"getelementptr i8, ptr {self.now[key]}, i64 {constant}"))

    def number(self, c: int) -> Any:
        """What a guard's track says: its number."""
        move, constant = self.offset(c)
        return self.w.add(move, constant)

    def steady(self, c: int) -> bool:
        """Whether all iterations find the same."""
        return self.tracks[c].table is None and self.tracks[c].step == 0

    def read(self, c: int) -> str:
        """This iteration's element, loaded once; what is steady once for all."""
        known = self.fixed if self.steady(c) else self.now
        if ("value", c) not in known:
            known["value", c] = self.e.load(c, self.address(c))
        found: str = known["value", c]
        return found

    def side_by_side(self, columns: Listed[int]) -> bool:
        """Whether what columns hold lies one after the other in memory, in each iteration."""
        return self.apart(columns) == self.e.item

    def apart(self, columns: Listed[int]) -> int | None:
        """How many bytes each column is from the one before, in each iteration; None if they are no row."""
        found = self.e.item
        track, (pointer, unit, base) = self.tracks[columns[0]], self.where[columns[0]]
        for k, c in enumerate(columns[1:], 1):
            other, (memory, size, begin) = self.tracks[c], self.where[c]
            if (memory, size, other.step) != (pointer, unit, track.step) or (other.table is None) != (
                track.table is None
            ):
                return None
            moved = begin - base + (other.first - track.first) * unit
            if track.table is not None:
                apart = (other.table - track.table) * unit
                if (apart != apart[0]).any():
                    return None
                moved = begin - base + int(apart[0])
            found = moved if k == 1 else found
            if moved != k * found:
                return None
        return found

    def ahead(self, columns: set[int]) -> None:
        """Read what is the same in all iterations, before them."""
        for c in sorted(columns):
            if self.steady(c):
                self.read(c)
