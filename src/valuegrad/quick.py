"""Calls on vectors that are like the one before.

Why: to take a call apart, and to look up what was recorded for its like, takes a tenth of a millisecond in Python,
as long as a thousand operations on some thousand numbers.  An optimiser calls its function on arrays of the same shapes
again and again.

Where to start reading: ``vector_call``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from valuegrad.calls import Call, Vector
from valuegrad.paths import Path, Paths

__all__ = ["VectorCall", "vector_call"]

_FLOAT64 = np.dtype(np.float64)


def vector_call(paths: Paths, path: Path, call: Call, args: tuple[Any, ...]) -> VectorCall | None:
    """What makes calls like this one quick; None where it has other arguments than vectors.

    Args:
        paths: of the program.
        path: the one that the call has taken, which reads no Values from outside.
        call: without lanes.
        args: as they were handed over.
    """
    if paths.options.dtype != "float64" or len(args) != len(call.leaves) or not args:
        return None
    if not all(type(leaf) is Vector and leaf.array is x and _is_known(x) for leaf, x in zip(call.leaves, args)):
        return None
    lowered = paths.lower(path, call)
    if not lowered.same.all() or lowered.code.calls:  # Python functions want NumPy to be silent, which takes its time
        return None
    return VectorCall([x.shape for x in args], lowered, paths.structure, paths.options.threads)


def _is_known(x: Any) -> bool:
    return type(x) is np.ndarray and x.dtype is _FLOAT64


class VectorCall:
    """A recorded path, for calls on float64 vectors of certain shapes and nothing else.

    Args:
        shapes: of the arguments, all of which are vectors.
        lowered: the path's code; all its outputs are the same for all lanes.
        structure: of the result.
        threads: how many may work.
    """

    def __init__(self, shapes: Sequence[tuple[int, ...]], lowered: Any, structure: Any, threads: int) -> None:
        self.shapes = tuple(shapes)
        self.run, self.threads = lowered.run, threads
        self.place = [(start, shape, start + int(np.prod(shape or ()))) for start, shape in structure.places()]
        self.build = structure.build_leaves

    def __call__(self, args: tuple[Any, ...]) -> Any:
        """The result; None where the call is another one, or takes another path."""
        if len(args) != len(self.shapes):
            return None
        for x, shape in zip(args, self.shapes):
            if not _is_known(x) or x.shape != shape:
                return None
        numbers = (
            np.concatenate(args, axis=None) if len(args) > 1 else np.require(args[0].reshape(-1), None, ("C", "A"))
        )
        failed, found, _ = self.run(1, numbers, (), self.threads)
        if failed is not None:
            return None
        leaves = [
            found[start:end].reshape(shape) if shape is not None else float(found[start])
            for start, shape, end in self.place
        ]
        return self.build(leaves)
