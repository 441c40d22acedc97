"""Which derivative of a function a program is, and that derivative as a plain function.

Why: ``vg.grad(program)`` is a program again.  It records ``functional.grad`` of the function, and must know by which
arguments it differentiates to give gradients in their shapes.

Where to start reading: ``Derivative``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from valuegrad import functional
from valuegrad.differentiating import argument_positions

__all__ = ["DIRECTIONAL", "ArgNums", "Derivative", "Recorded", "every_gradient", "in_direction"]

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
