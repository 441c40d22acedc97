"""Bytes to programs, believing nothing.

Where to start reading: ``parse``, then ``_Reader``.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from valuegrad.arguments import shown
from valuegrad.descriptions import (
    OPTIONS,
    Captured,
    Leaf,
    PathDescription,
    ProgramDescription,
    Specialisation,
    decode,
    leaves,
)
from valuegrad.errors import GraphError, ProgramFileError
from valuegrad.files.container import ARRAYS, MEMBERS, unpack
from valuegrad.graph import Graph, Guard, check
from valuegrad.primitives import TABLE
from valuegrad.primitives.opcodes import OPCODE, OPS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from valuegrad.files.container import Arrays

__all__ = ["parse", "read"]

KINDS = {kind.name: kind for kind in (
    inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.VAR_POSITIONAL,
    inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.VAR_KEYWORD,
)}  # fmt: skip


def read(path: str | os.PathLike[str]) -> ProgramDescription:
    """Read a program's file.

    Raises:
        ProgramFileError: it is missing, damaged, no program at all, or from a newer version.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise ProgramFileError(
            f"program file {os.fspath(path)} cannot be read: {error.strerror}; "
            "expected a file that a program's save() wrote"
        ) from None
    except ValueError as error:  # a path with a zero byte
        raise ProgramFileError(f"program file {shown(path)} cannot be read: {error}") from None
    return parse(data, f"program file {os.fspath(path)}")


def parse(data: bytes, who: str = "program") -> ProgramDescription:
    """A program from the bytes of its file.

    Args:
        data: what ``dump`` gave, or anything at all.
        who: begins the message.

    Raises:
        ProgramFileError: the bytes are no program, are damaged, or are from a newer version.
    """
    try:
        fields, arrays = unpack(data, who)
        return _Reader(fields, arrays, who).program()
    except ProgramFileError:
        raise
    except (ValueError, GraphError, RecursionError) as error:
        raise ProgramFileError(
            f"{who} is damaged ({error}); restore it from a copy, or save the program again"
        ) from None


def _require(holds: Any, what: str) -> None:
    if not holds:
        raise ValueError(what)


def _members(data: Any, what: str) -> dict[str, Any]:
    """A JSON object that must have exactly the members in ``MEMBERS``."""
    _require(type(data) is dict, f"a {what} is no JSON object")
    _require(data.keys() == MEMBERS[what], f"a {what} has the members {shown(sorted(data))}")
    return data  # type: ignore[no-any-return]


def _list(data: Any, what: str, kind: type | None = None) -> list[Any]:
    """A list, of entries of one type."""
    _require(type(data) is list, f"its {what} are no list")
    _require(kind is None or all(type(entry) is kind for entry in data), f"its {what} are of another type")
    return data  # type: ignore[no-any-return]


def _position(data: Any, end: int, what: str) -> int:
    """A position among ``end`` entries."""
    _require(type(data) is int and 0 <= data < end, f"its {what} points outside")
    return data  # type: ignore[no-any-return]


def _plain(data: Any) -> Any:
    """A structure without leaves."""
    structure = decode(data)
    _require(not leaves(structure), "a plain value has a leaf in it")
    return structure


class _Reader:
    """Makes a description of a file's content, checking each part.

    Args:
        fields: the JSON object.
        arrays: the arrays by name.
        who: begins a message.
    """

    def __init__(self, fields: Any, arrays: Arrays, who: str) -> None:
        self.fields = _members(fields, "program")
        self.arrays = arrays
        self.who = who
        self.codes = self._codes(_list(self.fields["operations"], "operations", str))
        self.lines = _list(self.fields["lines"], "lines", str)
        self.size = sum(map(len, arrays.values()))  # nothing may be larger than what the file holds
        structures = [decode(entry) for entry in _list(self.fields["structures"], "structures")]
        # Each is looked at once, however many paths have it.
        self.structures = [(structure, _numbers(leaves(structure), self.size)) for structure in structures]
        self.captured = [self._captured(entry) for entry in _list(self.fields["captured"], "captured Values")]
        self.paths = 0  # how many have been read

    def program(self) -> ProgramDescription:
        """The program."""
        fields = self.fields
        _require(type(fields["name"]) is str, f"its name is {shown(fields['name'])}")
        specialisations = [self._specialisation(x) for x in _list(fields["specialisations"], "specialisations")]
        _require(len(self.arrays) == self.paths * len(ARRAYS), f"{len(self.arrays)} arrays for {self.paths} paths")
        return ProgramDescription(
            name=fields["name"],
            signature=inspect.Signature([_parameter(x) for x in _list(fields["parameters"], "parameters")]),
            options=self._options(fields["options"]),
            specialisations=tuple(specialisations),
            captured=tuple(self.captured),
            transforms=tuple(_transform(x) for x in _list(fields["transforms"], "transforms", list)),
        )

    def _newer(self, what: str) -> ProgramFileError:
        return ProgramFileError(f"{self.who} has {what}, which this valuegrad does not know: install a newer valuegrad")

    def _codes(self, names: list[str]) -> NDArray[np.uint16]:
        """The numbers that the operations have here."""
        for name in names:
            if name not in OPCODE:
                raise self._newer(f"the operation {shown(name)}")
            _require(name != "call", "it calls a Python function")
        _require(len(set(names)) == len(names), "an operation comes twice")
        return np.array([OPCODE[name] for name in names], dtype=np.uint16)

    def _options(self, data: Any) -> dict[str, Any]:
        _require(type(data) is dict, "its options are no JSON object")
        options = {name: _plain(x) for name, x in data.items()}
        for name, x in options.items():
            if name not in OPTIONS:
                raise self._newer(f"the option {shown(name)}")
            _require(OPTIONS[name](x), f"its option {name} is {shown(x)}")
        return options

    @staticmethod
    def _captured(data: Any) -> Captured:
        data = _members(data, "captured")
        number = _plain(data["number"])
        _require(type(number) is float, f"a captured number is {shown(number)}")
        _require(data["name"] is None or type(data["name"]) is str, f"a captured name is {shown(data['name'])}")
        return Captured(number, data["name"])

    def _structure(self, data: Any) -> tuple[Any, int]:
        """A structure, and how many numbers it has."""
        return self.structures[_position(data, len(self.structures), "structure")]

    def _specialisation(self, data: Any) -> Specialisation:
        data = _members(data, "specialisation")
        structure, count = self._structure(data["arguments"])
        _require(type(structure) is tuple and list(map(type, structure)) == [tuple, dict], "its arguments are none")
        _require(all(type(name) is str for name in structure[1]), "a keyword argument has no name")
        integers = [False] * count
        for position in _list(data["integers"], "integers"):
            integers[_position(position, count, "integer")] = True
        _require(type(data["settings"]) is dict, "its settings are no JSON object")
        entries = _list(data["paths"], "paths")
        paths = [self._path(entry, integers, len(entries)) for entry in entries]
        _check_tree(paths)
        return Specialisation(
            arguments=structure,
            integers=tuple(integers),
            settings={name: _plain(x) for name, x in data["settings"].items()},
            paths=tuple(paths),
        )

    def _path(self, data: Any, integers: Sequence[bool], paths: int) -> PathDescription:
        data = _members(data, "path")
        arrays: dict[str, Any] = {}
        for name in ARRAYS:
            key = f"{self.paths}.{name}"
            _require(key in self.arrays, f"its array {key!r} is missing")
            arrays[name] = self.arrays[key]
        self.paths += 1
        captured = [_position(x, len(self.captured), "captured") for x in _list(data["captured"], "captured")]
        _require(type(data["inputs"]) is int, "a number of inputs is none")
        _require(data["inputs"] == len(integers) + len(captured), "a graph has more or fewer inputs than its arguments")
        guards = [arrays.pop(f"guard_{name}") for name in ("nodes", "expected", "lines")]
        _require(len({len(array) for array in guards}) == 1, "its guards' arrays have different lengths")
        _require(np.all((guards[1] <= 1) & (guards[2] >= 0) & (guards[2] < len(self.lines))), "a guard is none")
        ops = arrays.pop("ops")
        _require(np.all(ops < len(self.codes)), "an operation has no name")
        graph = Graph(
            ops=self.codes[ops],
            inputs=data["inputs"],
            guards=tuple(
                Guard(node, bool(expected), self.lines[line])
                for node, expected, line in zip(*[array.tolist() for array in guards])
            ),
            **arrays,
        )
        check(graph, "one of its graphs")
        uses = _integer_uses(data["integer_uses"], integers)
        _check_numbers(graph, uses)
        output, count = self._structure(data["output"])
        _require(count == len(graph.outputs), "its results are not the outputs of its graph")
        branches: dict[int, int] = {}
        for pair in _list(data["branches"], "branches", list):
            _require(len(pair) == 2, "a branch is none")
            guard = _position(pair[0], len(graph.guards), "branch")
            _require(guard not in branches, "two branches leave at one guard")
            branches[guard] = _position(pair[1], paths, "branch")
        return PathDescription(graph, output, branches, tuple(captured), uses)


def _numbers(found: list[Leaf], most: int) -> int:
    """How many numbers leaves stand for; they must be all of them, each once."""
    count = 0
    for leaf in sorted(found, key=lambda leaf: leaf.position):
        _require(leaf.position == count, "a number of a structure comes twice, or not at all")
        count += leaf.size
        _require(count <= most, "a structure has more numbers than the file")
    return count


def _parameter(data: Any) -> inspect.Parameter:
    data = _members(data, "parameter")
    _require(type(data["name"]) is str and data["name"].isidentifier(), "a parameter has no name")
    _require(type(data["kind"]) is str and data["kind"] in KINDS, f"a parameter's kind is {shown(data['kind'])}")
    default = [_plain(x) for x in _list(data["default"], "default")]
    _require(len(default) <= 1, "a parameter has several defaults")
    return inspect.Parameter(
        data["name"], KINDS[data["kind"]], default=default[0] if default else inspect.Parameter.empty
    )


def _transform(data: list[Any]) -> tuple[str, Any]:
    _require(len(data) == 2 and type(data[0]) is str, "a transform is none")
    return data[0], _plain(data[1])


def _integer_uses(data: Any, integers: Sequence[bool]) -> tuple[tuple[int, int], ...]:
    for use in _list(data, "uses of integers", list):
        _require(len(use) == 2 and integers[_position(use[0], len(integers), "integer")], "an index is no integer")
        _position(use[1], 1 << 31, "list")
    return tuple((which, entries) for which, entries in data)


def _check_numbers(graph: Graph, uses: Sequence[tuple[int, int]]) -> None:
    """What ``check`` leaves to whoever made the graph: static arguments, indices, the shape of "custom"."""
    there = np.bincount(graph.ops, minlength=len(OPS))
    for row in TABLE.values():
        if row.static and not row.family and there[OPCODE[row.name]]:
            numbers = graph.numbers[graph.ops == OPCODE[row.name]]
            _require(not row.integer_static or np.all(numbers == np.floor(numbers)), f"{row.name} has no integer")
            _require(not row.integer_static or np.all(np.isfinite(numbers)), f"{row.name} has no finite integer")
            _require(row.static_from == -np.inf or np.all(numbers >= row.static_from), f"{row.name} has a small number")
    counts = np.diff(graph.starts)
    _require(np.all(counts[graph.ops == OPCODE["custom"]] % 2 == 1), "a custom operation lacks local gradients")
    known = set(uses)
    same = np.arange(len(graph))  # what an identity is a copy of: an integer may have gone through some
    for node in np.flatnonzero(graph.ops == OPCODE["identity"]).tolist():
        same[node] = same[graph.operands[graph.starts[node]]]
    for node in np.flatnonzero(graph.ops == OPCODE["gather"]).tolist():
        index = int(same[graph.operands[graph.starts[node + 1] - 1]]) if counts[node] >= 2 else -1
        _require((index, int(counts[node]) - 1) in known, "an index is no integer, or nobody knows its list")


def _check_tree(paths: Sequence[PathDescription]) -> None:
    """Every path but the first branches off one other, with the outcomes that the branch tells."""
    reached = [0] * len(paths)
    _require(paths, "a specialisation has no paths")
    outcomes = [np.array([guard.expected for guard in path.graph.guards], dtype=bool) for path in paths]
    for path, mine in zip(paths, outcomes):
        for guard, target in path.branches.items():
            _require(target and not reached[target], "its paths are no tree")  # first: what follows takes time
            theirs = outcomes[target]
            agree = len(theirs) > guard and theirs[guard] != mine[guard] and np.all(theirs[:guard] == mine[:guard])
            _require(agree, "a branch leads to a path with other outcomes")
            reached[target] += 1
    seen, open_paths = 0, [0]
    while open_paths:
        seen += 1
        open_paths.extend(paths[open_paths.pop()].branches.values())
    _require(seen == len(paths), "its paths are no tree")
