"""The weights of a run at some of its steps, so that one can look at what the model was like then.

Why: to look inside of a model at a moment of its training, its weights of that moment must be there.  All of them would
take too much memory; evenly spread ones do.

Where to start reading: ``Snapshots.keep``.
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

import numpy as np

from valuegrad.errors import ValueArgumentError
from valuegrad.gpt.model import GPT
from valuegrad.value import Value

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from valuegrad.gpt.settings import ModelSettings
    from valuegrad.gpt.tokenizer import Tokenizer
    from valuegrad.gpt.train import Trainer

__all__ = ["Snapshots"]

MOST = 80
MOST_BYTES = 16 * 2**20  # of all snapshots of a run


class Snapshots:
    """The weights of a run at some of its steps: the first, the latest, and evenly between.

    Args:
        steps: how many steps the run will have; if that is not enough, every second one is dropped as it goes on.
        most: how many at most.

    Example:
        >>> from valuegrad.gpt import Trainer
        >>> from valuegrad.gpt.settings import ModelSettings, TrainingSettings
        >>> trainer = Trainer(["anna", "bob"], ModelSettings(n_embd=4), TrainingSettings(steps=40))
        >>> snapshots = Snapshots(most=4)
        >>> snapshots.keep(trainer)
        >>> while trainer.step < 40:
        ...     _ = trainer.train_some(snapshots.next(trainer.step))
        ...     snapshots.keep(trainer, last=trainer.step == 40)
        >>> snapshots.steps
        [0, 16, 32, 40]
    """

    def __init__(self, steps: int = 0, most: int = MOST) -> None:
        self.most = max(most, 3)
        self.every = 1
        while steps // self.every + 2 > self.most:
            self.every *= 2
        self._trainer_told: tuple[Tokenizer, ModelSettings, list[str], int] | None = None
        self._kept: dict[int, bytes] = {}  # replaced, never changed: other threads look at it

    @property
    def steps(self) -> list[int]:
        """After how many steps there are weights, the fewest first."""
        return sorted(self._kept)

    def nearest(self, step: int) -> int:
        """The step with weights that lies nearest.

        Raises:
            ValueArgumentError: there are none at all.
        """
        if not self._kept:
            raise ValueArgumentError("no weights of this run were kept; train it for a step at least")
        return min(self._kept, key=lambda kept: (abs(kept - step), kept))

    def at(self, step: int) -> NDArray[np.float64]:
        """The weights after that many steps, as ``GPT.parameters`` orders them; ``nearest`` says which there are."""
        return np.frombuffer(self._kept[step])

    def model(self, step: int) -> tuple[GPT, Tokenizer]:
        """A model with the weights after that many steps, and its characters."""
        assert self._trainer_told is not None
        tokenizer, sizes, _, _ = self._trainer_told
        model = GPT(tokenizer.vocabulary, sizes, Random(0))
        return model.with_parameters([Value(weight) for weight in self.at(step).tolist()]), tokenizer

    def document(self, step: int) -> str:
        """What is learned from in the step after so many steps: the first document of its batch."""
        assert self._trainer_told is not None
        _, _, documents, batch = self._trainer_told
        return documents[step * batch % len(documents)]

    def due(self, step: int) -> bool:
        """Whether the weights after so many steps should be kept."""
        return step not in self._kept and step % self.every == 0

    def next(self, step: int) -> int:
        """The next step after this one whose weights should be kept: train until there."""
        return step - step % self.every + self.every

    def keep(self, trainer: Trainer, last: bool = False) -> None:
        """Keep the weights of this moment, if it is time.

        Args:
            trainer: the run.
            last: keep them in any case.
        """
        if not (self.due(trainer.step) or (last and trainer.step not in self._kept)):
            return
        self._trainer_told = trainer.tokenizer, trainer.model_settings, trainer.documents, trainer.settings.batch
        weights = b"".join([matrix.tobytes() for matrix in trainer.checkpoint().weights.values()])
        kept = {**self._kept, trainer.step: weights}
        most = max(min(self.most, MOST_BYTES // max(len(weights), 1)), 3)
        while len(kept) > most:
            self.every *= 2
            kept = {step: w for step, w in kept.items() if step % self.every == 0 or step == trainer.step}
        self._kept = kept
