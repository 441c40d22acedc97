"""Lists in loops: sums, products, largest and smallest of many terms.

Why: a sum keeps the order of its terms, so each addition waits for the one before; what can be done meanwhile is the
totals of other members, side by side, or the next terms themselves, where they are computed in the same loop.

How: members' totals run side by side, a vector of members or lanes each.  A single member's terms are computed a vector
at a time (``along_terms``) and added one by one, which costs nothing while the processor is at the next vector's
exponentials.  A count is exact in any order, and a largest number has none: it has several running ones, and only where
it may matter which of equals came first (zeros have signs), or where there was a nan, it is found again in order.  Of
terms that are +0.0 where they are not chosen only the chosen ones are added (``_Terms.chosen``).

Where to start reading: ``totals_of``, then ``_Terms.one``.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from valuegrad.lower.boxes import BOXES, least
from valuegrad.lower.tiles import Place
from valuegrad.lower.turned import TERMS, by_fours
from valuegrad.lower.vectors import BROADCAST, LEAVES, SIDE_BY_SIDE, Value
from valuegrad.primitives.opcodes import OPCODE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from valuegrad.lower.access import Access
    from valuegrad.lower.boxes import Box
    from valuegrad.lower.loops import Loops
    from valuegrad.lower.writer import Whole
    from valuegrad.roll.kernels import Body, Kernel

__all__ = ["along_terms", "totals_of"]

UNROLLED = 4  # a piece of so many terms is no loop
LEAST_VECTORS = 2  # of terms, that are worth it
RUNNING = 4  # largest numbers, or counts, side by side
EXTREMES = frozenset((OPCODE["maximum"], OPCODE["minimum"]))


def along_terms(loops: Loops, kernel: Kernel, box: Box) -> bool:
    """Whether a vector holds terms of one member's list where the members do not fill vectors: with one lane, and if
    terms are computed or have no order."""
    lists = [body for body in kernel.bodies if body.variants]
    if not loops.single or not lists:
        return False
    if any(piece.feed for piece in lists[0].variants[0]):
        return True
    return lists[0].op in EXTREMES and _fills(loops, box, 0)


def _fills(loops: Loops, box: Box, p: int) -> bool:
    """Whether a piece has vectors of terms."""
    length = box.lengths[p]
    return isinstance(length, int) and length >= LEAST_VECTORS * loops.lanes and box.inner[p][2:] == (0, 0)


def totals_of(loops: Loops, body: Body, places: list[Place], access: Access, by_terms: bool) -> list[str]:
    """A list's totals for the members of a tile, all of them side by side.

    Args:
        loops: the function that is written.
        body: the list.
        places: the members.
        access: where columns are.
        by_terms: whether vectors may hold terms (of a single member).
    """
    totals: list[str | None] = [None] * len(places)
    variant = body.variants[0] if len(body.variants) == 1 else []
    feeds = {p: piece.feed for p, piece in enumerate(variant) if piece.feed}
    inside = {q for feed in feeds.values() for q in feed.pieces}
    for p in range(len(access.box.lengths)):
        if p in inside:
            continue
        terms = _Terms(loops, body, p, feeds.get(p), places, access)
        if by_terms and _fills(loops, access.box, p):
            (total,) = totals
            totals = [terms.by_vectors(total)]
        else:
            totals = terms.side_by_side(totals)
    return [total or loops.beginning(body.op) for total in totals]


class _Terms:
    """A piece of a list: what computes its terms, and joins them."""

    def __init__(self, loops: Loops, body: Body, p: int, feed: Any, places: list[Place], access: Access) -> None:
        self.loops, self.w, self.body, self.feed = loops, loops.w, body, feed
        self.p, self.places, self.access, self.box = p, places, access, access.box
        self.pieces = next(iter(loops.nest.pieces.values()))
        self.x, self.y = self.pieces[p]
        self.length = least(loops.w, [loops.w.sub(one.lengths[p], one.lead) for one in self.box.beside or [self.box]])

    # ------------------------------------------------------------------------------------------ a term
    def at(self, p: int, side: int, k: Whole, place: Place) -> tuple[object, str]:
        """The address of term k of a piece's column, and the key that it shares."""
        key, at = self.access.where(self.pieces[p][side], place)
        steps = self.box.of(place).inner[p]
        far = self.loops.term_at(k, steps[side], steps[2 + side])
        return key, at if far == 0 else self.w(f"getelementptr i8, ptr {at}, i64 {far}")

    def get(self, p: int, side: int, k: Whole, place: Place, loaded: dict[object, str]) -> str:
        """Term k of a piece's column, read once."""
        loops, w, column = self.loops, self.w, self.pieces[p][side]
        key, at = self.access.where(column, place)
        if key not in loaded and column in loops.packed:
            packed = loops.packed[column]
            more = place.get(packed.dimension, 0) * packed.unit
            far = w.add(w.mul(k, packed.members * packed.unit), more)
            at = w(f"getelementptr i8, ptr {packed.room}, i64 {far}")
            loaded[key] = loops.load(column, at)
        if key not in loaded:
            loaded[key] = loops.load(column, self.at(p, side, k, place)[1])
        return loaded[key]

    def one(self, k: Whole, place: Place, loaded: dict[object, str]) -> tuple[str, str | None]:
        """x and y of term k."""
        values = self.computed(k, place, loaded) if self.feed else []

        def part(side: int, fed: int) -> str:
            return self.loops.number(values[fed]) if fed >= 0 else self.get(self.p, side, k, place, loaded)

        x = part(0, self.feed.x if self.feed else -1)
        fed = self.feed.y if self.feed else -1
        return x, part(1, fed) if fed >= 0 or self.y >= 0 else None

    def computed(self, k: Whole, place: Place, loaded: dict[object, str]) -> list[Value]:
        """What a feed computes for term k; what others want of it is stored."""
        loops = self.loops
        values: list[Value] = []
        for body in self.feed.bodies:
            args = [
                ("number", self.get(self.feed.pieces[x], 0, k, place, loaded)) if kind == "term" else values[x]
                for kind, x in body.args
            ]
            out = self.feed.pieces[body.out] if body.out >= 0 else -1
            where = self.at(out, 0, k, place)[1] if out >= 0 else ""
            if body.op in LEAVES:
                loops.leave(replace(body, out=self.pieces[out][0]), args[0], where, 0)
                values.append(("number", ""))
                continue
            values.append(loops.operation(body, args))
            if out >= 0:
                loops.store(self.pieces[out][0], where, loops.number(values[-1]))
        return values

    def prepare(self) -> None:
        """Compute addresses before a loop."""
        columns = [self.pieces[p][0] for p in self.feed.pieces] if self.feed else []
        for place in self.places:
            for column in (*columns, self.x, self.y):
                if column >= 0:
                    self.access.where(column, place)

    # ---------------------------------------------------------------------------------- members side by side
    def side_by_side(self, totals: list[str | None]) -> list[str | None]:
        """The totals, with this piece's terms."""
        loops, w, op, length = self.loops, self.w, self.body.op, self.length

        def term(k: Whole, now: list[str | None], known: dict[object, str] | None = None) -> list[str]:
            loaded: dict[object, str] = dict(known or {})
            return [loops.joined(op, total, *self.one(k, place, loaded)) for place, total in zip(self.places, now)]

        self.prepare()
        turned = loops.turned(self.box, self.p)
        turns = [c for c in turned if loops.rows and loops.along[c] not in (BROADCAST, SIDE_BY_SIDE)]
        if turns:
            assert isinstance(length, int)
            steps = self.box.inner[self.p]
            step = {self.x: steps[0], self.y: steps[1]}
            rows = {self.access.where(c, place): (c, step[c]) for c in turns for place in self.places}
            begun = [total or loops.beginning(op) if length >= 2 * TERMS else total for total in totals]
            return [*by_fours(loops, length, rows, begun, term)]
        if isinstance(length, int) and length <= UNROLLED:
            for k in range(length):
                totals = [*term(k, totals)]
            return totals
        now = [total or loops.beginning(op) for total in totals]
        if self.feed and self.feed.or_zero and loops.is_wide() and not self.box.beside:
            return [*self.chosen(now)]
        for i, one in enumerate(self.box.beside):
            now = self.alone(now, i, w.mul(one.lead, -1), one.lead)
        now = w.loop(length, [(loops.type(), total) for total in now], lambda k, totals: term(k, [*totals]))
        for i, one in enumerate(self.box.beside):
            done = w.add(length, one.lead)
            if one.lengths[self.p] != done:
                now = self.alone(now, i, length, w.sub(one.lengths[self.p], done))
        return [*now]

    def alone(self, totals: list[str], box: int, first: Whole, count: Whole) -> list[str]:
        """The totals, with so many terms of a box that the others do not have."""
        loops, w, result = self.loops, self.w, [*totals]
        members = [m for m, place in enumerate(self.places) if place[BOXES] == box]

        def term(k: Whole, now: list[str]) -> list[str]:
            loaded: dict[object, str] = {}
            k = w.add(first, k)
            return [loops.joined(self.body.op, x, *self.one(k, self.places[m], loaded)) for m, x in zip(members, now)]

        for m, total in zip(members, w.loop(count, [(loops.type(), totals[m]) for m in members], term)):
            result[m] = total
        return result

    def chosen(self, totals: list[str]) -> list[str]:
        """The totals with the terms that are chosen; the others are +0.0, which changes nothing but -0.0, so that it is
        enough to add it in the end where there was one."""
        loops, w, t, i1 = self.loops, self.w, self.loops.type(), self.loops.type("i1")
        condition, term, _ = (self.feed.pieces[x] for _, x in self.feed.bodies[0].args)
        keys = [self.access.where(self.pieces[condition][0], place)[0] for place in self.places]
        own = {key: i for i, key in enumerate(dict.fromkeys(keys))}  # members that are chosen by the same

        def step(k: Whole, now: list[str]) -> list[str]:
            loaded: dict[object, str] = {}
            masks: dict[object, str] = {}
            after, always = [], []
            for key, place, total in zip(keys, self.places, now):
                if key not in masks:
                    masks[key] = loops.condition(("number", self.get(condition, 0, k, place, loaded)))
                    always.append(w(f"and {i1} {now[len(keys) + own[key]]}, {masks[key]}"))
                added = w(f"fadd {t} {total}, {self.get(term, 0, k, place, loaded)}")
                after.append(w(f"select {i1} {masks[key]}, {t} {added}, {t} {total}"))
            return after + always

        begin = [(t, total) for total in totals] + [(i1, loops.splat("i1", 1)) for _ in own]
        now = w.loop(self.length, begin, step)
        found = []
        for key, total in zip(keys, now):
            always, nothing = now[len(keys) + own[key]], loops.constant(-0.0)
            found.append(w(f"fadd {t} {total}, {w(f'select {i1} {always}, {t} {nothing}, {t} {loops.constant(0.0)}')}"))
        return found

    # ------------------------------------------------------------------------------------ vectors of terms
    def by_vectors(self, total: str | None) -> str:
        """One member's total, with this piece's terms."""
        loops, w, op = self.loops, self.w, self.body.op
        total = total or loops.beginning(op)
        self.prepare()
        if self.feed and self.feed.counts:
            return loops.joined(op, total, self.counted(), None)
        if op not in EXTREMES:
            return self.in_order(total)
        best, doubtful = self.extreme()
        found = loops.joined(op, total, best, None)
        again = w(f"zext i1 {doubtful} to i64")
        (found,) = w.loop(again, [(loops.type(), found)], lambda _, __: [self.in_order(str(total))])
        return found

    def in_order(self, total: str) -> str:
        """The total with all terms, one after the other."""
        loops, w, v, t = self.loops, self.w, self.loops.lanes, self.loops.type()

        def several(first: Whole, now: str, count: int) -> str:
            with self.vector(count):
                x, y = self.one(first, self.places[0], {})
                wide = loops.type()
            for i in range(count):
                one = w(f"extractelement {wide} {x}, i64 {i}")
                other = None if y is None else w(f"extractelement {wide} {y}, i64 {i}")
                now = loops.joined(self.body.op, now, one, other)
            return now

        assert isinstance(self.length, int)
        full, rest = divmod(self.length, v)
        (total,) = w.loop(full, [(t, total)], lambda i, now: [several(w.mul(i, v), now[0], v)])
        return several(full * v, total, rest) if rest else total

    def counted(self) -> str:
        """The sum of terms that are whole numbers."""
        loops, w, v, t = self.loops, self.w, self.loops.lanes, self.loops.type()
        assert isinstance(self.length, int)

        def step(first: Whole, now: list[str], count: int, last: int) -> list[str]:
            """So many vectors of terms, the last of them with so many terms."""
            for r in range(count):
                with self.vector(last if r == count - 1 else v):
                    x, _ = self.one(w.add(first, r * v), self.places[0], {})
                    kind = loops.type()
                    if loops.mask is not None:
                        x = w(f"select {loops.type('i1')} {loops.mask}, {kind} {x}, {kind} {loops.constant(-0.0)}")
                    now[r] = w(f"fadd {kind} {now[r]}, {x}")
            return now

        with self.vector(v):
            wide, nothing = loops.type(), loops.constant(-0.0)
        size = RUNNING * v
        begin = [(wide, nothing)] * RUNNING
        now = [*w.loop(self.length // size, begin, lambda i, now: step(w.mul(i, size), [*now], RUNNING, v))]
        if rest := self.length % size:
            now = step(self.length - rest, now, -(-rest // v), rest % v or v)
        while len(now) > 1:
            now = [w(f"fadd {wide} {a}, {b}") for a, b in zip(now[::2], now[1::2])]
        parts = [w(f"extractelement {wide} {now[0]}, i64 {i}") for i in range(v)]
        while len(parts) > 1:
            parts = [w(f"fadd {t} {a}, {b}") for a, b in zip(parts[::2], parts[1::2])]
        return parts[0]

    def extreme(self) -> tuple[str, str]:
        """The largest, or smallest, of all terms, and whether it must be found again in order."""
        loops, w, v, t = self.loops, self.w, self.loops.lanes, self.loops.type()
        assert isinstance(self.length, int)
        how = "ogt" if self.body.op == OPCODE["maximum"] else "olt"

        def better(a: str, b: str) -> str:
            kind = loops.type()
            chosen = w(f"fcmp {how} {kind} {a}, {b}")
            return w(f"select {loops.type('i1')} {chosen}, {kind} {a}, {kind} {b}")

        def step(first: Whole, now: list[str], count: int, last: int) -> list[str]:
            """So many vectors of terms, the last of them with so many terms."""
            *running, odd = now
            for r in range(count):
                with self.vector(last if r == count - 1 else v):
                    x, _ = self.one(w.add(first, r * v), self.places[0], {})
                    if loops.mask is not None:
                        kind = loops.type()
                        x = w(f"select {loops.type('i1')} {loops.mask}, {kind} {x}, {kind} {running[r]}")
                    nan = w(f"fcmp uno {loops.type()} {x}, {x}")
                    odd = w(f"or {loops.type('i1')} {odd}, {nan}")
                    running[r] = better(x, running[r])
            return [*running, odd]

        with self.vector(v):
            wide, mask = loops.type(), loops.type("i1")
            begin = [(wide, loops.beginning(self.body.op))] * RUNNING + [(mask, "zeroinitializer")]
        size = RUNNING * v
        now = w.loop(self.length // size, begin, lambda i, now: step(w.mul(i, size), now, RUNNING, v))
        if rest := self.length % size:
            now = step(self.length - rest, now, -(-rest // v), rest % v or v)
        *running, odd = now
        with self.vector(v):
            while len(running) > 1:
                running = [better(a, b) for a, b in zip(running[::2], running[1::2])]
        best = w(f"extractelement {wide} {running[0]}, i64 0")
        for i in range(1, v):
            best = better(w(f"extractelement {wide} {running[0]}, i64 {i}"), best)
        bits = w(f"bitcast {mask} {odd} to i{v}")
        had_nan = w(f"icmp ne i{v} {bits}, 0")
        zero = w(f"fcmp oeq {t} {best}, {loops.constant(0.0)}")
        return best, w(f"or i1 {had_nan}, {zero}")

    @contextmanager
    def vector(self, count: int) -> Iterator[None]:
        """Inside, a vector holds so many terms."""
        loops = self.loops
        before = loops.width, loops.along, loops.mask
        loops.width = loops.lanes
        loops.mask = None
        if count < loops.width:
            loops.mask = loops.first(count)
        loops.along = [BROADCAST] * len(loops.along)
        for (x, y), steps in zip(self.pieces, self.box.inner):
            for column, step in ((x, steps[0]), (y, steps[1])):
                if column >= 0:
                    loops.along[column] = BROADCAST if step == 0 else SIDE_BY_SIDE if step == loops.item else step
        try:
            yield
        finally:
            loops.width, loops.along, loops.mask = before
