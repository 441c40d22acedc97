"""The page "Train"."""

from __future__ import annotations

from nicegui import ui

from valuegrad.playground import theme
from valuegrad.playground.state import PageState

__all__ = ["PATH", "TITLE", "build"]

PATH = "/train"
TITLE = "Train"


def build(state: PageState) -> None:
    """Make the page's elements."""
    theme.heading("Train", "Teach a small GPT, whose every number is a Value, to write.")
    ui.label("Not here yet.")
