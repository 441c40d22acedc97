"""``Program.iterate``: a program applied to its own result, step after step.

Why: simulations and training loops are one step, many times.  Taking the arguments apart at every step would cost
more than a short step itself.

How: the first steps are ordinary calls, until the state has settled (a number that is broadcast against lanes
becomes an array).  Then compiled code takes many steps in one go (``Code.iterate``): the inputs and extras of a step
are rows of arrays.  A step in which a lane leaves the path is an ordinary call again.

Where to start reading: ``iterate``, then ``_Loop._steps``.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from time import perf_counter
from typing import Any

import numpy as np
import optree

from valuegrad import arguments, modes
from valuegrad.errors import ShapeError, ValueArgumentError

__all__ = ["iterate"]

FIRST_CHUNK = 4  # steps in one go
QUICK = 0.02  # seconds that a go takes, about: so long an interrupt may have to wait


class _Inputs:
    """The further arguments of all steps: arrays with the steps along their first axis, and numbers."""

    def __init__(self, name: str, inputs: Any, steps: int | None) -> None:
        tree: Any = inputs if type(inputs) is tuple else (inputs,)
        found, self.definition = optree.tree_flatten(tree)
        found = [arguments.unmasked(x, f"{name}.iterate(), inputs") for x in found]
        self.leaves: list[Any] = [np.asarray(x) if hasattr(x, "__array__") and np.ndim(x) else x for x in found]
        lengths = {len(x) for x in self.leaves if type(x) is np.ndarray}
        if steps is not None:
            lengths.add(arguments.integer(steps, f"{name}.iterate(), steps"))
        if not lengths:
            raise ValueArgumentError(
                f"{name}.iterate() got neither steps nor an array of inputs; say how many: steps=100"
            )
        if len(lengths) > 1:
            said = f"steps={steps} and " if steps is not None else ""
            shapes = ", ".join(str(x.shape) for x in self.leaves if type(x) is np.ndarray)
            raise ShapeError(
                f"{name}.iterate() got {said}inputs of shape {shapes}; give each one entry for each step along its "
                "first axis"
            )
        self.steps = lengths.pop()
        if self.steps < 0:
            raise ValueArgumentError(f"{name}.iterate() got steps={steps}; give 0 or more")

    def at(self, step: int) -> tuple[Any, ...]:
        """The arguments of one step."""
        found: Any = self.definition.unflatten([x[step] if type(x) is np.ndarray else x for x in self.leaves])
        return tuple(found)


def iterate(program: Any, state: Any, inputs: Any, steps: int | None) -> Any:
    """See ``Program.iterate``."""
    name = program.__name__
    given = _Inputs(name, inputs, steps)
    definition = optree.tree_structure(state)
    extras: list[Any] = []
    paired = False
    layout = None  # of the last step's arguments
    for step in range(given.steps):
        natively = step and not modes.current() & modes.STRICT
        loop = _Loop.prepared(program, state, given, step, paired, definition) if natively else None
        if loop is not None and loop.layout == layout:
            with np.errstate(all="ignore"):
                state, rows = loop.run()
            return (state, _joined(extras, rows)) if paired else state
        layout = None if loop is None else loop.layout
        state, paired, extra = _split(name, program(state, *given.at(step)), definition)
        extras.append(extra)
    return (state, _joined(extras, [])) if paired else state


def _split(name: str, result: Any, definition: Any) -> tuple[Any, bool, Any]:
    """A step's result: the new state, whether there are extras, and they."""
    if optree.tree_structure(result) == definition:
        return result, False, None
    if type(result) is tuple and len(result) == 2 and optree.tree_structure(result[0]) == definition:
        return result[0], True, result[1]
    raise ShapeError(
        f"{name}.iterate() got {arguments.shown(result)} from a step; expected a new state in the structure of the "
        f"old one, {definition}, or a pair of it and extras"
    )


def _joined(extras: Sequence[Any], rest: Sequence[Any]) -> Any:
    """The extras of single steps and those of the steps after them, with the steps along the first axis."""
    first = optree.tree_map(lambda *rows: np.stack(rows), *extras)
    return optree.tree_map(lambda a, b: np.concatenate([a, b]), first, rest[0]) if rest else first


class _Loop:
    """The steps from one on, prepared: where each number of a step's arguments comes from, and goes to.

    Args:
        program: the program.
        paths: those for the structure of its arguments.
        call: the arguments of the first of these steps.
        inputs: those of all steps.
        begin: the first step.
        paired: whether a step gives extras.
        definition: the state's structure.
    """

    def __init__(
        self, program: Any, paths: Any, call: Any, inputs: _Inputs, begin: int, paired: bool, definition: Any
    ) -> None:
        self.program = program
        self.paths = paths
        self.call = call
        self.inputs = inputs
        self.begin = begin
        self.paired = paired
        self.definition = definition
        self.layout = (call.uniform, call.shape)
        self.dtype = np.dtype(paths.options.dtype)
        self.sizes = call.sizes()
        self.uniform = np.repeat(np.frombuffer(call.uniform, dtype=bool), self.sizes)  # for each input
        self.leaves = len(call.leaves) - len(inputs.leaves)  # those of the state
        self.size = sum(self.sizes[: self.leaves])  # and its numbers
        self._follow(paths.latest or paths.first(call))
        same = self.lowered.same
        self.same = same.copy()
        if not self.path.sums_over_lanes and call.shape is not None:
            self.same[:] = False  # an array for each output: what is the same for all lanes fills it
        steps, size = inputs.steps - begin, self.size
        self.own = np.empty((steps, int(same[size:].sum())), dtype=self.dtype)
        self.extras: list[Any] = []
        self.filled: list[tuple[int, int]] = []  # extras that are the same for all lanes, but arrays
        self.lane_extras = np.flatnonzero(~same[size:]).tolist()
        for i, column in enumerate(np.cumsum(same[size:]) - 1):
            is_number = self.same[size + i]
            self.extras.append(self.own[:, column] if is_number else np.empty((steps, call.lanes), dtype=self.dtype))
            if same[size + i] and not is_number:
                self.filled.append((i, int(column)))

    @classmethod
    def prepared(
        cls, program: Any, state: Any, inputs: _Inputs, begin: int, paired: bool, definition: Any
    ) -> _Loop | None:
        """A loop; None where the steps must be ordinary calls."""
        found = program.taken_apart((state, *inputs.at(begin)))
        if found is None:
            return None
        paths, call = found
        if paths.structure is None or len(call.leaves) != definition.num_leaves + len(inputs.leaves):
            return None  # not recorded yet, or with static arguments among the others
        loop = cls(program, paths, call, inputs, begin, paired, definition)
        own = call.leaves[: loop.leaves]
        if any(type(x) is np.ndarray and (x.shape != call.shape or same) for x, same in zip(own, call.uniform)):
            return None  # not settled
        if call.shape is not None and np.any(loop.uniform[: loop.size] != loop.same[: loop.size]):
            return None
        return loop

    def run(self) -> tuple[Any, list[Any]]:
        """The last state, and the extras of all these steps."""
        numbers = self._steps()
        shape = self.call.shape
        state = [float(x) if np.ndim(x) == 0 else np.asarray(x).reshape(shape) for x in numbers]
        structure = self.paths.structure
        leaves = []
        for start, own in structure.places():
            if start < self.size:
                block = state[start : start + prod(own or ())]
                leaves.append(block[0] if own is None else self._joined(block, own))
            else:
                rows = self.extras[start - self.size : start - self.size + prod(own or ())]
                parts = [x if x.ndim == 1 else x.reshape(len(x), *(shape or ())) for x in rows]
                leaves.append(parts[0] if own is None else self._joined(parts, own))
        result = structure.build_leaves(leaves)
        return (result[0], [result[1]]) if self.paired else (result, [])

    def _joined(self, parts: list[Any], shape: tuple[int, ...]) -> Any:
        if not parts:
            return np.empty(shape, dtype=self.dtype)
        stacked = np.stack(parts, axis=-1).astype(self.dtype, copy=False)
        return stacked.reshape((*stacked.shape[:-1], *shape))

    # -------------------------------------------------------------------------------------------- the steps
    def _steps(self) -> list[Any]:
        """All steps; the last state's numbers and arrays."""
        call, steps, size = self.call, self.inputs.steps, self.size
        arrays = call.lane_inputs(self.dtype)
        count = int(np.count_nonzero(~self.uniform[:size]))  # of arrays in the state
        state = np.array(arrays[:count], dtype=self.dtype).reshape(count, call.lanes)  # a copy, to be overwritten
        uniform = self._with_captured(call.uniform_inputs(self.dtype))
        step, chunk = self.begin, FIRST_CHUNK
        while step < steps:
            end, began = min(step + chunk, steps), perf_counter()
            done = self._run(step, end, uniform, state, arrays[count:])
            self._check_integers(step, step + done)
            step += done
            if step < end:  # some lane leaves the path
                found = self._ordinary(self._gathered(uniform, state), step)
                for target, x in zip(state, [x for x, same in zip(found, self.uniform[:size]) if not same]):
                    target[...] = x
                uniform[: size - count] = [x for x, same in zip(found, self.uniform[:size]) if same]
                for array, x in zip(self.extras, found[size:]):
                    array[step - self.begin] = x
                step += 1
                latest = self.paths.latest
                if call.shape is None and latest is not None and latest is not self.path:
                    self._follow(latest)  # go on where this step went
                    uniform = self._with_captured(uniform)
            elif perf_counter() - began < QUICK / 4:
                chunk *= 4
            elif perf_counter() - began > 4 * QUICK:
                chunk = max(chunk // 4, 1)
        return self._gathered(uniform, state)

    def _follow(self, path: Any) -> None:
        """Take the code of a path."""
        self.path = path
        self.lowered = self.paths.lower(path, self.call, waits=False)

    def _with_captured(self, uniform: Any) -> Any:
        """All that is the same for all lanes: the arguments' inputs, and what the path's function closes over."""
        captured = np.array([value.data for value in self.path.captured], dtype=self.dtype)
        return np.concatenate([uniform[: int(np.count_nonzero(self.uniform))], captured])

    def _run(self, step: int, end: int, uniform: Any, state: Any, lanes: list[Any]) -> int:
        """Steps in compiled code; how many were done before one that leaves the path."""
        n, at = self.call.lanes, slice(step - self.begin, end - self.begin)
        rows, columns = self._entering(step, end)
        given = [columns.get(i, array) for i, array in enumerate(lanes)]
        written = [self.extras[i][at] for i in self.lane_extras]
        threads = self.paths.options.threads
        own = self.own[at]
        done: int = self.lowered.code.iterate(
            n, end - step, self.size, uniform, state, given, rows, own, written, threads
        )
        for i, column in self.filled:
            self.extras[i][at] = own[:, column, None]
        return done

    def _entering(self, step: int, end: int) -> tuple[list[tuple[int, Any]], dict[int, Any]]:
        """What changes from step to step: rows of uniform inputs, and by their positions inputs of the lanes."""
        call, rows, columns = self.call, [], {}
        number, column = int(np.count_nonzero(self.uniform[: self.size])), 0
        for leaf, x in enumerate(self.inputs.leaves, self.leaves):
            same, size = call.uniform[leaf], self.sizes[leaf]
            if type(x) is np.ndarray:
                part = x[step:end]
                if same:
                    rows.append((number, np.require(part.reshape(len(part), size), self.dtype, ("C", "A"))))
                else:
                    shape = (len(part), *call.shape)
                    full = part if part.shape == shape else np.broadcast_to(self._padded(part), shape)
                    columns[column] = np.require(full.reshape(len(part), -1), self.dtype, ("C", "A"))
            number, column = number + same * size, column + 1 - same
        return rows, columns

    def _padded(self, x: Any) -> Any:
        """Entries of steps that broadcast against the lanes: axes of length 1 between the steps' and their own."""
        return x.reshape(len(x), *(1,) * (len(self.call.shape) + 1 - x.ndim), *x.shape[1:])

    def _check_integers(self, step: int, end: int) -> None:
        """Indices of these steps must point into their lists."""
        for leaf, entries in self.path.indices(self.call):
            x = self.inputs.leaves[leaf - self.leaves] if leaf >= self.leaves else None
            if type(x) is np.ndarray and end > step:
                for index in (x[step:end].min().item(), x[step:end].max().item()):
                    if not -entries <= index < entries:
                        arguments.position(index, entries, f"{self.paths.name}(), {self.call.where[leaf]}")

    def _gathered(self, uniform: Any, arrays: Any) -> list[Any]:
        """The state's numbers and arrays in order."""
        numbers, several = iter(uniform.tolist()), iter(arrays)
        return [next(numbers) if same else next(several) for same in self.uniform[: self.size].tolist()]

    def _ordinary(self, state: Sequence[Any], step: int) -> list[Any]:
        """One step as an ordinary call: its numbers and arrays in order."""
        shape = self.call.shape
        inputs = [x if np.ndim(x) == 0 else x.reshape(shape) for x in state]
        rest = [0.0] * (len(self.uniform) - self.size)
        args, _ = self.call.build([*inputs, *rest])
        result = self.program(args[0], *self.inputs.at(step))
        found: list[Any] = []
        for (_, own), leaf in zip(self.paths.structure.places(), optree.tree_leaves(result)):
            if own is None:
                found.append(leaf if np.ndim(leaf) == 0 else np.asarray(leaf).reshape(-1))
            else:
                array = np.asarray(leaf).reshape(-1, prod(own))
                found += [column[0] if shape is None else column for column in array.T]
        return found
