"""``batch_sum`` and ``batch_mean``: inside a compiled function, over all lanes of the batch.

Why: a training step is one program: gradients for each example (a lane each), their sum, and the optimiser's
arithmetic on it, which is the same for all lanes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from valuegrad import arguments, modes
from valuegrad.errors import ValueArgumentError
from valuegrad.value import Value

__all__ = ["batch_mean", "batch_sum", "one_lane_of_many"]

_apart: ContextVar[bool] = ContextVar("valuegrad_lanes_apart", default=False)


def batch_sum(x: Any) -> Any:
    """The sum of a number over all lanes of the batch; outside a compiled function x itself, as there is one lane.

    It is one number for the whole batch, and so is what is computed from it alone; a lane's calculation cannot use it.

    Args:
        x: a number or Value.

    Returns:
        The sum, in a fixed order: it does not depend on threads.  A program's result that is one number for the whole
        batch is a float, not an array.

    Raises:
        ValueArgumentError: when the program is called: a lane's calculation uses the sum.
        PathsError: likewise: lanes take different paths, and something is computed from the sum.

    Example:
        >>> import numpy as np, valuegrad as vg
        >>> total = vg.compile(lambda x: vg.batch_sum(x * x))
        >>> total(np.array([1.0, 2.0, 3.0]))
        14.0
    """
    return _over_lanes("batch_sum()", x)


def batch_mean(x: Any) -> Any:
    """The mean of a number over all lanes of the batch; outside a compiled function x itself.  See ``batch_sum``.

    Args:
        x: a number or Value.

    Example:
        >>> import numpy as np, valuegrad as vg
        >>> mean = vg.compile(lambda x: vg.batch_mean(x * x))
        >>> mean(np.array([1.0, 3.0]))
        5.0
    """
    total = _over_lanes("batch_mean()", x)
    return total if modes.recorder() is None else total / _over_lanes("batch_mean()", 1.0)


def _over_lanes(who: str, x: Any) -> Any:
    recorder = modes.recorder()
    if recorder is None:
        if _apart.get():
            raise ValueArgumentError(
                f"{who} was met where lanes run one by one (inside vg.strict(), or because valuegrad's compiled "
                "modules were not built), and nobody knows their sum; call the program outside of strict(), or install "
                "valuegrad again with a C compiler"
            )
        return x if type(x) is Value else arguments.number(x, who)
    value = x if type(x) is Value else Value(arguments.number(x, who))
    return recorder.node("batch_sum", value._data, [value], [1.0])


@contextmanager
def one_lane_of_many() -> Iterator[None]:
    """Inside this block a function runs for one lane of a batch alone, so that nobody knows a sum over the batch."""
    token = _apart.set(True)
    try:
        yield
    finally:
        _apart.reset(token)
