"""``Comparison``: what a comparison of Values gives inside a function that is recorded.

Why: outside of recordings ``x < y`` is True or False.  A recording must know which comparisons it relied on, so there
the result remembers what was compared.  Using it as a bool (``if``, ``while``, ``and``, ``not``, ``min``, arithmetic
with it) relies on its outcome: a guard.  ``vg.where`` and ``& | ^ ~`` do not.

Data structures: the condition is a Value of the recording (1.0 or 0.0); ``negated`` saves a node for ``!=`` and ``~``.

Where to start reading: ``Comparison.__bool__``.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from numbers import Real
from typing import Any

from valuegrad.value import Value

__all__ = ["Comparison"]


class Comparison:
    """A comparison of Values, or a combination of such, in a recording.

    Args:
        recorder: whom it asks to guard it, and to combine it.
        node: the condition: a Value that is 1.0 or 0.0.
        negated: whether the comparison holds where the condition does not.
    """

    __slots__ = ("negated", "node", "recorder")

    def __init__(self, recorder: Any, node: Value, negated: bool = False) -> None:
        self.recorder = recorder
        self.node = node
        self.negated = negated

    def outcome(self) -> bool:
        """Whether it held when the function was recorded; asking does not guard it."""
        return (self.node._data != 0.0) is not self.negated

    def __bool__(self) -> bool:
        """Its outcome, which the recording relies on from now on."""
        holds: bool = self.recorder.decide(self.node)
        return holds is not self.negated

    # ------------------------------------------------------------------------------ combinations, without a guard
    def condition(self) -> Value:
        """A Value that is 1.0 where it holds and 0.0 where it does not."""
        if not self.negated:
            return self.node
        node: Value = self.recorder.node("not", float(self.outcome()), [self.node])
        return node

    def __invert__(self) -> Comparison:
        return Comparison(self.recorder, self.node, not self.negated)

    def __and__(self, other: Any) -> Any:
        if type(other) is not Comparison:
            return (self if other else False) if isinstance(other, bool) else NotImplemented
        return self._combined("and", self.condition(), other.condition(), self.outcome() and other.outcome())

    def __or__(self, other: Any) -> Any:
        if type(other) is not Comparison:
            return (True if other else self) if isinstance(other, bool) else NotImplemented
        return self._combined("or", self.condition(), other.condition(), self.outcome() or other.outcome())

    def __xor__(self, other: Any) -> Any:
        if type(other) is not Comparison:
            return (~self if other else self) if isinstance(other, bool) else NotImplemented
        differ = self._combined("eq", self.node, other.node, self.node._data == other.node._data)
        return differ if self.negated is not other.negated else ~differ

    __rand__, __ror__, __rxor__ = __and__, __or__, __xor__

    def _combined(self, op: str, a: Value, b: Value, holds: bool) -> Comparison:
        return Comparison(self.recorder, self.recorder.node(op, float(holds), [a, b]))

    def __eq__(self, other: object) -> Any:
        if type(other) is Comparison or isinstance(other, bool):
            return ~self ^ other
        return int(self) == other

    def __ne__(self, other: object) -> Any:
        if type(other) is Comparison or isinstance(other, bool):
            return self ^ other
        return int(self) != other

    # ------------------------------------------------------------------ everything else a bool can do, with a guard
    def __hash__(self) -> int:
        return hash(bool(self))

    def __int__(self) -> int:
        return int(bool(self))

    __index__ = __int__

    def __float__(self) -> float:
        return float(bool(self))

    def __repr__(self) -> str:
        return f"<comparison of a recording: {self.outcome()}>"


def _as_integer(function: Callable[..., Any], reflected: bool) -> Callable[..., Any]:
    def method(self: Comparison, *others: Any) -> Any:
        return function(*others, int(self)) if reflected else function(int(self), *others)

    return method


for _name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "lt", "le", "gt", "ge", "neg", "pos", "abs"):
    setattr(Comparison, f"__{_name}__", _as_integer(getattr(operator, _name), reflected=False))
    if _name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow"):
        setattr(Comparison, f"__r{_name}__", _as_integer(getattr(operator, _name), reflected=True))

Real.register(Comparison)  # where a number is expected, it is 1 or 0, with a guard
