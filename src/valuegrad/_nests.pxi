# Floats in nestings of lists, tuples and dicts, to an array and back.  A part of _replay.pyx.
#
# Why: a program that is called on lists again and again takes a microsecond for some hundred of its operations; to go
# through the lists in Python, and to build the result's, took longer than all of them.
#
# Data structures: what a nesting is like, as flattening.sketch says it: None for a number; (list or tuple, how many
# numbers); (list or tuple, what its entries are like); (dict, what its entries are like, its keys, and these in the order
# of the entries).
#
# Where to start reading: floats_of.

from cpython.dict cimport PyDict_GetItem, PyDict_Next, PyDict_Size
from cpython.exc cimport PyErr_Clear, PyErr_Occurred
from cpython.float cimport PyFloat_AS_DOUBLE, PyFloat_CheckExact, PyFloat_FromDouble
from cpython.list cimport PyList_New, PyList_SET_ITEM
from cpython.long cimport PyLong_AsDouble, PyLong_CheckExact
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF
from cpython.tuple cimport PyTuple_New, PyTuple_SET_ITEM

cdef extern from "Python.h":
    PyObject **PySequence_Fast_ITEMS(object sequence)
    Py_ssize_t PySequence_Fast_GET_SIZE(object sequence)
    int PyUnicode_CheckExact(object x)

cdef object NUMPY_FLOAT = numpy.float64


cdef inline bint take(object x, double *to, bint integers):
    """Write a number; whether it is one."""
    if PyFloat_CheckExact(x) or type(x) is NUMPY_FLOAT:  # a subclass of Python's, whose numbers lie in the same place
        to[0] = PyFloat_AS_DOUBLE(x)
        return True
    if not integers or not PyLong_CheckExact(x):
        return False
    to[0] = PyLong_AsDouble(x)
    if to[0] == -1.0 and PyErr_Occurred():  # it is too large
        PyErr_Clear()
        return False
    return True


def floats_of(x, which, double[::1] to not None, Py_ssize_t at, bint integers=False):
    """Write the floats of a nesting into an array.

    Args:
        x: the nesting.
        which: what it must be like.
        to: float64[n].
        at: where the first one goes.
        integers: whether there may be integers among them.

    Returns:
        Where the next one would go; -1 if the nesting is another one, or has something else than floats, or there is no
        room.
    """
    return fill(x, which, &to[0] if to.shape[0] else NULL, at, to.shape[0], integers) if at >= 0 else -1


cdef Py_ssize_t fill(object x, object which, double *to, Py_ssize_t at, Py_ssize_t end, bint integers) except? -2:
    """No Python code runs meanwhile, as all types are exactly those: so nobody changes a list."""
    cdef Py_ssize_t i, n
    cdef PyObject **entries
    if which is None:
        return at + 1 if at < end and take(x, to + at, integers) else -1
    if len(<tuple?>which) == 4:
        return fill_dict(x, which, to, at, end, integers)
    kind, inner = <tuple>which
    if type(x) is not kind or not (kind is list or kind is tuple):
        return -1
    entries, n = PySequence_Fast_ITEMS(x), PySequence_Fast_GET_SIZE(x)
    if type(inner) is int:
        if n != <Py_ssize_t>inner or n > end - at:
            return -1
        for i in range(n):
            if not take(<object>entries[i], to + at + i, integers):
                return -1
        return at + n
    if n != len(<tuple?>inner):
        return -1
    for i in range(n):
        at = fill(<object>entries[i], (<tuple>inner)[i], to, at, end, integers)
        if at < 0:
            return -1
    return at


cdef Py_ssize_t fill_dict(object x, object which, double *to, Py_ssize_t at, Py_ssize_t end, bint integers) except? -2:
    """The same for a dict: its keys are text, in the same order."""
    cdef Py_ssize_t place = 0, i = 0
    cdef PyObject *key
    cdef PyObject *entry
    kind, inner, keys, order = <tuple>which
    if kind is not dict or type(x) is not dict or at > end:
        return -1
    if not PyDict_Size(x) == len(<tuple?>keys) == len(<tuple?>order) == len(<tuple?>inner):
        return -1
    while PyDict_Next(x, &place, &key, NULL):
        if not PyUnicode_CheckExact(<object>key) or <object>key != (<tuple>keys)[i]:
            return -1
        i += 1
    for i in range(len(<tuple>order)):
        entry = PyDict_GetItem(x, (<tuple>order)[i])
        if entry == NULL:
            return -1
        at = fill(<object>entry, (<tuple>inner)[i], to, at, end, integers)
        if at < 0:
            return -1
    return at


def nested(which, const double[::1] numbers not None):
    """A nesting of floats.

    Args:
        which: what it is like.
        numbers: float64[n], as many as it has at least.
    """
    cdef Py_ssize_t at = 0
    return build(which, numbers, &at)


cdef object build(object which, const double[::1] numbers, Py_ssize_t *at):
    cdef Py_ssize_t i, n
    if which is None:
        if at[0] >= numbers.shape[0]:
            raise ShapeError(f"nested() got {numbers.shape[0]} numbers; expected more")
        at[0] += 1
        return PyFloat_FromDouble(numbers[at[0] - 1])
    if len(<tuple?>which) == 4:
        kind, inner, keys, order = <tuple>which
        if kind is not dict:
            raise ValueTypeError(f"nested() got {kind!r} with keys; expected dict")
        found = {key: build(one, numbers, at) for key, one in zip(order, inner)}
        return {key: found[key] for key in keys}
    kind, inner = <tuple>which
    if kind is not list and kind is not tuple:
        raise ValueTypeError(f"nested() got {kind!r}; expected list or tuple")
    n = inner if type(inner) is int else len(<tuple?>inner)
    result = PyList_New(n) if kind is list else PyTuple_New(n)
    for i in range(n):
        entry = build(None if type(inner) is int else (<tuple>inner)[i], numbers, at)
        Py_INCREF(entry)  # which the next line takes
        if kind is list:
            PyList_SET_ITEM(result, i, entry)
        else:
            PyTuple_SET_ITEM(result, i, entry)
    return result
