"""``Program.iterate``: a program applied to its own result, step after step.

Why: simulations and training loops are one step, many times.  Taking the arguments apart at every step would cost
more than a short step itself.

How: the first steps are ordinary calls, until the state has settled (a number that is broadcast against lanes
becomes an array).  Then two sets of buffers take turns: what one step writes the next one reads, and the inputs and
extras of a step are rows of arrays.  A step in which a lane leaves the path is an ordinary call again.

Where to start reading: ``iterate``, then ``_Loop._batch``.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import repeat
from math import prod
from typing import Any

import numpy as np
import optree

from valuegrad import arguments, modes
from valuegrad.errors import ShapeError, ValueArgumentError

__all__ = ["iterate"]

QUICK = 256  # numbers: more of them go through arrays


class _Inputs:
    """The further arguments of all steps: arrays with the steps along their first axis, and numbers."""

    def __init__(self, name: str, inputs: Any, steps: int | None) -> None:
        tree: Any = inputs if type(inputs) is tuple else (inputs,)
        found, self.definition = optree.tree_flatten(tree)
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
        self.path = paths.latest or paths.first(call)
        self.lowered = paths.lower(self.path, call)
        self.leaves = len(call.leaves) - len(inputs.leaves)  # those of the state
        self.size = sum(call.sizes()[: self.leaves])  # and its numbers
        outputs = len(self.lowered.same) - self.size
        shape = call.shape or ()
        self.same = self.lowered.same.copy()
        if not self.path.sums_over_lanes and call.shape is not None:
            self.same[:] = False  # an array for each output: what is the same for all lanes fills it
        self.extras = [
            np.empty((inputs.steps - begin, *(() if same else (prod(shape),))), dtype=self.dtype)
            for same in self.same[self.size : self.size + outputs]
        ]

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
        uniform = np.repeat(np.frombuffer(call.uniform, dtype=bool), call.sizes())[: loop.size]
        if call.shape is not None and np.any(uniform != loop.same[: loop.size]):
            return None
        return loop

    def run(self) -> tuple[Any, list[Any]]:
        """The last state, and the extras of all these steps."""
        few = len(self.lowered.same) + len(self.call.leaves) <= QUICK
        numbers = self._numbers() if self.call.shape is None and few else self._batch()
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
    def _numbers(self) -> list[Any]:
        """All steps on plain numbers; the last state's."""
        size, begin, steps = self.size, self.begin, self.inputs.steps
        captured = [repeat(value.data) for value in self.path.captured]
        given = [
            map(float, x[begin:].tolist()) if type(x) is np.ndarray else repeat(float(x)) for x in self.inputs.leaves
        ]
        rows = zip(range(begin, steps), *given, *captured)
        call = self.lowered.code.call
        state = tuple(map(float, self.call.lane(0)[:size]))
        for row in rows:
            found = call(state + row[1:])
            if found is None:
                found = tuple(self._ordinary(state, row[0]))
            state = found
            if self.extras:
                state = found[:size]
                for array, x in zip(self.extras, found[size:]):
                    array[row[0] - begin] = x
        return list(state)

    def _batch(self) -> list[Any]:
        """All steps on arrays; the last state's."""
        call, lowered, size, begin = self.call, self.lowered, self.size, self.begin
        captured = np.array([value.data for value in self.path.captured], dtype=self.dtype)
        uniform = np.concatenate([call.uniform_inputs(self.dtype), captured])
        lanes = call.lane_inputs(self.dtype)
        same_in = np.repeat(np.frombuffer(call.uniform, dtype=bool), call.sizes())
        numbers_in = int(same_in[:size].sum())  # of the state: the first of the uniform inputs
        arrays_in = size - numbers_in
        entering = self._entering(numbers_in, arrays_in)
        own = np.empty(int(lowered.same.sum()), dtype=self.dtype)
        own_of = np.cumsum(lowered.same) - 1  # where an output stands in own
        array_of = np.cumsum(~self.same) - 1  # which of the state's arrays an output is
        state_own = own_of[:size][self.same[:size]]
        same = lowered.same.tolist()
        filled = np.flatnonzero(lowered.same & ~self.same).tolist()  # the same for all lanes, in an array
        numbers = [i for i in range(size, len(same)) if self.same[i]]  # extras that are numbers
        rows = [i - size for i in range(size, len(same)) if not same[i]]  # extras that the code writes itself
        buffers = [np.array(x) for x in lanes[:arrays_in]], [np.empty_like(x) for x in lanes[:arrays_in]]
        written = [[arrays[array_of[i]] for i in range(size) if not same[i]] for arrays in buffers]
        for step in range(begin, self.inputs.steps):
            at = step - begin
            now, following = buffers[at % 2], buffers[1 - at % 2]
            lanes[:arrays_in] = now
            for which, array, x in entering:
                if array is None:
                    uniform[which] = x[step]
                else:
                    lanes[which] = array(x[step])
            outputs = written[1 - at % 2] + [self.extras[i][at] for i in rows]
            failed = lowered.run_into(call.lanes, uniform, lanes, own, outputs, self.paths.options.threads)
            if failed is not None:
                found = self._ordinary(self._gathered(uniform, now), step)
                for target, x in zip(following, [x for x, same in zip(found, self.same[:size]) if not same]):
                    target[...] = x
                uniform[:numbers_in] = [x for x, same in zip(found, self.same[:size]) if same]
                for array, x in zip(self.extras, found[size:]):
                    array[at] = x
                continue
            if numbers_in:
                uniform[:numbers_in] = own[state_own]
            for i in filled:
                target = following[array_of[i]] if i < size else self.extras[i - size][at]
                target[...] = own[own_of[i]]
            for i in numbers:
                self.extras[i - size][at] = own[own_of[i]]
        return self._gathered(uniform, buffers[(self.inputs.steps - begin) % 2])

    def _entering(self, number: int, array: int) -> list[tuple[int, Any, Any]]:
        """What changes from step to step: where it goes, how a step's entry becomes lanes, and the entries.

        Args:
            number: where the inputs' numbers begin among all that is uniform.
            array: where their arrays begin.
        """
        call = self.call

        def full(x: Any) -> Any:
            own = x if x.shape == call.shape else np.broadcast_to(x, call.shape)
            return np.ascontiguousarray(own.reshape(-1), dtype=self.dtype)

        found: list[tuple[int, Any, Any]] = []
        for x, same in zip(self.inputs.leaves, call.uniform[self.leaves :]):
            if type(x) is np.ndarray:
                found.append((number, None, x.reshape(len(x))) if same else (array, full, x))
            number, array = number + same, array + 1 - same
        return found

    def _gathered(self, uniform: Any, arrays: Sequence[Any]) -> list[Any]:
        """The state's numbers and arrays in order."""
        numbers, several = iter(uniform.tolist()), iter(arrays)
        same_in = np.repeat(np.frombuffer(self.call.uniform, dtype=bool), self.call.sizes())[: self.size]
        return [next(numbers) if same else next(several) for same in same_in.tolist()]

    def _ordinary(self, state: Sequence[Any], step: int) -> list[Any]:
        """One step as an ordinary call: its numbers and arrays in order."""
        shape = self.call.shape
        inputs = [x if np.ndim(x) == 0 else x.reshape(shape) for x in state]
        rest = [0.0] * (sum(self.call.sizes()) - self.size)
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
