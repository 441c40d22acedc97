"""Entries of lists by a computed index, as LLVM IR.

Why: to read V numbers from V places costs V loads and more, and an embedding does so for each of its features.  A
short list that is the same for all lanes fits into a few registers, from which AVX-512 picks V numbers at once
(VPERMI2PS, VPERMI2PD: those of two registers).

Where to start reading: ``entry_at``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from valuegrad.lower.vectors import BROADCAST

if TYPE_CHECKING:
    from valuegrad.lower.vectors import Vectors
    from valuegrad.lower.writer import Whole

__all__ = ["entry_at", "fits_registers", "registers"]

MOST_TABLE = 4  # registers of a list: from two of them is picked at once
EXACT = {64: 1 << 53, 32: 1 << 24}  # integers of lists' lengths that numbers of so many bits represent


def fits_registers(v: Vectors, column: int, length: int, sharing: int) -> bool:
    """Whether a list is picked from registers: to fill them takes about as long as to gather half as many numbers.

    Args:
        v: what the function is written with.
        column: of the list's first entry.
        length: of the list.
        sharing: how many vectors are picked from it.
    """
    return v.is_wide() and length <= min(MOST_TABLE, 2 * sharing) * v.lanes and v.along[column] == BROADCAST


def registers(v: Vectors, where: str, length: int, step: Whole) -> list[str]:
    """The entries of a list: V in each register, in the last one perhaps fewer.

    Args:
        v: what the function is written with.
        where: the address of the first entry.
        length: of the list.
        step: bytes from an entry to the next.
    """
    w, t, found = v.w, v.type(), []
    for first in range(0, length, v.lanes):
        held = "poison"
        for k in range(min(v.lanes, length - first)):
            far = w.mul(step, first + k)
            at = where if far == 0 else w(f"getelementptr i8, ptr {where}, i64 {far}")
            entry = w(f"load {v.scalar}, ptr {at}, align {v.item}")
            held = w(f"insertelement {t} {held}, {v.scalar} {entry}, i64 {k}")
        found.append(held)
    return found


def entry_at(
    v: Vectors, column: int, where: str, length: Whole, step: Whole, index: str, table: list[str] | None
) -> str:
    """The entry at an index: from the end if negative; outside of the list its nearest entry, for nan the first.

    Args:
        v: what the function is written with.
        column: of the list's first entry.
        where: its address.
        length: of the list.
        step: bytes from an entry to the next.
        index: a number, or one for each element of the vector.
        table: the list's ``registers``; None: it is read from memory.

    Raises:
        NotImplementedError: a list so long that numbers cannot say each of its places.
    """
    if isinstance(length, int) and length >= EXACT[v.bits]:
        raise NotImplementedError(f"a list of {length} entries in float{v.bits}")
    place = _place(v, length, index)
    if table is not None:
        return _picked(v, table, place)
    w, i64 = v.w, v.type("i64")
    if v.bits == 32:
        place = w(f"zext {v.type('i32')} {place} to {i64}")
    offset = w(f"mul {i64} {place}, {v.splat('i64', step)}")
    if v.width == 1:
        return w(f"load {v.scalar}, ptr {w(f'getelementptr i8, ptr {where}, i64 {offset}')}, align {v.item}")
    return v.gathered(v.pointers(column, where, offset))


def _place(v: Vectors, length: Whole, index: str) -> str:
    """Which entry an index means, 0 for the first: integers as wide as the numbers."""
    w, t, whole = v.w, v.type(), v.type(f"i{v.bits}")
    if isinstance(length, int):
        first, end = v.constant(-float(length)), v.constant(float(length))
    else:
        end = w(f"sitofp {v.type('i64')} {v.splat('i64', length)} to {t}")
        first = w(f"fneg {t} {end}")
    after = w(f"fcmp ogt {t} {index}, {first}")
    inside = w(f"select {v.type('i1')} {after}, {t} {index}, {t} {first}")  # the first one for nan
    before = w(f"fcmp olt {t} {inside}, {end}")
    inside = w(f"select {v.type('i1')} {before}, {t} {inside}, {t} {end}")
    signed = w(f"fptosi {t} {inside} to {whole}")
    if v.bits == 32 and not isinstance(length, int):
        length = w(f"trunc i64 {length} to i32")
    count = v.splat(f"i{v.bits}", length)
    last = w(f"sub {whole} {count}, {v.splat(f'i{v.bits}', 1)}")
    signed = w(f"select {v.type('i1')} {w(f'icmp slt {whole} {signed}, {last}')}, {whole} {signed}, {whole} {last}")
    from_end = w(f"add {whole} {signed}, {count}")
    is_less = w(f"icmp ult {whole} {signed}, {from_end}")  # unsigned: a negative number is a large one
    return w(f"select {v.type('i1')} {is_less}, {whole} {signed}, {whole} {from_end}")


def _picked(v: Vectors, table: list[str], place: str) -> str:
    """For each element the entry of a table in registers."""
    w, t, whole = v.w, v.type(), v.type(f"i{v.bits}")
    found = [v.picked(table[k], table[min(k + 1, len(table) - 1)], place) for k in range(0, len(table), 2)]
    if len(found) == 1:
        return found[0]
    is_near = w(f"icmp ult {whole} {place}, {v.splat(f'i{v.bits}', 2 * v.lanes)}")
    return w(f"select {v.type('i1')} {is_near}, {t} {found[0]}, {t} {found[1]}")
