"""A recorded graph, computed again in Python: on numbers, on Values, inside another recording.

Why: a program from a file has no Python function, and yet it is called like one: with Values, inside a function
that is recorded, by ``vg.grad``, for a single lane.  Then its graph is walked with the engine's own functions, so
everything that holds for the function holds for what was recorded of it; guards become guards of an outer recording.

Data structures: ``STEPS`` has for each operation a function of its operands and its number.  What an operation on
conditions gives is a bool, or a ``Comparison`` inside a recording.

Where to start reading: ``Replay.__call__``, then ``evaluate``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from valuegrad import arguments, modes
from valuegrad import value as engine
from valuegrad.comparison import Comparison
from valuegrad.custom import Primitive
from valuegrad.descriptions import Leaf, PathDescription, ProgramDescription, Specialisation, filled
from valuegrad.errors import PathsError, ValueTypeError
from valuegrad.primitives import FLOATS, TABLE, Row
from valuegrad.primitives.opcodes import OPS
from valuegrad.value import Value

if TYPE_CHECKING:
    from valuegrad.graph import Graph

__all__ = ["Replay", "evaluate", "follow"]

Step = Callable[[list[Any], float], Any]
CONDITIONS = frozenset(("lt", "le", "eq", "and", "or", "not"))
"""The operations whose result is a condition."""


# --------------------------------------------------------------------------------------- the operations
def _condition(x: Any) -> Any:
    """A bool or Comparison; a number is a condition that holds unless it is 0."""
    return x if type(x) is bool or type(x) is Comparison else x != 0.0


def _number(x: Any) -> Any:
    """A float or Value; a condition is 1.0 or 0.0."""
    return engine.where(x, 1.0, 0.0) if type(x) is bool or type(x) is Comparison else x


def _gather(xs: list[Any], number: float) -> Any:
    *entries, index = xs
    if type(index) is Value and modes.recorder() is None:
        index = index._data
    return engine.take(entries, int(index) if type(index) is float else index)


def _custom(xs: list[Any], number: float) -> Any:
    """A primitive of the user's: its value, its arguments, and its local gradients, which were recorded too."""
    count = len(xs) // 2
    out, children, grads = xs[0], xs[1 : count + 1], xs[count + 1 :]
    if Value not in map(type, children):
        return out

    def value(*numbers: Any) -> Any:
        return out if Value in map(type, numbers) or type(out) is not Value else out._data

    def local_grads(*given: Any) -> tuple[Any, ...]:
        if Value in map(type, given):
            return tuple(grads)
        return tuple(grad._data if type(grad) is Value else grad for grad in grads)

    return Primitive("custom", value, local_grads)(*children)


def _over_lanes(op: str) -> Step:
    """A sum over lanes, and their number: outside a recording there is one lane."""

    def step(xs: list[Any], number: float) -> Any:
        recorder = modes.recorder()
        if recorder is None:
            return xs[0] if xs else 1.0
        children = [x if type(x) is Value else Value(x) for x in xs]
        return recorder.node(op, children[0]._data if xs else 1.0, children)

    return step


def _of_row(row: Row) -> Step:
    """An operation of the table, by the engine's function for it."""
    function = getattr(engine, row.name, None)
    if row.family:
        return lambda xs, number: function(xs)[int(number)]  # type: ignore[misc]
    if row.vectors == 2:
        return lambda xs, number: function(xs[: len(xs) // 2], xs[len(xs) // 2 :])  # type: ignore[misc]
    if row.vectors and row.static:
        return lambda xs, number: function(xs, int(number))  # type: ignore[misc]
    if row.vectors:
        return lambda xs, number: function(xs)  # type: ignore[misc]
    if row.integer_static:
        return lambda xs, number: function(xs[0], int(number))  # type: ignore[misc]
    if row.static:
        return lambda xs, number: function(xs[0], number)  # type: ignore[misc]
    return lambda xs, number: function(*xs)  # type: ignore[misc]


STEPS: dict[str, Step] = {
    **{row.name: _of_row(row) for row in TABLE.values()},
    "const": lambda xs, number: number,
    "lt": lambda xs, number: xs[0] < xs[1],
    "le": lambda xs, number: xs[0] <= xs[1],
    "eq": lambda xs, number: xs[0] == xs[1],
    "and": lambda xs, number: _condition(xs[0]) & _condition(xs[1]),
    "or": lambda xs, number: _condition(xs[0]) | _condition(xs[1]),
    "not": lambda xs, number: _condition(xs[0]) ^ True,
    "select": lambda xs, number: engine.where(_condition(xs[0]), _number(xs[1]), _number(xs[2])),
    "gather": _gather,
    "custom": _custom,
    "batch_sum": _over_lanes("batch_sum"),
    "lanes": _over_lanes("lanes"),
    # Rows without a function of the engine's that takes numbers and Values alike.
    "pow": lambda xs, number: engine.pow(xs[0], number),
    "power": lambda xs, number: engine.pow(xs[0], xs[1]),
    "round": lambda xs, number: round(xs[0], int(number)) if type(xs[0]) is Value else FLOATS.round(xs[0], number),
    "where": lambda xs, number: engine.where(number != 0.0, xs[0], xs[1]),
    "identity": lambda xs, number: xs[0],
    "take": lambda xs, number: xs[0],
}
"""For each operation a function of its operands and its number."""

_ALIKE = CONDITIONS | {"select"}  # take conditions as they are


# ------------------------------------------------------------------------------------------- a graph
class _Walk:
    """A graph that is being computed, node after node.

    Args:
        graph: the graph.
        values: what its first nodes gave: at least its inputs.
    """

    def __init__(self, graph: Graph, values: list[Any]) -> None:
        self.graph = graph
        self.values = values
        self._ops, self._numbers = graph.ops.tolist(), graph.numbers.tolist()
        self._starts, self._operands = graph.starts.tolist(), graph.operands.tolist()
        self._families: dict[tuple[int, ...], list[Any]] = {}  # all outputs of softmax and its like
        self._conditions = {node for node, op in enumerate(self._ops) if OPS[op] in CONDITIONS}

    def to(self, end: int) -> list[Any]:
        """What the nodes before ``end`` gave, and perhaps more."""
        values = self.values
        for node in range(len(values), end):
            op = OPS[self._ops[node]]
            which = self._operands[self._starts[node] : self._starts[node + 1]]
            xs = [values[i] for i in which]
            if self._conditions and op not in _ALIKE and not self._conditions.isdisjoint(which):
                xs = [_number(x) for x in xs]
            number = self._numbers[node]
            if op in TABLE and TABLE[op].family:
                key = (self._ops[node], *which)
                if key not in self._families:
                    self._families[key] = getattr(engine, op)(xs)
                values.append(self._families[key][int(number)])
            elif op == "call":
                values.append(_called(self.graph.calls[int(number)], xs))
            else:
                values.append(STEPS[op](xs, number))
        return values


def evaluate(graph: Graph, inputs: Sequence[Any]) -> list[Any]:
    """Compute a graph's nodes in Python, whatever its guards say.

    Args:
        graph: the graph.
        inputs: numbers and Values, one for each input.

    Returns:
        For each node a float, a Value, a bool, or a Comparison (inside a recording).

    Example:
        >>> import valuegrad as vg
        >>> from valuegrad.graph import Nodes
        >>> nodes = Nodes(inputs=1)
        >>> graph = nodes.graph([nodes.add("mul", [0, nodes.add("exp", [0])])])
        >>> evaluate(graph, [0.0])
        [0.0, 1.0, 0.0]
        >>> x = vg.Value(2.0)
        >>> evaluate(graph, [x])[-1].backward()
        >>> x.grad
        22.167168296791...
    """
    return _Walk(graph, list(inputs)).to(len(graph))


def _called(function: Callable[..., Any], xs: list[Any]) -> Any:
    """A Python function's result, through which no gradient flows."""
    numbers = [x._data if type(x) is Value else x for x in xs]
    result = function(*numbers)
    if Value not in map(type, xs):
        return result
    recorder = modes.recorder()
    return Value(result) if recorder is None else recorder.call(function, result, xs)


# --------------------------------------------------------------------------------------- paths
def follow(
    who: str, paths: Sequence[PathDescription], inputs: Callable[[PathDescription], list[Any]]
) -> tuple[PathDescription, list[Any]]:
    """Compute the path that some inputs take.

    As in the function itself, nothing after a guard is computed before the guard is asked, and none is asked twice:
    inside a recording each becomes a guard, and the recording may decide it otherwise than the numbers do.

    Args:
        who: begins a message.
        paths: the paths; the first is the root.
        inputs: gives a path's inputs: numbers and Values.

    Returns:
        The path, and what its nodes gave.

    Raises:
        PathsError: they take a path that was not recorded.
    """
    path, asked = paths[0], 0
    walk = _Walk(path.graph, inputs(path))
    while True:
        guards = path.graph.guards
        for k in range(asked, len(guards)):
            outcome = bool(_condition(walk.to(guards[k].node + 1)[guards[k].node]))
            if outcome != guards[k].expected:
                break
        else:
            return path, walk.to(len(path.graph))
        if k not in path.branches:
            raise PathsError(
                f"{who} comes from a file, which lacks the path that these inputs take at {guards[k].line}; "
                "record the function with such inputs, and save it again"
            )
        before, path, asked = path, paths[path.branches[k]], k + 1
        known = _shared(before, path)
        walk = _Walk(path.graph, walk.values[:known] if known else inputs(path))


def _shared(a: PathDescription, b: PathDescription) -> int:
    """How many of their first nodes two paths have in common; none if their inputs differ."""
    if a.captured != b.captured:
        return 0
    count = min(len(a.graph), len(b.graph))
    differ = a.graph.ops[:count] != b.graph.ops[:count]
    differ |= a.graph.starts[1 : count + 1] != b.graph.starts[1 : count + 1]
    differ |= a.graph.numbers[:count].view(np.int64) != b.graph.numbers[:count].view(np.int64)
    differ[: a.graph.inputs] = False  # whatever their numbers are
    same = int(np.argmax(differ)) if differ.any() else count
    end = int(a.graph.starts[same])
    others = np.flatnonzero(a.graph.operands[:end] != b.graph.operands[:end])
    return int(np.searchsorted(a.graph.starts, others[0], side="right")) - 1 if len(others) else same


class Replay:
    """A program's function, made of what was recorded of it.

    Args:
        description: the program.
        captured: Values in the place of those that the function closed over.

    Example:
        >>> import inspect
        >>> import valuegrad as vg
        >>> from valuegrad.graph import Nodes
        >>> nodes = Nodes(inputs=2)
        >>> path = PathDescription(nodes.graph([nodes.add("mul", [0, 1])]), output={"area": Leaf(0)})
        >>> area = Replay(ProgramDescription(
        ...     "area", inspect.signature(lambda width, height=2.0: ...), {},
        ...     (Specialisation(((Leaf(0), Leaf(1)), {}), (False, False), (path,)),),
        ... ))
        >>> area(3.0)
        {'area': 6.0}
        >>> area(vg.Value(3.0), height=5.0)
        {'area': Value(data=15.0, grad=0.0)}
    """

    def __init__(self, description: ProgramDescription, captured: Sequence[Value] | None = None) -> None:
        self.__name__ = self.__qualname__ = description.name
        self.__signature__ = description.signature
        self.specialisations = description.specialisations
        self.captured = tuple(captured or [Value(x.number, name=x.name) for x in description.captured])

    def __repr__(self) -> str:
        return f"<recorded function {self.__name__}{self.__signature__}>"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """What the function gave: numbers for numbers, Values for Values.

        Raises:
            PathsError: the function was not recorded for such arguments, or not on the path that they take.
            ValueTypeError: the arguments do not fit the function's parameters.
        """
        who = f"{self.__name__}()"
        try:
            bound = self.__signature__.bind(*args, **kwargs)
        except TypeError as error:
            raise ValueTypeError(f"{who} got arguments that do not fit: {error}; it is {self!r}") from None
        bound.apply_defaults()
        specialisation, numbers = self._find(who, (bound.args, bound.kwargs))

        def inputs(path: PathDescription) -> list[Any]:
            return numbers + [self.captured[i] for i in path.captured]

        path, values = follow(who, specialisation.paths, inputs)
        outputs = [_number(values[node]) for node in path.graph.outputs.tolist()]
        return filled(path.output, lambda leaf: _entry(leaf, outputs))

    def _find(self, who: str, given: Any) -> tuple[Specialisation, list[Any]]:
        """What was recorded for arguments of this structure, and their numbers in order."""
        best: tuple[int, Specialisation, list[Any]] | None = None
        for specialisation in self.specialisations:
            found: dict[int, Any] = {}
            if _matches(specialisation.arguments, given, found):
                numbers = [found[i] for i in range(len(specialisation.integers))]
                integers = [x for x, integer in zip(numbers, specialisation.integers) if integer]
                if all(map(_is_integer, integers)) and (best is None or len(integers) > best[0]):
                    best = len(integers), specialisation, numbers
        if best is None:
            raise PathsError(
                f"{who} comes from a file, and was not recorded for arguments of this structure: "
                f"{arguments.shown(given[0])}; record the function with such arguments, and save it again"
            )
        _, specialisation, numbers = best
        pairs = zip(numbers, specialisation.integers)
        return specialisation, [x if type(x) is Value or integer else float(x) for x, integer in pairs]


def _entry(leaf: Leaf, outputs: list[Any]) -> Any:
    if leaf.shape is None:
        return outputs[leaf.position]
    numbers = outputs[leaf.position : leaf.position + leaf.size]
    array = np.empty(leaf.size, dtype=object if Value in map(type, numbers) else float)
    array[:] = numbers
    return array.reshape(leaf.shape)


def _is_integer(x: Any) -> bool:
    if type(x) is Value:
        recorder = modes.recorder()
        return x in recorder.integers if recorder is not None else x._data.is_integer()
    return hasattr(x, "__index__")


def _matches(structure: Any, given: Any, found: dict[int, Any]) -> bool:
    """Whether arguments have a structure; their numbers are entered by position."""
    if type(structure) is Leaf and structure.shape is not None:
        if not isinstance(given, np.ndarray) or given.shape != structure.shape:
            return False
        numbers = [Leaf(structure.position + i) for i in range(structure.size)]
        return _matches(numbers, given.ravel().tolist(), found)
    if type(structure) is Leaf:
        if type(given) is bool or not arguments.is_number(given, Value):
            return False
        found[structure.position] = given if type(given) is Value else _plain(given)
        return True
    if type(structure) in (list, tuple):
        return (
            type(given) is type(structure)
            and len(given) == len(structure)
            and all(_matches(s, x, found) for s, x in zip(structure, given))
        )
    if type(structure) is dict:
        return (
            isinstance(given, Mapping)
            and given.keys() == structure.keys()
            and all(_matches(s, given[key], found) for key, s in structure.items())
        )
    return type(given) is type(structure) and (repr(given) == repr(structure))


def _plain(x: Any) -> float | int:
    """A plain number as an int or a float."""
    return int(x) if hasattr(x, "__index__") else arguments.number(x, "argument")
