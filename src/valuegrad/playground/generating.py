"""What the page "Generate" asks of a model: texts, one token after another, and where its heads look.

Everything is drawn from a seed, so a link gives the same texts again.

Where to start reading: ``GenerateSettings``, ``texts``, ``Slowly``.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from dataclasses import dataclass

import valuegrad as vg
from valuegrad.arguments import integer, number, shown
from valuegrad.errors import ValueArgumentError
from valuegrad.gpt.model import GPT
from valuegrad.gpt.sampling import Prediction, generate, sample
from valuegrad.gpt.tokenizer import Tokenizer

__all__ = ["GenerateSettings", "Likely", "Slowly", "attention", "likeliest", "texts", "token_name"]

MOST_TEXTS = 200
MOST_SECONDS = 10.0
"""What one press of a button may take; what is written by then is shown."""


@dataclass(frozen=True)
class GenerateSettings:
    """How a model writes; the address of the page has it.

    Args:
        run: the name of the run whose model writes; "" for none.
        temperature: below 1 favours likely tokens, above 1 unlikely ones; at 0 the likeliest is taken.
        top_k: draw from the k likeliest tokens only; 0 for all.
        prefix: how every text begins.
        count: how many texts at once.
        seed: of the draws.

    Raises:
        ValueArgumentError: an impossible number.
    """

    run: str = ""
    temperature: float = 0.5
    top_k: int = 0
    prefix: str = ""
    count: int = 10
    seed: int = 1

    def __post_init__(self) -> None:
        temperature = number(self.temperature, "temperature")
        if not 0.0 <= temperature <= 10.0:
            raise ValueArgumentError(f"temperature is {temperature:g}; expected 0 to 10")
        bounds = {"top_k": (0, 10_000), "count": (1, MOST_TEXTS), "seed": (-(2**53), 2**53)}
        for name, (least, most) in bounds.items():
            given = integer(getattr(self, name), name)
            if not least <= given <= most:
                raise ValueArgumentError(f"{name} is {given}; expected {least:,} to {most:,}")
            object.__setattr__(self, name, given)
        if len(self.prefix) > 1_000:
            raise ValueArgumentError(f"prefix is {shown(self.prefix)}; expected at most 1,000 characters")
        object.__setattr__(self, "temperature", temperature)

    def how(self) -> dict[str, float | int | str | None]:
        """The arguments of ``gpt.sample`` and ``gpt.generate``."""
        return {"temperature": self.temperature, "top_k": self.top_k or None, "prefix": self.prefix}


def texts(model: GPT, tokenizer: Tokenizer, settings: GenerateSettings) -> list[str]:
    """As many texts as were asked for, or as were written in some seconds.

    Raises:
        ValueArgumentError: the prefix has a character that the model does not know, or fills the context.
    """
    rng = random.Random(settings.seed)
    end = time.monotonic() + MOST_SECONDS
    written: list[str] = []
    while len(written) < settings.count and (not written or time.monotonic() < end):
        written.append(sample(model, tokenizer, rng, **settings.how()))  # type: ignore[arg-type]
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
        rng = random.Random(settings.seed)
        self._steps: Iterator[Prediction] = generate(model, tokenizer, rng, **settings.how())  # type: ignore[arg-type]

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


def token_name(token: int, tokenizer: Tokenizer) -> str:
    """What people call a token: its character, or what it stands for."""
    if token == tokenizer.bos:
        return "end"
    character = tokenizer.characters[token]
    if character == " ":
        return "space"
    return character if character.isprintable() else repr(character)[1:-1]


def attention(model: GPT, tokenizer: Tokenizer, text: str) -> list[list[list[list[float]]]]:
    """Where the heads look while a model reads a text.

    Args:
        model: the model.
        tokenizer: its characters.
        text: what it reads, after the token that begins every text; what the context has no room for is left out.

    Returns:
        By layer, head, and position: how much it looks at each position up to its own.  The sum of each is 1.
    """
    tokens = [tokenizer.bos, *tokenizer.encode(text)][: model.settings.block_size]
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
