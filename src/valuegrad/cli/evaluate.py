"""``valuegrad evaluate``: a trained GPT's loss on texts.

Where to start reading: ``evaluate``.
"""

from __future__ import annotations

import math
from pathlib import Path

import click

from valuegrad.errors import DatasetError, ValueArgumentError
from valuegrad.gpt import datasets
from valuegrad.gpt.settings import PREDICTING


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--data",
    metavar="NAME_OR_FILE",
    help="A data set that comes with the package, or a UTF-8 text file with one document a line.  "
    "[default: the documents that the training held out]",
)
@click.option(
    "--documents",
    "most",
    type=click.IntRange(min=1),
    metavar="N",
    help="Look at the first N documents only.  [default: all]",
)
@click.option(
    "--engine",
    type=click.Choice(PREDICTING),
    default="auto",
    show_default=True,
    help="Compute by compiled programs, on Values, or on Values until compiling pays; the number is the same.",
)
def evaluate(folder: Path, data: str | None, most: int | None, engine: str) -> None:
    """Measure how surprised the GPT in DIR is by texts: its mean loss, in nats a token.

    0 is a model that foresees everything; the logarithm of the number of tokens is one that knows nothing.

    \b
    Examples:
      valuegrad evaluate runs/names
      valuegrad evaluate runs/names --data surnames --documents 500
    """
    from valuegrad.gpt import train
    from valuegrad.gpt.checkpoint import Checkpoint

    checkpoint = Checkpoint.load(folder)
    if data is None:
        trainer = train.Trainer.resume(checkpoint, datasets.load(checkpoint.data_name).documents)
        documents, what = trainer.held_out, f"held-out documents of {checkpoint.data_name}"
        if not documents:
            raise DatasetError(f"the run in {folder} held no documents out; name some texts with --data")
    else:
        documents, what = datasets.load(data).documents, f"documents of {data}"
    documents = documents[:most]
    try:
        loss = train.evaluate(checkpoint.model(), checkpoint.tokenizer(), documents, engine=engine)
    except ValueArgumentError as error:
        raise click.ClickException(str(error)) from None
    tokens = len(checkpoint.characters) + 1
    click.echo(f"loss {loss:.6f} nats a token, on {len(documents):,} {what}, after step {checkpoint.step:,}")
    click.echo(f"(a model that knows nothing: log {tokens} = {math.log(tokens):.6f})")
