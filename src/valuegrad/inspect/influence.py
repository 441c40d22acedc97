"""``why``: which inputs move a result, by how much, and along which paths.

Why: a gradient says what an input does to a result, not how: through which operations, and whether much goes to and
fro and cancels.  A gradient is the sum, over all paths from the input to the result, of the products of the local
gradients along them; so its largest terms are its reasons.

How: there may be more paths than atoms, so they are not listed.  One pass in the order of the backward pass gives for
every Value its adjoint, the sum of the paths' sizes (the same with \\|local gradients\\|: what the adjoint would be if
nothing cancelled), their number, and the largest of them.  Only for the inputs that are shown, the next largest paths
are found in turn, each from what is known of the Values before (Jiménez and Marzal, Computing the K shortest paths,
WAE 1999, on sums of -log \\|local gradient\\|, without recursion).

Data structures: ``_Walk`` holds the lists of that pass, by position (0 is the result); ``Why`` is what is shown.

Where to start reading: ``why``, then ``_Walk.__init__``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from heapq import heapify, heappop, heappush
from typing import Any

from valuegrad import arguments
from valuegrad.errors import ValueArgumentError
from valuegrad.inspect.nudge import replay
from valuegrad.inspect.tables import Cells, Shown
from valuegrad.inspect.walk import SKIPPING, checked, newest_first
from valuegrad.inspect.worked import figure
from valuegrad.value import Value

__all__ = ["Effect", "Path", "Why", "why"]

CHEAP = 40_000  # operations that are computed again at most, all rows together
MOST_FACTORS = 6  # of a path, that are written out
CANCELS = 0.5  # below this share of the paths' sizes a gradient is said to be what cancelling left


@dataclass(frozen=True)
class Path:
    """One way from an input to the result.

    Args:
        values: the Values along it, from the input to the result.
        local_grads: the local gradients along it, one less.
        product: their product: what this path adds to the gradient.
        label: what the input is called.
    """

    values: tuple[Value, ...]
    local_grads: tuple[float, ...]
    product: float
    label: str

    def __str__(self) -> str:
        return f"{self.route}: {self.factors}"

    @property
    def route(self) -> str:
        """The path's Values by name, or by the operation that made them."""
        first = self.values[0]
        return " → ".join(_elided(self.values, lambda v: self.label if v is first else v.name or v.op or "leaf"))

    @property
    def factors(self) -> str:
        """The product as people write it: ``3 × 0.5 = 1.5``."""
        if len(self.local_grads) < 2:
            return figure(self.product)
        return f"{' × '.join(_elided(self.local_grads, figure))} = {figure(self.product)}"


def _elided(parts: Sequence[Any], written: Callable[[Any], str]) -> list[str]:
    """The parts as texts; of many, those at both ends."""
    if len(parts) <= MOST_FACTORS:
        return [written(part) for part in parts]
    left, right = parts[: MOST_FACTORS // 2], parts[len(parts) - MOST_FACTORS // 2 + 1 :]
    between = f"({len(parts) - len(left) - len(right):,} more)"
    return [*map(written, left), between, *map(written, right)]


@dataclass(frozen=True)
class Effect:
    """What one input does to the result.

    Args:
        value: the input.
        label: its name, or its position among the inputs.
        move: by how much it is moved.
        gradient: ∂result/∂input.
        predicted: gradient times move, the first-order change of the result.
        up: the change when the input is moved up by ``move`` and all is computed again; None where that was not done.
        down: the same for a move down.
        paths: the largest paths, largest first.
        path_count: how many paths there are (a float: it may be any size).
        size: the sum of \\|product\\| over all paths; the gradient's own size where nothing cancels.
    """

    value: Value
    label: str
    move: float
    gradient: float
    predicted: float
    up: float | None
    down: float | None
    paths: tuple[Path, ...]
    path_count: float
    size: float

    @property
    def carried(self) -> float:
        """Which part of ``size`` the paths that are shown make up: from 0 to 1."""
        if not self.size or not math.isfinite(self.size):
            return math.nan
        return min(1.0, math.fsum(abs(path.product) for path in self.paths) / self.size)

    @property
    def cancels(self) -> bool:
        """Whether most of what the paths carry cancels."""
        return abs(self.gradient) < CANCELS * self.size


@dataclass(frozen=True, repr=False)
class Why(Shown):
    """What ``why`` found; print it, or draw it with ``tornado``, ``svg`` or ``plot``.

    Args:
        value: the result.
        effects: the inputs with the largest effects, largest first.
        others: how many more inputs there are.
        rest: the sum of \\|predicted\\| over those.
        relative: by which part of itself each input is moved; None if all are moved by the same.
        notes: what a reader should know.
    """

    value: Value
    effects: tuple[Effect, ...]
    others: int
    rest: float
    relative: float | None
    notes: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """What the result is called."""
        return self.value.name or "the result"

    def tornado(self, width: int = 72) -> str:
        """The effects as bars of characters, largest on top."""
        from valuegrad.inspect.tornado import text

        return text(self, width)

    def svg(self, width: int = 640) -> str:
        """The tornado chart as an SVG, for a page: it follows the page's light or dark."""
        from valuegrad.inspect.tornado import svg

        return svg(self, width)

    def plot(self, path: str) -> None:
        """The tornado chart as a file: .png, .svg or .pdf (with matplotlib: ``pip install 'valuegrad[plot]'``)."""
        from valuegrad.inspect.tornado import save

        save(self, path)

    def _tables(self) -> list[Cells]:
        total = math.fsum(abs(effect.predicted) for effect in self.effects) + self.rest
        header = ["Input", "Value", "Moved by", f"Changes {self.value.name or 'it'} by", "Share"]
        again = any(effect.up is not None for effect in self.effects)
        lines = []
        for effect in self.effects:
            share = _percent(abs(effect.predicted) / total) if 0.0 < total < math.inf else "?"
            line = [effect.label, figure(effect.value.data), f"{effect.move:.4g}", f"{effect.predicted:+.4g}", share]
            lines.append([*line, "?" if effect.up is None else f"{effect.up:+.4g}"] if again else line)
        notes = list(self.notes)
        if self.others:
            notes.insert(0, f"{self.others:,} more inputs change it by {figure(self.rest)} together.")
        title = f"{self.label} = {figure(self.value.data)}: what moves it"
        tables = [Cells([*header, "Computed again"] if again else header, lines, title, notes)]
        paths = [
            [effect.label, path.route, path.factors, _share(path, effect)]
            for effect in self.effects
            for path in effect.paths
        ]
        if paths:
            carried = [line for effect in self.effects for line in _carried(effect)]
            header = ["Input", "Path", "Local gradients", "Share"]
            tables.append(Cells(header, paths, "Along which paths", carried))
        return tables


def _share(path: Path, effect: Effect) -> str:
    return _percent(abs(path.product) / effect.size) if 0.0 < effect.size < math.inf else "?"


def _percent(part: float) -> str:
    return f"{part:.1%}" if not 0.0 < part < 0.001 else "< 0.1%"


def _carried(effect: Effect) -> list[str]:
    """What the paths that are shown leave out, and what cancels."""
    told = []
    if effect.path_count > len(effect.paths) and effect.paths:
        count = f"{effect.path_count:,.0f}" if effect.path_count < 1e6 else f"{effect.path_count:.1e}"
        carry = f"carry {_percent(effect.carried)} of what all do together"
        told.append(f"{effect.label}: these {len(effect.paths)} of {count} paths {carry}.")
    if effect.cancels and math.isfinite(effect.size):
        up, down = (effect.size + effect.gradient) / 2.0, (effect.gradient - effect.size) / 2.0
        told.append(f"{effect.label}: its paths cancel: {up:+.4g} and {down:+.4g} leave {effect.gradient:+.4g}.")
    return told


def why(
    y: Value,
    *,
    inputs: Iterable[Value] | None = None,
    relative: float = 0.01,
    nudge: float | None = None,
    paths: int = 3,
    rows: int = 10,
) -> Why:
    """Which inputs move a result most, and along which paths.

    Args:
        y: the result.
        inputs: the Values to rank, computed ones too (default: all leaves that it was computed from, oldest first).
            An input is shown by its name, else by its position: ``inputs[3]``.
        relative: by which part of itself each input is moved: 0.01 is 1 %.  An input that is 0 has no such part; it is
            moved by ``relative`` itself, and a note says so.
        nudge: move all by this much instead.
        paths: how many paths are shown for each input.
        rows: how many inputs are shown.

    Returns:
        A ``Why``: ``effects`` are the inputs in order; printed it is two tables.

        The ranking is of first order: gradient times move.  It says nothing of an input whose gradient happens to be 0
        (a saddle, a dead relu), and two inputs that move together may do more or less than the sum.  Beside it stands
        what comes out when everything is computed again with the one input moved up, and down: the difference is the
        second order.  The choices that were made (``where``, Python's ``if``) stay as they are.  That is done where it
        takes at most 40,000 operations, all rows together.

        A path's product is its part of the gradient.  Where paths cancel, parts may be larger than the whole; so a
        path's share is of the sum of all \\|products\\|, and it is said how much the shown ones carry.

    Raises:
        ValueTypeError: y, or an input, is no Value.
        ValueArgumentError: relative or nudge is 0, inf or nan; paths or rows is negative.

    Example:
        >>> from valuegrad import exp
        >>> a, b = Value(2.0, name="a"), Value(0.5, name="b")
        >>> print(why(a * exp(b) + b))
        the result = 3.797: what moves it
        Input  Value  Moved by  Changes it by  Share  Computed again
        a      2      0.02      +0.03297       60.5%  +0.03297
        b      0.5    0.005     +0.02149       39.5%  +0.02153
        <BLANKLINE>
        Along which paths
        Input  Path                 Local gradients        Share
        a      a → mul → add        1.649 × 1 = 1.649      100.0%
        b      b → exp → mul → add  1.649 × 2 × 1 = 3.297  76.7%
        b      b → add              1                      23.3%
    """
    checked(y, "why()")
    size = arguments.number(relative if nudge is None else nudge, f"why(), {'relative' if nudge is None else 'nudge'}")
    if size == 0.0 or not math.isfinite(size):
        raise ValueArgumentError(f"why() got a move of {size:g}; expected relative=0.01, or a nudge such as 0.001")
    if arguments.integer(paths, "why(), paths") < 0 or arguments.integer(rows, "why(), rows") < 0:
        raise ValueArgumentError(f"why() got paths={paths} and rows={rows}; expected 0 or more")
    walk = _Walk(y)
    chosen = walk.leaves() if inputs is None else [checked(value, "why(), inputs") for value in inputs]
    moves = [_move(value.data, size, nudge is None) for value in chosen]
    predicted = [walk.gradient(value) * move for value, move in zip(chosen, moves)]
    order = sorted(range(len(chosen)), key=lambda i: -_rank(predicted[i]))
    shown, hidden = order[:rows], order[rows:]
    effects = [walk.effect(chosen[i], chosen[i].name or f"inputs[{i}]", moves[i], paths) for i in shown]
    again = len(walk.order) * 2 * len(shown) <= CHEAP
    if again:
        effects = _computed_again(y, walk, effects)
    rest = math.fsum(abs(predicted[i]) for i in hidden)
    notes = _notes(y, effects, size, nudge, again)
    return Why(y, tuple(effects), len(hidden), rest, size if nudge is None else None, notes)


def _move(number: float, size: float, relative: bool) -> float:
    return size * abs(number) if relative and number != 0.0 and math.isfinite(number) else size


def _rank(predicted: float) -> float:
    return math.inf if math.isnan(predicted) else abs(predicted)


def _notes(y: Value, effects: Sequence[Effect], size: float, nudge: float | None, again: bool) -> tuple[str, ...]:
    notes = []
    zeros = [effect.label for effect in effects if effect.value.data == 0.0]
    if nudge is None and zeros:
        of = f"{', '.join(zeros[:4])}{' ...' if len(zeros) > 4 else ''}"
        notes.append(f"{of}: {100 * size:g} % of 0 is nothing, so it was moved by {size:g}.")
    if not all(math.isfinite(effect.gradient) for effect in effects) or not math.isfinite(y.data):
        notes.append("Not all is finite here: poison() tells which operation made the first nan or inf.")
    if not again and effects:
        notes.append("Nothing was computed again: it would take too many operations.")
    return tuple(notes)


def _computed_again(y: Value, walk: _Walk, effects: Sequence[Effect]) -> list[Effect]:
    """The same with what really happens when each input is moved."""
    from valuegrad.inspect.nudge import computed_from

    order = computed_from(y)
    found = []
    for effect in effects:
        changes = []
        for move in (effect.move, -effect.move):
            new = replay(y, order, effect.value, effect.value.data + move)
            changes.append(None if new is None else new - y.data)
        found.append(
            Effect(
                effect.value, effect.label, effect.move, effect.gradient, effect.predicted,
                changes[0], changes[1], effect.paths, effect.path_count, effect.size,
            )
        )  # fmt: skip
    return found


# --------------------------------------------------------------------------------------------- the walk
_Entry = tuple[float, int, int]
"""A path to a Value: (-log of its size, the last edge, the rank of the path to where that edge comes from)."""


class _Walk:
    """What a result was computed from, with what one pass tells of every Value.

    Attributes:
        order: the Values, newest first; the others are lists by position in it.
        adjoints: ∂result/∂value.
        sizes: the sum of \\|product\\| over all paths.
        counts: how many paths there are.
        costs: -log of the largest path's size.
        edges: the last edge of the largest path; -1 where there is no path.
        sources: the newer end of each edge that is part of a path.
        targets: its older end.
        grads: its local gradient.
    """

    def __init__(self, root: Value) -> None:
        self.order = newest_first(root)
        n = len(self.order)
        self.position = {value: i for i, value in enumerate(self.order)}
        self.adjoints, self.sizes, self.counts, self.costs = [0.0] * n, [0.0] * n, [0.0] * n, [math.inf] * n
        self.adjoints[0] = self.sizes[0] = self.counts[0] = 1.0
        self.costs[0] = 0.0
        self.edges = [-1] * n
        self.sources: list[int] = []
        self.targets: list[int] = []
        self.grads: list[float] = []
        self._pass()
        self._found: dict[int, list[_Entry]] = {0: [(0.0, -1, 0)]}
        self._candidates: dict[int, list[_Entry]] = {}
        self._followed: dict[int, int] = {}

    def _pass(self) -> None:
        """From the result to the oldest Value: flat lists of numbers, as this is where the time goes."""
        adjoints, sizes, counts, costs, edges = self.adjoints, self.sizes, self.counts, self.costs, self.edges
        sources, targets, grads = self.sources, self.targets, self.grads
        where, log = self.position.get, math.log
        for i, value in enumerate(self.order):
            adjoint, size, count, cost = adjoints[i], sizes[i], counts[i], costs[i]
            skips = value.op in SKIPPING
            for child, local_grad in zip(value.children, value.local_grads):
                j = where(child, -1)
                if j < 0 or (skips and local_grad == 0.0):  # a constant, or a branch that was not taken
                    continue
                adjoints[j] += local_grad * adjoint
                magnitude = abs(local_grad)
                if magnitude == 0.0 or count == 0.0:  # no path, or none to where this edge comes from
                    continue
                sizes[j] += magnitude * size
                counts[j] += count
                new = cost - log(magnitude) if magnitude < math.inf else -math.inf  # of a nan too
                if new < costs[j] or edges[j] < 0:
                    costs[j] = new
                    edges[j] = len(grads)
                sources.append(i)
                targets.append(j)
                grads.append(local_grad)

    def leaves(self) -> list[Value]:
        """The leaves, oldest first."""
        return [value for value in reversed(self.order) if not value.children]

    def gradient(self, value: Value) -> float:
        """∂result/∂value; 0 for what the result does not depend on."""
        i = self.position.get(value)
        return 0.0 if i is None else self.adjoints[i]

    def effect(self, value: Value, label: str, move: float, paths: int) -> Effect:
        """All but the changes that are computed again."""
        i = self.position.get(value)
        gradient = self.gradient(value)
        found = [] if i is None else self._largest(i, paths, label)
        count, size = (0.0, 0.0) if i is None else (self.counts[i], self.sizes[i])
        return Effect(value, label, move, gradient, gradient * move, None, None, tuple(found), count, size)

    def _largest(self, i: int, count: int, label: str) -> list[Path]:
        """The largest paths to a Value, largest first."""
        while i > 0 and self._paths(i) and len(self._paths(i)) < count and self._find_next(i):
            pass
        return [self._path(i, rank, label) for rank in range(min(count, len(self._paths(i))))]

    def _paths(self, i: int) -> list[_Entry]:
        """The paths to a Value that were found; at first that is the largest."""
        if i not in self._found:
            self._found[i] = [(self.costs[i], self.edges[i], 0)] if self.edges[i] >= 0 else []
        return self._found[i]

    def _path(self, i: int, rank: int, label: str) -> Path:
        values, local_grads = [self.order[i]], []
        while i > 0:
            _, edge, rank = self._paths(i)[rank]
            i = self.sources[edge]
            local_grads.append(self.grads[edge])
            values.append(self.order[i])
        return Path(tuple(values), tuple(local_grads), math.prod(local_grads), label)

    @cached_property
    def _incoming(self) -> tuple[Any, Any]:
        """The edges sorted by where they lead, and where those of each Value begin."""
        import numpy as np

        targets = np.array(self.targets, dtype=np.int64)
        return np.argsort(targets, kind="stable"), np.searchsorted(np.sort(targets), np.arange(len(self.order) + 1))

    def _find_next(self, i: int) -> bool:
        """Find the next largest path to a Value; whether there was one.

        The path that was found last came by some Value before; its successor on that way, if any, becomes a
        candidate, and the best candidate is the next path.  To know the successor, the Value before may first have to
        find its own next path: a stack holds who waits for whom.
        """
        waiting = [i]
        while waiting:
            j = waiting[-1]
            found = self._paths(j)
            if j not in self._candidates:
                self._candidates[j] = self._other_edges(j)
                self._followed[j] = 0
            if self._followed[j] < len(found):
                _, edge, rank = found[-1]
                before = self.sources[edge]
                paths = self._paths(before)
                if before > 0 and len(paths) <= rank + 1 and self._may_have_more(before):
                    waiting.append(before)
                    continue
                if len(paths) > rank + 1:
                    cost = paths[rank + 1][0] + _cost(self.grads[edge])
                    heappush(self._candidates[j], (cost, edge, rank + 1))
                self._followed[j] = len(found)
            waiting.pop()
            if self._candidates[j]:
                found.append(heappop(self._candidates[j]))
            elif j == i:
                return False
        return True

    def _other_edges(self, j: int) -> list[_Entry]:
        """The largest path over each edge to a Value, but for the largest of all: a heap."""
        edges, starts = self._incoming
        entries = [
            (self.costs[self.sources[edge]] + _cost(self.grads[edge]), edge, 0)
            for edge in edges[starts[j] : starts[j + 1]].tolist()
            if edge != self.edges[j]
        ]
        heapify(entries)
        return entries

    def _may_have_more(self, j: int) -> bool:
        """Whether another path may yet be found: not if all that were are followed and no candidate is left."""
        return j not in self._candidates or self._followed[j] < len(self._found[j]) or bool(self._candidates[j])


def _cost(local_grad: float) -> float:
    magnitude = abs(local_grad)
    return -math.log(magnitude) if magnitude < math.inf else -math.inf
