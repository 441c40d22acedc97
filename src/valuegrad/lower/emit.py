"""From a segment's kernels to LLVM IR.

How: each nest becomes a function, and the segment's function calls one after the other.  What a kernel leaves for
others lies in the frame after the segment's slots, where nobody needs any more what was there.

Where to start reading: ``emit_segment``.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from valuegrad.lower.alike import alike
from valuegrad.lower.inplace import InPlace
from valuegrad.lower.loops import Loops
from valuegrad.lower.machine_code import What
from valuegrad.lower.sequential import chains, sequence
from valuegrad.lower.sharing import Sharing, cycles_of
from valuegrad.lower.vectors import ATTRIBUTES, BLOCK, MOST_REGISTERS, Target, is_call
from valuegrad.lower.writer import ARGUMENTS, PARTS, Whole
from valuegrad.roll.again import computed_again
from valuegrad.roll.calls import calls_apart
from valuegrad.roll.feeding import counting, fed
from valuegrad.roll.found import Loop
from valuegrad.roll.kernels import Column, Kernel
from valuegrad.roll.laid_out import laid_out
from valuegrad.roll.nests import Nest, nests_of
from valuegrad.roll.order import chains_together, go_together, summed_early
from valuegrad.roll.packs import packs_of
from valuegrad.roll.rectangles import rectangles
from valuegrad.roll.rounds import Rounds
from valuegrad.roll.sequences import Chain, Sequence, Track, storage

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["emit_segment", "place_groups"]

LONGEST_TABLE = 1 << 14  # constants that a loop reads one after the other
SHARED = ARGUMENTS.replace(" noalias", "")  # of calls, and where other threads write, too
MEET = "  %meet = load ptr, ptr %meeting"  # the first member of VgMeeting of _crew.h
MEETS = "  call void %meet(ptr %meeting, i64 %first)"


def emit_segment(
    kernels: list[Loop],
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
    parts: int = 1,
    anyhow: bool = False,
    has_levels: bool = False,
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
        parts: how many threads share a block.
        anyhow: they do so even where it does not pay.
        has_levels: there are loops of many levels, which may do the same.

    Returns:
        The module, and how many slots the frame has in all.

    Raises:
        NotImplementedError: it is not worth it that threads share this.
    """
    lanes, single = BLOCK // target.item, what == "one lane"
    block = {"two blocks": 2 * BLOCK, "half a block": BLOCK // 2}.get(what, BLOCK)
    if block < BLOCK:  # of a vector's registers it takes half
        target = replace(target, registers=min(2 * target.registers, MOST_REGISTERS))
    if single:
        kernels = [replace(k, packs=packs_of(k, lanes, is_call)) if isinstance(k, Sequence) else k for k in kernels]
    kernels = computed_again(kernels, BLOCK // lanes if single else BLOCK)
    kernels = fed(kernels, lanes, is_call, single=single)
    if single:
        kernels, sizes = rectangles(kernels, sizes, lanes)
        kernels, sizes = calls_apart(kernels, sizes, lanes, is_call)
        kernels, sizes = laid_out(kernels, sizes, lanes)
    exact = 2.0**53 if target.dtype == "float64" else 2.0**24
    kernels = [counting(k, constants, exact) if isinstance(k, Kernel) else k for k in kernels]
    kernels = chains_together(summed_early(kernels))
    sizes, held = storage(kernels, sizes)
    places, end = place_groups(kernels, sizes, lanes if single else 1, held)
    loops = Loops(target, single, slots, places, block)
    loops.are_all = what in ("one block", "half a block", "shared block")
    loops.apart = {g: apart for g, (_, _, apart) in held.items()}
    used = slots + (-(-end // lanes) if single else end)
    loops.rooms_at = -(-used * loops.block // BLOCK) * BLOCK
    sharing = Sharing(parts, loops.space, loops.item) if what == "shared block" else None
    calls: list[str] = []
    waiting: list[tuple[int, Nest]] = []  # which calls are to be those of alike nests
    beside: list[Chain] = []
    for i, kernel in enumerate(kernels):
        if what != "blocks" and not isinstance(kernel, Rounds):  # of which nothing is summed over the lanes
            columns: Any = [_total(column, kernel.members, totals) for column in kernel.columns]  # of the kernel's kind
            kernel = replace(kernel, columns=columns)
        if isinstance(kernel, Kernel):
            kernel = _with_tables(loops, f"{name}_{i}", in_place.applied(kernel), constants, is_constant)
            if has_levels and sharing is None:
                found = nests_of(kernel)
                waiting += [(len(calls) + k, nest) for k, nest in enumerate(found)]
                calls += [""] * len(found)
                continue
            calls += _nests(loops, f"{name}_{i}", kernel, sharing)
        elif isinstance(kernel, Rounds):
            calls += _rounds(loops, f"{name}_{i}", in_place.applied_to_all(kernel), sharing)
        elif isinstance(kernel, Chain):
            beside.append(kernel)
            if sharing is not None or not go_together(beside, kernels[i + 1] if i + 1 < len(kernels) else None):
                calls += _ordered(loops, f"{name}_{i}", beside, sharing)
                beside = []
        else:
            calls += _ordered(loops, f"{name}_{i}", kernel, sharing)
    for k, several in enumerate(alike([nest for _, nest in waiting], loops.space)):
        loops.function(f"{name}_l{k}", several.nest, several.begins, is_shared=False)
        for part, which in enumerate(several.which):
            arguments = f"{SHARED}, i64 {part}, i64 {part + 1}" if several.begins else SHARED
            calls[waiting[which][0]] = f"  call void @{name}_l{k}({arguments})"
    if sharing is None:
        head, rooms = [f"define void @{name}({ARGUMENTS}) #0 {{"], 1
    elif anyhow or sharing.is_worth_it():
        head, rooms = [f"define void @{name}({SHARED}, {PARTS}, ptr %meeting) #0 {{", MEET], parts
        loops.tables.append(f"@rooms_size = private unnamed_addr constant i64 {loops.rooms_size}")
    else:
        raise NotImplementedError("threads would wait for each other")
    main = [*head, *calls, "  ret void", "}"]
    text = "\n".join([*sorted(loops.declared), *loops.tables, *loops.written, *main, ATTRIBUTES])
    return text, -(-(loops.rooms_at + rooms * loops.rooms_size) // loops.block)


def _nests(loops: Loops, name: str, kernel: Kernel, sharing: Sharing | None) -> list[str]:
    """Write the functions of a kernel's nests; what calls them."""
    calls = []
    for j, nest in enumerate(nests_of(kernel)):
        if sharing is None:
            loops.function(f"{name}_{j}", nest)
            calls.append(f"  call void @{name}_{j}({SHARED})")
            continue
        for s, share in enumerate(sharing.shares(nest)):
            loops.function(f"{name}_{j}_{s}", share.nest, share.begins)
            calls += [MEETS] if share.meets else []
            calls.append(f"  call void @{name}_{j}_{s}({SHARED}, {PARTS})")
    return calls


def _rounds(loops: Loops, name: str, rounds: Rounds, sharing: Sharing | None) -> list[str]:
    """Write the functions of a loop of loops; what calls it, on one thread."""
    calls = [call for k, kernel in enumerate(rounds.begins) for call in _nests(loops, f"{name}_b{k}", kernel, None)]
    inside = []
    for k, kernel in enumerate(rounds.kernels):
        for j, nest in enumerate(nests_of(kernel)):
            loops.function(f"{name}_{k}_{j}", nest, is_round=True)
            inside.append(f"call void @{name}_{k}_{j}({SHARED}, i64 ")
    loops.begin()

    def iteration(t: Whole, _: list[str]) -> list[str]:
        for call in inside:
            loops.w.do(f"{call}{t})")
        return []

    loops.w.loop(rounds.members, [], iteration)
    loops.end(name)
    return _on_one(name, [*calls, f"  call void @{name}({SHARED})"], rounds, sharing)


def _ordered(loops: Loops, name: str, kernel: Sequence | list[Chain], sharing: Sharing | None) -> list[str]:
    """Write the function of an ordered loop, or of chains; what calls it, on one thread."""
    loops.begin()
    if isinstance(kernel, Sequence):
        sequence(loops, name, kernel)
    else:
        chains(loops, name, kernel)
    loops.end(name)
    return _on_one(name, [f"  call void @{name}({SHARED})"], kernel, sharing)


def _on_one(name: str, calls: list[str], kernel: Sequence | list[Chain] | Rounds, sharing: Sharing | None) -> list[str]:
    """Calls, on one thread."""
    if sharing is None:
        return calls
    cycles = 1.0
    if isinstance(kernel, Rounds):
        nests = [nest for one in kernel.kernels for nest in nests_of(one)]
        cycles = kernel.members * sum(float(cycles_of(nest).sum()) for nest in nests)
    elif isinstance(kernel, Sequence):
        cycles = float(kernel.members * len(kernel.bodies))
    sharing.whole(cycles)
    is_mine = f"%mine_{name} = icmp eq i64 %first, 0"
    branch = f"br i1 %mine_{name}, label %do_{name}, label %done_{name}"
    return [MEETS, f"  {is_mine}", f"  {branch}", f"do_{name}:", *calls, f"  br label %done_{name}", f"done_{name}:"]


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
    kernels: list[Loop],
    sizes: list[int],
    whole: int,
    held: dict[int, tuple[int, int, int]] | None = None,
) -> tuple[dict[int, int], int]:
    """Storage for the groups that kernels leave for others.

    Args:
        kernels: in order.
        sizes: for each group how many members it has.
        whole: each group's storage is a multiple of so many elements; of more than one parts of vectors are stored, and
            no group lies over another one: to load what follows such a part would have to wait for it.
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
    holders = {holder for holder, _, _ in (held or {}).values()}
    for i, kernel in enumerate(kernels):
        alone = [g for g in after[i] if whole == 1 and g not in holders and g not in at[i]]
        for g in at[i]:
            size = -(-sizes[g] // whole) * whole
            instead = next(
                (h for h in alone if sizes[h] == sizes[g] and g not in holders and _replaces(kernel, g, h)), -1
            )
            if instead >= 0:
                places[g] = places[instead]
                alone.remove(instead)
                after[i].remove(instead)
            else:
                places[g], end = free.take(size, end)
        for g in after[i]:
            free.give(places[g], -(-sizes[g] // whole) * whole)
    for g, (holder, begin, _) in reversed((held or {}).items()):  # a holder's own entry comes first
        places[g] = places[holder] + begin
    return places, end


def _replaces(kernel: Loop, g: int, h: int) -> bool:
    """Whether a kernel may write group g over h, whose last reader it is: each member reads of h what it replaces,
    before it does.  What is written was fetched already then."""
    if not isinstance(kernel, Kernel):
        return False
    out, *others = [c for c, column in enumerate(kernel.columns) if column.group == g]
    read, *more = [c for c, column in enumerate(kernel.columns) if column.group == h]
    listed = kernel.listed()
    if others or more or out in listed or read in listed:
        return False
    if not np.array_equal(kernel.columns[out].at, kernel.columns[read].at):
        return False
    writes = next(i for i, body in enumerate(kernel.bodies) if body.out == out)
    return not any(("column", read) in body.args for body in kernel.bodies[writes + 1 :])


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
