"""What shapes a model and its training: plain numbers, checked when they are given.

A checkpoint holds them as JSON, and a resumed run keeps them.  The defaults are those of the original
microgpt.

Where to start reading: ``TrainingSettings``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from valuegrad.arguments import integer, number, shown
from valuegrad.errors import ValueArgumentError

__all__ = ["DTYPES", "ENGINES", "OPTIMIZERS", "PREDICTING", "SCHEDULES", "ModelSettings", "TrainingSettings"]

ENGINES = ("compiled", "eager")
PREDICTING = ("auto", *ENGINES)  # where nothing is learned, the two give the same numbers, and either may be quicker
DTYPES = ("float64", "float32")

OPTIMIZERS = ("adam", "adamw", "sgd")
SCHEDULES = ("linear", "cosine", "constant")
MOST_PARAMETERS = 20_000_000  # a parameter with its gradient, its edges and its moments takes about 500 bytes


@dataclass(frozen=True)
class ModelSettings:
    """The sizes of a model.

    Args:
        n_layer: how many blocks follow one another.
        n_embd: length of the vectors.
        n_head: attention heads in a block; n_embd must be a multiple of it.
        block_size: the context: how many tokens the model can look at.

    Raises:
        ValueArgumentError: an impossible size.
    """

    n_layer: int = 1
    n_embd: int = 16
    n_head: int = 4
    block_size: int = 16

    def __post_init__(self) -> None:
        for name in ("n_layer", "n_embd", "n_head", "block_size"):
            _check(self, name, whole=True, least=1)
        if self.n_embd % self.n_head:
            fitting = [n for n in range(1, self.n_embd + 1) if self.n_embd % n == 0]
            raise ValueArgumentError(
                f"n_head is {self.n_head} and n_embd {self.n_embd}; each head gets an equal slice of the vectors, "
                f"so n_embd must be a multiple of n_head: with n_embd {self.n_embd}, n_head may be "
                f"{', '.join(map(str, fitting))}"
            )

    def parameters(self, vocabulary: int) -> int:
        """How many parameters a model of these sizes has.

        Raises:
            ValueArgumentError: more than fit into an ordinary computer's memory.
        """
        count = self.n_embd * (2 * vocabulary + self.block_size + 12 * self.n_layer * self.n_embd)
        if count > MOST_PARAMETERS:
            raise ValueArgumentError(
                f"a model of n_layer {self.n_layer}, n_embd {self.n_embd}, block_size {self.block_size} and "
                f"{vocabulary} tokens has {count:,} parameters; expected at most {MOST_PARAMETERS:,}: "
                "choose smaller sizes"
            )
        return count


@dataclass(frozen=True)
class TrainingSettings:
    """How a model is trained.

    Args:
        steps: how many steps.
        batch: how many documents a step learns from; its loss is the mean of theirs.
        engine: "compiled" runs steps as recorded programs, "eager" makes each number a Value anew at every step.
        dtype: what the compiled program computes in, "float64" or "float32".
        seed: of the order of the documents, the starting weights and the samples at the end.
        learning_rate: how far a step goes, at its largest.
        optimizer: "adam", "adamw" or "sgd".
        schedule: how the learning rate falls over the steps: "linear" or "cosine" to 0, or "constant".
        warm_up: over how many steps the learning rate rises first.
        beta1: how long gradients are remembered (momentum).
        beta2: how long squared gradients are remembered (Adam and AdamW).
        epsilon: what is added to the root of the squares (Adam and AdamW).
        weight_decay: by which share of the learning rate weights shrink in a step (AdamW).
        clip_norm: gradients longer than this are shortened to it; 0 for never.
        eval_fraction: share of the documents that is held out to evaluate on. They are the last ones
            after shuffling, so they change neither the random draws nor the order of the others.

    Raises:
        ValueArgumentError: an impossible number.
    """

    steps: int = 1000
    batch: int = 1
    engine: str = "compiled"
    dtype: str = "float64"
    seed: int = 42
    learning_rate: float = 0.01
    optimizer: str = "adam"
    schedule: str = "linear"
    warm_up: int = 0
    beta1: float = 0.85
    beta2: float = 0.99
    epsilon: float = 1e-8
    weight_decay: float = 0.0
    clip_norm: float = 0.0
    eval_fraction: float = 0.1

    def __post_init__(self) -> None:
        _check(self, "steps", whole=True, least=1)
        _check(self, "batch", whole=True, least=1)
        _check(self, "seed", whole=True, least=-math.inf)
        _check(self, "warm_up", whole=True, least=0)
        _check(self, "learning_rate", least=0.0, open_below=True)
        _check(self, "epsilon", least=0.0, open_below=True)
        _check(self, "weight_decay", least=0.0)
        _check(self, "clip_norm", least=0.0)
        for name in ("beta1", "beta2", "eval_fraction"):
            _check(self, name, least=0.0, below=1.0)
        _check_choice("optimizer", self.optimizer, OPTIMIZERS)
        _check_choice("schedule", self.schedule, SCHEDULES)
        _check_choice("engine", self.engine, ENGINES)
        _check_choice("dtype", self.dtype, DTYPES)
        if self.dtype != "float64" and self.engine != "compiled":
            raise ValueArgumentError(f"dtype is {self.dtype!r} with engine {self.engine!r}; Values are float64")
        if self.warm_up >= self.steps:
            raise ValueArgumentError(f"warm_up is {self.warm_up}; expected less than steps, which is {self.steps}")
        if self.weight_decay and self.optimizer != "adamw":
            raise ValueArgumentError(
                f"weight_decay is {self.weight_decay:g} with optimizer {self.optimizer!r}; "
                "only 'adamw' has weight decay"
            )


def _check(
    settings: Any,
    name: str,
    *,
    least: float,
    below: float = math.inf,
    whole: bool = False,
    open_below: bool = False,
) -> None:
    """Put one number in its plain form (int or float), or say what it should have been."""
    given = getattr(settings, name)
    value: float = integer(given, name) if whole else number(given, name)
    if not (least < value if open_below else least <= value) or not value < below:
        bounds = f"{'more than' if open_below else 'at least'} {least:g}" + (
            f" and less than {below:g}" if below < math.inf else "" if whole else " and finite"
        )
        raise ValueArgumentError(f"{name} is {shown(given)}; expected {bounds}")
    object.__setattr__(settings, name, value)


def _check_choice(name: str, given: Any, choices: tuple[str, ...]) -> None:
    if given not in choices:
        raise ValueArgumentError(f"{name} is {shown(given)}; expected one of {', '.join(choices)}")
