"""Both engines side by side, and one way to call any row of the table on either.

``ENGINES`` holds the engine modules that can run here (the readable one always, the native one where it
was built and is up to date), as parameters for pytest.  ``ONCE`` marks what compares engines or asks the
table itself: such tests give the same answer whichever engine is chosen, so one of the two runs is enough.
"""

from __future__ import annotations

import math
import os
import struct
from typing import Any

import pytest

import valuegrad as vg
from valuegrad import modes, reference
from valuegrad.lower.lowering import ENGINE, HAS_PASSES
from valuegrad.primitives import TABLE, Row
from valuegrad.value import _native

NATIVE, WHY_NOT = _native()
ENGINES = [
    pytest.param(reference, id="readable"),
    pytest.param(NATIVE, id="native", marks=pytest.mark.skipif(NATIVE is None, reason=WHY_NOT)),
]
needs_native = pytest.mark.skipif(NATIVE is None, reason=WHY_NOT)
needs_passes = pytest.mark.skipif(not HAS_PASSES, reason="the passes over graphs were not built")
needs_replay = pytest.mark.skipif(ENGINE != "native", reason="the module that runs graphs was not built")
ONCE = pytest.mark.skipif(
    NATIVE is not None and vg.engine == "readable", reason="done by the run on the native engine, for both"
)
ALL_ROLLED = os.environ.get("VALUEGRAD_ROLL") in (
    "on",
    "levels",
)  # a third run: LLVM compiles each path of each program
ROWS = [pytest.param(row, id=row.name) for row in TABLE.values()]


def call(engine: Any, row: Row, args: tuple[Any, ...]) -> Any:
    """Apply a row on an engine as a user would; the family's list for a family."""
    if row.name in ("pow", "power"):
        return engine.pow(*args)
    if row.name == "round":
        return round(args[0], int(args[1]))
    if row.name == "where":
        a, b, condition = args
        return engine.where(condition, a, b)
    if row.name == "take":
        x, i = args
        return engine.take([0.0] * int(i) + [x], int(i))
    if row.name == "identity":
        return engine.identity(args[0])
    if row.name == "detach":
        with modes.recording(None):  # only a recording has it as a row
            return engine.detach(args[0])
    if row.integer_static:
        args = (*args[:-1], int(args[-1]))
    function = getattr(engine, row.name)
    return function(*args[0]) if row.variadic else function(*args)


def on_values(engine: Any, row: Row, args: tuple[Any, ...]) -> list[Any]:
    """The results, as a list of Values, of a row whose every child is a Value."""
    scalar = len(row.children) if not row.vectors else 0
    wrapped: list[Any] = []
    for i, arg in enumerate(args):
        if isinstance(arg, (list, tuple)):
            wrapped.append([engine.Value(x) for x in arg])
        else:
            wrapped.append(engine.Value(arg) if i < scalar else arg)
    out = call(engine, row, tuple(wrapped))
    return list(out) if row.family else [out]


def bits(x: float) -> int | str:
    """A number's bits, the sign of zero included; every nan is the same."""
    return "nan" if math.isnan(x) else struct.unpack("<q", struct.pack("<d", x))[0]


def all_bits(xs: Any) -> tuple[int | str, ...]:
    return tuple(bits(x) for x in xs)
