"""Where a nan or inf came from: the first operation that turned finite numbers into one.

Why: IEEE-754 carries a nan on to the end, where nothing tells which of ten thousand operations made it.  The graph
remembers: forward, the origin is the oldest operation that is not finite though its children are; backward, where all
numbers are finite, the first contribution ``local_grad * grad`` that is not finite though the grad is.

Data structures: ``Origin``, the operation with its inputs, their names, and the line; ``Poison``, what was found.

Where to start reading: ``poison``, then ``_forward`` and ``_backward``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from valuegrad import arguments
from valuegrad.inspect.tables import Cells, Shown
from valuegrad.inspect.walk import checked, edges, newest_first
from valuegrad.value import Value

__all__ = ["Origin", "Poison", "poison"]

NO_LINE = "its line was not remembered: compute inside `with vg.remember_lines():` to know it"
MOST_ON_TRAIL = 6  # operations of the trail that are written out


@dataclass(frozen=True)
class Origin:
    """The operation that made the first nan or inf.

    Args:
        kind: ``"input"`` (a leaf was given as nan or inf), ``"operation"`` (its result is not finite though its inputs
            are), ``"local gradient"`` (∂result/∂child is not), ``"overflow"`` (a product of finite numbers, or the
            sum of contributions, is too large).
        value: the operation's result, or the leaf.
        number: what is not finite: the result, or the contribution to the child's grad.
        child: the child whose grad became nan or inf; None if the result itself did.
        index: the child's position in ``value.children``; None if there is no child.
        local_grad: ∂value/∂child; None if there is no child.
        grad: the adjoint of ``value``, still finite; None if there is no child.
        trail: the Values from the origin to the result that was asked about, both included.
    """

    kind: str
    value: Value
    number: float
    child: Value | None
    index: int | None
    local_grad: float | None
    grad: float | None
    trail: tuple[Value, ...]

    @property
    def operation(self) -> str:
        """The operation with its inputs, by name where they have one: ``log(margin=-1.0)``."""
        children = self.value.children
        if not children:
            return self.value.name or f"Value({self.value.data!r})"
        numbers = [child.data for child in children]
        names = [child.name for child in children]
        return arguments.operation(self.value.op or "custom", numbers, names, self.value.static)

    @property
    def inputs(self) -> tuple[tuple[str | None, float], ...]:
        """The operation's inputs: (name, number)."""
        return tuple([(child.name, child.data) for child in self.value.children])

    @property
    def line(self) -> str | None:
        """The source line that ran the operation, if it was remembered."""
        return self.value.line

    def __str__(self) -> str:
        return "\n".join(self.sentences())

    def sentences(self, with_line: bool = True) -> list[str]:
        """What happened, where (if there is a source line to speak of), and what helps."""
        if self.kind == "input":
            what = "plain number" if self.value.op == "constant" else f"input {self.operation}"
            told = [f"no operation made it: the {what} was {self.number!r} from the start"]
        elif self.kind == "operation":
            told = [f"{self.operation} gave {self.number!r} from finite inputs{self._hint()}"]
        else:
            told = self._about_the_gradient()
        if with_line and self.line is not None:
            told.append(f"at {self.line}")
        elif with_line and self.kind != "input":
            told.append(NO_LINE)
        if len(self.trail) > 1:
            told.append(f"from there it went on through {self._route()}")
        return told

    def _about_the_gradient(self) -> list[str]:
        assert self.index is not None
        assert self.child is not None
        assert self.local_grad is not None
        to = f"the grad of {self._child_name()}"
        product = f"{self.local_grad!r} * {self.grad!r}"
        if self.kind == "overflow":
            return [f"backward through {self.operation}, {to} became {self.number!r}: {product} was too much for it"]
        return [
            f"{self.operation} gave {self.value.data!r}, but its local gradient ∂/∂{self._child_name()} is "
            f"{self.local_grad!r}{self._hint()}",
            f"so the backward pass added {product} = {self.number!r} to {to}",
        ]

    def _child_name(self) -> str:
        assert self.child is not None
        return self.child.name or f"child {self.index}"

    def _hint(self) -> str:
        op, numbers = self.value.op or "", [child.data for child in self.value.children]
        return arguments.hint(op, numbers)

    def _route(self) -> str:
        shown = [value.name or value.op or "leaf" for value in self.trail[1:]]
        if len(shown) > MOST_ON_TRAIL:
            shown = [*shown[: MOST_ON_TRAIL - 2], f"({len(shown) - MOST_ON_TRAIL + 1} more)", shown[-1]]
        return " → ".join(shown)


@dataclass(frozen=True, repr=False)
class Poison(Shown):
    """What ``poison`` found; print it.  It is false if there was nothing.

    Args:
        value: the Value that was asked about.
        forward: the first operation whose result is nan or inf; None if the Value is finite.
        backward: where the Value is finite, the first operation through which a grad becomes nan or inf; else None.
    """

    value: Value
    forward: Origin | None
    backward: Origin | None

    def __bool__(self) -> bool:
        return self.origin is not None

    @property
    def origin(self) -> Origin | None:
        """The one that was found."""
        return self.forward or self.backward

    def __str__(self) -> str:
        return "\n".join([self._title(), *[f"  {sentence}" for sentence in self._sentences()]])

    def _title(self) -> str:
        what = self.value.name or "the result"
        if self.forward is not None:
            return f"{what} is {self.value.data!r}"
        if self.backward is not None:
            return f"{what} is {self.value.data!r}, but not all of its gradients are finite"
        return f"{what} is {self.value.data!r}, and so are its gradients: finite. There is no poison."

    def _sentences(self) -> Sequence[str]:
        return [] if self.origin is None else self.origin.sentences()

    def _cells(self) -> Cells:
        return Cells([], [], self._title(), self._sentences())


def poison(y: Value) -> Poison:
    """The first operation that turned finite numbers into nan or inf.

    Args:
        y: a result.  If it is nan or inf, the operation that made the first nan or inf on the way to it is found.  If
            it is finite, its gradients are looked at: the backward pass is gone through (on adjoints of its own; no
            grad changes) up to the first contribution that is nan or inf.

    Returns:
        A ``Poison``: false if there is none, ``origin`` says where it arose, and printed it tells all of it.

    Raises:
        ValueTypeError: y is no Value.

    Example:
        >>> from valuegrad import log, sqrt
        >>> margin = Value(3.0, name="wealth") - 4.0
        >>> margin.name = "margin"
        >>> print(poison(0.95 * log(margin) + 1.0))
        the result is nan
          log(margin=-1.0) gave nan from finite inputs
          its line was not remembered: compute inside `with vg.remember_lines():` to know it
          from there it went on through mul → add
        >>> x = Value(0.0, name="x")
        >>> poison(sqrt(x * x)).origin.kind  # the value is 0, and the gradient inf * 0
        'local gradient'
    """
    checked(y, "poison()")
    forward = None if math.isfinite(y.data) else _forward(y)
    return Poison(y, forward, _backward(y) if forward is None else None)


def _forward(y: Value) -> Origin:
    """Back through what is not finite, to the oldest Value that has only finite children."""
    towards: dict[Value, Value | None] = {y: None}
    stack = [y]
    first = None
    while stack:
        value = stack.pop()
        # Constants count here, unlike in a backward pass; a branch that was not taken does not.
        bad = [child for child in _taken(value) if not math.isfinite(child.data)]
        if not bad and (first is None or value._created < first._created):
            first = value
        for child in bad:
            if child not in towards:
                towards[child] = value
                stack.append(child)
    assert first is not None  # children are older: the walk ends
    kind = "operation" if first.children else "input"
    return Origin(kind, first, first.data, None, None, None, None, _trail(first, towards))


def _taken(value: Value) -> list[Value]:
    """The children that the result comes from: not the branch that ``where`` left alone."""
    if value.op == "where":
        return [child for child, local_grad in zip(value.children, value.local_grads) if local_grad != 0.0]
    return list(value.children)


def _backward(y: Value) -> Origin | None:
    """The first contribution in the order of the backward pass that is not finite though the adjoint is."""
    order = newest_first(y)
    adjoints = dict.fromkeys(order, 0.0)
    adjoints[y] = 1.0
    towards: dict[Value, Value | None] = {y: None}
    for value in order:
        grad = adjoints[value]
        for index, child, local_grad in edges(value):
            contribution = local_grad * grad
            total = adjoints[child] + contribution
            towards.setdefault(child, value)
            if not math.isfinite(total):
                kind = "overflow" if math.isfinite(local_grad) else "local gradient"
                number = total if math.isfinite(contribution) else contribution
                return Origin(kind, value, number, child, index, local_grad, grad, _trail(value, towards))
            adjoints[child] = total
    return None


def _trail(value: Value, towards: dict[Value, Value | None]) -> tuple[Value, ...]:
    trail = [value]
    following = towards[value]
    while following is not None:
        trail.append(following)
        following = towards[following]
    return tuple(trail)
