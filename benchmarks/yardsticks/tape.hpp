// A Value in C++ whose tape holds what the backward pass needs, and nothing else.
//
// As in ../tape.cpp a node has up to two children, by number, and the local gradient to each; its number itself is
// in the Value that the program holds.  An operation writes 24 bytes; backward walks them from the end.  What is a
// plain number in the program makes no node.
//
// Where to start reading: Tape, then the operators of Value.
#ifndef VALUEGRAD_TAPE_HPP
#define VALUEGRAD_TAPE_HPP

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

struct Tape {
    struct Node {
        double local_a, local_b;
        int32_t a, b;
    };
    std::vector<Node> nodes;
    std::vector<double> grad;
    int32_t count = 0;

    // Makes room for so many more: push does not look.
    void reserve(int32_t more) {
        if (size_t(count) + more > nodes.size()) nodes.resize(2 * (size_t(count) + more));
    }

    int32_t push(int32_t a, double local_a, int32_t b, double local_b) {
        nodes[count] = {local_a, local_b, a, b};
        return count++;
    }

    // Drops what came after the first `kept` nodes, when its gradients are in those.  Node 0 is nobody's.
    void backward(int32_t kept) {
        for (int32_t i = count - 1; i >= kept; i--) {
            const double g = grad[i];
            grad[i] = 0;
            grad[nodes[i].a] += nodes[i].local_a * g;
            grad[nodes[i].b] += nodes[i].local_b * g;
        }
        count = kept;
    }
};

static Tape tape;

struct Value {
    double data;
    int32_t node;

    Value() : data(0), node(0) {}
    Value(double x, int32_t node) : data(x), node(node) {}

    Value &operator+=(Value b) { return *this = *this + b; }
    friend Value operator+(Value a, Value b) { return {a.data + b.data, tape.push(a.node, 1, b.node, 1)}; }
    friend Value operator-(Value a, Value b) { return {a.data - b.data, tape.push(a.node, 1, b.node, -1)}; }
    friend Value operator*(Value a, Value b) { return {a.data * b.data, tape.push(a.node, b.data, b.node, a.data)}; }
    friend Value operator/(Value a, Value b) {
        const double r = 1 / b.data, q = a.data * r;
        return {q, tape.push(a.node, r, b.node, -q * r)};
    }
    friend Value operator+(Value a, double c) { return {a.data + c, tape.push(a.node, 1, 0, 0)}; }
    friend Value operator-(Value a, double c) { return a + -c; }
    friend Value operator*(Value a, double c) { return {a.data * c, tape.push(a.node, c, 0, 0)}; }
    friend Value operator+(double c, Value a) { return a + c; }
    friend Value operator*(double c, Value a) { return a * c; }
    friend Value exp(Value a) {
        const double e = std::exp(a.data);
        return {e, tape.push(a.node, e, 0, 0)};
    }
    friend Value log(Value a) { return {std::log(a.data), tape.push(a.node, 1 / a.data, 0, 0)}; }
    friend Value tanh(Value a) {
        const double t = std::tanh(a.data);
        return {t, tape.push(a.node, 1 - t * t, 0, 0)};
    }
    friend Value sigmoid(Value a) {
        const double s = 1 / (1 + std::exp(-a.data));
        return {s, tape.push(a.node, s * (1 - s), 0, 0)};
    }
};

// Begins anew with these numbers as the first nodes.
static Value *inputs(std::vector<Value> &values, const double *x, int count) {
    const size_t first = values.size();
    tape.reserve(count + 1);
    if (tape.count == 0) tape.push(0, 0, 0, 0);
    for (int i = 0; i < count; i++) values.emplace_back(x[i], tape.push(0, 0, 0, 0));
    return &values[first];
}

// Runs backward from a value; the gradients stay in those before `kept`.
static void backward(Value from, double seed, int32_t kept) {
    if (tape.grad.size() < tape.nodes.size()) tape.grad.resize(tape.nodes.size());
    tape.grad[from.node] += seed;
    tape.backward(kept);
}

// The gradients of the inputs; the tape is empty then.
static void gradients(double *gradient, int32_t count) {
    for (int32_t i = 0; i < count; i++) {
        gradient[i] = tape.grad[i + 1];
        tape.grad[i + 1] = 0;
    }
    tape.grad[0] = 0;
    tape.count = 0;
}

#endif
