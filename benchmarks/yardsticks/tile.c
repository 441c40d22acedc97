/* What one core can do: multiply-adds on as many totals as it takes to hide how long one is on its way.
 *
 * Where to start reading: TILE. */
#if defined(__AVX512F__)
#define BYTES 64
#elif defined(__AVX__)
#define BYTES 32
#else
#define BYTES 16
#endif

#define EACH(DO) DO(0) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7) DO(8) DO(9) DO(10) DO(11)
#define BEGIN(i) Vector total##i = factor * (i);
#define STEP(i) total##i = total##i * factor + term;
#define END(i) sink += total##i;

/* So many times 12 multiply-adds, of a vector each; how many additions and multiplications that were. */
#define TILE(name, number)                                                                        \
    double name(long times) {                                                                     \
        typedef number Vector __attribute__((vector_size(BYTES)));                                \
        static volatile number half = 0.5;                                                        \
        static volatile Vector result;                                                            \
        const Vector factor = (Vector){} + half, term = factor * half;                            \
        Vector sink = factor;                                                                     \
        EACH(BEGIN)                                                                               \
        for (long n = 0; n < times; n++) { EACH(STEP) }                                           \
        EACH(END)                                                                                 \
        result = sink;                                                                            \
        return 2.0 * 12 * (BYTES / sizeof(number)) * (double)times;                               \
    }

TILE(tile_float64, double)
TILE(tile_float32, float)
