# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, always_allow_keywords=False
# cython: embedsignature=True, embedsignature.format=clinic, binding=False, auto_pickle=False
"""Running lowered programs: a graph of MACHINE operations on many lanes at once, or on one.

A graph is cut into segments (``_lower.h``), each becomes machine code (``_jit.h``) or steps of the interpreter
(``_interpreter.h``), and ``_run.h`` runs them.  This file lies between these and Python: it checks arrays.

Where to start reading: ``Code``.
"""

from cpython.buffer cimport PyBUF_FORMAT, PyBUF_ND, PyBUF_STRIDES, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t, uintptr_t
from libc.string cimport memcpy
from libc.stdlib cimport calloc, free

from threading import RLock

import numpy

from valuegrad.errors import GraphError, IndexRangeError, ShapeError, ValueArgumentError, ValueTypeError
from valuegrad.lower.checking import check_arrays, kind_of
from valuegrad.primitives.opcodes import OPS

include "_declarations.pxi"

include "_arrays.pxi"


cdef class Code:
    """A program that runs: made from the arrays of a lowered graph (see valuegrad.graph.Graph).

    Args:
        ops, starts, operands, numbers, outputs: the graph's arrays.
        guard_nodes: int32[g], the conditions that its path relies on.
        guard_expected: uint8[g], what they must be: 1, or 0.
        uniform: uint8[inputs], 1: the input is one number for all lanes.
        dtype: "float64" or "float32".
        strict: equal to the engines to the last bit; else transcendental functions may be 4 ulp off, and faster.
        calls: the Python functions of "call" nodes.
        backend: "auto", "jit" or "interpreter"; or "rolled": nothing runs it until each segment has been installed.

    Attributes:
        backend: what runs it: "jit", "interpreter" or "rolled".
        block: how many lanes one pass over the program computes.
        code_bytes: the size of the machine code, or of the interpreter's steps.
        frame_bytes: the size of a block's numbers.
        uniform_outputs: uint8[outputs], 1: the output is one number for all lanes.

    Raises:
        GraphError: the arrays contradict each other.
        ValueArgumentError: a lane's number depends on a sum over the lanes, or an unknown dtype or backend.
    """

    cdef VgCode *code
    cdef readonly tuple calls
    cdef readonly str dtype
    cdef readonly object uniform_outputs
    cdef list kept
    cdef object builder, lock
    cdef char kind
    cdef int32_t lane_inputs, lane_outputs  # how many inputs and outputs are those of lanes

    def __init__(self, ops, starts, operands, numbers, outputs, guard_nodes, guard_expected, uniform, *,
                 str dtype="float64", bint strict=False, calls=(), str backend="auto"):
        cdef VgGraph graph
        cdef int error = 0
        cdef int32_t where = 0
        if self.code != NULL:
            raise ValueArgumentError("Code.__init__() was called twice; expected once: make a new Code")
        if dtype not in ("float64", "float32"):
            raise ValueArgumentError(f"Code() got dtype {dtype!r}; expected 'float64' or 'float32'")
        if backend not in BACKENDS:
            raise ValueArgumentError(f"Code() got backend {backend!r}; expected one of {sorted(BACKENDS)}")
        self.kept, self.lock = [], RLock()
        self.calls = tuple(calls)
        self.dtype = dtype
        self.kind = c"d" if dtype == "float64" else c"f"
        check_arrays(ops, starts, operands, numbers, outputs, guard_nodes, guard_expected, uniform, self.calls)
        cdef const uint16_t[::1] op_view = numpy.ascontiguousarray(ops)
        cdef const int32_t[::1] start_view = numpy.ascontiguousarray(starts)
        cdef const int32_t[::1] operand_view = numpy.ascontiguousarray(operands)
        cdef const double[::1] number_view = numpy.ascontiguousarray(numbers)
        cdef const int32_t[::1] output_view = numpy.ascontiguousarray(outputs)
        cdef const int32_t[::1] guard_view = numpy.ascontiguousarray(guard_nodes)
        cdef const uint8_t[::1] expected_view = numpy.ascontiguousarray(guard_expected)
        cdef const uint8_t[::1] uniform_view = numpy.ascontiguousarray(uniform)
        graph.count = len(ops)
        graph.inputs = len(uniform)
        graph.outputs = len(outputs)
        graph.guards = len(guard_nodes)
        graph.op = &op_view[0] if len(ops) else NULL
        graph.start = &start_view[0]
        graph.operand = &operand_view[0] if len(operands) else NULL
        graph.number = &number_view[0] if len(numbers) else NULL
        graph.output = &output_view[0] if len(outputs) else NULL
        graph.guard_node = &guard_view[0] if len(guard_nodes) else NULL
        graph.guard_expected = &expected_view[0] if len(guard_expected) else NULL
        graph.uniform = &uniform_view[0] if len(uniform) else NULL
        self.code = vg_new_code(&graph, dtype == "float32", strict, BACKENDS[backend], self.calls, &error, &where)
        if error == VG_SUM_IN_LANES:
            raise ValueArgumentError(
                f"Code(): the result of batch_sum used in the lanes, by node {where}, {OPS[ops[where]]!r}; expected it "
                "only in what is one number for all lanes: use it after the program"
            )
        if error == VG_NO_BACKEND:
            raise ValueArgumentError("Code() got backend 'jit', which cannot run this program here; expected 'auto'")
        if error == VG_UNKNOWN_OPERATION:
            raise GraphError(f"Code() got operation {OPS[where]!r}, which no backend knows; expand the graph first")
        if self.code == NULL:
            raise MemoryError("Code(): no memory for the program")
        cdef const uint8_t *own = self.code.lowered.uniform_output
        cdef Py_ssize_t i
        self.uniform_outputs = numpy.array([own[i] for i in range(len(outputs))], numpy.uint8)
        self.lane_outputs = len(outputs) - numpy.count_nonzero(self.uniform_outputs)
        self.lane_inputs = len(uniform) - numpy.count_nonzero(uniform)

    def __dealloc__(self):
        vg_free_code(self.code)

    @property
    def backend(self):
        """What runs it: "jit", "interpreter" or "rolled"."""
        cdef VgCode *code = self.made()
        return "rolled" if code.is_rolled else "jit" if code.is_compiled else "interpreter"

    @property
    def block(self):
        """How many lanes one pass over the program computes."""
        return self.made().block

    @property
    def instructions(self):
        """How many each segment has (pre, main, post, last), then for each loop its members and instructions."""
        cdef VgCode *code = self.made()
        cdef int k
        segments = tuple([code.lowered.segment[k].count for k in range(4)])
        loops = tuple([(code.lowered.loop[k].members, code.lowered.loop[k].segment.count) for k in range(code.lowered.loops)])
        return segments, loops

    @property
    def code_bytes(self):
        """The size of the machine code, or of the interpreter's steps."""
        return self.made().code_bytes

    @property
    def frame_bytes(self):
        """The size of a block's numbers."""
        return self.made().slots * self.made().block * self.made().item

    def segment(self, int k, bint apart=False, bint rounds=False, bint levels=False):
        """The instructions of segment k (0 pre, 1 main, 2 post, 3 last), for roll.groups.Segment: ops, starts, operands
        in the order of their groups, numbers, each one's group; how many groups, scalars and slots of its own it has;
        its runs, a row (first instruction, period, iterations, first group) each; each group's class, if by `levels`.  The
        rest is vg_find_alike's."""
        cdef VgCode *code = self.made()
        if not 0 <= k < 4:
            raise ValueArgumentError(f"Code.segment() got {k}; expected 0 to 3")
        cdef const VgSegment *segment = &code.lowered.segment[k]
        cdef Py_ssize_t count = segment.count, operands = segment.start[count]
        ops, starts, group = numpy.empty(count, numpy.uint16), numpy.empty(count + 1, numpy.int32), numpy.empty(count + 1, numpy.int32)
        references, numbers, classes = numpy.empty(operands + 1, numpy.int32), numpy.empty(count), numpy.empty(count + 1, numpy.int32)
        cdef uint16_t[::1] to_ops = ops
        cdef int32_t[::1] to_starts = starts, to_references = references, to_group = group, to_classes = classes
        cdef double[::1] to_numbers = numbers
        memcpy(&to_starts[0], segment.start, (count + 1) * sizeof(int32_t))
        if count:
            memcpy(&to_ops[0], segment.op, count * sizeof(uint16_t))
            memcpy(&to_numbers[0], segment.number, count * sizeof(double))
        if operands:
            memcpy(&to_references[0], segment.operand, operands * sizeof(int32_t))
        cdef VgPeriodic *run = NULL
        cdef int32_t i, runs = 0
        cdef int32_t groups = vg_find_alike(segment, apart, rounds, &to_references[0], &to_group[0], &run, &runs,
                                            &to_classes[0] if levels else NULL)
        found = [(run[i].first, run[i].period, run[i].count, run[i].group) for i in range(runs)]
        free(run)
        if groups < 0:
            raise MemoryError("Code.segment(): no memory for the groups")
        return (ops, starts, references[:operands], numbers, group[:count], groups, segment.uniforms, segment.slots, found,
                classes[:groups * levels])

    @property
    def layout(self):
        """What the numbers in memory are, for roll.describe.Layout: for each input the scalar or the slot it goes to (-1:
        nothing reads it), for each output the one it comes from; for each of both 1 if it is a scalar; the scalars
        before a run, constants among them; which one is the number of lanes (-1: none)."""
        cdef VgLowered *lowered = &self.made().lowered
        inputs = numpy.array([lowered.input[k] for k in range(lowered.inputs)], numpy.int32)
        outputs = numpy.array([lowered.output[k] for k in range(lowered.outputs)], numpy.int32)
        own = numpy.array([lowered.uniform_input[k] for k in range(lowered.inputs)], numpy.uint8)
        scalars = numpy.array([lowered.image[k] for k in range(lowered.uniforms)], numpy.float64)
        return inputs, outputs, own, self.uniform_outputs, scalars, lowered.lanes

    @property
    def totals(self):
        """int32[sums]: the scalar in which each sum over the lanes ends."""
        cdef VgCode *code = self.made()
        return numpy.array([code.lowered.total[k] for k in range(code.lowered.accumulators)], numpy.int32)

    def install(self, int k, uintptr_t address, str what, int32_t slots, keep):
        """Run segment k by the function at this address in a frame of so many slots; it computes `what`, of WHAT.
        `keep` owns the function's memory."""
        self.kept.append(keep)
        vg_install(self.made(), k, <VgSegmentFunction>address, WHAT.index(what), slots)

    def install_wide(self, uintptr_t address, int32_t slots, keep):
        """Run two blocks of V lanes at a time by the function at this address, in a frame of so many slots that are twice
        as wide; installed before the one for a block.  `keep` owns the function's memory."""
        cdef VgCode *code = self.made()
        if code.lowered.accumulators or not code.is_rolled or vg_is_made(code, 0):
            raise ValueArgumentError("Code.install_wide() got a program with sums over lanes, or one that runs already")
        self.kept.append(keep)
        vg_install_wide(code, <VgSegmentFunction>address, slots)

    @property
    def runs(self):
        """int32[k, 3] of uniform inputs, likewise of uniform outputs: where numbers lie side by side among the scalars
        and in the array of all: the first one here and there, and how many."""
        cdef VgCode *code = self.made()
        runs = [code.read.run[k] for k in range(code.read.count)], [code.written.run[k] for k in range(code.written.count)]
        return tuple([numpy.array([[*run.values()] for run in some], numpy.int32).reshape(-1, 3) for some in runs])

    @property
    def in_place(self):
        """Runs of inputs and of outputs that stay in their arrays (-1: none); whether the former is read often, its size."""
        cdef VgCode *code = self.made()
        return code.in_place_read, code.in_place_written, code.is_read_often, vg_count(&code.read, code.in_place_read)

    def leave_in_place(self, int32_t read, int32_t written, bint is_read_often, int32_t count):
        """Let a run of inputs and one of outputs (-1: none) stay in their arrays, of the inputs so many."""
        cdef VgCode *code = self.made()
        code.in_place_read = read if read < code.read.count else -1
        code.in_place_written = written if written < code.written.count else -1
        code.is_read_often = is_read_often
        vg_split_run(&code.read, code.in_place_read, count)

    def install_stream(self, uintptr_t address, keep):
        """Run the lanes by the function at this address, which works on the arrays themselves (lower/streams.py); it
        has neither guards nor sums over the lanes.  `keep` owns the function's memory."""
        cdef VgCode *code = self.made()
        if code.lowered.guards or code.lowered.accumulators or code.lowered.slots > VG_STREAM_COLUMNS:
            raise ValueArgumentError("Code.install_stream() got a program with guards, sums over lanes or many arrays")
        self.kept.append(keep)
        code.in_place_read = -1  # it reads scalars
        code.stream = <VgStreamFunction>address

    def build_with(self, builder):
        """Let builder(code, what) install what runs the lanes, when it is wanted for the first time: what of WHAT."""
        self.builder = builder

    @property
    def parts(self):
        """How many threads share a block of lanes; 0: none do."""
        return max(self.made().parts, 0)

    def refuse_parts(self):
        """Let no threads share a block: it would not pay."""
        self.made().parts = -1

    cdef bint is_made(self, Py_ssize_t n, int threads):
        """Whether there are functions for n lanes on so many threads; only a rolled program may lack them."""
        cdef int what = vg_made_for(self.code, n, 1 if self.builder is None else threads)
        return not self.code.is_rolled or n == 0 or vg_is_made(self.code, what)

    cdef int ensure(self, Py_ssize_t n, int threads) except -1:
        """Have them made, by one of the threads that want them."""
        cdef VgCode *code = self.code
        if self.is_made(n, threads):
            return 0
        with self.lock:
            if self.is_made(n, threads):
                return 0
            if self.builder is None:
                raise ValueArgumentError("Code(backend='rolled') runs before its segments were installed; expected after")
            if code.parts == 0 and vg_made_for(code, n, threads) == VG_FOR_SHARED_BLOCK:
                code.parts = min(threads, VG_MOST_PARTS)
            self.builder(self, WHAT[vg_made_for(code, n, threads)])
            if not self.is_made(n, threads):  # that threads share a block was refused
                self.builder(self, WHAT[vg_made_for(code, n, threads)])
        return 0

    @staticmethod
    def has_fma():
        """Whether dots that are not strict are fused multiply-adds on this processor."""
        return bool(vg_has_fma())

    @staticmethod
    def function(int op, str dtype, bint strict):
        """The address of an operation's function, (a, b, out, number, blocks of V lanes); 0: there is none."""
        return <uintptr_t>vg_vector_function(<uint16_t>op, dtype == "float32", strict)

    @staticmethod
    def register_function(int op, str dtype, bint strict):
        """The address of a function that does the same to registers, and how many lanes one holds; 0: there is none."""
        address = <uintptr_t>vg_register_function(<uint16_t>op, dtype == "float32", strict)
        return address, vg_register_lanes(dtype == "float32")

    cdef VgCode *made(self) except NULL:
        """The program, or an error where __init__ was left out or failed."""
        if self.code == NULL:
            raise ValueArgumentError("Code was not initialised; expected Code(ops, starts, ...)")
        return self.code

    def run(self, Py_ssize_t n, list inputs, list outputs, int threads=1):
        """Run all lanes.

        Args:
            n: how many lanes.
            inputs: 1-D contiguous arrays of the dtype, of length n; 1 where the input is uniform.
            outputs: likewise, writable; 1 where uniform_outputs says so.  They may be inputs too, but not overlap
                them in part.
            threads: at most so many.  The results do not depend on it.

        Returns:
            None if every lane passed every guard; else int32[n]: the first guard that failed, or -1.  Outputs of a
            lane where a guard failed mean nothing, nor do sums over lanes then.
        """
        cdef VgCode *code = self.made()
        cdef Py_ssize_t i
        self.check_run(n, threads)
        if len(inputs) != code.lowered.inputs or len(outputs) != code.lowered.outputs:
            raise ShapeError(
                f"Code.run() got {len(inputs)} inputs and {len(outputs)} outputs; "
                f"expected {code.lowered.inputs} and {code.lowered.outputs}"
            )
        cdef Arrays read = Arrays.__new__(Arrays, "Code.run()", len(inputs))
        cdef Arrays write = Arrays.__new__(Arrays, "Code.run()", len(outputs))
        for i in range(len(inputs)):
            read.add(inputs[i], f"input {i}", self.kind, code.item, 1 if code.lowered.uniform_input[i] else n, False)
        for i in range(len(outputs)):
            write.add(outputs[i], f"output {i}", self.kind, code.item, 1 if code.lowered.uniform_output[i] else n, True)
        return self.execute(n, read.pointers, write.pointers, NULL, NULL, threads)

    def run_packed(self, Py_ssize_t n, uniform, list lanes, own, list others, int threads=1):
        """As run, with all that is uniform in one array: for programs with thousands of parameters.

        Args:
            n: how many lanes.
            uniform: all uniform inputs, in their order.
            lanes: an array of length n for each of the other inputs.
            own: where all uniform outputs go, in their order.
            others: an array of length n for each of the other outputs.
            threads: at most so many.
        """
        cdef VgCode *code = self.made()
        cdef Py_ssize_t i
        cdef Py_ssize_t count = code.lowered.inputs - self.lane_inputs
        cdef Py_ssize_t own_count = code.lowered.outputs - self.lane_outputs
        self.check_run(n, threads)
        if len(lanes) != self.lane_inputs or len(others) != self.lane_outputs:
            raise ShapeError(
                f"Code.run_packed() got {len(lanes)} inputs and {len(others)} outputs of lanes; "
                f"expected {self.lane_inputs} and {self.lane_outputs}"
            )
        cdef Arrays packed = Arrays.__new__(Arrays, "Code.run_packed()", 2)
        cdef Arrays read = Arrays.__new__(Arrays, "Code.run_packed()", len(lanes))
        cdef Arrays write = Arrays.__new__(Arrays, "Code.run_packed()", len(others))
        packed.add(uniform, "uniform", self.kind, code.item, count, False)
        packed.add(own, "own", self.kind, code.item, own_count, True)
        for i in range(len(lanes)):
            read.add(lanes[i], f"input {i} of the lanes", self.kind, code.item, n, False)
        for i in range(len(others)):
            write.add(others[i], f"output {i} of the lanes", self.kind, code.item, n, True)
        cdef const char *first = packed.pointers[0]
        if first == NULL:  # an empty array may have no memory, yet that it is packed is told by the pointer
            first = "nothing"
        return self.execute(n, read.pointers, write.pointers, first, <char *>packed.pointers[1], threads)

    cdef int check_run(self, Py_ssize_t n, int threads) except -1:
        if n < 0 or n > <Py_ssize_t>1 << 48:
            raise ValueArgumentError(f"Code.run() got n = {n}; expected a number of lanes, from 0 on")
        if threads < 1:
            raise ValueArgumentError(f"Code.run() got threads={threads}; expected at least 1")
        return self.ensure(n, threads)

    cdef object execute(self, Py_ssize_t n, const char **inputs, const char **outputs, const char *packed,
                        char *packed_out, int threads):
        """Run on memory that has been checked."""
        cdef VgCode *code = self.code
        cdef VgJob job
        cdef int error
        cdef int32_t[::1] failed_view
        job.code = code
        job.n = n
        job.inputs = inputs
        job.outputs = <char **>outputs
        job.packed = packed
        job.packed_out = packed_out
        job.crew = NULL
        job.failed = NULL
        job.has_failed = 0
        failed = None
        if code.lowered.guards and n:
            failed = numpy.empty(n, numpy.int32)
            failed_view = failed
            job.failed = &failed_view[0]
        cdef VgWorkspace *workspace = vg_acquire(code)
        if workspace == NULL:
            raise MemoryError("Code.run(): no memory for a block of lanes")
        with nogil:
            error = vg_run(&job, workspace, threads)
        vg_release(code, workspace)
        if error == VG_NO_MEMORY:
            raise MemoryError("Code.run(): no memory for the sums over lanes")
        if error:
            vg_raise_current()
        return failed if job.has_failed else None

    def iterate(self, Py_ssize_t n, Py_ssize_t steps, int32_t size, uniform, state, list lanes, list rows, own,
                list extras, int threads=1):
        """Run again and again: the first outputs of a step are the first inputs of the next one.

        Args:
            n: how many lanes.
            steps: how many steps.
            size: how many of the first inputs and outputs are the state.  One that enters as uniform must leave so.
            uniform: all uniform inputs, in their order; those of the state are overwritten.
            state: [arrays, n], the state's other inputs; overwritten.
            lanes: for each further input of the lanes its numbers: [steps, n], or [n] if always the same.
            rows: pairs (first, [steps, count]): uniform inputs that differ from step to step, and which ones.
            own: [steps, count], where the uniform outputs after the state go.
            extras: an array [steps, n] for each other output after the state.
            threads: at most so many.

        Returns:
            How many steps were done: fewer than asked if a guard fails in the next one, which leaves the state as
            it was at that step's beginning.
        """
        cdef VgCode *code = self.made()
        cdef VgIteration it
        cdef VgSteps of_state
        cdef Py_ssize_t i, done = 0
        cdef int error
        self.check_run(n, threads)
        if steps < 0 or not 0 <= size <= min(code.lowered.inputs, code.lowered.outputs):
            raise ValueArgumentError(f"Code.iterate() got steps={steps}, size={size}; expected numbers from 0 on")
        it.code, it.n, it.steps, it.size = code, n, steps, size
        vg_count_state(&it)
        for i in range(size):
            if code.lowered.uniform_input[i] and not code.lowered.uniform_output[i]:
                raise ValueArgumentError(f"Code.iterate() got input {i}, uniform, for an output of the lanes")
        if len(lanes) != it.lane_inputs - it.arrays or len(extras) != it.lane_outputs - (size - it.numbers):
            raise ShapeError(
                f"Code.iterate() got {len(lanes)} inputs and {len(extras)} outputs of lanes; "
                f"expected {it.lane_inputs - it.arrays} and {it.lane_outputs - (size - it.numbers)}"
            )
        cdef Py_ssize_t uniforms = code.lowered.inputs - it.lane_inputs
        cdef Arrays held = Arrays.__new__(Arrays, "Code.iterate()", 3 + len(lanes) + len(rows) + len(extras))
        cdef Steps lane_steps = Steps.__new__(Steps, len(lanes))
        cdef Steps row_steps = Steps.__new__(Steps, len(rows))
        cdef Steps extra_steps = Steps.__new__(Steps, len(extras))
        held.add(uniform, "uniform", self.kind, code.item, uniforms, True)
        it.uniform = <char *>held.pointers[0]
        held.add_steps(&of_state, state, "state", self.kind, code.item, it.arrays, n, True)
        if it.arrays > 1 and n and of_state.stride != n * <Py_ssize_t>code.item:
            raise ValueArgumentError("Code.iterate() got a state that is not contiguous; pass a copy of it")
        it.state = of_state.numbers
        held.add_steps(&it.own, own, "own", self.kind, code.item, steps, it.own_outputs - it.numbers, True)
        for i in range(len(lanes)):
            what = f"input {i} of the lanes"
            held.add_steps(&lane_steps.first[i], lanes[i], what, self.kind, code.item, steps, n, False)
        for i in range(len(rows)):
            first, numbers = rows[i]
            count = numbers.shape[1] if isinstance(numbers, numpy.ndarray) and numbers.ndim == 2 else -1
            if not 0 <= first <= first + count <= uniforms:
                raise ShapeError(f"Code.iterate() got {kind_of(numbers)} for row {i}, from uniform input {first} on")
            held.add_steps(&row_steps.first[i], numbers, f"row {i}", self.kind, code.item, steps, count, False)
            row_steps.first[i].first = first
        for i in range(len(extras)):
            what = f"output {i} of the lanes"
            held.add_steps(&extra_steps.first[i], extras[i], what, self.kind, code.item, steps, n, True)
        it.rows, it.row_count = row_steps.first, <int32_t>len(rows)
        it.lanes, it.extras = lane_steps.first, extra_steps.first
        cdef VgWorkspace *workspace = vg_acquire(code)
        if workspace == NULL:
            raise MemoryError("Code.iterate(): no memory for a block of lanes")
        with nogil:
            error = vg_iterate(&it, workspace, threads, &done)
        vg_release(code, workspace)
        if error == VG_NO_MEMORY:
            raise MemoryError("Code.iterate(): no memory for a step")
        if error:
            vg_raise_current()
        return done

    def call(self, tuple args not None):
        """Run one lane: a tuple of floats; None if a guard fails or an argument is no float."""
        cdef VgCode *code = self.code
        if code == NULL or len(args) != code.lowered.inputs:
            self.made()
            raise ShapeError(f"Code.call() got {len(args)} arguments; expected {code.lowered.inputs}")
        if code.is_rolled:
            self.ensure(1, 1)
        return vg_call(code, args)

include "_executable.pxi"
include "_nests.pxi"
include "_descent.pxi"
include "_plan.pxi"
include "_uses.pxi"
