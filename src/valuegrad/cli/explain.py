"""``valuegrad explain``: an expression's operations, each with its nudge table; or why it is what it is, step by step.

Where to start reading: ``explain``; what each way of showing has to show is put together by ``_parts``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from valuegrad.errors import ExpressionError, ValuegradError
from valuegrad.inspect.expression import Expression, functions
from valuegrad.inspect.influence import why as influence
from valuegrad.inspect.nudge import NudgeTable, nudge_effects, nudge_tables
from valuegrad.inspect.origin import poison
from valuegrad.inspect.stepping import WRONG, Steps
from valuegrad.inspect.tables import Shown
from valuegrad.inspect.worked import figure

if TYPE_CHECKING:
    from valuegrad.value import Value

__all__ = ["explain"]

LEGEND = (
    "Change is the new result less the old one; a gradient times the nudge predicted it. "
    "A ~ marks a rounded change; (2) stands for the result of operation 2."
)
NO_INPUTS = "There is no input to nudge: the expression is a plain number."


class _Functions(click.Command):
    """A command whose help lists the functions of the primitives table."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Functions"):
            formatter.write_text(", ".join(functions()))
        super().format_epilog(ctx, formatter)


# An expression may begin with a minus, so "-alpha" is no row of short options, -h among them.
SETTINGS = {"ignore_unknown_options": True, "help_option_names": ["--help"]}


@click.command(cls=_Functions, context_settings=SETTINGS)
@click.argument("expression", metavar="EXPRESSION")
@click.argument("inputs", metavar="[NAME=NUMBER]...", nargs=-1)
@click.option("--nudge", default=0.001, show_default=True, metavar="NUMBER", help="By how much each input is moved.")
@click.option("--why", is_flag=True, help="Show instead which inputs move the result most, and along which paths.")
@click.option(
    "--steps",
    is_flag=True,
    help="Show instead the backward pass, one step after the other; what is written twice is computed once.",
)
@click.option(
    "--wrong", type=click.Choice([*WRONG]), help="With --steps: a pass that goes wrong, and what comes of it."
)
@click.option("--format", "layout", type=click.Choice(["text", "markdown"]), default="text", show_default=True)
@click.pass_context
def explain(
    ctx: click.Context,
    expression: str,
    inputs: tuple[str, ...],
    nudge: float,
    why: bool,
    steps: bool,
    wrong: str | None,
    layout: str,
) -> None:
    """Show what each operation of EXPRESSION does, and what a nudge to each input changes.

    \b
    Examples:
        valuegrad explain 'log(a*b) + c' a=0.1 b=3 c=1
        valuegrad explain 'a**2' a=3 --nudge 0.01
        valuegrad explain 'where(x > 0, x, exp(x) - 1)' x=-1/2
        valuegrad explain 'spot * norm_cdf(log(spot/105))' spot=100 --why
        valuegrad explain '(a + a) + (a + a)' a=2 --steps --wrong order

    An expression has numbers, names, + - * / // % **, brackets, and the functions below; pi, inf and nan
    are known.  Put it in quotes, so that the shell leaves it alone.

    Where the result or a gradient is nan or inf, the operation that made the first one is told.
    """
    if expression == "-h" and not inputs:
        click.echo(ctx.get_help())
        return
    try:
        if wrong and not steps:
            raise ExpressionError("--wrong is about the backward pass: give --steps with it")
        parsed = Expression(expression)
        numbers = _numbers(inputs)
        result = parsed.evaluate(numbers)
        # Moved by its usual part of itself, unless a nudge was asked for.
        asked = ctx.get_parameter_source("nudge") is click.core.ParameterSource.COMMANDLINE
        once = parsed.evaluate(numbers, shared=True)
        shown = _instead(once, why, steps, wrong, nudge if asked else None) if parsed.names else []
        tables = [] if shown or not parsed.names else nudge_tables(result, nudge=nudge)
        whole = None if shown else _whole(parsed, numbers, nudge)
    except ValuegradError as error:
        raise click.UsageError(str(error)) from None
    given = ", ".join(f"{name} = {figure(numbers[name])}" for name in parsed.names)
    title = f"{expression.strip()} = {figure(result.data)}" + (f"   for {given}" if given else "")
    parts = [*(shown or _parts(tables, whole)), *_bad(result)]
    if layout == "markdown":
        click.echo("\n\n".join([f"# `{title}`", *map(_markdown, parts)]))
    else:
        _print(title, parts)


def _numbers(inputs: tuple[str, ...]) -> dict[str, float]:
    """The inputs that were given as NAME=NUMBER; a number may be worked out, as in a=1/3."""
    numbers: dict[str, float] = {}
    for text in inputs:
        name, equals, number = (part.strip() for part in text.partition("="))
        if text.startswith("--"):
            raise ExpressionError(f"there is no option {text!r}; see valuegrad explain --help")
        if not equals or not name.isidentifier() or not number:
            raise ExpressionError(f"input {text[:60]!r} is not of the form NAME=NUMBER; give one such as a=0.1")
        if name in numbers:
            raise ExpressionError(f"input {name!r} is given twice; give it one number")
        parsed = Expression(number)
        if parsed.names:
            raise ExpressionError(f"input {text[:60]!r} has a name for a number; give a number, as in a=0.1 or a=1/3")
        numbers[name] = parsed.evaluate({}).data
    return numbers


def _whole(parsed: Expression, numbers: dict[str, float], nudge: float) -> NudgeTable | None:
    """What a nudge to each input does to the whole expression; None if it has no inputs."""
    from valuegrad.value import Value

    leaves = {name: Value(numbers[name], name=name) for name in parsed.names}

    def again(leaf: Value, number: float) -> float:
        return parsed.evaluate({**numbers, str(leaf.name): number}).data

    return nudge_effects(parsed.evaluate(leaves), leaves.values(), nudge=nudge, again=again) if leaves else None


Part = tuple[str, str, Shown | None, str]
"""What is shown under one heading: the heading, a sentence, a table, and what stands below it."""


def _parts(tables: list[NudgeTable], whole: NudgeTable | None) -> Iterator[Part]:
    """The table of every operation, and that of the whole expression."""
    for i, table in enumerate(tables, 1):
        yield f"{i}. `{table.label}` = {figure(table.result)}", table.doc, table, ""
    if whole is None:
        yield "", NO_INPUTS, None, ""
    else:
        yield "The whole expression", "", whole, LEGEND


def _instead(result: Value, why: bool, steps: bool, wrong: str | None, nudge: float | None) -> list[Part]:
    """What was asked for in place of the tables."""
    shown: list[Part] = []
    if why:
        found = influence(result, nudge=nudge)
        shown += [("Why", "", found, ""), ("Up and down", "", None, found.tornado(70))]
    if steps:
        taken = Steps(result, wrong)
        shown.append(("The backward pass" if wrong is None else "A backward pass that is wrong", "", taken, ""))
    return shown


def _bad(result: Value) -> list[Part]:
    """The operation that made the first nan or inf, if there is one."""
    found = poison(result)
    if found.origin is None:
        return []
    told = "\n".join(found.origin.sentences(with_line=False))
    where = "Where it went bad" if found.forward is not None else "Where a gradient goes bad"
    return [(where, told, None, "")]


def _markdown(part: Part) -> str:
    heading, sentence, table, below = part
    texts = [f"## {heading}" if heading else "", sentence, table.markdown() if table is not None else ""]
    if below and table is None:
        below = f"```text\n{below}\n```"
    return "\n\n".join(filter(None, [*texts, below]))


def _print(title: str, parts: list[Part]) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    console.print(Text(title, "bold"))
    for heading, sentence, table, below in parts:
        console.print()
        if heading:
            console.print(Text(heading.replace("`", ""), "bold"))
        if sentence:
            console.print(Text(sentence, "dim") if table is not None else Text(sentence))
        if table is not None:
            console.print()
            console.print(table)
        if below:
            console.print()
            console.print(Text(below, "dim") if table is not None else Text(below))
