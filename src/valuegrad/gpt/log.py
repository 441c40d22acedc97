"""The log of a run: a line of JSON for each step, with the loss at full precision.

    {"step": 1, "loss": 3.3659669475848504}
    {"step": 100, "loss": 2.6010146, "eval_loss": 2.6512}

A run that goes on writes the lines of the steps that its checkpoint holds anew, so that none is
missing, torn or there twice, however the run before ended.

Where to start reading: ``Log``.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext, suppress
from pathlib import Path
from types import TracebackType

from valuegrad.atomic import write_atomically
from valuegrad.errors import CheckpointError

__all__ = ["Log", "is_log", "line"]


def line(step: int, loss: float, eval_loss: float | None = None) -> str:
    """The line of one step."""
    begin = f'{{"step": {step}, "loss": {float(loss)!r}'  # as json.dumps writes it: steps are quick, and many
    return begin + ("}\n" if eval_loss is None else f', "eval_loss": {json.dumps(eval_loss, allow_nan=False)}}}\n')


def is_log(path: Path) -> bool:
    """Whether a file is empty or begins as a log does; a missing one counts as empty."""
    try:
        with open(path, "rb") as file:
            first = file.readline(1000)
    except FileNotFoundError:
        return True
    try:
        return not first or {"step", "loss"} <= set(json.loads(first))
    except (ValueError, TypeError):
        return False


class Log:
    """A log that is being written; a context manager.

    Args:
        path: the file; None for no log at all.
        losses: the losses of the steps so far.
        evaluations: after which step, loss on held-out documents.

    Raises:
        OSError: the file cannot be written.
        CheckpointError: there is a file that is no log.
    """

    def __init__(
        self, path: Path | None, losses: Iterable[float] = (), evaluations: Iterable[tuple[int, float]] = ()
    ) -> None:
        self._file = None
        if path is None:
            return
        path = path.resolve()  # behind a link, the file itself is replaced
        evaluated: Mapping[int, float] = dict(evaluations)
        so_far = "".join([line(i, loss, evaluated.get(i)) for i, loss in enumerate(losses, 1)])
        if path.exists() and not stat.S_ISREG(os.stat(path).st_mode):  # a pipe, the terminal, /dev/null
            self._file = open(path, "w", buffering=1, encoding="utf-8")  # noqa: SIM115
            self._file.write(so_far)
            return
        if not is_log(path):
            raise CheckpointError(f"{path} is there and is no log of a training run; give another name for the log")
        write_atomically(path, so_far.encode())
        self._file = open(path, "a", buffering=1, encoding="utf-8")  # noqa: SIM115

    def write(self, steps: Sequence[tuple[int, float]], eval_loss: float | None = None) -> None:
        """Add the lines of some steps; they are handed to the system at once.

        Args:
            steps: for each its number and its loss.
            eval_loss: the loss on held-out documents after the last one.
        """
        if self._file is not None:
            lines = [line(step, loss) for step, loss in steps]
            if steps:
                lines[-1] = line(*steps[-1], eval_loss)
            try:
                self._file.write("".join(lines))
            except OSError as error:
                error.filename = self._file.name  # the disk is full: which one?
                raise

    def __enter__(self) -> Log:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._file is not None:
            with suppress(OSError) if error else nullcontext():  # what cannot be written was told of already
                self._file.close()
