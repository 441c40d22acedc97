// The Lorenz system over the tape's Values, a lane after the other.
//
// Where to start reading: run, which compilers.py calls.
#include "tape.hpp"

static const double DT = 0.002;

template <typename T> struct State {
    T x, y, z;
};

template <typename T> static State<T> slope(State<T> s, T sigma, T rho, T beta) {
    return {sigma * (s.y - s.x), s.x * (rho - s.z) - s.y, s.x * s.y - beta * s.z};
}

template <typename T> static State<T> moved(State<T> s, double by, State<T> along) {
    return {s.x + by * along.x, s.y + by * along.y, s.z + by * along.z};
}

template <typename T> static T after(int steps, const T *in) {
    State<T> s = {in[0], in[1], in[2]};
    const T sigma = in[3], rho = in[4], beta = in[5];
    for (int t = 0; t < steps; t++) {
        const State<T> a = slope(s, sigma, rho, beta), b = slope(moved(s, DT / 2, a), sigma, rho, beta);
        const State<T> c = slope(moved(s, DT / 2, b), sigma, rho, beta), d = slope(moved(s, DT, c), sigma, rho, beta);
        s.x = s.x + DT / 6 * (a.x + 2.0 * b.x + 2.0 * c.x + d.x);
        s.y = s.y + DT / 6 * (a.y + 2.0 * b.y + 2.0 * c.y + d.y);
        s.z = s.z + DT / 6 * (a.z + 2.0 * b.z + 2.0 * c.z + d.z);
    }
    return s.x + s.y + s.z;
}

extern "C" void run(long n, int steps, const double *const *in, double *const *out, int gradient) {
    static std::vector<Value> values;
    for (long lane = 0; lane < n; lane++) {
        double x[6], found[6];
        for (int i = 0; i < 6; i++) x[i] = in[i][lane];
        if (!gradient) {
            out[0][lane] = after(steps, x);
            continue;
        }
        values.clear();
        inputs(values, x, 6);
        const int32_t kept = tape.count;
        tape.reserve(100 * (steps + 1));
        const Value value = after(steps, values.data());
        out[0][lane] = value.data;
        backward(value, 1, kept);
        gradients(found, 6);
        for (int i = 0; i < 6; i++) out[i + 1][lane] = found[i];
    }
}
