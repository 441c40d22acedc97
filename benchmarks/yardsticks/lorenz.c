/* The Lorenz system by the classical Runge-Kutta method, x + y + z after so many steps, and its gradient.
 *
 * Two vectors of eight lanes side by side, as a step's operations wait for each other.  For the gradient the states before
 * the steps are kept; going back, a step's slopes are computed again.  Lanes that are left over count eight, of which the
 * last ones are thrown away.
 *
 * Where to start reading: run, which compilers.py calls, then back. */
#include <stdlib.h>
#include <string.h>

enum { SIDE = 8, TWO = 2, BLOCK = SIDE * TWO };
#define DT 0.002
typedef double lanes __attribute__((vector_size(SIDE * sizeof(double)), aligned(64)));
typedef struct {
    lanes x, y, z;
} vector; /* a state, a slope, their adjoints, or the parameters sigma, rho, beta */

static inline vector slope(vector s, vector p) {
    return (vector){p.x * (s.y - s.x), s.x * (p.y - s.z) - s.y, s.x * s.y - p.z * s.z};
}

static inline vector moved(vector s, double by, vector along) {
    return (vector){s.x + by * along.x, s.y + by * along.y, s.z + by * along.z};
}

static inline vector step(vector s, vector p) {
    const vector a = slope(s, p), b = slope(moved(s, DT / 2, a), p), c = slope(moved(s, DT / 2, b), p);
    const vector d = slope(moved(s, DT, c), p);
    return moved(moved(moved(moved(s, DT / 6, a), DT / 3, b), DT / 3, c), DT / 6, d);
}

/* The adjoint of the state in which a slope was taken, for the slope's; the parameters' is added up. */
static inline vector back_slope(vector s, vector p, vector g, vector *to) {
    to->x += (s.y - s.x) * g.x;
    to->y += s.x * g.y;
    to->z -= s.z * g.z;
    return (vector){(p.y - s.z) * g.y - p.x * g.x + s.y * g.z, p.x * g.x - g.y + s.x * g.z, -s.x * g.y - p.z * g.z};
}

/* The adjoint of the state before a step, for that of the one after it. */
static inline vector back(vector s, vector p, vector g, vector *to) {
    const vector a = slope(s, p), u = moved(s, DT / 2, a), b = slope(u, p), v = moved(s, DT / 2, b), c = slope(v, p);
    const vector zero = {{0}, {0}, {0}}, w = moved(s, DT, c);
    const vector gw = back_slope(w, p, moved(zero, DT / 6, g), to);
    const vector gv = back_slope(v, p, moved(moved(zero, DT / 3, g), DT, gw), to);
    const vector gu = back_slope(u, p, moved(moved(zero, DT / 3, g), DT / 2, gv), to);
    const vector gs = back_slope(s, p, moved(moved(zero, DT / 6, g), DT / 2, gu), to);
    return moved(moved(moved(moved(g, 1, gw), 1, gv), 1, gu), 1, gs);
}

static void block(int steps, const double *const *in, double *const *out, long from, long count, int gradient, vector *kept) {
    double numbers[7][BLOCK] __attribute__((aligned(64))) = {{0}};
    vector s[TWO], p[TWO];
    for (int i = 0; i < 6; i++) memcpy(numbers[i], in[i] + from, (size_t)count * sizeof(double));
    for (int k = 0; k < TWO; k++) {
        lanes x[6];
        for (int i = 0; i < 6; i++) memcpy(&x[i], numbers[i] + k * SIDE, sizeof(lanes));
        s[k] = (vector){x[0], x[1], x[2]};
        p[k] = (vector){x[3], x[4], x[5]};
    }
    for (int t = 0; t < steps; t++)
        for (int k = 0; k < TWO; k++) {
            if (gradient) kept[TWO * t + k] = s[k];
            s[k] = step(s[k], p[k]);
        }
    for (int k = 0; k < TWO; k++) {
        const lanes value = s[k].x + s[k].y + s[k].z;
        memcpy(numbers[0] + k * SIDE, &value, sizeof(lanes));
    }
    if (gradient) {
        vector g[TWO], to[TWO] = {{{0}, {0}, {0}}};
        for (int k = 0; k < TWO; k++) g[k] = (vector){(lanes){0} + 1, (lanes){0} + 1, (lanes){0} + 1};
        for (int t = steps - 1; t >= 0; t--)
            for (int k = 0; k < TWO; k++) g[k] = back(kept[TWO * t + k], p[k], g[k], &to[k]);
        for (int k = 0; k < TWO; k++) {
            const lanes x[6] = {g[k].x, g[k].y, g[k].z, to[k].x, to[k].y, to[k].z};
            for (int i = 0; i < 6; i++) memcpy(numbers[i + 1] + k * SIDE, &x[i], sizeof(lanes));
        }
    }
    for (int i = 0; i < (gradient ? 7 : 1); i++) memcpy(out[i] + from, numbers[i], (size_t)count * sizeof(double));
}

void run(long n, int steps, const double *const *in, double *const *out, int gradient) {
    vector *const kept = aligned_alloc(64, (size_t)(steps * TWO + 1) * sizeof(vector));
    for (long from = 0; from < n; from += BLOCK) block(steps, in, out, from, n - from < BLOCK ? n - from : BLOCK, gradient, kept);
    free(kept);
}
