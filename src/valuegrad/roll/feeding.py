"""Lists whose terms are computed where they are added up.

Why: a softmax's exponentials, or the products of a sum of squares, were a loop that wrote them and another one that
read them.  A person writes one loop: a term is computed, kept if others want it, and added, while it is in a register.

How: a kernel without a list whose every member is a term of one list, once, becomes a part of that: what it reads are
pieces like the list's own, as long as they lie at constant steps from term to term.

A sum of choices between whole numbers (how many are as large as the largest) is a count: it is exact in any order.  One
of choices between a number and zero (what an entry of an embedding gets from all positions) adds what is chosen.

Data structures: ``kernels.Feed``, what computes a piece's terms.

Where to start reading: ``fed``.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from valuegrad.primitives.opcodes import OPCODE
from valuegrad.roll.groups import GUARD, LISTS, REDUCE
from valuegrad.roll.kernels import Body, Feed, Kernel, Piece
from valuegrad.roll.pieces import far_from_first

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from valuegrad.roll.found import Loop
    from valuegrad.roll.kernels import Column

__all__ = ["counting", "fed"]

LEAST_TERMS = 2
LEAST_VECTORS = 8  # of terms, where they are added one after the other
SIDE_BY_SIDE = 0.75  # of all members, at least
MOST_LEFT = 4  # members of a kernel that are computed apart, as they are terms elsewhere


def fed(kernels: list[Loop], lanes: int, is_call: Callable[[int], bool], *, single: bool) -> list[Loop]:
    """The kernels, with those that can be part of a list in the list's place.

    It pays where a vector is a term of V lanes, or of V members.  With one lane and few members it is V terms of one
    member, which are added one after the other: that pays where it is the smaller part, beside calls, or where the
    additions would follow each other in any case.

    Args:
        kernels: of a segment, in order.
        lanes: numbers of a vector.
        is_call: whether an operation is a call.
        single: there is one lane.
    """
    result: list[Any] = list(kernels)
    readers: dict[int, set[int]] = {}
    maker: dict[int, int] = {}
    for k, kernel in enumerate(kernels):
        for column in kernel.columns:
            if column.group >= 0:
                readers.setdefault(column.group, set()).add(k)
        maker.update((body.group, k) for body in kernel.bodies if body.group >= 0)
    for k, kernel in enumerate(kernels):
        which = _list_of(kernel)
        if which is None:
            continue
        assert isinstance(kernel, Kernel)
        for p in range(len(kernel.bodies[which].variants[0])):
            piece = result[k].bodies[which].variants[0][p]  # as others left it, which took columns with them
            source = maker.get(result[k].columns[piece.x].group, k)
            terms = result[source]
            if source == k or not isinstance(terms, Kernel) or not _can_feed(terms):
                continue
            by_terms = single and (kernel.members < lanes or any(is_call(body.op) for body in terms.bodies))
            if piece.length[0] < (LEAST_VECTORS * lanes if by_terms else LEAST_TERMS):
                continue
            made = [body.group for body in terms.bodies if terms.keeps(body)]
            others = {g: readers.get(g, set()) - {source, k} for g in made}
            if any(reader < k for group in others.values() for reader in group):
                continue  # they would come before it
            joined = _joined(result[k], which, p, terms, {g for g in made if others[g]})
            if joined is not None and (by_terms or not single or _are_side_by_side(joined[0])):
                result[k], result[source] = joined
    return [kernel for kernel in result if kernel is not None]


def counting(kernel: Kernel, constants: NDArray[Any], most: float) -> Kernel:
    """The kernel, with a mark where the terms of a sum are computed that are whole numbers, or +0.0 where they are not
    chosen.

    Args:
        kernel: after ``fed``.
        constants: for each scalar its value, nan where it is no constant.
        most: up to where all whole numbers are exact.
    """
    bodies = list(kernel.bodies)
    for i, body in enumerate(bodies):
        if body.op != OPCODE["sum"] or len(body.variants) != 1:
            continue
        (pieces,) = body.variants
        inside = {q for piece in pieces if piece.feed for q in piece.feed.pieces}
        largest = 0.0  # of all sums on the way
        marked = list(pieces)
        for p in [p for p in range(len(pieces)) if p not in inside]:
            piece = pieces[p]
            terms = _choices(kernel, pieces, piece.feed) if piece.feed else [piece]
            found = [_constants(kernel, term, constants) for term in terms]
            whole = found and all((x == np.rint(x)).all() and not np.signbit(x[x == 0]).any() for x in found)
            largest += max(float(abs(x).max()) for x in found) * int(piece.length.max()) if whole else np.inf
            if piece.feed and largest <= most:
                marked[p] = replace(piece, feed=replace(piece.feed, counts=True))
            elif piece.feed and terms and (found[1] == 0.0).all() and not np.signbit(found[1]).any():
                marked[p] = replace(piece, feed=replace(piece.feed, or_zero=len(piece.feed.bodies) == 1))
        bodies[i] = replace(body, variants=[marked])
    return replace(kernel, bodies=bodies)


def _choices(kernel: Kernel, pieces: list[Piece], feed: Feed) -> list[Piece]:
    """The pieces between which a computed term chooses; none where it is something else."""
    body = feed.bodies[feed.x]
    if body.op != OPCODE["select"] or any(kind != "term" for kind, _ in body.args[1:]):
        return []
    return [pieces[feed.pieces[x]] for _, x in body.args[1:]]


def _constants(kernel: Kernel, piece: Piece, constants: NDArray[Any]) -> NDArray[Any]:
    """What a piece is for each member, if that is the same constant for all its terms; else nan."""
    column = kernel.columns[piece.x] if piece.x >= 0 else None
    if column is None or column.space != "uniform" or ((piece.length > 1) & (piece.strides[:, 0] != 0)).any():
        return np.full(1, np.nan)
    found: NDArray[Any] = constants[column.at]
    return found


def _list_of(kernel: Loop) -> int | None:
    """Which of a kernel's bodies is a list whose terms are the same in number for all members."""
    if not isinstance(kernel, Kernel):
        return None
    for i, body in enumerate(kernel.bodies):
        if body.op in LISTS and len(body.variants) == 1:
            lengths = [piece.length for piece in body.variants[0]]
            if all((n == n[0]).all() for n in lengths):
                return i
    return None


def _are_side_by_side(kernel: Kernel) -> bool:
    """Whether vectors of members find what they read, and write, side by side or all in one place."""
    steps = [np.diff(column.at) for column in kernel.columns]
    return all(((step == 0) | (step == 1)).mean() >= SIDE_BY_SIDE for step in steps)


def _can_feed(kernel: Kernel) -> bool:
    return not any(body.variants or body.op in (GUARD, REDUCE) or kernel.is_held(body) for body in kernel.bodies)


def _joined(kernel: Kernel, which: int, p: int, terms: Kernel, kept: set[int]) -> tuple[Kernel, Kernel | None] | None:
    """A kernel with another one as what computes the terms of its list, and what is left of that: members that are no
    terms of this piece; None if it cannot be.

    Args:
        kernel: has the list.
        which: of its bodies is the list.
        p: of the list's pieces is computed.
        terms: computes it.
        kept: groups that others read, too.
    """
    body = kernel.bodies[which]
    (pieces,) = body.variants
    piece = pieces[p]
    made = {one.group: i for i, one in enumerate(terms.bodies) if one.group >= 0}
    members = _places(kernel, piece, 0)
    times = np.bincount(members.ravel(), minlength=terms.members)
    rest = np.flatnonzero(times == 0)
    if (times > 1).any() or len(rest) > MOST_LEFT:
        return None
    lists = kernel.lists()
    for c, column in enumerate(kernel.columns):
        other = c not in (piece.x, piece.y) and column.group in made
        if other and (c in lists or (times[column.at] > 0).any()):
            return None
    x, y = made[kernel.columns[piece.x].group], -1
    if piece.y >= 0 and kernel.columns[piece.y].group in made:
        if not np.array_equal(members, _places(kernel, piece, 1)):
            return None
        y = made[kernel.columns[piece.y].group]
    left = [one.out >= 0 and (not terms.keeps(one) or one.group in kept) for one in terms.bodies]
    dropped = {one.out for one, is_left in zip(terms.bodies, left) if not is_left}
    wanted = [c for c in range(len(terms.columns)) if c not in dropped]
    more = [_piece(terms.columns[c], members, len(kernel.columns) + i) for i, c in enumerate(wanted)]
    if any(one is None for one in more):
        return None
    at = {c: i for i, c in enumerate(wanted)}
    bodies = [
        replace(
            one,
            args=[("term", at[x]) if kind == "column" else (kind, x) for kind, x in one.args],
            out=at[one.out] if left[i] else -1,
        )
        for i, one in enumerate(terms.bodies)
    ]
    feed = Feed(bodies, [len(pieces) + i for i in range(len(wanted))], x, y)
    list_body = replace(body, variants=[[*pieces, *[one for one in more if one is not None]]])
    list_body.variants[0][p] = replace(piece, x=-1, y=piece.y if y < 0 else -1, feed=feed)
    columns = [replace(terms.columns[c], at=terms.columns[c].at[members[:, 0]]) for c in wanted]
    result = Kernel(
        kernel.members,
        [list_body if i == which else one for i, one in enumerate(kernel.bodies)],
        [*kernel.columns, *columns],
    )
    apart = None
    if len(rest):
        apart = replace(terms, members=len(rest), columns=[replace(one, at=one.at[rest]) for one in terms.columns])
    return _without_unused(result, {piece.x, piece.y if y >= 0 else -1}), apart


def _places(kernel: Kernel, piece: Piece, side: int) -> NDArray[np.int64]:
    """int64[members, terms]: which member of its group each term of a piece is."""
    n = int(piece.length[0])
    k = np.arange(n)
    at = kernel.columns[piece.y if side else piece.x].at
    step, bend = piece.strides[:, side], piece.strides[:, 2 + side]
    places: NDArray[np.int64] = at[:, None] + far_from_first(k, step[:, None], bend[:, None])
    return places


def _piece(column: Column, members: NDArray[np.int64], c: int) -> Piece | None:
    """A column of what computes terms as a piece of the list; None if it does not lie at constant steps."""
    places = column.at[members]
    count, n = places.shape
    strides = np.zeros((count, 4), dtype=np.int64)
    if n > 1:
        strides[:, 0] = places[:, 1] - places[:, 0]
        if (np.diff(places, axis=1) != strides[:, :1]).any():
            return None
    return Piece(c, -1, strides, np.full(count, n, dtype=np.int64))


def _without_unused(kernel: Kernel, gone: set[int]) -> Kernel:
    """The kernel without columns that nothing reads any more."""
    keep = [c for c in range(len(kernel.columns)) if c not in gone]
    new = {c: i for i, c in enumerate(keep)} | {-1: -1}

    def moved(body: Body) -> Body:
        return replace(
            body,
            args=[(kind, new[x] if kind == "column" else x) for kind, x in body.args],
            variants=[[replace(one, x=new[one.x], y=new[one.y]) for one in pieces] for pieces in body.variants],
            out=new[body.out],
        )

    return Kernel(kernel.members, [moved(body) for body in kernel.bodies], [kernel.columns[c] for c in keep])
