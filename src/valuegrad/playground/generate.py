"""The page "Generate"."""

from __future__ import annotations

from nicegui import ui

from valuegrad.playground import theme
from valuegrad.playground.state import PageState

__all__ = ["PATH", "TITLE", "build"]

PATH = "/generate"
TITLE = "Generate"


def build(state: PageState) -> None:
    """Make the page's elements."""
    theme.heading("Generate", "Let a trained GPT write.")
    ui.label("Not here yet.")
