"""A small GPT in which every number is a Value: model, training, sampling, checkpoints.

    >>> from valuegrad import gpt
    >>> data = gpt.datasets.load("names")
    >>> trainer = gpt.Trainer(data.documents, gpt.ModelSettings(), gpt.TrainingSettings(steps=3))
    >>> reports = list(trainer)
    >>> reports[-1].step
    3
    >>> name = gpt.sample(trainer.model, trainer.tokenizer, trainer.rng)

Where to start reading: ``model.py``, the model itself; then ``train.py``.
"""

from __future__ import annotations

from valuegrad.gpt import datasets
from valuegrad.gpt.checkpoint import Checkpoint
from valuegrad.gpt.model import GPT
from valuegrad.gpt.sample import Prediction, generate, sample
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
