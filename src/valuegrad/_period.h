/* Loops that Python ran step by step: where a segment's instructions repeat themselves.
 *
 * Why: in a time loop each step is deeper than the one before, so no two of its instructions are alike by their history
 * (_group.h).  But the list of instructions is periodic: one step's, again and again.  Such a run becomes a loop whose
 * iterations follow each other.
 *
 * How: every instruction gets a hash of what it is, without where its far operands are.  Where a window of hashes was
 * seen before, the distance is a period to try; it counts if instructions match over four periods.  Long windows come
 * first, so that a loop is found before the loops inside of it.  Then, when the groups of everything before the run are
 * known, iterations at both ends are cut off until each operand is of one class in all of them: a result of the same
 * iteration or so many iterations before (in the first ones of those, anything), or a result of one group, a scalar, a
 * slot.
 *
 * Data structures: VgPeriodic, instructions first ... first + period * count.
 *
 * Where to start reading: vg_find_periodic, then vg_fit_periodic. */
#ifndef VALUEGRAD_PERIOD_H
#define VALUEGRAD_PERIOD_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "_machine.h"

enum {
    VG_LEAST_COUNT = 4, /* iterations of a run */
    VG_MOST_CARRIED = 4, /* iterations from a result to its use */
    VG_NEAR = 24,       /* operands so near count in an instruction's hash */
    VG_LEAST_RUN = 2048, /* instructions of a run, */
    VG_LEAST_SHARE = 16 /* or one in so many of all: short ones that stand side by side are alike by their history */
};

typedef struct VgPeriodic {
    int32_t first, period, count;
    int32_t group; /* of the first instruction of an iteration; those of the others follow */
} VgPeriodic;

static int vg_has_address(uint16_t op) {
    return op == VG_STORE || op == VG_STORE_UNIFORM || op == VG_REDUCE;
}

/* What of an instruction's number makes a difference in what is done. */
static double vg_what_number(const VgSegment *s, int32_t i) {
    if (vg_has_address(s->op[i])) return 0.0;
    return s->op[i] == VG_GUARD ? (double)((int64_t)s->number[i] & 1) : s->number[i];
}

static uint64_t vg_mixed(uint64_t h, uint64_t x) {
    h = (h ^ x) * 0x9FB21C651E98DF25u;
    return h ^ (h >> 32);
}

static uint64_t vg_local_hash(const VgSegment *s, int32_t i, int32_t near) {
    const double number = vg_what_number(s, i);
    uint64_t bits, h;
    memcpy(&bits, &number, sizeof bits);
    h = vg_mixed(vg_mixed(s->op[i], bits), (uint64_t)(s->start[i + 1] - s->start[i]));
    for (int32_t k = s->start[i]; k < s->start[i + 1]; k++) {
        const int32_t r = s->operand[k];
        h = vg_mixed(h, r < 0 || i - r > near ? 1000 : (uint64_t)(i - r));
    }
    return h;
}

/* Whether instructions i and i + period can be the same one of an iteration; `first`: of the first iteration, where
 * what comes from the one before is anything. */
static int vg_matches(const VgSegment *s, int32_t i, int32_t period, int first) {
    const int32_t j = i + period, n = s->start[i + 1] - s->start[i];
    if (s->op[i] != s->op[j] || n != s->start[j + 1] - s->start[j]) return 0;
    const double a = vg_what_number(s, i), b = vg_what_number(s, j);
    if (memcmp(&a, &b, sizeof a) != 0) return 0;
    const int32_t *const x = s->operand + s->start[i], *const y = s->operand + s->start[j];
    for (int32_t k = 0; k < n; k++) {
        if (x[k] >= 0 && y[k] >= 0) {
            if (y[k] - x[k] != period && (j - y[k] <= period || i - x[k] <= period) && !first) return 0;
        } else if (x[k] >= 0 || y[k] >= 0) {
            if (!first) return 0;
        } else if ((~x[k] < s->uniforms) != (~y[k] < s->uniforms) && !first)
            return 0;
    }
    return 1;
}

/* Whether the third iteration needs a result of those before.  Otherwise the iterations are alike by their history. */
static int vg_carries(const VgSegment *s, int32_t first, int32_t period) {
    const int32_t from = first + 2 * period;
    for (int32_t k = s->start[from]; k < s->start[from + period]; k++)
        if (s->operand[k] >= first && s->operand[k] < from) return 1;
    return 0;
}

/* Add the run around instruction i if it repeats the one `period` before; it is free from `from` to where `limit` is not
 * negative.  Where the instructions stop matching goes to *end. */
static int vg_try_period(const VgSegment *s, int32_t i, int32_t period, int32_t from, const int32_t *limit, VgPeriodic *run,
                      int32_t *end) {
    int32_t first = i - period, stop = i;
    while (stop < s->count && limit[stop] < 0 && vg_matches(s, stop - period, period, 0)) stop++;
    *end = stop;
    while (first > from && vg_matches(s, first - 1, period, 0)) first--;
    if ((int64_t)stop - first < (int64_t)VG_LEAST_COUNT * period || !vg_carries(s, first, period)) return 0;
    int32_t before = first;
    while (before > from && before > first - period && vg_matches(s, before - 1, period, 1)) before--;
    if (before == first - period) first = before;
    *run = (VgPeriodic){first, period, (stop - first) / period, -1};
    return 1;
}

static int vg_periodic_order(const void *a, const void *b) {
    const int32_t x = ((const VgPeriodic *)a)->first, y = ((const VgPeriodic *)b)->first;
    return (x > y) - (x < y);
}

/* The runs of a segment in their order, not fitted yet, in *found (owned by the caller); how many; -1 without memory. */
static int32_t vg_find_periodic(const VgSegment *s, VgPeriodic **found) {
    const int32_t n = s->count;
    int32_t runs = 0, room = 64;
    uint64_t *const sums = (uint64_t *)malloc(((size_t)n + 1) * sizeof *sums);
    int32_t *const table = (int32_t *)malloc((4 * (size_t)n + 64) * sizeof *table);
    int32_t *const limit = (int32_t *)malloc(((size_t)n + 1) * sizeof *limit); /* of a claimed part: its other end */
    *found = (VgPeriodic *)malloc((size_t)room * sizeof **found);
    if (sums == NULL || table == NULL || limit == NULL || *found == NULL) {
        runs = -1;
        goto done;
    }
    const uint64_t base = 0x9E3779B97F4A7C15u;
    sums[0] = 0;
    memset(limit, 0xff, ((size_t)n + 1) * sizeof *limit);
    /* First with all distances in the hashes: the alike parts of a step differ in what they read of the step before.
     * Then with near ones alone: a loop that reads another one's results backwards has others each time. */
    for (int32_t near = INT32_MAX, window = 1 << 14; window >= 4; window /= 4) {
        if (window == 1 << 14)
            for (int32_t i = 0; i < n; i++) sums[i + 1] = sums[i] * base + vg_local_hash(s, i, near);
        if (window == 4 && near != VG_NEAR) {
            near = VG_NEAR;
            window = 1 << 16; /* all of them again */
            continue;
        }
        if (n < window + VG_LEAST_COUNT) continue;
        uint64_t power = 1;
        for (int32_t k = 0; k < window; k++) power *= base;
        const uint64_t rare = (uint64_t)(window < 16 ? 0 : window / 16 - 1); /* of the windows so many are looked at: by what they hold */
        size_t size = 64;
        while (size < 4 * ((size_t)n / (size_t)(rare + 1) + 8) && size <= 2 * (size_t)n) size *= 2;
        memset(table, 0xff, size * sizeof *table);
        int32_t from = 0, failed = 0, until = 0;
        int64_t left = 16 * (int64_t)n; /* instructions to compare in vain: the search takes linear time */
        for (int32_t i = 0; i + window <= n; i++) {
            if (limit[i] >= 0) { /* claimed by a longer window: nothing reaches across */
                from = i = limit[i];
                i--;
                continue;
            }
            const uint64_t hash = vg_mixed(sums[i + window] - sums[i] * power, 0);
            if ((hash >> 8) & rare) continue;
            const size_t at = (size_t)(hash >> 24) & (size - 1); /* the latest one replaces what was there */
            const int32_t before = table[at];
            table[at] = i;
            if (before < from || sums[before + window] - sums[before] * power != sums[i + window] - sums[i] * power)
                continue;
            const int32_t period = i - before;
            if ((period == failed && i < until) || (int64_t)VG_LEAST_COUNT * period > n - from || left < 0) continue;
            VgPeriodic run;
            int32_t end;
            if (!vg_try_period(s, i, period, from, limit, &run, &end)) {
                failed = period;
                until = end;
                left -= end - i + period;
                continue;
            }
            if (runs == room) {
                VgPeriodic *const more = (VgPeriodic *)realloc(*found, 2 * (size_t)room * sizeof *more);
                if (more == NULL) {
                    runs = -1;
                    goto done;
                }
                *found = more;
                room *= 2;
            }
            (*found)[runs++] = run;
            from = run.first + run.period * run.count;
            limit[run.first] = from;
            i = from - 1;
        }
    }
    qsort(*found, (size_t)runs, sizeof **found, vg_periodic_order);
done:
    free(sums);
    free(table);
    free(limit);
    return runs;
}

/* What operand r of iteration t of a run is: an earlier result of its body, `(place in the body) << 8 | (iterations ago)`
 * with bit 30 set, else its class.  -1: of too many iterations ago. */
static int32_t vg_role(const VgSegment *s, const int32_t *group, const VgPeriodic *run, int32_t t, int32_t r) {
    if (r < 0) return ~r < s->uniforms ? 0 : 1;
    if (r < run->first) return group[r] + 2;
    const int32_t ago = t - (r - run->first) / run->period;
    return ago > VG_MOST_CARRIED ? -1 : (1 << 30) | (r - run->first) % run->period << 8 | ago;
}

/* Whether an instruction of the body depends on itself, some iterations before.  If none does, what goes from one
 * iteration to the next is only cut at an odd place: the iterations are alike by their history. */
static int vg_recurs(const VgSegment *s, const VgPeriodic *run) {
    const int32_t first = run->first + run->count / 2 * run->period;
    uint8_t *const ready = (uint8_t *)calloc((size_t)run->period, 1);
    int32_t left = run->period, before = -1;
    while (ready != NULL && left > 0 && left != before) {
        before = left;
        for (int32_t j = 0; j < run->period; j++) {
            int waits = ready[j];
            for (int32_t k = s->start[first + j]; k < s->start[first + j + 1] && !waits; k++) {
                const int32_t r = s->operand[k];
                waits = r >= run->first && !ready[(r - run->first) % run->period];
            }
            if (waits) continue;
            ready[j] = 1;
            left--;
        }
    }
    free(ready);
    return left > 0;
}

/* Cut off the iterations in which an operand is of another class than in the middle one.  `group` is known of all
 * instructions before the run.  0: no loop is left. */
static int vg_fit_periodic(const VgSegment *s, const int32_t *group, VgPeriodic *run) {
    const int32_t first = run->first, period = run->period, middle = run->count / 2;
    int32_t low = 0, high = run->count, carries = 0;
    if (period >= 1 << 22) return 0;
    for (int32_t j = 0; j < period; j++) {
        const int32_t at = s->start[first + middle * period + j], n = s->start[first + middle * period + j + 1] - at;
        for (int32_t k = 0; k < n; k++) {
            const int32_t role = vg_role(s, group, run, middle, s->operand[at + k]);
            if (role < 0) return 0;
            const int32_t ago = role & 1 << 30 ? role & 255 : 0;
            carries |= ago;
            for (int32_t t = middle + 1; t < high; t++)
                if (vg_role(s, group, run, t, s->operand[s->start[first + t * period + j] + k]) != role) high = t;
            for (int32_t t = middle - 1; t >= low; t--) {
                const int32_t r = s->operand[s->start[first + t * period + j] + k];
                if (t < ago || vg_role(s, group, run, t, r) == role) continue;
                low = t + 1;
            }
        }
    }
    run->first += low * period;
    run->count = high - low;
    const int64_t all = (int64_t)period * run->count;
    if (!carries || run->count < VG_LEAST_COUNT || !vg_recurs(s, run)) return 0;
    return all >= VG_LEAST_RUN || all * VG_LEAST_SHARE >= s->count;
}

#endif
