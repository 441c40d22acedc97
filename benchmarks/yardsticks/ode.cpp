// Explicit Euler steps of a rod that heats itself over the tape's Values.
//
// Where to start reading: value_and_grad, which yardsticks.py calls.
#include "tape.hpp"

extern "C" double value_and_grad(const int *sizes, const double *const *arrays, double *gradient) {
    const int n = sizes[0], steps = sizes[1];
    const double diffusion = arrays[1][0], rate = arrays[1][1], scale = arrays[1][2];
    static std::vector<Value> u, next;
    u.clear();
    u.reserve(n + 2);
    u.push_back(Value());  // the rod's ends are cold
    inputs(u, arrays[0], n);
    u.push_back(Value());
    next.assign(n + 2, Value());
    tape.reserve(12 * n * steps + n);
    for (int s = 0; s < steps; s++) {
        for (int i = 1; i <= n; i++) {
            const Value heat = rate * exp(u[i] / (1.0 + scale * u[i]));
            next[i] = u[i] + diffusion * (u[i - 1] - 2.0 * u[i] + u[i + 1]) + heat;
        }
        u.swap(next);
    }
    Value total = u[1];
    for (int i = 2; i <= n; i++) total += u[i];
    const Value out = total * (1.0 / n);
    backward(out, 1, n + 1);
    gradients(gradient, n);
    return out.data;
}
