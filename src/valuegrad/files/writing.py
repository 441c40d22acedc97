"""Programs to bytes.

Where to start reading: ``dump``.
"""

from __future__ import annotations

import json
import os
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

import numpy as np

from valuegrad import __version__
from valuegrad.atomic import write_atomically
from valuegrad.descriptions import ProgramDescription, encode
from valuegrad.errors import ProgramFileError
from valuegrad.files.container import ARRAYS, VERSION, pack
from valuegrad.files.reading import parse
from valuegrad.graph import Graph
from valuegrad.primitives.opcodes import OPCODE, OPS

if TYPE_CHECKING:
    from valuegrad.files.container import Arrays

__all__ = ["dump", "write"]


class _Table:
    """Texts and structures that occur often, each stored once."""

    def __init__(self) -> None:
        self.entries: list[Any] = []
        self._positions: dict[str, int] = {}

    def position(self, entry: Any) -> int:
        key = json.dumps(entry)
        if key not in self._positions:
            self._positions[key] = len(self.entries)
            self.entries.append(entry)
        return self._positions[key]


def dump(description: ProgramDescription) -> bytes:
    """A program as the bytes of its file.

    Of the guards' lines only the file's name is stored, not the folders, which are nobody else's business.

    Args:
        description: the program.

    Raises:
        ProgramFileError: it holds what no file can: a Python function, or an argument of an unusual type.

    Example:
        >>> import inspect
        >>> from valuegrad import files
        >>> from valuegrad.descriptions import Leaf, PathDescription, ProgramDescription, Specialisation
        >>> from valuegrad.graph import Nodes
        >>> nodes = Nodes(inputs=1)
        >>> path = PathDescription(nodes.graph([nodes.add("exp", [0])]), output=Leaf(0))
        >>> growth = ProgramDescription(
        ...     "growth", inspect.signature(lambda time: ...), {"dtype": "float64"},
        ...     (Specialisation(((Leaf(0),), {}), (False,), (path,)),),
        ... )
        >>> files.parse(files.dump(growth)).specialisations[0].paths[0].graph.counts()
        {'input': 1, 'exp': 1}
    """
    who = f"saving {description.name}()"
    operations, lines, structures = _Table(), _Table(), _Table()
    arrays: Arrays = {}
    specialisations = []
    for specialisation in description.specialisations:
        paths = []
        for path in specialisation.paths:
            arrays |= {f"{_count(arrays)}.{name}": x for name, x in _arrays(path.graph, operations, lines, who).items()}
            paths.append(
                {
                    "inputs": path.graph.inputs,
                    "output": structures.position(encode(path.output, f"{who}, its result")),
                    "branches": [[guard, target] for guard, target in path.branches.items()],
                    "captured": list(path.captured),
                    "integer_uses": [list(use) for use in path.integer_uses],
                }
            )
        settings = {name: encode(x, f"{who}, {name}") for name, x in specialisation.settings.items()}
        specialisations.append(
            {
                "arguments": structures.position(encode(specialisation.arguments, f"{who}, its arguments")),
                "integers": [position for position, integer in enumerate(specialisation.integers) if integer],
                "settings": settings,
                "paths": paths,
            }
        )
    fields = {
        "version": VERSION,
        "valuegrad": __version__,
        "name": description.name,
        "parameters": [
            {
                "name": parameter.name,
                "kind": parameter.kind.name,
                "default": []
                if parameter.default is parameter.empty
                else [encode(parameter.default, f"{who}, the default of {parameter.name}")],
            }
            for parameter in description.signature.parameters.values()
        ],
        "options": {name: encode(x, f"{who}, option {name}") for name, x in description.options.items()},
        "transforms": [[kind, encode(settings, f"{who}, {kind}")] for kind, settings in description.transforms],
        "captured": [{"number": encode(float(x.number), who), "name": x.name} for x in description.captured],
        "operations": operations.entries,
        "lines": lines.entries,
        "structures": structures.entries,
        "specialisations": specialisations,
    }
    data = pack(fields, arrays)
    try:
        parse(data, who)  # what cannot be opened is not saved
    except ProgramFileError as error:
        raise ProgramFileError(
            f"{who}: the file could not be opened again ({error}); that is a mistake of valuegrad's: please report it"
        ) from error
    return data


def _count(arrays: Arrays) -> int:
    """How many paths have their arrays in there."""
    return len(arrays) // len(ARRAYS)


def _arrays(graph: Graph, operations: _Table, lines: _Table, who: str) -> Arrays:
    """A graph's arrays, its operations by their positions in the list of names."""
    if graph.calls or np.any(graph.ops == OPCODE["call"]):
        names = ", ".join(sorted({getattr(call, "__name__", repr(call)) for call in graph.calls}))
        raise ProgramFileError(
            f"{who}: it calls a Python function for every lane ({names}), which no file can hold; "
            "write its value rule with vg's functions, so that it can be recorded"
        )
    codes, which = np.unique(graph.ops, return_inverse=True)
    positions = np.array([operations.position(OPS[code]) for code in codes.tolist()], dtype=np.uint16)
    return {
        "ops": positions[which.reshape(-1)],
        "starts": graph.starts,
        "operands": graph.operands,
        "numbers": graph.numbers,
        "outputs": graph.outputs,
        "guard_nodes": np.array([guard.node for guard in graph.guards], dtype=np.int32),
        "guard_expected": np.array([guard.expected for guard in graph.guards], dtype=np.uint8),
        "guard_lines": np.array([lines.position(_shortened(guard.line)) for guard in graph.guards], dtype=np.int32),
    }


def _shortened(line: str) -> str:
    """A source line without the folders of its file."""
    file, separator, place = line.rpartition(":")
    return f"{PurePath(file).name}{separator}{place}"


def write(path: str | os.PathLike[str], description: ProgramDescription) -> None:
    """Write a program's file, in place of the one there.

    Raises:
        ProgramFileError: the program holds what no file can.
        OSError: the file cannot be written; the one that was there still is.
    """
    write_atomically(Path(path), dump(description), shared=True)
