"""The index spaces of loops: from members in a row to ``for i in 0..9, j in 0..i``.

Why: a kernel's members are a list of numbers; a person thinks of indices.  Members whose accesses differ by constant
steps are a loop, loops that differ by constant steps are a loop around them, and what a loop does depends on its
indices by affine formulas, bounds included: a triangle is such a nest.

Data structures: ``Indices``, for each member its indices, and what finds affine formulas of them.

Where to start reading: ``Indices``.
"""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING, Any

import numpy as np

from valuegrad.roll.pieces import most_frequent

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["LETTERS", "Indices", "affine_text"]

LETTERS = "ijklmn"
DEEPEST = len(LETTERS)


def affine_text(formula: tuple[int, ...] | None, letters: str = LETTERS) -> str:
    """A constant and a factor for each index, as text; dots where there is no such formula.

    Example:
        >>> affine_text((3, 16, 0, -1)), affine_text((0, 0)), affine_text(None)
        ('16*i - k + 3', '0', '...')
        >>> affine_text((9, -1))
        '9 - i'
    """
    if formula is None:
        return "..."
    text = ""
    terms = [(f"{abs(x)}*{name}" if abs(x) > 1 else name, x) for x, name in zip(formula[1:], letters)]
    constant = str(abs(formula[0])), formula[0]
    falls = formula[0] > 0 and all(x <= 0 for x in formula[1:])  # 9 - i, but i - 9 and j - i + 9
    terms.sort(key=lambda term: term[1] < 0)
    for term, x in [constant, *terms] if falls else [*terms, constant]:
        if x:
            text += (" - " if x < 0 else " + ") + term if text else ("-" if x < 0 else "") + term
    return text or "0"


class Indices:
    """Indices of a loop's members.

    Args:
        features: int64[members, k]: whatever is to depend on the indices: places that are read, lengths.

    Attributes:
        of: int64[members, depth]: each member's, the outermost first.
        letters: names of the indices.

    Example:
        >>> Indices(np.array([[x, y] for x in range(3) for y in range(x + 1)])).ranges()
        ['i in 0..2', 'j in 0..i']
    """

    letters = LETTERS

    def __init__(self, features: NDArray[Any]) -> None:
        count = len(features)
        rows = features.astype(np.int64)
        owner = np.arange(count)
        levels: list[NDArray[Any]] = []
        while len(rows) > 1 and len(levels) < DEEPEST - 1:
            starts = _runs(rows)
            if len(starts) == len(rows):
                break
            run = np.searchsorted(starts, owner, "right") - 1
            levels.append(owner - starts[run])
            owner = run
            rows = np.concatenate([rows[starts], np.diff(np.append(starts, len(rows)))[:, None]], axis=1)
        if len(rows) > 1:
            levels.append(owner)  # rows that have nothing in common
        self._set(np.stack(levels[::-1], axis=1) if levels else np.zeros((count, 0), np.int64))

    def _set(self, of: NDArray[Any]) -> None:
        self.of = of
        self._inverse = np.linalg.pinv(np.concatenate([np.ones((len(of), 1)), of], axis=1))

    def over(self, times: NDArray[Any]) -> Indices:
        """The indices of the same members in several iterations of a loop around theirs; the outermost one is t."""
        result = copy(self)
        result.letters = "t" + self.letters
        result._set(np.column_stack([np.repeat(times, len(self.of)), np.tile(self.of, (len(times), 1))]))
        return result

    def text(self, values: NDArray[Any]) -> str:
        """A number for each member as a formula of the indices; dots where there is none."""
        return affine_text(self.formula(values), self.letters)

    def formula(self, values: NDArray[Any], depth: int | None = None) -> tuple[int, ...] | None:
        """The affine formula that gives a number for each member: a constant, a factor for each index; None if none.

        Args:
            values: int64[members].
            depth: how many indices may occur, from the outermost on.
        """
        found = np.rint(self._inverse @ values).astype(np.int64)
        if depth is not None and found[1 + depth :].any():
            return None
        return tuple(found.tolist()) if bool(np.all(self.of @ found[1:] + found[0] == values)) else None

    def ranges(self) -> list[str]:
        """For each index its name and bounds, both of which occur."""
        own = range(self.letters.startswith("t"), self.of.shape[1])
        lasts = [(self.letters[d], self._last(d)) for d in own]
        return [f"{x} in {'0..' if last else ''}{affine_text(last, self.letters)}" for x, last in lasts]

    def _last(self, d: int) -> tuple[int, ...] | None:
        """The largest number of index d, depending on the indices outside of it."""
        outer = self.of[:, :d]
        begins = np.ones(len(outer), dtype=bool)
        begins[1:] = (outer[1:] != outer[:-1]).any(axis=1)
        run = np.cumsum(begins) - 1
        most = np.zeros(run[-1] + 1, dtype=np.int64)
        np.maximum.at(most, run, self.of[:, d])
        return self.formula(most[run], d)


def _runs(rows: NDArray[Any]) -> NDArray[Any]:
    """Where rows begin that differ by the most frequent step; all rows where no step is frequent."""
    steps = np.diff(rows, axis=0)
    common = most_frequent(steps)
    if common is None:
        return np.arange(len(rows))
    return np.flatnonzero(np.append(True, (steps != common).any(axis=1)))
