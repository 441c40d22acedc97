"""What the page "Expressions" shows, without the page: an expression with its numbers, and what nudges do to it.

Why: the page asks the same questions at every key and every drag of a slider; they are answered here, from texts alone,
as an address has them, so that a link restores what was seen.

Data structures: a ``Calculation`` is what was written, an expression or several with names for their results, as in
``b = a + a; b + b``.  An ``Experiment`` is a calculation with a number and a nudge for each input.  Its ``root`` is the
result before the nudges; its ``Effect`` compares what the gradients predict of the nudges with what they really do.

Where to start reading: ``Experiment``, then ``Experiment.effect``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import valuegrad as vg
from valuegrad.errors import ExpressionError, ValuegradError
from valuegrad.inspect.expression import CONSTANTS, Expression
from valuegrad.inspect.worked import figure
from valuegrad.value import Value

__all__ = [
    "EXAMPLES",
    "LONGEST",
    "SPANS",
    "Calculation",
    "Curve",
    "Effect",
    "Example",
    "Experiment",
    "number_of",
    "numbers_of",
    "text_of",
]

LONGEST = 1_000
"""Characters of an expression on the page: what is longer cannot be drawn at every key, nor sent as a link."""
MOST_INPUTS = 12
"""Inputs with sliders."""
SPANS = (1.0, 0.1, 0.01)
"""How far a slider reaches to either side."""
WORK = 20_000  # operations that a curve may cost
POINTS = 61  # of a curve, if it is cheap

STARTS = {"a": 2.0, "b": -3.0, "c": 10.0, "x": 1.5, "y": 0.5, "z": -1.0, "w": 0.5}  # where an input's number begins


@dataclass(frozen=True)
class Example:
    """An expression to begin with.

    Args:
        title: what it shows.
        expression: the expression.
        inputs: its numbers, as an address has them.
        about: what to try with it.
    """

    title: str
    expression: str
    inputs: str
    about: str


EXAMPLES = (
    Example(
        "A neuron", "relu(a*b + c)", "a=2,b=-3,c=10", "Drag c down until relu closes: then no nudge has any effect."
    ),
    Example("Shared twice", "b = a + a; c = b + b", "a=2", "Choose a wrong variant below, and step through it."),
    Example("A curve", "sin(x) * x**2", "x=1.5", "Drag far: a gradient is a straight line, the curve is not."),
    Example(
        "Softmax", "log(take(softmax([a, b, c]), 0))", "a=2,b=1,c=0.1", "What is given to one is taken from others."
    ),
    Example("A choice", "where(x > 0, x, exp(x) - 1)", "x=-0.5", "The branch not taken gets no gradient."),
    Example("log of zero", "a * log(b) + c", "a=2,b=0,c=1", "Follow the red trail to where infinity came from."),
    Example("A hidden nan", "sqrt(x*x) + y", "x=0,y=1", "The result is fine; its gradient is not."),
    Example("Too large", "a + 9**9**9", "a=1", "Beyond 1.8e308 there is only infinity."),
)


@dataclass(frozen=True)
class Effect:
    """What the nudges do together.

    Args:
        before: the result without them.
        after: the result with them.
        predicted: gradient times nudge, added over the inputs.
        parts: for each nudged input its share of the prediction.
    """

    before: float
    after: float
    predicted: float
    parts: dict[str, float]

    @property
    def actual(self) -> float:
        """The change that happened."""
        return self.after - self.before

    @property
    def off(self) -> float:
        """By how much the prediction was wrong."""
        return self.actual - self.predicted

    @property
    def words(self) -> str:
        """How good the prediction is, in a sentence."""
        if not self.parts:
            return "Drag a slider: the gradients predict what the result will do."
        if not math.isfinite(self.actual) or not math.isfinite(self.predicted):
            return "Nothing can be compared: a number is not finite."
        scale = max(abs(self.actual), abs(self.predicted))
        if abs(self.off) <= 1e-9 * max(scale, abs(self.before), 1e-300):
            return "The prediction is exact: along this nudge the result is a straight line."
        if abs(self.off) >= 0.5 * scale:
            return "The prediction fails: so far away the result is no straight line. Try a smaller nudge."
        percent = figure(float(f"{100 * abs(self.off) / scale:.2g}"))
        return f"The prediction is off by {percent} %; less for smaller nudges."


@dataclass(frozen=True)
class Curve:
    """The result along one input, all others staying where they are.

    Args:
        name: the input.
        at: its number; the curve reaches to either side of it.
        points: pairs of the input and the result; the result may be nan.
        gradient: the slope at ``at``.
    """

    name: str
    at: float
    points: list[tuple[float, float]]
    gradient: float


_NAMED = re.compile(r"\s*([^\W\d]\w*)\s*=(?!=)")


class Calculation:
    """What was written: an expression, or several with names for their results and semicolons between.

    Args:
        text: as in "relu(a*b + c)" or "b = a + a; b + b"; the last one's result is the result.

    Attributes:
        names: the inputs, in the order in which they are met.
        size: about how many operations it has.

    Raises:
        ExpressionError: it cannot be understood, or a name stands for two things.

    Example:
        >>> calculation = Calculation("b = a + a; c = b * b")
        >>> calculation.names, calculation.evaluate({"a": 3.0}).data
        (('a',), 36.0)
    """

    def __init__(self, text: str) -> None:
        self.parts: list[tuple[str, Expression]] = []
        inputs: dict[str, None] = {}
        given: set[str] = set()
        pieces = text.split(";")
        while len(pieces) > 1 and not pieces[-1].strip():
            pieces.pop()
        for i, piece in enumerate(pieces):
            named = _NAMED.match(piece)
            name = named[1] if named else ""
            if not name and i + 1 < len(pieces):
                raise ExpressionError(
                    f"the result of {piece.strip()[:40]!r} has no name, so nothing can use it; write it as "
                    "b = a + a; b + b, or leave it out"
                )
            expression = Expression(piece[named.end() :].strip() if named else piece)
            if name in inputs or name in given or name in expression.names or name in CONSTANTS:
                raise ExpressionError(f"{name} stands for two things; give each result a name of its own")
            inputs |= dict.fromkeys([name for name in expression.names if name not in given])
            given.add(name)
            self.parts.append((name, expression))
        self.names = tuple(inputs)
        self.size = sum(len(expression.steps) for _, expression in self.parts)

    def evaluate(self, inputs: Mapping[str, float | Value]) -> Value:
        """The result, from a number or Value for each input."""
        known: dict[str, float | Value] = dict(inputs)
        result = Value(0.0)
        for name, expression in self.parts:
            result = expression.evaluate({name: known[name] for name in expression.names})
            if name and result.name is None:
                result.name = name
            known[name] = result
        return result


class Experiment:
    """An expression with its numbers and nudges.

    Args:
        text: the expression, as a ``Calculation`` has it.
        inputs: numbers by name; an input that is not given starts at a number of its own, others are left alone.
        nudges: how far inputs are moved; names that are no inputs are left alone.

    Raises:
        ExpressionError: the expression cannot be understood, or is too long for the page.

    Example:
        >>> experiment = Experiment("relu(a*b + c)", nudges={"a": 0.5})
        >>> experiment.root.data, experiment.gradients
        (4.0, {'a': -3.0, 'b': 2.0, 'c': 1.0})
        >>> experiment.effect.predicted, experiment.effect.actual
        (-1.5, -1.5)
    """

    def __init__(
        self, text: str, inputs: Mapping[str, float] | None = None, nudges: Mapping[str, float] | None = None
    ) -> None:
        text = text.strip()
        if len(text) > LONGEST:
            raise ExpressionError(
                f"the expression has {len(text):,} characters; this page draws up to {LONGEST:,}: give a shorter one"
            )
        self.text = text
        self.calculation = Calculation(text)
        names = self.calculation.names
        if len(names) > MOST_INPUTS:
            raise ExpressionError(
                f"the expression has {len(names)} inputs ({', '.join(names[:4])}, ...); this page has sliders for "
                f"{MOST_INPUTS}: write numbers for some of them"
            )
        self.inputs = {name: (inputs or {}).get(name, STARTS.get(name, 1.0)) for name in names}
        self.nudges = {name: (nudges or {}).get(name, 0.0) for name in names}
        self.root, self.leaves = self.fresh()

    def fresh(self) -> tuple[Value, dict[str, Value]]:
        """The result and its inputs as new Values, whose grads nobody has touched."""
        leaves = {name: Value(number, name=name) for name, number in self.inputs.items()}
        return self.calculation.evaluate(leaves), leaves

    @cached_property
    def gradients(self) -> dict[str, float]:
        """∂result/∂input by name."""
        root, leaves = self.fresh()
        root.backward()
        return {name: leaf.grad for name, leaf in leaves.items()}

    def result(self, inputs: Mapping[str, float]) -> float:
        """The expression's number for other inputs."""
        with vg.no_grad():
            return self.calculation.evaluate(inputs).data

    @cached_property
    def nudged(self) -> dict[str, float]:
        """The inputs after their nudges."""
        return {name: number + self.nudges[name] for name, number in self.inputs.items()}

    @cached_property
    def effect(self) -> Effect:
        """What the nudges were predicted to do, and what they did."""
        parts = {name: self.gradients[name] * nudge for name, nudge in self.nudges.items() if nudge != 0.0}
        return Effect(self.root.data, self.result(self.nudged), sum(parts.values()), parts)

    def curve(self, name: str, span: float) -> Curve:
        """The result along an input.

        Args:
            name: the input.
            span: how far to either side.
        """
        at, count = self.inputs[name], max(min(POINTS, WORK // max(self.calculation.size, 1)), 11)
        places = [at + span * (2.0 * i / (count - 1) - 1.0) for i in range(count)]
        points = [(x, self.result({**self.inputs, name: x})) for x in places]
        return Curve(name, at, points, self.gradients[name])


# ------------------------------------------------------------------------------------------- numbers in an address
_PAIR = re.compile(r"\s*([^\W\d]\w*)\s*=\s*([^,]*?)\s*")


def number_of(text: str) -> float:
    """A number as people write it: ``0.1``, ``1/3``, ``-inf``, ``2*pi``.

    Raises:
        ExpressionError: it is none.

    Example:
        >>> number_of("1/4"), number_of("-inf")
        (0.25, -inf)
    """
    if len(text) > 60:
        raise ExpressionError(f"a number has {len(text)} characters; expected one such as 0.1 or 1/3")
    try:
        parsed = Expression(text)
    except ExpressionError as error:
        what = str(error).splitlines()[0] if text.strip() else "it is empty"
        raise ExpressionError(f"{what}; give a number such as 0.1 or 1/3") from None
    if parsed.names:
        raise ExpressionError(f"{text.strip()!r} is no number; give one such as 0.1 or 1/3")
    return parsed.evaluate({}).data


def numbers_of(text: str) -> tuple[dict[str, float], list[str]]:
    """Numbers by name, as an address has them, and what is wrong with the others.

    Example:
        >>> numbers_of("a=2, b=1/4, c=much")
        ({'a': 2.0, 'b': 0.25}, ["c='much' is left out: 'much' is no number; give one such as 0.1 or 1/3"])
    """
    found: dict[str, float] = {}
    complaints = []
    for pair in text.split(",")[: 2 * MOST_INPUTS] if text.strip() else []:
        match = _PAIR.fullmatch(pair)
        try:
            if match is None:
                raise ExpressionError("expected the form name=number")
            found[match[1]] = number_of(match[2])
        except ValuegradError as error:
            name, _, number = pair.strip().partition("=")
            complaints.append(f"{name[:20]}={number[:20]!r} is left out: {error}")
    return found, complaints


def text_of(numbers: Mapping[str, float]) -> str:
    """The opposite: numbers as an address has them.

    Example:
        >>> text_of({"a": 2.0, "b": 0.1})
        'a=2,b=0.1'
    """
    return ",".join(f"{name}={repr(x).removesuffix('.0')}" for name, x in numbers.items())
