"""What a Value looks like in a notebook: its number, its grad, and the graph behind it.

A display must never stand in the way of a calculation: where something cannot be shown (inside a recording, for
instance, numbers cannot be read), the notebook falls back to the text that ``repr`` gives.

Where to start reading: ``_repr_html_``.
"""

from __future__ import annotations

import math

from valuegrad.errors import ValuegradError
from valuegrad.inspect.diagrams import diagram
from valuegrad.pictures.cards import Html, card, joined, paragraph, quiet, red, strong
from valuegrad.value import Value

__all__ = ["_repr_html_", "_repr_svg_"]  # the names of the methods: see primitives/methods.py

MOST = 40  # boxes: what fits into a notebook without scrolling much


def _repr_html_(value: Value) -> str | None:
    """A Value as HTML: data and grad, and what it was computed from."""
    try:
        parts = [paragraph(*_head(value))]
        if value.children:
            parts.append(Html(diagram(value, most=MOST).svg()))
        return card(*parts)
    except ValuegradError:
        return None


def _repr_svg_(value: Value) -> str | None:
    """A Value as SVG: what it was computed from; None for a leaf, of which a text says as much."""
    try:
        return diagram(value, most=MOST).svg() if value.children else None
    except ValuegradError:
        return None


def _head(value: Value) -> list[Html]:
    parts = [_number("data", value.data)]
    if value.op != "constant":
        parts.append(_number("grad", value.grad))
    kind = "a leaf" if value.op is None else "a plain number" if value.op == "constant" else value.op
    named = [joined(strong(value.name), "  ")] if value.name else []
    return [*named, *[joined(part, "  ·  ") for part in parts], quiet(kind)]


def _number(label: str, x: float) -> Html:
    return joined(quiet(label), " ", repr(x) if math.isfinite(x) else red(repr(x)))
