"""The engine that runs: the native one where it was built, else the readable one.

Both offer the same names (``Value`` and one function for each row of the primitives table) and the same
numbers to the last bit.  The environment variable ``VALUEGRAD_ENGINE`` (``native`` or ``readable``)
chooses; ``valuegrad.engine`` tells which one runs, and ``valuegrad.engine_reason`` why.

Where to start reading: ``_choose``; then ``reference/value.py``, the readable engine.
"""

from __future__ import annotations

import os
import warnings
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from valuegrad.errors import EngineWarning, ValueArgumentError
from valuegrad.primitives import TABLE

NO_BUILD = "no native build was found"
REBUILD = "install valuegrad again with a C compiler to have the native engine (pip install --no-cache-dir .)"


def _native() -> tuple[ModuleType | None, str]:
    """The native engine, or None and why."""
    try:
        native = import_module("valuegrad._native")
    except ModuleNotFoundError:
        return None, f"{NO_BUILD}; {REBUILD}"
    except ImportError as error:
        return None, f"the native build cannot be loaded ({error}); {REBUILD}"
    from valuegrad.primitives.digest import digest

    if digest() not in ("", native.DIGEST):
        return None, f"the native build is out of date: its sources have changed since; {REBUILD}"
    return native, "the native build is there and up to date"


def _choose() -> tuple[Any, str, str]:
    wanted = os.environ.get("VALUEGRAD_ENGINE", "")
    if wanted not in ("", "native", "readable"):
        raise ValueArgumentError(f"VALUEGRAD_ENGINE is {wanted!r}; expected 'native' or 'readable', or leave it unset")
    if wanted != "readable":
        native, reason = _native()
        if native is not None:
            return native, "native", reason
        if wanted == "native" or not reason.startswith(NO_BUILD):
            warnings.warn(f"the readable engine runs instead of the native one: {reason}", EngineWarning)
    else:
        reason = "VALUEGRAD_ENGINE=readable asks for it"
    from valuegrad import reference

    return reference, "readable", reason


_engine, engine, engine_reason = _choose()

NAMES = [row.name for row in TABLE.values() if row.function] + ["pow", "where", "take", "detach"]
"""The functions that the engine offers, each also a name of the package."""

if TYPE_CHECKING:  # both engines offer what this stub says; it is generated from the table
    from valuegrad._native import *  # noqa: F403
else:
    globals().update({name: getattr(_engine, name) for name in NAMES})
    Value = _engine.Value
    graph = _engine.graph
    sweep = _engine.sweep
    identity = _engine.identity
    recorded = _engine.recorded
    export = _engine.export
    read_data = _engine.read_data
    read_grads = _engine.read_grads
    write_data = _engine.write_data
    zero_grads = _engine.zero_grads
