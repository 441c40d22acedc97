/* A graph that is being built in C: SSA arrays, with a hash table so that no node is computed twice.
 *
 * Why: the passes (adjoint, tangent, machine) write graphs of millions of nodes.  Whatever they add goes through
 * vg_emit, which simplifies where that is exact to the last bit (nan, inf and -0 included), folds constants by the
 * same functions that the engine calls, and gives back the node that is there already if one is.
 *
 * Data structures
 *   VgGraph      the arrays of graph.py's Graph, growing; `table` is an open-addressing hash table of node ids, with
 *                their hashes, so that other nodes in the way need not be looked at.
 *   VgTemplates  pieces of graph that were made from the table's rules (transforms/templates.py).
 *
 * Where to start reading: vg_emit. */
#ifndef VALUEGRAD_GRAPH_H
#define VALUEGRAD_GRAPH_H

#include <Python.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#if defined(__linux__)
#include <sys/mman.h>
#endif
#include "_ieee.h"
#include "_opcodes.h"

typedef struct { int32_t node; uint32_t hash; } VgEntry; /* node: -1 where empty */

typedef struct VgGraph {
    int32_t count, capacity; /* nodes */
    uint16_t *op;
    int32_t *start; /* count + 1 */
    double *number;
    int32_t *operand;
    int32_t operand_capacity;
    VgEntry *table; /* NULL in a graph that is only read */
    uint32_t mask;  /* its size less 1 */
    int failed;     /* no memory, or more than 2**31 operands: whoever began the pass asks at its end */
} VgGraph;

typedef struct VgTemplates {
    const uint16_t *op;
    const int32_t *start, *reference;
    const double *number;
    const int32_t *node_end, *result, *result_end;
} VgTemplates;

enum { VG_NOTHING = INT32_MIN }; /* a local gradient that is nothing at all; templates.NOTHING */

static inline int32_t vg_arity_of(const VgGraph *g, int32_t node) { return g->start[node + 1] - g->start[node]; }
static inline const int32_t *vg_operands_of(const VgGraph *g, int32_t node) { return g->operand + g->start[node]; }

static void vg_graph_free(VgGraph *g) {
    free(g->op);
    free(g->start);
    free(g->number);
    free(g->operand);
    free(g->table);
    memset(g, 0, sizeof(*g));
}

static void *vg_grown(VgGraph *g, void *old, size_t count, size_t size) {
    void *grown = realloc(old, count * size);
    if (grown == NULL) g->failed = 1;
    return grown ? grown : old;
}

enum { VG_HUGE_PAGE = 1 << 21 };

/* An empty table, if large on huge pages where the system has them: it is read here and there. */
static VgEntry *vg_new_table(size_t entries) {
    const size_t bytes = entries * sizeof(VgEntry);
    void *table = NULL;
#if defined(__linux__) && defined(MADV_HUGEPAGE)
    if (bytes >= VG_HUGE_PAGE) {
        if (posix_memalign(&table, VG_HUGE_PAGE, bytes) != 0) return NULL;
        madvise(table, bytes, MADV_HUGEPAGE); /* a wish */
    }
#endif
    if (table == NULL) table = malloc(bytes);
    if (table != NULL) memset(table, 0xff, bytes);
    return (VgEntry *)table;
}

/* An empty graph with room, and perhaps a table; 0, or -1 without memory. */
static int vg_graph_init(VgGraph *g, int32_t nodes, int32_t operands, int has_table) {
    memset(g, 0, sizeof(*g));
    g->capacity = nodes < 64 ? 64 : nodes;
    g->operand_capacity = operands < 64 ? 64 : operands;
    g->op = malloc(g->capacity * sizeof(*g->op));
    g->start = malloc(((size_t)g->capacity + 1) * sizeof(*g->start));
    g->number = malloc(g->capacity * sizeof(*g->number));
    g->operand = malloc(g->operand_capacity * sizeof(*g->operand));
    g->mask = 127;
    while ((int64_t)g->mask < 2 * (int64_t)g->capacity) g->mask = 2 * g->mask + 1;
    g->table = has_table ? vg_new_table((size_t)g->mask + 1) : NULL;
    if (!g->op || !g->start || !g->number || !g->operand || (has_table && !g->table)) {
        vg_graph_free(g);
        return -1;
    }
    g->start[0] = 0;
    return 0;
}

/* Room for one more node with n operands; 0 if there is none. */
static int vg_room(VgGraph *g, int32_t n) {
    if (g->failed) return 0;
    if (g->count == g->capacity) {
        const size_t larger = 2 * (size_t)g->capacity;
        if (larger > INT32_MAX / 2) return g->failed = 1, 0;
        g->op = vg_grown(g, g->op, larger, sizeof(*g->op));
        g->start = vg_grown(g, g->start, larger + 1, sizeof(*g->start));
        g->number = vg_grown(g, g->number, larger, sizeof(*g->number));
        if (g->failed) return 0;
        g->capacity = (int32_t)larger;
    }
    const int64_t needed = (int64_t)g->start[g->count] + n;
    if (needed > g->operand_capacity) {
        int64_t larger = 2 * (int64_t)g->operand_capacity;
        if (larger < needed) larger = needed;
        if (larger > INT32_MAX) return g->failed = 1, 0;
        g->operand = vg_grown(g, g->operand, larger, sizeof(*g->operand));
        if (g->failed) return 0;
        g->operand_capacity = (int32_t)larger;
    }
    return 1;
}

/* Add a node as it is. */
static int32_t vg_append_node(VgGraph *g, uint16_t op, double number, const int32_t *operands, int32_t n) {
    if (!vg_room(g, n)) return 0;
    const int32_t node = g->count++;
    g->op[node] = op;
    g->number[node] = number;
    if (n) memcpy(g->operand + g->start[node], operands, n * sizeof(*operands));
    g->start[node + 1] = g->start[node] + n;
    return node;
}

/* --------------------------------------------------------------------------------- nodes that are there already */
static inline uint64_t vg_bits(double x) {
    uint64_t bits;
    memcpy(&bits, &x, sizeof(bits));
    return bits;
}

/* FNV-1a over the parts of a node, with a last mixing step. */
static uint32_t vg_hash(uint16_t op, double number, const int32_t *operands, int32_t n) {
    uint64_t h = 14695981039346656037u ^ op;
    h = (h * 1099511628211u) ^ vg_bits(number);
    for (int32_t i = 0; i < n; i++) h = (h * 1099511628211u) ^ (uint32_t)operands[i];
    h ^= h >> 32; /* numbers differ in their upper bits, which a product would not hand down */
    h *= 0x9E3779B97F4A7C15u;
    return (uint32_t)(h >> 32);
}

static int vg_same(const VgGraph *g, int32_t node, uint16_t op, double number, const int32_t *operands, int32_t n) {
    return g->op[node] == op && vg_bits(g->number[node]) == vg_bits(number) && vg_arity_of(g, node) == n &&
           (n == 0 || memcmp(vg_operands_of(g, node), operands, n * sizeof(*operands)) == 0);
}

/* Fetch what will be read of the table when a node with these parts is looked for: of a large table a cache holds nothing,
 * and several such waits can be one.  VG_AHEAD nodes before it is. */
enum { VG_AHEAD = 12, VG_NARROW = 4 };
static inline void vg_expect(const VgGraph *g, uint16_t op, double number, const int32_t *operands, int32_t n) {
#ifdef __GNUC__
    if (n <= VG_NARROW) __builtin_prefetch(&g->table[vg_hash(op, number, operands, n) & g->mask]);
#else
    (void)g; (void)op; (void)number; (void)operands; (void)n;
#endif
}

/* Make a node known, unless the same one is: a hundred thousand equal constants must not fill one run of the table. */
static void vg_table_insert(VgGraph *g, int32_t node) {
    const int32_t *o = vg_operands_of(g, node), n = vg_arity_of(g, node);
    const uint32_t hash = vg_hash(g->op[node], g->number[node], o, n);
    uint32_t at = hash & g->mask;
    for (; g->table[at].node >= 0; at = (at + 1) & g->mask)
        if (g->table[at].hash == hash && vg_same(g, g->table[at].node, g->op[node], g->number[node], o, n)) return;
    g->table[at].node = node;
    g->table[at].hash = hash;
}

static void vg_table_grow(VgGraph *g) {
    const size_t old_size = (size_t)g->mask + 1, size = 2 * old_size;
    VgEntry *const old = g->table, *const larger = vg_new_table(size);
    if (larger == NULL) {
        g->failed = 1;
        return;
    }
    g->table = larger;
    g->mask = (uint32_t)(size - 1);
    for (size_t i = 0; i < old_size; i++) { /* no two are the same */
        if (old[i].node < 0) continue;
        uint32_t at = old[i].hash & g->mask;
        while (larger[at].node >= 0) at = (at + 1) & g->mask;
        larger[at] = old[i];
    }
    free(old);
}

/* The node with these parts: the one that is there, or a new one. */
static int32_t vg_shared(VgGraph *g, uint16_t op, double number, const int32_t *operands, int32_t n) {
    const uint32_t hash = vg_hash(op, number, operands, n);
    uint32_t at = hash & g->mask;
    for (; g->table[at].node >= 0; at = (at + 1) & g->mask)
        if (g->table[at].hash == hash && vg_same(g, g->table[at].node, op, number, operands, n))
            return g->table[at].node;
    if (2 * (int64_t)g->count > g->mask) {
        vg_table_grow(g);
        at = hash & g->mask;
        while (g->table[at].node >= 0) at = (at + 1) & g->mask;
    }
    const int32_t node = vg_append_node(g, op, number, operands, n);
    if (g->failed) return node;
    g->table[at].node = node;
    g->table[at].hash = hash;
    return node;
}

static int32_t vg_const(VgGraph *g, double number) { return vg_shared(g, VG_OP_const, number, NULL, 0); }

/* ------------------------------------------------------------------------------------------- constant folding */
#define VG_FOLDED_1(f) \
    f(exp) f(expm1) f(log) f(log1p) f(log2) f(log10) f(sqrt) f(cbrt) f(sin) f(cos) f(tan) f(asin) f(acos) f(atan) \
    f(sinh) f(cosh) f(tanh) f(asinh) f(acosh) f(atanh) f(erf) f(erfc) f(abs) f(floor) f(ceil) f(trunc) f(lgamma) \
    f(digamma)
#define VG_FOLDED_2(f) f(div) f(fmod) f(mod) f(floordiv) f(atan2) f(hypot)

/* Compute an operation on constants as the engine would; 0 if that is not done here. */
static int vg_fold(uint16_t op, double number, const double *x, double *out) {
    switch (op) {
#define VG_CASE(name) case VG_OP_##name: *out = ieee_##name(x[0]); return 1;
        VG_FOLDED_1(VG_CASE)
#undef VG_CASE
#define VG_CASE(name) case VG_OP_##name: *out = ieee_##name(x[0], x[1]); return 1;
        VG_FOLDED_2(VG_CASE)
#undef VG_CASE
        case VG_OP_power: *out = ieee_pow(x[0], x[1]); return 1;
        case VG_OP_polygamma: *out = ieee_polygamma(x[0], number); return 1;
        case VG_OP_add: *out = x[0] + x[1]; return 1;
        case VG_OP_sub: *out = x[0] - x[1]; return 1;
        case VG_OP_mul: *out = x[0] * x[1]; return 1;
        case VG_OP_neg: *out = -x[0]; return 1;
        case VG_OP_lt: *out = x[0] < x[1]; return 1;
        case VG_OP_le: *out = x[0] <= x[1]; return 1;
        case VG_OP_eq: *out = x[0] == x[1]; return 1;
        case VG_OP_and: *out = x[0] != 0.0 && x[1] != 0.0; return 1;
        case VG_OP_or: *out = x[0] != 0.0 || x[1] != 0.0; return 1;
        case VG_OP_not: *out = x[0] == 0.0; return 1;
        default: return 0;
    }
}

/* ------------------------------------------------------------------------------------------- exact rewrites */
static inline int vg_is_const(const VgGraph *g, int32_t node, double *x) {
    *x = g->number[node];
    return g->op[node] == VG_OP_const;
}

static inline int vg_is(const VgGraph *g, int32_t node, double wanted) {
    return g->op[node] == VG_OP_const && vg_bits(g->number[node]) == vg_bits(wanted);
}

static inline int vg_is_condition(uint16_t op) { return op >= VG_OP_lt && op <= VG_OP_not; }

/* The reciprocal of a power of two is exact, and so is multiplying by it instead of dividing. */
static int vg_exact_reciprocal(double x, double *reciprocal) {
    int exponent;
    if (x != x || x - x != 0.0 || fabs(frexp(x, &exponent)) != 0.5 || exponent < -1020 || exponent > 1020) return 0;
    *reciprocal = 1.0 / x;
    return 1;
}

static int32_t vg_emit(VgGraph *g, uint16_t op, double number, const int32_t *operands, int32_t n);

static int32_t vg_emit1(VgGraph *g, uint16_t op, int32_t a) { return vg_emit(g, op, 0.0, &a, 1); }

static int32_t vg_emit2(VgGraph *g, uint16_t op, int32_t a, int32_t b) {
    const int32_t operands[2] = {a, b};
    return vg_emit(g, op, 0.0, operands, 2);
}

static int32_t vg_emit3(VgGraph *g, uint16_t op, int32_t a, int32_t b, int32_t c) {
    const int32_t operands[3] = {a, b, c};
    return vg_emit(g, op, 0.0, operands, 3);
}

/* A node that is equal to the last bit, or -1.  Each line is an identity of IEEE-754 arithmetic that holds for
 * every operand, nan, infinities and both zeros included.  A sum or a maximum of one stays: where others of its kind
 * have more (a softmax over the positions so far), they are alike, and can be one loop (_group.h). */
static int32_t vg_simplified(VgGraph *g, uint16_t op, const int32_t *o, int32_t n) {
    double x, y;
    switch (op) {
        case VG_OP_add:
            if (vg_is(g, o[0], -0.0)) return o[1];
            if (vg_is(g, o[1], -0.0)) return o[0];
            if (g->op[o[1]] == VG_OP_neg) return vg_emit2(g, VG_OP_sub, o[0], vg_operands_of(g, o[1])[0]);
            if (g->op[o[0]] == VG_OP_neg) return vg_emit2(g, VG_OP_sub, o[1], vg_operands_of(g, o[0])[0]);
            return -1;
        case VG_OP_sub:
            if (vg_is(g, o[1], 0.0)) return o[0];
            if (g->op[o[1]] == VG_OP_neg) return vg_emit2(g, VG_OP_add, o[0], vg_operands_of(g, o[1])[0]);
            return -1;
        case VG_OP_mul:
            if (vg_is(g, o[0], 1.0)) return o[1];
            if (vg_is(g, o[1], 1.0)) return o[0];
            if (vg_is(g, o[0], -1.0)) return vg_emit1(g, VG_OP_neg, o[1]);
            if (vg_is(g, o[1], -1.0)) return vg_emit1(g, VG_OP_neg, o[0]);
            return -1;
        case VG_OP_div:
            if (vg_is(g, o[1], 1.0)) return o[0];
            if (vg_is_const(g, o[1], &x) && vg_exact_reciprocal(x, &y))
                return vg_emit2(g, VG_OP_mul, o[0], vg_const(g, y));
            return -1;
        case VG_OP_neg:
            return g->op[o[0]] == VG_OP_neg ? vg_operands_of(g, o[0])[0] : -1;
        case VG_OP_abs:
            if (g->op[o[0]] == VG_OP_neg) return vg_emit1(g, VG_OP_abs, vg_operands_of(g, o[0])[0]);
            return g->op[o[0]] == VG_OP_abs ? o[0] : -1;
        case VG_OP_not: /* of what is 1.0 or 0.0 */
            if (g->op[o[0]] != VG_OP_not) return -1;
            return vg_is_condition(g->op[vg_operands_of(g, o[0])[0]]) ? vg_operands_of(g, o[0])[0] : -1;
        case VG_OP_and:
            if (vg_is_const(g, o[0], &x) && vg_is_condition(g->op[o[1]])) return x != 0.0 ? o[1] : vg_const(g, 0.0);
            if (vg_is_const(g, o[1], &x) && vg_is_condition(g->op[o[0]])) return x != 0.0 ? o[0] : vg_const(g, 0.0);
            return o[0] == o[1] && vg_is_condition(g->op[o[0]]) ? o[0] : -1;
        case VG_OP_or:
            if (vg_is_const(g, o[0], &x) && vg_is_condition(g->op[o[1]])) return x != 0.0 ? vg_const(g, 1.0) : o[1];
            if (vg_is_const(g, o[1], &x) && vg_is_condition(g->op[o[0]])) return x != 0.0 ? vg_const(g, 1.0) : o[0];
            return o[0] == o[1] && vg_is_condition(g->op[o[0]]) ? o[0] : -1;
        case VG_OP_select:
            if (vg_is_const(g, o[0], &x)) return x != 0.0 ? o[1] : o[2]; /* nan counts as true, as in Python */
            if (g->op[o[0]] == VG_OP_not) return vg_emit3(g, VG_OP_select, vg_operands_of(g, o[0])[0], o[2], o[1]);
            return o[1] == o[2] ? o[1] : -1;
        case VG_OP_sum:
            return n == 0 ? vg_const(g, 0.0) : -1; /* two stay a sum: the machine pass may make a dot of them */
        case VG_OP_dot:
            if (n == 0) return vg_const(g, 0.0);
            return n == 2 ? vg_emit2(g, VG_OP_mul, o[0], o[1]) : -1;
        case VG_OP_prod:
            if (n == 0) return vg_const(g, 1.0);
            return n == 1 ? o[0] : n == 2 ? vg_emit2(g, VG_OP_mul, o[0], o[1]) : -1;
        default:
            return -1;
    }
}

/* A node for this operation: a simpler one, a folded constant, the one that is there, or a new one. */
static int32_t vg_emit(VgGraph *g, uint16_t op, double number, const int32_t *operands, int32_t n) {
    double x[2] = {0.0, 0.0}, folded;
    int32_t sorted[2];
    if (g->failed) return 0;
    if (n && n <= 2 && vg_is_const(g, operands[0], &x[0]) && (n == 1 || vg_is_const(g, operands[1], &x[1])))
        if (vg_fold(op, number, x, &folded)) return vg_const(g, folded);
    const int32_t simpler = vg_simplified(g, op, operands, n);
    if (simpler >= 0) return simpler;
    if (op == VG_OP_add || op == VG_OP_mul || op == VG_OP_eq || op == VG_OP_and || op == VG_OP_or) {
        sorted[0] = operands[0] < operands[1] ? operands[0] : operands[1]; /* these commute exactly */
        sorted[1] = operands[0] < operands[1] ? operands[1] : operands[0];
        return vg_shared(g, op, number, sorted, n);
    }
    return vg_shared(g, op, number, operands, n);
}

/* Copy a template: `children` are its node's operands, and after them perhaps its result.  results[k] is its k-th
 * result, VG_NOTHING where there is none.  `scratch` has room for all nodes of the template and the operands of one. */
static void vg_apply(VgGraph *g, const VgTemplates *t, int32_t id, const int32_t *children, int32_t *results,
                     int32_t *scratch) {
    const int32_t first = t->node_end[id], last = t->node_end[id + 1];
    int32_t *operands = scratch + (last - first);
#define VG_REFERENCE(r) ((r) >= 0 ? scratch[r] : children[-1 - (r)])
    for (int32_t i = first; i < last; i++) {
        const int32_t n = t->start[i + 1] - t->start[i], later = i + VG_AHEAD;
        if (later < last && t->start[later + 1] - t->start[later] <= VG_NARROW) {
            int32_t expected[VG_NARROW], known = 1;
            const int32_t *const references = t->reference + t->start[later], m = t->start[later + 1] - t->start[later];
            for (int32_t k = 0; k < m; k++) known &= references[k] < i - first;
            for (int32_t k = 0; k < m && known; k++) expected[k] = VG_REFERENCE(references[k]);
            if (known) vg_expect(g, t->op[later], t->number[later], expected, m);
        }
        for (int32_t k = 0; k < n; k++) operands[k] = VG_REFERENCE(t->reference[t->start[i] + k]);
        scratch[i - first] =
            t->op[i] == VG_OP_const ? vg_const(g, t->number[i]) : vg_emit(g, t->op[i], t->number[i], operands, n);
    }
    for (int32_t k = t->result_end[id]; k < t->result_end[id + 1]; k++) {
        const int32_t r = t->result[k];
        results[k - t->result_end[id]] = r == VG_NOTHING ? VG_NOTHING : VG_REFERENCE(r);
    }
#undef VG_REFERENCE
}

#endif
