"""The page "Look inside"."""

from __future__ import annotations

from nicegui import ui

from valuegrad.playground import theme
from valuegrad.playground.state import PageState

__all__ = ["PATH", "TITLE", "build"]

PATH = "/inside"
TITLE = "Look inside"


def build(state: PageState) -> None:
    """Make the page's elements."""
    theme.heading("Look inside", "From the loss of a GPT down to one scalar.")
    ui.label("Not here yet.")
