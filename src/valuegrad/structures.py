"""``Tree``: nestings of numbers taken apart into a flat list, and put together again.

Why: derivatives are computed for a flat list of numbers; people have dicts of lists of arrays.  The
nestings are optree's pytrees (lists, tuples, dicts, named tuples, and classes registered with it); arrays
are NumPy's.  Neither is imported before there is a nesting or an array.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from math import prod
from typing import Any

from valuegrad import arguments
from valuegrad.errors import ValueTypeError
from valuegrad.value import Value

__all__ = ["Tree"]

PLAIN = frozenset((Value, float))
"""The types of numbers that are taken as they are."""


class Tree:
    """The structure of a nesting of numbers, without the numbers.

    Args:
        who: begins an error message, such as "grad(), argument 0".
        tree: a number, a Value, a NumPy array of either, or a list, tuple or dict of such (any pytree).
    """

    def __init__(self, who: str, tree: Any) -> None:
        self.numbers: list[Any] = []
        self.shapes: list[tuple[int, ...] | None] = []  # for each leaf: an array's shape, or None for a number
        self._definition: Any = None  # optree's, or None for a single leaf
        leaves = [tree]
        if type(tree) is not Value and not isinstance(tree, (float, int)):
            import optree

            leaves, definition = optree.tree_flatten(tree)
            self._definition = None if definition.is_leaf() else definition
        if set(map(type, leaves)) <= PLAIN:
            self.numbers = [*leaves]
            self.shapes = [None] * len(leaves)
            return
        for i, leaf in enumerate(leaves):
            self.shapes.append(self._add(leaf, who, i, tree))

    def _add(self, leaf: Any, who: str, i: int, tree: Any) -> tuple[int, ...] | None:
        numpy = sys.modules.get("numpy")  # where there is an array, NumPy has been imported
        if numpy is not None and isinstance(leaf, numpy.ndarray) and leaf.ndim:
            entries = arguments.unmasked(leaf, who).ravel().tolist()
            if not set(map(type, entries)) <= PLAIN:
                entries = [self._number(x, who, i, tree) for x in entries]
            self.numbers += entries
            return tuple(leaf.shape)
        self.numbers.append(self._number(leaf, who, i, tree))
        return None

    @staticmethod
    def _number(x: Any, who: str, i: int, tree: Any) -> Any:
        if type(x) is Value or type(x) is float:
            return x
        if getattr(x, "ndim", None) == 0 and type(arguments.unmasked(x, who).item()) is Value:
            return x.item()
        if not arguments.is_number(x, Value):
            import optree

            path = optree.tree_paths(tree)[i]
            where = "".join(f"[{key!r}]" for key in path)
            raise ValueTypeError(
                f"{who} holds {arguments.shown(x)}{' at ' + where if where else ''}; "
                "expected numbers, Values, NumPy arrays of them, and lists, tuples and dicts of such"
            )
        return arguments.number(x, who)

    def matches(self, other: Tree) -> bool:
        """Whether both have the same structure and shapes."""
        return (self._definition, self.shapes) == (other._definition, other.shapes)

    def build(self, numbers: Sequence[Any]) -> Any:
        """The nesting with these numbers; an array is of float64, or of objects if Values are among them."""
        return self.build_rows([numbers], None)

    def build_rows(self, rows: Sequence[Sequence[Any]], lead: tuple[int, ...] | None) -> Any:
        """The nesting of arrays with the leading shape ``lead``, one row of numbers for each leading index.

        With lead None there is one row, and numbers stay numbers.
        """
        if lead is None and not any(self.shapes):  # numbers alone
            return self.build_leaves(rows[0])
        leaves = []
        start = 0
        for shape in self.shapes:
            size = prod(shape or ())
            parts = [row[start : start + size] for row in rows]
            block = parts[0] if len(parts) == 1 else [x for part in parts for x in part]
            leaves.append(block[0] if shape is None and lead is None else _array(block, (lead or ()) + (shape or ())))
            start += size
        return self.build_leaves(leaves)

    def build_leaves(self, leaves: Sequence[Any]) -> Any:
        """The nesting with anything at all in place of its leaves."""
        if self._definition is None:
            return leaves[0]
        import optree

        return optree.tree_unflatten(self._definition, leaves)


def _array(numbers: Sequence[Any], shape: tuple[int, ...]) -> Any:
    import numpy

    kind = object if Value in map(type, numbers) else float
    return numpy.fromiter(numbers, kind, len(numbers)).reshape(shape)
