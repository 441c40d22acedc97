"""Pictures of a run's losses: as a PNG (with matplotlib, where it is installed) and in the terminal.

Where to start reading: ``save_png``.
"""

from __future__ import annotations

import io
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from valuegrad.atomic import write_atomically
from valuegrad.gpt.display import running_mean

__all__ = ["PLOT_HINT", "save_png", "terminal"]

PLOT_HINT = "no loss plot as PNG: matplotlib is missing; get it with: pip install 'valuegrad[plot]'"
MOST_POINTS = 4000  # more are not seen on any screen


def save_png(path: str | os.PathLike[str], losses: Sequence[float], evaluations: Sequence[tuple[int, float]]) -> None:
    """Draw each step's loss, the smoothed loss, and the loss on held-out documents.

    Args:
        path: the file to write.
        losses: the loss of every step.
        evaluations: after which step, loss on held-out documents.

    Raises:
        ImportError: matplotlib is missing (``PLOT_HINT`` tells people how to get it).
        OSError: the file cannot be written.
    """
    from matplotlib.figure import Figure  # without pyplot: no window, no state

    figure = Figure(figsize=(8.0, 4.5), dpi=150, layout="constrained")
    axes: Any = figure.subplots()
    steps, thinned = _thinned(losses)
    smoothed = running_mean(losses)
    axes.plot(steps, thinned, ".", color="#9bb7d4", markersize=2.5, label="each step")
    axes.plot(steps, [smoothed[step - 1] for step in steps], color="#1f4e79", linewidth=1.8, label="mean of 50 steps")
    if evaluations:
        axes.plot(*zip(*evaluations), "o-", color="#c8553d", markersize=4, linewidth=1.2, label="held-out documents")
    axes.set_xlabel("step")
    axes.set_ylabel("loss (nats a token)")
    axes.set_xlim(0, max(len(losses), 1))
    axes.grid(alpha=0.25)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.legend(frameon=False)
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    write_atomically(Path(path), picture.getvalue())


def terminal(losses: Sequence[float], evaluations: Sequence[tuple[int, float]], *, width: int = 80) -> str:
    """The same picture in characters, ready to print; without the single steps, which would fill it."""
    import plotext  # type: ignore[import-untyped]

    figure = plotext.figure
    figure.clear()
    figure.plot_size(max(40, min(width, 100)), 14)
    smoothed = running_mean(losses)
    steps, _ = _thinned(losses)
    line = figure.signal(steps, [smoothed[step - 1] for step in steps], marker="braille").lines()
    figure.draw(line)
    legend = "loss, mean of 50 steps"
    if evaluations:
        at, values = zip(*evaluations)
        figure.draw(figure.signal(list(at), list(values), marker="o"))
        legend += "; o: on held-out documents"
    marks = sorted({max(1, round(len(losses) * quarter / 4)) for quarter in range(5)})
    figure.ruler("x").ticks(marks, [str(mark) for mark in marks])
    figure.theme("colorless")
    picture: str = figure.build().string(colorless=True)
    figure.clear()
    return f"{legend}\n{picture}"


def _thinned(losses: Sequence[float]) -> tuple[list[int], list[float]]:
    """Steps and losses, no more than a picture can show."""
    every = math.ceil(len(losses) / MOST_POINTS) or 1
    steps = list(range(1, len(losses) + 1, every))
    return steps, [losses[step - 1] for step in steps]
