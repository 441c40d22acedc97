"""LLVM IR as text, a function at a time.

Why text: llvmlite's builder of IR takes about 10 microseconds an instruction; text takes one.

Where to start reading: ``Writer``, and ``Writer.loop`` in it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Union

__all__ = ["ARGUMENTS", "PARTS", "Whole", "Writer"]

Whole = Union[int, str]  # noqa: UP007 (an alias is evaluated, by Python 3.10 too)
"""An integer of 64 bits: a number, or the name of one."""

ARGUMENTS = "ptr noalias %frame, ptr noalias %uniform, ptr noalias %sums, ptr noalias %failed, i64 %valid"
"""Of each function, as VgSegmentFunction of _machine.h has them."""

PARTS = "i64 %first, i64 %end"
"""Beside them of what is shared, as VgSharedFunction has them."""


class Writer:
    """The lines of a function; names are given in order.

    Integers of 64 bits are Python's where they are known already, else names.
    """

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.n = 0
        self.block = ""

    def name(self) -> str:
        """A new name."""
        self.n += 1
        return f"%v{self.n}"

    def __call__(self, text: str) -> str:
        """An instruction; the name of its result."""
        name = self.name()
        self.lines.append(f"  {name} = {text}")
        return name

    def do(self, text: str) -> None:
        """An instruction without a result."""
        self.lines.append("  " + text)

    def label(self) -> str:
        """A new name of a block."""
        self.n += 1
        return f"b{self.n}"

    def at(self, label: str) -> None:
        """Begin a block."""
        self.lines.append(label + ":")
        self.block = label

    def add(self, a: Whole, b: Whole) -> Whole:
        """a + b."""
        if isinstance(a, int) and isinstance(b, int):
            return a + b
        if a == 0 and isinstance(a, int):
            return b
        if b == 0 and isinstance(b, int):
            return a
        return self(f"add nsw i64 {a}, {b}")

    def sub(self, a: Whole, b: Whole) -> Whole:
        """a - b."""
        if isinstance(b, int):
            return self.add(a, -b)
        return self(f"sub nsw i64 {a}, {b}")

    def mul(self, a: Whole, b: Whole) -> Whole:
        """a * b."""
        if isinstance(a, int) and isinstance(b, int):
            return a * b
        for x, y in ((a, b), (b, a)):
            if isinstance(x, int) and x == 0:
                return 0
            if isinstance(x, int) and x == 1:
                return y
        return self(f"mul nsw i64 {a}, {b}")

    def loop(
        self, count: Whole, carried: list[tuple[str, str]], body: Callable[[Whole, list[str]], list[str]]
    ) -> list[str]:
        """for i in range(count): a loop, tested at its end.

        Args:
            count: how often; none or once is no loop.
            carried: what an iteration hands to the next: types, and values before the first one.
            body: writes an iteration, from i and the carried values; gives their new ones.

        Returns:
            The carried values after the last iteration.
        """
        if isinstance(count, int) and count == 0:
            return [v for _, v in carried]
        if isinstance(count, int) and count == 1:
            return body(0, [v for _, v in carried])
        before, head, done = self.block, self.label(), self.label()
        runtime = not isinstance(count, int)
        if runtime:
            some = self(f"icmp sgt i64 {count}, 0")
            self.do(f"br i1 {some}, label %{head}, label %{done}")
        else:
            self.do(f"br label %{head}")
        self.at(head)
        spot = len(self.lines)
        iv = self.name()
        values = [self.name() for _ in carried]
        nexts = body(iv, values)
        step = self(f"add nuw nsw i64 {iv}, 1")
        more = self(f"icmp slt i64 {step}, {count}")
        latch = self.block
        self.do(f"br i1 {more}, label %{head}, label %{done}")
        phis = [f"  {iv} = phi i64 [0, %{before}], [{step}, %{latch}]"]
        for (t, v), phi, new in zip(carried, values, nexts):
            phis.append(f"  {phi} = phi {t} [{v}, %{before}], [{new}, %{latch}]")
        self.lines[spot:spot] = phis
        self.at(done)
        if not runtime:
            return nexts
        out = []
        for (t, v), new in zip(carried, nexts):
            out.append(self(f"phi {t} [{v}, %{before}], [{new}, %{latch}]"))
        return out
