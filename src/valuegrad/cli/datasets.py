"""``valuegrad datasets``: the data sets that come with the package, and a look into one."""

from __future__ import annotations

import click

from valuegrad.errors import ValuegradError

__all__ = ["datasets"]

LONGEST = 1_000  # characters of a sample document that are looked at; the terminal shows fewer


@click.command()
@click.argument("name", metavar="[NAME_OR_FILE]", required=False)
@click.option("--samples", default=8, show_default=True, type=click.IntRange(0), help="How many documents to show.")
def datasets(name: str | None, samples: int) -> None:
    """List the built-in data sets, or show one of them, or a text file as training would read it.

    \b
    Examples:
        valuegrad datasets
        valuegrad datasets moon
        valuegrad datasets poems.txt --samples 3
    """
    try:
        if name is None:
            _list()
        else:
            _show(name, samples)
    except ValuegradError as error:
        raise click.UsageError(str(error)) from None


def _list() -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from valuegrad.gpt import datasets as library

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    table.add_column("Name", style="bold", no_wrap=True)
    table.add_column("Documents", justify="right", no_wrap=True)
    table.add_column("Description")
    table.add_column("Licence")
    for name in library.names():
        data = library.load(name)
        table.add_row(name, f"{len(data.documents):,}", data.description, data.licence)
    console = Console(highlight=False)
    console.print(table)
    console.print("\nvaluegrad datasets NAME shows one of them, valuegrad train --data NAME learns from it.")


def _show(name: str, samples: int) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from valuegrad.gpt import datasets as library

    data = library.load(name)
    facts = Table.grid(padding=(0, 2, 0, 0))
    facts.add_column(no_wrap=True)
    facts.add_column(overflow="fold")
    rows = {"Description": data.description, "Source": data.source}
    if name in library.names():
        entry = library.describe(name)
        rows |= {"Obtained": entry.obtained, "Licence": entry.licence, "Notice": entry.notice}
    lengths = sorted(map(len, data.documents))
    half = lengths[(len(lengths) - 1) // 2]
    rows["Documents"] = f"{len(lengths):,}, of {lengths[0]} to {lengths[-1]} characters (half of them up to {half})"
    alphabet = data.alphabet
    shown = printable(alphabet[:200]).replace(" ", "␣")
    rows["Characters"] = f"{data.characters:,}, {len(alphabet)} different: {shown}"
    rows["Settings"] = " ".join(f"--{key.replace('_', '-')} {number}" for key, number in data.settings.items())
    for what, text in rows.items():
        if text:
            facts.add_row(Text(what, "bold"), Text(text))
    console = Console(highlight=False)
    console.print(Text(data.name, "bold"))
    console.print()
    console.print(facts)
    count = min(samples, len(data.documents))
    if count:
        console.print(Text(f"\n{count} of the documents, from first to last", "bold"))
    for i in range(count):
        document = data.documents[i * (len(data.documents) - 1) // max(count - 1, 1)]
        console.print(Text("  " + printable(document[:LONGEST])), no_wrap=True, overflow="ellipsis")


def printable(text: str) -> str:
    """The text with control characters escaped: a data set must not drive the terminal."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
