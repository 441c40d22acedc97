"""A program's segments as kernels: what its functions are written from, and its loops shown.

Where to start reading: ``Segments``.
"""

from __future__ import annotations

from collections.abc import Sequence
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
from valuegrad.roll.rounds import Irregular

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Segments"]

RATIO = 6  # instructions that share a group, at least, on average
MOST = 3000  # groups, as LLVM takes longer than in proportion; unless so many instructions share one:
MANY = 100


class Segments:
    """The segments of a program that is rolled.

    Args:
        code: a Code with backend "rolled".
        strict: as the code's.
        anyhow: it is rolled even where few are alike.

    Attributes:
        instructions: how many there are, with copies of what is cheap.

    Raises:
        NotImplementedError: it is not worth it, or there is an operation that loops do not know.
    """

    def __init__(self, code: Any, strict: bool, anyhow: bool) -> None:
        self.target, self.anyhow = target_of(code, strict), anyhow
        self.layout, self.totals = Layout(*code.layout), code.totals
        self.rounds = True
        try:
            self._find(code)
        except Irregular:
            self.rounds = False
            self._find(code)

    def _find(self, code: Any) -> None:
        """Find the kernels."""
        segments = [Segment(*code.segment(k, rounds=self.rounds)) for k in range(4)]
        self.constants = _constants(self.layout, self.totals, segments)
        segments = [replace(segment, constants=self.constants) for segment in segments]
        count = sum(segment.groups for segment in segments)
        instructions = sum(len(segment.ops) for segment in segments)
        too_many = count > MOST and instructions < MANY * count
        if too_many or (not self.anyhow and instructions < RATIO * count):
            raise NotImplementedError(f"too few are alike: {instructions:,} instructions are of {count:,} kinds")
        for op in {int(op) for segment in segments for op in np.flatnonzero(np.bincount(segment.ops))}:
            if is_call(op) and not code.function(op, code.dtype, self.target.strict):
                raise NotImplementedError(OPS[op])
        self.slots = [segment.slots for segment in segments]
        self.groups = [segment.groups for segment in segments]
        self.kernels: list[tuple[list[FoundLoop], list[int]]] = []
        self.instructions = 0
        for segment in segments:
            found = Groups(segment)
            self.instructions += len(found.segment.ops)
            self.kernels.append((kernels_of(found, rounds=self.rounds), found.sizes))
        self.in_place = in_place(segments, [kernels for kernels, _ in self.kernels], code.runs, self.totals)
        code.leave_in_place(*self.in_place.runs, self.in_place.is_often, self.in_place.count)

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
        )

    def two_vectors_pay(self, code: Any) -> bool:
        """Whether the lanes are to be run two vectors at a time, if a vector is one register."""
        if self.target.registers < MOST_REGISTERS:
            return False
        kernels, _ = self._of_lanes(code)
        return two_vectors_pay(kernels, lambda op: bool(self.target.function(op)[1]))

    def _of_lanes(self, code: Any) -> tuple[list[FoundLoop], list[int]]:
        """The kernels that compute V lanes: those of short iterations compute them as a whole."""
        segment = Segment(*code.segment(MAIN, apart=True, rounds=self.rounds))
        if segment.groups == self.groups[MAIN]:
            return self.kernels[MAIN]
        found = Groups(replace(segment, constants=self.constants))
        try:
            kernels = kernels_of(found, WHOLE, rounds=self.rounds)
        except Irregular:
            return self.kernels[MAIN]
        return (kernels, found.sizes) if self.in_place.fits(kernels) else self.kernels[MAIN]

    def loops(self, names: Sequence[tuple[str, tuple[int, ...] | None]]) -> list[Loop]:
        """The loops as a person would write them.

        Args:
            names: of the inputs (``roll.describe.loops_of``).
        """
        return loops_of([kernels for kernels, _ in self.kernels], self.layout, self.totals, names)


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
