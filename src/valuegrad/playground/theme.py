"""Elements that the pages of the playground share; what they look like stands in ``style.css``.

Where to start reading: ``heading``, ``card`` and ``Status``; classes for a page's own elements are listed in
``style.css``.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

from nicegui import ui
from nicegui.element import Element
from nicegui.elements.mixins.text_element import TextElement
from nicegui.events import UploadEventArguments

from valuegrad.errors import ValuegradError

__all__ = ["Status", "button", "card", "element", "file_button", "heading", "labelled", "message_of", "text"]

Kind = Literal["plain", "good", "bad"]


def element(tag: str, classes: str = "") -> Element:
    """An element of HTML that NiceGUI has no name for; ``with element("section"):`` puts others into it."""
    return ui.element(tag).classes(classes)


def text(content: str, tag: str = "span", classes: str = "") -> TextElement:
    """An element of HTML with a text, which is shown as it is and never read as HTML."""
    made: TextElement = TextElement(tag=tag, text=content)
    return made.classes(classes)


def heading(title: str, subtitle: str = "") -> None:
    """What a page begins with: its one h1, and a sentence for the newcomer."""
    with element("div", "vg-heading"):
        text(title, "h1")
        if subtitle:
            text(subtitle, "p")


@contextmanager
def card(title: str, classes: str = "") -> Iterator[TextElement]:
    """A part of a page with an h2, known to screen readers by it; ``as`` gives the h2."""
    with element("section", f"vg-card {classes}") as section:
        name = text(title, "h2")
        section.props(f'aria-labelledby="{name.html_id}"')
        yield name


class Status:
    """A line that says what happens; screen readers read it aloud when it changes.

    Args:
        content: what it says first; while it says nothing it takes no room.
    """

    def __init__(self, content: str = "") -> None:
        self.line = text("", "div", "vg-status").props('role="status" aria-live="polite"')
        self.say(content)

    def say(self, content: str, kind: Kind = "plain") -> None:
        """Say something; ``kind`` says what sort of news it is."""
        self.line.text = content
        self.line.classes(replace=f"vg-status vg-{kind}" + ("" if content else " vg-empty"))

    def wrong(self, error: BaseException | str) -> None:
        """Say what went wrong."""
        self.say(error if isinstance(error, str) else message_of(error), "bad")


def message_of(error: BaseException) -> str:
    """An error for people: the message of ours, and of others what they are."""
    if isinstance(error, ValuegradError):
        return str(error)
    if isinstance(error, MemoryError):
        return "There is not enough memory for this; choose smaller sizes."
    return f"Something unexpected happened ({type(error).__name__}: {error}); please report it."


def labelled(made: Any, label: str) -> Any:
    """Give an element without a visible label one for screen readers."""
    return made.props(f'aria-label="{label}"')


def button(label: str, on_click: Callable[..., Any], *, main: bool = False) -> ui.button:
    """A button; the main one of its group is filled."""
    made = ui.button(label, on_click=on_click).props("no-caps unelevated" if main else "no-caps outline")
    return made


def file_button(label: str, most: int, on_file: Callable[[str, bytes], Any], status: Status) -> ui.button:
    """A button that lets people choose a file and gives it to a function.

    Args:
        label: what is on it.
        most: how many bytes a file may have.
        on_file: called with its name and its bytes; an error that it raises is said.
        status: where is said what went wrong.
    """

    async def uploaded(event: UploadEventArguments) -> None:
        upload.reset()
        try:
            result = on_file(event.file.name, await event.file.read())
            if inspect.isawaitable(result):
                await result
        except Exception as error:
            status.wrong(error)

    def rejected() -> None:
        upload.reset()
        status.wrong(f"The file has more than {most:,} bytes, which is more than the page takes.")

    upload = ui.upload(on_upload=uploaded, on_rejected=rejected, max_file_size=most, auto_upload=True)
    upload.classes("vg-gone").props(f'data-for="{label}"')
    made = button(label, lambda: None)
    made.on("click", js_handler=f"() => getElement({upload.id}).pickFiles()")
    return made
