"""The backward pass in slow motion: one ``child.grad += local_grad * grad`` at a time, and three ways to get it wrong.

Why: a backward pass is this one line, in the right order, on grads that start at 0.  Who sees it happen, and sees
what becomes of it without the order, with ``=`` for ``+=``, or on grads that nobody cleared, can write one.

Data structures: ``Steps`` is an iterator of ``Step``\\ s.  It keeps grads of its own (``grads``) and leaves those
of the Values alone, until ``apply`` writes them.

Where to start reading: ``Steps._right``; ``_Wrong`` has the variants.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from valuegrad.errors import ValueArgumentError
from valuegrad.inspect.tables import Cells, Shown
from valuegrad.inspect.walk import checked, edges, labels, newest_first
from valuegrad.inspect.worked import figure
from valuegrad.value import Value

__all__ = ["WRONG", "Step", "Steps", "steps"]

WRONG = {
    "order": "No topological order: depth first, each Value hands its grad on the moment it is reached.",
    "assign": "= for +=: each contribution overwrites the one before.",
    "stale": "Grads not cleared: the pass starts on what the pass before left in them.",
}
"""The variants that are wrong, each in a sentence."""
MOST_LINES = 100  # of a table of steps


@dataclass(frozen=True)
class Step:
    """One ``child.grad += local_grad * grad``.

    Args:
        number: which step it is, from 1.
        node: whose grad is handed on.
        child: whose grad it is added to.
        index: the child's position in ``node.children``.
        local_grad: ∂node/∂child.
        grad: the node's grad.
        before: the child's grad before the step.
        after: the child's grad after it.
        python: the line of Python that it stands for, with the names of the Values.
    """

    number: int
    node: Value
    child: Value
    index: int
    local_grad: float
    grad: float
    before: float
    after: float
    python: str

    @property
    def numbers(self) -> str:
        """The line in numbers: ``0 + 1 * 1 = 1``."""
        product = f"{_bracketed(self.local_grad)} * {_bracketed(self.grad)}"
        start = "" if " += " not in self.python else f"{figure(self.before)} + "
        return f"{start}{product} = {figure(self.after)}"

    def __str__(self) -> str:
        return f"{self.python}  # {self.numbers}"


def _bracketed(x: float) -> str:
    return f"({figure(x)})" if figure(x)[0] == "-" else figure(x)


def steps(y: Value, wrong: str | None = None) -> Steps:
    """The backward pass from a Value, one ``child.grad += local_grad * grad`` at a time.

    Args:
        y: where the pass starts.
        wrong: None for the right pass; ``"order"``, ``"assign"`` or ``"stale"`` for one that goes wrong:
            without the topological order, with ``=`` for ``+=``, on grads that an earlier pass left behind.

    Returns:
        An iterator of ``Step``\\ s, which also tells what it holds now (``grads``), what came out wrong
        (``explanation``), and writes its grads into the Values (``apply``).  The grads of the Values stay as they are
        until then.  The right pass ends with exactly the grads that ``y.backward()`` gives, to the last bit.

    Raises:
        ValueTypeError: y is no Value.
        ValueArgumentError: there is no such way to be wrong.

    Example:
        >>> a = Value(2.0, name="a")
        >>> b = a + a
        >>> b.name = "b"
        >>> c = b + b
        >>> c.name = "c"
        >>> for step in steps(c):
        ...     print(step)
        b.grad += c.local_grads[0] * c.grad  # 0 + 1 * 1 = 1
        b.grad += c.local_grads[1] * c.grad  # 1 + 1 * 1 = 2
        a.grad += b.local_grads[0] * b.grad  # 0 + 1 * 2 = 2
        a.grad += b.local_grads[1] * b.grad  # 2 + 1 * 2 = 4
        >>> steps(c, wrong="assign").grads_after()[a], steps(c, wrong="order").grads_after()[a]
        (1.0, 2.0)
        >>> steps(c, wrong="stale").grads_after()[a]
        12.0
    """
    return Steps(checked(y, "steps()"), wrong)


class Steps(Iterator[Step], Shown):
    """A backward pass that takes a step when asked for one: what ``steps`` gives.

    Args:
        root: where it starts.
        wrong: a key of ``WRONG``, or None.

    Attributes:
        root: where it starts.
        wrong: in which way it is wrong; None if it is right.
        labels: what the Values are called.
        grads: the grads as they are now.
    """

    def __init__(self, root: Value, wrong: str | None = None) -> None:
        if wrong is not None and wrong not in WRONG:
            raise ValueArgumentError(
                f"steps(), wrong got {wrong!r}; expected {', '.join(map(repr, WRONG))}, or None for the right pass"
            )
        self.root = root
        self.wrong = wrong
        self._order = newest_first(root)
        self._edges = {value: edges(value) for value in self._order}
        self._leaf_grads = {value: value.grad for value in self._order if not value.children}
        self.labels = labels(reversed(self._order))
        self.grads = self._start()
        self._steps = self._taken(self.grads, wrong)

    def __iter__(self) -> Steps:
        return self

    def __next__(self) -> Step:
        return next(self._steps)

    def __len__(self) -> int:
        """How many steps the whole pass has."""
        return sum(map(len, self._edges.values()))

    @property
    def opening(self) -> str:
        """The line of Python before the first step."""
        return f"{self.labels[self.root]}.grad {'=' if self.root.children else '+='} 1.0"

    def apply(self) -> None:
        """Go to the end, and write the grads into the Values."""
        for _ in self:
            pass
        for value, grad in self.grads.items():
            value.grad = grad

    def grads_after(self, count: int | None = None) -> dict[Value, float]:
        """The grads after so many steps (None: at the end), wherever the iterator is."""
        grads = self._start()
        for _ in islice(self._taken(grads, self.wrong), count):
            pass
        return grads

    def faults(self) -> dict[Value, tuple[float, float]]:
        """What ends wrong, oldest first: (the grad here, the right one)."""
        if self.wrong is None:
            return {}
        right = self._right_grads()
        here = self.grads_after()
        return {
            value: (here[value], right[value])
            for value in reversed(self._order)
            if here[value] != right[value] and not (here[value] != here[value] and right[value] != right[value])
        }

    def explanation(self) -> str:
        """In words: what is wrong with this pass, where it first shows, and what comes out.

        Example:
            >>> a = Value(2.0, name="a")
            >>> b = a + a
            >>> print(steps(b, wrong="assign").explanation())
            = for +=: each contribution overwrites the one before. a.grad was 1 when another 1 came: it is 1 now, \
not 2. So at the end a.grad is 1 instead of 2.
        """
        if self.wrong is None:
            return "This is the right pass: newest first, so that a Value has its whole grad before it hands it on."
        faults = self.faults()
        if not faults:
            why = {
                "order": "no Value hands on its grad before all of it has come",
                "assign": "no grad gets two contributions that matter",
                "stale": "the pass before left nothing behind",
            }[self.wrong]
            return f"{WRONG[self.wrong]} On this graph the result is right all the same: {why}."
        listed = [
            f"{self.labels[value]}.grad is {figure(here)} instead of {figure(right)}"
            for value, (here, right) in list(faults.items())[:4]
        ]
        more = f", and {len(faults) - 4} more are wrong" if len(faults) > 4 else ""
        outcome = f"So at the end {', '.join(listed)}{more}."
        return " ".join(filter(None, [WRONG[self.wrong], self._first_fault(), outcome]))

    # ---------------------------------------------------------------------------------- how it is done
    def _start(self) -> dict[Value, float]:
        """The grads before the first step: computed Values start at 0, leaves go on from what they have."""
        if self.wrong == "stale":
            grads = self._right_grads()
            grads[self.root] = 1.0
            return grads
        return self._cleared()

    def _cleared(self) -> dict[Value, float]:
        grads = {value: self._leaf_grads.get(value, 0.0) for value in self._order}
        grads[self.root] += 1.0
        return grads

    def _right_grads(self) -> dict[Value, float]:
        grads = self._cleared()
        for _ in self._taken(grads, None):
            pass
        return grads

    def _taken(self, grads: dict[Value, float], wrong: str | None) -> Iterator[Step]:
        """The steps, each as it is taken on these grads."""
        visited = self._depth_first() if wrong == "order" else self._right()
        sign = "=" if wrong == "assign" else "+="
        for number, (node, index, child, local_grad) in enumerate(visited, 1):
            grad, before = grads[node], grads[child]
            grads[child] = local_grad * grad if wrong == "assign" else before + local_grad * grad
            of_node, of_child = self.labels[node], self.labels[child]
            python = f"{of_child}.grad {sign} {of_node}.local_grads[{index}] * {of_node}.grad"
            yield Step(number, node, child, index, local_grad, grad, before, grads[child], python)

    def _right(self) -> Iterator[tuple[Value, int, Value, float]]:
        """The edges from the newest Value to the oldest: parents come before their children."""
        for node in self._order:
            for index, child, local_grad in self._edges[node]:
                yield node, index, child, local_grad

    def _depth_first(self) -> Iterator[tuple[Value, int, Value, float]]:
        """The edges as a plain depth-first walk meets them: into each child at once, once."""
        met = {self.root}
        stack = [(self.root, iter(self._edges[self.root]))]
        while stack:
            node, rest = stack[-1]
            edge = next(rest, None)
            if edge is None:
                stack.pop()
                continue
            index, child, local_grad = edge
            yield node, index, child, local_grad
            if child not in met:
                met.add(child)
                stack.append((child, iter(self._edges[child])))

    def _first_fault(self) -> str:
        """Where it first goes wrong, in a sentence."""
        grads = self._start()
        if self.wrong == "stale":
            child = next((value for value in self._order[1:] if grads[value]), None)
            return "" if child is None else f"{self.labels[child]}.grad still was {figure(grads[child])} at the start."
        final = self.grads_after()
        arrived: set[Value] = set()
        for step in self._taken(grads, self.wrong):
            if self.wrong == "order" and step.node is not self.root and step.grad != final[step.node]:
                return (
                    f"{self.labels[step.node]}.grad was {figure(step.grad)} when it was handed on, and became "
                    f"{figure(final[step.node])} later."
                )
            if self.wrong == "assign" and step.child in arrived and step.before:
                label = self.labels[step.child]
                return (
                    f"{label}.grad was {figure(step.before)} when another {figure(step.after)} came: it is "
                    f"{figure(step.after)} now, not {figure(step.before + step.after)}."
                )
            arrived.add(step.child)
        return ""

    def _cells(self) -> Cells:
        lines = [
            [str(step.number), step.python, step.numbers]
            for step in islice(self._taken(self._start(), self.wrong), MOST_LINES)
        ]
        notes = [f"... and {len(self) - MOST_LINES:,} more steps"] if len(self) > MOST_LINES else []
        if self.wrong is not None:
            notes.append(self.explanation())
        return Cells(["Step", "Python", "In numbers"], lines, f"Before the first step: {self.opening}", notes)
