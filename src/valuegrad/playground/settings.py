"""What a training run of the playground is asked for, with the bounds that keep a page quick.

Why: on a page one waits seconds, not minutes.  The command line has no such bounds.

Where to start reading: ``RunSettings``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

from valuegrad.arguments import integer, number, shown
from valuegrad.errors import ValueArgumentError
from valuegrad.gpt import datasets
from valuegrad.gpt.settings import ModelSettings, TrainingSettings

__all__ = ["BOUNDS", "LABELS", "RunSettings", "in_words", "suited"]

# The names that the page has for the settings.
LABELS = {
    "n_embd": "Embedding",
    "n_head": "Heads",
    "n_layer": "Layers",
    "block_size": "Context",
    "learning_rate": "Learning rate",
    "steps": "Steps",
    "batch": "Batch",
    "seed": "Seed",
}
# The smallest and the largest of each.  Beyond them a first step takes minutes, or a page has too much to draw.
BOUNDS: dict[str, tuple[float, float]] = {
    "n_embd": (1, 64),
    "n_head": (1, 16),
    "n_layer": (1, 4),
    "block_size": (1, 64),
    "learning_rate": (0.0, 10.0),
    "steps": (1, 100_000),
    "batch": (1, 256),
    "seed": (-(2**53), 2**53),  # what a browser's numbers hold
}
MOST_WORK = 1_500_000
"""Multiplications for one document: to record that takes about half a minute."""


@dataclass(frozen=True)
class RunSettings:
    """What a run is asked for; the address of the page has them.

    Args:
        data: a data set's name, or ``text-...`` for a text that was given to the page.
        n_embd: length of the vectors.
        n_head: attention heads in a layer.
        n_layer: how many layers follow one another.
        block_size: the context: how many characters the model can look at.
        learning_rate: how far a step goes, at its largest.
        steps: how many steps.
        batch: how many documents a step learns from.
        seed: of the order of the documents and of the starting weights.

    Raises:
        ValueArgumentError: an impossible number, or one out of the page's bounds.
    """

    data: str = "names"
    n_embd: int = 16
    n_head: int = 4
    n_layer: int = 1
    block_size: int = 16
    learning_rate: float = 0.01
    steps: int = 1000
    batch: int = 1
    seed: int = 42

    def __post_init__(self) -> None:
        if self.data not in datasets.names() and not re.fullmatch(r"text-[0-9a-f]{12}", self.data):
            raise ValueArgumentError(
                f"data is {shown(self.data)}; expected one of {', '.join(datasets.names())}, or a text of your own"
            )
        for name, (least, most) in BOUNDS.items():
            given = getattr(self, name)
            value: float = number(given, name) if name == "learning_rate" else integer(given, name)
            if not least <= value <= most:
                raise ValueArgumentError(f"{name} is {shown(given)}; expected {least:,} to {most:,}")
            object.__setattr__(self, name, value)
        self.model()
        self.training()

    def model(self) -> ModelSettings:
        """The sizes of the model."""
        return ModelSettings(self.n_layer, self.n_embd, self.n_head, self.block_size)

    def training(self) -> TrainingSettings:
        """How it is trained."""
        return TrainingSettings(steps=self.steps, batch=self.batch, seed=self.seed, learning_rate=self.learning_rate)

    def check_work(self, documents: Sequence[str]) -> None:
        """Refuse what would take minutes before anything can be seen.

        Raises:
            ValueArgumentError: the model is too large for these documents.
        """
        vocabulary = len(set().union(*documents)) + 1
        self.model().parameters(vocabulary)
        positions = min(self.block_size, max(map(len, documents)) + 1)
        weights = 12 * self.n_layer * self.n_embd**2 + self.n_embd * vocabulary
        work = positions * (weights + self.n_layer * self.n_embd * positions)
        if work > MOST_WORK:
            raise ValueArgumentError(
                f"a model of these sizes takes {work:,} multiplications for a document of {positions} characters; "
                f"expected at most {MOST_WORK:,} on a page: choose a smaller n_embd, n_layer or block_size, or train "
                "with 'valuegrad train', which has no such bound"
            )

    def plain(self) -> RunSettings:
        """These settings, without what a page adds to them."""
        return RunSettings(**{field.name: getattr(self, field.name) for field in fields(RunSettings)})

    def difference(self, other: RunSettings) -> list[tuple[str, str, str]]:
        """The settings in which two runs differ: the name, this one's, the other's."""
        found = []
        for field in fields(RunSettings):
            mine, theirs = getattr(self, field.name), getattr(other, field.name)
            if mine != theirs:
                found.append((LABELS.get(field.name, "Data"), f"{mine}", f"{theirs}"))
        return found


def suited(name: str) -> dict[str, int | float]:
    """The settings that suit a built-in data set, as far as the page has them."""
    return {key: number for key, number in datasets.describe(name).settings.items() if key in LABELS}


def in_words(message: str, labels: Mapping[str, str] = LABELS) -> str:
    """A message about settings in the words of the page: n_embd is Embedding."""
    return re.sub(r"\b(" + "|".join(labels) + r")\b", lambda found: labels[found[0]], message)
