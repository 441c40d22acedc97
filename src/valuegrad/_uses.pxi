# Who reads what in a segment: one pass over all operands.  A part of _replay.pyx.
#
# Why: a network's segment has a hundred operands an instruction, and arrays with an entry for each of them take longer to
# fill, and to get from the system, than to look at.
#
# Where to start reading: places_of_use; roll/groups.py says what instructions, groups and operands are.

def places_of_use(const int32_t[::1] starts not None, const int32_t[::1] operands not None,
                  const int32_t[::1] group not None, Py_ssize_t groups, const uint8_t[::1] lists not None):
    """For each group where its members are read.

    Args:
        starts, operands, group, groups: as in ``roll.groups.Segment``.
        lists: uint8[n], whether an instruction is a list that is to be a loop.

    Returns:
        int64[groups], how often; int32[groups], by which group first (-1: by none), and int32[groups], as which of its
        operands; uint8[groups], whether elsewhere too; uint8[groups], whether by a list.
    """
    cdef Py_ssize_t i, k, g, place, n = group.shape[0]
    times, user, slot = numpy.zeros(groups, numpy.int64), numpy.full(groups, -1, numpy.int32), numpy.zeros(groups, numpy.int32)
    differs, by_list = numpy.zeros(groups, numpy.uint8), numpy.zeros(groups, numpy.uint8)
    cdef int64_t[::1] times_ = times
    cdef int32_t[::1] user_ = user, slot_ = slot
    cdef uint8_t[::1] differs_ = differs, by_list_ = by_list
    check_segment(starts, operands, group, groups)
    if lists.shape[0] != n:
        raise ShapeError(f"places_of_use() got {lists.shape[0]} lists of {n} instructions")
    for i in range(n):
        for k in range(starts[i], starts[i + 1]):
            if operands[k] < 0:
                continue
            g, place = group[operands[k]], k - starts[i]
            times_[g] += 1
            by_list_[g] |= lists[i]
            if user_[g] < 0:
                user_[g], slot_[g] = group[i], <int32_t>place
            elif user_[g] != group[i] or slot_[g] != place:
                differs_[g] = 1
    return times, user, slot, differs, by_list


def uses_of(const int32_t[::1] starts not None, const int32_t[::1] operands not None,
            const int32_t[::1] group not None, const uint8_t[::1] wanted not None):
    """All uses of some groups' members.

    Args:
        starts, operands, group: as in ``roll.groups.Segment``.
        wanted: uint8[groups].

    Returns:
        int32[k], the instructions that read one, and int32[k], which operand that is.
    """
    cdef Py_ssize_t i, k, count = 0, n = group.shape[0]
    cdef int32_t[::1] owner_, at_
    check_segment(starts, operands, group, wanted.shape[0])
    if not n:
        return numpy.empty(0, numpy.int32), numpy.empty(0, numpy.int32)
    # No branches: processors would guess wrongly for one operand in so many.  What is below 0 reads instruction 0's, for
    # nothing, and what isn't wanted is written where the next use goes.
    for k in range(operands.shape[0]):
        count += (operands[k] >= 0) & (wanted[group[operands[k] if operands[k] > 0 else 0]] != 0)
    owner, at = numpy.empty(count + 1, numpy.int32), numpy.empty(count + 1, numpy.int32)
    owner_, at_ = owner, at
    count = 0
    for i in range(n):
        for k in range(starts[i], starts[i + 1]):
            owner_[count], at_[count] = <int32_t>i, <int32_t>k
            count += (operands[k] >= 0) & (wanted[group[operands[k] if operands[k] > 0 else 0]] != 0)
    return owner[:count], at[:count]


cdef int check_segment(const int32_t[::1] starts, const int32_t[::1] operands, const int32_t[::1] group,
                       Py_ssize_t groups) except -1:
    """Raise GraphError unless the arrays stay within each other."""
    cdef Py_ssize_t i, n = group.shape[0]
    cdef bint holds = starts.shape[0] == n + 1 and starts[0] == 0 and starts[n] == operands.shape[0]
    for i in range(n if holds else 0):
        holds &= starts[i] <= starts[i + 1] and 0 <= group[i] < groups
    for i in range(operands.shape[0] if holds else 0):
        holds &= operands[i] < n
    if not holds:
        raise GraphError(f"a segment of {n} instructions in {groups} groups reads or is what there isn't")
    return 0
