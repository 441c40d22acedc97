"""The file of a program: safe to open from a stranger, and readable by every later version.

Why: a program that was recorded here is to run in another process, on another machine, in another year.  Nothing
is pickled: a file holds numbers and texts, and whatever is wrong with them is a ``ProgramFileError``.

Data structures: the container is that of safetensors (a header of JSON, then arrays).  Its metadata has one text,
``valuegrad program``: a digest of all that follows, so that damage is noticed, a space, and a JSON object that
describes everything but the arrays.  Path number p (over all specialisations) has the arrays
``p.ops``, ``p.starts``, ``p.operands``, ``p.numbers`` and ``p.outputs`` of its graph, and ``p.guard_nodes``,
``p.guard_expected`` and ``p.guard_lines`` (which one of ``lines``).  Operations are stored by name: the numbers in
``p.ops`` are positions in the list ``operations``, so the primitives table may change.

A digest does not make a file trustworthy (whoever writes a file can write its digest), so ``parse`` believes
nothing: it checks types, sizes, the graphs, and that the paths make a tree, and what it allocates is in proportion
to the file.

Where to start reading: ``writing.dump`` and ``reading.parse``.
"""

from __future__ import annotations

from valuegrad.files.reading import parse, read
from valuegrad.files.writing import dump, write

__all__ = ["dump", "parse", "read", "write"]
