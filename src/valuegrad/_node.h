/* The native engine's Value: memory layout, birth, death, and the backward sweep.
 *
 * Why C: a Value must cost 80 bytes and about 30 ns; Cython (_native.pyx) makes it a Python class.
 *
 * Data structures
 *   VgValue  80 bytes.  Up to two children and local gradients lie inside; more of them, a static
 *            argument beside two children, or a name beside children lie in a VgBlock.
 *            A plain number among the children (a constant) is kept as a double in its slot, and
 *            becomes a Value when somebody looks at `children`.
 *   VgSweep  the queue of a backward pass.  Values carry their creation number, and a child is always
 *            older than its parents, so "newest first" is a reverse topological order.  The queue is a
 *            window of slots indexed by age, with buckets for what is older than the window: no sorting,
 *            no recursion, and each Value is touched when its first parent is.
 *
 * Where to start reading: VgValue, then vg_sweep.
 * No function here runs Python code while a list is half built, and none is recursive. */
#ifndef VALUEGRAD_NODE_H
#define VALUEGRAD_NODE_H

#include <Python.h>
#include <math.h>
#include <stdint.h>
#include <string.h>
#include "_slab.h"

typedef struct VgValue VgValue;

typedef struct VgBlock {
    PyObject *name;     /* or NULL */
    double *constants;  /* the constant at i where children[i] is NULL; or NULL if there are none */
    double *local_grads;
    VgValue *children[]; /* followed by the local gradients, then by the constants */
} VgBlock;

typedef union VgSlot {
    VgValue *child;
    double constant;
    VgBlock *block;  /* slot 0 of a Value with VG_EXTERNAL */
    PyObject *name;  /* slot 0 of a leaf with VG_NAMED */
} VgSlot;

struct VgValue {
    PyObject_HEAD
    double data;
    double grad;
    VgSlot slot[2];
    double local_grad[2]; /* [1] is the static argument unless two children lie inside */
    uint8_t op;
    uint8_t flags;
    uint16_t line;  /* the source line that made it, by number (lines.py); 0 if none is remembered */
    uint32_t count; /* of children */
    uint64_t created;
};

enum {
    VG_LEAF = 0, /* opcodes 0 to 2; the table's rows follow */
    VG_CONSTANT = 1,
    VG_CUSTOM = 2,
    VG_EXTERNAL = 1, /* flags */
    VG_CONSTANT0 = 2,
    VG_CONSTANT1 = 4,
    VG_NAMED = 8,
    VG_QUEUED = 16,
    VG_SKIPS_ZERO = 32,
    VG_NUMBERS_ONLY = 64 /* edges with a local gradient are for numbers, not for the graph (a recorded derivative) */
};

typedef struct VgOperation {
    const char *name;
    void (*rule)(ptrdiff_t n, const double *x, double s, double *result, double *g);
    void (*family_value)(ptrdiff_t n, const double *x, double *outs);
    void (*family_grads)(ptrdiff_t n, const double *x, const double *outs, double i, double *g);
    int arity;   /* children of a scalar operation */
    int vectors; /* lists it takes */
    int has_static, skips_zero, allows_empty;
} VgOperation;

static PyTypeObject *vg_type;   /* set when the module is initialised */
static uint64_t vg_clock = 0;   /* the creation number last given */
static uint16_t vg_line = 0;    /* the line of the operation that is being made; 0 while no lines are remembered */

/* ------------------------------------------------------------------------------------- birth and death */
static VgValue *vg_dying = NULL; /* Values without references whose children still hold one */
static int vg_draining = 0;

/* A leaf of grad 0, or NULL with MemoryError. */
static inline VgValue *vg_new(double data) {
    VgValue *v = (VgValue *)vg_allocate(sizeof(VgValue));
    if (v == NULL) return (VgValue *)PyErr_NoMemory();
#if defined(Py_REF_DEBUG) || defined(Py_GIL_DISABLED) || defined(Py_TRACE_REFS)
    PyObject_Init((PyObject *)v, vg_type);
#else /* the same, inlined: the type is static, so it is not counted */
    /* First the head is cleared: what a free item keeps there can look like the reference count of an
     * immortal object, and from Python 3.12 on Py_SET_REFCNT leaves those as they are: a leak. */
    memset(v, 0, sizeof(PyObject));
    Py_SET_TYPE(v, vg_type);
    Py_SET_REFCNT(v, 1);
#endif
    v->data = data;
    v->grad = 0.0;
    v->op = VG_LEAF;
    v->flags = 0;
    v->line = vg_line;
    v->count = 0;
    v->created = ++vg_clock;
    return v;
}

/* tp_alloc, for Value(...) from Python. */
static PyObject *vg_alloc(PyTypeObject *type, Py_ssize_t items) {
    (void)type;
    (void)items;
    return (PyObject *)vg_new(0.0);
}

static inline void vg_drop_references(VgValue *v) {
    if (v->count == 0) {
        if (v->flags & VG_NAMED) Py_DECREF(v->slot[0].name);
    } else if (v->flags & VG_EXTERNAL) {
        VgBlock *block = v->slot[0].block;
        for (uint32_t i = 0; i < v->count; i++) Py_XDECREF((PyObject *)block->children[i]);
        Py_XDECREF(block->name);
        PyMem_Free(block);
    } else {
        if (!(v->flags & VG_CONSTANT0)) Py_DECREF((PyObject *)v->slot[0].child);
        if (v->count == 2 && !(v->flags & VG_CONSTANT1)) Py_DECREF((PyObject *)v->slot[1].child);
    }
}

/* tp_dealloc.  A child that loses its last reference here is queued, not freed inside its parent's
 * freeing: a chain of ten million Values must not need ten million stack frames.  The dead Values
 * themselves are the queue, linked through `created`. */
static void vg_dealloc(PyObject *self) {
    VgValue *v = (VgValue *)self;
    if (vg_draining) {
        v->created = (uint64_t)(uintptr_t)vg_dying;
        vg_dying = v;
        return;
    }
    vg_draining = 1;
    for (;;) {
        vg_drop_references(v);
        vg_free(v);
        v = vg_dying;
        if (v == NULL) break;
        vg_dying = (VgValue *)(uintptr_t)v->created;
    }
    vg_draining = 0;
}

/* Make Cython's class ours: how its objects are born and die.  0 if the two layouts differ. */
static int vg_take_over(PyTypeObject *type) {
    vg_type = type;
    type->tp_alloc = vg_alloc;
    type->tp_dealloc = vg_dealloc;
    type->tp_name = "valuegrad.Value"; /* under either engine: so pickles go from one to the other */
    return type->tp_basicsize == sizeof(VgValue);
}

/* A block with room for `count` children (all NULL), or NULL with MemoryError. */
static VgBlock *vg_block(size_t count, int with_constants) {
    const size_t size = sizeof(VgBlock) + count * (sizeof(VgValue *) + sizeof(double) * (with_constants ? 2 : 1));
    VgBlock *block = (VgBlock *)PyMem_Malloc(size);
    if (block == NULL) return (VgBlock *)PyErr_NoMemory();
    block->name = NULL;
    memset(block->children, 0, count * sizeof(VgValue *));
    block->local_grads = (double *)(block->children + count);
    block->constants = with_constants ? block->local_grads + count : NULL;
    return block;
}

/* A child for a plain number, as old as its parent. */
static inline VgValue *vg_constant(VgValue *parent, double data) {
    VgValue *v = vg_new(data);
    if (v == NULL) return NULL;
    v->op = VG_CONSTANT;
    v->line = parent->line;
    v->created = parent->created;
    return v;
}

#define VG_OBJECT(v) ((PyObject *)(v))

/* The double of an int that fits, the common case. */
static inline int VG_SMALL_INT(PyObject *a, double *x) {
    int overflow;
    const long long i = PyLong_AsLongLongAndOverflow(a, &overflow);
    *x = (double)i;
    return !overflow;
}

/* Child i, borrowed; a constant becomes a Value now.  NULL with MemoryError. */
static VgValue *vg_child(VgValue *v, uint32_t i) {
    if (v->flags & VG_EXTERNAL) {
        VgBlock *block = v->slot[0].block;
        if (block->children[i] == NULL) block->children[i] = vg_constant(v, block->constants[i]);
        return block->children[i];
    }
    VgSlot *slot = &v->slot[i];
    if (v->flags & (VG_CONSTANT0 << i)) {
        VgValue *child = vg_constant(v, slot->constant);
        if (child == NULL) return NULL;
        slot->child = child;
        v->flags &= ~(VG_CONSTANT0 << i);
    }
    return slot->child;
}

/* How many entries from the first on are Values; reads their data. */
static inline Py_ssize_t vg_gather(PyObject **entries, Py_ssize_t n, double *x, PyObject **items) {
    Py_ssize_t i = 0;
    for (; i < n && Py_TYPE(entries[i]) == vg_type; i++) {
        items[i] = entries[i];
        x[i] = ((VgValue *)entries[i])->data;
    }
    return i;
}

/* Whether a result and its local gradients are numbers that strict mode lets pass. */
static int vg_all_finite(double out, Py_ssize_t n, const double *g) {
    for (Py_ssize_t i = 0; i < n; i++)
        if (!isfinite(g[i])) return 0;
    return isfinite(out);
}

/* Children of a block: a Value, or NULL for a plain number. */
static inline void vg_adopt(VgBlock *block, Py_ssize_t n, PyObject **items, const double *x) {
    for (Py_ssize_t i = 0; i < n; i++) {
        block->children[i] = (VgValue *)items[i];
        if (items[i] != NULL) Py_INCREF(items[i]);
        else block->constants[i] = x[i];
    }
}

/* Move children that lie inside into a block, where a name fits beside them.  -1 with MemoryError. */
static int vg_make_external(VgValue *v) {
    VgBlock *block = vg_block(v->count, 0);
    if (block == NULL) return -1;
    for (uint32_t i = 0; i < v->count; i++) {
        if (vg_child(v, i) == NULL) {
            PyMem_Free(block);
            return -1;
        }
    }
    for (uint32_t i = 0; i < v->count; i++) {
        block->children[i] = v->slot[i].child;
        block->local_grads[i] = v->local_grad[i];
    }
    v->slot[0].block = block;
    v->flags |= VG_EXTERNAL;
    return 0;
}

/* --------------------------------------------------------------------------------------- the sweep */
enum { VG_WINDOW = 4096, VG_BUCKETS_MAX = 1 << 22 };

typedef struct VgFar {
    VgValue *value;
    ptrdiff_t next; /* in its bucket; -1 ends it */
} VgFar;

typedef struct VgSweep {
    uint64_t newest;  /* the creation number at offset 0 */
    uint64_t since;   /* older Values are left alone */
    int collect;      /* 0: a backward pass; 1: only list what is reached; 2: for an export (_export.h) */
    uint64_t current; /* which window of ages */
    size_t in_window;
    VgValue *window[VG_WINDOW];
    VgFar *far;
    size_t far_count, far_capacity;
    ptrdiff_t *buckets;
    size_t bucket_count;
    VgValue **beyond; /* older than all buckets */
    size_t beyond_count, beyond_capacity;
    VgValue **constants; /* while collecting: they may be newer than their parents, so they come last */
    size_t constant_count, constant_capacity;
    VgValue **order; /* what was reached, newest first */
    size_t order_count, order_capacity;
} VgSweep;

static int vg_append(VgValue ***list, size_t *count, size_t *capacity, VgValue *v) {
    if (*count == *capacity) {
        const size_t larger = *capacity ? 2 * *capacity : 256;
        VgValue **grown = (VgValue **)PyMem_RawRealloc(*list, larger * sizeof(VgValue *));
        if (grown == NULL) return -1;
        *list = grown;
        *capacity = larger;
    }
    (*list)[(*count)++] = v;
    return 0;
}

/* Put aside a Value that is older than the current window. */
static int vg_put_aside(VgSweep *q, VgValue *v, uint64_t bucket) {
    if (bucket >= VG_BUCKETS_MAX) {
        if (vg_append(&q->beyond, &q->beyond_count, &q->beyond_capacity, v) < 0) return -1;
        v->flags |= VG_QUEUED;
        return 0;
    }
    if (bucket >= q->bucket_count) {
        size_t larger = q->bucket_count ? q->bucket_count : 64;
        while (larger <= bucket) larger *= 2;
        ptrdiff_t *grown = (ptrdiff_t *)PyMem_RawRealloc(q->buckets, larger * sizeof(ptrdiff_t));
        if (grown == NULL) return -1;
        memset(grown + q->bucket_count, 0xff, (larger - q->bucket_count) * sizeof(ptrdiff_t));
        q->buckets = grown;
        q->bucket_count = larger;
    }
    if (q->far_count == q->far_capacity) {
        const size_t larger = q->far_capacity ? 2 * q->far_capacity : 1024;
        VgFar *grown = (VgFar *)PyMem_RawRealloc(q->far, larger * sizeof(VgFar));
        if (grown == NULL) return -1;
        q->far = grown;
        q->far_capacity = larger;
    }
    q->far[q->far_count].value = v;
    q->far[q->far_count].next = q->buckets[bucket];
    q->buckets[bucket] = (ptrdiff_t)q->far_count++;
    v->flags |= VG_QUEUED;
    return 0;
}

/* Put v where its age belongs; 1 if it was not there yet, 0 if it was, -1 without memory. */
static inline int vg_place(VgSweep *q, VgValue *v) {
    const uint64_t offset = q->newest - v->created;
    const uint64_t bucket = offset / VG_WINDOW;
    if (bucket == q->current) {
        VgValue **slot = &q->window[offset % VG_WINDOW];
        if (*slot != NULL) return 0;
        *slot = v;
        q->in_window++;
        return 1;
    }
    if (v->flags & VG_QUEUED) return 0;
    return vg_put_aside(q, v, bucket) < 0 ? -1 : 1;
}

static int vg_collect_constant(VgSweep *q, VgValue *v) {
    if (v->flags & VG_QUEUED) return 0;
    if (vg_append(&q->constants, &q->constant_count, &q->constant_capacity, v) < 0) return -1;
    v->flags |= VG_QUEUED;
    return 1;
}

/* Follow one edge.  Constants collect no gradient; a leaf's grad adds up over passes. */
static inline int vg_follow(VgSweep *q, VgValue *child, double local_grad, double grad) {
    int placed;
    if (child->created < q->since) return 0;
    if (q->collect) return child->op == VG_CONSTANT ? vg_collect_constant(q, child) : vg_place(q, child);
    if (child->count == 0) {
        if (child->op != VG_CONSTANT) child->grad += local_grad * grad;
        return 0;
    }
    placed = vg_place(q, child);
    if (placed < 0) return -1;
    if (placed) child->grad = 0.0; /* met for the first time in this pass */
    child->grad += local_grad * grad;
    return 0;
}

/* An edge that is no part of an exported graph. */
static inline int vg_is_hidden(const VgValue *v, uint32_t i) {
    return v->flags & VG_NUMBERS_ONLY && v->slot[0].block->local_grads[i] != 0.0;
}

/* Go to all children that are Values already, through the branches that `where` did not take too. */
static int vg_visit_all(VgSweep *q, VgValue *v) {
    for (uint32_t i = 0; i < v->count; i++) {
        VgValue *child;
        if (v->flags & VG_EXTERNAL) child = vg_is_hidden(v, i) ? NULL : v->slot[0].block->children[i];
        else child = v->flags & (VG_CONSTANT0 << i) ? NULL : v->slot[i].child;
        if (child == NULL || child->op == VG_CONSTANT || child->created < q->since) continue;
        if (vg_place(q, child) < 0) return -1;
    }
    return 0;
}

static inline int vg_visit(VgSweep *q, VgValue *v) {
    const double grad = v->grad;
    if (q->collect && vg_append(&q->order, &q->order_count, &q->order_capacity, v) < 0) return -1;
    if (q->collect == 2) return vg_visit_all(q, v);
    if (v->flags & VG_EXTERNAL) {
        VgBlock *block = v->slot[0].block;
        const double *local_grads = block->local_grads;
        for (uint32_t i = 0; i < v->count; i++) {
            if ((v->flags & VG_SKIPS_ZERO) && local_grads[i] == 0.0) continue;
            if (q->collect && vg_child(v, i) == NULL) return -1;
            if (block->children[i] == NULL) continue; /* a constant */
            if (vg_follow(q, block->children[i], local_grads[i], grad) < 0) return -1;
        }
        return 0;
    }
    for (uint32_t i = 0; i < v->count; i++) {
        if (v->flags & (VG_CONSTANT0 << i)) {
            if (!q->collect) continue;
            if (vg_child(v, i) == NULL) return -1;
        }
        if (vg_follow(q, v->slot[i].child, v->local_grad[i], grad) < 0) return -1;
    }
    return 0;
}

/* Visit everything that is placed, window by window. */
static int vg_drain(VgSweep *q) {
    for (q->current = 0;; q->current++) {
        if (q->in_window == 0) { /* to the next bucket that holds something */
            while (q->current < q->bucket_count && q->buckets[q->current] < 0) q->current++;
            if (q->current >= q->bucket_count) return 0;
        }
        if (q->current < q->bucket_count) {
            for (ptrdiff_t i = q->buckets[q->current]; i >= 0; i = q->far[i].next) {
                VgValue *v = q->far[i].value;
                v->flags &= ~VG_QUEUED;
                q->window[(q->newest - v->created) % VG_WINDOW] = v;
                q->in_window++;
            }
            q->buckets[q->current] = -1;
        }
        for (size_t at = 0; at < VG_WINDOW && q->in_window; at++) {
            VgValue *v = q->window[at];
            if (v == NULL) continue;
            q->window[at] = NULL;
            q->in_window--;
            if (vg_visit(q, v) < 0) return -1;
        }
    }
}

static VgSweep vg_sweep_state; /* one is enough: no Python code runs during a sweep */

/* Sweep from the roots to what is older, but not older than `since`.
 * collect = 0: backward pass (the roots' grads are set by the caller); collect = 1: fill q->order.
 * -1 with MemoryError; nothing stays marked. */
static int vg_sweep(VgValue **roots, size_t root_count, uint64_t since, int collect) {
    VgSweep *q = &vg_sweep_state;
    int result = 0;
    q->since = since;
    q->collect = collect;
    q->order_count = q->constant_count = q->beyond_count = q->far_count = 0;
    for (size_t i = 0; i < root_count && result == 0; i++) {
        if (roots[i]->created < since || (roots[i]->flags & VG_QUEUED)) continue;
        if (collect && roots[i]->op == VG_CONSTANT) {
            if (vg_collect_constant(q, roots[i]) < 0) result = -1;
            continue;
        }
        result = vg_append(&q->beyond, &q->beyond_count, &q->beyond_capacity, roots[i]);
        if (result == 0) roots[i]->flags |= VG_QUEUED;
    }
    while (q->beyond_count && result == 0) { /* once, unless Values are 16 billion creations apart */
        const size_t count = q->beyond_count;
        q->newest = 0;
        for (size_t i = 0; i < count; i++)
            if (q->beyond[i]->created > q->newest) q->newest = q->beyond[i]->created;
        q->current = 0;
        q->far_count = 0;
        q->beyond_count = 0;
        for (size_t i = 0; i < count && result == 0; i++) { /* those still too old move to the front */
            VgValue *v = q->beyond[i];
            v->flags &= ~VG_QUEUED;
            if (vg_place(q, v) < 0) {
                result = -1;
                while (++i < count) q->beyond[i]->flags &= ~VG_QUEUED;
            }
        }
        if (result == 0) result = vg_drain(q);
    }
    for (size_t i = 0; i < q->constant_count; i++) {
        q->constants[i]->flags &= ~VG_QUEUED;
        if (result == 0) result = vg_append(&q->order, &q->order_count, &q->order_capacity, q->constants[i]);
    }
    if (result < 0) { /* leave no marks behind */
        for (size_t i = 0; i < q->far_count; i++) q->far[i].value->flags &= ~VG_QUEUED;
        for (size_t i = 0; i < q->beyond_count; i++) q->beyond[i]->flags &= ~VG_QUEUED;
        for (size_t i = 0; i < q->bucket_count; i++) q->buckets[i] = -1;
        memset(q->window, 0, sizeof(q->window));
        q->in_window = 0;
        PyErr_NoMemory();
    }
    if (q->far_capacity > 1 << 16) { /* a large sweep gives its memory back */
        PyMem_RawFree(q->far);
        q->far = NULL;
        q->far_capacity = 0;
    }
    if (q->bucket_count > 1 << 14) {
        PyMem_RawFree(q->buckets);
        q->buckets = NULL;
        q->bucket_count = 0;
    }
    return result;
}

/* The backward pass. */
static int vg_backward(VgValue *root, uint64_t since) {
    if (root->count) root->grad = 0.0;
    root->grad += 1.0;
    return root->count ? vg_sweep(&root, 1, since, 0) : 0;
}

#endif
