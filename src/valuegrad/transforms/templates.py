"""From the table's rules to pieces of graph: what the compiled passes copy.

Why: a rule such as ``local_grads=lambda m, a, out: (1 - out * out,)`` is Python; a pass over a million nodes is
compiled code.  So a rule is evaluated once for each kind of node that occurs, over an algebra whose numbers are
nodes, and the nodes that it leaves behind, a *template*, are copied for each such node of the graph.

Data structures: a ``Template`` is a small graph whose references below 0 are the node's children (``-1 - k`` is
child k) and, after the last child, its own result.  ``Pool`` holds all templates in flat arrays, as C wants them,
and finds them by (operation, number of operands, static argument).  A long list is one ``Column``: what a rule does
for each of its entries is noted once, and NumPy writes the nodes, since a list may have a million entries.

Where to start reading: ``Terms``, the algebra; then ``Pool.find``.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from valuegrad.errors import GraphError
from valuegrad.primitives import FLOATS, TABLE, Row
from valuegrad.primitives.algebra import ELEMENTARY, ListAlgebra
from valuegrad.primitives.floats import inf
from valuegrad.primitives.opcodes import MACHINE, OPCODE, OPS

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["LOCAL_GRADS", "NOTHING", "QUICK_VALUES", "VALUES", "Pool", "Term", "Terms"]

NOTHING = -(2**31)
"""The reference of a local gradient that is nothing at all: that of the branch that ``where`` did not take."""

WIDE = 128
"""A family's local gradients ask for all its entries: n rows of n operands.  Of more entries than this, they are
computed from the family's rule instead, so that graphs grow linearly.  Longer lists than this are columns."""

COLUMN = 16
"""Longer lists than this are columns in machine operations: a softmax's entries have a template each."""


class Term:
    """A node of a template that knows ``+ - *``."""

    __slots__ = ("m", "reference")

    def __init__(self, m: Terms, reference: int) -> None:
        self.m = m
        self.reference = reference

    def __add__(self, other: Any) -> Term:
        return self.m.emit("add", self, other)

    def __radd__(self, other: Any) -> Term:
        return self.m.emit("add", other, self)

    def __sub__(self, other: Any) -> Term:
        return self.m.emit("sub", self, other)

    def __rsub__(self, other: Any) -> Term:
        return self.m.emit("sub", other, self)

    def __mul__(self, other: Any) -> Term:
        return self.m.emit("mul", self, other)

    def __rmul__(self, other: Any) -> Term:
        return self.m.emit("mul", other, self)

    def __neg__(self) -> Term:
        return self.m.emit("neg", self)

    def __bool__(self) -> bool:
        raise TypeError("a rule must choose with m.where, not with Python's if: it is evaluated over terms too")


class Column(Term, Sequence[Term]):
    """A list of nodes: for the rule that goes over its entries one term, for all else a sequence of terms."""

    __slots__ = ("references",)

    def __init__(self, m: Terms, references: NDArray[np.int32]) -> None:
        super().__init__(m, 0)
        self.references = references

    def __len__(self) -> int:
        return len(self.references)

    def __getitem__(self, i: Any) -> Any:
        return Term(self.m, int(self.references[i]))

    def __iter__(self) -> Iterator[Term]:
        return (Term(self.m, reference) for reference in self.references.tolist())


class Terms(ListAlgebra):
    """The algebra of nodes; ``ops``, ``starts``, ``operands`` and ``numbers`` are the template so far.

    Args:
        machine: expand every row into machine operations (for values); else rows stay rows, which have local
            gradients of their own (for local gradients, which are differentiated again).
        strict: to the last bit what the engines compute; else powers are made of products and roots, within 4 ulp.
    """

    def __init__(self, machine: bool, strict: bool = True) -> None:
        super().__init__(TABLE)
        self.machine = machine
        self.strict = strict
        self.ops = array("H")
        self.starts = array("i", [0])
        self.operands = array("i")
        self.numbers = array("d")
        self._known: dict[tuple[Any, ...], int] = {}
        for name in ELEMENTARY:
            setattr(self, name, partial(self._apply, name))
        if not machine:
            for row in TABLE.values():
                if row.name not in ("sum", "pow", "power", "where"):
                    setattr(self, row.name, partial(self._row, row))
        setattr(self, "pow", self._pow)  # noqa: B010 (an attribute like the others, whose names come from the table)

    def child(self, k: int) -> Term:
        """Child k of the node that the template is for; after the last one its result."""
        return Term(self, -1 - k)

    def children(self, first: int, count: int) -> Sequence[Term]:
        """So many children from this one on."""
        if count > (COLUMN if self.machine else WIDE):
            return Column(self, -1 - first - np.arange(count, dtype=np.int32))
        return [self.child(k) for k in range(first, first + count)]

    def reference(self, x: Any) -> int:
        """Where a term, or a plain number as a constant, is."""
        if isinstance(x, Term):
            return x.reference
        return self._node("const", [], float(x))

    def references(self, xs: Sequence[Any]) -> NDArray[np.int32]:
        """Where all of a list are; NOTHING for what is None."""
        if isinstance(xs, Column):
            return xs.references
        return np.array([NOTHING if x is None else self.reference(x) for x in xs], dtype=np.int32)

    def emit(self, op: str, *terms: Any, number: float = 0.0) -> Term:
        """A node; the same one if it is there already.  Where a term is a column, a node for each of its entries."""
        length = next((len(x) for x in terms if isinstance(x, Column)), None)
        if length is not None:
            return self._nodes(
                op, length, [x.references if isinstance(x, Column) else self.reference(x) for x in terms], number
            )
        return self.emit_list(op, terms, number)

    def emit_list(self, op: str, xs: Sequence[Any], number: float = 0.0) -> Term:
        """A node whose operands are a list."""
        return Term(self, self._node(op, self.references(xs), number))

    def _node(self, op: str, references: NDArray[np.int32] | Sequence[int], number: float) -> int:
        operands = array("i", np.asarray(references, dtype=np.int32).tobytes())
        key = (op, operands.tobytes(), struct.pack("d", number))
        if key not in self._known:
            self._known[key] = len(self.ops)
            self.ops.append(OPCODE[op])
            self.operands.extend(operands)
            self.starts.append(len(self.operands))
            self.numbers.append(number)
        return self._known[key]

    def _nodes(self, op: str, length: int, references: Sequence[Any], number: float) -> Column:
        """A node for each entry of a column."""
        first = len(self.ops)
        operands = np.empty((length, len(references)), dtype=np.int32)
        for k, reference in enumerate(references):
            operands[:, k] = reference
        ends = len(self.operands) + len(references) * np.arange(1, length + 1, dtype=np.int32)
        self.ops.extend(array("H", [OPCODE[op]]) * length)
        self.operands.frombytes(operands.tobytes())
        self.starts.frombytes(ends.astype(np.int32).tobytes())
        self.numbers.extend(array("d", [number]) * length)
        return Column(self, np.arange(first, first + length, dtype=np.int32))

    # -------------------------------------------------------------------------------------- long lists
    def each(self, f: Callable[..., Any], *vectors: Sequence[Any]) -> Any:
        """f for each entry; for columns once, and where all entries have the same result they share it."""
        if not all(isinstance(xs, Column) for xs in vectors):
            return super().each(f, *vectors)
        result = f(*vectors)
        if isinstance(result, Column):
            return result
        return Column(self, np.full(len(vectors[0]), self.reference(result), dtype=np.int32))

    def one_hot(self, xs: Sequence[Any], i: float) -> Any:
        if not isinstance(xs, Column):
            return super().one_hot(xs, i)
        references = np.full(len(xs), self.reference(0.0), dtype=np.int32)
        if 0 <= i < len(xs):
            references[int(i)] = self.reference(1.0)
        return Column(self, references)

    # ------------------------------------------------------------------------------ functions of numbers
    def _apply(self, name: str, *terms: Any) -> Any:
        """An elementary function: folded if all terms are plain numbers."""
        if not any(isinstance(x, Term) for x in terms):
            return ELEMENTARY[name](*terms)
        if name in TABLE and TABLE[name].static:
            return self.emit(name, *terms[:-1], number=float(terms[-1]))
        return self.emit(name, *terms)

    def _row(self, row: Row, *args: Any) -> Any:
        """A row as a node of its own; a family gives a list of them."""
        if row.vectors:
            lists = args[: row.vectors]
            if not any(isinstance(xs, Column) or any(isinstance(x, Term) for x in xs) for xs in lists):
                return getattr(FLOATS, row.name)(*args)
            if row.family and len(lists[0]) > WIDE:
                return row.value(self, *args)
            terms = lists[0] if row.vectors == 1 else [x for xs in lists for x in xs]
            if row.family:
                return [self.emit_list(row.name, terms, float(i)) for i in range(len(terms))]
            return self.emit_list(row.name, terms, float(args[-1]) if row.static else 0.0)
        if not any(isinstance(x, Term) for x in args):
            return getattr(FLOATS, row.name)(*args)
        return self._apply(row.name, *args) if row.static else self.emit(row.name, *args)

    def _pow(self, a: Any, b: Any) -> Any:
        if not isinstance(a, Term) and not isinstance(b, Term):
            return FLOATS.pow(a, b)
        if isinstance(b, Term):
            return self.emit("power", a, b)
        if not self.machine:
            return self.emit("pow", a, number=float(b))
        if b == 2.0:  # as floats.pow does it
            return a * a
        if b == 1.0:
            return a
        if b == -1.0:
            return self.emit("div", 1.0, a)
        if not self.strict and abs(b) in (0.5, 1.5):
            # pow(-inf, 0.5) is inf and pow(-0.0, 0.5) 0.0, where a root gives nan and -0.0
            root = self.where(self.eq(a, -inf), inf, self.emit("sqrt", a + 0.0))
            power = root if abs(b) == 0.5 else self.emit("abs", a) * root
            return power if b > 0.0 else self.emit("div", 1.0, power)
        if not self.strict and abs(b) in (2.0, 3.0, 4.0):
            square = a * a
            product = {2.0: lambda: square, 3.0: lambda: square * a, 4.0: lambda: square * square}[abs(b)]()
            return product if b > 0.0 else self.emit("div", 1.0, product)
        return self.emit("power", a, b)

    # ----------------------------------------------------------------------------------------- choices
    def lt(self, a: Any, b: Any) -> Any:
        return self._compare("lt", a, b)

    def le(self, a: Any, b: Any) -> Any:
        return self._compare("le", a, b)

    def eq(self, a: Any, b: Any) -> Any:
        return self._compare("eq", a, b)

    def _compare(self, op: str, a: Any, b: Any) -> Any:
        if isinstance(a, Term) or isinstance(b, Term):
            return self.emit(op, a, b)
        return getattr(FLOATS, op)(a, b)

    def where(self, condition: Any, a: Any, b: Any) -> Any:
        if not isinstance(condition, Term):
            return a if condition else b
        return self.emit("select", condition, a, b)

    # ------------------------------------------------------------------------------------------- lists
    def sum(self, xs: Sequence[Any]) -> Any:
        return self._list("sum", xs)

    def product(self, xs: Sequence[Any]) -> Any:
        return self._list("prod", xs)

    def largest(self, xs: Sequence[Any]) -> Any:
        return self._list("maximum", xs)

    def smallest(self, xs: Sequence[Any]) -> Any:
        return self._list("minimum", xs)

    def norm_of(self, xs: Sequence[Any]) -> Any:
        return self._list("norm", xs)

    def _list(self, op: str, xs: Sequence[Any]) -> Any:
        if not isinstance(xs, Column) and not any(isinstance(x, Term) for x in xs):
            return TABLE[op].value(FLOATS, list(xs))
        return self.emit_list(op, xs)


# ------------------------------------------------------------------------------------------------ two templates
def _arguments(row: Row, m: Terms, count: int, number: float) -> list[Any]:
    """What a row's rules take: its children in their lists, then the static argument."""
    if not row.vectors:
        children = [m.child(k) for k in range(count)]
        return [*children, number] if row.static else children
    size = count // row.vectors
    lists: list[Any] = [m.children(i * size, size) for i in range(row.vectors)]
    return [*lists, number] if row.static and not row.family else lists


def _value(row: Row, m: Terms, count: int, number: float) -> list[Any]:
    """The result of a row, made of machine operations."""
    if row.name in ("pow", "power"):
        return [m._pow(m.child(0), number if row.static else m.child(1))]
    result = row.value(m, *_arguments(row, m, count, number))
    return [result[int(number)] if row.family else result]


def _local_grads(row: Row, m: Terms, count: int, number: float) -> Sequence[Any]:
    """∂out/∂child for each child."""
    arguments = _arguments(row, m, count, number)
    grads: Sequence[Any]
    if row.family:
        outs = getattr(m, row.name)(*arguments)
        grads = row.local_grads(m, *arguments, outs, number)
    else:
        grads = row.local_grads(m, *arguments, m.child(count))
        if row.vectors == 2:
            grads = Column(m, np.concatenate([m.references(gs) for gs in grads]))
    if row.skips_zero:
        return [None if not isinstance(g, Term) and g == 0.0 else g for g in grads]
    return grads


class Pool:
    """All templates of one kind, in flat arrays.

    Args:
        rule: gives a row's results, from (row, algebra, number of operands, static argument).
        machine: whether templates are made of machine operations alone.
        strict: as in ``Terms``.
    """

    def __init__(
        self, rule: Callable[[Row, Terms, int, float], Sequence[Any]], machine: bool, strict: bool = True
    ) -> None:
        self._rule = rule
        self._machine = machine
        self._strict = strict
        self._ids: dict[tuple[int, int, bytes], int] = {}
        self._ops = array("H")  # compact: a template of a list has a node or more for each entry
        self._starts = array("i", [0])
        self._references = array("i")
        self._numbers = array("d")
        self._node_ends = array("i", [0])
        self._results = array("i")
        self._result_ends = array("i", [0])
        self._arrays: tuple[NDArray[Any], ...] | None = None
        has_template = [op for op in OPS if op in TABLE and not (machine and op in MACHINE)]
        self.wanted = np.zeros(len(OPS), dtype=np.uint8)
        """uint8, by operation: whether nodes of it have a template here."""
        self.wanted[[OPCODE[op] for op in has_template]] = 1

    def find(self, code: int, count: int, number: float) -> int:
        """The template of a kind of node, by its position in ``arrays``."""
        key = (code, count, struct.pack("d", number))
        found = self._ids.get(key)
        if found is None:
            found = self._ids[key] = self._add(code, count, number)
        return found

    def _add(self, code: int, count: int, number: float) -> int:
        row = TABLE.get(OPS[code])
        if row is None:
            raise GraphError(f"{OPS[code]!r} is no row of the primitives table, so there is no template of it")
        m = Terms(self._machine, self._strict)
        results = m.references(self._rule(row, m, count, number))
        ends = np.array(m.starts[1:], dtype=np.int32) + np.int32(len(self._references))
        self._ops.extend(m.ops)
        self._starts.frombytes(ends.tobytes())
        self._references.extend(m.operands)
        self._numbers.extend(m.numbers)
        self._node_ends.append(len(self._ops))
        self._results.frombytes(results.tobytes())
        self._result_ends.append(len(self._results))
        self._arrays = None
        return len(self._node_ends) - 2

    def arrays(self) -> tuple[NDArray[Any], ...]:
        """ops, starts, references, numbers; node_ends and result_ends by template; results."""
        if self._arrays is None:
            self._arrays = (
                np.array(self._ops, dtype=np.uint16),
                np.array(self._starts, dtype=np.int32),
                np.array(self._references, dtype=np.int32),
                np.array(self._numbers, dtype=np.float64),
                np.array(self._node_ends, dtype=np.int32),
                np.array(self._results, dtype=np.int32),
                np.array(self._result_ends, dtype=np.int32),
            )
        return self._arrays


VALUES = Pool(_value, machine=True)
"""How each row is computed by machine operations, to the last bit."""

QUICK_VALUES = Pool(_value, machine=True, strict=False)
"""The same within 4 ulp."""

LOCAL_GRADS = Pool(_local_grads, machine=False)
"""∂out/∂child of each row, in rows."""
