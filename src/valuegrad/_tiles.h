/* Dots that share one of their lists come to stand side by side: a row of matrix products.
 *
 * Why: the outputs of a linear layer are dots of one list with many others, and so are the adjoints of its inputs and
 * of its weights.  Computed one after the other each dot loads the shared list anew.  Side by side, machine code keeps
 * a sum for each of them in registers and loads a shared number once for all (_jit_operations.h, jit_lower_tile);
 * every dot still adds its own products in its own order, so no result changes.
 *
 * How: a dot moves up to the first one that shares a list with it, if its other numbers are known there.
 *
 * Where to start reading: vg_tile. */
#ifndef VALUEGRAD_TILES_H
#define VALUEGRAD_TILES_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "_machine.h"

enum {
    VG_TILE = 16,         /* dots in a row */
    VG_TILE_SHORTEST = 4  /* products of a dot that is worth it */
};

/* A row that may still grow: by the list that it shares. */
typedef struct VgTileRow {
    uint64_t hash;
    int32_t anchor; /* the first dot; -1: empty */
    int8_t half;    /* which of its lists */
} VgTileRow;

static uint64_t vg_list_hash(const int32_t *list, int32_t n) {
    uint64_t h = 14695981039346656037u ^ (uint64_t)n;
    for (int32_t i = 0; i < n; i++) h = (h ^ (uint32_t)list[i]) * 1099511628211u;
    return (h ^ (h >> 31)) | 1;
}

static inline int32_t vg_pairs_of(const VgSegment *s, int32_t i) { return (s->start[i + 1] - s->start[i]) / 2; }
static inline const int32_t *vg_list_of(const VgSegment *s, int32_t i, int half) {
    return s->operand + s->start[i] + (half ? vg_pairs_of(s, i) : 0);
}

static int vg_known_before(const int32_t *list, int32_t n, int32_t anchor) {
    for (int32_t i = 0; i < n; i++)
        if (list[i] >= anchor) return 0;
    return 1;
}

/* The place of a list in the table: where a row with it is, or where one could be. */
static uint32_t vg_find_row(const VgSegment *s, const VgTileRow *rows, uint32_t mask, uint64_t hash,
                            const int32_t *list, int32_t n) {
    uint32_t at = (uint32_t)(hash >> 20) & mask;
    for (; rows[at].anchor >= 0; at = (at + 1) & mask) {
        const VgTileRow *const row = &rows[at];
        if (row->hash == hash && vg_pairs_of(s, row->anchor) == n &&
            memcmp(vg_list_of(s, row->anchor, row->half), list, (size_t)n * sizeof *list) == 0)
            break;
    }
    return at;
}

/* For each instruction its anchor (itself if it moves nowhere), and for each anchor how many follow it. */
static void vg_find_tiles(const VgSegment *s, VgTileRow *rows, uint32_t mask, int32_t *anchor, int32_t *members,
                          int8_t *shared) {
    for (int32_t i = 0; i < s->count; i++) {
        const int32_t n = vg_pairs_of(s, i);
        uint32_t at[2];
        anchor[i] = i;
        members[i] = 0;
        shared[i] = -1;
        if (s->op[i] != VG_OP_dot || n < VG_TILE_SHORTEST) continue;
        for (int half = 0; half < 2 && anchor[i] == i; half++) {
            const int32_t *const list = vg_list_of(s, i, half);
            at[half] = vg_find_row(s, rows, mask, vg_list_hash(list, n), list, n);
            const VgTileRow *const row = &rows[at[half]];
            const int32_t a = row->anchor;
            if (a < 0 || members[a] + 1 >= VG_TILE || (shared[a] >= 0 && shared[a] != row->half)) continue;
            if (!vg_known_before(vg_list_of(s, i, !half), n, a)) continue;
            anchor[i] = a;
            members[a]++;
            shared[a] = row->half;
        }
        for (int half = 0; half < 2 && anchor[i] == i; half++) { /* it may begin a row with either list */
            const int32_t *const list = vg_list_of(s, i, half);
            const uint64_t hash = vg_list_hash(list, n);
            const VgTileRow row = {hash, i, (int8_t)half};
            rows[vg_find_row(s, rows, mask, hash, list, n)] = row;
        }
    }
}

/* Bring the dots of each row together; the segment stays as it is where there is no memory. */
static void vg_tile(VgSegment *s) {
    const size_t n = (size_t)s->count + 1;
    uint32_t mask = 255;
    int32_t dots = 0;
    for (int32_t i = 0; i < s->count; i++) dots += s->op[i] == VG_OP_dot;
    if (dots < 2) return;
    while (mask < 4 * (uint32_t)dots) mask = 2 * mask + 1;
    VgTileRow *const rows = (VgTileRow *)malloc(((size_t)mask + 1) * sizeof *rows);
    int32_t *const anchor = (int32_t *)malloc(n * sizeof *anchor), *const members = (int32_t *)malloc(n * sizeof *members);
    int32_t *const place = (int32_t *)malloc(n * sizeof *place); /* where each instruction goes */
    int8_t *const shared = (int8_t *)malloc(n);
    uint16_t *const op = (uint16_t *)malloc(n * sizeof *op);
    int32_t *const start = (int32_t *)malloc(n * sizeof *start);
    int32_t *const operand = (int32_t *)malloc(((size_t)s->start[s->count] + 1) * sizeof *operand);
    double *const number = (double *)malloc(n * sizeof *number);
    if (!rows || !anchor || !members || !place || !shared || !op || !start || !operand || !number) {
        free(op), free(start), free(operand), free(number);
        goto done;
    }
    for (uint32_t at = 0; at <= mask; at++) rows[at].anchor = -1;
    vg_find_tiles(s, rows, mask, anchor, members, shared);
    int32_t next = 0;
    for (int32_t i = 0; i < s->count; i++) { /* an anchor is before its members: their places begin after its own */
        if (anchor[i] != i) {
            place[i] = place[anchor[i]] + members[anchor[i]]--;
            continue;
        }
        place[i] = next;
        next += 1 + members[i];
    }
    for (int32_t i = 0; i < s->count; i++) start[place[i] + 1] = s->start[i + 1] - s->start[i];
    start[0] = 0;
    for (int32_t i = 0; i < s->count; i++) start[i + 1] += start[i];
    for (int32_t i = 0; i < s->count; i++) {
        op[place[i]] = s->op[i];
        number[place[i]] = s->number[i];
        for (int32_t k = 0; k < s->start[i + 1] - s->start[i]; k++) {
            const int32_t reference = s->operand[s->start[i] + k];
            operand[start[place[i]] + k] = reference >= 0 ? place[reference] : reference;
        }
    }
    free((void *)s->op), free((void *)s->start), free((void *)s->operand), free((void *)s->number);
    s->op = op;
    s->start = start;
    s->operand = operand;
    s->number = number;
done:
    free(rows), free(anchor), free(members), free(place), free(shared);
}

#endif
