/* Calling a program on numbers: a single lane, with nothing between a tuple of floats and its segments.
 *
 * Why: a call takes a fraction of a microsecond, less than arrays for a batch of one would.
 *
 * Where to start reading: vg_call. */
#ifndef VALUEGRAD_CALL_H
#define VALUEGRAD_CALL_H

#include "_run.h"

/* A tuple of floats for one of floats; None if an argument is no float or a guard fails; NULL with Python's exception.
 * The GIL is held throughout: a call takes less time than to give it away. */
static PyObject *vg_call(VgCode *code, PyObject *arguments) {
    const VgLowered *const l = &code->lowered;
    PyObject *result = NULL;
    VgWorkspace *const w = vg_acquire(code);
    if (w == NULL) return PyErr_NoMemory();
    VgContext *const c = &w->context;
    const ptrdiff_t vector = code->vector;
    c->error = 0;
    for (int32_t i = 0; i < l->inputs; i++) {
        PyObject *const argument = PyTuple_GET_ITEM(arguments, i);
        const int32_t to = l->input[i];
        if (!PyFloat_CheckExact(argument)) goto none;
        if (to < 0) continue;
        const double x = PyFloat_AS_DOUBLE(argument);
        if (l->uniform_input[i]) vg_put(code, c->uniform, to, x);
        else if (code->is_float32)
            for (ptrdiff_t j = 0; j < vector; j++) ((float *)c->frame)[(ptrdiff_t)to * vector + j] = (float)x;
        else
            for (ptrdiff_t j = 0; j < vector; j++) ((double *)c->frame)[(ptrdiff_t)to * vector + j] = x;
    }
    if (l->lanes >= 0) vg_put(code, c->uniform, l->lanes, 1.0);
    if (vg_uniform_segment(code, VG_PRE, c, VG_PASSED) != VG_PASSED) goto none;
    if (!c->error && l->segment[VG_MAIN].count > 0) {
        c->lanes = vector;
        c->valid = 1;
        for (ptrdiff_t i = 0; i < vector; i++) c->failed[i] = VG_PASSED;
        if (code->single != NULL) {
            code->single(c->frame, c->uniform, c->accumulators, c->failed, 1);
        } else {
            vg_segment(code, VG_MAIN, c);
            for (int32_t k = 0; k < l->accumulators; k++) { /* the sum over one lane: the others are still -0.0 */
                vg_put(code, c->uniform, l->total[k], vg_get(code, c->accumulators, k * vector));
                vg_put(code, c->accumulators, k * vector, -0.0);
            }
        }
        if (c->failed[0] != VG_PASSED && !c->error) goto none;
    }
    if (!c->error && vg_uniform_segment(code, VG_POST, c, VG_PASSED) != VG_PASSED) goto none;
    vg_run_loops(code, c);
    if (!c->error && vg_uniform_segment(code, VG_LAST, c, VG_PASSED) != VG_PASSED) goto none;
    if (c->error) goto done;
    result = PyTuple_New(l->outputs);
    for (int32_t i = 0; result != NULL && i < l->outputs; i++) {
        const int32_t from = l->output[i];
        PyObject *const number = PyFloat_FromDouble(l->uniform_output[i] ? vg_get(code, c->uniform, from)
                                                                         : vg_get(code, c->frame, from * vector));
        if (number == NULL) Py_CLEAR(result);
        else PyTuple_SET_ITEM(result, i, number);
    }
    goto done;
none:
    if (!c->error) {
        result = Py_None;
        Py_INCREF(result);
    }
done:
    vg_release(code, w);
    return result;
}

#endif
