"""Calls on arrays and lists that are like the one before.

Why: to take a call apart, and to look up what was recorded for its like, takes a tenth of a millisecond in Python,
as long as a thousand operations on some thousand numbers, and twice as long where others use the caches; of a list of
numbers, several times as long as to make an array of it.  An optimiser calls its function on arrays of the same shapes,
or lists as long, again and again.

Data structures: ``Nest`` says what an argument must be like, ``Part`` where a part of the result is found.

Where to start reading: ``array_call``.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from contextlib import suppress
from functools import partial
from math import prod
from typing import Any, NamedTuple

import numpy as np

from valuegrad.calls import Call, Vector
from valuegrad.flattening import FLOATS, NUMBERS, Unknown, count_of, sketch
from valuegrad.lower.lowering import Lowered
from valuegrad.paths import Path, Paths

try:
    from valuegrad._replay import floats_of, nested
except ImportError:  # it was not built
    from valuegrad.flattening import floats_of, nested

__all__ = ["ArrayCall", "array_call"]

Shape = tuple[int, ...]
FLOATS_AND_ARRAYS = FLOATS | {np.ndarray}
LANES: Shape = ()
"""In place of a leaf's shape: it has a number for each lane."""


FIXED = frozenset((str, bool, type(None)))
"""Types of arguments that are static, whatever is said of them."""


class Nest(NamedTuple):
    """What an argument is like.

    Args:
        sketch: of its nesting.
        shapes: for each leaf that of a vector, LANES, or None for a float; None: all are floats.
        thing: what it is, if it is static.
        is_fixed: whether it is.
    """

    sketch: Hashable
    shapes: list[Shape | None] | None
    thing: Any = None
    is_fixed: bool = False


class Part(NamedTuple):
    """A leaf of the result.

    Args:
        is_own: whether it is among the numbers that are the same for all lanes.
        start: its first one there, or which one of the others it is.
        shape: of an array of numbers that are the same for all lanes; None: a number.
        has_lanes: the result has a number for each lane.
    """

    is_own: bool
    start: int
    shape: Shape | None
    has_lanes: bool


def array_call(
    paths: Paths, path: Path, call: Call, args: tuple[Any, ...], keywords: tuple[str, ...] = ()
) -> ArrayCall | None:
    """What makes calls like this one quick; None where it has other arguments than arrays, and nestings of floats.

    Args:
        paths: of the program.
        path: the one that lanes start on, or that the call has taken; it reads no Values from outside.
        call: the one that was made.
        args: as they were handed over, those given by keywords last.
        keywords: these.
    """
    dtype = np.dtype(paths.options.dtype)
    nests: list[Nest] = []
    done = 0  # so many leaves
    numbers = FLOATS if path.integer_uses else NUMBERS  # where no integer is an index, it is a number like others
    known = numbers | {np.ndarray}
    for x in args:
        if type(x) in FIXED:
            nests.append(Nest((tuple, 0), None, x, True))
            continue
        found: list[Any] = []
        try:
            which = sketch(x, found, known)
        except Unknown:
            return None
        leaves = call.leaves[done : done + len(found)]
        done += len(found)
        if numbers.issuperset(map(type, found)) and numbers.issuperset(map(type, leaves)):
            nests.append(Nest(which, None))
            continue
        if len(leaves) != len(found) or not all(_is_known(*pair, call, dtype) for pair in zip(found, leaves)):
            return None
        nests.append(Nest(which, [_shape(leaf) for leaf in leaves]))
    has_floats = any(not nest.is_fixed and (nest.shapes is None or None in nest.shapes) for nest in nests)
    if has_floats and dtype.itemsize < 8:  # to which NumPy converts with warnings
        return None
    if done != len(call.leaves) or not args or (call.shape is not None and call.lanes < 2):
        return None
    lowered = paths.lower(path, call)
    if lowered.made.code.calls:  # Python functions want NumPy to be silent, which takes its time
        return None
    parts = _parts(paths, path, call, lowered)
    return None if parts is None else ArrayCall(nests, keywords, numbers is NUMBERS, lowered, parts, paths, dtype)


def _is_known(given: Any, leaf: Any, call: Call, dtype: Any) -> bool:
    """Whether an argument's leaf was used as it is."""
    if type(leaf) is float:
        return type(given) in FLOATS
    if type(leaf) is int:
        return False
    array = leaf.array if type(leaf) is Vector else leaf
    return array is given and array.dtype is dtype and (array is not leaf or leaf.shape == call.shape)


def _shape(leaf: Any) -> Shape | None:
    if type(leaf) is Vector:
        shape: Shape = leaf.array.shape
        return shape
    return None if type(leaf) is float else LANES


def _parts(paths: Paths, path: Path, call: Call, lowered: Lowered) -> list[Part] | None:
    """Where the result's leaves are, as ``paths`` finds them; None where it makes more of them."""
    assert paths.structure is not None
    same, sums = lowered.same, paths.sums(call)
    total = same if path.sums_over_lanes or call.shape is None else np.zeros_like(same) if sums is None else same & sums
    if call.shape is None and not same.all():
        return None
    own, other = np.cumsum(np.append(0, same)).tolist(), np.cumsum(np.append(0, ~same)).tolist()
    first = len(same) - len(paths.gradients)
    parts = []
    for start, shape in paths.structure.places():
        leaf = paths.gradients[start - first] if paths.gradients and start >= first and shape is None else -1
        is_by_lanes = leaf >= 0 and type(call.leaves[leaf]) is np.ndarray
        if total[start : start + prod(shape or ())].all():
            if is_by_lanes:
                return None
            parts.append(Part(True, own[start], shape, False))
        elif shape is None and (leaf < 0 or is_by_lanes):
            is_own = bool(same[start])
            if is_own and is_by_lanes and paths.options.reduce == "mean":
                return None
            parts.append(Part(is_own, own[start] if is_own else other[start], None, True))
        else:
            return None
    return parts


class ArrayCall:
    """A recorded path, for calls on arrays of a dtype and floats in certain nestings and nothing else.

    Args:
        nests: what the arguments are like.
        keywords: those of the last ones.
        integers: whether there may be integers among the floats.
        lowered: the path's code.
        parts: where the result's leaves are.
        paths: of the program.
        dtype: of the arrays.
    """

    def __init__(
        self,
        nests: list[Nest],
        keywords: tuple[str, ...],
        integers: bool,
        lowered: Lowered,
        parts: list[Part],
        paths: Paths,
        dtype: Any,
    ) -> None:
        assert paths.structure is not None
        self.nests, self.keywords, self.integers, self.dtype = nests, keywords, integers, dtype
        self.floats = sum(count_of(nest.sketch) for nest in nests if nest.shapes is None)
        self.only_floats = all(nest.shapes is None for nest in nests)
        self.numbers: Callable[[Any], Any] = self._first_numbers  # builds a result that is floats alone
        self.run, self.threads = lowered.run, paths.options.threads
        self.parts = [(*part, part.start + prod(part.shape or ())) for part in parts]
        self.only_numbers = not any(part.has_lanes or part.shape is not None for part in parts)
        self.build = paths.structure.build_leaves
        gradients = len(paths.gradients) if paths.options.reduce == "mean" else 0
        self.means = int(lowered.same[len(lowered.same) - gradients :].sum())  # the last ones of its own

    def __call__(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The result; None where the call is another one, or takes another path."""
        if len(kwargs) != len(self.keywords):
            return None
        if kwargs:
            if not all(map(kwargs.__contains__, self.keywords)):
                return None
            args = (*args, *map(kwargs.__getitem__, self.keywords))
        lanes: list[Any] = []
        uniform = self._taken(args, lanes)
        if uniform is None:
            return None
        shape: Shape = lanes[0].shape if lanes else ()
        n = prod(shape)
        if lanes and n < 2:
            return None
        failed, own, others = self.run(n, uniform, [*map(_flat, lanes)], self.threads)
        if failed is not None:
            return None
        if self.means:
            own[len(own) - self.means :] /= n
        if self.only_numbers:
            return self.numbers(own)
        leaves: list[Any] = []
        for is_own, start, wanted, has_lanes, end in self.parts:
            if has_lanes:
                leaves.append((np.full(n, own[start]) if is_own else others[start]).reshape(shape))
            else:
                leaves.append(float(own[start]) if wanted is None else own[start:end].reshape(wanted))
        return self.build(leaves)

    def _numbers(self, own: Any) -> Any:
        return self.build(own.tolist())

    def _first_numbers(self, own: Any) -> Any:
        """A result that is floats alone; it says how the next ones are built."""
        result = self._numbers(own)
        self.numbers = self._numbers
        if self.dtype.itemsize == 8:
            with suppress(Unknown):
                self.numbers = partial(nested, sketch(result, [], FLOATS))
        return result

    def _taken(self, args: tuple[Any, ...], lanes: list[Any]) -> Any:
        """The numbers that are the same for all lanes in one array, and into a list the others; None where the call is
        another one."""
        if len(args) != len(self.nests):
            return None
        floats, at = np.empty(self.floats), 0
        pieces: list[Any] = []
        for x, nest in zip(args, self.nests):
            if nest.is_fixed:
                if type(x) is not type(nest.thing) or x != nest.thing:
                    return None
            elif nest.shapes is None:
                begin, at = at, floats_of(x, nest.sketch, floats, at, self.integers)
                if at < 0:
                    return None
                pieces.append(floats[begin:at])
            elif not self._pieces(x, nest, pieces, lanes):
                return None
        return floats if self.only_floats else self._joined(pieces)

    def _pieces(self, x: Any, nest: Nest, pieces: list[Any], lanes: list[Any]) -> bool:
        """Take the numbers of one argument that has arrays; whether it is like the one before."""
        assert nest.shapes is not None
        found: list[Any] = []
        try:
            if sketch(x, found, FLOATS_AND_ARRAYS) != nest.sketch:
                return False
        except Unknown:
            return False
        for leaf, wanted in zip(found, nest.shapes):
            if type(leaf) in FLOATS:
                if wanted is not None:
                    return False
                pieces.append([leaf])
            elif leaf.dtype is not self.dtype:
                return False
            elif wanted == LANES:
                lanes.append(leaf)
                if leaf.shape != lanes[0].shape:
                    return False
            elif leaf.shape != wanted:
                return False
            else:
                pieces.append(leaf)
        return True

    def _joined(self, pieces: Sequence[Any]) -> Any:
        """Arrays and lists of floats as one array.

        Of what is in a list NumPy is told: else it takes three times as long, to find out.
        """
        arrays = [x if type(x) is np.ndarray else np.fromiter(x, self.dtype, len(x)) for x in pieces]
        if len(arrays) == 1:
            return _flat(arrays[0])
        return np.concatenate(arrays, axis=None) if arrays else np.empty(0, self.dtype)


def _flat(x: Any) -> Any:
    """An array's numbers side by side."""
    flags = x.flags
    return x.reshape(-1) if flags.c_contiguous and flags.aligned else np.require(x.reshape(-1), None, ("C", "A"))
