"""Letting a model write: one token after another, each drawn from the model's probabilities.

Where to start reading: ``generate``, which yields every step with its probabilities; ``sample`` is its text.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import valuegrad as vg
from valuegrad.arguments import integer, number
from valuegrad.errors import ValueArgumentError
from valuegrad.gpt.model import GPT
from valuegrad.gpt.predicting import Writer, writer
from valuegrad.gpt.tokenizer import Tokenizer

__all__ = ["TEMPERATURE", "Prediction", "generate", "probabilities", "sample"]

TEMPERATURE = 0.5  # the original's


@dataclass(frozen=True)
class Prediction:
    """One step of ``generate``.

    Args:
        token: the token that was drawn; ``tokenizer.bos`` if the text ends here.
        text: its character, "" for the end.
        probabilities: the probability of every token, by number, from which it was drawn.
    """

    token: int
    text: str
    probabilities: list[float]


def generate(
    model: GPT,
    tokenizer: Tokenizer,
    rng: random.Random,
    *,
    temperature: float = TEMPERATURE,
    top_k: int | None = None,
    prefix: str = "",
    engine: str = "auto",
) -> Iterator[Prediction]:
    """Write a text token by token; nothing is remembered of the calculation.

    The text ends where the model says so, or when prefix and continuation together fill the context.

    Args:
        model: the model.
        tokenizer: its characters.
        rng: where the draws come from; one ``choices`` for each token, none at temperature 0.
        temperature: below 1 favours likely tokens, above 1 unlikely ones; at 0 the likeliest is taken.
        top_k: draw from the k likeliest tokens only; None for all.
        prefix: how the text begins.
        engine: "eager" computes on Values, "compiled" by a recorded program, "auto" by the latter once the model has
            written so many texts that it pays; the results are the same to the last bit.

    Yields:
        A Prediction for each token after the prefix, the one that ends the text included.

    Raises:
        ValueArgumentError: a negative temperature, top_k below 1, a prefix that has unknown
            characters or fills the context, or an engine that is not there.
    """
    temperature = number(temperature, "generate(), temperature")
    if not 0.0 <= temperature < math.inf:
        raise ValueArgumentError(f"generate(), temperature got {temperature!r}; expected 0 or more, and finite")
    if top_k is not None and integer(top_k, "generate(), top_k") < 1:
        raise ValueArgumentError(f"generate(), top_k got {top_k}; expected 1 or more")
    block_size = model.settings.block_size
    tokens = [tokenizer.bos, *tokenizer.encode(prefix)]
    if len(tokens) > block_size:
        raise ValueArgumentError(
            f"the prefix {prefix!r} has {len(prefix)} characters; the model's context of {block_size} "
            f"leaves room for {block_size - 1} and one more to write"
        )
    return _generate(writer(model, engine), block_size, tokenizer, rng, temperature, top_k, tokens)


def _generate(
    text: Writer,
    block_size: int,
    tokenizer: Tokenizer,
    rng: random.Random,
    temperature: float,
    top_k: int | None,
    tokens: list[int],
) -> Iterator[Prediction]:
    for position in range(block_size):
        logits = text.next(tokens[position])
        if position + 1 < len(tokens):
            continue  # still reading the prefix
        chances = probabilities(logits, temperature, top_k)
        if temperature == 0.0:
            token = chances.index(1.0)
        else:
            token = rng.choices(range(tokenizer.vocabulary), weights=chances)[0]
        yield Prediction(token, tokenizer.decode([token]), chances)
        if token == tokenizer.bos:
            return
        tokens.append(token)


def probabilities(logits: Sequence[float], temperature: float = 1.0, top_k: int | None = None) -> list[float]:
    """The probabilities that tokens are drawn with.

    Args:
        logits: the model's logit of each token.
        temperature: divides the logits; at 0 the likeliest token (the first of them) has all the probability.
        top_k: all but the k largest logits count as -inf; of equal ones the first stay.

    Raises:
        ValueArgumentError: a logit is nan or infinite.

    Example:
        >>> probabilities([1.0, 3.0, 2.0], 0.0)
        [0.0, 1.0, 0.0]
    """
    if not all(map(math.isfinite, logits)):
        raise ValueArgumentError("the model's logits are not all finite, so nothing can be drawn; train it again")
    kept = sorted(range(len(logits)), key=lambda token: -logits[token])[: 1 if temperature == 0.0 else top_k]
    # The largest is subtracted before dividing, so that no temperature overflows.
    scaled = [-math.inf] * len(logits)
    for token in kept:
        scaled[token] = (logits[token] - logits[kept[0]]) / (temperature or 1.0)
    return vg.softmax(scaled)


def sample(
    model: GPT,
    tokenizer: Tokenizer,
    rng: random.Random,
    *,
    temperature: float = TEMPERATURE,
    top_k: int | None = None,
    prefix: str = "",
    engine: str = "auto",
) -> str:
    """Write a text, prefix included; the arguments are ``generate``'s."""
    written = generate(model, tokenizer, rng, temperature=temperature, top_k=top_k, prefix=prefix, engine=engine)
    return prefix + "".join([prediction.text for prediction in written])
