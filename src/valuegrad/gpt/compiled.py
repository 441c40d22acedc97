"""Training steps of the GPT as compiled programs.

Why: ``model.py`` says what the model computes, ``optim.py`` how it learns.  Here both are recorded once, gradient and
optimiser included, and run natively: the same code, many times as fast.

How: the documents of a batch are the lanes of a program.  They differ in length, so each is filled up to a length that
a program was recorded for, and a position that is not there counts for nothing in its document's mean.

Data structures: a ``Steps`` keeps parameters and the optimiser's memory as rows of one array; ``write_back`` puts them
into the model's Values and the optimiser.

Where to start reading: ``Steps._train_step``, which is what is recorded.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

import valuegrad as vg
from valuegrad import modes
from valuegrad.batch import batch_sum
from valuegrad.gpt.model import GPT
from valuegrad.lower.lowering import ENGINE, HAS_PASSES
from valuegrad.optim import Optimizer
from valuegrad.value import read_data, write_data

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from valuegrad.program import Program

__all__ = ["Steps", "batch_arrays", "built", "padded", "runs_compiled"]

FINEST = 2  # lengths are multiples of this


def built() -> bool:
    """Whether there are the compiled modules that make programs quick."""
    return ENGINE == "native" and HAS_PASSES


def runs_compiled() -> bool:
    """Whether programs run natively here: not inside ``vg.strict()``, where every operation is looked at."""
    return built() and not modes.current() & ~modes.NO_GRAD


def padded(positions: int, most: int) -> int:
    """The length that a document is filled up to: 2, 4, 6 ... 16, 20 ... 32, 40 ... 64, but never more than ``most``.

    Filling costs time at every step, recording once for each length: about as much as 200 steps.  A run on names meets
    14 lengths.  Half of them are recorded, which fills up one position in two documents; of longer documents an eighth
    at most is filling.

    Example:
        >>> [padded(n, 60) for n in (1, 5, 16, 17, 25, 33, 58)]
        [2, 6, 16, 20, 28, 40, 60]
    """
    step = max(FINEST, 1 << max((positions - 1).bit_length() - 3, 0))
    return min(-(-positions // step) * step, most)


def batch_arrays(
    documents: Sequence[Sequence[int]], positions: int
) -> tuple[NDArray[np.int64], NDArray[np.floating[Any]]]:
    """A batch of documents, filled up.

    Args:
        documents: the tokens of each, at least two.
        positions: how many tokens are predicted, at least as many as in the longest document.

    Returns:
        tokens, int64[positions + 1, documents], and for each document how many tokens are predicted in truth.

    Example:
        >>> tokens, counts = batch_arrays([[2, 0, 1, 2], [2, 1]], 4)
        >>> tokens.T.tolist(), counts.tolist()
        ([[2, 0, 1, 2, 0], [2, 1, 0, 0, 0]], [3.0, 1.0])
    """
    tokens = np.zeros((positions + 1, len(documents)), dtype=np.int64)
    for i, document in enumerate(documents):
        tokens[: len(document), i] = document
    return tokens, np.array([len(document) - 1.0 for document in documents])


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
        self.program: Program = vg.compile(
            self._train_step, dtype=dtype, threads=threads, vectors=("state",), max_paths=1
        )
        self.read()

    def read(self) -> None:
        """Take over the numbers of the model and the optimiser."""
        optimizer = self.optimizer
        rows = [np.frombuffer(read_data(optimizer.parameters)), *[optimizer.memory[x] for x in optimizer.remembers]]
        self.state = np.array(rows, dtype=self.dtype)

    def write_back(self) -> None:
        """Put the numbers into the model's Values and the optimiser."""
        data, *memory = self.state.astype(np.float64)
        write_data(self.optimizer.parameters, data.data)
        self.optimizer.memory = dict(zip(self.optimizer.remembers, memory))

    def step(self, documents: Sequence[Sequence[int]], rate: float, t: int) -> float:
        """Learn from a batch; the mean of the documents' losses before.

        Nothing is learned where the loss is not finite.

        Args:
            documents: the tokens of each.
            rate: the learning rate.
            t: the step's number, 1 for the first.
        """
        longest = max(map(len, documents)) - 1
        tokens, counts = batch_arrays(documents, padded(longest, self.model.settings.block_size))
        state, loss = self.program(self.state, rate, float(t), list(tokens), counts)
        loss = float(loss)  # with one document it is an array of one
        if np.isfinite(loss):
            self.state = state
        return loss

    def _train_step(self, state: Any, rate: Any, t: Any, tokens: Any, count: Any) -> Any:
        """The step of one lane, a document; what is the mean over lanes is the same for all of them."""

        share = 1.0 / count  # of each position in its document's mean
        weights = [vg.where(count > i, share, 0.0) for i in range(len(tokens) - 1)]

        def loss_of(data: Any) -> Any:
            losses = self.model.with_parameters(data).losses(tokens)
            return vg.dot(weights[: len(losses)], losses)

        loss, grads = vg.value_and_grad(loss_of)(state[0])
        lanes = batch_sum(1.0)
        means = np.array([batch_sum(grad) for grad in grads], dtype=object) / lanes
        memory = dict(zip(self.optimizer.remembers, state[1:]))
        data, memory = self.optimizer.moved(state[0], self._clipped(means), memory, rate, t)
        return np.array([data, *[memory[x] for x in self.optimizer.remembers]]), batch_sum(loss) / lanes

    def _clipped(self, grads: Any) -> Any:
        """The gradient no longer than ``clip_norm``, as ``optim.clip_gradients`` shortens it."""
        most = self.optimizer.clip_norm
        if most is None:
            return grads
        length = vg.norm(list(grads))
        return grads * vg.where(length > most, most / length, 1.0)
