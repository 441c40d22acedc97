"""Documents as arrays, and how the documents of many steps are laid out for the compiled programs.

Why: a step takes less time than Python takes to lay out its documents; so those of many steps are laid out at once.

How: documents differ in length, and a program was recorded for one length.  A batch is sorted by length, the longest
first, and cut into blocks of whole vectors of lanes, or of half ones for threads that would have too few; each block is
filled up to a length that a program was recorded for.  A position that is not there counts for nothing.  A batch of one
document has a block of its own kind: its program is for one lane.

Data structures: ``Documents`` has all tokens in one array.  A ``Plan`` says which blocks each step has, and holds their
numbers: for each block a row for each token and one for the documents' lengths, a column for each document.

Where to start reading: ``Documents.plan``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from math import inf
from typing import TYPE_CHECKING, Any

import numpy as np

from valuegrad.errors import IndexRangeError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from valuegrad.gpt.tokenizer import Tokenizer

__all__ = ["Documents", "Plan", "batch_arrays", "fineness", "padded"]

FINENESS = ((0, 16), (16_384, 8), (131_072, 4), (1_048_576, 2))
"""From so many documents on lengths are multiples of so much: more programs are recorded when they have time to pay.

To have one takes as long as some 80,000 documents, from the disk cache as some 10,000.  This depends on the step alone,
never on time: so a run gives the same numbers each time, also one that goes on."""
FINEST = FINENESS[-1][1]
VECTOR_BYTES = 64  # of lanes that are computed side by side
MOST_BLOCKS = 64  # of a step: each has a gradient of its own, until they are added


def fineness(seen: int) -> tuple[int, float]:
    """Of which number lengths are multiples after so many documents, and until how many.

    Example:
        >>> fineness(0), fineness(100_000), fineness(10**9)
        ((16, 16384), (8, 131072), (2, inf))
    """
    found = [(multiple, end) for (_, multiple), (end, _) in zip(FINENESS, (*FINENESS[1:], (inf, 0)))]
    return next((multiple, end) for multiple, end in found if seen < end)


def padded(positions: int, most: int, finest: int = FINEST) -> int:
    """The length that a document is filled up to: 2, 4, 6 ... 16, 20 ... 32, 40 ... 64, but never more than ``most``.

    Filling costs time at every step, recording once for each length.  A run on names meets 14 lengths.  Half of them
    are recorded in the end, which fills up one position in two documents; of longer documents an eighth at most is
    filling.

    Args:
        positions: how many are predicted.
        most: how many may be.
        finest: of this the length is a multiple at least.

    Example:
        >>> [padded(n, 60) for n in (1, 5, 16, 17, 25, 33, 58)]
        [2, 6, 16, 20, 28, 40, 60]
    """
    step = max(finest, 1 << max((positions - 1).bit_length() - 3, 0))
    return min(-(-positions // step) * step, most)


@lru_cache
def _all_padded(most: int, finest: int) -> NDArray[np.int64]:
    """For each number of positions, from none on, the length that it is filled up to."""
    return np.array([0, *(padded(n, most, finest) for n in range(1, most + 1))])


def batch_arrays(
    documents: Sequence[Sequence[int]], positions: int
) -> tuple[NDArray[np.int64], NDArray[np.floating[Any]]]:
    """Documents side by side, filled up.

    Args:
        documents: the tokens of each, at least two.
        positions: how many tokens are predicted, at least as many as in the longest document.

    Returns:
        tokens, int64[positions + 1, documents], and for each document how many tokens are predicted in truth.

    Example:
        >>> tokens, counts = batch_arrays([[2, 0, 1, 2], [2, 1]], 4)
        >>> tokens.T.tolist(), counts.tolist()
        ([[2, 0, 1, 2, 0], [2, 1, 0, 0, 0]], [3.0, 1.0])
    """
    tokens = np.zeros((positions + 1, len(documents)), dtype=np.int64)
    for i, document in enumerate(documents):
        tokens[: len(document), i] = document
    return tokens, np.array([len(document) - 1.0 for document in documents])


@dataclass(frozen=True, eq=False)
class Plan:
    """The blocks of some steps.

    Args:
        lengths: of the programs that are needed: how many positions.
        alone: whether these are programs for one lane.
        program: int32[blocks], the entry of ``lengths`` that each one runs.
        lanes: int32[blocks], how many documents it has.
        begins: int64[blocks], where its numbers begin.
        numbers: for each block [positions + 2, documents]: tokens, and how many are predicted in truth.
        first: int64[steps + 1], each step's first block.
        batch: how many documents a step has.
        tokens: int64[steps], how many are predicted.
    """

    lengths: tuple[int, ...]
    alone: bool
    program: NDArray[np.int32]
    lanes: NDArray[np.int32]
    begins: NDArray[np.int64]
    numbers: NDArray[np.floating[Any]]
    first: NDArray[np.int64]
    batch: int
    tokens: NDArray[np.int64]

    def __len__(self) -> int:
        """How many steps."""
        return len(self.first) - 1

    def part(self, begin: int, end: int) -> Plan:
        """Some of the steps."""
        blocks = slice(int(self.first[begin]), int(self.first[end]))
        return replace(
            self,
            program=self.program[blocks],
            lanes=self.lanes[blocks],
            begins=self.begins[blocks],
            first=self.first[begin : end + 1] - self.first[begin],
            tokens=self.tokens[begin:end],
        )


class Documents:
    """The tokens of all documents.

    Args:
        tokens: those of all, one document after the other, each with at least two.
        lengths: how many each one has, at most ``most + 1``.
        most: how many are predicted at most.
        vocabulary: how many different ones there are.

    Raises:
        IndexRangeError: a token that is not in the vocabulary.

    Example:
        >>> documents = Documents.of_tokens([[2, 0, 1, 2], [2, 1]], most=8, vocabulary=3)
        >>> plan = documents.plan(np.array([[0, 1]]), np.float64)
        >>> plan.lengths, plan.numbers.reshape(-1, 2).T.tolist()
        ((4,), [[2.0, 0.0, 1.0, 2.0, 0.0, 3.0], [2.0, 1.0, 0.0, 0.0, 0.0, 1.0]])
    """

    def __init__(
        self, tokens: NDArray[np.integer[Any]], lengths: NDArray[np.int64], most: int, vocabulary: int
    ) -> None:
        if len(tokens) and not 0 <= tokens.min() <= tokens.max() < vocabulary:
            raise IndexRangeError(
                f"documents got tokens from {tokens.min()} to {tokens.max()}; expected 0 to {vocabulary - 1}"
            )
        self.most = most
        self.positions = lengths.astype(np.int64) - 1
        self.tokens = np.zeros((len(lengths), most + 1), dtype=np.min_scalar_type(vocabulary))
        self.tokens[np.arange(most + 1) < lengths[:, None]] = tokens

    @classmethod
    def of_texts(cls, texts: Iterable[str], tokenizer: Tokenizer, most: int) -> Documents:
        """Documents from texts, whose characters the tokenizer knows."""
        texts = [text[:most] for text in texts]
        characters = np.frombuffer("".join(texts).encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
        alphabet = np.array([ord(character) for character in tokenizer.characters], dtype=np.uint32)
        order = np.argsort(alphabet)
        inside = np.fromiter(map(len, texts), dtype=np.int64, count=len(texts))
        lengths = np.minimum(inside + 2, most + 1)  # with bos at the beginning, and at the end if it is reached
        first = np.cumsum(lengths) - lengths
        tokens = np.full(int(lengths.sum()), tokenizer.bos, dtype=np.int32)
        at = np.arange(len(characters)) + np.repeat(first + 1 - (np.cumsum(inside) - inside), inside)
        tokens[at] = order[np.searchsorted(alphabet, characters, sorter=order)]
        return cls(tokens, lengths, most, tokenizer.vocabulary)

    @classmethod
    def of_tokens(cls, documents: Sequence[Sequence[int]], most: int, vocabulary: int) -> Documents:
        """Documents from their tokens."""
        documents = [document[: most + 1] for document in documents]
        tokens = np.array([token for document in documents for token in document], dtype=np.int64)
        return cls(tokens, np.array([len(document) for document in documents]), most, vocabulary)

    def plan(self, batches: NDArray[np.int64], dtype: Any, finest: int = FINEST, threads: int = 1) -> Plan:
        """The blocks of steps.

        Args:
            batches: int64[steps, documents], the documents of each step.
            dtype: of the numbers.
            finest: of this the lengths of programs are multiples at least.
            threads: how many share the blocks; it changes no number of a step.

        Raises:
            IndexRangeError: a document that there isn't.
        """
        from valuegrad._replay import fill_blocks, sorted_blocks

        steps, batch = batches.shape
        width = _width(batch, np.dtype(dtype).itemsize, threads)
        order, longest, tokens = sorted_blocks(np.ascontiguousarray(batches), self.positions, self.most, width)
        lengths = _all_padded(self.most, finest)[longest]
        count = lengths.shape[1]
        lanes = np.full(count, width, dtype=np.int32)
        lanes[-1] = batch - (count - 1) * width
        numbers = np.empty(int(((lengths + 2) @ lanes).sum()), dtype=dtype)
        is_met = np.bincount(lengths.ravel()) > 0
        found, program = np.flatnonzero(is_met), (np.cumsum(is_met, dtype=np.int32) - 1)[lengths]
        return Plan(
            lengths=tuple(found.tolist()),
            alone=batch == 1,
            program=program.ravel(),
            lanes=np.tile(lanes, steps),
            begins=fill_blocks(self.tokens, self.positions, order, lengths, width, numbers),
            numbers=numbers,
            first=np.arange(steps + 1, dtype=np.int64) * count,
            batch=batch,
            tokens=tokens,
        )


def halves_pay() -> bool:
    """Whether half of a vector takes half the time on this processor."""
    from valuegrad._replay import has_wide_units

    return not has_wide_units()


def _width(batch: int, item: int, threads: int) -> int:
    """How many documents a block has, but for the last: whole vectors, of which a step has so many at most.

    Half a vector where whole ones are too few for the threads to share them evenly, and it takes half the time: the
    longest documents are side by side, and who has them is the last to be ready.
    """
    vector = VECTOR_BYTES // item
    vectors = -(-batch // vector)
    if threads > 1 and vectors < 2 * threads and halves_pay():
        return vector // 2
    return vector * -(-vectors // MOST_BLOCKS)
