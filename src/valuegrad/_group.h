/* Which instructions of a segment are alike: the first step from a list of instructions back to loops (roll/).
 *
 * Why: a recording has an instruction for every number, although a person wrote a loop.  Instructions that do the same
 * with operands that are alike can run as one loop again.
 *
 * How: an instruction's key is its operation with the groups of its operands, so that a group's members have the same
 * history, and no member can depend on another one.  Of a list of operands the key has the groups in the order in
 * which they occur, not how often each does: members of a group may differ in length.  A product counts as a dot of
 * one pair, an addition as a sum of two (that is exact), and factors stand in the order of their groups.  Where
 * instructions repeat themselves (_period.h), each one of an iteration is a group with its iterations; in a dense layer
 * all that are alike, its units.  Members wait for each other, so a loop in order computes them, but who reads them sees
 * one group, whatever the unit.  Where iterations are long, the units of each are a loop (roll/rounds.py).
 *
 * Data structures: VgGrouping, a hash table over the keys of the groups so far.  A group's number is larger than those
 * of the groups that it depends on.
 *
 * Where to start reading: vg_find_groups. */
#ifndef VALUEGRAD_GROUP_H
#define VALUEGRAD_GROUP_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "_machine.h"
#include "_period.h"

enum { VG_CLASS_UNIFORM, VG_CLASS_SLOT, VG_CLASS_GROUP }; /* of an operand; from the last one on: results of a group */

enum { VG_LARGE_GROUP = 4096 }; /* members on average, for which nothing else is tried */
enum {
    VG_FEWEST_UNITS = 4, /* of a dense layer */
    VG_ROUNDS = 16, /* until their kinds are known, at most */
    VG_UNITS_AWAY = 2, VG_MOST_AWAY = 64, /* a dense run may begin so many units, or instructions, later */
    VG_MOST_KINDS = 2 /* times as many as where what is carried counts as that alone */
};
enum { VG_LONG_STEP = 512 }; /* instructions of an iteration, of which one may be better off as loops of its own */

typedef struct VgGrouping {
    int32_t *table, *start, *key; /* group k has the key from start[k] to start[k + 1] */
    uint32_t mask;
    int32_t groups, room, key_room;
} VgGrouping;

static int32_t vg_class_of(const VgSegment *s, const int32_t *group, int32_t reference) {
    if (reference >= 0) return group[reference] + VG_CLASS_GROUP;
    return ~reference < s->uniforms ? VG_CLASS_UNIFORM : VG_CLASS_SLOT;
}

static uint32_t vg_hash_key(const int32_t *key, int32_t n) {
    uint64_t h = 0x9E3779B97F4A7C15u;
    for (int32_t i = 0; i < n; i++) h = (h ^ (uint32_t)key[i]) * 0xFF51AFD7ED558CCDu, h ^= h >> 32;
    return (uint32_t)h;
}

/* Grow the tables so that one more group with a key of n parts fits; -1 without memory. */
static int vg_room_for_group(VgGrouping *g, int32_t n) {
    const int32_t used = g->start[g->groups];
    if (used + n > g->key_room) {
        int32_t *const key = (int32_t *)realloc(g->key, 2 * ((size_t)used + (size_t)n) * sizeof *key);
        if (key == NULL) return -1;
        g->key = key;
        g->key_room = 2 * (used + n);
    }
    if (g->groups + 1 < g->room) return 0;
    const size_t size = 4 * (size_t)g->room;
    int32_t *const start = (int32_t *)realloc(g->start, (2 * (size_t)g->room + 1) * sizeof *start);
    if (start != NULL) g->start = start;
    int32_t *const table = (int32_t *)malloc(size * sizeof *table);
    if (start == NULL || table == NULL) {
        free(table);
        return -1;
    }
    memset(table, 0xff, size * sizeof *table);
    free(g->table);
    g->table = table;
    g->mask = (uint32_t)(size - 1);
    g->room *= 2;
    for (int32_t k = 0; k < g->groups; k++) {
        if (g->start[k] == g->start[k + 1]) continue; /* of a run: nobody looks for it */
        uint32_t at = vg_hash_key(g->key + g->start[k], g->start[k + 1] - g->start[k]) & g->mask;
        while (table[at] >= 0) at = (at + 1) & g->mask;
        table[at] = k;
    }
    return 0;
}

/* The group with this key, perhaps a new one; -1 without memory. */
static int32_t vg_group_with(VgGrouping *g, const int32_t *key, int32_t n) {
    const uint32_t hash = vg_hash_key(key, n);
    uint32_t at = hash & g->mask;
    for (int32_t k; (k = g->table[at]) >= 0; at = (at + 1) & g->mask)
        if (g->start[k + 1] - g->start[k] == n && memcmp(g->key + g->start[k], key, (size_t)n * sizeof *key) == 0)
            return k;
    if (vg_room_for_group(g, n) < 0) return -1;
    at = hash & g->mask;
    while (g->table[at] >= 0) at = (at + 1) & g->mask;
    memcpy(g->key + g->start[g->groups], key, (size_t)n * sizeof *key);
    g->start[g->groups + 1] = g->start[g->groups] + n;
    g->table[at] = g->groups;
    return g->groups++;
}

/* Whether the first two of n operands may change places. */
static int vg_commutes(uint16_t op, int32_t n) {
    return n > 1 && (op == VG_OP_add || op == VG_OP_sum || op == VG_OP_eq || op == VG_OP_and || op == VG_OP_or);
}

/* Two operands in the order of their classes. */
static void vg_put_in_order(const VgSegment *s, const int32_t *group, int32_t *x, int32_t *y) {
    const int32_t other = *x;
    if (vg_class_of(s, group, *x) <= vg_class_of(s, group, *y)) return;
    *x = *y;
    *y = other;
}

/* What an instruction does, a product as a dot and an addition as a sum: the first parts of its key, and how many. */
static int32_t vg_begin_key(const VgSegment *s, int32_t i, int32_t *key) {
    const uint16_t op = s->op[i];
    const double number = vg_what_number(s, i);
    key[0] = op == VG_OP_mul ? VG_OP_dot : op == VG_OP_add ? VG_OP_sum : op;
    memcpy(key + 1, &number, sizeof number);
    return 3;
}

/* Room for the key of any instruction; NULL without memory. */
static int32_t *vg_room_for_key(const VgSegment *s) {
    int32_t widest = 0;
    for (int32_t i = 0; i < s->count; i++)
        if (s->start[i + 1] - s->start[i] > widest) widest = s->start[i + 1] - s->start[i];
    return (int32_t *)malloc(((size_t)widest * 2 + 9) * sizeof(int32_t));
}

/* The key of instruction i, whose operands come in the order of their groups where they commute; `label`: 0, or what it
 * must have in common with others. */
static int32_t vg_key_of(const VgSegment *s, const int32_t *group, int32_t i, int32_t label, int32_t *operand,
                         int32_t *key) {
    const int32_t n = s->start[i + 1] - s->start[i], half = n / 2;
    const uint16_t op = s->op[i];
    const int is_dot = op == VG_OP_dot || op == VG_OP_mul, is_sum = op == VG_OP_sum || op == VG_OP_add;
    const int is_list = is_sum || op == VG_OP_prod || op == VG_OP_maximum || op == VG_OP_minimum || op == VG_OP_norm ||
                        op == VG_OP_gather;
    int32_t parts = vg_begin_key(s, i, key);
    if (vg_commutes(op, n)) vg_put_in_order(s, group, operand, operand + 1);
    for (int32_t k = 0; k < (is_dot ? half : n); k++) {
        if (is_dot) vg_put_in_order(s, group, operand + k, operand + k + half);
        const int32_t x = vg_class_of(s, group, operand[k]), y = is_dot ? vg_class_of(s, group, operand[k + half]) : 0;
        const int repeats = parts > 3 && key[parts - (is_dot ? 2 : 1)] == x && (!is_dot || key[parts - 1] == y);
        const int is_entry = is_dot || (is_list && !(op == VG_OP_gather && k == n - 1));
        if (is_entry && repeats) continue;
        key[parts++] = x;
        if (is_dot) key[parts++] = y;
    }
    if (label) key[parts++] = -label;
    return parts;
}

/* An empty grouping; -1 without memory. */
static int vg_begin_grouping(VgGrouping *g) {
    *g = (VgGrouping){NULL, NULL, NULL, 4095, 0, 1024, 1 << 14};
    g->table = (int32_t *)malloc(4096 * sizeof *g->table);
    g->start = (int32_t *)calloc(1025, sizeof *g->start);
    g->key = (int32_t *)malloc((size_t)g->key_room * sizeof *g->key);
    if (g->table == NULL || g->start == NULL || g->key == NULL) return -1;
    memset(g->table, 0xff, 4096 * sizeof *g->table);
    return 0;
}

static void vg_end_grouping(VgGrouping *g) {
    free(g->table);
    free(g->start);
    free(g->key);
}

/* The kinds of a run's instructions after one more round: alike by their history within the last iteration, what comes
 * from `ago` iterations before by the kinds that it had.  `group` of the last iterations is written over.  How many kinds
 * there are, numbered as they come first; -1 without memory. */
static int32_t vg_round_of_kinds(const VgSegment *s, int32_t *group, const VgPeriodic *run, int32_t base,
                                 int32_t *kind, int32_t *operand, int32_t *key) {
    const int32_t period = run->period, last = run->first + (run->count - 1) * period;
    VgGrouping g;
    int32_t kinds = -1;
    if (vg_begin_grouping(&g) < 0) goto done;
    for (int32_t ago = 1; ago <= VG_MOST_CARRIED && ago < run->count; ago++)
        for (int32_t j = 0; j < period; j++) group[last - ago * period + j] = base + ago * period + kind[j];
    memcpy(operand, s->operand + s->start[last], (size_t)(s->start[last + period] - s->start[last]) * sizeof *operand);
    for (int32_t j = 0; j < period; j++) {
        int32_t *const own = operand + (s->start[last + j] - s->start[last]);
        const int32_t k = vg_group_with(&g, key, vg_key_of(s, group, last + j, 0, own, key));
        if (k < 0) goto done;
        kind[j] = k;
        group[last + j] = base + k;
    }
    kinds = g.groups;
done:
    vg_end_grouping(&g);
    return kinds;
}

/* Change places in all iterations as in the last one, where operands commute and there are several units. */
static void vg_order_as_last(const VgSegment *s, const VgPeriodic *run, const int32_t *kind, const int32_t *units,
                             const int32_t *last, int32_t *operand) {
    const int32_t *const start = s->start + run->first, width = start[run->period] - start[0];
    const int32_t *const before = s->operand + start[0] + (run->count - 1) * width;
    for (int32_t j = 0; j < run->period; j++) {
        const int32_t from = start[j] - start[0], n = start[j + 1] - start[j];
        const uint16_t op = s->op[run->first + j];
        const int is_dot = op == VG_OP_dot || op == VG_OP_mul;
        const int32_t half = is_dot ? n / 2 : 1, pairs = is_dot ? half : vg_commutes(op, n);
        if (units[kind[j]] == 1) continue;
        for (int32_t k = from; k < from + pairs; k++)
            for (int32_t t = 0; t < run->count && last[k] != before[k]; t++) {
                int32_t *const x = operand + start[0] + t * width + k;
                const int32_t other = x[0];
                x[0] = x[half];
                x[half] = other;
            }
    }
}

/* Whether units of one kind read long lists each, as those of a dense layer.  Then the gradients of its parameters are
 * products of matrices, which are faster as loops of their own; elsewhere they are totals of the loop over time
 * (roll/accumulators.py), which single groups are worth. */
static int vg_are_dense(const VgSegment *s, const VgPeriodic *run, const int32_t *kind, int32_t *units) {
    memset(units, 0, (size_t)run->period * sizeof *units);
    for (int32_t j = 0; j < run->period; j++) units[kind[j]]++;
    for (int32_t j = 0; j < run->period; j++) {
        const int32_t i = run->first + j, n = s->start[i + 1] - s->start[i];
        const int32_t terms = s->op[i] == VG_OP_dot ? n / 2 : s->op[i] == VG_OP_sum ? n : 0;
        if (terms > VG_SHORT_LIST && units[kind[j]] >= VG_FEWEST_UNITS) return 1;
    }
    return 0;
}

/* The units of a run's iteration: which of its instructions are alike.  What is carried counts by the kind that made it,
 * so that all units read one kind of the iteration before; where that sets most of them apart (a rod's points differ by
 * how far they are from its ends) it counts as carried alone.  `kind` gets each one's.  How many kinds; -1 without
 * memory.
 *
 * Any partition would be right: it says where results lie, not in which order they are computed. */
static int32_t vg_kinds_of_run(const VgSegment *s, int32_t *operand, int32_t *group, const VgPeriodic *run, int32_t base,
                               int32_t *kind, int32_t *key) {
    const int32_t period = run->period, width = s->start[run->first + period] - s->start[run->first];
    int32_t *const units = (int32_t *)malloc((2 * (size_t)period + (size_t)width + 1) * sizeof *units);
    int32_t *const coarse = units + period, *const own = coarse + period;
    int32_t kinds = -1, few = 0;
    int alike = 0;
    if (units == NULL) return -1;
    memset(kind, 0, (size_t)period * sizeof *kind);
    for (int32_t round = 0, before = 0; round < VG_ROUNDS && !alike; round++) {
        kinds = vg_round_of_kinds(s, group, run, base, kind, own, key);
        if (kinds < 0) goto done;
        if (round == 0) {
            few = kinds;
            memcpy(coarse, kind, (size_t)period * sizeof *coarse);
        }
        alike = kinds == before;
        before = kinds;
    }
    alike &= kinds <= VG_MOST_KINDS * few;
    if (!alike) {
        memcpy(kind, coarse, (size_t)period * sizeof *kind);
        kinds = few;
    }
    if (!vg_are_dense(s, run, kind, units)) {
        for (int32_t j = 0; j < period; j++) kind[j] = j;
        kinds = period;
    } else if (alike) vg_order_as_last(s, run, kind, units, own, operand);
done:
    free(units);
    return kinds;
}

/* How many kinds a run has whose iterations begin so many instructions later, where what is carried counts as that alone.
 * -1 without memory. */
static int32_t vg_kinds_from(const VgSegment *s, int32_t *group, const VgPeriodic *run, int32_t later, int32_t base,
                             int32_t *kind, int32_t *own, int32_t *key) {
    const VgPeriodic moved = {run->first + later, run->period, run->count - (later > 0), run->end, run->group, 1};
    memset(kind, 0, (size_t)run->period * sizeof *kind);
    return vg_round_of_kinds(s, group, &moved, base, kind, own, key);
}

/* Let a dense run begin where its units are as many as they can be: the first place that hands the fewest results on
 * (vg_beginning) may lie within the work of one unit, which is apart from all others then, in kinds of its own.  That
 * ends within what a unit takes.  0 without memory. */
static int vg_place_run(const VgSegment *s, int32_t *group, int32_t base, int32_t *key, VgPeriodic *run) {
    const int32_t period = run->period, width = s->start[run->first + period] - s->start[run->first];
    int32_t *const kind = (int32_t *)malloc((3 * (size_t)period + (size_t)width + 1) * sizeof *kind);
    int32_t *const units = kind + period, *const own = units + period;
    int32_t fewest = 0, best = 0, most = 1;
    run->placed = 1;
    if (kind == NULL) return 0;
    fewest = vg_kinds_from(s, group, run, 0, base, kind, own, key);
    if (fewest >= 0 && run->count > VG_LEAST_COUNT && vg_are_dense(s, run, kind, units)) {
        for (int32_t k = 0; k < fewest; k++)
            if (units[k] > most) most = units[k];
        int32_t ways = VG_UNITS_AWAY * period / most;
        if (ways > VG_MOST_AWAY) ways = VG_MOST_AWAY;
        for (int32_t later = 1; later <= ways && later < period && fewest >= 0; later++) {
            const int32_t kinds = vg_kinds_from(s, group, run, later, base, kind, own, key);
            if (kinds < fewest) {
                best = later;
                fewest = kinds;
            }
        }
    }
    free(kind);
    if (fewest < 0) return 0;
    VgPeriodic moved = *run;
    moved.first += best;
    moved.count--;
    if (best > 0 && vg_fit_periodic(s, group, &moved)) {
        run->first += best;
        run->count--;
    }
    return 1;
}

/* Give the instructions of a run the groups from g->groups on, one for each kind; -1 without memory. */
static int vg_group_periodic(const VgSegment *s, VgGrouping *g, int32_t *operand, int32_t *group, int32_t *key,
                             VgPeriodic *run) {
    int32_t *const kind = (int32_t *)malloc((size_t)run->period * sizeof *kind);
    const int32_t kinds = kind ? vg_kinds_of_run(s, operand, group, run, g->groups, kind, key) : -1;
    run->group = g->groups;
    for (int32_t k = 0; k < kinds; k++) {
        if (vg_room_for_group(g, 0) < 0) {
            free(kind);
            return -1;
        }
        g->start[g->groups + 1] = g->start[g->groups]; /* a key without parts, which the table does not have */
        g->groups++;
    }
    for (int32_t t = 0, i = run->first; t < run->count && kinds >= 0; t++)
        for (int32_t j = 0; j < run->period; j++) group[i++] = run->group + kind[j];
    free(kind);
    return kinds < 0 ? -1 : 0;
}

/* The groups, with the runs of `run` whose iterations have at most so many instructions; those are left in it, *runs of
 * them.  `label` (NULL: none): what tells instructions apart besides.  *straight: how many more operations are to be
 * written than there are groups, as all units of an iteration are unless they are `rounds` of loops.  How many groups
 * there are, where it does not matter how many more than `most`; -1 without memory. */
static int32_t vg_group_all(const VgSegment *s, const int32_t *label, int32_t *operand, int32_t *group, VgPeriodic *run,
                            int32_t found, int32_t longest, int32_t most, int rounds, int32_t *runs, int32_t *straight) {
    VgGrouping g;
    int32_t *const key = vg_room_for_key(s), result = -1;
    *runs = *straight = 0;
    if (vg_begin_grouping(&g) < 0 || key == NULL) goto done;
    memcpy(operand, s->operand, (size_t)s->start[s->count] * sizeof *operand);
    for (int32_t i = 0, next = 0; i < s->count && g.groups <= most; i++) {
        while (next < found && run[next].first == i &&
               (run[next].period > longest || !vg_fit_periodic(s, group, run + next)))
            next++;
        if (next < found && run[next].first == i && !run[next].placed &&
            !vg_place_run(s, group, g.groups, key, run + next))
            goto done;
        if (next < found && run[next].first == i) {
            const int32_t before = g.groups;
            if (vg_group_periodic(s, &g, operand, group, key, run + next) < 0) goto done;
            if (!rounds) *straight += run[next].period - (g.groups - before);
            run[(*runs)++] = run[next++];
            i += run[*runs - 1].period * run[*runs - 1].count - 1;
            continue;
        }
        group[i] = vg_group_with(&g, key, vg_key_of(s, group, i, label ? label[i] : 0, operand + s->start[i], key));
        if (group[i] < 0) goto done;
    }
    result = g.groups;
done:
    free(key);
    vg_end_grouping(&g);
    return result;
}

/* The segment's operands, numbers from outside first where the first two commute: a constant's place among them depends on
 * when it was met first. */
static void vg_outside_first(const VgSegment *s, int32_t *operand) {
    memcpy(operand, s->operand, (size_t)s->start[s->count] * sizeof *operand);
    for (int32_t i = 0; i < s->count; i++) {
        int32_t *const x = operand + s->start[i];
        if (!vg_commutes(s->op[i], s->start[i + 1] - s->start[i]) || x[0] < 0 || x[1] >= 0) continue;
        const int32_t other = x[0];
        x[0] = x[1];
        x[1] = other;
    }
}

/* For each instruction its group, numbered in an order in which they can run; `operand`, as long as the segment's, gets
 * its operands in the order of groups.  The runs are left in *run (owned by the caller).  How many groups there are; -1
 * without memory.
 *
 * `apart`: instructions of short iterations that do not wait for each other are told apart (vg_label_parallel).
 * `rounds`: an iteration's units are a loop, however many there are.
 *
 * A step of a long run, such as one in time of ten thousand states, may itself be a loop over instructions that are alike
 * by their history.  So there are two ways, with such runs and without; the one with fewer groups is taken. */
static int32_t vg_find_groups(const VgSegment *segment, int apart, int rounds, int32_t *operand, int32_t *group,
                              VgPeriodic **run, int32_t *runs) {
    VgSegment own = *segment;
    const VgSegment *const s = &own;
    const int32_t few_groups = s->count / VG_LARGE_GROUP; /* in time loops of so many alike states each step is a loop */
    int32_t *const ordered = (int32_t *)malloc(((size_t)s->start[s->count] + 1) * sizeof *ordered);
    int32_t *const label = apart ? (int32_t *)malloc(((size_t)s->count + 1) * sizeof *label) : NULL;
    VgPeriodic *all = NULL;
    int32_t is_long = 0, count = -1, found, straight;
    *run = NULL;
    if (ordered == NULL) goto done;
    vg_outside_first(segment, ordered);
    own.operand = ordered;
    if (apart && (label == NULL || vg_label_parallel(s, label) < 0)) goto done;
    if (few_groups > 0) {
        count = vg_group_all(s, label, operand, group, NULL, 0, INT32_MAX, few_groups, rounds, runs, &straight);
        if (count <= few_groups) goto done;
        count = -1;
    }
    found = vg_find_periodic(s, 0, run);
    if (found < 0) goto done;
    all = (VgPeriodic *)malloc(((size_t)found + 1) * sizeof *all);
    if (all == NULL) goto done;
    if (found) memcpy(all, *run, (size_t)found * sizeof *all);
    for (int32_t k = 0; k < found; k++) is_long |= all[k].period > VG_LONG_STEP;
    count = vg_group_all(s, label, operand, group, *run, found, INT32_MAX, INT32_MAX, rounds, runs, &straight);
    if (is_long && count + straight > VG_LONG_STEP) {
        VgPeriodic *const some = (VgPeriodic *)malloc(((size_t)found + 1) * sizeof *some);
        int32_t *const own_operand = (int32_t *)malloc(((size_t)s->start[s->count] + 1) * sizeof *own_operand);
        int32_t *const own_group = (int32_t *)malloc(((size_t)s->count + 1) * sizeof *own_group);
        int32_t few = 0, fewer = INT32_MAX, own_straight = 0;
        if (some != NULL && own_operand != NULL && own_group != NULL) {
            memcpy(some, all, (size_t)found * sizeof *some);
            fewer = vg_group_all(s, label, own_operand, own_group, some, found, VG_LONG_STEP, count + straight, rounds,
                                 &few, &own_straight);
        }
        if (fewer >= 0 && fewer + own_straight < count + straight) {
            memcpy(*run, some, (size_t)few * sizeof *some);
            memcpy(operand, own_operand, (size_t)s->start[s->count] * sizeof *operand);
            memcpy(group, own_group, (size_t)s->count * sizeof *group);
            *runs = few;
            count = fewer;
        }
        free(some);
        free(own_operand);
        free(own_group);
    }
done:
    free(all);
    free(label);
    free(ordered);
    return count;
}

#endif
