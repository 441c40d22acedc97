"""Training steps of the GPT as compiled programs.

Why: ``model.py`` says what the model computes, ``optim.py`` how it learns.  Here both are recorded, the gradient
included, and run natively: the same code, many times as fast.  Many steps run without Python between them.

How: two kinds of programs.  The lanes of a gradient program are documents of one length (``batches.py``); it gives the
sums of their losses and of their gradients.  The lanes of the update program are the parameters.  A step runs a
gradient program for each block of its batch, adds their sums in the order of the blocks, and then runs the update.  So
a length that is met for the first time costs the recording of a loss, not of an optimiser, and only the documents
beside a long one are filled up to its length.

Data structures: a ``Steps`` keeps parameters and the optimiser's memory as rows of one array; ``write_back`` puts them
into the model's Values and the optimiser.

Where to start reading: ``Steps._gradient`` and ``Steps._update``, which are what is recorded; then ``Steps.run``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

import valuegrad as vg
from valuegrad import modes
from valuegrad.batch import batch_sum
from valuegrad.errors import ValueArgumentError
from valuegrad.gpt.batches import VECTOR_BYTES, Documents, Plan
from valuegrad.gpt.model import GPT
from valuegrad.lower.lowering import ENGINE, HAS_PASSES
from valuegrad.lower.rolled import stream
from valuegrad.optim import Optimizer
from valuegrad.value import read_data, write_data

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from valuegrad.program import Program

    State = NDArray[np.floating[Any]]

__all__ = ["Steps", "built", "runs_compiled"]


def built() -> bool:
    """Whether there are the compiled modules that make programs quick."""
    return ENGINE == "native" and HAS_PASSES


def runs_compiled() -> bool:
    """Whether programs run natively here: not inside ``vg.strict()``, where every operation is looked at."""
    return built() and not modes.current() & ~modes.NO_GRAD


class Steps:
    """Compiled training steps of a model.

    Args:
        model: its weights are where the steps begin.
        optimizer: of the model's parameters; its formulas and memory are used.
        dtype: "float64" or "float32".
        threads: how many threads share a batch.

    Raises:
        ValueArgumentError: the optimiser moves a parameter by more than its own gradient and memory.
    """

    def __init__(self, model: GPT, optimizer: Optimizer, *, dtype: str = "float64", threads: int = 1) -> None:
        _check_entry_by_entry(optimizer)
        self.model = model
        self.optimizer = optimizer
        self.dtype = dtype
        self.threads = threads
        self.count = len(optimizer.parameters)
        self.gradient: Program = vg.compile(self._gradient, dtype=dtype, vectors=("data",), max_paths=1)
        self.update: Program = vg.compile(self._update, dtype=dtype, max_paths=1)
        self.scale: Program = vg.compile(self._scale, dtype=dtype, vectors=("grads",), max_paths=1)
        self._codes: dict[tuple[int, bool], Any] = {}  # by length, and whether for one lane
        self._native: Any = None
        self.read()

    def read(self) -> None:
        """Take over the numbers of the model and the optimiser."""
        optimizer = self.optimizer
        rows = [np.frombuffer(read_data(optimizer.parameters)), *[optimizer.memory[x] for x in optimizer.remembers]]
        room = self.model.settings.block_size + 2  # for the inputs of a lone document, behind the parameters
        self.state: State = np.zeros((len(rows), self.count + room), dtype=self.dtype)
        self.state[:, : self.count] = rows

    def write_back(self, state: State | None = None) -> None:
        """Put the numbers, or those of another state, into the model's Values and the optimiser."""
        state = self.state if state is None else state
        data, *memory = state[:, : self.count].astype(np.float64)
        write_data(self.optimizer.parameters, data.data)
        self.optimizer.memory = dict(zip(self.optimizer.remembers, memory))

    # ------------------------------------------------------------------------------------------------- steps
    def step(self, documents: Sequence[Sequence[int]], rate: float, t: int) -> float:
        """Learn from a batch; the mean of the documents' losses before.

        Nothing is learned where the loss is not finite.

        Args:
            documents: the tokens of each, at least two.
            rate: the learning rate.
            t: the step's number, 1 for the first.
        """
        sizes = self.model.settings
        found = Documents.of_tokens(documents, sizes.block_size, len(self.model.token_embedding.weight))
        plan = found.plan(np.arange(len(documents))[None], self.dtype, threads=self.threads)
        self.state, losses = self.run(plan, [rate], t, self.state)
        return float(losses[0])

    def run(self, plan: Plan, rates: Sequence[float], t: int, state: State) -> tuple[State, NDArray[np.float64]]:
        """Take steps.

        Args:
            plan: their documents.
            rates: the learning rate of each.
            t: the first one's number.
            state: parameters and memory before; it is left alone.

        Returns:
            The state after them, and for each step the mean of its documents' losses before.  If one is not finite,
            it is the last one, and nothing was learned from it.
        """
        codes = self._programs(plan)
        rows = np.empty((len(plan), 3))
        rows[:, 0], rows[:, 1], rows[:, 2] = rates, np.arange(t, t + len(plan)), plan.batch
        losses = np.empty(len(plan))
        state = _in_whole_vectors(state)
        blocks = plan.program, plan.lanes, plan.begins, plan.numbers, plan.first
        done = self._descent().run(state, codes, *blocks, rows, losses, self.threads)
        return state, losses[: done + 1]

    def prepare(self, plan: Plan) -> None:
        """Record what a plan needs and is not there yet."""
        self._programs(plan)
        self._descent()

    def _programs(self, plan: Plan) -> list[Any]:
        """The gradient programs that a plan needs."""
        for length in plan.lengths:
            if (length, plan.alone) not in self._codes:
                lanes = 1 if plan.alone else 2  # any number but one stands for many
                tokens = [np.zeros(lanes, dtype=np.int64) for _ in range(length + 1)]
                example = self.state[0, : self.count], tokens, np.full(lanes, float(length))
                self._codes[length, plan.alone] = _native(self.gradient, example)
        return [self._codes[length, plan.alone] for length in plan.lengths]

    def _descent(self) -> Any:
        if self._native is None:
            from valuegrad._replay import Descent

            rows = self.state[:, :2]
            update = _native(self.update, (rows[0], rows[0], list(rows[1:]), 1.0, 1.0, 1.0, 1.0))
            stream(update, strict=False)
            clips = self.optimizer.clip_norm is not None
            scale = _native(self.scale, (self.state[0, : self.count], 1.0)) if clips else None
            self._native = Descent(update, self.count, scale)
        return self._native

    # --------------------------------------------------------------------------------------- what is recorded
    def _gradient(self, data: Any, tokens: Any, count: Any) -> Any:
        """Of one lane, a document: the sums over all lanes of the gradient and of the loss."""
        share = 1.0 / count  # of each position in its document's mean
        weights = [vg.where(count > i, share, 0.0) for i in range(len(tokens) - 1)]

        def loss_of(data: Any) -> Any:
            losses = self.model.with_parameters(data).losses(tokens)
            return vg.dot(weights[: len(losses)], losses)

        loss, grads = vg.value_and_grad(loss_of)(data)
        return np.array([*map(batch_sum, grads), batch_sum(loss)], dtype=object)

    def _update(self, data: Any, grad: Any, memory: Any, rate: Any, t: Any, share: Any, scale: Any) -> Any:
        """Of one lane, a parameter: its new number, and what is remembered of it.

        Args:
            data: its number.
            grad: its gradient, summed over the documents.
            memory: what is remembered of it.
            rate: the learning rate.
            t: the step's number.
            share: of a document in the batch's mean.
            scale: by what gradients are multiplied that are too long.
        """
        optimizer = self.optimizer
        mean = grad * share
        if optimizer.clip_norm is not None:
            mean = mean * scale
        entries = [np.array([x], dtype=object) for x in (data, mean, *memory)]
        moved, kept = optimizer.moved(entries[0], entries[1], dict(zip(optimizer.remembers, entries[2:])), rate, t)
        return [moved[0], *[kept[name][0] for name in optimizer.remembers]]

    def _scale(self, grads: Any, share: Any) -> Any:
        """What makes the gradient no longer than ``clip_norm``, as ``optim.clip_gradients`` shortens it."""
        most = self.optimizer.clip_norm
        length = vg.norm([grad * share for grad in grads])
        return vg.where(length > most, most / length, 1.0)


def _in_whole_vectors(state: State) -> State:
    """A copy whose memory begins with a whole vector: then programs read the parameters where they are."""
    room = np.empty(state.nbytes + VECTOR_BYTES, dtype=np.uint8)
    first = -room.ctypes.data % VECTOR_BYTES
    found: State = room[first : first + state.nbytes].view(state.dtype).reshape(state.shape)
    found[:] = state
    return found


def _native(program: Program, example: tuple[Any, ...]) -> Any:
    """What executes a program for arguments like these."""
    found = program.taken_apart(example)
    assert found is not None, "there are no Values among them"
    paths, call = found
    return paths.lower(paths.first(call), call, waits=False).code


def _check_entry_by_entry(optimizer: Optimizer) -> None:
    """The formulas of a step must give each parameter what they give it alone: it is a lane of its own."""
    few, many = (
        optimizer.moved(
            np.linspace(0.5, 2.0, 4)[:count],
            np.linspace(-1.0, 1.5, 4)[:count],
            {name: np.linspace(0.25, 1.0, 4)[:count] for name in optimizer.remembers},
            0.1,
            3,
        )
        for count in (1, 4)
    )
    arrays = zip([few[0], *few[1].values()], [many[0], *many[1].values()])
    if not all(np.array_equal(np.ravel(a)[:1], np.ravel(b)[:1], equal_nan=True) for a, b in arrays):
        raise ValueArgumentError(
            f"Steps() got {type(optimizer).__name__}, by whose moved() a parameter depends on others' gradients; "
            "compiled steps move each by its own: train with engine 'eager'"
        )
