"""From a segment's kernels to LLVM IR.

How: each nest becomes a function, and the segment's function calls one after the other.  What a kernel leaves for
others lies in the frame after the segment's slots, where nobody needs any more what was there.

Where to start reading: ``emit_segment``.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from valuegrad.lower.inplace import InPlace
from valuegrad.lower.loops import ARGUMENTS, Loops
from valuegrad.lower.machine_code import What
from valuegrad.lower.sequential import ordered_loop
from valuegrad.lower.vectors import ATTRIBUTES, BLOCK, Target, is_call
from valuegrad.roll.again import computed_again
from valuegrad.roll.feeding import counting, fed
from valuegrad.roll.kernels import Column, Kernel
from valuegrad.roll.nests import nests_of
from valuegrad.roll.packs import packs_of
from valuegrad.roll.sequences import Chain, Sequence, Track, storage

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["emit_segment", "place_groups"]

LONGEST_TABLE = 1 << 14  # constants that a loop reads one after the other


def emit_segment(
    kernels: list[Kernel | Sequence | Chain],
    sizes: list[int],
    slots: int,
    *,
    name: str,
    target: Target,
    what: What,
    totals: NDArray[Any],
    constants: NDArray[Any],
    is_constant: NDArray[np.bool_],
    in_place: InPlace,
) -> tuple[str, int]:
    """The LLVM IR of a function that runs a segment.

    Args:
        kernels: of the segment, in order.
        sizes: for each group how many members it has.
        slots: of the segment's own in the frame.
        name: of the function.
        target: what it is written for.
        what: it computes.
        totals: for each sum over the lanes the scalar in which it ends; if these are all lanes it goes there at once.
        constants, is_constant: for each scalar whether it is one, and its value.
        in_place: which inputs and outputs are no scalars.

    Returns:
        The module, and how many slots the frame has in all.
    """
    lanes, single = BLOCK // (8 if target.dtype == "float64" else 4), what == "one lane"
    vectors = 2 if what == "two blocks" else 1
    kernels = [in_place.applied(k) if isinstance(k, Kernel) else k for k in kernels]
    if single:
        kernels = [replace(k, packs=packs_of(k, lanes, is_call)) if isinstance(k, Sequence) else k for k in kernels]
    kernels = computed_again(kernels, BLOCK // lanes if single else BLOCK)
    kernels = fed(kernels, lanes, is_call, single=single)
    exact = 2.0**53 if target.dtype == "float64" else 2.0**24
    kernels = [counting(k, constants, exact) if isinstance(k, Kernel) else k for k in kernels]
    sizes, held = storage(kernels, sizes)
    places, end = place_groups(kernels, sizes, lanes if single else 1, held)
    loops = Loops(target, single, slots, places, vectors)
    loops.are_all = what == "one block"
    loops.apart = {g: apart for g, (_, _, apart) in held.items()}
    used = slots + (-(-end // lanes) if single else end)
    loops.rooms_at = used * loops.block
    names = []
    for i, kernel in enumerate(kernels):
        if what != "blocks":
            columns: Any = [_total(column, kernel.members, totals) for column in kernel.columns]  # of the kernel's kind
            kernel = replace(kernel, columns=columns)
        if isinstance(kernel, Kernel):
            kernel = _with_tables(loops, f"{name}_{i}", kernel, constants, is_constant)
            for j, nest in enumerate(nests_of(kernel)):
                names.append(f"{name}_{i}_{j}")
                loops.function(names[-1], nest)
        else:
            names.append(f"{name}_{i}")
            loops.begin()
            ordered_loop(loops, names[-1], kernel)
            loops.end(names[-1])
    calls = [f"  call void @{nest}({ARGUMENTS.replace(' noalias', '')})" for nest in names]
    main = [f"define void @{name}({ARGUMENTS}) #0 {{", *calls, "  ret void", "}"]
    text = "\n".join([*sorted(loops.declared), *loops.tables, *loops.written, *main, ATTRIBUTES])
    return text, used + -(-loops.rooms_size // loops.block)


def _with_tables(
    loops: Loops, name: str, kernel: Kernel, constants: NDArray[Any], is_constant: NDArray[np.bool_]
) -> Kernel:
    """The kernel with a table in the code for each column of constants that are not side by side."""
    columns, lists = list(kernel.columns), kernel.lists()  # which go on from where a column says
    for c, column in enumerate(columns):
        if c in lists:
            continue
        irregular = column.space == "uniform" and kernel.members > 2 and bool(np.diff(column.at, 2).any())
        if irregular and kernel.members <= LONGEST_TABLE and is_constant[column.at].all():
            columns[c] = Column(loops.table(f"{name}_c{c}", constants[column.at]), -1, np.arange(kernel.members))
    return replace(kernel, columns=columns)


def _total(column: Column | Track, members: int, totals: NDArray[Any]) -> Column | Track:
    """Where a sum over the lanes goes if these are all lanes."""
    if column.space != "sum":
        return column
    if isinstance(column, Track):
        return Track("uniform", -1, 0, 0, totals[column.places(members)].astype(np.int64))
    return Column("uniform", -1, totals[column.at].astype(np.int64))


def place_groups(
    kernels: list[Kernel | Sequence | Chain],
    sizes: list[int],
    whole: int,
    held: dict[int, tuple[int, int, int]] | None = None,
) -> tuple[dict[int, int], int]:
    """Storage for the groups that kernels leave for others.

    Args:
        kernels: in order.
        sizes: for each group how many members it has.
        whole: each group's storage is a multiple of so many elements.
        held: groups that lie in the storage of another one (``sequences.storage``).

    Returns:
        For each group its first element, and how many elements there are in all.
    """
    begins: dict[int, int] = {}
    ends: dict[int, int] = {}
    for i, kernel in enumerate(kernels):
        for column in kernel.columns:
            if column.group >= 0:
                holder = held[column.group][0] if held and column.group in held else column.group
                begins.setdefault(holder, i)
                ends[holder] = i
    at: list[list[int]] = [[] for _ in kernels]
    after: list[list[int]] = [[] for _ in kernels]
    for g, i in begins.items():
        at[i].append(g)
        after[ends[g]].append(g)
    free, end = _Free(), 0
    places: dict[int, int] = {}
    for i in range(len(kernels)):
        for g in at[i]:
            size = -(-sizes[g] // whole) * whole
            places[g], end = free.take(size, end)
        for g in after[i]:
            free.give(places[g], -(-sizes[g] // whole) * whole)
    for g, (holder, begin, _) in reversed((held or {}).items()):  # a holder's own entry comes first
        places[g] = places[holder] + begin
    return places, end


class _Free:
    """Stretches of storage that nobody needs, in order: (first element, how many)."""

    def __init__(self) -> None:
        self.stretches: list[tuple[int, int]] = []

    def take(self, size: int, end: int) -> tuple[int, int]:
        """Room for `size` elements, the first that is large enough; the end of all storage, perhaps a new one."""
        for i, (first, room) in enumerate(self.stretches):
            if room >= size:
                self.stretches[i] = (first + size, room - size)
                return first, end
        if self.stretches and sum(self.stretches[-1]) == end:
            first, _ = self.stretches.pop()
            return first, first + size
        return end, end + size

    def give(self, first: int, size: int) -> None:
        """Give room back; neighbours become one."""
        joined: list[tuple[int, int]] = []
        for begin, room in sorted([*self.stretches, (first, size)]):
            if joined and sum(joined[-1]) == begin:
                joined[-1] = (joined[-1][0], joined[-1][1] + room)
            elif room:
                joined.append((begin, room))
        self.stretches = joined
