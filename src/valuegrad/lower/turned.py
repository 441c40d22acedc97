"""Columns that lie along a list's terms and not along the vector: read as they lie, and turned in registers.

Why: a matrix times a vector reads a row of the matrix for each result; with the results along the vector, each load
takes numbers from as many rows.  A gather costs a load for each number and more.  Four numbers of each row at once,
turned by shuffles, are a quarter of the loads and two shuffles a vector.

Where to start reading: ``turned``, then ``by_fours``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from valuegrad.lower.loops import Loops
    from valuegrad.lower.vectors import Vectors
    from valuegrad.lower.writer import Whole

__all__ = ["TERMS", "by_fours", "turned"]

TERMS = 4  # of each row at a time


def turned(v: Vectors, where: str, stride: Whole, rows: int) -> list[str]:
    """TERMS vectors: of each row, so many bytes apart, the first number, the second one, ...

    Args:
        v: what the function is written with.
        where: the address of the first row's first number.
        stride: from a row to the next.
        rows: how many there are; those of a whole vector beyond are zeros.
    """
    w, quarter = v.w, f"<{TERMS} x {v.scalar}>"
    loaded = []
    for row in range(v.width):
        if row >= rows:
            loaded.append("zeroinitializer")
            continue
        far = w.mul(stride, row)
        at = where if far == 0 else w(f"getelementptr i8, ptr {where}, i64 {far}")
        loaded.append(w(f"load {quarter}, ptr {at}, align {v.item}"))
    parts = v.width // TERMS  # rows r, 4 + r, 8 + r ... in one vector
    wide = [_joined(v, [loaded[TERMS * q + r] for q in range(parts)]) for r in range(TERMS)]
    pairs = [_pairs(v, wide[r], wide[r + 1], k) for r in (0, 2) for k in (0, 2)]  # of terms k and k + 1
    return [_quads(v, pairs[k // 2], pairs[2 + k // 2], k % 2) for k in range(TERMS)]


def by_fours(
    loops: Loops,
    length: int,
    rows: dict[tuple[object, str], tuple[int, Whole]],
    totals: list[str | None],
    term: Callable[..., list[str]],
) -> list[str]:
    """A list's totals with the terms of one more piece, TERMS at a time.

    Args:
        loops: the function that is written, for one lane.
        length: of the piece, at least TERMS.
        rows: what is turned: the key and the address of a member's first number, its column, the stride to the next.
        totals: of each member, before.
        term: writes a term, from its number, the totals, and what was loaded for it by key.
    """
    w = loops.w

    def four(first: Whole, now: list[str | None], begin: int = 0) -> list[str]:
        vectors: dict[object, list[str]] = {}
        for (key, at), (column, step) in rows.items():
            back = step == -loops.item
            far = w.mul(w.add(first, TERMS - 1) if back else first, step)
            where = at if far == 0 else w(f"getelementptr i8, ptr {at}, i64 {far}")
            found = turned(loops, where, loops.along[column], loops.rows)
            vectors[key] = found[::-1] if back else found
        for k in range(begin, TERMS):
            now = list(term(w.add(first, k), now, known={key: found[k] for key, found in vectors.items()}))
        return [str(total) for total in now]

    if length < 2 * TERMS:
        totals = [*four(0, totals)]
    else:
        carried = [(loops.type(), str(total)) for total in totals]
        totals = [*w.loop(length // TERMS, carried, lambda i, now: four(w.mul(i, TERMS), list(now)))]
    if rest := length % TERMS:  # the last TERMS once more, of which only these are new
        totals = [*four(length - TERMS, totals, TERMS - rest)]
    return [str(total) for total in totals]


def _shuffle(v: Vectors, a: str, b: str, width: int, order: list[int]) -> str:
    mask = ", ".join(f"i32 {i}" for i in order)
    t = f"<{width} x {v.scalar}>"
    return v.w(f"shufflevector {t} {a}, {t} {b}, <{len(order)} x i32> <{mask}>")


def _joined(v: Vectors, parts: list[str]) -> str:
    """Parts behind each other."""
    width = TERMS
    while len(parts) > 1:
        parts = [_shuffle(v, a, b, width, list(range(2 * width))) for a, b in zip(parts[::2], parts[1::2])]
        width *= 2
    return parts[0]


def _pairs(v: Vectors, a: str, b: str, k: int) -> str:
    """In each quarter: a's and b's term k, then their terms k + 1."""
    n = v.width
    order = [x for q in range(0, n, TERMS) for x in (q + k, n + q + k, q + k + 1, n + q + k + 1)]
    return _shuffle(v, a, b, n, order)


def _quads(v: Vectors, a: str, b: str, k: int) -> str:
    """In each quarter: the pair k of a, then that of b."""
    n = v.width
    order = [x for q in range(0, n, TERMS) for x in (q + 2 * k, q + 2 * k + 1, n + q + 2 * k, n + q + 2 * k + 1)]
    return _shuffle(v, a, b, n, order)
