"""``valuegrad train``: what a person sees and keeps of a training run.

The training itself is ``gpt.Trainer``; here are the options, the folder, signals, and the order in
which things are written.

Where to start reading: ``train``, then ``_train_on``.
"""

from __future__ import annotations

import re
import signal
import time
from dataclasses import dataclass, fields
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from valuegrad.cli import Interrupted
from valuegrad.errors import CheckpointError, DatasetError, ValueArgumentError
from valuegrad.gpt import datasets
from valuegrad.gpt.settings import DTYPES, ENGINES, OPTIMIZERS, SCHEDULES, ModelSettings, TrainingSettings

if TYPE_CHECKING:
    from valuegrad.cli.progress import Progress
    from valuegrad.gpt.log import Log
    from valuegrad.gpt.train import Trainer

DEFAULT_DATA = "names"
EVALUATED_ON = 64  # held-out documents; all of them would take longer than the training between two reports
SHOWN_SAMPLES = 3
SAVED_AFTER = 1.0  # seconds between checkpoints: to write one takes as long as some hundred steps
OURS = re.compile(r"checkpoint\.json|weights-\d+-[0-9a-f]{8}\.safetensors|samples\.txt|loss\.png")

DEFAULTS = {field.name: field.default for kind in (ModelSettings, TrainingSettings) for field in fields(kind)}
SETTINGS: dict[str, tuple[Any, str]] = {  # option: type, help; the names are those of the settings' classes
    "steps": (int, "How many steps."),
    "batch": (int, "How many documents a step learns from; its loss is the mean of theirs."),
    "engine": (click.Choice(ENGINES), "Steps are compiled programs, or every number is a Value made anew (slower)."),
    "dtype": (click.Choice(DTYPES), "What the compiled program computes in; float32 is quicker for large batches."),
    "seed": (int, "Seed of the documents' order, the starting weights and the samples."),
    "n_embd": (int, "Length of the vectors; a multiple of --n-head."),
    "n_head": (int, "Attention heads in a layer."),
    "n_layer": (int, "Layers."),
    "block_size": (int, "The context: how many characters the model looks at, and writes at most."),
    "learning_rate": (float, "The largest learning rate."),
    "optimizer": (click.Choice(OPTIMIZERS), "How the weights learn."),
    "schedule": (click.Choice(SCHEDULES), "How the learning rate falls over the steps."),
    "warm_up": (int, "Over how many steps the learning rate rises first."),
    "weight_decay": (float, "Weight decay of adamw."),
    "clip_norm": (float, "Shorten longer gradients to this length; 0 for never."),
    "eval_fraction": (float, "Share of the documents held out to evaluate on."),
}


def settings_options(command: Any) -> Any:
    """The options that become settings; what is not given stays None."""
    for name, (kind, text) in reversed(SETTINGS.items()):
        note = f"  [default: {DEFAULTS[name]}]"
        command = click.option(f"--{name.replace('_', '-')}", name, type=kind, help=text + note)(command)
    return command


@dataclass(frozen=True)
class Output:
    """What a run shows and keeps beside its checkpoint; it may differ when a run goes on."""

    folder: Path
    log: Path | None
    samples: int
    report_every: int | None
    checkpoint_every: int | None
    plot: bool


@click.command()
@click.option(
    "--data",
    metavar="NAME_OR_FILE",
    help="A data set that comes with the package ('valuegrad datasets' lists them), or a UTF-8 text file "
    f"with one document a line.  [default: {DEFAULT_DATA}]",
)
@settings_options
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder for checkpoint, samples and plot.  [default: runs/ and the name of the data]",
)
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="How many threads share the documents of a batch; the results do not depend on it.",
)
@click.option("--resume", is_flag=True, help="Go on with the run in DIR, bit for bit as if it had never stopped.")
@click.option("--force", is_flag=True, help="Begin anew although DIR holds a run: its files are replaced.")
@click.option(
    "--samples",
    type=click.IntRange(min=0),
    default=20,
    show_default=True,
    help="How many texts to write at the end; they also go to samples.txt in DIR.",
)
@click.option(
    "--log",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write a line of JSON for each step, with step and loss at full precision.",
)
@click.option(
    "--report-every",
    type=click.IntRange(min=1),
    metavar="STEPS",
    help="How often to evaluate and show samples.  [default: ten times in the run]",
)
@click.option(
    "--checkpoint-every",
    type=click.IntRange(min=1),
    metavar="STEPS",
    help="How often to write a checkpoint; one is also written at the end and on Ctrl-C.  [default: every second]",
)
@click.option("--plot/--no-plot", default=True, show_default=True, help="Draw the losses here and in loss.png.")
def train(
    data: str | None,
    out: Path | None,
    threads: int,
    resume: bool,
    force: bool,
    samples: int,
    log: Path | None,
    report_every: int | None,
    checkpoint_every: int | None,
    plot: bool,
    **given: Any,
) -> None:
    """Train a GPT, whose every number is a Value, on short texts.

    Settings that are not given are the data set's own where it has some ('valuegrad datasets' shows
    them), else the defaults below.  With the same data, settings and seed a run gives the same numbers.

    \b
    Examples:
      valuegrad train
      valuegrad train --data poems.txt --block-size 32 --n-embd 32 --steps 5000 --out poems
      valuegrad train --out poems --resume
      valuegrad train --batch 64 --dtype float32 --threads 2
    """
    if resume and force:
        raise click.UsageError("--resume goes on with a run and --force begins it anew: give one of them")
    given = {name: value for name, value in given.items() if value is not None}
    folder = out or Path("runs") / _folder_name(data or DEFAULT_DATA)
    output = Output(folder, log, samples, report_every, checkpoint_every, plot)
    if resume:
        trainer = _resumed(folder, data, given, threads)
    else:
        trainer = _started(output, data or DEFAULT_DATA, given, force, threads)
    _train_on(trainer, output)


def _folder_name(data: str) -> str:
    return data if data in datasets.names() else Path(data).stem or "text"


# -------------------------------------------------------------------------------------- a run's beginning
def _started(output: Output, data: str, given: dict[str, Any], force: bool, threads: int) -> Trainer:
    """A new run with its first checkpoint."""
    _refuse_to_overwrite(output, force)
    dataset = datasets.load(data)
    chosen = {**dataset.settings, **given}
    try:
        model = ModelSettings(**{name: chosen[name] for name in _names_of(ModelSettings) & set(chosen)})
        training = TrainingSettings(**{name: chosen[name] for name in _names_of(TrainingSettings) & set(chosen)})
    except ValueArgumentError as error:
        raise click.UsageError(_as_options(str(error))) from None
    from valuegrad.gpt.train import Trainer

    data_name = dataset.name if dataset.name in datasets.names() else str(Path(dataset.name).resolve())
    trainer = Trainer(dataset.documents, model, training, data_name=data_name, threads=threads)
    trainer.checkpoint().save(output.folder)  # from now on the run can go on, whatever happens
    for name in ("samples.txt", "loss.png"):
        (output.folder / name).unlink(missing_ok=True)
    return trainer


def _resumed(folder: Path, data: str | None, given: dict[str, Any], threads: int) -> Trainer:
    """The run in a folder, which keeps its settings."""
    from valuegrad.gpt.checkpoint import Checkpoint
    from valuegrad.gpt.train import Trainer

    checkpoint = Checkpoint.load(folder)
    saved = {**vars(checkpoint.model_settings), **vars(checkpoint.settings)}
    for name, value in given.items():
        if value != saved[name]:
            option = f"--{name.replace('_', '-')}"
            raise click.UsageError(
                f"{option} is {value}, but the run in {folder} has {saved[name]}; a run that goes on keeps its "
                f"settings: leave {option} out, or begin another run with another --out"
            )
    try:
        documents = datasets.load(data or checkpoint.data_name).documents
    except DatasetError as error:
        hint = "" if data else "; if the file has moved, name it with --data"
        raise DatasetError(f"{error}{hint}") from None
    return Trainer.resume(checkpoint, documents, threads=threads)


def _refuse_to_overwrite(output: Output, force: bool) -> None:
    folder = output.folder
    if folder.exists() and not folder.is_dir():
        raise CheckpointError(f"--out {folder} is a file; give a folder")
    there = sorted(path.name for path in folder.iterdir() if OURS.fullmatch(path.name)) if folder.exists() else []
    if there and not force:
        raise CheckpointError(
            f"--out {folder} holds a run already ({', '.join(there)}); go on with it: --resume, replace it: --force, "
            "or give another folder"
        )
    log = output.log
    if log is not None and not force and log.is_file() and log.stat().st_size:
        raise CheckpointError(f"--log {log} is there already; replace it with --force, or give another name")


def _names_of(kind: Any) -> set[str]:
    return {field.name for field in fields(kind)}


def _as_options(message: str) -> str:
    """A message about settings in the words of the command line: n_embd is --n-embd."""
    return re.sub(r"\b(" + "|".join(SETTINGS) + r")\b", lambda name: "--" + name[0].replace("_", "-"), message)


# ---------------------------------------------------------------------------------------------- a run
def _train_on(trainer: Trainer, output: Output) -> None:
    """Train to the end or until the user stops it; write checkpoints, log, samples and plots."""
    from valuegrad.cli.progress import introduction, progress
    from valuegrad.gpt.log import Log

    click.echo(introduction(trainer, output.folder))
    with Log(output.log, trainer.losses, trainer.evaluations) as log, Stop() as stop, progress(trainer) as shown:
        _loop(trainer, output, log, stop, shown)
    if stop.signal:
        click.echo(
            f"Stopped after step {trainer.step} of {trainer.settings.steps}; go on with: "
            f"valuegrad train --out {output.folder} --resume"
        )
        raise click.exceptions.Exit(128 + stop.signal)
    _finish(trainer, output)


def _loop(trainer: Trainer, output: Output, log: Log, stop: Stop, shown: Progress) -> None:
    steps = trainer.settings.steps
    report_every = output.report_every or max(1, steps // 10)
    saved, saved_at = trainer.step, time.perf_counter()
    try:
        while trainer.step < steps and not stop.signal:
            reports = trainer.train_some(_next_stop(trainer.step, report_every, output.checkpoint_every))
            report = reports[-1]
            reporting = report.step % report_every == 0 or report.step == steps
            eval_loss = trainer.evaluate(EVALUATED_ON) if reporting else None
            log.write([(report.step, report.loss) for report in reports], eval_loss)
            shown.steps(reports)
            if reporting:
                shown.report(report, eval_loss, trainer.samples(SHOWN_SAMPLES))
            every, now = output.checkpoint_every, time.perf_counter()
            if report.step % every == 0 if every else now - saved_at > SAVED_AFTER:
                trainer.checkpoint().save(output.folder)
                saved, saved_at = report.step, now
    except Interrupted:
        raise  # perhaps in the middle of a step: the last checkpoint is the one to go on from
    except Exception:
        _save_unless(saved, trainer, output)  # what was learned is kept
        raise
    _save_unless(saved, trainer, output)


def _next_stop(step: int, *intervals: int | None) -> int:
    """The next step after which there is something to do."""
    return min(step // interval * interval + interval for interval in intervals if interval)


def _save_unless(saved: int, trainer: Trainer, output: Output) -> None:
    if trainer.step != saved:
        trainer.checkpoint().save(output.folder)


def _finish(trainer: Trainer, output: Output) -> None:
    from valuegrad.atomic import write_atomically
    from valuegrad.cli.progress import width

    texts = trainer.samples(output.samples)
    if texts:
        click.echo(f"\n{len(texts)} samples:")
        click.echo("\n".join(texts))
    write_atomically(output.folder / "samples.txt", "".join([text + "\n" for text in texts]).encode())
    if output.plot:
        from valuegrad.gpt import plot

        click.echo("\n" + plot.terminal(trainer.losses, trainer.evaluations, width=width()))
        try:
            plot.save_png(output.folder / "loss.png", trainer.losses, trainer.evaluations)
        except ImportError:
            click.echo(plot.PLOT_HINT)
    kept = [path.name for path in sorted(output.folder.iterdir()) if OURS.fullmatch(path.name)]
    click.echo(f"\nIn {output.folder}: {', '.join(kept)}")
    click.echo(f"Let it write more: valuegrad sample {output.folder}")


class Stop:
    """Ctrl-C and the system's request to end: the step is finished and kept; a second Ctrl-C ends at once."""

    def __init__(self) -> None:
        self.signal = 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Stop:
        try:
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._noted)
        except ValueError:
            pass  # not in the main thread, where signals do not arrive
        return self

    def _noted(self, number: int, frame: FrameType | None) -> None:
        if self.signal:
            raise Interrupted
        self.signal = number

    def __exit__(self, *error: object) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)
