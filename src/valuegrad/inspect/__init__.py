"""Numbers that explain themselves: nudge tables, why, poison, the steps of the backward pass, gradient checks.

Everything here is imported when first used, as some of it needs NumPy or a terminal.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_LAZY = {
    "Diagram": "valuegrad.pictures.diagram",
    "Expression": "valuegrad.inspect.expression",
    "NudgeErrors": "valuegrad.inspect.shrinking",
    "NudgeTable": "valuegrad.inspect.nudge",
    "Poison": "valuegrad.inspect.origin",
    "Step": "valuegrad.inspect.stepping",
    "Steps": "valuegrad.inspect.stepping",
    "Why": "valuegrad.inspect.influence",
    "check_gradients": "valuegrad.inspect.check",
    "diagram": "valuegrad.inspect.diagrams",
    "nudge_errors": "valuegrad.inspect.shrinking",
    "nudge_effects": "valuegrad.inspect.nudge",
    "nudge_table": "valuegrad.inspect.nudge",
    "nudge_tables": "valuegrad.inspect.nudge",
    "poison": "valuegrad.inspect.origin",
    "remember_lines": "valuegrad.modes",
    "steps": "valuegrad.inspect.stepping",
    "why": "valuegrad.inspect.influence",
}

__all__ = [*_LAZY]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'valuegrad.inspect' has no attribute {name!r}")
    return getattr(import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_LAZY])
