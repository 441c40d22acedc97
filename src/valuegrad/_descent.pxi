# Many training steps in one go: between _descent.h and Python.  A part of _replay.pyx.
#
# Why: a step takes less time than Python takes to hand it its arrays; so the arrays of many steps are handed over at
# once.  This file checks them: whatever they say, nothing beyond them is read or written.
#
# Data structures: Descent holds the programs that all steps share.
#
# Where to start reading: Descent.run.

cdef extern from "_descent.h":
    enum:
        VG_UPDATE_NUMBERS, VG_MOST_ARRAYS, VG_MOST_EXTRAS, VG_MOST_BLOCKS
    ctypedef struct VgBlock:
        int32_t program
        const char *numbers
        int32_t lanes, extras, is_alone
    ctypedef struct VgDescent:
        VgCode **program
        int32_t programs, update, clip
        Py_ssize_t parameters
        int32_t arrays
        char *state
        Py_ssize_t stride
        Py_ssize_t steps
        const int64_t *first
        const VgBlock *block
        const double *rows
        double *losses
    int vg_descend(VgDescent *d, int threads, Py_ssize_t *done) nogil


cdef VgCode *plain(Code code, str what, str dtype) except NULL:
    """A program of the dtype that neither branches nor calls Python."""
    if code.made().lowered.guards or code.calls or code.dtype != dtype:
        raise ValueArgumentError(
            f"Descent() got {what} with {code.code.lowered.guards} guards, {len(code.calls)} Python functions and dtype "
            f"{code.dtype}; expected none of them, and {dtype}"
        )
    return code.code


cdef class Descent:
    """Steps of gradient descent: programs that give the gradient, then one that moves the parameters.

    Args:
        update: its lanes are the parameters.  Inputs: data, gradient and what is remembered, each of a parameter; then,
            the same for all, rate, the step's number, by what the gradient's sum is multiplied, and by what again to
            shorten it.  Outputs: new data and what is remembered.
        parameters: how many there are.
        clip: gives that last number for the gradient's sum and the number before; None: it is 1.

    Raises:
        ValueArgumentError: a program with another layout, with guards, or that calls Python.
    """

    cdef Code update, clip
    cdef Py_ssize_t parameters
    cdef int32_t arrays

    def __init__(self, Code update not None, Py_ssize_t parameters, Code clip=None):
        cdef VgCode *code = plain(update, "an update", update.dtype)
        cdef VgCode *shorten = NULL if clip is None else plain(clip, "a clip", update.dtype)
        self.arrays = code.lowered.outputs
        if (
            not 1 <= self.arrays <= VG_MOST_ARRAYS
            or update.lane_outputs != self.arrays
            or update.lane_inputs != self.arrays + 1
            or code.lowered.inputs != self.arrays + 1 + VG_UPDATE_NUMBERS
        ):
            raise ValueArgumentError(
                f"Descent() got an update with {update.lane_inputs} inputs and {update.lane_outputs} outputs of lanes, "
                f"and {code.lowered.inputs} inputs in all; expected the inputs data, gradient, what is remembered, and "
                f"{VG_UPDATE_NUMBERS} numbers, and the outputs data and what is remembered"
            )
        if clip is not None and (
            clip.lane_inputs
            or clip.lane_outputs
            or shorten.lowered.inputs != parameters + 1
            or shorten.lowered.outputs != 1
        ):
            raise ValueArgumentError(
                f"Descent() got a clip with {shorten.lowered.inputs} inputs; expected {parameters + 1}, and one output"
            )
        self.update, self.clip, self.parameters = update, clip, parameters

    def run(self, state, list codes, const int32_t[::1] code_of not None, const int32_t[::1] lanes not None,
            const int64_t[::1] begins not None, numbers, const int64_t[::1] first not None,
            const double[:, ::1] rows not None, double[::1] losses not None, int threads=1):
        """Do the steps.

        Args:
            state: [arrays, parameters and room for a lone lane's inputs], data first; overwritten.  After an error it
                means nothing.
            codes: programs whose outputs are the sums over the lanes of the gradient and of the loss, and whose first
                inputs are the parameters.  If all inputs are uniform, it is for steps of a single lane.
            code_of: int32[blocks], which of them runs a block.
            lanes: int32[blocks], how many lanes it has.
            begins: int64[blocks], where its numbers begin: of each further input a number for each lane.
            numbers: all these, in one array.
            first: int64[steps + 1], each step's first block, and their number.
            rows: float64[steps, 3]: rate, the step's number, how many lanes it has in all.
            losses: float64[steps], where the mean losses before each step go.
            threads: at most so many.  The results do not depend on it.

        Returns:
            How many steps were done.  If fewer than asked, the loss of the next one is there too, and not finite.
        """
        cdef VgCode *update = self.update.made()
        cdef VgDescent d
        cdef VgBlock *block
        cdef VgCode *code
        cdef Code program
        cdef Py_ssize_t i, j, steps = rows.shape[0], blocks = code_of.shape[0], done = 0
        cdef int64_t room
        cdef int error
        cdef Py_ssize_t width = state.shape[1] if isinstance(state, numpy.ndarray) and state.ndim == 2 else -1
        cdef Arrays held = Arrays.__new__(Arrays, "Descent.run()", 2)
        cdef VgSteps of_state
        if width < self.parameters or threads < 1 or rows.shape[1] != 3:
            raise ShapeError(
                f"Descent.run() got {kind_of(state)} for state, threads={threads} and {rows.shape[1]} numbers a step; "
                f"expected at least {self.parameters} columns, 1 thread or more and 3 numbers"
            )
        held.add_steps(&of_state, state, "state", self.update.kind, update.item, self.arrays, width, True)
        held.add(numbers, "numbers", self.update.kind, update.item, len(numbers), False)
        if (
            first.shape[0] != steps + 1
            or losses.shape[0] != steps
            or lanes.shape[0] != blocks
            or begins.shape[0] != blocks
        ):
            raise ShapeError(
                f"Descent.run() got {first.shape[0]} beginnings of steps, {losses.shape[0]} losses, {lanes.shape[0]} "
                f"and {begins.shape[0]} entries of blocks; expected {steps + 1}, {steps}, {blocks} and {blocks}"
            )
        for i in range(len(codes)):
            program = codes[i]
            code = plain(program, f"program {i}", self.update.dtype)
            if (
                program.lane_outputs
                or code.lowered.outputs != self.parameters + 1
                or not self.parameters <= code.lowered.inputs <= self.parameters + VG_MOST_EXTRAS
                or program.lane_inputs not in (0, code.lowered.inputs - self.parameters)
            ):
                raise ShapeError(
                    f"Descent.run() got program {i} with {code.lowered.inputs} inputs, {program.lane_inputs} of "
                    f"lanes, and {code.lowered.outputs} outputs; expected {self.parameters} parameters and at most "
                    f"{VG_MOST_EXTRAS} inputs of lanes, and {self.parameters + 1} sums over the lanes"
                )
        for i in range(steps):
            if not 0 <= first[i] < first[i + 1] <= min(blocks, first[i] + VG_MOST_BLOCKS):
                raise ShapeError(f"Descent.run() got step {i} with blocks {first[i]} to {first[i + 1]} of {blocks}")
        cdef object memory = numpy.empty(max(blocks, 1) * sizeof(VgBlock), numpy.uint8)
        cdef uint8_t[::1] view = memory
        block = <VgBlock *>&view[0]
        for i in range(blocks):
            if not 0 <= code_of[i] < len(codes):
                raise ShapeError(f"Descent.run() got program {code_of[i]} for block {i}; there are {len(codes)}")
            program = <Code>codes[code_of[i]]
            code = program.code
            block[i].program = code_of[i]
            block[i].lanes = lanes[i]
            block[i].extras = code.lowered.inputs - <int32_t>self.parameters
            block[i].is_alone = program.lane_inputs == 0
            room = <int64_t>block[i].extras * block[i].lanes
            if lanes[i] < 1 or begins[i] < 0 or begins[i] + room > len(numbers):
                raise ShapeError(
                    f"Descent.run() got block {i} of {lanes[i]} lanes from number {begins[i]} on; there are "
                    f"{len(numbers)} numbers"
                )
            block[i].numbers = held.pointers[1] + begins[i] * <Py_ssize_t>update.item
            if block[i].is_alone and (lanes[i] != 1 or width < self.parameters + block[i].extras):
                raise ShapeError(
                    f"Descent.run() got {lanes[i]} lanes and a state of {width} columns for block {i}, whose program is "
                    f"for one lane; expected one, and {self.parameters + block[i].extras} columns"
                )
        for i in range(steps):
            for j in range(first[i], first[i + 1]):
                if block[j].is_alone and first[i + 1] - first[i] > 1:
                    raise ShapeError(f"Descent.run() got a program for one lane in step {i}, which has more blocks")
                program = <Code>codes[code_of[j]]  # threads share a block where there is none for each of them
                program.ensure(1 if block[j].is_alone else max(lanes[j], 2),
                               threads if first[i + 1] - first[i] < threads else 1)
        if steps == 0:
            return 0
        self.update.ensure(2, 1)
        if self.clip is not None:
            self.clip.ensure(1, 1)
        cdef Code each
        cdef list programs = [*codes, self.update, *([] if self.clip is None else [self.clip])]
        cdef uint64_t[::1] addresses = numpy.empty(len(programs), numpy.uint64)
        for i in range(len(programs)):
            each = programs[i]
            addresses[i] = <uint64_t><uintptr_t>each.made()
        d.program = <VgCode **>&addresses[0]
        d.programs = <int32_t>len(programs)
        d.update = <int32_t>len(codes)
        d.clip = -1 if self.clip is None else d.update + 1
        d.parameters = self.parameters
        d.arrays = self.arrays
        d.state = of_state.numbers
        d.stride = of_state.stride
        d.steps = steps
        d.first = &first[0]
        d.block = block
        d.rows = &rows[0, 0]
        d.losses = &losses[0]
        with nogil:
            error = vg_descend(&d, threads, &done)
        if error:
            raise MemoryError("Descent.run(): no memory for a step")
        return done
