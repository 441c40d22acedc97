"""How good a gradient's prediction is: smaller and smaller nudges to one input, from any input to any output.

Why: a gradient promises that for small nudges the change is gradient times nudge, up to an error that shrinks with the
*square* of the nudge (Taylor).  So a tenth of the nudge leaves a hundredth of the error, until rounding takes over.  An
error that only shrinks like the nudge means that the gradient is wrong, or that there is a kink.

Where to start reading: ``nudge_errors``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from valuegrad import arguments
from valuegrad.errors import ValueArgumentError
from valuegrad.inspect.nudge import computed_from, replay
from valuegrad.inspect.tables import Cells, Shown
from valuegrad.inspect.walk import checked, edges, newest_first
from valuegrad.inspect.worked import figure
from valuegrad.value import Value

__all__ = ["NudgeError", "NudgeErrors", "nudge_errors"]

ROUNDINGS = 4.0
"""How many units in the last place an error may have that is nothing but rounding."""
SQUARE = 1.3
"""From which power of the factor on an error counts as shrinking with its square: 20 of 100, and 10 is a kink."""


@dataclass(frozen=True)
class NudgeError:
    """One nudge of the input.

    Args:
        nudge: by how much.
        predicted: gradient times nudge.
        change: the new result less the old one; None if an operation cannot be computed again.
        error: change less predicted.
        rounding: how large an error may be that is nothing but rounding.
        ratio: the error before, divided by this one; None for the first nudge and where rounding has taken over.
    """

    nudge: float
    predicted: float
    change: float | None
    error: float | None
    rounding: float
    ratio: float | None

    @property
    def rounded(self) -> bool:
        """Whether the error is nothing but rounding."""
        return self.error is not None and abs(self.error) <= self.rounding


@dataclass(frozen=True, repr=False)
class NudgeErrors(Shown):
    """What ``nudge_errors`` found; print it.

    Args:
        label: the input.
        of: the output.
        gradient: ∂output/∂input.
        factor: by what each nudge is smaller than the one before.
        rows: the nudges, largest first.
    """

    label: str
    of: str
    gradient: float
    factor: float
    rows: tuple[NudgeError, ...]

    def verdict(self) -> str:
        """What the errors say of the gradient, in a sentence or two."""
        known = [row for row in self.rows if row.error is not None and math.isfinite(row.error)]
        if not known:
            return "Nothing can be said: an operation of your own cannot be computed again, or not all is finite."
        rounded = self._rounding_begins(known)
        if known[0] is rounded:
            return "The prediction is exact, up to rounding: a straight line has no error to shrink."
        clear = known if rounded is None else known[: known.index(rounded)]
        ratios = [row.ratio for row in clear if row.ratio is not None]
        if rounded is not None and len(ratios) > 1 and ratios[-1] < self.factor**SQUARE:
            ratios.pop()  # the last error before rounding takes over has a part of it already
        told = ""
        if ratios:
            quadratic, last = self.factor**2, ratios[-1]
            if last >= self.factor**SQUARE:
                told = (
                    f"A nudge {self.factor:g} times smaller leaves an error about {last:.3g} times smaller: it shrinks "
                    f"with the square of the nudge, as a gradient promises."
                )
            else:
                told = (
                    f"A nudge {self.factor:g} times smaller leaves an error only {last:.3g} times smaller, not "
                    f"{quadratic:g}: there is a kink or a very strong curve here, or the gradient is wrong."
                )
        if rounded is not None:
            told += f" From a nudge of {rounded.nudge:g} on, rounding takes over: a float has 16 digits."
        return told.strip() or "One nudge alone says nothing of how the error shrinks."

    def _rounding_begins(self, known: list[NudgeError]) -> NudgeError | None:
        """The first nudge whose error is only rounding, of the result or, seen from their errors, of numbers before it.

        A wrong gradient's error shrinks like the nudge.  One that hardly shrinks, or grows, after it had shrunk with
        the square is rounding in the middle of the calculation, as in ``(y + 1e7) - 1e7``.
        """
        shrunk = False
        for row in known:
            if row.rounded or (shrunk and row.ratio is not None and row.ratio < math.sqrt(self.factor)):
                return row
            shrunk = shrunk or (row.ratio is not None and row.ratio >= self.factor**SQUARE)
        return None

    def _cells(self) -> Cells:
        lines = []
        for row in self.rows:
            error = "?" if row.error is None else "rounding" if row.rounded else f"{row.error:.3g}"
            ratio = "" if row.ratio is None else f"{row.ratio:.3g} times"
            change = "?" if row.change is None else figure(row.change)
            lines.append([f"{row.nudge:g}", figure(row.predicted), change, error, ratio])
        title = f"{self.label} nudged, and what {self.of} does: gradient {figure(self.gradient)}"
        return Cells(["Nudge", "Predicted", "Change", "Off by", "Smaller"], lines, title, [self.verdict()])


def nudge_errors(
    y: Value,
    x: Value,
    *,
    nudge: float = 0.1,
    factor: float = 10.0,
    rows: int = 8,
    again: Callable[[float], float] | None = None,
) -> NudgeErrors:
    """Nudge one input by less and less, and see how the error of the linear prediction shrinks.

    Args:
        y: any output.
        x: any Value that it was computed from, a computed one too.
        nudge: the first and largest nudge.
        factor: by what each is smaller than the one before.
        rows: how many there are at most; the table ends two rows after rounding has taken over.
        again: ``number -> new result``, computing everything again for another number in x's place.  By default the
            operations that y remembers are replayed, with the choices that were made then.

    Returns:
        A ``NudgeErrors``: ``rows``, and a ``verdict`` in words.

    Raises:
        ValueTypeError: y or x is no Value.
        ValueArgumentError: the nudge is 0, inf or nan, the factor is not above 1, or there are no rows.

    Example:
        >>> a = Value(2.0, name="a")
        >>> y = a**3
        >>> y.name = "y"
        >>> print(nudge_errors(y, a, rows=4))
        a nudged, and what y does: gradient 12
        Nudge   Predicted  Change   Off by    Smaller
        0.1     1.2        1.261    0.061
        0.01    0.12       0.1206   0.000601  101 times
        0.001   0.012      0.01201  6e-06     100 times
        0.0001  0.0012     0.0012   6e-08     100 times
        A nudge 10 times smaller leaves an error about 100 times smaller: it shrinks with the square of the nudge,
        as a gradient promises.
    """
    who = "nudge_errors()"
    checked(y, who)
    checked(x, who)
    size = arguments.number(nudge, f"{who}, nudge")
    if size == 0.0 or not math.isfinite(size):
        raise ValueArgumentError(f"{who}, nudge got {size:g}; expected a number other than 0, such as 0.1")
    if not 1.0 < arguments.number(factor, f"{who}, factor") < math.inf or arguments.integer(rows, f"{who}, rows") < 1:
        raise ValueArgumentError(f"{who} got factor={factor} and rows={rows}; expected a factor above 1, a row or more")
    order = computed_from(y)
    gradient = _gradient(y, x)
    found: list[NudgeError] = []
    for i in range(rows):
        moved = x.data + size / factor**i
        step = moved - x.data  # what is left of the nudge after rounding
        new = replay(y, order, x, moved) if again is None else again(moved)
        before = found[-1] if found else None
        found.append(_row(size / factor**i, step, gradient, y.data, new, x.data, before))
        if len(found) > 2 and found[-1].rounded and found[-2].rounded:
            break
    return NudgeErrors(x.name or "the input", y.name or "the result", gradient, float(factor), tuple(found))


def _row(
    nudge: float, step: float, gradient: float, result: float, new: float | None, at: float, before: NudgeError | None
) -> NudgeError:
    predicted = gradient * step
    change = None if new is None else new - result
    error = None if change is None else change - predicted
    rounding = math.inf
    if all(map(math.isfinite, (result, gradient, at))):
        rounding = ROUNDINGS * (math.ulp(result) + abs(gradient) * math.ulp(at))
    ratio = None
    if error and before is not None and before.error and abs(error) > rounding:
        ratio = abs(before.error / error)
    return NudgeError(nudge, predicted, change, error, rounding, ratio)


def _gradient(y: Value, x: Value) -> float:
    """∂y/∂x, in the order of the backward pass; no grad changes."""
    order = newest_first(y)
    adjoints = dict.fromkeys(order, 0.0)
    adjoints[y] = 1.0
    for value in order:
        for _, child, local_grad in edges(value):
            adjoints[child] += local_grad * adjoints[value]
    return adjoints.get(x, 0.0)
