"""Optimisers: how parameters learn from their grads.

Why: after ``loss.backward()`` every parameter's grad says which way the loss rises; an optimiser takes
one step the other way.

Data structures: an ``Optimizer`` holds the parameters as one list of Values and what it remembers of
earlier steps as arrays of float64, one entry for each parameter.  A step reads all grads and numbers at
once, calculates in NumPy exactly what the formulas say entry by entry (so the results are those of plain
Python floats, to the last bit, with x*x for squares and math.sqrt for roots), and writes all numbers back.
A *schedule* is a function from the step's number, 0 for the first, to that step's learning rate.

Where to start reading: ``Optimizer.step``, then ``Adam``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from valuegrad.arguments import integer, number, shown, unmasked
from valuegrad.errors import ShapeError, ValueArgumentError, ValueTypeError
from valuegrad.value import Value, read_data, read_grads, write_data, zero_grads

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

__all__ = [
    "SGD",
    "Adam",
    "AdamW",
    "Optimizer",
    "Schedule",
    "clip_gradients",
    "constant",
    "cosine",
    "linear",
    "warm_up",
]

Schedule = Callable[[int], float]


# ---------------------------------------------------------------------------------------------- schedules
def constant(rate: float) -> Schedule:
    """The same learning rate at every step."""
    return lambda step: rate


def linear(rate: float, steps: int) -> Schedule:
    """Falls evenly from ``rate`` at step 0 to 0 at step ``steps``, and stays there.

    Example:
        >>> schedule = linear(0.01, 1000)
        >>> schedule(0), schedule(500), schedule(1000)
        (0.01, 0.005, 0.0)
    """
    _positive(steps, "linear(), steps")
    return lambda step: rate * (1 - (step if step < steps else steps) / steps)


def cosine(rate: float, steps: int) -> Schedule:
    """Falls from ``rate`` at step 0 to 0 at step ``steps`` as half a cosine wave (Loshchilov and Hutter 2017,
    arXiv:1608.03983), and stays there.
    """
    _positive(steps, "cosine(), steps")
    return lambda step: rate * 0.5 * (1 + math.cos(math.pi * min(step, steps) / steps))


def warm_up(schedule: Schedule, steps: int) -> Schedule:
    """A schedule whose first ``steps`` steps rise evenly to it: step k has (k + 1) / (steps + 1) of its rate."""
    if integer(steps, "warm_up(), steps") < 0:
        raise ValueArgumentError(f"warm_up(), steps got {steps}; expected 0 or more")
    return lambda step: schedule(step) * (min(step, steps) + 1) / (steps + 1)


def _positive(steps: int, who: str) -> None:
    if integer(steps, who) < 1:
        raise ValueArgumentError(f"{who} got {steps}; expected 1 or more")


# ----------------------------------------------------------------------------------------------- clipping
def clip_gradients(parameters: Iterable[Value], most: float) -> float:
    """Shorten the gradient to length ``most`` if it is longer, keeping its direction (Pascanu et al. 2013).

    Args:
        parameters: Values whose grads together are the gradient.
        most: the greatest length wanted.

    Returns:
        The length before.

    Raises:
        ValueArgumentError: ``most`` is not positive, or the gradient has a nan or inf in it.

    Example:
        >>> a, b = Value(0.0), Value(0.0)
        >>> a.grad, b.grad = 3.0, 4.0
        >>> clip_gradients([a, b], 1.0), round(a.grad, 15), round(b.grad, 15)
        (5.0, 0.6, 0.8)
    """
    values = list(parameters)
    grads, length = _clipped(np.frombuffer(read_grads(values)), most)
    for value, grad in zip(values, grads.tolist()):
        value.grad = grad
    return length


def _clipped(grads: Array, most: float) -> tuple[Array, float]:
    """A gradient no longer than ``most``, and its length before."""
    if not most > 0.0:
        raise ValueArgumentError(f"clipping got a greatest length of {most!r}; expected a positive number")
    largest = float(np.max(np.abs(grads), initial=0.0))
    if not math.isfinite(largest):
        raise ValueArgumentError(f"clipping got a gradient with {largest!r} in it; a direction cannot be kept there")
    if largest == 0.0:
        return grads, 0.0
    scaled = grads / largest  # so that squares neither overflow nor vanish
    length = largest * math.sqrt(float(np.sum(scaled * scaled)))
    return (grads * (most / length) if length > most else grads), length


# --------------------------------------------------------------------------------------------- optimisers
class Optimizer:
    """What all optimisers share: parameters, a learning rate for each step, arrays of what they remember.

    Args:
        parameters: leaf Values; those that learn.
        learning_rate: a number, or a schedule.
        clip_norm: shorten gradients longer than this; None for never.

    Raises:
        ValueTypeError, ValueArgumentError: no parameters, one that is no leaf, one given twice.
    """

    remembers: tuple[str, ...] = ()  # the names of the arrays in ``memory``

    def __init__(
        self, parameters: Iterable[Value], learning_rate: float | Schedule, *, clip_norm: float | None = None
    ) -> None:
        self.parameters = list(parameters)
        _check_parameters(self.parameters, type(self).__name__)
        who = f"{type(self).__name__}(), learning_rate"
        self.learning_rate = learning_rate if callable(learning_rate) else constant(number(learning_rate, who))
        self.clip_norm = clip_norm
        self.steps = 0
        self.memory = {name: np.zeros(len(self.parameters)) for name in self.remembers}

    def step(self) -> float:
        """Let every parameter learn from its grad.

        Returns:
            The learning rate that was used.
        """
        rate = self.learning_rate(self.steps)
        grads = np.frombuffer(read_grads(self.parameters))
        if self.clip_norm is not None:
            grads, _ = _clipped(grads, self.clip_norm)
        data = np.frombuffer(read_data(self.parameters))
        data, memory = self.moved(data, grads, self.memory, rate, self.steps + 1)
        # All is calculated before anything changes, so that an error leaves no half of a step.
        write_data(self.parameters, data.data)
        self.memory = memory
        self.steps += 1
        return rate

    def moved(
        self, data: Array, grads: Array, memory: Mapping[str, Array], rate: Any, t: Any
    ) -> tuple[Array, dict[str, Array]]:
        """The formulas of one step, on arrays of numbers or of Values: nothing is changed.

        Args:
            data: the parameters' numbers.
            grads: their gradients.
            memory: what is remembered of earlier steps.
            rate: the learning rate.
            t: the step's number, 1 for the first.

        Returns:
            The new numbers, and the new memory.
        """
        raise NotImplementedError

    def zero_grad(self) -> None:
        """Set every parameter's grad to 0."""
        zero_grads(self.parameters)

    def state(self) -> dict[str, Any]:
        """All that ``load_state`` needs to go on as if never stopped: the number of steps, and arrays."""
        return {"steps": self.steps, **{name: array.copy() for name, array in self.memory.items()}}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what ``state()`` gave.

        Raises:
            ShapeError: it belongs to another optimiser, or to another number of parameters.
        """
        if set(state) != {"steps", *self.remembers}:
            raise ShapeError(
                f"{type(self).__name__}.load_state() got {', '.join(sorted(state))}; "
                f"expected {', '.join(sorted(['steps', *self.remembers]))}"
            )
        for name in self.remembers:
            who = f"{type(self).__name__}.load_state(), {name}"
            array = np.asarray(unmasked(state[name], who), dtype=np.float64)
            if array.shape != (len(self.parameters),):
                raise ShapeError(
                    f"{type(self).__name__}.load_state() got {name} of shape {array.shape}; "
                    f"expected ({len(self.parameters)},), an entry for each parameter"
                )
            self.memory[name] = array.copy()
        self.steps = integer(state["steps"], "load_state(), steps")


def _check_parameters(parameters: list[Value], who: str) -> None:
    if not parameters:
        raise ValueArgumentError(f"{who}() got no parameters; give the Values that are to learn")
    for parameter in parameters:
        if type(parameter) is not Value:
            raise ValueTypeError(f"{who}() got {shown(parameter)} among its parameters; expected Values")
        if parameter.children:
            raise ValueArgumentError(
                f"{who}() got {shown(parameter)} among its parameters, which was computed by {parameter.op!r}; "
                "only leaves can learn"
            )
    if len(set(parameters)) != len(parameters):
        raise ValueArgumentError(f"{who}() got a parameter twice; each would move it: give every parameter once")


class SGD(Optimizer):
    """Stochastic gradient descent with momentum: v = momentum * v + g; p = p - rate * v (Polyak 1964).

    Args:
        parameters: leaf Values.
        learning_rate: a number, or a schedule.
        momentum: how much of the earlier steps goes on; 0 for plain descent.
        clip_norm: shorten gradients longer than this; None for never.

    Example:
        >>> x = Value(3.0)
        >>> optimizer = SGD([x], 0.1)
        >>> (x * x).backward()
        >>> optimizer.step(), x.data
        (0.1, 2.4)
    """

    remembers = ("velocity",)

    def __init__(
        self,
        parameters: Iterable[Value],
        learning_rate: float | Schedule = 0.01,
        *,
        momentum: float = 0.0,
        clip_norm: float | None = None,
    ) -> None:
        super().__init__(parameters, learning_rate, clip_norm=clip_norm)
        self.momentum = _share(momentum, "SGD(), momentum")

    def moved(
        self, data: Array, grads: Array, memory: Mapping[str, Array], rate: Any, t: Any
    ) -> tuple[Array, dict[str, Array]]:
        """As the class says."""
        velocity = self.momentum * memory["velocity"] + grads
        return data - rate * velocity, {"velocity": velocity}


class Adam(Optimizer):
    """Adam (Kingma and Ba 2015, arXiv:1412.6980): a step as long as the gradient is steady.

    m = beta1 * m + (1 - beta1) * g and v = beta2 * v + (1 - beta2) * g*g are running means of the gradient
    and its square, m_hat = m / (1 - beta1**t) and v_hat = v / (1 - beta2**t) at step t = 1, 2, ... undo that
    they began at 0, and p = p - rate * m_hat / (sqrt(v_hat) + epsilon).

    Args:
        parameters: leaf Values.
        learning_rate: a number, or a schedule.
        beta1: how long gradients are remembered.
        beta2: how long their squares are remembered.
        epsilon: keeps the division finite.
        clip_norm: shorten gradients longer than this; None for never.
    """

    remembers = ("m", "v")

    def __init__(
        self,
        parameters: Iterable[Value],
        learning_rate: float | Schedule = 0.001,
        *,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
        clip_norm: float | None = None,
    ) -> None:
        super().__init__(parameters, learning_rate, clip_norm=clip_norm)
        self.beta1 = _share(beta1, f"{type(self).__name__}(), beta1")
        self.beta2 = _share(beta2, f"{type(self).__name__}(), beta2")
        self.epsilon = number(epsilon, f"{type(self).__name__}(), epsilon")

    def moved(
        self, data: Array, grads: Array, memory: Mapping[str, Array], rate: Any, t: Any
    ) -> tuple[Array, dict[str, Array]]:
        """As the class says."""
        m = self.beta1 * memory["m"] + (1 - self.beta1) * grads
        v = self.beta2 * memory["v"] + (1 - self.beta2) * (grads * grads)
        m_hat = m * (1 / (1 - self.beta1**t))  # one division for all parameters, and not one for each
        v_hat = v * (1 / (1 - self.beta2**t))
        return data - rate * m_hat / (np.sqrt(v_hat) + self.epsilon), {"m": m, "v": v}


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019, arXiv:1711.05101).

    Each step first shrinks every parameter by the share ``rate * weight_decay``, then does what Adam does.

    Args:
        parameters: leaf Values.
        learning_rate: a number, or a schedule.
        beta1: how long gradients are remembered.
        beta2: how long their squares are remembered.
        epsilon: keeps the division finite.
        weight_decay: by which share of the learning rate parameters shrink.
        clip_norm: shorten gradients longer than this; None for never.
    """

    def __init__(
        self,
        parameters: Iterable[Value],
        learning_rate: float | Schedule = 0.001,
        *,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
        weight_decay: float = 0.01,
        clip_norm: float | None = None,
    ) -> None:
        super().__init__(parameters, learning_rate, beta1=beta1, beta2=beta2, epsilon=epsilon, clip_norm=clip_norm)
        self.weight_decay = number(weight_decay, "AdamW(), weight_decay")

    def moved(
        self, data: Array, grads: Array, memory: Mapping[str, Array], rate: Any, t: Any
    ) -> tuple[Array, dict[str, Array]]:
        """As the class says."""
        return super().moved(data * (1 - rate * self.weight_decay), grads, memory, rate, t)


def _share(x: float, who: str) -> float:
    share = number(x, who)
    if not 0.0 <= share < 1.0:
        raise ValueArgumentError(f"{who} got {x!r}; expected at least 0 and less than 1")
    return share
