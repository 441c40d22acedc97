"""``valuegrad explain``: an expression's operations, each with its nudge table."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from valuegrad.errors import ExpressionError, ValuegradError
from valuegrad.inspect.expression import Expression, functions
from valuegrad.inspect.nudge import NudgeTable, nudge_effects, nudge_tables
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
@click.option("--format", "layout", type=click.Choice(["text", "markdown"]), default="text", show_default=True)
@click.pass_context
def explain(ctx: click.Context, expression: str, inputs: tuple[str, ...], nudge: float, layout: str) -> None:
    """Show what each operation of EXPRESSION does, and what a nudge to each input changes.

    \b
    Examples:
        valuegrad explain 'log(a*b) + c' a=0.1 b=3 c=1
        valuegrad explain 'a**2' a=3 --nudge 0.01
        valuegrad explain 'where(x > 0, x, exp(x) - 1)' x=-1/2

    An expression has numbers, names, + - * / // % **, brackets, and the functions below; pi, inf and nan
    are known.  Put it in quotes, so that the shell leaves it alone.
    """
    if expression == "-h" and not inputs:
        click.echo(ctx.get_help())
        return
    try:
        parsed = Expression(expression)
        numbers = _numbers(inputs)
        result = parsed.evaluate(numbers)
        tables = nudge_tables(result, nudge=nudge)
        whole = _whole(parsed, numbers, nudge)
    except ValuegradError as error:
        raise click.UsageError(str(error)) from None
    given = ", ".join(f"{name} = {figure(numbers[name])}" for name in parsed.names)
    title = f"{expression.strip()} = {figure(result.data)}" + (f"   for {given}" if given else "")
    show = _markdown if layout == "markdown" else _text
    show(title, tables, whole)


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


def _markdown(title: str, tables: list[NudgeTable], whole: NudgeTable | None) -> None:
    parts = [f"# `{title}`"]
    for i, table in enumerate(tables, 1):
        parts += [f"## {i}. `{table.label}` = {figure(table.result)}", table.doc, table.markdown()]
    parts += ["## The whole expression", whole.markdown(), LEGEND] if whole is not None else [NO_INPUTS]
    click.echo("\n\n".join(parts))


def _text(title: str, tables: list[NudgeTable], whole: NudgeTable | None) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    console.print(Text(title, "bold"))
    for i, table in enumerate(tables, 1):
        console.print()
        console.print(Text(f"{i}. {table.label} = {figure(table.result)}", "bold"))
        console.print(Text(table.doc, "dim"))
        console.print()
        console.print(table)
    console.print()
    if whole is None:
        console.print(NO_INPUTS)
        return
    console.print(Text("The whole expression", "bold"))
    console.print()
    console.print(whole)
    console.print()
    console.print(Text(LEGEND, "dim"))
