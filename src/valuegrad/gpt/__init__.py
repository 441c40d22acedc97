"""A small GPT in which every number is a Value: model, training, sampling, checkpoints.

    >>> from valuegrad import gpt
    >>> data = gpt.datasets.load("names")
    >>> trainer = gpt.Trainer(data.documents, training=gpt.TrainingSettings(steps=3))
    >>> [report.step for report in trainer]
    [1, 2, 3]
    >>> len(trainer.samples(5))
    5

What is named here is imported when first used, so that the command line's help needs no NumPy.

Where to start reading: ``model.py``, the model itself; then ``train.py``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from valuegrad.gpt import datasets
    from valuegrad.gpt.checkpoint import Checkpoint
    from valuegrad.gpt.model import GPT
    from valuegrad.gpt.sampling import Prediction, generate, sample
    from valuegrad.gpt.settings import ModelSettings, TrainingSettings
    from valuegrad.gpt.tokenizer import Tokenizer
    from valuegrad.gpt.train import StepReport, Trainer, evaluate

__all__ = [
    "GPT",
    "Checkpoint",
    "ModelSettings",
    "Prediction",
    "StepReport",
    "Tokenizer",
    "Trainer",
    "TrainingSettings",
    "datasets",
    "evaluate",
    "generate",
    "sample",
]

_MODULE = {
    "Checkpoint": "checkpoint",
    "GPT": "model",
    "ModelSettings": "settings",
    "Prediction": "sampling",
    "StepReport": "train",
    "Tokenizer": "tokenizer",
    "Trainer": "train",
    "TrainingSettings": "settings",
    "evaluate": "train",
    "generate": "sampling",
    "sample": "sampling",
}


def __getattr__(name: str) -> Any:
    if name == "datasets":
        return import_module("valuegrad.gpt.datasets")
    if name not in _MODULE:
        raise AttributeError(f"module 'valuegrad.gpt' has no attribute {name!r}")
    return getattr(import_module(f"valuegrad.gpt.{_MODULE[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
