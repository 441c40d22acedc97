"""The derivative of a calculation that Values remember, when it must itself be differentiable.

Why: a backward pass in floats (``value.sweep``) loses how the gradient depends on anything.  For
derivatives of derivatives, and for derivatives that depend on Values of the caller, the adjoints and
tangents must be Values too.  The local gradients then come from the primitives table's rules, evaluated
over Values (``VALUES``); adding and multiplying them is ``Linearised``.

Data structures: ``Linearised`` holds the calculation in SSA form, oldest first: positions 0, 1, ... are the
inputs, then what depends on them.  Position p's edges are ``ends[p - 1]`` to ``ends[p]`` in two parallel lists,
``children`` (positions) and ``local_grads``.
A local gradient is a plain float unless the Value depends on something older than the calculation (then
somebody may yet ask how the derivative depends on that).

Where to start reading: ``Linearised.__init__``, then ``pullback``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import isclose, isnan
from typing import Any

from valuegrad import value as engine
from valuegrad.custom import application
from valuegrad.errors import DerivativeError
from valuegrad.primitives import FLOATS, TABLE, ListAlgebra
from valuegrad.primitives.opcodes import OPCODE
from valuegrad.value import Value

__all__ = ["VALUES", "Linearised", "depends_on_older"]


def _with_integer(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function whose last argument is an integer, for rules, in which every number is a float."""
    return lambda *args: function(*args[:-1], int(args[-1]))


class _Values(ListAlgebra):
    """Rules on Values and floats: a choice looks at the numbers, all else is the package's functions."""

    def __init__(self) -> None:
        super().__init__(TABLE)
        functions = {name: getattr(engine, name) for name in engine.NAMES if name != "where"}
        for row in TABLE.values():
            if row.integer_static and row.function:
                functions[row.name] = _with_integer(functions[row.name])
        self.__dict__.update(functions, product=functions["prod"], norm_of=functions["norm"])

    @staticmethod
    def lt(a: Any, b: Any) -> bool:
        return bool(a < b)

    @staticmethod
    def le(a: Any, b: Any) -> bool:
        return bool(a <= b)

    @staticmethod
    def eq(a: Any, b: Any) -> bool:
        return bool(a == b)

    @staticmethod
    def where(condition: bool, a: Any, b: Any) -> Any:
        return a if condition else b

    @staticmethod
    def round(a: Any, digits: float) -> Any:
        return round(a, int(digits)) if type(a) is Value else FLOATS.round(a, digits)

    @staticmethod
    def largest(xs: Sequence[Any]) -> float:
        """A plain number: rules subtract it against overflow, and the result does not depend on it."""
        return FLOATS.largest([x._data if type(x) is Value else x for x in xs])

    @staticmethod
    def smallest(xs: Sequence[Any]) -> float:
        return FLOATS.smallest([x._data if type(x) is Value else x for x in xs])


VALUES = _Values()


SKIPS_ZERO = {"recorded", *[row.name for row in TABLE.values() if row.skips_zero]}


def depends_on_older(outputs: Sequence[Value], since: int) -> bool:
    """Whether anything that the outputs were computed from, themselves included, was created before ``since``."""
    return len(engine.graph(outputs)) > len(engine.graph(outputs, since))


class Linearised:
    """The derivative of outputs with respect to inputs, at the point where they were computed.

    Args:
        who: begins an error message.
        inputs: Values, oldest first; no derivative goes past them.
        outputs: Values and plain numbers.
        remembers: whether somebody may ask how the derivative depends on Values older than the inputs;
            if not, all local gradients are plain numbers.
    """

    def __init__(self, who: str, inputs: Sequence[Value], outputs: Sequence[Any], remembers: bool) -> None:
        since: int = inputs[0]._created
        position = {v: i for i, v in enumerate(inputs)}  # Values hash by identity
        remembering = {v for v in inputs if v.children} if remembers else set()
        families: dict[Any, list[Value]] = {}
        self.count = len(inputs)
        self.children: list[int] = []
        self.local_grads: list[Any] = []
        self.ends: list[int] = [0] * self.count
        for v in engine.graph([y for y in outputs if type(y) is Value], since):
            children = v.children
            if not children or v in position:
                continue  # a leaf or an input
            if remembers and any(c in remembering or (c._created < since and c.op != "constant") for c in children):
                remembering.add(v)
            if not any(map(position.__contains__, children)):
                continue  # it does not depend on the inputs
            local_grads: Sequence[Any] = v.local_grads
            if v in remembering:
                over_values = _local_grads(who, v, children, families)
                _check_unchanged(who, v, over_values)
                local_grads = over_values
            skips_zero = v.op in SKIPS_ZERO
            for c, grad in zip(children, local_grads):
                p = position.get(c)
                if p is not None and not (skips_zero and grad == 0.0):
                    self.children.append(p)
                    self.local_grads.append(grad)
            position[v] = len(self.ends)
            self.ends.append(len(self.children))
        self.outputs = [position.get(y) if type(y) is Value else None for y in outputs]

    def pullback(self, cotangents: Sequence[Any]) -> list[Any]:
        """∂(sum of cotangent * output)/∂input: the adjoints of the inputs, newest contributions first.

        A cotangent None is nothing at all, where 0.0 would give 0 * inf = nan at an infinite local gradient.
        """
        contributions: list[list[Any] | None] = [None] * len(self.ends)

        def contribute(p: int, x: Any) -> None:
            terms = contributions[p]
            if terms is None:
                contributions[p] = [x]
            else:
                terms.append(x)

        for output, cotangent in zip(self.outputs, cotangents):
            if output is not None and cotangent is not None:
                contribute(output, cotangent)
        for p in range(len(self.ends) - 1, self.count - 1, -1):
            terms = contributions[p]
            if terms is not None:
                contributions[p] = None
                adjoint = _total(terms)
                for edge in range(self.ends[p - 1], self.ends[p]):
                    contribute(self.children[edge], _times(self.local_grads[edge], adjoint))
        return [_total(terms or []) for terms in contributions[: self.count]]

    def pushforward(self, tangents: Sequence[Any]) -> list[Any]:
        """The sum of ∂output/∂input * tangent for each output; a tangent None is nothing at all."""
        found: list[Any] = list(tangents)
        children, local_grads = self.children, self.local_grads
        start = 0
        for end in self.ends[self.count :]:
            terms = [
                _times(local_grads[edge], found[children[edge]])
                for edge in range(start, end)
                if found[children[edge]] is not None
            ]
            start = end
            found.append(_total(terms) if terms else None)
        return [0.0 if p is None or found[p] is None else found[p] for p in self.outputs]


def _times(a: Any, b: Any) -> Any:
    """a * b, without a Value for a multiplication by 1."""
    if type(a) is float and a == 1.0:
        return b
    if type(b) is float and b == 1.0:
        return a
    return a * b


def _total(terms: list[Any]) -> Any:
    """The sum in order, as one Value."""
    return terms[0] if len(terms) == 1 else VALUES.sum(terms)


def _local_grads(who: str, v: Value, children: Sequence[Value], families: dict[Any, list[Value]]) -> Sequence[Any]:
    """∂v/∂child for each child as Values that remember, from the table's rules."""
    if v.op == "recorded":
        return _local_grads_of_recorded(v, children)
    arguments: list[Any] = [c.data if c.op == "constant" else c for c in children]
    row = TABLE.get(v.op or "")
    if row is None:
        used = application(v)
        if used is None:
            raise DerivativeError(
                f"{who} met a custom Value ({v.data!r}, computed by Value(data, children, local_grads)) whose "
                "local gradients are plain numbers, so how they depend on its children is unknown and a derivative "
                "of higher order would be wrong; register the operation with vg.primitive(name, value, local_grads)"
            )
        return used.local_grads(arguments, v)
    static = [] if v.static is None else [v.static]
    if row.family:  # one rule for all outputs, which asks for all of them
        key = (row.name, *map(id, children))
        if key not in families:
            families[key] = getattr(engine, row.name)(arguments)
        return row.local_grads(VALUES, arguments, families[key], *static)  # type: ignore[no-any-return]
    if row.vectors == 2:
        half = len(arguments) // 2
        xs, ys = row.local_grads(VALUES, arguments[:half], arguments[half:], v)
        return [*xs, *ys]
    if row.vectors == 1:
        return row.local_grads(VALUES, arguments, *static, v)  # type: ignore[no-any-return]
    return row.local_grads(VALUES, *arguments, *static, v)  # type: ignore[no-any-return]


def _local_grads_of_recorded(v: Value, children: Sequence[Value]) -> Sequence[Any]:
    """What only a recording has: 0.0 and 1.0, but for a primitive's, which are Values among its children."""
    if v.static != OPCODE["custom"]:
        return v.local_grads
    count = len(children) // 2
    return [0.0, *children[count + 1 :], *[0.0] * count]


def _check_unchanged(who: str, v: Value, local_grads: Sequence[Any]) -> None:
    """The rules see what the children's numbers are now: they must be what they were when v was computed."""
    for grad, then in zip(local_grads, v.local_grads):
        now = grad.data if type(grad) is Value else grad
        if now != then and not isclose(now, then, rel_tol=1e-12) and not (isnan(now) and isnan(then)):
            raise DerivativeError(
                f"{who} met a Value ({v.data!r}, computed by {v.op!r}) one of whose children got other data since: "
                f"its local gradient was {then!r} and would be {now!r}; set data outside of the function that is "
                "differentiated, or use a new Value"
            )
