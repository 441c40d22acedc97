"""Texts for HTML and SVG, and the colours of light and dark pages.

Why: what is shown in a notebook stands in somebody else's page: it must escape what it shows, and be readable whether
that page is light or dark, by the system's wish or by a switch of the page.

``STYLE`` gives every picture and table the variables ``--vg-…``.  A picture has a ground of its own, so its
contrast does not depend on the page's.  Dark is what the system asks for (``prefers-color-scheme``), unless something
around it says otherwise: ``.dark``, ``[data-theme=dark]``, JupyterLab's, VS Code's and Quasar's ways of saying it.

Where to start reading: ``themed``.
"""

from __future__ import annotations

import re
import unicodedata

from valuegrad.pictures.appearance import COLOURS, DARK

__all__ = ["STYLE", "cut", "escaped", "text_width", "themed"]

_LIGHT_COLOURS = {
    "paper": "#ffffff", "ink": "#1b1f24", "muted": "#57606a", "line": "#7a8594", "edge": "#8c959f",
    "bad": "#b3261e", "bad-paper": "#fdecea", "accent": "#0b57d0",
}  # fmt: skip
_DARK_COLOURS = {
    "paper": "#16191e", "ink": "#f0f3f6", "muted": "#b1bac4", "line": "#8b949e", "edge": "#6e7681",
    "bad": "#ff8f87", "bad-paper": "#4a1512", "accent": "#8ab4f8",
}  # fmt: skip
_DARK_PAGES = (
    ".dark,.body--dark,[data-theme=dark],[data-bs-theme=dark],[data-jp-theme-light=false],.vscode-dark,"
    ".vscode-high-contrast"
)
_LIGHT_PAGES = ".light,.body--light,[data-theme=light],[data-bs-theme=light],[data-jp-theme-light=true],.vscode-light"
_CONTROL = re.compile(r"[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # what XML 1.0 has no way to say


def _variables(colours: dict[str, str], kinds: dict[str, str]) -> str:
    return ";".join(f"--vg-{name}:{value}" for name, value in (colours | kinds).items())


def themed(selector: str) -> str:
    """CSS that gives what the selector chooses the colours of a light or a dark page."""
    light, dark = _variables(_LIGHT_COLOURS, COLOURS), _variables(_DARK_COLOURS, DARK)
    return (
        f"{selector}{{{light}}}\n"
        f"@media (prefers-color-scheme:dark){{{selector}{{{dark}}}}}\n"
        f":is({_LIGHT_PAGES}) {selector}{{{light}}}\n"
        f":is({_DARK_PAGES}) {selector}{{{dark}}}\n"
    )


STYLE = themed(".vg")


def escaped(text: object) -> str:
    """A text for HTML and SVG, in elements and in attributes; characters that XML cannot have are shown as �.

    Example:
        >>> escaped('<a & "b">')
        '&lt;a &amp; &quot;b&quot;&gt;'
    """
    plain = _CONTROL.sub("\ufffd", str(text))
    return (
        plain.replace("&", "&amp;")
        .replace("<", "&lt;")
        .replace(">", "&gt;")
        .replace('"', "&quot;")
        .replace("'", "&#39;")
    )


def cut(text: str, most: int) -> str:
    """A text of at most so many characters, in one line.

    Example:
        >>> cut("a long name", 7)
        'a long…'
    """
    line = " ".join(text.split())
    return line if len(line) <= most else line[: most - 1] + "…"


def text_width(text: str, size: float) -> float:
    """About how wide a text is, in pixels; rather too much than too little."""
    wide = sum(unicodedata.east_asian_width(c) in "WF" for c in text)
    capital = sum(c.isupper() or c in "mwMW@%—…" for c in text)
    narrow = sum(c in "iljtf.,:;'|!() []" for c in text)
    return size * (0.6 * len(text) + 0.5 * wide + 0.14 * capital - 0.2 * narrow)
