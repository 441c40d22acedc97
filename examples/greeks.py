"""An option's price and its greeks: write the formula, ask for the derivatives.

The price of a European call by Black and Scholes (1973).  Delta, gamma, vega, theta and rho are its derivatives, of
first and second order; nobody derives them here.

    $ python examples/greeks.py
    price    9.413403
    delta    0.598706
    gamma    0.019333
    vega    38.666812
    theta   -5.380398
    rho     50.457229
"""

import valuegrad as vg


def call(spot, strike, volatility, rate, years):
    """The value of the right to buy at ``strike`` in ``years``."""
    spread = volatility * vg.sqrt(years)
    d1 = (vg.log(spot / strike) + (rate + volatility**2 / 2) * years) / spread
    return spot * vg.norm_cdf(d1) - strike * vg.exp(-rate * years) * vg.norm_cdf(d1 - spread)


def main():
    """Print the price and the greeks at one point."""
    at = (100.0, 100.0, 0.2, 0.03, 1.0)
    price, (delta, vega, rho, decay) = vg.value_and_grad(call, argnums=(0, 2, 3, 4))(*at)
    gamma = vg.grad(vg.grad(call))(*at)
    greeks = {"price": price, "delta": delta, "gamma": gamma, "vega": vega, "theta": -decay, "rho": rho}
    for name, number in greeks.items():
        print(f"{name:7} {number:9.6f}")


if __name__ == "__main__":
    main()
