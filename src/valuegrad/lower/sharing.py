"""Loops that several threads share, when there is but one block of lanes.

Why: a batch of 16 is one vector of lanes, so threads that each take some lanes leave all but one idle.  What they can
share are the members of each loop.

How: each nest's boxes are cut into a part for each thread, along the dimension that costs least: by the longest part,
by what it reads that another thread has written last, which comes from that one's cache, and by whether the threads
have to meet before it.  They have to where one of them reads or writes what another has written, or writes what
another has read, since they met last.  That is known exactly, as all addresses are; so loops that are cut alike, say by
the positions of a text, follow each other without a meeting.

A member is computed as ever, whoever does it: results do not depend on how many threads there are.

Data structures: ``Share``, a nest with its parts; ``Sharing`` remembers who wrote and read what.

Where to start reading: ``Sharing.shares``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from valuegrad.lower.vectors import BLOCK, is_call
from valuegrad.roll.groups import GUARD
from valuegrad.roll.kernels import Kernel
from valuegrad.roll.nests import Nest
from valuegrad.roll.pieces import far_from_first

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Share", "Sharing", "Space", "cycles_of"]

TERM, BODY, CALL = 0.75, 1.5, 25.0
"""Cycles, roughly, for a vector: a term of a list, another operation, one that is a function."""
MEETING = 700.0  # cycles that threads lose when they wait for each other
FETCH = 20.0  # cycles for a line from another thread's cache, as several are on their way at once
EVEN = 4  # long dimensions are cut at multiples of this, as tiles are
MOST_SHAPES = 2  # of boxes, that get code of their own
WORTH = 0.8  # of the cycles of one thread, at most

Space = Callable[[str, int], tuple[str, int, int]]
"""As ``Loops.space``: of a column's space the memory, how many bytes its elements are apart, where it begins."""


@dataclass
class Share:
    """A nest with a part for each thread.

    Args:
        nest: boxes of the first part, then of the next one.
        begins: for each part its first box, and how many there are in all.
        meets: the threads meet before it.
    """

    nest: Nest
    begins: tuple[int, ...]
    meets: bool


class Sharing:
    """Who wrote and read what, while a segment's nests are shared one after the other.

    Args:
        parts: how many threads.
        space: where columns are.
        item: bytes of a number.

    Attributes:
        alone, together: cycles, roughly, of one thread that does it all, and of the threads.
    """

    def __init__(self, parts: int, space: Space, item: int) -> None:
        self.parts, self.space, self.item = parts, space, item
        self.alone = self.together = 0.0
        self.memory: dict[str, _Memory] = {}
        self.is_unknown = False  # what was done last touched we know not what

    def is_worth_it(self) -> bool:
        """Whether the threads save time."""
        return self.together <= WORTH * self.alone

    def whole(self, cycles: float) -> None:
        """The first thread does something alone, which may touch everything: the threads meet before, and after it."""
        self.is_unknown = True
        self.alone += cycles
        self.together += cycles + 2 * MEETING

    def shares(self, nest: Nest) -> list[Share]:
        """A nest in parts; those of other extents are nests of their own."""
        choices = list(_choices(nest, self.parts))
        found = [self._price(one, part) for one, part in choices]
        best = min(range(len(found)), key=lambda i: found[i][0])
        (cut, part), (price, meets, touched) = choices[best], found[best]
        meets |= self.is_unknown
        self.is_unknown = False
        if meets:
            for memory in self.memory.values():
                memory.meet()
        for p, name, places, is_written in touched:
            self.memory[name].touch(p, places, is_written)
        self.together += price
        self.alone += float(cycles_of(nest).sum())
        result: list[Share] = []
        for boxes in _of_one_shape(cut):
            order = boxes[np.argsort(part[boxes], kind="stable")]
            begins = np.searchsorted(part[order], np.arange(self.parts + 1))
            result.append(Share(_taken(cut, order), tuple(begins.tolist()), meets and not result))
        return result

    def _price(self, nest: Nest, part: NDArray[np.int64]) -> tuple[float, bool, list[Any]]:
        """Cycles; whether the threads meet before; what each of them touches."""
        work = np.bincount(part, cycles_of(nest), self.parts)
        meets, touched = False, []
        for p in range(self.parts):
            mine = np.flatnonzero(part == p)
            for name, places, is_written in _accesses(_taken(nest, mine), self.space, self.item):
                memory = self.memory.setdefault(name, _Memory())
                memory.grow(int(places.max(initial=0)) + 1)
                meets = meets or memory.has_conflict(p, places, is_written)
                work[p] += FETCH * memory.foreign(p, places, is_written) if name == "%frame" else 0.0
                touched.append((p, name, places, is_written))
        return float(work.max()) + MEETING * meets, meets, touched


class _Memory:
    """Of each line who has it, who wrote it since the threads met, and who read it; a bit for each."""

    def __init__(self) -> None:
        self.holders = np.zeros(0, dtype=np.uint8)
        self.writers = np.zeros(0, dtype=np.uint8)
        self.readers = np.zeros(0, dtype=np.uint8)

    def grow(self, size: int) -> None:
        """Have so many lines at least."""
        more = np.zeros(max(size - len(self.holders), 0), dtype=np.uint8)
        self.holders, self.writers, self.readers = (
            np.append(bits, more) for bits in (self.holders, self.writers, self.readers)
        )

    def has_conflict(self, part: int, lines: NDArray[np.int64], is_written: bool) -> bool:
        """Whether another part wrote lines since they met, or read what is to be written."""
        others = ~np.uint8(1 << part)
        found = self.writers[lines] & others
        return bool(found.any()) or (is_written and bool((self.readers[lines] & others).any()))

    def foreign(self, part: int, lines: NDArray[np.int64], is_written: bool) -> int:
        """How many of the lines come from another part, or are taken away from it."""
        holders, mine = self.holders[lines], np.uint8(1 << part)
        return int(np.count_nonzero(holders & ~mine if is_written else (holders != 0) & (holders & mine == 0)))

    def touch(self, part: int, lines: NDArray[np.int64], is_written: bool) -> None:
        """A part reads or writes lines."""
        mine = np.uint8(1 << part)
        if is_written:
            self.writers[lines] |= mine
            self.holders[lines] = mine
        else:
            self.readers[lines] |= mine
            self.holders[lines] |= mine

    def meet(self) -> None:
        """The threads meet."""
        self.writers[:] = 0
        self.readers[:] = 0


# ------------------------------------------------------------------------------------------------- ways to cut a nest
def _choices(nest: Nest, parts: int) -> Iterator[tuple[Nest, NDArray[np.int64]]]:
    """Ways to cut a nest: the nest with boxes cut, and for each box its part."""
    count, rank = nest.extents.shape
    yield nest, np.zeros(count, dtype=np.int64)
    if any(body.op == GUARD for body in nest.kernel.bodies):  # which all write the lanes' first guard that failed
        return
    if count >= parts:
        cycles = cycles_of(nest)
        middle = np.cumsum(cycles) - cycles / 2
        yield nest, np.minimum((middle * parts / cycles.sum()).astype(np.int64), parts - 1)
    for d in range(rank):
        if (nest.extents[:, d] >= parts).all():
            yield _cut(nest, d, parts)


def _cut(nest: Nest, d: int, parts: int) -> tuple[Nest, NDArray[np.int64]]:
    """Cut each box along dimension d."""
    extent = nest.extents[:, d]
    step = np.where(extent >= 2 * EVEN * parts, EVEN, 1)
    ends = [(np.rint(extent * p / parts / step) * step).astype(np.int64) for p in range(parts)] + [extent]
    cuts, labels = [], []
    for p in range(parts):
        extents = nest.extents.copy()
        extents[:, d] = ends[p + 1] - ends[p]
        bases = nest.bases + ends[p][:, None] * nest.strides[:, d]
        cuts.append(replace(nest, bases=bases, extents=extents))
        labels.append(np.full(len(bases), p, dtype=np.int64))
    return _joined(cuts), np.concatenate(labels)


def _joined(nests: list[Nest]) -> Nest:
    def all_of(name: str) -> NDArray[np.int64]:
        return np.concatenate([getattr(nest, name) for nest in nests])

    first = nests[0]
    arrays = all_of("bases"), all_of("extents"), all_of("strides"), all_of("lengths"), all_of("inner")
    return Nest(first.kernel, first.pieces, *arrays)


def _taken(nest: Nest, boxes: NDArray[np.int64]) -> Nest:
    arrays = nest.bases[boxes], nest.extents[boxes], nest.strides[boxes], nest.lengths[boxes], nest.inner[boxes]
    return Nest(nest.kernel, nest.pieces, *arrays)


def _of_one_shape(nest: Nest) -> list[NDArray[np.int64]]:
    """The boxes by their shapes, which are constants in the code then; together where these are many in any case."""
    shapes, which = np.unique(nest.extents, axis=0, return_inverse=True)
    if len(shapes) > MOST_SHAPES:
        return [np.arange(len(nest.extents))]
    return [np.flatnonzero(which.ravel() == k) for k in range(len(shapes))]


# ------------------------------------------------------------------------------------------- what a nest does, touches
def cycles_of(nest: Nest) -> NDArray[np.float64]:
    """Of each box, roughly."""
    bodies = [*nest.kernel.bodies]
    each = sum(CALL if is_call(body.op) else BODY for body in bodies if not body.variants)
    terms = TERM * nest.lengths.sum(1)
    for i in nest.pieces:
        (pieces,) = nest.kernel.bodies[i].variants[:1]
        for p, piece in enumerate(pieces):
            if piece.feed is not None:
                terms = terms + nest.lengths[:, p] * sum(CALL if is_call(b.op) else BODY for b in piece.feed.bodies)
    return np.asarray(nest.extents.prod(1) * (each + terms), dtype=np.float64)


def _accesses(nest: Nest, space: Space, item: int) -> Iterator[tuple[str, NDArray[np.int64], bool]]:
    """For each column of a nest the memory, the lines of the frame or numbers there, and whether it is written."""
    kernel = nest.kernel
    terms: dict[int, tuple[int, int]] = {}
    for p, xy in enumerate(xy for table in nest.pieces.values() for xy in table):
        for side, c in enumerate(xy):
            if c >= 0:
                terms[c] = p, side
    written = {body.out for body in kernel.bodies if body.out >= 0} | _fed_columns(kernel)
    lists = kernel.listed()
    for c, column in enumerate(kernel.columns):
        if c in lists and c not in terms:  # of members with other lists
            continue
        memory, unit, first = space(column.space, column.group)
        if not len(nest.bases) or not memory or memory.startswith("@") or memory in ("%inputs", "%outputs"):
            continue  # nothing writes inputs, nothing reads outputs, and each is written once
        places = (first + unit * _places(nest, c, terms.get(c))) // (item if memory == "%uniform" else BLOCK)
        touched = np.zeros(places.max() + 1, dtype=bool)
        touched[places] = True
        yield memory, np.flatnonzero(touched), c in written


def _fed_columns(kernel: Kernel) -> set[int]:
    """The columns that what computes a list's terms leaves for others."""
    found = set()
    for body in kernel.bodies:
        for pieces in body.variants:
            for piece in pieces:
                if piece.feed is not None:
                    found |= {pieces[piece.feed.pieces[b.out]].x for b in piece.feed.bodies if b.out >= 0}
    return found


def _places(nest: Nest, c: int, term: tuple[int, int] | None) -> NDArray[np.int64]:
    """All places of a column, some of them more than once."""
    lengths = nest.lengths[:, term[0]] if term else np.ones(len(nest.bases), dtype=np.int64)
    shapes = np.concatenate([np.where(nest.strides[:, :, c] != 0, nest.extents, 1), lengths[:, None]], 1)
    kinds, which = np.unique(shapes, axis=0, return_inverse=True)
    found = []
    for k, shape in enumerate(kinds.tolist()):
        mine = np.flatnonzero(which.ravel() == k)
        at = nest.bases[mine, c][:, None]
        for d, extent in enumerate(shape[:-1]):
            steps = nest.strides[mine, d, c][:, None] * np.arange(extent)
            at = (at[:, :, None] + steps[:, None, :]).reshape(len(mine), -1)
        if term:
            p, side = term
            i = np.arange(shape[-1])
            far = far_from_first(i, nest.inner[mine, p, side][:, None], nest.inner[mine, p, 2 + side][:, None])
            at = (at[:, :, None] + far[:, None, :]).reshape(len(mine), -1)
        found.append(at.ravel())
    return np.concatenate(found) if found else np.zeros(0, dtype=np.int64)
