/* Rolling what follows the sums: a calculation that is done alike for each of thousands of parameters becomes a loop.
 *
 * Why: an optimiser's step is the same few operations for every parameter.  Recorded, it is as many copies as there
 * are parameters, each on single numbers.  Copies that are isomorphic and independent are the members of a bundle:
 * one segment whose lanes are the members, V of them at a time.
 *
 * How: nodes of the segment `post`, less those that many others share, fall into connected components.  Components
 * with the same operations in the same order on the same places are isomorphic.  What comes from outside is either the
 * same node for all members, or another one for each: a column.
 *
 * Data structures: VgBundle.  Its nodes are listed member after member, each in the order of the graph.
 *
 * Where to start reading: vg_roll. */
#ifndef VALUEGRAD_ROLL_H
#define VALUEGRAD_ROLL_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum {
    VG_FEWEST_MEMBERS = 16, /* a loop pays from so many on */
    VG_LARGEST_MEMBER = 256, /* nodes of a member */
    VG_MANY_USERS = 12       /* a node with more users or operands is shared: it joins no component */
};

typedef struct VgBundle {
    int32_t members, size; /* how many there are; how many nodes each has */
    int32_t *nodes;        /* members * size */
} VgBundle;

typedef struct VgRolled {
    VgBundle *bundle;
    int32_t count;
    int32_t *of, *at; /* for each node its bundle, or -1, and its position in the bundle's list */
} VgRolled;

typedef struct {
    uint64_t hash;
    int32_t first, size; /* in the list of nodes by component */
} VgComponent;

static void vg_free_rolled(VgRolled *r) {
    for (int32_t b = 0; b < r->count; b++) free(r->bundle[b].nodes);
    free(r->bundle);
    free(r->of);
    free(r->at);
    memset(r, 0, sizeof *r);
}

/* The root of a union-find tree, halving the paths on the way. */
static int32_t vg_find_root(int32_t *parent, int32_t i) {
    while (parent[i] != i) {
        parent[i] = parent[parent[i]];
        i = parent[i];
    }
    return i;
}

static inline uint64_t vg_mix(uint64_t h, uint64_t x) {
    h = (h ^ x) * 0x9E3779B97F4A7C15u;
    return h ^ (h >> 29);
}

/* How a component's node refers to an operand: a place among its own nodes, a constant, or the k-th node from outside. */
static int64_t vg_operand_code(const VgGraph *g, const int32_t *own, const int32_t *component, int32_t which,
                               int32_t operand, int32_t *outside, int32_t *count) {
    if (component[operand] == which) return own[operand];
    if (g->op[operand] == VG_OP_const) return ((int64_t)1 << 40) + operand;
    for (int32_t k = 0; k < *count; k++)
        if (outside[k] == operand) return ((int64_t)1 << 41) + k;
    if (*count == VG_LARGEST_MEMBER) return -1;
    outside[*count] = operand;
    return ((int64_t)1 << 41) + (*count)++;
}

/* A component's shape as a number; 0 if it has too many operands from outside. */
static uint64_t vg_shape_of(const VgGraph *g, const int32_t *own, const int32_t *component, int32_t which,
                            const int32_t *nodes, int32_t size, int32_t *outside) {
    uint64_t h = 1469598103934665603u + (uint64_t)size;
    int32_t count = 0;
    for (int32_t i = 0; i < size; i++) {
        const int32_t node = nodes[i];
        uint64_t number;
        memcpy(&number, &g->number[node], sizeof number);
        h = vg_mix(vg_mix(h, g->op[node]), number);
        for (int32_t j = g->start[node]; j < g->start[node + 1]; j++) {
            const int64_t code = vg_operand_code(g, own, component, which, g->operand[j], outside, &count);
            if (code < 0) return 0;
            h = vg_mix(h, (uint64_t)code + 1);
        }
        h = vg_mix(h, 77);
    }
    return h ? h : 1;
}

/* Whether two components are isomorphic, node by node: equal hashes are not trusted. */
static int vg_isomorphic(const VgGraph *g, const int32_t *own, const int32_t *component, const int32_t *a,
                         const int32_t *b, int32_t size, int32_t *outside) {
    int32_t *const outside_b = outside + VG_LARGEST_MEMBER;
    int32_t count_a = 0, count_b = 0;
    for (int32_t i = 0; i < size; i++) {
        const int32_t n = g->start[a[i] + 1] - g->start[a[i]];
        if (g->op[a[i]] != g->op[b[i]] || memcmp(&g->number[a[i]], &g->number[b[i]], sizeof(double)) != 0 ||
            g->start[b[i] + 1] - g->start[b[i]] != n)
            return 0;
        for (int32_t j = 0; j < n; j++) {
            const int64_t x = vg_operand_code(g, own, component, component[a[0]], g->operand[g->start[a[i]] + j],
                                              outside, &count_a);
            const int64_t y = vg_operand_code(g, own, component, component[b[0]], g->operand[g->start[b[i]] + j],
                                              outside_b, &count_b);
            if (x != y) return 0;
        }
    }
    return 1;
}

static int vg_compare_components(const void *x, const void *y) {
    const VgComponent *const a = (const VgComponent *)x, *const b = (const VgComponent *)y;
    if (a->hash != b->hash) return a->hash < b->hash ? -1 : 1;
    return a->first < b->first ? -1 : a->first > b->first;
}

/* Which nodes may be members: alive, of the segment `post`, computed, neither a guard nor shared by many. */
static void vg_eligible(const VgGraph *g, const VgPlace *places, uint8_t *may) {
    int32_t *const users = (int32_t *)calloc((size_t)g->count + 1, sizeof *users);
    memset(may, 0, (size_t)g->count);
    if (users == NULL) return;
    for (int32_t i = 0; i < g->count; i++)
        if (places[i].live)
            for (int32_t j = g->start[i]; j < g->start[i + 1]; j++) users[g->operand[j]]++;
    for (int32_t i = g->inputs; i < g->count; i++) {
        const int32_t operands = g->start[i + 1] - g->start[i];
        may[i] = places[i].live && places[i].segment == VG_POST && operands > 0 && operands <= VG_MANY_USERS &&
                 users[i] <= VG_MANY_USERS && g->op[i] != VG_OP_batch_sum && g->op[i] != VG_OP_call &&
                 g->op[i] != VG_OP_gather;
    }
    for (int32_t k = 0; k < g->guards; k++) may[g->guard_node[k]] = 0;
    free(users);
}

/* The components' lists: which one each node is in, its place there, and the nodes one component after the other. */
static int32_t vg_components(const VgGraph *g, const uint8_t *may, int32_t *component, int32_t *own, int32_t *nodes,
                             VgComponent *found) {
    int32_t count = 0, total = 0;
    int32_t *const parent = own; /* until the components are known */
    for (int32_t i = 0; i < g->count; i++) parent[i] = i;
    for (int32_t i = 0; i < g->count; i++)
        for (int32_t j = g->start[i]; may[i] && j < g->start[i + 1]; j++)
            if (may[g->operand[j]]) parent[vg_find_root(parent, g->operand[j])] = vg_find_root(parent, i);
    for (int32_t i = 0; i < g->count; i++) component[i] = -1;
    for (int32_t i = 0; i < g->count; i++) { /* numbered by their first nodes, sizes first */
        if (!may[i]) continue;
        const int32_t root = vg_find_root(parent, i);
        if (component[root] < 0) {
            found[count].size = 0;
            component[root] = count++;
        }
        component[i] = component[root];
        found[component[i]].size++;
    }
    for (int32_t c = 0; c < count; c++) {
        found[c].first = total;
        total += found[c].size;
        found[c].size = 0;
    }
    for (int32_t i = 0; i < g->count; i++) {
        if (!may[i]) continue;
        VgComponent *const c = &found[component[i]];
        nodes[c->first + c->size] = i;
        own[i] = c->size++;
    }
    return count;
}

static int vg_add_bundle(VgRolled *r, const VgComponent *found, int32_t members, const int32_t *nodes) {
    VgBundle *const grown = (VgBundle *)realloc(r->bundle, ((size_t)r->count + 1) * sizeof *grown);
    if (grown == NULL) return -1;
    r->bundle = grown;
    VgBundle *const b = &r->bundle[r->count];
    b->members = members;
    b->size = found[0].size;
    b->nodes = (int32_t *)malloc((size_t)members * (size_t)b->size * sizeof *b->nodes);
    if (b->nodes == NULL) return -1;
    for (int32_t m = 0; m < members; m++)
        for (int32_t i = 0; i < b->size; i++) {
            const int32_t node = nodes[found[m].first + i], at = m * b->size + i;
            b->nodes[at] = node;
            r->of[node] = r->count;
            r->at[node] = at;
        }
    r->count++;
    return 0;
}

/* Take apart bundles that depend on other bundles: all loops run at once, after `post`. */
static void vg_only_independent(const VgGraph *g, VgRolled *r) {
    uint8_t *const after = (uint8_t *)calloc((size_t)g->count + 1, 1);
    int again = after != NULL;
    for (int32_t b = 0; after == NULL && b < r->count; b++) r->bundle[b].members = 0;
    while (again) {
        again = 0;
        for (int32_t i = 0; i < g->count; i++) { /* 1: depends on a member that is not of its own component */
            const int32_t b = r->of[i];
            after[i] = 0;
            for (int32_t j = g->start[i]; j < g->start[i + 1]; j++) {
                const int32_t o = g->operand[j];
                const int own = b >= 0 && r->of[o] == b && r->at[o] / r->bundle[b].size == r->at[i] / r->bundle[b].size;
                if (after[o] || (r->of[o] >= 0 && !own)) after[i] = 1;
            }
            if (!after[i] || b < 0) continue;
            for (int32_t k = 0; k < r->bundle[b].members * r->bundle[b].size; k++) r->of[r->bundle[b].nodes[k]] = -1;
            r->bundle[b].members = 0;
            again = 1;
        }
    }
    free(after);
}

/* Find the bundles of a graph whose nodes have their segments; without memory, or unless `wanted`, there are none. */
static void vg_roll(const VgGraph *g, const VgPlace *places, VgRolled *r, int wanted) {
    const size_t n = (size_t)g->count + 1;
    int32_t eligible = 0;
    memset(r, 0, sizeof *r);
    r->of = (int32_t *)malloc(n * sizeof *r->of);
    r->at = (int32_t *)malloc(n * sizeof *r->at);
    uint8_t *const may = (uint8_t *)malloc(n);
    int32_t *const component = (int32_t *)malloc(n * sizeof *component), *const own = (int32_t *)malloc(n * sizeof *own);
    int32_t *const nodes = (int32_t *)malloc(n * sizeof *nodes);
    int32_t *const outside = (int32_t *)malloc(2 * VG_LARGEST_MEMBER * sizeof *outside);
    VgComponent *const found = (VgComponent *)malloc(n * sizeof *found);
    if (r->of != NULL) memset(r->of, 0xff, n * sizeof *r->of);
    if (!r->of || !r->at || !may || !component || !own || !nodes || !outside || !found) goto done;
    vg_eligible(g, places, may);
    for (int32_t i = 0; i < g->count; i++) eligible += may[i];
    if (eligible < VG_FEWEST_MEMBERS || !wanted) goto done;
    const int32_t count = vg_components(g, may, component, own, nodes, found);
    for (int32_t c = 0; c < count; c++)
        found[c].hash = found[c].size > VG_LARGEST_MEMBER
                            ? 0 : vg_shape_of(g, own, component, c, nodes + found[c].first, found[c].size, outside);
    qsort(found, (size_t)count, sizeof *found, vg_compare_components);
    for (int32_t first = 0, last; first < count; first = last) {
        last = first + 1;
        while (last < count && found[last].hash == found[first].hash && found[last].size == found[first].size &&
               vg_isomorphic(g, own, component, nodes + found[first].first, nodes + found[last].first,
                             found[first].size, outside))
            last++;
        if (found[first].hash && last - first >= VG_FEWEST_MEMBERS &&
            vg_add_bundle(r, found + first, last - first, nodes) < 0)
            break;
    }
    vg_only_independent(g, r);
done:
    free(may);
    free(component);
    free(own);
    free(nodes);
    free(outside);
    free(found);
}

#endif
