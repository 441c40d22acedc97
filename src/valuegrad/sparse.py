"""Sparse Jacobians and Hessians: as many directional derivatives as there are colours, not as there are inputs.

Why: in large problems each output depends on a few inputs.  Columns of the Jacobian that share no row can be found
with one directional derivative for all of them; which ones share a row is known from the recorded graph.

How: the function is compiled and recorded; each output's dependence on the inputs is read off the graph (the
*pattern*); columns (or rows, where that takes fewer) are coloured so that two with one colour share no row; the
derivatives in the directions of the colours are one compiled program.  A Hessian is the Jacobian of the gradient.

Data structures: ``_Plan`` is a pattern with its colours and its program; it is made anew when an input takes a path
through the function's branches that was not recorded before, as that may depend on more.

Source: Curtis, Powell and Reid, On the estimation of sparse Jacobian matrices, J. Inst. Maths Applics 13 (1974);
Gebremedhin, Manne and Pothen, What color is your Jacobian?, SIAM Review 47 (2005).

Where to start reading: ``sparse_jacobian``, then ``_Plan``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import valuegrad as vg
from valuegrad import arguments
from valuegrad.errors import ShapeError, ValueTypeError
from valuegrad.functional import grad, jvp, vjp
from valuegrad.graph import Graph
from valuegrad.paths import Paths
from valuegrad.primitives.opcodes import OPCODE
from valuegrad.program import Program
from valuegrad.transforms import machine

__all__ = ["colours", "pattern", "sparse_hessian", "sparse_jacobian"]

_DECIDES = {OPCODE[op] for op in ("lt", "le", "eq", "and", "or", "not", "floor", "ceil", "trunc", "round")}


def pattern(graph: Graph, inputs: int) -> list[list[int]]:
    """Which of the first inputs each output may depend on with a derivative that is not 0.

    Args:
        graph: a recorded graph.
        inputs: how many of its inputs count; they come first.

    Returns:
        For each output the inputs, in order.

    Example:
        >>> from valuegrad.graph import Nodes
        >>> nodes = Nodes(inputs=3)
        >>> pattern(nodes.graph([nodes.add("mul", [0, 2]), nodes.add("exp", [1])]), 3)
        [[0, 2], [1]]
    """
    lowered = machine(graph)
    starts, operands, ops = lowered.starts.tolist(), lowered.operands.tolist(), lowered.ops.tolist()
    masks = [0] * len(ops)  # a bit for each input: integers of any length are quick sets
    for node, op in enumerate(ops):
        if node < inputs:
            masks[node] = 1 << node
        elif op not in _DECIDES:
            first = starts[node] + (op == OPCODE["select"])  # the condition has no derivative
            mask = 0
            for operand in operands[first : starts[node + 1]]:
                mask |= masks[operand]
            masks[node] = mask
    return [_bits(masks[node]) for node in lowered.outputs.tolist()]


def _bits(mask: int) -> list[int]:
    found = []
    while mask:
        lowest = mask & -mask
        found.append(lowest.bit_length() - 1)
        mask ^= lowest
    return found


def colours(rows: Sequence[Sequence[int]], columns: int) -> list[int]:
    """A colour for each column, so that two columns of one colour share no row; greedy, the fullest columns first.

    Args:
        rows: the columns that have an entry in each row.
        columns: how many there are.

    Example:
        >>> colours([[0, 1], [1, 2], [2, 3]], 4)
        [1, 0, 1, 0]
    """
    of_column: list[list[int]] = [[] for _ in range(columns)]
    for row, entries in enumerate(rows):
        for column in entries:
            of_column[column].append(row)
    colour = [-1] * columns
    for column in sorted(range(columns), key=lambda c: -len(of_column[c])):
        taken = {colour[other] for row in of_column[column] for other in rows[row]}
        own = 0
        while own in taken:
            own += 1
        colour[column] = own
    return colour


class _Plan:
    """A pattern, its colouring, and the program of the derivatives in the colours' directions."""

    def __init__(self, f: Callable[..., list[Any]], rows: list[list[int]], inputs: int) -> None:
        self.rows = rows
        columns: list[list[int]] = [[] for _ in range(inputs)]
        for row, entries in enumerate(rows):
            for column in entries:
                columns[column].append(row)
        by_column, by_row = colours(rows, inputs), colours(columns, len(rows))
        self.forward = max(by_column, default=0) <= max(by_row, default=0)
        colour = by_column if self.forward else by_row
        count = max(colour, default=-1) + 1
        seeds = [[1.0 if own == k else 0.0 for own in colour] for k in range(count)]

        def in_directions(x: Any, *others: Any) -> Any:
            def of_x(entries: Any) -> Any:
                return f(entries, *others)

            if self.forward:
                return [jvp(of_x, (x,), (seed,))[1] for seed in seeds]
            pull_back = vjp(of_x, x)[1]
            return [pull_back(seed)[0] for seed in seeds]

        self.program = vg.compile(in_directions, beyond="error", max_paths=1024) if count else None
        self.row_of = np.array([row for row, entries in enumerate(rows) for _ in entries], dtype=np.int64)
        self.column_of = np.array([column for entries in rows for column in entries], dtype=np.int64)
        self.colour = np.array(colour, dtype=np.int64)

    def values(self, x: list[float], others: tuple[Any, ...]) -> Any:
        """The entries of the pattern, row after row."""
        if self.program is None:
            return np.empty(0)
        compressed = np.array(self.program(x, *others), dtype=np.float64)
        if self.forward:
            return compressed[self.colour[self.column_of], self.row_of]
        return compressed[self.colour[self.row_of], self.column_of]


def _entries(y: Any) -> list[Any]:
    """The outputs as a flat list."""
    if isinstance(y, np.ndarray):
        return list(y.ravel())
    if isinstance(y, (list, tuple)):
        return [entry for part in y for entry in _entries(part)]
    return [y]


def sparse_jacobian(f: Callable[..., Any]) -> Callable[..., Any]:
    """The Jacobian of a function of many numbers, as a SciPy sparse matrix.

    Args:
        f: a function (or a compiled program) of a list of numbers, perhaps of further arguments, that gives a
            number, or a list or array of them.

    Returns:
        A function of f's arguments that gives ∂f/∂(first argument) as a ``scipy.sparse.csr_array`` of shape
        (outputs, inputs).  Entries that are 0 at this point but need not be are stored.  Its first call with a list of
        some length records f and finds the pattern, which takes longer; further calls replay it.

    Raises:
        ValueTypeError, ShapeError: when called: the first argument is no list or one-dimensional array of numbers; or
            there are arrays (lanes) or Values among the others.
        PathsError: when called: f takes more than 1,024 paths through its branches.
        ImportError: when called: SciPy is missing (``pip install 'valuegrad[sparse]'``).

    Example:
        >>> import valuegrad as vg
        >>> differences = lambda x: [(b - a) ** 2 for a, b in zip(x, x[1:])]
        >>> vg.sparse_jacobian(differences)([1.0, 2.0, 4.0]).toarray().tolist()
        [[-2.0, 2.0, 0.0], [0.0, -4.0, 4.0]]
    """
    return _Sparse("sparse_jacobian()", _plain(f))


def sparse_hessian(f: Callable[..., Any]) -> Callable[..., Any]:
    """The Hessian of a function of many numbers, as a SciPy sparse matrix.

    Args:
        f: a function (or a compiled program) of a list of numbers, perhaps of further arguments, that gives one number.

    Returns:
        A function of f's arguments that gives the second derivatives by the numbers of the first argument as a
        ``scipy.sparse.csr_array`` of shape (inputs, inputs).

    Raises:
        As ``sparse_jacobian``.

    Example:
        >>> import valuegrad as vg
        >>> chain = lambda x: sum(a * b for a, b in zip(x, x[1:]))
        >>> vg.sparse_hessian(chain)([1.0, 2.0, 4.0]).toarray().tolist()
        [[0.0, 1.0, 0.0], [1.0, 0.0, 1.0], [0.0, 1.0, 0.0]]
    """
    return _Sparse("sparse_hessian()", grad(_plain(f)))


def _plain(f: Callable[..., Any]) -> Callable[..., Any]:
    return f.function if isinstance(f, Program) else f


class _Sparse:
    """The sparse derivative of a function.

    ``kinds`` has a program for lists and one for arrays; each with a plan, and the number of paths that it covers, for
    each structure of arguments (such as the length of the list).
    """

    def __init__(self, who: str, f: Callable[..., Any]) -> None:
        self.who = who
        self.f = f
        self.kinds: dict[bool, tuple[Program, dict[Paths, tuple[int, _Plan]]]] = {}
        self.__name__ = f"{who.removesuffix('()')}({getattr(f, '__name__', type(f).__name__)})"

    def __repr__(self) -> str:
        return f"<{self.__name__}>"

    def __call__(self, x: Any, *others: Any) -> Any:
        """The derivative by x, a ``scipy.sparse.csr_array``."""
        try:
            from scipy.sparse import csr_array  # type: ignore[import-untyped]
        except ImportError:
            raise ImportError(f"{self.who} needs SciPy; get it with: pip install 'valuegrad[sparse]'") from None
        given = _numbers(self.who, x)
        plan = self._plan(given, others, isinstance(x, np.ndarray))
        shape = (len(plan.rows), len(given))
        return csr_array((plan.values(given, others), (plan.row_of, plan.column_of)), shape=shape)

    def _plan(self, given: list[float], others: tuple[Any, ...], as_array: bool) -> _Plan:
        """The plan that covers all paths that were recorded, the one that these inputs take among them."""
        if as_array not in self.kinds:
            self.kinds[as_array] = (vg.compile(self._outputs(as_array), beyond="error", max_paths=1024), {})
        whole, plans = self.kinds[as_array]
        found = whole(given, *others)
        if any(isinstance(y, np.ndarray) for y in found):
            raise ShapeError(
                f"{self.who} got arrays in its further arguments; a sparse derivative has no lanes: give numbers"
            )
        taken = whole.taken_apart((given, *others))
        if taken is None:
            raise ValueTypeError(f"{self.who} got Values in its further arguments; give numbers, such as v.data")
        paths, _ = taken
        assert paths.root is not None
        graphs = [path.graph for path in paths.root.walk()]
        count, plan = plans.get(paths, (0, None))
        if plan is None or count != len(graphs):
            patterns = [pattern(graph, len(given)) for graph in graphs]
            if len({len(rows) for rows in patterns}) > 1:
                raise ShapeError(f"{self.who} got a function whose number of outputs depends on its input")
            rows = [sorted(set().union(*entries)) for entries in zip(*patterns)]
            plan = _Plan(self._outputs(as_array), rows, len(given))
            plans[paths] = len(graphs), plan
        return plan

    def _outputs(self, as_array: bool) -> Callable[..., list[Any]]:
        """f of a list of numbers, as a flat list of outputs."""

        def outputs(x: list[Any], *others: Any) -> list[Any]:
            return _entries(self.f(np.array(x, dtype=object) if as_array else x, *others))

        return outputs


def _numbers(who: str, x: Any) -> list[float]:
    if getattr(x, "ndim", 1) != 1:
        raise ShapeError(
            f"{who} got an array of shape {x.shape}; expected a list or a one-dimensional array of numbers"
        )
    if not isinstance(x, (list, tuple, np.ndarray)):
        raise ValueTypeError(f"{who} got {arguments.shown(x)}; expected a list or a one-dimensional array of numbers")
    return [arguments.number(entry, who) for entry in x]
