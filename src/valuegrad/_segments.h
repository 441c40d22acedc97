/* Running one segment of a program, on numbers that lie ready: a part of _run.h.
 *
 * Why: a batch, a single lane and a call on Python's floats differ in where their numbers come from; the segments are the
 * same.
 *
 * Data structures: none of its own; VgCode and VgContext of _code.h, VgRuns of numbers between arrays and scalars.
 *
 * Where to start reading: vg_segment, then vg_uniform_segment and vg_run_loops. */
#ifndef VALUEGRAD_SEGMENTS_H
#define VALUEGRAD_SEGMENTS_H

#include "_code.h"

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

/* All runs but one (-1: all). */
static void vg_copy_runs(const VgCode *code, const VgRuns *runs, char *uniform, char *packed, int out, int32_t but) {
    for (int32_t i = 0; i < runs->count; i++) {
        if (i == but) continue;
        const VgRun run = runs->run[i];
        char *const inside = uniform + (size_t)run.uniform * code->item;
        char *const outside = packed + (size_t)run.packed * code->item;
        if (run.count == 1)
            for (int32_t k = 0; k < run.times; k++)
                vg_copy_number(code, out ? outside + (size_t)k * code->item : inside, out ? inside : outside);
        else memcpy(out ? outside : inside, out ? inside : outside, (size_t)run.count * code->item);
    }
}

static void vg_segment(const VgCode *code, int k, VgContext *c) {
    const VgPiece *const piece = &code->piece[k];
    const VgSegmentFunction function = c->lanes > code->vector ? code->whole_block : piece->function;
    const uint64_t valid_bits = c->valid < 64 ? ((uint64_t)1 << c->valid) - 1 : UINT64_MAX;
    if (piece->function != NULL)
        function(c->frame, c->uniform, c->accumulators, c->failed, valid_bits);
    else
        vg_interpret(&piece->interpreted, c);
}

/* A column's numbers between uniform scalars and a slot of the frame, for the members from `from` on; what is missing
 * to a whole vector repeats the last member. */
#define VG_LOAD_COLUMN(T)                                                                                             \
    for (ptrdiff_t i = 0; i < vector; i++) {                                                                          \
        const ptrdiff_t m = from + (i < valid ? i : valid - 1);                                                       \
        ((T *)slot)[i] = ((const T *)uniform)[column->table ? column->table[m] : column->first + m];                  \
    }

static void vg_load_column(const VgCode *code, const VgLoopColumn *column, const void *uniform, void *slot,
                           ptrdiff_t from, ptrdiff_t valid) {
    const ptrdiff_t vector = code->vector;
    if (column->table == NULL && valid == vector) {
        memcpy(slot, (const char *)uniform + (size_t)(column->first + from) * code->item, VG_BLOCK_BYTES);
    } else if (code->is_float32) {
        VG_LOAD_COLUMN(float)
    } else {
        VG_LOAD_COLUMN(double)
    }
}

/* The loops: V members at a time. */
static void vg_run_loops(const VgCode *code, VgContext *c) {
    for (int32_t l = 0; l < code->lowered.loops; l++) {
        const VgLoop *const loop = &code->lowered.loop[l];
        c->lanes = code->vector;
        for (ptrdiff_t from = 0; from < loop->members; from += code->vector) {
            const ptrdiff_t left = loop->members - from, valid = left < code->vector ? left : code->vector;
            c->valid = valid;
            for (int32_t k = 0; k < loop->inputs; k++)
                vg_load_column(code, &loop->column[k], c->uniform, (char *)c->frame + (size_t)k * VG_BLOCK_BYTES, from,
                               valid);
            vg_segment(code, VG_SEGMENTS + l, c);
            for (int32_t k = loop->inputs; k < loop->columns; k++)
                memcpy((char *)c->uniform + (size_t)(loop->column[k].first + from) * code->item,
                       (const char *)c->frame + (size_t)k * VG_BLOCK_BYTES, (size_t)valid * code->item);
        }
    }
}

/* `pre`, `post` or `last`: in one vector, whose first lane counts.  The first guard that fails, or `before`: behind a
 * guard that failed no Python function is called. */
static int32_t vg_uniform_segment(const VgCode *code, int k, VgContext *c, int32_t before) {
    if (code->lowered.segment[k].count == 0) return before;
    c->lanes = code->vector;
    c->valid = 1;
    for (ptrdiff_t i = 0; i < code->vector; i++) c->failed[i] = before;
    vg_segment(code, k, c);
    return c->failed[0];
}

#endif
