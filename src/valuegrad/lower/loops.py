"""Loops over the boxes of a nest, as LLVM IR.

Why: what makes a loop fast is which dimension runs along the vector, and how many members are side by side in
registers: a matrix product that loads two numbers for each multiply-add is four times as slow as one that keeps sixteen
totals and loads eight numbers for sixteen multiply-adds.

How: what is the same for all boxes of a nest is a constant in the code, the rest is read from a table.  With V lanes a
vector is one member's lanes; with one lane it runs along the dimension in which most columns are contiguous.  Then come
tiles, then the other dimensions as loops around them.

Data structures: ``Box``, addresses, extents and strides of a box, in bytes: numbers, or names in the code.

Where to start reading: ``Loops.function``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from valuegrad.lower.access import Access
from valuegrad.lower.inplace import INPUT, OUTPUT
from valuegrad.lower.lane_sums import store_totals
from valuegrad.lower.packing import Far, Packed, far_columns, pack_all, pack_tile
from valuegrad.lower.tiles import Place, best_tile
from valuegrad.lower.totals import along_terms, totals_of
from valuegrad.lower.turned import TERMS
from valuegrad.lower.vectors import BLOCK, BROADCAST, LEAVES, SIDE_BY_SIDE, Target, Value, Vectors, is_call
from valuegrad.lower.writer import Whole, Writer
from valuegrad.roll.groups import GUARD, REDUCE
from valuegrad.roll.kernels import GATHER
from valuegrad.roll.nests import Nest

__all__ = ["Loops"]

ELEMENTWISE = 24  # values in registers, roughly, of members side by side without lists
APART = 16.0  # what a vector of numbers that are not contiguous costs, in loads
TURNED = 4.0  # and one that is turned in registers


@dataclass
class Box:
    """Members whose accesses are affine; everything in bytes.

    Args:
        bases: where each column begins.
        extents: of each dimension, outermost first.
        strides: of each dimension, for each column.
        lengths: of each piece of a list.
        inner: for each piece the strides of x and y along it, and by how much they grow from term to term.
    """

    bases: list[Whole]
    extents: list[Whole]
    strides: list[list[Whole]]
    lengths: list[Whole]
    inner: list[tuple[Whole, Whole, Whole, Whole]]


class Loops(Vectors):
    """Code for the nests of a segment.

    Args:
        frame: slots of the frame before the groups' storage.
        storage: for each group its first element there.
        (the others): as for ``Vectors``.

    Attributes:
        apart: for groups whose members do not lie side by side how far they are apart.
        rooms_at: where in the frame, in bytes, the functions have room of their own.
        rooms_size: how many bytes they need there.
        tables: constants that the functions read.
        written: the functions.
    """

    def __init__(self, target: Target, single: bool, frame: int, storage: dict[int, int], vectors: int = 1) -> None:
        super().__init__(target, single, vectors)
        self.frame, self.storage = frame, storage
        self.apart: dict[int, int] = {}
        self.rows = 0  # of a vector so many members, if that is known
        self.by_terms = False  # a vector holds terms of one member's list
        self.memory: list[str] = []  # for each column what its addresses count from
        self.rooms_at = self.rooms_size = 0
        self.tables: list[str] = []
        self.written: list[str] = []

    def function(self, name: str, nest: Nest) -> None:
        """Write the function that runs a nest."""
        self.nest, self.kernel = nest, nest.kernel
        self.begin()
        found = [self.space(column.space, column.group) for column in self.kernel.columns]
        self.memory, self.units = [memory for memory, _, _ in found], [unit for _, unit, _ in found]
        begin = [first for _, _, first in found]
        self._boxes(name, np.array(self.units, dtype=np.int64), np.array(begin, dtype=np.int64))
        self.end(name)

    def space(self, space: str, group: int) -> tuple[str, int, int]:
        """Of a column's space the pointer, how many bytes its elements are apart, and where it begins."""
        wide = self.item if self.single else self.block
        if space.startswith("@"):
            return space, self.item, 0
        if space == "group":
            return "%frame", wide * self.apart.get(group, 1), self.frame * self.block + self.storage[group] * wide
        memory, unit = {
            "uniform": ("%uniform", self.item),
            INPUT: ("%inputs", self.item),
            OUTPUT: ("%outputs", self.item),
            "slot": ("%frame", self.block),
            "sum": ("%sums", BLOCK),
            "number": ("", 1),
        }[space]
        return memory, unit, 0

    def table(self, name: str, numbers: np.ndarray) -> str:
        """A table of numbers in the code; its name is the space of columns in it."""
        self.width = 1
        entries = ", ".join(f"{self.scalar} {self.constant(float(x))}" for x in numbers)
        kind = f"[{len(numbers)} x {self.scalar}]"
        self.tables.append(f"@{name} = private unnamed_addr constant {kind} [{entries}], align {BLOCK}")
        return f"@{name}"

    def begin(self) -> None:
        """Begin a function."""
        self.w = Writer()
        self.w.at("body")
        self.counts_lanes = self.calls = False
        self.packed: dict[int, Packed] = {}
        self.memory = []
        self.taken = 0

    def room(self, size: int) -> str:
        """The address of so many bytes, until the function ends."""
        at = self.w(f"getelementptr i8, ptr %frame, i64 {self.rooms_at + self.taken}")
        self.taken += -(-size // BLOCK) * BLOCK
        self.rooms_size = max(self.rooms_size, self.taken)
        return at

    def end(self, name: str) -> None:
        """End it, now that is known what it needs."""
        self.w.do("ret void")
        head = ["entry:"]
        if self.counts_lanes:
            head.append(f"  %bits = trunc i64 %valid to i{self.lanes}")
            head.append(f"  %lanes = bitcast i{self.lanes} %bits to <{self.lanes} x i1>")
        for k, name_of in enumerate(("inputs", "outputs")):  # as vg_arrays of _code.h has them
            if f"%{name_of}" in self.memory:
                head.append(f"  %at_{name_of} = getelementptr ptr, ptr %uniform, i64 {k - 2}")
                head.append(f"  %{name_of} = load ptr, ptr %at_{name_of}, align 8")
        for room in ("a", "b", "out") if self.calls else ():
            head.append(f"  %{room} = alloca [{self.lanes} x {self.scalar}], align {BLOCK}")
            head.append(f"  store [{self.lanes} x {self.scalar}] zeroinitializer, ptr %{room}, align {BLOCK}")
        lines = [f"define internal void @{name}({ARGUMENTS}) #0 {{", *head, "  br label %body", *self.w.lines, "}"]
        self.written.append("\n".join(lines))

    def _boxes(self, name: str, units: np.ndarray, begin: np.ndarray) -> None:
        """The loop over the boxes."""
        w, nest, columns = self.w, self.nest, len(self.kernel.columns)
        pieces = [xy for table in nest.pieces.values() for xy in table]
        count, rank = nest.extents.shape
        inner = nest.inner.copy()
        for p, (x, y) in enumerate(pieces):
            inner[:, p] *= [units[x], units[y] if y >= 0 else 0] * 2
        parts = nest.bases * units + begin, nest.extents, nest.strides * units, nest.lengths, inner
        rows = np.concatenate([part.reshape(count, -1) for part in parts], 1).astype(np.int64)
        varies = (rows != rows[0]).any(0)
        width = int(varies.sum())
        position = np.cumsum(varies) - 1
        if width:
            numbers = ", ".join(f"i64 {x}" for x in rows[:, varies].ravel().tolist())
            self.tables.append(f"@t_{name} = private unnamed_addr constant [{count * width} x i64] [{numbers}]")

        def box(b: Whole, _: list[str]) -> list[str]:
            row = w(f"getelementptr i64, ptr @t_{name}, i64 {w.mul(b, width)}") if width else ""
            known: list[Whole] = []
            for i in range(rows.shape[1]):
                at = f"getelementptr i64, ptr {row}, i64 {position[i]}"
                known.append(w(f"load i64, ptr {w(at)}") if varies[i] else int(rows[0, i]))
            take = iter(known)
            self._vector(
                Box(
                    [next(take) for _ in range(columns)],
                    [next(take) for _ in range(rank)],
                    [[next(take) for _ in range(columns)] for _ in range(rank)],
                    [next(take) for _ in pieces],
                    [(next(take), next(take), next(take), next(take)) for _ in pieces],
                )
            )
            return []

        w.loop(count, [], box)

    # ------------------------------------------------------------------------------------- along the vector
    def _vector(self, box: Box) -> None:
        """Choose what a vector is."""
        w, everything = self.w, list(range(len(box.extents)))
        self.mask = None
        self.rows = 0
        self.by_terms = False
        if not self.single:
            self.width = self.lanes
            alike = "@", "%uniform", "%inputs"
            self.along = [BROADCAST if memory.startswith(alike) else SIDE_BY_SIDE for memory in self.memory]
            return self._tiles(box, everything)
        d = self._dimension(box)
        self.by_terms = d is None and along_terms(self, self.kernel, box)
        if d is None:
            self.width = 1
            self.along = [BROADCAST] * len(self.memory)
            return self._tiles(box, everything)
        self.width = v = self.lanes
        strides, extent = box.strides[d], box.extents[d]
        self.along = [BROADCAST if s == 0 else SIDE_BY_SIDE if s == self.item else s for s in strides]
        vectors = [[w.mul(s, v) for s in row] if i == d else row for i, row in enumerate(box.strides)]

        def of(extent: Whole, first: Whole) -> Box:
            """The box with so many vectors in place of the dimension's members, from one of them on."""
            extents = [extent if i == d else e for i, e in enumerate(box.extents)]
            bases = [w.add(base, w.mul(s, first)) for base, s in zip(box.bases, strides)]
            return replace(box, bases=bases, extents=extents, strides=vectors)

        if isinstance(extent, int):
            full, rest = divmod(extent, v)
            self.rows = v
            if full:
                self._tiles(of(full, 0), everything)
            self.rows = rest
            if rest:
                self.mask = "<" + ", ".join(f"i1 {int(i < rest)}" for i in range(v)) + ">"
                self._tiles(of(1, full * v), everything)
            return None

        def part(i: Whole, _: list[str]) -> list[str]:
            left = w(f"sub i64 {extent}, {w.mul(i, v)}")
            self.mask = w(f"icmp slt {self.type('i64')} {self.iota()}, {self.splat('i64', left)}")
            self._tiles(of(1, w.mul(i, v)), [x for x in everything if x != d])
            return []

        w.loop(w(f"lshr i64 {w.add(extent, v - 1)}, {v.bit_length() - 1}"), [], part)
        return None

    def _dimension(self, box: Box) -> int | None:
        """The dimension along which vectors do most for what they load; None where there is none."""
        best, found = 0.0, None
        if any(body.op == GUARD for body in self.kernel.bodies):
            return None
        turns = {c for p in range(len(box.lengths)) for c in self.turned(box, p)}
        calls = sum(is_call(body.op) for body in self.kernel.bodies)
        alone = 0.0 if box.lengths or calls else 1.0 / len(self.units)  # a member by itself loads each of its numbers
        for d, extent in enumerate(box.extents):
            members = extent if isinstance(extent, int) else max(2.0, float(self.nest.extents[:, d].mean()))
            if members < 2:
                continue
            cost = 0.0
            for c, (s, unit) in enumerate(zip(box.strides[d], self.units)):
                lies = s == 0 or (s in (self.item, -self.item) and unit == self.item)
                cost += 1.0 if lies else TURNED / 2 if c in turns else APART / 2 if box.lengths else 1.5 * self.lanes
            gain = members / -(-members // self.lanes) / cost
            if gain > max(best, alone):
                best, found = gain, d
        return found

    def turned(self, box: Box, p: int) -> list[int]:
        """The columns of a list's piece whose numbers lie along its terms."""
        (i, *_), length = self.nest.pieces, box.lengths[p]
        if not self.single or not isinstance(length, int) or length < TERMS or self.kernel.bodies[i].op == GATHER:
            return []
        return [
            c
            for c, step, bend in zip(self.nest.pieces[i][p], box.inner[p], box.inner[p][2:])
            if c >= 0 and step in (self.item, -self.item) and bend == 0
        ]

    # ------------------------------------------------------------------------------------------------- tiles
    def _tiles(self, box: Box, dimensions: list[int]) -> None:
        """Loops over dimensions, those that are tiled innermost."""
        w = self.w
        sizes = {d: e for d in dimensions if isinstance(e := box.extents[d], int) and e > 1}
        tile: Place = {}
        if self.by_terms:
            pass
        elif box.lengths and sizes:
            tile = self._best_tile(box, sizes)
        elif sizes:
            d = list(sizes)[-1]
            tile[d] = _even(sizes[d], max(1, min(4, ELEMENTWISE // (len(self.kernel.bodies) + len(self.memory)))))
        tile = {d: t for d, t in tile.items() if t > 1}
        order = [d for d in dimensions if d not in tile] + list(tile)
        outer = inner = -1
        far_outer: list[Far] = []
        far_inner: list[Far] = []
        if len(tile) == 2 and box.lengths:
            outer, inner = sorted(tile, key=lambda d: -sizes[d])  # what is read again for each tile is the smaller part
            far_outer = far_columns(self, box, outer, inner, tile[outer])
            far_inner = far_columns(self, box, inner, outer, tile[inner])
            if far_outer or far_inner:
                order[-2:] = outer, inner

        def level(k: int, bases: list[Whole], shape: Place) -> None:
            if k == len(order):
                self._members(replace(box, bases=bases), shape)
                return
            d = order[k]
            t, extent, strides = tile.get(d, 1), box.extents[d], box.strides[d]
            full, rest = divmod(extent, t) if isinstance(extent, int) else (extent, 0)
            before = self.packed, self.taken
            everything: list[tuple[Far, str]] = []
            for far in far_inner if d == outer else ():
                room = pack_all(self, box, bases, far, inner, tile[inner])
                if room is not None:
                    everything.append((far, room))
            rooms = {far: self.room(far.length * t * BLOCK) for far in far_outer} if d == outer else {}
            self.packed = {**self.packed, **{far.column: Packed(room, inner, -1) for far, room in everything}}

            def part(i: Whole, size: int) -> None:
                moved = [w.add(base, w.mul(i, w.mul(s, t))) for base, s in zip(bases, strides)]
                outside = self.packed
                for far, room in rooms.items():
                    pack_tile(self, box, moved, far, d, size, room)
                    self.packed = {**self.packed, far.column: Packed(room, d, size)}
                for far in far_inner if d == inner else ():
                    if far.column in self.packed:
                        at = w.mul(i, t * far.length * BLOCK)
                        room = w(f"getelementptr i8, ptr {self.packed[far.column].room}, i64 {at}")
                        self.packed = {**self.packed, far.column: Packed(room, d, size)}
                level(k + 1, moved, {**shape, d: size} if size > 1 else shape)
                self.packed = outside

            def inside(i: Whole, _: list[str]) -> list[str]:
                part(i, t)
                return []

            w.loop(full, [], inside)
            if rest:
                part(full, rest)
            self.packed, self.taken = before

        level(0, box.bases, {})

    def _best_tile(self, box: Box, sizes: Place) -> Place:
        """How many members of two dimensions are side by side: of all that fit, what takes the fewest cycles."""
        columns = [c for xy in next(iter(self.nest.pieces.values())) for c in xy if c >= 0]
        columns = columns[:2]  # the other pieces are alike
        turns = self.turned(box, 0)
        price = {
            c: 1.0 if self.along[c] in (BROADCAST, SIDE_BY_SIDE) else TURNED if c in turns else APART for c in columns
        }

        shared = [(price[c], {d for d in sizes if box.strides[d][c] == 0}) for c in columns]
        return best_tile(sizes, shared)

    # ------------------------------------------------------------------------------------------- the members
    def _members(self, box: Box, shape: Place) -> None:
        """All bodies for the members of a tile."""
        places: list[Place] = [{}]
        for d, size in shape.items():
            places = [{**place, d: i} for place in places for i in range(size)]
        access = Access(self, box)
        values: list[dict[int, Value]] = [{} for _ in places]
        ahead = self.packed and not self.are_all  # a large product: what it is added to is far away
        for body in self.kernel.bodies if ahead else ():
            for place in places if body.op == REDUCE else ():
                self.prefetch(access.where(body.out, place)[1])
        for i, body in enumerate(self.kernel.bodies):
            if body.variants and body.op != GATHER:
                for value, total in zip(values, totals_of(self, body, places, access, self.by_terms)):
                    value[i] = "number", total
            if body.op == REDUCE and self.are_all:
                ((kind, x),) = body.args
                read = [v[x] if kind == "value" else ("number", access.read(x, p)) for p, v in zip(places, values)]
                vectors = [self.counted(self.number(number)) for number in read]
                store_totals(self, vectors, [access.place(body.out, p) for p in places])
                continue
            for place, value in zip(places, values):
                if body.variants and body.op != GATHER:
                    pass
                elif body.op == GATHER:
                    ((x, _),) = self.nest.pieces[i]
                    entry = access.read(body.args[0][1], place)
                    where = access.where(x, place)[1]
                    value[i] = "number", self.gather(x, where, box.lengths[0], box.inner[0][0], entry)
                else:
                    args = [value[x] if kind == "value" else ("number", access.read(x, place)) for kind, x in body.args]
                    if body.op in LEAVES:
                        at = "" if body.op == GUARD else access.where(body.out, place)[1]
                        self.leave(body, args[0], at, self.w.add(*access.offset(body.out, place)))
                        continue
                    value[i] = self.operation(body, args)
                if body.out >= 0:
                    self.store(body.out, access.where(body.out, place)[1], self.number(value[i]))

    def term_at(self, k: Whole, step: Whole, bend: Whole) -> Whole:
        """How far term k is from the first one: steps, each of which is longer than the one before by `bend`."""
        w, far = self.w, self.w.mul(k, step)
        if bend == 0:
            return far
        pairs: Whole = k * (k - 1) // 2 if isinstance(k, int) else w(f"lshr i64 {w.mul(k, w.add(k, -1))}, 1")
        return w.add(far, w.mul(pairs, bend))


def _even(extent: int, most: int) -> int:
    """A divisor of the extent, no more than `most` and more than half of it; `most` if there is none."""
    return next((t for t in range(most, most // 2, -1) if extent % t == 0), most)


ARGUMENTS = "ptr noalias %frame, ptr noalias %uniform, ptr noalias %sums, ptr noalias %failed, i64 %valid"
"""Of each function, as VgSegmentFunction of _machine.h has them."""
