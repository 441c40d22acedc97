/* The loss of a small LSTM language model and its gradient, by backpropagation through time.
 *
 * All features of a step are computed side by side: vectors are as wide as the features, filled up to WIDE with
 * zeros.  What the way back needs of a step is kept in Step.
 *
 * Where to start reading: value_and_grad, which yardsticks.py calls; forward and back are one layer of one step. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Else gcc unrolls loops this short before it would vectorise them. */
#define SIDE_BY_SIDE _Pragma("omp simd")

enum { LAYERS = 2, WIDE = 16 };
typedef double vector[WIDE] __attribute__((aligned(64)));

typedef struct {
    vector x, hidden, cell; /* as they come in */
    vector forget, in, out, change, squashed;
} Step;

typedef struct {
    vector weight[4], bias[4]; /* of the gates forget, in, out, change */
} Gates;

static void sigmoid(const double *x, const double *weight, const double *bias, double *y) {
    SIDE_BY_SIDE
    for (int i = 0; i < WIDE; i++) y[i] = 1 / (1 + exp(-(x[i] * weight[i] + bias[i])));
}

static void forward(const Gates *g, Step *s, double *hidden, double *cell, const double *x) {
    memcpy(s->x, x, sizeof(vector));
    memcpy(s->hidden, hidden, sizeof(vector));
    memcpy(s->cell, cell, sizeof(vector));
    sigmoid(s->x, g->weight[0], g->bias[0], s->forget);
    sigmoid(s->hidden, g->weight[1], g->bias[1], s->in);
    sigmoid(s->x, g->weight[2], g->bias[2], s->out);
    SIDE_BY_SIDE
    for (int i = 0; i < WIDE; i++) s->change[i] = tanh(s->hidden[i] * g->weight[3][i] + g->bias[3][i]);
    SIDE_BY_SIDE
    for (int i = 0; i < WIDE; i++) {
        cell[i] = s->cell[i] * s->forget[i] + s->in[i] * s->change[i];
        s->squashed[i] = tanh(cell[i]);
        hidden[i] = s->out[i] * s->squashed[i];
    }
}

/* d_hidden and d_cell become those of what came in; d_x is that of the layer's input. */
static void back(const Gates *g, const Step *s, Gates *d, double *d_hidden, double *d_cell, double *d_x) {
    SIDE_BY_SIDE
    for (int i = 0; i < WIDE; i++) {
        const double c = d_cell[i] + d_hidden[i] * s->out[i] * (1 - s->squashed[i] * s->squashed[i]);
        const double forget = c * s->cell[i] * s->forget[i] * (1 - s->forget[i]);
        const double in = c * s->change[i] * s->in[i] * (1 - s->in[i]);
        const double out = d_hidden[i] * s->squashed[i] * s->out[i] * (1 - s->out[i]);
        const double change = c * s->in[i] * (1 - s->change[i] * s->change[i]);
        d->weight[0][i] += forget * s->x[i];
        d->weight[1][i] += in * s->hidden[i];
        d->weight[2][i] += out * s->x[i];
        d->weight[3][i] += change * s->hidden[i];
        d->bias[0][i] += forget;
        d->bias[1][i] += in;
        d->bias[2][i] += out;
        d->bias[3][i] += change;
        d_cell[i] = c * s->forget[i];
        d_x[i] = forget * g->weight[0][i] + out * g->weight[2][i];
        d_hidden[i] = in * g->weight[1][i] + change * g->weight[3][i];
    }
}

double value_and_grad(const int *sizes, const double *const *inputs, double *gradient) {
    const int length = sizes[0], b = sizes[1];
    const double *parameters = inputs[0], *extra = inputs[1], *state = inputs[2], *sequence = inputs[3];
    static Step *steps;
    static vector *shares, *outs;
    static int room;
    Gates gates[LAYERS], d_gates[LAYERS];
    vector more[3], d_more[3], hidden[LAYERS], cell[LAYERS], d_hidden[LAYERS], d_cell[LAYERS], x, gold;
    if (length > room) {
        free(steps);
        free(shares);
        free(outs);
        steps = aligned_alloc(64, (size_t)length * LAYERS * sizeof(Step));
        shares = aligned_alloc(64, length * sizeof(vector));
        outs = aligned_alloc(64, length * sizeof(vector));
        room = length;
    }
    memset(gates, 0, sizeof(gates));
    memset(more, 0, sizeof(more));
    memset(hidden, 0, sizeof(hidden));
    memset(cell, 0, sizeof(cell));
    memset(d_gates, 0, sizeof(d_gates));
    memset(d_more, 0, sizeof(d_more));
    memset(d_hidden, 0, sizeof(d_hidden));
    memset(d_cell, 0, sizeof(d_cell));
    memset(gold, 0, sizeof(gold));
    for (int l = 0; l < LAYERS; l++)
        for (int i = 0; i < b; i++) {
            for (int g = 0; g < 4; g++) {
                gates[l].weight[g][i] = parameters[(2 * l) * 4 * b + g * b + i];
                gates[l].bias[g][i] = parameters[(2 * l + 1) * 4 * b + g * b + i];
            }
            hidden[l][i] = state[(2 * l) * b + i];
            cell[l][i] = state[(2 * l + 1) * b + i];
        }
    for (int k = 0; k < 3; k++) memcpy(more[k], extra + k * b, b * sizeof(double));
    double total = 0;
    for (int t = 0; t + 1 < length; t++) {
        double sum = 2, all = 0, hit = 0;
        memset(x, 0, sizeof(x));
        for (int i = 0; i < b; i++) x[i] = sequence[t * b + i] * more[0][i];
        for (int l = 0; l < LAYERS; l++)
            forward(&gates[l], &steps[t * LAYERS + l], hidden[l], cell[l], l ? hidden[l - 1] : x);
        memcpy(outs[t], hidden[LAYERS - 1], sizeof(vector));
        memcpy(gold, sequence + (t + 1) * b, b * sizeof(double));
        vector y;
        SIDE_BY_SIDE
        for (int i = 0; i < WIDE; i++) y[i] = outs[t][i] * more[1][i] + more[2][i];
        SIDE_BY_SIDE
        for (int i = 0; i < WIDE; i++) shares[t][i] = exp(y[i]);
        for (int i = b; i < WIDE; i++) shares[t][i] = 0;
        for (int i = 0; i < WIDE; i++) {
            sum += shares[t][i];
            all += gold[i];
            hit += gold[i] * y[i];
        }
        SIDE_BY_SIDE
        for (int i = 0; i < WIDE; i++) shares[t][i] = gold[i] - all * shares[t][i] / sum;
        total += hit - all * log(sum);
    }
    const double seed = -1.0 / ((length - 1) * b);
    for (int t = length - 2; t >= 0; t--) {
        vector d_x;
        SIDE_BY_SIDE
        for (int i = 0; i < WIDE; i++) {
            const double d = seed * shares[t][i];
            d_more[1][i] += d * outs[t][i];
            d_more[2][i] += d;
            d_x[i] = d * more[1][i];
        }
        for (int l = LAYERS - 1; l >= 0; l--) {
            SIDE_BY_SIDE
            for (int i = 0; i < WIDE; i++) d_hidden[l][i] += d_x[i];
            back(&gates[l], &steps[t * LAYERS + l], &d_gates[l], d_hidden[l], d_cell[l], d_x);
        }
        for (int i = 0; i < b; i++) d_more[0][i] += d_x[i] * sequence[t * b + i];
    }
    for (int l = 0; l < LAYERS; l++)
        for (int g = 0; g < 4; g++)
            for (int i = 0; i < b; i++) {
                gradient[(2 * l) * 4 * b + g * b + i] = d_gates[l].weight[g][i];
                gradient[(2 * l + 1) * 4 * b + g * b + i] = d_gates[l].bias[g][i];
            }
    for (int k = 0; k < 3; k++) memcpy(gradient + LAYERS * 8 * b + k * b, d_more[k], b * sizeof(double));
    return seed * total;
}
