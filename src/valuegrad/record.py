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

Data structures: what only a recording has is a Value of op "recorded", made by the engine's ``recorded``: its children
are its operands in the graph, its static number is its operation there (``primitives/opcodes.py``), and its local
gradients are what a backward pass in floats needs.  So creation order is the order of the graph, and what is not
reached from the results and guards is not exported.  A derivative is one Value (DERIVATIVE; its children: outputs,
seeds, inputs) and one for each result (PARTIAL; its child: the derivative); ``_finished`` replaces them.

Layers: above ``higher``, whose float derivatives give results a number, and below nothing that it calls; ``functional``
and ``custom`` find the recorder through ``modes`` and do not import this module, which needs NumPy.

Where to start reading: ``record``, then ``Recorder.compare``, then ``_finished``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from valuegrad import arguments, modes
from valuegrad import value as engine
from valuegrad.comparison import Comparison
from valuegrad.errors import ForgetError, ShapeError, ValueTypeError
from valuegrad.graph import Graph, Guard
from valuegrad.higher import VALUES, Linearised
from valuegrad.primitives import Row
from valuegrad.primitives.opcodes import DERIVATIVE, OPCODE, OPS, PARTIAL
from valuegrad.structures import Tree
from valuegrad.value import Value, recorded

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Comparison", "IntegerUse", "Recorder", "Recording", "record"]


@dataclass(frozen=True)
class IntegerUse:
    """An integer input that chose an entry of a list.

    Args:
        input: which input.
        entries: how many entries the list has; the index lies between -entries and entries - 1.
    """

    input: int
    entries: int


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


class _NumbersNeeded(BaseException):
    """A comparison was met after a derivative whose number was not computed.  (User code must not catch it.)"""


def record(f: Callable[[list[Value]], Any], example: Sequence[float], integer: Sequence[bool], who: str) -> Recording:
    """Run a function once and give what it computed.

    Args:
        f: gets the inputs as a list of Values; gives any nesting of Values and plain numbers.
        example: the inputs' numbers, which decide the branches that are taken.
        integer: for each input, whether it is an integer and may choose entries of lists.
        who: begins the messages of errors.

    Returns:
        The recording.  Leaf Values that f is a closure over become further inputs; computed Values that were there
        before are constants.

    Raises:
        ForgetError: f looked at a number in a way that would freeze it.
        ValueTypeError: f gave something else than numbers.
        Whatever f raises.  In any case everything is as it was before.
    """
    for exact in (False, True):
        try:
            return _record(f, example, integer, who, exact)
        except _NumbersNeeded:  # rare: derivatives of derivatives, and then a branch
            continue
    raise AssertionError("an exact recording knows all numbers")


def _record(
    f: Callable[[list[Value]], Any], example: Sequence[float], integer: Sequence[bool], who: str, exact: bool
) -> Recording:
    outer = modes.recorder()
    recorder = Recorder(who, exact)
    inputs = [Value(arguments.number(x, who)) for x in example]
    recorder.integers = {v: i for i, v in enumerate(inputs) if integer[i]}
    with recorder, modes.recording(recorder):
        result = f(inputs)
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
    guards = [
        Guard(node, guard.expected, guard.line) for node, guard in zip(nodes[len(outputs) :], recorder.guards)
    ]
    kinds: tuple[Any, ...] = (np.uint16, np.int32, np.int32, np.float64)
    ops, starts, operands, numbers = [np.frombuffer(data, kind) for data, kind in zip(arrays, kinds)]
    root_nodes = np.array(nodes[: len(outputs)], dtype=np.int32)
    count = len(inputs) + len(captured)
    graph = _finished(Graph(ops, starts, operands, numbers, count, root_nodes, tuple(guards)), recorder)
    return Recording(graph, output, tuple(captured), tuple(recorder.integer_uses))


@dataclass(frozen=True)
class _AskedGuard:
    condition: Value
    expected: bool
    line: str


@dataclass(frozen=True)
class _Derivative:
    """A derivative that is yet to be made: reverse (outputs, seeds; by inputs) or forward (inputs, tangents; of outputs).

    Args:
        reverse: the mode.
        pairs: how many outputs with seeds (reverse) or inputs with tangents (forward) there are; its operands are
            those, then their seeds or tangents, then what it has a result for.
    """

    reverse: bool
    pairs: int


class Recorder:
    """What the engines, ``functional`` and ``custom`` call while a function is recorded.

    Args:
        who: begins messages.
        exact: whether derivatives of every kind get their numbers, which comparisons need.
    """

    def __init__(self, who: str, exact: bool) -> None:
        self.who = who
        self.exact = exact
        self.open = False
        self.guards: list[_AskedGuard] = []
        self.integers: dict[Value, int] = {}
        self.integer_uses: list[IntegerUse] = []
        self.calls: dict[int, Callable[..., float]] = {}  # by the creation number of their Value
        self.derivatives: dict[int, _Derivative] = {}  # likewise
        self.partials: dict[int, int] = {}  # likewise: which result of its derivative
        self._guarded: set[int] = set()
        self._depth = 0  # of functions that are being differentiated
        self._unknown = False  # whether the numbers of some derivatives are not known
        self.since: int = Value(0.0)._created

    def __enter__(self) -> None:
        self.open = True

    def __exit__(self, *exception: object) -> None:
        self.open = False

    def check_open(self, what: str) -> None:
        """Raise ForgetError if the recording has ended."""
        if not self.open:
            raise ForgetError(
                f"{what} was used after the recording of {self.who} had ended, where nobody guards its outcome; "
                "return numbers and Values from the function instead"
            )

    def node(self, op: str, data: float, children: Sequence[Value], local_grads: Sequence[float] | None = None) -> Value:
        """A Value of an operation that only graphs have."""
        return recorded(OPCODE[op], data, children, [0.0] * len(children) if local_grads is None else local_grads)

    # ------------------------------------------------------------------------------------------ comparisons
    def compare(self, how: str, a: Any, b: Any) -> Comparison:
        """a < b and its like; one of the two is a Value."""
        self.check_open("a comparison")
        if self._unknown:
            raise _NumbersNeeded
        if how in ("gt", "ge"):
            a, b = b, a
        op = {"lt": "lt", "gt": "lt", "le": "le", "ge": "le", "eq": "eq", "ne": "eq"}[how]
        a, b = _as_value(a, "comparison"), _as_value(b, "comparison")
        x, y = a._data, b._data
        holds = x < y if op == "lt" else x <= y if op == "le" else x == y
        return Comparison(self, self.node(op, float(holds), [a, b]), how == "ne")

    def truth(self, value: Value) -> bool:
        """Whether a Value is not 0, as a guard."""
        return bool(self.compare("ne", value, 0.0))

    def guard(self, condition: Value, expected: bool) -> None:
        """From now on the recording relies on a condition."""
        self.check_open("a comparison")
        if condition._created not in self._guarded:
            self._guarded.add(condition._created)
            self.guards.append(_AskedGuard(condition, expected, arguments.caller()))

    def where(self, condition: Any, a: Any, b: Any) -> Any:
        """vg.where: without a guard if the condition is a comparison or a Value."""
        if type(condition) is Value:
            condition = self.compare("ne", condition, 0.0)
        if type(condition) is not Comparison:
            return engine.where(bool(condition), a, b)
        self.check_open("a comparison")
        if condition.negated:
            a, b = b, a
        a, b = _as_value(a, "where()"), _as_value(b, "where()")
        holds = condition.node._data != 0.0
        data = a._data if holds else b._data
        return self.node("select", data, [condition.node, a, b], [0.0, float(holds), float(not holds)])

    # ----------------------------------------------------------------------------------------------- indices
    def gather(self, xs: Any, index: Value) -> Any:
        """vg.take(xs, index) with an integer input."""
        position = self._position(xs, index, "take()")
        entries = [xs[i] for i in range(len(xs))]
        if not isinstance(entries[position], (list, tuple)):
            return self._entry(entries, index, position)
        lengths = [len(row) if isinstance(row, (list, tuple)) else None for row in entries]
        if len(set(lengths)) > 1:
            raise ShapeError(
                f"take() got rows of different lengths ({', '.join(map(str, lengths[:8]))}); "
                "give rows of one length, so that any of them can be taken"
            )
        return [self.gather([row[i] for row in entries], index) for i in range(len(entries[position]))]

    def _position(self, xs: Any, index: Value, who: str) -> int:
        if index not in self.integers:
            raise ValueTypeError(
                f"{who} got the index {arguments.shown(index)}; expected an integer argument of the function that is "
                "recorded, as it is, or a plain integer"
            )
        return arguments.entry(xs, int(index._data))[1]

    def _entry(self, xs: Sequence[Any], index: Value, position: int) -> Value:
        use = IntegerUse(self.integers[index], len(xs))
        if use not in self.integer_uses:
            self.integer_uses.append(use)
        children = [_as_value(x, "take()") for x in xs]
        grads = [0.0] * (len(xs) + 1)
        grads[position] = 1.0
        return self.node("gather", children[position]._data, [*children, index], grads)

    def by_index(self, row: Row, xs: Any, index: Value) -> Any:
        """A row on a list whose static argument is an integer input: cross_entropy."""
        entries = list(arguments.vector(xs, row))
        arguments.check_lengths(row, [entries])
        position = self._position(entries, index, f"{row.name}(), {row.static}")
        return engine.logsumexp(entries) - self._entry(entries, index, position)

    # -------------------------------------------------------------------------------------------- primitives
    def call(self, function: Callable[..., float], data: float, children: Sequence[Value]) -> Value:
        """A Python function's result, as an operation of its own; no gradient flows through it."""
        value = self.node("call", data, children)
        self.calls[value._created] = function
        return value

    def custom(self, value: Value, children: Sequence[Value], local_grads: Sequence[Any]) -> Value:
        """A primitive's result: a value, and local gradients that are Values too."""
        grads = [_as_value(grad, "the local_grads rule's result") for grad in local_grads]
        numbers = [0.0, *[grad._data for grad in grads], *[0.0] * len(grads)]
        return self.node("custom", value._data, [value, *children, *grads], numbers)

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Inside this block an exception takes back the guards that were met."""
        met = len(self.guards)
        try:
            yield
        except Exception:
            self._guarded -= {guard.condition._created for guard in self.guards[met:]}
            del self.guards[met:]
            raise

    # ------------------------------------------------------------------------------------------- derivatives
    @contextmanager
    def differentiating(self) -> Iterator[None]:
        """Inside this block runs a function whose derivative will be asked for."""
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1

    def linearised(self, who: str, inputs: Sequence[Value], outputs: Sequence[Any]) -> Recorded:
        """The derivative of outputs with respect to inputs, as ``higher.Linearised`` offers it."""
        return Recorded(self, who, inputs, outputs)

    def derivative(self, reverse: bool, given: Sequence[Value], factors: Sequence[Any], numbers: Sequence[Any],
                   wanted: Sequence[Value]) -> list[Any]:  # fmt: skip
        """Placeholders for the results of a derivative, one for each Value that is wanted; numbers are theirs."""
        factors = [_as_value(x, "derivative") for x in factors]
        children = [*given, *factors, *wanted]
        derivative = recorded(DERIVATIVE, 0.0, children, [0.0] * len(children))
        self.derivatives[derivative._created] = _Derivative(reverse, len(given))
        results = []
        for k, number in enumerate(numbers):
            if type(number) is Value:  # a derivative of the number is asked for later: an edge for numbers alone
                result = recorded(PARTIAL, number._data, [derivative, number], [0.0, 1.0])
            else:
                result = recorded(PARTIAL, number, [derivative], [0.0])
            self.partials[result._created] = k
            results.append(result)
        return results

    def unknown(self, count: int) -> list[float]:
        """Numbers that are not computed, as most recordings never ask for them."""
        self._unknown = True
        return [float("nan")] * count

    @property
    def nested(self) -> bool:
        """Whether a derivative that is made now may be differentiated again."""
        return self._depth > 0


class Recorded:
    """The derivative of a calculation that is being recorded: pullbacks and pushforwards are placeholders.

    Args:
        recorder: who records.
        who: begins messages.
        inputs: Values, oldest first.
        outputs: Values and plain numbers.
    """

    def __init__(self, recorder: Recorder, who: str, inputs: Sequence[Value], outputs: Sequence[Any]) -> None:
        self.recorder = recorder
        self.who = who
        self.inputs = inputs
        self.outputs = outputs
        self._linearised: Linearised | None = None

    def pullback(self, cotangents: Sequence[Any]) -> list[Any]:
        """∂(sum of cotangent * output)/∂input for each input; a cotangent None is nothing at all."""
        self.recorder.check_open("a pullback")
        pairs = [(y, s) for y, s in zip(self.outputs, cotangents) if s is not None and type(y) is Value]
        if not pairs:
            return [0.0] * len(self.inputs)
        if not self.recorder.nested:
            numbers: Sequence[Any] = self._gradients(pairs)
        elif self.recorder.exact:
            with modes.without(modes.RECORDING | modes.STRICT):
                numbers = self._over_values(True).pullback(cotangents)
        else:
            numbers = self.recorder.unknown(len(self.inputs))
        outputs, seeds = zip(*pairs)
        return self.recorder.derivative(True, outputs, seeds, numbers, self.inputs)

    def pushforward(self, tangents: Sequence[Any]) -> list[Any]:
        """The sum of ∂output/∂input * tangent for each output; a tangent None is nothing at all."""
        self.recorder.check_open("a derivative")
        pairs = [(x, t) for x, t in zip(self.inputs, tangents) if t is not None]
        wanted = [y for y in self.outputs if type(y) is Value]
        if not wanted or not pairs:
            return [0.0] * len(self.outputs)
        if self.recorder.exact:
            nested = self.recorder.nested
            given = tangents if nested else [t._data if type(t) is Value else t for t in tangents]
            with modes.without(modes.RECORDING | modes.STRICT):
                found = self._over_values(nested).pushforward(given)
            numbers: Sequence[Any] = [x for x, y in zip(found, self.outputs) if type(y) is Value]
        else:
            numbers = self.recorder.unknown(len(wanted))
        inputs, factors = zip(*pairs)
        results = iter(self.recorder.derivative(False, inputs, factors, numbers, wanted))
        return [next(results) if type(y) is Value else 0.0 for y in self.outputs]

    def _gradients(self, pairs: Sequence[tuple[Value, Any]]) -> list[float]:
        """The numbers alone, from a backward pass."""
        since = self.inputs[0]._created
        with modes.without(modes.RECORDING | modes.STRICT):
            y, seed = pairs[0]
            if len(pairs) > 1 or type(seed) is not float or seed != 1.0:
                y = VALUES.dot([y for y, _ in pairs], [s._data if type(s) is Value else s for _, s in pairs])
            engine.zero_grads(self.inputs)
            if y._created >= since:
                engine.sweep(y, since)
            return [v._grad for v in self.inputs]

    def _over_values(self, remembers: bool) -> Linearised:
        if self._linearised is None:
            self._linearised = Linearised(self.who, self.inputs, self.outputs, remembers)
        return self._linearised


def _as_value(x: Any, who: str) -> Value:
    """A Value as it is, a plain number as a leaf, which becomes a constant of the graph."""
    return x if type(x) is Value else Value(arguments.number(x, who))


# --------------------------------------------------------------------------------- from the export to the graph
def _finished(graph: Graph, recorder: Recorder) -> Graph:
    """The graph with the functions of its calls, and with derivatives in place of their placeholders."""
    called = np.flatnonzero(graph.ops == OPCODE["call"])
    functions: list[Callable[..., float]] = []
    for node in called.tolist():
        functions.append(recorder.calls[int(graph.numbers[node])])
        graph.numbers[node] = float(len(functions) - 1)
    graph = _replaced(graph, calls=tuple(functions))
    derivatives = np.flatnonzero(graph.ops == DERIVATIVE)
    return _Growing(graph, recorder).finished(derivatives.tolist()) if len(derivatives) else graph


def _replaced(graph: Graph, **changes: Any) -> Graph:
    fields = {name: getattr(graph, name) for name in graph.__dataclass_fields__}
    return Graph(**{**fields, **changes})


class _Growing:
    """A graph with placeholders on its way to one with derivatives.

    Nodes are appended in their order up to the next derivative, which a pass appends then; so what it needs is there,
    and derivatives of derivatives come out by themselves.
    """

    def __init__(self, source: Graph, recorder: Recorder) -> None:
        self.source = source
        self.recorder = recorder
        self.graph = _replaced(
            source,
            ops=source.ops[:0],
            starts=source.starts[:1],
            operands=source.operands[:0],
            numbers=source.numbers[:0],
            outputs=source.outputs[:0],
            guards=(),
        )
        self.new_node: NDArray[np.int32] = np.zeros(len(source), dtype=np.int32)  # of each node of the source
        self.results: dict[int, list[int]] = {}  # of each derivative, by its node in the source

    def finished(self, derivatives: Sequence[int]) -> Graph:
        """The whole graph."""
        done = 0
        for node in derivatives:
            self._append(done, node)
            self._differentiate(node)
            done = node + 1
        self._append(done, len(self.source))
        guards = [Guard(int(self.new_node[guard.node]), guard.expected, guard.line) for guard in self.source.guards]
        return _replaced(self.graph, outputs=self.new_node[self.source.outputs], guards=tuple(guards))

    def _append(self, begin: int, end: int) -> None:
        """Append nodes begin ... end - 1 of the source; placeholders are nodes that are there already."""
        source, graph = self.source, self.graph
        ops = source.ops[begin:end]
        for node in (np.flatnonzero(ops == PARTIAL) + begin).tolist():
            derivative = int(source.operands[source.starts[node]])
            which = self.recorder.partials[int(source.numbers[node])]
            self.new_node[node] = self.results[derivative][which]
        keep = ops != PARTIAL
        self.new_node[begin:end][keep] = len(graph) + np.arange(np.count_nonzero(keep), dtype=np.int32)
        counts = np.diff(source.starts[begin : end + 1])
        operands = source.operands[source.starts[begin] : source.starts[end]][np.repeat(keep, counts)]
        ends = graph.starts[-1] + np.cumsum(counts[keep], dtype=np.int32)
        self.graph = _replaced(
            graph,
            ops=np.concatenate([graph.ops, ops[keep]]),
            starts=np.concatenate([graph.starts, ends]),
            operands=np.concatenate([graph.operands, self.new_node[operands]]),
            numbers=np.concatenate([graph.numbers, source.numbers[begin:end][keep]]),
        )

    def _differentiate(self, node: int) -> None:
        # Not imported with this module: recordings without derivatives need no passes.
        passes = import_module("valuegrad.transforms")
        derivative = self.recorder.derivatives[int(self.source.numbers[node])]
        operands = self.new_node[self.source.operands_of(node)].tolist()
        given, factors = operands[: derivative.pairs], operands[derivative.pairs : 2 * derivative.pairs]
        run = passes.adjoint if derivative.reverse else passes.tangent
        self.graph, self.results[node] = run(self.graph, given, factors, operands[2 * derivative.pairs :])


assert len(OPS) <= DERIVATIVE, "the table has more rows than there are numbers for operations"
