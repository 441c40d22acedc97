"""The readable engine: the executable specification of what a Value does.

Every result, every gradient and every error of the native engine is this one's, to the last bit; it is
slower, and meant to be read: ``value.py`` first (the class and the backward pass), then ``operations.py``
(how the primitives table becomes functions and methods), and ``protocol.py`` when curious.  What a recording
needs of an engine is in ``export.py``.
"""

from __future__ import annotations

from valuegrad.reference import operations
from valuegrad.reference.export import export, recorded
from valuegrad.reference.value import Value, graph, sweep

__all__ = ["Value", "export", "graph", "recorded", "sweep"]

globals().update(operations.offered())
