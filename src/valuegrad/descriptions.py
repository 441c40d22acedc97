"""A program described as plain data: what goes into its file, and what comes out of one.

Why: a compiled program is objects with Python functions, threads and machine code in them; a file, another
process or another machine needs what the program *is*: which nestings it takes and gives, and the graphs of its
paths.  Here that is a few dataclasses of numbers, texts, lists and graphs; ``files.py`` turns them into bytes and
back, and ``program.py`` builds them from a program and makes a program of them.

Data structures: a *structure* is a nesting of lists, tuples and dicts with a ``Leaf`` for each number, and plain
values (None, booleans, integers, floats, texts) that are no numbers of the graph::

    (Leaf(0), {"rates": [Leaf(1), Leaf(2)], "mode": "fast"})

``encode`` and ``decode`` turn one into JSON and back: a leaf becomes its position; None, booleans and texts stay;
other things become an object with one member, which tells what it is.

Where to start reading: ``ProgramDescription``.
"""

from __future__ import annotations

import inspect
import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from valuegrad import arguments
from valuegrad.errors import ProgramFileError
from valuegrad.graph import Graph

__all__ = [
    "OPTIONS", "Captured", "Leaf", "PathDescription", "ProgramDescription", "Specialisation", "decode", "encode",
    "filled", "leaves",
]  # fmt: skip

DEEPEST = 100  # how deep nestings may be: deeper ones would exhaust Python's stack


@dataclass(frozen=True)
class Leaf:
    """A number's place in a structure, or that of a NumPy array of numbers.

    Args:
        position: which one it is of the flat list of numbers; of an array, its first.
        shape: an array's shape; None for a number.
    """

    position: int
    shape: tuple[int, ...] | None = None

    @property
    def size(self) -> int:
        """How many numbers it stands for."""
        return math.prod(self.shape or ())


@dataclass(frozen=True)
class Captured:
    """A leaf Value that the function closed over.

    Args:
        number: its number when the file was written.
        name: its name.
    """

    number: float
    name: str | None = None


@dataclass(frozen=True)
class PathDescription:
    """One path through the branches of a function.

    Args:
        graph: what was recorded.  Its inputs are the numbers of the arguments, in order, then those in ``captured``.
        output: what the function returns: a structure whose leaves are positions in ``graph.outputs``, each once.
        branches: from a guard's index to the path (an index into ``Specialisation.paths``) that has the same
            outcomes at the guards before it and the opposite one there.
        captured: for each further input of the graph, which one of ``ProgramDescription.captured`` it is.
        integer_uses: which integer inputs choose entries of lists: pairs (input, entries).
    """

    graph: Graph
    output: Any
    branches: Mapping[int, int] = field(default_factory=dict)
    captured: tuple[int, ...] = ()
    integer_uses: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class Specialisation:
    """What was recorded for arguments of one structure.

    Args:
        arguments: the structure ``(args, kwargs)`` of the arguments with each number's place, each once; an array
            that belongs to every lane as a whole is a leaf with a shape; what is static stands there as it is.
        integers: for each number, in order, whether it is an integer, which may index.
        paths: the paths; the first is the root of the tree that the branches make.
        settings: what else it was recorded for, by name; structures without leaves.
    """

    arguments: Any
    integers: tuple[bool, ...]
    paths: tuple[PathDescription, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ProgramDescription:
    """A program as plain data; see the module's first lines.

    Args:
        name: the function's name.
        signature: the function's parameters; their defaults are structures without leaves.  Annotations are not
            stored.
        options: the arguments of ``compile`` by name (``OPTIONS`` has those that a file may hold).
        specialisations: what was recorded, for each structure of the arguments.
        captured: the leaf Values that the function closed over.
        transforms: what turns the recorded graphs into this program, in order: ``("grad", settings)`` and the
            like; settings are structures without leaves.  Empty for the function itself.

    Example:
        >>> import inspect
        >>> from valuegrad.graph import Nodes
        >>> nodes = Nodes(inputs=2)
        >>> path = PathDescription(nodes.graph([nodes.add("mul", [0, 1])]), output=Leaf(0))
        >>> area = ProgramDescription(
        ...     name="area",
        ...     signature=inspect.signature(lambda width, height: width * height),
        ...     options={"dtype": "float64"},
        ...     specialisations=(Specialisation(((Leaf(0), Leaf(1)), {}), (False, False), (path,)),),
        ... )
    """

    name: str
    signature: inspect.Signature
    options: Mapping[str, Any]
    specialisations: tuple[Specialisation, ...]
    captured: tuple[Captured, ...] = ()
    transforms: tuple[tuple[str, Any], ...] = ()


def _is_count(x: Any, most: int) -> bool:
    return type(x) is int and 1 <= x <= most


def _are_arguments(x: Any) -> bool:
    return type(x) is tuple and all(type(name) in (str, int) for name in x)


OPTIONS: dict[str, Callable[[Any], bool]] = {
    "dtype": lambda x: x in ("float64", "float32"),
    "strict": lambda x: type(x) is bool,
    "cache": lambda x: type(x) is bool,
    "threads": lambda x: _is_count(x, 4096),
    "max_paths": lambda x: _is_count(x, 1 << 20),
    "reduce": lambda x: x in ("sum", "mean"),
    "beyond": lambda x: x in ("eager", "error"),
    "static": _are_arguments,
    "vectors": _are_arguments,
}
"""The options that a file may hold, and what each may be."""


# ------------------------------------------------------------------------------------ structures and JSON
def _scalar(x: Any, who: str) -> Any:
    """A plain value as JSON."""
    if x is None or type(x) in (bool, str):
        return x
    item = getattr(x, "item", None)
    if callable(item) and getattr(x, "ndim", None) == 0:  # a NumPy scalar
        return _scalar(item(), who)
    if isinstance(x, int) and not isinstance(x, Enum):
        if x.bit_length() > 13_000:  # Python itself refuses to write longer ones in decimal
            raise ProgramFileError(f"{who}: an integer of {x.bit_length()} bits cannot be stored; give one of 13,000")
        return {"int": operator.index(x)}
    if isinstance(x, float) and not isinstance(x, Enum):
        return {"float": float(x) if math.isfinite(x) else repr(float(x))}
    raise ProgramFileError(
        f"{who}: {arguments.shown(x)} cannot be stored in a program's file; "
        "give numbers, texts, None, and lists, tuples and dicts of them"
    )


def encode(structure: Any, who: str, depth: int = 0) -> Any:
    """A structure as what ``json.dumps`` takes.

    Args:
        structure: nested lists, tuples and dicts of leaves and plain values.
        who: begins a message.
        depth: how deep in a structure this one stands.

    Raises:
        ProgramFileError: something in it is of another type, or it is nested too deeply.

    Example:
        >>> encode((Leaf(0), [1.5, "fast"]), "price()")
        {'tuple': [0, {'list': [{'float': 1.5}, 'fast']}]}
    """
    if depth > DEEPEST:
        raise ProgramFileError(
            f"{who}: nestings more than {DEEPEST} deep cannot be stored in a program's file; give a flatter one"
        )
    if type(structure) is Leaf:
        shape = structure.shape
        return structure.position if shape is None else {"array": [structure.position, list(shape)]}
    if type(structure) in (list, tuple):
        return {type(structure).__name__: [encode(entry, who, depth + 1) for entry in structure]}
    if type(structure) is dict:
        return {"dict": [[_scalar(key, who), encode(x, who, depth + 1)] for key, x in structure.items()]}
    return _scalar(structure, who)


def decode(data: Any, depth: int = 0) -> Any:
    """A structure from what ``json.loads`` gave.

    Raises:
        ValueError: it is none.

    Example:
        >>> decode({"tuple": [0, {"list": [{"float": 1.5}, "fast"]}]})
        (Leaf(position=0, shape=None), [1.5, 'fast'])
    """
    if depth > DEEPEST:
        raise ValueError("a structure is nested too deeply")
    if data is None or type(data) in (bool, str):
        return data
    if type(data) is int and data >= 0:
        return Leaf(data)
    if type(data) is dict and len(data) == 1:
        ((kind, content),) = data.items()
        if kind == "int" and type(content) is int:
            return content
        if kind == "float" and (type(content) is float or content in ("inf", "-inf", "nan")):
            return float(content)
        if kind in ("list", "tuple") and type(content) is list:
            entries = [decode(entry, depth + 1) for entry in content]
            return entries if kind == "list" else tuple(entries)
        if kind == "array" and type(content) is list and len(content) == 2:
            return Leaf(_size(content[0]), _shape(content[1]))
        if kind == "dict" and type(content) is list and all(type(pair) is list and len(pair) == 2 for pair in content):
            result = {_key(key): decode(x, depth + 1) for key, x in content}
            if len(result) == len(content):
                return result
    raise ValueError(f"{arguments.shown(data)} is no structure")


def _size(data: Any) -> int:
    if type(data) is not int or data < 0:
        raise ValueError(f"{arguments.shown(data)} is no position or size")
    return data


def _shape(data: Any) -> tuple[int, ...]:
    if type(data) is not list or len(data) > 32:  # NumPy's arrays had at most 32 dimensions for long
        raise ValueError(f"{arguments.shown(data)} is no shape")
    return tuple(map(_size, data))


def _key(data: Any) -> Any:
    key = decode(data, DEEPEST)
    if type(key) in (Leaf, list, tuple, dict):
        raise ValueError(f"{arguments.shown(data)} is no key of a dict")
    return key


def leaves(structure: Any) -> list[Leaf]:
    """A structure's leaves, from left to right.

    Example:
        >>> leaves({"a": [Leaf(0), 1.5], "b": Leaf(1)})
        [Leaf(position=0, shape=None), Leaf(position=1, shape=None)]
    """
    if type(structure) is Leaf:
        return [structure]
    if type(structure) in (list, tuple):
        return [leaf for entry in structure for leaf in leaves(entry)]
    if type(structure) is dict:
        return [leaf for entry in structure.values() for leaf in leaves(entry)]
    return []


def filled(structure: Any, entry: Callable[[Leaf], Any]) -> Any:
    """A structure with something in the place of each leaf.

    Example:
        >>> filled(({"a": [Leaf(0), 1.5]}, Leaf(1)), lambda leaf: leaf.position * 10)
        ({'a': [0, 1.5]}, 10)
    """
    if type(structure) is Leaf:
        return entry(structure)
    if type(structure) in (list, tuple):
        return type(structure)([filled(x, entry) for x in structure])
    if type(structure) is dict:
        return {key: filled(x, entry) for key, x in structure.items()}
    return structure
