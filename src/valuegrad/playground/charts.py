"""What the charts of the playground show, as options of Apache ECharts (https://echarts.apache.org/en/option.html).

Where to start reading: ``losses``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from valuegrad.playground.runs import Snapshot

__all__ = ["losses", "summary"]

# Text and lines; first this run, then the one that it is compared with.  All have the contrast that AA asks for.
LIGHT = {"text": "#57606a", "line": "#d0d7de", "card": "#ffffff", "runs": ["#1d5fae", "#9a5b00"]}
DARK = {"text": "#a3adb8", "line": "#343d47", "card": "#1a2027", "runs": ["#7db4f5", "#f0b35a"]}
SYMBOLS = ["circle", "triangle"]


def losses(runs: Sequence[tuple[str, Snapshot]], dark: bool) -> dict[str, Any]:
    """The losses of one run, or of two.

    Args:
        runs: the name of each, and what is known of it.
        dark: whether the page is dark.
    """
    colours: dict[str, Any] = DARK if dark else LIGHT
    series: list[dict[str, Any]] = []
    for i, (name, snapshot) in enumerate(runs):
        colour = colours["runs"][i % 2]
        two = len(runs) > 1
        series.append(
            {
                "name": name if two else "training",
                "type": "line",
                "data": [[step, round(loss, 4)] for step, loss in snapshot.curve],
                "symbol": "none",
                "lineStyle": {"width": 2, "color": colour},
                "itemStyle": {"color": colour},
            }
        )
        series.append(
            {
                "name": f"{name}, held out" if two else "held out",
                "type": "line",
                "data": [[step, round(loss, 4)] for step, loss in snapshot.evaluations],
                "symbol": SYMBOLS[i % 2],
                "symbolSize": 7,
                "lineStyle": {"width": 1, "type": "dashed", "color": colour},
                "itemStyle": {"color": colour},
            }
        )
    axis = {
        "axisLabel": {"color": colours["text"]},
        "axisLine": {"lineStyle": {"color": colours["line"]}},
        "splitLine": {"lineStyle": {"color": colours["line"], "opacity": 0.6}},
        "nameTextStyle": {"color": colours["text"]},
    }
    most = max([snapshot.steps for _, snapshot in runs], default=1000)
    return {
        "animation": False,
        "textStyle": {"fontFamily": "system-ui, sans-serif"},
        "grid": {"left": 44, "right": 16, "top": 34, "bottom": 64 if len(runs) < 2 else 88},
        "legend": {"bottom": 0, "textStyle": {"color": colours["text"]}, "inactiveColor": colours["line"]},
        "tooltip": {
            "trigger": "axis",
            "backgroundColor": colours["card"],
            "borderColor": colours["line"],
            "textStyle": {"color": colours["text"]},
        },
        "xAxis": {
            "type": "value",
            "min": 0,
            "max": most,
            "name": "step",
            "nameLocation": "middle",
            "nameGap": 26,
            **axis,
            "splitLine": {"show": False},
        },
        "yAxis": {
            "type": "value",
            "scale": True,
            "name": "loss, nats a token",
            **axis,
            "nameTextStyle": {"color": colours["text"], "align": "left", "padding": [0, 0, 0, -36]},
        },
        "series": series,
    }


def summary(runs: Sequence[tuple[str, Snapshot]]) -> str:
    """The chart in words, for who cannot see it."""
    parts = []
    for name, snapshot in runs:
        if not snapshot.curve:
            parts.append(f"{name}: no step yet.")
            continue
        (first, began), (last, now) = snapshot.curve[0], snapshot.curve[-1]
        part = f"{name}: the training loss is {began:.3f} at step {first} and {now:.3f} at step {last}"
        if snapshot.evaluations:
            part += f"; held out it is {snapshot.evaluations[-1][1]:.3f}"
        parts.append(part + ".")
    return "Losses by step. " + " ".join(parts)
