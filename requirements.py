"""What an installation needs besides valuegrad: ``python requirements.py plot play``, for the extras plot and play.

For the Makefile: pip fetches these while the compiler works at valuegrad.  They are read from pyproject.toml, where
they are declared.
"""

import re
import sys
from pathlib import Path

try:
    import tomllib
except ImportError:  # Python 3.10
    from pip._vendor import tomli as tomllib

PROJECT = tomllib.loads((Path(__file__).parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def requirements(extras: list[str]) -> list[str]:
    """The project's dependencies and those of the extras; an extra may name others, as valuegrad[plot,play]."""
    found = list(PROJECT["dependencies"])
    for extra in extras:
        for one in PROJECT["optional-dependencies"][extra]:
            own = re.fullmatch(rf"{PROJECT['name']}\[(.*)\]", one)
            found += requirements(own[1].split(",")) if own else [one]
    return list(dict.fromkeys(found))


if __name__ == "__main__":
    print("\n".join(requirements(sys.argv[1:])))
