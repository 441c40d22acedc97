/* Sums over the lanes: from a sum for each of V lanes to their total.
 *
 * Why: the gradient of a network is thousands of them.  One after the other each waits for its own additions; V at once,
 * turned so that the lanes of V sums stand side by side, are as many additions, and one for all of them.
 *
 * How: neighbours first, ((0 + 1) + (2 + 3)) + ((4 + 5) + (6 + 7)), and of 16 lanes the sum of both halves.  That order
 * is part of what a program computes: whichever way it is done, totals are the same to the last bit.
 *
 * Data structures: `accumulators` has V numbers for each sum; a VgRow is one of several rows of totals.
 *
 * Where to start reading: vg_totals; vg_add_rows, by which the totals of several blocks of lanes become one. */
#ifndef VALUEGRAD_SUMS_H
#define VALUEGRAD_SUMS_H

#include <stddef.h>
#include <string.h>
#include "_interpreter.h"

typedef struct VgRow {
    const char *first, *second; /* a row is the sum of both; second may be NULL */
} VgRow;

/* The sums from `from` on, one by one.  They are cleared for the next chunk, while they are at hand: to -0.0, which
 * leaves what is added to it as it is. */
#define VG_IN_PAIRS(T, V)                                                                                             \
    for (ptrdiff_t k = from; k < sums; k++) {                                                                         \
        T *const x = (T *)accumulators + k * (V);                                                                     \
        T total = ((x[0] + x[1]) + (x[2] + x[3])) + ((x[4] + x[5]) + (x[6] + x[7]));                                  \
        if ((V) == 16) total += ((x[(V) - 8] + x[(V) - 7]) + (x[(V) - 6] + x[(V) - 5])) +                             \
                                ((x[(V) - 4] + x[(V) - 3]) + (x[(V) - 2] + x[(V) - 1]));                              \
        ((T *)totals)[k] = total;                                                                                     \
        for (int i = 0; i < (V); i++) x[i] = (T)-0.0;                                                                 \
    }

#if defined(__GNUC__) && defined(__x86_64__) && defined(__has_builtin)
#if __has_builtin(__builtin_shufflevector)
#define VG_TURNED_SUMS 1
#endif
#endif

#ifdef VG_TURNED_SUMS
typedef double VgDoubles __attribute__((vector_size(64), aligned(8), may_alias));
typedef float VgFloats __attribute__((vector_size(64), aligned(4), may_alias));

/* Of two vectors of sums: x and y in turns, each number the sum of two neighbours. */
#define VG_TWO(x, y)                                                                                                  \
    (__builtin_shufflevector(x, y, 0, 8, 2, 10, 4, 12, 6, 14) +                                                       \
     __builtin_shufflevector(x, y, 1, 9, 3, 11, 5, 13, 7, 15))
#define VG_FOUR(x, y)                                                                                                 \
    (__builtin_shufflevector(x, y, 0, 1, 8, 9, 4, 5, 12, 13) +                                                        \
     __builtin_shufflevector(x, y, 2, 3, 10, 11, 6, 7, 14, 15))
#define VG_EIGHT(x, y)                                                                                                \
    (__builtin_shufflevector(x, y, 0, 1, 2, 3, 8, 9, 10, 11) +                                                        \
     __builtin_shufflevector(x, y, 4, 5, 6, 7, 12, 13, 14, 15))

VG_TARGET_AVX512 static ptrdiff_t vg_turned_f64(double *accumulators, double *totals, ptrdiff_t sums) {
    const VgDoubles clear = {-0.0, -0.0, -0.0, -0.0, -0.0, -0.0, -0.0, -0.0};
    ptrdiff_t k = 0;
    for (; k + 8 <= sums; k += 8) {
        VgDoubles *const x = (VgDoubles *)(accumulators + k * 8);
        const VgDoubles ab = VG_TWO(x[0], x[1]), cd = VG_TWO(x[2], x[3]);
        const VgDoubles ef = VG_TWO(x[4], x[5]), gh = VG_TWO(x[6], x[7]);
        const VgDoubles a_d = VG_FOUR(ab, cd), e_h = VG_FOUR(ef, gh);
        *(VgDoubles *)(totals + k) = VG_EIGHT(a_d, e_h);
        for (int i = 0; i < 8; i++) x[i] = clear;
    }
    return k;
}

/* The same of floats: first in fours of a quarter, and at the end both halves. */
#define VG_TWO_F(x, y)                                                                                                \
    (__builtin_shufflevector(x, y, 0, 16, 2, 18, 4, 20, 6, 22, 8, 24, 10, 26, 12, 28, 14, 30) +                       \
     __builtin_shufflevector(x, y, 1, 17, 3, 19, 5, 21, 7, 23, 9, 25, 11, 27, 13, 29, 15, 31))
#define VG_FOUR_F(x, y)                                                                                               \
    (__builtin_shufflevector(x, y, 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29) +                        \
     __builtin_shufflevector(x, y, 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31))
#define VG_EIGHT_F(x, y)                                                                                              \
    (__builtin_shufflevector(x, y, 0, 1, 2, 3, 16, 17, 18, 19, 8, 9, 10, 11, 24, 25, 26, 27) +                        \
     __builtin_shufflevector(x, y, 4, 5, 6, 7, 20, 21, 22, 23, 12, 13, 14, 15, 28, 29, 30, 31))
#define VG_SIXTEEN_F(x, y)                                                                                            \
    (__builtin_shufflevector(x, y, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23) +                          \
     __builtin_shufflevector(x, y, 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31))

VG_TARGET_AVX512 static ptrdiff_t vg_turned_f32(float *accumulators, float *totals, ptrdiff_t sums) {
    VgFloats clear;
    ptrdiff_t k = 0;
    for (int i = 0; i < 16; i++) clear[i] = -0.0f;
    for (; k + 16 <= sums; k += 16) {
        VgFloats *const x = (VgFloats *)(accumulators + k * 16);
        VgFloats eight[2];
        for (int half = 0; half < 2; half++) {
            const VgFloats *const y = x + half * 8;
            const VgFloats ab = VG_TWO_F(y[0], y[1]), cd = VG_TWO_F(y[2], y[3]);
            const VgFloats ef = VG_TWO_F(y[4], y[5]), gh = VG_TWO_F(y[6], y[7]);
            const VgFloats a_d = VG_FOUR_F(ab, cd), e_h = VG_FOUR_F(ef, gh);
            eight[half] = VG_EIGHT_F(a_d, e_h);
        }
        *(VgFloats *)(totals + k) = VG_SIXTEEN_F(eight[0], eight[1]);
        for (int i = 0; i < 16; i++) x[i] = clear;
    }
    return k;
}
#endif

/* Totals of all sums, which are cleared. */
static void vg_totals(int is_float32, void *VG_RESTRICT accumulators, void *VG_RESTRICT totals, ptrdiff_t sums) {
    ptrdiff_t from = 0;
#ifdef VG_TURNED_SUMS
    if (vg_processor_level() == VG_AVX512)
        from = is_float32 ? vg_turned_f32((float *)accumulators, (float *)totals, sums)
                          : vg_turned_f64((double *)accumulators, (double *)totals, sums);
#endif
    if (is_float32) {
        VG_IN_PAIRS(float, 16)
    } else {
        VG_IN_PAIRS(double, 8)
    }
}

/* to += from, number by number. */
static void vg_add_numbers(int is_float32, void *VG_RESTRICT to, const void *VG_RESTRICT from, ptrdiff_t count) {
    if (is_float32)
        for (ptrdiff_t i = 0; i < count; i++) ((float *)to)[i] += ((const float *)from)[i];
    else
        for (ptrdiff_t i = 0; i < count; i++) ((double *)to)[i] += ((const double *)from)[i];
}

/* ------------------------------------------------------------------------------------------------ sums of rows */
#define VG_ADD_TWO(T)                                                                                                 \
    static void vg_add_two_##T(T *VG_RESTRICT to, int adds, const T *a, const T *b, ptrdiff_t count) {                \
        if (adds)                                                                                                     \
            for (ptrdiff_t i = 0; i < count; i++) to[i] += a[i] + b[i];                                               \
        else                                                                                                          \
            for (ptrdiff_t i = 0; i < count; i++) to[i] = a[i] + b[i];                                                \
    }
VG_ADD_TWO(float)
VG_ADD_TWO(double)

/* The sum of a row and of another one, unless that is NULL; or of what is there already, and these. */
static void vg_add_row(int is_float32, void *to, int adds, const void *a, const void *b, ptrdiff_t count) {
    if (b == NULL && adds) vg_add_numbers(is_float32, to, a, count);
    else if (b == NULL) memcpy(to, a, (size_t)count * (is_float32 ? sizeof(float) : sizeof(double)));
    else if (is_float32) vg_add_two_float((float *)to, adds, (const float *)a, (const float *)b, count);
    else vg_add_two_double((double *)to, adds, (const double *)a, (const double *)b, count);
}

/* All rows in one pass, four registers at a time: from row to row the sum would go through memory. */
#ifdef VG_TURNED_SUMS
#define VG_OF_ROW(sum, ASSIGN, T, V, row, at)                                                                         \
    {                                                                                                                 \
        V x = *(const V *)((const T *)(row).first + (at));                                                            \
        if ((row).second) x += *(const V *)((const T *)(row).second + (at));                                          \
        sum ASSIGN x;                                                                                                 \
    }
#define VG_ALL_ROWS(T, V)                                                                                             \
    VG_TARGET_AVX512 static ptrdiff_t vg_all_rows_##T(T *to, const VgRow *row, ptrdiff_t rows, ptrdiff_t count) {     \
        enum { LANES = sizeof(V) / sizeof(T), TOGETHER = 4 };                                                         \
        ptrdiff_t i = 0;                                                                                              \
        for (; i + TOGETHER * LANES <= count; i += TOGETHER * LANES) {                                                \
            V sum[TOGETHER];                                                                                          \
            for (int v = 0; v < TOGETHER; v++) VG_OF_ROW(sum[v], =, T, V, row[0], i + v * LANES)                      \
            for (ptrdiff_t k = 1; k < rows; k++)                                                                      \
                for (int v = 0; v < TOGETHER; v++) VG_OF_ROW(sum[v], +=, T, V, row[k], i + v * LANES)                 \
            for (int v = 0; v < TOGETHER; v++) *(V *)(to + i + v * LANES) = sum[v];                                   \
        }                                                                                                             \
        return i;                                                                                                     \
    }
VG_ALL_ROWS(float, VgFloats)
VG_ALL_ROWS(double, VgDoubles)
#endif

/* to = ((row 0 + row 1) + row 2) + row 3: so many rows of so many numbers. */
static void vg_add_rows(int is_float32, char *to, const VgRow *row, ptrdiff_t rows, ptrdiff_t count) {
    ptrdiff_t done = 0;
#ifdef VG_TURNED_SUMS
    if (vg_processor_level() == VG_AVX512)
        done = is_float32 ? vg_all_rows_float((float *)to, row, rows, count)
                          : vg_all_rows_double((double *)to, row, rows, count);
#endif
    const size_t at = (size_t)done * (is_float32 ? sizeof(float) : sizeof(double));
    for (ptrdiff_t k = 0; k < rows && done < count; k++)
        vg_add_row(is_float32, to + at, k > 0, row[k].first + at, row[k].second ? row[k].second + at : NULL, count - done);
}

#endif
