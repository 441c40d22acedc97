/* The last transform: every row becomes machine operations, what nobody needs goes, sums of products become dots.
 *
 * Data structures: two graphs, one after the other.  `expanded` has machine operations only; `fused` is the result.
 *
 * Where to start reading: vg_machine. */
#ifndef VALUEGRAD_EXPAND_H
#define VALUEGRAD_EXPAND_H

#include "_graph.h"

/* Which nodes the roots depend on.  Inputs always stay. */
static void vg_mark_live(const VgGraph *g, const int32_t *roots, int32_t root_count, int32_t inputs, uint8_t *live) {
    memset(live, 0, g->count);
    memset(live, 1, inputs);
    for (int32_t i = 0; i < root_count; i++) live[roots[i]] = 1;
    for (int32_t v = g->count - 1; v >= 0; v--) {
        if (!live[v]) continue;
        for (int32_t k = g->start[v]; k < g->start[v + 1]; k++) live[g->operand[k]] = 1;
    }
}

/* entries o[0] ... o[n - 2] by the index o[n - 1], as a chain of choices. */
static int32_t vg_select_entry(VgGraph *g, const int32_t *o, int32_t n) {
    const int32_t index = o[n - 1];
    int32_t found = o[0];
    for (int32_t k = 1; k < n - 1; k++) {
        const int32_t front = vg_emit2(g, VG_OP_eq, index, vg_const(g, (double)k));
        const int32_t back = vg_emit2(g, VG_OP_eq, index, vg_const(g, (double)(k - n + 1)));
        found = vg_emit3(g, VG_OP_select, vg_emit2(g, VG_OP_or, front, back), o[k], found);
    }
    return found;
}

/* Node v will be copied soon, when those before `done` are. */
static inline void vg_expect_copy(const VgGraph *g, int32_t v, int32_t done, const uint8_t *live, const int32_t *at,
                                  const VgGraph *to) {
    int32_t operands[VG_NARROW];
    if (v >= g->count || !live[v] || vg_arity_of(g, v) > VG_NARROW) return;
    const int32_t n = vg_arity_of(g, v), *o = vg_operands_of(g, v);
    for (int32_t k = 0; k < n; k++) {
        if (o[k] >= done) return;
        operands[k] = at[o[k]];
    }
    vg_expect(to, g->op[v], g->number[v], operands, n);
}

/* Expand all live nodes of g into `to`; at[v] is where node v is.  A gather of `selected` entries or fewer becomes a
 * chain of selects, and one of a single entry that entry, which may be the same for all lanes where the index is not. */
static void vg_expand(const VgGraph *g, const VgTemplates *t, const int32_t *templates, int32_t inputs,
                      const uint8_t *live, int32_t selected, VgGraph *to, int32_t *at, int32_t *buffer) {
    int32_t result[1];
    for (int32_t v = 0; v < g->count && !to->failed; v++) {
        vg_expect_copy(g, v + VG_AHEAD, v, live, at, to);
        if (!live[v]) continue;
        const int32_t n = vg_arity_of(g, v), *operands = vg_operands_of(g, v);
        for (int32_t k = 0; k < n; k++) buffer[k] = at[operands[k]];
        if (v < inputs) {
            at[v] = vg_append_node(to, VG_OP_input, g->number[v], NULL, 0);
        } else if (g->op[v] == VG_OP_const) {
            at[v] = vg_const(to, g->number[v]);
        } else if (templates[v] >= 0) {
            vg_apply(to, t, templates[v], buffer, result, buffer + n);
            at[v] = result[0];
        } else if (g->op[v] == VG_OP_custom) {
            at[v] = buffer[0];
        } else if (g->op[v] == VG_OP_gather && (n <= selected + 1 || n == 2)) {
            at[v] = vg_select_entry(to, buffer, n);
        } else {
            at[v] = vg_emit(to, g->op[v], g->number[v], buffer, n);
        }
    }
}

/* ------------------------------------------------------------------------------------- sums of products to dots */
/* How a sum's term k is part of a dot: as a product that nobody else needs (1), a negative (2), the dot that the sum
 * begins with (3), or as it is, times 1 (0).  Each is exact: a dot adds its products in their order. */
static int vg_term_kind(const VgGraph *g, const int32_t *uses, int32_t term, int32_t k) {
    if (uses[term] != 1) return 0;
    if (g->op[term] == VG_OP_mul) return 1;
    if (g->op[term] == VG_OP_neg) return 2;
    return g->op[term] == VG_OP_dot && k == 0 ? 3 : 0;
}

static int vg_becomes_dot(const VgGraph *g, const int32_t *uses, int32_t v) {
    int32_t products = 0;
    const int32_t n = vg_arity_of(g, v), *o = vg_operands_of(g, v);
    if (g->op[v] != VG_OP_sum) return 0;
    for (int32_t k = 0; k < n; k++) {
        const int kind = vg_term_kind(g, uses, o[k], k);
        products += kind == 1 || kind == 3;
    }
    return 2 * products >= n;
}

/* Additions one after the other, as Python's sum() leaves them, are a sum in the same order. */
enum { VG_LONG_CHAIN = 8 }; /* terms; shorter ones stay as they were written */

/* Where each addition's chain goes on (before[v]: an operand that is an addition nobody else needs, the longer one if
 * both are; -1: nowhere), and for the end of a long chain how many terms it has (else 0).  The most terms there are. */
static int32_t vg_find_chains(const VgGraph *g, const uint8_t *live, const int32_t *uses, int32_t *before,
                              int32_t *terms, uint8_t *absorbed) {
    int32_t most = 0;
    for (int32_t v = 0; v < g->count; v++) {
        before[v] = -1;
        terms[v] = 0;
        if (!live[v] || g->op[v] != VG_OP_add) continue;
        const int32_t *o = vg_operands_of(g, v);
        for (int k = 0; k < 2; k++) {
            const int goes_on = g->op[o[k]] == VG_OP_add && uses[o[k]] == 1;
            if (goes_on && (before[v] < 0 || terms[o[k]] > terms[before[v]])) before[v] = o[k];
        }
        terms[v] = before[v] < 0 ? 2 : terms[before[v]] + 1;
    }
    for (int32_t v = g->count - 1; v >= 0; v--) {
        if (terms[v] < VG_LONG_CHAIN) terms[v] = 0;
        if (terms[v] > most) most = terms[v];
        for (int32_t at = terms[v] ? before[v] : -1; at >= 0; at = before[at]) {
            absorbed[at] = 1;
            terms[at] = 0;
        }
    }
    return most;
}

/* The terms of the chain that ends at v, in their order. */
static void vg_chain_terms(const VgGraph *g, const int32_t *before, int32_t v, int32_t count, int32_t *to) {
    for (int32_t i = count - 1; i > 0; v = before[v]) {
        const int32_t *o = vg_operands_of(g, v);
        if (before[v] < 0) {
            to[1] = o[1];
            to[0] = o[0];
            return;
        }
        to[i--] = o[0] == before[v] ? o[1] : o[0];
    }
}

/* Copy g to `to`, fusing; at[v] is where node v is, and -1 where it went into a dot. */
static void vg_fuse(const VgGraph *g, int32_t inputs, const uint8_t *live, const int32_t *uses,
                    const int32_t *before, const int32_t *terms, VgGraph *to, int32_t *at, uint8_t *absorbed,
                    int32_t *buffer) {
    for (int32_t v = inputs; v < g->count; v++) {
        if (!live[v] || !vg_becomes_dot(g, uses, v)) continue;
        const int32_t n = vg_arity_of(g, v), *o = vg_operands_of(g, v);
        for (int32_t k = 0; k < n; k++) absorbed[o[k]] |= vg_term_kind(g, uses, o[k], k) != 0;
    }
    for (int32_t v = 0; v < g->count && !to->failed; v++) {
        const int32_t n = vg_arity_of(g, v), *o = vg_operands_of(g, v);
        vg_expect_copy(g, v + VG_AHEAD, v, live, at, to);
        if (!live[v] || absorbed[v]) continue;
        if (terms[v]) {
            vg_chain_terms(g, before, v, terms[v], buffer);
            for (int32_t k = 0; k < terms[v]; k++) buffer[k] = at[buffer[k]];
            at[v] = vg_shared(to, VG_OP_sum, 0.0, buffer, terms[v]);
            continue;
        }
        if (!vg_becomes_dot(g, uses, v)) {
            for (int32_t k = 0; k < n; k++) buffer[k] = at[o[k]];
            if (g->op[v] == VG_OP_sum && n == 2) at[v] = vg_emit(to, VG_OP_add, 0.0, buffer, 2);
            else if (v < inputs) at[v] = vg_append_node(to, VG_OP_input, g->number[v], NULL, 0);
            else at[v] = vg_shared(to, g->op[v], g->number[v], buffer, n);
            continue;
        }
        int32_t pairs = n; /* then as many again for the second factors */
        if (vg_term_kind(g, uses, o[0], 0) == 3) pairs += vg_arity_of(g, o[0]) / 2 - 1;
        int32_t i = 0;
        for (int32_t k = 0; k < n; k++) {
            const int32_t *parts = vg_operands_of(g, o[k]);
            const int kind = vg_term_kind(g, uses, o[k], k);
            if (kind == 3) {
                const int32_t half = vg_arity_of(g, o[0]) / 2;
                for (int32_t j = 0; j < half; j++) {
                    buffer[i] = at[parts[j]];
                    buffer[pairs + i++] = at[parts[half + j]];
                }
            } else if (kind == 1) {
                buffer[i] = at[parts[0]];
                buffer[pairs + i++] = at[parts[1]];
            } else {
                buffer[i] = at[kind == 2 ? parts[0] : o[k]];
                buffer[pairs + i++] = vg_const(to, kind == 2 ? -1.0 : 1.0);
            }
        }
        at[v] = vg_shared(to, VG_OP_dot, 0.0, buffer, 2 * pairs);
    }
}

static int32_t vg_widest(const VgGraph *g) {
    int32_t widest = 0;
    for (int32_t v = 0; v < g->count; v++)
        if (vg_arity_of(g, v) > widest) widest = vg_arity_of(g, v);
    return widest;
}

/* Give every live node its place among the live ones; constants and inputs that nobody uses any more go, but not inputs. */
static int vg_compact(const VgGraph *g, int32_t *roots, int32_t root_count, int32_t inputs, VgGraph *to) {
    uint8_t *live = malloc(g->count + 1);
    int32_t *at = malloc(((size_t)g->count + 1) * sizeof(*at));
    int32_t *buffer = malloc(((size_t)vg_widest(g) + 1) * sizeof(*buffer));
    int ok = live && at && buffer && vg_graph_init(to, g->count, g->start[g->count], 0) == 0;
    if (ok) {
        vg_mark_live(g, roots, root_count, inputs, live);
        for (int32_t v = 0; v < g->count && !to->failed; v++) {
            if (!live[v]) continue;
            const int32_t n = vg_arity_of(g, v), *o = vg_operands_of(g, v);
            for (int32_t k = 0; k < n; k++) buffer[k] = at[o[k]];
            at[v] = vg_append_node(to, g->op[v], g->number[v], buffer, n);
        }
        for (int32_t i = 0; i < root_count; i++) roots[i] = at[roots[i]];
        ok = !to->failed;
    }
    free(live);
    free(at);
    free(buffer);
    return ok ? 0 : -1;
}

/* The machine graph of g; roots (outputs, then guards) become their places in it.  -1 without memory. */
static int vg_machine(const VgGraph *g, const VgTemplates *t, const int32_t *templates, int32_t template_room,
                      int32_t inputs, int32_t *roots, int32_t root_count, int32_t selected, VgGraph *result) {
    VgGraph expanded, fused;
    memset(&expanded, 0, sizeof(expanded));
    memset(&fused, 0, sizeof(fused));
    memset(result, 0, sizeof(*result));
    uint8_t *live = malloc(g->count + 1), *absorbed = NULL;
    int32_t *at = malloc(((size_t)g->count + 1) * sizeof(*at)), *uses = NULL, *before = NULL;
    int32_t *buffer = malloc(((size_t)vg_widest(g) + template_room + 1) * sizeof(*buffer));
    int ok = live && at && buffer && vg_graph_init(&expanded, g->count, g->start[g->count], 1) == 0;
    if (ok) {
        vg_mark_live(g, roots, root_count, inputs, live);
        vg_expand(g, t, templates, inputs, live, selected, &expanded, at, buffer);
        for (int32_t i = 0; i < root_count && !expanded.failed; i++) roots[i] = at[roots[i]];
        ok = !expanded.failed;
    }
    free(live);
    free(at);
    free(buffer);
    buffer = NULL;
    if (ok) {
        live = malloc(expanded.count + 1);
        absorbed = malloc(expanded.count + 1);
        at = malloc(((size_t)expanded.count + 1) * sizeof(*at));
        uses = calloc((size_t)expanded.count + 1, sizeof(*uses));
        before = malloc(2 * ((size_t)expanded.count + 1) * sizeof(*before));
        ok = live && absorbed && at && uses && before &&
             vg_graph_init(&fused, expanded.count, expanded.start[expanded.count], 1) == 0;
        if (ok) {
            int32_t *const terms = before + expanded.count + 1;
            vg_mark_live(&expanded, roots, root_count, inputs, live);
            for (int32_t v = 0; v < expanded.count; v++)
                if (live[v])
                    for (int32_t k = expanded.start[v]; k < expanded.start[v + 1]; k++) uses[expanded.operand[k]]++;
            for (int32_t i = 0; i < root_count; i++) uses[roots[i]] += 2; /* never absorbed */
            memset(absorbed, 0, expanded.count);
            const size_t longest = (size_t)vg_find_chains(&expanded, live, uses, before, terms, absorbed);
            buffer = malloc((4 * (size_t)vg_widest(&expanded) + longest + 8) * sizeof(*buffer));
            ok = buffer != NULL;
            if (ok) vg_fuse(&expanded, inputs, live, uses, before, terms, &fused, at, absorbed, buffer);
            for (int32_t i = 0; i < root_count && ok && !fused.failed; i++) roots[i] = at[roots[i]];
            ok = ok && !fused.failed;
        }
        free(live);
        free(absorbed);
        free(at);
        free(uses);
        free(before);
        free(buffer);
    }
    vg_graph_free(&expanded);
    if (ok) ok = vg_compact(&fused, roots, root_count, inputs, result) == 0;
    vg_graph_free(&fused);
    return ok ? 0 : -1;
}

#endif
