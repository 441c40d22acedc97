"""Calls on vectors and lists that are like the one before.

Why: to take a call apart, and to look up what was recorded for its like, takes a tenth of a millisecond in Python,
as long as a thousand operations on some thousand numbers; of a list of numbers, several times as long as to make an
array of it.  An optimiser calls its function on arrays of the same shapes, or lists as long, again and again.

Where to start reading: ``vector_call``.
"""

from __future__ import annotations

from collections.abc import Hashable
from math import prod
from typing import Any

import numpy as np

from valuegrad.calls import Call, Vector
from valuegrad.flattening import Unknown, sketch
from valuegrad.paths import Path, Paths

__all__ = ["VectorCall", "vector_call"]

_FLOAT64 = np.dtype(np.float64)
_FLOATS = frozenset((float,))


def vector_call(paths: Paths, path: Path, call: Call, args: tuple[Any, ...]) -> VectorCall | None:
    """What makes calls like this one quick; None where it has other arguments than vectors, and nestings of floats.

    Args:
        paths: of the program.
        path: the one that the call has taken, which reads no Values from outside.
        call: without lanes.
        args: as they were handed over.
    """
    if paths.options.dtype != "float64" or not args:
        return None
    kinds: list[Hashable] = []
    done = 0  # so many leaves
    for x in args:
        if type(x) is np.ndarray:
            leaf = call.leaves[done] if done < len(call.leaves) else None
            if type(leaf) is not Vector or leaf.array is not x or not _is_known(x):
                return None
            kinds.append(x.shape)
            done += 1
        else:
            found: list[Any] = []
            try:
                kinds.append(_Nest(sketch(x, found, _FLOATS)))
            except Unknown:
                return None
            done += len(found)
    if done != len(call.leaves):
        return None
    lowered = paths.lower(path, call)
    if not lowered.same.all() or lowered.code.calls:  # Python functions want NumPy to be silent, which takes its time
        return None
    return VectorCall(kinds, lowered, paths.structure, paths.options.threads)


def _is_known(x: Any) -> bool:
    return type(x) is np.ndarray and x.dtype is _FLOAT64


class _Nest:
    """Lists and tuples of floats, or a float, by their sketch."""

    def __init__(self, which: Hashable) -> None:
        self.sketch = which


class VectorCall:
    """A recorded path, for calls on float64 vectors and floats in certain shapes and nestings and nothing else.

    Args:
        kinds: for each argument its shape if it is a vector, or else a ``_Nest``.
        lowered: the path's code; all its outputs are the same for all lanes.
        structure: of the result.
        threads: how many may work.
    """

    def __init__(self, kinds: list[Hashable], lowered: Any, structure: Any, threads: int) -> None:
        self.kinds = kinds
        self.run, self.threads = lowered.run, threads
        self.place: list[tuple[int, tuple[int, ...] | None, int]] | None = None  # of the result's leaves
        if structure.arrays:
            self.place = [(start, shape, start + prod(shape or ())) for start, shape in structure.places()]
        self.build = structure.build_leaves

    def __call__(self, args: tuple[Any, ...]) -> Any:
        """The result; None where the call is another one, or takes another path."""
        numbers = self._numbers(args)
        if numbers is None:
            return None
        failed, found, _ = self.run(1, numbers, (), self.threads)
        if failed is not None:
            return None
        if self.place is None:  # numbers alone
            return self.build(found.tolist())
        leaves = [
            found[start:end].reshape(shape) if shape is not None else float(found[start])
            for start, shape, end in self.place
        ]
        return self.build(leaves)

    def _numbers(self, args: tuple[Any, ...]) -> Any:
        """The arguments' numbers in one array; None where the call is another one."""
        if len(args) != len(self.kinds):
            return None
        pieces: list[Any] = []
        floats: list[float] = []  # since the last array
        for x, kind in zip(args, self.kinds):
            if type(kind) is not _Nest:
                if not _is_known(x) or x.shape != kind:
                    return None
                if floats:
                    pieces.append(_array(floats))
                    floats = []
                pieces.append(x)
                continue
            try:
                if sketch(x, floats, _FLOATS) != kind.sketch:
                    return None
            except Unknown:
                return None
        if floats or not pieces:
            pieces.append(_array(floats))
        if len(pieces) > 1:
            return np.concatenate(pieces, axis=None)
        return np.require(pieces[0].reshape(-1), None, ("C", "A"))


def _array(floats: list[float]) -> Any:
    """An array of floats: half of the time that NumPy takes to find out what is in a list."""
    return np.fromiter(floats, _FLOAT64, len(floats))
