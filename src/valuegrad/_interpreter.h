/* The portable backend: a segment (_machine.h) as a list of steps, each a kernel that works on all lanes of a block.
 *
 * Why: where no assembler knows the processor, or the program has operations that it does not know, something must
 * run it anyhow.  A step's dispatch costs a few nanoseconds, so a block is many vectors long: as many as keep the
 * frame in the processor's near caches.
 *
 * Data structures
 *   VgStep         a kernel and its operands: slots of the frame or uniforms.
 *   VgInterpreted  a segment's steps.  Results live in slots after the segment's own; a slot is free for another
 *                  result after its last use.  An instruction whose result is stored computes it into its slot.
 *   VgContext      what the kernels work on.  A slot is `lanes` numbers wide: the block at hand and nothing more.
 *
 * Where to start reading: vg_interpret, then vg_translate; the kernels are in _kernels.h. */
#ifndef VALUEGRAD_INTERPRETER_H
#define VALUEGRAD_INTERPRETER_H

#include "_elementary.h"
#include "_machine.h"

#ifdef _MSC_VER
#define VG_RESTRICT __restrict
#else
#define VG_RESTRICT restrict
#endif

/* Slots are distinct memory, which the compiler cannot see: loops over them need no test for overlap. */
#if defined(__clang__)
#define VG_IVDEP _Pragma("clang loop vectorize(assume_safety)")
#elif defined(__GNUC__)
#define VG_IVDEP _Pragma("GCC ivdep")
#else
#define VG_IVDEP
#endif

enum { VG_PASSED = INT32_MAX }; /* in `failed`: no guard has failed in this lane */

typedef struct VgStep VgStep;

typedef struct VgContext {
    void *frame, *uniform, *accumulators;
    int32_t *failed;
    ptrdiff_t lanes; /* a multiple of V */
    ptrdiff_t valid; /* the first ones, which the caller asked for; the others repeat the last of them */
    double *scratch; /* room for the operands of a norm or a call */
    PyObject *calls; /* tuple of the functions of "call"; borrowed */
    int error;       /* one of them has raised: Python's exception is set */
} VgContext;

typedef void (*VgKernel)(const VgStep *step, VgContext *context);

struct VgStep {
    VgKernel kernel;
    VgVectorFunction function;
    double number;
    const int32_t *operands; /* of operations on lists: slots; uniforms as ~index */
    int32_t count;
    int32_t out, a, b, c;
};

/* X(operation, its value for x (and y)) */
#define VG_UNARY_LIST(X) X(copy, x) X(neg, -x) X(abs, VG_ABS(x)) X(sqrt, VG_SQRT(x)) X(not, (T)(x == 0 ? 1 : 0))
#define VG_BINARY_LIST(X)                                                                                             \
    X(add, x + y) X(sub, x - y) X(mul, x * y) X(div, x / y)                                                           \
    X(lt, (T)(x < y ? 1 : 0)) X(le, (T)(x <= y ? 1 : 0)) X(eq, (T)(x == y ? 1 : 0))                                   \
    X(and, (T)((x != 0) & (y != 0) ? 1 : 0)) X(or, (T)((x != 0) | (y != 0) ? 1 : 0))
/* X(operation, the new total for x and the total so far).  A nan stays the largest and the smallest. */
#define VG_LIST_LIST(X)                                                                                               \
    X(sum, total + x) X(prod, total * x)                                                                              \
    X(maximum, (x > total) | (x != x) ? x : total) X(minimum, (x < total) | (x != x) ? x : total)
/* The kernels that read operands as their names say: v a slot, s a uniform. */
#define VG_KERNEL_LIST(X)                                                                                             \
    X(copy_v) X(neg_v) X(abs_v) X(sqrt_v) X(not_v)                                                                    \
    X(add_vv) X(add_vs) X(add_sv) X(sub_vv) X(sub_vs) X(sub_sv) X(mul_vv) X(mul_vs) X(mul_sv)                         \
    X(div_vv) X(div_vs) X(div_sv) X(lt_vv) X(lt_vs) X(lt_sv) X(le_vv) X(le_vs) X(le_sv)                               \
    X(eq_vv) X(eq_vs) X(eq_sv) X(and_vv) X(and_vs) X(and_sv) X(or_vv) X(or_vs) X(or_sv)                               \
    X(select_vv) X(select_vs) X(select_sv) X(select_ss) X(splat) X(function1_v) X(function2_vv)                       \
    X(sum) X(prod) X(maximum) X(minimum) X(dot) X(dot_exact) X(norm) X(gather) X(call)                                \
    X(store_uniform) X(reduce) X(guard_true) X(guard_false)

enum {
#define X(name) VG_K_##name,
    VG_KERNEL_LIST(X)
#undef X
    VG_KERNELS
};

/* The value of a Python function for context->scratch; the caller holds the GIL. */
static double vg_call_python(VgContext *context, Py_ssize_t which, int32_t count) {
    PyObject *const arguments = PyTuple_New(count);
    PyObject *result = NULL;
    double number = NAN;
    for (int32_t j = 0; arguments != NULL && j < count; j++) {
        PyObject *const argument = PyFloat_FromDouble(context->scratch[j]);
        if (argument == NULL) goto done;
        PyTuple_SET_ITEM(arguments, j, argument);
    }
    if (arguments != NULL) result = PyObject_CallObject(PyTuple_GET_ITEM(context->calls, which), arguments);
    if (result != NULL) number = PyFloat_AsDouble(result);
done:
    if (result == NULL || (number == -1.0 && PyErr_Occurred())) context->error = 1;
    Py_XDECREF(arguments);
    Py_XDECREF(result);
    return number;
}

#define VG_PRODUCT_PLUS(x, y, z) ((x) * (y) + (z))
#define T double
#define VG_SQRT sqrt
#define VG_ABS fabs
#define VG_SUFFIX f64_baseline
#define VG_TARGET
#ifdef __FP_FAST_FMA
#define VG_FMA fma
#else
#define VG_FMA VG_PRODUCT_PLUS
#endif
#include "_kernels.h"
#if VG_HAS_X86
#define VG_SUFFIX f64_avx2
#define VG_TARGET VG_TARGET_AVX2
#define VG_FMA __builtin_fma
#include "_kernels.h"
#define VG_SUFFIX f64_avx512
#define VG_TARGET VG_TARGET_AVX512
#define VG_FMA __builtin_fma
#include "_kernels.h"
#endif
#undef T
#undef VG_SQRT
#undef VG_ABS

#define T float
#define VG_SQRT sqrtf
#define VG_ABS fabsf
#define VG_SUFFIX f32_baseline
#define VG_TARGET
#ifdef __FP_FAST_FMAF
#define VG_FMA fmaf
#else
#define VG_FMA VG_PRODUCT_PLUS
#endif
#include "_kernels.h"
#if VG_HAS_X86
#define VG_SUFFIX f32_avx2
#define VG_TARGET VG_TARGET_AVX2
#define VG_FMA __builtin_fmaf
#include "_kernels.h"
#define VG_SUFFIX f32_avx512
#define VG_TARGET VG_TARGET_AVX512
#define VG_FMA __builtin_fmaf
#include "_kernels.h"
#endif
#undef T
#undef VG_SQRT
#undef VG_ABS

static const VgKernel *vg_kernels(int is_float32) {
#if VG_HAS_X86
    const VgKernel *const table[2][VG_LEVELS] = {
        {vg_kernels_f64_baseline, vg_kernels_f64_avx2, vg_kernels_f64_avx512},
        {vg_kernels_f32_baseline, vg_kernels_f32_avx2, vg_kernels_f32_avx512}};
    return table[is_float32][vg_processor_level()];
#else
    return is_float32 ? vg_kernels_f32_baseline : vg_kernels_f64_baseline;
#endif
}

typedef struct VgInterpreted {
    VgStep *steps;
    int32_t count;
    int32_t slots;   /* of the frame that the steps need */
    int32_t scratch; /* doubles */
    int has_calls;   /* a step may raise */
    int32_t *operands;
} VgInterpreted;

static void vg_interpret(const VgInterpreted *code, VgContext *context) {
    const VgStep *const end = code->steps + code->count;
    if (code->has_calls) {
        for (const VgStep *step = code->steps; step < end && !context->error; step++) step->kernel(step, context);
    } else {
        for (const VgStep *step = code->steps; step < end; step++) step->kernel(step, context);
    }
}

/* ------------------------------------------------------------------------------------------ from segments to steps */
typedef struct {
    const VgSegment *segment;
    const VgKernel *kernels;
    VgInterpreted *code;
    int32_t *slot;      /* of each instruction's result; -1: none yet */
    int32_t *last_use;  /* of each result: the instruction after which its slot is free; -1: it keeps its slot */
    int32_t *free_slots;
    int32_t free_count;
    int32_t operands;   /* written to code->operands so far */
} VgTranslation;

static int32_t vg_take_slot(VgTranslation *t) {
    return t->free_count > 0 ? t->free_slots[--t->free_count] : t->code->slots++;
}

static VgStep *vg_step(VgTranslation *t, int kernel) {
    VgStep *const step = &t->code->steps[t->code->count++];
    memset(step, 0, sizeof *step);
    step->kernel = t->kernels[kernel];
    return step;
}

/* An operand as the steps name it: a slot, or a uniform as ~index. */
static int32_t vg_named(const VgTranslation *t, int32_t reference) {
    if (reference >= 0) return t->slot[reference];
    return ~reference < t->segment->uniforms ? reference : ~reference - t->segment->uniforms;
}

/* A uniform in every lane, in a slot that is free again after the next step. */
static int32_t vg_in_lanes(VgTranslation *t, int32_t name, int32_t *borrowed, int32_t *borrowed_count) {
    if (name >= 0) return name;
    const int32_t slot = vg_take_slot(t);
    VgStep *const step = vg_step(t, VG_K_splat);
    step->a = ~name;
    step->out = slot;
    borrowed[(*borrowed_count)++] = slot;
    return slot;
}

/* The first kernel of an operation with fixed operands; -1: it is none of them. */
static int vg_fixed_kernel(int op) {
    switch (op) {
#define CASE1(name) case VG_OP_##name: return VG_K_##name##_v;
#define CASE2(name) case VG_OP_##name: return VG_K_##name##_vv;
        CASE1(neg) CASE1(abs) CASE1(sqrt) CASE1(not)
        CASE2(add) CASE2(sub) CASE2(mul) CASE2(div) CASE2(lt) CASE2(le) CASE2(eq) CASE2(and) CASE2(or) CASE2(select)
        case VG_STORE: return VG_K_copy_v;
        case VG_STORE_UNIFORM: return VG_K_store_uniform;
        case VG_REDUCE: return VG_K_reduce;
        case VG_GUARD: return VG_K_guard_true;
#undef CASE1
#undef CASE2
        default: return -1;
    }
}

static int vg_list_kernel(int op, int strict) {
    switch (op) {
#define CASE(name) case VG_OP_##name: return VG_K_##name;
        CASE(sum) CASE(prod) CASE(maximum) CASE(minimum) CASE(norm) CASE(gather) CASE(call)
        case VG_OP_dot: return strict ? VG_K_dot_exact : VG_K_dot;
#undef CASE
        default: return -1;
    }
}

static void vg_translate_list(VgTranslation *t, int kernel, int32_t i) {
    const VgSegment *const s = t->segment;
    const int32_t count = s->start[i + 1] - s->start[i];
    int32_t *const operands = t->code->operands + t->operands;
    t->operands += count;
    for (int32_t j = 0; j < count; j++) operands[j] = vg_named(t, s->operand[s->start[i] + j]);
    if (s->op[i] == VG_OP_dot)
        for (int32_t j = 0; j < count / 2; j++)
            if (operands[j] < 0) { /* a uniform goes last: the product is the same */
                const int32_t x = operands[j];
                operands[j] = operands[j + count / 2];
                operands[j + count / 2] = x;
            }
    if (count > t->code->scratch) t->code->scratch = count;
    if (s->op[i] == VG_OP_call) t->code->has_calls = 1;
    VgStep *const step = vg_step(t, kernel);
    step->operands = operands;
    step->count = count;
    step->number = s->op[i] == VG_OP_prod ? 1.0 : s->number[i]; /* an empty product; an empty sum is 0.0 */
    if (s->op[i] == VG_OP_sum) step->number = 0.0;
    step->out = t->slot[i];
}

static void vg_translate_fixed(VgTranslation *t, int kernel, VgVectorFunction function, int32_t i) {
    const VgSegment *const s = t->segment;
    const int32_t *const operand = s->operand + s->start[i];
    const int32_t count = s->start[i + 1] - s->start[i];
    int32_t borrowed[3], borrowed_count = 0, names[3] = {0, 0, 0};
    for (int32_t j = 0; j < count; j++) names[j] = vg_named(t, operand[j]);
    if (s->op[i] == VG_OP_select) {
        names[0] = vg_in_lanes(t, names[0], borrowed, &borrowed_count);
        kernel += 2 * (names[1] < 0) + (names[2] < 0);
    } else if (count == 2 && function == NULL && (names[0] >= 0 || names[1] >= 0)) {
        kernel += names[1] < 0 ? 1 : names[0] < 0 ? 2 : 0;
    } else {
        for (int32_t j = 0; j < count; j++)
            if (j == 0 || function != NULL) names[j] = vg_in_lanes(t, names[j], borrowed, &borrowed_count);
        if (count == 2 && names[1] < 0) kernel += 1;
    }
    if (s->op[i] == VG_GUARD) kernel = fmod(s->number[i], 2.0) != 0.0 ? VG_K_guard_true : VG_K_guard_false;
    VgStep *const step = vg_step(t, kernel);
    step->function = function;
    step->number = s->number[i];
    step->a = names[0] < 0 ? ~names[0] : names[0];
    step->b = names[1] < 0 ? ~names[1] : names[1];
    step->c = names[2] < 0 ? ~names[2] : names[2];
    step->out = s->op[i] == VG_GUARD ? (int32_t)(s->number[i] / 2.0)
                : s->op[i] >= VG_OP_count ? (int32_t)s->number[i] : t->slot[i];
    while (borrowed_count > 0) t->free_slots[t->free_count++] = borrowed[--borrowed_count];
}

static void vg_free_interpreted(VgInterpreted *code) {
    free(code->steps);
    free(code->operands);
    memset(code, 0, sizeof *code);
}

/* Which slots hold results to the end, because they are stored, and when the others are free again. */
static void vg_plan_slots(VgTranslation *t) {
    const VgSegment *const s = t->segment;
    for (int32_t i = 0; i < s->count; i++) {
        t->slot[i] = t->last_use[i] = -1;
        for (int32_t j = s->start[i]; j < s->start[i + 1]; j++)
            if (s->operand[j] >= 0) t->last_use[s->operand[j]] = i;
        const int32_t stored = s->op[i] == VG_STORE ? s->operand[s->start[i]] : -1;
        if (stored >= 0) t->slot[stored] = (int32_t)s->number[i];
    }
    for (int32_t i = 0; i < s->count; i++)
        if (t->slot[i] >= 0) t->last_use[i] = -1;
}

/* Fill `code` from a segment; 0, -1 (no memory) or an operation's number + 1 that the interpreter does not know. */
static int vg_translate(const VgSegment *s, int is_float32, int strict, VgInterpreted *code) {
    VgTranslation t = {s, vg_kernels(is_float32), code, NULL, NULL, NULL, 0, 0};
    int result = -1;
    const size_t room = (size_t)s->count + 1;
    memset(code, 0, sizeof *code);
    code->slots = s->slots;
    code->steps = (VgStep *)malloc(4 * room * sizeof *code->steps); /* each may need three splats */
    code->operands = (int32_t *)malloc(((size_t)s->start[s->count] + 1) * sizeof *code->operands);
    t.slot = (int32_t *)malloc(room * sizeof *t.slot);
    t.last_use = (int32_t *)malloc(room * sizeof *t.last_use);
    t.free_slots = (int32_t *)malloc((room + 3) * sizeof *t.free_slots);
    if (!code->steps || !code->operands || !t.slot || !t.last_use || !t.free_slots) goto done;
    vg_plan_slots(&t);
    for (int32_t i = 0; i < s->count; i++) {
        const int op = s->op[i], fixed = vg_fixed_kernel(op), list = vg_list_kernel(op, strict);
        const VgVectorFunction function = vg_vector_function((uint16_t)op, is_float32, strict);
        const int32_t count = s->start[i + 1] - s->start[i];
        int keeps = 1; /* its result has a slot of its own until its last use */
        if (op == VG_STORE && s->operand[s->start[i]] >= 0 && t.slot[s->operand[s->start[i]]] == (int32_t)s->number[i])
            continue; /* computed where it belongs */
        if (fixed < 0 && list < 0 && function == NULL) {
            result = op + 1;
            goto done;
        }
        if (op < VG_OP_count && t.slot[i] < 0) {
            t.slot[i] = vg_take_slot(&t);
            keeps = t.last_use[i] >= 0;
        }
        if (list >= 0) vg_translate_list(&t, list, i);
        else if (fixed >= 0) vg_translate_fixed(&t, fixed, NULL, i);
        else vg_translate_fixed(&t, count == 2 ? VG_K_function2_vv : VG_K_function1_v, function, i);
        for (int32_t j = s->start[i]; j < s->start[i + 1]; j++) {
            const int32_t r = s->operand[j];
            if (r >= 0 && t.last_use[r] == i) {
                t.free_slots[t.free_count++] = t.slot[r];
                t.last_use[r] = -1; /* an operand twice is freed once */
            }
        }
        if (!keeps) t.free_slots[t.free_count++] = t.slot[i];
    }
    result = 0;
done:
    free(t.slot);
    free(t.last_use);
    free(t.free_slots);
    if (result != 0) vg_free_interpreted(code);
    return result;
}

#endif
