"""Memory of results that nobody holds any more.

Why: an array of some megabytes comes from the system page by page, cleared, each time, which takes as long as to
compute it.  A gradient that is computed again and again, and dropped in between, can have the same memory again.

Where to start reading: ``Recycled.array``.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

__all__ = ["Recycled"]

LEAST_BYTES = 1 << 19
MOST_BYTES = 1 << 28
"""Of all arrays that are kept: memory that nobody else can have as long as the program is there."""


def _references_of_none_but_us() -> int:
    """What ``sys.getrefcount`` says of an array that nobody else has, asked as ``array`` asks; -1: that is not told.

    It is 2 up to Python 3.13, and less where the interpreter lends a name's reference.
    """
    if not hasattr(sys, "getrefcount") or not getattr(sys, "_is_gil_enabled", lambda: True)():
        return -1
    kept = [np.empty(1)]
    found = kept.pop(0)
    return sys.getrefcount(found)


ONLY_HERE = _references_of_none_but_us()


class Recycled:
    """Arrays of one length that were given away, to be had again once nobody else has them or a view of them.

    Args:
        at_once: how many make up a result. Twice as many are kept: while a result is computed, the one before is
            still held.

    Example:
        >>> room = Recycled()
        >>> a = room.array(100_000, np.dtype("float64"))
        >>> view = a[10:]
        >>> before = a.ctypes.data
        >>> del a
        >>> room.array(100_000, np.dtype("float64")).ctypes.data == before
        False
        >>> del view
        >>> before in [room.array(100_000, np.dtype("float64")).ctypes.data for _ in range(2)]
        True
    """

    def __init__(self, at_once: int = 1) -> None:
        self._most = 2 * at_once
        self._kept: list[Any] = []

    def array(self, count: int, dtype: np.dtype[Any]) -> Any:
        """An array of numbers that mean nothing."""
        size = count * dtype.itemsize
        if ONLY_HERE < 0 or size < LEAST_BYTES:
            return np.empty(count, dtype=dtype)
        for _ in range(len(self._kept)):
            try:
                found = self._kept.pop(0)  # no other thread can take it now
            except IndexError:  # another one has
                break
            is_free = sys.getrefcount(found) == ONLY_HERE
            if found.shape != (count,) or found.dtype != dtype or not found.flags.writeable:
                continue  # somebody has changed it
            self._kept.append(found)
            if is_free:
                return found
        found = np.empty(count, dtype=dtype)
        most = min(self._most, MOST_BYTES // size)
        if most:
            self._kept[: max(0, len(self._kept) + 1 - most)] = []
            self._kept.append(found)
        return found
