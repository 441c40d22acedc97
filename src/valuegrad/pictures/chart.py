"""Lines and points over a number of steps, as SVG: a loss that falls.

Data structures: a ``Series`` is one line, or points.

Where to start reading: ``chart``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from valuegrad.pictures.markup import STYLE, escaped, text_width

__all__ = ["Series", "bars", "chart"]

WIDTH, HEIGHT = 520, 240
LEFT, RIGHT, TOP, BOTTOM = 52, 26, 30, 40
SMALL = 11
MOST_POINTS = 400  # more cannot be told apart
_RULES = f"""
.vg-chart{{max-width:100%;height:auto;font:{SMALL}px system-ui,sans-serif}}
.vg-chart .vg-paper{{fill:var(--vg-paper)}}
.vg-chart text{{fill:var(--vg-muted)}}
.vg-chart .vg-grid{{stroke:var(--vg-edge);stroke-opacity:.35}}
.vg-chart .vg-quiet{{fill:var(--vg-line);fill-opacity:.55;stroke:none}}
.vg-chart .vg-line{{fill:none;stroke:var(--vg-accent);stroke-width:2;stroke-linejoin:round}}
.vg-chart .vg-mark{{fill:var(--vg-paper);stroke:var(--vg-bad);stroke-width:2}}
.vg-chart .vg-marked{{fill:none;stroke:var(--vg-bad);stroke-width:1.2}}
.vg-chart .vg-bar{{fill:var(--vg-accent)}}
"""


class Series(NamedTuple):
    """Something to draw: "points" (many, quiet), "line", or "marks" (few, joined)."""

    name: str
    kind: str
    points: Sequence[tuple[float, float]]


def chart(series: Sequence[Series], title: str, x_label: str = "", y_label: str = "") -> str:
    """A picture of lines and points as an SVG element; numbers that are not finite are left out.

    Args:
        series: what is drawn, the first at the bottom.
        title: what it is, for those who hear it.
        x_label: below the axis.
        y_label: above the axis.
    """
    kept = [
        Series(s.name, s.kind, [p for p in s.points if math.isfinite(p[0]) and math.isfinite(p[1])]) for s in series
    ]
    kept = [Series(s.name, s.kind, _thinned(s.points)) for s in kept if s.points]
    xs = [x for s in kept for x, _ in s.points] or [0.0, 1.0]
    ys = [y for s in kept for _, y in s.points] or [0.0, 1.0]
    x_marks, y_marks = ticks(min(0.0, *xs), max(xs)), ticks(min(ys), max(ys))
    x0, x1 = min(0.0, *xs), max(*xs, x_marks[-1] if len(set(xs)) == 1 else max(xs))
    y0, y1 = min(y_marks[0], min(ys)), max(y_marks[-1], max(ys))

    def at(x: float, y: float) -> tuple[float, float]:
        across = (x - x0) / ((x1 - x0) or 1.0)
        up = (y - y0) / ((y1 - y0) or 1.0)
        return LEFT + across * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM)

    parts = []
    for mark in y_marks:
        _, y = at(x0, mark)
        parts.append(f'<line class="vg-grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{mark:g}</text>')
    for mark in x_marks:
        if x0 <= mark <= x1:
            x, _ = at(mark, y0)
            parts.append(f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 15}" text-anchor="middle">{mark:,g}</text>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(f'<text x="{middle}" y="{HEIGHT - 8}" text-anchor="middle">{escaped(x_label)}</text>')
    parts.append(f'<text x="8" y="16">{escaped(y_label)}</text>')
    right = WIDTH - RIGHT + 0.0
    for s in reversed(kept):  # the legend, from the right
        right -= text_width(s.name, SMALL)
        parts.append(f'<text x="{right:.1f}" y="16">{escaped(s.name)}</text>{_sample(s.kind, right - 14)}')
        right -= 30
    for s in kept:
        parts.append(_drawn(s.kind, [at(x, y) for x, y in s.points]))
    described = "; ".join(
        f"{s.name}: from {s.points[0][1]:.4g} at {s.points[0][0]:g} to {s.points[-1][1]:.4g} at {s.points[-1][0]:g}"
        for s in kept
    )
    return _svg(title, described or "nothing to draw yet", WIDTH, HEIGHT, "".join(parts))


def bars(rows: Sequence[tuple[str, float]], title: str) -> str:
    """Counts as bars, on a linear scale, the numbers beside them.

    Args:
        rows: names and numbers, none of them negative.
        title: what it is, for those who hear it.
    """
    left = max([text_width(name, SMALL) for name, _ in rows], default=0.0) + 16
    most = max([count for _, count in rows], default=1.0) or 1.0
    parts = []
    for i, (name, count) in enumerate(rows):
        y = 8 + 18 * i
        length = 180 * count / most
        parts.append(f'<text x="{left - 6:.1f}" y="{y + 11}" text-anchor="end">{escaped(name)}</text>')
        parts.append(f'<rect class="vg-bar" x="{left:.1f}" y="{y}" width="{max(length, 1):.1f}" height="13" rx="2"/>')
        parts.append(f'<text x="{left + length + 6:.1f}" y="{y + 11}">{count:,g}</text>')
    described = ", ".join(f"{name} {count:,g}" for name, count in rows)
    return _svg(title, described, left + 260, 18 * len(rows) + 14, "".join(parts))


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers from about the one to about the other.

    Example:
        >>> ticks(1.83, 3.4)
        [1.5, 2.0, 2.5, 3.0, 3.5]
        >>> ticks(0, 1000)
        [0.0, 200.0, 400.0, 600.0, 800.0, 1000.0]
    """
    if not high > low:
        low, high = low - 0.5, low + 0.5
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [float(f"{i * step:.12g}") for i in range(first, last + 1)]


def _thinned(points: Sequence[tuple[float, float]]) -> Sequence[tuple[float, float]]:
    every = math.ceil(len(points) / MOST_POINTS) or 1
    thinned = list(points[::every])
    return thinned if thinned[-1] == points[-1] else [*thinned, points[-1]]


def _drawn(kind: str, points: Sequence[tuple[float, float]]) -> str:
    if kind == "points":
        dots = "".join(f"M{x:.1f} {y:.1f}m-1.3 0a1.3 1.3 0 1 0 2.6 0a1.3 1.3 0 1 0-2.6 0" for x, y in points)
        return f'<path class="vg-quiet" d="{dots}"/>'
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    if kind == "line":
        return f'<polyline class="vg-line" points="{line}"/>'
    marks = "".join(f'<circle class="vg-mark" cx="{x:.1f}" cy="{y:.1f}" r="3.5"/>' for x, y in points)
    return f'<polyline class="vg-marked" points="{line}"/>{marks}'


def _sample(kind: str, x: float) -> str:
    if kind == "line":
        return f'<line class="vg-line" x1="{x - 6:.1f}" x2="{x + 8:.1f}" y1="12" y2="12"/>'
    if kind == "points":
        return f'<circle class="vg-quiet" cx="{x + 5:.1f}" cy="12" r="2.5"/>'
    return f'<circle class="vg-mark" cx="{x + 3:.1f}" cy="12" r="3.5"/>'


def _svg(title: str, described: str, width: float, height: float, body: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="vg vg-chart" role="img" width="{width:.0f}" '
        f'height="{height:.0f}" viewBox="0 0 {width:.0f} {height:.0f}"><title>{escaped(title)}</title>'
        f"<desc>{escaped(described)}</desc><style>{STYLE}{_RULES}</style>"
        f'<rect class="vg-paper" width="100%" height="100%" rx="6"/>{body}</svg>'
    )
