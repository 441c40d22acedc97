/* What begins a sum and is the same for all lanes is added once, not in every block: a part of _lower.h.
 *
 * Why: the gradient of a regulariser that each lane has its share of begins with the regulariser's terms, q + q + a * b.
 * In every block of lanes each such term is read, spread over a vector and added.
 *
 * How: (q + q) is a sum of its own, which the other begins with.  No bit changes, as a sum is made from left to right.
 *
 * Data structures: VgHoisted, a graph with these sums; it owns its arrays but for `uniform` and `guard_expected`.
 *
 * Where to start reading: vg_hoist. */
#ifndef VALUEGRAD_HOIST_H
#define VALUEGRAD_HOIST_H

typedef struct {
    VgGraph graph;
    uint16_t *op;
    int32_t *start, *operand, *output, *guard_node;
    double *number;
} VgHoisted;

static void vg_free_hoisted(VgHoisted *h) {
    free(h->op);
    free(h->start);
    free(h->operand);
    free(h->output);
    free(h->guard_node);
    free(h->number);
    memset(h, 0, sizeof *h);
}

/* How many of a node's operands are to be a sum of their own. */
static int32_t vg_hoistable(const VgGraph *g, const VgPlace *places, int32_t node) {
    if (g->op[node] != VG_OP_sum || places[node].segment != VG_MAIN || !places[node].live) return 0;
    int32_t j = g->start[node];
    while (j < g->start[node + 1] && places[g->operand[j]].segment == VG_PRE) j++;
    return j - g->start[node] < 2 ? 0 : j - g->start[node];
}

/* Make the graph; `places` says what is the same for all lanes.  Its graph has no arrays if there is no such sum. */
static int vg_hoist(const VgGraph *g, const VgPlace *places, VgHoisted *h) {
    int32_t more = 0, count = 0;
    memset(h, 0, sizeof *h);
    for (int32_t i = 0; i < g->count; i++) more += vg_hoistable(g, places, i) > 0;
    if (more == 0) return VG_LOWERED;
    const size_t nodes = (size_t)g->count + (size_t)more;
    int32_t *const now = (int32_t *)malloc((size_t)g->count * sizeof *now); /* each node's number in the new graph */
    h->op = (uint16_t *)malloc(nodes * sizeof *h->op);
    h->start = (int32_t *)malloc((nodes + 1) * sizeof *h->start);
    h->operand = (int32_t *)malloc(((size_t)g->start[g->count] + (size_t)more) * sizeof *h->operand);
    h->output = (int32_t *)malloc(((size_t)g->outputs + 1) * sizeof *h->output);
    h->guard_node = (int32_t *)malloc(((size_t)g->guards + 1) * sizeof *h->guard_node);
    h->number = (double *)malloc(nodes * sizeof *h->number);
    if (!now || !h->op || !h->start || !h->operand || !h->output || !h->guard_node || !h->number) {
        free(now);
        vg_free_hoisted(h);
        return VG_NO_MEMORY;
    }
    int32_t at = 0;
    for (int32_t i = 0; i < g->count; i++) {
        const int32_t operands = g->start[i + 1] - g->start[i], first = vg_hoistable(g, places, i);
        for (int32_t j = 0; j < (operands > 0 ? operands : 1); j++) {
            if (j == 0 || j == first) { /* a node begins */
                h->op[count] = g->op[i];
                h->number[count] = g->number[i];
                h->start[count++] = at;
            }
            if (j > 0 && j == first) h->operand[at++] = count - 2;
            if (j < operands) h->operand[at++] = now[g->operand[g->start[i] + j]];
        }
        now[i] = count - 1;
    }
    h->start[count] = at;
    for (int32_t i = 0; i < g->outputs; i++) h->output[i] = now[g->output[i]];
    for (int32_t k = 0; k < g->guards; k++) h->guard_node[k] = now[g->guard_node[k]];
    free(now);
    h->graph = *g;
    h->graph.count = count;
    h->graph.op = h->op;
    h->graph.start = h->start;
    h->graph.operand = h->operand;
    h->graph.output = h->output;
    h->graph.guard_node = h->guard_node;
    h->graph.number = h->number;
    return VG_LOWERED;
}

#endif
