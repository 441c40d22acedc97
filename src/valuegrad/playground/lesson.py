"""The backward pass of an expression as a lesson: one line of Python at a time, with the grads after each.

Why: "``b.grad += c.local_grads[0] * c.grad``, for every edge, newest first" is all there is to it; who has stepped
through it once believes it.  What goes wrong in other orders is best seen the same way.

Data structures: a ``Lesson`` has the expression's Values, named as a program would name them (v1, v2, ...), and a
``Frame`` for each step.

Where to start reading: ``Lesson``.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from itertools import pairwise

from valuegrad.inspect.diagrams import diagram, nodes
from valuegrad.inspect.origin import Poison, poison
from valuegrad.inspect.stepping import Steps, steps
from valuegrad.inspect.worked import ATOM, figure, number_text, written
from valuegrad.pictures.diagram import Diagram
from valuegrad.playground.expression_model import Experiment
from valuegrad.value import Value

__all__ = ["TITLES", "Frame", "Lesson", "marked"]

TITLES = {"": "The right way", "order": "No topological order", "assign": "= for +=", "stale": "Grads not cleared"}
"""What the right pass and the wrong variants are called, by their names in ``steps``."""
MOST_BOXES = 80
COLLAPSE_FROM = 40  # nodes


@dataclass(frozen=True)
class Frame:
    """One step of a backward pass.

    Args:
        line: what it does, as Python.
        worked: the same in numbers.
        child: the node whose grad it changes.
        parent: the node it comes from; None for the first step, which sets the result's grad to 1.
        grads: of all nodes, after it.
    """

    line: str
    worked: str
    child: int
    parent: int | None
    grads: tuple[float, ...]


class Lesson:
    """An expression's backward pass, step by step.

    Args:
        experiment: the expression with its numbers.
        wrong: a wrong variant, "" for the right one.

    Attributes:
        steps: the pass as ``valuegrad.inspect.steps`` gives it.
        poison: where nan or inf began, as ``valuegrad.inspect.poison`` finds it.
        nodes: the Values, oldest first; a node's id is its position.
        names: what they are called.
        forward: the calculation as lines of Python.
        frames: the steps.

    Example:
        >>> lesson = Lesson(Experiment("relu(a*b + c)"))
        >>> lesson.forward
        ['v1 = a * b', 'v2 = v1 + c', 'y = relu(v2)']
        >>> for frame in lesson.frames[:3]:
        ...     print(frame.line, "#", frame.worked)
        y.grad = 1.0 # a nudge to the result is a nudge to the result
        v2.grad += y.local_grads[0] * y.grad # 0 + 1 * 1 = 1
        v1.grad += v2.local_grads[0] * v2.grad # 0 + 1 * 1 = 1
    """

    def __init__(self, experiment: Experiment, wrong: str = "") -> None:
        self.root, self.leaves = experiment.fresh()
        self.nodes = nodes(self.root)
        self.id = {value: i for i, value in enumerate(self.nodes)}
        self.unnamed: list[Value] = []  # those that were named here
        self.forward = self._named({value.name for value in self.nodes})
        self.names = [value.name or figure(value.data) for value in self.nodes]
        self.steps: Steps = steps(self.root, wrong or None)
        self.frames = self._frames()
        self.poison: Poison = poison(self.root)

    def _named(self, taken: Collection[str | None]) -> list[str]:
        """Name what was computed; the calculation as lines of Python."""
        lines = []
        free = (f"v{i}" for i in range(1, 10**6) if f"v{i}" not in taken)
        for value in self.nodes:
            if value.children:
                if value.name is None:
                    self.unnamed.append(value)
                    value.name = "y" if value is self.root and "y" not in taken else next(free)
                parts = [(child.name, ATOM) if child.name else number_text(child.data) for child in value.children]
                lines.append(f"{value.name} = {written(value.op or 'custom', parts, value.static)[0]}")
        return lines

    def _frames(self) -> list[Frame]:
        now = self.steps.grads_after(0)

        def grads() -> tuple[float, ...]:
            return tuple([now.get(value, 0.0) for value in self.nodes])

        found = [
            Frame(
                self.steps.opening, "a nudge to the result is a nudge to the result", len(self.nodes) - 1, None, grads()
            )
        ]
        for step in self.steps:
            now[step.child] = step.after
            found.append(Frame(step.python, step.numbers, self.id[step.child], self.id[step.node], grads()))
        return found

    @property
    def faults(self) -> list[tuple[str, float, float]]:
        """What ends wrong: a name, its grad here, the right one."""
        return [(self.steps.labels[value], here, right) for value, (here, right) in self.steps.faults().items()]

    def grads(self, step: int) -> tuple[float, ...]:
        """Of all nodes after so many steps; -1 for all steps."""
        done = len(self.frames) if step < 0 else min(step, len(self.frames))
        return self.frames[done - 1].grads if done else (0.0,) * len(self.nodes)

    @property
    def first_to_look_at(self) -> int:
        """The node whose table is shown at first: where nan or inf began, else the result."""
        origin = self.poison.origin
        return len(self.nodes) - 1 if origin is None else self.id[origin.value]

    @property
    def trail(self) -> list[tuple[int, int]]:
        """The edges, child and parent, along which nan or inf went from where it began to the result."""
        origin = self.poison.origin
        if origin is None:
            return []
        way = [*([origin.child] if origin.child is not None else []), *origin.trail]
        return [(self.id[child], self.id[parent]) for child, parent in pairwise(way)]

    def picture(self, step: int, opened: Collection[str] = ()) -> Diagram:
        """The graph as it stands after so many steps; boxes of many nodes are opened if their key is given."""
        for value, grad in zip(self.nodes, self.grads(step)):
            value.grad = grad
        collapse = len(self.nodes) > COLLAPSE_FROM
        names = [value.name for value in self.unnamed]
        for value in self.unnamed if collapse else ():
            value.name = None  # what has a name of its own is nobody's part
        try:
            return diagram(self.root, most=MOST_BOXES, collapse=collapse, expand=opened)
        finally:
            for value, name in zip(self.unnamed, names):
                value.name = name

    def svg(self, step: int, chosen: int = -1, opened: Collection[str] = ()) -> str:
        """The picture, with the step's edge, the chosen operation and the way of what is not finite marked."""
        picture = self.picture(step, opened)
        key = [picture.box(i).key for i in range(len(self.nodes))]
        boxes: dict[str, list[str]] = {}
        edges: dict[str, list[str]] = {}

        def mark(kind: str, child: int, parent: int | None = None) -> None:
            boxes.setdefault(key[child], []).append(kind)
            if parent is not None:
                edges.setdefault(f"{key[child]}-{key[parent]}", []).append(kind)

        for child, parent in self.trail:
            mark("vg-trail", child, parent)
        if self.poison.origin is not None:
            mark("vg-origin", self.id[self.poison.origin.value])
        if 0 <= chosen < len(self.nodes):
            mark("vg-chosen", chosen)
        if step < 0 or step == len(self.frames):
            for value in self.steps.faults():
                mark("vg-fault", self.id[value])
        if 0 < step <= len(self.frames):
            mark("vg-now", self.frames[step - 1].child, self.frames[step - 1].parent)
        return marked(picture.svg(), boxes, edges)


_BOX = re.compile(r'<g class="(vg-box[^"]*)" data-(node|group)="([^"]*)"')
_WIDTH = re.compile(r'<svg [^>]*width="([\d.]+)"')
_EDGE = re.compile(r'<g class="(vg-edge[^"]*)" data-edge="([^"]*)"')


def marked(svg: str, boxes: Mapping[str, Collection[str]], edges: Mapping[str, Collection[str]]) -> str:
    """A diagram's SVG with classes on some boxes and edges, and boxes that a keyboard reaches.

    Args:
        svg: the diagram's.
        boxes: classes by the key of a box.
        edges: classes by the keys of both ends, as in "0-3".
    """

    def box(found: re.Match[str]) -> str:
        classes = " ".join([found[1], *boxes.get(found[3], ())])
        return f'<g class="{classes}" data-{found[2]}="{found[3]}" tabindex="0" role="button"'

    def edge(found: re.Match[str]) -> str:
        return f'<g class="{" ".join([found[1], *edges.get(found[2], ())])}" data-edge="{found[2]}"'

    made = _EDGE.sub(edge, _BOX.sub(box, svg)).replace('role="img"', 'role="group"', 1)
    # On a phone a picture is made smaller, but not until its letters cannot be read.
    width = _WIDTH.search(made)
    return made.replace("<svg ", f'<svg style="min-width:{0.62 * float(width[1]):.0f}px" ', 1) if width else made
