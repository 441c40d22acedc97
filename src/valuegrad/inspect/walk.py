"""Walking what a result was computed from, and what to call each Value on the way.

``poison``, ``steps`` and ``why`` walk in the order of the backward pass, along the edges that carry a gradient.

Where to start reading: ``edges``.
"""

from __future__ import annotations

from collections.abc import Iterable

from valuegrad import arguments
from valuegrad.errors import ValueTypeError
from valuegrad.primitives import TABLE
from valuegrad.value import Value, graph

__all__ = ["SKIPPING", "checked", "edges", "labels", "newest_first"]

SKIPPING = frozenset([row.name for row in TABLE.values() if row.skips_zero] + ["recorded"])
"""Operations whose edges of local gradient 0 carry nothing, not even 0 * inf: ``where``'s branch that was not taken."""


def checked(value: object, who: str) -> Value:
    """The Value, or an error of ours."""
    if not isinstance(value, Value):
        raise ValueTypeError(f"{who} got {arguments.shown(value)}; expected a Value")
    return value


def newest_first(root: Value) -> list[Value]:
    """All Values that a backward pass visits, constants left out: from the root to the oldest."""
    return [value for value in graph([root])[::-1] if value.op != "constant"]


def edges(value: Value) -> list[tuple[int, Value, float]]:
    """The edges that a backward pass follows from a Value: (position among its children, child, local gradient)."""
    skips = value.op in SKIPPING
    return [
        (i, child, local_grad)
        for i, (child, local_grad) in enumerate(zip(value.children, value.local_grads))
        if child.op != "constant" and not (skips and local_grad == 0.0)
    ]


def labels(oldest_first: Iterable[Value]) -> dict[Value, str]:
    """What to call each Value: its name, or v1, v2 ... in the order of creation; each label is used once.

    Example:
        >>> a = Value(2.0, name="a")
        >>> b = a * a
        >>> c = b * a
        >>> list(labels([a, b, c]).values())
        ['a', 'v1', 'v2']
    """
    found: dict[Value, str] = {}
    used: dict[str, int] = {}
    values = list(oldest_first)
    taken = {value.name for value in values}
    unnamed = 0
    for value in values:
        label = value.name
        if not label:
            unnamed += 1
            while f"v{unnamed}" in taken:
                unnamed += 1
            label = f"v{unnamed}"
        else:
            used[label] = used.get(label, 0) + 1
            if used[label] > 1:
                label = f"{label}_{used[label]}"
        found[value] = label
    return found
