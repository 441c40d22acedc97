"""Recording: a function runs once on Values, and what it computed becomes a graph.

Why: the graph can be differentiated, simplified, compiled and run on millions of inputs, but it is what *one* run
did.  So whatever the run relied on must be known: while a function is recorded, the engines (mode
``modes.RECORDING``) ask the ``Recorder`` about everything that looks at a number.

  * A comparison gives a ``Comparison``.  Asked for its truth it becomes a *guard*: the graph is right only for
    inputs for which it comes out the same.  ``vg.where`` takes it as it is, and needs no guard.
  * ``vg.take`` with an integer input is a gather; a primitive of the user's is inlined, or called.
  * Derivatives asked for inside (``vg.grad(f)(x)``) are noted, and made afterwards by the passes over graphs
    (``valuegrad.transforms``): so they may be of any order and cost nothing in Python.
  * Whatever else would freeze a number raises ForgetError.

Data structures: ``Recording`` is the result.  ``recorder.py`` says how a recording looks while it is made; the engine's
``export`` gives its arrays, in which derivatives are placeholders; ``_Growing`` puts the passes' results there.

Where to start reading: ``record``, then ``_Growing``, and ``recorder.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from valuegrad import arguments, modes
from valuegrad import value as engine
from valuegrad.comparison import Comparison
from valuegrad.errors import ForgetError
from valuegrad.graph import Graph, Guard
from valuegrad.primitives.opcodes import DERIVATIVE, OPCODE, PARTIAL
from valuegrad.recorder import IntegerUse, NumbersNeeded, Recorder
from valuegrad.structures import Tree
from valuegrad.value import Value

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Comparison", "IntegerUse", "Recorder", "Recording", "record"]


@dataclass(frozen=True)
class Recording:
    """A recorded function.

    Args:
        graph: what it computed; its inputs are those given to ``record``, then the captured ones.
        output: the structure of its result; the graph's outputs are its numbers, in order.
        captured: leaf Values that were there before and that the result or a guard depends on.
        integer_uses: which integer inputs choose entries of lists.
    """

    graph: Graph
    output: Tree
    captured: tuple[Value, ...]
    integer_uses: tuple[IntegerUse, ...]


def record(
    f: Callable[[list[Value]], Any],
    example: Sequence[float],
    integer: Sequence[bool],
    who: str,
    outcomes: Sequence[bool] = (),
    *,
    strict: bool = True,
) -> Recording:
    """Run a function once and give what it computed.

    Args:
        f: gets the inputs as a list of Values; gives any nesting of Values and plain numbers.
        example: the inputs' numbers, which decide the branches that are taken.
        integer: for each input, whether it is an integer and may choose entries of lists.
        who: begins the messages of errors.
        outcomes: how the first guards are decided, whatever their numbers say.  (A program that rounds otherwise than
            the engine may find that inputs take a path on which the engine would not be.)
        strict: whether its derivatives are to the last bit what the engines compute.

    Returns:
        The recording.  Leaf Values that f is a closure over become further inputs; computed Values that were there
        before are constants.

    Raises:
        ForgetError: f looked at a number in a way that would freeze it.
        ValueTypeError: f gave something else than numbers.
        Whatever f raises.  In any case everything is as it was before.

    f runs twice if it compares after a derivative whose number was not computed at first (``recorder.py``).
    """
    for exact in (False, True):
        try:
            return _record(f, example, integer, who, outcomes, exact, strict)
        except NumbersNeeded:  # rare: derivatives of derivatives, and then a branch
            continue
    raise AssertionError("an exact recording knows all numbers")


def _record(
    f: Callable[[list[Value]], Any],
    example: Sequence[float],
    integer: Sequence[bool],
    who: str,
    outcomes: Sequence[bool],
    exact: bool,
    strict: bool,
) -> Recording:
    outer = modes.recorder()
    recorder = Recorder(who, exact, outcomes, strict)
    if not set(map(type, example)) <= {float}:
        example = [arguments.number(x, who) for x in example]
    inputs = [*map(Value, example)]
    recorder.integers = {v: i for i, v in enumerate(inputs) if integer[i]} if any(integer) else {}
    # NumPy warns of an operation on an array of Values if a local gradient is infinite, which is of no interest here.
    with recorder, modes.recording(recorder), np.errstate(all="ignore"):
        result = f(inputs)
        if recorder.numbers_needed:  # the exception was caught
            raise NumbersNeeded
        output = Tree(f"{who}, the function's output", result)
        outputs = [y if type(y) is Value else Value(y) for y in output.numbers]
    roots = [*outputs, *[guard.condition for guard in recorder.guards]]
    *arrays, nodes, captured, frozen, opaque = engine.export(roots, recorder.since, inputs)
    if opaque:
        raise ForgetError(
            f"{who} met a Value(data, children, local_grads) made by another thread or context: its number would be "
            "frozen into the program; register the operation with vg.primitive(name, value, local_grads)"
        )
    newest = max([frozen, *[v._created for v in captured]])
    if outer is not None and newest >= outer.since:
        raise ForgetError(
            f"{who} was called with plain numbers inside a function that is recorded, and depends on Values of that "
            "function, which would be frozen: hand them over as arguments"
        )
    by = modes.differentiated()
    if by and (frozen >= by[0][0]._created or any(v is x for v in captured for inputs in by for x in inputs)):
        raise ForgetError(
            f"{who} was called with plain numbers inside a function that is differentiated, and depends on Values of "
            "that function, so that a part of its gradient would be lost: hand them over as arguments, or their data "
            "if they are constants"
        )
    guards = [Guard(node, guard.expected, guard.line) for node, guard in zip(nodes[len(outputs) :], recorder.guards)]
    kinds: tuple[Any, ...] = (np.uint16, np.int32, np.int32, np.float64)
    ops, starts, operands, numbers = [np.frombuffer(data, kind) for data, kind in zip(arrays, kinds)]
    root_nodes = np.array(nodes[: len(outputs)], dtype=np.int32)
    count = len(inputs) + len(captured)
    graph = _finished(Graph(ops, starts, operands, numbers, count, root_nodes, tuple(guards)), recorder, strict)
    return Recording(graph, output, tuple(captured), tuple(recorder.integer_uses))


# --------------------------------------------------------------------------------- from the export to the graph
def _finished(graph: Graph, recorder: Recorder, strict: bool) -> Graph:
    """The graph with the functions of its calls, and with derivatives in place of their placeholders."""
    called = np.flatnonzero(graph.ops == OPCODE["call"])
    functions: list[Callable[..., float]] = []
    created = graph.numbers.view(np.uint64)
    for node in called.tolist():
        functions.append(recorder.calls[int(created[node])])
        graph.numbers[node] = float(len(functions) - 1)
    graph = replace(graph, calls=tuple(functions))
    derivatives = np.flatnonzero(graph.ops == DERIVATIVE)
    return _Growing(graph, recorder, strict).finished(derivatives.tolist()) if len(derivatives) else graph


class _Growing:
    """A graph with placeholders on its way to one with derivatives.

    Nodes are appended in their order up to the next derivative, which a pass appends then; so what it needs is there,
    and derivatives of derivatives come out by themselves.
    """

    def __init__(self, source: Graph, recorder: Recorder, strict: bool) -> None:
        self.source = source
        self.recorder = recorder
        self.strict = strict
        self.created = source.numbers.view(np.uint64)  # of placeholders: what the recorder knows them by
        self.graph = replace(
            source,
            ops=source.ops[:0],
            starts=source.starts[:1],
            operands=source.operands[:0],
            numbers=source.numbers[:0],
            outputs=source.outputs[:0],
            guards=(),
        )
        self.new_node: NDArray[np.int32] = np.zeros(len(source), dtype=np.int32)  # of each node of the source
        known = np.array(recorder.partials, dtype=np.uint64)
        order = np.argsort(known)
        partials = np.flatnonzero(source.ops == PARTIAL)
        self.which = np.zeros(len(source), dtype=np.int32)
        """Of each placeholder of a derivative's result, which of all those."""
        self.which[partials] = order[np.searchsorted(known[order], self.created[partials])]
        self.results: NDArray[np.int32] = np.full(len(known), -1, dtype=np.int32)
        """For each of them its node, as soon as it has one."""

    def finished(self, derivatives: Sequence[int]) -> Graph:
        """The whole graph."""
        done = 0
        for group in self._groups(derivatives):
            first, end = group[0], group[-1] + 1
            self._append(done, first)
            self._append(first, end)  # the constants between them
            self._differentiate(group)
            self._resolve(first, end)
            done = end
        self._append(done, len(self.source))
        guards = [Guard(int(self.new_node[guard.node]), guard.expected, guard.line) for guard in self.source.guards]
        return replace(self.graph, outputs=self.new_node[self.source.outputs], guards=tuple(guards))

    def _groups(self, derivatives: Sequence[int]) -> list[list[int]]:
        """Derivatives that follow each other and do not need each other's results are made in one go."""
        ops, starts = self.source.ops, self.source.starts
        groups: list[list[int]] = []
        for node in derivatives:
            operands = self.source.operands[starts[node] : starts[node + 1]]
            if groups:
                between = ops[groups[-1][-1] + 1 : node]
                together = np.all((between == PARTIAL) | (between == OPCODE["const"]))
                if together and np.all((operands < groups[-1][0]) | (ops[operands] == OPCODE["const"])):
                    groups[-1].append(node)
                    continue
            groups.append([node])
        return groups

    def _resolve(self, begin: int, end: int) -> None:
        """The results of derivatives that are there take the places of their placeholders."""
        nodes = np.flatnonzero(self.source.ops[begin:end] == PARTIAL) + begin
        results = self.results[self.which[nodes]]
        self.new_node[nodes[results >= 0]] = results[results >= 0]

    def _append(self, begin: int, end: int) -> None:
        """Append nodes begin ... end - 1 of the source, but for derivatives and their results."""
        self._resolve(begin, end)
        source, graph = self.source, self.graph
        ops = source.ops[begin:end]
        keep = (ops != PARTIAL) & (ops != DERIVATIVE)
        self.new_node[begin:end][keep] = len(graph) + np.arange(np.count_nonzero(keep), dtype=np.int32)
        counts = np.diff(source.starts[begin : end + 1])
        operands = source.operands[source.starts[begin] : source.starts[end]][np.repeat(keep, counts)]
        ends = graph.starts[-1] + np.cumsum(counts[keep], dtype=np.int32)
        self.graph = replace(
            graph,
            ops=np.concatenate([graph.ops, ops[keep]]),
            starts=np.concatenate([graph.starts, ends]),
            operands=np.concatenate([graph.operands, self.new_node[operands]]),
            numbers=np.concatenate([graph.numbers, source.numbers[begin:end][keep]]),
        )

    def _differentiate(self, group: Sequence[int]) -> None:
        from valuegrad import transforms  # compiled code, which recordings without derivatives do not need

        wanted = []
        for node in group:
            derivative = self.recorder.derivatives[int(self.created[node])]
            operands = self.new_node[self.source.operands_of(node)]
            wanted.append((derivative.reverse, *np.split(operands, [derivative.pairs, 2 * derivative.pairs])))
        self.graph, results = transforms.derivatives(self.graph, wanted, strict=self.strict)  # type: ignore[arg-type]
        for node, found in zip(group, results):
            first = self.recorder.derivatives[int(self.created[node])].first
            self.results[first : first + len(found)] = found
