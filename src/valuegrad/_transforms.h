/* The transforms that run over whole graphs: adjoint (reverse mode), tangent (forward mode), machine (expand).
 *
 * Why: derivatives of a graph are a graph.  Each node's local gradients come as a template from the table's rules;
 * here they are multiplied and added, in the engines' documented order, so that results agree to the last bit.
 *
 * Data structures
 *   VgContributions  for each node the terms of its adjoint, as linked lists in order of arrival.
 *   VgSums           which nodes a sum that the graph has already adds up.
 *   reach            for each node the condition under which a backward pass of the engine would come to it at all:
 *                    behind a select only where that branch was taken.  A node that is not reached hands nothing
 *                    on, where 0 * inf would be nan (docs/semantics.md, the safe `where`).
 *
 * Source: reverse and forward mode, Griewank and Walther, Evaluating Derivatives, 2nd ed. (2008), chapter 3.
 * Where to start reading: vg_adjoint. */
#ifndef VALUEGRAD_TRANSFORMS_H
#define VALUEGRAD_TRANSFORMS_H

#include "_graph.h"

enum { VG_ALWAYS = -1, VG_NEVER = -2 }; /* of reach; a node's id is a condition */

typedef struct VgTerm {
    int32_t node, factor; /* node * factor; -1: node */
    int32_t next;         /* index of the next term, -1 ends */
} VgTerm;

typedef struct VgSums {
    int32_t nodes;  /* those that were looked at; 0: none, as there is no maximum */
    int32_t *whole; /* for each node the sum that it is a term of, or an addition within; itself: of none */
    int32_t *terms; /* for each sum how many terms it has that are not 0 */
} VgSums;

typedef struct VgContributions {
    int32_t *first, *last; /* for each old node, an index into terms, or -1 */
    int32_t *reach;
    VgTerm *term;
    int32_t count, capacity;
    int quick;       /* products need not be nodes */
    VgSums sums;     /* if quick */
    int32_t *buffer; /* the terms of one sum, the operands of one node */
    int32_t buffer_capacity;
} VgContributions;

static int vg_contributions_init(VgContributions *c, int32_t nodes) {
    memset(c, 0, sizeof(*c));
    c->capacity = 2 * nodes + 64;
    c->first = malloc(nodes * sizeof(int32_t) + 1);
    c->last = malloc(nodes * sizeof(int32_t) + 1);
    c->reach = malloc(nodes * sizeof(int32_t) + 1);
    c->term = malloc(c->capacity * sizeof(VgTerm));
    if (!c->first || !c->last || !c->reach || !c->term) return -1;
    memset(c->first, 0xff, nodes * sizeof(int32_t));
    for (int32_t i = 0; i < nodes; i++) c->reach[i] = VG_NEVER;
    return 0;
}

static void vg_contributions_free(VgContributions *c) {
    free(c->first);
    free(c->last);
    free(c->reach);
    free(c->term);
    free(c->buffer);
    free(c->sums.whole);
    free(c->sums.terms);
}

/* Room for n numbers in the buffer. */
static int32_t *vg_buffer(VgContributions *c, VgGraph *g, int32_t n) {
    if (n > c->buffer_capacity) {
        int32_t *grown = realloc(c->buffer, (2 * (size_t)n + 64) * sizeof(int32_t));
        if (grown == NULL) {
            g->failed = 1;
            return NULL;
        }
        c->buffer = grown;
        c->buffer_capacity = 2 * n + 64;
    }
    return c->buffer;
}

/* Add node * factor, of factor -1 node, to what a node's adjoint is the sum of. */
static void vg_contribute_product(VgContributions *c, VgGraph *g, int32_t to, int32_t node, int32_t factor) {
    if (c->count == c->capacity) {
        VgTerm *grown = c->capacity > INT32_MAX / 2 ? NULL : realloc(c->term, 2 * (size_t)c->capacity * sizeof(VgTerm));
        if (grown == NULL) {
            g->failed = 1;
            return;
        }
        c->term = grown;
        c->capacity *= 2;
    }
    const int32_t at = c->count++;
    c->term[at].node = node;
    c->term[at].factor = factor;
    c->term[at].next = -1;
    if (c->first[to] < 0) c->first[to] = at;
    else c->term[c->last[to]].next = at;
    c->last[to] = at;
}

static void vg_contribute(VgContributions *c, VgGraph *g, int32_t to, int32_t node) {
    vg_contribute_product(c, g, to, node, -1);
}

/* Find the sums among the first nodes: of a list, or additions one after the other.  A node that is a term of several
 * counts in each, but is said to be of one only: the others are not found to be made of such nodes then. */
static int vg_find_sums(const VgGraph *g, int32_t nodes, VgSums *sums) {
    int32_t maxima = 0;
    for (int32_t v = 0; v < nodes; v++) maxima += g->op[v] == VG_OP_maximum;
    if (maxima == 0) return 0;
    sums->whole = malloc(nodes * sizeof(int32_t) + 1);
    sums->terms = calloc((size_t)nodes + 1, sizeof(int32_t));
    if (sums->whole == NULL || sums->terms == NULL) return -1;
    sums->nodes = nodes;
    for (int32_t v = 0; v < nodes; v++) sums->whole[v] = v;
    for (int32_t v = nodes - 1; v >= 0; v--) {
        const int32_t n = vg_arity_of(g, v), *o = vg_operands_of(g, v), whole = sums->whole[v];
        if (g->op[v] != VG_OP_add && g->op[v] != VG_OP_sum) continue;
        for (int32_t k = 0; k < n; k++) {
            const int is_new = sums->whole[o[k]] == o[k], is_sum = g->op[o[k]] == VG_OP_add || g->op[o[k]] == VG_OP_sum;
            if (vg_is(g, o[k], 0.0) || vg_is(g, o[k], -0.0)) continue;
            if (is_new) sums->whole[o[k]] = whole;
            if (!is_new || !is_sum) sums->terms[whole]++;
        }
    }
    return 0;
}

/* The sum that a node is a term of; -1: of none. */
static int32_t vg_whole_of(const VgSums *sums, int32_t node) {
    return node < sums->nodes && sums->whole[node] != node ? sums->whole[node] : -1;
}

enum { VG_LEAST_DOT = 8 }; /* terms of a sum of products that is a dot at once: most nodes would be such products */

/* Whether e is exp(x - largest), x the k-th of the numbers whose largest that is.  Such ones are 1 at most, so their sum
 * is finite, or nan as one of them is. */
static int vg_is_scaled(const VgGraph *g, int32_t e, int32_t largest, int32_t k) {
    const int32_t difference = g->op[e] == VG_OP_exp ? vg_operands_of(g, e)[0] : -1;
    if (difference < 0 || g->op[difference] != VG_OP_sub) return 0;
    const int32_t *const o = vg_operands_of(g, difference);
    return o[0] == vg_operands_of(g, largest)[k] && o[1] == largest;
}

/* In log(sum(exp(x - largest))), however it is written, the largest one's adjoint has a term -(e f) for each e of the
 * sum.  All of them, beginning at a term, become one: -(sum * f).  Returns the last term that was looked at. */
static int32_t vg_factor(VgContributions *c, VgGraph *g, int32_t largest, int32_t from) {
    const int32_t n = vg_arity_of(g, largest);
    int32_t sum = -1, factor = -1, end = from, k = n; /* the newest comes first */
    for (int32_t at = from; at >= 0 && k > 0; end = at, at = c->term[at].next, k--) {
        const int32_t node = c->term[at].node, product = g->op[node] == VG_OP_neg ? vg_operands_of(g, node)[0] : node;
        if (product == node || g->op[product] != VG_OP_mul || c->term[at].factor >= 0) return end;
        const int32_t *const o = vg_operands_of(g, product);
        const int second = vg_is_scaled(g, o[1], largest, k - 1);
        if (k == n) sum = vg_whole_of(&c->sums, o[second]), factor = o[1 - second];
        if (sum < 0 || o[1 - second] != factor || vg_whole_of(&c->sums, o[second]) != sum) return end;
        if (!second && !vg_is_scaled(g, o[0], largest, k - 1)) return end;
    }
    if (k > 0 || c->sums.terms[sum] != n) return end;
    c->term[from].node = vg_emit1(g, VG_OP_neg, vg_emit2(g, VG_OP_mul, sum, factor));
    c->term[from].next = c->term[end].next;
    return from;
}

/* The sum of all terms of a node, in order of arrival; -1 if there are none. */
static int32_t vg_total(VgContributions *c, VgGraph *g, int32_t of) {
    int32_t n = 0, i = 0, products = 0;
    const int is_largest = c->sums.nodes > 0 && g->op[of] == VG_OP_maximum;
    for (int32_t at = is_largest ? c->first[of] : -1; at >= 0; at = c->term[at].next) at = vg_factor(c, g, of, at);
    for (int32_t at = c->first[of]; at >= 0; at = c->term[at].next) n++, products += c->term[at].factor >= 0;
    if (n == 0) return -1;
    if (vg_buffer(c, g, 2 * n) == NULL) return -1;
    for (int32_t at = c->first[of]; at >= 0; at = c->term[at].next, i++) {
        const VgTerm term = c->term[at];
        const int is_node = term.factor < 0 || (products == n && n >= VG_LEAST_DOT);
        c->buffer[i] = is_node ? term.node : vg_emit2(g, VG_OP_mul, term.node, term.factor);
        c->buffer[n + i] = term.factor;
    }
    if (products == n && n >= VG_LEAST_DOT) return vg_emit(g, VG_OP_dot, 0.0, c->buffer, 2 * n);
    return n == 1 ? c->buffer[0] : vg_emit(g, VG_OP_sum, 0.0, c->buffer, n);
}

static int32_t vg_both(VgGraph *g, int32_t reach, int32_t condition) {
    return reach == VG_ALWAYS ? condition : vg_emit2(g, VG_OP_and, reach, condition);
}

static void vg_reached(VgContributions *c, VgGraph *g, int32_t node, int32_t reach) {
    const int32_t before = c->reach[node];
    if (before == VG_ALWAYS || reach == VG_NEVER || before == reach) return;
    c->reach[node] = before == VG_NEVER || reach == VG_ALWAYS ? reach : vg_emit2(g, VG_OP_or, before, reach);
}

/* Which nodes depend on one of `wrt`, 1 for those.  What only decides (conditions, an index) carries no derivative. */
static void vg_depends(const VgGraph *g, int32_t nodes, const int32_t *wrt, int32_t wrt_count, uint8_t *depends) {
    memset(depends, 0, (size_t)nodes);
    for (int32_t i = 0; i < wrt_count; i++) depends[wrt[i]] = 1;
    for (int32_t v = 0; v < nodes; v++) {
        const int32_t *o = vg_operands_of(g, v);
        int32_t n = vg_arity_of(g, v), from = 0;
        if (vg_is_condition(g->op[v]) || g->op[v] == VG_OP_call) continue;
        if (g->op[v] == VG_OP_select) from = 1;
        if (g->op[v] == VG_OP_gather) n -= 1;
        if (g->op[v] == VG_OP_custom) from = 1, n = 1 + (n - 1) / 2;
        for (int32_t k = from; k < n && !depends[v]; k++) depends[v] = depends[o[k]];
    }
}

/* The index of a gather of n entries, counted from the front. */
static int32_t vg_from_front(VgGraph *g, int32_t index, int32_t n) {
    const int32_t negative = vg_emit2(g, VG_OP_lt, index, vg_const(g, 0.0));
    return vg_emit3(g, VG_OP_select, negative, vg_emit2(g, VG_OP_add, index, vg_const(g, (double)n)), index);
}

/* One edge of the backward pass: child's adjoint gets local * adjoint. */
static void vg_backward_edge(VgContributions *c, VgGraph *g, const uint8_t *depends, int32_t child, int32_t local,
                             int32_t adjoint, int32_t reach) {
    double x;
    if (!depends[child]) return;
    if (c->quick && reach < 0 && !vg_is_const(g, local, &x) && !vg_is_const(g, adjoint, &x)) {
        vg_contribute_product(c, g, child, local, adjoint);
        vg_reached(c, g, child, reach);
        return;
    }
    int32_t term = vg_emit2(g, VG_OP_mul, local, adjoint);
    if (reach >= 0 && !(vg_is_const(g, local, &x) && x - x == 0.0)) /* a finite constant times an adjoint that is 0 there is 0 */
        term = vg_emit3(g, VG_OP_select, reach, term, vg_const(g, 0.0));
    vg_contribute(c, g, child, term);
    vg_reached(c, g, child, reach);
}

/* The room that vg_apply needs for a template: its nodes, and the operands of its widest one. */
static int32_t vg_scratch_of(const VgTemplates *t, int32_t template) {
    int32_t widest = 0;
    if (template < 0) return 0;
    for (int32_t i = t->node_end[template]; i < t->node_end[template + 1]; i++)
        if (t->start[i + 1] - t->start[i] > widest) widest = t->start[i + 1] - t->start[i];
    return t->node_end[template + 1] - t->node_end[template] + widest;
}

/* Hand a node's adjoint on to its children. */
static void vg_backward_node(VgContributions *c, VgGraph *g, const VgTemplates *t, int32_t template, int32_t v,
                             int32_t adjoint, const uint8_t *depends) {
    const int32_t n = vg_arity_of(g, v), reach = c->reach[v];
    const uint16_t op = g->op[v];
    /* operands (the graph's own may move while it grows), the node itself, results, scratch */
    int32_t *o = vg_buffer(c, g, 2 * n + 1 + vg_scratch_of(t, template));
    if (o == NULL) return;
    memcpy(o, vg_operands_of(g, v), n * sizeof(*o));
    o[n] = v;
    const int32_t zero = vg_const(g, 0.0), one = vg_const(g, 1.0);
    if (template >= 0) {
        int32_t *results = o + n + 1;
        vg_apply(g, t, template, o, results, results + n);
        for (int32_t k = 0; k < n; k++)
            if (results[k] != VG_NOTHING) vg_backward_edge(c, g, depends, o[k], results[k], adjoint, reach);
    } else if (op == VG_OP_select) {
        for (int32_t k = 1; k < 3; k++) {
            if (!depends[o[k]]) continue;
            const int32_t taken = k == 1 ? o[0] : vg_emit1(g, VG_OP_not, o[0]);
            vg_contribute(c, g, o[k], vg_emit3(g, VG_OP_select, taken, adjoint, zero));
            vg_reached(c, g, o[k], vg_both(g, reach, taken));
        }
    } else if (op == VG_OP_gather) {
        const int32_t index = vg_from_front(g, o[n - 1], n - 1);
        for (int32_t k = 0; k < n - 1; k++) {
            if (!depends[o[k]]) continue;
            const int32_t taken = vg_emit2(g, VG_OP_eq, index, vg_const(g, (double)k));
            vg_contribute(c, g, o[k], vg_emit3(g, VG_OP_select, taken, adjoint, zero));
            vg_reached(c, g, o[k], vg_both(g, reach, taken));
        }
    } else if (op == VG_OP_custom) {
        const int32_t half = (n - 1) / 2;
        for (int32_t k = 1; k <= half; k++) vg_backward_edge(c, g, depends, o[k], o[half + k], adjoint, reach);
    } else if (op == VG_OP_batch_sum) {
        vg_backward_edge(c, g, depends, o[0], one, adjoint, reach);
    }
}

/* The first of a softmax's entries that follow each other in the graph, the last of which is v, and hand something on. */
static int32_t vg_softmax_begin(const VgGraph *g, const uint8_t *depends, int32_t v) {
    const int32_t n = vg_arity_of(g, v);
    const int32_t *const o = vg_operands_of(g, v);
    while (v > 0 && g->op[v - 1] == VG_OP_softmax && depends[v - 1] == 1 && vg_arity_of(g, v - 1) == n &&
           g->number[v - 1] < g->number[v] && /* else it is another softmax of the same list */
           memcmp(vg_operands_of(g, v - 1), o, (size_t)n * sizeof(int32_t)) == 0)
        v--;
    return v;
}

/* Hand on the adjoints a of some entries p of a softmax, nodes from `first` to `last`: p * (a - sum of p * a) to each
 * operand, instead of p * (1 or 0 - p) * a from each entry to each operand, which is as many terms as there are pairs of
 * entries.  (Bridle 1990, Training stochastic model recognition algorithms as networks can lead to maximum mutual
 * information estimation of parameters.)  Nobody who uses one of them is older than `last`, so all adjoints are known. */
static void vg_backward_softmax(VgContributions *c, VgGraph *g, int32_t first, int32_t last, const uint8_t *depends) {
    const int32_t n = vg_arity_of(g, first), entries = last - first + 1;
    int32_t reach = VG_NEVER, together = 1, count = 0;
    for (int32_t v = first; v <= last; v++) {
        if (c->first[v] < 0) continue;
        together &= count == 0 || c->reach[v] == reach;
        if (count++ == 0) reach = c->reach[v];
        else if (c->reach[v] != reach) reach = reach == VG_ALWAYS || c->reach[v] == VG_ALWAYS
                                                   ? VG_ALWAYS : vg_emit2(g, VG_OP_or, reach, c->reach[v]);
    }
    if (count == 0) return;
    int32_t *const memory = malloc((2 * (size_t)entries + 2 * (size_t)n) * sizeof(int32_t));
    if (memory == NULL) {
        g->failed = 1;
        return;
    }
    int32_t *const pairs = memory, *const o = pairs + 2 * entries, *const adjoint = o + n;
    const int32_t zero = vg_const(g, 0.0);
    memcpy(o, vg_operands_of(g, first), (size_t)n * sizeof(int32_t)); /* the graph's own may move while it grows */
    for (int32_t k = 0; k < n; k++) adjoint[k] = zero;
    for (int32_t v = first, at = 0; v <= last && !g->failed; v++) {
        int32_t total = vg_total(c, g, v);
        if (total < 0) continue;
        if (!together && c->reach[v] >= 0) total = vg_emit3(g, VG_OP_select, c->reach[v], total, zero);
        adjoint[(int32_t)g->number[v]] = pairs[count + at] = total;
        pairs[at++] = v;
    }
    const int32_t mean = vg_emit(g, VG_OP_dot, 0.0, pairs, 2 * count);
    for (int32_t k = 0; k < n && !g->failed; k++)
        if (depends[o[k]])
            vg_backward_edge(c, g, depends, o[k], vg_emit(g, VG_OP_softmax, (double)k, o, n),
                             vg_emit2(g, VG_OP_sub, adjoint[k], mean), reach);
    free(memory);
}

/* Reverse mode: add to the graph, whose nodes stay where they are, the adjoints of `wrt` for outputs with seeds.
 * templates: for each node the local gradients' template, or -1 (of a softmax, if quick).  quick: its entries hand on
 * together, which rounds otherwise than one after the other; and sums of many products are dots at once.  gradients: for each of `wrt` the node, a constant 0 if no output depends
 * on it.  -1 without memory. */
static int vg_adjoint(VgGraph *g, int32_t nodes, const VgTemplates *t, const int32_t *templates,
                      const int32_t *outputs, const int32_t *seeds, int32_t output_count, const int32_t *wrt,
                      int32_t wrt_count, int quick, int32_t *gradients) {
    VgContributions c;
    uint8_t *depends = malloc(nodes + 1);
    if (depends == NULL || vg_contributions_init(&c, nodes) < 0) {
        if (depends != NULL) vg_contributions_free(&c);
        free(depends);
        return -1;
    }
    c.quick = quick;
    if (quick && vg_find_sums(g, nodes, &c.sums) < 0) g->failed = 1;
    vg_depends(g, nodes, wrt, wrt_count, depends);
    for (int32_t i = 0; i < output_count; i++) {
        if (!depends[outputs[i]]) continue;
        vg_contribute(&c, g, outputs[i], seeds[i]);
        vg_reached(&c, g, outputs[i], VG_ALWAYS);
    }
    for (int32_t i = 0; i < wrt_count; i++) depends[wrt[i]] = 2; /* nothing is handed on from there */
    for (int32_t v = nodes - 1; v >= 0 && !g->failed; v--) {
        if (quick && depends[v] == 1 && g->op[v] == VG_OP_softmax) {
            const int32_t last = v;
            v = vg_softmax_begin(g, depends, v);
            vg_backward_softmax(&c, g, v, last, depends);
            continue;
        }
        if (depends[v] != 1 || c.first[v] < 0) continue;
        vg_backward_node(&c, g, t, templates[v], v, vg_total(&c, g, v), depends);
    }
    for (int32_t i = 0; i < wrt_count && !g->failed; i++) {
        const int32_t total = vg_total(&c, g, wrt[i]);
        gradients[i] = total >= 0 ? total : vg_const(g, 0.0);
    }
    vg_contributions_free(&c);
    free(depends);
    return g->failed ? -1 : 0;
}

/* The tangent of a node whose operands' tangents are known (-1: nothing); -1 if it has none. */
static int32_t vg_forward_node(VgContributions *c, VgGraph *g, const VgTemplates *t, int32_t template, int32_t v,
                               const int32_t *tangents) {
    const int32_t n = vg_arity_of(g, v);
    const uint16_t op = g->op[v];
    int32_t moving = 0, count = 0;
    for (int32_t k = 0; k < n; k++) moving |= tangents[vg_operands_of(g, v)[k]] >= 0;
    if (!moving || vg_is_condition(op) || op == VG_OP_call) return -1;
    int32_t *o = vg_buffer(c, g, 3 * n + 1 + vg_scratch_of(t, template));
    if (o == NULL) return -1;
    memcpy(o, vg_operands_of(g, v), n * sizeof(*o));
    o[n] = v;
    int32_t *terms = o + n + 1, *results = terms + n;
    const int32_t zero = vg_const(g, 0.0);
#define VG_TANGENT(k) (tangents[o[k]] >= 0 ? tangents[o[k]] : zero)
    if (op == VG_OP_select)
        return tangents[o[1]] < 0 && tangents[o[2]] < 0
                   ? -1 : vg_emit3(g, VG_OP_select, o[0], VG_TANGENT(1), VG_TANGENT(2));
    if (op == VG_OP_gather) {
        for (int32_t k = 0; k < n - 1; k++) terms[k] = VG_TANGENT(k);
        terms[n - 1] = o[n - 1];
        return vg_emit(g, VG_OP_gather, 0.0, terms, n);
    }
    if (op == VG_OP_batch_sum) return vg_emit1(g, VG_OP_batch_sum, tangents[o[0]]);
    if (op == VG_OP_custom) {
        const int32_t half = (n - 1) / 2;
        for (int32_t k = 1; k <= half; k++)
            if (tangents[o[k]] >= 0) terms[count++] = vg_emit2(g, VG_OP_mul, o[half + k], tangents[o[k]]);
    } else if (template >= 0) {
        vg_apply(g, t, template, o, results, results + n);
        for (int32_t k = 0; k < n; k++)
            if (results[k] != VG_NOTHING && tangents[o[k]] >= 0)
                terms[count++] = vg_emit2(g, VG_OP_mul, results[k], tangents[o[k]]);
    }
#undef VG_TANGENT
    return count > 1 ? vg_emit(g, VG_OP_sum, 0.0, terms, count) : count ? terms[0] : -1;
}

/* Forward mode: add to the graph the tangents of outputs when inputs move by the given nodes.  found: for each
 * output the node, a constant 0 if it does not move. */
static int vg_tangent(VgGraph *g, int32_t nodes, const VgTemplates *t, const int32_t *templates,
                      const int32_t *inputs, const int32_t *directions, int32_t input_count, const int32_t *outputs,
                      int32_t output_count, int32_t *found) {
    VgContributions c;
    memset(&c, 0, sizeof(c));
    int32_t *tangents = malloc((nodes + 1) * sizeof(*tangents));
    uint8_t *given = calloc(nodes + 1, 1);
    if (tangents != NULL && given != NULL) {
        memset(tangents, 0xff, nodes * sizeof(*tangents));
        for (int32_t i = 0; i < input_count; i++) {
            tangents[inputs[i]] = directions[i];
            given[inputs[i]] = 1;
        }
        for (int32_t v = 0; v < nodes && !g->failed; v++)
            if (!given[v]) tangents[v] = vg_forward_node(&c, g, t, templates[v], v, tangents);
        for (int32_t i = 0; i < output_count && !g->failed; i++)
            found[i] = tangents[outputs[i]] >= 0 ? tangents[outputs[i]] : vg_const(g, 0.0);
    } else {
        g->failed = 1;
    }
    free(tangents);
    free(given);
    vg_contributions_free(&c);
    return g->failed ? -1 : 0;
}

#endif
