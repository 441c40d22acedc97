/* Running a program again and again: what a step gives is what the next one gets.
 *
 * Why: a step of a simulation, or of training, takes less time than Python takes to hand it its arrays.
 *
 * How: the program's first inputs and its first outputs are the state.  What of it is the same for all lanes lies in
 * the array of uniform inputs; its lanes lie in two arrays that take turns.  A step is a whole run (_run.h), so its
 * numbers are those of a run.  A step in which a guard fails is not done: the state is then what it began with, and
 * the caller says how to go on.
 *
 * Data structures
 *   VgIteration  the state, what enters at each step, where the rest of the outputs goes.
 *   VgSteps      numbers of all steps: those of one step lie together.
 *
 * Where to start reading: vg_iterate. */
#ifndef VALUEGRAD_ITERATE_H
#define VALUEGRAD_ITERATE_H

#include "_run.h"

typedef struct VgSteps {
    char *numbers;
    ptrdiff_t stride;     /* bytes from a step to the next; 0: all steps have the same */
    int32_t first, count; /* of uniform inputs: which ones these are */
} VgSteps;

typedef struct VgIteration {
    VgCode *code;
    ptrdiff_t n, steps;
    int32_t size;  /* so many of the first inputs and outputs are the state */
    char *uniform; /* all uniform inputs, packed */
    char *state;   /* the state's lanes, n for each input that is not uniform */
    VgSteps *rows; /* uniform inputs that enter at each step */
    int32_t row_count;
    VgSteps *lanes;  /* the lanes' inputs after the state's */
    VgSteps own;     /* the uniform outputs after the state's, packed */
    VgSteps *extras; /* the lanes' outputs after the state's */
    /* found by vg_iterate */
    int32_t arrays;      /* of the state: its inputs that are lanes, */
    int32_t numbers;     /* uniform outputs, */
    int32_t filled;      /* and uniform outputs that are lanes again in the next step */
    int32_t own_outputs; /* all uniform ones */
    int32_t lane_inputs, lane_outputs;
} VgIteration;

static void vg_count_state(VgIteration *it) {
    const VgLowered *const l = &it->code->lowered;
    it->arrays = it->numbers = it->filled = it->own_outputs = it->lane_inputs = it->lane_outputs = 0;
    for (int32_t i = 0; i < l->inputs; i++) it->lane_inputs += !l->uniform_input[i];
    for (int32_t i = 0; i < l->outputs; i++) it->lane_outputs += !l->uniform_output[i];
    it->own_outputs = l->outputs - it->lane_outputs;
    for (int32_t i = 0; i < it->size; i++) {
        it->arrays += !l->uniform_input[i];
        it->numbers += l->uniform_output[i];
        it->filled += l->uniform_output[i] && !l->uniform_input[i];
    }
}

static void vg_fill(const VgCode *code, char *to, const char *number, ptrdiff_t n) {
    for (ptrdiff_t i = 0; i < n; i++) vg_copy_number(code, to + (size_t)i * code->item, number);
}

/* What a step gave, `own` and the lanes in `next`, to where the following one finds it. */
static void vg_hand_on(const VgIteration *it, const char *own, char *next) {
    const VgCode *const code = it->code;
    const VgLowered *const l = &code->lowered;
    const size_t item = code->item, row = (size_t)it->n * item;
    if (it->filled == 0) {
        memcpy(it->uniform, own, (size_t)it->numbers * item);
        return;
    }
    char *to = it->uniform;
    for (int32_t i = 0; i < it->size; i++) {
        if (l->uniform_output[i]) {
            if (l->uniform_input[i]) vg_copy_number(code, to, own);
            else vg_fill(code, next, own, it->n);
            own += item;
        }
        if (l->uniform_input[i]) to += item;
        else next += row;
    }
}

/* Where a step's lanes come from and go to: pointers for `inputs` and `outputs`. */
static void vg_point(const VgIteration *it, ptrdiff_t step, char *now, char *next, const char **inputs,
                     char **outputs) {
    const VgLowered *const l = &it->code->lowered;
    const size_t row = (size_t)it->n * it->code->item;
    int32_t k = 0, out = 0;
    for (int32_t i = 0; i < it->size; i++) {
        if (l->uniform_input[i]) continue; /* its output is uniform too */
        inputs[k] = now + (size_t)k * row;
        if (!l->uniform_output[i]) outputs[out++] = next + (size_t)k * row;
        k++;
    }
    for (int32_t i = 0; k < it->lane_inputs; i++) inputs[k++] = it->lanes[i].numbers + step * it->lanes[i].stride;
    for (int32_t i = 0; out < it->lane_outputs; i++)
        outputs[out++] = it->extras[i].numbers + step * it->extras[i].stride;
}

/* Run the steps; the caller has checked the arrays.  *done: so many were done before one in which a guard fails.
 * Needs no GIL.  0; or 1 if a Python function raised, VG_NO_MEMORY. */
static int vg_iterate(VgIteration *it, VgWorkspace *w, int threads, ptrdiff_t *done) {
    VgCode *const code = it->code;
    const size_t item = code->item, lanes = (size_t)it->arrays * (size_t)it->n * item;
    const size_t extra = (size_t)(it->own_outputs - it->numbers) * item;
    VgJob job;
    int error = VG_NO_MEMORY;
    char *now = it->state, *next = (char *)malloc(lanes + 1);
    char *const spare = next;
    char *const own = (char *)malloc((size_t)it->own_outputs * item + 1);
    const char **const inputs = (const char **)malloc(((size_t)it->lane_inputs + 1) * sizeof *inputs);
    char **const outputs = (char **)malloc(((size_t)it->lane_outputs + 1) * sizeof *outputs);
    memset(&job, 0, sizeof job);
    job.code = code;
    job.n = it->n;
    job.inputs = inputs;
    job.outputs = outputs;
    job.packed = it->uniform;
    job.packed_out = own;
    job.failed = (int32_t *)malloc((code->lowered.guards ? (size_t)it->n : 0) * sizeof *job.failed + 1);
    *done = 0;
    if (!next || !own || !inputs || !outputs || !job.failed) goto finished;
    error = 0;
    for (; *done < it->steps; ++*done) {
        for (int32_t i = 0; i < it->row_count; i++) {
            const VgSteps *const row = &it->rows[i];
            memcpy(it->uniform + (size_t)row->first * item, row->numbers + *done * row->stride,
                   (size_t)row->count * item);
        }
        vg_point(it, *done, now, next, inputs, outputs);
        error = vg_run(&job, w, threads);
        if (error || job.has_failed) break;
        vg_hand_on(it, own, next);
        if (extra) memcpy(it->own.numbers + *done * it->own.stride, own + (size_t)it->numbers * item, extra);
        char *const last = now;
        now = next;
        next = last;
    }
    if (now != it->state) memcpy(it->state, now, lanes);
finished:
    free(job.failed);
    free(outputs);
    free((void *)inputs);
    free(own);
    free(spare);
    return error;
}

#endif
