# What _replay.pyx uses of the C headers.  Each name is explained where it is defined.

cdef extern from "_iterate.h":
    enum:
        VG_LOWERED, VG_NO_MEMORY, VG_SUM_IN_LANES, VG_NO_BACKEND, VG_UNKNOWN_OPERATION
        VG_BACKEND_AUTO, VG_BACKEND_JIT, VG_BACKEND_INTERPRETER, VG_BACKEND_ROLLED
    ctypedef struct VgGraph:
        int32_t count, inputs, outputs, guards
        const uint16_t *op
        const int32_t *start
        const int32_t *operand
        const int32_t *output
        const int32_t *guard_node
        const double *number
        const uint8_t *guard_expected
        const uint8_t *uniform
    ctypedef void (*VgStreamFunction)(char **columns, const void *uniform, int64_t count) noexcept
    ctypedef void (*VgSegmentFunction)(void *frame, void *uniform, void *accumulators, int32_t *failed,
                                       uint64_t valid_bits) noexcept
    ctypedef void (*VgVectorFunction)(const void *a, const void *b, void *out, double number, int64_t blocks) noexcept
    VgVectorFunction vg_vector_function(uint16_t op, int is_float32, int strict)
    void *vg_register_function(uint16_t op, int is_float32, int strict)
    int vg_register_lanes(int is_float32)
    ctypedef struct VgSegment:
        int32_t count, uniforms, slots
        const uint16_t *op
        const int32_t *start
        const int32_t *operand
        const double *number
    ctypedef struct VgPiece:
        VgSegmentFunction function
    ctypedef struct VgLoop:
        VgSegment segment
        int32_t members
    ctypedef struct VgLowered:
        int32_t inputs, outputs, guards, loops, accumulators, uniforms, slots, lanes
        double *image
        int32_t *input
        int32_t *output
        int32_t *total
        VgSegment segment[4]
        VgLoop *loop
        uint8_t *uniform_input
        uint8_t *uniform_output
    ctypedef struct VgRun:
        int32_t uniform, packed, count
    ctypedef struct VgRuns:
        VgRun *run
        int32_t count
    ctypedef struct VgCode:
        VgLowered lowered
        VgRuns read, written
        int32_t in_place_read, in_place_written
        int is_read_often
        int parts
        VgPiece *piece
        VgStreamFunction stream
        int is_compiled, is_rolled
        int32_t slots
        Py_ssize_t block
        size_t item, code_bytes
    enum:
        VG_STREAM_COLUMNS
    ctypedef struct VgWorkspace
    ctypedef struct VgJob:
        VgCode *code
        Py_ssize_t n
        const char **inputs
        char **outputs
        const char *packed
        char *packed_out
        void *crew
        int32_t *failed
        int has_failed
    ctypedef struct VgSteps:
        char *numbers
        Py_ssize_t stride
        int32_t first, count
    ctypedef struct VgIteration:
        VgCode *code
        Py_ssize_t n, steps
        int32_t size
        char *uniform
        char *state
        VgSteps *rows
        int32_t row_count
        VgSteps *lanes
        VgSteps own
        VgSteps *extras
        int32_t arrays, numbers, filled, own_outputs, lane_inputs, lane_outputs
    void vg_count_state(VgIteration *iteration)
    int vg_iterate(VgIteration *iteration, VgWorkspace *workspace, int threads, Py_ssize_t *done) nogil
    int VG_FOR_BLOCKS, VG_FOR_ONE_LANE, VG_FOR_ONE_BLOCK, VG_FOR_SHARED_BLOCK, VG_FOR_HALF_A_BLOCK, VG_MOST_PARTS
    int vg_made_for(const VgCode *code, Py_ssize_t n, int threads)
    bint vg_is_made(const VgCode *code, int what)
    void vg_install(VgCode *code, int k, VgSegmentFunction function, int what, int32_t slots)
    void vg_install_wide(VgCode *code, VgSegmentFunction function, int32_t slots)
    int32_t vg_count(const VgRuns *runs, int32_t which)
    void vg_split_run(VgRuns *runs, int32_t which, int32_t count)
    VgCode *vg_new_code(const VgGraph *graph, int is_float32, int strict, int backend, object calls, int *error,
                        int32_t *where)
    int vg_has_fma()
    int vg_has_wide_units()
    void *vg_executable(const void *code, size_t bytes)
    void vg_jit_free(void *memory, size_t memory_bytes)
    void vg_free_code(VgCode *code)
    VgWorkspace *vg_acquire(VgCode *code)
    void vg_release(VgCode *code, VgWorkspace *workspace)
    int vg_run(VgJob *job, VgWorkspace *workspace, int threads) nogil


cdef extern from "_group.h":
    ctypedef struct VgPeriodic:
        int32_t first, period, count, end, group

cdef extern from "_levels.h":
    int32_t vg_find_alike(const VgSegment *segment, int apart, int rounds, int32_t *operand, int32_t *group,
                          VgPeriodic **run, int32_t *runs, int32_t *class_of)

cdef extern from "_call.h":
    object vg_call(VgCode *code, tuple arguments)

cdef extern from *:
    """
    static PyObject *vg_raise_current(void) { return NULL; }
    """
    object vg_raise_current()  # raise what a Python function raised while a program ran

cdef dict BACKENDS = {"auto": VG_BACKEND_AUTO, "jit": VG_BACKEND_JIT, "interpreter": VG_BACKEND_INTERPRETER,
                      "rolled": VG_BACKEND_ROLLED}

# What a function of a rolled program computes: VG_FOR_BLOCKS, VG_FOR_ONE_LANE ... in their order.
cdef tuple WHAT = ("blocks", "one lane", "one block", "shared block", "half a block")
