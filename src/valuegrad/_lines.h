/* Which source line is running, for vg.remember_lines(): lines.py in C.
 *
 * Why C: it is asked at every operation.  Python knows the line by decoding a table of the function's code; here
 * the place in the code is looked up in a small cache, and only a new place asks Python.
 *
 * Data structures: vg_seen, direct-mapped by code and position; it holds a reference to the code, so that another
 * function cannot come to lie at its address.
 *
 * Where to start reading: vg_line_here. */
#ifndef VALUEGRAD_LINES_H
#define VALUEGRAD_LINES_H

#include <Python.h>
#include <stdint.h>

enum { VG_LINES_SEEN = 1024, VG_LINE_INSIDE = 65535 };

typedef struct VgSeen {
    PyCodeObject *code;
    int position;
    int line; /* its number, or VG_LINE_INSIDE: part of this package, so its caller's line counts */
} VgSeen;

static VgSeen vg_seen[VG_LINES_SEEN];
static PyObject *vg_lines_number = NULL; /* lines.number */
static PyObject *vg_lines_inside = NULL; /* lines.is_inside */

static inline int vg_position(PyFrameObject *frame) {
#if PY_VERSION_HEX >= 0x030B0000
    return PyFrame_GetLasti(frame);
#else
    return PyFrame_GetLineNumber(frame);
#endif
}

/* Ask Python for the line of a place that was not seen yet; -1 with an exception. */
static int vg_line_learn(VgSeen *seen, PyCodeObject *code, int position, PyFrameObject *frame) {
    int line = VG_LINE_INSIDE;
    PyObject *answer = PyObject_CallFunctionObjArgs(vg_lines_inside, (PyObject *)code, NULL);
    if (answer == NULL) return -1;
    if (answer != Py_True) {
        Py_DECREF(answer);
        answer = PyObject_CallFunction(vg_lines_number, "Oi", (PyObject *)code, PyFrame_GetLineNumber(frame));
        if (answer == NULL) return -1;
        line = (int)PyLong_AsLong(answer);
    }
    Py_DECREF(answer);
    PyCodeObject *old = seen->code;
    Py_INCREF(code);
    seen->code = code;
    seen->position = position;
    seen->line = line;
    Py_XDECREF(old);
    return line;
}

/* The number of the line outside this package that is running; 0 if there is none, -1 with an exception. */
static int vg_line_here(void) {
    PyFrameObject *frame = PyEval_GetFrame(); /* borrowed */
    int line = 0;
    Py_XINCREF(frame);
    while (frame != NULL) {
        PyCodeObject *code = PyFrame_GetCode(frame);
        const int position = vg_position(frame);
        VgSeen *seen = &vg_seen[((uintptr_t)code / 32 + (uintptr_t)position / 2) % VG_LINES_SEEN];
        const int known = seen->code == code && seen->position == position;
        line = known ? seen->line : vg_line_learn(seen, code, position, frame);
        Py_DECREF(code);
        if (line != VG_LINE_INSIDE) break;
        line = 0;
        PyFrameObject *back = PyFrame_GetBack(frame);
        Py_DECREF(frame);
        frame = back;
    }
    Py_XDECREF(frame);
    return line;
}

#endif
