"""The page "Expressions": write one, see its graph, nudge its numbers, step its backward pass, break it.

Data structures: ``Settings`` are what the address has; ``_Page`` has one tab's elements, and draws them anew from an
``Experiment`` (``expression_model.py``) and a ``Lesson`` (``lesson.py``), which know nothing of pages.

Where to start reading: ``build``, then ``_Page.rewrite``, which runs at every key.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

from nicegui import ui
from nicegui.elements.mixins.text_element import TextElement

from valuegrad.arguments import shown
from valuegrad.errors import ValueArgumentError, ValuegradError
from valuegrad.inspect.worked import figure
from valuegrad.playground import theme
from valuegrad.playground.expression_graph import KEY, GraphCard
from valuegrad.playground.expression_model import EXAMPLES, SPANS, Example, Experiment, number_of, numbers_of, text_of
from valuegrad.playground.lesson import TITLES
from valuegrad.playground.looks import button, pressed, signed, slider, use_looks
from valuegrad.playground.sketches import curve_picture
from valuegrad.playground.state import PageState

__all__ = ["PATH", "TITLE", "Settings", "build"]

PATH = "/"
TITLE = "Expressions"
FINE = 100  # steps of a slider to either side


@dataclass(frozen=True)
class Settings:
    """What the address has of this page.

    Args:
        expression: what is written.
        inputs: its numbers, such as "a=2,b=-3"; inputs that are missing start at numbers of their own.
        nudges: by how much they are moved, likewise.
        reach: how far a slider reaches to either side.
        along: the input whose curve is drawn; "" for the first.
        step: how many steps of the backward pass are done; -1 for all.
        wrong: a wrong variant of the backward pass, "" for the right one.
        node: the operation whose table is shown, by its number; -1 for the one to look at first.
        opened: the boxes of many nodes that were opened, such as "g3.s7".
    """

    expression: str = "relu(a*b + c)"
    inputs: str = ""
    nudges: str = ""
    reach: float = 1.0
    along: str = ""
    step: int = -1
    wrong: str = ""
    node: int = -1
    opened: str = ""

    def __post_init__(self) -> None:
        if self.reach not in SPANS:
            raise ValueArgumentError(f"reach is {self.reach:g}; expected one of {', '.join(map(str, SPANS))}")
        if self.wrong not in TITLES:
            raise ValueArgumentError(
                f"wrong is {shown(self.wrong)}; expected {', '.join(filter(None, TITLES))} or nothing"
            )
        if not all(KEY.fullmatch(key) for key in self.opened.split(".") if self.opened):
            raise ValueArgumentError(f"opened is {shown(self.opened)}; expected keys such as g3.s7")
        if self.step < -1 or self.node < -1:
            raise ValueArgumentError("step and node are expected to be 0 or more, or -1")


def build(state: PageState) -> None:
    """Make the page's elements."""
    use_looks()
    theme.heading(
        "A number that remembers",
        "Write a calculation. Every number in it remembers where it came from, so it knows what a nudge to any input "
        "does to the result: its gradient.",
    )
    _Page(state, state.restore(Settings))


class _Page:
    """One tab's elements."""

    def __init__(self, state: PageState, settings: Settings) -> None:
        self.state = state
        self.settings = settings
        self.experiment: Experiment | None = None
        self._write_card()
        with theme.element("div", "vg-two") as self.rest_of_page:
            self.graph = GraphCard(self.choose_step, self.choose_wrong, self.choose_node, self.open)
            with theme.element("div", "vg-stack"):
                with theme.card("Nudge the inputs"):
                    self.inputs = theme.element("div", "vg-inputs")
                    self._effect_lines()
                self.graph.table_card()
        self._restored()

    # ------------------------------------------------------------------------------------------------ elements
    def _write_card(self) -> None:
        with theme.card("Expression", "vg-write"):
            self.field = ui.input(value=self.settings.expression, on_change=lambda event: self.rewrite(event.value))
            self.field.props('outlined dense aria-label="Expression" autocomplete=off autocapitalize=off debounce=80')
            self.field.props(
                'spellcheck=false hide-bottom-space input-class="vg-mono vg-large" aria-describedby="vg-wrong"'
            )
            self.wrong = theme.text("", "pre", "vg-wrong").props('id="vg-wrong" role="alert"')
            self.answer = theme.text("", "output", "vg-answer vg-mono").props('aria-live="polite"')
            with theme.element("div", "vg-row vg-chips").props('role="group" aria-label="Examples"'):
                theme.text("Try", "span", "vg-note")
                self.chips = {example: self._chip(example) for example in EXAMPLES}
            self.hint = theme.text("", "p", "vg-note")

    def _chip(self, example: Example) -> TextElement:
        return button(example.title, "vg-chip").on("click", lambda: self.try_example(example))

    def _effect_lines(self) -> None:
        with theme.element("div", "vg-row").props('role="group" aria-label="How far the sliders reach"'):
            theme.text("Sliders reach", "span", "vg-note")
            self.reaches = {span: self._reach(span) for span in SPANS}
        theme.text("A written number, as the 3 in 3*a, is a constant: to drag it, give it a name.", "p", "vg-note")
        with theme.element("div", "vg-effect"):
            self.bars = ui.html("", sanitize=False)
            with theme.element("div", "vg-row") as self.after_nudging:
                button("Take the nudges back").on("click", lambda: self.nudge_all({}))
                button("Move here", label="Make the nudged numbers the inputs").on("click", self.move_here)
            self.verdict = theme.text("", "p", "vg-note").props('role="status" aria-live="polite"')
            with theme.element("figure", "vg-figure"):
                self.curve = ui.html("", sanitize=False)
                self.caption = theme.text("", "figcaption", "vg-note")

    def _reach(self, span: float) -> TextElement:
        return button(f"±{figure(span)}").on("click", lambda: self.choose_reach(span))

    # -------------------------------------------------------------------------------------------- what happens
    def _restored(self) -> None:
        """Show what the address had."""
        for text in (self.settings.inputs, self.settings.nudges):
            self.state.complaints += [f"In the address {complaint}" for complaint in numbers_of(text)[1]]
        self._evaluate()

    def rewrite(self, text: str) -> None:
        """Another expression; numbers stay with the names that stay."""
        if text != self.settings.expression:
            self.settings = replace(self.settings, expression=text, nudges="", step=-1, node=-1, along="", opened="")
            self._evaluate()
            self._remember()

    def try_example(self, example: Example) -> None:
        """Take over an example."""
        self.settings = Settings(example.expression, example.inputs, reach=self.settings.reach)
        self.field.value = example.expression
        self._evaluate()
        self.hint.text = example.about
        self._remember()

    def choose_reach(self, span: float) -> None:
        """Have the sliders reach less far, or further."""
        if self.experiment is not None:
            kept = {name: max(-span, min(span, nudge)) for name, nudge in self.experiment.nudges.items() if nudge}
            self.settings = replace(self.settings, reach=span)
            self.nudge_all(kept)

    def set_input(self, name: str, text: str, field: ui.input) -> None:
        """Another number for an input."""
        try:
            number = number_of(text)
        except ValuegradError as error:
            field.props["error"], field.props["error-message"] = True, str(error)
            return
        field.props["error"] = False
        if self.experiment is not None and not _same(number, self.experiment.inputs[name]):
            self.settings = replace(self.settings, inputs=text_of(self._given() | {name: number}))
            self._evaluate(rows=False)
            self._remember()

    def _given(self) -> dict[str, float]:
        """The numbers that somebody chose; those of names that are not written just now, too."""
        return numbers_of(self.settings.inputs)[0]

    def nudge(self, name: str, nudge: float) -> None:
        """Move an input's slider."""
        if self.experiment is not None:
            self.settings = replace(self.settings, along=name)
            self.nudge_all({**self.experiment.nudges, name: float(f"{nudge:.6g}")}, rows=False)

    def nudge_all(self, nudges: dict[str, float], rows: bool = True) -> None:
        """Other nudges for all inputs."""
        self.settings = replace(self.settings, nudges=text_of({name: x for name, x in nudges.items() if x}))
        if self.experiment is not None:
            self.experiment = Experiment(self.settings.expression, self.experiment.inputs, nudges)
            if rows:
                self._draw_inputs()
            self._draw_effect()
        self._remember()

    def move_here(self) -> None:
        """Make the nudged numbers the inputs."""
        if self.experiment is not None:
            moved = {name: x for name, x in self.experiment.nudged.items() if self.experiment.nudges[name]}
            self.settings = replace(self.settings, inputs=text_of(self._given() | moved), nudges="")
            self._evaluate()
            self._remember()

    def choose_step(self, step: int) -> None:
        """Another moment of the backward pass."""
        self.settings = replace(self.settings, step=step)
        self._remember()

    def choose_wrong(self, wrong: str) -> None:
        """Another variant of the backward pass."""
        self.settings = replace(self.settings, wrong=wrong, step=0 if self.settings.step >= 0 or wrong else -1)
        self._draw_graph()
        self._remember()

    def choose_node(self, node: int) -> None:
        """Another operation."""
        self.settings = replace(self.settings, node=node)
        self._remember()

    def open(self, keys: list[str]) -> None:
        """Other boxes are open."""
        self.settings = replace(self.settings, opened=".".join(keys))
        self._remember()

    # ------------------------------------------------------------------------------------------------ drawing
    def _evaluate(self, rows: bool = True) -> None:
        """Draw everything; if the expression is wrong, say why and leave the rest as it was, but pale."""
        settings = self.settings
        try:
            inputs, nudges = numbers_of(settings.inputs)[0], numbers_of(settings.nudges)[0]
            experiment = Experiment(settings.expression, inputs, nudges)
        except ValuegradError as error:
            self.wrong.text = str(error)
            self.answer.text = ""
            self.field.props('error aria-invalid="true"')
            self.rest_of_page.classes(add="vg-pale")
            return
        self.experiment = experiment
        self.wrong.text = self.hint.text = ""
        self.field.props(remove="error aria-invalid")
        self.rest_of_page.classes(remove="vg-pale")
        self.answer.text = f"= {figure(experiment.root.data)}"
        if rows:
            self._draw_inputs()
        else:
            self._draw_gradients()
        self._draw_graph()
        self._draw_effect()

    def _draw_graph(self) -> None:
        if self.experiment is not None:
            settings = self.settings
            opened = settings.opened.split(".") if settings.opened else []
            self.graph.draw(self.experiment, settings.wrong, settings.step, settings.node, opened)

    def _draw_inputs(self) -> None:
        """A row for each input: its number, its slider, its gradient."""
        experiment, reach = self.experiment, self.settings.reach
        if experiment is None:
            return
        self.inputs.clear()
        self.gradients: dict[str, TextElement] = {}
        self.nudged: dict[str, TextElement] = {}
        with self.inputs:
            for name, number in experiment.inputs.items():
                with theme.element("div", "vg-input"):
                    field = ui.input(label=name, value=_written(number))
                    field.props(f'outlined dense hide-bottom-space aria-label="{name}" inputmode=text')
                    field.on("change", lambda e, n=name, f=field: self.set_input(n, f.value, f), args=[])
                    nudge = experiment.nudges[name]
                    slider(f"Nudge {name}", -reach, reach, reach / FINE, nudge, partial(self.nudge, name))
                    self.nudged[name] = theme.text("", "span", "vg-nudged vg-mono")
                    self.gradients[name] = theme.text("", "span", "vg-gradient vg-mono")
            if not experiment.inputs:
                theme.text("There is no input to nudge: write a name, such as a.", "p", "vg-note")
        self._draw_gradients()

    def _draw_gradients(self) -> None:
        if self.experiment is not None:
            for name, gradient in self.experiment.gradients.items():
                self.gradients[name].text = f"{name}.grad = {figure(gradient)}"

    def _draw_effect(self) -> None:
        experiment, settings = self.experiment, self.settings
        if experiment is None:
            return
        for span, made in self.reaches.items():
            pressed(made, span == settings.reach)
        for name, nudge in experiment.nudges.items():
            self.nudged[name].text = f"{nudge:+g}" if nudge else "±0"
        effect = experiment.effect
        self.bars.content = _bars(effect.predicted, effect.actual) if effect.parts else ""
        self.verdict.text = effect.words if experiment.inputs else ""
        self.after_nudging.set_visibility(bool(effect.parts))
        along = settings.along if settings.along in experiment.inputs else next(iter(experiment.inputs), "")
        self.curve.content = self.caption.text = ""
        if along:
            nudge = experiment.nudges[along]
            alone = Experiment(experiment.text, experiment.inputs, {along: nudge}).effect
            self.curve.content = curve_picture(experiment.curve(along, settings.reach), alone, nudge)
            if self.curve.content:
                others = " (the others stay)" if len(experiment.inputs) > 1 else ""
                slope = experiment.gradients[along]
                line = (
                    f"the dashed line is what its gradient, {figure(slope)}, predicts"
                    if abs(slope) < float("inf")
                    else f"its gradient is {figure(slope)}, so there is no line that predicts it"
                )
                self.caption.text = f"The result along {along}{others}; {line}."

    def _remember(self) -> None:
        self.state.remember(self.settings)


def _bars(predicted: float, actual: float) -> str:
    """Two changes as bars from the middle."""
    widest = max((abs(x) for x in (predicted, actual) if abs(x) < float("inf")), default=0.0) or 1.0
    rows = []
    for name, change in (("Predicted", predicted), ("Actual", actual)):
        part = min(max(change / widest, -1.0), 1.0) if abs(change) < float("inf") else 0.0
        left, width = 50 + min(part, 0.0) * 50, abs(part) * 50
        fill = f'<span class="vg-fill vg-{name.lower()}" style="left:{left:.1f}%;width:{width:.1f}%"></span>'
        said = f'<dt>{name} change</dt><dd class="vg-mono">{signed(figure(change))}</dd>'
        rows.append(f'<div class="vg-change">{said}<span class="vg-track">{fill}</span></div>')
    return f'<dl class="vg-changes">{"".join(rows)}</dl>'


def _written(x: float) -> str:
    return repr(x).removesuffix(".0")


def _same(x: float, y: float) -> bool:
    return x == y or (x != x and y != y)
