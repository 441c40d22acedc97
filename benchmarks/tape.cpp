// A scalar Value in C++, and the GPT's training with it: the yardstick for compiled training.
//
// The tape is a row of nodes in the order of their making.  A node has up to two children, by number, and the
// local gradient to each; backward walks the row from its end.  The weights are its first nodes and stay, a
// document's nodes come after them and are dropped when its gradient is in the weights.  Every multiplication and
// every addition is a node, as with any class of Value.
//
// Where to start reading: Tape, then GPT::loss.  compiled_gpt.py compiles it, for float or double, and calls the
// functions at the end.

#include <cmath>
#include <cstdint>
#include <vector>

namespace {

template <class T>
struct Tape {
    struct Node {
        T data, grad, local_a, local_b;
        int32_t a, b;
    };
    std::vector<Node> nodes;
    int32_t count = 0;

    // Makes room for so many more: push does not look.
    void reserve(int32_t more) {
        if (size_t(count + more) > nodes.size()) nodes.resize(2 * size_t(count + more));
    }

    int32_t push(T data, int32_t a, T local_a, int32_t b, T local_b) {
        Node &node = nodes[count];
        node.data = data;
        node.grad = T(0);
        node.local_a = local_a;
        node.local_b = local_b;
        node.a = a;
        node.b = b;
        return count++;
    }

    // Adds the gradient of the last node, times seed, to the weights' and drops what came after them.
    void backward(int32_t weights, T seed) {
        nodes[count - 1].grad = seed;
        for (int32_t i = count - 1; i >= weights; i--) {
            const T grad = nodes[i].grad;
            nodes[nodes[i].a].grad += nodes[i].local_a * grad;
            nodes[nodes[i].b].grad += nodes[i].local_b * grad;
        }
        count = weights;
    }
};

template <class T>
struct Value {
    static inline Tape<T> *tape;  // the one that records
    int32_t node;

    T data() const { return tape->nodes[node].data; }
    static Value unary(T value, Value a, T local) { return {tape->push(value, a.node, local, a.node, T(0))}; }

    friend Value operator+(Value a, Value b) {
        return {tape->push(a.data() + b.data(), a.node, T(1), b.node, T(1))};
    }
    friend Value operator*(Value a, Value b) {
        const T x = a.data(), y = b.data();
        return {tape->push(x * y, a.node, y, b.node, x)};
    }
    friend Value operator/(Value a, Value b) {
        const T x = a.data(), y = b.data();
        return {tape->push(x / y, a.node, 1 / y, b.node, -x / (y * y))};
    }
    friend Value operator+(Value a, T c) { return unary(a.data() + c, a, T(1)); }
    friend Value operator*(Value a, T c) { return unary(a.data() * c, a, c); }
    friend Value exp(Value a) {
        const T e = std::exp(a.data());
        return unary(e, a, e);
    }
    friend Value log(Value a) { return unary(std::log(a.data()), a, 1 / a.data()); }
    friend Value relu(Value a) { return a.data() > 0 ? unary(a.data(), a, T(1)) : unary(T(0), a, T(0)); }
    friend Value inverse_root(Value a) {
        const T r = 1 / std::sqrt(a.data());
        return unary(r, a, T(-0.5) * r / a.data());
    }
};

template <class T>
struct GPT {
    static constexpr int EMBD = 16, HEADS = 4, BLOCK = 16, HEAD = EMBD / HEADS;
    using V = Value<T>;
    using Vector = std::vector<V>;

    int vocabulary, weights, steps_done = 0;
    Tape<T> tape;
    std::vector<T> m, v;

    GPT(const double *start, int count, int vocabulary) : vocabulary(vocabulary), weights(count), m(count), v(count) {
        tape.reserve(count);
        for (int i = 0; i < count; i++) tape.push(T(start[i]), 0, T(0), 0, T(0));
    }

    static Vector add(const Vector &x, const Vector &y) {
        Vector out;
        for (size_t i = 0; i < x.size(); i++) out.push_back(x[i] + y[i]);
        return out;
    }

    static Vector row(int32_t matrix, int i, int columns) {
        Vector out;
        for (int j = 0; j < columns; j++) out.push_back({matrix + i * columns + j});
        return out;
    }

    static Vector linear(int32_t matrix, int rows, const Vector &x) {
        Vector out;
        const int columns = int(x.size());
        for (int i = 0; i < rows; i++) {
            V sum = V{matrix + i * columns} * x[0];
            for (int j = 1; j < columns; j++) sum = sum + V{matrix + i * columns + j} * x[j];
            out.push_back(sum);
        }
        return out;
    }

    static Vector rmsnorm(const Vector &x) {
        V sum = x[0] * x[0];
        for (size_t i = 1; i < x.size(); i++) sum = sum + x[i] * x[i];
        const V scale = inverse_root(sum * (1 / T(x.size())) + T(1e-5));
        Vector out;
        for (V xi : x) out.push_back(xi * scale);
        return out;
    }

    static Vector softmax(const Vector &x) {
        T largest = x[0].data();
        for (V xi : x) largest = std::max(largest, xi.data());
        Vector out;
        for (V xi : x) out.push_back(exp(xi + -largest));
        V sum = out[0];
        for (size_t i = 1; i < out.size(); i++) sum = sum + out[i];
        for (V &e : out) e = e / sum;
        return out;
    }

    // The mean over the n positions of -log of the probability of the token that follows.
    V loss(const int32_t *tokens, int n) {
        const int32_t wte = 0, wpe = wte + vocabulary * EMBD, head = wpe + BLOCK * EMBD;
        const int32_t wq = head + vocabulary * EMBD, wk = wq + EMBD * EMBD, wv = wk + EMBD * EMBD;
        const int32_t wo = wv + EMBD * EMBD, fc1 = wo + EMBD * EMBD, fc2 = fc1 + 4 * EMBD * EMBD;
        std::vector<Vector> keys, values;
        Vector losses;
        for (int position = 0; position < n; position++) {
            tape.reserve(3 * weights);  // a weight takes two nodes a position, attention some more
            Vector x = rmsnorm(add(row(wte, tokens[position], EMBD), row(wpe, position, EMBD)));
            Vector h = rmsnorm(x), attended;
            const Vector q = linear(wq, EMBD, h);
            keys.push_back(linear(wk, EMBD, h));
            values.push_back(linear(wv, EMBD, h));
            for (int first = 0; first < EMBD; first += HEAD) {
                Vector scores;
                for (const Vector &k : keys) {
                    V sum = q[first] * k[first];
                    for (int j = first + 1; j < first + HEAD; j++) sum = sum + q[j] * k[j];
                    scores.push_back(sum * (1 / std::sqrt(T(HEAD))));
                }
                const Vector weight = softmax(scores);
                for (int j = first; j < first + HEAD; j++) {
                    V sum = weight[0] * values[0][j];
                    for (size_t t = 1; t < values.size(); t++) sum = sum + weight[t] * values[t][j];
                    attended.push_back(sum);
                }
            }
            x = add(linear(wo, EMBD, attended), x);
            Vector hidden = linear(fc1, 4 * EMBD, rmsnorm(x));
            for (V &value : hidden) value = relu(value);
            x = add(linear(fc2, EMBD, hidden), x);
            const Vector probabilities = softmax(linear(head, vocabulary, x));
            losses.push_back(log(probabilities[tokens[position + 1]]) * T(-1));
        }
        V sum = losses[0];
        for (size_t i = 1; i < losses.size(); i++) sum = sum + losses[i];
        return sum * (1 / T(n));
    }

    // A training step on a batch; returns its mean loss.
    double step(const int32_t *tokens, const int32_t *lengths, const int64_t *chosen, int documents, double rate) {
        V::tape = &tape;
        double total = 0;
        for (int i = 0; i < documents; i++) {
            const V out = loss(tokens + chosen[i] * (BLOCK + 1), lengths[chosen[i]]);
            total += out.data();
            tape.backward(weights, 1 / T(documents));
        }
        const double beta1 = 0.85, beta2 = 0.99;
        steps_done++;
        const T correct1 = T(1 - std::pow(beta1, steps_done)), correct2 = T(1 - std::pow(beta2, steps_done));
        for (int i = 0; i < weights; i++) {
            auto &weight = tape.nodes[i];
            const T g = weight.grad;
            m[i] = T(beta1) * m[i] + T(1 - beta1) * g;
            v[i] = T(beta2) * v[i] + T(1 - beta2) * g * g;
            weight.data -= T(rate) * (m[i] / correct1) / (std::sqrt(v[i] / correct2) + T(1e-8));
            weight.grad = 0;
        }
        return total / documents;
    }
};

}  // namespace

// REAL is float or double.
extern "C" {
void *new_gpt(const double *start, int count, int vocabulary) { return new GPT<REAL>(start, count, vocabulary); }

// So many steps; `chosen` has the documents of each.  A document is a row of BLOCK + 1 tokens, of which lengths[i]
// count as predictions.
void train(void *gpt, const int32_t *tokens, const int32_t *lengths, const int64_t *chosen, int documents, int steps,
           const double *rates, double *losses) {
    for (int step = 0; step < steps; step++, chosen += documents)
        losses[step] = static_cast<GPT<REAL> *>(gpt)->step(tokens, lengths, chosen, documents, rates[step]);
}
}
