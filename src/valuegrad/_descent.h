/* Many steps of gradient descent without Python between them.
 *
 * Why: a step of a small network takes some dozens of microseconds, and Python takes longer than that to prepare it.
 *
 * How: a step has blocks: some lanes each, run by a program of their own, which gives the sums over its lanes of the
 * gradient and of the loss.  The blocks' sums are added in order, ((0 + 1) + 2) + 3, two halves of one first, as the
 * whole one would; then the update, a program whose lanes are the parameters, moves them where they are.  If the loss is
 * not finite, the step is not done and the steps end.  Threads share first the blocks, then ranges of parameters.
 * Neither changes a number: a block's sums are its own, and a parameter's update is its own.  If there are fewer blocks
 * than threads, these share each of them (lower/sharing.py).
 *
 * A step is so short that a thread which sleeps would wake up too late, so between the steps they stay awake (_crew.h).
 *
 * What is too small for a normal number becomes 0 in the steps (and nowhere else): where a gradient stays 0, as that of
 * a unit which has died does, its running mean falls to the smallest subnormal and stays there for good, and some
 * processors take 150 cycles for each operation on it.  See docs/decisions/0009-exact-by-default.md.
 *
 * What threads write is their own, as a line that two of them write goes back and forth between their caches: each has
 * its workspace of each program, and the blocks' sums are added where the update reads them, not onto those of a block.
 * Of two threads, if there is room in their caches, that goes further ("apart"): each has the state to itself and does
 * all of the update, at the beginning of its next block.  For that it reads the other's sums, and that is all it reads of
 * what the other wrote: the parameters, written by one and read by the other, cost more than the second update.  As a line
 * is written quickly by who was the last to read it, the rows of sums go from thread to thread.
 *
 * A frame is what a program writes most of.  Programs of all lengths run on the same one, the thread's own, which so
 * stays in the second cache.  Where they are too large for that each keeps its own.
 *
 * Data structures
 *   VgBlock    a program, so many lanes, their numbers.
 *   VgOwn      what a thread has to itself where each does all of the update.
 *   VgDescent  the steps: state, blocks, what the update gets at each step; and what the threads share.
 *
 * Where to start reading: vg_descend, then vg_block and vg_range, the two kinds of items. */
#ifndef VALUEGRAD_DESCENT_H
#define VALUEGRAD_DESCENT_H

#include <math.h>
#include "_run.h"

enum {
    VG_UPDATE_NUMBERS = 4, /* rate, step, share, scale: what the update gets beside the arrays */
    VG_MOST_ARRAYS = 16,   /* of the state */
    VG_MOST_EXTRAS = 2048, /* inputs of a lane: 16 KB of pointers to them are on the stack */
    VG_MOST_BLOCKS = 1024, /* of a step */
    VG_LEAST_RANGE = 256,  /* parameters, so that a range is worth a program's beginning */
    VG_SECOND_CACHE = 1 << 20, /* bytes; frames up to that are shared, and states and sums that each thread has */
    VG_APART = 2 /* threads that each do all of the update: of more, each would do the others' share too often */
};

typedef struct VgBlock {
    int32_t program;     /* inputs: the parameters, the same for all lanes; then the lanes' */
    const char *numbers; /* of each of the lanes' inputs `lanes` numbers */
    int32_t lanes;
    int32_t extras;   /* how many inputs there are after the parameters */
    int32_t is_alone; /* the program is for one lane only: all its inputs count as the same for all lanes */
} VgBlock;

typedef struct VgOwn {
    char *state;
    char *sum;       /* of all blocks' gradients */
    int64_t updates; /* so many are done to the state */
    char line[VG_LINE - 2 * sizeof(char *) - sizeof(int64_t)];
} VgOwn;

typedef struct VgDescent {
    VgCode **program; /* those of blocks; then those that `update` and `clip` are */
    int32_t programs;
    int32_t update;   /* inputs: data, gradient, memory, for each parameter; VG_UPDATE_NUMBERS.  Outputs: data, memory */
    int32_t clip;     /* inputs: the gradient's sum, share; output: the scale.  -1: it is 1 */
    ptrdiff_t parameters;
    int32_t arrays; /* data and memory */
    char *state;    /* those, `stride` bytes each; the data's have room for a lone lane's inputs after them */
    ptrdiff_t stride;
    ptrdiff_t steps;
    const int64_t *first; /* steps + 1: of each step its first block */
    const VgBlock *block;
    const double *rows; /* of each step: rate, number, how many lanes it has */
    double *losses;     /* of each step the mean over its lanes, at its beginning */
    /* found by vg_descend */
    char *gradients; /* parameters + 1 numbers for each block of a step: sums of the gradient, of the loss; then for all */
    size_t row;      /* bytes of these */
    ptrdiff_t sums;  /* how many rows there are */
    ptrdiff_t most;  /* blocks of a step */
    int threads;
    VgWorkspace **workspace; /* of each program one for each thread, as soon as it has it */
    char *frames;            /* of `frame` bytes for each thread; 0: each program has its own */
    size_t frame;
    int is_apart; /* each thread does all of the update; otherwise they share it, and the state */
    VgOwn own[VG_APART];
    int error;
    /* for the items at hand */
    const VgBlock *blocks;
    ptrdiff_t step;
    /* for the update */
    const VgBlock *added; /* the blocks whose gradients it gets, and their step */
    ptrdiff_t added_step;
    int32_t summed; /* so many of these are still to be added */
    char *sum;      /* the gradient of all, when they are */
    ptrdiff_t range;
    double numbers[VG_UPDATE_NUMBERS];
    int64_t updates; /* so many may be done */
} VgDescent;

static VgCode *vg_update(const VgDescent *d) { return d->program[d->update]; }

static ptrdiff_t vg_even(ptrdiff_t n) { return n + (n & 1); }

/* Where a block's sums go.  Apart there are rows for the steps with an even number and others for those with an odd one,
 * as one thread may be in the next step before the other has read this one's; each time two neighbours are swapped. */
static char *vg_gradient(const VgDescent *d, ptrdiff_t step, ptrdiff_t block) {
    const ptrdiff_t row = d->is_apart ? (step & 1) * vg_even(d->most) + (block ^ (step >> 1 & 1)) : block;
    return d->gradients + (size_t)row * d->row;
}

/* A thread's workspace of a program, NULL without memory. */
static VgWorkspace *vg_own_workspace(const VgDescent *d, int32_t program, int32_t thread) {
    VgCode *const code = d->program[program];
    VgWorkspace **const own = &d->workspace[(ptrdiff_t)program * d->threads + thread];
    if (*own != NULL && (*own)->slots < code->slots) { /* another function of it was made meanwhile */
        vg_free_workspace(*own);
        *own = NULL;
    }
    if (*own == NULL) *own = vg_first_of(code, &code->own);
    if (*own == NULL) *own = vg_new_workspace(code, NULL);
    return *own;
}

/* Run a program on a thread's workspace and frame.  The first error of all is kept. */
static void vg_run_job(VgDescent *d, VgJob *job, int32_t program, int32_t thread) {
    job->code = d->program[program];
    VgWorkspace *const w = vg_own_workspace(d, program, thread);
    if (w == NULL) {
        d->error = VG_NO_MEMORY;
        return;
    }
    void *const own = w->context.frame;
    if (vg_frame_bytes(job->code) <= d->frame) w->context.frame = d->frames + (size_t)thread * d->frame;
    const int error = vg_run(job, w, 1);
    w->context.frame = own;
    if (error) d->error = error;
}

/* Whether a block and the next one, if there is one, are halves of one: then they have no more lanes than that together. */
static int vg_are_halves(const VgDescent *d, ptrdiff_t block) {
    return block + 1 < d->summed && d->added[block].lanes + d->added[block + 1].lanes <= vg_update(d)->vector;
}

static char *vg_added(const VgDescent *d, ptrdiff_t block) { return vg_gradient(d, d->added_step, block); }

/* The sum of a range of the blocks' gradients, where they still are to be added. */
static void vg_sum_blocks(const VgDescent *d, char *sum, ptrdiff_t from, ptrdiff_t count) {
    const size_t at = (size_t)from * vg_update(d)->item;
    VgRow row[VG_MOST_BLOCKS];
    ptrdiff_t rows = 0;
    if (d->summed < 2) return;
    for (ptrdiff_t b = 0; b < d->summed; b++, rows++) {
        const int are_halves = vg_are_halves(d, b);
        row[rows].first = vg_added(d, b) + at;
        row[rows].second = are_halves ? vg_added(d, ++b) + at : NULL;
    }
    vg_add_rows(vg_update(d)->is_float32, sum + at, row, rows, count);
}

/* The sum of the losses of all lanes. */
static double vg_loss(const VgDescent *d) {
    double loss = 0.0;
    for (ptrdiff_t b = 0, next; b < d->summed; b = next) {
        double sum = vg_get(vg_update(d), vg_added(d, b), d->parameters);
        next = b + 1;
        if (vg_are_halves(d, b)) sum += vg_get(vg_update(d), vg_added(d, next++), d->parameters);
        loss += vg_update(d)->is_float32 ? (float)sum : sum;
    }
    return loss;
}

/* Update so many parameters of a state; `sum`: where the gradient's sum is, or goes. */
static void vg_update_range(VgDescent *d, char *state, char *sum, ptrdiff_t from, ptrdiff_t count, int32_t thread) {
    VgCode *const code = vg_update(d);
    const char *inputs[VG_MOST_ARRAYS + 1];
    char *outputs[VG_MOST_ARRAYS];
    double packed[VG_UPDATE_NUMBERS];
    VgJob job;
    vg_sum_blocks(d, sum, from, count);
    for (int32_t i = 0; i < d->arrays; i++) {
        outputs[i] = state + i * d->stride + (size_t)from * code->item;
        inputs[i + (i > 0)] = outputs[i];
    }
    inputs[1] = sum + (size_t)from * code->item;
    for (int i = 0; i < VG_UPDATE_NUMBERS; i++) vg_put(code, packed, i, d->numbers[i]);
    memset(&job, 0, sizeof job);
    job.n = count;
    job.inputs = inputs;
    job.outputs = outputs;
    job.packed = (const char *)packed;
    job.packed_out = (char *)packed; /* nothing goes there */
    vg_run_job(d, &job, d->update, thread);
}

/* Update a range of the parameters that all threads share. */
static void vg_range(VgDescent *d, ptrdiff_t which, int32_t thread) {
    const ptrdiff_t from = which * d->range, left = d->parameters - from;
    vg_update_range(d, d->state, d->sum, from, left < d->range ? left : d->range, thread);
}

/* Do what is still to be done to a thread's own state.  Whoever had no block in a step has missed its sums, and takes
 * the state of the thread that leads, which misses none. */
static void vg_catch_up(VgDescent *d, int32_t thread) {
    VgOwn *const own = &d->own[thread];
    if (own->updates == d->updates) return;
    if (own->updates == d->updates - 1)
        vg_update_range(d, own->state, d->summed > 1 ? own->sum : d->sum, 0, d->parameters, thread);
    else {
        vg_await(&d->own[0].updates, d->updates);
        memcpy(own->state, d->state, (size_t)d->arrays * (size_t)d->stride);
    }
    __atomic_store_n(&own->updates, d->updates, __ATOMIC_RELEASE);
}

/* A block's sums of gradient and loss; the crew, if there is one, may share it. */
static void vg_block(VgDescent *d, ptrdiff_t which, int32_t thread, VgCrew *crew) {
    const VgBlock *const b = &d->blocks[which];
    const size_t item = vg_update(d)->item;
    const char *inputs[VG_MOST_EXTRAS];
    char *const state = d->is_apart ? d->own[thread].state : d->state;
    VgJob job;
    if (d->is_apart) vg_catch_up(d, thread);
    memset(&job, 0, sizeof job);
    job.n = b->lanes;
    job.crew = crew;
    job.inputs = inputs;
    job.packed = state;
    job.packed_out = vg_gradient(d, d->step, which);
    if (b->is_alone)
        memcpy(state + (size_t)d->parameters * item, b->numbers, (size_t)b->extras * item);
    else
        for (int32_t i = 0; i < b->extras; i++) inputs[i] = b->numbers + (size_t)i * (size_t)b->lanes * item;
    vg_run_job(d, &job, b->program, thread);
}

/* By what the gradient is multiplied so that it is not too long.  It must have been summed. */
static double vg_scale(VgDescent *d) {
    double scale[1];
    VgJob job;
    if (d->clip < 0) return 1.0;
    vg_put(vg_update(d), d->sum, d->parameters, d->numbers[2]); /* where the loss was */
    memset(&job, 0, sizeof job);
    job.n = 1;
    job.packed = d->sum;
    job.packed_out = (char *)scale;
    vg_run_job(d, &job, d->clip, 0);
    return vg_get(vg_update(d), scale, 0);
}

static void vg_do_block(void *d, ptrdiff_t which, int32_t thread) { vg_block((VgDescent *)d, which, thread, NULL); }
static void vg_do_range(void *d, ptrdiff_t which, int32_t thread) { vg_range((VgDescent *)d, which, thread); }

/* ------------------------------------------------------------------------------------------------------- steps */
/* Whether the threads share one block after the other, as there are too few for each to take one. */
static int vg_shares(const VgDescent *d, ptrdiff_t blocks, const VgCrew *crew) {
    if (blocks >= d->threads) return 0;
    for (ptrdiff_t b = 0; b < blocks; b++) {
        const VgCode *const code = d->program[d->blocks[b].program];
        if (code->shared == NULL || !vg_has_crew(crew, code->parts)) return 0;
    }
    return 1;
}

/* One step; 0: its loss is not finite, and nothing was changed (or there is an error). */
static int vg_descend_step(VgDescent *d, ptrdiff_t step, VgCrew *crew) {
    const ptrdiff_t blocks = (ptrdiff_t)(d->first[step + 1] - d->first[step]);
    const double *const row = d->rows + 3 * step;
    d->blocks = d->block + d->first[step];
    d->step = step;
    const int share = vg_shares(d, blocks, crew);
    if (share)
        for (ptrdiff_t b = 0; b < blocks; b++) vg_block(d, b, 0, crew);
    else if (d->is_apart) {
        vg_offer(crew, blocks, vg_do_block, d);
        vg_catch_up(d, 0); /* in any case, also if the others take all blocks */
        vg_finish(crew);
    } else
        vg_do(crew, blocks, vg_do_block, d);
    if (d->error) return 0;
    d->added = d->blocks;
    d->added_step = step;
    d->summed = (int32_t)blocks;
    d->sum = blocks > 1 ? d->gradients + (size_t)(d->sums - 1) * d->row : vg_added(d, 0);
    d->losses[step] = vg_loss(d) / row[2];
    if (!isfinite(d->losses[step])) return 0;
    d->numbers[0] = row[0];
    d->numbers[1] = row[1];
    d->numbers[2] = 1.0 / row[2];
    if (d->clip >= 0) {
        vg_sum_blocks(d, d->sum, 0, d->parameters);
        d->summed = 1;
    }
    d->numbers[3] = vg_scale(d);
    d->updates++;
    if (d->is_apart) return !d->error; /* each thread does it when it needs the parameters */
    d->range = d->parameters;
    if (d->threads > 1) { /* one each: more would go from thread to thread, and with them their lines */
        d->range = (d->parameters / d->threads + 63) & ~(ptrdiff_t)63;
        if (d->range < VG_LEAST_RANGE) d->range = VG_LEAST_RANGE;
    }
    vg_do(crew, (d->parameters + d->range - 1) / d->range, vg_do_range, d);
    return !d->error;
}

/* Bytes of the largest frame that the programs need; 0 if it is too large to be shared. */
static size_t vg_largest_frame(const VgDescent *d) {
    size_t most = 0;
    for (int32_t k = 0; k < d->programs; k++)
        if (vg_frame_bytes(d->program[k]) > most) most = vg_frame_bytes(d->program[k]);
    return most <= VG_SECOND_CACHE ? most : 0;
}

/* Memory for gradients and frames, in *memory, and for lists of workspaces; both are vg_end_descent's.  VG_NO_MEMORY, or 0. */
static int vg_begin_descent(VgDescent *d, void **memory) {
    const size_t rows = (size_t)d->sums * d->row, state = vg_aligned((size_t)d->arrays * (size_t)d->stride);
    const size_t own = d->is_apart ? (size_t)d->threads * (state + d->row) : 0;
    d->workspace = (VgWorkspace **)calloc((size_t)d->programs * (size_t)d->threads, sizeof *d->workspace);
    d->frame = vg_largest_frame(d);
    *memory = vg_room(rows + (size_t)d->threads * d->frame + own + 64);
    if (d->workspace == NULL || *memory == NULL) return VG_NO_MEMORY;
    d->gradients = (char *)vg_aligned((size_t)(uintptr_t)*memory);
    d->frames = d->gradients + rows;
    for (int t = 0; d->is_apart && t < d->threads; t++) {
        d->own[t].sum = d->frames + (size_t)d->threads * d->frame + (size_t)t * (state + d->row);
        d->own[t].state = t == 0 ? d->state : d->own[t].sum + d->row;
        d->own[t].updates = t == 0 ? 0 : -2; /* not the state before the first update either */
    }
    return 0;
}

static void vg_end_descent(VgDescent *d, void *memory) {
    for (int32_t k = 0; d->workspace != NULL && k < d->programs; k++)
        for (int t = 0; t < d->threads; t++) {
            VgWorkspace *const w = d->workspace[(ptrdiff_t)k * d->threads + t];
            if (w != NULL) vg_put_first(&d->program[k]->own, w);
        }
    free(d->workspace);
    free(memory);
}

/* Do the steps; the caller has checked the arrays.  *done: so many, before one whose loss is not finite.  Needs no
 * GIL.  0, or VG_NO_MEMORY: then the state means nothing. */
static int vg_descend(VgDescent *d, int threads, ptrdiff_t *done) {
    void *memory;
    *done = 0;
    d->most = 1;
    for (ptrdiff_t k = 0; k < d->steps; k++)
        if (d->first[k + 1] - d->first[k] > d->most) d->most = (ptrdiff_t)(d->first[k + 1] - d->first[k]);
    d->row = vg_aligned((size_t)(d->parameters + 1) * vg_update(d)->item);
    if (d->most == 1 && d->program[d->block[0].program]->shared == NULL) threads = 1;
    if (threads > VG_MOST_THREADS) threads = VG_MOST_THREADS;
    d->threads = threads;
    d->updates = 0;
    d->sums = 2 * vg_even(d->most) + 1;
    d->is_apart = threads == VG_APART && d->most >= threads &&
                  (size_t)d->sums * d->row + (size_t)d->arrays * (size_t)d->stride <= VG_SECOND_CACHE;
    if (!d->is_apart) d->sums = d->most + 1;
    d->error = vg_begin_descent(d, &memory);
    VgCrew crew, *const others = threads > 1 ? &crew : NULL;
    if (others) {
        vg_begin_crew(others, threads, 1);
        if (d->most < threads) vg_await_crew(others, threads, 10 * VG_WAKING); /* parts of a block need them all */
    }
    const unsigned before = vg_flush_subnormals();
    while (!d->error && *done < d->steps && vg_descend_step(d, *done, others)) ++*done;
    if (d->is_apart && !d->error) vg_catch_up(d, 0);
    vg_keep_subnormals(before);
    if (others) vg_end_crew(others);
    vg_end_descent(d, memory);
    return d->error;
}

#endif
