# The documents of many steps, laid out for the compiled programs.  A part of _replay.pyx.
#
# Why: a step takes a few microseconds, and Python, or a dozen calls of NumPy, would take as long to lay out its documents.
#
# How: the documents of each step are sorted by length, the longest first, equal ones in their order, and cut into blocks
# of `width` lanes.  Sorting counts how many there are of each length: linear, and no comparison is guessed wrongly.
#
# Where to start reading: sorted_blocks, then fill_blocks; gpt/batches.py, which calls them, says what a block is.

def has_wide_units():
    """Whether operations on a whole vector take no longer on this processor than on half of one."""
    return bool(vg_has_wide_units())


ctypedef fused Token:
    uint8_t
    uint16_t
    uint32_t

ctypedef fused Number:
    float
    double


def sorted_blocks(const int64_t[:, ::1] batches not None, const int64_t[::1] positions not None, int64_t most,
                  Py_ssize_t width):
    """Sort the documents of each step by length.

    Args:
        batches: int64[steps, documents], the documents of each step.
        positions: int64[...], how many tokens of each document are predicted.
        most: how many may be.
        width: documents of a block; a step's last one may have fewer.

    Returns:
        int64[steps, documents], the documents sorted; int64[steps, blocks], how many tokens are predicted of each
        block's longest document; int64[steps], how many of all the step's documents.

    Raises:
        IndexRangeError: a document that there isn't.
        ValueArgumentError: a document of which more tokens are predicted than may be, or none.
    """
    cdef Py_ssize_t steps = batches.shape[0], batch = batches.shape[1], blocks = (batch + width - 1) // width, step, i
    cdef int64_t document, count, begin, length
    order, longest = numpy.empty((steps, batch), numpy.int64), numpy.empty((steps, blocks), numpy.int64)
    tokens = numpy.zeros(steps, numpy.int64)
    cdef int64_t[:, ::1] sorted_ = order, longest_ = longest
    cdef int64_t[::1] tokens_ = tokens
    cdef int64_t[::1] places = numpy.empty(most + 1, numpy.int64)  # where the next document of each length goes
    for step in range(steps):
        places[:] = 0
        for i in range(batch):
            document = batches[step, i]
            if not 0 <= document < positions.shape[0]:
                raise IndexRangeError(f"a plan got document {document}; expected 0 to {positions.shape[0] - 1}")
            count = positions[document]
            if not 0 < count <= most:
                raise ValueArgumentError(f"a plan got a document of {count} positions; expected 1 to {most}")
            places[count] += 1
            tokens_[step] += count
        begin = 0
        for length in range(most, 0, -1):
            count = places[length]
            places[length] = begin
            begin += count
        for i in range(batch):
            document = batches[step, i]
            length = positions[document]
            if places[length] % width == 0:
                longest_[step, places[length] // width] = length
            sorted_[step, places[length]] = document
            places[length] += 1
    return order, longest, tokens


def fill_blocks(const Token[:, ::1] tokens not None, const int64_t[::1] positions not None,
                const int64_t[:, ::1] order not None, const int64_t[:, ::1] lengths not None, Py_ssize_t width,
                Number[::1] numbers not None):
    """Write the numbers of all blocks, one block behind the other.

    Args:
        tokens: uint[documents, most + 1], zeros behind each one's end.
        positions: int64[documents], how many tokens of each are predicted.
        order: int64[steps, documents], as ``sorted_blocks`` gives it.
        lengths: int64[steps, blocks], to how many positions each block is filled up.
        width: documents of a block; a step's last one may have fewer.
        numbers: for each block [length + 2, documents], tokens, and how many are predicted; overwritten.

    Returns:
        int64[steps * blocks], where each block's numbers begin.

    Raises:
        ShapeError: too few numbers, or a block that is longer than documents may be.
    """
    cdef Py_ssize_t steps = order.shape[0], batch = order.shape[1], blocks = lengths.shape[1]
    cdef Py_ssize_t step, block, lane, lanes, i, at = 0
    cdef int64_t length, document
    begins = numpy.empty(steps * blocks, numpy.int64)
    cdef int64_t[::1] begins_ = begins
    for step in range(steps):
        for block in range(blocks):
            length = lengths[step, block]
            lanes = min(width, batch - block * width)
            begins_[step * blocks + block] = at
            if not 0 < length < tokens.shape[1] or at + (length + 2) * lanes > numbers.shape[0]:
                raise ShapeError(f"a plan got {numbers.shape[0]} numbers for a block of {lanes} x {length} from {at} on")
            for lane in range(lanes):
                document = order[step, block * width + lane]
                if not 0 <= document < min(tokens.shape[0], positions.shape[0]):
                    raise IndexRangeError(f"a plan got document {document} of {tokens.shape[0]}")
                for i in range(length + 1):
                    numbers[at + i * lanes + lane] = <Number>tokens[document, i]
                numbers[at + (length + 1) * lanes + lane] = <Number>positions[document]
            at += (length + 2) * lanes
    return begins
