"""The graph of an expression on the page, its backward pass step by step, and the table of one operation.

Data structures: a ``GraphCard`` has the elements; what they show is a ``Lesson``.

Where to start reading: ``GraphCard.draw``, then ``GraphCard.go``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from html import escape
from typing import Any

from nicegui import ui
from nicegui.events import KeyEventArguments

from valuegrad.inspect.nudge import nudge_table
from valuegrad.inspect.origin import NO_LINE
from valuegrad.inspect.worked import figure
from valuegrad.playground import theme
from valuegrad.playground.expression_model import Experiment
from valuegrad.playground.lesson import TITLES, Lesson
from valuegrad.playground.looks import button, on_pick, table
from valuegrad.primitives import TABLE

__all__ = ["KEY", "GraphCard"]

KEY = re.compile(r"[gs]\d{1,6}")  # of a box that stands for many nodes
AROUND = 12  # lines of Python before and after the one that is stepped


class GraphCard:
    """The graph and its backward pass.

    Args:
        chosen_step: told of another step; -1 for all.
        chosen_wrong: told of another variant; whoever hears it draws.
        chosen_node: told of another operation.
        opened: told of the boxes of many nodes that were opened, by their keys.
    """

    def __init__(
        self,
        chosen_step: Callable[[int], object],
        chosen_wrong: Callable[[str], object],
        chosen_node: Callable[[int], object],
        opened: Callable[[list[str]], object],
    ) -> None:
        self.chosen_step, self.chosen_wrong, self.chosen_node = chosen_step, chosen_wrong, chosen_node
        self.told_opened = opened
        self.opened: list[str] = []
        self.lesson: Lesson | None = None
        self.step = -1
        self.node = -1
        with theme.card("Graph and backward pass", "vg-graph"):
            self.picture = ui.html("", sanitize=False).classes("vg-scroll vg-picture")
            on_pick(self.picture, "node", lambda event: self.choose(event.args))
            on_pick(self.picture, "group", lambda event: self.open(event.args))
            self.poisoned = ui.html("", sanitize=False).props('role="status" aria-live="polite"')
            theme.text(
                "Boxes hold a number and its grad, edges the local gradient. Pick a box for its nudge table; one that "
                "stands for many is opened.",
                "p",
                "vg-note",
            )
            self._stepping()
        ui.keyboard(self._key, ignore=["input", "select", "textarea"])

    def _stepping(self) -> None:
        with theme.element("div", "vg-row vg-steps").props('role="group" aria-label="Backward pass"'):
            for name, label, move in (
                ("Start", "To the start of the backward pass", lambda: self.go(0)),
                ("◀ Back", "One step back", lambda: self.go(max(self._done() - 1, 0))),
                ("Step ▶", "One step", lambda: self.go(self._done() + 1)),
                ("End", "To the end of the backward pass", lambda: self.go(-1)),
            ):
                made = button(name, "vg-button vg-primary" if "Step" in name else "vg-button", label)
                made.on("click", move)
            self.counter = theme.text("", "span", "vg-note")
        with theme.element("label", "vg-row vg-choice"):
            theme.text("Variant", "span", "vg-note")
            self.variant = theme.element("select", "vg-select").props('aria-label="Variant of the backward pass"')
            with self.variant:
                self.options = {name: theme.text(title, "option") for name, title in TITLES.items()}
                for name, option in self.options.items():
                    option.props["value"] = name
            self.variant.on(
                "change", lambda event: self._vary(event.args), js_handler="(event) => emit(event.target.value)"
            )
        self.line = ui.html("", sanitize=False).classes("vg-now-line").props('role="status" aria-live="polite"')
        self.listing = ui.html("", sanitize=False).classes("vg-listing")
        on_pick(self.listing, "step", lambda event: self.go(_whole(event.args, 0)))
        self.moral = theme.text("", "p", "vg-moral")

    def table_card(self) -> None:
        """Make the card of the operation's table, where it shall stand."""
        with theme.card("One operation"):
            self.about = theme.text("", "p")
            self.table = ui.html("", sanitize=False).classes("vg-scroll")
            self.note = theme.text("", "p", "vg-note")

    # -------------------------------------------------------------------------------------------- what happens
    def draw(self, experiment: Experiment, wrong: str, step: int, node: int, opened: list[str]) -> None:
        """Show another calculation."""
        self.opened = opened
        self.lesson = Lesson(experiment, wrong)
        self.step = min(step, len(self.lesson.frames))
        self.node = node if 0 <= node < len(self.lesson.nodes) else -1
        for name, option in self.options.items():
            option.props["selected"] = name == wrong
        self.variant.props["value"] = wrong
        self.poisoned.content = _poisoned(self.lesson)
        self._draw_step()
        self._draw_table()

    def go(self, step: int) -> None:
        """Go to a step of the backward pass; -1 for its end."""
        if self.lesson is not None:
            self.step = min(step, len(self.lesson.frames))
            self._draw_step()
            self.chosen_step(self.step)

    def choose(self, node: Any) -> None:
        """Show the table of an operation."""
        if self.lesson is not None:
            self.node = min(_whole(node, 0), len(self.lesson.nodes) - 1)
            self._draw_picture()
            self._draw_table()
            self.chosen_node(self.node)

    def open(self, key: Any) -> None:
        """Open a box that stands for many nodes."""
        if KEY.fullmatch(str(key)) and str(key) not in self.opened:
            self.opened = [*self.opened, str(key)]
            self._draw_picture()
            self.told_opened(self.opened)

    def _vary(self, name: Any) -> None:
        if name in TITLES:
            self.chosen_wrong(str(name))

    def _key(self, event: KeyEventArguments) -> None:
        if event.action.keydown and not (event.modifiers.alt or event.modifiers.ctrl or event.modifiers.meta):
            if event.key.arrow_right:
                self.go(self._done() + 1)
            elif event.key.arrow_left:
                self.go(max(self._done() - 1, 0))

    def _done(self) -> int:
        """How many steps are done."""
        total = len(self.lesson.frames) if self.lesson is not None else 0
        return total if self.step < 0 else self.step

    # ------------------------------------------------------------------------------------------------ drawing
    def _draw_picture(self) -> None:
        if self.lesson is not None:
            self.picture.content = self.lesson.svg(self.step, self.node, self.opened)

    def _draw_step(self) -> None:
        lesson = self.lesson
        if lesson is None:
            return
        self._draw_picture()
        done, total = self._done(), len(lesson.frames)
        self.counter.text = f"{done} of {total}"
        if self.step < 0:
            said = "each grad says what a nudge there does to the result"
            if lesson.faults:
                said = "but the grads of the red boxes are wrong"
            said = f"<p>All steps are done{',' if lesson.faults else ':'} {said}.</p>"
            said += '<p class="vg-note">Step back, or begin at the start. The arrow keys do, too.</p>'
        elif done == 0:
            old = "nobody cleared what the last pass left" if lesson.steps.wrong == "stale" else "every grad is 0"
            said = f"<p>Before the backward pass: {old}.</p>"
        else:
            frame = lesson.frames[done - 1]
            said = f'<code>{escape(frame.line)}</code><span class="vg-note">{escape(frame.worked)}</span>'
        self.line.content = said
        self.listing.content = _listing(lesson, done, self.step)
        self.moral.text = lesson.steps.explanation() if lesson.steps.wrong and done == total else ""
        self.moral.classes(replace=f"vg-moral {'vg-wrongly' if lesson.faults else ''}")
        self.moral.set_visibility(bool(self.moral.text))

    def _draw_table(self) -> None:
        lesson = self.lesson
        if lesson is None:
            return
        node = self.node if self.node >= 0 else lesson.first_to_look_at
        value = lesson.nodes[node]
        self.table.content = self.note.text = ""
        if not value.children:
            what = (
                "a plain number; it collects no gradient" if value.op == "constant" else "an input; nothing computed it"
            )
            self.about.text = f"{lesson.names[node]} is {what}. Pick a box with an operation."
            return
        found = nudge_table(value)
        row = TABLE.get(value.op or "")
        means = f" {row.name}({', '.join(row.arguments)}): {found.doc}" if row else f" {found.doc}"
        self.about.text = f"{lesson.names[node]} = {found.label} = {figure(value.data)}.{means}"
        self.table.content = table(*found.cells())
        self.note.text = " ".join(
            [
                "Each line nudges one number by 0.001; its local gradient times the nudge is the prediction.",
                *found.notes(),
            ]
        )


def _poisoned(lesson: Lesson) -> str:
    """What is not finite, and where that began."""
    found = lesson.poison
    if found.origin is None:
        return ""
    title, *sentences = [line.strip() for line in str(found).splitlines() if line.strip() != NO_LINE]
    said = "".join(f"<p>{escape(sentence)}.</p>" for sentence in sentences)
    return f'<div class="vg-poison"><p><strong>{escape(title)}.</strong></p>{said}</div>'


def _listing(lesson: Lesson, done: int, step: int) -> str:
    """The lines of Python: the calculation, then the backward pass, the step marked; a part of it if it is long."""
    forward = lesson.forward if len(lesson.forward) <= 2 * AROUND else [*lesson.forward[: 2 * AROUND], "..."]
    lines = [f"<li><code>{escape(line)}</code></li>" for line in forward]
    begin = max(0, min(done - AROUND, len(lesson.frames) - 2 * AROUND))
    end = begin + 2 * AROUND
    backward = ["<li>...</li>"] if begin else []
    for i, frame in enumerate(lesson.frames[begin:end], begin + 1):
        current = ' aria-current="step"' if i == step else ""
        state = "vg-done" if i <= done else ""
        backward.append(
            f'<li><button type="button" class="vg-line {state}" data-step="{i}"{current}>'
            f"<code>{escape(frame.line)}</code></button></li>"
        )
    backward += ["<li>...</li>"] if end < len(lesson.frames) else []
    first = f"<h3>Forward, in Python</h3><ol>{''.join(lines)}</ol>" if lines else ""
    return f"{first}<h3>Backward, newest first</h3><ol>{''.join(backward)}</ol>"


def _whole(given: Any, least: int) -> int:
    """What a browser sent as a whole number."""
    try:
        return max(int(given), least)
    except (TypeError, ValueError):
        return least
