"""A million European options: the price with all its first-order Greeks.

The Greeks are the gradient with respect to spot, strike, volatility, rate and time to expiry, all of them arrays.
What to be as fast as is the closed-form *price alone* in NumPy, which has SciPy's normal distribution.

- price: nanoseconds of processor time an option, on one thread, in float64.
- greeks: with all five derivatives. "by hand" has the textbook's formulas for them, written out.

Where to start reading: ``black_scholes``, then ``prepare``.
"""

from pathlib import Path
from typing import Any

import compilers
import harness
import numpy as np

METRICS = {
    "f": "price, ns an option",
    "fg": "price and Greeks, ns an option",
    "compile_f": "compile the price, s",
    "compile_fg": "compile both, s",
    "memory": "peak memory with Greeks, MB",
}
CONTESTANTS = [
    name for name in compilers.COMPILERS if name not in ("JAX, scan", "Numba, unrolled", "C by hand", "C++ tape")
]


def black_scholes(dialect: compilers.Dialect) -> compilers.Function:
    """Makes the price of a call, in the dialect that it is given."""
    exp, log, sqrt, norm_cdf = dialect.exp, dialect.log, dialect.sqrt, dialect.norm_cdf

    def price(spot, strike, vol, rate, t):
        spread = vol * sqrt(t)
        d1 = (log(spot / strike) + (rate + vol * vol / 2) * t) / spread
        return spot * norm_cdf(d1) - strike * exp(-rate * t) * norm_cdf(d1 - spread)

    return price


def greeks_by_hand(dialect: compilers.Dialect) -> compilers.Function:
    """Price and Greeks by the textbook, for those that do not differentiate."""
    exp, log, sqrt, norm_cdf = dialect.exp, dialect.log, dialect.sqrt, dialect.norm_cdf

    def greeks(spot, strike, vol, rate, t):
        root = sqrt(t)
        spread = vol * root
        d1 = (log(spot / strike) + (rate + vol * vol / 2) * t) / spread
        delta = norm_cdf(d1)
        discounted = exp(-rate * t) * norm_cdf(d1 - spread)
        vega = spot * exp(-0.5 * d1 * d1) * 0.3989422804014327 * root
        rho = strike * discounted * t
        theta = vega * vol / (2 * t) + rate * strike * discounted
        return spot * delta - strike * discounted, delta, -discounted, vega, rho, theta

    return greeks


black_scholes.by_hand = greeks_by_hand


def small(dialect: compilers.Dialect) -> compilers.Function:
    return lambda spot, strike, vol, rate, t: spot * strike + vol * rate + t


small.by_hand = lambda dialect: lambda a, b, c, d, e: (a * b + c * d + e, b, a, d, c, e)


def inputs(lanes: int) -> list[np.ndarray]:
    """Spot, strike, volatility, rate and time, each option its own."""
    low, high = [80, 80, 0.1, 0.0, 0.1], [120, 120, 0.5, 0.06, 3.0]
    drawn = np.random.default_rng(42).uniform(low, high, (lanes, 5))
    return [np.ascontiguousarray(column) for column in drawn.T]


def prepare(name: str, settings: dict[str, Any]) -> tuple[str, harness.Measure]:
    return compilers.prepare(
        name, black_scholes, inputs(settings["options"]), settings["gradient"], warm_up=small, unit=1e9
    )


def run(options: int, rounds: int, limit: float, contestants: list[str] | None = None) -> harness.Report:
    settings = {"options": options}
    runs, missing = compilers.race(Path(__file__), contestants or CONTESTANTS, rounds, settings, 1e-12, limit)
    shown = {**settings, "rounds": rounds}
    return harness.Report("Black-Scholes with its Greeks", METRICS, shown, runs, missing)


if __name__ == "__main__":
    options = {
        "options": (1_000_000, "how many options"),
        "rounds": (5, "measurements of each contestant"),
        "limit": (60.0, "seconds until a contestant must be ready"),
    }
    harness.main(prepare, run, __doc__.splitlines()[0], options)
