/* From a graph to the segments of a program (_machine.h).
 *
 * Why: what is the same for all lanes must not be computed in every block, and what depends on a sum over the lanes
 * can only be computed at the end.  So each node gets the segment that runs it: `pre` if it depends on uniform inputs,
 * constants and the number of lanes only and lanes need it; `main` if it depends on a lane's input; `post` if it depends
 * on a batch_sum, or no lane needs it.  What is done alike there for many parameters becomes a loop (_roll.h); `last` is
 * what depends on loops.
 *
 * Data structures: VgGraph, a graph's arrays (borrowed); VgLowered, the segments (owned) and where a run finds and
 * leaves its numbers: `image` is what the uniform scalars are before a run (the constants; the rest is written by it).
 *
 * Where to start reading: vg_lower. */
#ifndef VALUEGRAD_LOWER_H
#define VALUEGRAD_LOWER_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "_machine.h"

enum { VG_PRE, VG_MAIN, VG_POST, VG_LAST, VG_SEGMENTS };

typedef struct VgGraph {
    int32_t count, inputs, outputs, guards;
    const uint16_t *op;
    const int32_t *start, *operand, *output, *guard_node;
    const double *number;
    const uint8_t *guard_expected, *uniform; /* uniform: for each input */
} VgGraph;

/* What the members of a loop read or write: member m the uniform table[m], or first + m where there is no table. */
typedef struct VgLoopColumn {
    int32_t first, *table;
} VgLoopColumn;

/* A loop over members.  Its frame: a slot for each column, inputs first. */
typedef struct VgLoop {
    VgSegment segment;
    int32_t members, inputs, columns;
    VgLoopColumn *column;
} VgLoop;

typedef struct VgLowered {
    VgSegment segment[VG_SEGMENTS];
    VgLoop *loop;
    int32_t loops;
    int32_t inputs, outputs, guards, uniforms, slots, accumulators;
    double *image;           /* uniforms */
    int32_t *input;          /* for each input the uniform or the slot it goes to; -1: nothing reads it */
    int32_t *output;         /* for each output the uniform or the slot it comes from */
    uint8_t *uniform_input;  /* for each input, 1: a uniform */
    uint8_t *uniform_output; /* for each output, 1: a uniform */
    int32_t *total;          /* for each accumulator the uniform that its total goes to */
    int32_t lanes;           /* the uniform that is the number of lanes; -1: none */
} VgLowered;

/* What became of a node. */
typedef struct {
    int8_t segment;
    uint8_t live;        /* an output or a guard depends on it */
    uint8_t needed;      /* what lanes compute depends on it */
    uint8_t computed;    /* an instruction computes it; else it is in memory from the start */
    int32_t instruction; /* its number in its segment */
    int32_t uniform;     /* where other segments, or the caller, find it; -1: nowhere */
    int32_t slot;        /* of the frame: inputs and outputs of lanes; -1: none */
    int32_t guard;       /* the first of its guards; -1: none */
} VgPlace;

#include "_roll.h"
#include "_tiles.h"

/* A segment that is being written: the arrays grow by doubling. */
typedef struct {
    int32_t count, operands, room, operand_room;
    uint16_t *op;
    int32_t *start, *operand;
    double *number;
} VgWriter;

static int vg_reserve(VgWriter *w, int32_t operands) {
    if (w->count + 1 >= w->room) { /* one more, for the last start */
        const int32_t room = w->room ? 2 * w->room : 16;
        uint16_t *op = (uint16_t *)realloc(w->op, (size_t)room * sizeof *op);
        if (op != NULL) w->op = op;
        int32_t *start = (int32_t *)realloc(w->start, (size_t)room * sizeof *start);
        if (start != NULL) w->start = start;
        double *number = (double *)realloc(w->number, (size_t)room * sizeof *number);
        if (number != NULL) w->number = number;
        if (op == NULL || start == NULL || number == NULL) return -1;
        w->room = room;
    }
    if (w->operands + operands > w->operand_room) {
        const int32_t room = 2 * w->operand_room + operands + 16;
        int32_t *operand = (int32_t *)realloc(w->operand, (size_t)room * sizeof *operand);
        if (operand == NULL) return -1;
        w->operand = operand;
        w->operand_room = room;
    }
    return 0;
}

/* Begin an instruction; its operands are then written to w->operand, from the returned position on. */
static int32_t *vg_emit(VgWriter *w, int op, double number, int32_t operands) {
    if (vg_reserve(w, operands) < 0) return NULL;
    int32_t *const first = w->operand + w->operands;
    w->op[w->count] = (uint16_t)op;
    w->number[w->count] = number;
    w->start[w->count] = w->operands;
    w->operands += operands;
    w->count++;
    w->start[w->count] = w->operands;
    return first;
}

/* How an instruction of `segment` refers to a node. */
static int32_t vg_reference(const VgPlace *place, int segment, int32_t uniforms) {
    if (place->computed && place->segment == segment) return place->instruction;
    return place->uniform >= 0 ? ~place->uniform : ~(uniforms + place->slot);
}

static void vg_free_segment(VgSegment *segment) {
    free((void *)segment->op);
    free((void *)segment->start);
    free((void *)segment->operand);
    free((void *)segment->number);
}

static void vg_free_lowered(VgLowered *lowered) {
    for (int k = 0; k < VG_SEGMENTS; k++) vg_free_segment(&lowered->segment[k]);
    for (int32_t l = 0; l < lowered->loops; l++) {
        vg_free_segment(&lowered->loop[l].segment);
        for (int32_t k = 0; k < lowered->loop[l].columns; k++) free(lowered->loop[l].column[k].table);
        free(lowered->loop[l].column);
    }
    free(lowered->loop);
    free(lowered->image);
    free(lowered->input);
    free(lowered->output);
    free(lowered->uniform_input);
    free(lowered->uniform_output);
    free(lowered->total);
    memset(lowered, 0, sizeof *lowered);
}

enum { VG_LOWERED = 0, VG_NO_MEMORY = -1, VG_SUM_IN_LANES = -2 };

/* Which segment each node belongs to; VG_SUM_IN_LANES with *where if a lane depends on a sum over the lanes. */
static int vg_classify(const VgGraph *g, VgPlace *places, int32_t *where) {
    for (int32_t i = 0; i < g->count; i++) {
        int lane = 0, sum = 0;
        for (int32_t j = g->start[i]; j < g->start[i + 1]; j++) {
            lane |= places[g->operand[j]].segment == VG_MAIN;
            sum |= places[g->operand[j]].segment == VG_POST;
        }
        if (i < g->inputs) lane = !g->uniform[i];
        if (g->op[i] == VG_OP_batch_sum && lane) lane = 0, sum = 1;
        if (lane && sum) {
            *where = i;
            return VG_SUM_IN_LANES;
        }
        const VgPlace place = {(int8_t)(lane ? VG_MAIN : sum ? VG_POST : VG_PRE), 0, 0, 0, -1, -1, -1, -1};
        places[i] = place;
    }
    for (int32_t i = 0; i < g->outputs; i++) places[g->output[i]].live = 1;
    for (int32_t k = 0; k < g->guards; k++) places[g->guard_node[k]].live = places[g->guard_node[k]].needed = 1;
    for (int32_t i = g->count; i-- > 0;) {
        if (!places[i].live) continue;
        /* What no lane waits for is computed after the lanes, where it may be part of a loop (_roll.h). */
        if (places[i].segment == VG_PRE && !places[i].needed && i >= g->inputs && g->start[i + 1] > g->start[i])
            places[i].segment = VG_POST;
        const int needed = places[i].segment == VG_MAIN || places[i].needed;
        for (int32_t j = g->start[i]; j < g->start[i + 1]; j++) {
            places[g->operand[j]].live = 1;
            places[g->operand[j]].needed |= (uint8_t)needed;
        }
    }
    return VG_LOWERED;
}

#include "_hoist.h"

/* A sum over the lanes of what is in every lane; else value * lanes. */
static int vg_is_lane_sum(const VgGraph *g, const VgPlace *places, int32_t node) {
    return g->op[node] == VG_OP_batch_sum && places[g->operand[g->start[node]]].segment == VG_MAIN;
}

/* What depends on a loop is computed last. */
static void vg_mark_last(const VgGraph *g, VgPlace *places, const VgRolled *rolled) {
    for (int32_t i = 0; i < g->count; i++)
        for (int32_t j = g->start[i]; places[i].segment == VG_POST && rolled->of[i] < 0 && j < g->start[i + 1]; j++)
            if (rolled->of[g->operand[j]] >= 0 || places[g->operand[j]].segment == VG_LAST) places[i].segment = VG_LAST;
}

/* The members' results that are wanted outside of their loop get uniforms side by side. */
static int32_t vg_place_members(const VgGraph *g, VgPlace *places, const VgRolled *rolled, int32_t uniforms) {
    for (int32_t i = 0; i < g->count; i++)
        for (int32_t j = g->start[i]; places[i].live && rolled->of[i] < 0 && j < g->start[i + 1]; j++)
            if (rolled->of[g->operand[j]] >= 0) places[g->operand[j]].slot = 0; /* for now: wanted */
    for (int32_t i = 0; i < g->outputs; i++)
        if (rolled->of[g->output[i]] >= 0) places[g->output[i]].slot = 0;
    for (int32_t b = 0; b < rolled->count; b++) {
        const VgBundle *const bundle = &rolled->bundle[b];
        for (int32_t i = 0; i < bundle->size; i++) {
            int wanted = 0;
            for (int32_t m = 0; m < bundle->members; m++) wanted |= places[bundle->nodes[m * bundle->size + i]].slot == 0;
            for (int32_t m = 0; m < bundle->members; m++) {
                VgPlace *const place = &places[bundle->nodes[m * bundle->size + i]];
                place->uniform = wanted ? uniforms + m : -1;
                place->slot = -1;
            }
            if (wanted) uniforms += bundle->members;
        }
    }
    return uniforms;
}

/* Where each node's number lives: count the uniforms, slots and accumulators. */
static void vg_place(const VgGraph *g, VgPlace *places, VgLowered *lowered, const VgRolled *rolled) {
    int32_t uniforms = vg_place_members(g, places, rolled, 0), slots = 0;
    lowered->lanes = -1;
    for (int32_t i = 0; i < g->count; i++) {
        VgPlace *const place = &places[i];
        if (!place->live) continue;
        if (g->op[i] == VG_OP_lanes) {
            if (lowered->lanes < 0) lowered->lanes = uniforms++;
            place->uniform = lowered->lanes;
        } else if (g->op[i] == VG_OP_input && place->segment == VG_MAIN) {
            place->slot = slots++;
        } else if (g->op[i] == VG_OP_input || g->op[i] == VG_OP_const) {
            place->uniform = uniforms++;
        } else if (vg_is_lane_sum(g, places, i)) {
            place->uniform = uniforms++;
            lowered->accumulators++;
        } else if (rolled->of[i] < 0) {
            place->computed = 1;
            if (g->op[i] == VG_OP_batch_sum && lowered->lanes < 0) lowered->lanes = uniforms++;
        }
        const int home = rolled->of[i] < 0 ? place->segment : VG_SEGMENTS;
        for (int32_t j = g->start[i]; j < g->start[i + 1]; j++) {
            VgPlace *const operand = &places[g->operand[j]];
            if (operand->computed && operand->segment != VG_MAIN && operand->segment != home && operand->uniform < 0)
                operand->uniform = uniforms++;
        }
    }
    for (int32_t i = 0; i < g->outputs; i++) {
        VgPlace *const place = &places[g->output[i]];
        if (place->uniform >= 0 || place->slot >= 0) continue;
        if (place->segment == VG_MAIN) place->slot = slots++;
        else place->uniform = uniforms++;
    }
    lowered->uniforms = uniforms;
    lowered->slots = slots;
}

/* Write the instructions of a node: what computes it, what stores it, and its guards. */
static int vg_emit_node(const VgGraph *g, VgPlace *places, VgLowered *lowered, VgWriter *writers, const int32_t *next,
                        int32_t node, int32_t *accumulator) {
    VgPlace *const place = &places[node];
    VgWriter *w = &writers[place->segment];
    const int32_t first = g->start[node], operands = g->start[node + 1] - first, uniforms = lowered->uniforms;
    int32_t *to;
    if (vg_is_lane_sum(g, places, node)) {
        to = vg_emit(&writers[VG_MAIN], VG_REDUCE, *accumulator, 1);
        if (to == NULL) return VG_NO_MEMORY;
        to[0] = vg_reference(&places[g->operand[first]], VG_MAIN, uniforms);
        lowered->total[(*accumulator)++] = place->uniform;
    } else if (g->op[node] == VG_OP_batch_sum) { /* as many times as there are lanes */
        to = vg_emit(w, VG_OP_mul, 0.0, 2);
        if (to == NULL) return VG_NO_MEMORY;
        to[0] = vg_reference(&places[g->operand[first]], place->segment, uniforms);
        to[1] = ~lowered->lanes;
    } else if (place->computed) {
        to = vg_emit(w, g->op[node], g->number[node], operands);
        if (to == NULL) return VG_NO_MEMORY;
        for (int32_t j = 0; j < operands; j++)
            to[j] = vg_reference(&places[g->operand[first + j]], place->segment, uniforms);
    }
    if (place->computed) {
        place->instruction = w->count - 1;
        if (place->uniform >= 0 || place->slot >= 0) {
            const int to_uniform = place->uniform >= 0;
            to = vg_emit(w, to_uniform ? VG_STORE_UNIFORM : VG_STORE, to_uniform ? place->uniform : place->slot, 1);
            if (to == NULL) return VG_NO_MEMORY;
            to[0] = place->instruction;
        }
    }
    for (int32_t k = place->guard; k >= 0; k = next[k]) {
        to = vg_emit(w, VG_GUARD, 2.0 * k + (g->guard_expected[k] != 0), 1);
        if (to == NULL) return VG_NO_MEMORY;
        to[0] = vg_reference(place, place->segment, uniforms);
    }
    return VG_LOWERED;
}

static VgSegment vg_finished(const VgWriter *w, int32_t uniforms, int32_t slots) {
    const VgSegment segment = {w->count, w->op, w->start, w->operand, w->number, uniforms, slots};
    return segment;
}

/* The column of a loop for operand j of each member's node i; -1 if all members read the same uniform; -2 without
 * memory. */
static int32_t vg_loop_column(const VgGraph *g, const VgPlace *places, const VgBundle *b, VgLoop *loop, int32_t i,
                              int32_t j) {
    int same = 1, side_by_side = 1;
    int32_t first = 0;
    for (int32_t m = 0; m < b->members; m++) {
        const int32_t uniform = places[g->operand[g->start[b->nodes[m * b->size + i]] + j]].uniform;
        if (m == 0) first = uniform;
        same &= uniform == first;
        side_by_side &= uniform == first + m;
    }
    if (same) return -1;
    VgLoopColumn *const grown = (VgLoopColumn *)realloc(loop->column, ((size_t)loop->columns + 1) * sizeof *grown);
    if (grown == NULL) return -2;
    loop->column = grown;
    VgLoopColumn *const column = &loop->column[loop->columns];
    column->first = first;
    column->table = NULL;
    if (!side_by_side) {
        column->table = (int32_t *)malloc((size_t)b->members * sizeof *column->table);
        if (column->table == NULL) return -2;
        for (int32_t m = 0; m < b->members; m++)
            column->table[m] = places[g->operand[g->start[b->nodes[m * b->size + i]] + j]].uniform;
    }
    return loop->columns++;
}

/* A loop's segment: that of its first member, what differs between members in slots of the frame. */
static int vg_emit_loop(const VgGraph *g, const VgPlace *places, const VgRolled *rolled, int32_t which,
                        VgLowered *lowered, VgLoop *loop) {
    const VgBundle *const b = &rolled->bundle[which];
    VgWriter w;
    int result = VG_NO_MEMORY;
    int32_t *const code = (int32_t *)malloc((size_t)b->size * sizeof *code); /* each node's instruction */
    int32_t *const known = (int32_t *)malloc(((size_t)g->count + 1) * sizeof *known); /* references, by node */
    memset(&w, 0, sizeof w);
    loop->members = b->members;
    if (code == NULL || known == NULL || vg_reserve(&w, 1) < 0) goto done;
    w.start[0] = 0;
    for (int32_t i = 0; i < b->size; i++) /* forget */
        for (int32_t j = g->start[b->nodes[i]]; j < g->start[b->nodes[i] + 1]; j++) known[g->operand[j]] = INT32_MAX;
    for (int32_t i = 0; i < b->size; i++) {
        const int32_t node = b->nodes[i], n = g->start[node + 1] - g->start[node];
        int32_t *const to = vg_emit(&w, g->op[node], g->number[node], n);
        if (to == NULL) goto done;
        const int32_t at = (int32_t)(to - w.operand);
        code[i] = w.count - 1;
        for (int32_t j = 0; j < n; j++) {
            const int32_t operand = g->operand[g->start[node] + j];
            if (rolled->of[operand] == which) { /* only of its own member */
                w.operand[at + j] = code[rolled->at[operand]];
                continue;
            }
            if (known[operand] == INT32_MAX) {
                const int32_t column = vg_loop_column(g, places, b, loop, i, j);
                if (column == -2) goto done;
                known[operand] = column < 0 ? ~places[operand].uniform : ~(lowered->uniforms + column);
            }
            w.operand[at + j] = known[operand];
        }
    }
    loop->inputs = loop->columns;
    for (int32_t i = 0; i < b->size; i++) {
        const int32_t uniform = places[b->nodes[i]].uniform;
        if (uniform < 0) continue;
        VgLoopColumn *const grown = (VgLoopColumn *)realloc(loop->column, ((size_t)loop->columns + 1) * sizeof *grown);
        if (grown == NULL) goto done;
        loop->column = grown;
        const VgLoopColumn column = {uniform, NULL};
        loop->column[loop->columns] = column;
        int32_t *const to = vg_emit(&w, VG_STORE, loop->columns++, 1);
        if (to == NULL) goto done;
        to[0] = code[i];
    }
    result = VG_LOWERED;
done:
    loop->segment = vg_finished(&w, lowered->uniforms, loop->columns);
    free(code);
    free(known);
    return result;
}

static int vg_emit_loops(const VgGraph *g, const VgPlace *places, const VgRolled *rolled, VgLowered *lowered) {
    lowered->loop = (VgLoop *)calloc((size_t)rolled->count + 1, sizeof *lowered->loop);
    if (lowered->loop == NULL) return VG_NO_MEMORY;
    for (int32_t b = 0; b < rolled->count; b++)
        if (rolled->bundle[b].members > 0 &&
            vg_emit_loop(g, places, rolled, b, lowered, &lowered->loop[lowered->loops++]) < 0)
            return VG_NO_MEMORY;
    return VG_LOWERED;
}

static int vg_emit_all(const VgGraph *g, VgPlace *places, VgLowered *lowered, const VgRolled *rolled) {
    VgWriter writers[VG_SEGMENTS];
    int32_t accumulator = 0;
    int result = VG_NO_MEMORY;
    int32_t *next = (int32_t *)malloc(((size_t)g->guards + 1) * sizeof *next);
    memset(writers, 0, sizeof writers);
    if (next == NULL) return result;
    for (int32_t k = g->guards; k-- > 0;) {
        next[k] = places[g->guard_node[k]].guard;
        places[g->guard_node[k]].guard = k;
    }
    for (int k = 0; k < VG_SEGMENTS; k++) { /* so that an empty segment has its arrays too */
        if (vg_reserve(&writers[k], 1) < 0) goto done;
        writers[k].start[0] = 0;
    }
    for (int32_t i = 0; i < g->count; i++)
        if (places[i].live && rolled->of[i] < 0 &&
            vg_emit_node(g, places, lowered, writers, next, i, &accumulator) < 0)
            goto done;
    result = VG_LOWERED;
done:
    for (int k = 0; k < VG_SEGMENTS; k++) { /* owned by lowered from here on, whole or not */
        lowered->segment[k] = vg_finished(&writers[k], lowered->uniforms, lowered->slots);
    }
    free(next);
    return result;
}

/* Cut a graph, whose arrays have been checked, into segments; `loops`: what is done alike for many parameters becomes
 * loops here already.  VG_SUM_IN_LANES: *where is the node at fault. */
static int vg_lower(const VgGraph *g, VgLowered *lowered, int32_t *where, int loops) {
    int result;
    VgRolled rolled;
    VgHoisted hoisted;
    VgPlace *places = (VgPlace *)malloc(((size_t)g->count + 1) * sizeof *places);
    memset(lowered, 0, sizeof *lowered);
    memset(&rolled, 0, sizeof rolled);
    memset(&hoisted, 0, sizeof hoisted);
    if (places == NULL) return VG_NO_MEMORY;
    result = vg_classify(g, places, where);
    if (result == VG_LOWERED) result = vg_hoist(g, places, &hoisted);
    if (result != VG_LOWERED) goto done;
    result = VG_NO_MEMORY;
    if (hoisted.op != NULL) {
        g = &hoisted.graph;
        free(places);
        places = (VgPlace *)malloc(((size_t)g->count + 1) * sizeof *places);
        if (places == NULL || vg_classify(g, places, where) != VG_LOWERED) goto done;
    }
    vg_roll(g, places, &rolled, loops);
    if (rolled.of == NULL) goto done;
    vg_mark_last(g, places, &rolled);
    vg_place(g, places, lowered, &rolled);
    lowered->inputs = g->inputs;
    lowered->outputs = g->outputs;
    lowered->guards = g->guards;
    lowered->image = (double *)calloc((size_t)lowered->uniforms + 1, sizeof *lowered->image);
    lowered->input = (int32_t *)malloc(((size_t)g->inputs + 1) * sizeof *lowered->input);
    lowered->output = (int32_t *)malloc(((size_t)g->outputs + 1) * sizeof *lowered->output);
    lowered->uniform_input = (uint8_t *)malloc((size_t)g->inputs + 1);
    lowered->uniform_output = (uint8_t *)malloc((size_t)g->outputs + 1);
    lowered->total = (int32_t *)malloc(((size_t)lowered->accumulators + 1) * sizeof *lowered->total);
    result = VG_NO_MEMORY;
    if (!lowered->image || !lowered->input || !lowered->output || !lowered->uniform_input || !lowered->uniform_output ||
        !lowered->total)
        goto done;
    for (int32_t i = 0; i < g->count; i++)
        if (g->op[i] == VG_OP_const && places[i].live) lowered->image[places[i].uniform] = g->number[i];
    for (int32_t i = 0; i < g->inputs; i++) {
        lowered->uniform_input[i] = g->uniform[i] != 0;
        lowered->input[i] = lowered->uniform_input[i] ? places[i].uniform : places[i].slot;
    }
    for (int32_t i = 0; i < g->outputs; i++) {
        const VgPlace *const place = &places[g->output[i]];
        lowered->uniform_output[i] = place->segment != VG_MAIN;
        lowered->output[i] = lowered->uniform_output[i] ? place->uniform : place->slot;
    }
    result = vg_emit_all(g, places, lowered, &rolled);
    if (result == VG_LOWERED && loops) vg_tile(&lowered->segment[VG_MAIN]);
    if (result == VG_LOWERED) result = vg_emit_loops(g, places, &rolled, lowered);
done:
    vg_free_rolled(&rolled);
    vg_free_hoisted(&hoisted);
    free(places);
    if (result != VG_LOWERED) vg_free_lowered(lowered);
    return result;
}

#endif
