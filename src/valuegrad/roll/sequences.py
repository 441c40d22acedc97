"""Loops whose iterations follow each other: a time loop that Python unrolled, and long sums over its steps.

Why: the instructions of one iteration depend on the one before (``_period.h`` finds them), so members cannot run side
by side, but they can run in a loop, which carries what the next iteration needs.  A sum over such a loop's steps (the
gradient of a parameter) adds several results of each step in turn: no piece of its list has constant strides, but the
list is periodic as well.

Data structures
    Track      where an operand of each iteration lies: at a constant step, or by a table.
    Step       one operation of an iteration: its arguments are values of this iteration, of earlier ones, or tracks.
    Sequence   a loop: iterations, steps, tracks.
    Chain      a long list: sections, each a period of terms repeated.

Where to start reading: ``sequence_of``, then ``chain_of``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from valuegrad.primitives.opcodes import OPCODE
from valuegrad.roll.groups import GUARD, MEMBER, TARGETS, UNIFORM, Groups, Run, space_of
from valuegrad.roll.rounds import Rounds

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Terms = tuple[NDArray[np.int64], NDArray[np.int64]]

__all__ = [
    "Chain",
    "Section",
    "Sequence",
    "Step",
    "Track",
    "chain_of",
    "mark_last",
    "sequence_of",
    "storage",
]

DOT, SUM = OPCODE["dot"], OPCODE["sum"]
COMMUTATIVE = frozenset((OPCODE["add"], OPCODE["mul"]))
WITHOUT_LOOPS = frozenset(OPCODE[op] for op in ("norm", "call", "gather"))
CYCLIC = 24  # terms from which on a list is looked at for periods
NOTHING: Mapping[int, tuple[int, ...]] = MappingProxyType({})
ODD = 64  # sections of a list, at most: more would be straight-line code again
ALONE = 512  # terms of one that does not repeat itself


@dataclass
class Track:
    """Where an operand, or a result, of each iteration lies."""

    space: str  # as a Column's
    group: int
    first: int  # where iteration 0 finds it
    step: int = 0
    table: Any = None  # int64[iterations], where there is no constant step
    of: tuple[int, ...] = ()  # as a Column's

    def places(self, count: int) -> NDArray[np.int64]:
        """Where each of so many iterations finds it."""
        found: NDArray[np.int64] = self.first + self.step * np.arange(count) if self.table is None else self.table
        return found


@dataclass
class Step:
    """One operation of an iteration: of its group so many units, of which this is one."""

    op: int
    number: float
    group: int
    unit: int = 0
    units: int = 1
    args: list[tuple[str, Any]] = field(default_factory=list)  # ("value", step), ("column", track), ("carried", index)
    stored: bool = False
    last: bool = False  # only the last iteration's result is
    out: int = -1  # track
    variants: tuple[()] = ()  # it is no list in pieces, as a kernel's Body may be


@dataclass
class Sequence:
    """An ordered loop.

    Args:
        members: iterations.
        first, groups: the first one of its groups, and how many there are.
        bodies: steps of one.
        columns: tracks.
        carried: (step, iterations ago, the tracks of what the first iterations take instead).
        accumulators: totals of what the iterations leave (``accumulators.Accumulator``).
        packs: steps that run side by side (``packs.packs_of``), in order; none: one after the other.
    """

    members: int
    first: int
    groups: int
    bodies: list[Step]
    columns: list[Track]
    carried: list[tuple[int, int, list[int]]]
    accumulators: list[Any] = field(default_factory=list)
    packs: list[list[int]] = field(default_factory=list)


@dataclass
class Section:
    """Terms of a list, a period of them repeated.

    Args:
        terms: for each term of the period its tracks, x and y (-1: none).
        count: how many periods.
    """

    terms: list[tuple[int, int]]
    count: int


@dataclass
class Chain:
    """A single long list, as a kernel; `begins`: with what a sequence left where its result goes."""

    bodies: list[Step]
    columns: list[Track]
    sections: list[Section]
    members: int = 1
    groups: int = 1
    begins: bool = False


def _track(c: int, places: Any, held: Mapping[int, tuple[int, ...]] = NOTHING) -> Track:
    """The track of a class's places; of a holder's with the groups that are read."""
    space, group = space_of(c)
    of = held.get(group, ())
    first = int(places[0])
    steps = np.diff(places)
    if not len(steps) or (steps == steps[0]).all():
        return Track(space, group, first, int(steps[0]) if len(steps) else 0, of=of)
    return Track(space, group, first, 0, places.astype(np.int64), of)


class _Tracks:
    """Tracks, each once."""

    def __init__(self) -> None:
        self.all: list[Track] = []
        self.index: dict[Any, int] = {}

    def add(self, t: Track) -> int:
        key = (t.space, t.group, t.first, t.step, None if t.table is None else t.table.tobytes())
        if key not in self.index:
            self.index[key] = len(self.all)
            self.all.append(t)
        return self.index[key]


def sequence_of(groups: Groups, run: Run) -> Sequence:
    """The loop of a run."""
    s = groups.segment
    first, period, count = run.first, run.period, run.count
    starts = s.starts[first : first + period + 1].astype(np.int64)
    width = int(starts[-1] - starts[0])
    operands = s.operands[starts[0] : starts[0] + count * width].reshape(count, width)
    numbers = s.numbers[first : first + period * count].reshape(count, period)
    last = operands[-1]
    own = last >= first
    operands = _turned(operands, own, (starts[:-1] - starts[0]).tolist(), s.ops[first : first + period].tolist())
    tracks = _Tracks()
    whole = _from_outside(groups, np.where(own, operands[-1:], operands), np.flatnonzero(~own), tracks)
    bodies: list[Step] = []
    carried: list[tuple[int, int, list[int]]] = []
    names: dict[Any, int] = {}
    begins: dict[int, int] = {}  # by operand: its track

    def begin(reference: int) -> int:
        if reference not in begins:
            classes, places = groups.locate(np.array([reference]))
            begins[reference] = tracks.add(_track(int(classes[0]), places))
        return begins[reference]

    for j in range(period):
        op = int(s.ops[first + j])
        if op in WITHOUT_LOOPS:
            raise NotImplementedError("an operation that a sequence does not know")
        number = float(numbers[0, j])
        g = int(s.group[first + j])
        step = Step(
            op, number % 2 if op == GUARD else number, g, int(groups.place[first + j]), groups.sizes[g] // count
        )
        for k in range(int(starts[j] - starts[0]), int(starts[j + 1] - starts[0])):
            if not own[k]:
                step.args.append(("column", whole[k]))
                continue
            back, body = divmod(int(last[k]) - first, period)
            ago = count - 1 - back
            if ago == 0:
                step.args.append(("value", body))
                continue
            before = [begin(int(operands[t, k])) for t in range(ago)]
            key = (body, ago, *before)
            if key not in names:
                names[key] = len(carried)
                carried.append((body, ago, before))
            step.args.append(("carried", names[key]))
        if op in TARGETS:
            places = numbers[:, j].astype(np.int64)
            track = _track(UNIFORM, places // 2 if op == GUARD else places)
            track.space = TARGETS[op]
            step.out = tracks.add(track)
        bodies.append(step)
    return Sequence(count, run.group, run.groups, bodies, tracks.all, carried)


def _turned(operands: NDArray[Any], own: NDArray[Any], starts: list[int], ops: list[int]) -> NDArray[Any]:
    """The operands with those of sums and products in the order in which later iterations have them.

    Operands stand in the order of their numbers: what the first iteration begins with may come before what all of them
    read, where the results of the iterations before come after it.
    """
    found = operands
    for op, a in zip(ops, starts):
        if op in COMMUTATIVE and own[a] != own[a + 1]:
            outside, inside = (a + 1, a) if own[a] else (a, a + 1)
            same = operands[-1, outside]
            if operands[0, outside] != same and operands[0, inside] == same == operands[1, outside]:
                found = found.copy() if found is operands else found
                found[0, [outside, inside]] = operands[0, [inside, outside]]
    return found


def _from_outside(groups: Groups, operands: NDArray[Any], which: NDArray[Any], tracks: _Tracks) -> dict[int, int]:
    """The tracks of operands that come from outside of a run.

    Args:
        groups: of the segment.
        operands: int32[iterations, operands of one].
        which: of these.
        tracks: gets them.
    """
    mine = operands[:, which]
    found = groups.locate(mine.ravel())
    classes, places = found[0].reshape(mine.shape), found[1].reshape(mine.shape)
    if (classes != classes[0]).any():
        raise NotImplementedError("an operand of several groups")
    whole: dict[int, int] = {}
    known: dict[Any, int] = {}
    steps = places[1] - places[0]
    even = (places == places[0] + np.arange(len(places))[:, None] * steps).all(0)
    for i, k in enumerate(which.tolist()):
        key = int(classes[0, i]), int(places[0, i]), int(steps[i])
        if not even[i]:
            whole[k] = tracks.add(_track(key[0], places[:, i]))
            continue
        if key not in known:
            known[key] = tracks.add(Track(*space_of(key[0]), key[1], key[2]))
        whole[k] = known[key]
    return whole


def chain_of(groups: Groups, instruction: int, op: int, group: int) -> Chain | None:
    """A list as sections; None where it is short, or so irregular that it would be straight-line code."""
    s = groups.segment
    begin, end = int(s.starts[instruction]), int(s.starts[instruction + 1])
    n = end - begin
    if n < CYCLIC:
        return None
    half = n // 2 if op == DOT else n
    cx, x = groups.locate(s.operands[begin : begin + half])
    cy, y = groups.locate(s.operands[begin + half : end]) if op == DOT else (np.zeros(half, np.int64),) * 2
    if (cx == cx[0]).all() and (cy == cy[0]).all():
        return None
    kind = cx * (len(groups.sizes) + MEMBER) + cy
    held = groups.held(s.operands[begin:end])
    found = None
    for by_tables in (False, True):
        try:
            found = found or _sections_of(op, kind, (cx, x), (cy, y), held, by_tables=by_tables)
        except NotImplementedError:
            if by_tables and not groups.has_levels:  # where they are pieces then
                raise
    return Chain([Step(op, 0.0, group)], found[1], found[0]) if found else None


def _sections_of(
    op: int,
    kind: NDArray[np.int64],
    x_terms: Terms,
    y_terms: Terms,
    held: dict[int, tuple[int, ...]],
    *,
    by_tables: bool,
) -> tuple[list[Section], list[Track]]:
    """Sections of a list, and their tracks.

    Args:
        op: of the list.
        kind: for each term its classes as one number.
        x_terms, y_terms: for each term the class and the place of x, and of y.
        held: for each holder the groups of it that are read.
        by_tables: the places in a section need not lie at constant steps.
    """
    (cx, x), (cy, y) = x_terms, y_terms
    sections: list[Section] = []
    tracks = _Tracks()

    def add(a: int, q: int, count: int) -> None:
        terms = []
        for k in range(a, a + q):
            mine = slice(k, k + q * count, q)
            left, right = int(cx[k]), int(cy[k])
            at = tracks.add(_track(left, x[mine], held))
            terms.append((at, tracks.add(_track(right, y[mine], held)) if op == DOT else -1))
        sections.append(Section(terms, count))
        if len(sections) > ODD:
            raise NotImplementedError("a list without order")

    def cut(a: int, b: int) -> None:
        """Sections of the terms from a to b."""
        if b - a < CYCLIC:
            if b > a:
                add(a, b - a, 1)
            return
        middle = (a + b) // 2
        alike = np.flatnonzero(kind[a:b] == kind[middle]) + a
        begins = alike[np.diff(alike, prepend=a - 2) > 1]  # of runs, which may themselves come again
        run = int(np.searchsorted(begins, middle, "right")) - 1
        periods = {*(alike[alike > middle][:4] - middle).tolist(), *(begins[run + 1 :][:4] - begins[run]).tolist()}
        best = (0, 0, 0)
        for q in sorted(periods):
            if middle + 2 * q > b:
                break
            # equal[k]: terms k and k + q are of one kind; even[k]: the step is the one before
            equal = kind[a : b - q] == kind[a + q : b]
            dx, dy = x[a + q : b] - x[a : b - q], y[a + q : b] - y[a : b - q]
            even = np.ones(len(equal), bool)
            even[q:] = (dx[q:] == dx[:-q]) & (dy[q:] == dy[:-q]) if len(equal) > q else True
            holds = equal & (even | by_tables)
            at = middle - a
            if not holds[at]:
                continue
            wrong = np.flatnonzero(~holds)
            left = wrong[wrong < at]
            right = wrong[wrong > at]
            low = int(left[-1]) + 1 if len(left) else 0
            if len(left) and equal[left[-1]]:  # another step ends there, so the period before is not this run's
                low = int(left[-1])
            high = (int(right[0]) if len(right) else len(equal)) + q
            count = (high - low) // q
            if count * q > best[2] * best[1]:
                best = (a + low, q, count)
        start, q, count = best
        if count < 2:
            if b - a > ALONE:
                raise NotImplementedError("a list without order")
            add(a, b - a, 1)
            return
        cut(a, start)
        add(start, q, count)
        cut(start + q * count, b)

    cut(0, len(kind))
    return sections, tracks.all


def mark_last(kernels: list[Any]) -> None:
    """Find the steps of which others read the last iteration's result alone."""
    final: dict[int, int] = {}  # by group: the first place of the last iteration
    kernels = [one for kernel in kernels for one in (kernel.all if isinstance(kernel, Rounds) else [kernel])]
    for kernel in kernels:
        if isinstance(kernel, Sequence):
            final.update({b.group: b.units * (kernel.members - 1) for b in kernel.bodies if b.stored})
    early: set[int] = set()
    for kernel in kernels:
        lists = [] if isinstance(kernel, Sequence | Chain) else kernel.lists()  # a list goes on from where it begins
        for i, c in enumerate(kernel.columns):
            if c.group in final:
                last = final[c.group]
                if isinstance(c, Track):
                    is_last = c.table is None and c.step == 0 and c.first >= last
                else:
                    is_last = i not in lists and not c.move and bool((c.at >= last).all())
                if not is_last:
                    early.add(c.group)
    for kernel in kernels:
        for step in kernel.bodies if isinstance(kernel, Sequence) else ():
            step.last = step.group in final and step.group not in early


def storage(kernels: list[Any], sizes: list[int]) -> tuple[list[int], dict[int, tuple[int, int, int]]]:
    """Where a sequence's results lie: what one iteration leaves side by side, so that the loop, and the one that runs
    back over it, read one stretch of memory.  Several units of a group are side by side in any case.

    Returns:
        Sizes of groups, of which the first one of a sequence holds the others, too; for those groups the one that holds
        them, where in it they begin (before it, if only the last member is there), and how far its members are apart.
    """
    sizes = list(sizes)
    held: dict[int, tuple[int, int, int]] = {}
    for kernel in kernels:
        if isinstance(kernel, Rounds):
            for g, is_kept in kernel.left().items():
                units, ago = kernel.units[g - kernel.first], kernel.carried[g - kernel.first]
                sizes[g] = units * (kernel.members + ago) if is_kept else units
                held[g] = (g, ago * units, 1)
        if isinstance(kernel, Sequence):
            order = [kernel.bodies[i] for pack in kernel.packs for i in pack] or kernel.bodies
            stored = [b.group for b in order if b.stored and not b.last and b.units == 1]
            for b in kernel.bodies:
                if b.last:  # one iteration's, where the last ones of all would be
                    sizes[b.group] = b.units
                    held[b.group] = (b.group, b.units * (1 - kernel.members), 1)
            for i, g in enumerate(stored):
                held[g] = (stored[0], i, len(stored))
            if stored:
                sizes[stored[0]] = len(stored) * kernel.members
    return sizes, held
