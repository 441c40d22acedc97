"""The arguments of a call, taken apart: which numbers there are, how they broadcast, and what is no number at all.

Why: a program is recorded for a structure of arguments and runs on lanes: one number of each array at a time.
People call it with numbers, NumPy arrays, nestings of them, keyword arguments and defaults; what is the same for
all lanes (a number, an array of one element) stays one number.

Data structures: ``Signature`` knows the function's parameters.  ``Call`` is one call taken apart: ``leaves`` are
its numbers and arrays in order, ``key`` is all that a recording depends on (structure, static arguments, which
leaves are integers), ``shape`` is what the arrays broadcast to, ``uniform`` says which leaves are the same for all
lanes.  A leaf is one input of the recorded function; but a ``Vector``, an array that is no batch but belongs to
every lane as a whole, is as many as it has numbers.

Where to start reading: ``Signature.call``, then ``Call``.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, is_dataclass
from enum import Enum
from itertools import chain, repeat
from math import prod
from typing import Any

import numpy as np
import optree

from valuegrad import arguments
from valuegrad.errors import IndexRangeError, ShapeError, ValueArgumentError, ValueTypeError
from valuegrad.flattening import Definitions, Names
from valuegrad.value import Value

__all__ = ["Call", "Signature", "Slot", "Vector"]

_FLOAT64 = np.dtype(np.float64)

Leaf = Any  # a float, an int, a NumPy array of either, or a Vector


@dataclass(frozen=True)
class Slot:
    """What stands in the place of an argument that is no number: it is part of the key.

    Args:
        thing: the static argument itself.
        key: what says that two of them are the same.
    """

    thing: Any
    key: Hashable

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Slot) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)


def _key(x: Any) -> Hashable:
    """What tells static arguments apart: 1, 1.0 and True are equal and yet not the same, 0.0 and -0.0 too."""
    if type(x) is float:
        return (float, x.hex())
    if type(x) in (tuple, list):
        return (type(x), *map(_key, x))
    if type(x) is dict:
        return (dict, *((_key(name), _key(entry)) for name, entry in x.items()))
    return (type(x), x)


@dataclass(frozen=True, eq=False)
class Vector:
    """An array of numbers that every lane sees as a whole.

    Args:
        array: of floats or integers.
    """

    array: Any


class Call:
    """One call taken apart; see the module's first lines.

    Args:
        name: the function's, for messages.
        key: all that a recording depends on.
        build: gives the positional and keyword arguments for a list of leaves.
        leaves: floats, ints, arrays, Vectors.
        integer: for each leaf whether it is an integer, or an array of integers.
        where: how the user would write the leaves.
    """

    shape: tuple[int, ...] | None  # of the batch; None: there are no lanes, every leaf is a number or a Vector
    lanes: int
    uniform: bytes  # for each leaf 1 if it is the same for all lanes

    def __init__(
        self,
        name: str,
        key: Hashable,
        build: Callable[[Sequence[Any]], tuple[tuple[Any, ...], dict[str, Any]]],
        leaves: list[Leaf],
        integer: tuple[bool, ...],
        where: Names,
    ) -> None:
        self.name = name
        self.key = key
        self.leaves = leaves
        self.integer = integer
        self._build = build
        self.where = where
        kinds = set(map(type, leaves))
        self.vectors = Vector in kinds
        self._others = [i for i, leaf in enumerate(leaves) if type(leaf) is not float] if kinds != {float} else []
        shapes = {leaf.shape for leaf in leaves if type(leaf) is np.ndarray} if np.ndarray in kinds else set()
        if not shapes:
            self.shape, self.lanes, self.uniform = None, 1, b"\1" * len(leaves)
            return
        try:
            self.shape = np.broadcast_shapes(*shapes) if len(shapes) > 1 else next(iter(shapes))
        except ValueError:
            raise ShapeError(self._disagreement()) from None
        self.lanes = prod(self.shape)
        uniform = bytearray(b"\1" * len(leaves))
        for i in self._others:
            uniform[i] = type(leaves[i]) is not np.ndarray or leaves[i].size == 1
        self.uniform = bytes(uniform)

    def _disagreement(self) -> str:
        """Which two arguments do not broadcast."""
        found = [(i, leaf.shape) for i, leaf in enumerate(self.leaves) if type(leaf) is np.ndarray and leaf.size != 1]
        for j, (later, other) in enumerate(found):
            for earlier, shape in found[:j]:
                try:
                    np.broadcast_shapes(shape, other)
                except ValueError:
                    pair = f"{self._shown(earlier, shape)} and {self._shown(later, other)}"
                    return f"{self.name}() got {pair}; give arrays that broadcast, or one number"
        shapes = ", ".join(self._shown(i, shape) for i, shape in found)
        return f"{self.name}() got {shapes}, which do not broadcast together; give arrays that do, or one number"

    def _shown(self, leaf: int, shape: tuple[int, ...]) -> str:
        return f"{self.where[leaf]} of {f'length {shape[0]}' if len(shape) == 1 else f'shape {shape}'}"

    # ----------------------------------------------------------------------------------- leaves and inputs
    def sizes(self) -> list[int]:
        """How many inputs each leaf is."""
        sizes = [1] * len(self.leaves)
        for i in self._others if self.vectors else ():
            if type(self.leaves[i]) is Vector:
                sizes[i] = self.leaves[i].array.size
        return sizes

    def names(self) -> tuple[str, ...]:
        """For each input how the user would write it; none where they are too many to be read."""
        if len(self.leaves) > 32:
            return ()
        names: list[str] = []
        for i, leaf in enumerate(self.leaves):
            name = self.where[i]
            if type(leaf) is Vector:
                size = leaf.array.size
                names += [f"{name}[{j}]" for j in range(min(size, 1000))] + [name] * max(0, size - 1000)
            else:
                names.append(name)
        return tuple(names)

    def shapes(self) -> dict[int, tuple[int, ...]]:
        """The shapes of the leaves that are arrays which each lane gets as a whole."""
        return {i: self.leaves[i].array.shape for i in self._others if type(self.leaves[i]) is Vector}

    def integers(self) -> list[bool]:
        """For each input whether it is an integer."""
        if not self.vectors:
            return list(self.integer)
        return [*chain.from_iterable(repeat(*pair) for pair in zip(self.integer, self.sizes()))]

    def build(self, inputs: Sequence[Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The positional and keyword arguments, with anything at all in place of the inputs."""
        if not self.vectors:
            return self._build(inputs)
        leaves: list[Any] = []
        start = 0
        for leaf in self.leaves:
            if type(leaf) is Vector:
                array = np.fromiter(inputs[start : start + leaf.array.size], object, leaf.array.size)
                leaves.append(array.reshape(leaf.array.shape))
                start += array.size
            else:
                leaves.append(inputs[start])
                start += 1
        return self._build(leaves)

    def uniform_inputs(self, dtype: Any) -> Any:
        """The inputs that are the same for all lanes, as one array."""
        pieces: list[Any] = []
        numbers: list[Any] = []
        for floats, i in _stretches(self.leaves, self._others):
            numbers += floats
            leaf = self.leaves[i] if i >= 0 else None
            if type(leaf) is Vector:
                pieces += [numbers, leaf.array.reshape(-1)] if numbers else [leaf.array.reshape(-1)]
                numbers = []
            elif leaf is not None and self.uniform[i]:
                numbers.append(leaf.item() if type(leaf) is np.ndarray else leaf)
        if numbers or not pieces:
            pieces.append(numbers)
        found = np.concatenate(pieces) if len(pieces) > 1 else pieces[0]
        return np.require(found, dtype, ("C", "A"))

    def lane_inputs(self, dtype: Any) -> list[Any]:
        """The others: for each a contiguous array with a number for each lane.

        An array that has just that, in the right dtype, is used as it is.
        """
        result = []
        for i in self._others:
            if not self.uniform[i]:
                leaf = self.leaves[i]
                full = leaf if leaf.shape == self.shape else np.broadcast_to(leaf, self.shape or ())
                result.append(np.require(full.reshape(-1), dtype, ("C", "A")))
        return result

    def lane(self, lane: int) -> list[float | int]:
        """One lane's inputs; ones where the batch has no lanes."""
        result: list[float | int] = []
        where = np.unravel_index(lane, self.shape) if self.shape and self.lanes else ()
        for floats, i in _stretches(self.leaves, self._others):
            result += floats
            leaf = self.leaves[i] if i >= 0 else None
            if type(leaf) is Vector:
                result += leaf.array.reshape(-1).tolist()
            elif type(leaf) is np.ndarray:
                x = np.broadcast_to(leaf, self.shape or ())[where].item() if self.lanes else 1
                result.append(int(x) if self.integer[i] else float(x))
            elif leaf is not None:
                result.append(leaf)
        return result

    def inputs_of(self, leaf: int, lanes: Any) -> Any:
        """A leaf's numbers in some lanes; None: in all."""
        own = self.leaves[leaf]
        if type(own) is Vector:
            return own.array
        if lanes is None or self.uniform[leaf]:
            return own
        return np.broadcast_to(own, self.shape or ()).reshape(-1)[lanes]

    def leaf_of_inputs(self) -> list[int]:
        """For each input to which leaf it belongs."""
        return np.repeat(np.arange(len(self.leaves)), self.sizes()).tolist()

    # ------------------------------------------------------------------------------- gradients by a leaf
    def whole(self, leaf: int, x: float, dtype: Any) -> Any:
        """A sum over all lanes in the shape of a leaf that they share."""
        own = self.leaves[leaf]
        return np.full(own.shape, x, dtype=dtype) if type(own) is np.ndarray else x

    def folded(self, leaf: int, lanes: Any, mean: bool) -> Any:
        """A number for each lane in the shape of a leaf: added up over the axes along which it was broadcast."""
        own = self.leaves[leaf]
        if type(own) is not np.ndarray:
            return float(lanes.mean() if mean else lanes.sum())
        shape = self.shape or ()
        full = lanes.reshape(shape)
        if own.shape == shape:
            return full
        missing = len(shape) - own.ndim
        axes = tuple(i for i, n in enumerate(shape) if n != 1 and (i < missing or own.shape[i - missing] != n))
        if not axes:
            return full.reshape(own.shape)
        return (full.mean(axis=axes) if mean else full.sum(axis=axes)).reshape(own.shape)


def _stretches(leaves: Sequence[Any], others: Sequence[int]) -> Iterator[tuple[Sequence[Any], int]]:
    """The floats before each of the other leaves, and which leaf that is; then those after all, and -1."""
    done = 0
    for i in others:
        yield leaves[done:i], i
        done = i + 1
    yield leaves[done:], -1


def _vector(leaf: Any) -> Any:
    if arguments.is_masked(leaf):
        return leaf  # refused as any other
    if isinstance(leaf, np.ndarray) or (hasattr(leaf, "__array__") and not isinstance(leaf, np.generic)):
        array = np.asarray(leaf)
        return Vector(array) if array.ndim else array
    return leaf


def _positional(parameters: Sequence[inspect.Parameter]) -> list[str]:
    """The names of parameters that may be given by position."""
    return [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]


class Signature:
    """The parameters of a function, and which of them are static, or vectors.

    Args:
        function: the function.
        static: names and positions of arguments that are no numbers.
        vectors: names and positions of arguments whose arrays are no batches but belong to every lane as a whole.
        name: the function's name in messages.
    """

    def __init__(
        self, function: Callable[..., Any], static: Sequence[str | int], vectors: Sequence[str | int], name: str
    ) -> None:
        self.name = name
        self.function = function
        self.signature: inspect.Signature | None = None
        with suppress(TypeError, ValueError):  # some built-in functions have none
            if not isinstance(function, np.ufunc):  # whose options must not be handed over, though they have defaults
                self.signature = inspect.signature(function)
        parameters = list(self.signature.parameters.values()) if self.signature else []
        self.names = _positional(parameters)
        self._simple = len(self.names) == len(parameters)
        of: Any = function
        while not self.names and (of := getattr(of, "derivative_of", None)) is not None:
            with suppress(TypeError, ValueError):  # a derivative takes its function's arguments, whatever they are
                self.names = _positional(list(inspect.signature(of).parameters.values()))
        self.static = self._marked("static", static, parameters)
        self.vectors = self._marked("vectors", vectors, parameters)
        self._definitions = Definitions(Slot, Vector)

    def _marked(
        self, option: str, wanted: Sequence[str | int], parameters: Sequence[inspect.Parameter]
    ) -> frozenset[str | int]:
        """Arguments that an option names, by their names and by their positions."""
        names = {x for x in wanted if isinstance(x, str)}
        positions = {arguments.integer(x, f"compile(), {option}") for x in wanted if not isinstance(x, str)}
        known = {p.name for p in parameters}
        if self.signature and not any(p.kind is p.VAR_KEYWORD for p in parameters) and names - known:
            raise ValueArgumentError(
                f"compile() got {option}={min(names - known)!r}, but {self.name}() has no such argument; "
                f"give one of {sorted(known)}"
            )
        if any(i < 0 or (self._simple and i >= len(self.names)) for i in positions):
            raise IndexRangeError(
                f"compile() got {option}={tuple(wanted)!r}, but {self.name}() has {len(self.names)} arguments; "
                "give positions from 0 on, or names"
            )
        positions |= {i for i, x in enumerate(self.names) if x in names}
        return frozenset(names | positions | {self.names[i] for i in positions if i < len(self.names)})

    def bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments in the order of the parameters, defaults among them."""
        if self.signature is None or (self._simple and not kwargs and len(args) == len(self.names)):
            return args, kwargs
        try:
            bound = self.signature.bind(*args, **kwargs)
        except TypeError as error:
            raise ValueTypeError(
                f"{self.name}() got arguments that do not fit: {error}; it is {self.name}{self.signature}"
            ) from None
        bound.apply_defaults()
        return bound.args, bound.kwargs

    def following(self, given: int, kwargs: dict[str, Any]) -> tuple[str, ...] | None:
        """The names of keyword arguments in the order in which they follow positional ones; None if they do not."""
        names = tuple(self.names[given : given + len(kwargs)])
        return names if self._simple and kwargs.keys() == set(names) else None

    def call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call | None:
        """A call taken apart; None if there are Values among the arguments.

        Args:
            args: positional arguments, as ``bind`` gives them.
            kwargs: keyword arguments.

        Raises:
            ShapeError: arrays do not broadcast together.
            ValueTypeError: something is no real number, array, text, bool or None, and not static.
        """
        if self.static or self.vectors:
            args = tuple(self._prepared(x, i) for i, x in enumerate(args))
            kwargs = {name: self._prepared(x, name) for name, x in kwargs.items()}
        found, definition = self._definitions.flatten((args, kwargs))
        kinds = set(map(type, found))
        if kinds <= {float}:
            return self._finished(found, definition, [], (False,) * len(found))
        if Value in kinds:
            return None
        leaves: list[Leaf] = []
        integer: list[bool] = []
        static: list[tuple[int, Slot]] = []
        shapes: list[tuple[int, tuple[int, ...]]] = []  # of the vectors
        for floats, i in _stretches(found, [i for i, x in enumerate(found) if type(x) is not float]):
            leaves += floats
            integer += [False] * len(floats)
            if i < 0:
                break
            leaf = self._leaf(found[i], i, args, kwargs)
            if leaf is None:
                return None
            if type(leaf) is Slot:
                static.append((i, leaf))
            else:
                leaves.append(leaf)
                array: Any = leaf.array if type(leaf) is Vector else leaf
                integer.append(array.dtype.kind == "i" if type(array) is np.ndarray else type(leaf) is int)
                if type(leaf) is Vector:
                    shapes.append((len(leaves), array.shape))
        return self._finished(leaves, definition, static, tuple(integer), tuple(shapes))

    def _finished(
        self,
        leaves: list[Leaf],
        definition: Any,
        static: list[tuple[int, Slot]],
        integer: tuple[bool, ...],
        shapes: tuple[tuple[int, tuple[int, ...]], ...] = (),
    ) -> Call:
        def build(numbers: Sequence[Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
            everything = list(numbers)
            for i, slot in static:
                everything.insert(i, slot.thing)
            return optree.tree_unflatten(definition, everything)  # type: ignore[return-value]

        names = Names(self.names, definition, [i for i, _ in static])
        return Call(self.name, (definition, tuple(static), integer, shapes), build, leaves, integer, names)

    def _prepared(self, x: Any, where: int | str) -> Any:
        """An argument, with static ones and vectors marked."""
        if where in self.static:
            return self._slot(x, where)
        if where in self.vectors:
            return _vector(x) if type(x) is np.ndarray else optree.tree_map(_vector, x)
        return x

    def _slot(self, x: Any, where: int | str) -> Slot:
        key = _key(x)
        try:
            hash(key)
        except TypeError:
            name = where if isinstance(where, str) or where >= len(self.names) else self.names[where]
            raise ValueTypeError(
                f"{self.name}() got the static argument {name!r} as {arguments.shown(x)}, which cannot be hashed, so "
                "that it could change unseen; give something that can be, such as a tuple"
            ) from None
        return Slot(x, key)

    def _path(self, leaf: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        """How the user would write a leaf, static ones counted."""
        tree: Any = (args, kwargs)
        return Names(self.names, optree.tree_structure(tree))[leaf]

    def _leaf(self, x: Any, i: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A leaf as a float, an int, an array of floats or integers, a Vector, or a Slot; None for a Value."""
        if type(x) is int or type(x) is Slot or (type(x) is np.ndarray and x.dtype is _FLOAT64 and x.ndim):
            return x
        if type(x) is Vector:
            array = self._leaf(x.array, i, args, kwargs)
            return None if array is None else Vector(array)
        if isinstance(x, (bool, str, bytes, Enum)):  # a member of an IntEnum too: functions ask ``kind is Kind.CALL``
            return Slot(x, _key(x))
        if isinstance(x, np.generic):
            x = x.item() if not isinstance(x, np.bool_) else int(x)
            if type(x) in (int, float):
                return x
        elif not isinstance(x, np.ndarray) and hasattr(x, "__array__"):
            x = np.asarray(x)  # another library's array
        if isinstance(x, np.ndarray):
            if arguments.is_masked(x):
                arguments.unmasked(x, f"{self.name}(), {self._path(i, args, kwargs)}")
            if x.dtype.kind == "O":
                entries = x.ravel().tolist()
                if any(type(entry) is Value for entry in entries):
                    return None
                if all(arguments.is_number(entry, Value) for entry in entries):
                    x = np.array([arguments.number(entry, self.name) for entry in entries]).reshape(x.shape)
            if x.dtype.kind not in "fiub":
                raise self._refused(x, i, args, kwargs, f"an array of {x.dtype}")
            if not x.ndim:
                return float(x) if x.dtype.kind == "f" else int(x)
            if x.dtype.kind == "u" and x.dtype.itemsize == 8 and x.size and x.max() >= 2**63:
                return np.asarray(x, dtype=np.float64)
            return np.asarray(x, dtype=np.int64) if x.dtype.kind in "ub" else np.asarray(x)
        if arguments.is_number(x, Value):
            who = f"{self.name}(), {self._path(i, args, kwargs)}"
            return int(x) if hasattr(x, "__index__") else arguments.number(x, who)
        hint = "" if not is_dataclass(x) else "; hand over a dataclass's numbers as a dict: vars(x)"
        raise self._refused(x, i, args, kwargs, arguments.shown(x), hint)

    def _refused(
        self, x: Any, i: int, args: tuple[Any, ...], kwargs: dict[str, Any], what: str, hint: str = ""
    ) -> ValueTypeError:
        where = self._path(i, args, kwargs)
        return ValueTypeError(
            f"{self.name}() got {where} as {what}; expected real numbers, NumPy arrays of them, and lists, tuples "
            f"and dicts of such; what is no number can be static: vg.compile(..., static={where.split('[')[0]!r})"
            + hint
        )
