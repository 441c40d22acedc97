"""``valuegrad sample``: let a trained GPT write.

Where to start reading: ``sample``.
"""

from __future__ import annotations

import random
from pathlib import Path

import click

from valuegrad.errors import ValueArgumentError
from valuegrad.gpt.settings import PREDICTING

SHOWN_TOKENS = 5  # the likeliest ones, with --show-probabilities


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("-n", "--n", "count", type=click.IntRange(min=1), default=20, show_default=True, help="How many texts.")
@click.option(
    "--temperature",
    type=click.FloatRange(min=0.0),
    default=0.5,
    show_default=True,
    help="Below 1 favours likely characters, above 1 unlikely ones; at 0 the likeliest is always taken.",
)
@click.option(
    "--top-k",
    type=click.IntRange(min=1),
    metavar="K",
    help="Draw from the K likeliest characters only.  [default: all of them]",
)
@click.option("--prefix", default="", help="How every text begins.  [default: nothing]")
@click.option(
    "--seed",
    type=int,
    help="Seed of the draws.  [default: the random state that the training left, which gives samples.txt again]",
)
@click.option(
    "--engine",
    type=click.Choice(PREDICTING),
    default="auto",
    show_default=True,
    help="Compute by compiled programs, on Values, or on Values until compiling pays; the texts are the same.",
)
@click.option("--show-probabilities", is_flag=True, help="Show for each character how likely it and others were.")
def sample(
    folder: Path,
    count: int,
    temperature: float,
    top_k: int | None,
    prefix: str,
    seed: int | None,
    engine: str,
    show_probabilities: bool,
) -> None:
    """Let the GPT write whose training 'valuegrad train' kept in DIR.

    \b
    Examples:
      valuegrad sample runs/names --n 5 --prefix jo
      valuegrad sample runs/names --n 1 --temperature 0 --show-probabilities
    """
    from valuegrad.gpt.checkpoint import Checkpoint
    from valuegrad.gpt.sampling import generate

    checkpoint = Checkpoint.load(folder)
    model, tokenizer = checkpoint.model(), checkpoint.tokenizer()
    rng = checkpoint.rng() if seed is None else random.Random(seed)
    for _ in range(count):
        try:
            written = generate(
                model, tokenizer, rng, temperature=temperature, top_k=top_k, prefix=prefix, engine=engine
            )
        except ValueArgumentError as error:
            raise click.UsageError(str(error)) from None
        if show_probabilities:
            click.echo(prefix or "(beginning)")
        text = prefix
        for prediction in written:
            text += prediction.text
            if show_probabilities:
                click.echo(
                    f"  {_shown(prediction.text)}  {_likeliest(prediction.probabilities, checkpoint.characters)}"
                )
        click.echo(text)


def _shown(character: str) -> str:
    return {"": "end", " ": "' '"}.get(character, character).ljust(3)


def _likeliest(probabilities: list[float], characters: str) -> str:
    """The likeliest characters with their probabilities, and what is left for the others."""
    tokens = sorted(range(len(probabilities)), key=lambda token: -probabilities[token])[:SHOWN_TOKENS]
    likeliest = [(characters[token] if token < len(characters) else "", probabilities[token]) for token in tokens]
    shown = [f"{_shown(character)} {probability:6.1%}" for character, probability in likeliest if probability]
    rest = 1.0 - sum(probabilities[token] for token in tokens)
    return "  ".join(shown) + (f"  others {rest:.1%}" if rest > 5e-4 else "")
