"""What every number in Python can do, for the readable engine's Value: compare, print, be copied.

None of it is about gradients; ``value.py`` is.
"""

from __future__ import annotations

from typing import Any

from valuegrad import arguments, lines, modes
from valuegrad.errors import ForgetError


class Protocol:
    """The base class of the readable Value."""

    __slots__ = ()

    _children: tuple[Any, ...]
    _data: float
    _line: int
    _local_grads: tuple[float, ...]
    _name: str | None
    _op: str | None
    _static: float | None

    @property
    def children(self) -> tuple[Any, ...]:
        """The Values this one was computed from."""
        return self._children

    @property
    def local_grads(self) -> tuple[float, ...]:
        """∂self/∂child, one for each child."""
        arguments.refuse_while_recording("v.local_grads", self)
        return self._local_grads

    @property
    def op(self) -> str | None:
        """The operation: a row of the primitives table, "constant", "custom", or None for a leaf."""
        return self._op

    @property
    def static(self) -> float | None:
        """The operation's argument that no gradient flows to, such as the exponent of ``pow``."""
        return self._static

    @property
    def line(self) -> str | None:
        """The source line that made it, ``file.py:12, in f``, if ``vg.remember_lines()`` was on; else None."""
        return lines.text(self._line)

    def __pos__(self) -> Any:
        return self

    def __bool__(self) -> bool:
        recorder = modes.recorder()
        return self._data != 0.0 if recorder is None else recorder.truth(self)

    def __eq__(self, other: object) -> Any:
        return arguments.compare("eq", self, other, type(self))

    def __ne__(self, other: object) -> Any:
        return arguments.compare("ne", self, other, type(self))

    def __lt__(self, other: Any) -> Any:
        return arguments.compare("lt", self, other, type(self))

    def __le__(self, other: Any) -> Any:
        return arguments.compare("le", self, other, type(self))

    def __gt__(self, other: Any) -> Any:
        return arguments.compare("gt", self, other, type(self))

    def __ge__(self, other: Any) -> Any:
        return arguments.compare("ge", self, other, type(self))

    __hash__ = object.__hash__  # by identity, so that Values can be members of sets and keys of dicts

    def __repr__(self) -> str:
        return arguments.representation(self)

    def __format__(self, spec: str) -> str:
        return format(self._data, spec) if spec else repr(self)

    def __float__(self) -> float:
        raise ForgetError(arguments.forgetting("float(v) or math's functions", self))

    def __int__(self) -> int:
        raise ForgetError(arguments.forgetting("int(v)", self))

    def __complex__(self) -> complex:
        raise ForgetError(arguments.forgetting("complex(v)", self))

    def __reduce__(self) -> tuple[Any, ...]:
        return arguments.reduce(self, type(self))
