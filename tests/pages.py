"""Examples in Markdown pages: those with ``>>>`` are doctests, as the page shows them."""

from __future__ import annotations

import doctest
import re
from pathlib import Path
from typing import Any

OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def blocks(path: Path, language: str) -> list[str]:
    """The page's code blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", path.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def examples(path: Path, globs: dict[str, Any] | None = None) -> doctest.DocTest:
    """All examples of a page as one doctest, in order; later ones may use what earlier ones defined."""
    text = re.sub(r"^```.*$", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return doctest.DocTestParser().get_doctest(text, globs or {}, path.name, str(path), 0)


def report(test: doctest.DocTest) -> str:
    """What failed, as doctest tells it; nothing if all examples hold."""
    told: list[str] = []
    doctest.DocTestRunner(verbose=False, optionflags=OPTIONS).run(test, out=told.append)
    return "".join(told)
