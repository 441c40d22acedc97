"""The card of one number of the page "Look inside": where it came from, what came from it, and which ways matter.

Where to start reading: ``NumberCard.draw``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape
from typing import Any

from nicegui import run as beside
from nicegui import ui

from valuegrad.inspect.influence import Why, why
from valuegrad.inspect.worked import figure
from valuegrad.playground import theme
from valuegrad.playground.inside_model import Edge, Opened, Scalar, Web
from valuegrad.playground.looks import on_pick, signed, table

__all__ = ["NumberCard"]

SHOWN = 6  # children and users that are shown at first
PATHS = 3  # ways to the loss
WEIGHTS = 5  # weights that move a number most
NUDGE = 0.001


class NumberCard:
    """One number with what surrounds it.

    Args:
        chosen: told of another number.
        back: told to how many numbers of the trail to go back.
    """

    def __init__(self, chosen: Callable[[int], Any], back: Callable[[int], Any]) -> None:
        self.chosen, self.back = chosen, back
        self.trail: list[int] = []
        self._asked = 0
        with theme.card("One number", "vg-number") as self.title:
            self.way = ui.html("", sanitize=False)
            self.face = ui.html("", sanitize=False).props('aria-live="polite"')
            self.children = ui.html("", sanitize=False)
            self.users = ui.html("", sanitize=False)
            self.paths = ui.html("", sanitize=False)
        on_pick(self.way, "trail", self._went_back)
        for made in (self.children, self.users, self.paths):
            on_pick(made, "number", self._picked)

    def come(self) -> None:
        """Bring the card to where the reader looks: on a phone it stands far below; the focus, if it was lost."""
        self.title.client.run_javascript(
            f"const card = getHtmlElement({self.title.id}).closest('section'); card.scrollTop = 0; "
            "if (window.innerWidth <= 900) card.scrollIntoView({block: 'start'}); "
            "if (document.activeElement === document.body) card.querySelector('h3')?.focus({preventScroll: true})"
        )

    async def _picked(self, event: Any) -> None:
        if str(event.args).isdigit():
            await self.chosen(int(event.args))

    async def _went_back(self, event: Any) -> None:
        if str(event.args).isdigit():
            await self.back(int(event.args))

    async def draw(self, found: Opened, trail: Sequence[int]) -> None:
        """Show the last number of a trail."""
        self._asked += 1
        asked, web = self._asked, found.web
        self.trail = list(trail)
        here = web.looked_at(trail[-1])
        self.way.content = _way(web, self.trail)
        self.face.content = _face(here, web)
        self.children.content = _children(here)
        self.users.content = _users(here)
        self.paths.content = '<p class="vg-note">Looking for the ways that matter ...</p>'
        ways = await beside.io_bound(_ways, web, here)
        if ways is not None and asked == self._asked:
            self.paths.content = ways


def _way(web: Web, trail: Sequence[int]) -> str:
    steps = []
    for i, number in enumerate(trail, 1):
        label = escape(web.label(web.at(number)))
        here = ' aria-current="location"' if i == len(trail) else ""
        steps.append(f'<li><button type="button" class="vg-step" data-trail="{i}"{here}>{label}</button></li>')
    return f'<nav aria-label="The way here"><ol class="vg-way">{"".join(steps)}</ol></nav>'


def _face(here: Scalar, web: Web) -> str:
    value = here.value
    if here.operation:
        came = (
            f'<p class="vg-mono vg-formula">= {escape(here.operation)}</p><p class="vg-note">{escape(here.about)}</p>'
        )
    elif value.op == "constant":
        came = '<p class="vg-note">A plain number in the code; it collects no gradient.</p>'
    else:
        came = '<p class="vg-note">A weight: nothing computed it, training nudges it against its grad.</p>'
    change = f"{NUDGE * value.grad:.2g}"
    nudge = (
        ""
        if value is web.reading.loss or value.op == "constant"
        else f'<p class="vg-note">A nudge of {NUDGE:g} to it changes the loss by about {signed(change)}.</p>'
    )
    return (
        f'<h3 tabindex="-1">{escape(here.label)}</h3>{came}'
        f"<dl class='vg-facts'><div><dt>data</dt><dd>{figure(value.data)}</dd></div>"
        f"<div><dt>grad</dt><dd>{figure(value.grad)}</dd></div></dl>{nudge}"
    )


def _children(here: Scalar) -> str:
    if not here.children:
        return ""
    sums = here.value.op in ("dot", "sum", "mean")
    contribution = "adds" if sums else "gets of grad"
    title = f"Its {len(here.children)} children" if len(here.children) > 1 else "Its child"
    header = ["child", "data", "local grad", contribution]
    dot = here.value.op == "dot"
    rows = [
        (edge, four(edge.local_grad), four(edge.local_grad * edge.data if sums else edge.carries))
        for edge in here.children
    ]
    if dot:
        about = "A dot product adds products of pairs: what a child adds is its data times its local grad, its partner."
    else:
        about = "A child's local grad is how much the number changes for a nudge to it."
    nudged = here.table
    more = ""
    if nudged is not None:
        more = f'<details><summary>Nudge table</summary><div class="vg-scroll">{table(*nudged.cells())}</div></details>'
    return f'<h3>{title}</h3><p class="vg-note">{about}</p>{_edges(header, rows)}{more}'


def _users(here: Scalar) -> str:
    if not here.users:
        return "" if here.value.op == "constant" else "<h3>Users</h3><p class='vg-note'>None: this is the result.</p>"
    title = f"Its {len(here.users)} users" if len(here.users) > 1 else "Its user"
    header = ["used by", "data", "local grad", "sends of grad"]
    rows = [(edge, four(edge.local_grad), four(edge.carries)) for edge in here.users]
    about = "What the users send, their grad times the local grad, adds up to the grad."
    return f'<h3>{title}</h3><p class="vg-note">{about}</p>{_edges(header, rows)}'


def _edges(header: Sequence[str], rows: Sequence[tuple[Edge, str, str]]) -> str:
    head = "".join(f'<th scope="col">{text}</th>' for text in header)
    lines = [
        f"<tr><td>{_link(edge.number, edge.label)}</td><td>{four(edge.data)}</td><td>{local}</td>"
        f"<td>{'–' if edge.constant and header[-1] != 'adds' else last}</td></tr>"
        for edge, local, last in rows
    ]
    first, others = lines[:SHOWN], lines[SHOWN:]
    start = f'<div class="vg-scroll"><table class="vg-table"><thead><tr>{head}</tr></thead><tbody>'
    end = "</tbody></table></div>"
    rest = f"<details><summary>{len(others)} more</summary>{start}{''.join(others)}{end}</details>" if others else ""
    return f"{start}{''.join(first)}{end}{rest}"


def _link(number: int, label: str) -> str:
    return f'<button type="button" class="vg-link2" data-number="{number}">{escape(label)}</button>'


def _ways(web: Web, here: Scalar) -> str:
    """The ways from a number to the loss that carry most, and the weights that move it most."""
    value, parts = here.value, []
    if value is not web.reading.loss and value.op != "constant":
        parts.append(_to_the_loss(web, why(web.reading.loss, inputs=[value], paths=PATHS)))
    if value.children:
        parts.append(_from_weights(web, why(value, rows=WEIGHTS, paths=1)))
    return "".join(parts)


def _to_the_loss(web: Web, found: Why) -> str:
    effect = found.effects[0]
    if not effect.paths:
        return "<h3>Ways to the loss</h3><p class='vg-note'>None that carries anything: a nudge here does nothing.</p>"
    count = f"{effect.path_count:,.0f}" if effect.path_count < 1e6 else f"{effect.path_count:.1e}"
    said = f"{count} way{'s lead' if effect.path_count > 1 else ' leads'} from here to the loss. "
    if effect.path_count > len(effect.paths):
        said += f"These {len(effect.paths)} carry {effect.carried:.1%} of what all do together. "
    if effect.cancels and math.isfinite(effect.size):
        said += "Most of it cancels. "
    items = []
    for path in effect.paths:
        steps = " → ".join(_link(web.number[v], web.label(v)) for v in path.values)
        items.append(f"<li>{steps}<span class='vg-note vg-mono'>{escape(path.factors)}</span></li>")
    return f"<h3>Ways to the loss</h3><p class='vg-note'>{said}</p><ol class='vg-paths'>{''.join(items)}</ol>"


def _from_weights(web: Web, found: Why) -> str:
    total = math.fsum(abs(effect.predicted) for effect in found.effects) + found.rest
    rows = []
    for effect in found.effects:
        share = f"{abs(effect.predicted) / total:.1%}" if 0.0 < total < math.inf else "?"
        link = _link(web.number[effect.value], web.label(effect.value))
        moved = signed(f"{effect.predicted:.2g}")
        rows.append(f"<tr><td>{link}</td><td>{four(effect.value.data)}</td><td>{moved}</td><td>{share}</td></tr>")
    head = "".join(f'<th scope="col">{text}</th>' for text in ("weight", "data", "1 % more does", "share"))
    others = f"{found.others:,} more move it by {four(found.rest)} together." if found.others else ""
    made = f"<table class='vg-table'><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    return f"<h3>Weights that move it most</h3><div class='vg-scroll'>{made}</div><p class='vg-note'>{others}</p>"


def four(x: float) -> str:
    """A number in four digits."""
    return f"{x:.4g}"
