/* exp, log, tanh and erfc of eight doubles at once, and exp of sixteen floats, for processors with AVX-512.
 *
 * Why: libmvec's take twice as long or more, and they are most of what a softmax, a recurrent layer, a mixture or an
 * option's price waits for.  Such code waits for the two ports that do arithmetic on 512 bits, so what counts is how
 * many instructions there are.  With AVX2, whose tables are not in registers, there would be little to win.
 *
 * How: a lane's result depends on its operand alone.  Polynomials have the smallest largest relative error for their
 * degree (Remez); a table is two registers, from which VPERMT2PD picks one of 16 numbers for each lane.  The method is
 * Tang's ("Table-driven implementation of the exponential function in IEEE floating-point arithmetic", 1989).
 *   exp    2**(n / 16) exp(r), n the integer nearest to 16 x / log 2.  log 2 / 16 is taken off in two parts, the first
 *          without an error (FMA).  2**(n / 16) is a number of the table times a power of two.
 *          Of floats there is no table: n is whole, and r up to log 2 / 2.
 *   tanh   E / (E + 2), E = exp(2 |x|) - 1, by a table of 2**(j / 16) - 1: what is small is not made of what is large.
 *   log    k log 2 + log(m), m between sqrt(1/2) and sqrt(2); log(1 + f) by s = f / (2 + f), put together as in Sun's
 *          fdlibm (e_log.c): f, which is exact, is added last.
 *   erfc   exp(-x**2) g(x), g(x) = exp(x**2) erfc(x), which is smooth: a polynomial in x less the middle of an interval;
 *          the leading bits of x + 2 say which of 16.  x**2 has twice a double's bits (FMA).  erfc(-x) = 2 - erfc(x).
 * Largest errors: _elementary.h.
 *
 * Where to start reading: vg_exp8. */
#ifndef VALUEGRAD_FUNCTIONS_H
#define VALUEGRAD_FUNCTIONS_H

typedef unsigned long long VgBits8 __attribute__((vector_size(64)));

#define VG_WIDE static inline VG_TARGET_AVX512 __attribute__((always_inline))
#define C(number) _mm512_set1_pd(number)
#define FMA _mm512_fmadd_pd   /* a b + c */
#define NMA _mm512_fnmadd_pd  /* c - a b */
#define LEAST _mm512_min_pd   /* of a number and nan the second operand */

/* For each lane the number of a table that its lowest four bits say. */
VG_WIDE __m512d vg_pick8(const double *table, VgBits8 at) {
    return _mm512_permutex2var_pd(_mm512_loadu_pd(table), (__m512i)at, _mm512_loadu_pd(table + 8));
}

VG_WIDE __m512d vg_magnitude8(__m512d x) { return _mm512_andnot_pd(C(-0.0), x); }

/* 2**(j / 16), rounded, and what it is more than 1, rounded. */
static const double VG_POWER[16] = {
    0x1.0000000000000p+0, 0x1.0b5586cf9890fp+0, 0x1.172b83c7d517bp+0, 0x1.2387a6e756238p+0,
    0x1.306fe0a31b715p+0, 0x1.3dea64c123422p+0, 0x1.4bfdad5362a27p+0, 0x1.5ab07dd485429p+0,
    0x1.6a09e667f3bcdp+0, 0x1.7a11473eb0187p+0, 0x1.8ace5422aa0dbp+0, 0x1.9c49182a3f090p+0,
    0x1.ae89f995ad3adp+0, 0x1.c199bdd85529cp+0, 0x1.d5818dcfba487p+0, 0x1.ea4afa2a490dap+0};
static const double VG_POWER_LESS_1[16] = {
    0x0.0p+0, 0x1.6ab0d9f3121ecp-5, 0x1.72b83c7d517aep-4, 0x1.1c3d373ab11c3p-3,
    0x1.837f0518db8a9p-3, 0x1.ef5326091a112p-3, 0x1.2ff6b54d8a89cp-2, 0x1.6ac1f752150a5p-2,
    0x1.a827999fcef32p-2, 0x1.e8451cfac061bp-2, 0x1.159ca845541b7p-1, 0x1.389230547e120p-1,
    0x1.5d13f32b5a75bp-1, 0x1.83337bb0aa538p-1, 0x1.ab031b9f7490ep-1, 0x1.d495f454921b3p-1};

/* exp(r) - 1 for |r| up to log 2 / 32: its error is 2.4e-20 at most. */
VG_WIDE __m512d vg_exp_less_one8(__m512d r) {
    const __m512d r2 = r * r;
    const __m512d q01 = FMA(C(0x1.5555555555559p-3), r, C(0x1.0000000000004p-1));
    const __m512d q23 = FMA(C(0x1.111111107d6ffp-7), r, C(0x1.555555547f7d4p-5));
    const __m512d q45 = FMA(C(0x1.a01b9ec45f66p-13), r, C(0x1.6c18416b3edccp-10));
    return FMA(FMA(FMA(q45, r2, q23), r2, q01), r2, r);
}

/* x = n log 2 + r, n a multiple of 1/16; `at` has 16 n in its lowest bits.  VSCALEFPD takes what n is rounded down
 * to. */
#define VG_SIXTEENTHS 0x1.8p48 /* numbers of this size are multiples of 1/16 */
#define VG_REDUCE8(x, n, at)                                                                                          \
    const __m512d n##_moved = FMA(x, C(0x1.71547652b82fep+0), C(VG_SIXTEENTHS));                                      \
    const __m512d n = n##_moved - C(VG_SIXTEENTHS);                                                                   \
    const VgBits8 at = (VgBits8)n##_moved
#define VG_LOG_2 0x1.62e42fefa39efp-1
#define VG_LOG_2_REST 0x1.abc9e3b39803fp-56

/* Below the normal numbers VSCALEFPD rounds; what rounds to 0 is 0 at once, as that takes the processor 150 cycles. */
VG_WIDE __m512d vg_exp8(__m512d x) {
    const __mmask8 is_there = _mm512_cmp_pd_mask(x, C(-746.0), _CMP_NLT_UQ);
    x = _mm512_maskz_min_pd(is_there, C(710.0), x); /* inf - inf would be nan below */
    VG_REDUCE8(x, n, at);
    const __m512d r = NMA(n, C(VG_LOG_2_REST), NMA(n, C(VG_LOG_2), x)), power = vg_pick8(VG_POWER, at);
    return _mm512_maskz_scalef_pd(is_there, FMA(power, vg_exp_less_one8(r), power), n);
}

/* exp of floats.  The polynomial's error is 0.05 ulp at most. */
VG_WIDE __m512 vg_exp16(__m512 x) {
#define S(number) _mm512_set1_ps(number)
    const __mmask16 is_there = _mm512_cmp_ps_mask(x, S(-104.0f), _CMP_NLT_UQ);
    x = _mm512_maskz_min_ps(is_there, S(89.0f), x); /* inf - inf would be nan below */
    const __m512 whole = S(0x1.8p23f); /* numbers of this size are whole */
    const __m512 n = _mm512_fmadd_ps(x, S(0x1.715476p+0f), whole) - whole;
    const __m512 r = _mm512_fnmadd_ps(n, S(-0x1.05c61p-29f), _mm512_fnmadd_ps(n, S(0x1.62e43p-1f), x)), r2 = r * r;
    const __m512 q01 = _mm512_fmadd_ps(S(0x1.555492p-3f), r, S(0x1.fffffcp-2f));
    const __m512 q23 = _mm512_fmadd_ps(S(0x1.12396cp-7f), r, S(0x1.5558aap-5f));
    const __m512 q = _mm512_fmadd_ps(_mm512_fmadd_ps(S(0x1.6a5228p-10f), r2, q23), r2, q01);
    return _mm512_maskz_scalef_ps(is_there, S(1.0f) + _mm512_fmadd_ps(q, r2, r), n);
#undef S
}

/* From 20 on it is 1. */
VG_WIDE __m512d vg_tanh8(__m512d x) {
    const __m512d magnitude = vg_magnitude8(x), twice = LEAST(C(40.0), magnitude + magnitude);
    VG_REDUCE8(twice, n, at);
    const __m512d r = NMA(n, C(VG_LOG_2_REST), NMA(n, C(VG_LOG_2), twice)), scale = _mm512_scalef_pd(C(1.0), n);
    const __m512d part = FMA(vg_pick8(VG_POWER, at), vg_exp_less_one8(r), vg_pick8(VG_POWER_LESS_1, at));
    const __m512d e = FMA(scale, part, scale - C(1.0)), y = e / (e + C(2.0));
    return _mm512_or_pd(y, _mm512_and_pd(x, C(-0.0)));
}

/* log of positive normal numbers, plus `more` times log 2. */
VG_WIDE __m512d vg_log_normal8(__m512d x, __m512d more) {
    const VgBits8 one = (VgBits8)C(1.0), exponent = (VgBits8)C(-INFINITY); /* and the sign's bit */
    const VgBits8 moved = (VgBits8)x + (one - (VgBits8)C(0x1.6a09e667f3bcdp-1)); /* the exponent of x / sqrt(1/2) */
    const __m512d k = (__m512d)(moved >> 52 | (VgBits8)C(0x1p52)) - (C(0x1p52 + 1023) - more);
    const __m512d f = (__m512d)((VgBits8)x + one - (moved & exponent)) - C(1.0);
    const __m512d s = f / (C(2.0) + f), half = C(0.5) * f * f, z = s * s, z2 = z * z;
    const __m512d p01 = FMA(C(0x1.999999997fefp-2), z, C(0x1.5555555555592p-1));
    const __m512d p23 = FMA(C(0x1.c71c521071b57p-3), z, C(0x1.24924941e5093p-2));
    const __m512d p45 = FMA(C(0x1.39a1cd5b0fdcep-3), z, C(0x1.74663dddbeca5p-3));
    const __m512d p = FMA(FMA(FMA(C(0x1.2f04eb6dac3e3p-3), z2, p45), z2, p23), z2, p01);
    const __m512d rest = FMA(s, FMA(z, p, half), k * C(VG_LOG_2_REST));
    return FMA(k, C(VG_LOG_2), f - (half - rest));
}

static VG_TARGET_AVX512 __attribute__((noinline)) __m512d vg_log_rare8(__m512d x) {
    const __mmask8 is_small = _mm512_cmp_pd_mask(x, C(0x1p-1022), _CMP_LT_OQ);
    const __m512d near = _mm512_mask_mul_pd(x, is_small, x, C(0x1p54));
    __m512d y = vg_log_normal8(near, _mm512_maskz_mov_pd(is_small, C(-54.0)));
    y = _mm512_mask_mov_pd(y, _mm512_cmp_pd_mask(x, C(INFINITY), _CMP_EQ_OQ), x);
    y = _mm512_mask_mov_pd(y, _mm512_cmp_pd_mask(x, C(0.0), _CMP_EQ_OQ), C(-INFINITY));
    return _mm512_mask_mov_pd(y, _mm512_cmp_pd_mask(x, C(0.0), _CMP_NGE_UQ), C(NAN));
}

VG_WIDE __m512d vg_log8(__m512d x) {
    if (__builtin_expect(_mm512_fpclass_pd_mask(x, 0xFF), 0)) return vg_log_rare8(x); /* 0xFF: all but such numbers */
    return vg_log_normal8(x, C(0.0));
}

/* exp(x**2) erfc(x): the middles of the intervals, and for each degree the 16 coefficients.  The largest relative error
 * is 2.7e-17; middles are where the value is nearly a double. */
enum { VG_ERFC_DEGREE = 14 };
static const double VG_ERFC_MIDDLE[16] = {
    0x1.f3p-3, 0x1.7bp-1, 0x1.4p+0, 0x1.bdcp+0,
    0x1.3f4p+1, 0x1.bfcp+1, 0x1.211p+2, 0x1.5f3p+2,
    0x1.bc6p+2, 0x1.20ep+3, 0x1.60ap+3, 0x1.a0ap+3,
    0x1.025p+4, 0x1.4p+4, 0x1.8p+4, 0x1.c07p+4};
static const double VG_ERFC[VG_ERFC_DEGREE + 1][16] = {
    {0x1.8cd84f7f026e7p-1, 0x1.05673d59b8ffdp-1, 0x1.78a692138767ap-2, 0x1.24feaa087581fp-2,
     0x1.b0a0177ede774p-3, 0x1.3e34efd15b7e1p-3, 0x1.f3ef4cc9a53c2p-4, 0x1.9e77f76fab9bdp-4,
     0x1.497996c2d6b25p-4, 0x1.fce5b1c9c3cc5p-5, 0x1.a1b76fcb47edap-5, 0x1.61f4744ba86ecp-5,
     0x1.1dbba66b8ad3fp-5, 0x1.cd9bc89b73548p-6, 0x1.80d1e88d3c62p-6, 0x1.499992e285003p-6},
    {-0x1.8058814b2efe6p-1, -0x1.7d762468fd15dp-2, -0x1.abaacdbfa8b07p-3, -0x1.0e41f5e0634a9p-3,
     -0x1.31ba25dae3fb9p-4, -0x1.52dd395e7a7e6p-5, -0x1.a750ac7c694ddp-6, -0x1.24d6e8fa465a6p-6,
     -0x1.741ebd777ff74p-7, -0x1.bd9c84e34e3acp-8, -0x1.2cced578bcf8ep-8, -0x1.b07444b270651p-9,
     -0x1.1a194f8c63adap-9, -0x1.705e8c068805p-10, -0x1.001a68f1b5449p-10, -0x1.77d72e9e4c764p-11},
    {0x1.2f32befe50dabp-1, 0x1.e0df0d7f754fcp-3, 0x1.b56f45eef7e58p-4, 0x1.cda7e8c5d8835p-5,
     0x1.9ae59e4d2d3d4p-6, 0x1.5ddb945dc1ecep-7, 0x1.5f2c5066a94b9p-8, 0x1.97ccb69ac717ep-9,
     0x1.a04a2c6bd476ep-10, 0x1.83ecd571397p-11, 0x1.af847fec50ab4p-12, 0x1.076c129aacc4ap-12,
     0x1.15fc57327fd8fp-13, 0x1.259993494e472p-14, 0x1.54964558f64cep-15, 0x1.ac4c173de0028p-16},
    {-0x1.9df60557f53e2p-2, -0x1.0f4f72e2c088ap-3, -0x1.9b635ac624aacp-5, -0x1.71964d44148efp-6,
     -0x1.0819302017b0fp-7, -0x1.5f08ca9fdad2bp-9, -0x1.1dbcca253d866p-10, -0x1.17fc8cd65ce66p-11,
     -0x1.cd64d6f1930dap-13, -0x1.4fc64187170c6p-14, -0x1.344c0a1938a0bp-15, -0x1.4000f927a8835p-16,
     -0x1.116b357f5fb92p-17, -0x1.d36fe3dd8fff1p-19, -0x1.c48d27f6c7ceep-20, -0x1.e7c45d87c8212p-21},
    {0x1.f988ac6f55876p-3, 0x1.1809bdf49c3bbp-4, 0x1.68a25a6641f51p-6, 0x1.17c85c826642ep-7,
     0x1.4630d4249f8aap-9, 0x1.56fe2159b2b7ep-11, 0x1.c885465fc77afp-13, 0x1.7b4f226758693p-14,
     0x1.fac6e3c13a0fdp-16, 0x1.20ffc7fd25a02p-17, 0x1.b6d0a0d4c1cddp-19, 0x1.83a3ee4bba752p-20,
     0x1.0c6ce3b49c96p-21, 0x1.73a4ded43df0dp-23, 0x1.2c675fe07059fp-24, 0x1.1592729b31757p-25},
    {-0x1.19e6257852086p-3, -0x1.0c42f2ed9b822p-5, -0x1.299636d6cc724p-7, -0x1.9338c586956c8p-9,
     -0x1.848658a173209p-11, -0x1.46eebaf0a64e2p-13, -0x1.665d634c96263p-15, -0x1.fb3955543d74dp-17,
     -0x1.13de01e0c9561p-18, -0x1.eeb9bf100f522p-21, -0x1.371877569b522p-22, -0x1.d441b976f298cp-24,
     -0x1.0708cb42669aap-25, -0x1.271eee8131c3bp-27, -0x1.8e79b8190ff1ep-29, -0x1.3bb71e71571cbp-30},
    {0x1.233b7b5d04949p-4, 0x1.e1ffe6c702faep-7, 0x1.d1b695aab73d8p-9, 0x1.16063abc3c761p-10,
     0x1.bfa2fb5b1d25dp-13, 0x1.3075e8a4392a7p-15, 0x1.14a7bd01da8a3p-17, 0x1.4ee84b010806ap-19,
     0x1.29c437f07a542p-21, 0x1.a5248acfbedc9p-24, 0x1.b76ce8870e73fp-26, 0x1.1a0882db4f01p-27,
     0x1.0146b461facb5p-29, 0x1.d42321f888184p-32, 0x1.080e891d0753ap-33, 0x1.66dfe1d2884dcp-35},
    {-0x1.199f3de5a5331p-5, -0x1.9949a38047704p-8, -0x1.5b8bc93becaa8p-10, -0x1.7064cbb8be304p-12,
     -0x1.f42623f1ec2c7p-15, -0x1.1562d255d0271p-17, -0x1.a4622879dd763p-20, -0x1.b4ee1ac6d0a96p-22,
     -0x1.3eb72b14946bdp-24, -0x1.6494c784cd0fbp-27, -0x1.352e7dce87697p-29, -0x1.52cda4aaa2744p-31,
     -0x1.f65d661becddp-34, -0x1.72d7953d5c3a5p-36, -0x1.5daa87a2f3108p-38, -0x1.97ad91fd29a5ap-40},
    {0x1.00ec664ccc6cep-6, 0x1.4a83e69aa15bcp-9, 0x1.f0fe6fb561085p-12, 0x1.d6a569874c90dp-14,
     0x1.0f8d64faf4221p-16, 0x1.ef10e475c2bc5p-20, 0x1.3a898e9ed977cp-22, 0x1.19b0ca855f012p-24,
     0x1.5259e00451824p-27, 0x1.2c5275b7cfd6bp-30, 0x1.b177c9941af5ep-33, 0x1.95e331210f9fep-35,
     0x1.e9920edcbd728p-38, 0x1.2569bb4b55553p-40, 0x1.cea351c344a28p-43, 0x1.ced41623661d3p-45},
    {-0x1.bd04a7bc6881p-8, -0x1.fe2616c3e5a61p-11, -0x1.55c0913f062e7p-13, -0x1.22b3e2f3c4809p-15,
     -0x1.1f1f70dfaf17bp-18, -0x1.b12de9f0a167ap-22, -0x1.cfcfe93f5ada1p-25, -0x1.671bc13047b38p-27,
     -0x1.6454edefe5bedp-30, -0x1.f73fc1997a7aep-34, -0x1.2ebe0dd8779f7p-36, -0x1.e4ef8add450d6p-39,
     -0x1.dc3ddfaf995fdp-42, -0x1.cfbe50d2da3a3p-45, -0x1.31cbcdcaa403dp-47, -0x1.068e4d2b1381ep-49},
    {0x1.6fb3b183bd081p-9, 0x1.79c4efcce55ecp-12, 0x1.c5703f0a79568p-15, 0x1.5c17db0cf9b0cp-17,
     0x1.2812a2ae35e9ep-20, 0x1.73fe16c854321p-24, 0x1.5129a761b5dc3p-27, 0x1.c4c7ef82b7b64p-30,
     0x1.744a5d5a73f8dp-33, 0x1.a37dc8477d6e7p-37, 0x1.a558f36130621p-40, 0x1.20e90c15db945p-42,
     0x1.ce7e20b811fdcp-46, 0x1.6e08f2e6bfd5cp-49, 0x1.93e9224220152p-52, 0x1.29b3ecbb867d6p-54},
    {-0x1.22f71eb13d1dcp-10, -0x1.0d4445f48244cp-13, -0x1.22ef1a5c10e8ep-16, -0x1.94d48bcdf8e9ap-19,
     -0x1.29d91fa298e16p-22, -0x1.3999dbee7b96cp-26, -0x1.e363eab1386ffp-30, -0x1.1a5aeda946b4ap-32,
     -0x1.81951261d2d9fp-36, -0x1.5bacf992c4c62p-40, -0x1.240f870c9bf93p-43, -0x1.57450aa99e39ap-46,
     -0x1.bfcdee2dec6d7p-50, -0x1.2069239c30eadp-53, -0x1.0a751de8592bep-56, -0x1.514bab3d4267fp-59},
    {0x1.bb50560ad3e9p-12, 0x1.7319b05116658p-15, 0x1.6a0ec6bbc13f6p-18, 0x1.ca7705606b414p-21,
     0x1.25ba67255553ap-24, 0x1.04214464e3e5bp-28, 0x1.55bbff166a004p-32, 0x1.5cc35d0eda47p-35,
     0x1.8eebc54c02809p-39, 0x1.1e7964ad4e0b8p-43, 0x1.935343aa836a8p-47, 0x1.96afa54a30d5p-50,
     0x1.ae35ef09a0f57p-54, 0x1.c63420e2f0686p-58, 0x1.5f5bfef6c2006p-61, 0x1.7de108c8372cdp-64},
    {-0x1.4e280667cc091p-13, -0x1.f94b5719de2bp-17, -0x1.be79cabd0370cp-20, -0x1.00d881b5a71bcp-22,
     -0x1.2a0fd8f273696p-26, -0x1.b8a6a06034f0dp-31, -0x1.eb4c7615b9f6bp-35, -0x1.b306828aa74d8p-38,
     -0x1.ac84ba2ef014ep-42, -0x1.e9f82920a516p-47, -0x1.1da54b289fde9p-50, -0x1.ead1659b4cd14p-54,
     -0x1.b6f1e0b85bd41p-58, -0x1.729b33b3a699dp-62, -0x1.daf8825b7cebap-66, -0x1.b884f68f9be0ap-69},
    {0x1.c734081b4144bp-15, 0x1.368cb127e95d4p-18, 0x1.05b3585475b8ap-21, 0x1.0ab1bb59e2415p-24,
     0x1.1290ebb15bcdep-28, 0x1.5ed0fb6343d1bp-33, 0x1.618c7418f5e7cp-37, 0x1.ff5dcb2d65a2dp-41,
     0x1.87fb0fe7ba11cp-45, 0x1.a1769fe6381eep-50, 0x1.91d9ad28a9b59p-54, 0x1.27a3be62c6aabp-57,
     0x1.e66c708418391p-62, 0x1.23149781c0702p-66, 0x1.389ac3c8dec5dp-70, 0x1.f98cf6c6c6109p-74}};

/* From 27.3 on it is 0. */
VG_WIDE __m512d vg_erfc8(__m512d x) {
    const __m512d magnitude = LEAST(C(28.0), vg_magnitude8(x));
    const VgBits8 interval = (VgBits8)(magnitude + C(2.0)) >> 50; /* two bits of the exponent and two behind them */
    const __m512d d = magnitude - vg_pick8(VG_ERFC_MIDDLE, interval), d2 = d * d;
    __m512d even = vg_pick8(VG_ERFC[14], interval), odd = vg_pick8(VG_ERFC[13], interval);
#define STEP(k)                                                                                                       \
    even = FMA(even, d2, vg_pick8(VG_ERFC[k], interval)), odd = FMA(odd, d2, vg_pick8(VG_ERFC[(k) - 1], interval))
    STEP(12), STEP(10), STEP(8), STEP(6), STEP(4), STEP(2);
#undef STEP
    const __m512d g = FMA(FMA(even, d, odd), d, vg_pick8(VG_ERFC[0], interval));
    const __m512d square = magnitude * magnitude, beyond = _mm512_fmsub_pd(magnitude, magnitude, square);
    VG_REDUCE8(-square, n, at);
    const __m512d r = NMA(n, C(VG_LOG_2), -square) - FMA(n, C(VG_LOG_2_REST), beyond);
    const __m512d power = vg_pick8(VG_POWER, at), scaled = g * power, left = _mm512_fmsub_pd(g, power, scaled);
    const __m512d y = _mm512_scalef_pd(scaled + FMA(scaled, vg_exp_less_one8(r), left), n);
    return _mm512_mask_sub_pd(y, _mm512_cmp_pd_mask(x, C(0.0), _CMP_LT_OQ), C(2.0), y);
}

#undef C
#undef FMA
#undef NMA
#undef LEAST

#endif
