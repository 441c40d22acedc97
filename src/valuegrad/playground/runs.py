"""Training runs beside the server: each in a thread of its own, seen through snapshots that never change.

Why: a page must answer while a model learns.  Compiled steps run outside of Python's lock, so a thread is enough.

How: a run's thread takes steps for some hundredths of a second, evaluates, lets the model write, and looks each time
whether it should go on.  A pause is a thread that has ended; resuming starts another one.  Whoever wants something of
the model meanwhile takes a turn (``Run.ask``), which comes after at most one such go.

Data structures: ``Runs`` has the runs of all tabs, by unguessable names; a ``Run`` its trainer and its ``Snapshot``,
and the weights of some of its steps (``snapshots.py``).
Runs are kept when their tab is gone, paused, so that other pages can use their models; the oldest ones go first when
there are too many.  Of a run that does not go on soon a checkpoint is kept and no programs, which take far more room.

Where to start reading: ``Run._work``.
"""

from __future__ import annotations

import math
import os
import secrets
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeVar

from valuegrad.errors import CheckpointError, PlaygroundError, ValuegradError
from valuegrad.gpt.checkpoint import Checkpoint
from valuegrad.gpt.compiled import built
from valuegrad.gpt.datasets import Dataset
from valuegrad.gpt.display import SMOOTHED_OVER
from valuegrad.gpt.model import GPT
from valuegrad.gpt.tokenizer import Tokenizer
from valuegrad.gpt.train import Trainer
from valuegrad.playground.settings import RunSettings, in_words
from valuegrad.playground.snapshots import Snapshots
from valuegrad.playground.uploads import Loaded

__all__ = ["MOST_KEPT", "Run", "Runs", "Snapshot", "Trained", "Writing"]

T = TypeVar("T")
State = Literal["waiting", "training", "paused", "stopped", "done", "failed"]

MOST_KEPT = 16
"""Runs that are kept: checkpoints of some megabytes, but for those that train or are paused in an open tab."""
MOST_TRAINING = max(4, os.cpu_count() or 1)
"""Runs that train at the same time."""
MOST_POINTS = 400
"""Points of a curve: more are not seen."""
REPORTS = 20  # in a run: evaluations, and texts that the model writes
EVALUATED_ON = 64  # held-out documents
WRITES = 4  # texts at each report


@dataclass(frozen=True)
class Writing:
    """What the model wrote after a step."""

    step: int
    texts: tuple[str, ...]


@dataclass(frozen=True)
class Snapshot:
    """What is known of a run at a moment.

    Args:
        state: "waiting" until the first start, "training", "paused", "stopped" (for good), "done", or "failed".
        preparing: whether it trains and its first step is still being recorded.
        step: how many steps are done.
        steps: of how many.
        loss: the mean of the last 50 losses; nan before the first step.
        curve: step and smoothed loss, at most 400 of them, evenly spread.
        evaluations: step and loss on held-out documents.
        writings: what the model wrote, oldest first.
        speed: documents a second, lately; 0 before anything is known.
        message: what went wrong, or why it is paused; "" for nothing.
    """

    state: State
    preparing: bool
    step: int
    steps: int
    loss: float
    curve: tuple[tuple[int, float], ...]
    evaluations: tuple[tuple[int, float], ...]
    writings: tuple[Writing, ...]
    speed: float
    message: str


@dataclass(frozen=True)
class Trained:
    """A model as it is after a step, its own copy: training goes on without changing it."""

    model: GPT
    tokenizer: Tokenizer
    step: int


class Turns:
    """A lock that is handed on in turns: who holds it all the time does not keep others from it."""

    def __init__(self) -> None:
        self._next, self._now = threading.Lock(), threading.Lock()

    def __enter__(self) -> None:
        with self._next:
            self._now.acquire()

    def __exit__(self, *error: object) -> None:
        self._now.release()


class Run:
    """One training run.

    Args:
        settings: what was asked for.
        data: the documents, and what they are called.
        loaded: the checkpoint that it goes on from; None to begin anew.

    Raises:
        ValueArgumentError: the model is too large for a page.
    """

    def __init__(self, settings: RunSettings, data: Dataset, loaded: Checkpoint | None = None) -> None:
        settings.check_work(data.documents)
        self.id = secrets.token_hex(8)
        self.settings = settings
        self.data = data
        self._loaded = loaded
        self._trainer: Trainer | None = None
        self._turns = Turns()
        self._lock = threading.Lock()  # of what stands below
        self._thread: threading.Thread | None = None
        self._wanted: State = "waiting"
        self._state: State = "waiting"
        self._preparing = False
        self._watched = True  # by an open tab
        self._message = ""
        self._sums = [0.0]  # of the losses of the first 0, 1, 2 ... steps
        self._evaluations: list[tuple[int, float]] = []
        self._writings: list[Writing] = []
        self._recent: deque[tuple[int, float]] = deque(maxlen=20)  # documents, seconds
        self._trained: Trained | None = None
        self.weights = Snapshots(settings.steps)
        if loaded is not None:
            self._state = "paused" if loaded.step < loaded.settings.steps else "done"
            self._learned(loaded.losses.tolist())
            self._evaluations = list(loaded.evaluations)

    # ------------------------------------------------------------------------------------ what pages do
    def start(self) -> None:
        """Train, or go on training; nothing happens if it trains, or can train no more."""
        with self._lock:
            if self._state not in ("waiting", "paused"):
                return
            before = self._thread
            self._state = self._wanted = "training"
            self._watched = True
            self._preparing = built()
            self._message = ""
            self._thread = threading.Thread(target=self._work, args=(before,), name=f"run {self.id}", daemon=True)
            self._thread.start()

    def pause(self) -> None:
        """Let the thread end after the step it is at; ``start`` goes on."""
        self._end("paused", "")

    def leave(self, why: str) -> None:
        """Pause it, as nobody watches it any more; it takes little room from then on."""
        self._watched = False
        self._end("paused", why)
        if not self.training:
            self._shrink()

    def stop(self, why: str = "") -> None:
        """End it for good; what was learned is kept."""
        self._end("stopped", why)

    def _end(self, state: State, why: str) -> None:
        with self._lock:
            if self._state == "training" or (self._state in ("waiting", "paused") and state == "stopped"):
                self._state = self._wanted = state
                self._message = why

    def join(self, seconds: float) -> bool:
        """Wait until its thread has ended; whether it has."""
        thread = self._thread
        if thread is not None:
            thread.join(seconds)
        return thread is None or not thread.is_alive()

    @property
    def training(self) -> bool:
        """Whether its thread is at work, be it at its last step."""
        return self._thread is not None and self._thread.is_alive()

    def snapshot(self) -> Snapshot:
        """What is known now."""
        with self._lock:
            done = len(self._sums) - 1
            stride = max(1, -(-done // MOST_POINTS))
            points = [*range(stride, done, stride), done] if done else []
            documents, seconds = map(sum, zip(*self._recent)) if self._recent else (0, 0.0)
            return Snapshot(
                state=self._state,
                preparing=self._preparing and self._state == "training",
                step=done,
                steps=self.settings.steps,
                loss=self._smoothed(done),
                curve=tuple((step, self._smoothed(step)) for step in points),
                evaluations=tuple(self._evaluations),
                writings=tuple(self._writings),
                speed=documents / seconds if seconds else 0.0,
                message=self._message,
            )

    def ask(self, function: Callable[[Trainer], T]) -> T:
        """Do something with the trainer, between two goes of its thread.  It waits: not for the page's event loop."""
        with self._turns:
            return function(self._made())

    def checkpoint(self) -> Checkpoint:
        """All that is needed to go on later.  It waits, as ``ask`` does."""
        with self._turns:
            return self._loaded or self._made().checkpoint()

    def trained(self) -> Trained:
        """The model of now.  It waits, as ``ask`` does; while nothing is learned it is the same one."""
        kept = self._trained
        if kept is None or kept.step != len(self._sums) - 1:
            checkpoint = self.checkpoint()
            self._trained = kept = Trained(checkpoint.model(), checkpoint.tokenizer(), checkpoint.step)
        return kept

    # -------------------------------------------------------------------------------- what its thread does
    def _made(self) -> Trainer:
        if self._trainer is None:
            if self._loaded is not None:
                self._trainer = Trainer.resume(self._loaded, self.data.documents)
                self._loaded = None
            else:
                self._trainer = Trainer(
                    self.data.documents, self.settings.model(), self.settings.training(), data_name=self.data.name
                )
            self.weights.keep(self._trainer, last=True)
        return self._trainer

    def _work(self, before: threading.Thread | None) -> None:
        if before is not None:
            before.join()
        try:
            while self._wanted == "training":
                with self._turns:
                    trainer = self._made()
                    if trainer.step >= trainer.settings.steps:
                        self._finished("done", "")
                        break
                    self._go(trainer)
        except ValuegradError as error:
            self._finished("failed", in_words(str(error)))
        except MemoryError:
            self._finished("failed", "there is not enough memory for this; choose smaller sizes")
        except Exception as error:
            self._finished("failed", f"something unexpected happened ({type(error).__name__}: {error})")
        if self._state != "paused" or not self._watched:
            self._shrink()

    def _shrink(self) -> None:
        """Keep a checkpoint in place of the trainer, whose programs may take hundreds of megabytes."""
        with self._turns:
            if self._trainer is not None:
                self._loaded, self._trainer = self._trainer.checkpoint(), None

    def _finished(self, state: State, message: str) -> None:
        with self._lock:
            self._state, self._message = state, message

    def _go(self, trainer: Trainer) -> None:
        """Some steps, and a report where one is due."""
        every = max(1, trainer.settings.steps // REPORTS)
        began = time.perf_counter()
        until = min(trainer.step // every * every + every, self.weights.next(trainer.step))
        reports = trainer.train_some(until)
        seconds = time.perf_counter() - began
        self.weights.keep(trainer, last=trainer.step == trainer.settings.steps)
        with self._lock:
            self._learned([report.loss for report in reports])
            if not self._preparing:  # the first go is recording, not learning
                self._recent.append((len(reports) * trainer.settings.batch, seconds))
            self._preparing = False
        if trainer.step % every == 0 or trainer.step == trainer.settings.steps:
            evaluation = trainer.evaluate(EVALUATED_ON)
            writing = Writing(trainer.step, tuple(trainer.samples(WRITES)))
            with self._lock:
                if evaluation is not None:
                    self._evaluations.append((trainer.step, evaluation))
                self._writings.append(writing)

    def _learned(self, losses: list[float]) -> None:
        for loss in losses:
            self._sums.append(self._sums[-1] + loss)

    def _smoothed(self, step: int) -> float:
        if not step:
            return math.nan
        first = max(0, step - SMOOTHED_OVER)
        return (self._sums[step] - self._sums[first]) / (step - first)


class Runs:
    """The runs of all tabs, and the texts that were given to the page."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._runs: OrderedDict[str, Run] = OrderedDict()  # the one used last is at the end
        self._texts: OrderedDict[str, Dataset] = OrderedDict()

    def get(self, name: str) -> Run | None:
        """The run of a name, if it is still there."""
        with self._lock:
            run = self._runs.get(name)
            if run is not None:
                self._runs.move_to_end(name)
            return run

    def start(self, settings: RunSettings) -> Run:
        """A new run, which trains.

        Raises:
            PlaygroundError: too many are training, or the text it should learn from is not here any more.
            ValueArgumentError: the model is too large for a page.
        """
        run = Run(settings, self.data(settings.data))
        self._check_room()
        self._keep(run)
        run.start()
        return run

    def resume(self, run: Run) -> None:
        """Let a run go on.

        Raises:
            PlaygroundError: too many are training.
        """
        self._check_room()
        run.start()

    def load(self, loaded: Loaded) -> Run:
        """The run of a checkpoint, paused.

        Raises:
            CheckpointError: its texts did not come with it, or it has settings that the page cannot have.
        """
        checkpoint = loaded.checkpoint
        if loaded.documents is None:
            raise CheckpointError(
                f"the checkpoint learned from {checkpoint.data_name!r}, which is not in it and is no built-in data "
                "set; open it with 'valuegrad sample', or go on with 'valuegrad train --resume'"
            )
        from valuegrad.gpt import datasets

        data = (
            datasets.load(checkpoint.data_name)
            if checkpoint.data_name in datasets.names()
            else Dataset(checkpoint.data_name, loaded.documents, "the texts of a checkpoint", "", "", {})
        )
        sizes, training = checkpoint.model_settings, checkpoint.settings
        try:
            settings = RunSettings(
                data=data.name if data.name in datasets.names() else self.keep_text(data),
                n_embd=sizes.n_embd,
                n_head=sizes.n_head,
                n_layer=sizes.n_layer,
                block_size=sizes.block_size,
                learning_rate=training.learning_rate,
                steps=training.steps,
                batch=training.batch,
                seed=training.seed,
            )
            run = Run(settings, data, checkpoint)
        except ValuegradError as error:
            raise CheckpointError(f"the checkpoint's run is too large for the page: {in_words(str(error))}") from None
        self._keep(run)
        return run

    # --------------------------------------------------------------------------------------------- texts
    def keep_text(self, data: Dataset) -> str:
        """Keep a text that was given to the page; the name by which settings mean it."""
        from valuegrad.gpt.train import fingerprint

        name = f"text-{fingerprint(data.documents)[:12]}"
        with self._lock:
            self._texts[name] = data
            self._texts.move_to_end(name)
            while len(self._texts) > MOST_KEPT:
                self._texts.popitem(last=False)
        return name

    def data(self, name: str) -> Dataset:
        """A built-in data set, or a text that was given to the page.

        Raises:
            PlaygroundError: the text is not here any more.
        """
        from valuegrad.gpt import datasets

        if name in datasets.names():
            return datasets.load(name)
        with self._lock:
            if name in self._texts:
                self._texts.move_to_end(name)
                return self._texts[name]
        raise PlaygroundError(
            "the text that this address means is not here any more: texts are kept until the playground ends; give it "
            "again, or choose a data set"
        )

    # --------------------------------------------------------------------------------------------- limits
    def training(self) -> list[Run]:
        """The runs whose threads are at work."""
        with self._lock:
            return [run for run in self._runs.values() if run.training]

    def _check_room(self) -> None:
        busy = len(self.training())
        if busy >= MOST_TRAINING:
            raise PlaygroundError(
                f"{busy} runs are training already, as many as this computer trains at once; pause or stop one first"
            )

    def _keep(self, run: Run) -> None:
        with self._lock:
            self._runs[run.id] = run
            for name in [name for name, other in self._runs.items() if not other.training and other is not run]:
                if len(self._runs) <= MOST_KEPT:
                    break
                del self._runs[name]

    def close(self) -> None:
        """End all of them; the program ends without those that take longer than a moment."""
        end = time.monotonic() + 2.0
        with self._lock:
            runs = list(self._runs.values())
        for run in runs:
            run.stop()
        for run in runs:
            run.join(max(0.0, end - time.monotonic()))
