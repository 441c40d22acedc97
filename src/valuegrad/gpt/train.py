"""Training: a batch of documents a step, with nothing printed and nothing written.

Data structures: a ``Trainer`` is the whole state of a run: documents, model, optimiser, random state and
the losses so far.  Iterating over it trains; each step is reported as a ``StepReport``.  Between two steps
``checkpoint()`` gives all that is needed to go on later, bit for bit, with ``Trainer.resume``.

Steps run compiled (``gpt.compiled``: recorded programs, optimiser included) or eager (every number a Value made anew).
A compiled run looks ahead (``gpt.ahead``): it takes many steps in one go, and reports them one by one.  ``model`` and
``optimizer`` are brought up to date when they are asked for: with the steps that were reported, no more.  Where
programs cannot run natively its steps are eager, too.

All randomness comes from one generator, in the original's order: the documents are shuffled, then the
weights are drawn.  Training itself draws nothing, and samples are drawn from a copy.

Where to start reading: ``Trainer.__init__``, then ``Trainer.train_some``.
"""

from __future__ import annotations

import copy
import hashlib
import math
import random
import time
from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

import valuegrad as vg
from valuegrad import optim
from valuegrad.arguments import integer, shown
from valuegrad.errors import CheckpointError, TrainingError, ValueArgumentError, ValueTypeError
from valuegrad.gpt.ahead import Ahead
from valuegrad.gpt.batches import Documents
from valuegrad.gpt.compiled import Steps, built, runs_compiled
from valuegrad.gpt.display import SMOOTHED_OVER, loss_chart, run_html, running_mean
from valuegrad.gpt.model import GPT
from valuegrad.gpt.predicting import document_losses
from valuegrad.gpt.sampling import TEMPERATURE, sample
from valuegrad.gpt.settings import ModelSettings, TrainingSettings
from valuegrad.gpt.tokenizer import Tokenizer
from valuegrad.value import Value, read_data

if TYPE_CHECKING:
    from valuegrad.gpt.checkpoint import Checkpoint

__all__ = ["StepReport", "Trainer", "evaluate", "fingerprint", "running_mean"]

SAMPLES = 5  # what a notebook shows of a run unasked, as far as it comes in
SAMPLING_TIME = 0.3  # seconds
QUICK_TO_SAMPLE = 50_000  # parameters of a model whose samples take no noticeable time


class StepReport(NamedTuple):
    """What happened in one step.

    Args:
        step: its number, 1 for the first.
        loss: the mean loss of its documents before the step, in nats a token.
        learning_rate: how far the step went.
        tokens: how many tokens were predicted.
    """

    step: int
    loss: float
    learning_rate: float
    tokens: int


class Trainer:
    """A training run.

    Args:
        documents: the texts to learn from, none of them empty; their characters are the alphabet.
        model: the model's sizes; the defaults if None.
        training: how to train; the defaults if None.
        data_name: what a checkpoint says the documents are, for people and for resuming.
        threads: how many threads share the documents of a batch; the results do not depend on it.

    Raises:
        ValueArgumentError: no documents, or an empty one.
        ValueTypeError: a document that is not text.

    Example:
        >>> trainer = Trainer(["anna", "bob"], training=TrainingSettings(steps=2))
        >>> for report in trainer:
        ...     print(report.step, round(report.loss, 1))
        1 1.5
        2 1.7
    """

    def __init__(
        self,
        documents: Sequence[str],
        model: ModelSettings | None = None,
        training: TrainingSettings | None = None,
        *,
        data_name: str = "",
        threads: int = 1,
    ) -> None:
        _check_documents(documents)
        self.threads = integer(threads, "Trainer(), threads")
        if self.threads < 1:
            raise ValueArgumentError(f"Trainer(), threads got {threads}; expected 1 or more")
        self.model_settings = model or ModelSettings()
        self.settings = training or TrainingSettings()
        self.data_name = data_name
        self.fingerprint = fingerprint(documents)
        self.tokenizer = Tokenizer.of(documents)
        self.model_settings.parameters(self.tokenizer.vocabulary)  # raises if there are too many

        self.rng = random.Random(self.settings.seed)
        shuffled = list(documents)
        self.rng.shuffle(shuffled)
        held_out = int(len(shuffled) * self.settings.eval_fraction)
        self.documents = shuffled[: len(shuffled) - held_out]
        self.held_out = shuffled[len(shuffled) - held_out :]

        self._model = GPT(self.tokenizer.vocabulary, self.model_settings, self.rng)
        self._optimizer = _optimizer(self._model.parameters(), self.settings)
        self._ahead: Ahead | None = None  # the compiled steps
        self._behind = False  # whether they know more than model and optimizer
        self._others = False  # whether somebody else may have changed the model's weights
        self.step = 0  # how many are done
        self.losses: list[float] = []
        self.evaluations: list[tuple[int, float]] = []  # after which step, loss on held-out documents

    def __iter__(self) -> Iterator[StepReport]:
        """Train until the last step; stopping in between is fine, and a new loop goes on from there."""
        while self.step < self.settings.steps:
            yield self.train_step()

    @property
    def engine(self) -> str:
        """How the steps run: as the settings say, or "eager" where valuegrad's compiled modules were not built."""
        return self.settings.engine if built() else "eager"

    @property
    def model(self) -> GPT:
        """The model, with the weights of this moment; what is changed in it counts from the next step on."""
        self._others = True
        return self._model_now()

    @property
    def optimizer(self) -> optim.Optimizer:
        """The optimiser, with what it remembers at this moment; what is changed in it counts from the next step on."""
        self._others = True
        self._model_now()
        return self._optimizer

    def _model_now(self) -> GPT:
        """The model, brought up to date with the compiled steps that were reported."""
        if self._behind and self._ahead is not None:
            self._ahead.write_back(self.step)
            self._optimizer.steps = self.step
            self._behind = False
        return self._model

    def train_step(self) -> StepReport:
        """Learn from the next batch of documents.

        Raises:
            TrainingError: the loss is nan or infinite; nothing was learned from it.
        """
        return self._train(self.step + 1, self.settings.steps)[0]

    def train_some(self, until: int | None = None) -> list[StepReport]:
        """Learn from the next batches: from as many as take some hundredths of a second in one go, at least one.

        Args:
            until: not beyond this step; at most until the last one.

        Returns:
            A report of each step; none if there are no more steps.

        Raises:
            TrainingError: the loss of the next step is nan or infinite; nothing was learned from it.
        """
        until = (
            self.settings.steps if until is None else min(integer(until, "train_some(), until"), self.settings.steps)
        )
        return self._train(until, until) if self.step < until else []

    def _train(self, until: int, known: int) -> list[StepReport]:
        """Steps until one of them, or fewer; to look ahead further than to ``known`` is in vain."""
        if self.engine != "compiled" or not runs_compiled():
            return [self._eager_step()]
        if self._ahead is None:
            self._ahead = self._compiled_steps()
        elif self._others:
            self._ahead.forget()
        self._others = False
        taken = self._ahead.take(self.step, until, known)
        if taken.failed is not None:
            raise self._not_finite(self.step, taken.failed)
        self._behind = True
        first, self.step = self.step + 1, self.step + len(taken.losses)
        self.losses += taken.losses
        fields = zip(range(first, self.step + 1), taken.losses, taken.rates, taken.tokens)
        return list(map(partial(tuple.__new__, StepReport), fields))  # three fifths of StepReport's time, at each step

    def _compiled_steps(self) -> Ahead:
        sizes, settings = self.model_settings, self.settings
        steps = Steps(self._model, self._optimizer, dtype=settings.dtype, threads=self.threads)
        met = self.documents[: settings.steps * settings.batch]
        documents = Documents.of_texts(met, self.tokenizer, sizes.block_size)
        return Ahead(steps, documents, len(self.documents), settings.batch, lambda: self._optimizer.learning_rate)

    def _batch(self, step: int) -> list[str]:
        """What a step learns from; 0 for the first."""
        size = self.settings.batch
        return [self.documents[i % len(self.documents)] for i in range(step * size, (step + 1) * size)]

    def _eager_step(self) -> StepReport:
        model = self._model_now()
        self._others = True
        length = self.model_settings.block_size
        tokens = [self.tokenizer.document(document, length) for document in self._batch(self.step)]
        self._optimizer.zero_grad()
        losses = [model.loss(document) for document in tokens]
        loss = losses[0] if len(losses) == 1 else vg.mean(losses)
        if not math.isfinite(loss.data):
            raise self._not_finite(self.step, loss.data)
        rate = self._optimizer.learning_rate(self.step)
        loss.backward()
        self._optimizer.step()
        self.losses.append(loss.data)
        self.step += 1
        return StepReport(self.step, loss.data, rate, sum(map(len, tokens)) - len(tokens))

    def _not_finite(self, step: int, loss: float) -> TrainingError:
        """What is raised where nothing can be learned."""
        batch = self._batch(step)
        return TrainingError(
            f"step {step + 1} gave a loss of {loss!r} on {shown(batch[0] if len(batch) == 1 else batch)}; "
            f"expected a finite number: try a learning rate below {self.settings.learning_rate:g}, or clip_norm 1"
        )

    @property
    def smoothed_loss(self) -> float:
        """The mean loss of the last 50 steps; nan before the first."""
        recent = self.losses[-SMOOTHED_OVER:]
        return sum(recent) / len(recent) if recent else math.nan

    def evaluate(self, most: int | None = None) -> float | None:
        """The loss on documents that were held out; it is kept in ``evaluations``.

        Args:
            most: look at this many of them at most; at all if None.

        Returns:
            The mean loss, or None if no documents are held out.
        """
        documents = self.held_out[:most]
        if not documents:
            return None
        loss = evaluate(self._model_now(), self.tokenizer, documents)
        self.evaluations = [e for e in self.evaluations if e[0] != self.step] + [(self.step, loss)]
        return loss

    def samples(self, count: int, *, temperature: float = TEMPERATURE) -> list[str]:
        """Texts that the model writes now, drawn from a copy of the random state: training goes on undisturbed."""
        return list(self._sampled(count, temperature))

    def _sampled(self, count: int, temperature: float = TEMPERATURE) -> Iterator[str]:
        rng = copy.deepcopy(self.rng)
        for _ in range(count):
            yield sample(self._model_now(), self.tokenizer, rng, temperature=temperature)

    def __repr__(self) -> str:
        loss = f", smoothed loss {self.smoothed_loss:.4f}" if self.losses else ""
        return f"<valuegrad training run: {self.step:,} of {self.settings.steps:,} steps{loss}>"

    def _repr_html_(self) -> str:
        """What a notebook shows: where the run stands, its loss, its settings, what it writes."""
        begin, samples = time.monotonic(), []
        if self.step and self._model_now().settings.parameters(self.tokenizer.vocabulary) <= QUICK_TO_SAMPLE:
            for sampled in self._sampled(SAMPLES):
                samples.append(sampled)
                if time.monotonic() - begin > SAMPLING_TIME:
                    break
        return run_html(
            self.model_settings, self.settings, self.tokenizer.vocabulary, self.data_name,
            self.losses, self.evaluations, samples,
        )  # fmt: skip

    def _repr_svg_(self) -> str | None:
        return loss_chart(self.losses, self.evaluations) if self.losses else None

    def checkpoint(self) -> Checkpoint:
        """All that is needed to go on later; take it between two steps."""
        from valuegrad.gpt.checkpoint import Checkpoint  # and what reads and writes its files

        weights = {}
        for name, matrix in self._model_now().matrices().items():
            rows = np.frombuffer(read_data([weight for row in matrix for weight in row]))
            weights[name] = rows.reshape(len(matrix), -1)
        return Checkpoint(
            model_settings=self.model_settings,
            settings=self.settings,
            characters=self.tokenizer.characters,
            data_name=self.data_name,
            fingerprint=self.fingerprint,
            step=self.step,
            random_state=self.rng.getstate(),
            weights=weights,
            optimizer={name: array.copy() for name, array in self._optimizer.memory.items()},
            losses=np.array(self.losses, dtype=np.float64),
            evaluations=list(self.evaluations),
        )

    @classmethod
    def resume(cls, checkpoint: Checkpoint, documents: Sequence[str], *, threads: int = 1) -> Trainer:
        """Go on from a checkpoint, bit for bit as if never stopped.

        Args:
            checkpoint: what ``checkpoint()`` gave or ``Checkpoint.load`` read.
            documents: the documents of the run, in the same order.
            threads: how many threads share the documents of a batch.

        Raises:
            CheckpointError: the documents are others.
        """
        _check_documents(documents)
        if fingerprint(documents) != checkpoint.fingerprint:
            raise CheckpointError(
                f"the data are not those of the run, {checkpoint.data_name!r}: they have changed since, or another "
                "data set was given; a run goes on only with the documents it began with"
            )
        sizes, name = checkpoint.model_settings, checkpoint.data_name
        trainer = cls(documents, sizes, checkpoint.settings, data_name=name, threads=threads)
        checkpoint.write_weights(trainer.model)
        trainer.optimizer.load_state({"steps": checkpoint.step, **checkpoint.optimizer})
        trainer.rng.setstate(checkpoint.random_state)
        trainer.step = checkpoint.step
        trainer.losses = checkpoint.losses.tolist()
        trainer.evaluations = list(checkpoint.evaluations)
        return trainer


def evaluate(model: GPT, tokenizer: Tokenizer, documents: Sequence[str], *, engine: str = "auto") -> float:
    """The mean over the documents of their losses, each in nats a token; nothing is learned from them.

    Args:
        model: the model.
        tokenizer: its characters.
        documents: the texts.
        engine: "eager" computes on Values, "compiled" by recorded programs, "auto" by the latter where it pays; the
            results are the same to the last bit.

    Raises:
        ValueArgumentError: no documents, a character that the model has never seen, or an engine that is not there.
    """
    _check_documents(documents)
    length = model.settings.block_size
    losses = document_losses(model, [tokenizer.document(document, length) for document in documents], engine)
    return sum(losses) / len(losses)


def fingerprint(documents: Sequence[str]) -> str:
    """A digest of the documents, by which a resumed run recognises its data."""
    return hashlib.sha256("\n".join(documents).encode("utf-8", "surrogatepass")).hexdigest()


def _check_documents(documents: Sequence[str]) -> None:
    if not hasattr(documents, "__iter__"):
        hint = "; a Dataset has them as .documents" if hasattr(documents, "documents") else ""
        raise ValueTypeError(f"documents got {shown(documents)}; expected a list of texts{hint}")
    if isinstance(documents, str) or not all(isinstance(document, str) for document in documents):
        wrong = documents if isinstance(documents, str) else next(d for d in documents if not isinstance(d, str))
        raise ValueTypeError(f"documents got {shown(wrong)}; expected a list of texts")
    if not documents or not all(documents):
        raise ValueArgumentError(
            f"documents got {'an empty text' if documents else 'no texts'}; give at least one, none of them empty"
        )


def _optimizer(parameters: list[Value], settings: TrainingSettings) -> optim.Optimizer:
    """The optimiser that the settings ask for."""
    rate, steps = settings.learning_rate, settings.steps
    schedules = {
        "linear": optim.linear(rate, steps),
        "cosine": optim.cosine(rate, steps),
        "constant": optim.constant(rate),
    }
    schedule = schedules[settings.schedule]
    if settings.warm_up:
        schedule = optim.warm_up(schedule, settings.warm_up)
    clip_norm = settings.clip_norm or None
    if settings.optimizer == "sgd":
        return optim.SGD(parameters, schedule, momentum=settings.beta1, clip_norm=clip_norm)
    means = {"beta1": settings.beta1, "beta2": settings.beta2, "epsilon": settings.epsilon}
    if settings.optimizer == "adamw":
        return optim.AdamW(parameters, schedule, **means, weight_decay=settings.weight_decay, clip_norm=clip_norm)
    return optim.Adam(parameters, schedule, **means, clip_norm=clip_norm)
