"""A text read by the GPT on Values, with every intermediate number named: the query, the attention weight, the logit.

Why: the graph of a text has some thousand Values, and none of them says what it is for.  ``gpt/model.py`` stays as it
is, a learner's file; here its parts are watched from outside while they run.

How: a part of the model (a ``Linear``, an ``Attention``) is put into a ``_Watched``, which calls it and tells what went
in and came out.  What lies between the parts is found by its children: an attention weight is a child of what its head
gathered.

Data structures: a ``Reading`` has the text's loss and a ``Position`` for each token that was read; a position's
``vectors`` are in the order in which they were computed.  The Values carry their names themselves.

Where to start reading: ``read``, then ``_Watcher.watch``.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import valuegrad as vg
from valuegrad.gpt.model import GPT
from valuegrad.gpt.sampling import probabilities
from valuegrad.gpt.tokenizer import Tokenizer
from valuegrad.value import Value

__all__ = ["Position", "Reading", "Vector", "read"]

START = "⟨start⟩"
END = "⟨end⟩"


@dataclass(frozen=True)
class Vector:
    """One of the vectors of a position.

    Args:
        name: what it is, such as "query".
        about: what for, in a sentence.
        layer: the block it belongs to; None outside of blocks.
        values: its entries.
    """

    name: str
    about: str
    layer: int | None
    values: list[Value]


@dataclass
class Position:
    """What was computed when a token was read.

    Args:
        number: 0 for the first.
        token: what was read, as text.
        target: what came next, as text: what it should have predicted.
        vectors: its vectors, in the order of their computation; the logits come last.
        attention: the weights by layer and head: ``attention[layer][head][earlier position]``.
    """

    number: int
    token: str
    target: str
    vectors: list[Vector] = field(default_factory=list)
    attention: list[list[list[Value]]] = field(default_factory=list)
    loss: Value = None  # type: ignore[assignment]  # filled in when the text is read to its end

    @property
    def logits(self) -> list[Value]:
        """A Value for each token, by number."""
        return self.vectors[-1].values

    @property
    def chances(self) -> list[float]:
        """The probability of each token to come next; nan if a logit is not finite."""
        logits = [logit.data for logit in self.logits]
        return probabilities(logits) if all(map(math.isfinite, logits)) else [math.nan] * len(logits)


@dataclass(frozen=True)
class Reading:
    """A text that was read.

    Args:
        loss: the mean of the positions' losses; ``backward`` was called on it.
        positions: a Position for each token that was read.
        parameters: the weights, as ``GPT.parameters`` orders them.
        tokens: the vocabulary, as text.
        forward_s: how many seconds the calculation took, names included.
        backward_s: how many the backward pass took.
    """

    loss: Value
    positions: list[Position]
    parameters: list[Value]
    tokens: list[str]
    forward_s: float
    backward_s: float


def read(model: GPT, tokenizer: Tokenizer, text: str) -> Reading:
    """Read a text on Values and go back through it.

    Args:
        model: its weights are copied; the model is left alone.
        tokenizer: its characters.
        text: the text; what has no room in the model's context is cut off.

    Raises:
        ValueArgumentError: the text is empty of what the model can read, or has characters it has never seen.

    Example:
        >>> import random
        >>> from valuegrad.gpt.settings import ModelSettings
        >>> reading = read(GPT(4, ModelSettings(n_embd=2, n_head=1), random.Random(1)), Tokenizer("abc"), "ab")
        >>> [(at.token, at.target) for at in reading.positions]
        [('⟨start⟩', 'a'), ('a', 'b'), ('b', '⟨end⟩')]
        >>> reading.positions[1].logits[1].name
        "logit of 'b' at 1"
        >>> reading.positions[1].attention[0][0][0].name
        'head 0: 1 attends to 0'
    """
    tokens = tokenizer.document(text, model.settings.block_size)
    numbers = [weight.data for weight in model.parameters()]
    copied = model.with_parameters([Value(number) for number in numbers])
    parameters = copied.parameters()
    shown = [*tokenizer.characters, START]
    _name_weights(copied, shown)
    begun = time.perf_counter()
    watcher = _Watcher(copied, [*tokenizer.characters, END])
    for i, (token, target) in enumerate(pairwise(tokens)):
        watcher.positions.append(Position(i, shown[token], END if target == tokenizer.bos else shown[target]))
    losses = copied.losses(tokens)
    loss = vg.mean(losses)
    loss.name = "loss"
    for position, one in zip(watcher.positions, losses):
        position.loss = one
        one.name = f"loss at {position.number}"
    done = time.perf_counter()
    loss.backward()
    return Reading(loss, watcher.positions, parameters, watcher.tokens, done - begun, time.perf_counter() - done)


class _Watched:
    """A part of a model that tells what it was given and what it gave."""

    def __init__(self, part: Callable[..., list[Value]], tell: Callable[[list[Value], list[Value]], None]) -> None:
        self.part = part
        self.tell = tell

    def __call__(self, x: list[Value], *others: Any) -> list[Value]:
        out = self.part(x, *others)
        self.tell(x, out)
        return out

    def __getattr__(self, name: str) -> Any:
        return getattr(self.part, name)


class _Watcher:
    """Puts names on what a model computes, position after position."""

    def __init__(self, model: GPT, tokens: list[str]) -> None:
        self.tokens = tokens
        self.positions: list[Position] = []
        self.now = 0  # the position that is being read
        self.layers = len(model.blocks)
        self.watch(model)

    def watch(self, model: GPT) -> None:
        """Have the parts tell: a block begins with its attention's input and ends with its second matrix."""
        for layer, block in enumerate(model.blocks):
            attention = block.attention
            attention.query = self._part(attention.query, layer, self._query)
            attention.key = self._part(attention.key, layer, self._out("key", "what the position offers to later ones"))
            about = "what the position passes on to those that attend to it"
            attention.value = self._part(attention.value, layer, self._out("value", about))
            attention.output = self._part(attention.output, layer, self._gathered(attention.heads))
            block.fc1 = self._part(block.fc1, layer, self._hidden)
            block.fc2 = self._part(block.fc2, layer, self._active)
            model.blocks[layer] = self._part(block, layer, self._block)
        model.lm_head = self._part(model.lm_head, -1, self._logits)

    def _part(self, part: Any, layer: int, tell: Callable[[int, list[Value], list[Value]], None]) -> Any:
        return _Watched(part, lambda x, out: tell(layer, x, out))

    def _keep(self, layer: int, name: str, about: str, values: Sequence[Value]) -> None:
        inside = None if layer < 0 else layer
        self.positions[self.now].vectors.append(Vector(name, about, inside, list(values)))
        for i, value in enumerate(values):
            if value.children and value.name is None:
                value.name = f"{self._layer(layer)}{name}[{i}] at {self.now}"

    def _layer(self, layer: int) -> str:
        return f"layer {layer} " if layer >= 0 and self.layers > 1 else ""

    def _out(self, name: str, about: str) -> Callable[[int, list[Value], list[Value]], None]:
        return lambda layer, x, out: self._keep(layer, name, about, out)

    # Every ``x * scale`` of an rmsnorm has the number before as its first child and the scale as its second.
    def _normed(self, layer: int, before: tuple[str, str], name: str, x: list[Value]) -> None:
        if before[0]:
            self._keep(layer, *before, [value.children[0] for value in x])
        part = x[0].children[1]  # (mean of squares + epsilon) ** -0.5
        for what in ("scale", "mean square + epsilon", "mean square", "sum of squares"):
            if part.name is None:
                part.name = f"{self._layer(layer)}{what} for {name} at {self.now}"
            part = part.children[0]
        self._keep(layer, name, "the same, scaled so that the mean of the squares is 1", x)

    def _query(self, layer: int, x: list[Value], out: list[Value]) -> None:
        if layer == 0:
            first = [value.children[0] for value in x]
            self._normed(-1, ("embedded", "the token's and the position's vectors, added"), "start", first)
        self._normed(layer, ("", ""), "normed", x)
        self._keep(layer, "query", "what the position looks for", out)

    def _gathered(self, heads: Sequence[slice]) -> Callable[[int, list[Value], list[Value]], None]:
        return lambda layer, x, out: self._attended(layer, x, heads)

    def _attended(self, layer: int, gathered: list[Value], heads: Sequence[slice]) -> None:
        of_heads = []
        for h, head in enumerate(heads):
            weights = list(gathered[head.start].children[: self.now + 1])
            for t, weight in enumerate(weights):
                weight.name = f"{self._layer(layer)}head {h}: {self.now} attends to {t}"
                match = weight.children[t]
                match.name = f"{self._layer(layer)}head {h}: match of {self.now} with {t}"
                match.children[0].name = f"{self._layer(layer)}head {h}: query · key of {self.now} with {t}"
            of_heads.append(weights)
        self.positions[self.now].attention.append(of_heads)
        self._keep(layer, "gathered", "the values of the positions attended to, weighted, head by head", gathered)

    def _hidden(self, layer: int, x: list[Value], out: list[Value]) -> None:
        after = [value.children[0] for value in x]
        self._keep(layer, "attended", "what attention adds to the vector", [value.children[0] for value in after])
        self._normed(layer, ("after attention", "the vector with it"), "normed again", x)
        self._keep(layer, "hidden", "the small network's inner numbers", out)

    def _active(self, layer: int, x: list[Value], out: list[Value]) -> None:
        self._keep(layer, "active", "the same, negative ones made 0", x)
        self._keep(layer, "network", "what the small network adds to the vector", out)

    def _block(self, layer: int, x: list[Value], out: list[Value]) -> None:
        self._keep(layer, "out", "the vector after this layer", out)

    def _logits(self, layer: int, x: list[Value], out: list[Value]) -> None:
        for logit, token in zip(out, self.tokens):
            logit.name = f"logit of {token!r} at {self.now}" if token != END else f"logit of {END} at {self.now}"
        self._keep(layer, "logits", "how likely each token is to come next, before softmax", out)
        self.now += 1


def _name_weights(model: GPT, tokens: Sequence[str]) -> None:
    """Name every weight by its matrix, row and column; a row of token embeddings by its token."""
    for name, matrix in model.matrices().items():
        rows = tokens if name in ("wte", "lm_head") else range(len(matrix))
        for row, weights in zip(rows, matrix):
            for column, weight in enumerate(weights):
                weight.name = f"{name}[{row}][{column}]"
