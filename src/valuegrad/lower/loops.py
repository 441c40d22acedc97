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

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from valuegrad.lower.access import Access
from valuegrad.lower.across import tile_across, write_across
from valuegrad.lower.boxes import BOXES, Box, Rows, together_of
from valuegrad.lower.inplace import INPUT, OUTPUT
from valuegrad.lower.lane_sums import cycles_of_totals, store_totals
from valuegrad.lower.lengthwise import lengthwise
from valuegrad.lower.packing import ALL_BYTES, NEAR_BYTES, STRETCH_BYTES, Far, Packed, far_columns, is_far, pack
from valuegrad.lower.tiles import Operand, Place, best_tile
from valuegrad.lower.totals import along_terms, totals_of
from valuegrad.lower.turned import TERMS
from valuegrad.lower.vectors import BLOCK, BROADCAST, LEAVES, SIDE_BY_SIDE, Target, Value, Vectors, is_call
from valuegrad.lower.writer import ARGUMENTS, PARTS, Whole, Writer
from valuegrad.roll.groups import GUARD, REDUCE
from valuegrad.roll.kernels import GATHER
from valuegrad.roll.nests import Nest

__all__ = ["Loops"]

ELEMENTWISE = 24  # values in registers, roughly, of members side by side without lists
APART = 16.0  # what a vector of numbers that are not contiguous costs, in loads
TURNED = 4.0  # and one that is turned in registers


class Loops(Vectors):
    """Code for the nests of a segment.

    Args:
        frame: slots of the frame before the groups' storage.
        storage: for each group its first element there.
        (the others): as for ``Vectors``.

    Attributes:
        apart: for groups whose members do not lie side by side how far they are apart.
        rooms_at: where in the frame, in bytes, the functions have room of their own.
        rooms_size: how many bytes they need there, each part of a shared nest.
        tables: constants that the functions read.
        written: the functions.
    """

    def __init__(self, target: Target, single: bool, frame: int, storage: dict[int, int], block: int = BLOCK) -> None:
        super().__init__(target, single, block)
        self.frame, self.storage = frame, storage
        self.apart: dict[int, int] = {}
        self.rows = 0  # of a vector so many members, if that is known
        self.by_terms = False  # a vector holds terms of one member's list
        self.memory: list[str] = []  # for each column what its addresses count from
        self.rooms_at = self.rooms_size = 0
        self.tables, self.written = list[str](), list[str]()

    def function(
        self, name: str, nest: Nest, begins: Sequence[int] = (), *, is_round: bool = False, is_shared: bool = True
    ) -> None:
        """Write the function that runs a nest.

        Args:
            name: of the function.
            nest: what it runs.
            begins: of each part of the nest its first box, and how many there are in all; then it runs the parts from
                %first on, before %end.
            is_round: it has the iteration of a loop around it as an argument, %t, by which its columns move on.
            is_shared: threads run the parts.
        """
        self.nest, self.kernel = nest, nest.kernel
        self.begin(is_cut=bool(begins), is_shared=bool(begins) and is_shared, is_round=is_round)
        found = [self.space(column.space, column.group) for column in self.kernel.columns]
        self.units = [unit for _, unit, _ in found]
        moves = [column.move * unit for column, unit in zip(self.kernel.columns, self.units)]
        self.memory = [self.moved(memory, move) for (memory, _, _), move in zip(found, moves)]
        begin = [first for _, _, first in found]
        rows = Rows(nest, np.array(self.units, dtype=np.int64), np.array(begin, dtype=np.int64))
        self._boxes(name, lengthwise(self, rows), begins)
        self.end(name)

    def moved(self, memory: str, move: int) -> str:
        """A pointer that is so many bytes further on with each iteration around the function."""
        return self.moving.setdefault((memory, move), f"{memory}_{len(self.moving)}") if memory and move else memory

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

    def begin(self, *, is_cut: bool = False, is_shared: bool = False, is_round: bool = False) -> None:
        """Begin a function."""
        self.is_cut, self.is_shared, self.is_round = is_cut, is_shared, is_round
        self.moving: dict[tuple[str, int], str] = {}
        self.w = Writer()
        self.w.at("body")
        self.counts_lanes = self.calls = False
        self.packed: dict[int, Packed] = {}
        self.memory = []
        self.taken = 0

    def room(self, size: int) -> str:
        """The address of so many bytes, until the function ends."""
        memory, begin = ("%rooms", 0) if self.is_shared else ("%frame", self.rooms_at)
        at = self.w(f"getelementptr i8, ptr {memory}, i64 {begin + self.taken}")
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
            head.append(f"  %are_all = icmp eq i{self.lanes} %bits, -1")
        for k, name_of in enumerate(("inputs", "outputs")):  # as vg_arrays of _code.h has them
            if any(memory.startswith(f"%{name_of}") for memory in self.memory):
                head.append(f"  %at_{name_of} = getelementptr ptr, ptr %uniform, i64 {k - 2}")
                head.append(f"  %{name_of} = load ptr, ptr %at_{name_of}, align 8")
        for (memory, move), moved in self.moving.items():
            head.append(f"  {moved}_by = mul nsw i64 %t, {move}")
            head.append(f"  {moved} = getelementptr i8, ptr {memory}, i64 {moved}_by")
        if self.is_shared:  # each part has its own rooms
            head.append("  %size = load i64, ptr @rooms_size")
            head.append("  %before = mul i64 %first, %size")
            head.append(f"  %begin = add i64 %before, {self.rooms_at}")
            head.append("  %rooms = getelementptr i8, ptr %frame, i64 %begin")
        vector = f"[{BLOCK // self.item} x {self.scalar}]"
        for room in ("a", "b", "out") if self.calls else ():
            head.append(f"  %{room} = alloca {vector}, align {BLOCK}")
            head.append(f"  store {vector} zeroinitializer, ptr %{room}, align {BLOCK}")
        arguments = f"{ARGUMENTS}, {PARTS}" if self.is_cut else ARGUMENTS + ", i64 %t" * self.is_round
        lines = [f"define internal void @{name}({arguments}) #0 {{", *head, "  br label %body", *self.w.lines, "}"]
        self.written.append("\n".join(lines))

    def _boxes(self, name: str, rows: Rows, begins: Sequence[int]) -> None:
        """The loops over the boxes: over those that go together, and over the others."""
        w, tile = self.w, tile_across(self, rows)
        together = together_of(rows, tile[BOXES] if tile else 1, begins or (0, rows.count))
        rows, boxes = together.rows, together.boxes
        numbers = np.concatenate([rows.numbers(), together.leads[:, None]], 1)
        differs = (numbers != numbers[0]).any(0)
        inside = numbers[: together.groups[-1] * boxes].reshape(together.groups[-1], boxes, numbers.shape[1])
        apart = (inside != inside[:, :1]).any((0, 1))
        width, position = int(differs.sum()), np.cumsum(differs) - 1
        if width:
            entries = ", ".join(f"i64 {x}" for x in numbers[:, differs].ravel().tolist())
            self.tables.append(f"@t_{name} = private unnamed_addr constant [{rows.count * width} x i64] [{entries}]")

        def read(b: Whole) -> list[Whole]:
            row = w(f"getelementptr i64, ptr @t_{name}, i64 {w.mul(b, width)}") if width else ""
            known: list[Whole] = []
            for i, number in enumerate(numbers[0]):
                at = f"getelementptr i64, ptr {row}, i64 {position[i]}"
                known.append(w(f"load i64, ptr {w(at)}") if differs[i] else int(number))
            return known

        def several(g: Whole) -> None:
            first = read(w.mul(g, boxes))
            found = [first]
            for i in range(1, boxes):
                other = read(w.add(w.mul(g, boxes), i))
                found.append([y if differs else x for x, y, differs in zip(first, other, apart)])
            beside = [replace(rows.box(known.__getitem__), lead=known[-1]) for known in found]
            assert tile is not None
            write_across(self, replace(beside[0], beside=beside), tile)

        def one(b: Whole) -> None:
            self._vector(rows.box(read(b).__getitem__))

        for kind, firsts, write in (("g", together.groups, several), ("b", together.alone, one)):
            if firsts[-1] > firsts[0]:
                self._loop_of_parts(f"@{kind}_{name}", firsts, write)

    def _loop_of_parts(self, table: str, firsts: Sequence[int], write: Callable[[Whole], None]) -> None:
        """A loop over the boxes, or groups of them, of all parts or of some.

        Args:
            table: a name for the numbers of these.
            firsts: of each part the first one, and the end of them.
            write: writes one.
        """
        w = self.w
        first: Whole
        end: Whole
        first, end = firsts[0], firsts[-1]
        if self.is_cut:
            numbers = ", ".join(f"i64 {b}" for b in firsts)
            self.tables.append(f"{table} = private unnamed_addr constant [{len(firsts)} x i64] [{numbers}]")
            first, end = (
                w(f"load i64, ptr {w(f'getelementptr i64, ptr {table}, i64 {part}')}") for part in ("%first", "%end")
            )

        def inside(b: Whole, _: list[str]) -> list[str]:
            write(w.add(first, b))
            return []

        w.loop(w.sub(end, first), [], inside)

    def in_parts(self, extent: Whole, size: int, part: Callable[[Whole, int, int], None]) -> None:
        """Loops over members, so many at a time, then over those that are left.

        Args:
            extent: how many members.
            size: at a time.
            part: writes those from i * unit on, which are so many.
        """
        w = self.w

        def inside(i: Whole, _: list[str]) -> list[str]:
            part(i, size, size)
            return []

        if isinstance(extent, int):
            w.loop(extent // size, [], inside)
            if extent % size:
                part(extent // size, size, extent % size)
            return
        full = extent if size == 1 else w(f"udiv i64 {extent}, {size}")
        done = w.mul(full, size)

        def one(i: Whole, _: list[str]) -> list[str]:
            part(w.add(done, i), 1, 1)
            return []

        w.loop(full, [], inside)
        if size > 1:
            w.loop(w.sub(extent, done), [], one)

    def along_lanes(self) -> None:
        """Vectors are lanes."""
        self.width, self.mask = self.lanes, None
        alike = "@", "%uniform", "%inputs"
        self.along = [BROADCAST if memory.startswith(alike) else SIDE_BY_SIDE for memory in self.memory]

    # ------------------------------------------------------------------------------------- along the vector
    def _vector(self, box: Box) -> None:
        """Choose what a vector is."""
        w, everything = self.w, list(range(len(box.extents)))
        self.mask = None
        self.rows = 0
        self.by_terms = False
        if not self.single:
            self.along_lanes()
            return self.tiles(box, everything)
        d = self._dimension(box)
        self.by_terms = d is None and along_terms(self, self.kernel, box)
        if d is None:
            self.width = 1
            self.along = [BROADCAST] * len(self.memory)
            return self.tiles(box, everything)
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
                self.tiles(of(full, 0), everything)
            self.rows = rest
            if rest:
                self.width = v if self.has_calls() else max(TERMS, 1 << (rest - 1).bit_length())
                if rest < self.width:
                    self.mask = self.first(rest)
                self.tiles(of(1, full * v), everything)
            return None

        def part(i: Whole, _: list[str]) -> list[str]:
            left = w(f"sub i64 {extent}, {w.mul(i, v)}")
            self.mask = w(f"icmp slt {self.type('i64')} {self.iota()}, {self.splat('i64', left)}")
            self.tiles(of(1, w.mul(i, v)), [x for x in everything if x != d])
            return []

        w.loop(w(f"lshr i64 {w.add(extent, v - 1)}, {v.bit_length() - 1}"), [], part)
        return None

    def has_calls(self) -> bool:
        """Whether the kernel calls functions, which take whole vectors."""
        return any(is_call(body.op) for body in self.kernel.bodies)

    def _dimension(self, box: Box) -> int | None:
        """The dimension along which vectors do most for what they load; None where there is none."""
        best, found = 0.0, None
        if any(body.op == GUARD for body in self.kernel.bodies):
            return None
        turns = {c for p in range(len(box.lengths)) for c in self.turned(box, p)}
        alone = 0.0 if self.has_calls() else 1.0 / len(self.units)  # a member by itself loads each of its numbers
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
    def tiles(self, box: Box, dimensions: list[int]) -> None:
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
            outer, inner = tile
            far_outer, far_inner = far_columns(self, box, outer, inner), far_columns(self, box, inner, outer)

        def level(k: int, box: Box, shape: Place) -> None:
            if k == len(order):
                self.members(box, shape)
                return
            d = order[k]
            t, extent = tile.get(d, 1), box.extents[d]
            before = self.packed, self.taken
            for far in far_inner:
                whole, moves = box.extents[inner], any(box.strides[e][far.column] != 0 for e in order[k:] if e != inner)
                assert isinstance(whole, int)
                if not moves and far.column not in self.packed and whole * far.length * far.unit <= ALL_BYTES:
                    self.packed = {**self.packed, far.column: pack(self, box, far, inner, tile[inner], whole)}

            def stretch(box: Box, members: Whole) -> None:
                """Some members along the dimension, in tiles."""
                outside = self.packed, self.taken
                for far in far_outer if d == outer else ():
                    assert isinstance(members, int)
                    self.packed = {**self.packed, far.column: pack(self, box, far, d, t, members)}
                self.in_parts(members, t, lambda i, _, size: one(box, i, size))
                self.packed, self.taken = outside

            def one(box: Box, i: Whole, size: int) -> None:
                """A tile."""
                outside = self.packed
                mine = {c: p.tile(w, i, size) for c, p in outside.items() if p.dimension == d}
                self.packed = {**outside, **mine}
                level(k + 1, box.moved(w, d, i, t), {**shape, d: size} if size > 1 else shape)
                self.packed = outside

            if d == outer and far_outer and isinstance(extent, int):
                size = max(far.length * far.unit for far in far_outer)
                most = t if extent * size <= NEAR_BYTES else t * max(1, STRETCH_BYTES // (t * size))
                self.in_parts(extent, most, lambda i, _, size: stretch(box.moved(w, d, i, most), size))
            else:
                stretch(box, extent)
            self.packed, self.taken = before

        level(0, box, {})

    def _best_tile(self, box: Box, sizes: Place) -> Place:
        """How many members of two dimensions are side by side: of all that fit, what takes the fewest cycles."""
        ((which, pieces),) = self.nest.pieces.items()
        p = int(np.argmax(self.nest.lengths.mean(0)))  # the others are alike
        feeds = [piece.feed for piece in self.kernel.bodies[which].variants[0] if piece.feed]
        several = range(len(pieces)) if feeds else (p,)  # a term is made of these
        turns = self.turned(box, p)
        operands = []
        for q in several:
            for c, step in zip(pieces[q], box.inner[q]):
                how = self.along[c]
                price = 1.0 if how in (BROADCAST, SIDE_BY_SIDE) else TURNED if c in turns else APART
                along = frozenset(d for d in sizes if box.strides[d][c] != 0)
                size = self.item if how == BROADCAST else self.block
                if c >= 0:
                    operands.append(Operand(price, along, size, is_far(self, c, box.lengths[q], step)))
        registers = self.target.registers - sum(len(feed.bodies) for feed in feeds) - (3 * TERMS if turns else 0)
        end = None
        for body in self.kernel.bodies if self.are_all else ():
            if body.op == REDUCE:
                beside = {d for d in sizes if box.strides[d][body.out] == self.item}
                end = partial(cycles_of_totals, beside=beside, lanes=self.lanes)
        return best_tile(sizes, operands, float(self.nest.lengths[:, p].mean()), registers, end)

    # ------------------------------------------------------------------------------------------- the members
    def members(self, box: Box, shape: Place) -> None:
        """All bodies for the members of a tile."""
        places: list[Place] = [{}]
        for d, size in sorted(shape.items(), key=lambda entry: -entry[1]):
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
                vectors = [self.number(number) for number in read]
                store_totals(self, self.counted(vectors), [access.place(body.out, p) for p in places])
                continue
            sharing = 1  # members that look into the same list
            if body.op == GATHER:
                ((x, _),) = self.nest.pieces[i]
                sharing = len(places) // len({access.where(x, place)[0] for place in places})
            for place, value in zip(places, values):
                if body.variants and body.op != GATHER:
                    pass
                elif body.op == GATHER:
                    entry = access.read(body.args[0][1], place)
                    value[i] = "number", access.entry(x, place, box.lengths[0], box.inner[0][0], entry, sharing)
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
