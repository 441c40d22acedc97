"""Nests of several kernels that one function can run.

Why: the levels of a tree are a hundred loops that do the same at other places, so many numbers a time.  To compile a
hundred functions takes seconds, and the processor would fetch each of them anew.

How: boxes of such nests are one nest, whose function gets the first box and the end of those it is to run.  What
differs from box to box is read from a table, as it is among the boxes of one kernel.

Where to start reading: ``alike``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from valuegrad.roll.nests import Nest

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from valuegrad.lower.sharing import Space

__all__ = ["Alike", "alike"]


@dataclass
class Alike:
    """Nests that one function runs.

    Args:
        nest: the boxes of all of them.
        begins: of each nest its first box, and how many there are in all; none of a nest that is alone.
        which: the nests.
    """

    nest: Nest
    begins: tuple[int, ...]
    which: list[int]


def alike(nests: Sequence[Nest], space: Space) -> list[Alike]:
    """The nests, those together that do the same; each of the others alone.

    Args:
        nests: of a segment, in order.
        space: where columns are.
    """
    kinds: dict[Any, list[int]] = {}
    for k, nest in enumerate(nests):
        places = [space(column.space, column.group) for column in nest.kernel.columns]
        kinds.setdefault(_kind(nest, places) or k, []).append(k)
    return [_together(nests, which, space) for which in kinds.values()]


def _kind(nest: Nest, places: list[tuple[str, int, int]]) -> Any:
    """What nests that one function can run have in common; nothing where it is one of its own."""
    kernel = nest.kernel
    if any(piece.feed for body in kernel.bodies for pieces in body.variants for piece in pieces):
        return None
    code = [(body.op, np.float64(body.number).tobytes(), tuple(body.args), body.out) for body in kernel.bodies]
    lists = [(i, tuple(table)) for i, table in nest.pieces.items()]
    memory = [(name, unit, column.move) for (name, unit, _), column in zip(places, kernel.columns)]
    same = (nest.extents == 1).all(0), nest.strides[0], nest.inner[0]
    if (nest.strides != nest.strides[:1]).any() or (nest.inner != nest.inner[:1]).any():
        return None
    return tuple(code), tuple(lists), tuple(memory), *[part.tobytes() for part in same], len(same[0])


def _together(nests: Sequence[Nest], which: list[int], space: Space) -> Alike:
    """Some nests as one, whose columns begin where those of the first one do."""
    first, *others = some = [nests[k] for k in which]
    if not others:
        return Alike(first, (), which)
    begins = np.cumsum([0, *[len(nest.bases) for nest in some]])
    bases = []
    for nest in some:
        moved = nest.bases.copy()
        for c, (column, other) in enumerate(zip(nest.kernel.columns, first.kernel.columns)):
            (_, unit, at), (_, _, begin) = space(column.space, column.group), space(other.space, other.group)
            moved[:, c] += (at - begin) // unit
        bases.append(moved)

    def all_of(name: str) -> NDArray[np.int64]:
        return np.concatenate([getattr(nest, name) for nest in some])

    parts = all_of("extents"), all_of("strides"), all_of("lengths"), all_of("inner")
    return Alike(Nest(first.kernel, first.pieces, np.concatenate(bases), *parts), tuple(begins.tolist()), which)
