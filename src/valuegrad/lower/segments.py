"""A program's segments as kernels: what its functions are written from, and its loops shown.

Where to start reading: ``Segments``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from valuegrad.lower.emit import emit_segment
from valuegrad.lower.inplace import in_place
from valuegrad.lower.machine_code import MAIN, What, target_of
from valuegrad.lower.vectors import MOST_REGISTERS, is_call
from valuegrad.lower.waiting import two_vectors_pay
from valuegrad.primitives.opcodes import OPS
from valuegrad.roll.describe import Layout, Loop, loops_of
from valuegrad.roll.found import Loop as FoundLoop
from valuegrad.roll.found import kernels_of
from valuegrad.roll.groups import STORE_UNIFORM, Groups, Segment
from valuegrad.roll.kernels import WHOLE
from valuegrad.roll.rounds import Irregular, Rounds

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Segments"]

RATIO = 6  # instructions that share a group, at least, on average
RATIO_BY_LEVELS = 24  # likewise where groups are those of levels: fewer of one are in a loop with others
MOST = 6000  # groups, of which LLVM compiles two in a millisecond or fewer; unless so many instructions share one:
MANY, MANY_BY_LEVELS = 100, 400
MOST_WRITTEN = 5000  # operations of loops and pieces of their lists, in the same way: a few groups may be lists of many


class Segments:
    """The segments of a program that is rolled.

    Args:
        code: a Code with backend "rolled".
        strict: as the code's.
        anyhow: it is rolled even where few are alike.
        by_levels: by levels, whatever it is.

    Attributes:
        instructions: how many there are, with copies of what is cheap.

    Raises:
        NotImplementedError: it is not worth it, or there is an operation that loops do not know.
    """

    def __init__(self, code: Any, strict: bool, anyhow: bool, by_levels: bool = False) -> None:
        self.target, self.anyhow = target_of(code, strict), anyhow
        self.by_levels, self.layout, self.totals = by_levels, Layout(*code.layout), code.totals
        self.rounds = True
        try:
            self._find(code)
        except Irregular:
            self.rounds = False
            self._find(code)

    def _find(self, code: Any) -> None:
        """Find the kernels: by histories, which tell most of what can be in one loop; where too few are alike by these,
        by levels, unless there are lanes, of which a vector is as well in straight-line code."""
        segments = [Segment(*code.segment(k, rounds=self.rounds)) for k in range(4)]
        why_not = self._why_not(segments, RATIO, MANY)
        if self.by_levels or (why_not and not len(segments[MAIN].ops)):
            segments = [Segment(*code.segment(k, levels=True)) for k in range(4)]
            why_not = self._why_not(segments, RATIO_BY_LEVELS, MANY_BY_LEVELS)
        if why_not:
            raise NotImplementedError(why_not)
        self.constants = _constants(self.layout, self.totals, segments)
        segments = [replace(segment, constants=self.constants) for segment in segments]
        for op in {int(op) for segment in segments for op in np.flatnonzero(np.bincount(segment.ops))}:
            if is_call(op) and not code.function(op, code.dtype, self.target.strict):
                raise NotImplementedError(OPS[op])
        self.has_levels = any(len(segment.classes) for segment in segments)
        self.slots = [segment.slots for segment in segments]
        self.groups = [segment.groups for segment in segments]
        self.kernels: list[tuple[list[FoundLoop], list[int]]] = []
        self.instructions = 0
        for segment in segments:
            found = Groups(segment)
            self.instructions += len(found.segment.ops)
            self.kernels.append((kernels_of(found, rounds=self.rounds), found.sizes))
        written = sum(_written(kernels) for kernels, _ in self.kernels)
        if _are_too_many(written, self.instructions, MOST_WRITTEN):
            raise NotImplementedError(f"too few are alike: {self.instructions:,} instructions are {written:,} in loops")
        self.in_place = in_place(segments, [kernels for kernels, _ in self.kernels], code.runs, self.totals)
        code.leave_in_place(*self.in_place.runs, self.in_place.is_often, self.in_place.count)

    def _why_not(self, segments: list[Segment], ratio: int, many: int) -> str:
        """Why segments whose instructions are in these groups are better no loops; else nothing."""
        count = sum(segment.groups for segment in segments)
        instructions = sum(len(segment.ops) for segment in segments)
        if _are_too_many(count, instructions, MOST, many) or (not self.anyhow and instructions < ratio * count):
            return f"too few are alike: {instructions:,} instructions are of {count:,} kinds"
        return ""

    def written(self, code: Any, k: int, name: str, what: What, parts: int = 1) -> tuple[str, int]:
        """The LLVM IR of the function that runs segment k, and how many slots of the frame it needs.

        Args:
            code: the program's.
            k: which one.
            name: of the function.
            what: it computes.
            parts: how many threads share a block.
        """
        kernels, sizes = self.kernels[k] if what == "one lane" or k != MAIN else self._of_lanes(code)
        return emit_segment(
            kernels,
            sizes,
            self.slots[k],
            name=name,
            target=self.target,
            what=what,
            totals=self.totals,
            constants=np.where(self.constants, self.layout.scalars, np.nan),
            is_constant=self.constants,
            in_place=self.in_place,
            parts=parts,
            anyhow=self.anyhow,
            has_levels=self.has_levels,
        )

    def two_vectors_pay(self, code: Any) -> bool:
        """Whether the lanes are to be run two vectors at a time, if a vector is one register."""
        if self.target.registers < MOST_REGISTERS:
            return False
        kernels, _ = self._of_lanes(code)
        return two_vectors_pay(kernels, lambda op: bool(self.target.function(op)[1]))

    def _of_lanes(self, code: Any) -> tuple[list[FoundLoop], list[int]]:
        """The kernels that compute V lanes: those of short iterations compute them as a whole."""
        if self.has_levels:
            return self.kernels[MAIN]
        segment = Segment(*code.segment(MAIN, apart=True, rounds=self.rounds))
        if segment.groups == self.groups[MAIN] or _are_too_many(segment.groups, len(segment.ops), MOST):
            return self.kernels[MAIN]
        found = Groups(replace(segment, constants=self.constants))
        try:
            kernels = kernels_of(found, WHOLE, rounds=self.rounds)
        except Irregular:
            return self.kernels[MAIN]
        is_too_long = _are_too_many(_written(kernels), len(found.segment.ops), MOST_WRITTEN)
        is_fit = not is_too_long and self.in_place.fits(kernels)
        return (kernels, found.sizes) if is_fit else self.kernels[MAIN]

    def loops(self, names: Sequence[tuple[str, tuple[int, ...] | None]]) -> list[Loop]:
        """The loops as a person would write them.

        Args:
            names: of the inputs (``roll.describe.loops_of``).
        """
        return loops_of([kernels for kernels, _ in self.kernels], self.layout, self.totals, names, self.constants)


def _are_too_many(written: int, instructions: int, most: int, many: int = MANY) -> bool:
    """Whether it would take LLVM too long to compile what is written, for so many instructions."""
    return written > most and instructions < many * written


def _written(kernels: Iterable[FoundLoop]) -> int:
    """How many operations are written, with a loop for each piece of a list."""
    count = 0
    for kernel in kernels:
        if isinstance(kernel, Rounds):
            count += _written(kernel.all)
        else:
            pieces = sum(len(pieces) for body in kernel.bodies for pieces in body.variants)
            count += len(kernel.bodies) + pieces
    return count


def _constants(layout: Layout, totals: NDArray[Any], segments: list[Segment]) -> NDArray[np.bool_]:
    """Which scalars are constants: those that nothing writes."""
    constant = np.ones(len(layout.scalars), dtype=bool)
    inputs = layout.inputs[layout.own_inputs == 1]
    constant[inputs[inputs >= 0]] = False
    constant[totals] = False
    if layout.lanes >= 0:
        constant[layout.lanes] = False
    for segment in segments:
        constant[segment.numbers[segment.ops == STORE_UNIFORM].astype(np.int64)] = False
    return constant
