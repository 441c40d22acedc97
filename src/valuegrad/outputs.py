"""The result of a compiled function, taken apart and put together again.

Why: a recording has a flat list of outputs; functions return nestings of numbers, lists, tuples, dicts and arrays.
On a batch each number becomes an array.  A call on plain floats must cost about a microsecond, so the common
structures are put together by functions made for them.

Data structures: ``Structure`` is the nesting without its numbers.

Where to start reading: ``Structure.build``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import prod
from typing import Any

import numpy as np
import optree

from valuegrad import arguments
from valuegrad.comparison import Comparison
from valuegrad.errors import ValueTypeError
from valuegrad.structures import PLAIN
from valuegrad.value import Value, where

__all__ = ["Structure"]

Shape = tuple[int, ...]


class Structure:
    """The structure of a function's result.

    Args:
        name: the function's, for messages.
        result: what it returned.

    Attributes:
        numbers: the numbers and Values of the result, in order.
        definition: optree's description of the nesting.
        shapes: for each leaf the shape of a NumPy array of Values, or None for a number.
        arrays: whether any leaf is an array.
    """

    def __init__(self, name: str, result: Any) -> None:
        if result is None:
            raise ValueTypeError(
                f"{name}() gave None; expected numbers, and lists, tuples, dicts and arrays of them: "
                "does it lack a return?"
            )
        self.numbers: list[Any] = []
        leaves, self.definition = optree.tree_flatten(result)
        shapes: list[Shape | None] = []
        for leaf in leaves:
            if type(leaf) is Value or type(leaf) is float:
                self.numbers.append(leaf)
                shapes.append(None)
            elif isinstance(leaf, np.ndarray) and leaf.ndim and leaf.dtype.kind in "Ofiub":
                entries = arguments.unmasked(leaf, f"{name}(), its result").ravel().tolist()
                self.numbers += entries if set(map(type, entries)) <= PLAIN else [_number(x, name) for x in entries]
                shapes.append(leaf.shape)
            else:
                self.numbers.append(_number(leaf, name))
                shapes.append(None)
        self.shapes = tuple(shapes)
        self.arrays = any(shape is not None for shape in shapes)

    def taken(self) -> list[Any]:
        """The numbers, which are not kept: they would keep the whole graph."""
        numbers = self.numbers
        self.numbers = []
        return numbers

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Structure) and self.definition == other.definition and self.shapes == other.shapes

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return str(self.definition).removeprefix("PyTreeSpec(").removesuffix(")")

    def places(self) -> Iterator[tuple[int, Shape | None]]:
        """For each leaf its first number's position, and its shape if it is an array."""
        start = 0
        for shape in self.shapes:
            yield start, shape
            start += 1 if shape is None else prod(shape)

    @property
    def size(self) -> int:
        """How many numbers there are."""
        return sum(1 if shape is None else prod(shape) for shape in self.shapes)

    def build(self, numbers: Sequence[Any]) -> Any:
        """The result with these numbers."""
        if not self.arrays:
            return self.definition.unflatten(numbers)
        leaves = [
            numbers[start] if shape is None else np.array(numbers[start : start + prod(shape)]).reshape(shape)
            for start, shape in self.places()
        ]
        return self.definition.unflatten(leaves)

    def build_leaves(self, leaves: Sequence[Any]) -> Any:
        """The result with anything at all in place of its leaves."""
        return self.definition.unflatten(leaves)

    def quick(self) -> Callable[[tuple[float, ...]], Any]:
        """The fastest function there is that puts together plain floats."""
        count = len(self.shapes)
        if not self.arrays:
            if self.definition == _LEAF:
                return _only
            if self.definition == _tuple(count):
                return _itself
            if count > 1 and self.definition == _pair(count):
                return _value_and_rest
            return self.definition.unflatten
        return self.build


def _number(x: Any, name: str) -> Any:
    if type(x) is Value or type(x) is float:
        return x
    if isinstance(x, np.ndarray) and not x.ndim and x.dtype.kind == "O":  # what np.where gives for one number
        return _number(x.item(), name)
    if type(x) is Comparison:
        return where(x, 1.0, 0.0)
    if arguments.is_number(x, Value):
        return arguments.number(x, f"{name}(), its result")
    raise ValueTypeError(
        f"{name}() gave {arguments.shown(x)}; expected numbers, and lists, tuples, dicts and arrays of them"
    )


def _structure(tree: Any) -> Any:
    return optree.tree_structure(tree)


_LEAF = _structure(0.0)


def _tuple(count: int) -> Any:
    return _structure((0.0,) * count)


def _pair(count: int) -> Any:
    """A value, and the tuple of the others: what value_and_grad gives."""
    return _structure((0.0, (0.0,) * (count - 1)))


def _only(numbers: tuple[float, ...]) -> Any:
    return numbers[0]


def _itself(numbers: tuple[float, ...]) -> Any:
    return numbers


def _value_and_rest(numbers: tuple[float, ...]) -> Any:
    return numbers[0], numbers[1:]
