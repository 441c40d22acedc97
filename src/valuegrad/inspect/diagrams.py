"""The graph behind a Value as a picture: what it was computed from, with data, grads and local gradients.

Data structures: none of its own; ``pictures`` draws what ``shown`` reads off the Values.

Where to start reading: ``diagram``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from valuegrad import arguments
from valuegrad.errors import ValueArgumentError, ValueTypeError
from valuegrad.pictures.appearance import SYMBOLS, shortened
from valuegrad.pictures.diagram import MOST, Diagram
from valuegrad.pictures.shown import Shown
from valuegrad.value import Value
from valuegrad.value import graph as reached

__all__ = ["Diagram", "diagram", "nodes", "shown"]

MOST_READ = 100_000  # of a larger graph the newest nodes are looked at: less than a second's work


def diagram(
    y: Value | Iterable[Value],
    *,
    names: Mapping[str, Any] | Mapping[Value, str] | None = None,
    grads: bool = True,
    most: int = MOST,
    collapse: bool = True,
    expand: Collection[int | str] = (),
    direction: str = "down",
) -> Diagram:
    """A picture of what a Value was computed from.

    Each node's box says its name, operation, data and grad; each edge the local gradient. What repeats is one box:
    sixteen products side by side, a sum that was written with +. In a notebook the picture shows itself.

    A node's id is its position in the order of creation (``nodes(y)[id]`` is the Value), so the same calculation gives
    the same ids. The key of a group is "g" and the id of its oldest node, of a chain "s" and that id.

    Args:
        y: a Value, or several.
        names: names for Values that have none, as ``{"a": a}`` (so ``names=locals()`` works) or ``{a: "a"}``.
        grads: say the grads; what ``backward`` last put there.
        most: no more boxes than this, 1 to 400; the oldest nodes are left out, and the picture says how many.
        collapse: False: a box for each node.
        expand: what shall not be collapsed: ids of nodes, keys of groups.
        direction: where edges lead: "down" or "right".

    Returns:
        A ``Diagram``, with ``svg()``, ``mermaid()``, ``dot()`` and ``save(path)``.

    Raises:
        ValueTypeError: y is no Value.
        ValueArgumentError: most, direction or expand is none of these.

    Example:
        >>> a, b = Value(3.0, name="a"), Value(5.0, name="b")
        >>> y = a * b
        >>> y.backward()
        >>> print(diagram(y).mermaid())
        flowchart TB
          n0("a<br/>data 3<br/>grad 5"):::input
          n1("b<br/>data 5<br/>grad 3"):::input
          n2("×<br/>data 15<br/>grad 1"):::arithmetic
          n0 -->|"5"| n2
          n1 -->|"3"| n2
          classDef input fill:#b7e0b1,stroke:#7a8594,color:#1b1f24
          classDef arithmetic fill:#cfe2f7,stroke:#7a8594,color:#1b1f24
    """
    roots = _roots(y)
    title = roots[0].name or "the graph of a Value" if len(roots) == 1 else f"the graph of {len(roots)} Values"
    picture = shown(roots, names)
    return Diagram(
        picture, title, grads=grads, most=most, collapse=collapse, expand=expand, direction=direction
    )  # fmt: skip


def nodes(y: Value | Iterable[Value]) -> list[Value]:
    """The Values of a graph by their ids: in the order of their creation, operands before what uses them.

    Args:
        y: a Value, or several.

    Example:
        >>> a = Value(3.0, name="a")
        >>> [value.op for value in nodes(a * 2 + a)]
        [None, 'constant', 'mul', 'add']
    """
    return _read(_roots(y))[0]


def shown(roots: Sequence[Value], names: Mapping[Any, Any] | None = None) -> Shown:
    """What pictures need to know of Values."""
    order, operands, older = _read(roots)
    at = {id(value): i for i, value in enumerate(order)}
    local_grads: list[Sequence[float]] = [value.local_grads for value in order]
    for i, places in enumerate(operands):
        if -1 in places:  # a child is older than what is looked at
            local_grads[i] = [grad for grad, place in zip(local_grads[i], places) if place >= 0]
            operands[i] = [place for place in places if place >= 0]
    called = {i: value.name for i, value in enumerate(order) if value.name}
    for value, name in _named(names):
        if id(value) in at:
            called.setdefault(at[id(value)], name)
    return Shown(
        ops=[value.op or "input" for value in order],
        signs=[_sign(value) for value in order],
        operands=operands,
        names=called,
        results=[at[id(root)] for root in dict.fromkeys(roots)],
        data=[value.data for value in order],
        grads=[value.grad for value in order],
        local_grads=local_grads,
        older=older,
    )


def _sign(value: Value) -> str:
    op = value.op
    if op is None or op == "constant":
        return ""
    static = value.static
    sign = SYMBOLS.get(op, op)
    if static is None:
        return sign
    if op == "pow":
        return f"^ {shortened(static)}"
    return f"{op}[{shortened(static)}]"


def _roots(y: Any) -> list[Value]:
    roots = [y] if isinstance(y, Value) else list(y) if isinstance(y, Iterable) else []
    if not roots and not isinstance(y, Iterable):
        raise ValueTypeError(f"diagram() got {arguments.shown(y)}; expected a Value, or a list of Values")
    for root in roots:
        if not isinstance(root, Value):
            raise ValueTypeError(f"diagram() got {arguments.shown(root)}; expected a Value, or a list of Values")
    if not roots:
        raise ValueArgumentError("diagram() got an empty list; expected a Value, or a list of Values")
    return roots


def _named(names: Mapping[Any, Any] | None) -> list[tuple[Value, str]]:
    """Pairs of Values and names, whichever way they were given; what else ``locals()`` has is not meant."""
    found = []
    for key, value in (names or {}).items():
        if isinstance(key, Value):
            found.append((key, str(value)))
        elif isinstance(value, Value) and not str(key).startswith("_"):
            found.append((value, str(key)))
    return found


def _read(roots: Sequence[Value]) -> tuple[list[Value], list[list[int]], int]:
    """The Values in order, their children's positions (-1: older than what is looked at), how many are older.

    A constant stands right before its first user, on either engine: the native one makes it when it is asked for.
    """
    found = reached(roots)
    total = len(found)
    values = found[max(0, total - MOST_READ) :]
    order, operands, complete = _ordered(values, roots)
    if not complete and total <= MOST_READ:  # the backward pass leaves out the branch that ``where`` did not take
        order, operands, _ = _ordered(_all(roots), roots)
        total = len(order)
    return order, operands, total - len(order)


def _ordered(values: Sequence[Value], roots: Sequence[Value]) -> tuple[list[Value], list[list[int]], bool]:
    """The Values with constants in their places, their children's positions, and whether all children are there."""
    at: dict[int, int] = {}
    order: list[Value] = []
    operands: list[list[int]] = []
    complete = True
    wanted = {id(root) for root in roots}
    for value in values:
        if value.op == "constant" and id(value) not in wanted:
            continue  # its user brings it
        places = []
        for child in value.children:
            place = at.get(id(child), -1)
            if place < 0:
                if child.op == "constant":
                    place = at[id(child)] = len(order)
                    order.append(child)
                    operands.append([])
                else:
                    complete = False
            places.append(place)
        if id(value) not in at:
            at[id(value)] = len(order)
            order.append(value)
            operands.append(places)
    return order, operands, complete


def _all(roots: Sequence[Value]) -> list[Value]:
    seen: dict[int, Value] = {}
    stack = list(roots)
    while stack:
        value = stack.pop()
        if id(value) not in seen:
            seen[id(value)] = value
            stack += value.children
    return sorted(seen.values(), key=lambda value: value._created)
