"""valuegrad: a number that remembers.

Write ordinary Python arithmetic; every number is a ``Value`` that keeps its data, its grad, its children
and its local gradients.

    >>> import valuegrad as vg
    >>> a, b = vg.Value(3.0), vg.Value(5.0)
    >>> y = vg.log(a * b) + a**2
    >>> y.backward()
    >>> round(a.grad, 6), b.grad
    (6.333333, 0.2)

Submodules that need NumPy or a terminal are imported when first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from valuegrad import value as _value
from valuegrad.errors import *  # noqa: F403
from valuegrad.errors import __all__ as _errors
from valuegrad.modes import no_grad, remember_lines, strict
from valuegrad.value import *  # noqa: F403
from valuegrad.value import Value, engine, engine_reason

__version__ = "0.1.0"

globals().update({name: getattr(_value, name) for name in _value.NAMES})

_LAZY = {
    "Program": "valuegrad.program",
    "batch_mean": "valuegrad.batch",
    "batch_sum": "valuegrad.batch",
    "check_gradients": "valuegrad.inspect.check",
    "compile": "valuegrad.compiling",
    "load": "valuegrad.program",
    "grad": "valuegrad.functional",
    "hessian": "valuegrad.functional",
    "hvp": "valuegrad.functional",
    "jacobian": "valuegrad.functional",
    "jvp": "valuegrad.functional",
    "value_and_grad": "valuegrad.functional",
    "vjp": "valuegrad.functional",
    "gpt": "valuegrad.gpt",
    "inspect": "valuegrad.inspect",
    "math": "valuegrad.math",
    "nn": "valuegrad.nn",
    "optim": "valuegrad.optim",
    "poison": "valuegrad.inspect.origin",
    "primitive": "valuegrad.custom",
    "sparse_hessian": "valuegrad.sparse",
    "sparse_jacobian": "valuegrad.sparse",
    "why": "valuegrad.inspect.influence",
}

_SHADOWS_BUILTINS = {"abs", "compile", "pow", "sum"}
__all__ = [
    "Value",
    "engine",
    "engine_reason",
    "no_grad",
    "remember_lines",
    "strict",
    *_errors,
    *[name for name in _value.NAMES if name not in _SHADOWS_BUILTINS],
    *[name for name in _LAZY if name not in _SHADOWS_BUILTINS],
]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'valuegrad' has no attribute {name!r}")
    module = import_module(_LAZY[name])
    return module if _LAZY[name] == f"valuegrad.{name}" else getattr(module, name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_LAZY])
