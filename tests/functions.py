"""Random Python functions, for tests that compare programs with the engines.

A *plan* is drawn from a seed without looking at any engine; ``Function`` runs it on the numbers of one engine, with
everything that a user's function may have: operators, rows of the table, lists, choices, branches and loops.
"""

from __future__ import annotations

import math
import random
from typing import Any

from engines import call

from valuegrad.primitives import TABLE

EDGES = [0.0, -0.0, 1.0, -1.0, 0.5, 2.0, math.inf, -math.inf, math.nan, 5e-324, -1e-310, 1e300, -1e300, 745.2, 1e-160]
SCALARS = [row.name for row in TABLE.values() if not row.vectors and row.name not in ("where", "take", "identity")]
LISTS = [row.name for row in TABLE.values() if row.vectors]
EXPONENTS = [2.0, 3.0, 4.0, 0.5, -0.5, 1.5, -1.0, -2.0, 1.0, 0.0, 1.7]
OPERATORS = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: a / b,
    "**": lambda a, b: a**b,
    "//": lambda a, b: a // b,
    "%": lambda a, b: a % b,
}
COMPARISONS = {
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
}


def number(rng: random.Random, edges: float = 0.2) -> float:
    """A number; with a probability one of those where arithmetic is odd."""
    return rng.choice(EDGES) if rng.random() < edges else rng.uniform(-3.0, 3.0)


class Function:
    """A random function of some numbers.

    Args:
        seed: which one.
        inputs: how many arguments it has.
        length: how many steps.
        branches: whether it asks for the outcome of comparisons.
    """

    def __init__(self, seed: int, inputs: int = 3, length: int = 12, branches: bool = True) -> None:
        rng = random.Random(seed)
        kinds = ["operator"] * 6 + ["row"] * 6 + ["list"] * 3 + ["where"] * 2 + ["same"]
        kinds += ["if", "while", "sort", "max", "fold", "and"] if branches else ["fold"]
        self.constants = [number(rng), rng.uniform(0.3, 2.0)]
        self.plan: list[tuple[Any, ...]] = []
        for _ in range(length):
            picks = [rng.random() for _ in range(4)]
            kind = rng.choice(kinds)
            if kind == "operator":
                self.plan.append((kind, rng.choice([*"++--**", *OPERATORS]), *picks))
            elif kind == "row":
                name = rng.choice(SCALARS)
                static: list[float] = []
                if name == "pow":
                    static = [rng.choice([*EXPONENTS, rng.uniform(-3, 3)])]
                elif TABLE[name].static:
                    static = [float(rng.randint(1, 2))]
                self.plan.append((kind, name, static, *picks))
            elif kind == "list":
                self.plan.append((kind, rng.choice(LISTS), [rng.random() for _ in range(8)], rng.randint(1, 4)))
            else:
                self.plan.append((kind, rng.choice(list(COMPARISONS)), *picks))

    def __call__(self, engine: Any, *inputs: Any) -> Any:
        """The result on one engine's Values, or on what a recording has."""
        values: list[Any] = [*inputs, *self.constants]
        for kind, what, *rest in self.plan:
            values.append(getattr(self, f"do_{kind}")(engine, what, values, *rest))
        return values[-1] + sum(values[-4:-1])

    @staticmethod
    def pick(values: list[Any], where: float) -> Any:
        """One of the latest; inputs now and then."""
        return values[int(len(values) * math.sqrt(where))]

    def do_operator(self, engine: Any, sign: str, values: list[Any], a: float, b: float, *_: float) -> Any:
        x, y = self.pick(values, a), self.pick(values, b)
        if type(x) is float and type(y) is float:
            x = engine.Value(x)
        return OPERATORS[sign](x, y)

    def do_row(self, engine: Any, name: str, values: list[Any], static: list[float], *picks: float) -> Any:
        row = TABLE[name]
        args = [self.pick(values, where) for where in picks[: len(row.children)]]
        if all(type(x) is float for x in args):
            args[0] = engine.Value(args[0])
        if name == "detach":
            return engine.detach(args[0])
        if name == "round":
            return round(args[0] if type(args[0]) is not float else engine.Value(args[0]), int(static[0]))
        return call(engine, row, (*args, *static))

    def do_list(self, engine: Any, name: str, values: list[Any], picks: list[float], n: int) -> Any:
        row = TABLE[name]
        lists = [[self.pick(values, where) for where in picks[i * n : i * n + n]] for i in range(row.vectors)]
        lists[0][0] = lists[0][0] * engine.Value(1.0)
        static = [n - 1] if row.static and not row.family else []
        out = call(engine, row, (*lists, *static))
        return out[n // 2] if row.family else out

    def do_where(self, engine: Any, sign: str, values: list[Any], a: float, b: float, c: float, d: float) -> Any:
        condition = COMPARISONS[sign](self.pick(values, a), self.pick(values, b))
        return engine.where(condition, self.pick(values, c), self.pick(values, d))

    def do_same(self, engine: Any, sign: str, values: list[Any], a: float, *_: float) -> Any:
        return self.pick(values, a)

    def do_if(self, engine: Any, sign: str, values: list[Any], a: float, b: float, c: float, d: float) -> Any:
        if COMPARISONS[sign](self.pick(values, a), self.pick(values, b)):
            return self.pick(values, c) * 0.5
        return 1.25 - self.pick(values, d)

    def do_and(self, engine: Any, sign: str, values: list[Any], a: float, b: float, c: float, d: float) -> Any:
        x, y = self.pick(values, a), self.pick(values, b)
        if COMPARISONS[sign](x, y) and not (self.pick(values, c) > 0.5 or x <= 0.1):
            return x * y
        return self.pick(values, d) if x else y

    def do_while(self, engine: Any, sign: str, values: list[Any], a: float, *_: float) -> Any:
        x = self.pick(values, a)
        for _ in range(4):
            if not abs(x) > 0.8:
                break
            x = x * 0.6 + 0.05
        return x

    def do_sort(self, engine: Any, sign: str, values: list[Any], *picks: float) -> Any:
        return sorted(self.pick(values, where) for where in picks[:3])[1]

    def do_max(self, engine: Any, sign: str, values: list[Any], *picks: float) -> Any:
        several = [self.pick(values, where) for where in picks]
        return max(several) - min(several)

    def do_fold(self, engine: Any, sign: str, values: list[Any], a: float, b: float, *_: float) -> Any:
        total, x = self.pick(values, b), self.pick(values, a)
        for i in range(5):
            total = total * x + i
        return total
