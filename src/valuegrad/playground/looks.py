"""Small helpers of the pages "Expressions" and "Look inside", and what their elements look like (``looks.css``).

Where to start reading: anywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from importlib.resources import files
from typing import Any

from nicegui import ui
from nicegui.element import Element
from nicegui.elements.mixins.text_element import TextElement

from valuegrad.playground import theme

__all__ = ["ON_KEYS", "button", "on_pick", "pressed", "signed", "slider", "table", "use_looks"]

STYLE = files("valuegrad.playground").joinpath("looks.css").read_text(encoding="utf-8")
# When the piece of HTML that has the focus is replaced, the focus goes to what stands in its place; whatever is picked
# later decides.
KEEP_FOCUS = """
    let frames = 120;
    const mine = window.vgPick = (window.vgPick || 0) + 1;
    const look = () => {
        if (mine !== window.vgPick) return;
        if (document.activeElement === document.body) {
            const again = PLACE?.querySelector(`WHICH`);
            if (again) return again.focus({preventScroll: true});
        }
        if (frames--) requestAnimationFrame(look);
    };
    requestAnimationFrame(look);
"""
ON_KEYS = "if (event.key !== 'Enter' && event.key !== ' ') return; event.preventDefault();"


def use_looks() -> None:
    """Give a page the looks; call it once while the page is made."""
    ui.add_head_html(f"<style>{STYLE}</style>")


def button(name: str, classes: str = "vg-small", label: str = "") -> TextElement:
    """A plain button.

    Args:
        name: what is written on it.
        classes: its looks.
        label: what screen readers say, if that is more.
    """
    made = theme.text(name, "button", classes).props('type="button"')
    if label:
        made.props["aria-label"] = label
        made.props["title"] = label
    return made


def pressed(made: Element, on: bool) -> None:
    """Say of a button that it is chosen, or not."""
    made.props["aria-pressed"] = "true" if on else "false"


def slider(label: str, least: float, most: float, step: float, at: float, told: Callable[[float], Any]) -> Element:
    """A slider of the browser's own, which keyboards and screen readers know.

    Args:
        label: what screen readers say.
        least: its left end.
        most: its right end.
        step: from place to place.
        at: where it stands first; from then on it stands where the reader put it.
        told: called with a number whenever it is moved.
    """
    made = theme.element("input", "vg-slider").props("type=range")
    # Not "value": that would be set again, to what it was at first, whenever anything on the page changes.
    for name, given in (("min", least), ("max", most), ("step", step), ("aria-label", label), ("defaultValue", at)):
        made.props[name] = given if isinstance(given, str) else f"{given:.12g}"

    def moved(event: Any) -> Any:
        if isinstance(event.args, int | float) and least <= event.args <= most:
            return told(float(event.args))
        return None

    return made.on("input", moved, js_handler="(event) => emit(Number(event.target.value))", throttle=0.05)


def on_pick(made: Element, attribute: str, handler: object) -> None:
    """Hear of clicks on what carries ``data-ATTRIBUTE`` inside of a piece of HTML, and of Enter and space there.

    Args:
        made: the piece of HTML.
        attribute: such as "node" for ``data-node``.
        handler: called with an event whose ``args`` are the attribute's text.
    """
    find = (
        f"const found = event.target.closest('[data-{attribute}]'); if (!found) return; "
        f"const picked = found.dataset.{attribute}; emit(picked); {KEEP_FOCUS}"
    )
    find = find.replace("PLACE", f"getHtmlElement({made.id})").replace("WHICH", f'[data-{attribute}="${{picked}}"]')
    made.on("click", handler, js_handler=f"(event) => {{ {find} }}")  # type: ignore[arg-type]
    # A real button makes a click of these keys by itself.
    keys = f"if (event.target.closest('button')) return; {ON_KEYS} {find}"
    made.on("keydown", handler, js_handler=f"(event) => {{ {keys} }}")  # type: ignore[arg-type]


def table(header: Sequence[str], lines: Sequence[Sequence[str]], caption: str = "") -> str:
    """A table as HTML; texts are escaped."""
    head = "".join(f'<th scope="col">{escape(text)}</th>' for text in header)
    rows = "".join(f"<tr>{''.join(f'<td>{escape(text)}</td>' for text in line)}</tr>" for line in lines)
    says = f"<caption>{escape(caption)}</caption>" if caption else ""
    return f'<table class="vg-table">{says}<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'


def signed(text: str) -> str:
    """A figure with its sign, if it is a number above 0."""
    return text if text[0] in "-+" or text in ("0", "nan", "inf") else f"+{text}"
