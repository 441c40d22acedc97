"""Source lines: which one is running, and which one made a Value (``vg.remember_lines``).

Why: "the 4,711th operation is nan" helps nobody; ``train.py:12, in loss`` does.

Data structures: a line is a text, ``file.py:12, in f``, and has a number; 0 stands for none.  A Value keeps the
number, in 16 bits that were free: so what is remembered takes no memory of its own and goes when the Value goes.
A program has far fewer than 65,534 lines with arithmetic; what comes after that many is not remembered.

Where to start reading: ``here``; the native engine's is ``vg_line_here`` in ``_lines.h``.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import CodeType, FrameType

__all__ = ["MOST", "caller", "caller_depth", "here", "is_inside", "number", "text"]

MOST = 65_534
"""How many different lines can be told apart: 0 is none, and 65,535 marks this package's own in ``_lines.h``."""
_PACKAGE = str(Path(__file__).resolve().parent) + os.sep
_texts = [""]
_numbers: dict[tuple[str, int | None, str], int] = {}


def is_inside(code: CodeType) -> bool:
    """Whether a piece of code is part of this package."""
    return code.co_filename.startswith(_PACKAGE)


def number(code: CodeType, line: int | None) -> int:
    """The number of a line of code; 0 if too many have one."""
    key = (code.co_filename, line, code.co_name)
    found = _numbers.get(key)
    if found is None:
        if len(_texts) > MOST:
            return 0
        found = _numbers[key] = len(_texts)
        _texts.append(f"{_file(code.co_filename)}:{line}, in {code.co_name}")
    return found


def _file(name: str) -> str:
    """A file's name for people: a notebook's cell is ``In[3]``, whose own file is a temporary one."""
    ask = getattr(sys.modules.get("IPython"), "get_ipython", None)
    compiler = getattr(ask() if ask is not None else None, "compile", None)
    cell = getattr(compiler, "format_code_name", None)
    found = cell(name) if cell is not None else None
    return found[1] if found else name


def text(line: int) -> str | None:
    """The line with a number: ``file.py:12, in f``; None for 0."""
    return _texts[line] if line else None


def here() -> int:
    """The number of the line outside this package that is running."""
    frame = _outside(sys._getframe(1))
    return number(frame.f_code, frame.f_lineno)


def caller() -> str:
    """The line outside this package that is running: ``file.py:12, in f``."""
    frame = _outside(sys._getframe(1))
    return f"{_file(frame.f_code.co_filename)}:{frame.f_lineno}, in {frame.f_code.co_name}"


def caller_depth() -> int:
    """How many frames up that line is, from the function that asks: a warning's stacklevel."""
    frame = sys._getframe(1)
    outside = _outside(frame)
    depth = 1
    while frame is not outside and frame.f_back is not None:
        frame = frame.f_back
        depth += 1
    return depth


def _outside(frame: FrameType) -> FrameType:
    while frame.f_back is not None and is_inside(frame.f_code):
        frame = frame.f_back
    return frame
