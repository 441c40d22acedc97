# NumPy's arrays, looked at before native code gets their memory.  A part of _replay.pyx.
#
# Why: native code believes what it is told; so each array's kind, shape and strides are checked here.
#
# Data structures: Arrays holds the buffers of a run; Steps is memory for a list of VgSteps (_iterate.h).
#
# Where to start reading: Arrays.add.

cdef class Arrays:
    """The memory of a list of arrays, held while a run uses it.

    Args:
        who: begins the messages of errors.
        room: how many arrays.
    """

    cdef str who
    cdef Py_buffer *views
    cdef const char **pointers
    cdef Py_ssize_t count

    def __cinit__(self, str who, Py_ssize_t room):
        self.who = who
        self.views = <Py_buffer *>calloc(room + 1, sizeof(Py_buffer))
        self.pointers = <const char **>calloc(room + 1, sizeof(char *))
        if self.views == NULL or self.pointers == NULL:
            raise MemoryError

    def __dealloc__(self):
        cdef Py_ssize_t i
        for i in range(self.count):
            PyBuffer_Release(&self.views[i])
        free(self.views)
        free(self.pointers)

    cdef int add(self, object array, str what, char kind, Py_ssize_t item, Py_ssize_t length, bint writable) except -1:
        """One more; it must be 1-D, contiguous, of `kind` and `length`."""
        cdef Py_buffer *view = &self.views[self.count]
        if not isinstance(array, numpy.ndarray):
            raise ValueTypeError(f"{self.who} got a {type(array).__name__} for {what}; expected a NumPy array")
        if writable and not array.flags.writeable:
            raise ValueArgumentError(f"{self.who} got a read-only array for {what}; expected one it can write to")
        PyObject_GetBuffer(array, view, PyBUF_FORMAT | PyBUF_ND | PyBUF_STRIDES | (PyBUF_WRITABLE if writable else 0))
        self.count += 1
        if view.ndim != 1 or view.itemsize != item or view.format[0] != kind or view.format[1] != 0:
            expected = "float64" if kind == c"d" else "float32"
            raise ValueTypeError(f"{self.who} got {kind_of(array)} for {what}; expected {expected}[{length}]")
        if view.shape[0] != length:
            raise ShapeError(f"{self.who} got {view.shape[0]} numbers for {what}; expected {length}")
        if length > 1 and view.strides[0] != item:
            raise ValueArgumentError(
                f"{self.who} got strides of {view.strides[0]} bytes for {what}; expected {item}: "
                "pass numpy.ascontiguousarray(...)"
            )
        self.pointers[self.count - 1] = <const char *>view.buf
        return 0

    cdef int add_steps(self, VgSteps *to, object array, str what, char kind, Py_ssize_t item, Py_ssize_t steps,
                       Py_ssize_t length, bint writable) except -1:
        """An array with the steps along its first axis, each step's `length` numbers side by side; if it is not
        written, it may be 1-D: the same at all steps."""
        cdef Py_buffer *view = &self.views[self.count]
        expected = f"{'float64' if kind == c'd' else 'float32'}[{steps}, {length}]"
        if not isinstance(array, numpy.ndarray) or (writable and not array.flags.writeable):
            raise ValueTypeError(f"{self.who} got {kind_of(array)} for {what}; expected {expected}")
        PyObject_GetBuffer(array, view, PyBUF_FORMAT | PyBUF_ND | PyBUF_STRIDES | (PyBUF_WRITABLE if writable else 0))
        self.count += 1
        cdef Py_ssize_t axes = view.ndim
        if view.itemsize != item or view.format[0] != kind or view.format[1] != 0 or axes < 1 + writable or axes > 2:
            raise ValueTypeError(f"{self.who} got {kind_of(array)} for {what}; expected {expected}")
        if view.shape[axes - 1] != length or (axes == 2 and view.shape[0] != steps):
            raise ShapeError(f"{self.who} got {kind_of(array)} for {what}; expected {expected}")
        if length > 1 and view.strides[axes - 1] != item:
            raise ValueArgumentError(
                f"{self.who} got strides of {view.strides[axes - 1]} bytes for {what}; expected {item}: "
                "pass numpy.ascontiguousarray(...)"
            )
        to.numbers = <char *>view.buf
        to.stride = view.strides[0] if axes == 2 else 0
        to.count = <int32_t>length
        return 0


cdef class Steps:
    """Memory for a list of VgSteps."""

    cdef VgSteps *first

    def __cinit__(self, Py_ssize_t room):
        self.first = <VgSteps *>calloc(room + 1, sizeof(VgSteps))
        if self.first == NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self.first)
