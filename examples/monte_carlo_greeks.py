"""An option on an average is valued by simulation, with its Greeks: each path is a lane.

The payoff along one path is ordinary scalar code.  Its gradient along the same path, averaged over the paths, is the
gradient of the price (the pathwise method: Glasserman, Monte Carlo Methods in Financial Engineering, 2003, 7.2);
``reduce="mean"`` averages over the lanes that share a parameter.  (Gamma is not to be had like this: the payoff has
a kink, whose second derivative no path sees.)

    $ python examples/monte_carlo_greeks.py
    price   5.6897 +- 0.0583
    delta   0.5720
    vega   23.9304
    rho    25.9483
    delta   0.5719 by a nudge of the spot
"""

import numpy as np

import valuegrad as vg

PATHS, STEPS = 20_000, 12
STRIKE, YEARS = 100.0, 1.0


@vg.compile(reduce="mean")
def payoff(spot, volatility, rate, shocks):
    """What a call on the average price over the months is worth today, if these are the months' shocks."""
    step = YEARS / STEPS
    total = 0.0
    for shock in shocks:
        spot = spot * vg.exp((rate - volatility**2 / 2) * step + volatility * step**0.5 * shock)
        total = total + spot
    return vg.exp(-rate * YEARS) * vg.relu(total / STEPS - STRIKE)


def main():
    """Print the price with its standard error, the Greeks, and one of them by a nudge."""
    # The old generator, as its numbers are the same in every version of NumPy.
    shocks = list(np.random.RandomState(1).standard_normal((STEPS, PATHS)))
    at = (100.0, 0.2, 0.03)
    values, (delta, vega, rho) = vg.value_and_grad(payoff, argnums=(0, 1, 2))(*at, shocks)
    print(f"price {values.mean():8.4f} +- {values.std() / PATHS**0.5:.4f}")
    print(f"delta {delta:8.4f}\nvega  {vega:8.4f}\nrho   {rho:8.4f}")
    # The same shocks at other parameters: differences of means confirm the gradient.
    up, down = (payoff(at[0] + h, *at[1:], shocks).mean() for h in (0.01, -0.01))
    print(f"delta {(up - down) / 0.02:8.4f} by a nudge of the spot")


if __name__ == "__main__":
    main()
