"""``Recorder``: what the engines ask while a function is recorded.

Why: see ``record.py``, which runs functions and makes graphs of what is noted here.

Data structures: what only a recording has is a Value of op "recorded", made by the engine's ``recorded``: its children
are its operands in the graph, its static number is its operation there (``primitives/opcodes.py``), and its local
gradients are what a backward pass in floats needs.  So creation order is the order of the graph, and what is not
reached from the results and guards is not exported.  A derivative is one Value (DERIVATIVE; its children: outputs,
seeds, inputs) and one for each result (PARTIAL; its child: the derivative).

Numbers: comparisons need right numbers.  That of a gradient is found by a backward pass in floats.  Those of forward
derivatives, and of derivatives inside of functions that are differentiated themselves, would take a walk over the
graph in Python (``higher.Linearised``), and nearly no recording asks for them: so they are nan at first, and the
first comparison after one starts the recording again, with all numbers (``exact``).

Layers: the engines, ``functional`` and ``custom`` find the recorder through ``modes`` and do not import this module.

Where to start reading: ``Recorder.compare``, then ``Recorder.derivative``.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from valuegrad import arguments, modes
from valuegrad import value as engine
from valuegrad.comparison import Comparison
from valuegrad.errors import ForgetError, ShapeError, ValueTypeError
from valuegrad.higher import VALUES, Linearised
from valuegrad.lines import caller
from valuegrad.primitives import Row
from valuegrad.primitives.opcodes import DERIVATIVE, OPCODE, OPS, PARTIAL
from valuegrad.value import Value, recorded

__all__ = ["AskedGuard", "Derivative", "IntegerUse", "NumbersNeeded", "Recorder"]

assert len(OPS) <= DERIVATIVE, "the table has more rows than there are numbers for operations"


@dataclass(frozen=True)
class IntegerUse:
    """An integer input that chose an entry of a list.

    Args:
        input: which input.
        entries: how many entries the list has; the index lies between -entries and entries - 1.
    """

    input: int
    entries: int


class NumbersNeeded(BaseException):
    """A comparison was met after a derivative whose number was not computed.  (User code must not catch it.)"""


@dataclass(frozen=True)
class AskedGuard:
    """A comparison that was asked for its outcome."""

    condition: Value
    expected: bool
    line: str


@dataclass(frozen=True)
class Derivative:
    """A derivative that is yet to be made: reverse (outputs, seeds; inputs) or forward (inputs, tangents; outputs).

    Args:
        reverse: the mode.
        pairs: how many outputs with seeds (reverse) or inputs with tangents (forward) there are; its operands are
            those, then their seeds or tangents, then what it has a result for.
        first: of its results among all.
    """

    reverse: bool
    pairs: int
    first: int


class Recorder:
    """What the engines, ``functional`` and ``custom`` call while a function is recorded.

    Args:
        who: begins messages.
        exact: whether derivatives of every kind get their numbers, which comparisons need.
        outcomes: how the first guards are decided, whatever their numbers say.
        strict: whether derivatives are to the last bit what the engines compute.
    """

    def __init__(self, who: str, exact: bool, outcomes: Sequence[bool] = (), strict: bool = True) -> None:
        self.who = who
        self.exact = exact
        self.open = False
        self.guards: list[AskedGuard] = []
        self.integers: dict[Value, int] = {}
        self.integer_uses: list[IntegerUse] = []
        self.calls: dict[int, Callable[..., float]] = {}  # by the creation number of their Value
        self.derivatives: dict[int, Derivative] = {}  # likewise
        self.partials = array("Q")  # the creation numbers of derivatives' results, those of one side by side
        self._outcomes, self._strict = outcomes, strict
        self._decided: dict[int, bool] = {}  # of each guard's condition, by its creation number
        self._depth = 0  # of functions that are being differentiated
        self._unknown = False  # whether the numbers of some derivatives are not known
        self.numbers_needed = False  # whether somebody compared after that
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

    def node(
        self, op: str, data: float, children: Sequence[Value], local_grads: Sequence[float] | None = None
    ) -> Value:
        """A Value of an operation that only graphs have."""
        return recorded(OPCODE[op], data, children, [0.0] * len(children) if local_grads is None else local_grads)

    # ------------------------------------------------------------------------------------------ comparisons
    def compare(self, how: str, a: Any, b: Any) -> Comparison:
        """a < b and its like; one of the two is a Value."""
        self.check_open("a comparison")
        if self._unknown:
            self.numbers_needed = True
            raise NumbersNeeded
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

    def decide(self, condition: Value) -> bool:
        """Whether a condition holds; from now on the recording relies on it."""
        self.check_open("a comparison")
        holds = self._decided.get(condition._created)
        if holds is None:
            k = len(self.guards)
            holds = self._outcomes[k] if k < len(self._outcomes) else condition._data != 0.0
            self._decided[condition._created] = holds
            self.guards.append(AskedGuard(condition, holds, caller()))
        return holds

    def where(self, condition: Any, a: Any, b: Any) -> Any:
        """vg.where: without a guard if the condition is a comparison or a Value."""
        if type(condition) is Value:
            condition = self.compare("ne", condition, 0.0)
        if type(condition) is not Comparison:
            return engine.where(bool(condition), a, b)
        condition.recorder.check_open("a comparison")
        if condition.negated:
            a, b = b, a
        a, b = _as_value(a, "where()"), _as_value(b, "where()")
        holds = condition.node._data != 0.0
        data = a._data if holds else b._data
        return self.node("select", data, [condition.node, a, b], [0.0, float(holds), float(not holds)])

    # ----------------------------------------------------------------------------------------------- indices
    def stands_for(self, values: Sequence[Value], originals: Sequence[Any]) -> None:
        """Values to differentiate by stand for others: what an integer stands for may choose entries as well."""
        for value, original in zip(values, originals) if self.integers else ():
            if type(original) is Value and original in self.integers:
                self.integers[value] = self.integers[original]

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
        value = engine.logsumexp(entries) - self._entry(entries, index, position)
        if not self._strict:
            return value
        # Its local gradients are the row's, which round otherwise than those of the difference.
        hot = self._one_hot(index, len(entries), position)
        grads = [p - one for p, one in zip(engine.softmax(entries), hot)]
        return self.custom(value, [_as_value(x, row.name) for x in entries], grads)

    def _one_hot(self, index: Value, count: int, position: int) -> list[Value]:
        """1 for the entry that an integer chooses, 0 for the others; no gradient flows through them."""
        zero, one = Value(0.0), Value(1.0)
        is_negative = self.node("lt", float(index._data < 0.0), [index, zero])
        moved = self.node("add", index._data + count, [index, Value(float(count))])
        front = self.node("select", float(position), [is_negative, moved, index])
        hits = [self.node("eq", float(k == position), [front, Value(float(k))]) for k in range(count)]
        return [self.node("select", hit._data, [hit, one, zero]) for hit in hits]

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

    @property
    def orders(self) -> int:
        """How many derivatives of a Value made now may be asked for: those around it, and three of the program."""
        return self._depth + 3

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Inside this block an exception takes back the guards that were met."""
        met = len(self.guards)
        try:
            yield
        except Exception:
            for guard in self.guards[met:]:
                del self._decided[guard.condition._created]
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

    def linearised(self, who: str, inputs: Sequence[Value], outputs: Sequence[Any]) -> Differentiated:
        """The derivative of outputs with respect to inputs, as ``higher.Linearised`` offers it."""
        return Differentiated(self, who, inputs, outputs)

    def derivative(
        self,
        reverse: bool,
        given: Sequence[Value],
        factors: Sequence[Any],
        wanted: Sequence[Value],
        numbers: Sequence[Any],
    ) -> list[Any]:
        """Placeholders for the results of a derivative, one for each Value that is wanted; numbers are theirs."""
        factors = [_as_value(x, "derivative") for x in factors]
        children = [*given, *factors, *wanted]
        derivative = recorded(DERIVATIVE, 0.0, children, [0.0] * len(children))
        self.derivatives[derivative._created] = Derivative(reverse, len(given), len(self.partials))
        alone, zero = [derivative], [0.0]
        results = [
            recorded(PARTIAL, number, alone, zero)
            if type(number) is not Value
            # a derivative of the number is asked for later: an edge for numbers alone
            else recorded(PARTIAL, number._data, [derivative, number], [0.0, 1.0])
            for number in numbers
        ]
        self.partials.extend([result._created for result in results])
        return results

    def unknown(self, count: int) -> list[float]:
        """Numbers that are not computed, as most recordings never ask for them."""
        self._unknown = True
        return [float("nan")] * count

    @property
    def nested(self) -> bool:
        """Whether a derivative that is made now may be differentiated again."""
        return self._depth > 0


class Differentiated:
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
        return self.recorder.derivative(True, outputs, seeds, self.inputs, numbers)

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
        results = iter(self.recorder.derivative(False, inputs, factors, wanted, numbers))
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
