"""What every page of the playground is built in: header, navigation, light and dark, notices.

Where to start reading: ``frame``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files

from nicegui import ui
from nicegui.elements.mixins.text_element import TextElement

from valuegrad.playground.pages import PAGES, Page
from valuegrad.playground.state import THEMES, PageState
from valuegrad.playground.theme import element, message_of, text

__all__ = ["STYLE", "frame"]

STYLE = files("valuegrad.playground").joinpath("style.css").read_text(encoding="utf-8")

# Tells the server whether the page is dark now, when it is there and whenever that changes: charts need to know.
WATCH_DARK = """
    const told = () => emitEvent('vg-dark', document.body.classList.contains('body--dark'));
    new MutationObserver(told).observe(document.body, {attributes: true, attributeFilter: ['class']});
    told();
"""


@contextmanager
def frame(page: Page, state: PageState) -> Iterator[None]:
    """Header and content of a page; what is made inside of the ``with`` is the content."""
    client = state.client
    client.content.classes("vg-content")
    with ui.header(fixed=False, bordered=True).classes("vg-header"):
        text("valuegrad", "span", "vg-brand")
        links = _navigation(page, state)
        _theme_switch(state, links)
    ui.skip_link("Skip to the content", target=client.content)  # it goes to the top of what is there
    notices = element("div", "vg-notices").props('role="alert"')
    _watch(state, notices)
    yield
    for complaint in state.complaints:
        _notice(notices, complaint)


def _navigation(page: Page, state: PageState) -> list[tuple[Page, TextElement]]:
    """The links to all pages; the one that is open is marked."""
    links = []
    with element("nav", "vg-nav").props('aria-label="Pages"'):
        for other in PAGES:
            link = text(other.title, "a", "vg-link").props(f'href="{state.link(other.path)}"')
            if other is page:
                link.props('aria-current="page"')
            links.append((other, link))
    return links


def _theme_switch(state: PageState, links: list[tuple[Page, TextElement]]) -> None:
    """Light, dark, or as the system has it; kept in the address and in the links to the other pages."""
    dark = ui.dark_mode(_dark(state.theme))

    def choose(theme: str) -> None:
        state.theme = theme
        dark.value = _dark(theme)
        state.remember()
        for page, link in links:
            link.props(f'href="{state.link(page.path)}"')
        for name, button in buttons.items():
            button.props(f'aria-pressed="{str(name == theme).lower()}"')

    buttons = {}
    with element("div", "vg-themes").props('role="group" aria-label="Colours"'):
        for name in THEMES:
            button = text(name, "button", "vg-theme").props('type="button"')
            buttons[name] = button.props(f'aria-pressed="{str(name == state.theme).lower()}"')
            button.on("click", lambda name=name: choose(name))


def _dark(theme: str) -> bool | None:
    return None if theme == "auto" else theme == "dark"


def _watch(state: PageState, notices: ui.element) -> None:
    """Hear of the browser's colours, and show errors that a page did not expect."""
    ui.on("vg-dark", lambda event: state.set_dark(event.args is True))
    state.client.on_connect(lambda: state.client.run_javascript(WATCH_DARK))
    state.client.on_exception(lambda error: _notice(notices, message_of(error)))


def _notice(notices: ui.element, message: str) -> None:
    with notices, element("div", "vg-notice") as notice:
        text(message)
        close = text("Close", "button").props('type="button"')
        close.on("click", notice.delete)
