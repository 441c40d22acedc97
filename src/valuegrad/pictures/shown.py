"""``Shown``: a graph as pictures see it, whether Values remember it or a program recorded it.

Data structures: lists with an entry for each node, oldest first, so that operands come before what uses them.  A
node's id is its position in that order; ``first`` is the id of the first entry, where older nodes were not looked at.

Where to start reading: ``Shown``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

__all__ = ["Shown"]


@dataclass
class Shown:
    """A graph to be shown.

    Args:
        ops: each node's operation; "input" for a leaf, "constant" for a plain number.
        signs: what its box says of the operation, such as "×" or "^ 2"; "" for leaves.
        operands: the nodes that it was computed from, by position.
        names: names of nodes, by position.
        results: the nodes that were asked for, by position.
        data: the nodes' numbers; None where there are none (a recording).
        grads: the nodes' gradients, or None.
        local_grads: for each node one number for each operand, or None.
        notes: what else there is to say of a node, by position, such as the outcome of a comparison.
        older: how many nodes are left out before the first.
    """

    ops: Sequence[str]
    signs: Sequence[str]
    operands: Sequence[Sequence[int]]
    names: dict[int, str] = field(default_factory=dict)
    results: Sequence[int] = ()
    data: Sequence[float] | None = None
    grads: Sequence[float] | None = None
    local_grads: Sequence[Sequence[float]] | None = None
    notes: dict[int, str] = field(default_factory=dict)
    older: int = 0

    def __len__(self) -> int:
        return len(self.ops)

    def counts(self) -> dict[str, int]:
        """How many nodes of each operation there are, the most frequent first."""
        return dict(Counter(self.ops).most_common())

    def summary(self) -> str:
        """The counts in a line.

        Example:
            >>> Shown(["input", "input", "mul"], ["", "", "×"], [[], [], [0, 1]]).summary()
            '3 nodes: 2 input, 1 mul'
        """
        total = len(self) + self.older
        counts = [f"{count:,} {op}" for op, count in list(self.counts().items())[:8]]
        rest = len(self.counts()) - len(counts)
        more = f" and {rest} more kinds" if rest > 0 else ""
        older = f", and {self.older:,} older" if self.older else ""
        return f"{total:,} node{'s' * (total != 1)}: {', '.join(counts)}{more}{older}"
