/* Training of the GPT by hand: explicit gradients, 16 features side by side, and Adam.
 *
 * The positions of a document are the rows of small matrices, and nearly all that happens to them is one product of
 * matrices (tile), whose results stay in registers.  A pair of positions in attention is one vector as well: a head has
 * four features, and what belongs to the head stands in each of them.  Matrices of weights are kept a second time, turned,
 * so that rows are read on the way forward and on the way back.  REAL is float or double.
 *
 * Where to start reading: train, which compiled_gpt.py calls, then forward and back. */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef REAL real;
enum { EMBD = 16, HEAD = 4, BLOCK = 16, HIDDEN = 4 * EMBD, LETTERS = 32, WIDE = 64 / sizeof(real), PARTS = EMBD / WIDE };
typedef real vector __attribute__((vector_size(64)));
typedef real matrix[EMBD][EMBD] __attribute__((aligned(64)));
#define INLINE static inline __attribute__((always_inline))
#define UNROLLED _Pragma("GCC unroll 16")
#define SIDE_BY_SIDE _Pragma("omp simd") /* else gcc unrolls loops this short before it would vectorise them */

typedef struct { /* rows belong to the outputs; the alphabet is filled up to LETTERS */
    real wte[LETTERS][EMBD], wpe[BLOCK][EMBD], head[LETTERS][EMBD];
    matrix wq, wk, wv, wo;
    real fc1[HIDDEN][EMBD], fc2[EMBD][HIDDEN];
} __attribute__((aligned(64))) Weights;

typedef struct { /* the same; rows belong to the inputs */
    real head[EMBD][LETTERS];
    matrix wq, wk, wv, wo;
    real fc1[EMBD][HIDDEN], fc2[HIDDEN][EMBD];
} __attribute__((aligned(64))) Turned;

typedef struct { /* a row for each position */
    matrix embedded, first, attention_in, q, k, v, attended, second, hidden_in, third;
    real hidden[BLOCK][HIDDEN], probability[BLOCK][LETTERS];
    matrix chance[BLOCK]; /* [position][earlier one], the head's in each of its features */
    real scale[3][BLOCK]; /* of the three normalisations */
} __attribute__((aligned(64))) Rows;

typedef struct {
    Weights weights, gradient, m, v;
    Turned turned;
    int vocabulary, done;
} GPT;

enum { COUNT = sizeof(Weights) / sizeof(real) };

/* --------------------------------------------------------------------------------------------------- products */
/* so many rows of 16: out += or = Σ x[row * by_row + term * by_term] y[term]; rows of out and y are so far apart. */
INLINE void tile(const int rows, const int add, real *out, int apart, const real *x, int by_row, int by_term,
                 const real *y, int y_apart, int terms) {
    vector total[8][PARTS];
    UNROLLED
    for (int i = 0; i < rows; i++) {
        UNROLLED
        for (int part = 0; part < PARTS; part++)
            total[i][part] = add ? *(vector *)(out + i * apart + part * WIDE) : (vector){0};
    }
    for (int term = 0; term < terms; term++) {
        vector factor[PARTS];
        UNROLLED
        for (int part = 0; part < PARTS; part++) factor[part] = *(const vector *)(y + term * y_apart + part * WIDE);
        UNROLLED
        for (int i = 0; i < rows; i++) {
            UNROLLED
            for (int part = 0; part < PARTS; part++) total[i][part] += x[i * by_row + term * by_term] * factor[part];
        }
    }
    UNROLLED
    for (int i = 0; i < rows; i++) {
        UNROLLED
        for (int part = 0; part < PARTS; part++) *(vector *)(out + i * apart + part * WIDE) = total[i][part];
    }
}

INLINE void product(const int add, real *out, int apart, int rows, const int columns, const real *x, int by_row,
                    int by_term, const real *y, int y_apart, int terms) {
    for (int column = 0; column < columns; column += EMBD) {
        int row = 0;
#define TILE(count) \
    tile(count, add, out + row * apart + column, apart, x + row * by_row, by_row, by_term, y + column, y_apart, terms)
        for (; row + 8 <= rows; row += 8) TILE(8);
        switch (rows - row) {
        case 7: TILE(7); break;
        case 6: TILE(6); break;
        case 5: TILE(5); break;
        case 4: TILE(4); break;
        case 3: TILE(3); break;
        case 2: TILE(2); break;
        case 1: TILE(1); break;
        }
    }
}

/* y = or += x times weights whose rows belong to what x has; n rows. */
#define LINEAR(add, y, x, weights, n, from, to) \
    product(add, &(y)[0][0], to, n, to, &(x)[0][0], from, 1, &(weights)[0][0], to, from)
/* gradient += of weights whose rows belong to the outputs y, columns to the inputs x */
#define OUTER(gradient, dy, x, n, from, to) \
    product(1, &(gradient)[0][0], from, to, from, &(dy)[0][0], 1, to, &(x)[0][0], from, n)

/* ---------------------------------------------------------------------------------------------- rows of features */
INLINE real dot(const real *x, const real *y) {
    real total = 0;
    _Pragma("omp simd reduction(+ : total)")
    for (int i = 0; i < EMBD; i++) total += x[i] * y[i];
    return total;
}

/* Each entry the sum over its head. */
INLINE vector over_head(vector x) {
    typedef __typeof__((vector){0} > 0) index;
    index one, two;
    for (int i = 0; i < WIDE; i++) one[i] = i ^ 1, two[i] = i ^ 2;
    x += __builtin_shuffle(x, one);
    return x + __builtin_shuffle(x, two);
}

INLINE vector larger(vector x, vector y) {
    for (int i = 0; i < WIDE; i++) x[i] = x[i] > y[i] ? x[i] : y[i];
    return x;
}

INLINE void exps(real *x, int count) {
    SIDE_BY_SIDE
    for (int i = 0; i < count; i++) x[i] = sizeof(real) == 4 ? expf(x[i]) : exp(x[i]);
}

INLINE void normalise(matrix y, real *scale, matrix x, int n) {
    for (int p = 0; p < n; p++) {
        scale[p] = 1 / (real)sqrt(dot(x[p], x[p]) / EMBD + (real)1e-5);
        SIDE_BY_SIDE
        for (int i = 0; i < EMBD; i++) y[p][i] = x[p][i] * scale[p];
    }
}

/* dx += what the normalised rows' gradient dy says */
INLINE void normalise_back(matrix dx, matrix dy, const real *scale, matrix x, int n) {
    for (int p = 0; p < n; p++) {
        const real back = dot(dy[p], x[p]) * scale[p] * scale[p] * scale[p] / EMBD;
        SIDE_BY_SIDE
        for (int i = 0; i < EMBD; i++) dx[p][i] += dy[p][i] * scale[p] - x[p][i] * back;
    }
}

/* ------------------------------------------------------------------------------------------------------ attention */
static void attend(Rows *r, int n) {
    const real root = 1 / (real)sqrt((real)HEAD);
    for (int p = 0; p < n; p++) {
        real(*score)[EMBD] = r->chance[p];
        vector largest[PARTS], total[PARTS], mixed[PARTS];
        UNROLLED
        for (int part = 0; part < PARTS; part++) {
            const vector q = *(vector *)&r->q[p][part * WIDE] * root;
            for (int t = 0; t <= p; t++) {
                const vector s = over_head(q * *(vector *)&r->k[t][part * WIDE]);
                *(vector *)&score[t][part * WIDE] = s;
                largest[part] = t ? larger(s, largest[part]) : s;
            }
        }
        for (int t = 0; t <= p; t++) {
            UNROLLED
            for (int part = 0; part < PARTS; part++) *(vector *)&score[t][part * WIDE] -= largest[part];
        }
        for (int t = 0; t <= p; t++) exps(score[t], EMBD);
        UNROLLED
        for (int part = 0; part < PARTS; part++) {
            total[part] = mixed[part] = (vector){0};
            for (int t = 0; t <= p; t++) {
                const vector e = *(vector *)&score[t][part * WIDE];
                total[part] += e;
                mixed[part] += e * *(vector *)&r->v[t][part * WIDE];
            }
            const vector share = 1 / total[part];
            *(vector *)&r->attended[p][part * WIDE] = mixed[part] * share;
            for (int t = 0; t <= p; t++) *(vector *)&score[t][part * WIDE] *= share;
        }
    }
}

static void attend_back(Rows *r, matrix d_out, matrix dq, matrix dk, matrix dv, int n) {
    const real root = 1 / (real)sqrt((real)HEAD);
    memset(dk, 0, sizeof(matrix));
    memset(dv, 0, sizeof(matrix));
    for (int part = 0; part < EMBD; part += WIDE) {
        for (int p = 0; p < n; p++) {
            const vector d = *(vector *)&d_out[p][part], q = *(vector *)&r->q[p][part] * root;
            const vector mean = over_head(d * *(vector *)&r->attended[p][part]); /* Σ chance · d_chance */
            vector sum = {0};
            for (int t = 0; t <= p; t++) {
                const vector chance = *(vector *)&r->chance[p][t][part];
                const vector ds = chance * (over_head(d * *(vector *)&r->v[t][part]) - mean);
                *(vector *)&dv[t][part] += chance * d;
                *(vector *)&dk[t][part] += ds * q;
                sum += ds * *(vector *)&r->k[t][part];
            }
            *(vector *)&dq[p][part] = sum * root;
        }
    }
}

/* -------------------------------------------------------------------------------------------------------- a document */
/* Returns the sum of the positions' losses. */
static double forward(const GPT *gpt, Rows *r, const int32_t *tokens, int n) {
    const Weights *w = &gpt->weights;
    const Turned *t = &gpt->turned;
    for (int p = 0; p < n; p++)
        SIDE_BY_SIDE
        for (int i = 0; i < EMBD; i++) r->embedded[p][i] = w->wte[tokens[p]][i] + w->wpe[p][i];
    normalise(r->first, r->scale[0], r->embedded, n);
    normalise(r->attention_in, r->scale[1], r->first, n);
    LINEAR(0, r->q, r->attention_in, t->wq, n, EMBD, EMBD);
    LINEAR(0, r->k, r->attention_in, t->wk, n, EMBD, EMBD);
    LINEAR(0, r->v, r->attention_in, t->wv, n, EMBD, EMBD);
    attend(r, n);
    memcpy(r->second, r->first, n * sizeof(r->first[0]));
    LINEAR(1, r->second, r->attended, t->wo, n, EMBD, EMBD);
    normalise(r->hidden_in, r->scale[2], r->second, n);
    LINEAR(0, r->hidden, r->hidden_in, t->fc1, n, EMBD, HIDDEN);
    for (int p = 0; p < n; p++)
        SIDE_BY_SIDE
        for (int i = 0; i < HIDDEN; i++) r->hidden[p][i] = r->hidden[p][i] > 0 ? r->hidden[p][i] : 0;
    memcpy(r->third, r->second, n * sizeof(r->second[0]));
    LINEAR(1, r->third, r->hidden, t->fc2, n, HIDDEN, EMBD);
    LINEAR(0, r->probability, r->third, t->head, n, EMBD, LETTERS);
    double loss = 0;
    for (int p = 0; p < n; p++) {
        real *x = r->probability[p], largest = x[0], total = 0;
        for (int i = gpt->vocabulary; i < LETTERS; i++) x[i] = x[0];
        _Pragma("omp simd reduction(max : largest)")
        for (int i = 0; i < LETTERS; i++) largest = x[i] > largest ? x[i] : largest;
        const real target = x[tokens[p + 1]] - largest;
        SIDE_BY_SIDE
        for (int i = 0; i < LETTERS; i++) x[i] -= largest;
        exps(x, LETTERS);
        for (int i = gpt->vocabulary; i < LETTERS; i++) x[i] = 0;
        _Pragma("omp simd reduction(+ : total)")
        for (int i = 0; i < LETTERS; i++) total += x[i];
        const real share = 1 / total;
        SIDE_BY_SIDE
        for (int i = 0; i < LETTERS; i++) x[i] *= share;
        loss += (sizeof(real) == 4 ? logf(total) : log(total)) - target;
    }
    return loss;
}

/* Adds the gradient of the losses' sum times seed to the gradient. */
static void back(GPT *gpt, Rows *r, const int32_t *tokens, int n, real seed) {
    const Weights *w = &gpt->weights;
    Weights *g = &gpt->gradient;
    real d_hidden[BLOCK][HIDDEN] __attribute__((aligned(64)));
    matrix dx, d_in, dq, dk, dv, d_embedded;
    for (int p = 0; p < n; p++) {
        r->probability[p][tokens[p + 1]] -= 1;
        SIDE_BY_SIDE
        for (int i = 0; i < LETTERS; i++) r->probability[p][i] *= seed;
    }
    OUTER(g->head, r->probability, r->third, n, EMBD, LETTERS);
    LINEAR(0, dx, r->probability, w->head, n, LETTERS, EMBD);
    OUTER(g->fc2, dx, r->hidden, n, HIDDEN, EMBD);
    LINEAR(0, d_hidden, dx, w->fc2, n, EMBD, HIDDEN);
    for (int p = 0; p < n; p++)
        SIDE_BY_SIDE
        for (int i = 0; i < HIDDEN; i++) d_hidden[p][i] = r->hidden[p][i] > 0 ? d_hidden[p][i] : 0;
    OUTER(g->fc1, d_hidden, r->hidden_in, n, EMBD, HIDDEN);
    LINEAR(0, d_in, d_hidden, w->fc1, n, HIDDEN, EMBD);
    normalise_back(dx, d_in, r->scale[2], r->second, n);
    OUTER(g->wo, dx, r->attended, n, EMBD, EMBD);
    LINEAR(0, d_in, dx, w->wo, n, EMBD, EMBD);
    attend_back(r, d_in, dq, dk, dv, n);
    OUTER(g->wq, dq, r->attention_in, n, EMBD, EMBD);
    OUTER(g->wk, dk, r->attention_in, n, EMBD, EMBD);
    OUTER(g->wv, dv, r->attention_in, n, EMBD, EMBD);
    LINEAR(0, d_in, dq, w->wq, n, EMBD, EMBD);
    LINEAR(1, d_in, dk, w->wk, n, EMBD, EMBD);
    LINEAR(1, d_in, dv, w->wv, n, EMBD, EMBD);
    normalise_back(dx, d_in, r->scale[1], r->first, n);
    memset(d_embedded, 0, sizeof(matrix));
    normalise_back(d_embedded, dx, r->scale[0], r->embedded, n);
    for (int p = 0; p < n; p++)
        SIDE_BY_SIDE
        for (int i = 0; i < EMBD; i++) {
            g->wte[tokens[p]][i] += d_embedded[p][i];
            g->wpe[p][i] += d_embedded[p][i];
        }
}

/* ---------------------------------------------------------------------------------------------------- the weights */
/* out[j][i] = x[i][j]: squares of WIDE rows, whose halves, quarters ... change places in registers. */
INLINE void turn(real *out, const real *x, const int rows, const int columns) {
    typedef __typeof__((vector){0} > 0) index;
    for (int row = 0; row < rows; row += WIDE)
        for (int column = 0; column < columns; column += WIDE) {
            vector square[WIDE];
            UNROLLED
            for (int i = 0; i < WIDE; i++) square[i] = *(const vector *)(x + (row + i) * columns + column);
            UNROLLED
            for (int far = 1; far < WIDE; far *= 2) {
                index low, high;
                for (int i = 0; i < WIDE; i++) {
                    low[i] = i & far ? WIDE + (i ^ far) : i;
                    high[i] = i & far ? WIDE + i : i ^ far;
                }
                UNROLLED
                for (int i = 0; i < WIDE; i++)
                    if (!(i & far)) {
                        const vector a = square[i], b = square[i | far];
                        square[i] = __builtin_shuffle(a, b, low);
                        square[i | far] = __builtin_shuffle(a, b, high);
                    }
            }
            UNROLLED
            for (int i = 0; i < WIDE; i++) *(vector *)(out + (column + i) * rows + row) = square[i];
        }
}

static void turn_all(GPT *gpt) {
    const Weights *w = &gpt->weights;
    Turned *t = &gpt->turned;
    turn(&t->head[0][0], &w->head[0][0], LETTERS, EMBD);
    turn(&t->wq[0][0], &w->wq[0][0], EMBD, EMBD);
    turn(&t->wk[0][0], &w->wk[0][0], EMBD, EMBD);
    turn(&t->wv[0][0], &w->wv[0][0], EMBD, EMBD);
    turn(&t->wo[0][0], &w->wo[0][0], EMBD, EMBD);
    turn(&t->fc1[0][0], &w->fc1[0][0], HIDDEN, EMBD);
    turn(&t->fc2[0][0], &w->fc2[0][0], EMBD, HIDDEN);
}

static void adam(GPT *gpt, double rate) {
    const double beta1 = 0.85, beta2 = 0.99;
    gpt->done++;
    const real correct2 = (real)(1 / (1 - pow(beta2, gpt->done))), step = (real)(rate / (1 - pow(beta1, gpt->done)));
    real *restrict w = (real *)&gpt->weights, *restrict g = (real *)&gpt->gradient;
    real *restrict m = (real *)&gpt->m, *restrict v = (real *)&gpt->v;
    for (int i = 0; i < COUNT; i++) {
        m[i] = (real)beta1 * m[i] + (real)(1 - beta1) * g[i];
        v[i] = (real)beta2 * v[i] + (real)(1 - beta2) * g[i] * g[i];
        w[i] -= step * m[i] / ((sizeof(real) == 4 ? sqrtf(v[i] * correct2) : sqrt(v[i] * correct2)) + (real)1e-8);
        g[i] = 0;
    }
}

void *new_gpt(const double *start, int count, int vocabulary) {
    GPT *gpt = aligned_alloc(64, (sizeof(GPT) + 63) / 64 * 64);
    memset(gpt, 0, sizeof(GPT));
    gpt->vocabulary = vocabulary;
    const int letters = vocabulary * EMBD, missing = LETTERS * EMBD - letters; /* twice, after wte and after head */
    real *w = (real *)&gpt->weights;
    for (int i = 0; i < count; i++)
        w[i < letters ? i : i < 2 * letters + BLOCK * EMBD ? i + missing : i + 2 * missing] = (real)start[i];
    turn_all(gpt);
    return gpt;
}

/* So many steps; `chosen` has the documents of each.  A document is a row of BLOCK + 1 tokens, of which lengths[i] count
 * as predictions. */
void train(void *model, const int32_t *tokens, const int32_t *lengths, const int64_t *chosen, int documents, int steps,
           const double *rates, double *losses) {
    GPT *gpt = model;
    static Rows rows;
    for (int step = 0; step < steps; step++) {
        losses[step] = 0;
        for (int i = 0; i < documents; i++, chosen++) {
            const int n = lengths[*chosen];
            const int32_t *text = tokens + *chosen * (BLOCK + 1);
            losses[step] += forward(gpt, &rows, text, n) / n / documents;
            back(gpt, &rows, text, n, (real)1 / (n * documents));
        }
        adam(gpt, rates[step]);
        turn_all(gpt);
    }
}
