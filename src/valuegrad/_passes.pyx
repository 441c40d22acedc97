# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, binding=False, embedsignature=True
"""Passes over whole graphs, in compiled code: adjoint, tangent, machine.

``transforms/__init__.py`` is the Python side; what happens is in ``_graph.h`` (nodes, exact rewrites),
``_transforms.h`` (derivatives) and ``_expand.h`` (machine operations).  Here arrays come in and go out.

Where to start reading: ``Builder``.
"""

from libc.stdint cimport int32_t, uint8_t, uint16_t
from libc.string cimport memcpy

import numpy as np

cdef extern from "_expand.h":
    ctypedef struct VgGraph:
        int32_t count
        uint16_t *op
        int32_t *start
        double *number
        int32_t *operand
        void *table
    ctypedef struct VgTemplates:
        const uint16_t *op
        const int32_t *start
        const int32_t *reference
        const double *number
        const int32_t *node_end
        const int32_t *result
        const int32_t *result_end
    int vg_graph_init(VgGraph *g, int32_t nodes, int32_t operands, int has_table)
    void vg_graph_free(VgGraph *g)
    int32_t vg_append_node(VgGraph *g, uint16_t op, double number, const int32_t *operands, int32_t n)
    void vg_table_insert(VgGraph *g, int32_t node)
    enum:
        VG_AHEAD
    void vg_expect(const VgGraph *g, uint16_t op, double number, const int32_t *operands, int32_t n)
    int vg_machine(const VgGraph *g, const VgTemplates *t, const int32_t *templates, int32_t template_room,
                   int32_t inputs, int32_t *roots, int32_t root_count, int32_t selected, VgGraph *result) nogil

cdef extern from "_transforms.h":
    int vg_adjoint(VgGraph *g, int32_t nodes, const VgTemplates *t, const int32_t *templates, const int32_t *outputs,
                   const int32_t *seeds, int32_t output_count, const int32_t *wrt, int32_t wrt_count, int quick,
                   int32_t *gradients) nogil
    int vg_tangent(VgGraph *g, int32_t nodes, const VgTemplates *t, const int32_t *templates, const int32_t *inputs,
                   const int32_t *directions, int32_t input_count, const int32_t *outputs, int32_t output_count,
                   int32_t *found) nogil


cdef class Builder:
    """A graph in C that grows.

    Args:
        ops, starts, operands, numbers: the arrays of a valid Graph.
        shared: nodes of these operations are found again when the same is computed once more; uint8 by operation.  None:
            the graph is only read.
    """

    cdef VgGraph graph

    def __cinit__(self, const uint16_t[::1] ops, const int32_t[::1] starts, const int32_t[::1] operands,
                  const double[::1] numbers, const uint8_t[::1] shared=None):
        cdef int32_t i, n = <int32_t>ops.shape[0]
        cdef int32_t empty = 0
        if shared is None:
            if vg_graph_init(&self.graph, n, <int32_t>operands.shape[0], 0) < 0:
                raise MemoryError()
            self.graph.count = n
            if n:
                memcpy(self.graph.op, &ops[0], n * sizeof(uint16_t))
                memcpy(self.graph.number, &numbers[0], n * sizeof(double))
            memcpy(self.graph.start, &starts[0], (n + 1) * sizeof(int32_t))
            if operands.shape[0]:
                memcpy(self.graph.operand, &operands[0], operands.shape[0] * sizeof(int32_t))
            return
        if vg_graph_init(&self.graph, n + n // 4, <int32_t>operands.shape[0] * 2, 1) < 0:
            raise MemoryError()
        for i in range(n):
            if i + VG_AHEAD < n:
                vg_expect(&self.graph, ops[i + VG_AHEAD], numbers[i + VG_AHEAD],
                          &operands[0] + starts[i + VG_AHEAD] if operands.shape[0] else &empty,
                          starts[i + VG_AHEAD + 1] - starts[i + VG_AHEAD])
            vg_append_node(&self.graph, ops[i], numbers[i],
                           &operands[starts[i]] if starts[i + 1] > starts[i] else &empty, starts[i + 1] - starts[i])
            if shared[ops[i]]:
                vg_table_insert(&self.graph, i)

    def __dealloc__(self):
        vg_graph_free(&self.graph)

    def arrays(self):
        """ops, starts, operands, numbers."""
        return arrays_of(&self.graph)

    def adjoint(self, Templates templates, const int32_t[::1] which, const int32_t[::1] outputs,
                const int32_t[::1] seeds, const int32_t[::1] wrt, bint quick):
        """Reverse mode; the nodes of the gradients.  quick: they may be rounded otherwise than the engines do it."""
        found = np.zeros(max(1, wrt.shape[0]), dtype=np.int32)
        cdef int32_t[::1] gradients = found
        cdef int failed
        if wrt.shape[0] == 0 or outputs.shape[0] == 0 or which.shape[0] == 0 or self.graph.table == NULL:
            raise ValueError("adjoint needs nodes, outputs and inputs")
        with nogil:
            failed = vg_adjoint(&self.graph, <int32_t>which.shape[0], &templates.c, &which[0], &outputs[0], &seeds[0],
                                <int32_t>outputs.shape[0], &wrt[0], <int32_t>wrt.shape[0], quick, &gradients[0])
        if failed:
            raise MemoryError()
        return found

    def tangent(self, Templates templates, const int32_t[::1] which, const int32_t[::1] inputs,
                const int32_t[::1] directions, const int32_t[::1] outputs):
        """Forward mode; the nodes of the outputs' tangents."""
        found = np.zeros(max(1, outputs.shape[0]), dtype=np.int32)
        cdef int32_t[::1] tangents = found
        cdef int failed
        if inputs.shape[0] == 0 or outputs.shape[0] == 0 or which.shape[0] == 0 or self.graph.table == NULL:
            raise ValueError("tangent needs nodes, outputs and inputs")
        with nogil:
            failed = vg_tangent(&self.graph, <int32_t>which.shape[0], &templates.c, &which[0], &inputs[0], &directions[0],
                                <int32_t>inputs.shape[0], &outputs[0], <int32_t>outputs.shape[0], &tangents[0])
        if failed:
            raise MemoryError()
        return found

    def machine(self, Templates templates, const int32_t[::1] which, int32_t room, int32_t inputs,
                int32_t[::1] roots, int32_t selected):
        """The arrays of the machine graph; ``roots`` become their places in it; a gather of so many entries as `selected`
        or fewer becomes a chain of selects."""
        cdef VgGraph result
        cdef int failed
        if roots.shape[0] == 0 or which.shape[0] == 0:
            raise ValueError("machine needs nodes and outputs")
        with nogil:
            failed = vg_machine(&self.graph, &templates.c, &which[0], room, inputs, &roots[0],
                                <int32_t>roots.shape[0], selected, &result)
        if failed:
            vg_graph_free(&result)
            raise MemoryError()
        arrays = arrays_of(&result)
        vg_graph_free(&result)
        return arrays


cdef class Templates:
    """The arrays of a templates.Pool, as C sees them."""

    cdef VgTemplates c
    cdef object arrays

    def __cinit__(self, arrays):
        cdef const uint16_t[::1] ops
        cdef const int32_t[::1] starts, references, node_end, results, result_end
        cdef const double[::1] numbers
        ops, starts, references, numbers, node_end, results, result_end = arrays
        self.arrays = arrays
        self.c.op = &ops[0] if ops.shape[0] else NULL
        self.c.start = &starts[0]
        self.c.reference = &references[0] if references.shape[0] else NULL
        self.c.number = &numbers[0] if numbers.shape[0] else NULL
        self.c.node_end = &node_end[0]
        self.c.result = &results[0] if results.shape[0] else NULL
        self.c.result_end = &result_end[0]


def which_templates(const uint16_t[::1] ops, const int32_t[::1] starts, const double[::1] numbers,
                    const uint8_t[::1] wanted, find):
    """int32[n]: each node's template, ``find(operation, operands, number)`` where ``wanted`` by its operation, else -1."""
    cdef int32_t i, n = <int32_t>ops.shape[0], count
    found = np.full(max(1, n), -1, dtype=np.int32)
    cdef int32_t[::1] which = found
    cdef int32_t last[512]
    cdef int32_t last_count[512]
    cdef double last_number[512]
    for i in range(512):
        last[i] = -1
    for i in range(n):
        if not wanted[ops[i]]:
            continue
        count = starts[i + 1] - starts[i]
        if last[ops[i]] < 0 or last_count[ops[i]] != count or last_number[ops[i]] != numbers[i]:
            last[ops[i]] = find(ops[i], count, numbers[i])
            last_count[ops[i]] = count
            last_number[ops[i]] = numbers[i]
        which[i] = last[ops[i]]
    return found


cdef tuple arrays_of(const VgGraph *g):
    ops = np.empty(g.count, dtype=np.uint16)
    starts = np.empty(g.count + 1, dtype=np.int32)
    numbers = np.empty(g.count, dtype=np.float64)
    operands = np.empty(g.start[g.count], dtype=np.int32)
    copy(ops, g.op, g.count * sizeof(uint16_t))
    copy(starts, g.start, (g.count + 1) * sizeof(int32_t))
    copy(numbers, g.number, g.count * sizeof(double))
    copy(operands, g.operand, g.start[g.count] * sizeof(int32_t))
    return ops, starts, operands, numbers


cdef copy(array, const void *source, size_t size):
    cdef uint8_t[::1] target = array.view(np.uint8)
    if size:
        memcpy(&target[0], source, size)
