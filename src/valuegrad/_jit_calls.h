/* Operations that are calls: elementary functions, norm.
 *
 * Why: no vector register survives a call, so all that is used later goes to the frame before, and arguments are
 * addresses of slots.
 *
 * Where to start reading: jit_lower_call. */
#ifndef VALUEGRAD_JIT_CALLS_H
#define VALUEGRAD_JIT_CALLS_H

#include "_elementary.h"
#include "_ieee.h"
#include "_jit_function.h"

/* A slot where the operand at p is as numbers. */
static int32_t jit_argument(Jit *jit, int32_t p) {
    const int32_t value = jit->value[p];
    int32_t slot;
    if (!jit_is_uniform(jit, value) && !jit_is_condition(jit, value)) {
        if (jit->home[value] == JIT_NOWHERE) jit_spill(jit, &jit->numbers, (unsigned)jit->reg[value]);
        return jit->home[value];
    }
    slot = jit_take_slot(jit);
    jit_leave_slot(jit, slot);
    jit_emit(jit, X86_SAVE, jit_in_register(jit, value), X86_NONE, jit_slot(jit, slot), -1);
    return slot;
}

/* The operands p to p + n are in slots; a slot for the result is taken, and no register is in use any more.  The loop
 * over the blocks ends. */
static void jit_prepare_call(Jit *jit, int32_t i, int32_t p, int32_t n) {
    jit_spill_all(jit);
    jit->home[i] = jit_take_slot(jit);
    jit_release(jit, p, p + n);
    jit_settle(jit);
    jit_forget_all(jit);
    jit_end_loop(jit, jit->pass);
}

static void jit_call(Jit *jit, const void *function) {
    X86_PLAIN(&jit->code, "\xC5\xF8\x77"); /* vzeroupper: the function may be SSE code */
    jit_constant_word(jit, function);
    X86_PLAIN(&jit->code, "\xFF\xD0"); /* call rax */
}

/* Code that is longer than the first cache for instructions runs for all blocks before the next stretch does: then it
 * comes from farther away once for all of them, not for each. */
enum { JIT_STRETCH_BYTES = 16 * 1024 };

static void jit_break_stretch(Jit *jit) {
    if (jit->blocks == jit->pass || jit->code.size - jit->loop < JIT_STRETCH_BYTES) return;
    jit_spill_all(jit);
    jit_forget_all(jit);
    jit_end_loop(jit, jit->pass);
    jit_begin_loop(jit, jit->pass);
}

/* An elementary function: function(a, b, out, number, blocks).  Without b: a twice. */
static void jit_lower_call(Jit *jit, int32_t i, const JitLowering *how) {
    const int32_t p = jit->segment->start[i], n = jit->segment->start[i + 1] - p;
    const VgVectorFunction function = vg_vector_function(jit->segment->op[i], jit->float32, jit->strict);
    int32_t a, b;
    (void)how;
    jit_advance(jit, p, p + n);
    a = jit_argument(jit, p);
    b = n == 2 ? jit_argument(jit, p + 1) : a;
    jit_prepare_call(jit, i, p, n);
    jit_lea(jit, X86_RDI, jit_slot(jit, a));
    jit_lea(jit, X86_RSI, jit_slot(jit, b));
    jit_lea(jit, X86_RDX, jit_home(jit, i));
    jit_constant_word(jit, &jit->segment->number[i]);
    X86_PLAIN(&jit->code, "\xC4\xE1\xF9\x6E\xC0"); /* vmovq xmm0, rax */
    if (jit->blocks == 1) {
        X86_PLAIN(&jit->code, "\xB9\x01\x00\x00\x00"); /* mov ecx, 1 */
    } else {
        X86_PLAIN(&jit->code, "\x8B\x4C\x24"); /* mov ecx, [rsp + JIT_BLOCKS] */
        x86_byte(&jit->code, JIT_BLOCKS);
    }
    jit_call(jit, &function);
    jit_begin_loop(jit, jit->pass);
}

typedef void (*JitNorm)(const char *frame, const void *uniform, const char *table, void *out, int32_t n, int32_t slot);

/* norm, as norm_of in floats.py; squares of floats are added in double.  `table`: the slot of the room for one lane's
 * operands, then each operand's slot, or ~index of a uniform; not aligned, for it stands among the code. */
#define JIT_NORM(T, suffix, lanes)                                                                                    \
    static VG_TARGET_AVX2 void jit_norm_##suffix(const char *frame, const void *uniform, const char *table, void *out, \
                                                 int32_t n, int32_t slot) {                                           \
        double total[lanes] = {0.0};                                                                                  \
        int32_t at;                                                                                                   \
        for (int32_t k = 1; k <= n; k++) {                                                                            \
            memcpy(&at, table + 4 * (size_t)k, 4);                                                                    \
            const T *x = at < 0 ? (const T *)uniform + ~at : (const T *)(frame + (ptrdiff_t)at * slot);     \
            for (int lane = 0; lane < lanes; lane++)                                                                  \
                total[lane] = total[lane] + (double)x[at < 0 ? 0 : lane] * (double)x[at < 0 ? 0 : lane];              \
        }                                                                                                             \
        memcpy(&at, table, 4);                                                                                        \
        double *const xs = (double *)(frame + (ptrdiff_t)at * slot);                                        \
        for (int lane = 0; lane < lanes; lane++) {                                                                    \
            double result = sqrt(total[lane]);                                                                        \
            if (!(1e-280 < total[lane] && total[lane] < 1e280)) {                                                     \
                for (int32_t k = 1; k <= n; k++) {                                                                    \
                    memcpy(&at, table + 4 * (size_t)k, 4);                                                            \
                    xs[k - 1] = at < 0 ? ((const T *)uniform)[~at]                                                    \
                                       : ((const T *)(frame + (ptrdiff_t)at * slot))[lane];                 \
                }                                                                                                     \
                result = ieee_norm_of(n, xs);                                                                         \
            }                                                                                                         \
            ((T *)out)[lane] = (T)result;                                                                             \
        }                                                                                                             \
    }
JIT_NORM(double, f64, 8)
JIT_NORM(float, f32, 16)

static void jit_lower_norm(Jit *jit, int32_t i, const JitLowering *how) {
    const int32_t p = jit->segment->start[i], n = jit->segment->start[i + 1] - p;
    const JitNorm function = jit->float32 ? jit_norm_f32 : jit_norm_f64;
    JitList table = {NULL, 0, 0};
    size_t at;
    (void)how;
    jit_push(jit, &table, jit->norm_slot);
    for (int32_t k = p; k < p + n; k++) {
        const int32_t value = jit->value[k];
        jit_advance(jit, k, k + 1);
        jit_push(jit, &table, jit_is_uniform(jit, value) ? ~jit->home[value] : jit_argument(jit, k));
        jit_rest(jit);
    }
    jit_prepare_call(jit, i, p, n);
    jit_begin_loop(jit, 1);
    X86_PLAIN(&jit->code, "\xE9\0\0\0\0"); /* jmp, over the table */
    at = jit->code.size;
    x86_room(&jit->code, 4 * (size_t)table.count);
    for (int32_t k = 0; k < table.count; k++) x86_word(&jit->code, (uint32_t)table.at[k]);
    free(table.at);
    jit_patch(&jit->code, at, jit->code.size);
    jit_lea(jit, X86_RDI, jit_slot(jit, 0));
    jit_lea(jit, X86_RSI, jit_uniform(jit, 0));
    jit_lea(jit, X86_RDX, x86_pool((int32_t)at));
    jit_lea(jit, X86_RCX, jit_home(jit, i));
    X86_PLAIN(&jit->code, "\x41\xB8"); /* mov r8d, n */
    x86_word(&jit->code, (uint32_t)n);
    X86_PLAIN(&jit->code, "\x41\xB9"); /* mov r9d, bytes of a slot */
    x86_word(&jit->code, (uint32_t)(jit->blocks * VG_BLOCK_BYTES));
    jit_call(jit, &function);
    jit_end_loop(jit, 1);
    jit_begin_loop(jit, jit->pass);
}

#endif
