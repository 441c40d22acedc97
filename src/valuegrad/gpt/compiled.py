"""Training steps and predictions of the GPT as compiled programs.

Why: ``model.py`` says what the model computes, ``optim.py`` how it learns.  Here both are recorded once, gradient and
optimiser included, and run natively: the same code, thousands of times as fast.

How: the documents of a batch are the lanes of a program.  They differ in length, so each is filled up to the longest
of its batch, and a position that is not there has weight 0 in its document's mean.  There is a program for each
length, recorded when a batch of that length first comes.

Data structures: a ``Steps`` keeps parameters and the optimiser's memory as arrays; ``write_back`` puts them into the
model's Values and the optimiser.

Where to start reading: ``Steps._train_step``, which is what is recorded.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

import valuegrad as vg
from valuegrad.gpt.model import GPT
from valuegrad.nn import Memory
from valuegrad.optim import Optimizer
from valuegrad.value import Value, read_data, write_data

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from valuegrad.program import Program

__all__ = ["Predictions", "Steps", "batch_arrays", "batch_losses"]


def batch_arrays(
    documents: Sequence[Sequence[int]], dtype: str = "float64"
) -> tuple[NDArray[np.int64], NDArray[np.floating[Any]]]:
    """A batch of documents, filled up to the longest.

    Args:
        documents: the tokens of each, at least two.
        dtype: of the weights.

    Returns:
        tokens, int64[n + 1, documents], and weights[n, documents]: each document's positions share a weight of 1.

    Example:
        >>> tokens, weights = batch_arrays([[2, 0, 1, 2], [2, 1]])
        >>> tokens.T.tolist(), weights.T.tolist()[1]
        ([[2, 0, 1, 2], [2, 1, 1, 1]], [1.0, 0.0, 0.0])
    """
    longest = max(map(len, documents))
    tokens = np.empty((longest, len(documents)), dtype=np.int64)
    weights = np.zeros((longest - 1, len(documents)), dtype=dtype)
    for i, document in enumerate(documents):
        n = len(document)
        tokens[:n, i] = document
        tokens[n:, i] = document[-1]
        weights[: n - 1, i] = 1.0 / (n - 1)
    return tokens, weights


class Steps:
    """Compiled training steps of a model.

    Args:
        model: its weights are where the steps begin.
        optimizer: of the model's parameters; its formulas and memory are used.
        dtype: "float64" or "float32".
        threads: how many threads share a batch.
    """

    def __init__(self, model: GPT, optimizer: Optimizer, *, dtype: str = "float64", threads: int = 1) -> None:
        self.model = model
        self.optimizer = optimizer
        self.dtype = dtype
        self.threads = threads
        self._program: Program | None = None
        self.read()

    def read(self) -> None:
        """Take over the numbers of the model and the optimiser."""
        data = np.frombuffer(read_data(self.optimizer.parameters)).astype(self.dtype)
        memory = {name: array.astype(self.dtype) for name, array in self.optimizer.memory.items()}
        self.state = {"data": data, **memory}

    def write_back(self) -> None:
        """Put the numbers into the model's Values and the optimiser."""
        state = {name: array.astype(np.float64) for name, array in self.state.items()}
        write_data(self.optimizer.parameters, state.pop("data").data)
        self.optimizer.memory = state

    def step(self, documents: Sequence[Sequence[int]], rate: float, t: int) -> float:
        """Learn from a batch; the mean of the documents' losses before.

        Nothing is learned where the loss is not finite.

        Args:
            documents: the tokens of each.
            rate: the learning rate.
            t: the step's number, 1 for the first.
        """
        if self._program is None:
            self._program = vg.compile(
                self._train_step, dtype=self.dtype, threads=self.threads, vectors=("state",), max_paths=1
            )
        tokens, weights = batch_arrays(documents, self.dtype)
        state, loss = self._program(self.state, rate, float(t), list(tokens), list(weights))
        if np.isfinite(loss):
            self.state = state
        return float(loss)

    def _train_step(self, state: Any, rate: Any, t: Any, tokens: Any, weights: Any) -> Any:
        """The step of one lane, a document; what is the mean over lanes is the same for all of them."""

        def loss_of(data: Any) -> Any:
            return vg.dot(weights, self.model.with_parameters(data).losses(tokens))

        loss, grads = vg.value_and_grad(loss_of)(state["data"])
        means = np.array([vg.batch_mean(grad) for grad in grads], dtype=object)
        memory = {name: state[name] for name in self.optimizer.remembers}
        data, memory = self.optimizer.moved(state["data"], self._clipped(means), memory, rate, t)
        return {"data": data, **memory}, vg.batch_mean(loss)

    def _clipped(self, grads: Any) -> Any:
        """The gradient no longer than ``clip_norm``, as ``optim.clip_gradients`` shortens it."""
        most = self.optimizer.clip_norm
        if most is None:
            return grads
        length = vg.norm(list(grads))
        return grads * vg.where(length > most, most / length, 1.0)


def batch_losses(model: GPT) -> Any:
    """A program of (parameters, tokens, weights), as ``batch_arrays`` makes them, that gives each document's loss."""

    def losses(parameters: Any, tokens: Any, weights: Any) -> Any:
        return vg.dot(weights, model.with_parameters(parameters).losses(tokens))

    return vg.compile(losses, vectors=("parameters",), max_paths=1)


class Predictions:
    """Compiled logits, position by position: what sampling asks for.

    Args:
        model: its weights at this moment.
    """

    def __init__(self, model: GPT) -> None:
        self.model = model
        self.parameters = np.frombuffer(read_data(model.parameters())).copy()
        self._program = vg.compile(self._next, vectors=("parameters", "memories"), static=("position",), max_paths=1)

    def start(self) -> list[Any]:
        """The memory of an empty text: for each layer keys and values so far."""
        size = self.model.settings.n_embd
        return [(np.empty((0, size)), np.empty((size, 0))) for _ in self.model.blocks]

    def next(self, token: int, position: int, memories: Any) -> tuple[list[float], Any]:
        """The logits after one more token, and the memory with it."""
        logits, memories = self._program(self.parameters, token, position, memories)
        return logits.tolist(), memories

    def _next(self, parameters: Any, token: Any, position: int, memories: Any) -> Any:
        kept = []
        for keys, values in memories:
            memory = Memory()
            memory.keys = [list(key) for key in keys]
            memory.values = [list(value) for value in values] if position else []
            kept.append(memory)
        logits = self.model.with_parameters(parameters)(token, position, kept)
        after = [(np.array(m.keys, dtype=object), np.array(m.values, dtype=object)) for m in kept]
        return np.array(logits, dtype=object), after


def parameters_of(model: GPT) -> NDArray[np.float64]:
    """The weights' numbers in their order, as one array."""
    values: list[Value] = model.parameters()
    return np.frombuffer(read_data(values)).copy()
