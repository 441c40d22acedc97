"""What a person sees while a model learns: a bar in a terminal, plain lines elsewhere.

Where to start reading: ``progress``.
"""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import valuegrad as vg

if TYPE_CHECKING:
    from valuegrad.gpt.train import StepReport, Trainer

PLAIN_LINE_AFTER = 10.0  # seconds without one
REDRAW_AFTER = 0.1


def width() -> int:
    """How many characters a line has room for."""
    return shutil.get_terminal_size((80, 24)).columns


def introduction(trainer: Trainer, folder: Path) -> str:
    """What is about to be trained, and by which engine."""
    sizes, documents = trainer.model_settings, len(trainer.documents)
    long = sum(len(document) > sizes.block_size for document in trainer.documents)
    held_out = f" and {len(trainer.held_out):,} held out to evaluate on" if trainer.held_out else ""
    lines = [
        f"engine  {_engine(trainer)}",
        f"data    {trainer.data_name}: {documents:,} document{'s' * (documents != 1)} to learn from{held_out}; "
        f"{len(trainer.tokenizer.characters)} characters",
        f"model   {len(trainer.optimizer.parameters):,} parameters, every one a Value: n_layer {sizes.n_layer}, "
        f"n_embd {sizes.n_embd}, n_head {sizes.n_head}, block_size {sizes.block_size}",
        f"run     {_steps(trainer)}, seed {trainer.settings.seed}, kept in {folder}",
    ]
    if trainer.step:
        lines.append(f"        going on after step {trainer.step:,}")
    if long:
        lines.append(
            f"note    {long:,} documents are longer than the context: of those the first {sizes.block_size} "
            "characters are learned (--block-size)"
        )
    return "\n".join(lines)


def _engine(trainer: Trainer) -> str:
    """How the steps run, and why they run so."""
    settings = trainer.settings
    if trainer.engine == "compiled":
        threads = f", {trainer.threads} threads" if trainer.threads > 1 else ""
        return f"compiled: steps are recorded programs, in {settings.dtype}{threads}"
    values = f"{vg.engine} Values" + (f" ({vg.engine_reason})" if vg.engine == "readable" else "")
    if settings.engine == "eager":
        return f"eager, on {values}"
    return f"eager, on {values}, in float64: the modules that run compiled programs were not built"


def _steps(trainer: Trainer) -> str:
    batch = trainer.settings.batch
    return f"{trainer.settings.steps:,} steps" + (f" of {batch:,} documents" if batch > 1 else "")


class Pace:
    """Documents and tokens a second since the start, and the time left."""

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer
        self.began, self.first = time.perf_counter(), trainer.step
        self.tokens = 0

    def __str__(self) -> str:
        seconds = max(time.perf_counter() - self.began, 1e-9)
        documents = (self.trainer.step - self.first) * self.trainer.settings.batch
        return f"{documents / seconds:,.0f} docs/s, {self.tokens / seconds:,.0f} tokens/s"

    def left(self) -> str:
        """The time left, as a clock shows it."""
        done = self.trainer.step - self.first
        if not done:
            return "-:--"
        left = (self.trainer.settings.steps - self.trainer.step) * (time.perf_counter() - self.began) / done
        minutes, seconds = divmod(round(left), 60)
        hours, minutes = divmod(minutes, 60)
        return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


class Progress:
    """Plain lines: one for each report, and one every ten seconds."""

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer
        self.pace = Pace(trainer)
        self.shown_at = time.perf_counter()

    def steps(self, reports: Sequence[StepReport]) -> None:
        """Some steps are done."""
        report = reports[-1]
        self.pace.tokens += sum([report.tokens for report in reports])
        if time.perf_counter() - self.shown_at > PLAIN_LINE_AFTER:
            self.line(self.numbers(report))

    def report(self, report: StepReport, eval_loss: float | None, samples: list[str]) -> None:
        """The model was looked at."""
        evaluated = f"  held-out {eval_loss:.4f}" if eval_loss is not None else ""
        self.line(f"{self.numbers(report)}{evaluated}  writes: {', '.join(samples)}")

    def numbers(self, report: StepReport) -> str:
        """A line's beginning."""
        steps = self.trainer.settings.steps
        return (
            f"step {report.step:>{len(str(steps))}}/{steps}  loss {report.loss:.4f}  smoothed "
            f"{self.trainer.smoothed_loss:.4f}  {self.pace}  {self.pace.left()} left"
        )

    def line(self, text: str) -> None:
        """Show one line."""
        click.echo(text)
        self.shown_at = time.perf_counter()


class Bar(Progress):
    """A bar that is redrawn in place, the reports above it."""

    def __init__(self, trainer: Trainer, bar: Any) -> None:
        super().__init__(trainer)
        self.bar = bar
        self.task = bar.add_task("", total=trainer.settings.steps, completed=trainer.step, numbers="")

    def steps(self, reports: Sequence[StepReport]) -> None:
        """Some steps are done."""
        report = reports[-1]
        self.pace.tokens += sum([report.tokens for report in reports])
        now = time.perf_counter()
        if now - self.shown_at > REDRAW_AFTER or report.step == self.trainer.settings.steps:
            self.shown_at = now
            numbers = f"loss {report.loss:.2f}  smoothed {self.trainer.smoothed_loss:.3f}  {self.pace}"
            self.bar.update(self.task, completed=report.step, numbers=f"{numbers}  {self.pace.left()} left")
            self.bar.refresh()

    def report(self, report: StepReport, eval_loss: float | None, samples: list[str]) -> None:
        """The model was looked at."""
        evaluated = f"held-out {eval_loss:.3f}  " if eval_loss is not None else ""
        self.bar.console.print(
            f"step {report.step}  loss {self.trainer.smoothed_loss:.3f}  {evaluated}writes: {', '.join(samples)}",
            markup=False,
            highlight=False,
        )


@contextmanager
def progress(trainer: Trainer) -> Iterator[Progress]:
    """A bar if somebody watches in a terminal, else plain lines."""
    if not sys.stdout.isatty():
        yield Progress(trainer)
        return
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
    from rich.progress import Progress as RichProgress

    columns = (BarColumn(bar_width=20), MofNCompleteColumn(), TextColumn("{task.fields[numbers]}", markup=False))
    with RichProgress(*columns, auto_refresh=False) as bar:
        yield Bar(trainer, bar)
