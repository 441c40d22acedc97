"""``Program.iterate``: a program applied to its own result, step after step.

Why: simulations and training loops are one step, many times.  Taking the arguments apart at every step would cost
more than a short step itself.

How: the first steps are ordinary calls, until the state has settled (a number that is broadcast against lanes
becomes an array).  Then two sets of buffers take turns: what one step writes the next one reads, and the inputs and
extras of a step are rows of arrays.  A step in which a lane leaves the path is an ordinary call again.

Where to start reading: ``iterate``, then ``_Loop.run``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import optree

from valuegrad import arguments
from valuegrad.errors import ShapeError, ValueArgumentError

__all__ = ["iterate"]

SETTLES_AFTER = 3  # steps: a number becomes an array, and an array takes the shape of the batch


class _Inputs:
    """The further arguments of all steps: arrays with the steps along their first axis, and numbers."""

    def __init__(self, name: str, inputs: Any, steps: int | None) -> None:
        self.leaves, self.definition = optree.tree_flatten(inputs if type(inputs) is tuple else (inputs,))
        self.leaves = [np.asarray(x) if hasattr(x, "__array__") and np.ndim(x) else x for x in self.leaves]
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
        return self.definition.unflatten(  # type: ignore[no-any-return]
            [x[step] if type(x) is np.ndarray else x for x in self.leaves]
        )


def iterate(program: Any, state: Any, inputs: Any, steps: int | None) -> Any:
    """See ``Program.iterate``."""
    name = program.__name__
    given = _Inputs(name, inputs, steps)
    definition = optree.tree_structure(state)
    extras: list[Any] = []
    paired = False
    step = 0
    layout = None
    while step < given.steps:
        if step:
            loop = _Loop.prepared(program, state, given, step, paired, definition)
            settled = loop is not None and loop.layout == layout
            if loop is not None and settled:
                state, rows = loop.run()
                return (state, _stacked([*extras, *rows])) if paired else state
            layout = loop.layout if loop is not None else None
        result = program(state, *given.at(step))
        state, paired, extra = _split(name, result, definition)
        extras.append(extra)
        step += 1
    return (state, _stacked(extras)) if paired else state


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


def _stacked(extras: Sequence[Any]) -> Any:
    """The extras of all steps, with the steps along the first axis."""
    if not extras:
        return None
    return optree.tree_map(lambda *rows: np.stack(rows), *extras)
