"""Which derivative of a function a program is, and that derivative as a plain function.

Why: ``vg.grad(program)`` is a program again.  It records ``functional.grad`` of the function, and must know by which
arguments it differentiates to give gradients in their shapes.

Where to start reading: ``Derivative``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import optree

from valuegrad import functional
from valuegrad.calls import Call
from valuegrad.differentiating import argument_positions

__all__ = ["DIRECTIONAL", "ArgNums", "Derivative", "Recorded", "every_gradient", "gradient_leaves", "in_direction"]

ArgNums = int | tuple[int, ...] | None
DIRECTIONAL = "directional"  # how a file names jvp, hvp and vjp


@dataclass(frozen=True)
class Derivative:
    """Which derivative of which function a program is.

    Args:
        how: a name of ``functional``: "grad" ...
        function: the function that is differentiated.
        argnums: the arguments to differentiate by; None: all that are not static.
    """

    how: str
    function: Callable[..., Any]
    argnums: ArgNums

    @property
    def reduces(self) -> bool:
        """Whether it gives a gradient in the shape of its argument (else there is a derivative for each lane)."""
        return self.how in ("grad", "value_and_grad")

    def positions(self, given: int, count: int, static: frozenset[int | str]) -> tuple[int, ...]:
        """The arguments to differentiate by, from the front."""
        if self.argnums is None:
            return tuple(i for i in range(count) if i not in static)
        return tuple(argument_positions(f"{self.how}()", self.argnums, given))

    def of(self, positions: tuple[int, ...], count: int) -> Callable[..., Any]:
        """The derivative as a plain function."""
        if self.argnums is None:
            return every_gradient(self.function, positions, count)
        wanted: Any = positions if isinstance(self.argnums, (tuple, list)) else positions[0]
        return getattr(functional, self.how)(self.function, wanted)  # type: ignore[no-any-return]


def every_gradient(function: Callable[..., Any], positions: tuple[int, ...], count: int) -> Callable[..., Any]:
    """The value, and for each argument its gradient, or None for one that is static."""
    both = functional.value_and_grad(function, positions)

    def value_and_gradients(*args: Any, **kwargs: Any) -> tuple[Any, tuple[Any, ...]]:
        value, found = both(*args, **kwargs)
        gradients: list[Any] = [None] * count
        for position, gradient in zip(positions, found):
            gradients[position] = gradient
        return value, tuple(gradients)

    return value_and_gradients


def in_direction(how: str, function: Callable[..., Any], argnums: ArgNums) -> Callable[..., Any]:
    """jvp, hvp and vjp as functions of (primals, direction)."""
    if how == "vjp":

        def pullback(primals: Any, cotangent: Any, **kwargs: Any) -> Any:
            return functional.vjp(function, *primals, argnums=argnums, **kwargs)[1](cotangent)

        return pullback
    transform = getattr(functional, how)

    def directional(primals: Any, tangents: Any, **kwargs: Any) -> Any:
        return transform(function, primals, tangents, argnums=argnums, **kwargs)

    return directional


class Recorded(Derivative):
    """A derivative that comes from a file: what was recorded is the derivative already."""

    def of(self, positions: tuple[int, ...], count: int) -> Callable[..., Any]:
        """What was recorded."""
        return self.function


def gradient_leaves(call: Call, positions: tuple[int, ...]) -> tuple[int, ...]:
    """For each number in the arguments at these positions to which leaf it belongs; -1 if to none."""
    leaves = [_Input(leaf) for leaf in range(len(call.leaves))]
    args, _ = call.build([x for leaf, size in zip(leaves, call.sizes()) for x in [leaf] * size])
    found: list[int] = []
    differentiated: Any = tuple(args[position] for position in positions)
    for entry in optree.tree_leaves(differentiated):
        if isinstance(entry, np.ndarray):  # all of it is one leaf, or static
            one = entry.flat[0] if entry.size else None
            found += [one.leaf if type(one) is _Input else -1] * entry.size
        else:
            found.append(entry.leaf if type(entry) is _Input else -1)
    return tuple(found)


@dataclass(frozen=True)
class _Input:
    leaf: int
