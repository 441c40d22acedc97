"""The tornado chart of ``why``: a bar for each input, the largest on top, to both sides of the result.

To the right the result grows, to the left it falls; the dark part of a bar is what the input's move up does, the
light one its move down.  Where the result was computed again these are its real changes, else the predicted ones.

Where to start reading: ``_bars``; then ``text`` for the terminal, ``svg`` for a page, ``save`` for a file.
"""

from __future__ import annotations

import math
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from valuegrad.drawing import picture_ending, save_picture
from valuegrad.inspect.worked import figure

if TYPE_CHECKING:
    from valuegrad.inspect.influence import Why

__all__ = ["save", "svg", "text"]

LONGEST = 24  # characters of an input's label
ROW = 26  # pixels of a bar with its gap
UP, DOWN = "#1f6fb2", "#c8553d"


def _bars(why: Why) -> list[tuple[str, float, float]]:
    """For each input its label, and the changes that its moves up and down make; what is not finite is left out."""
    bars = []
    for effect in why.effects:
        up = effect.predicted if effect.up is None else effect.up
        down = -effect.predicted if effect.down is None else effect.down
        if math.isfinite(up) and math.isfinite(down):
            label = effect.label if len(effect.label) <= LONGEST else effect.label[: LONGEST - 3] + "..."
            bars.append((label, up, down))
    return bars


def _moved(why: Why) -> str:
    return "each input moved up and down" + (
        f" by {100 * why.relative:g} % of itself" if why.relative is not None else ""
    )


def text(why: Why, width: int = 72) -> str:
    """The chart in characters: ``█`` for the move up, ``░`` for the move down."""
    bars = _bars(why)
    if not bars:
        return "There is nothing to draw: no input has a finite effect."
    widest = max(len(label) for label, _, _ in bars)
    side = max(4, (width - widest - 24) // 2)
    largest = max(max(abs(up), abs(down)) for _, up, down in bars) or 1.0
    lines = [f"{why.label} = {figure(why.value.data)}, {_moved(why)} (█ up, ░ down)"]
    for label, up, down in bars:
        left = _side(min(up, 0.0), min(down, 0.0), largest, side)[::-1]
        right = _side(max(up, 0.0), max(down, 0.0), largest, side)
        lines.append(f"{label.ljust(widest)} {left.rjust(side)}│{right.ljust(side)} {up:+.4g} {down:+.4g}")
    return "\n".join(lines)


def _side(up: float, down: float, largest: float, side: int) -> str:
    """One side of a bar, from the middle outwards; the shorter move lies over the longer."""
    filled, light = (round(side * abs(x) / largest) for x in (up, down))
    return "█" * filled + "░" * (light - filled) if light > filled else "░" * light + "█" * (filled - light)


def svg(why: Why, width: int = 640) -> str:
    """The chart as an SVG that follows the page's light or dark."""
    bars = _bars(why)
    left, right = 8 + 8 * max((len(label) for label, _, _ in bars), default=0), 90
    height = 66 + ROW * max(len(bars), 1)
    middle, side = left + (width - left - right) / 2, (width - left - right) / 2
    largest = max((max(abs(up), abs(down)) for _, up, down in bars), default=1.0) or 1.0
    title = f"{why.label} = {figure(why.value.data)}, {_moved(why)}"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="vg-tornado" role="img" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" aria-label="{escape(title)}">',
        "<style>.vg-tornado{color-scheme:light dark;max-width:100%;font:13px system-ui,sans-serif}"
        ".vg-tornado text{fill:light-dark(#1c2733,#e6e9ee)}.vg-tornado .number{font-size:10px}"
        ".vg-tornado .up{fill:light-dark(#1f6fb2,#5aa9e6)}"
        ".vg-tornado .down{fill:light-dark(#c8553d,#f08a75)}.vg-tornado line{stroke:light-dark(#52606d,#a7b0ba)}"
        "</style>",
        f'<text x="8" y="18">{escape(title)}</text>',
        '<text x="8" y="38"><tspan class="up">■</tspan> up <tspan class="down">■</tspan> down</text>',
    ]
    for i, (label, up, down) in enumerate(bars):
        y = 54 + ROW * i
        tip = f"{label}: {up:+.4g} when moved up, {down:+.4g} when moved down"
        parts.append(f"<g><title>{escape(tip)}</title>")
        for kind, change, offset in (("up", up, 0), ("down", down, 9)):
            length = side * abs(change) / largest
            x = middle if change >= 0.0 else middle - length
            parts.append(f'<rect class="{kind}" x="{x:.1f}" y="{y + offset}" width="{length:.1f}" height="9"/>')
        parts.append(f'<text x="{left - 6}" y="{y + 14}" text-anchor="end">{escape(label)}</text>')
        for change, offset in ((up, 8), (down, 19)):
            parts.append(f'<text class="number" x="{width - right + 6}" y="{y + offset}">{change:+.4g}</text>')
        parts.append("</g>")
    parts.append(f'<line x1="{middle:.1f}" x2="{middle:.1f}" y1="48" y2="{height - 8}"/></svg>')
    return "".join(parts)


def save(why: Why, path: str | Path) -> None:
    """Draw the chart into a file, with matplotlib.

    Raises:
        ValueArgumentError: the file has another ending than .png, .svg or .pdf.
        ImportError: matplotlib is missing: ``pip install 'valuegrad[plot]'``.
        OSError: the file cannot be written.
    """
    path = Path(path)
    ending = picture_ending(path, "plot()")
    from matplotlib.figure import Figure

    bars = _bars(why)
    figure_ = Figure(figsize=(7.5, 1.2 + 0.32 * max(len(bars), 1)), dpi=150, layout="constrained")
    axes: Any = figure_.subplots()
    rows = range(len(bars))
    axes.barh([i - 0.18 for i in rows], [up for _, up, _ in bars], 0.36, color=UP, label="moved up")
    axes.barh([i + 0.18 for i in rows], [down for _, _, down in bars], 0.36, color=DOWN, label="moved down")
    axes.set_yticks(list(rows), [label for label, _, _ in bars])
    axes.invert_yaxis()
    axes.axvline(0.0, color="#52606d", linewidth=0.8)
    axes.set_xlabel(f"change of {why.label}")
    axes.set_title(f"{why.label} = {figure(why.value.data)}, {_moved(why)}", fontsize=10)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.tick_params(axis="y", length=0)
    if bars:
        axes.legend(frameon=False, fontsize=8)
    save_picture(figure_, path, ending)
