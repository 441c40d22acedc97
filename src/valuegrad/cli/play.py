"""``valuegrad play``: the playground, a page in the browser.

Where to start reading: ``play``; the page itself is in ``valuegrad.playground``.
"""

from __future__ import annotations

import importlib.util

import click

from valuegrad.errors import PlaygroundError

__all__ = ["play"]

MISSING = "the playground needs NiceGUI, which is not installed; install it with: pip install 'valuegrad[play]'"


@click.command()
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8137,
    show_default=True,
    help="The port to listen on; 0 for any that is free.",
)
@click.option("--browser/--no-browser", default=True, show_default=True, help="Open the page in the browser.")
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="The address to listen on; with any but this computer's own, others can use the page, too.",
)
def play(port: int, browser: bool, host: str) -> None:
    """Open the playground: expressions to nudge, a GPT to train, to let write and to look into.

    Everything runs on this computer and comes from it; Ctrl-C ends it.

    \b
    Examples:
      valuegrad play
      valuegrad play --port 0 --no-browser
    """
    if importlib.util.find_spec("nicegui") is None:
        raise PlaygroundError(MISSING)
    from valuegrad.playground.app import is_loopback, serve

    if not is_loopback(host):
        click.echo(
            f"Warning: with --host {host} everybody who reaches this computer can use the page, train on it and load "
            "files into it; there is no password and no encryption.  Without --host only you can.",
            err=True,
        )
    serve(host, port, browser=browser, started=_started)


def _started(address: str) -> None:
    click.echo(f"The playground is at {address} (Ctrl-C ends it)")
