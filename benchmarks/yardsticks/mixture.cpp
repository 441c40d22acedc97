// The likelihood of a Gaussian mixture over the tape's Values, a point after the other.
//
// What depends on the parameters alone is recorded once and stays; a point's nodes come after it and are dropped when
// its gradient is there, so the tape stays in the cache.
//
// Where to start reading: value_and_grad, which yardsticks.py calls.
#include "tape.hpp"

static const int D = 10, PACKED = D * (D + 1) / 2;

static Value logsumexp(const std::vector<Value> &x) {
    double largest = x[0].data;
    for (const Value &value : x) largest = std::max(largest, value.data);
    Value sum = exp(x[0] - largest);
    for (size_t i = 1; i < x.size(); i++) sum += exp(x[i] - largest);
    return log(sum) + largest;
}

extern "C" double value_and_grad(const int *sizes, const double *const *arrays, double *gradient) {
    const int points = sizes[0], k = sizes[1], parameters = k * (1 + D + PACKED);
    static std::vector<Value> values, diagonal, constant, terms;
    values.clear();
    diagonal.clear();
    constant.clear();
    values.reserve(parameters);
    inputs(values, arrays[0], k);
    inputs(values, arrays[1], k * D);
    inputs(values, arrays[2], k * PACKED);
    const Value *alphas = &values[0], *means = alphas + k, *icf = means + k * D;
    tape.reserve(4 * parameters);
    for (int c = 0; c < k; c++) {
        const Value *q = icf + c * PACKED;
        Value sum = alphas[c];
        for (int i = 0; i < D; i++) {
            diagonal.push_back(exp(q[i]));
            sum += q[i];
        }
        constant.push_back(sum);
    }
    Value prior = diagonal[0] * diagonal[0];
    for (int c = 0; c < k; c++)
        for (int i = c == 0; i < PACKED; i++) {
            const Value q = i < D ? diagonal[c * D + i] : icf[c * PACKED + i];
            prior += q * q;
        }
    const Value shared = prior * 0.5 - logsumexp(std::vector<Value>(alphas, alphas + k)) * double(points);
    const int32_t kept = tape.count;
    double value = shared.data;
    for (int p = 0; p < points; p++) {
        tape.reserve(k * (3 * PACKED + 4 * D + 8));
        terms.clear();
        for (int c = 0; c < k; c++) {
            const Value *below = icf + c * PACKED + D;
            Value centred[D], square;
            for (int i = 0; i < D; i++) centred[i] = arrays[3][size_t(i) * points + p] + means[c * D + i] * -1.0;
            for (int i = 0; i < D; i++) {
                Value z = diagonal[c * D + i] * centred[i];
                for (int j = 0; j < i; j++) z += *below++ * centred[j];
                square = i ? square + z * z : z * z;
            }
            terms.push_back(constant[c] - square * 0.5);
        }
        const Value out = logsumexp(terms);
        value += out.data;
        backward(out, 1, kept);
    }
    backward(shared, 1, parameters + 1);
    gradients(gradient, parameters);
    return value;
}
