# cython: language_level=3, c_api_binop_methods=True, boundscheck=False, wraparound=False, cdivision=True
# cython: embedsignature=True, embedsignature.format=clinic, always_allow_keywords=False, binding=False, auto_pickle=False
"""The native engine: the readable engine's behaviour to the last bit, a hundred times as fast.

What a Value is made of, how it is freed, and the backward sweep are in ``_node.h``; what the operations
compute is generated from the primitives table (``_rules.h``).  ``primitives/render.py`` makes
``_native.pyx``, which is compiled, from this file by filling in what stands between ``<<<`` and ``>>>``.
This file lies between them and Python: it reads arguments, makes Values, and offers their attributes.
Whatever is not a Value, float or int goes through ``arguments.py``, which both engines share.

Where to start reading: ``operator2``.
"""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_FromStringAndSize, PyByteArray_Resize
from cpython.float cimport PyFloat_AS_DOUBLE
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.object cimport Py_EQ, Py_GE, Py_GT, Py_LE, Py_LT, Py_NE, PyTypeObject
from cpython.ref cimport Py_INCREF, Py_XDECREF, Py_XINCREF, PyObject
from cpython.tuple cimport PyTuple_New, PyTuple_SET_ITEM
from libc.string cimport memset

from valuegrad import arguments, lines, modes
from valuegrad.errors import ComputedValueError, ForgetError, ShapeError, ValueTypeError
from valuegrad.primitives import TABLE
from valuegrad.primitives.methods import explained

cdef extern from "_node.h":
    ctypedef struct VgValue
    ctypedef struct VgBlock:
        PyObject *name
        double *constants
        double *local_grads
        VgValue **children
    ctypedef union VgSlot:
        VgValue *child
        double constant
        VgBlock *block
        PyObject *name
    ctypedef struct VgValue:
        double data
        double grad
        VgSlot slot[2]
        double local_grad[2]
        unsigned char op
        unsigned char flags
        unsigned short line
        unsigned int count
        unsigned long long created
    ctypedef struct VgSweep:
        VgValue **order
        size_t order_count
    enum:
        VG_LEAF, VG_CONSTANT, VG_CUSTOM
        VG_EXTERNAL, VG_CONSTANT0, VG_CONSTANT1, VG_NAMED, VG_SKIPS_ZERO, VG_NUMBERS_ONLY
    ctypedef void (*VgRule)(Py_ssize_t n, const double *x, double s, double *result, double *g) noexcept
    ctypedef struct VgOperation:
        VgRule rule
        void (*family_value)(Py_ssize_t n, const double *x, double *outs) noexcept
        void (*family_grads)(Py_ssize_t n, const double *x, const double *outs, double i, double *g) noexcept
        int arity, vectors, has_static, skips_zero, allows_empty
    unsigned long long vg_clock
    unsigned short vg_line
    VgSweep vg_sweep_state
    VgValue *vg_new(double data) except NULL
    VgBlock *vg_block(size_t count, int with_constants) except NULL
    VgValue *vg_child(VgValue *v, unsigned int i) except NULL
    int vg_make_external(VgValue *v) except -1
    bint vg_all_finite(double out, Py_ssize_t n, const double *g)
    int vg_backward(VgValue *root, unsigned long long since) except -1
    int vg_sweep(VgValue **roots, size_t count, unsigned long long since, int collect) except -1
    Py_ssize_t vg_gather(PyObject **entries, Py_ssize_t n, double *x, PyObject **items)
    void vg_adopt(VgBlock *block, Py_ssize_t n, PyObject **items, const double *x)
    int vg_take_over(PyTypeObject *type)
    int VG_SMALL_INT(object a, double *x)
    bint VG_RARELY(bint condition)
    object VG_OBJECT(VgValue *v)  # hands the caller the one reference that vg_new made

cdef extern from "_rules.h":
    const VgOperation VG_OPERATIONS[]

cdef extern from "_export.h":
    enum:
        VG_OP_count
    ctypedef struct VgExport:
        VgValue **inputs
        size_t input_count, nodes, edges, opaque
        unsigned long long since, frozen
        unsigned short *op
        int *start
        int *operand
        double *number
    int vg_export_begin(VgExport *e, VgValue **roots, size_t root_count, VgValue **inputs, size_t input_count) except -1
    size_t vg_export_fill(VgExport *e, VgValue **roots, size_t root_count, int *root_nodes)
    void vg_export_end(VgExport *e)

cdef extern from "_lines.h":
    PyObject *vg_lines_number
    PyObject *vg_lines_inside
    int vg_line_here() except -1

cdef extern from "Python.h":
    Py_ssize_t PySequence_Fast_GET_SIZE(object)
    PyObject **PySequence_Fast_ITEMS(object)
    int PyContextVar_Get(object variable, PyObject *default, PyObject **value) except -1
    void Py_INCREF_VALUE "Py_INCREF"(VgValue *)

# <<< opcodes: the numbers of the operations, and a digest of the sources >>>

cdef list ROWS = [None] * FIRST_OPCODE + list(TABLE.values())
cdef list NAMES = [None, "constant", "custom"] + list(TABLE) + ["recorded"]
cdef tuple COMPARISONS = ("lt", "le", "eq", "ne", "gt", "ge")  # by Py_LT ... Py_GE

cdef int modes_entered = 0  # with-blocks of no_grad, strict and the like, and recordings, open in any thread
cdef object MODE = modes.variable
cdef int NO_GRAD = modes.NO_GRAD
cdef int STRICT = modes.STRICT
cdef int RECORDING = modes.RECORDING
cdef int LINES = modes.LINES
cdef tuple ASKED = (lines.number, lines.is_inside)  # what _lines.h calls; this keeps it alive
vg_lines_number, vg_lines_inside = <PyObject *>ASKED[0], <PyObject *>ASKED[1]


def set_modes_entered(int count):
    """Called by ``modes`` whenever a with-block is entered or left."""
    global modes_entered, vg_line
    modes_entered = count
    vg_line = 0


modes.use_native_switch(set_modes_entered)


# ------------------------------------------------------------------------------------- reading arguments
cdef inline VgValue *node(object v) noexcept:
    return <VgValue *><PyObject *>v


cdef enum Kind:
    IS_VALUE
    IS_NUMBER
    IS_NEITHER


cdef int read_slowly(object a, double *x, int op) except -1:
    if not arguments.is_number(a, Value):
        return IS_NEITHER
    x[0] = arguments.number(a, who(op))
    return IS_NUMBER


cdef str who(int op):
    """Who an error message says it is from; operation 0 stands for the comparisons."""
    return "pow()" if op == VG_power else ROWS[op].name + "()" if op else "comparison"


cdef inline int read(object a, double *x, int op) except -1:
    """The number of a Value or of a plain number, and which of the two it was."""
    if type(a) is Value:
        x[0] = node(a).data
        return IS_VALUE
    if type(a) is float:
        x[0] = PyFloat_AS_DOUBLE(a)
        return IS_NUMBER
    if type(a) is int and VG_SMALL_INT(a, x):
        return IS_NUMBER
    return read_slowly(a, x, op)


cdef inline int read_or_raise(object a, double *x, int op) except -1:
    cdef int kind = read(a, x, op)
    if kind == IS_NEITHER:
        arguments.number(a, who(op))
    return kind


# ----------------------------------------------------------------------------------------- making Values
cdef tuple tuple_of(const double *numbers, Py_ssize_t n):
    cdef Py_ssize_t i
    cdef object number
    cdef tuple result = PyTuple_New(n)
    for i in range(n):
        number = numbers[i]
        Py_INCREF(number)
        PyTuple_SET_ITEM(result, i, number)
    return result


cdef int current_mode() except -1:
    """``modes.current()``, without a Python call: evaluation in ``no_grad`` asks at every operation."""
    cdef PyObject *found = NULL
    cdef int mode
    PyContextVar_Get(MODE, NULL, &found)
    mode = <object>found
    Py_XDECREF(found)
    return mode


cdef inline int recording() except -1:
    """Whether this thread is recorded; nothing but a test while nobody is in any mode."""
    return modes_entered and current_mode() & RECORDING


cdef int refuse(str how, object value) except -1:
    """Raise ForgetError inside a recording."""
    if recording():
        raise ForgetError(arguments.frozen(how, value))
    return 0


cdef int note_line() except -1:
    """While some thread is in a mode: Values that are made from here on are this line's."""
    global vg_line
    if modes_entered:
        vg_line = vg_line_here() if current_mode() & LINES else 0
    return 0


cdef int refuse_infinite(int op, double out, Py_ssize_t n, const double *x, PyObject **items, Py_ssize_t m, const double *g, double s) except -1:
    """Strict mode met an operation that is not finite."""
    inputs = [x[i] if items[i] == NULL else <object>items[i] for i in range(n)]
    arguments.check_finite(ROWS[op], out, inputs, tuple_of(g, m), s if VG_OPERATIONS[op].has_static else None)
    return 0


cdef int mode_of(int op, double out, Py_ssize_t n, const double *x, PyObject **items, Py_ssize_t m, const double *g, double s) except -1:
    """While some thread is in a mode: look at the numbers if it is strict, at the line if it remembers it; the mode."""
    global vg_line
    cdef int mode = current_mode()
    if mode & STRICT and not vg_all_finite(out, m, g):
        refuse_infinite(op, out, n, x, items, m, g, s)
    vg_line = vg_line_here() if mode & LINES else 0
    return mode


cdef int mode_of1(int op, double out, object a, double x, const double *g, double s) except -1:
    cdef PyObject *item = <PyObject *>a
    return mode_of(op, out, 1, &x, &item, 1, g, s)


cdef int mode_of2(int op, double out, object a, object b, int kind_a, int kind_b, const double *x, const double *g) except -1:
    cdef PyObject *items[2]
    items[0], items[1] = <PyObject *>a if kind_a == IS_VALUE else NULL, <PyObject *>b if kind_b == IS_VALUE else NULL
    return mode_of(op, out, 2, x, items, 2, g, 0.0)


cdef inline object make1(int op, object a, double x, double s):
    """Value(rule(a)) with one child inside; s is the static argument of operations that have one."""
    cdef double out
    cdef double g[1]
    cdef VgValue *v
    VG_OPERATIONS[op].rule(1, &x, s, &out, g)
    if VG_RARELY(modes_entered) and mode_of1(op, out, a, x, g, s) & NO_GRAD:
        return VG_OBJECT(vg_new(out))
    v = vg_new(out)
    v.op = op
    v.count = 1
    v.local_grad[0] = g[0]
    v.local_grad[1] = s
    v.slot[0].child = node(a)
    Py_INCREF_VALUE(node(a))
    return VG_OBJECT(v)


cdef inline object make2(int op, object a, object b, int kind_a, int kind_b, const double *x):
    """Value(rule(a, b)) with two children inside; a plain number stays a double in its slot."""
    cdef double out
    cdef double g[2]
    cdef VgValue *v
    VG_OPERATIONS[op].rule(2, x, 0.0, &out, g)
    if VG_RARELY(modes_entered) and mode_of2(op, out, a, b, kind_a, kind_b, x, g) & NO_GRAD:
        return VG_OBJECT(vg_new(out))
    v = vg_new(out)
    v.op = op
    v.count = 2
    v.local_grad[0] = g[0]
    v.local_grad[1] = g[1]
    if kind_a == IS_VALUE:
        v.slot[0].child = node(a)
        Py_INCREF_VALUE(node(a))
    else:
        v.slot[0].constant = x[0]
        v.flags = VG_CONSTANT0
    if kind_b == IS_VALUE:
        v.slot[1].child = node(b)
        Py_INCREF_VALUE(node(b))
    else:
        v.slot[1].constant = x[1]
        v.flags |= VG_CONSTANT1
    return VG_OBJECT(v)


cdef object make_external(int op, double out, Py_ssize_t count, VgBlock *block, double s):
    """A Value that takes over a block; the block is freed if there is no memory for it."""
    cdef VgValue *v
    try:
        v = vg_new(out)
    except MemoryError:
        PyMem_Free(block)  # its children were not counted yet
        raise
    v.op = op
    v.count = count
    v.flags = VG_EXTERNAL
    if VG_OPERATIONS[op].skips_zero:
        v.flags |= VG_SKIPS_ZERO
    v.slot[0].block = block
    v.local_grad[1] = s
    return VG_OBJECT(v)


# ------------------------------------------------------------------------------------- scalar operations
cdef inline object operator2(int op, object a, object b):
    """A binary operator: NotImplemented lets Python ask the other side."""
    cdef double x[2]
    cdef int kind_a = read(a, &x[0], op)
    cdef int kind_b = read(b, &x[1], op)
    if kind_a == IS_NEITHER or kind_b == IS_NEITHER:
        return NotImplemented
    return make2(op, a, b, kind_a, kind_b, x)


cdef inline object apply1(int op, object a):
    cdef double x, out
    cdef double g[1]
    if read_or_raise(a, &x, op) == IS_VALUE:
        return make1(op, a, x, 0.0)
    VG_OPERATIONS[op].rule(1, &x, 0.0, &out, g)
    return out


cdef inline object apply2(int op, object a, object b):
    cdef double x[2]
    cdef double g[2]
    cdef double out
    cdef int kind_a = read_or_raise(a, &x[0], op)
    cdef int kind_b = read_or_raise(b, &x[1], op)
    if kind_a == IS_VALUE or kind_b == IS_VALUE:
        return make2(op, a, b, kind_a, kind_b, x)
    VG_OPERATIONS[op].rule(2, x, 0.0, &out, g)
    return out


cdef object apply_scalars(int op, tuple args, double s):
    """Any number of children, in a block."""
    cdef double x[8]
    cdef double g[8]
    cdef PyObject *items[8]
    cdef double out
    cdef Py_ssize_t i, n = len(args), plain = 0
    cdef VgBlock *block
    for i in range(n):
        items[i] = <PyObject *>args[i]
        if read_or_raise(args[i], &x[i], op) != IS_VALUE:
            items[i] = NULL
            plain += 1
    VG_OPERATIONS[op].rule(n, x, s, &out, g)
    if plain == n:
        return out
    if modes_entered and mode_of(op, out, n, x, items, n, g, s) & NO_GRAD:
        return VG_OBJECT(vg_new(out))
    block = vg_block(n, plain)
    for i in range(n):
        block.local_grads[i] = g[i]
    result = make_external(op, out, n, block, s)
    vg_adopt(block, n, items, x)
    return result


cdef object apply3(int op, object a, object b, object c):
    return apply_scalars(op, (a, b, c), 0.0)


cdef object apply_static(int op, object a, object static):
    cdef double x, out
    cdef double g[1]
    cdef double s = arguments.static(ROWS[op], static)
    if read_or_raise(a, &x, op) == IS_VALUE:
        return make1(op, a, x, s)
    VG_OPERATIONS[op].rule(1, &x, s, &out, g)
    return out


cdef inline object power(object a, object b, bint as_operator):
    cdef double x[2]
    cdef double g[2]
    cdef double out
    cdef int kind_a = read(a, &x[0], VG_pow) if as_operator else read_or_raise(a, &x[0], VG_pow)
    cdef int kind_b = read(b, &x[1], VG_pow) if as_operator else read_or_raise(b, &x[1], VG_pow)
    if kind_a == IS_NEITHER or kind_b == IS_NEITHER:
        return NotImplemented
    if kind_b == IS_VALUE:
        return make2(VG_power, a, b, kind_a, kind_b, x)
    if kind_a == IS_VALUE:
        return make1(VG_pow, a, x[0], x[1])
    VG_OPERATIONS[VG_pow].rule(1, x, x[1], &out, g)
    return out


# ---------------------------------------------------------------------------------- operations on lists
cdef enum:
    ON_STACK = 256


cdef object simplified(object xs, int op):
    return arguments.simplified(xs, ROWS[op], Value)


cdef Py_ssize_t gather(object xs, double *x, PyObject **items) noexcept:
    """Read the entries of a list or tuple; how many are plain numbers, or -1 if one is neither Value, float nor int.

    No Python code runs here, so the borrowed entries stay alive.
    """
    cdef Py_ssize_t plain = 0, n = PySequence_Fast_GET_SIZE(xs)
    cdef PyObject **entries = PySequence_Fast_ITEMS(xs)
    cdef Py_ssize_t i = vg_gather(entries, n, x, items)
    while i < n:
        if type(<object>entries[i]) is float:
            x[i] = PyFloat_AS_DOUBLE(<object>entries[i])
        elif type(<object>entries[i]) is not int or not VG_SMALL_INT(<object>entries[i], &x[i]):
            return -1
        items[i] = NULL
        plain += 1
        i += 1
        i += vg_gather(entries + i, n - i, x + i, items + i)
    return plain


cdef object apply_lists(int op, object xs, object ys, object static):
    """One Value with a child for each entry."""
    cdef double x_stack[ON_STACK]
    cdef PyObject *items_stack[ON_STACK]
    cdef double *x = x_stack
    cdef PyObject **items = items_stack
    cdef void *heap = NULL
    cdef Py_ssize_t n, total
    if type(static) is Value and recording():
        return modes.recorder().by_index(ROWS[op], xs, static)
    if type(xs) is not list and type(xs) is not tuple:
        xs = arguments.vector(xs, ROWS[op])
    n = total = PySequence_Fast_GET_SIZE(xs)
    if ys is not None:
        if type(ys) is not list and type(ys) is not tuple:
            ys = arguments.vector(ys, ROWS[op])
        if PySequence_Fast_GET_SIZE(ys) != n:
            arguments.check_lengths(ROWS[op], (xs, ys))
        total = 2 * n
    if n == 0:
        arguments.check_lengths(ROWS[op], (xs,))
    if modes_entered:  # Python code will run between reading the entries and adopting them
        xs, ys = tuple(xs), None if ys is None else tuple(ys)
    if total > ON_STACK:
        heap = PyMem_Malloc(total * (sizeof(double) + sizeof(PyObject *)))
        if heap == NULL:
            raise MemoryError()
        x = <double *>heap
        items = <PyObject **>(x + total)
    try:
        return combine(op, xs, ys, static, n, total, x, items)
    finally:
        PyMem_Free(heap)


cdef inline object combine(
    int op, object xs, object ys, object static, Py_ssize_t n, Py_ssize_t total, double *x, PyObject **items
):
    cdef double s = 0.0
    cdef double out
    cdef double g_inside[2]
    cdef Py_ssize_t plain, plain_ys
    cdef VgBlock *block
    cdef object result
    if static is not None:
        s = arguments.static(ROWS[op], static, n)
    plain = gather(xs, x, items)
    plain_ys = 0 if ys is None else gather(ys, x + n, items + n)
    if plain < 0 or plain_ys < 0:
        return apply_lists(op, simplified(xs, op), None if ys is None else simplified(ys, op), static)
    plain += plain_ys
    if plain == total:
        block = vg_block(total, 0)
        VG_OPERATIONS[op].rule(n, x, s, &out, block.local_grads)
        PyMem_Free(block)
        return out
    if total == 2 and static is None:
        VG_OPERATIONS[op].rule(n, x, s, &out, g_inside)
        if modes_entered and mode_of(op, out, total, x, items, total, g_inside, 0.0) & NO_GRAD:
            return VG_OBJECT(vg_new(out))
        return make_inside(op, out, x, items, g_inside)
    block = vg_block(total, plain)
    VG_OPERATIONS[op].rule(n, x, s, &out, block.local_grads)
    if modes_entered:
        try:
            if mode_of(op, out, total, x, items, total, block.local_grads, s) & NO_GRAD:
                PyMem_Free(block)
                return VG_OBJECT(vg_new(out))
        except BaseException:
            PyMem_Free(block)
            raise
    result = make_external(op, out, total, block, s)
    vg_adopt(block, total, items, x)
    return result


cdef object make_inside(int op, double out, const double *x, PyObject **items, const double *g):
    """Two children, by their items."""
    cdef int i
    cdef VgValue *v = vg_new(out)
    v.op = op
    v.count = 2
    for i in range(2):
        v.local_grad[i] = g[i]
        if items[i] != NULL:
            v.slot[i].child = <VgValue *>items[i]
            Py_INCREF_VALUE(v.slot[i].child)
        else:
            v.slot[i].constant = x[i]
            v.flags |= VG_CONSTANT0 << i
    return VG_OBJECT(v)


cdef object apply_variadic(int op, tuple numbers):
    return apply_lists(op, arguments.variadic(numbers, Value) if len(numbers) == 1 else numbers, None, None)


cdef object apply_family(int op, object xs):
    """A list with one Value for each entry, each a function of all entries."""
    cdef Py_ssize_t i, n
    cdef double *x
    cdef double *outs
    cdef PyObject **items
    cdef VgBlock *block
    cdef list results = []
    entries = simplified(arguments.vector(xs, ROWS[op]), op)
    n = len(entries)
    if n == 0:
        return results
    x = <double *>PyMem_Malloc(n * (2 * sizeof(double) + sizeof(PyObject *)))
    if x == NULL:
        raise MemoryError()
    try:
        note_line()
        outs = x + n
        items = <PyObject **>(outs + n)
        if gather(entries, x, items) == n:
            VG_OPERATIONS[op].family_value(n, x, outs)
            return list(tuple_of(outs, n))
        for i in range(n):
            if items[i] == NULL:  # the outputs share their constants
                entries[i] = VG_OBJECT(vg_new(x[i]))
                items[i] = <PyObject *>entries[i]
                node(entries[i]).op = VG_CONSTANT
        VG_OPERATIONS[op].family_value(n, x, outs)
        for i in range(n):
            block = vg_block(n, 0)
            VG_OPERATIONS[op].family_grads(n, x, outs, i, block.local_grads)
            if modes_entered:
                try:
                    if mode_of(op, outs[i], n, x, items, n, block.local_grads, i) & NO_GRAD:
                        PyMem_Free(block)
                        results.append(VG_OBJECT(vg_new(outs[i])))
                        continue
                except BaseException:
                    PyMem_Free(block)
                    raise
            results.append(make_external(op, outs[i], n, block, i))
            vg_adopt(block, n, items, x)
        return results
    finally:
        PyMem_Free(x)


# ------------------------------------------------------------------------------------------------- Value
@cython.final
@cython.no_gc
cdef class Value:
    """Value(data, children=(), local_grads=(), *, name=None)
--

A number that remembers how it was computed.

Args:
    data: the number; int, float or NumPy scalar, kept as a float64.
    children: the Values it was computed from (none: a leaf, such as a parameter).
    local_grads: for each child, ∂self/∂child.
    name: a name for people.

reference/value.py, the readable engine, shows how it works."""

    # The fields of VgValue in _node.h, which is how everything else sees them.
    cdef double data_, grad_
    cdef size_t slot0, slot1
    cdef double local_grad0, local_grad1
    cdef unsigned char op_, flags
    cdef unsigned short line_
    cdef unsigned int count
    cdef unsigned long long created

    def __cinit__(self, data, children=(), local_grads=(), *, name=None):
        cdef VgValue *v = node(self)
        cdef VgBlock *block
        cdef Py_ssize_t i, n
        v.data = PyFloat_AS_DOUBLE(data) if type(data) is float else arguments.number(data, "Value()")
        note_line()
        v.line = vg_line
        if children is not () or local_grads is not ():
            children = tuple(children)
            grads = [arguments.number(grad, "Value(), local_grads") for grad in local_grads]
            for child in children:
                if type(child) is not Value:
                    raise ValueTypeError(arguments.no_value(child))
            n = len(children)
            if n != len(grads):
                raise ShapeError(arguments.unequal(n, len(grads)))
            if n:
                if recording():
                    raise ForgetError(arguments.frozen_custom(v.data))
                block = vg_block(n, 0)
                for i in range(n):
                    block.local_grads[i] = grads[i]
                vg_adopt(block, n, PySequence_Fast_ITEMS(children), NULL)
                v.slot[0].block = block
                v.flags = VG_EXTERNAL
                v.count = n
                v.op = VG_CUSTOM
        if name is not None:
            set_name(v, name)

    @property
    def data(self):
        """The number."""
        refuse("v.data", self)
        return node(self).data

    @data.setter
    def data(self, data):
        if node(self).count:
            raise ComputedValueError(arguments.computed_data(self))
        refuse("setting v.data", self)
        node(self).data = PyFloat_AS_DOUBLE(data) if type(data) is float else arguments.number(data, "Value.data")

    @property
    def grad(self):
        """∂root/∂self of the backward pass; a leaf's adds up over passes."""
        refuse("v.grad", self)
        return node(self).grad

    @grad.setter
    def grad(self, grad):
        refuse("setting v.grad", self)
        node(self).grad = PyFloat_AS_DOUBLE(grad) if type(grad) is float else arguments.number(grad, "Value.grad")

    @property
    def children(self):
        """The Values this one was computed from."""
        cdef unsigned int i
        cdef tuple result = PyTuple_New(node(self).count)
        for i in range(node(self).count):
            child = <object><PyObject *>vg_child(node(self), i)
            Py_INCREF(child)
            PyTuple_SET_ITEM(result, i, child)
        return result

    @property
    def local_grads(self):
        """∂self/∂child, one for each child."""
        cdef VgValue *v = node(self)
        refuse("v.local_grads", self)
        return tuple_of(v.slot[0].block.local_grads if v.flags & VG_EXTERNAL else v.local_grad, v.count)

    @property
    def name(self):
        """A name for people."""
        cdef VgValue *v = node(self)
        if v.count == 0:
            return <object>v.slot[0].name if v.flags & VG_NAMED else None
        if v.flags & VG_EXTERNAL and v.slot[0].block.name != NULL:
            return <object>v.slot[0].block.name
        return None

    @name.setter
    def name(self, name):
        set_name(node(self), name)

    @property
    def op(self):
        """The operation: a row of the primitives table, "constant", "custom", or None for a leaf."""
        return NAMES[node(self).op]

    @property
    def static(self):
        """The operation's argument that no gradient flows to, such as the exponent of ``pow``."""
        return node(self).local_grad[1] if VG_OPERATIONS[node(self).op].has_static else None

    @property
    def line(self):
        """The source line that made it, ``file.py:12, in f``, if ``vg.remember_lines()`` was on; else None."""
        return lines.text(node(self).line)

    @property
    def _line(self):
        return node(self).line

    @property
    def _created(self):
        return node(self).created

    @property
    def _data(self):
        return node(self).data

    @property
    def _grad(self):
        return node(self).grad

    def backward(self):
        """Fill in ``grad`` of everything this Value was computed from: ∂self/∂each."""
        refuse("v.backward(), where vg.grad(f) can be recorded,", self)
        vg_backward(node(self), 0)

    def zero_grad(self):
        """Set ``grad`` to 0."""
        refuse("v.zero_grad()", self)
        node(self).grad = 0.0

    # <<< methods: operators and methods of the primitives table >>>

    def pow(self, exponent, /):
        """self ** exponent; a plain exponent gets no gradient."""
        return power(self, exponent, False)

    def __pow__(a, b, modulus):
        return power(a, b, True) if modulus is None else NotImplemented

    def __round__(self, digits=None):
        return apply_static(VG_round, self, arguments.integer(digits or 0, "round()"))

    def __divmod__(a, b):
        if not (arguments.is_number(a, Value) and arguments.is_number(b, Value)):
            return NotImplemented
        return operator2(VG_floordiv, a, b), operator2(VG_mod, a, b)

    def __pos__(self):
        return self

    def __bool__(self):
        if recording():
            return modes.recorder().truth(self)
        return node(self).data != 0.0

    def __richcmp__(self, other, int how):
        cdef double a = node(self).data, b
        if read(other, &b, 0) == IS_NEITHER:
            return NotImplemented
        if recording():
            return modes.recorder().compare(COMPARISONS[how], self, other)
        if how == Py_LT:
            return a < b
        if how == Py_LE:
            return a <= b
        if how == Py_EQ:
            return a == b
        if how == Py_NE:
            return a != b
        return a > b if how == Py_GT else a >= b

    def __hash__(self):
        return <Py_hash_t>(<size_t><PyObject *>self >> 4)

    def __repr__(self):
        return arguments.representation(self)

    def __format__(self, spec):
        return format(node(self).data, spec) if spec else repr(self)

    def __float__(self):
        raise ForgetError(arguments.forgetting("float(v) or math's functions", self))

    def __int__(self):
        raise ForgetError(arguments.forgetting("int(v)", self))

    def __complex__(self):
        raise ForgetError(arguments.forgetting("complex(v)", self))

    def __reduce__(self):
        return arguments.reduce(self, Value)


cdef int set_name(VgValue *v, object name) except -1:
    """Names are rare: a leaf keeps its in a free slot, a computed Value in its block."""
    cdef PyObject *old = NULL
    cdef PyObject *new = NULL
    arguments.name(name)
    if name is not None:
        new = <PyObject *>name
    if v.count == 0:
        if v.flags & VG_NAMED:
            old = v.slot[0].name
    else:
        if not v.flags & VG_EXTERNAL:
            if new == NULL:
                return 0
            vg_make_external(v)
        old = v.slot[0].block.name
    Py_XINCREF(new)
    if v.count == 0:
        v.slot[0].name = new
        v.flags = v.flags | VG_NAMED if new != NULL else v.flags & ~VG_NAMED
    else:
        v.slot[0].block.name = new
    Py_XDECREF(old)
    return 0


if not vg_take_over(<PyTypeObject *>Value):
    raise ImportError("the native engine's Value and _node.h's VgValue differ in size: rebuild valuegrad")


# --------------------------------------------------------------------------------------------- functions
# <<< functions: the functions of the primitives table >>>


def pow(base, exponent, /):
    """base ** exponent; a plain exponent gets no gradient."""
    return power(base, exponent, False)


def where(condition, a, b, /):
    """a if the condition holds, else b; the branch not taken gets no gradient."""
    if type(condition) is not bool and recording():
        return modes.recorder().where(condition, a, b)
    return apply_scalars(VG_where, (a, b), 1.0 if condition else 0.0)


def take(xs, index, /):
    """Entry ``index`` of a list of numbers (or of lists of numbers)."""
    if type(index) is Value and recording():
        return modes.recorder().gather(xs, index)
    entry, position = arguments.entry(xs, index)
    if isinstance(entry, (list, tuple)):
        return [take(entry, i) for i in range(len(entry))]
    return take_entry(entry, position)


cdef object take_entry(object entry, double position):
    cdef double x
    if read_or_raise(entry, &x, VG_take) == IS_VALUE:
        return make1(VG_take, entry, x, position)
    return x


def detach(a, /):
    """The number alone: a new leaf that does not remember where it came from."""
    if type(a) is not Value:
        return arguments.number(a, "detach()")
    note_line()
    return apply_scalars(VG_detach, (a,), 0.0) if recording() else VG_OBJECT(vg_new(node(a).data))


def identity(Value a, /):
    """``a`` itself, as a new Value that remembers ``a``."""
    return apply1(VG_identity, a)


# ---------------------------------------------------------------------------------------- whole graphs
def sweep(Value root, unsigned long long since):
    """The backward pass, leaving alone what was created before ``since``."""
    vg_backward(node(root), since)


def advance_clock(unsigned long long count):
    """Go on as if ``count`` Values had been created (tests reach the far end of the sweep with it)."""
    global vg_clock
    vg_clock += count


def graph(roots, unsigned long long since=0):
    """All Values the roots were computed from, themselves included, oldest first; none created before ``since``."""
    cdef Py_ssize_t i
    cdef list values = list(roots)
    cdef list order = []  # made before the sweep: a collection of garbage between the two could run another one
    for root in values:
        if type(root) is not Value:
            raise ValueTypeError(arguments.no_value(root))
    vg_sweep(<VgValue **>PySequence_Fast_ITEMS(values), len(values), since, 1)
    for i in range(<Py_ssize_t>vg_sweep_state.order_count - 1, -1, -1):
        order.append(<object><PyObject *>vg_sweep_state.order[i])
    return order


# ------------------------------------------------------------------------------------------- recordings
def recorded(int code, double data, children, local_grads):
    """A Value of op "recorded": what only a recording has, such as a choice by a comparison."""
    cdef list entries = checked(children)
    cdef list grads = list(local_grads)
    cdef Py_ssize_t i, n = len(entries)
    if not n or n != len(grads):
        raise ShapeError(arguments.unequal(n, len(grads)))
    cdef VgBlock *block = vg_block(n, 0)
    for i in range(n):
        block.local_grads[i] = PyFloat_AS_DOUBLE(grads[i])
    note_line()
    result = make_external(VG_recorded, data, n, block, code)
    vg_adopt(block, n, PySequence_Fast_ITEMS(entries), NULL)
    if code >= VG_OP_count:
        node(result).flags |= VG_NUMBERS_ONLY
    return result


def export(roots, unsigned long long since, inputs):
    """What the roots were computed from since then, as the arrays of a graph: see _export.h."""
    cdef list root_values = checked(roots)
    cdef list input_values = checked(inputs)
    cdef list captured = []
    cdef size_t i, n = len(root_values), nodes
    cdef VgValue **root_items = <VgValue **>PySequence_Fast_ITEMS(root_values)
    cdef VgExport e
    memset(&e, 0, sizeof(e))
    e.since = since
    root_nodes = PyByteArray_FromStringAndSize(NULL, n * sizeof(int))
    try:
        vg_export_begin(&e, root_items, n, <VgValue **>PySequence_Fast_ITEMS(input_values), len(input_values))
        ops = PyByteArray_FromStringAndSize(NULL, e.nodes * sizeof(short))
        starts = PyByteArray_FromStringAndSize(NULL, (e.nodes + 1) * sizeof(int))
        operands = PyByteArray_FromStringAndSize(NULL, e.edges * sizeof(int))
        numbers = PyByteArray_FromStringAndSize(NULL, e.nodes * sizeof(double))
        e.op = <unsigned short *>PyByteArray_AS_STRING(ops)
        e.start = <int *>PyByteArray_AS_STRING(starts)
        e.operand = <int *>PyByteArray_AS_STRING(operands)
        e.number = <double *>PyByteArray_AS_STRING(numbers)
        nodes = vg_export_fill(&e, root_items, n, <int *>PyByteArray_AS_STRING(root_nodes))
        # Only now: a new list may start a collection of garbage, which runs Python code.
        for i in range(<size_t>len(input_values), e.input_count):
            captured.append(<object><PyObject *>e.inputs[i])
    finally:
        vg_export_end(&e)
    PyByteArray_Resize(ops, nodes * sizeof(short))
    PyByteArray_Resize(starts, (nodes + 1) * sizeof(int))
    PyByteArray_Resize(numbers, nodes * sizeof(double))
    return ops, starts, operands, numbers, list(memoryview(root_nodes).cast("i")), captured, e.frozen, e.opaque


# ---------------------------------------------------------------------------------------- many at a time
cdef list checked(values):
    """The Values as a list, or an error of ours."""
    cdef list result = list(values)
    for value in result:
        if type(value) is not Value:
            raise ValueTypeError(arguments.no_value(value))
    return result


def read_data(values):
    """The numbers of many Values, as the bytes of float64s (for ``numpy.frombuffer``)."""
    refuse("read_data()", values)
    cdef list entries = checked(values)
    cdef Py_ssize_t i, n = len(entries)
    result = PyByteArray_FromStringAndSize(NULL, n * sizeof(double))
    cdef double *numbers = <double *>PyByteArray_AS_STRING(result)
    for i in range(n):
        numbers[i] = node(entries[i]).data
    return result


def read_grads(values):
    """The grads of many Values, as the bytes of float64s."""
    refuse("read_grads()", values)
    cdef list entries = checked(values)
    cdef Py_ssize_t i, n = len(entries)
    result = PyByteArray_FromStringAndSize(NULL, n * sizeof(double))
    cdef double *numbers = <double *>PyByteArray_AS_STRING(result)
    for i in range(n):
        numbers[i] = node(entries[i]).grad
    return result


def write_data(values, numbers):
    """Set the numbers of many leaves from a buffer of float64s."""
    refuse("write_data()", values)
    cdef list entries = checked(values)
    cdef Py_ssize_t i, n = len(entries)
    cdef Py_buffer buffer
    for value in entries:
        if node(value).count:
            raise ComputedValueError(arguments.computed_data(value))
    PyObject_GetBuffer(arguments.unmasked(numbers, "write_data()"), &buffer, PyBUF_SIMPLE)
    try:
        if buffer.len != n * <Py_ssize_t>sizeof(double):
            raise ShapeError(arguments.unequal_write(n, buffer.len // sizeof(double)))
        for i in range(n):
            node(entries[i]).data = (<double *>buffer.buf)[i]
    finally:
        PyBuffer_Release(&buffer)


def zero_grads(values):
    """Set the grads of many Values to 0."""
    refuse("zero_grads()", values)
    for value in checked(values):
        node(value).grad = 0.0
