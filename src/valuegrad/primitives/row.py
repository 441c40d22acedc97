"""``Row``: what the primitives table says about one operation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Row"]


@dataclass(frozen=True)
class Row:
    """One elementary operation.

    Args:
        name: its name, as in ``vg.<name>`` and ``Value.op``.
        value: ``(m, *arguments) -> out``, the rule for the result over an algebra ``m``.
        local_grads: ``(m, *arguments, out) -> sequence``, ∂out/∂child, one for each child.
        doc: one sentence for people.
        vectors: how many of the arguments are lists of numbers (they come first); 0 for scalar operations.
        static: the name of the last argument if it is a plain number that no gradient flows to
            (the exponent of ``pow``, the target of ``cross_entropy``).
        integer_static: the static argument must be an integer.
        static_from: the smallest value of the static argument.
        family: the operation has one output for each entry of its list (``softmax``): ``value`` gives them
            all, and ``local_grads(m, xs, outs, i)`` belongs to output i.
        variadic: called with any number of numbers, or with one list: ``maximum(a, b, c)``.
        allows_empty: an empty list has a meaning (``sum``).
        skips_zero: an edge with local gradient 0 carries nothing at all, not even 0 * inf (``where``).
        operator: the Python operator's dunder name without underscores, e.g. ``"add"``.
        method: also a method of Value, under this name ("" for none).
        function: also a function of the package.
        samples: argument tuples that the tests evaluate, edges among them.
        domain: for each argument the interval that tests draw from.
        rtol: relative tolerance of value and local gradients against mpmath; by default nine roundings.
        atol: absolute tolerance, for functions with zeros that no float formula meets relatively.
        why: the reason for a tolerance that is not the default.
    """

    name: str
    value: Callable[..., Any]
    local_grads: Callable[..., Any]
    doc: str
    vectors: int = 0
    static: str = ""
    integer_static: bool = False
    static_from: float = -float("inf")
    family: bool = False
    variadic: bool = False
    allows_empty: bool = False
    skips_zero: bool = False
    operator: str = ""
    method: str = ""
    function: bool = True
    samples: Sequence[tuple[Any, ...]] = ()
    domain: Sequence[tuple[float, float]] = ()
    rtol: float = 1e-15
    atol: float = 0.0
    why: str = ""
    arguments: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        code = self.value.__code__  # inspect.signature says the same, more slowly: this runs at every import
        names = code.co_varnames[1 : code.co_argcount]  # all but m
        object.__setattr__(self, "arguments", names)
        if self.static and not self.family and names[-1] != self.static:
            raise ValueError(f"row {self.name!r}: the static argument {self.static!r} must come last in value's rule")

    @property
    def children(self) -> tuple[str, ...]:
        """The arguments that become children: all but the static one."""
        return self.arguments[:-1] if self.static and not self.family else self.arguments
