"""Small neural networks as scalar code: every weight is a Value.

Why: a network is ordinary arithmetic on lists of numbers, and here it can be read as such.

Data structures: a *vector* is a list of Values, a *matrix* a list of rows, one row of weights for each
output.  A ``Module`` owns such weights and is called like a function; ``parameters()`` lists them all,
in the order in which they were drawn.

Where to start reading: ``linear``, ``rmsnorm`` and ``attend``, which are what a GPT computes; then
``Attention``.  ``Neuron``, ``Layer`` and ``MLP`` are the classic small network.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import copy
from itertools import islice
from math import inf
from typing import TYPE_CHECKING, Any

import valuegrad as vg
from valuegrad.arguments import integer, position
from valuegrad.errors import ShapeError, ValueArgumentError
from valuegrad.value import Value, zero_grads

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = [
    "MLP",
    "Attention",
    "Embedding",
    "Layer",
    "Linear",
    "Module",
    "Neuron",
    "RMSNorm",
    "add",
    "attend",
    "attention_weights",
    "gaussian",
    "linear",
    "rmsnorm",
]

Vector = list[Value]
Matrix = list[Vector]
Draw = Callable[[], float]


# ---------------------------------------------------------------------------------------------- functions
def add(xs: Sequence[Value], ys: Sequence[Value]) -> Vector:
    """The sums x + y of two vectors of one length, entry by entry."""
    if len(xs) != len(ys):
        raise ShapeError(f"add() got vectors of length {len(xs)} and {len(ys)}; give vectors of one length")
    return [x + y for x, y in zip(xs, ys)]


def linear(x: Sequence[Value], weight: Matrix) -> Vector:
    """A matrix times a vector: each output is the dot product of its row of weights with x."""
    dot = vg.dot
    return [dot(row, x) for row in weight]


def rmsnorm(x: Sequence[Value], epsilon: float = 1e-5) -> Vector:
    """x scaled so that the mean of its squares is 1 (Zhang and Sennrich 2019, arXiv:1910.07467).

    Args:
        x: a vector.
        epsilon: what is added to the mean of the squares, so that zeros stay zeros.
    """
    scale = (vg.dot(x, x) / len(x) + epsilon) ** -0.5
    return [xi * scale for xi in x]


def attend(
    query: Sequence[Value],
    keys: Sequence[Sequence[Value]],
    values: Sequence[Sequence[Value]],
    seen: Sequence[Any] | None = None,
) -> Vector:
    """Scaled dot-product attention of one head (Vaswani et al. 2017, arXiv:1706.03762, equation 1).

    Args:
        query: what this position looks for; a vector.
        keys: what each position so far offers; a vector for each position.
        values: what each position so far passes on, *by entry*: ``values[j][t]`` is entry j of position t.
        seen: conditions, which of the positions are there at all; all of them if None.

    Returns:
        The average of the values, weighted by how well the keys match the query.
    """
    weights = attention_weights(query, keys, seen)
    return [vg.dot(weights, entry) for entry in values]


def attention_weights(
    query: Sequence[Value], keys: Sequence[Sequence[Value]], seen: Sequence[Any] | None = None
) -> Vector:
    """How much one head of a position looks at each position so far: numbers from 0 to 1 whose sum is 1.

    Args:
        query: what this position looks for; a vector.
        keys: what each position so far offers; a vector for each position.
        seen: conditions, which of the positions are there at all; all of them if None.

    Example:
        >>> attention_weights([Value(1.0)], [[Value(3.0)], [Value(3.0)]])
        [Value(data=0.5, grad=0.0), Value(data=0.5, grad=0.0)]
    """
    scale = len(query) ** 0.5
    matches = [vg.dot(query, key) / scale for key in keys]
    if seen is not None:
        matches = [vg.where(there, match, -inf) for there, match in zip(seen, matches)]
    return vg.softmax(matches)


def gaussian(std: float, rng: random.Random | None = None) -> Draw:
    """A source of starting weights: numbers drawn from the normal distribution around 0.

    Args:
        std: its standard deviation.
        rng: where the draws come from; Python's shared generator if None.
    """
    gauss = random.gauss if rng is None else rng.gauss
    return lambda: gauss(0.0, std)


def _matrix(n_out: int, n_in: int, draw: Draw) -> Matrix:
    return [[Value(draw()) for _ in range(n_in)] for _ in range(n_out)]


def _size(n: int, who: str) -> int:
    size = integer(n, who)
    if size < 1:
        raise ValueArgumentError(f"{who} got {n}; expected 1 or more")
    return size


# ------------------------------------------------------------------------------------------------ modules
class Module:
    """Something with parameters.  Its attributes that are Values, lists or Modules hold them."""

    def parameters(self) -> list[Value]:
        """All weights, in the order of the attributes."""
        found: list[Value] = []
        for part in vars(self).values():
            _add_values(part, found)
        return found

    def zero_grad(self) -> None:
        """Set the grad of every parameter to 0."""
        zero_grads(self.parameters())

    def with_parameters(self, values: Iterable[Value]) -> Self:
        """The same network with other Values for its weights, which are shared with nobody.

        A function of the weights is what can be compiled, or differentiated by them.

        Args:
            values: as many as ``parameters()`` has, in the same order.

        Raises:
            ShapeError: there are fewer or more.

        Example:
            >>> layer = Linear(2, 1, bias=False)
            >>> vg.grad(lambda w: layer.with_parameters(w)([3.0, 5.0])[0])([0.1, 0.2])
            [3.0, 5.0]
        """
        given = list(values)
        count = len(self.parameters())
        if len(given) != count:
            raise ShapeError(f"with_parameters() got {len(given)} Values; expected {count}, one for each parameter")
        return _replaced(self, iter(given))  # type: ignore[no-any-return]


def _add_values(x: Any, found: list[Value]) -> None:
    if type(x) is Value:
        found.append(x)
    elif isinstance(x, Module):
        found += x.parameters()
    elif isinstance(x, list):
        if set(map(type, x)) == {Value}:  # a row of weights, in one go: there are many
            found += x
        else:
            for entry in x:
                _add_values(entry, found)


def _replaced(x: Any, values: Iterator[Value]) -> Any:
    """x with its Values replaced, in the order of ``parameters()``."""
    if type(x) is Value:
        return next(values)
    if isinstance(x, list):
        if set(map(type, x)) == {Value}:
            return list(islice(values, len(x)))
        return [_replaced(entry, values) for entry in x]
    if isinstance(x, Module):
        other = copy(x)
        vars(other).update({name: _replaced(part, values) for name, part in vars(x).items()})
        return other
    return x


class Linear(Module):
    """A matrix of weights, and a bias for each output if wanted.

    Args:
        n_in: length of the input.
        n_out: length of the output.
        bias: add a bias, which starts at 0.
        draw: gives the starting weights, one a call; normal with deviation 1/sqrt(n_in) if None.

    Example:
        >>> double = Linear(2, 2, bias=False, draw=iter([2.0, 0.0, 0.0, 2.0]).__next__)
        >>> [y.data for y in double([Value(3.0), Value(5.0)])]
        [6.0, 10.0]
    """

    def __init__(self, n_in: int, n_out: int, *, bias: bool = True, draw: Draw | None = None) -> None:
        n_in, n_out = _size(n_in, "Linear(), n_in"), _size(n_out, "Linear(), n_out")
        self.weight = _matrix(n_out, n_in, draw or gaussian(n_in**-0.5))
        self.bias = [Value(0.0) for _ in range(n_out)] if bias else []

    def __call__(self, x: Sequence[Value]) -> Vector:
        """The outputs for one input vector."""
        out = linear(x, self.weight)
        return add(out, self.bias) if self.bias else out


class Embedding(Module):
    """A vector of weights for each of ``count`` things, such as the characters of an alphabet.

    Args:
        count: how many things.
        n_embd: length of their vectors.
        draw: gives the starting weights, one a call; normal with deviation 1 if None.
    """

    def __init__(self, count: int, n_embd: int, *, draw: Draw | None = None) -> None:
        self.weight = _matrix(
            _size(count, "Embedding(), count"), _size(n_embd, "Embedding(), n_embd"), draw or gaussian(1.0)
        )

    def __call__(self, index: int | Value) -> Vector:
        """The vector of thing ``index``: the row of weights itself; an input of a compiled function may say which."""
        if type(index) is Value:
            return vg.take(self.weight, index)  # type: ignore
        return self.weight[position(index, len(self.weight), "Embedding")]


class RMSNorm(Module):
    """``rmsnorm`` with a gain for each entry, which starts at 1.

    Args:
        n: length of the vector.
        epsilon: what is added to the mean of the squares.
        gain: False for none; the GPT here has none.
    """

    def __init__(self, n: int, *, epsilon: float = 1e-5, gain: bool = True) -> None:
        self.epsilon = epsilon
        self.gain = [Value(1.0) for _ in range(_size(n, "RMSNorm(), n"))] if gain else []

    def __call__(self, x: Sequence[Value]) -> Vector:
        """The scaled vector."""
        out = rmsnorm(x, self.epsilon)
        return [xi * gain for xi, gain in zip(out, self.gain)] if self.gain else out


class Attention(Module):
    """Causal multi-head attention: a position gathers what it needs from itself and those before it.

    Each head looks through its own slice of the vectors.  Positions are fed one after another; keys and
    values of the earlier ones are kept in a ``Memory``, so nothing is computed twice.

    Args:
        n_embd: length of the vectors.
        n_head: number of heads; n_embd must be a multiple of it.
        draw: gives the starting weights, one a call; normal with deviation 1/sqrt(n_embd) if None.

    Raises:
        ValueArgumentError: n_embd is no multiple of n_head.
    """

    def __init__(self, n_embd: int, n_head: int, *, draw: Draw | None = None) -> None:
        n_embd, n_head = _size(n_embd, "Attention(), n_embd"), _size(n_head, "Attention(), n_head")
        if n_embd % n_head:
            raise ValueArgumentError(
                f"Attention() got n_embd {n_embd} and n_head {n_head}; each head gets an equal slice of the "
                "vectors, so n_embd must be a multiple of n_head"
            )
        self.query, self.key, self.value, self.output = (
            Linear(n_embd, n_embd, bias=False, draw=draw) for _ in range(4)
        )
        size = n_embd // n_head
        self.heads = tuple(slice(start, start + size) for start in range(0, n_embd, size))

    def __call__(self, x: Sequence[Value], memory: Memory) -> Vector:
        """The output for the next position, whose vector is x; the memory then holds it too."""
        query = self.query(x)
        memory.add(self.key(x), self.value(x))
        gathered: Vector = []
        for head in self.heads:
            weights = attention_weights(query[head], [key[head] for key in memory.keys], memory.seen)
            gathered += [vg.dot(weights, entry) for entry in memory.values[head]]
            if memory.looks is not None:
                memory.looks.append(weights)
        return self.output(gathered)


class Memory:
    """What an ``Attention`` keeps of the positions so far: ``keys[t][j]`` and ``values[j][t]``.

    ``seen`` is None or says, in a program that has room for more positions than there are, which are there.
    ``looks`` is None, or a list that gets the attention weights of each head at each position.
    """

    def __init__(self) -> None:
        self.keys: list[Vector] = []
        self.values: list[Vector] = []
        self.seen: list[Any] | None = None
        self.looks: list[Vector] | None = None

    def add(self, key: Vector, value: Vector) -> None:
        """Remember one more position."""
        if not self.values:
            self.values = [[] for _ in value]
        if self.seen is not None:
            self.seen.append(True)
        self.keys.append(key)
        for so_far, entry in zip(self.values, value):
            so_far.append(entry)


# ---------------------------------------------------------------------------- the classic small network
class Neuron(Module):
    """One neuron: relu(w . x + b), or without the relu.

    Args:
        n_in: number of inputs.
        nonlin: apply relu.
        rng: where the weights are drawn from, evenly between -1 and 1; Python's shared generator if None.
    """

    def __init__(self, n_in: int, nonlin: bool = True, *, rng: random.Random | None = None) -> None:
        uniform = random.uniform if rng is None else rng.uniform
        self.w = [Value(uniform(-1.0, 1.0)) for _ in range(_size(n_in, "Neuron(), n_in"))]
        self.b = Value(0.0)
        self.nonlin = nonlin

    def __call__(self, x: Sequence[Value | float]) -> Value:
        """The activation for one input vector."""
        if len(x) != len(self.w):
            raise ShapeError(f"{self!r} got {len(x)} inputs; expected {len(self.w)}")
        act = vg.dot(self.w, x) + self.b
        return act.relu() if self.nonlin else act

    def __repr__(self) -> str:
        return f"{'ReLU' if self.nonlin else 'Linear'}Neuron({len(self.w)})"


class Layer(Module):
    """Neurons that see the same inputs.

    Args:
        n_in: number of inputs.
        n_out: number of neurons.
        nonlin: apply relu.
        rng: where the weights are drawn from; Python's shared generator if None.
    """

    def __init__(self, n_in: int, n_out: int, nonlin: bool = True, *, rng: random.Random | None = None) -> None:
        self.neurons = [Neuron(n_in, nonlin, rng=rng) for _ in range(_size(n_out, "Layer(), n_out"))]

    def __call__(self, x: Sequence[Value | float]) -> Any:
        """The activations: a list, or one Value if there is one neuron."""
        out = [neuron(x) for neuron in self.neurons]
        return out[0] if len(out) == 1 else out

    def __repr__(self) -> str:
        return f"Layer of [{', '.join(map(repr, self.neurons))}]"


class MLP(Module):
    """A multi-layer perceptron: layers in a row, relu between them.

    Args:
        n_in: number of inputs.
        n_outs: number of neurons in each layer.
        rng: where the weights are drawn from; Python's shared generator if None.

    Example:
        >>> mlp = MLP(3, [4, 4, 1], rng=random.Random(1))
        >>> len(mlp.parameters())
        41
        >>> y = mlp([2.0, 3.0, -1.0])
        >>> y.backward()
        >>> any(p.grad != 0.0 for p in mlp.parameters())
        True
    """

    def __init__(self, n_in: int, n_outs: Sequence[int], *, rng: random.Random | None = None) -> None:
        sizes = [n_in, *n_outs]
        last = len(n_outs) - 1
        self.layers = [Layer(sizes[i], sizes[i + 1], i != last, rng=rng) for i in range(len(n_outs))]

    def __call__(self, x: Any) -> Any:
        """The last layer's activations: a list, or one Value if it has one neuron."""
        for layer in self.layers:
            x = layer([x] if isinstance(x, Value) else x)
        return x

    def __repr__(self) -> str:
        return f"MLP of [{', '.join(map(repr, self.layers))}]"
