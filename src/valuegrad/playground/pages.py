"""The pages of the playground, in the order of the navigation.  What a page is stands in ``playground/__init__.py``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from valuegrad.playground import expressions, generate, inside, train

if TYPE_CHECKING:
    from valuegrad.playground.state import PageState

__all__ = ["PAGES", "Page"]


@dataclass(frozen=True)
class Page:
    """One page.

    Args:
        path: its address.
        title: its name.
        build: makes its elements.
    """

    path: str
    title: str
    build: Callable[[PageState], None]


PAGES = [Page(module.PATH, module.TITLE, module.build) for module in (expressions, train, generate, inside)]
