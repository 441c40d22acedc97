"""Values of an iteration: vectors of steps that run side by side, and numbers one by one.

Why: with one lane the steps of a pack (``roll.packs``) are the elements of a vector.  Mostly a pack reads all of
another one, or what lies side by side in memory; else its operands are put together element by element.

Data structures: ``Values`` has for each pack its vector, and knows in which pack and element each step is.  What the
next iterations need goes on as vectors, too: for a pack and so many iterations one.

Where to start reading: ``Values.operand``.
"""

from __future__ import annotations

from collections.abc import Sequence as Listed
from typing import Any

from valuegrad.lower.tracks import Loads
from valuegrad.lower.vectors import BROADCAST, Value
from valuegrad.roll.sequences import Sequence

__all__ = ["Values"]

Argument = tuple[str, Any]


class Values:
    """The values of an iteration.

    Args:
        kernel: the loop; its packs are what is written in order.
        loads: its columns.

    Attributes:
        packs: steps that are written together.
        first: types of what goes from iteration to iteration, and values before the first one.
    """

    def __init__(self, kernel: Sequence, loads: Loads) -> None:
        self.kernel, self.loads, self.e, self.w = kernel, loads, loads.e, loads.e.w
        self.one = self.e.width
        self.packs = kernel.packs or [[i] for i in range(len(kernel.bodies))]
        self.home = {i: (p, lane) for p, pack in enumerate(self.packs) for lane, i in enumerate(pack)}
        self.vectors: dict[int, Value] = {}  # by pack
        self.parts: dict[Any, str] = {}  # elements that were taken out
        self.first: list[tuple[str, str]] = []
        self.now: list[str] = []
        self.carries: list[tuple[Argument, int, int]] = []  # what, iterations, the first of its places in `first`
        self.carried: dict[int, tuple[int, int, int]] = {}  # by index: place in `first`, elements there, which one
        self._carry()

    # --------------------------------------------------------------------------------- from iteration to iteration
    def _carry(self) -> None:
        """Lay out what goes from iteration to iteration: for a pack one vector of each age."""
        found: dict[tuple[int, int], dict[int, int]] = {}
        for index, (body, ago, _) in enumerate(self.kernel.carried):
            pack, lane = self.home[body]
            found.setdefault((pack, ago), {}).setdefault(lane, index)
        for index, (body, ago, begin) in enumerate(self.kernel.carried):
            pack, lane = self.home[body]
            mine, size = found[pack, ago], len(self.packs[pack])
            if mine[lane] != index or len(mine) < 2:  # alone, or with another beginning than one before
                self.carried[index] = len(self.first), 1, 0
                self.carries.append((("value", body), ago, len(self.first)))
                self.first += [(self.e.type(), self.loads.read(c)) for c in begin]
            elif index == min(mine.values()):
                for lane, i in mine.items():
                    self.carried[i] = len(self.first), size, lane
                self.carries.append((("pack", pack), ago, len(self.first)))
                for t in range(ago):
                    columns = [self.kernel.carried[mine[lane]][2][t] if lane in mine else -1 for lane in range(size)]
                    self.first.append((f"<{size} x {self.e.scalar}>", self._beginning(columns)))

    def _beginning(self, columns: list[int]) -> str:
        """What columns hold, as a vector; -1: anything."""
        if -1 not in columns:
            return self.column(columns)
        return self.together([self.loads.read(c) if c >= 0 else self.e.constant(0.0) for c in columns])

    def begin(self, t: Any, now: Listed[str]) -> None:
        """From here on it is iteration t, with what came from those before."""
        self.loads.begin(t)
        self.vectors, self.parts, self.now = {}, {}, list(now)

    def after(self) -> list[str]:
        """What goes on to the next iteration."""
        after: list[str] = []
        for (what, x), ago, place in self.carries:
            new = self.vector(x) if what == "pack" else self.number((what, x))
            after += [*self.now[place + 1 : place + ago], new]
        return after

    # ---------------------------------------------------------------------------------------------------- reading
    def vector(self, pack: int) -> str:
        """A pack's numbers."""
        self.wide(len(self.packs[pack]))
        name = self.e.number(self.vectors[pack])
        self.vectors[pack] = "number", name
        self.e.width = self.one
        return name

    def source(self, argument: Argument) -> tuple[str, int, int]:
        """Where an argument that is no column is: a vector, its elements, which of them."""
        what, x = argument
        if what == "carried":
            place, size, lane = self.carried[x]
            return self.now[place], size, lane
        pack, lane = self.home[x]
        return self.vector(pack), len(self.packs[pack]), lane

    def number(self, argument: Argument) -> str:
        """One number."""
        if argument[0] == "column":
            return self.loads.read(argument[1])
        vector, size, lane = self.source(argument)
        if size == 1:
            return vector
        return self.element(vector, size, lane)

    def element(self, vector: str, size: int, lane: int) -> str:
        """A number out of a vector."""
        key = vector, lane
        if key not in self.parts:
            self.parts[key] = self.w(f"extractelement <{size} x {self.e.scalar}> {vector}, i64 {lane}")
        return self.parts[key]

    def operand(self, arguments: Listed[Argument]) -> Value:
        """An operand of each step of a pack."""
        if len(arguments) == 1:
            what, x = arguments[0]
            if what == "value" and len(self.packs[self.home[x][0]]) == 1:
                return self.vectors[self.home[x][0]]  # a condition stays one
            return "number", self.number(arguments[0])
        n = len(arguments)
        if all(what == "column" for what, _ in arguments):
            return "number", self.column([c for _, c in arguments])
        if all(argument == arguments[0] for argument in arguments):
            return "number", self._splat(n, self.number(arguments[0]))
        if all(what == "value" for what, _ in arguments):
            homes = [self.home[x] for _, x in arguments]
            if homes == [(homes[0][0], lane) for lane in range(len(self.packs[homes[0][0]]))]:
                return self.vectors[homes[0][0]]
        if any(what == "column" for what, _ in arguments):
            return "number", self.together([self.number(argument) for argument in arguments])
        sources = [self.source(argument) for argument in arguments]
        vectors = list(dict.fromkeys(sources_[:2] for sources_ in sources))
        if len(vectors) > 2 or len({size for _, size in vectors}) > 1 or vectors[0][1] == 1:
            return "number", self.together([self.number(argument) for argument in arguments])
        (x, size), (y, _) = vectors[0], vectors[-1]
        lanes = [lane + (size if vector == y != x else 0) for vector, _, lane in sources]
        if x == y and lanes == list(range(size)):
            return "number", x
        t, mask = f"<{size} x {self.e.scalar}>", ", ".join(f"i32 {lane}" for lane in lanes)
        other = "poison" if x == y else y
        return "number", self.w(f"shufflevector {t} {x}, {t} {other}, <{n} x i32> <{mask}>")

    def column(self, columns: Listed[int]) -> str:
        """What several columns hold, as a vector."""
        key = ("vector", *columns)
        known = self.loads.fixed if all(self.loads.steady(c) for c in columns) else self.loads.now
        if key not in known:
            n = len(columns)
            if len(set(columns)) == 1:
                known[key] = self._splat(n, self.loads.read(columns[0]))
            elif self.loads.side_by_side(columns):
                t = f"<{n} x {self.e.scalar}>"
                known[key] = self.w(f"load {t}, ptr {self.loads.address(columns[0])}, align {self.e.item}")
            elif known is self.loads.fixed and n == self.e.lanes and (apart := self.loads.apart(columns)) is not None:
                self.e.along[columns[0]] = apart
                self.wide(n)
                known[key] = self.e.load(columns[0], self.loads.address(columns[0]))
                self.e.width, self.e.along[columns[0]] = self.one, BROADCAST
            else:
                known[key] = self.together([self.loads.read(c) for c in columns])
        found: str = known[key]
        return found

    def together(self, numbers: Listed[str]) -> str:
        """A vector of numbers."""
        t = f"<{len(numbers)} x {self.e.scalar}>"
        vector = "poison"
        for lane, x in enumerate(numbers):
            vector = self.w(f"insertelement {t} {vector}, {self.e.scalar} {x}, i64 {lane}")
        return vector

    def _splat(self, n: int, number: str) -> str:
        self.e.width = n
        vector = self.e.splat(self.e.scalar, number)
        self.e.width = self.one
        return vector

    def wide(self, n: int) -> None:
        """From here on operations are on so many numbers."""
        self.e.width = n if n > 1 else self.one

    def ahead(self) -> None:
        """Read what is the same in all iterations, before them."""
        totals = [x for total in self.kernel.accumulators for term in total.terms for x in term if x is not None]
        arguments = [*(x for step in self.kernel.bodies for x in step.args), *totals]
        self.loads.ahead({c for what, c in arguments if what == "column"})
        for pack in self.packs:
            for k in range(len(self.kernel.bodies[pack[0]].args) if len(pack) > 1 else 0):
                mine = [self.kernel.bodies[i].args[k] for i in pack]
                if all(what == "column" and self.loads.steady(c) for what, c in mine):
                    self.column([c for _, c in mine])

    # ---------------------------------------------------------------------------------------------------- writing
    def compute(self, p: int) -> None:
        """Write the operation of a pack."""
        pack, steps = self.packs[p], [self.kernel.bodies[i] for i in self.packs[p]]
        operands = [self.operand([step.args[k] for step in steps]) for k in range(len(steps[0].args))]
        self.wide(len(pack))
        self.vectors[p] = self.e.operation(steps[0], operands)
        self.e.width = self.one

    def keep(self, p: int) -> None:
        """Store what others read of a pack."""
        steps = [self.kernel.bodies[i] for i in self.packs[p]]
        mine = [(lane, step) for lane, step in enumerate(steps) if step.stored and not step.last]
        if mine:
            self.store([step.out for _, step in mine], [lane for lane, _ in mine], self.vector(p), len(steps))

    def store(self, columns: Listed[int], lanes: Listed[int], vector: str, size: int) -> None:
        """Elements of a vector, each to its column."""
        if size > 1 and list(lanes) == list(range(size)) and self.loads.side_by_side(columns):
            t = f"<{size} x {self.e.scalar}>"
            self.w.do(f"store {t} {vector}, ptr {self.loads.address(columns[0])}, align {self.e.item}")
            return
        for c, lane in zip(columns, lanes):
            self.e.store(c, self.loads.address(c), vector if size == 1 else self.element(vector, size, lane))


class Totals:
    """What a sequence accumulates; totals of terms that lie in one vector are a vector.

    Args:
        kernel: the loop.
        values: its values.
        begun: for each total its value before the loop; None: nothing was added yet.

    Attributes:
        packs: accumulators side by side.
        first: types, and values before the loop.
    """

    def __init__(self, kernel: Sequence, values: Values, begun: Listed[str | None]) -> None:
        self.kernel, self.values, self.e = kernel, values, values.e
        self.packs = self._packs()
        self.first: list[tuple[str, str]] = []
        for pack in self.packs:
            numbers = [begun[k] or self.e.beginning(kernel.accumulators[k].op) for k in pack]
            if len(pack) == 1:
                self.first.append((self.e.type(), numbers[0]))
            else:
                self.first.append((f"<{len(pack)} x {self.e.scalar}>", values.together(numbers)))

    def _packs(self) -> list[list[int]]:
        if not self.kernel.packs:
            return [[k] for k in range(len(self.kernel.accumulators))]
        home = self.values.home
        packs: dict[Any, list[int]] = {}
        for k, total in enumerate(self.kernel.accumulators):
            where = [home[x[1]] if x is not None and x[0] == "value" else (-1, 0) for term in total.terms for x in term]
            lanes = {lane for pack, lane in where if pack >= 0 and len(self.values.packs[pack]) > 1}
            key = (total.op, *(pack for pack, _ in where)) if len(lanes) == 1 else ("alone", k)
            packs.setdefault(key, []).append(k)
        found: list[list[int]] = []
        for mine in packs.values():
            mine.sort(
                key=lambda k: max(
                    home[x[1]][1] for term in self.kernel.accumulators[k].terms for x in term if x and x[0] == "value"
                )
            )
            found += [mine[i : i + self.e.lanes] for i in range(0, len(mine), self.e.lanes)]
        return found

    def after(self, now: Listed[str]) -> list[str]:
        """The totals with what an iteration adds."""
        after = []
        for pack, total in zip(self.packs, now):
            mine = [self.kernel.accumulators[k] for k in pack]
            for term in range(len(mine[0].terms)):
                xs = [one.terms[term][0] for one in mine]
                ys = [y for one in mine if (y := one.terms[term][1]) is not None]
                x = self._numbers(xs)
                y = self._numbers(ys) if ys else None
                self.values.wide(len(pack))
                total = self.e.joined(mine[0].op, total, x, y)
                self.e.width = self.values.one
            after.append(total)
        return after

    def _numbers(self, arguments: Listed[Argument]) -> str:
        value = self.values.operand(arguments)
        self.values.wide(len(arguments))
        name = self.e.number(value)
        self.e.width = self.values.one
        return name

    def store(self, totals: Listed[str]) -> None:
        """Leave the totals where others find them."""
        for pack, total in zip(self.packs, totals):
            columns = [self.kernel.accumulators[k].out for k in pack]
            self.values.store(columns, range(len(pack)), total, len(pack))
