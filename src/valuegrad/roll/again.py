"""Cheap results that are computed again where they are read, in place of being kept.

Why: a result that several loops read is written once and read by each of them.  Where results are more than a cache
holds, to write and read a product takes longer than to multiply again what it was made of, which is there in any case.

How: a body whose operations are cheap and that needs one list of numbers, beside what is the same for all members, is
put into each loop that reads its results member by member.  A list may be what its own kernel keeps for others: where a
relu is not zero, its derivative is 1.

Where to start reading: ``computed_again``.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from valuegrad.primitives.opcodes import OPCODE
from valuegrad.roll.kernels import Body, Column, Kernel

if TYPE_CHECKING:
    from valuegrad.roll.found import Loop

__all__ = ["computed_again", "pruned"]

ARITHMETIC = "add", "sub", "mul", "dot", "sum", "neg", "abs"
CHEAP = frozenset(OPCODE[op] for op in (*ARITHMETIC, "lt", "le", "eq", "and", "or", "not", "select"))
MOST = 3  # operations
MOST_OPERANDS = 3  # of each
LEAST = 1 << 15  # bytes of results: the first cache


def computed_again(kernels: list[Loop], bytes_each: int) -> list[Loop]:
    """The kernels, which compute again what is not worth its place in memory.

    Args:
        kernels: of a segment, in order.
        bytes_each: how many bytes a member's result takes.
    """
    large = [
        (k, kernel)
        for k, kernel in enumerate(kernels)
        if isinstance(kernel, Kernel) and kernel.members * bytes_each >= LEAST
    ]
    if not large:
        return kernels
    result: list[Any] = list(kernels)
    stays = _Stays(kernels)
    for k, kernel in large:
        kept: set[int] = set()  # bodies whose results are not computed again
        for i, body in enumerate(kernel.bodies):
            recipe = _recipe(kernel, i, stays, kept) if kernel.keeps(body) else []
            if kernel.keeps(body) and not recipe:
                kept.add(i)
            for j in range(k + 1, len(kernels)) if recipe else ():
                result[j] = _with(result[j], body.group, kernel, recipe)
    return _without_unread(result)


def _recipe(kernel: Kernel, i: int, stays: _Stays, kept: set[int]) -> list[int]:
    """The bodies that compute body i's result, in order; none where they are too many, or read too much."""
    wanted, waiting = set(), [i]
    while waiting:
        j = waiting.pop()
        body = kernel.bodies[j]
        if j in wanted:
            continue
        wanted.add(j)
        if body.op not in CHEAP or body.variants or len(body.args) > MOST_OPERANDS or len(wanted) > MOST:
            return []
        waiting += [x for kind, x in body.args if kind == "value" and x not in kept]
    args = [arg for j in wanted for arg in kernel.bodies[j].args]
    read = {_column(kernel, kind, x) for kind, x in args if kind == "column" or x in kept}
    several = [c for c in read if (kernel.columns[c].at != kernel.columns[c].at[0]).any()]
    if len(several) > 1 or not all(stays(kernel.columns[c]) for c in read):
        return []
    return sorted(wanted)


def _column(kernel: Kernel, kind: str, x: int) -> int:
    """Where an operand of a body lies."""
    return x if kind == "column" else kernel.bodies[x].out


class _Stays:
    """What is there for the rest of the segment: results of loops, and scalars that nothing writes."""

    def __init__(self, kernels: list[Any]) -> None:
        plain = [kernel for kernel in kernels if isinstance(kernel, Kernel)]
        self.groups = {body.group for kernel in plain for body in kernel.bodies}
        self.written = [
            (column.at.min(), column.at.max())
            for kernel in plain
            for body in kernel.bodies
            if body.out >= 0 and (column := kernel.columns[body.out]).space == "uniform"
        ]

    def __call__(self, column: Column) -> bool:
        if column.space == "group":
            return column.group in self.groups
        low, high = column.at.min(), column.at.max()
        return column.space == "uniform" and not any(a <= high and low <= b for a, b in self.written)


def _with(reader: Any, group: int, kernel: Kernel, recipe: list[int]) -> Any:
    """A kernel that computes members of another one's group again, where it reads them one by one."""
    if not isinstance(reader, Kernel):
        return reader
    in_lists = reader.listed()
    for c, column in enumerate(reader.columns):
        read = any(("column", c) in body.args for body in reader.bodies)
        if column.group == group and c not in in_lists and read:
            reader = _replaced(reader, c, kernel, recipe)
    return reader


def _replaced(reader: Kernel, c: int, kernel: Kernel, recipe: list[int]) -> Kernel:
    """A kernel with bodies in the place of a column."""
    columns = list(reader.columns)
    at = reader.columns[c].at
    place = {j: n for n, j in enumerate(recipe)}

    def moved(x: int) -> int:
        source = kernel.columns[x]
        column = replace(source, at=source.at[at])
        for d, other in enumerate(columns):
            if (other.space, other.group) == (column.space, column.group) and np.array_equal(other.at, column.at):
                return d
        columns.append(column)
        return len(columns) - 1

    bodies: list[Body] = []
    for j in recipe:
        one = kernel.bodies[j]
        args = [
            ("value", place[x]) if kind == "value" and x in place else ("column", moved(_column(kernel, kind, x)))
            for kind, x in one.args
        ]
        bodies.append(replace(one, group=-1, args=args, out=-1))

    def shifted(kind: str, x: int) -> tuple[str, int]:
        if (kind, x) == ("column", c):
            return "value", len(recipe) - 1
        return kind, x + len(recipe) if kind == "value" else x

    bodies += [replace(body, args=[shifted(*arg) for arg in body.args]) for body in reader.bodies]
    return replace(reader, bodies=bodies, columns=columns)


def _without_unread(kernels: list[Any]) -> list[Any]:
    """The kernels without results that nobody reads any more, and without columns that stand for nothing."""
    read = {
        kernel.columns[c].group
        for kernel in kernels
        for c in (_read(kernel) if isinstance(kernel, Kernel) else range(len(kernel.columns)))
    }
    result: list[Any] = []
    for kernel in kernels:
        if isinstance(kernel, Kernel):
            unread = [kernel.keeps(body) and body.group not in read for body in kernel.bodies]
            bodies = [replace(body, out=-1) if gone else body for body, gone in zip(kernel.bodies, unread)]
            kernel = pruned(replace(kernel, bodies=bodies))
            if not kernel.bodies:
                continue
        result.append(kernel)
    return result


def _read(kernel: Kernel) -> set[int]:
    return kernel.listed() | {x for body in kernel.bodies for kind, x in body.args if kind == "column"}


def pruned(kernel: Kernel) -> Kernel:
    """A kernel without bodies and columns that nothing needs."""
    needed: set[int] = set()
    for i in reversed(range(len(kernel.bodies))):
        body = kernel.bodies[i]
        if body.out >= 0 or i in needed:
            needed |= {i, *[x for kind, x in body.args if kind == "value"]}
    value = {j: n for n, j in enumerate(sorted(needed))}
    bodies = [kernel.bodies[j] for j in sorted(needed)]
    used = _read(replace(kernel, bodies=bodies)) | {body.out for body in bodies if body.out >= 0}
    column = {c: n for n, c in enumerate(sorted(used))} | {-1: -1}

    def moved(body: Body) -> Body:
        return replace(
            body,
            args=[(kind, (value if kind == "value" else column)[x]) for kind, x in body.args],
            variants=[[replace(piece, x=column[piece.x], y=column[piece.y]) for piece in v] for v in body.variants],
            out=column[body.out],
        )

    return Kernel(kernel.members, [moved(body) for body in bodies], [kernel.columns[c] for c in sorted(used)])
