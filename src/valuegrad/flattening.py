"""Nestings of arguments taken apart at once, and what their leaves are called.

Why: optree walks a nesting in half a microsecond to a whole one a leaf.  A list of numbers is recognised in a twentieth
of that, by the set of its entries' types; and what optree would say of the whole nesting is known from the last time.

Data structures: a *sketch* is what says that two nestings are the same but for their leaves: None for a leaf, and
(list or tuple, its length) or (list or tuple, the sketches of its entries); (dict, the sketches of its entries in the
order of their keys, its keys, these in order), where keys are text.

Where to start reading: ``sketch``, then ``Definitions``.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from typing import Any

import numpy as np
import optree

from valuegrad.value import Value

__all__ = ["FLOATS", "NUMBERS", "Definitions", "Names", "count_of", "floats_of", "nested", "sketch"]

LEAVES = frozenset((float, int, bool, str, Value, np.ndarray, np.float64, np.float32, np.int64, np.bool_))
"""Types of which optree, too, makes leaves."""

FLOATS = frozenset((float, np.float64))
NUMBERS = FLOATS | {int}

TEXT = frozenset((str,))

MOST = 1000
"""So many descriptions are kept."""


class Unknown(Exception):
    """A nesting has something else in it than lists, tuples, dicts with keys that are text, and leaves."""


def sketch(x: Any, leaves: list[Any], known: frozenset[type] = LEAVES) -> Hashable:
    """A nesting's sketch.

    Args:
        x: the nesting.
        leaves: gets its leaves, from left to right.
        known: the types of leaves.

    Raises:
        Unknown: something in it is no list, tuple or dict with text for keys, and of another type.

    Example:
        >>> found = []
        >>> sketch(([1.0, 2.0], (3.0, [4.0])), found)
        (<class 'tuple'>, ((<class 'list'>, 2), (<class 'tuple'>, (None, (<class 'list'>, 1)))))
        >>> found
        [1.0, 2.0, 3.0, 4.0]
    """
    kind = type(x)
    if kind in known:
        leaves.append(x)
        return None
    if kind is dict and TEXT.issuperset(map(type, x)):
        order = tuple(sorted(x))  # that of the leaves, as optree has it
        return kind, tuple([sketch(x[key], leaves, known) for key in order]), tuple(x), order
    if kind is not list and kind is not tuple:
        raise Unknown
    if known.issuperset(map(type, x)):
        leaves += x
        return kind, len(x)
    return kind, tuple([sketch(entry, leaves, known) for entry in x])


def count_of(which: Hashable) -> int:
    """How many leaves a nesting has."""
    waiting: list[Any] = [which]
    count = 0
    while waiting:
        one = waiting.pop()
        inner = 1 if one is None else one[1]
        if isinstance(inner, int):
            count += inner
        else:
            waiting += inner
    return count


def floats_of(x: Any, which: Hashable, to: Any, at: int, integers: bool = False) -> int:
    """What ``floats_of`` of ``_nests.pxi`` does, in Python."""
    found: list[Any] = []
    try:
        if sketch(x, found, NUMBERS if integers else FLOATS) != which or not 0 <= at <= len(to) - len(found):
            return -1
        numbers = np.fromiter(found, np.float64, len(found))  # else NumPy finds out what is in the list
    except (Unknown, OverflowError):
        return -1
    to[at : at + len(found)] = numbers
    return at + len(found)


def nested(which: Any, numbers: Any) -> Any:
    """What ``nested`` of ``_nests.pxi`` does, in Python."""
    return _nested(which, iter(numbers[: count_of(which)].tolist()))


def _nested(which: Any, numbers: Iterator[float]) -> Any:
    if which is None:
        return next(numbers)
    kind, inner, *keys = which
    if kind is dict:
        found = dict(zip(keys[1], [_nested(one, numbers) for one in inner]))
        return {key: found[key] for key in keys[0]}
    return kind([_nested(one, numbers) for one in ([None] * inner if isinstance(inner, int) else inner)])


class Definitions:
    """optree's descriptions of the nestings that were met, by their sketches.

    Args:
        leaves: types of which optree makes leaves, beside numbers and arrays.
    """

    def __init__(self, *leaves: type) -> None:
        self.known = LEAVES | set(leaves)
        self.found: dict[Hashable, Any] = {}

    def flatten(self, tree: Any) -> tuple[list[Any], Any]:
        """What ``optree.tree_flatten`` gives."""
        args, kwargs = tree
        if kwargs:
            return optree.tree_flatten(tree)
        leaves: list[Any] = []
        try:
            which = sketch(args, leaves, self.known)
        except (Unknown, RecursionError):
            return optree.tree_flatten(tree)
        definition = self.found.get(which)
        if definition is None:
            definition = optree.tree_structure(tree)
            if len(self.found) >= MOST:
                self.found.clear()
            self.found[which] = definition
        return leaves, definition


class Names:
    """How the user would write the leaves of a call: ``spots``, ``params['w'][0]``.

    Args:
        parameters: the names of the function's.
        definition: optree's description of the arguments.
        static: which of its leaves are no numbers, and are not counted.
    """

    def __init__(self, parameters: Sequence[str], definition: Any, static: Sequence[int] = ()) -> None:
        self.parameters = parameters
        self.definition = definition
        self.static = frozenset(static)
        self._paths: list[Any] | None = None

    def __getitem__(self, leaf: int) -> str:
        return self._text(self._found()[leaf])

    def all(self) -> list[str]:
        """Those of all leaves."""
        return [self._text(path) for path in self._found()]

    def _found(self) -> list[Any]:
        """The leaves' paths, which are looked for once, and only where somebody asks."""
        if self._paths is None:
            self._paths = [path for i, path in enumerate(self.definition.paths()) if i not in self.static]
        return self._paths

    def _text(self, path: Any) -> str:
        which, first, *rest = path
        name = first if which or first >= len(self.parameters) else self.parameters[first]
        text = name if isinstance(name, str) else f"argument {name}"
        return text + "".join(f"[{entry!r}]" for entry in rest)
