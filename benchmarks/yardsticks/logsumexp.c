/* log(sum(exp(x))) and its gradient, in two passes over the numbers and one over their exponentials.
 *
 * Where to start reading: value_and_grad, which yardsticks.py calls. */
#include <math.h>

double value_and_grad(const int *sizes, const double *const *inputs, double *gradient) {
    const int n = sizes[0];
    const double *x = inputs[0];
    double largest = x[0], sum = 0;
    for (int i = 0; i < n; i++) largest = x[i] > largest ? x[i] : largest;
    for (int i = 0; i < n; i++) {
        gradient[i] = exp(x[i] - largest);
        sum += gradient[i];
    }
    const double scale = 1 / sum;
    for (int i = 0; i < n; i++) gradient[i] *= scale;
    return largest + log(sum);
}
