"""What the page "Look inside" shows, without the page: a text that was read, and the numbers to walk between.

Why: a GPT's loss is one number computed from thousands, each of which remembers where it came from.  Here they can be
walked: down to the children of a number, up to its users, along the paths by which it matters to the loss.

Data structures: a ``Web`` is the graph of a text that was read, its Values numbered by age, so that an address can name
any of them: the same text and sizes give the same numbers again.  ``Opened`` is a moment of a run with a ``Web``.
``Side`` is what one engine needs for the same text.

Where to start reading: ``Web.looked_at``; then ``watching.py``, which names the numbers.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

import valuegrad as vg
from valuegrad.errors import IndexRangeError
from valuegrad.gpt.compiled import built
from valuegrad.gpt.model import GPT
from valuegrad.gpt.tokenizer import Tokenizer
from valuegrad.inspect.nudge import NudgeTable, nudge_table
from valuegrad.inspect.worked import figure, written
from valuegrad.playground.watching import Reading, read
from valuegrad.primitives import TABLE
from valuegrad.value import Value, read_data

if TYPE_CHECKING:
    from valuegrad.playground.runs import Run

__all__ = ["Edge", "Opened", "Scalar", "Side", "Web", "opened", "sides"]

LONGEST_LABEL = 40
ROUNDS = 5  # of which the median time is shown


@dataclass(frozen=True)
class Edge:
    """A child or a user of a number.

    Args:
        number: which Value of the web.
        label: what it is called.
        data: its number.
        local_grad: ∂user/∂child of the operation between the two.
        carries: how much of the child's grad goes this way: the user's grad times the local gradient.
        constant: it collects no gradient.
    """

    number: int
    label: str
    data: float
    local_grad: float
    carries: float
    constant: bool = False


@dataclass(frozen=True)
class Scalar:
    """One number with what surrounds it.

    Args:
        number: which Value of the web.
        value: the Value itself.
        label: what it is called.
        operation: how it was computed, as it is written: "dot", "a * b"; "" for a leaf.
        about: what the operation is, in a sentence.
        children: those it was computed from; the ones that matter most come first.
        users: those that were computed from it; the ones through which most of its grad came first.
    """

    number: int
    value: Value
    label: str
    operation: str
    about: str
    children: list[Edge]
    users: list[Edge]

    @property
    def table(self) -> NudgeTable | None:
        """What a nudge to each child does; None for a leaf."""
        return nudge_table(self.value) if self.value.children else None


class Web:
    """A text that was read, as a web of numbers.

    Args:
        model: the model.
        tokenizer: its characters.
        text: what is read.

    Raises:
        ValueArgumentError: the text has characters that the model has never seen.
    """

    def __init__(self, model: GPT, tokenizer: Tokenizer, text: str) -> None:
        self.reading: Reading = read(model, tokenizer, text)
        seen = {self.reading.loss}
        stack = [self.reading.loss]
        edges = 0
        while stack:
            children = stack.pop().children
            edges += len(children)
            for child in children:
                if child not in seen:
                    seen.add(child)
                    stack.append(child)
        self.edges = edges
        # An operation's constants may be of its own age.
        self.order = sorted(seen, key=lambda value: (value._created, bool(value.children), value.data))
        self.number = {value: i for i, value in enumerate(self.order)}
        self.users: dict[Value, list[Value]] = {value: [] for value in self.order}  # those computed from it, each once
        for value in self.order:
            for child in dict.fromkeys(value.children):
                self.users[child].append(value)

    def __len__(self) -> int:
        return len(self.order)

    def at(self, number: int) -> Value:
        """The Value of a number.

        Raises:
            IndexRangeError: there is none.
        """
        if not 0 <= number < len(self.order):
            raise IndexRangeError(
                f"number {number} is none of this text's {len(self.order):,} Values; expected 0 to "
                f"{len(self.order) - 1}: choose one on the page"
            )
        return self.order[number]

    def looked_at(self, number: int) -> Scalar:
        """A number with its children and users.

        Raises:
            IndexRangeError: there is no such number.
        """
        value = self.at(number)
        row = TABLE.get(value.op or "")
        children: dict[Value, float] = {}
        for child, local_grad in zip(value.children, value.local_grads):
            children[child] = children.get(child, 0.0) + local_grad  # x * x has x twice
        below = [self._edge(child, local, value.grad * local) for child, local in children.items()]
        above = []
        for user in self.users[value]:
            local = sum(g for child, g in zip(user.children, user.local_grads) if child is value)
            above.append(self._edge(user, local, user.grad * local))
        # By what they contribute to the result if it is a sum of products, by what a nudge does else.
        share = (lambda e: abs(e.local_grad * e.data)) if value.op in ("dot", "sum", "mean") else _strength
        below.sort(key=lambda edge: (edge.constant, -_order(share(edge))))
        above.sort(key=lambda edge: -_order(_strength(edge)))
        return Scalar(number, value, self.label(value), self.operation(value), row.doc if row else "", below, above)

    def _edge(self, value: Value, local_grad: float, carries: float) -> Edge:
        return Edge(self.number[value], self.label(value), value.data, local_grad, carries, value.op == "constant")

    def label(self, value: Value) -> str:
        """What a Value is called: its name, or how it was computed."""
        if value.name:
            return value.name
        if not value.children:
            return figure(value.data)
        text = self.operation(value)
        return text if len(text) <= LONGEST_LABEL else f"{value.op} of {len(value.children)}"

    def operation(self, value: Value) -> str:
        """How a Value was computed, with its children's names or numbers."""
        if not value.children:
            return ""
        if len(value.children) > 4:
            return f"{value.op} of {len(value.children)} numbers"
        parts = [(child.name or figure(child.data), 5) for child in value.children]
        return written(value.op or "custom", parts, value.static)[0]


def _strength(edge: Edge) -> float:
    return abs(edge.carries)


def _order(x: float) -> float:
    return x if x == x else float("inf")  # what is nan comes first: there is something to see


@dataclass(frozen=True)
class Opened:
    """A moment of a run, opened at a text.

    Args:
        run_id: the run's name.
        step: after how many steps.
        model: the model with the weights of that moment.
        tokenizer: its characters.
        text: what was read.
        web: its numbers.
    """

    run_id: str
    step: int
    model: GPT
    tokenizer: Tokenizer
    text: str
    web: Web

    @property
    def cut(self) -> int:
        """How many characters had no room in the model's context."""
        return max(0, len(self.text) - self.model.settings.block_size)


def opened(run: Run, step: int, text: str = "") -> Opened:
    """Read a text with the weights of a moment.

    Args:
        run: the run; that it trains meanwhile does not matter.
        step: after how many steps; one that the run keeps weights of.
        text: the text; "" for the document that the next step learned from, or would have.

    Raises:
        ValueArgumentError: the text has characters that the model has never seen.
    """
    model, tokenizer = run.weights.model(step)
    text = text or run.weights.document(step)
    return Opened(run.id, step, model, tokenizer, text, Web(model, tokenizer, text))


# ------------------------------------------------------------------------------------- the two engines, side by side
@dataclass(frozen=True)
class Side:
    """What one engine needs for the loss of a text and its whole gradient.

    Args:
        name: "eager" or "compiled".
        runs: what runs, in words.
        operations: how often each operation occurs, the most frequent first.
        before_s: seconds of preparation, once.
        each_s: seconds of one calculation, the median of a few.
        loss: what it gave.
    """

    name: str
    runs: str
    operations: dict[str, int]
    before_s: float
    each_s: float
    loss: float


def eager_side(web: Web, model: GPT, tokens: Sequence[int]) -> Side:
    """Every number a Value: what stands before the reader on the page."""
    times = []
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        loss = model.loss(tokens)
        loss.backward()
        times.append(time.perf_counter() - begun)
    counted: dict[str, int] = {}
    for value in web.order:
        if value.op not in (None, "constant"):
            counted[str(value.op)] = counted.get(str(value.op), 0) + 1
    operations = dict(sorted(counted.items(), key=lambda item: -item[1]))
    runs = f"{sum(operations.values()):,} operations one by one, then back along {web.edges:,} local gradients"
    return Side("eager", runs, operations, 0.0, statistics.median(times), loss.data)


def compiled_side(model: GPT, tokens: Sequence[int]) -> Side | None:
    """The same function, recorded once and compiled with its gradient; None where programs cannot run natively."""
    if not built():
        return None
    weights = np.frombuffer(read_data(model.parameters()))

    def loss_of(weights: Any) -> Any:
        return model.with_parameters(weights).loss(tokens)

    begun = time.perf_counter()
    program = vg.compile(loss_of, vectors=("weights",), max_paths=1).value_and_grad
    program(weights)
    before = time.perf_counter() - begun
    times = []
    loss = 0.0
    for _ in range(20 * ROUNDS):
        begun = time.perf_counter()
        loss, _gradient = program(weights)
        times.append(time.perf_counter() - begun)
    graph = program.graph
    loops = graph.loops
    inside = ("input", "const", "identity")
    operations = {op: count for op, count in graph.counts.items() if op not in inside}
    runs = f"{sum(operations.values()):,} operations, the gradient's included, in {len(loops):,} loops"
    return Side("compiled", runs, operations, before, statistics.median(times), float(loss))


def sides(web: Web, model: GPT, tokenizer: Tokenizer, text: str) -> list[Side]:
    """Both engines on the same text: what each computes, and how long it takes on this machine now."""
    tokens = tokenizer.document(text, model.settings.block_size)
    compiled = compiled_side(model, tokens)
    return [eager_side(web, model, tokens), *([] if compiled is None else [compiled])]
