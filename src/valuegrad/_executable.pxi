# Machine code from elsewhere, in memory that the processor may execute.  A part of _replay.pyx.
#
# Why: what LLVM made, now or in an earlier process, has to lie somewhere (lower/machine_code.py).
#
# Where to start reading: Executable.

cdef class Executable:
    """Machine code in memory of its own, which may be executed and no longer be written.

    Args:
        code: the machine code; it must run wherever it lies.

    Attributes:
        address: where it begins, on a page of its own; 0 where the system, or this processor, grants no such memory.
    """

    cdef void *memory
    cdef Py_ssize_t bytes

    def __init__(self, bytes code not None):
        if self.memory != NULL:
            raise ValueArgumentError("Executable.__init__() was called twice; expected once: make a new one")
        self.bytes = len(code)
        self.memory = vg_executable(<const char *>code, self.bytes) if self.bytes else NULL

    def __dealloc__(self):
        vg_jit_free(self.memory, self.bytes)

    @property
    def address(self):
        """Where it begins."""
        return <uintptr_t>self.memory
