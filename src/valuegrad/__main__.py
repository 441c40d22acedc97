"""``python -m valuegrad`` is the command ``valuegrad``."""

from valuegrad.cli import main

main(prog_name="valuegrad")
