"""Lists of operands as few pieces with a stride, and runs of numbers with a constant step.

Why: a dot of 48 pairs reads three rows of a matrix: as pieces these are three loops, as operands 48 addresses.

Where to start reading: ``pieces_of``; ``runs`` is what pieces and boxes (``nests.py``) are found with.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from valuegrad.primitives.opcodes import OPCODE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from valuegrad.roll.groups import Groups

    Terms = tuple[NDArray[np.int64], NDArray[np.int64]]

__all__ = ["cut", "far_from_first", "most_frequent", "pieces_of", "rows_of", "runs"]

DOT, GATHER = OPCODE["dot"], OPCODE["gather"]
BENT = 4  # steps that grow by a constant (the rows of a triangle) count where they make so many pieces one
COMMON = 4  # a step is frequent if it is one in so many at least


def far_from_first(k: Any, step: Any, bend: Any) -> Any:
    """How far term k is from the first one: steps, each of which is longer than the one before by `bend`."""
    return k * step + k * (k - 1) // 2 * bend


def runs(changed: NDArray[np.bool_], hard: NDArray[np.bool_], free: int = 1) -> NDArray[np.bool_]:
    """Where runs of a constant step begin: where one must (hard), and where the step changes, unless a run has just
    begun, whose step this is then.

    Args:
        changed: bool[n]: the step to this element is not the step to the one before; True where hard is.
        hard: bool[n].
        free: so many elements after the first one of a run belong to it whatever they are; of steps that change by a
            constant two.
    """
    begins = hard.copy()
    last = -1 - free
    for i in np.flatnonzero(changed).tolist():
        if hard[i] or last < i - free:
            begins[i] = True
            last = i
    return begins


def most_frequent(steps: NDArray[np.int64]) -> NDArray[np.int64] | None:
    """The step that comes most often; None if it does not come often.

    Args:
        steps: int64[n, k], at least one.
    """
    factors = np.random.default_rng(0).integers(-(2**62), 2**62, steps.shape[1])
    _, first, times = np.unique(steps @ factors, return_index=True, return_counts=True)  # equal rows have equal sums
    best = int(np.argmax(times))
    return steps[first[best]] if COMMON * int(times[best]) >= len(steps) else None


def rows_of(columns: list[NDArray[np.int64]]) -> tuple[NDArray[np.int64], NDArray[np.int64]] | None:
    """Where runs of members begin at which all columns go on by the most frequent step, and how long they are; None if
    no step comes often.

    Args:
        columns: the members' places in each.
    """
    at = np.stack(columns, 1)
    steps = at[1:] - at[:-1]
    common = most_frequent(steps) if len(steps) else None
    if common is None:
        return None
    begins = np.concatenate([[0], np.flatnonzero((steps != common).any(1)) + 1])
    return begins, np.diff(begins, append=len(at))


def pieces_of(groups: Groups, members: NDArray[Any], op: int) -> tuple[NDArray[np.int64], list[Any]]:
    """The lists of a group cut into pieces, as ``cut`` does it.

    Args:
        groups: all groups.
        members: the group's.
        op: of a dot the operands are x, then y; of a gather the last one is no entry.
    """
    s = groups.segment
    first = s.starts[members].astype(np.int64)
    n = s.starts[members + 1].astype(np.int64) - first
    n = n // 2 if op == DOT else n - 1 if op == GATHER else n
    ends = np.cumsum(n)
    owner = np.repeat(np.arange(len(members)), n)
    flat = first[owner] + np.arange(int(n.sum())) - (ends - n)[owner]
    x = groups.locate(s.operands[flat])
    return cut(op, owner, len(members), x, groups.locate(s.operands[flat + n[owner]]) if op == DOT else None)


def cut(
    op: int, owner: NDArray[Any], m: int, x_terms: Terms, y_terms: Terms | None
) -> tuple[NDArray[np.int64], list[Any]]:
    """The lists of m members cut into pieces.

    Args:
        op: of the lists.
        owner: for each term whose it is; a member's terms follow each other.
        m: how many members.
        x_terms: for each term the class and the place of x.
        y_terms: those of y, of a dot.

    Returns:
        For each member its variant; for each variant its members, and its pieces: the class and the places of x, those
        of y or None, the strides of both and by how much these grow from term to term (int64[m, 4]), the lengths.
    """
    total = len(owner)
    of_x, x = x_terms
    of_y, y = y_terms or (np.zeros_like(x), np.zeros_like(x))
    hard = np.ones(total, dtype=bool)
    hard[1:] = (np.diff(owner) != 0) | (np.diff(of_x) != 0) | (np.diff(of_y) != 0)
    changed = hard.copy()
    changed[2:] |= (np.diff(x, 2) != 0) | (np.diff(y, 2) != 0)
    at = np.flatnonzero(runs(changed, hard))
    if op != GATHER and len(at) >= BENT * m:
        changed = hard.copy()
        changed[3:] |= (np.diff(x, 3) != 0) | (np.diff(y, 3) != 0)
        bent = np.flatnonzero(runs(changed, hard, 2))
        at = bent if BENT * len(bent) <= len(at) else at
    length = np.diff(np.append(at, total))
    after, last = np.minimum(at + 1, total - 1), np.minimum(at + 2, total - 1)
    both = np.stack([x, y], 1)
    strides = np.where((length > 1)[:, None], both[after] - both[at], 0)
    bends = np.where((length > 2)[:, None], both[last] - 2 * both[after] + both[at], 0)
    strides = np.concatenate([strides, bends], 1)
    count = np.bincount(owner[at], minlength=m)
    offset = np.cumsum(count) - count
    classes = np.stack([of_x[at], of_y[at]], 1)
    names: dict[bytes, int] = {}
    keys = [classes[offset[i] : offset[i] + count[i]].tobytes() for i in range(m)]
    variant = np.array([names.setdefault(key, len(names)) for key in keys], dtype=np.int64)
    found = []
    for v in range(len(names)):
        mine = np.flatnonzero(variant == v)
        pieces = []
        for p in range(int(count[mine[0]])):
            q = offset[mine] + p
            one, other = (int(k) for k in classes[q[0]])
            pieces.append(((one, x[at[q]]), (other, y[at[q]]) if y_terms else None, strides[q], length[q]))
        found.append((mine, pieces))
    return variant, found
