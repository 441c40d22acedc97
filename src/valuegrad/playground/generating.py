"""What the page "Generate" asks of a model: texts, one token after another, and where its heads look.

Everything is drawn from a seed, so a link gives the same texts again.

Where to start reading: ``GenerateSettings``, ``texts``, ``Slowly``.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from typing import Any

import valuegrad as vg
from valuegrad.arguments import integer, number, shown
from valuegrad.errors import ValueArgumentError
from valuegrad.gpt.model import GPT
from valuegrad.gpt.sampling import Prediction, generate, sample
from valuegrad.gpt.tokenizer import Tokenizer
from valuegrad.playground.runs import Trained
from valuegrad.playground.settings import RunSettings

__all__ = [
    "LABELS",
    "GenerateSettings",
    "Likely",
    "Slowly",
    "attention",
    "bars",
    "heat_map",
    "likeliest",
    "names",
    "texts",
    "token_name",
]

MOST_TEXTS = 200
MOST_SECONDS = 10.0
"""What one press of a button may take; what is written by then is shown."""
MOST_POSITIONS = 24
"""Positions of a heat map: more have no room on a page."""


# The names that the page has for the settings.
LABELS = {
    "temperature": "Temperature",
    "top_k": "Top-k",
    "prefix": "Beginning",
    "count": "How many",
    "draws": "Seed of the draws",
}


@dataclass(frozen=True)
class GenerateSettings(RunSettings):
    """How a model writes; the address of the page has it, with what the model was trained by.

    Args:
        run: the name of the run whose model writes; "" for none.
        temperature: below 1 favours likely tokens, above 1 unlikely ones; at 0 the likeliest is taken.
        top_k: draw from the k likeliest tokens only; 0 for all.
        prefix: how every text begins.
        count: how many texts at once.
        draws: seed of the draws.
        slow: how many tokens of a text are written one by one.
        look: the text of which the attention is shown.
        layer: the layer of which it is shown, 1 for the first.

    Raises:
        ValueArgumentError: an impossible number.
    """

    run: str = ""
    temperature: float = 0.5
    top_k: int = 0
    prefix: str = ""
    count: int = 12
    draws: int = 1
    slow: int = 0
    look: str = ""
    layer: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        temperature = number(self.temperature, "temperature")
        if not 0.0 <= temperature <= 10.0:
            raise ValueArgumentError(f"temperature is {temperature:g}; expected 0 to 10")
        object.__setattr__(self, "temperature", temperature)
        bounds = {"top_k": (0, 10_000), "count": (1, MOST_TEXTS), "draws": (-(2**53), 2**53), "slow": (0, 1000)}
        for name, (least, most) in {**bounds, "layer": (1, self.n_layer)}.items():
            given = integer(getattr(self, name), name)
            if not least <= given <= most:
                raise ValueArgumentError(f"{name} is {given}; expected {least:,} to {most:,}")
            object.__setattr__(self, name, given)
        for name in ("prefix", "look"):
            if len(getattr(self, name)) > 1_000:
                raise ValueArgumentError(f"{name} is {shown(getattr(self, name))}; expected at most 1,000 characters")

    def how(self) -> dict[str, Any]:
        """The arguments of ``gpt.sample`` and ``gpt.generate``."""
        return {"temperature": self.temperature, "top_k": self.top_k or None, "prefix": self.prefix}


def texts(model: GPT, tokenizer: Tokenizer, settings: GenerateSettings) -> list[str]:
    """As many texts as were asked for, or as were written in some seconds.

    Raises:
        ValueArgumentError: the prefix has a character that the model does not know, or fills the context.
    """
    rng = random.Random(settings.draws)
    end = time.monotonic() + MOST_SECONDS
    written: list[str] = []
    while len(written) < settings.count and (not written or time.monotonic() < end):
        written.append(sample(model, tokenizer, rng, **settings.how()))
    return written


@dataclass(frozen=True)
class Likely:
    """A token that could have come.

    Args:
        name: what people call it.
        probability: how likely it was to be drawn.
        drawn: whether it was.
    """

    name: str
    probability: float
    drawn: bool


class Slowly:
    """A text that is written one token at a time.

    Args:
        model: the model.
        tokenizer: its characters.
        settings: how it writes.

    Raises:
        ValueArgumentError: the prefix has a character that the model does not know, or fills the context.
    """

    def __init__(self, model: GPT, tokenizer: Tokenizer, settings: GenerateSettings) -> None:
        self.tokenizer = tokenizer
        self.text = settings.prefix
        self.last: Prediction | None = None
        self.ended = ""
        """Why it ended; "" while it goes on."""
        rng = random.Random(settings.draws)
        self._steps: Iterator[Prediction] = generate(model, tokenizer, rng, **settings.how())

    def step(self) -> Prediction | None:
        """Write one more token; None if the text has ended."""
        found = None if self.ended else next(self._steps, None)
        if found is None:
            self.ended = self.ended or "the context is full"
            return None
        self.last = found
        self.text += found.text
        if found.token == self.tokenizer.bos:
            self.ended = "the model ended it"
        return found


def likeliest(prediction: Prediction, tokenizer: Tokenizer, most: int = 12) -> list[Likely]:
    """The likeliest tokens of a step, likeliest first, and the drawn one, even if it is not one of them."""
    chances = prediction.probabilities
    order = sorted(range(len(chances)), key=lambda token: -chances[token])[:most]
    if prediction.token not in order:
        order[-1] = prediction.token
    return [
        Likely(token_name(token, tokenizer), chances[token], token == prediction.token)
        for token in order
        if chances[token] > 0.0 or token == prediction.token
    ]


def bars(tokens: list[Likely]) -> str:
    """The probabilities of tokens as a table with bars, in HTML; the longest bar is as wide as there is room."""
    largest = max([token.probability for token in tokens], default=1.0) or 1.0
    rows = [
        f'<tr class="{"vg-drawn" if token.drawn else ""}"><th scope="row">{escape(token.name)}</th>'
        f'<td aria-hidden="true"><div class="vg-bar" style="width:{100 * token.probability / largest:.1f}%"></div></td>'
        f"<td>{token.probability:.1%}{' ← drawn' if token.drawn else ''}</td></tr>"
        for token in tokens
    ]
    return (
        '<table class="vg-bars"><caption class="vg-hidden">Probabilities of the next token</caption><thead '
        'class="vg-hidden"><tr><th scope="col">Token</th><td></td><th scope="col">Probability</th></tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table>"
    )


def names(text: str, trained: Trained) -> list[str]:
    """What the positions of a text are called whose attention is shown."""
    found = positions(text, trained.tokenizer, trained.model.settings.block_size)
    return ["▸" if i == 0 else token_name(token, trained.tokenizer) for i, token in enumerate(found)]


def token_name(token: int, tokenizer: Tokenizer) -> str:
    """What people call a token: its character, or what it stands for."""
    if token == tokenizer.bos:
        return "end"
    character = tokenizer.characters[token]
    if character == " ":
        return "space"
    return character if character.isprintable() else repr(character)[1:-1]


def positions(text: str, tokenizer: Tokenizer, block_size: int) -> list[int]:
    """The tokens of a text as far as its attention is shown; the first is the one that begins every text."""
    return [tokenizer.bos, *tokenizer.encode(text)][: min(block_size, MOST_POSITIONS)]


def attention(model: GPT, tokenizer: Tokenizer, text: str) -> list[list[list[list[float]]]]:
    """Where the heads look while a model reads a text.

    Args:
        model: the model.
        tokenizer: its characters.
        text: what it reads, after the token that begins every text; of a long one the beginning.

    Returns:
        By layer, head, and position: how much it looks at each position up to its own.  The sum of each is 1.
    """
    tokens = positions(text, tokenizer, model.settings.block_size)
    memories = model.memories()
    for memory in memories:
        memory.looks = []
    with vg.no_grad():
        for position, token in enumerate(tokens):
            model(token, position, memories)
    heads = model.settings.n_head
    # One after another: the heads at the first position, those at the second one ...
    return [
        [
            [[weight.data for weight in weights] for weights in (memory.looks or [])[head::heads]]
            for head in range(heads)
        ]
        for memory in memories
    ]


def heat_map(name: str, head: list[list[float]], names: list[str]) -> str:
    """Where one head looks, as a table in HTML: a row for each position, a column for each that it can look at.

    Args:
        name: what the head is called.
        head: how much each position looks at each position up to its own.
        names: of the tokens at the positions.
    """
    columns = "".join(f'<th scope="col">{escape(token)}</th>' for token in names)
    rows = []
    for token, looks in zip(names, head):
        cells = [
            f'<td style="--w:{100 * weight:.0f}" title="{escape(token)} looks at {escape(seen)}: {weight:.0%}">'
            f'<span class="vg-hidden">{weight:.0%}</span></td>'
            for seen, weight in zip(names, looks)
        ]
        cells += ['<td class="vg-none"></td>'] * (len(names) - len(looks))
        rows.append(f'<tr><th scope="row">{escape(token)}</th>{"".join(cells)}</tr>')
    return (
        f'<table class="vg-head"><caption>{escape(name)}</caption><thead><tr><td class="vg-none"></td>{columns}</tr>'
        f"</thead><tbody>{''.join(rows)}</tbody></table>"
    )
