/* The interpreter's kernels, for one type and one processor: _interpreter.h includes this file once for each.
 *
 * A kernel does one step of a program for all lanes of a block: loops without branches, which the compiler
 * vectorises.  A step's operands are slots of the frame (v: a number for each lane) or uniforms (s: one for all).
 * Before it includes this file, _interpreter.h defines
 *   T           double or float
 *   VG_SUFFIX   the end of the names, such as f64_avx2
 *   VG_TARGET   the processor's attribute
 *   VG_FMA      fma(x, y, z) where it is one instruction, else x * y + z
 *   VG_SQRT, VG_ABS   of a T
 *
 * Where to start reading: VG_BINARY. */

#define VG_PASTE2(name, suffix) vg_##name##_##suffix
#define VG_PASTE(name, suffix) VG_PASTE2(name, suffix)
#define VG_KERNEL(name) static VG_TARGET void VG_PASTE(name, VG_SUFFIX)(const VgStep *step, VgContext *context)

#define VG_LANES ((ptrdiff_t)(VG_BLOCK_BYTES / sizeof(T)))
/* A whole number of vectors, in a form that spares the compiler a loop for the rest. */
#define VG_COUNT const ptrdiff_t n = context->lanes & -VG_LANES
#define VG_EACH VG_IVDEP for (ptrdiff_t i = 0; i < n; i++)
#define VG_SLOT(index) ((T *)context->frame + (size_t)(index) * (size_t)context->lanes)
#define VG_UNIFORM(index) (((T *)context->uniform)[index])
#define VG_OUT T *VG_RESTRICT const out = VG_SLOT(step->out)
#define VG_IN(operand) const T *VG_RESTRICT const operand = VG_SLOT(step->operand)

/* ------------------------------------------------------------------------------- one, two and three operands */
#define VG_UNARY(name, value)                                                                                         \
    VG_KERNEL(name##_v) {                                                                                             \
        VG_COUNT;                                                                                                     \
        VG_OUT;                                                                                                       \
        VG_IN(a);                                                                                                     \
        VG_EACH {                                                                                                     \
            const T x = a[i];                                                                                         \
            out[i] = (value);                                                                                         \
        }                                                                                                             \
    }
VG_UNARY_LIST(VG_UNARY)

#define VG_BINARY(name, value)                                                                                        \
    VG_KERNEL(name##_vv) {                                                                                            \
        VG_COUNT;                                                                                                     \
        VG_OUT;                                                                                                       \
        VG_IN(a);                                                                                                     \
        VG_IN(b);                                                                                                     \
        VG_EACH {                                                                                                     \
            const T x = a[i], y = b[i];                                                                               \
            out[i] = (value);                                                                                         \
        }                                                                                                             \
    }                                                                                                                 \
    VG_KERNEL(name##_vs) {                                                                                            \
        VG_COUNT;                                                                                                     \
        VG_OUT;                                                                                                       \
        VG_IN(a);                                                                                                     \
        const T y = VG_UNIFORM(step->b);                                                                              \
        VG_EACH {                                                                                                     \
            const T x = a[i];                                                                                         \
            out[i] = (value);                                                                                         \
        }                                                                                                             \
    }                                                                                                                 \
    VG_KERNEL(name##_sv) {                                                                                            \
        VG_COUNT;                                                                                                     \
        VG_OUT;                                                                                                       \
        VG_IN(b);                                                                                                     \
        const T x = VG_UNIFORM(step->a);                                                                              \
        VG_EACH {                                                                                                     \
            const T y = b[i];                                                                                         \
            out[i] = (value);                                                                                         \
        }                                                                                                             \
    }
VG_BINARY_LIST(VG_BINARY)

VG_KERNEL(splat) {
    VG_COUNT;
    VG_OUT;
    const T x = VG_UNIFORM(step->a);
    VG_EACH out[i] = x;
}

VG_KERNEL(select_vv) {
    VG_COUNT;
    VG_OUT;
    VG_IN(a);
    VG_IN(b);
    VG_IN(c);
    VG_EACH {
        const T x = b[i], y = c[i];
        out[i] = a[i] != 0 ? x : y;
    }
}
VG_KERNEL(select_vs) {
    VG_COUNT;
    VG_OUT;
    VG_IN(a);
    VG_IN(b);
    const T y = VG_UNIFORM(step->c);
    VG_EACH {
        const T x = b[i];
        out[i] = a[i] != 0 ? x : y;
    }
}
VG_KERNEL(select_sv) {
    VG_COUNT;
    VG_OUT;
    VG_IN(a);
    VG_IN(c);
    const T x = VG_UNIFORM(step->b);
    VG_EACH {
        const T y = c[i];
        out[i] = a[i] != 0 ? x : y;
    }
}
VG_KERNEL(select_ss) {
    VG_COUNT;
    VG_OUT;
    VG_IN(a);
    const T x = VG_UNIFORM(step->b), y = VG_UNIFORM(step->c);
    VG_EACH out[i] = a[i] != 0 ? x : y;
}

/* The functions of _elementary.h. */
VG_KERNEL(function1_v) {
    VG_COUNT;
    VG_OUT;
    VG_IN(a);
    step->function(a, NULL, out, step->number, n / VG_LANES);
}
VG_KERNEL(function2_vv) {
    VG_COUNT;
    VG_OUT;
    VG_IN(a);
    VG_IN(b);
    step->function(a, b, out, step->number, n / VG_LANES);
}

/* ------------------------------------------------------------------------- any number of operands, in their order
 * The total stays in `out`.  Four operands at a time, so that it is read and written once for all four. */
#define VG_LIST(name, value)                                                                                          \
    VG_KERNEL(name) {                                                                                                 \
        const int32_t *const operands = step->operands, count = step->count;                                          \
        VG_COUNT;                                                                                                     \
        VG_OUT;                                                                                                       \
        if (count == 0 || operands[0] < 0) {                                                                          \
            const T first = count == 0 ? (T)step->number : VG_UNIFORM(~operands[0]);                                  \
            VG_EACH out[i] = first;                                                                                   \
        } else {                                                                                                      \
            memcpy(out, VG_SLOT(operands[0]), (size_t)n * sizeof(T));                                                 \
        }                                                                                                             \
        for (int32_t j = 1; j < count; j++) {                                                                         \
            if (operands[j] < 0) {                                                                                    \
                const T x = VG_UNIFORM(~operands[j]);                                                                 \
                VG_EACH {                                                                                             \
                    const T total = out[i];                                                                           \
                    out[i] = (value);                                                                                 \
                }                                                                                                     \
            } else if (j + 4 <= count && (operands[j + 1] | operands[j + 2] | operands[j + 3]) >= 0) {                \
                const int32_t *const four = operands + j;                                                             \
                const T *VG_RESTRICT const x0 = VG_SLOT(four[0]), *VG_RESTRICT const x1 = VG_SLOT(four[1]);           \
                const T *VG_RESTRICT const x2 = VG_SLOT(four[2]), *VG_RESTRICT const x3 = VG_SLOT(four[3]);           \
                VG_EACH {                                                                                             \
                    T total = out[i], x = x0[i];                                                                      \
                    total = (value);                                                                                  \
                    x = x1[i];                                                                                        \
                    total = (value);                                                                                  \
                    x = x2[i];                                                                                        \
                    total = (value);                                                                                  \
                    x = x3[i];                                                                                        \
                    out[i] = (value);                                                                                 \
                }                                                                                                     \
                j += 3;                                                                                               \
            } else {                                                                                                  \
                const T *VG_RESTRICT const x0 = VG_SLOT(operands[j]);                                                 \
                VG_EACH {                                                                                             \
                    const T total = out[i], x = x0[i];                                                                \
                    out[i] = (value);                                                                                 \
                }                                                                                                     \
            }                                                                                                         \
        }                                                                                                             \
    }
VG_LIST_LIST(VG_LIST)

/* Products of xs and ys.  The translation puts a uniform last, so there are three kinds of pairs. */
#define VG_DOT(name, product_plus)                                                                                    \
    VG_KERNEL(name) {                                                                                                 \
        const int32_t count = step->count / 2, *const xs = step->operands, *const ys = xs + count;                    \
        VG_COUNT;                                                                                                     \
        VG_OUT;                                                                                                       \
        const T first = count == 0 ? (T)0 : -(T)0; /* -0.0 leaves the first product as it is */                       \
        VG_EACH out[i] = first;                                                                                       \
        for (int32_t j = 0; j < count; j++) {                                                                         \
            const int four = j + 4 <= count && (xs[j] | xs[j + 1] | xs[j + 2] | xs[j + 3]) >= 0;                      \
            if (four && (ys[j] | ys[j + 1] | ys[j + 2] | ys[j + 3]) >= 0) {                                           \
                const T *VG_RESTRICT const x0 = VG_SLOT(xs[j]), *VG_RESTRICT const x1 = VG_SLOT(xs[j + 1]);           \
                const T *VG_RESTRICT const x2 = VG_SLOT(xs[j + 2]), *VG_RESTRICT const x3 = VG_SLOT(xs[j + 3]);       \
                const T *VG_RESTRICT const y0 = VG_SLOT(ys[j]), *VG_RESTRICT const y1 = VG_SLOT(ys[j + 1]);           \
                const T *VG_RESTRICT const y2 = VG_SLOT(ys[j + 2]), *VG_RESTRICT const y3 = VG_SLOT(ys[j + 3]);       \
                VG_EACH {                                                                                             \
                    T total = product_plus(x0[i], y0[i], out[i]);                                                     \
                    total = product_plus(x1[i], y1[i], total);                                                        \
                    total = product_plus(x2[i], y2[i], total);                                                        \
                    out[i] = product_plus(x3[i], y3[i], total);                                                       \
                }                                                                                                     \
                j += 3;                                                                                               \
            } else if (four && (ys[j] & ys[j + 1] & ys[j + 2] & ys[j + 3]) < 0) {                                     \
                const T *VG_RESTRICT const x0 = VG_SLOT(xs[j]), *VG_RESTRICT const x1 = VG_SLOT(xs[j + 1]);           \
                const T *VG_RESTRICT const x2 = VG_SLOT(xs[j + 2]), *VG_RESTRICT const x3 = VG_SLOT(xs[j + 3]);       \
                const T y0 = VG_UNIFORM(~ys[j]), y1 = VG_UNIFORM(~ys[j + 1]);                                         \
                const T y2 = VG_UNIFORM(~ys[j + 2]), y3 = VG_UNIFORM(~ys[j + 3]);                                     \
                VG_EACH {                                                                                             \
                    T total = product_plus(x0[i], y0, out[i]);                                                        \
                    total = product_plus(x1[i], y1, total);                                                           \
                    total = product_plus(x2[i], y2, total);                                                           \
                    out[i] = product_plus(x3[i], y3, total);                                                          \
                }                                                                                                     \
                j += 3;                                                                                               \
            } else if (xs[j] < 0) {                                                                                   \
                const T x = VG_UNIFORM(~xs[j]), y = VG_UNIFORM(~ys[j]);                                               \
                VG_EACH out[i] = product_plus(x, y, out[i]);                                                          \
            } else if (ys[j] < 0) {                                                                                   \
                const T *VG_RESTRICT const x = VG_SLOT(xs[j]);                                                        \
                const T y = VG_UNIFORM(~ys[j]);                                                                       \
                VG_EACH out[i] = product_plus(x[i], y, out[i]);                                                       \
            } else {                                                                                                  \
                const T *VG_RESTRICT const x = VG_SLOT(xs[j]), *VG_RESTRICT const y = VG_SLOT(ys[j]);                 \
                VG_EACH out[i] = product_plus(x[i], y[i], out[i]);                                                    \
            }                                                                                                         \
        }                                                                                                             \
    }
VG_DOT(dot, VG_FMA)
VG_DOT(dot_exact, VG_PRODUCT_PLUS)

/* Squares are added in double: those of floats then never overflow.  The rule of _ieee.h if a lane leaves the safe
 * range. */
VG_KERNEL(norm) {
    const int32_t *const operands = step->operands, count = step->count;
    VG_COUNT;
    VG_OUT;
    for (ptrdiff_t i = 0; i < n; i += VG_LANES) {
        double total[VG_BLOCK_BYTES / sizeof(T)];
        for (ptrdiff_t lane = 0; lane < VG_LANES; lane++) total[lane] = 0.0;
        for (int32_t j = 0; j < count; j++) {
            if (operands[j] < 0) {
                const double x = (double)VG_UNIFORM(~operands[j]);
                for (ptrdiff_t lane = 0; lane < VG_LANES; lane++) total[lane] = total[lane] + x * x;
            } else {
                const T *const x = VG_SLOT(operands[j]) + i;
                for (ptrdiff_t lane = 0; lane < VG_LANES; lane++)
                    total[lane] = total[lane] + (double)x[lane] * (double)x[lane];
            }
        }
        int unsafe = 0;
        for (ptrdiff_t lane = 0; lane < VG_LANES; lane++) {
            unsafe |= !(1e-280 < total[lane]) | !(total[lane] < 1e280);
            out[i + lane] = (T)sqrt(total[lane]);
        }
        for (ptrdiff_t lane = 0; unsafe && lane < VG_LANES; lane++) {
            for (int32_t j = 0; j < count; j++)
                context->scratch[j] =
                    (double)(operands[j] < 0 ? VG_UNIFORM(~operands[j]) : VG_SLOT(operands[j])[i + lane]);
            out[i + lane] = (T)ieee_norm_of(count, context->scratch);
        }
    }
}

/* The last operand is the index; from the end if negative.  Outside of the list: its nearest entry. */
VG_KERNEL(gather) {
    const int32_t *const operands = step->operands, count = step->count - 1;
    VG_COUNT;
    VG_OUT;
    VG_EACH {
        const double index = (double)(operands[count] < 0 ? VG_UNIFORM(~operands[count]) : VG_SLOT(operands[count])[i]);
        int32_t entry = index >= count ? count - 1 : index > -(double)count ? (int32_t)index : 0; /* nan: 0 */
        if (entry < 0) entry += count;
        out[i] = operands[entry] < 0 ? VG_UNIFORM(~operands[entry]) : VG_SLOT(operands[entry])[i];
    }
}

/* ------------------------------------------------------------------------------------- what leaves the frame */
/* A Python function, in the valid lanes that are still on this path; the block's other lanes are not looked at. */
VG_KERNEL(call) {
    const PyGILState_STATE state = PyGILState_Ensure();
    VG_COUNT;
    VG_OUT;
    VG_EACH out[i] = (T)NAN;
    for (ptrdiff_t i = 0; i < context->valid && !context->error; i++) {
        if (context->failed[i] != VG_PASSED) continue;
        for (int32_t j = 0; j < step->count; j++)
            context->scratch[j] =
                (double)(step->operands[j] < 0 ? VG_UNIFORM(~step->operands[j]) : VG_SLOT(step->operands[j])[i]);
        out[i] = (T)vg_call_python(context, (Py_ssize_t)step->number, step->count);
    }
    PyGILState_Release(state);
}

VG_KERNEL(store_uniform) { VG_UNIFORM(step->out) = VG_SLOT(step->a)[0]; }

/* Block by block of V lanes, so that the order of the additions does not depend on how many a call gets. */
VG_KERNEL(reduce) {
    VG_COUNT;
    VG_IN(a);
    T *VG_RESTRICT const total = (T *)context->accumulators + (size_t)step->out * (size_t)VG_LANES;
    ptrdiff_t i = 0;
    (void)n;
    for (; i + VG_LANES <= context->valid; i += VG_LANES)
        for (ptrdiff_t lane = 0; lane < VG_LANES; lane++) total[lane] = total[lane] + a[i + lane];
    for (ptrdiff_t lane = 0; i + lane < context->valid; lane++) total[lane] = total[lane] + a[i + lane];
}

#define VG_GUARD_KERNEL(name, fails)                                                                                  \
    VG_KERNEL(name) {                                                                                                 \
        const int32_t guard = step->out;                                                                              \
        int32_t *VG_RESTRICT const failed = context->failed;                                                          \
        VG_COUNT;                                                                                                     \
        VG_IN(a);                                                                                                     \
        VG_EACH {                                                                                                     \
            const int32_t before = failed[i], now = guard < before ? guard : before;                                  \
            failed[i] = (fails) ? now : before;                                                                       \
        }                                                                                                             \
    }
VG_GUARD_KERNEL(guard_true, !(a[i] != 0))
VG_GUARD_KERNEL(guard_false, a[i] != 0)

/* The table of kernels, in the order of VG_KERNEL_LIST. */
#define VG_ENTRY(name) VG_PASTE(name, VG_SUFFIX),
static const VgKernel VG_PASTE(kernels, VG_SUFFIX)[VG_KERNELS] = {VG_KERNEL_LIST(VG_ENTRY)};

#undef VG_PASTE2
#undef VG_PASTE
#undef VG_KERNEL
#undef VG_LANES
#undef VG_COUNT
#undef VG_EACH
#undef VG_SLOT
#undef VG_UNIFORM
#undef VG_OUT
#undef VG_IN
#undef VG_UNARY
#undef VG_BINARY
#undef VG_LIST
#undef VG_DOT
#undef VG_GUARD_KERNEL
#undef VG_ENTRY
#undef VG_SUFFIX
#undef VG_TARGET
#undef VG_FMA
