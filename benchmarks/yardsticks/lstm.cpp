// The loss of a small LSTM language model over the tape's Values.
//
// Where to start reading: value_and_grad, which yardsticks.py calls.
#include "tape.hpp"

static const int LAYERS = 2;

extern "C" double value_and_grad(const int *sizes, const double *const *arrays, double *gradient) {
    const int length = sizes[0], b = sizes[1], parameters = LAYERS * 8 * b + 3 * b;
    const double *sequence = arrays[3];
    static std::vector<Value> values, state, h, y;
    values.clear();
    state.clear();
    values.reserve(parameters);
    inputs(values, arrays[0], LAYERS * 8 * b);
    inputs(values, arrays[1], 3 * b);
    const Value *in_weight = &values[LAYERS * 8 * b], *out_weight = in_weight + b, *out_bias = out_weight + b;
    for (int i = 0; i < 2 * LAYERS * b; i++) state.emplace_back(arrays[2][i], 0);
    h.resize(b);
    y.resize(b);
    Value total;
    for (int t = 0; t + 1 < length; t++) {
        const double *x = sequence + t * b, *gold = x + b;
        tape.reserve(b * (17 * LAYERS + 8));
        for (int i = 0; i < b; i++) h[i] = in_weight[i] * x[i];
        for (int l = 0; l < LAYERS; l++) {
            const Value *weight = &values[l * 8 * b], *bias = weight + 4 * b;
            Value *hidden = &state[2 * l * b], *cell = hidden + b;
            for (int i = 0; i < b; i++) {
                const Value forget = sigmoid(h[i] * weight[i] + bias[i]);
                const Value in = sigmoid(hidden[i] * weight[b + i] + bias[b + i]);
                const Value out = sigmoid(h[i] * weight[2 * b + i] + bias[2 * b + i]);
                const Value change = tanh(hidden[i] * weight[3 * b + i] + bias[3 * b + i]);
                cell[i] = cell[i] * forget + in * change;
                h[i] = hidden[i] = out * tanh(cell[i]);
            }
        }
        Value sum(2, 0);
        for (int i = 0; i < b; i++) {
            y[i] = h[i] * out_weight[i] + out_bias[i];
            sum += exp(y[i]);
        }
        const Value norm = log(sum);
        for (int i = 0; i < b; i++) total += (y[i] - norm) * gold[i];
    }
    const Value out = total * (-1.0 / ((length - 1) * b));
    backward(out, 1, parameters + 1);
    gradients(gradient, parameters);
    return out.data;
}
