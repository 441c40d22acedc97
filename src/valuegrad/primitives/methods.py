"""The methods by which a Value explains itself: ``y.why()``, ``y.poison()``, ``y.steps()`` and the like.

Why here: both engines and the type stubs offer them, and what they do lies far above (``valuegrad.inspect``), where
NumPy or a terminal may be needed.  So the methods are declared once, by name, and find their function when called.

Data structures: ``METHODS``, a row for each method: where its function is, and its signature for the stubs (a test
compares it with the function's own).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any, NamedTuple

__all__ = ["METHODS", "Method", "explained"]


class Method(NamedTuple):
    """A method of Value whose function lies above the engines."""

    module: str
    parameters: tuple[str, ...]
    """As they stand in the stub, behind ``self``."""
    result: str
    doc: str


METHODS = {
    "nudge_table": Method(
        "valuegrad.inspect.nudge",
        ("*", "nudge: float = 0.001"),
        "NudgeTable",
        "What a nudge to each child does to this operation's result: ``vg.inspect.nudge_table``.",
    ),
    "why": Method(
        "valuegrad.inspect.influence",
        (
            "*",
            "inputs: Iterable[Value] | None = None",
            "relative: float = 0.01",
            "nudge: float | None = None",
            "paths: int = 3",
            "rows: int = 10",
        ),
        "Why",
        "Which inputs move this number most, and along which paths: ``vg.why``.",
    ),
    "poison": Method(
        "valuegrad.inspect.origin",
        (),
        "Poison",
        "The first operation that turned finite numbers into nan or inf: ``vg.poison``.",
    ),
    "steps": Method(
        "valuegrad.inspect.stepping",
        ("wrong: str | None = None",),
        "Steps",
        "The backward pass, one ``child.grad += local_grad * grad`` at a time: ``vg.inspect.steps``.",
    ),
    "diagram": Method(
        "valuegrad.inspect.diagrams",
        (
            "*",
            "names: Mapping[str, Any] | Mapping[Value, str] | None = None",
            "grads: bool = True",
            "most: int = 60",
            "collapse: bool = True",
            "expand: Collection[int | str] = ()",
            'direction: str = "down"',
        ),
        "Diagram",
        "The graph as a picture: ``vg.inspect.diagram``.",
    ),
    "_repr_html_": Method(
        "valuegrad.inspect.display",
        (),
        "str | None",
        "What a notebook shows: data, grad, and the graph.",
    ),
    "_repr_svg_": Method(
        "valuegrad.inspect.display",
        (),
        "str | None",
        "What a notebook shows where it cannot show HTML: the graph.",
    ),
}


def explained(name: str, value: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """Call the function behind a method; its module is imported now."""
    return getattr(import_module(METHODS[name].module), name)(value, *args, **kwargs)
