"""The page "Expressions"."""

from __future__ import annotations

from nicegui import ui

from valuegrad.playground import theme
from valuegrad.playground.state import PageState

__all__ = ["PATH", "TITLE", "build"]

PATH = "/"
TITLE = "Expressions"


def build(state: PageState) -> None:
    """Make the page's elements."""
    theme.heading("Expressions", "Write an expression, nudge its numbers, and watch its gradients.")
    ui.label("Not here yet.")
