"""``check_gradients``: do a function's derivatives agree with difference quotients of its values?

Why: a local gradient written by hand (``Value(data, children, local_grads)``, ``vg.primitive``) is quickly
wrong, and a wrong gradient still trains, badly.

How: for each number that f depends on, central differences at thirteen steps from an eighth of the
number's size down to 2**-27 of it.  A large step suffers from truncation, a small one from rounding; so the
steps are extrapolated to step 0 (Richardson, in the form of Ridders), and the entry of the table whose
neighbours agree best is taken, with their disagreement as its *uncertainty*.  Second derivatives are
checked in the same way, as first derivatives of the first derivatives.

Data structures: a ``Component`` is one derivative (one output by one number) with both its figures; a
``GradientCheck`` is all of them, and prints as a table.

Where to start reading: ``check_gradients``, then ``_extrapolated``.

Source: Ridders, Accurate computation of F'(x) and F'(x)F''(x), Advances in Engineering Software 4 (1982).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from typing import Any

from valuegrad import arguments, modes
from valuegrad.errors import GradientCheckError, IndexRangeError, ValueArgumentError, ValueTypeError
from valuegrad.functional import jacobian
from valuegrad.pictures.cards import card, paragraph, red, table
from valuegrad.structures import Tree
from valuegrad.value import Value

__all__ = ["Component", "GradientCheck", "check_gradients"]

STEPS = tuple(2.0**-k for k in range(3, 28, 2))
"""Steps relative to the number's size, each a quarter of the one before."""
RATIO = 4.0
EPSILON = 2.0**-52
SAFETY = 10.0
"""How many uncertainties a difference quotient may be off."""
SHOWN = 20
"""How many components a report lists in full."""


@dataclass(frozen=True)
class Component:
    """One derivative: what the backward pass says, and what differences say.

    Args:
        order: 1 for a gradient, 2 for a second derivative.
        output: what is differentiated, for people.
        number: what it is differentiated by, for people.
        gradient: the derivative from the backward pass.
        quotient: the difference quotient, extrapolated to step 0; nan if there is none.
        uncertainty: how far the quotients at different steps disagree.
        error: the relative difference of the two.
        ok: whether they agree.
        note: what is special here, such as a kink.
    """

    order: int
    output: str
    number: str
    gradient: float
    quotient: float
    uncertainty: float
    error: float
    ok: bool
    note: str = ""

    def __str__(self) -> str:
        note = f" ({self.note})" if self.note else ""
        return (
            f"∂{self.output}/∂{self.number}: gradient {self.gradient!r}, "
            f"difference quotient {self.quotient!r} ± {self.uncertainty:.1g}{note}"
        )


@dataclass(frozen=True, repr=False)
class GradientCheck:
    """What ``check_gradients`` found; ``print`` it."""

    components: tuple[Component, ...]

    @property
    def ok(self) -> bool:
        """Whether all derivatives agree with their difference quotients."""
        return all(component.ok for component in self.components)

    @property
    def errors(self) -> tuple[float, ...]:
        """The relative differences, in the order of ``components``."""
        return tuple(component.error for component in self.components)

    @property
    def max_error(self) -> float:
        """The largest relative difference (nan if there is one)."""
        return self.worst.error

    @property
    def worst(self) -> Component:
        """The component that agrees least."""
        return max(self.components, key=_badness)

    def __bool__(self) -> bool:
        return self.ok

    def __str__(self) -> str:
        first, header, lines, last = self._shown()
        cells = [header, *lines]
        widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
        text = [first]
        for row in cells:
            numbers = [number.rjust(width) for number, width in zip(row[1:-1], widths[1:-1])]
            text.append("  ".join([row[0].ljust(widths[0]), *numbers, row[-1]]).rstrip())
        return "\n".join([*text, last] if last else text)

    def _repr_html_(self) -> str:
        """What a notebook shows: the same, what disagrees in red."""
        first, header, lines, last = self._shown()
        rows = [[*line[:-1], red(line[-1]) if line[-1].startswith("WRONG") else line[-1]] for line in lines]
        return card(paragraph(first if self.ok else red(first)), table(header, rows), paragraph(last))

    def __repr__(self) -> str:
        """The same: at a prompt one asks to see the table, not how it is kept."""
        return str(self)

    def _shown(self) -> tuple[str, tuple[str, ...], list[tuple[str, ...]], str]:
        """The first line, the table's header and lines, and what is left to say."""
        agree = sum(component.ok for component in self.components)
        first = (
            f"check_gradients: {agree} of {len(self.components)} derivatives agree with their difference quotients; "
            f"largest relative difference {self.max_error:.2g}"
        )
        listed = sorted(self.components, key=_badness, reverse=True)[:SHOWN]
        listed = [component for component in self.components if component in listed]
        lines: list[tuple[str, ...]] = []
        for c in listed:
            verdict = ("ok" if c.ok else "WRONG") + (f", {c.note}" if c.note else "")
            figures = (f"{c.gradient:.10g}", f"{c.quotient:.10g}", f"{c.uncertainty:.1g}", f"{c.error:.1g}")
            lines.append((f"∂{c.output}/∂{c.number}", *figures, verdict))
        more = len(self.components) - len(listed)
        header = ("derivative", "gradient", "difference quotient", "uncertainty", "difference", "")
        return first, header, lines, f"... and {more} more that agree better" if more else ""


def _badness(component: Component) -> tuple[bool, float]:
    return (not component.ok, math.inf if math.isnan(component.error) else component.error)


def check_gradients(
    f: Callable[..., Any],
    *args: Any,
    argnums: int | Sequence[int] | None = None,
    order: int | Sequence[int] = (1, 2),
    rtol: float = 1e-6,
    atol: float = 0.0,
    raise_on_error: bool = False,
    **kwargs: Any,
) -> GradientCheck:
    """Compare a function's derivatives with difference quotients of its values.

    Args:
        f: a function of numbers and nestings of them, with outputs of any structure; see ``vg.jacobian``.
        args: where to check: f's positional arguments.
        argnums: the positions of the arguments to differentiate by; None for all.
        order: 1 checks first derivatives, 2 second derivatives (against differences of the first), (1, 2) both.
        rtol: how far the two may differ, relative to the larger.
        atol: how far they may differ in any case.  What the difference quotient is uncertain by is allowed
            on top of both.
        raise_on_error: raise where they differ, instead of only saying so.
        kwargs: keyword arguments, handed through to f.

    Returns:
        A ``GradientCheck``: ``errors``, ``ok``, ``worst``, ``components``; printed it is a table.
        At a kink, such as relu's at 0, any gradient from the left one to the right one agrees.  At a jump,
        such as floor's, the slopes beside it count, and where one side has no value the other one's.  Where
        the quotients do not settle at all, nothing agrees, and the note says so: check at another point.

    Raises:
        GradientCheckError: if asked to, naming the derivative that agrees least.

    Example:
        >>> import valuegrad as vg
        >>> wrong = lambda x: vg.Value(x.data**2, [x], [3 * x.data])
        >>> vg.check_gradients(wrong, 2.0, order=1).ok
        False
        >>> print(vg.check_gradients(lambda x: x * x, 2.0))  # doctest: +ELLIPSIS
        check_gradients: 2 of 2 derivatives agree with their difference quotients; ...
    """
    who = "check_gradients()"
    if not callable(f):
        raise ValueTypeError(f"{who} got {arguments.shown(f)}; expected a function, then its arguments")
    orders = (order,) if isinstance(order, int) else tuple(order)
    if not orders or not set(orders) <= {1, 2}:
        raise ValueArgumentError(f"{who} got order={order!r}; expected 1, 2 or (1, 2)")
    positions = list(range(len(args))) if argnums is None else [argnums] if isinstance(argnums, int) else list(argnums)
    if not all(-len(args) <= i < len(args) for i in positions) or not args:
        raise IndexRangeError(f"{who} got argnums={argnums!r} for {len(args)} positional arguments")
    trees = {i % len(args): Tree(f"{who}, argument {i}", args[i]) for i in positions}
    point = [x.data if type(x) is Value else x for tree in trees.values() for x in tree.numbers]
    numbers = [label for i, tree in trees.items() for label in _labels(tree, args[i], f"x{i}")]
    if not point:
        raise ValueArgumentError(f"{who} got no numbers to differentiate by; give at least one")
    outputs: list[str] = []

    def flat(xs: Sequence[Any]) -> list[Any]:
        """f as a function of a list that gives a list."""
        replaced = list(args)
        start = 0
        for i, tree in trees.items():
            replaced[i] = tree.build(xs[start : start + len(tree.numbers)])
            start += len(tree.numbers)
        result = f(*replaced, **kwargs)
        tree = Tree(f"{who}, the function's output", result)
        if not outputs:
            outputs.extend(_labels(tree, result, "f"))
        return tree.numbers

    def first(xs: Sequence[Any]) -> list[Any]:
        return [entry for row in jacobian(flat)(xs) for entry in row]

    components: list[Component] = []
    for n in orders:
        function = flat if n == 1 else first
        derivatives = jacobian(function)(point)
        labels = outputs if n == 1 else [f"(∂{output}/∂{number})" for output in outputs for number in numbers]
        for j, number in enumerate(numbers):
            found = _differences(function, point, j)
            for label, row, difference in zip(labels, derivatives, found):
                components.append(_compared(n, label, number, row[j], difference, rtol, atol))
    check = GradientCheck(tuple(components))
    if raise_on_error and not check.ok:
        wrong = sum(not component.ok for component in components)
        raise GradientCheckError(
            f"{who} found {wrong} of {len(components)} derivatives that disagree with their difference quotients; "
            f"worst is {check.worst}; check the local gradients of the operations in between"
        )
    return check


def _labels(tree: Tree, original: Any, root: str) -> list[str]:
    """A name for each number of a nesting: x0['w'][2]."""
    import optree

    labels = []
    for shape, path in zip(tree.shapes, optree.tree_paths(original)):
        base = root + "".join(f"[{key!r}]" for key in path)
        indices = product(*map(range, shape or ()))
        labels += [f"{base}[{', '.join(map(str, index))}]" if index else base for index in indices]
    return labels


# ------------------------------------------------------------------------------------ difference quotients
@dataclass(frozen=True)
class _Limit:
    """A difference quotient extrapolated to step 0; nan and inf if no quotient was finite."""

    quotient: float
    uncertainty: float
    steep: float = 0.0  # inf or -inf if the quotients grow with each smaller step

    def settled(self, relative: float, noise: float) -> bool:
        return self.uncertainty <= relative * abs(self.quotient) + noise

    @property
    def doubt(self) -> tuple[float, float]:
        """The smaller, the more it is worth."""
        return (min(1.0, self.uncertainty / abs(self.quotient)) if self.quotient else 1.0, self.uncertainty)


@dataclass(frozen=True)
class _Difference:
    """The quotients of one output by one number, and what they may be off where the derivative is 0."""

    central: _Limit
    left: _Limit
    right: _Limit
    noise: float


def _values(f: Callable[[Sequence[Any]], list[Any]], point: Sequence[float], j: int, moved: float) -> list[float]:
    xs = [Value(moved if i == j else x) for i, x in enumerate(point)]
    with modes.no_grad():
        return [y.data if type(y) is Value else y for y in f(xs)]


def _differences(f: Callable[[Sequence[Any]], list[Any]], point: Sequence[float], j: int) -> list[_Difference]:
    """∂output/∂point[j] for each output of f."""
    x = point[j]
    here = _values(f, point, j, x)
    # A small number may be added to large ones, or be all that counts: both sizes of steps are tried.
    scales = [abs(x)] if abs(x) >= 0.1 else [1.0] if x == 0.0 else [1.0, abs(x)]
    tried = []
    for scale in scales:
        steps = [(x + step * scale) - x for step in STEPS]  # exactly representable
        samples = [(h, _values(f, point, j, x - h), _values(f, point, j, x + h)) for h in steps if h > 0.0]
        tried.append([_difference(samples, i, 1e-9 * (abs(y) + 1e-3) / scale) for i, y in enumerate(here)])
    return [min(choices, key=lambda found: found.central.doubt) for choices in zip(*tried)]


def _difference(samples: Sequence[tuple[float, list[float], list[float]]], i: int, noise: float) -> _Difference:
    """The quotients of output i.  Those of one side leave out the point itself: it may be a jump."""
    central = [(2.0 * h, high[i], low[i]) for h, low, high in samples]
    pairs = list(pairwise(samples))
    left = [(h - near, low_near[i], low[i]) for (h, low, _), (near, low_near, _) in pairs]
    right = [(h - near, high[i], high_near[i]) for (h, _, high), (near, _, high_near) in pairs]
    return _Difference(_limit(central, RATIO**2), _limit(left, RATIO), _limit(right, RATIO), noise)


def _limit(samples: Sequence[tuple[float, float, float]], ratio: float) -> _Limit:
    """The limit of (high - low) / h for h to 0.

    The error of a quotient is a series in powers of h, and ``ratio`` is by what its first term shrinks from
    one step to the next; each column of Ridders' table removes one more term.
    """
    best, spread = math.nan, math.inf
    previous: list[float] = []
    quotients = []
    for h, high, low in samples:
        if not math.isfinite(high) or not math.isfinite(low):
            previous = []
            continue
        rounding = EPSILON * (abs(high) + abs(low)) / h
        row = [(high - low) / h]
        quotients.append(row[0])
        factor = 1.0
        for before in previous:
            factor *= ratio
            row.append(row[-1] + (row[-1] - before) / (factor - 1.0))
            apart = max(abs(row[-1] - row[-2]), abs(row[-1] - before)) + rounding
            if apart < spread:
                best, spread = row[-1], apart
        previous = row
    grows = len(quotients) > 4 and all(b / a > 1.2 if a else False for a, b in pairwise(quotients))
    return _Limit(best, spread, math.copysign(math.inf, quotients[-1]) if grows else 0.0)


def _compared(
    order: int, output: str, number: str, gradient: float, difference: _Difference, rtol: float, atol: float
) -> Component:
    """One component: the gradient against the difference quotients."""
    left, right, central, noise = difference.left, difference.right, difference.central, difference.noise

    def component(limit: _Limit, ok: bool, note: str = "") -> Component:
        quotient = limit.quotient
        largest = max(abs(gradient), abs(quotient))
        error = 0.0 if gradient == quotient else abs(gradient - quotient) / largest
        return Component(order, output, number, gradient, quotient, limit.uncertainty, error, ok, note)

    def allowed(limit: _Limit) -> float:
        return rtol * abs(limit.quotient) + atol + SAFETY * limit.uncertainty

    def agrees(limit: _Limit) -> bool:
        return abs(gradient - limit.quotient) <= allowed(limit)

    if central.settled(1e-3, noise) and agrees(central):
        return component(central, True)
    sides = {"left": left, "right": right}
    settled = {side: limit for side, limit in sides.items() if limit.settled(1e-6, noise)}
    if len(settled) == 2:
        low, high = sorted((left, right), key=lambda limit: limit.quotient)
        if high.quotient - low.quotient > allowed(low) + allowed(high):
            nearest = min((low, high), key=lambda limit: abs(gradient - limit.quotient))
            between = low.quotient - allowed(low) <= gradient <= high.quotient + allowed(high)
            return component(nearest, between, f"a kink: {left.quotient:.6g} left, {right.quotient:.6g} right")
        if not central.settled(1e-3, noise):
            return component(left, agrees(left), "a jump")
    if central.settled(1e-3, noise):
        return component(central, False)
    for side, limit in sides.items():
        if math.isinf(gradient) and limit.steep == gradient:
            infinite = _Limit(gradient, 0.0)
            return component(infinite, True, f"infinitely steep on the {side}")
    for side, limit in settled.items():
        return component(limit, agrees(limit), f"from the {side} alone")
    return component(central, False, "the difference quotients do not settle here")
