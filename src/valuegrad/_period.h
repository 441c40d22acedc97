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
 * Data structures: VgPeriodic, instructions first ... first + period * count, or to its end.
 *
 * Iterations that do not wait for each other are alike by their history (_group.h), and so may be parts of one: of a
 * group's members there is no order. A short iteration without long lists is told apart all the same where the lanes of
 * a batch are the vectors: then one loop computes an iteration from beginning to end (vg_label_parallel).
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
    VG_LEAST_SHARE = 16, /* or one in so many of all: short ones that stand side by side are alike by their history */
    VG_LEAST_PARALLEL = 16, /* instructions of an iteration that does not wait for others, */
    VG_MOST_PARALLEL = 512,
    VG_AT_ONCE = 64, /* operands that are compared before anything is decided */
    VG_SHORT_LIST = 4 /* terms, at most, of a list that is no loop itself */
};

typedef struct VgPeriodic {
    int32_t first, period, count;
    int32_t end;   /* of what repeats itself; the last iteration may be less than one where none waits for another */
    int32_t group; /* the first one of its instructions'; those of their other kinds follow */
    int32_t placed; /* it begins where its iterations have the fewest kinds (_group.h) */
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
    for (int32_t from = 0; from < n && !first; from += VG_AT_ONCE) {
        const int32_t end = n - from < VG_AT_ONCE ? n : from + VG_AT_ONCE;
        int differs = 0;
        for (int32_t k = from; k < end; k++) { /* without branches, so that compilers make vectors of it */
            const int differ = (y[k] - x[k] != period) & ((j - y[k] <= period) | (i - x[k] <= period));
            const int outside = (x[k] < 0) & (y[k] < 0), is_one = (x[k] < 0) ^ (y[k] < 0);
            const int other = (x[k] >= -s->uniforms) ^ (y[k] >= -s->uniforms); /* one a scalar, one of the frame */
            differs |= is_one | (outside & other) | (!outside & differ);
        }
        if (differs) return 0;
    }
    return 1;
}

/* Whether an iteration needs what it leaves to the next one: whether the dependencies between the instructions of an
 * iteration, those on iterations before too, have a cycle.  Otherwise the iterations are alike by their history, although
 * one may read the one before: where an iteration begins is arbitrary.  -1 without memory. */
static int vg_carries(const VgSegment *s, int32_t first, int32_t period) {
    const int32_t from = first + 2 * period, *const start = s->start + from;
    int32_t *const left = (int32_t *)calloc(3 * (size_t)period + 1, sizeof *left), *const users = left + period;
    int32_t *const ready = users + period + 1, *list, ends = 0, done = 0, many = start[period] - start[0];
    list = (int32_t *)malloc(((size_t)many + 1) * sizeof *list);
    if (left == NULL || list == NULL) {
        free(left);
        free(list);
        return -1;
    }
    for (int32_t k = start[0]; k < start[period]; k++)
        if (s->operand[k] >= first) users[(s->operand[k] - first) % period]++;
    for (int32_t j = 0, sum = 0; j <= period; j++) { /* where each one's list of users ends, then begins */
        sum += j < period ? users[j] : 0;
        users[j] = sum;
    }
    for (int32_t j = 0; j < period; j++)
        for (int32_t k = start[j]; k < start[j + 1]; k++)
            if (s->operand[k] >= first) {
                list[--users[(s->operand[k] - first) % period]] = j;
                left[j]++;
            }
    for (int32_t j = 0; j < period; j++)
        if (left[j] == 0) ready[ends++] = j;
    for (; done < ends; done++) /* Kahn 1962 */
        for (int32_t k = users[ready[done]]; k < users[ready[done] + 1]; k++)
            if (--left[list[k]] == 0) ready[ends++] = list[k];
    free(left);
    free(list);
    return done < period;
}

/* Whether an iteration that waits for no other one is better computed as a whole: it is short, and lists that would be
 * loops have no more terms than it has instructions. */
static int vg_is_whole(const VgSegment *s, int32_t first, int32_t period) {
    int32_t terms = 0;
    for (int32_t i = first; i < first + period; i++) {
        const int32_t n = s->start[i + 1] - s->start[i], own = s->op[i] == VG_OP_dot ? n / 2 : n;
        if (s->op[i] == VG_OP_gather || s->op[i] == VG_OP_norm || own > period) return 0;
        if (own > VG_SHORT_LIST) terms += own;
    }
    return period >= VG_LEAST_PARALLEL && period <= VG_MOST_PARALLEL && terms <= period;
}

typedef struct {
    int32_t from, length; /* of a result, in an iteration, to one of its uses */
} VgReach;

static int vg_shorter(const void *a, const void *b) {
    return ((const VgReach *)a)->length - ((const VgReach *)b)->length;
}

/* Where an iteration begins, from `first` on: what repeats itself has no beginning, but a person's loop hands the fewest
 * results from one iteration to the next.  Of several such places it is the one with the longest way from any result
 * before it to a use after it: a step's last result is not what the next one begins with. */
static int32_t vg_beginning(const VgSegment *s, int32_t first, int32_t period) {
    const int32_t from = first + 2 * period, many = s->start[from + period] - s->start[from];
    int32_t *const reach = (int32_t *)calloc(4 * (size_t)period + 2, sizeof *reach), *const alive = reach + period;
    int32_t *const nearest = alive + period + 1, *const next = nearest + period; /* next: the next place without one */
    VgReach *const use = (VgReach *)malloc(((size_t)many + 1) * sizeof *use);
    int32_t best = 0, number = 0, uses = 0;
    if (reach == NULL || use == NULL) goto done;
    for (int32_t i = from; i < from + period; i++)
        for (int32_t k = s->start[i]; k < s->start[i + 1]; k++) {
            const int32_t r = s->operand[k], at = r < first ? 0 : (r - first) % period;
            if (r < first) continue;
            if (i - r < period) use[uses++] = (VgReach){at, i - r};
            if (i - r > reach[at]) reach[at] = i - r;
        }
    for (int32_t a = 0; a < period; a++) { /* a result is handed on at places after it, up to its last use */
        const int32_t end = a + reach[a] % period; /* whole iterations are the same at all places */
        next[a] = a;
        if (end == a) continue;
        alive[a + 1]++;
        if (end < period) alive[end + 1]--;
        else {
            alive[0]++;
            alive[end - period + 1]--;
        }
    }
    for (int32_t o = 0; o < period; o++) alive[o] = number += alive[o];
    qsort(use, (size_t)uses, sizeof *use, vg_shorter);
    for (int32_t k = 0; k < uses; k++) /* the shortest way over a place comes first, and is written there */
        for (int32_t part = 0; part < 2; part++) {
            const int32_t low = part ? 0 : use[k].from + 1, end = use[k].from + 1 + use[k].length - (part ? period : 0);
            for (int32_t o = low < period ? low : period; o < (end < period ? end : period);) {
                int32_t free_ = o;
                while (free_ < period && next[free_] != free_) free_ = next[free_];
                while (o < free_) { /* shorten the way for those who come after */
                    const int32_t then = next[o];
                    next[o] = free_;
                    o = then;
                }
                if (free_ >= (end < period ? end : period)) break;
                nearest[free_] = use[k].length;
                next[free_] = free_ + 1;
                o = free_ + 1;
            }
        }
    for (int32_t o = 1; o < period; o++)
        if (alive[o] < alive[best] || (alive[o] == alive[best] && nearest[o] > nearest[best])) best = o;
done:
    free(reach);
    free(use);
    return best;
}

/* Whether what begins at instruction i reads anything of the iterations before it, those that may be carried.  Where a
 * list of gradients, each over all of time, goes on and on, nothing does, and to compare its operands would take long. */
static int vg_reads_before(const VgSegment *s, int32_t i, int32_t period) {
    const int64_t from = i - (int64_t)(VG_MOST_CARRIED + 1) * period;
    const int32_t end = s->start[period < s->count - i ? i + period : s->count];
    for (int32_t k = s->start[i]; k < end; k++)
        if (s->operand[k] >= 0 && s->operand[k] >= from && s->operand[k] < i) return 1;
    return 0;
}

/* Add the run around instruction i if it repeats the one `period` before; it is free from `from` to where `limit` is not
 * negative; `parallel`: its iterations do not wait for each other, else they do.  Where the instructions begin and stop matching goes to *begin and *end. */
static int vg_try_period(const VgSegment *s, int32_t i, int32_t period, int32_t from, const int32_t *limit, int parallel,
                         VgPeriodic *run, int32_t *begin, int32_t *end) {
    int32_t first = i - period, stop = i;
    *begin = first;
    *end = period < s->count - i ? i + period : s->count;
    if (!parallel && !vg_reads_before(s, i, period)) return 0;
    while (stop < s->count && limit[stop] < 0 && vg_matches(s, stop - period, period, 0)) stop++;
    *end = stop;
    while (first > from && vg_matches(s, first - 1, period, 0)) first--;
    *begin = first;
    if ((int64_t)stop - first < (int64_t)VG_LEAST_COUNT * period || (parallel && !vg_is_whole(s, first, period))) return 0;
    if (vg_carries(s, first, period) != !parallel) return 0;
    int32_t before = first;
    while (before > from && before > first - period && vg_matches(s, before - 1, period, 1)) before--;
    if (parallel) { /* where an iteration begins is all the same */
        *run = (VgPeriodic){before, period, (stop - before) / period, stop, -1, 0};
        return 1;
    }
    first += vg_beginning(s, first, period);
    if (before <= first - period) first -= period;
    if ((int64_t)stop - first < (int64_t)VG_LEAST_COUNT * period) return 0;
    *run = (VgPeriodic){first, period, (stop - first) / period, stop - (stop - first) % period, -1, 0};
    return 1;
}

static int vg_periodic_order(const void *a, const void *b) {
    const int32_t x = ((const VgPeriodic *)a)->first, y = ((const VgPeriodic *)b)->first;
    return (x > y) - (x < y);
}

/* The runs of a segment in their order, not fitted yet, in *found (owned by the caller): those whose iterations wait for
 * each other, or those whose do not.  How many; -1 without memory. */
static int32_t vg_find_periodic(const VgSegment *s, int parallel, VgPeriodic **found) {
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
        int32_t from = 0, failed = 1, until = 0;
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
            if ((i < until && period % failed == 0) || (int64_t)VG_LEAST_COUNT * period > n - from || left < 0) continue;
            VgPeriodic run;
            int32_t begin, end;
            if (!vg_try_period(s, i, period, from, limit, parallel, &run, &begin, &end)) {
                failed = period;
                until = end;
                left -= end - begin + period;
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
            from = run.end;
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

/* For each instruction of an iteration that waits for no other one a label of its own, the same in all iterations; 0 for
 * all other instructions.  -1 without memory. */
static int vg_label_parallel(const VgSegment *s, int32_t *label) {
    VgPeriodic *run;
    const int32_t runs = vg_find_periodic(s, 1, &run);
    memset(label, 0, ((size_t)s->count + 1) * sizeof *label);
    for (int32_t k = 0, labels = 0; k < runs; labels += run[k++].period) {
        const int32_t all = run[k].end - run[k].first;
        if (all < VG_LEAST_RUN && all < s->count / VG_LEAST_SHARE) continue;
        for (int32_t i = 0; i < all; i++) label[run[k].first + i] = labels + i % run[k].period + 1;
    }
    free(run);
    return runs < 0 ? -1 : 0;
}

/* What operand r of iteration t of a run is: an earlier result of its body, `(place in the body) << 8 | (iterations ago)`
 * with bit 30 set, else its class.  -1: of too many iterations ago. */
static int32_t vg_role(const VgSegment *s, const int32_t *group, const VgPeriodic *run, int32_t t, int32_t r) {
    if (r < 0) return ~r < s->uniforms ? 0 : 1;
    if (r < run->first) return group[r] + 2;
    const int32_t ago = t - (r - run->first) / run->period;
    return ago > VG_MOST_CARRIED ? -1 : (1 << 30) | (r - run->first) % run->period << 8 | ago;
}

/* Cut off the iterations in which an operand is of another class than in the middle one; the first ones may begin with
 * anything but the run's own results.  `group` is known of all instructions before the run.  0: no loop is left. */
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
                if (t < ago ? r < first : vg_role(s, group, run, t, r) == role) continue; /* what begins is there before */
                low = t + 1;
            }
        }
    }
    run->first += low * period;
    run->count = high - low;
    const int64_t all = (int64_t)period * run->count;
    return carries && run->count >= VG_LEAST_COUNT && (all >= VG_LEAST_RUN || all * VG_LEAST_SHARE >= s->count);
}

#endif
