/* Explicit Euler steps of a rod that heats itself, and the gradient of its mean temperature at the end.
 *
 * The states of all steps and their reaction's slopes are kept for the way back.
 *
 * Where to start reading: value_and_grad, which yardsticks.py calls. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

double value_and_grad(const int *sizes, const double *const *inputs, double *gradient) {
    const int n = sizes[0], steps = sizes[1];
    const double diffusion = inputs[1][0], rate = inputs[1][1], scale = inputs[1][2];
    static double *memory;
    static size_t room;
    const size_t row = n + 2, needed = (2 * (size_t)steps + 3) * row * sizeof(double);
    if (needed > room) {
        free(memory);
        memory = malloc(needed);
        room = needed;
    }
    double *states = memory, *slopes = states + (steps + 1) * row, *a = slopes + steps * row, *b = a + row;
    double total = 0;
    for (int s = 0; s <= steps; s++) states[s * row] = states[s * row + n + 1] = 0; /* the rod's ends are cold */
    memcpy(states + 1, inputs[0], n * sizeof(double));
    for (int s = 0; s < steps; s++) {
        const double *restrict u = states + s * row;
        double *restrict next = states + (s + 1) * row, *restrict slope = slopes + s * row;
        for (int i = 1; i <= n; i++) {
            const double r = 1 / (1 + scale * u[i]), heat = rate * exp(u[i] * r);
            slope[i] = 1 - 2 * diffusion + heat * r * r;
            next[i] = u[i] + diffusion * (u[i - 1] - 2 * u[i] + u[i + 1]) + heat;
        }
    }
    for (int i = 1; i <= n; i++) total += states[steps * row + i];
    for (int i = 1; i <= n; i++) a[i] = 1.0 / n;
    a[0] = a[n + 1] = b[0] = b[n + 1] = 0;
    for (int s = steps - 1; s >= 0; s--) {
        const double *restrict slope = slopes + s * row, *restrict from = a;
        double *restrict to = b;
        for (int i = 1; i <= n; i++) to[i] = slope[i] * from[i] + diffusion * (from[i - 1] + from[i + 1]);
        b = a;
        a = to;
    }
    memcpy(gradient, a + 1, n * sizeof(double));
    return total / n;
}
