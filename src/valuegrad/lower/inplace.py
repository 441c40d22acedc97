"""Large inputs and outputs that stay in the caller's arrays.

Why: a run's inputs are copied among its scalars, and its outputs from there.  Where 640,000 numbers are read once or
twice and as many written, the copies take as long as the loops.

How: a run of inputs (``Code.runs``) is read where it lies, a run of outputs is written there if nothing reads it again.
The columns that are in one of them get a space of its own; where a column has inputs and what lies behind them, the run
ends before these, and the rest of it is copied.  A run that is read often is better off in a copy if it does
not begin with a whole vector, and totals over the lanes are no outputs yet where several blocks of lanes are added up:
then that space is the scalars' after all (``vg_leave_in_place`` of ``_run.h``).

Where to start reading: ``in_place``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from valuegrad.roll.groups import STORE_UNIFORM, Segment
from valuegrad.roll.kernels import Kernel, Piece
from valuegrad.roll.pieces import far_from_first
from valuegrad.roll.rounds import Rounds
from valuegrad.roll.sequences import Chain

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["INPUT", "OUTPUT", "InPlace", "in_place"]

LEAST = 1 << 11  # numbers
OFTEN = 4  # times that an input is read on average

INPUT, OUTPUT = "input", "output"
"""The spaces; places in them are those of scalars."""


@dataclass(frozen=True)
class InPlace:
    """What stays where it is.

    Args:
        runs: of inputs and of outputs, which run; -1: none.
        is_often: the inputs are read often.
        count: how many inputs of the run, from its first one on.
        ends: for each space its first scalar, and the end of them.
        totals: the scalars in which sums over the lanes end.
    """

    runs: tuple[int, int] = (-1, -1)
    is_often: bool = False
    count: int = 0
    ends: tuple[tuple[str, int, int], ...] = ()
    totals: NDArray[Any] = field(default_factory=lambda: np.zeros(0, dtype=np.int32))

    def fits(self, kernels: Sequence[Any]) -> bool:
        """Whether these kernels can have them there, too."""
        return all(_is_clean(kernel, first, end, self.totals) for _, first, end in self.ends for kernel in kernels)

    def applied(self, kernel: Kernel) -> Kernel:
        """The kernel with the spaces of its columns."""
        columns = list(kernel.columns)
        for c, column in enumerate(columns):
            for space, first, end in self.ends:
                if column.space == "uniform" and len(column.at) and first <= column.at[0] < end:
                    columns[c] = replace(column, space=space)
        return replace(kernel, columns=columns)

    def applied_to_all(self, rounds: Rounds) -> Rounds:
        """A loop of loops with the spaces of its kernels' columns."""
        begins, kernels = ([self.applied(kernel) for kernel in some] for some in (rounds.begins, rounds.kernels))
        return replace(rounds, begins=begins, kernels=kernels)


def in_place(
    segments: Sequence[Segment],
    kernels: Sequence[Sequence[Any]],
    runs: tuple[NDArray[np.int32], NDArray[np.int32]],
    totals: NDArray[Any],
) -> InPlace:
    """Which inputs and outputs stay where they are.

    Args:
        segments: the program's.
        kernels: of each of them.
        runs: of inputs and of outputs, as ``Code.runs`` gives them.
        totals: the scalars in which sums over the lanes end.
    """
    spaces = []
    chosen = [-1, -1]
    is_often = False
    stores = np.concatenate([segment.numbers[segment.ops == STORE_UNIFORM] for segment in segments]).astype(np.int64)
    for which, space in enumerate((INPUT, OUTPUT)):
        found = runs[which]
        if not len(found):
            continue
        k = int(np.argmax(found[:, 2]))
        first, count = int(found[k, 0]), int(found[k, 2])
        if count < LEAST:
            continue
        end = first + count
        reads = sum(_within(segment.operands, -end, -first) for segment in segments)  # of scalar i: ~i
        others = np.delete(runs[1], k, 0) if space == OUTPUT else runs[1]  # outputs that come from these scalars
        if ((others[:, 0] < end) & (others[:, 0] + others[:, 2] > first)).any():
            continue
        if space == INPUT:
            end = _clean_end([one for several in kernels for one in several], first, end, totals)
            fits, is_often = end - first >= LEAST, reads > OFTEN * count
        else:
            left = np.concatenate([stores, totals])
            written = np.bincount(left[(left >= first) & (left < end)] - first, minlength=count)
            fits = not reads and bool((written == 1).all())
        if fits and all(_is_clean(one, first, end, totals) for several in kernels for one in several):
            spaces.append((space, first, end))
            chosen[which] = k
    inputs = sum(end - first for space, first, end in spaces if space == INPUT)
    return InPlace((chosen[0], chosen[1]), is_often, inputs, tuple(spaces), totals)


def _within(places: NDArray[Any], first: int, end: int) -> int:
    return int(np.count_nonzero((places >= first) & (places < end)))


def _clean_end(kernels: Sequence[Any], first: int, end: int, totals: NDArray[Any]) -> int:
    """The end of those scalars, from the first one on, that no kernel has in a column with others behind them."""
    ends = [end]
    for kernel in kernels:
        ends += [int(low.min()) for low, high in _ranges(kernel, totals) if not _lies_well(low, high, first, end)]
    return end if len(ends) == 1 else _clean_end(kernels, first, min(ends), totals) if min(ends) > first else first


def _is_clean(kernel: Any, first: int, end: int, totals: NDArray[Any]) -> bool:
    """Whether each of a kernel's columns lies wholly in a range of scalars, or outside of it, those of sums over the
    lanes where these end; not at all inside, where steps follow each other."""
    is_plain = isinstance(kernel, Kernel | Rounds)
    return all(
        _lies_well(low, high, first, end) if is_plain else ((high < first) | (low >= end)).all()
        for low, high in _ranges(kernel, totals)
    )


def _lies_well(low: NDArray[np.int64], high: NDArray[np.int64], first: int, end: int) -> bool:
    """Whether all of a column's members lie in a range, or all outside of it."""
    return bool(((low >= first) & (high < end)).all() or ((high < first) | (low >= end)).all())


def _ranges(kernel: Any, totals: NDArray[Any]) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """The lowest and the highest scalar that each member has in a column, for all columns of scalars."""
    if isinstance(kernel, Rounds):
        found = [pair for one in kernel.begins for pair in _ranges(one, totals)]
        for one in kernel.kernels:
            moves = [column.move * (kernel.members - 1) for column in one.columns if column.space == "uniform"]
            for (low, high), move in zip(_ranges(one, totals), moves):
                found.append((low + min(move, 0), high + max(move, 0)))
        return found
    if not isinstance(kernel, Kernel):
        count = max([kernel.members, *[section.count for section in _sections(kernel)]])
        tracks = [track.places(count) for track in kernel.columns if track.space == "uniform"]
        tracks += [totals[track.places(kernel.members)] for track in kernel.columns if track.space == "sum"]
        return [(places, places) for places in tracks]
    lowest = {c: column.at for c, column in enumerate(kernel.columns) if column.space == "uniform"}
    lowest |= {c: totals[column.at] for c, column in enumerate(kernel.columns) if column.space == "sum"}
    highest = dict(lowest)
    for body in kernel.bodies:
        for pieces in body.variants:
            for piece in pieces:
                for side, c in enumerate((piece.x, piece.y)):
                    if c in lowest:
                        low, high = _reach(piece, side, kernel.columns[c].at)
                        lowest[c], highest[c] = np.minimum(lowest[c], low), np.maximum(highest[c], high)
    return [(low, highest[c]) for c, low in lowest.items()]


def _sections(kernel: Any) -> list[Any]:
    if isinstance(kernel, Chain):
        return kernel.sections
    return [section for total in kernel.accumulators for section in total.before]


def _reach(piece: Piece, side: int, at: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The lowest and the highest place of each member's terms."""
    step, bend, n = piece.strides[:, side], piece.strides[:, 2 + side], np.maximum(piece.length, 1)
    last = at + (n - 1) * step + bend * ((n - 1) * (n - 2) // 2)
    turn = np.clip(np.where(bend != 0, (bend - 2 * step) // np.where(bend != 0, 2 * bend, 1), 0), 0, n - 1)
    places = [at, last]
    for k in (turn, np.minimum(turn + 1, n - 1)):
        places.append(at + far_from_first(k, step, bend))
    return np.minimum.reduce(places), np.maximum.reduce(places)
