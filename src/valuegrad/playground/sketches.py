"""Small pictures of the playground as SVG: a result along one input with its tangent, and a loss over the steps.

Why: they are drawn anew at every move of a slider, and clicked; a few lines of SVG do that without a library.  Their
colours are classes, so that the page's style makes them light or dark.

Where to start reading: ``curve_picture``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from valuegrad.inspect.worked import figure
from valuegrad.playground.expression_model import Curve, Effect

__all__ = ["curve_picture", "loss_picture"]

WIDTH, HEIGHT = 360, 210
LEFT, RIGHT, TOP, BOTTOM = 8, 8, 12, 26  # margins


class _Axes:
    """From numbers to places in the picture."""

    def __init__(
        self, x: tuple[float, float], y: tuple[float, float], height: int = HEIGHT, width: int = WIDTH
    ) -> None:
        self.x0, self.x1 = x
        self.y0, self.y1 = y
        self.height = height
        self.width = width

    def across(self, x: float) -> float:
        return LEFT + (self.width - LEFT - RIGHT) * (x - self.x0) / ((self.x1 - self.x0) or 1.0)

    def up(self, y: float) -> float:
        part = (y - self.y0) / ((self.y1 - self.y0) or 1.0)
        return self.height - BOTTOM - (self.height - TOP - BOTTOM) * min(max(part, -2.0), 3.0)

    def line(self, points: Sequence[tuple[float, float]]) -> str:
        """An SVG path; where a number is missing the line is broken."""
        parts, pen = [], "M"
        for x, y in points:
            if math.isfinite(y):
                parts.append(f"{pen}{self.across(x):.1f} {self.up(y):.1f}")
            pen = "L" if math.isfinite(y) else "M"
        return "".join(parts)


def curve_picture(curve: Curve, effect: Effect, nudge: float) -> str:
    """The result along one input, its tangent, and how far apart the two are after the nudge.

    Args:
        curve: the result along the input.
        effect: what a nudge to this input alone does.
        nudge: the nudge.
    """
    finite = sorted(y for _, y in curve.points if math.isfinite(y))
    known = [y for y in (effect.before, effect.after, effect.before + effect.predicted) if math.isfinite(y)]
    if not finite or not known:
        return ""
    skip = len(finite) // 20  # near a pole the curve may leave the picture
    ys = [finite[skip], finite[-1 - skip], *known]
    low, high = min(ys), max(ys)
    room = 0.08 * (high - low) or 0.5 * abs(high) or 1.0
    axes = _Axes((curve.points[0][0], curve.points[-1][0]), (low - room, high + room))
    now = curve.at + nudge
    parts = [f'<path class="vg-curve" d="{axes.line(curve.points)}"/>']
    if math.isfinite(curve.gradient) and math.isfinite(effect.before):
        ends = [(x, effect.before + curve.gradient * (x - curve.at)) for x in (axes.x0, axes.x1)]
        parts.insert(0, f'<path class="vg-tangent" d="{axes.line(ends)}"/>')
    x = axes.across(now)
    if nudge and math.isfinite(effect.after) and math.isfinite(effect.predicted):
        guess = axes.up(effect.before + effect.predicted)
        parts.append(f'<path class="vg-gap" d="M{x:.1f} {guess:.1f}V{axes.up(effect.after):.1f}"/>')
        parts.append(f'<circle class="vg-guess" cx="{x:.1f}" cy="{guess:.1f}" r="4.5"/>')
    if math.isfinite(effect.before):
        parts.append(_dot("vg-before", axes.across(curve.at), axes.up(effect.before)))
    if nudge and math.isfinite(effect.after):
        parts.append(_dot("vg-after", x, axes.up(effect.after)))
    marks = [(axes.x0, "start"), (curve.at, "middle"), (axes.x1, "end")]
    floor = HEIGHT - BOTTOM
    # What leaves the picture ends at its edge.
    parts = [f'<svg width="{WIDTH}" height="{floor}">{"".join(parts)}</svg>']
    parts.append(f'<path class="vg-axis" d="M{LEFT} {floor}H{WIDTH - RIGHT}"/>')
    parts += [_text(axes.across(at), HEIGHT - 9, figure(at), anchor) for at, anchor in marks]
    says = (
        f"The result along {curve.name}: {figure(effect.before)} at {figure(curve.at)}, where its slope is "
        f"{figure(curve.gradient)}"
    )
    return _svg(parts, f"{says}; {figure(effect.after)} at {figure(now)}." if nudge else f"{says}.", HEIGHT)


def loss_picture(curve: Sequence[tuple[int, float]], steps: int, kept: Sequence[int], chosen: int) -> str:
    """A run's loss, with marks at the steps whose weights were kept and at the chosen one.

    Args:
        curve: step and smoothed loss.
        steps: of how many steps.
        kept: after how many steps there are weights.
        chosen: one of them.
    """
    width, height, floor = 640, 150, 138
    finite = [y for _, y in curve if math.isfinite(y)]
    low, high = (min(finite), max(finite)) if finite else (0.0, 1.0)
    room = 0.08 * (high - low) or 0.5
    axes = _Axes((0.0, float(max(steps, 1))), (low - room, high + room), floor + BOTTOM, width)
    parts = [
        f'<path class="vg-axis" d="M{LEFT} {floor}H{width - RIGHT}"/>',
        f'<path class="vg-kept" d="{"".join(f"M{axes.across(step):.1f} {floor}v6" for step in kept)}"/>',
        f'<path class="vg-curve" d="{axes.line(curve)}"/>',
        f'<path class="vg-here" d="M{axes.across(chosen):.1f} {TOP}V{floor}"/>',
    ]
    near = min(curve, key=lambda point: abs(point[0] - chosen), default=(0, math.nan))
    if math.isfinite(near[1]):
        parts.append(_dot("vg-after", axes.across(chosen), axes.up(near[1])))
    first, last = next((y for _, y in curve if math.isfinite(y)), math.nan), near[1]
    about = f"loss {first:.2f} at first, {last:.2f} here" if finite else "no loss yet"
    # The words stand beside the picture, so that they keep their size when it is scaled.
    words = f"<span>step 0</span><span>{about}</span><span>{steps:,}</span>"
    picture = _svg(parts, f"The loss over {steps:,} steps; chosen: after step {chosen:,}.", height, width)
    return f'{picture}<div class="vg-axis-words" aria-hidden="true">{words}</div>'


def _dot(kind: str, x: float, y: float) -> str:
    return f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="5"/>'


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _svg(parts: Sequence[str], says: str, height: int, width: int = WIDTH) -> str:
    inside = "".join(parts)
    return (
        f'<svg class="vg-sketch" viewBox="0 0 {width} {height}" role="img" aria-label="{escape(says, quote=True)}" '
        f'data-left="{LEFT / width}" data-right="{1 - RIGHT / width}">{inside}</svg>'
    )
