/* A program ready to run: its segments in the form that runs them, and the memory that they need.
 *
 * Data structures
 *   VgCode       a program: read-only while it runs, but for `idle` and `helpers`.
 *   VgPiece      one of its segments or loops: machine code, or steps of the interpreter.
 *   VgWorkspace  the memory of one run in one thread: frame, sums, scalars.  A finished run leaves it in `idle` for
 *                the next one, so a single call allocates nothing.
 *
 * Where to start reading: VgCode, then vg_new_code. */
#ifndef VALUEGRAD_CODE_H
#define VALUEGRAD_CODE_H

#if defined(__linux__)
#include <sys/mman.h>
#endif
#include "_interpreter.h"
#include "_jit.h"
#include "_lower.h"

enum {
    VG_FRAME_BYTES = 128 * 1024, /* of the interpreter, if they hold VG_LEAST_VECTORS: the second cache has them */
    VG_LEAST_VECTORS = 4,        /* in a block of the interpreter: enough to pay for a step's dispatch */
    VG_MOST_VECTORS = 16,
    VG_COMPILED_LANES = 64,              /* at most, in a block of machine code: bits of a word */
    VG_COMPILED_FRAME_BYTES = 64 * 1024, /* at most, where it is more than one vector */
    VG_LONG_CODE_BYTES = 512 * 1024,     /* from here on code fills the second cache: several vectors share its way */
    VG_LONG_FRAME_BYTES = 2048 * 1024,   /* in that case */
    VG_HUGE_PAGE = 2048 * 1024
};

typedef struct {
    int32_t position; /* among all inputs or outputs */
    int32_t rank;     /* among those of the lanes */
    int32_t slot;
} VgColumn; /* an input or output of the lanes */

typedef struct VgWorkspace {
    struct VgWorkspace *next; /* in a list of idle ones */
    int32_t slots; /* of its frame: a function that is installed later may need more */
    VgContext context;
    void *memory; /* what free() wants; the context's pointers are aligned parts of it */
} VgWorkspace;

/* A segment, or a loop's, in the form that runs. */
typedef struct VgPiece {
    VgInterpreted interpreted;
    VgSegmentFunction function; /* of the assembler; NULL: interpreted */
    void *machine_code;
    size_t machine_bytes;
} VgPiece;

/* Numbers that lie side by side both among the uniforms and in the array that they all come in or go to; or one number
 * that goes to `times` places side by side, as the gradient of what is not used does. */
typedef struct { int32_t uniform, packed, count, times; } VgRun;
typedef struct { VgRun *run; int32_t count; } VgRuns;

typedef struct VgCode {
    VgLowered lowered;
    VgRuns read, written; /* of the uniform inputs and outputs */
    VgRuns totals;        /* of the sums over the lanes: where they lie among the uniforms */
    int32_t in_place_read, in_place_written; /* which run of `read` and `written` stays in its array (vg_arrays); -1 */
    int is_read_often; /* the former, only where its vectors lie as those of a copy would */
    int pieces; /* segments, then loops */
    VgPiece *piece;
    VgSegmentFunction whole_block; /* the assembler's `main` for a block of several vectors; NULL: a block is one */
    void *block_code;
    size_t block_bytes;
    VgColumn *lane_inputs, *lane_outputs;
    int32_t lane_input_count, lane_output_count;
    VgSegmentFunction single;    /* `main` for one lane, whose sums go to their scalars at once; NULL: there is none */
    VgSegmentFunction one_block; /* likewise for V lanes or fewer, if they are all there are; NULL: there is none */
    VgSegmentFunction half_block; /* likewise for V / 2 lanes or fewer, which lie V / 2 numbers apart */
    VgSharedFunction shared; /* likewise, for threads that share them; NULL: there is none */
    int parts; /* how many threads these are; 0: nobody wanted it yet; -1: it would not pay */
    VgStreamFunction stream; /* `main` on the arrays themselves, without a frame; NULL: there is none */
    int is_float32, is_compiled, is_rolled;
    int32_t slots, scratch;
    ptrdiff_t vector, block; /* lanes: V, and as many as one pass over the program takes */
    int32_t length; /* the operations of `main`, as _chunks.h counts them */
    size_t item, code_bytes;
    PyObject *calls; /* borrowed from Code */
    VgWorkspace *idle;    /* for the next run */
    VgWorkspace *helpers; /* for its other threads: they have no scalars of their own */
    VgWorkspace *own;     /* for threads that run it without the GIL, each on its own */
} VgCode;

/* ------------------------------------------------------------------------------------------------- making one */
static void vg_free_workspace(VgWorkspace *workspace) {
    if (workspace == NULL) return;
    free(workspace->memory);
    free(workspace);
}

static void vg_free_workspaces(VgWorkspace *w) {
    while (w != NULL) {
        VgWorkspace *const next = w->next;
        vg_free_workspace(w);
        w = next;
    }
}

static void vg_free_code(VgCode *code) {
    if (code == NULL) return;
    for (int k = 0; k < code->pieces; k++) {
        if (code->piece[k].function != NULL) vg_jit_free(code->piece[k].machine_code, code->piece[k].machine_bytes);
        vg_free_interpreted(&code->piece[k].interpreted);
    }
    free(code->piece);
    vg_jit_free(code->block_code, code->block_bytes);
    vg_free_lowered(&code->lowered);
    vg_free_workspace(code->idle);
    vg_free_workspaces(code->helpers);
    vg_free_workspaces(code->own);
    free(code->lane_inputs);
    free(code->lane_outputs);
    free(code->read.run);
    free(code->written.run);
    free(code->totals.run);
    free(code);
}

static size_t vg_aligned(size_t bytes) { return (bytes + 63) & ~(size_t)63; }

/* Sums begin at -0.0, which leaves what is added to it as it is.  They do so between chunks. */
static void vg_clear_sums(const VgCode *code, void *accumulators) {
    const size_t n = (size_t)code->lowered.accumulators * (size_t)code->vector;
    if (code->is_float32)
        for (size_t i = 0; i < n; i++) ((float *)accumulators)[i] = -0.0f;
    else
        for (size_t i = 0; i < n; i++) ((double *)accumulators)[i] = -0.0;
}

/* Before a run's scalars: where rolled code finds the inputs and outputs that stay in the caller's arrays.  These are
 * the scalars themselves, or what scalar 0 would be if those arrays were scalars. */
static inline void **vg_arrays(void *uniform) { return (void **)uniform - 2; }

/* `uniform`: the scalars of the run that this is a thread of; NULL: it gets its own, with the constants in them. */
/* Memory, if large on huge pages where the system has them: a loop that reads one number of each page else waits for
 * the tables that say where the pages are. */
static void *vg_room(size_t bytes) {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
    void *memory = NULL;
    if (bytes >= 2 * VG_HUGE_PAGE && posix_memalign(&memory, VG_HUGE_PAGE, bytes) == 0) {
        madvise(memory, bytes / VG_HUGE_PAGE * VG_HUGE_PAGE, MADV_HUGEPAGE); /* a wish */
        return memory;
    }
#endif
    return malloc(bytes);
}

static size_t vg_frame_bytes(const VgCode *code) {
    return vg_aligned((size_t)code->slots * (size_t)code->block * code->item);
}

static VgWorkspace *vg_new_workspace(const VgCode *code, void *uniform) {
    const size_t item = code->item, block = (size_t)code->block, frame = vg_frame_bytes(code);
    const size_t sums = (size_t)code->lowered.accumulators * VG_BLOCK_BYTES;
    const size_t scalars = uniform ? 0 : VG_BLOCK_BYTES + vg_aligned((size_t)code->lowered.uniforms * item);
    const size_t failed = vg_aligned(block * sizeof(int32_t)), scratch = (size_t)code->scratch * sizeof(double);
    VgWorkspace *const w = (VgWorkspace *)calloc(1, sizeof *w);
    if (w == NULL) return NULL;
    w->memory = vg_room(frame + sums + scalars + failed + scratch + 64);
    if (w->memory == NULL) {
        free(w);
        return NULL;
    }
    char *at = (char *)w->memory;
    at += vg_aligned((size_t)(uintptr_t)at) - (size_t)(uintptr_t)at;
    w->slots = code->slots;
    w->context.frame = at;
    w->context.accumulators = at + frame;
    w->context.uniform = uniform ? uniform : at + frame + sums + VG_BLOCK_BYTES;
    if (!uniform) vg_arrays(w->context.uniform)[0] = vg_arrays(w->context.uniform)[1] = w->context.uniform;
    w->context.failed = (int32_t *)(at + frame + sums + scalars);
    w->context.scratch = (double *)(at + frame + sums + scalars + failed);
    w->context.calls = code->calls;
    vg_clear_sums(code, w->context.accumulators);
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
    if (code->idle == NULL && w->slots >= code->slots) code->idle = w;
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

static const VgSegment *vg_segment_of(const VgCode *code, int k) {
    return k < VG_SEGMENTS ? &code->lowered.segment[k] : &code->lowered.loop[k - VG_SEGMENTS].segment;
}

static int vg_compile_segment(VgCode *code, int k, int strict) {
    const VgSegment *const segment = vg_segment_of(code, k);
    VgPiece *const piece = &code->piece[k];
    int32_t slots = 0;
    size_t bytes = 0;
    int vectors = 1;
    piece->function = vg_jit_compile(segment, code->is_float32, strict, &vectors, &slots, &bytes, &piece->machine_code,
                                     &piece->machine_bytes);
    if (piece->function == NULL) return 0;
    code->code_bytes += bytes;
    if (slots > code->slots) code->slots = slots;
    return 1;
}

enum {
    VG_LONG_PROGRAM = 5000, /* instructions of which a few blocks of lanes are worth a thread: */
    VG_LONG_BLOCKS = 2      /* those that machine code computes side by side (_chunks.h) */
};

/* `main` for several vectors as well, where the assembler finds that worth it and the frame stays small. */
static void vg_compile_block(VgCode *code, int strict) {
    int32_t slots = 0;
    size_t bytes = 0;
    const int is_long = code->piece[VG_MAIN].machine_bytes > VG_LONG_CODE_BYTES;
    const ptrdiff_t most = is_long ? VG_LONG_FRAME_BYTES : VG_COMPILED_FRAME_BYTES;
    int vectors = VG_COMPILED_LANES / (int)code->vector;
    while (vectors > 1 + is_long && (ptrdiff_t)vectors * code->slots * VG_BLOCK_BYTES > most) vectors /= 2;
    if (code->lowered.accumulators > 0 && code->length >= VG_LONG_PROGRAM && vectors > VG_LONG_BLOCKS)
        vectors = VG_LONG_BLOCKS; /* a chunk has no more (vg_chunk_blocks) */
    if (vectors == 1) return;
    code->whole_block = vg_jit_compile(&code->lowered.segment[VG_MAIN], code->is_float32, strict, &vectors, &slots,
                                       &bytes, &code->block_code, &code->block_bytes);
    if (code->whole_block == NULL) return;
    code->code_bytes += bytes;
    code->block = vectors * code->vector;
    if (slots > code->slots) code->slots = slots;
}

static int vg_translate_segment(VgCode *code, int k, int strict) {
    VgInterpreted *const to = &code->piece[k].interpreted;
    const int result = vg_translate(vg_segment_of(code, k), code->is_float32, strict, to);
    if (result != 0) return result;
    if (to->slots > code->slots) code->slots = to->slots;
    if (to->scratch > code->scratch) code->scratch = to->scratch;
    code->code_bytes += (size_t)to->count * sizeof(VgStep);
    return 0;
}

/* Where the uniform ones (NULL: all) of inputs, outputs or sums are, as few runs as there are; 0 or VG_NO_MEMORY. */
static int vg_find_runs(VgRuns *runs, const int32_t *all, const uint8_t *uniform, int32_t n) {
    int32_t packed = 0;
    runs->run = (VgRun *)malloc(((size_t)n + 1) * sizeof *runs->run);
    if (runs->run == NULL) return VG_NO_MEMORY;
    for (int32_t i = 0; i < n; i++) {
        VgRun *const last = runs->count ? &runs->run[runs->count - 1] : NULL;
        if (uniform != NULL && !uniform[i]) continue;
        const int follows = all[i] >= 0 && last && last->packed + last->count * last->times == packed;
        if (follows && last->times == 1 && last->uniform + last->count == all[i]) {
            last->count++;
        } else if (follows && last->count == 1 && last->uniform == all[i]) {
            last->times++;
        } else if (all[i] >= 0) {
            const VgRun run = {all[i], packed, 1, 1};
            runs->run[runs->count++] = run;
        }
        packed++;
    }
    return 0;
}

/* How many numbers a run has; -1: no run. */
static int32_t vg_count(const VgRuns *runs, int32_t which) { return which < 0 ? 0 : runs->run[which].count; }

/* Make a run end after so many numbers: what is left of it is another one.  There is room, as it has several. */
static void vg_split_run(VgRuns *runs, int32_t which, int32_t count) {
    if (count < 1 || count >= vg_count(runs, which)) return;
    VgRun *const run = &runs->run[which];
    const VgRun rest = {run->uniform + count, run->packed + count, run->count - count, 1};
    run->count = count;
    runs->run[runs->count++] = rest;
}

/* Whether an operation counts in a program's length.  Those that pick one of a list do not: they are one operation in
 * loops, and a row of choices elsewhere. */
static int vg_counts(uint16_t op) {
    return op < VG_OP_count && op != VG_OP_gather && op != VG_OP_select && op != VG_OP_eq && op != VG_OP_or;
}

enum { VG_BACKEND_AUTO, VG_BACKEND_JIT, VG_BACKEND_INTERPRETER, VG_BACKEND_ROLLED };
enum { VG_NO_BACKEND = -3, VG_UNKNOWN_OPERATION = -4 }; /* besides those of _lower.h */

/* A program from a checked graph.  Otherwise NULL, with *error and *where, the node or operation at fault. */
static VgCode *vg_new_code(const VgGraph *graph, int is_float32, int strict, int backend, PyObject *calls, int *error,
                           int32_t *where) {
    VgCode *const code = (VgCode *)calloc(1, sizeof *code);
    const int is_rolled = backend == VG_BACKEND_ROLLED;
    int compiled = is_rolled || (backend != VG_BACKEND_INTERPRETER && vg_jit_available());
    *error = VG_NO_MEMORY;
    if (code == NULL) return NULL;
    code->is_float32 = is_float32;
    code->item = is_float32 ? sizeof(float) : sizeof(double);
    code->vector = (ptrdiff_t)(VG_BLOCK_BYTES / code->item);
    code->calls = calls;
    *error = vg_lower(graph, &code->lowered, where, !is_rolled);
    if (*error != VG_LOWERED) goto failed;
    for (int32_t i = 0; i < code->lowered.segment[VG_MAIN].count; i++)
        code->length += vg_counts(code->lowered.segment[VG_MAIN].op[i]);
    *error = VG_NO_MEMORY;
    code->pieces = VG_SEGMENTS + code->lowered.loops;
    code->piece = (VgPiece *)calloc((size_t)code->pieces, sizeof *code->piece);
    if (code->piece == NULL) {
        code->pieces = 0;
        goto failed;
    }
    for (int k = 0; k < code->pieces && compiled && !is_rolled; k++) compiled = vg_compile_segment(code, k, strict);
    *error = VG_NO_BACKEND;
    if (!compiled && backend == VG_BACKEND_JIT) goto failed;
    for (int k = 0; k < code->pieces && !compiled; k++) { /* all, so that `block` fits all */
        VgPiece *const piece = &code->piece[k];
        if (piece->function != NULL) vg_jit_free(piece->machine_code, piece->machine_bytes);
        piece->function = NULL;
        if (k == 0) code->code_bytes = 0, code->slots = 0;
        const int result = vg_translate_segment(code, k, strict);
        *error = result < 0 ? VG_NO_MEMORY : VG_UNKNOWN_OPERATION;
        *where = result - 1;
        if (result != 0) goto failed;
    }
    code->is_compiled = compiled;
    code->is_rolled = is_rolled;
    code->block = code->vector;
    code->in_place_read = code->in_place_written = -1;
    if (is_rolled) {
        code->slots = code->lowered.slots;
    } else if (compiled) {
        vg_compile_block(code, strict);
    } else {
        ptrdiff_t vectors = VG_FRAME_BYTES / (VG_BLOCK_BYTES * ((ptrdiff_t)code->slots + 1));
        vectors = vectors < VG_LEAST_VECTORS ? VG_LEAST_VECTORS : vectors > VG_MOST_VECTORS ? VG_MOST_VECTORS : vectors;
        code->block = vectors * code->vector;
    }
    const VgLowered *const l = &code->lowered;
    code->lane_inputs = vg_columns(l->input, l->uniform_input, l->inputs, &code->lane_input_count);
    code->lane_outputs = vg_columns(l->output, l->uniform_output, l->outputs, &code->lane_output_count);
    *error = VG_NO_MEMORY;
    if (code->lane_inputs == NULL || code->lane_outputs == NULL) goto failed;
    if (vg_find_runs(&code->read, l->input, l->uniform_input, l->inputs) < 0) goto failed;
    if (vg_find_runs(&code->written, l->output, l->uniform_output, l->outputs) < 0) goto failed;
    if (vg_find_runs(&code->totals, l->total, NULL, l->accumulators) < 0) goto failed;
    *error = VG_LOWERED;
    return code;
failed:
    vg_free_code(code);
    return NULL;
}

/* Whether dots are fused multiply-adds here: what VG_FMA of the interpreter's kernels is. */
static int vg_has_fma(void) {
#ifdef __FP_FAST_FMA
    return 1;
#else
    return vg_processor_level() >= VG_AVX2;
#endif
}

/* What `main` is made for by LLVM: each when it is wanted. */
enum { VG_FOR_BLOCKS, VG_FOR_ONE_LANE, VG_FOR_ONE_BLOCK, VG_FOR_SHARED_BLOCK, VG_FOR_HALF_A_BLOCK };

/* Which of them runs n lanes.  Without sums over the lanes one block is as good as many. */
static int vg_made_for(const VgCode *code, ptrdiff_t n, int threads) {
    if (n == 1) return VG_FOR_ONE_LANE;
    if (threads > 1 && n <= code->vector && code->parts >= 0) return VG_FOR_SHARED_BLOCK;
    if (n > code->vector || code->lowered.accumulators == 0) return VG_FOR_BLOCKS;
    return n > code->vector / 2 ? VG_FOR_ONE_BLOCK : VG_FOR_HALF_A_BLOCK;
}

static int vg_is_made(const VgCode *code, int what) {
    if (what == VG_FOR_ONE_LANE) return code->single != NULL;
    if (what == VG_FOR_SHARED_BLOCK) return code->shared != NULL;
    if (what == VG_FOR_HALF_A_BLOCK && code->half_block != NULL) return 1; /* what more lanes have does for fewer */
    return code->piece[VG_MAIN].function != NULL || (what != VG_FOR_BLOCKS && code->one_block != NULL);
}

/* Let the frame have so many slots.  Workspaces of before, some of which threads use at this moment, are too small then,
 * and are not taken again (vg_first_of, vg_release). */
static void vg_grow_frame(VgCode *code, int32_t slots) {
    if (slots > code->slots) code->slots = slots;
    vg_free_workspace(code->idle);
    code->idle = NULL;
}

/* Let a function made elsewhere run segment k. */
static void vg_install(VgCode *code, int k, VgSegmentFunction function, int what, int32_t slots) {
    if (k == VG_MAIN && what == VG_FOR_ONE_LANE) code->single = function;
    else if (k == VG_MAIN && what == VG_FOR_HALF_A_BLOCK) code->half_block = function;
    else if (k == VG_MAIN && what == VG_FOR_ONE_BLOCK) code->one_block = function;
    else if (k == VG_MAIN && what == VG_FOR_SHARED_BLOCK) code->shared = (VgSharedFunction)(void (*)(void))function;
    else code->piece[k].function = function;
    vg_grow_frame(code, slots);
}

/* Likewise a function that runs `main` on two vectors of lanes.  Nothing reads `block` before there is one for a vector. */
static void vg_install_wide(VgCode *code, VgSegmentFunction function, int32_t slots) {
    code->whole_block = function;
    code->block = 2 * code->vector;
    vg_grow_frame(code, (slots > code->slots ? slots : code->slots) + 1); /* one more, so that those of before are too small */
}

#endif
