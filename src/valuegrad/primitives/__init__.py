"""The primitives: every elementary operation declared once, and what is derived from the declarations.

Start with ``table.py`` (THE table); ``row.py`` says what a row holds, ``algebra.py`` what its rules are
evaluated over, ``floats.py`` what the elementary functions give at every edge, ``render.py`` how rows
become C, type stubs and the documentation page.
"""

from __future__ import annotations

from valuegrad.primitives.algebra import Algebra, Floats, ListAlgebra
from valuegrad.primitives.row import Row
from valuegrad.primitives.table import TABLE

__all__ = ["FLOATS", "TABLE", "Algebra", "Floats", "ListAlgebra", "Row"]

FLOATS = Floats(TABLE)
