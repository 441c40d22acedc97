"""The command line: ``valuegrad train | sample | evaluate | datasets | explain | play``.

Each command is a module of its own and is imported when it is called.  A command raises the library's
errors; here they become one line for people and an exit code: 2 for a wrong call, 1 for a failure,
130 for Ctrl-C.

Where to start reading: ``Commands``; then ``train.py``.
"""

from __future__ import annotations

import errno
from importlib import import_module
from typing import Any

import click

import valuegrad
from valuegrad.errors import ValuegradError

__all__ = ["Interrupted", "main"]

# In the order of the help; imported when called, so that the help need not wait for them.
COMMANDS = {
    "train": "Train a GPT, whose every number is a Value, on short texts.",
    "sample": "Let a trained GPT write.",
    "evaluate": "Measure a trained GPT's loss on texts.",
    "datasets": "List the data sets that come with the package.",
    "explain": "Show what every operation of an expression does, and what a nudge to each input changes.",
    "play": "Open the playground in the browser: expressions to nudge, a GPT to train and to look into.",
}


class Interrupted(click.exceptions.Exit):
    """The user stopped the program: exit code 130, as shells have it."""

    def __init__(self) -> None:
        super().__init__(130)


class Commands(click.Group):
    """The commands, and what becomes of their errors."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands in the order of the help."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Import a command."""
        if name not in COMMANDS:
            return None
        command: click.Command = getattr(import_module(f"valuegrad.cli.{name}"), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; an error that has a message for people becomes that message."""
        try:
            return super().invoke(ctx)
        except ValuegradError as error:
            raise click.ClickException(str(error)) from None
        except OSError as error:
            if error.errno == errno.EPIPE:
                raise  # nobody reads any more; click ends quietly
            where = f"{error.filename}: " if error.filename else ""
            raise click.ClickException(f"{where}{error.strerror or error}") from None
        except MemoryError:
            raise click.ClickException("there is not enough memory for this; choose smaller sizes or data") from None
        except KeyboardInterrupt:
            raise Interrupted from None


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(valuegrad.__version__, prog_name="valuegrad")
def main() -> None:
    """Numbers that remember: exact gradients of ordinary scalar Python.

    'valuegrad train' trains a small GPT on given names within seconds; 'valuegrad COMMAND --help' tells
    more about each command.
    """
