/* The likelihood of a Gaussian mixture and its gradient, eight points side by side.
 *
 * A block of points goes through all components: what each component gives to each point is kept (LX, CENTRED), since
 * the gradient needs each component's share of the point, which is known after the last.  Points are the innermost
 * dimension of everything, in a vector type of gcc; what depends on the parameters alone is computed once.
 *
 * Where to start reading: value_and_grad, which yardsticks.py calls, then block. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { D = 10, PACKED = D * (D + 1) / 2, SIDE = 8, MOST = 64 };
typedef double lanes __attribute__((vector_size(SIDE * sizeof(double)), aligned(64)));

static lanes centred[MOST][D], lx[MOST][D], term[MOST];
static lanes d_alpha[MOST], d_mean[MOST][D], d_icf[MOST][PACKED]; /* sums over the points, not yet over the lanes */
static double diagonal[MOST][D], log_determinant[MOST];

static lanes exps(lanes x) {
    double numbers[SIDE]; /* an array, so that gcc takes the vector function */
    memcpy(numbers, &x, sizeof(x));
    for (int i = 0; i < SIDE; i++) numbers[i] = exp(numbers[i]);
    memcpy(&x, numbers, sizeof(x));
    return x;
}

static lanes larger(lanes a, lanes b) {
    for (int i = 0; i < SIDE; i++) a[i] = a[i] > b[i] ? a[i] : b[i];
    return a;
}

static double sum(lanes x) {
    double total = 0;
    for (int i = 0; i < SIDE; i++) total += x[i];
    return total;
}

/* log of the sum over the components, for the points whose weight is 1; the others count as nothing. */
static double block(int k, const double *alphas, const double *means, const double *icf, const lanes *x, lanes weight) {
    lanes largest = {0};
    for (int c = 0; c < k; c++) {
        const double *below = icf + c * PACKED + D;
        lanes square = {0};
        for (int i = 0; i < D; i++) centred[c][i] = x[i] - means[c * D + i];
        for (int i = 0; i < D; i++) {
            lanes z = diagonal[c][i] * centred[c][i];
            for (int j = 0; j < i; j++) z += *below++ * centred[c][j];
            lx[c][i] = z;
            square += z * z;
        }
        term[c] = alphas[c] + log_determinant[c] - 0.5 * square;
        largest = c ? larger(largest, term[c]) : term[c];
    }
    lanes total = {0}, logs;
    for (int c = 0; c < k; c++) total += term[c] = exps(term[c] - largest);
    for (int i = 0; i < SIDE; i++) logs[i] = log(total[i]);
    const lanes scale = weight / total;
    for (int c = 0; c < k; c++) {
        const double *below = icf + c * PACKED + D;
        lanes *d_below = d_icf[c] + D;
        const lanes share = term[c] * scale;
        lanes d_centred[D] = {0};
        d_alpha[c] += share;
        for (int i = 0; i < D; i++) {
            const lanes d = share * lx[c][i];
            d_icf[c][i] += share - d * (diagonal[c][i] * centred[c][i]);
            d_centred[i] += diagonal[c][i] * d;
            for (int j = 0; j < i; j++) {
                *d_below++ -= d * centred[c][j];
                d_centred[j] += *below++ * d;
            }
        }
        for (int i = 0; i < D; i++) d_mean[c][i] += d_centred[i];
    }
    return sum((logs + largest) * weight);
}

double value_and_grad(const int *sizes, const double *const *inputs, double *gradient) {
    const int points = sizes[0], k = sizes[1];
    const double *alphas = inputs[0], *means = inputs[1], *icf = inputs[2], *x = inputs[3];
    double value = 0, prior = 0, largest = alphas[0], total = 0;
    memset(d_alpha, 0, sizeof(d_alpha));
    memset(d_mean, 0, sizeof(d_mean));
    memset(d_icf, 0, sizeof(d_icf));
    for (int c = 0; c < k; c++) {
        log_determinant[c] = 0;
        for (int i = 0; i < D; i++) {
            diagonal[c][i] = exp(icf[c * PACKED + i]);
            log_determinant[c] += icf[c * PACKED + i];
            prior += diagonal[c][i] * diagonal[c][i];
        }
        for (int i = D; i < PACKED; i++) prior += icf[c * PACKED + i] * icf[c * PACKED + i];
        largest = alphas[c] > largest ? alphas[c] : largest;
    }
    for (int first = 0; first < points; first += SIDE) {
        lanes columns[D] = {0}, weight = {0};
        const int some = points - first < SIDE ? points - first : SIDE;
        for (int l = 0; l < some; l++) weight[l] = 1;
        for (int i = 0; i < D; i++) memcpy(&columns[i], x + (size_t)i * points + first, some * sizeof(double));
        value += block(k, alphas, means, icf, columns, weight);
    }
    for (int c = 0; c < k; c++) total += exp(alphas[c] - largest);
    double *d_means = gradient + k, *d_icfs = gradient + k + k * D;
    for (int c = 0; c < k; c++) {
        gradient[c] = sum(d_alpha[c]) - points * exp(alphas[c] - largest) / total;
        for (int i = 0; i < D; i++) d_means[c * D + i] = sum(d_mean[c][i]);
        for (int i = 0; i < PACKED; i++) {
            const double q = i < D ? diagonal[c][i] * diagonal[c][i] : icf[c * PACKED + i];
            d_icfs[c * PACKED + i] = sum(d_icf[c][i]) + q;
        }
    }
    return value - points * (largest + log(total)) + 0.5 * prior;
}
