"""A volatility smile is fitted to option prices, one lane a quote.

The model is a formula with three parameters in it; ``vg.compile`` records it once and gives its derivatives by them
for all quotes at once, so that Gauss and Newton's method needs a few steps.  The quotes are made here, from known
parameters and rounded to cents, so that one sees whether the parameters are found again.

    $ python examples/calibration.py
    step   level    skew  curvature   error
       0  0.3000  0.0000     0.0000  4.0813
       1  0.1797 -0.1134     0.4248  0.1595
       2  0.1798 -0.1200     0.1110  0.0117
       3  0.1800 -0.1201     0.0796  0.0030
       4  0.1800 -0.1201     0.0794  0.0030
"""

import numpy as np

import valuegrad as vg

SPOT, RATE = 100.0, 0.03


@vg.compile
def call(level, skew, curvature, strike, years):
    """The price by Black and Scholes (1973), with a volatility that depends on how far the strike is away."""
    root = vg.sqrt(years)
    away = vg.log(strike / SPOT) / root
    spread = (level + skew * away + curvature * away**2) * root
    d1 = (vg.log(SPOT / strike) + RATE * years) / spread + spread / 2
    return SPOT * vg.norm_cdf(d1) - strike * vg.exp(-RATE * years) * vg.norm_cdf(d1 - spread)


def main():
    """Make quotes, fit, and print how it goes."""
    strikes = np.linspace(80.0, 120.0, 41)[:, None]
    years = np.array([0.25, 0.5, 1.0, 2.0])
    quotes = call(0.18, -0.12, 0.08, strikes, years).round(2)  # 41 strikes, 4 maturities: 164 lanes
    by_parameters = vg.jacobian(call, argnums=(0, 1, 2))
    parameters = np.array([0.3, 0.0, 0.0])
    print("step   level    skew  curvature   error")
    for step in range(5):
        errors = call(*parameters, strikes, years) - quotes
        level, skew, curvature = parameters
        print(f"{step:4}  {level:.4f} {skew:7.4f} {curvature:10.4f}  {np.sqrt(np.mean(errors**2)):.4f}")
        # The linear model of the errors at these parameters is at its least after this step.
        jacobian = np.stack([column.ravel() for column in by_parameters(*parameters, strikes, years)], axis=1)
        parameters = parameters - np.linalg.lstsq(jacobian, errors.ravel(), rcond=None)[0]


if __name__ == "__main__":
    main()
