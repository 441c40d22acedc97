/* Running a program: over the lanes of a batch in blocks, on one thread or several, and for a single lane.
 *
 * Results never depend on threads or on how a batch is cut.  The lanes are cut into chunks whose size depends on
 * their number alone; a sum over the lanes is added block by block in a chunk, then over the block's V lanes in pairs,
 * then chunk after chunk.  A thread takes one chunk after the other; each has its own workspace.
 *
 * Data structures
 *   VgCode       a program ready to run: read-only while it runs, but for `idle`.
 *   VgWorkspace  the memory of one run in one thread: frame, sums, scalars.  A finished run leaves it in `idle` for
 *                the next one, so a single call allocates nothing.
 *   VgJob        one run: the arrays, and what its threads share.
 *
 * Where to start reading: vg_run, then vg_run_lanes; vg_call is the short way for a single lane. */
#ifndef VALUEGRAD_RUN_H
#define VALUEGRAD_RUN_H

#include "_interpreter.h"
#include "_jit.h"
#include "_lower.h"

#ifndef _WIN32
#define VG_HAS_THREADS 1
#include <pthread.h>
#else
#define VG_HAS_THREADS 0
#endif

enum {
    VG_MOST_CHUNKS = 64,
    VG_CHUNK_BLOCKS = 16,            /* a chunk is a multiple of so many blocks of V lanes */
    VG_FRAME_BYTES = 24 * 1024,      /* the interpreter's frame, if it can be so small: the first cache holds it */
    VG_MOST_VECTORS = 16,            /* in a block of the interpreter */
    VG_WORK_FOR_A_THREAD = 200 * 1000, /* lanes times instructions that pay for starting one */
    VG_MOST_THREADS = 64
};

typedef struct {
    int32_t position; /* among all inputs or outputs */
    int32_t rank;     /* among those of the lanes */
    int32_t slot;
} VgColumn; /* an input or output of the lanes */

typedef struct VgWorkspace {
    VgContext context;
    void *memory; /* what free() wants; the context's pointers are aligned parts of it */
} VgWorkspace;

typedef struct VgCode {
    VgLowered lowered;
    VgInterpreted interpreted[VG_SEGMENTS];
    VgSegmentFunction function[VG_SEGMENTS]; /* of the assembler; NULL: interpreted */
    void *machine_code[VG_SEGMENTS];
    size_t machine_bytes[VG_SEGMENTS];
    VgColumn *lane_inputs, *lane_outputs;
    int32_t lane_input_count, lane_output_count;
    int is_float32, is_compiled;
    int32_t slots, scratch;
    ptrdiff_t vector, block; /* lanes: V, and as many as one pass over the program takes */
    size_t item, code_bytes;
    PyObject *calls; /* borrowed from Code */
    VgWorkspace *idle;
} VgCode;

/* ------------------------------------------------------------------------------------------------- making one */
static void vg_free_workspace(VgWorkspace *workspace) {
    if (workspace == NULL) return;
    free(workspace->memory);
    free(workspace);
}

static void vg_free_code(VgCode *code) {
    if (code == NULL) return;
    for (int k = 0; k < VG_SEGMENTS; k++) {
        if (code->function[k] != NULL) vg_jit_free(code->machine_code[k], code->machine_bytes[k]);
        vg_free_interpreted(&code->interpreted[k]);
    }
    vg_free_lowered(&code->lowered);
    vg_free_workspace(code->idle);
    free(code->lane_inputs);
    free(code->lane_outputs);
    free(code);
}

static size_t vg_aligned(size_t bytes) { return (bytes + 63) & ~(size_t)63; }

/* `uniform`: the scalars of the run that the new one is another thread of; NULL: it gets its own, constants filled in. */
static VgWorkspace *vg_new_workspace(const VgCode *code, void *uniform) {
    const size_t item = code->item, block = (size_t)code->block;
    const size_t frame = vg_aligned((size_t)code->slots * block * item);
    const size_t sums = (size_t)code->lowered.accumulators * VG_BLOCK_BYTES;
    const size_t scalars = uniform ? 0 : vg_aligned((size_t)code->lowered.uniforms * item);
    const size_t failed = vg_aligned(block * sizeof(int32_t)), scratch = (size_t)code->scratch * sizeof(double);
    VgWorkspace *const w = (VgWorkspace *)calloc(1, sizeof *w);
    if (w == NULL) return NULL;
    w->memory = malloc(frame + sums + scalars + failed + scratch + 64);
    if (w->memory == NULL) {
        free(w);
        return NULL;
    }
    char *at = (char *)w->memory;
    at += vg_aligned((size_t)(uintptr_t)at) - (size_t)(uintptr_t)at;
    w->context.frame = at;
    w->context.accumulators = at + frame;
    w->context.uniform = uniform ? uniform : at + frame + sums;
    w->context.failed = (int32_t *)(at + frame + sums + scalars);
    w->context.scratch = (double *)(at + frame + sums + scalars + failed);
    w->context.calls = code->calls;
    for (int32_t i = 0; !uniform && i < code->lowered.uniforms; i++) {
        if (code->is_float32) ((float *)w->context.uniform)[i] = (float)code->lowered.image[i];
        else ((double *)w->context.uniform)[i] = code->lowered.image[i];
    }
    return w;
}

/* Both with the GIL held. */
static VgWorkspace *vg_acquire(VgCode *code) {
    VgWorkspace *const w = code->idle;
    code->idle = NULL;
    return w != NULL ? w : vg_new_workspace(code, NULL);
}

static void vg_release(VgCode *code, VgWorkspace *w) {
    if (code->idle == NULL) code->idle = w;
    else vg_free_workspace(w);
}

/* The columns that exist: `all` are where each one goes; uniform ones, and those that nothing reads, are not there. */
static VgColumn *vg_columns(const int32_t *all, const uint8_t *uniform, int32_t n, int32_t *count) {
    VgColumn *const columns = (VgColumn *)malloc(((size_t)n + 1) * sizeof *columns);
    int32_t rank = 0;
    *count = 0;
    for (int32_t i = 0; columns != NULL && i < n; i++) {
        if (uniform[i]) continue;
        const VgColumn column = {i, rank++, all[i]};
        if (all[i] >= 0) columns[(*count)++] = column;
    }
    return columns;
}

static int vg_compile_segment(VgCode *code, int k, int strict) {
    const VgSegment *const segment = &code->lowered.segment[k];
    int32_t slots = 0;
    size_t bytes = 0;
    code->function[k] = vg_jit_compile(segment, code->is_float32, strict, &slots, &bytes, &code->machine_code[k],
                                       &code->machine_bytes[k]);
    if (code->function[k] == NULL) return 0;
    code->code_bytes += bytes;
    if (slots > code->slots) code->slots = slots;
    return 1;
}

static int vg_translate_segment(VgCode *code, int k, int strict) {
    VgInterpreted *const to = &code->interpreted[k];
    const int result = vg_translate(&code->lowered.segment[k], code->is_float32, strict, to);
    if (result != 0) return result;
    if (to->slots > code->slots) code->slots = to->slots;
    if (to->scratch > code->scratch) code->scratch = to->scratch;
    code->code_bytes += (size_t)to->count * sizeof(VgStep);
    return 0;
}

enum { VG_BACKEND_AUTO, VG_BACKEND_JIT, VG_BACKEND_INTERPRETER };
enum { VG_NO_BACKEND = -3, VG_UNKNOWN_OPERATION = -4 }; /* besides those of _lower.h */

/* A program from a checked graph.  Otherwise NULL, with *error and *where, the node or operation at fault. */
static VgCode *vg_new_code(const VgGraph *graph, int is_float32, int strict, int backend, PyObject *calls, int *error,
                           int32_t *where) {
    VgCode *const code = (VgCode *)calloc(1, sizeof *code);
    int compiled = backend != VG_BACKEND_INTERPRETER && vg_jit_available();
    *error = VG_NO_MEMORY;
    if (code == NULL) return NULL;
    code->is_float32 = is_float32;
    code->item = is_float32 ? sizeof(float) : sizeof(double);
    code->vector = (ptrdiff_t)(VG_BLOCK_BYTES / code->item);
    code->calls = calls;
    *error = vg_lower(graph, &code->lowered, where);
    if (*error != VG_LOWERED) goto failed;
    for (int k = 0; k < VG_SEGMENTS && compiled; k++) compiled = vg_compile_segment(code, k, strict);
    *error = VG_NO_BACKEND;
    if (!compiled && backend == VG_BACKEND_JIT) goto failed;
    for (int k = 0; k < VG_SEGMENTS && !compiled; k++) { /* all three, so that `block` fits all */
        if (code->function[k] != NULL) vg_jit_free(code->machine_code[k], code->machine_bytes[k]);
        code->function[k] = NULL;
        if (k == 0) code->code_bytes = 0, code->slots = 0;
        const int result = vg_translate_segment(code, k, strict);
        *error = result < 0 ? VG_NO_MEMORY : VG_UNKNOWN_OPERATION;
        *where = result - 1;
        if (result != 0) goto failed;
    }
    code->is_compiled = compiled;
    code->block = code->vector;
    if (!compiled) {
        ptrdiff_t vectors = VG_FRAME_BYTES / (VG_BLOCK_BYTES * ((ptrdiff_t)code->slots + 1));
        vectors = vectors < 1 ? 1 : vectors > VG_MOST_VECTORS ? VG_MOST_VECTORS : vectors;
        code->block = vectors * code->vector;
    }
    const VgLowered *const l = &code->lowered;
    code->lane_inputs = vg_columns(l->input, l->uniform_input, l->inputs, &code->lane_input_count);
    code->lane_outputs = vg_columns(l->output, l->uniform_output, l->outputs, &code->lane_output_count);
    *error = VG_NO_MEMORY;
    if (code->lane_inputs == NULL || code->lane_outputs == NULL) goto failed;
    *error = VG_LOWERED;
    return code;
failed:
    vg_free_code(code);
    return NULL;
}

/* -------------------------------------------------------------------------------------- scalars and sums, by type */
static inline void vg_put(const VgCode *code, void *numbers, ptrdiff_t i, double x) {
    if (code->is_float32) ((float *)numbers)[i] = (float)x;
    else ((double *)numbers)[i] = x;
}

static inline double vg_get(const VgCode *code, const void *numbers, ptrdiff_t i) {
    return code->is_float32 ? (double)((const float *)numbers)[i] : ((const double *)numbers)[i];
}

static inline void vg_copy_number(const VgCode *code, void *to, const void *from) {
    if (code->is_float32) memcpy(to, from, sizeof(float));
    else memcpy(to, from, sizeof(double));
}

/* Sums begin at -0.0, which leaves what is added to it as it is. */
static void vg_clear_sums(const VgCode *code, void *accumulators) {
    const size_t n = (size_t)code->lowered.accumulators * (size_t)code->vector;
    if (code->is_float32)
        for (size_t i = 0; i < n; i++) ((float *)accumulators)[i] = -0.0f;
    else
        for (size_t i = 0; i < n; i++) ((double *)accumulators)[i] = -0.0;
}

/* From a sum for each of V lanes to their total, neighbours first: ((0 + 1) + (2 + 3)) + ((4 + 5) + (6 + 7)). */
#define VG_IN_PAIRS(T)                                                                                                \
    for (int32_t k = 0; k < sums; k++) {                                                                              \
        T *const lane = (T *)accumulators + (size_t)k * (size_t)vector;                                               \
        for (ptrdiff_t apart = 1; apart < vector; apart *= 2)                                                         \
            for (ptrdiff_t i = 0; i < vector; i += 2 * apart) lane[i] = lane[i] + lane[i + apart];                    \
        ((T *)totals)[k] = lane[0];                                                                                   \
    }
static void vg_totals(const VgCode *code, void *accumulators, void *totals) {
    const ptrdiff_t vector = code->vector;
    const int32_t sums = code->lowered.accumulators;
    if (code->is_float32) {
        VG_IN_PAIRS(float)
    } else {
        VG_IN_PAIRS(double)
    }
}

static void vg_segment(const VgCode *code, int k, VgContext *c) {
    if (code->function[k] != NULL)
        code->function[k](c->frame, c->uniform, c->accumulators, c->failed, ((uint64_t)1 << c->valid) - 1);
    else
        vg_interpret(&code->interpreted[k], c);
}

/* `pre` or `post`: in one vector, whose first lane counts.  The guard that fails, or VG_PASSED. */
static int32_t vg_uniform_segment(const VgCode *code, int k, VgContext *c) {
    if (code->lowered.segment[k].count == 0) return VG_PASSED;
    c->lanes = code->vector;
    c->valid = 1;
    for (ptrdiff_t i = 0; i < code->vector; i++) c->failed[i] = VG_PASSED;
    vg_segment(code, k, c);
    return c->failed[0];
}

/* ----------------------------------------------------------------------------------------------- a whole batch */
typedef struct VgJob {
    VgCode *code;
    ptrdiff_t n;
    const char *const *inputs; /* one for each input; if `packed`, for each input of the lanes */
    char *const *outputs;
    const char *packed; /* all uniform inputs, one after the other; NULL: each has its own array in `inputs` */
    char *packed_out;   /* where all uniform outputs go then */
    int32_t *failed; /* n, to be filled once a guard fails; NULL: the program has no guards */
    int has_failed;
    int error; /* a Python function has raised (1), or there is no memory (VG_NO_MEMORY) */
    /* among its threads */
    void *uniform;
    int32_t before; /* the guard that failed for all lanes, or VG_PASSED */
    ptrdiff_t chunk, chunks, next;
    char *totals; /* of each chunk */
#if VG_HAS_THREADS
    pthread_mutex_t mutex;
#endif
} VgJob;

static inline void vg_lock(VgJob *job) {
#if VG_HAS_THREADS
    pthread_mutex_lock(&job->mutex);
#else
    (void)job;
#endif
}

static inline void vg_unlock(VgJob *job) {
#if VG_HAS_THREADS
    pthread_mutex_unlock(&job->mutex);
#else
    (void)job;
#endif
}

/* A block's inputs into the frame; what is missing to a whole number of vectors repeats the last lane. */
static void vg_load(const VgJob *job, VgContext *c, ptrdiff_t from) {
    const VgCode *const code = job->code;
    const size_t item = code->item, bytes = (size_t)c->valid * item, slot = (size_t)c->lanes * item;
    for (int32_t i = 0; i < code->lane_input_count; i++) {
        const VgColumn column = code->lane_inputs[i];
        char *const to = (char *)c->frame + (size_t)column.slot * slot;
        memcpy(to, job->inputs[job->packed ? column.rank : column.position] + (size_t)from * item, bytes);
        for (size_t at = bytes; at < slot; at += item) memcpy(to + at, to + bytes - item, item);
    }
}

static void vg_store(const VgJob *job, const VgContext *c, ptrdiff_t from) {
    const VgCode *const code = job->code;
    const size_t item = code->item, bytes = (size_t)c->valid * item, slot = (size_t)c->lanes * item;
    for (int32_t i = 0; i < code->lane_output_count; i++) {
        const VgColumn column = code->lane_outputs[i];
        memcpy(job->outputs[job->packed ? column.rank : column.position] + (size_t)from * item,
               (const char *)c->frame + (size_t)column.slot * slot, bytes);
    }
}

/* Tell the caller which guards failed: -1 stands in all lanes before the first one is written. */
static void vg_note_failures(VgJob *job, const VgContext *c, ptrdiff_t from) {
    int32_t least = VG_PASSED;
    for (ptrdiff_t i = 0; i < c->valid; i++) least = c->failed[i] < least ? c->failed[i] : least;
    if (least == VG_PASSED) return;
    vg_lock(job);
    if (!job->has_failed) memset(job->failed, 0xff, (size_t)job->n * sizeof *job->failed);
    job->has_failed = 1;
    vg_unlock(job);
    for (ptrdiff_t i = 0; i < c->valid; i++)
        if (c->failed[i] != VG_PASSED) job->failed[from + i] = c->failed[i];
}

static void vg_run_chunk(VgJob *job, VgContext *c, ptrdiff_t which) {
    const VgCode *const code = job->code;
    const ptrdiff_t last = job->n - which * job->chunk, end = last < job->chunk ? job->n : (which + 1) * job->chunk;
    vg_clear_sums(code, c->accumulators);
    for (ptrdiff_t from = which * job->chunk; from < end && !c->error; from += code->block) {
        c->valid = end - from < code->block ? end - from : code->block;
        c->lanes = (c->valid + code->vector - 1) / code->vector * code->vector;
        vg_load(job, c, from);
        for (ptrdiff_t i = 0; i < c->lanes; i++) c->failed[i] = job->before;
        vg_segment(code, VG_MAIN, c);
        vg_store(job, c, from);
        if (code->lowered.guards > 0) vg_note_failures(job, c, from);
    }
    if (code->lowered.accumulators > 0)
        vg_totals(code, c->accumulators, job->totals + (size_t)which * (size_t)code->lowered.accumulators * code->item);
}

/* What each thread does: one chunk after the other, until there is none. */
static void vg_run_chunks(VgJob *job, VgContext *c) {
    for (;;) {
        vg_lock(job);
        const ptrdiff_t which = job->error ? job->chunks : job->next++;
        vg_unlock(job);
        if (which >= job->chunks) return;
        vg_run_chunk(job, c, which);
        if (c->error) {
            vg_lock(job);
            job->error = c->error;
            vg_unlock(job);
        }
    }
}

#if VG_HAS_THREADS
/* Without memory for a workspace this thread leaves its chunks to the others. */
static void *vg_thread(void *argument) {
    VgJob *const job = (VgJob *)argument;
    VgWorkspace *const w = vg_new_workspace(job->code, job->uniform);
    if (w != NULL) vg_run_chunks(job, &w->context);
    vg_free_workspace(w);
    return NULL;
}
#endif

/* All lanes, on this thread and on as many others as are worth their start. */
static void vg_run_lanes(VgJob *job, VgContext *c, int threads) {
#if VG_HAS_THREADS
    pthread_t others[VG_MOST_THREADS];
    int started = 0;
    const double work = (double)job->n * ((double)job->code->lowered.segment[VG_MAIN].count + 1.0);
    double most = work / VG_WORK_FOR_A_THREAD;
    if (most > (double)job->chunks) most = (double)job->chunks;
    if (most > VG_MOST_THREADS) most = VG_MOST_THREADS;
    if (job->code->interpreted[VG_MAIN].has_calls) most = 1.0; /* they would wait for the GIL, and an error is this thread's */
    pthread_mutex_init(&job->mutex, NULL);
    while (started + 1 < threads && started + 1 < most &&
           pthread_create(&others[started], NULL, vg_thread, job) == 0)
        started++;
    vg_run_chunks(job, c);
    while (started > 0) pthread_join(others[--started], NULL);
    pthread_mutex_destroy(&job->mutex);
#else
    (void)threads;
    vg_run_chunks(job, c);
#endif
}

/* The chunks' sums, in order; without lanes 0. */
static void vg_add_chunks(const VgJob *job, VgContext *c) {
    const VgCode *const code = job->code;
    const int32_t sums = code->lowered.accumulators;
    for (int32_t k = 0; k < sums; k++) {
        double total = job->chunks > 0 ? vg_get(code, job->totals, k) : 0.0;
        for (ptrdiff_t j = 1; j < job->chunks; j++) {
            const double next = vg_get(code, job->totals + (size_t)j * (size_t)sums * code->item, k);
            total = code->is_float32 ? (double)((float)total + (float)next) : total + next;
        }
        vg_put(code, c->uniform, code->lowered.total[k], total);
    }
}

/* Run a program; the caller has checked the arrays and filled in job's first five members.  Needs no GIL, but a
 * workspace that was acquired with it.  0; or 1 if a Python function raised, VG_NO_MEMORY. */
static int vg_run(VgJob *job, VgWorkspace *w, int threads) {
    VgCode *const code = job->code;
    const VgLowered *const l = &code->lowered;
    VgContext *const c = &w->context;
    const ptrdiff_t blocks = job->n / code->vector + (job->n % code->vector != 0);
    ptrdiff_t chunk_blocks = blocks / VG_MOST_CHUNKS + (blocks % VG_MOST_CHUNKS != 0);
    chunk_blocks = (chunk_blocks + VG_CHUNK_BLOCKS - 1) / VG_CHUNK_BLOCKS * VG_CHUNK_BLOCKS;
    job->chunk = chunk_blocks * code->vector;
    job->chunks = blocks > 0 ? (blocks + chunk_blocks - 1) / chunk_blocks : 0;
    job->uniform = c->uniform;
    job->totals = NULL;
    job->next = 0;
    job->has_failed = job->error = 0;
    if (l->accumulators > 0 && job->chunks > 0) {
        job->totals = (char *)malloc((size_t)job->chunks * (size_t)l->accumulators * code->item);
        if (job->totals == NULL) return VG_NO_MEMORY;
    }
    c->error = 0;
    const char *packed = job->packed;
    for (int32_t i = 0; i < l->inputs; i++) {
        if (!l->uniform_input[i]) continue;
        const char *const from = packed ? packed : job->inputs[i];
        if (l->input[i] >= 0) vg_copy_number(code, (char *)c->uniform + (size_t)l->input[i] * code->item, from);
        if (packed) packed += code->item;
    }
    if (l->lanes >= 0) vg_put(code, c->uniform, l->lanes, (double)job->n);
    job->before = vg_uniform_segment(code, VG_PRE, c);
    if (!c->error && job->n > 0 && (l->segment[VG_MAIN].count > 0 || code->lane_output_count > 0 || l->guards > 0))
        vg_run_lanes(job, c, threads);
    if (!c->error) {
        vg_add_chunks(job, c);
        const int32_t after = vg_uniform_segment(code, VG_POST, c);
        if (after != VG_PASSED && job->n > 0) {
            if (!job->has_failed) memset(job->failed, 0xff, (size_t)job->n * sizeof *job->failed);
            job->has_failed = 1;
            for (ptrdiff_t i = 0; i < job->n; i++)
                if (job->failed[i] < 0 || job->failed[i] > after) job->failed[i] = after;
        }
        char *packed_out = job->packed_out;
        for (int32_t i = 0; i < l->outputs && !c->error; i++) {
            if (!l->uniform_output[i]) continue;
            char *const to = job->packed ? packed_out : job->outputs[i];
            vg_copy_number(code, to, (const char *)c->uniform + (size_t)l->output[i] * code->item);
            if (job->packed) packed_out += code->item;
        }
    }
    free(job->totals);
    job->totals = NULL;
    return c->error ? c->error : job->error;
}

/* ----------------------------------------------------------------------------------------------- a single lane */
/* A tuple of floats for one of floats; None if an argument is no float or a guard fails; NULL with Python's exception.
 * The GIL is held throughout: a call takes less time than to give it away. */
static PyObject *vg_call(VgCode *code, PyObject *arguments) {
    const VgLowered *const l = &code->lowered;
    PyObject *result = NULL;
    VgWorkspace *const w = vg_acquire(code);
    if (w == NULL) return PyErr_NoMemory();
    VgContext *const c = &w->context;
    const ptrdiff_t vector = code->vector;
    for (int32_t i = 0; i < l->inputs; i++) {
        PyObject *const argument = PyTuple_GET_ITEM(arguments, i);
        const int32_t to = l->input[i];
        if (!PyFloat_CheckExact(argument)) goto none;
        if (to < 0) continue;
        const double x = PyFloat_AS_DOUBLE(argument);
        if (l->uniform_input[i]) vg_put(code, c->uniform, to, x);
        else if (code->is_float32)
            for (ptrdiff_t j = 0; j < vector; j++) ((float *)c->frame)[(ptrdiff_t)to * vector + j] = (float)x;
        else
            for (ptrdiff_t j = 0; j < vector; j++) ((double *)c->frame)[(ptrdiff_t)to * vector + j] = x;
    }
    c->error = 0;
    if (l->lanes >= 0) vg_put(code, c->uniform, l->lanes, 1.0);
    if (vg_uniform_segment(code, VG_PRE, c) != VG_PASSED) goto none;
    if (!c->error && l->segment[VG_MAIN].count > 0) {
        c->lanes = vector;
        c->valid = 1;
        for (ptrdiff_t i = 0; i < vector; i++) c->failed[i] = VG_PASSED;
        vg_clear_sums(code, c->accumulators);
        vg_segment(code, VG_MAIN, c);
        if (c->failed[0] != VG_PASSED && !c->error) goto none;
    }
    for (int32_t k = 0; k < l->accumulators; k++) /* the sum over one lane: the others are still -0.0 */
        vg_put(code, c->uniform, l->total[k], vg_get(code, c->accumulators, k * vector));
    if (!c->error && vg_uniform_segment(code, VG_POST, c) != VG_PASSED) goto none;
    if (c->error) goto done;
    result = PyTuple_New(l->outputs);
    for (int32_t i = 0; result != NULL && i < l->outputs; i++) {
        const int32_t from = l->output[i];
        PyObject *const number = PyFloat_FromDouble(l->uniform_output[i] ? vg_get(code, c->uniform, from)
                                                                         : vg_get(code, c->frame, from * vector));
        if (number == NULL) Py_CLEAR(result);
        else PyTuple_SET_ITEM(result, i, number);
    }
    goto done;
none:
    if (!c->error) {
        result = Py_None;
        Py_INCREF(result);
    }
done:
    vg_release(code, w);
    return result;
}

#endif
