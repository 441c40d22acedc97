"""A training run as a notebook shows it: where it stands, its loss, its settings, what it writes.

What draws is imported when there is something to show: training does not wait for it.

Where to start reading: ``run_html``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, fields
from typing import Any

from valuegrad.gpt.settings import ModelSettings, TrainingSettings

__all__ = ["SMOOTHED_OVER", "loss_chart", "run_html", "running_mean"]

SMOOTHED_OVER = 50  # steps


def running_mean(losses: Sequence[float]) -> list[float]:
    """For each step the smoothed loss of that step."""
    means, total = [], 0.0
    for i, loss in enumerate(losses):
        total += loss - (losses[i - SMOOTHED_OVER] if i >= SMOOTHED_OVER else 0.0)
        means.append(total / min(i + 1, SMOOTHED_OVER))
    return means


def loss_chart(losses: Sequence[float], evaluations: Sequence[tuple[int, float]]) -> str:
    """The losses of a run as SVG: each step's, the smoothed ones, those on held-out documents."""
    from valuegrad.pictures.chart import Series, chart

    series = [
        Series("each step", "points", list(enumerate(losses, 1))),
        Series(f"mean of {SMOOTHED_OVER} steps", "line", list(enumerate(running_mean(losses), 1))),
        Series("held-out documents", "marks", list(evaluations)),
    ]
    return chart(series, "loss over the steps", "step", "loss, nats a token")


def run_html(
    model: ModelSettings,
    training: TrainingSettings,
    vocabulary: int,
    data_name: str,
    losses: Sequence[float],
    evaluations: Sequence[tuple[int, float]],
    samples: Sequence[str] = (),
) -> str:
    """A run as HTML, complete in itself.

    Args:
        model: the model's sizes.
        training: how it is trained.
        vocabulary: number of tokens.
        data_name: what the documents are.
        losses: the loss of every step so far.
        evaluations: after which step, loss on held-out documents.
        samples: what the model writes now.
    """
    from valuegrad.pictures.cards import Html, card, paragraph, strong, table

    step = len(losses)
    head: list[object] = [strong(f"{step:,} of {training.steps:,} steps")]
    if step:
        head.append(f", loss {losses[-1]:.4f}, smoothed {running_mean(losses)[-1]:.4f}")
    if evaluations:
        head.append(f", held-out {evaluations[-1][1]:.4f}")
    parts = [paragraph(*head)]
    if step:
        parts.append(Html(loss_chart(losses, evaluations)))
    parts.append(table((), _settings(model, training, vocabulary, data_name), "settings"))
    if samples:
        parts.append(paragraph(strong("writes: "), ", ".join(text or "(an empty text)" for text in samples)))
    return card(*parts)


def _settings(
    model: ModelSettings, training: TrainingSettings, vocabulary: int, data_name: str
) -> list[tuple[object, ...]]:
    """What a reader asks first; of the rest what is not as usual."""
    sizes = ", ".join(f"{name} {value}" for name, value in asdict(model).items())
    rows: list[tuple[object, ...]] = [("data", data_name)] if data_name else []
    rows.append(("model", f"{model.parameters(vocabulary):,} parameters: {sizes}, {vocabulary} tokens"))
    always = ("batch", "learning_rate", "optimizer", "seed")
    chosen = {field.name: _text(getattr(training, field.name)) for field in fields(training)}
    usual = {field.name: _text(field.default) for field in fields(training)}
    shown = [
        f"{name} {value}"
        for name, value in chosen.items()
        if name in always or (value != usual[name] and name != "steps")
    ]
    return [*rows, ("training", ", ".join(shown))]


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
