/* Which instructions of a segment are alike where their histories are not: another first step than _group.h's.
 *
 * Why: in a stencil the ends are computed otherwise than what is between them, and so is, a step later, all that reads an
 * end.  By their histories instructions differ more with each step until none is like another one: a rod of 500 points
 * is, after 20 steps, of 6,790 kinds, a binomial tree of 100 steps of 65,073.  A person sees one loop over the points in
 * each step, and the ends.
 *
 * How: an instruction's level is one more than the highest of its operands'; or, counted from the end, one less than the
 * lowest of those that read it.  Instructions of one level do not depend on each other.  Those that do the same are a
 * *class*, and their results lie in one stretch of memory, whoever computes them.  A *group*, a loop, is what of a class
 * reads the same classes: the points between the ends.  So an end is a group of its own in its step, and the next step
 * does not tell.
 *
 * Where to start reading: vg_find_levels. */
#ifndef VALUEGRAD_LEVELS_H
#define VALUEGRAD_LEVELS_H

#include "_group.h"

/* The level of each instruction, from 0 on: as early as it can be, or as late.  How many there are. */
static int32_t vg_levels_of(const VgSegment *s, int late, int32_t *level) {
    int32_t count = 0;
    memset(level, 0, (size_t)s->count * sizeof *level);
    for (int32_t j = 0; j < s->count; j++) {
        const int32_t i = late ? s->count - 1 - j : j;
        for (int32_t k = s->start[i]; k < s->start[i + 1]; k++) {
            const int32_t r = s->operand[k];
            if (r < 0) continue;
            if (late && level[r] <= level[i]) level[r] = level[i] + 1;
            if (!late && level[i] <= level[r]) level[i] = level[r] + 1;
        }
        if (level[i] >= count) count = level[i] + 1;
    }
    for (int32_t i = 0; late && i < s->count; i++) level[i] = count - 1 - level[i];
    return count;
}

/* The classes and groups by given levels, groups in order of their levels.  class_of: for each instruction its class, then
 * for each group.  How many groups; -1 without memory. */
static int32_t vg_group_levels(const VgSegment *s, const int32_t *level, int32_t levels, int32_t *operand, int32_t *group,
                               int32_t *class_of) {
    VgGrouping classes, groups;
    int32_t *const key = vg_room_for_key(s), result = -1;
    int32_t *const begin = (int32_t *)calloc((size_t)levels + 2, sizeof *begin), *number = NULL, *first = NULL;
    const int begun = vg_begin_grouping(&classes) == 0;
    if (vg_begin_grouping(&groups) < 0 || !begun || key == NULL || begin == NULL) goto done;
    memcpy(operand, s->operand, (size_t)s->start[s->count] * sizeof *operand);
    for (int32_t i = 0; i < s->count; i++) {
        const int32_t parts = vg_begin_key(s, i, key);
        key[parts] = level[i];
        class_of[i] = vg_group_with(&classes, key, parts + 1);
        if (class_of[i] < 0) goto done;
        group[i] = vg_group_with(&groups, key, vg_key_of(s, class_of, i, level[i] + 1, operand + s->start[i], key));
        if (group[i] < 0) goto done;
    }
    number = (int32_t *)malloc(((size_t)groups.groups + 1) * sizeof *number);
    first = (int32_t *)malloc(((size_t)groups.groups + 1) * sizeof *first);
    if (number == NULL || first == NULL) goto done;
    for (int32_t i = s->count - 1; i >= 0; i--) first[group[i]] = i;
    for (int32_t g = 0; g < groups.groups; g++) begin[level[first[g]] + 1]++;
    for (int32_t k = 0; k < levels; k++) begin[k + 1] += begin[k];
    for (int32_t g = 0; g < groups.groups; g++) number[g] = begin[level[first[g]]]++;
    for (int32_t i = 0; i < s->count; i++) group[i] = number[group[i]];
    for (int32_t g = 0; g < groups.groups; g++) first[g] = class_of[first[g]];
    for (int32_t g = 0; g < groups.groups; g++) class_of[number[g]] = first[g];
    result = groups.groups;
done:
    vg_end_grouping(&classes);
    vg_end_grouping(&groups);
    free(key);
    free(begin);
    free(number);
    free(first);
    return result;
}

/* For each instruction its group, numbered in an order in which they can run, and for each group its class (class_of has
 * room for one of each instruction): by early or late levels, whatever gives fewer groups.  `operand` as in
 * vg_find_groups.  How many groups there are; -1 without memory. */
static int32_t vg_find_levels(const VgSegment *segment, int32_t *operand, int32_t *group, int32_t *class_of) {
    VgSegment own = *segment;
    const size_t operands = (size_t)segment->start[segment->count];
    int32_t *const ordered = (int32_t *)malloc((operands + 1) * sizeof *ordered);
    int32_t *const level = (int32_t *)malloc(((size_t)segment->count + 1) * sizeof *level);
    int32_t count = -1, best = 0;
    if (ordered != NULL && level != NULL) {
        vg_outside_first(segment, ordered);
        own.operand = ordered;
        for (int pass = 0; pass < 3; pass++) { /* the better one again, if it came first */
            const int late = pass == 1;
            if (pass == 2 && best == 1) break;
            const int32_t found = vg_group_levels(&own, level, vg_levels_of(&own, late, level), operand, group, class_of);
            if (found < 0) {
                count = -1;
                break;
            }
            if (pass == 0 || found < count) best = late;
            if (pass == 0 || found < count) count = found;
        }
    }
    free(ordered);
    free(level);
    return count;
}

/* By levels, if there is room for classes, else by histories. */
static int32_t vg_find_alike(const VgSegment *segment, int apart, int rounds, int32_t *operand, int32_t *group,
                             VgPeriodic **run, int32_t *runs, int32_t *class_of) {
    if (class_of == NULL) return vg_find_groups(segment, apart, rounds, operand, group, run, runs);
    *run = NULL;
    *runs = 0;
    return vg_find_levels(segment, operand, group, class_of);
}

#endif
