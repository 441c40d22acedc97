"""What a model says, without learning from it: the next token's logits, and losses of documents.

Why: on Values every number is computed by Python's asking; a program computes the same numbers natively.  But it has to
be recorded first, which takes as long as some dozens of texts or documents take on Values.  Most callers want a few.

How: it begins on Values, counts, and goes on compiled where that has begun to pay; so nobody ever waits more than
about twice as long as with the better choice made beforehand.  The programs are ``strict``: their numbers are the
engines' to the last bit, so nobody can tell either, and a seed gives the same texts.

Data structures: a ``Predictor`` has the programs for one model.  They take the weights as an argument, so they hold
while the model learns.  ``_models`` keeps them, and how often a model was asked, as long as the model lives.

Where to start reading: ``Predictor._next`` and ``Predictor._loss``, which are recorded.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np

import valuegrad as vg
from valuegrad.arguments import shown
from valuegrad.errors import ValueArgumentError
from valuegrad.gpt.batches import batch_arrays, padded
from valuegrad.gpt.compiled import built, runs_compiled
from valuegrad.gpt.model import GPT
from valuegrad.gpt.settings import PREDICTING, ModelSettings
from valuegrad.nn import Memory
from valuegrad.value import Value, read_data

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

__all__ = ["Predictor", "document_losses", "predictor_of", "writer"]

# Measured with the default sizes; with others all of it grows alike.
PAYS_AFTER_TEXTS = 40  # recording takes 9 ms, a text of 7 letters 0.4 ms on Values, 0.25 ms compiled
PAYS_AFTER_DOCUMENTS = 32  # of one length: recording takes 10 to 20 ms, a document 0.3 ms on Values, 0.006 ms compiled
LANES = 4096  # documents at once, so that memory does not grow with their number


class Predictor:
    """Compiled logits and losses of one model.

    Args:
        model: the model; it is not kept.
    """

    def __init__(self, model: GPT) -> None:
        parameters = model.parameters()
        self.model = model.with_parameters([Value(0.0) for _ in parameters])
        self.settings = sizes = model.settings
        self.count = len(parameters)
        self.room = (sizes.block_size - 1, sizes.n_layer, 2, sizes.n_embd)  # keys and values of the earlier positions
        self.logits = vg.compile(self._next, vectors=("numbers",), strict=True, max_paths=1)
        self.losses = vg.compile(self._loss, vectors=("parameters",), strict=True, max_paths=1)

    def _next(self, numbers: Any, token: Any, position: Any) -> Any:
        """The logits of the token that follows, then this position's key and value in each layer.

        There is room for all positions before the last one, so that one program serves all positions.

        Args:
            numbers: the weights, then keys and values of the earlier positions.
            token: the token at this position.
            position: 0 for the first one.
        """
        kept = numbers[self.count :].reshape(self.room)
        seen = [position > earlier for earlier in range(len(kept))]
        memories = []
        for layer in range(self.settings.n_layer):
            memory = Memory()
            memory.keys = [list(key) for key in kept[:, layer, 0]]
            memory.values = [list(entry) for entry in kept[:, layer, 1].T]
            memory.seen = list(seen)
            memories.append(memory)
        found = self.model.with_parameters(numbers[: self.count])(token, position, memories)
        for memory in memories:
            found = [*found, *memory.keys[-1], *[entry[-1] for entry in memory.values]]
        return np.array(found, dtype=object)

    def _loss(self, parameters: Any, tokens: Any, count: Any) -> Any:
        """A document's loss: the mean over the positions that are there."""
        losses = self.model.with_parameters(parameters).losses(tokens)
        return vg.sum([vg.where(count > i, loss, 0.0) for i, loss in enumerate(losses)]) / count


@dataclass
class _Asked:
    """How often a model was asked, and its programs once there are some."""

    settings: ModelSettings
    texts: int = 0
    documents: Counter[int] = field(default_factory=Counter)  # by the length that they are filled up to
    predictor: Predictor | None = None


_models: WeakKeyDictionary[GPT, _Asked] = WeakKeyDictionary()


def _asked(model: GPT) -> _Asked:
    found = _models.get(model)
    if found is None or found.settings != model.settings:
        found = _models[model] = _Asked(model.settings)
    return found


def predictor_of(model: GPT) -> Predictor:
    """A model's programs; they are made anew if it has got other sizes."""
    asked = _asked(model)
    if asked.predictor is None:
        asked.predictor = Predictor(model)
    return asked.predictor


def _compiled(engine: str, used: int, pays_after: int) -> bool:
    """Whether to run compiled what was done so often before."""
    if engine not in PREDICTING:
        raise ValueArgumentError(f"engine is {shown(engine)}; expected one of {', '.join(PREDICTING)}")
    if engine == "compiled" and not built():
        raise ValueArgumentError(
            "engine is 'compiled', but valuegrad's compiled modules were not built; install valuegrad again with a C "
            "compiler, or choose 'eager'"
        )
    return engine == "compiled" or (engine == "auto" and used >= pays_after and runs_compiled())


def _parameters(model: GPT) -> Array:
    """The weights of this moment."""
    return np.frombuffer(read_data(model.parameters()))


# ------------------------------------------------------------------------------------------- writing a text
class Writer:
    """The logits of a text that is being written, on Values.

    Args:
        model: the model.
    """

    def __init__(self, model: GPT) -> None:
        self.model = model
        self.position = 0
        self.memories = model.memories()

    def next(self, token: int) -> list[float]:
        """The logits after one more token."""
        with vg.no_grad():  # entered at each step, so that it does not reach into the caller's code
            logits = [logit.data for logit in self.model(token, self.position, self.memories)]
        self.position += 1
        return logits


class CompiledWriter(Writer):
    """The same, compiled: with the weights of the moment when the text begins.

    Args:
        model: the model.
        predictor: its programs.
    """

    def __init__(self, model: GPT, predictor: Predictor) -> None:
        self.program = predictor.logits
        self.position = 0
        earlier, *sizes = predictor.room
        self.numbers = np.concatenate([_parameters(model), np.zeros(earlier * math.prod(sizes))])
        self.kept = self.numbers[predictor.count :].reshape(earlier, math.prod(sizes))

    def next(self, token: int) -> list[float]:
        """The logits after one more token."""
        found = self.program(self.numbers, token, self.position)
        new = self.kept.shape[1]
        if self.position < len(self.kept):
            self.kept[self.position] = found[-new:]
        self.position += 1
        return found[:-new].tolist()  # type: ignore[no-any-return]


def writer(model: GPT, engine: str) -> Writer:
    """What gives the logits of one more text."""
    asked = _asked(model)
    compiled = _compiled(engine, asked.texts, PAYS_AFTER_TEXTS)
    asked.texts += 1
    return CompiledWriter(model, predictor_of(model)) if compiled else Writer(model)


# -------------------------------------------------------------------------------------- losses of documents
def document_losses(model: GPT, documents: Sequence[Sequence[int]], engine: str) -> list[float]:
    """The loss of each document.

    Args:
        model: the model.
        documents: their tokens, no more than its context has room for.
        engine: "compiled", "eager", or "auto" for what is likely to be the quicker one.
    """
    asked = _asked(model)
    parameters = _parameters(model)
    losses = [0.0] * len(documents)

    def length(i: int) -> int:
        return padded(len(documents[i]) - 1, model.settings.block_size)

    for positions, found in groupby(sorted(range(len(documents)), key=length), key=length):
        which = list(found)
        compiled = _compiled(engine, asked.documents[positions] + len(which) - 1, PAYS_AFTER_DOCUMENTS)
        asked.documents[positions] += len(which)
        if not compiled:
            with vg.no_grad():
                for i in which:
                    losses[i] = model.loss(documents[i]).data
            continue
        for some in _chunks(which):
            tokens, counts = batch_arrays([documents[i] for i in some], positions)
            for i, loss in zip(some, predictor_of(model).losses(parameters, list(tokens), counts).tolist()):
                losses[i] = loss
    return losses


def _chunks(which: list[int]) -> Iterator[list[int]]:
    return (which[start : start + LANES] for start in range(0, len(which), LANES))
