// log(sum(exp(x))) over the tape's Values; the largest number is a constant, as its part in the gradient is 0.
//
// Where to start reading: value_and_grad, which yardsticks.py calls.
#include "tape.hpp"

extern "C" double value_and_grad(const int *sizes, const double *const *arrays, double *gradient) {
    const int n = sizes[0];
    static std::vector<Value> values;
    values.clear();
    values.reserve(n);
    const Value *x = inputs(values, arrays[0], n);
    tape.reserve(3 * n + 2);
    double largest = x[0].data;
    for (int i = 0; i < n; i++) largest = std::max(largest, x[i].data);
    Value sum = exp(x[0] - largest);
    for (int i = 1; i < n; i++) sum += exp(x[i] - largest);
    const Value out = log(sum) + largest;
    backward(out, 1, n + 1);
    gradients(gradient, n);
    return out.data;
}
