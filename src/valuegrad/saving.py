"""Programs to descriptions, which files and pickles hold, and back.

Why: what a program recorded is worth keeping; its Python function cannot be kept.  So a description has the paths,
and a program made of one has a ``Replay`` in the place of its function.

Data structures: those of ``descriptions.py``.  What the arguments were recorded for is the key of ``Program``'s
table of paths: it has the structure, static arguments, integers and the shapes of vectors.

Where to start reading: ``describe``, which ``program_of`` undoes.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from valuegrad.calls import Call, Signature
from valuegrad.derivation import DIRECTIONAL, Recorded
from valuegrad.descriptions import (
    Captured,
    Leaf,
    PathDescription,
    ProgramDescription,
    Specialisation,
    filled,
)
from valuegrad.errors import ProgramFileError, ValuegradError
from valuegrad.outputs import Structure
from valuegrad.paths import Paths
from valuegrad.record import IntegerUse
from valuegrad.replaying import Replay
from valuegrad.trie import Options, Path
from valuegrad.value import Value

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["describe", "program_of"]

Make = Callable[[Call, tuple[int, ...], int], Paths]


# ---------------------------------------------------------------------------------------------- describing
def describe(
    name: str,
    signature: Signature,
    options: Options,
    transforms: Sequence[tuple[str, Any]],
    recorded: Mapping[Any, Paths],
) -> ProgramDescription:
    """A program as plain data.

    Args:
        name: the program's.
        signature: its parameters.
        options: what ``compile`` was asked for.
        transforms: which derivative it is, if it is one.
        recorded: the paths for each structure of arguments; its keys are a call's key, and the arguments by which
            the program differentiates.

    Raises:
        ProgramFileError: nothing was recorded yet, or the function has no signature.
    """
    paths = {key: found for key, found in recorded.items() if found.root is not None}
    if not paths:
        raise ProgramFileError(f"saving {name}(): nothing was recorded yet; call it once, with numbers")
    if signature.signature is None:
        raise ProgramFileError(f"saving {name}(): nobody knows its parameters; wrap it in a function that names them")
    captured: dict[int, tuple[int, Value]] = {}
    specialisations = tuple(
        _specialisation(key, positions, found, captured) for (key, positions), found in paths.items()
    )
    return ProgramDescription(
        name=name,
        signature=signature.signature,
        options={**asdict(options), "cache": bool(options.cache)},  # a file names no folder
        specialisations=specialisations,
        captured=tuple(Captured(value.data, value.name) for _, value in captured.values()),
        transforms=tuple(transforms),
    )


def _specialisation(
    key: Any, positions: tuple[int, ...], recorded: Paths, captured: dict[int, tuple[int, Value]]
) -> Specialisation:
    definition, static, integer, shapes = key
    things = {i: slot.thing for i, slot in static}
    by_leaf = {count - 1: shape for count, shape in shapes}  # of the vectors
    entries: list[Any] = []
    integers: list[bool] = []
    for i in range(definition.num_leaves):
        if i in things:
            entries.append(things[i])
        else:
            leaf = len(entries) - sum(j < i for j in things)
            entries.append(Leaf(len(integers), by_leaf.get(leaf)))
            integers += [integer[leaf]] * entries[-1].size
    assert recorded.root is not None
    walked = list(recorded.root.walk())
    where = {id(path): i for i, path in enumerate(walked)}
    return Specialisation(
        arguments=definition.unflatten(entries),
        integers=tuple(integers),
        paths=tuple(_path(path, recorded.structure, where, captured) for path in walked),
        settings={"positions": positions},
    )


def _path(
    path: Path, structure: Structure | None, where: Mapping[int, int], captured: dict[int, tuple[int, Value]]
) -> PathDescription:
    assert structure is not None
    which = [captured.setdefault(id(value), (len(captured), value))[0] for value in path.captured]
    leaves = [Leaf(position, shape) for position, shape in structure.places()]
    return PathDescription(
        graph=path.graph,
        output=structure.build_leaves(leaves),
        branches={k: where[id(branch)] for k, branch in path.branches.items()},
        captured=tuple(which),
        integer_uses=tuple((use.input, use.entries) for use in path.integer_uses),
    )


# ----------------------------------------------------------------------------------------------- restoring
def program_of(
    description: ProgramDescription, who: str, plain: Callable[..., Any], directional: Callable[..., Any]
) -> Any:
    """The program that a description is of.

    Args:
        description: a program as plain data.
        who: begins a message.
        plain: makes a program: ``Program``.
        directional: makes one that is jvp, hvp or the like.

    Raises:
        ProgramFileError: the description contradicts itself, or is from a newer version.
    """
    function = Replay(description)
    made, derivative = plain, None
    for how, argnums in description.transforms:
        if how == DIRECTIONAL:
            made = directional
        elif how in ("grad", "value_and_grad", "jacobian", "hessian"):
            if argnums is not None and any(type(i) is not int for i in _as_tuple(argnums)):
                raise ProgramFileError(f"{who} is damaged (it differentiates by {argnums!r}); restore it from a copy")
            derivative = Recorded(how, function, argnums)
        else:
            raise ProgramFileError(f"{who} is a derivative of the kind {how!r}: install a newer valuegrad")
    try:
        program = made(function, Options(**description.options), name=description.name, derivative=derivative)
    except ValuegradError as error:
        raise ProgramFileError(f"{who} is damaged ({error}); restore it from a copy") from None
    program._paths.update(restore(who, description, program._signature, function.captured, program._empty_paths))
    return program


def _as_tuple(x: Any) -> tuple[Any, ...]:
    return x if type(x) is tuple else (x,)


def restore(
    who: str,
    description: ProgramDescription,
    signature: Signature,
    captured: Sequence[Value],
    make: Make,
) -> dict[Hashable, Paths]:
    """The paths for each structure of arguments, as ``describe`` was given them.

    Args:
        who: begins a message.
        description: a program as plain data.
        signature: its parameters.
        captured: Values in the place of those that the function closed over.
        make: gives the paths, still empty, for a call, the arguments by which the program differentiates, and how many
            there are.

    Raises:
        ProgramFileError: the description contradicts itself.
    """
    try:
        return dict(_restored(description.name, x, signature, captured, make) for x in description.specialisations)
    except (ValuegradError, TypeError, ValueError) as error:
        raise ProgramFileError(
            f"{who} is damaged ({error}); restore it from a copy, or save the program again"
        ) from None


def _restored(
    name: str, specialisation: Specialisation, signature: Signature, captured: Sequence[Value], make: Make
) -> tuple[Hashable, Paths]:
    integers = specialisation.integers

    def example(leaf: Leaf) -> Any:
        """A leaf's numbers: their positions, so that it can be seen where they get to."""
        kind = int if integers[leaf.position : leaf.position + 1] == (True,) else float
        if leaf.shape is None:
            return kind(leaf.position)
        return np.arange(leaf.position, leaf.position + leaf.size, dtype=kind).reshape(leaf.shape)

    args, kwargs = filled(specialisation.arguments, example)
    call = signature.call(args, kwargs)
    _require(call is not None and call.lane(0) == list(range(len(integers))), "its arguments are in another order")
    assert call is not None
    _require(call.integers() == list(integers), "its integers are others")
    positions = specialisation.settings.get("positions")
    _require(type(positions) is tuple and all(type(i) is int and 0 <= i < len(args) for i in positions), "no positions")
    assert positions is not None
    made = make(call, positions, len(args))
    _fill(made, name, specialisation.paths, captured)
    return (call.key, positions), made


def _fill(made: Paths, name: str, paths: Sequence[PathDescription], captured: Sequence[Value]) -> None:
    """Enter paths as if they had been recorded."""
    restored = []
    known: Any = None
    for path in paths:
        if path.output is not known:
            structure = Structure(name, filled(path.output, _numbered))
            count = len(path.graph.outputs)
            _require(structure.taken() == list(range(count)), "its results are in another order")
            _require(made.structure is None or structure == made.structure, "its paths give different structures")
            _require(len(made.gradients) <= count, "it has fewer gradients than arguments")
            made.structure, known = structure, path.output
        uses = tuple(IntegerUse(which, entries) for which, entries in path.integer_uses)
        restored.append(Path(path.graph, tuple(captured[i] for i in path.captured), uses))
    for path, new in zip(paths, restored):
        new.branches.update({k: restored[target] for k, target in path.branches.items()})
    assert made.structure is not None
    made.build = made.structure.quick()
    made.count = len(restored)
    made.root = restored[0]


def _numbered(leaf: Leaf) -> Any:
    if leaf.shape is None:
        return float(leaf.position)
    return np.arange(leaf.position, leaf.position + leaf.size, dtype=float).reshape(leaf.shape)


def _require(holds: Any, what: str) -> None:
    if not holds:
        raise ValueError(what)
