/* Running a program over the lanes of a batch, in blocks, on one thread or several.
 *
 * Results never depend on threads or on how a batch is cut.  The lanes are cut into chunks whose size depends on
 * their number and the program alone; a sum over the lanes is added block by block in a chunk, then over the block's
 * V lanes in pairs, then chunk after chunk.  A thread takes one chunk after the other; each has its own workspace.
 *
 * Data structures
 *   VgJob        one run: the arrays, and what its threads share.
 *
 * Where to start reading: vg_run, then vg_run_lanes.  _call.h has the short way for a single lane. */
#ifndef VALUEGRAD_RUN_H
#define VALUEGRAD_RUN_H

#include "_chunks.h"
#include "_crew.h"
#include "_segments.h"
#include "_sums.h"

enum {
    VG_AHEAD = 2,                      /* blocks of lanes after this one whose memory is fetched */
    VG_STREAM_COLUMNS = 32,            /* arrays of a program that works on them (lower/streams.py) */
    VG_WORK_FOR_A_THREAD = 100 * 1000  /* lanes times instructions that pay for waking one */
};

/* ----------------------------------------------------------------------------------------------- a whole batch */
typedef struct VgJob {
    VgCode *code;
    ptrdiff_t n;
    const char *const *inputs; /* one for each input; if `packed`, for each input of the lanes */
    char *const *outputs;
    const char *packed; /* all uniform inputs, one after the other; NULL: each has its own array in `inputs` */
    char *packed_out;   /* where all uniform outputs go then */
    VgCrew *crew;       /* threads that may share a block; NULL: there are none */
    int32_t *failed; /* n, to be filled once a guard fails; NULL: the program has no guards */
    int has_failed;
    int error; /* a Python function has raised (1), or there is no memory (VG_NO_MEMORY) */
    /* among its threads */
    void *uniform;
    int32_t before; /* the guard that failed for all lanes, or VG_PASSED */
    ptrdiff_t chunk, chunks, next;
    char *totals; /* of each chunk */
    int is_shared; /* there may be other threads: only then is anything locked */
#if VG_HAS_THREADS
    pthread_mutex_t mutex;
#endif
} VgJob;

/* The sums of a single chunk are the totals, and go to their places at once where these lie side by side. */
static inline int vg_has_totals_in_place(const VgJob *job) {
    return job->chunks == 1 && job->code->totals.count == 1;
}

static inline void vg_lock(VgJob *job) {
#if VG_HAS_THREADS
    if (job->is_shared) pthread_mutex_lock(&job->mutex);
#else
    (void)job;
#endif
}

static inline void vg_unlock(VgJob *job) {
#if VG_HAS_THREADS
    if (job->is_shared) pthread_mutex_unlock(&job->mutex);
#else
    (void)job;
#endif
}

/* Bytes of a slot: machine code for several vectors has them that wide whether or not all are in use. */
static inline size_t vg_slot_bytes(const VgCode *code, const VgContext *c) {
    const int is_whole = code->is_compiled && c->lanes > code->vector;
    return (size_t)(is_whole ? code->block : c->lanes) * code->item;
}

/* Vectors are copied as vectors: machine code that reads one at once would wait for several small writes. */
#ifdef __GNUC__
typedef char VgBytes __attribute__((vector_size(VG_BLOCK_BYTES), aligned(1), may_alias));
#define VG_ALWAYS_INLINE static inline __attribute__((always_inline))
#else
typedef struct { char byte[VG_BLOCK_BYTES]; } VgBytes;
#define VG_ALWAYS_INLINE static inline
#endif
VG_ALWAYS_INLINE void vg_copy_vectors(char *to, const char *from, size_t bytes) {
    for (size_t at = 0; at < bytes; at += VG_BLOCK_BYTES) *(VgBytes *)(to + at) = *(const VgBytes *)(from + at);
}

/* Fetch memory that will be read, or written. */
#ifdef __GNUC__
#define VG_FETCH(from, bytes, is_written)                                                                             \
    for (size_t at = 0; at < (bytes); at += VG_BLOCK_BYTES) __builtin_prefetch((from) + at, is_written, 3)
#else
#define VG_FETCH(from, bytes, is_written) (void)0
#endif

/* All columns of a block of `bytes` a column, a whole number of vectors; those of a later block come into the caches
 * while this one is computed, as the processor does not find so many arrays by itself. */
VG_ALWAYS_INLINE void vg_copy_columns(const VgJob *job, const VgContext *c, size_t offset, size_t bytes, int out) {
    const VgCode *const code = job->code;
    const VgColumn *const columns = out ? code->lane_outputs : code->lane_inputs;
    const int32_t count = out ? code->lane_output_count : code->lane_input_count;
    const size_t slot = vg_slot_bytes(code, c);
    const size_t later = offset + VG_AHEAD * bytes;
    const int is_packed = job->packed != NULL, is_more = later + bytes <= (size_t)job->n * code->item;
    for (int32_t i = 0; i < count; i++) {
        const VgColumn *const column = &columns[i];
        const int32_t which = is_packed ? column->rank : column->position;
        char *const inside = (char *)c->frame + (size_t)column->slot * slot;
        if (out) {
            vg_copy_vectors(job->outputs[which] + offset, inside, bytes);
            if (is_more) VG_FETCH(job->outputs[which] + later, bytes, 1);
        } else {
            vg_copy_vectors(inside, job->inputs[which] + offset, bytes);
            if (is_more) VG_FETCH(job->inputs[which] + later, bytes, 0);
        }
    }
}

/* Likewise of any number of lanes; what is missing to a whole number of vectors repeats the last lane. */
VG_ALWAYS_INLINE void vg_copy_part(const VgJob *job, const VgContext *c, size_t offset, size_t bytes, int out) {
    const VgCode *const code = job->code;
    const VgColumn *const columns = out ? code->lane_outputs : code->lane_inputs;
    const size_t item = code->item, slot = vg_slot_bytes(code, c);
    for (int32_t i = 0; i < (out ? code->lane_output_count : code->lane_input_count); i++) {
        const int32_t which = job->packed ? columns[i].rank : columns[i].position;
        char *const inside = (char *)c->frame + (size_t)columns[i].slot * slot;
        if (out) memcpy(job->outputs[which] + offset, inside, bytes);
        else memcpy(inside, job->inputs[which] + offset, bytes);
        for (size_t at = bytes; !out && at < (size_t)c->lanes * item; at += item)
            memcpy(inside + at, inside + bytes - item, item);
    }
}

/* Between the arrays and the frame, a block from lane `from` on. */
VG_ALWAYS_INLINE void vg_copy_block(const VgJob *job, const VgContext *c, ptrdiff_t from, int out) {
    const size_t item = job->code->item, offset = (size_t)from * item, bytes = (size_t)c->valid * item;
    if (bytes == 2 * VG_BLOCK_BYTES && c->lanes == c->valid) vg_copy_columns(job, c, offset, 2 * VG_BLOCK_BYTES, out);
    else if (bytes % VG_BLOCK_BYTES == 0 && c->lanes == c->valid) vg_copy_columns(job, c, offset, bytes, out);
    else vg_copy_part(job, c, offset, bytes, out);
}

VG_TARGET_AVX512 static void vg_load_avx512(const VgJob *job, VgContext *c, ptrdiff_t from) {
    vg_copy_block(job, c, from, 0);
}
VG_TARGET_AVX512 static void vg_store_avx512(const VgJob *job, const VgContext *c, ptrdiff_t from) {
    vg_copy_block(job, c, from, 1);
}

static void vg_load(const VgJob *job, VgContext *c, ptrdiff_t from) {
    if (vg_processor_level() == VG_AVX512) vg_load_avx512(job, c, from);
    else vg_copy_block(job, c, from, 0);
}

static void vg_store(const VgJob *job, const VgContext *c, ptrdiff_t from) {
    if (vg_processor_level() == VG_AVX512) vg_store_avx512(job, c, from);
    else vg_copy_block(job, c, from, 1);
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

/* Lanes from..end by code that works on the arrays themselves. */
static void vg_stream(const VgJob *job, const VgContext *c, ptrdiff_t from, ptrdiff_t end) {
    const VgCode *const code = job->code;
    char *columns[VG_STREAM_COLUMNS];
    for (int32_t i = 0; i < code->lane_input_count; i++) {
        const VgColumn *const column = &code->lane_inputs[i];
        const int32_t which = job->packed ? column->rank : column->position;
        columns[column->slot] = (char *)(uintptr_t)job->inputs[which] + (size_t)from * code->item;
    }
    for (int32_t i = 0; i < code->lane_output_count; i++) {
        const VgColumn *const column = &code->lane_outputs[i];
        const int32_t which = job->packed ? column->rank : column->position;
        columns[column->slot] = job->outputs[which] + (size_t)from * code->item;
    }
    code->stream(columns, c->uniform, end - from);
}

static void vg_run_chunk(VgJob *job, VgContext *c, ptrdiff_t which) {
    const VgCode *const code = job->code;
    const ptrdiff_t last = job->n - which * job->chunk, end = last < job->chunk ? job->n : (which + 1) * job->chunk;
    if (code->stream != NULL) {
        vg_stream(job, c, which * job->chunk, end);
        return;
    }
    for (ptrdiff_t from = which * job->chunk; from < end && !c->error; from += c->valid) {
        c->valid = end - from < code->block ? end - from : code->block;
        c->lanes = (c->valid + code->vector - 1) / code->vector * code->vector;
        if (code->is_compiled && c->valid > code->vector) /* vectors go in pairs */
            c->lanes = (c->valid + 2 * code->vector - 1) / (2 * code->vector) * (2 * code->vector);
        vg_load(job, c, from);
        if (code->lowered.guards > 0 || code->piece[VG_MAIN].interpreted.has_calls)
            for (ptrdiff_t i = 0; i < c->lanes; i++) c->failed[i] = job->before;
        vg_segment(code, VG_MAIN, c);
        vg_store(job, c, from);
        if (code->lowered.guards > 0) vg_note_failures(job, c, from);
    }
    if (c->error) vg_clear_sums(code, c->accumulators);
    else if (code->lowered.accumulators > 0)
        vg_totals(code->is_float32, c->accumulators,
                  job->totals + (size_t)which * (size_t)code->lowered.accumulators * code->item,
                  code->lowered.accumulators);
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

/* Lists of workspaces that are free, without the GIL.  One whose frame has become too small is not taken again. */
static VgWorkspace *vg_first_of(const VgCode *code, VgWorkspace **list) {
#if VG_HAS_THREADS
    pthread_mutex_lock(&vg_pool.mutex);
#endif
    VgWorkspace *w = *list;
    if (w != NULL) *list = w->next;
#if VG_HAS_THREADS
    pthread_mutex_unlock(&vg_pool.mutex);
#endif
    if (w != NULL && w->slots < code->slots) {
        vg_free_workspace(w);
        w = NULL;
    }
    return w;
}

static void vg_put_first(VgWorkspace **list, VgWorkspace *w) {
#if VG_HAS_THREADS
    pthread_mutex_lock(&vg_pool.mutex);
#endif
    w->next = *list;
    *list = w;
#if VG_HAS_THREADS
    pthread_mutex_unlock(&vg_pool.mutex);
#endif
}

#if VG_HAS_THREADS
/* A workspace that a thread left for the next run, or a new one. */
static VgWorkspace *vg_take_helper(VgCode *code, void *uniform) {
    VgWorkspace *const w = vg_first_of(code, &code->helpers);
    if (w == NULL) return vg_new_workspace(code, uniform);
    w->context.uniform = uniform;
    return w;
}

/* Without memory for a workspace this thread leaves its chunks to the others. */
static void vg_help(void *argument) {
    VgJob *const job = (VgJob *)argument;
    VgWorkspace *const w = vg_take_helper(job->code, job->uniform);
    if (w == NULL) return;
    w->context.error = 0;
    vg_run_chunks(job, &w->context);
    vg_put_first(&job->code->helpers, w);
}
#endif

/* All lanes, on this thread and on as many others as are worth being woken. */
static void vg_run_lanes(VgJob *job, VgContext *c, int threads) {
#if VG_HAS_THREADS
    VgHelp help;
    const double work = (double)job->n * ((double)job->code->lowered.segment[VG_MAIN].count + 1.0);
    double most = work / VG_WORK_FOR_A_THREAD;
    if (most > (double)job->chunks) most = (double)job->chunks;
    if (most > (double)threads) most = (double)threads;
    if (most > VG_MOST_THREADS) most = VG_MOST_THREADS;
    if (job->code->piece[VG_MAIN].interpreted.has_calls) most = 1.0; /* others would wait for the GIL */
    const int others = most > 1.0 ? (int)most - 1 : 0;
    job->is_shared = others > 0;
    if (others > 0) {
        pthread_mutex_init(&job->mutex, NULL);
        vg_begin_help(&help, others, vg_help, job);
    }
    vg_run_chunks(job, c);
    if (others > 0) {
        vg_end_help(&help);
        pthread_mutex_destroy(&job->mutex);
    }
#else
    (void)threads;
    vg_run_chunks(job, c);
#endif
}

/* The chunks' sums, in order; without lanes 0. */
static void vg_add_chunks(const VgJob *job, VgContext *c) {
    const VgCode *const code = job->code;
    const ptrdiff_t sums = code->lowered.accumulators;
    for (ptrdiff_t k = 0; k < sums && job->chunks == 0; k++) vg_put(code, c->uniform, code->lowered.total[k], 0.0);
    if (job->totals == NULL || vg_has_totals_in_place(job)) return;
    for (ptrdiff_t j = 1; j < job->chunks; j++)
        vg_add_numbers(code->is_float32, job->totals, job->totals + (size_t)(j * sums) * code->item, sums);
    vg_copy_runs(code, &code->totals, (char *)c->uniform, job->totals, 0, -1);
}

/* A block that threads share. */
typedef struct VgSharedBlock {
    const VgCode *code;
    const VgContext *c;
    VgMeeting meeting;
} VgSharedBlock;

static void vg_run_parts(VgSharedBlock *block, int64_t first, int64_t end) {
    const VgContext *const c = block->c;
    block->code->shared(c->frame, c->uniform, c->accumulators, c->failed, ((uint64_t)1 << c->valid) - 1, first, end,
                        &block->meeting);
}

static void vg_run_part(void *block, ptrdiff_t part, int32_t thread) {
    (void)thread;
    vg_run_parts((VgSharedBlock *)block, part, part + 1);
}

static void vg_run_shared(const VgCode *code, const VgContext *c, VgCrew *crew) {
    VgSharedBlock block;
    memset(&block, 0, sizeof block);
    block.code = code;
    block.c = c;
    block.meeting.parts = code->parts;
    block.meeting.meet = vg_meet_nobody;
#if VG_HAS_THREADS
    if (vg_has_crew(crew, code->parts)) {
        block.meeting.meet = vg_meet;
        vg_do(crew, code->parts, vg_run_part, &block);
        return;
    }
#endif
    vg_run_parts(&block, 0, code->parts);
}

/* The code of its own for n lanes on one thread: a single lane's, half a block's or a block's; NULL: there is none. */
static VgSegmentFunction vg_code_alone(const VgCode *code, ptrdiff_t n) {
    if (n == 1 && code->single != NULL) return code->single;
    if (n <= code->vector / 2 && code->half_block != NULL) return code->half_block;
    return code->one_block;
}

/* All lanes at once: the sums are in their scalars afterwards. */
static void vg_run_alone(VgJob *job, VgContext *c, int threads) {
    const VgCode *const code = job->code;
    const VgSegmentFunction function = vg_code_alone(code, job->n);
    VgCrew own, *crew = job->crew;
    const int wakes = crew == NULL && code->shared != NULL && threads > 1;
    if (wakes) {
        crew = &own;
        vg_begin_crew(crew, code->parts, 0);
        vg_await_crew(crew, code->parts, VG_WAKING);
    }
    const int may_share = code->shared != NULL && function != code->single;
    const int is_shared = function == NULL || (may_share && vg_has_crew(crew, code->parts));
    c->valid = job->n;
    c->lanes = !is_shared && function == code->half_block ? code->vector / 2 : code->vector;
    vg_load(job, c, 0);
    for (ptrdiff_t i = 0; i < c->lanes; i++) c->failed[i] = job->before;
    if (is_shared) vg_run_shared(code, c, crew);
    else function(c->frame, c->uniform, c->accumulators, c->failed, ((uint64_t)1 << c->valid) - 1);
    if (wakes) vg_end_crew(crew);
    vg_store(job, c, 0);
    if (code->lowered.guards > 0) vg_note_failures(job, c, 0);
}

/* Whether there is code for n lanes at once; else they are run in chunks. */
static int vg_is_alone(const VgCode *code, ptrdiff_t n) {
    return n >= 1 && n <= code->vector && (vg_code_alone(code, n) != NULL || code->shared != NULL);
}

/* Where scalar 0 would be if a run's numbers, in their array, were scalars. */
static void *vg_as_scalars(const VgCode *code, const VgRun *run, const char *packed) {
    return (void *)((uintptr_t)packed + (uintptr_t)((ptrdiff_t)(run->packed - run->uniform) * (ptrdiff_t)code->item));
}

/* Whether a run's scalars begin in a vector where they do in their array. */
static int vg_lies_alike(const VgCode *code, const VgRun *run, const void *uniform, const void *packed) {
    return ((uintptr_t)vg_as_scalars(code, run, (const char *)packed) - (uintptr_t)uniform) % VG_BLOCK_BYTES == 0;
}

/* Whether some of a run are sums over the lanes: where there are several chunks these are added up as scalars. */
static int vg_has_totals(const VgCode *code, const VgRun *run) {
    for (int32_t i = 0; i < code->totals.count; i++) {
        const VgRun *const of = &code->totals.run[i];
        if (of->uniform < run->uniform + run->count && run->uniform < of->uniform + of->count) return 1;
    }
    return 0;
}

/* Let rolled code read large inputs, and write large outputs, where the caller has them: the runs that are not copied.
 * Outputs are written before all inputs are read, so they must not be the same memory. */
static void vg_leave_in_place(const VgJob *job, void *uniform, int alone, int32_t *read, int32_t *written) {
    const VgCode *const code = job->code;
    *read = job->packed ? code->in_place_read : -1;
    *written = job->packed ? code->in_place_written : -1;
    if (*read >= 0 && code->is_read_often && !vg_lies_alike(code, &code->read.run[*read], uniform, job->packed)) *read = -1;
    if (*written >= 0 && !alone && vg_has_totals(code, &code->written.run[*written])) *written = -1;
    if (*read >= 0) vg_arrays(uniform)[0] = vg_as_scalars(code, &code->read.run[*read], job->packed);
    if (*written >= 0 && *read >= 0) {
        const VgRun *const in = &code->read.run[*read], *const out = &code->written.run[*written];
        const uintptr_t from = (uintptr_t)job->packed + (size_t)in->packed * code->item;
        const uintptr_t to = (uintptr_t)job->packed_out + (size_t)out->packed * code->item;
        if (from < to + (size_t)out->count * code->item && to < from + (size_t)in->count * code->item) *written = -1;
    }
    if (*written >= 0) vg_arrays(uniform)[1] = vg_as_scalars(code, &code->written.run[*written], job->packed_out);
}

/* Run a program; the caller has checked the arrays and filled in job's first five members.  Needs no GIL, but a
 * workspace that was acquired with it.  0; or 1 if a Python function raised, VG_NO_MEMORY. */
static int vg_run(VgJob *job, VgWorkspace *w, int threads) {
    VgCode *const code = job->code;
    const VgLowered *const l = &code->lowered;
    VgContext *const c = &w->context;
    const ptrdiff_t blocks = job->n / code->vector + (job->n % code->vector != 0);
    const int alone = vg_is_alone(code, job->n);
    const ptrdiff_t chunk_blocks = code->stream != NULL && threads == 1
                                       ? blocks /* there are no sums whose order could change */
                                       : vg_chunk_blocks(code, blocks);
    job->chunk = chunk_blocks * code->vector;
    job->chunks = blocks > 0 ? (blocks + chunk_blocks - 1) / chunk_blocks : 0;
    job->uniform = c->uniform;
    job->totals = NULL;
    job->next = 0;
    job->has_failed = job->error = job->is_shared = 0;
    if (vg_has_totals_in_place(job) && !alone) {
        job->totals = (char *)c->uniform + (size_t)code->totals.run[0].uniform * code->item;
    } else if (l->accumulators > 0 && job->chunks > 0 && !alone) {
        job->totals = (char *)malloc((size_t)job->chunks * (size_t)l->accumulators * code->item);
        if (job->totals == NULL) return VG_NO_MEMORY;
    }
    c->error = 0;
    int32_t read_in_place, written_in_place;
    vg_leave_in_place(job, c->uniform, alone, &read_in_place, &written_in_place);
    if (job->packed)
        vg_copy_runs(code, &code->read, (char *)c->uniform, (char *)job->packed, 0, read_in_place);
    else
        for (int32_t i = 0; i < l->inputs; i++)
            if (l->uniform_input[i] && l->input[i] >= 0)
                vg_copy_number(code, (char *)c->uniform + (size_t)l->input[i] * code->item, job->inputs[i]);
    if (l->lanes >= 0) vg_put(code, c->uniform, l->lanes, (double)job->n);
    job->before = vg_uniform_segment(code, VG_PRE, c, VG_PASSED);
    if (alone && !c->error) vg_run_alone(job, c, threads);
    else if (!c->error && job->n > 0 && (l->segment[VG_MAIN].count > 0 || code->lane_output_count > 0 || l->guards > 0))
        vg_run_lanes(job, c, threads);
    if (!c->error) {
        if (!alone) vg_add_chunks(job, c);
        int32_t after = vg_uniform_segment(code, VG_POST, c, job->before);
        vg_run_loops(code, c);
        after = vg_uniform_segment(code, VG_LAST, c, after);
        if (after != VG_PASSED && job->n > 0) {
            if (!job->has_failed) memset(job->failed, 0xff, (size_t)job->n * sizeof *job->failed);
            job->has_failed = 1;
            for (ptrdiff_t i = 0; i < job->n; i++)
                if (job->failed[i] < 0 || job->failed[i] > after) job->failed[i] = after;
        }
        if (job->packed)
            vg_copy_runs(code, &code->written, (char *)c->uniform, job->packed_out, 1, written_in_place);
        else
            for (int32_t i = 0; i < l->outputs && !c->error; i++)
                if (l->uniform_output[i])
                    vg_copy_number(code, job->outputs[i],
                                   (const char *)c->uniform + (size_t)l->output[i] * code->item);
    }
    vg_arrays(c->uniform)[0] = vg_arrays(c->uniform)[1] = c->uniform;
    if (!vg_has_totals_in_place(job)) free(job->totals);
    job->totals = NULL;
    return c->error ? c->error : job->error;
}

#endif
