"""What one open tab of the playground has, and what all tabs share.

Data structures: a ``Playground`` lives as long as the server; a ``PageState`` as long as a tab shows a page.

Where to start reading: ``PageState``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from nicegui import Client, ui

from valuegrad.playground.address import address, restore
from valuegrad.playground.runs import Runs

__all__ = ["THEMES", "PageState", "Playground"]

S = TypeVar("S")

THEMES = ("auto", "light", "dark")


class Playground:
    """What all open tabs share."""

    def __init__(self) -> None:
        self.runs = Runs()

    def close(self) -> None:
        """End what runs beside the server."""
        self.runs.close()


class PageState:
    """What one open tab has.

    Args:
        playground: what all tabs share.
        client: NiceGUI's name for the tab.
        path: the page's address.
        query: what stood behind it.
    """

    def __init__(self, playground: Playground, client: Client, path: str, query: Mapping[str, str]) -> None:
        self.playground = playground
        self.client = client
        self.path = path
        self.query = query
        self.theme = query.get("theme", "auto") if query.get("theme") in THEMES else "auto"
        self.dark = self.theme == "dark"
        self.complaints: list[str] = []  # about the address; the frame shows them
        self._settings: Any = None
        self._dark_heard: list[Callable[[bool], object]] = []

    # --------------------------------------------------------------------------------------- the address
    def restore(self, kind: type[S]) -> S:
        """The page's settings as the address has them; what is wrong in it is shown on top of the page."""
        settings, complaints = restore(kind, self.query)
        self.complaints += complaints
        self._settings = settings
        return settings

    def remember(self, settings: Any = None) -> None:
        """Put settings into the address; without any, those that it has (the theme has changed)."""
        if settings is not None:
            self._settings = settings
        self.client.run_javascript(f"history.replaceState(history.state, '', {json.dumps(self.address())})")

    def address(self) -> str:
        """The address that restores what is seen."""
        return self.link(self.path, self._settings)

    def link(self, path: str, settings: Any = None, **more: str) -> str:
        """The address of another page, which keeps the theme; ``more`` stands in it, too."""
        return address(path, settings, theme=self.theme if self.theme != "auto" else "", **more)

    # -------------------------------------------------------------------------------------- what happens
    def on_leave(self, function: Callable[[], object]) -> None:
        """Call a function once when the tab is gone for good."""
        self.client.on_delete(lambda: function())

    def on_dark(self, function: Callable[[bool], object]) -> None:
        """Call a function whenever the page turns dark (True) or light (False)."""
        self._dark_heard.append(function)

    def set_dark(self, dark: bool) -> None:
        """What the browser shows now, be it chosen here or by the system."""
        if dark != self.dark:
            self.dark = dark
            for function in self._dark_heard:
                function(dark)

    def alive(self) -> bool:
        """Whether the tab is still there."""
        return not self.client.is_deleted

    def open(self, path: str, settings: Any = None) -> None:
        """Go to another page in this tab."""
        ui.navigate.to(self.link(path, settings))
