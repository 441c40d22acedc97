"""Cards of the page "Look inside": the text with its losses, one position of it, and the two engines side by side.

Where to start reading: ``TextCard.draw``, then ``PositionCard.draw``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape
from typing import Any

from nicegui import run as beside
from nicegui import ui

from valuegrad.errors import ValuegradError
from valuegrad.inspect.origin import NO_LINE, poison
from valuegrad.playground import theme
from valuegrad.playground.inside_model import Opened, Side, sides
from valuegrad.playground.looks import button, on_pick, pressed, table
from valuegrad.playground.watching import Position, Vector
from valuegrad.value import Value

__all__ = ["EnginesCard", "PositionCard", "TextCard"]

LIKELIEST = 5  # tokens whose bars are shown at first
Told = Callable[..., Any]


class TextCard:
    """The text that is read, a button for each position.

    Args:
        chosen_text: told of another text; "" for the document of the step.
        chosen_position: told of another position.
    """

    def __init__(self, chosen_text: Told, chosen_position: Told) -> None:
        self.chosen_position = chosen_position
        with theme.card("A text"):
            with theme.element("div", "vg-row"):
                self.field = ui.input(label="Text to read").props(
                    'outlined dense hide-bottom-space aria-label="Text to read" autocomplete=off maxlength=500'
                )
                self.field.on("keydown.enter", lambda: chosen_text(self.field.value or ""), args=[])
                button("Read it", "vg-button").on("click", lambda: chosen_text(self.field.value or ""))
                button("What this step learns from", "vg-button").on("click", lambda: chosen_text(""))
            self.trouble = theme.text("", "p", "vg-wrong").props('role="alert"')
            self.about = theme.text("", "p", "vg-note")
            self.tokens = ui.html("", sanitize=False)
            on_pick(self.tokens, "at", self._picked)

    async def _picked(self, event: Any) -> None:
        if self.found is not None and str(event.args).isdigit():
            at = int(event.args)
            if at < len(self.found.web.reading.positions):
                await self.chosen_position(at)

    def wrong(self, message: str) -> None:
        """Say why a text cannot be read."""
        self.trouble.text = message

    def draw(self, found: Opened, text: str) -> None:
        """Show a text that was read."""
        self.found: Opened | None = found
        self.field.value = text
        reading = found.web.reading
        found_bad = poison(reading.loss)
        lines = str(found_bad).splitlines() if found_bad else []
        self.trouble.text = "\n".join([line.strip() for line in lines if line.strip() != NO_LINE])
        whose = "This is your text" if text else f"This is what step {found.step + 1:,} learns from"
        cut = f" The last {found.cut} characters had no room in the model's context." if found.cut else ""
        self.about.text = (
            f"{whose}: {found.text!r}. At each position the model has read what stands before and predicts what comes "
            f"next; the loss is how surprised it was, {reading.loss.data:.3f} on average.{cut}"
        )

    def mark(self, at: int) -> None:
        """Show which position is looked at."""
        if self.found is None:
            return
        worst = max(position.loss.data for position in self.found.web.reading.positions)
        cells = []
        for position in self.found.web.reading.positions:
            chance = position.chances[_target(position, self.found)]
            part = position.loss.data / worst if math.isfinite(worst) and worst > 0 else 1.0
            cells.append(
                f'<button type="button" class="vg-token" data-at="{position.number}" aria-pressed='
                f'"{"true" if position.number == at else "false"}" style="--heat:{100 * part:.0f}%">'
                f'<span class="vg-letters">{_seen(position.token)}<span aria-hidden="true"> → </span>'
                f'<strong>{_seen(position.target)}</strong></span><span class="vg-note">{_percent(chance)}, '
                f"loss {position.loss.data:.2f}</span></button>"
            )
        self.tokens.content = f'<div class="vg-tokens" role="group" aria-label="Positions">{"".join(cells)}</div>'


class PositionCard:
    """One position: what it predicts, what it attends to, its vectors.

    Args:
        chosen: told of a number that was picked.
    """

    def __init__(self, chosen: Told) -> None:
        self.chosen = chosen
        with theme.card("One position"):
            self.about = theme.text("", "p")
            theme.text("What comes next?", "h3")
            self.logits = ui.html("", sanitize=False)
            self.more = button("Show all").on("click", self._turn)
            theme.text("Whom does it attend to?", "h3")
            theme.text(
                "A row for each head, a column for each position so far; the weights of a row add up to 1.",
                "p",
                "vg-note",
            )
            self.layers = theme.element("div", "vg-row").props('role="group" aria-label="Layer"')
            self.attention = ui.html("", sanitize=False).classes("vg-scroll")
            theme.text("Its vectors, in the order of their computation", "h3")
            self.vectors = ui.html("", sanitize=False)
        for made in (self.logits, self.attention, self.vectors):
            on_pick(made, "number", self._picked)
        on_pick(self.vectors, "vector", self._open)
        self.all = False
        self.layer = 0
        self.open: set[int] = set()  # the vectors whose numbers are shown
        self.found: Opened | None = None

    async def _picked(self, event: Any) -> None:
        if str(event.args).isdigit():
            await self.chosen(int(event.args))

    def _turn(self) -> None:
        self.all = not self.all
        self._draw_logits()

    def draw(self, found: Opened, at: int) -> None:
        """Show a position."""
        self.found, self.at = found, at
        positions = found.web.reading.positions
        position = positions[at]
        read = "".join(p.token for p in positions[: at + 1])
        self.about.text = f"It has read {read} and should say {position.target}."
        self._draw_logits()
        self._draw_attention()
        self._draw_vectors()

    def _draw_attention(self) -> None:
        if self.found is None:
            return
        positions = self.found.web.reading.positions
        attention = positions[self.at].attention
        self.layer = min(self.layer, len(attention) - 1)
        self.layers.clear()
        self.layers.set_visibility(len(attention) > 1)
        with self.layers:
            for layer in range(len(attention) if len(attention) > 1 else 0):
                made = button(f"Layer {layer}").on("click", lambda layer=layer: self._choose_layer(layer))
                pressed(made, layer == self.layer)
        self.attention.content = _attention(self.found, attention[self.layer], positions)

    def _choose_layer(self, layer: int) -> None:
        self.layer = layer
        self._draw_attention()

    def _open(self, event: Any) -> None:
        """Show the numbers of a vector, or hide them: all of them at once would be thousands."""
        if str(event.args).isdigit():
            self.open ^= {int(event.args)}
            self._draw_vectors()

    def _draw_vectors(self) -> None:
        if self.found is not None:
            vectors = self.found.web.reading.positions[self.at].vectors[:-1]  # the last ones are the logits
            self.vectors.content = "".join(
                [_vector(self.found, vector, i, i in self.open) for i, vector in enumerate(vectors)]
            )

    def _draw_logits(self) -> None:
        if self.found is None:
            return
        position = self.found.web.reading.positions[self.at]
        chances, tokens = position.chances, self.found.web.reading.tokens
        target = _target(position, self.found)
        order = sorted(range(len(tokens)), key=lambda token: -chances[token])
        shown = order if self.all else order[:LIKELIEST] + [target] * (target not in order[:LIKELIEST])
        rows = []
        for token in shown:
            logit = position.logits[token]
            right = '<span class="vg-right">came next</span>' if token == target else ""
            rows.append(
                f'<button type="button" class="vg-chance" {_data(self.found, logit)}>'
                f'<span class="vg-letters">{_seen(tokens[token])}</span>'
                f'<span class="vg-track2"><span style="width:{100 * chances[token]:.1f}%"></span></span>'
                f'<span class="vg-mono">{_percent(chances[token])}</span>'
                f'<span class="vg-note vg-mono">logit {logit.data:.2f}</span>{right}</button>'
            )
        self.logits.content = f'<div class="vg-chances">{"".join(rows)}</div>'
        self.more.text = "Show the likeliest" if self.all else f"Show all {len(tokens)}"

    def mark(self, number: int) -> None:
        """Show which number is looked at."""
        self.logits.client.run_javascript(
            "for (const e of document.querySelectorAll('.vg-cell, .vg-chance')) "
            f"e.toggleAttribute('data-looked', e.dataset.number === '{number}')"
        )


def _attention(found: Opened, heads: Sequence[Sequence[Value]], positions: Sequence[Position]) -> str:
    head_cells = "".join(f'<th scope="col">{_seen(positions[t].token)}</th>' for t in range(len(heads[0])))
    rows = []
    for h, weights in enumerate(heads):
        cells = "".join(
            f'<td><button type="button" class="vg-cell" style="--heat:{100 * weight.data:.0f}%" '
            f'aria-label="{escape(str(weight.name), quote=True)}: {weight.data:.2f}" {_data(found, weight)}>'
            f"{weight.data:.2f}</button></td>"
            for weight in weights
        )
        rows.append(f'<tr><th scope="row">head {h}</th>{cells}</tr>')
    head = f"<thead><tr><td></td>{head_cells}</tr></thead>"
    return f'<table class="vg-attention">{head}<tbody>{"".join(rows)}</tbody></table>'


def _vector(found: Opened, vector: Vector, number: int, is_open: bool) -> str:
    layer = f"layer {vector.layer}: " if vector.layer is not None and len(found.model.blocks) > 1 else ""
    expanded = "true" if is_open else "false"
    heading = (
        f'<button type="button" class="vg-line vg-vector" data-vector="{number}" aria-expanded="{expanded}">'
        f"<strong>{layer}{escape(vector.name)}</strong> "
        f'<span class="vg-note">{len(vector.values)} numbers: {escape(vector.about)}</span></button>'
    )
    if not is_open:
        return heading
    widest = max((abs(value.data) for value in vector.values if math.isfinite(value.data)), default=0.0) or 1.0
    cells = []
    for i, value in enumerate(vector.values):
        part = value.data / widest if math.isfinite(value.data) else 0.0
        kind = "vg-positive" if part >= 0 else "vg-negative"
        title = escape(str(value.name or i), quote=True)
        cells.append(
            f'<button type="button" class="vg-cell {kind}" style="--heat:{100 * abs(part):.0f}%" title="{title}" '
            f"{_data(found, value)}>{value.data:.2f}</button>"
        )
    return f'{heading}<div class="vg-cells">{"".join(cells)}</div>'


class EnginesCard:
    """Eager and compiled side by side, measured when somebody asks."""

    def __init__(self) -> None:
        self.found: Opened | None = None
        with theme.card("The same, eager and compiled"):
            theme.text(
                "Eager, every number is a Value, as you see it here. Compiled, the same Python code is recorded once, "
                "with its gradient, and runs as machine code.",
                "p",
                "vg-note",
            )
            with theme.element("div", "vg-row"):
                self.compare = button("Compare them on this text", "vg-button").on("click", self._compare)
            self.status = theme.Status()
            self.result = ui.html("", sanitize=False).classes("vg-scroll")

    def take(self, found: Opened) -> None:
        """Another text or moment."""
        self.found = found
        self.result.content = ""
        self.status.say("")

    async def _compare(self) -> None:
        found = self.found
        if found is None:
            return
        self.status.say("Recording, compiling and measuring ...")
        self.compare.props["disabled"] = True
        try:
            text = found.text
            measured: list[Side] | None = await beside.io_bound(sides, found.web, found.model, found.tokenizer, text)
        except (ValuegradError, MemoryError) as error:
            self.status.wrong(error)
            return
        finally:
            self.compare.props["disabled"] = False
        if measured is None or found is not self.found:
            return
        self.result.content = _side_by_side(measured)
        if len(measured) == 2:
            times = measured[0].each_s / measured[1].each_s
            same = "the same loss" if measured[0].loss == measured[1].loss else "the same loss up to rounding"
            self.status.say(f"Compiled, it is {times:.0f} times as fast here, and gives {same}.", "good")
        else:
            self.status.say("The compiled modules were not built here, so there is nothing to compare with.")


def _side_by_side(measured: Sequence[Side]) -> str:
    """Tables of both engines: times, what runs, and the operations by kind."""
    lines = [
        [side.name, _time(side.each_s), _time(side.before_s) if side.before_s else "nothing", side.runs]
        for side in measured
    ]
    header = ["", "loss and gradient", "before the first one", "what runs"]
    names = sorted({name for side in measured for name in side.operations}, key=lambda name: -_most(measured, name))
    kinds = [[name, *[f"{side.operations.get(name, 0):,}" for side in measured]] for name in names]
    note = (
        "Eagerly a dot product of 16 is one Value with 32 local gradients; compiled, its gradient is 32 products of "
        "its own, which run in loops over whole vectors."
    )
    by_kind = table(["operation", *[side.name for side in measured]], kinds)
    return (
        f'{table(header, lines)}<details><summary>Operations by kind</summary><p class="vg-note">{note}</p>{by_kind}'
        "</details>"
    )


def _most(measured: Sequence[Side], name: str) -> int:
    return max(side.operations.get(name, 0) for side in measured)


def _time(seconds: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1e6:.3g} µs"


def _target(position: Position, found: Opened) -> int:
    return found.web.reading.tokens.index(position.target)


def _seen(token: str) -> str:
    return "␣" if token == " " else escape(token)


def _percent(chance: float) -> str:
    return "<0.1 %" if chance < 0.001 else f"{100 * chance:.1f} %"


def _data(found: Opened, value: Value) -> str:
    return f'data-number="{found.web.number[value]}"'
