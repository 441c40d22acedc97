/* From Values to the arrays of a graph: what a recording takes from the native engine.
 *
 * Why C: a recorded function has up to millions of nodes; making a Python object for each would take longer than
 * the calculation itself.
 *
 * Data structures: the sweep's list of what the roots were computed from (collect = 2: every edge, no constants made
 * into Values), and VgExport.  While an export runs, the node of a Value stands in the bits of its grad, and those
 * that become inputs are marked; vg_export_end puts everything back.  No Python code runs in between.
 *
 * Where to start reading: vg_export_fill. */
#ifndef VALUEGRAD_EXPORT_H
#define VALUEGRAD_EXPORT_H

#include "_opcodes.h"

typedef struct VgExport {
    VgValue **inputs; /* those given, then older leaves in the order they are met */
    double *input_grads;
    size_t input_count, input_capacity;
    double *grads; /* of the sweep's list */
    size_t nodes, edges;
    uint64_t since;
    uint64_t frozen; /* the newest creation number of a computed Value that became a constant */
    size_t opaque;   /* custom Values: their number would be frozen */
    uint16_t *op;
    int32_t *start, *operand;
    double *number;
} VgExport;

/* Child i as it is, or NULL for a number inside. */
static inline VgValue *vg_operand(const VgValue *v, uint32_t i, double *constant) {
    VgValue *child;
    if (v->flags & VG_EXTERNAL) {
        const VgBlock *block = v->slot[0].block;
        child = block->children[i];
        if (child == NULL) *constant = block->constants[i];
    } else if (v->flags & (VG_CONSTANT0 << i)) {
        child = NULL;
        *constant = v->slot[i].constant;
    } else {
        child = v->slot[i].child;
    }
    if (child != NULL && child->op == VG_CONSTANT) {
        *constant = child->data;
        return NULL;
    }
    return child;
}

static inline void vg_set_node(VgValue *v, int64_t node) { memcpy(&v->grad, &node, sizeof(node)); }

static inline int64_t vg_get_node(const VgValue *v) {
    int64_t node;
    memcpy(&node, &v->grad, sizeof(node));
    return node;
}

static int vg_export_input(VgExport *e, VgValue *v) {
    if (v->flags & VG_QUEUED) return 0;
    if (e->input_count == e->input_capacity) {
        const size_t larger = e->input_capacity ? 2 * e->input_capacity : 64;
        VgValue **inputs = (VgValue **)PyMem_RawRealloc(e->inputs, larger * sizeof(VgValue *));
        if (inputs == NULL) return -1;
        e->inputs = inputs;
        double *grads = (double *)PyMem_RawRealloc(e->input_grads, larger * sizeof(double));
        if (grads == NULL) return -1;
        e->input_grads = grads;
        e->input_capacity = larger;
    }
    e->inputs[e->input_count] = v;
    e->input_grads[e->input_count++] = v->grad;
    v->flags |= VG_QUEUED;
    return 0;
}

/* A Value older than the recording: a leaf is an input (read anew at each call), what was computed a constant. */
static inline int vg_is_input(const VgExport *e, const VgValue *v) {
    return v->created < e->since && v->count == 0 && v->op == VG_LEAF;
}

/* Count nodes and edges, and find the inputs.  -1 with MemoryError; vg_export_end must follow in any case. */
static int vg_export_begin(VgExport *e, VgValue **roots, size_t root_count, VgValue **inputs, size_t input_count) {
    const VgSweep *q = &vg_sweep_state;
    double constant = 0.0;
    if (vg_sweep(roots, root_count, e->since, 2) < 0) return -1;
    e->grads = (double *)PyMem_RawMalloc((q->order_count + 1) * sizeof(double));
    if (e->grads == NULL) goto no_memory;
    for (size_t i = 0; i < q->order_count; i++) e->grads[i] = q->order[i]->grad;
    for (size_t i = 0; i < input_count; i++)
        if (vg_export_input(e, inputs[i]) < 0) goto no_memory;
    for (size_t at = q->order_count; at-- > 0;) {
        VgValue *v = q->order[at];
        if (v->flags & VG_QUEUED) continue; /* an input */
        e->nodes++;
        if (v->op == VG_CUSTOM) e->opaque++;
        for (uint32_t i = 0; i < v->count; i++) {
            VgValue *child;
            if (vg_is_hidden(v, i)) continue;
            e->edges++;
            child = vg_operand(v, i, &constant);
            if (child == NULL) {
                e->nodes++;
            } else if (child->created < e->since) {
                if (vg_is_input(e, child)) {
                    if (vg_export_input(e, child) < 0) goto no_memory;
                } else {
                    e->nodes++;
                    if (child->created > e->frozen) e->frozen = child->created;
                }
            }
        }
    }
    for (size_t i = 0; i < root_count; i++) {
        if (roots[i]->created >= e->since) continue;
        if (vg_is_input(e, roots[i])) {
            if (vg_export_input(e, roots[i]) < 0) goto no_memory;
        } else if (roots[i]->created > e->frozen && roots[i]->op != VG_CONSTANT) {
            e->frozen = roots[i]->created;
        }
    }
    e->nodes += e->input_count + root_count; /* a root may need a constant of its own */
    if (e->nodes < INT32_MAX && e->edges < INT32_MAX) return 0;
no_memory:
    PyErr_NoMemory();
    return -1;
}

static inline int32_t vg_export_node(VgExport *e, size_t *node, int op, double number, size_t edge) {
    e->op[*node] = (uint16_t)op;
    e->start[*node] = (int32_t)edge;
    e->number[*node] = number;
    return (int32_t)(*node)++;
}

/* Write the arrays; root_nodes[i] is the node of root i.  How many nodes there are. */
static size_t vg_export_fill(VgExport *e, VgValue **roots, size_t root_count, int32_t *root_nodes) {
    const VgSweep *q = &vg_sweep_state;
    size_t node = 0, edge = 0;
    double constant = 0.0;
    for (size_t i = 0; i < e->input_count; i++) {
        vg_set_node(e->inputs[i], (int64_t)i);
        vg_export_node(e, &node, VG_OP_input, (double)i, 0);
    }
    for (size_t at = q->order_count; at-- > 0;) {
        VgValue *v = q->order[at];
        const size_t begin = edge;
        int op = VG_OP_const;
        double number = v->data;
        if (v->flags & VG_QUEUED) continue;
        for (uint32_t i = 0; i < v->count; i++) {
            VgValue *child;
            if (vg_is_hidden(v, i)) continue;
            child = vg_operand(v, i, &constant);
            if (child != NULL && child->created < e->since && !(child->flags & VG_QUEUED)) {
                constant = child->data;
                child = NULL;
            }
            e->operand[edge] = child != NULL ? (int32_t)vg_get_node(child)
                                             : vg_export_node(e, &node, VG_OP_const, constant, begin);
            edge++;
        }
        if (v->op == VG_recorded) {
            op = (int)v->local_grad[1];
            number = 0.0;
            if (op == VG_OP_call || op >= VG_OP_count) memcpy(&number, &v->created, sizeof(number)); /* its bits */
        } else if (v->op > VG_CUSTOM) {
            op = v->op - (VG_CUSTOM + 1) + VG_OP_count - VG_ROWS;
            number = VG_OPERATIONS[v->op].has_static ? v->local_grad[1] : 0.0;
        }
        vg_set_node(v, vg_export_node(e, &node, op, number, begin));
    }
    for (size_t i = 0; i < root_count; i++) {
        VgValue *v = roots[i];
        const int known = v->created >= e->since || v->flags & VG_QUEUED || v->op == VG_CONSTANT;
        root_nodes[i] = known ? (int32_t)vg_get_node(v) : vg_export_node(e, &node, VG_OP_const, v->data, edge);
    }
    e->start[node] = (int32_t)edge;
    return node;
}

/* Everything as it was. */
static void vg_export_end(VgExport *e) {
    const VgSweep *q = &vg_sweep_state;
    if (e->grads != NULL)
        for (size_t i = 0; i < q->order_count; i++) q->order[i]->grad = e->grads[i];
    for (size_t i = 0; i < e->input_count; i++) {
        e->inputs[i]->flags &= ~VG_QUEUED;
        e->inputs[i]->grad = e->input_grads[i];
    }
    PyMem_RawFree(e->grads);
    PyMem_RawFree(e->inputs);
    PyMem_RawFree(e->input_grads);
}

#endif
