/* Elementary functions on blocks of V lanes (8 doubles, 16 floats): what the interpreter (_interpreter.h) and
 * the assembler (_jit.h) call for every operation that is more than one instruction of the processor.
 *
 * Why: a function of the C library computes one number; glibc's libmvec computes eight at once, several times as
 * fast.  It is found when the program runs (dlopen), so a machine without it has the C library's functions, lane by
 * lane.  (exp, log, tanh and erfc of doubles and exp of floats are our own with AVX-512: _functions.h.)  All are
 * always called with full vectors, so a result depends on its lane's operands alone, not on where the lane stands.
 * Strict programs never use them: they compute what _ieee.h computes, to the last bit.
 *
 * Accuracy: every libmvec function of the lists below was compared with the long double functions of the C library
 * (the float ones with the double ones) on a million numbers each and more: uniform ones, random bit patterns,
 * subnormals, near 1, huge, and the edges; with AVX2 and with AVX-512.  The largest errors, in units in the last
 * place: double 3.7 (tan), 3.5 (sin, cos), all others below 3; float 3.94 (log), 3.5 (tan), 3.1 (atan2), all others
 * below 3.  nan, inf, -0.0 and arguments outside the domain give what floats.py gives.
 * Our own, of 100 million numbers each against the long double functions: exp 1.02, log 0.85, tanh 3.03, erfc 2.25;
 * of 200 million floats against doubles: exp 1.02.
 *
 * Not used of libmvec:
 *   erff     errors of 4.0 with AVX-512: float erf goes through double;
 *   hypot    floats.py's own rule is a loop that the compiler vectorises, and it is exact;
 *   pow      used, but exponents 2, 1 and -1 are replaced by a*a, a and 1/a, as in floats.py.
 * Where one has no counterpart in libmvec (lgamma, digamma, polygamma, fmod, mod, floordiv) it is done lane by lane.
 *
 * Data structures: VG_ELEMENTARY, one entry for each operation, made from the lists VG_LANE_LIST, VG_MVEC_LIST,
 * VG_OWN_LIST and VG_INLINE_LIST.
 *
 * LLVM's loops call the functions on registers themselves (vg_register_function), which gives the same bits.
 *
 * Where to start reading: vg_vector_function. */
#ifndef VALUEGRAD_ELEMENTARY_H
#define VALUEGRAD_ELEMENTARY_H

#include <Python.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include "_ieee.h"
#include "_machine.h"

#if defined(__GNUC__) && defined(__x86_64__)
#define VG_HAS_X86 1
#include <cpuid.h>
#include <immintrin.h>
/* Vectors of 512 bits where the processor has them; contraction into FMA stays off (-ffp-contract=off). */
#define VG_TARGET_AVX2 __attribute__((target("avx2,fma")))
#ifdef __clang__
#define VG_TARGET_AVX512 __attribute__((target("avx512f,avx512dq,avx512vl,avx512bw,avx2,fma")))
#else
#define VG_TARGET_AVX512 __attribute__((target("avx512f,avx512dq,avx512vl,avx512bw,avx2,fma,prefer-vector-width=512")))
#endif
#else
#define VG_HAS_X86 0
#define VG_TARGET_AVX2
#define VG_TARGET_AVX512
#endif

#if defined(__GLIBC__) && VG_HAS_X86
#define VG_HAS_LIBMVEC 1
#include <dlfcn.h>
#else
#define VG_HAS_LIBMVEC 0
#endif

enum { VG_LANES_F64 = VG_BLOCK_BYTES / 8, VG_LANES_F32 = VG_BLOCK_BYTES / 4 };
enum { VG_BASELINE, VG_AVX2, VG_AVX512, VG_LEVELS }; /* what the processor has; AVX2 here means AVX2 and FMA */

#ifndef VG_MOST_LEVEL /* tests of what lesser processors do are built with -DVG_MOST_LEVEL=VG_AVX2 or VG_BASELINE */
#define VG_MOST_LEVEL VG_AVX512
#endif

static int vg_processor_level(void) {
#if VG_HAS_X86
    if (VG_MOST_LEVEL >= VG_AVX512 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("fma"))
        return VG_AVX512;
    if (VG_MOST_LEVEL >= VG_AVX2 && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return VG_AVX2;
#endif
    return VG_BASELINE;
}

/* Whether a register of VG_BLOCK_BYTES takes no longer than half of one.  AMD's family 19h has AVX-512 on units of half
 * the width, which take two turns (Software Optimization Guide for the AMD Zen4 Microarchitecture, 2.11.3). */
static int vg_has_wide_units(void) {
#if VG_HAS_X86
    unsigned a = 0, b, c, d;
    if (vg_processor_level() == VG_AVX512 && __get_cpuid(1, &a, &b, &c, &d))
        return !__builtin_cpu_is("amd") || (a >> 8 & 15) + (a >> 20 & 255) != 0x19;
#endif
    return 0;
}

/* ------------------------------------------------------------------------------- lane by lane, for all machines
 * X(operation, how many operands, its value for x, y and the static number, all double) */
#define VG_LANE_LIST(X)                                                                                               \
    X(exp, 1, ieee_exp(x)) X(expm1, 1, ieee_expm1(x))                                                                 \
    X(log, 1, ieee_log(x)) X(log1p, 1, ieee_log1p(x)) X(log2, 1, ieee_log2(x)) X(log10, 1, ieee_log10(x))             \
    X(cbrt, 1, ieee_cbrt(x))                                                                                          \
    X(sin, 1, ieee_sin(x)) X(cos, 1, ieee_cos(x)) X(tan, 1, ieee_tan(x))                                              \
    X(asin, 1, ieee_asin(x)) X(acos, 1, ieee_acos(x)) X(atan, 1, ieee_atan(x)) X(atan2, 2, ieee_atan2(x, y))          \
    X(sinh, 1, ieee_sinh(x)) X(cosh, 1, ieee_cosh(x)) X(tanh, 1, ieee_tanh(x))                                        \
    X(asinh, 1, ieee_asinh(x)) X(acosh, 1, ieee_acosh(x)) X(atanh, 1, ieee_atanh(x))                                  \
    X(erf, 1, ieee_erf(x)) X(erfc, 1, ieee_erfc(x)) X(power, 2, ieee_pow(x, y))                                       \
    X(lgamma, 1, ieee_lgamma(x)) X(digamma, 1, ieee_digamma(x)) X(polygamma, 1, ieee_polygamma(x, number))            \
    X(fmod, 2, ieee_fmod(x, y)) X(mod, 2, ieee_mod(x, y)) X(floordiv, 2, ieee_floordiv(x, y))

#define VG_LANE_FUNCTION(name, T, suffix, lanes, operands, value)                                                     \
    static void vg_##name##_##suffix##_lanes(const void *a, const void *b, void *out, double number, int64_t blocks) { \
        (void)b; (void)number;                                                                                        \
        for (int64_t i = 0; i < lanes * blocks; i++) {                                                                \
            const double x = (double)((const T *)a)[i];                                                               \
            const double y = operands == 2 ? (double)((const T *)b)[i] : 0.0;                                         \
            (void)y;                                                                                                  \
            ((T *)out)[i] = (T)(value);                                                                               \
        }                                                                                                             \
    }
#define X(name, operands, value)                                                                                      \
    VG_LANE_FUNCTION(name, double, f64, VG_LANES_F64, operands, value)                                                \
    VG_LANE_FUNCTION(name, float, f32, VG_LANES_F32, operands, value)
VG_LANE_LIST(X)
#undef X

/* Rounding to decimal digits asks Python's own float.__round__; to integers (0 digits) it does not. */
static double vg_round_to_digits(double x, double digits) {
    const PyGILState_STATE state = PyGILState_Ensure();
    const double rounded = ieee_round(x, digits);
    PyGILState_Release(state);
    return rounded;
}

/* ------------------------------------------------- short enough for the compiler to vectorise, in strict mode too
 * X(operation, how many operands, its value for x and y in double, when a lane needs the function of _ieee.h after
 * all, that function) */
#define VG_INLINE_LIST(X)                                                                                             \
    X(floor, 1, floor(x), 0, x)                                                                                       \
    X(ceil, 1, ceil(x), 0, x)                                                                                         \
    X(trunc, 1, trunc(x), 0, x)                                                                                       \
    X(round, 1, nearbyint(x), number != 0.0, vg_round_to_digits(x, number))                                           \
    X(hypot, 2, sqrt(x * x + y * y), !(x * x + y * y > 1e-280) | !(x * x + y * y < 1e280), ieee_hypot(x, y))

#define VG_INLINE_FUNCTION(name, T, suffix, lanes, level, target, operands, value, again, slowly)                     \
    static target void vg_##name##_##suffix##_##level(const void *a, const void *b, void *out, double number,         \
                                                      int64_t blocks) {                                               \
        (void)number;                                                                                                 \
        for (int64_t at = 0; at < lanes * blocks; at += lanes) {                                                      \
            int any = 0;                                                                                              \
            T copy_a[lanes], copy_b[lanes], result[lanes]; /* out may be a or b */                                    \
            for (int i = 0; i < lanes; i++) copy_a[i] = ((const T *)a)[at + i];                                       \
            for (int i = 0; i < lanes; i++) copy_b[i] = operands == 2 ? ((const T *)b)[at + i] : 0;                   \
            for (int i = 0; i < lanes; i++) {                                                                         \
                const double x = (double)copy_a[i], y = (double)copy_b[i];                                            \
                (void)y;                                                                                              \
                result[i] = (T)(value);                                                                               \
                any |= (again);                                                                                       \
            }                                                                                                         \
            if (any)                                                                                                  \
                for (int i = 0; i < lanes; i++) {                                                                     \
                    const double x = (double)copy_a[i], y = (double)copy_b[i];                                        \
                    (void)y;                                                                                          \
                    if (again) result[i] = (T)(slowly);                                                               \
                }                                                                                                     \
            for (int i = 0; i < lanes; i++) ((T *)out)[at + i] = result[i];                                           \
        }                                                                                                             \
    }
#define VG_INLINE_BOTH(name, level, target, operands, value, again, slowly)                                           \
    VG_INLINE_FUNCTION(name, double, f64, VG_LANES_F64, level, target, operands, value, again, slowly)                \
    VG_INLINE_FUNCTION(name, float, f32, VG_LANES_F32, level, target, operands, value, again, slowly)
#define X(name, operands, value, again, slowly)                                                                       \
    VG_INLINE_BOTH(name, lanes, , operands, value, again, slowly)                                                     \
    VG_INLINE_BOTH(name, avx2, VG_TARGET_AVX2, operands, value, again, slowly)                                        \
    VG_INLINE_BOTH(name, avx512, VG_TARGET_AVX512, operands, value, again, slowly)
VG_INLINE_LIST(X)
#undef X

/* ------------------------------------------------------------------------------------------------- libmvec
 * X(operation, its name in libmvec, how many operands) */
#define VG_MVEC_LIST(X)                                                                                               \
    X(exp, exp, 1) X(expm1, expm1, 1) X(log, log, 1) X(log1p, log1p, 1) X(log2, log2, 1) X(log10, log10, 1)           \
    X(cbrt, cbrt, 1) X(sin, sin, 1) X(cos, cos, 1) X(tan, tan, 1) X(asin, asin, 1) X(acos, acos, 1)                   \
    X(atan, atan, 1) X(sinh, sinh, 1) X(cosh, cosh, 1) X(tanh, tanh, 1) X(asinh, asinh, 1) X(acosh, acosh, 1)         \
    X(atanh, atanh, 1) X(erf, erf, 1) X(erfc, erfc, 1) X(atan2, atan2, 2) X(power, pow, 2)

enum {
#define X(name, symbol, operands) VG_MVEC_##name,
    VG_MVEC_LIST(X)
#undef X
    VG_MVEC_COUNT
};

#if VG_HAS_LIBMVEC
static void *vg_mvec_f64[VG_MVEC_COUNT], *vg_mvec_f32[VG_MVEC_COUNT]; /* for this processor; NULL: not there */

/* Results below the smallest normal number, and powers that leave the range, cost libmvec a call of the C library for
 * each lane: ten times as long.  A softmax that has learned is full of the former: exp(x) is exp(x / 2) squared there,
 * and 0 from where it rounds to it.  The latter are an optimiser's beta ** t, the same in all lanes: one lane is enough. */
enum {
    VG_EXP_SMALL_f64 = -708, VG_EXP_GONE_f64 = -746,
    VG_EXP_SMALL_f32 = -87, VG_EXP_GONE_f32 = -104
};

static void *vg_libmvec_exp_f64, *vg_libmvec_exp_f32; /* libmvec's; vg_mvec has those that follow in their place */

/* `vector` is the register's type and `width` how many lanes it holds; `below` says whether any is less than a limit;
 * `one` computes a register of which none is. */
#define VG_EXP_FUNCTION(T, suffix, vector, width, load, store, below, one)                                            \
    static VG_TARGET_AVX2 __attribute__((noinline)) vector vg_exp_##suffix##_avx2_small(vector x) {                   \
        T before[width], after[width];                                                                                \
        store(before, x);                                                                                             \
        for (int i = 0; i < width; i++) {                                                                             \
            const T y = before[i];                                                                                    \
            after[i] = y < VG_EXP_GONE_##suffix ? 0 : y < VG_EXP_SMALL_##suffix ? y / 2 : y;                          \
        }                                                                                                             \
        store(after, one(load(after)));                                                                               \
        for (int i = 0; i < width; i++) {                                                                             \
            const T y = before[i], z = after[i];                                                                      \
            after[i] = y < VG_EXP_GONE_##suffix ? 0 : y < VG_EXP_SMALL_##suffix ? z * z : z;                          \
        }                                                                                                             \
        return load(after);                                                                                           \
    }                                                                                                                 \
    static VG_TARGET_AVX2 vector vg_exp_##suffix##_avx2_register(vector x) {                                          \
        if (below(x, VG_EXP_SMALL_##suffix)) return vg_exp_##suffix##_avx2_small(x);                                  \
        return one(x);                                                                                                \
    }
#define VG_BELOW_PD4(x, limit) _mm256_movemask_pd(_mm256_cmp_pd(x, _mm256_set1_pd(limit), _CMP_LT_OQ))
#define VG_BELOW_PS8(x, limit) _mm256_movemask_ps(_mm256_cmp_ps(x, _mm256_set1_ps(limit), _CMP_LT_OQ))
#define VG_LIBMVEC_PD4(x) ((__m256d(*)(__m256d))vg_libmvec_exp_f64)(x)
#define VG_LIBMVEC_PS8(x) ((__m256(*)(__m256))vg_libmvec_exp_f32)(x)
VG_EXP_FUNCTION(double, f64, __m256d, 4, _mm256_loadu_pd, _mm256_storeu_pd, VG_BELOW_PD4, VG_LIBMVEC_PD4)
VG_EXP_FUNCTION(float, f32, __m256, 8, _mm256_loadu_ps, _mm256_storeu_ps, VG_BELOW_PS8, VG_LIBMVEC_PS8)

/* The copies are for pow alone (out may be a or b), whose three exact exponents are those of floats.pow. */
#define VG_MVEC_FUNCTION(name, T, suffix, lanes, level, target, vector, width, load, store, operands)                 \
    static target void vg_##name##_##suffix##_##level##_block(const T *a, const T *b, T *out) {                       \
        void *const function = vg_mvec_##suffix[VG_MVEC_##name];                                                      \
        T copy_a[lanes], copy_b[lanes], own_a[width], own_b[width];                                                   \
        int same = 0;                                                                                                 \
        if (VG_MVEC_##name == VG_MVEC_power) {                                                                        \
            memcpy(copy_a, a, sizeof copy_a), memcpy(copy_b, b, sizeof copy_b);                                       \
            same = !memcmp(copy_a, copy_a + 1, sizeof copy_a - sizeof(T)) /* to the bit: 0.0 is not -0.0 */           \
                   && !memcmp(copy_b, copy_b + 1, sizeof copy_b - sizeof(T));                                         \
            if (same) {                                                                                               \
                for (int i = 0; i < width; i++) own_a[i] = i ? 1 : copy_a[0], own_b[i] = i ? 1 : copy_b[0];           \
                a = own_a, b = own_b;                                                                                 \
            }                                                                                                         \
        }                                                                                                             \
        for (int i = 0; i < (same ? width : lanes); i += width) {                                                     \
            const vector x = load(a + i);                                                                             \
            store(out + i, operands == 1 ? ((vector(*)(vector))function)(x)                                           \
                                         : ((vector(*)(vector, vector))function)(x, load(b + i)));                    \
        }                                                                                                             \
        if (VG_MVEC_##name == VG_MVEC_power)                                                                          \
            for (int i = 0; i < (same ? 1 : lanes); i++) {                                                            \
                const T x = copy_a[i], y = copy_b[i], z = out[i];                                                     \
                out[i] = y == 2 ? x * x : y == 1 ? x : y == -1 ? 1 / x : z;                                           \
            }                                                                                                         \
        for (int i = 1; same && i < lanes; i++) out[i] = out[0];                                                      \
    }                                                                                                                 \
    static target void vg_##name##_##suffix##_##level(const void *a, const void *b, void *out, double number,         \
                                                      int64_t blocks) {                                               \
        (void)number;                                                                                                 \
        for (int64_t at = 0; at < lanes * blocks; at += lanes)                                                        \
            vg_##name##_##suffix##_##level##_block((const T *)a + at, operands == 2 ? (const T *)b + at : NULL,       \
                                                   (T *)out + at);                                                    \
    }
#define X(name, symbol, operands)                                                                                     \
    VG_MVEC_FUNCTION(name, double, f64, VG_LANES_F64, avx2, VG_TARGET_AVX2, __m256d, 4, _mm256_loadu_pd,              \
                     _mm256_storeu_pd, operands)                                                                      \
    VG_MVEC_FUNCTION(name, double, f64, VG_LANES_F64, avx512, VG_TARGET_AVX512, __m512d, 8, _mm512_loadu_pd,          \
                     _mm512_storeu_pd, operands)                                                                      \
    VG_MVEC_FUNCTION(name, float, f32, VG_LANES_F32, avx2, VG_TARGET_AVX2, __m256, 8, _mm256_loadu_ps,                \
                     _mm256_storeu_ps, operands)                                                                      \
    VG_MVEC_FUNCTION(name, float, f32, VG_LANES_F32, avx512, VG_TARGET_AVX512, __m512, 16, _mm512_loadu_ps,           \
                     _mm512_storeu_ps, operands)
VG_MVEC_LIST(X)
#undef X

/* erff of libmvec is not good enough: erf of sixteen floats as twice eight doubles. */
static void vg_erf_f32_wide(const void *a, const void *b, void *out, double number, int64_t blocks) {
    double x[VG_LANES_F32];
    const VgVectorFunction erf8 = vg_processor_level() == VG_AVX512 ? vg_erf_f64_avx512 : vg_erf_f64_avx2;
    for (int64_t at = 0; at < VG_LANES_F32 * blocks; at += VG_LANES_F32) {
        for (int i = 0; i < VG_LANES_F32; i++) x[i] = (double)((const float *)a)[at + i];
        erf8(x, b, x, number, VG_LANES_F32 / VG_LANES_F64);
        for (int i = 0; i < VG_LANES_F32; i++) ((float *)out)[at + i] = (float)x[i];
    }
}
#endif

/* ------------------------------------------------------------------------------------ our own, with AVX-512 */
#if VG_HAS_X86
#include "_functions.h"

#define VG_OWN_LIST(X)                                                                                                \
    X(exp, f64, vg_exp8) X(log, f64, vg_log8) X(tanh, f64, vg_tanh8) X(erfc, f64, vg_erfc8) X(exp, f32, vg_exp16)
#define VG_REGISTER_f64 __m512d
#define VG_REGISTER_f32 __m512
#define VG_LOAD_f64 _mm512_loadu_pd
#define VG_LOAD_f32 _mm512_loadu_ps
#define VG_STORE_f64 _mm512_storeu_pd
#define VG_STORE_f32 _mm512_storeu_ps
enum { VG_IS_FLOAT32_f64, VG_IS_FLOAT32_f32 };
#define X(name, suffix, function)                                                                                     \
    static VG_TARGET_AVX512 VG_REGISTER_##suffix vg_##name##_##suffix##_own_register(VG_REGISTER_##suffix x) {        \
        return function(x);                                                                                           \
    }                                                                                                                 \
    static VG_TARGET_AVX512 void vg_##name##_##suffix##_own(const void *a, const void *b, void *out, double number,   \
                                                            int64_t blocks) {                                         \
        (void)b; (void)number;                                                                                        \
        for (ptrdiff_t i = 0; i < VG_BLOCK_BYTES * blocks; i += VG_BLOCK_BYTES)                                       \
            VG_STORE_##suffix((char *)out + i, function(VG_LOAD_##suffix((const char *)a + i)));                      \
    }
VG_OWN_LIST(X)
#undef X
#endif

/* --------------------------------------------------------------------------------------------- all of them */
typedef struct {
    VgVectorFunction exact[2][VG_LEVELS]; /* of double and of float; lane by lane, or vectorised where that is exact */
    VgVectorFunction fast[2];             /* libmvec's or our own, for this processor; NULL: there is none */
    void *in_registers[2];                /* takes and gives registers, where that is all that `fast` does; or NULL */
} VgElementary;

static VgElementary vg_elementary[VG_OP_count];
static int vg_elementary_is_filled = 0;

#if VG_HAS_LIBMVEC
static void *vg_mvec_symbol(void *library, int level, int is_float32, const char *name, int operands) {
    char symbol[40];
    snprintf(symbol, sizeof symbol, "_ZGV%cN%d%s_%s%s", level == VG_AVX512 ? 'e' : 'd',
             (level == VG_AVX512 ? 8 : 4) << is_float32, operands == 2 ? "vv" : "v", name, is_float32 ? "f" : "");
    return dlsym(library, symbol);
}
#endif

/* Fill the table; the caller holds the GIL (Code's constructor does).  libmvec stays loaded. */
static void vg_fill_elementary(void) {
#define X(name, operands, value)                                                                                      \
    for (int level = 0; level < VG_LEVELS; level++) {                                                                 \
        vg_elementary[VG_OP_##name].exact[0][level] = vg_##name##_f64_lanes;                                          \
        vg_elementary[VG_OP_##name].exact[1][level] = vg_##name##_f32_lanes;                                          \
    }
    VG_LANE_LIST(X)
#undef X
#define X(name, operands, value, again, slowly)                                                                       \
    {                                                                                                                 \
        const VgElementary entry = {{{vg_##name##_f64_lanes, vg_##name##_f64_avx2, vg_##name##_f64_avx512},           \
                                     {vg_##name##_f32_lanes, vg_##name##_f32_avx2, vg_##name##_f32_avx512}},          \
                                    {NULL, NULL}, {NULL, NULL}};                                                      \
        vg_elementary[VG_OP_##name] = entry;                                                                          \
    }
    VG_INLINE_LIST(X)
#undef X
#if VG_HAS_LIBMVEC
    const int level = vg_processor_level();
    void *const library = level == VG_BASELINE ? NULL : dlopen("libmvec.so.1", RTLD_NOW);
    if (library != NULL) {
#define X(name, symbol, operands)                                                                                     \
    vg_mvec_f64[VG_MVEC_##name] = vg_mvec_symbol(library, level, 0, #symbol, operands);                               \
    vg_mvec_f32[VG_MVEC_##name] = vg_mvec_symbol(library, level, 1, #symbol, operands);                               \
    if (vg_mvec_f64[VG_MVEC_##name] != NULL)                                                                          \
        vg_elementary[VG_OP_##name].fast[0] = level == VG_AVX512 ? vg_##name##_f64_avx512 : vg_##name##_f64_avx2;     \
    if (vg_mvec_f32[VG_MVEC_##name] != NULL)                                                                          \
        vg_elementary[VG_OP_##name].fast[1] = level == VG_AVX512 ? vg_##name##_f32_avx512 : vg_##name##_f32_avx2;
        VG_MVEC_LIST(X)
#undef X
        vg_libmvec_exp_f64 = vg_mvec_f64[VG_MVEC_exp], vg_libmvec_exp_f32 = vg_mvec_f32[VG_MVEC_exp];
        if (vg_libmvec_exp_f64 != NULL && level == VG_AVX2) vg_mvec_f64[VG_MVEC_exp] = (void *)vg_exp_f64_avx2_register;
        if (vg_libmvec_exp_f32 != NULL && level == VG_AVX2) vg_mvec_f32[VG_MVEC_exp] = (void *)vg_exp_f32_avx2_register;
#define X(name, symbol, operands)                                                                                     \
    vg_elementary[VG_OP_##name].in_registers[0] = vg_mvec_f64[VG_MVEC_##name];                                        \
    vg_elementary[VG_OP_##name].in_registers[1] = vg_mvec_f32[VG_MVEC_##name];
        VG_MVEC_LIST(X)
#undef X
        vg_elementary[VG_OP_power].in_registers[0] = vg_elementary[VG_OP_power].in_registers[1] = NULL;
        vg_elementary[VG_OP_erf].in_registers[1] = NULL;
        if (vg_elementary[VG_OP_erf].fast[0] != NULL) vg_elementary[VG_OP_erf].fast[1] = vg_erf_f32_wide;
    }
#endif
#if VG_HAS_X86
    if (vg_processor_level() == VG_AVX512) {
#define X(name, suffix, function)                                                                                     \
    vg_elementary[VG_OP_##name].fast[VG_IS_FLOAT32_##suffix] = vg_##name##_##suffix##_own;                            \
    vg_elementary[VG_OP_##name].in_registers[VG_IS_FLOAT32_##suffix] = (void *)vg_##name##_##suffix##_own_register;
        VG_OWN_LIST(X)
#undef X
    }
#endif
    vg_elementary_is_filled = 1;
}

/* The function that computes an operation of a lowered program on V lanes; NULL where the operation is no elementary
 * function (or is one that is a single instruction: add, sqrt ...).  Call it with the GIL held; the function itself
 * needs no GIL, and out may be a or b.  b is read only by operations of two operands. */
static VgVectorFunction vg_vector_function(uint16_t op, int is_float32, int strict) {
    if (!vg_elementary_is_filled) vg_fill_elementary();
    if (op >= VG_OP_count) return NULL;
    if (!strict && vg_elementary[op].fast[is_float32] != NULL) return vg_elementary[op].fast[is_float32];
    return vg_elementary[op].exact[is_float32][vg_processor_level()];
}

/* The same function on a register: it takes and gives registers of vg_register_lanes numbers.  NULL: there is none. */
static void *vg_register_function(uint16_t op, int is_float32, int strict) {
    if (!vg_elementary_is_filled) vg_fill_elementary();
    return op < VG_OP_count && !strict ? vg_elementary[op].in_registers[is_float32] : NULL;
}

static int vg_register_lanes(int is_float32) { return (vg_processor_level() == VG_AVX512 ? 8 : 4) << is_float32; }

#endif
