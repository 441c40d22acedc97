"""Every exception and warning that valuegrad raises.

Each class is ours *and* a subclass of the built-in one that fits, so ``except TypeError`` written
for plain numbers keeps working.  A message tells who, what was wrong, the actual value, what was
expected, and what to do.
"""

from __future__ import annotations

__all__ = [
    "CheckpointError",
    "ComputedValueError",
    "DatasetError",
    "DerivativeError",
    "EngineWarning",
    "ExpressionError",
    "ForgetError",
    "GradientCheckError",
    "GraphError",
    "IndexRangeError",
    "PathsError",
    "PathsWarning",
    "PlaygroundError",
    "ProgramFileError",
    "ShapeError",
    "StrictError",
    "TrainingError",
    "ValueArgumentError",
    "ValueTypeError",
    "ValuegradError",
]


class ValuegradError(Exception):
    """The common base: ``except valuegrad.ValuegradError`` catches every error of ours."""


class ValueTypeError(ValuegradError, TypeError):
    """Something is of a type that cannot take part in a calculation (text, a complex number ...)."""


class ValueArgumentError(ValuegradError, ValueError):
    """An argument has the right type and an impossible value."""


class ShapeError(ValuegradError, ValueError):
    """Lengths or structures that must agree do not."""


class IndexRangeError(ValuegradError, IndexError):
    """An index points outside its list."""


class ComputedValueError(ValuegradError, AttributeError):
    """An attempt to overwrite what a Value computed or remembers."""


class ForgetError(ValuegradError, TypeError):
    """A Value was about to become a plain number without anybody saying so: ``float(v)``, ``math.sin(v)``."""


class DerivativeError(ValuegradError, NotImplementedError):
    """A derivative was asked for that nobody defined, such as the second one of a custom operation."""


class StrictError(ValuegradError, FloatingPointError):
    """Inside ``vg.strict()``: an operation turned finite inputs into nan or inf."""


class GradientCheckError(ValuegradError, AssertionError):
    """A gradient differs from what central differences say."""


class ExpressionError(ValuegradError, ValueError):
    """A written expression such as ``log(a*b) + c`` cannot be understood."""


class DatasetError(ValuegradError, ValueError):
    """A data set is missing, empty, or not text."""


class CheckpointError(ValuegradError, ValueError):
    """A checkpoint is missing, damaged, of another shape, or from a newer version."""


class TrainingError(ValuegradError, ArithmeticError):
    """Training went bad: the loss is no finite number any more."""


class GraphError(ValuegradError, ValueError):
    """The arrays of a graph contradict each other."""


class PathsError(ValuegradError, RuntimeError):
    """A compiled function took more paths through its branches than it may."""


class PathsWarning(UserWarning):
    """A compiled function takes so many paths that the remaining inputs run uncompiled: right, but slower."""


class ProgramFileError(ValuegradError, ValueError):
    """A program's file is missing, damaged, or from a newer version."""


class PlaygroundError(ValuegradError, RuntimeError):
    """The playground cannot be served: something is not installed, or a port is taken."""


class EngineWarning(UserWarning):
    """The native engine is there but cannot be used; the readable one runs instead."""
