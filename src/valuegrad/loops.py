"""``program.graph.loops``: the loops that were found in a recording, as text.

Why: a recording is straight-line code; what runs may be loops again (``roll``).  Here a person sees whether they are
those of the function that was written, and where nothing was rolled, why not.

Data structures: ``Loops``, the loops of all that was lowered; ``Part``, those of one layout of a path's inputs.

Where to start reading: ``Loops.__str__``.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from valuegrad.roll.describe import Loop

__all__ = ["Loops", "Part"]

WIDTH = 116
GLUE = "\0"  # a blank at which a line does not break
HEADINGS = {
    "pre": "once, before the lanes",
    "main": "for each lane",
    "post": "once, after the sums over the lanes",
    "last": "once, at the end",
}


@dataclass(frozen=True)
class Part:
    """The loops of a path, as it was lowered for one layout of its inputs.

    Args:
        loops: in the order in which they run.
        instructions: how many instructions they stand for, cheap ones counted once for each reader if they run so.
        why_not: why nothing was rolled, if so.
    """

    loops: tuple[Loop, ...]
    instructions: int
    why_not: str = ""

    @classmethod
    def of(cls, code: Any, rolled: Any, names: list[tuple[str, tuple[int, ...] | None]]) -> Part:
        """The loops of what was lowered.

        Args:
            code: what runs it.
            rolled: a ``Rolled``, or why it is none.
            names: of the inputs, and their shapes.
        """
        if not isinstance(rolled, str):
            loops = tuple(rolled.loops(code, names))
            return cls(loops, rolled.instructions(code))
        segments, others = getattr(code, "instructions", ((), ()))
        found = [Loop(m, n, 0, "last", (f"i in 0..{m - 1}",), f"{n} instructions") for m, n in others]
        return cls(tuple(found), sum(segments) + sum(m * n for m, n in others), rolled)

    def __str__(self) -> str:
        lines: list[str] = []
        segment = ""
        for loop in self.loops:
            if loop.segment != segment:
                segment = loop.segment
                lines.append(f"{HEADINGS[segment]}:")
            lines += _wrapped(loop)
        count, members = len(self.loops), sum(loop.members for loop in self.loops)
        if count:
            flops = sum(loop.flops for loop in self.loops if loop.segment == "main")
            lines.append(
                f"{self.instructions:,} instructions: {count:,} loop{'s' * (count != 1)} with {members:,} members"
                + (f"; {flops:,} operations on numbers a lane" if flops else "")
            )
        if self.why_not:
            lines.append(f"lanes are not rolled: {self.why_not}")
        return "\n".join(lines)


class Loops:
    """The loops of a program, in the order in which they run; ``print`` shows them as code.

    An index is named i, j, ... from the outermost on, and both its bounds occur.  Arguments have their own names,
    results of loops letters, with the indices of the loop that they come from.

    Args:
        parts: the loops of each path and layout of its inputs.

    Example:
        >>> import numpy as np, valuegrad as vg
        >>> @vg.compile(vectors="w")
        ... def step(w, x):
        ...     loss, grads = vg.value_and_grad(lambda w: vg.sum([(a - x) ** 2 for a in w]))(list(w))
        ...     return w - 0.1 * np.array([vg.batch_mean(g) for g in grads])
        >>> step(np.zeros(100), np.ones(8)).shape
        (100,)
        >>> loop, = step.graph.loops
        >>> loop.members, loop.instructions
        (100, 4)
    """

    def __init__(self, parts: list[Part]) -> None:
        self.parts = parts

    def __iter__(self) -> Iterator[Loop]:
        return (loop for part in self.parts for loop in part.loops)

    def __len__(self) -> int:
        return sum(len(part.loops) for part in self.parts)

    def __str__(self) -> str:
        if not self.parts:
            return "nothing has run yet"
        if len(self.parts) == 1:
            return str(self.parts[0])
        return "\n\n".join(f"program {i}\n{part}" for i, part in enumerate(self.parts))

    __repr__ = __str__


def _wrapped(loop: Loop) -> list[str]:
    """A loop's line, in several if it is long; its members stand on the right.

    An ordered loop is a step of some algorithm: each of its statements has a line of its own.
    """
    texts = [f"  {loop}"]
    if loop.is_ordered:
        texts = [f"  for {', '.join(loop.ranges)}:", *_indented(loop.body.split("; "))]
    lines = [line for text in texts for line in _lines(text)]
    count = f"{loop.members:,} members" if loop.members > 1 else "1 member"
    lines[-1] = f"{lines[-1]:<{WIDTH - 14}}{count:>14}"
    return lines


def _indented(statements: list[str]) -> Iterator[str]:
    """Statements, those with the same indices under one head."""
    before = ""
    for statement in statements:
        head, _, rest = statement.partition(":  ")
        if rest and head != before:
            yield f"      {head}:"
        yield f"          {rest}" if rest else f"      {statement}"
        before = head if rest else ""


def _lines(text: str) -> list[str]:
    """A line in several that are short enough, the others further in; indices stay together, and what is before =."""
    indent = " " * (len(text) - len(text.lstrip()) + 4)
    kept = re.sub(r"\[[^\]]*\]", lambda found: found[0].replace(" ", GLUE), text).replace(" = ", f"{GLUE}={GLUE}")
    lines = textwrap.wrap(kept, WIDTH - 14, subsequent_indent=indent, break_long_words=False)
    return [line.replace(GLUE, " ") for line in lines]
