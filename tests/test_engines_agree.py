"""Random graphs on both engines: everything that a Value shows agrees, numbers to the last bit.

A *script* is a list of steps drawn from a seed without looking at any engine; ``Play`` runs it on one
engine.  So both engines get the same calls in the same order, and what comes out is compared as a whole.
"""

from __future__ import annotations

import math
import random
from typing import Any

import pytest
from engines import NATIVE, ONCE, all_bits, bits, call, needs_native

from valuegrad import modes, reference
from valuegrad.primitives import TABLE

pytestmark = [ONCE, needs_native]

OPERATORS = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: a / b,
    "**": lambda a, b: a**b,
    "//": lambda a, b: a // b,
    "%": lambda a, b: a % b,
    "divmod": lambda a, b: sum(divmod(a, b)),
}
METHODS = ["add", "sub", "mul", "div", "pow", "atan2", "hypot", "maximum", "minimum", "fmod"]
NUMBERS = [0.0, -0.0, 1.0, -1.0, 2.0, 0.5, 3.0, -0.25, 1e-3, 1e3, 10, -7, True, math.inf, math.nan, 1e200]
Step = tuple[Any, ...]


def script(rng: random.Random, length: int) -> list[Step]:
    """Steps refer to earlier results by number, counted backwards; what a number means is left to Play."""
    steps: list[Step] = [("leaf", rng.uniform(-2, 2), None) for _ in range(rng.randint(1, 4))]
    rows = [row for row in TABLE.values() if row.name not in ("identity", "detach")]
    for _ in range(length):
        kind = rng.random()
        if kind < 0.08:
            steps.append(("leaf", plain(rng), rng.choice((None, "w", "x"))))
        elif kind < 0.35:
            steps.append(("operator", rng.choice(list(OPERATORS)), operand(rng, 0.9), operand(rng, 0.6)))
        elif kind < 0.45:
            steps.append(("method", rng.choice(METHODS), ("old", rng.random()), operand(rng, 0.6)))
        elif kind < 0.85:
            steps.append(("row", *call_of(rng, rng.choice(rows))))
        elif kind < 0.88:
            parts = [(("old", rng.random()), rng.gauss(0, 1)) for _ in range(rng.randint(0, 4))]
            steps.append(("custom", rng.gauss(0, 1), parts))
        elif kind < 0.90:
            steps.append(("name", ("old", rng.random()), rng.choice((None, "a", "a longer name"))))
        elif kind < 0.92:
            steps.append(("look", ("old", rng.random())))  # the native engine makes constants when they are seen
        elif kind < 0.94:
            steps.append(("again", ("old", rng.random())))  # a Value that is a child's child, a constant perhaps
        elif kind < 0.96:
            steps.append(("mode", modes.NO_GRAD if rng.random() < 0.5 else 0))
        elif kind < 0.98:
            steps.append(("backward", ("old", rng.random())))
        else:
            steps.append(("data", ("old", rng.random()), rng.gauss(0, 1)))
    return [*steps, ("backward", ("old", 0.0)), ("backward", ("old", rng.random()))]


def plain(rng: random.Random) -> float:
    return rng.choice(NUMBERS) if rng.random() < 0.3 else rng.uniform(-2, 2)


def operand(rng: random.Random, share: float) -> tuple[str, float]:
    return ("old", rng.random()) if rng.random() < share else ("plain", plain(rng))


def call_of(rng: random.Random, row: Any) -> tuple[str, list[Any], Any]:
    """A row, its operands, and its static argument."""
    static = None
    if row.vectors:
        n = rng.choice((1, 2, 2, 3, 4, 7))
        operands: list[Any] = [[operand(rng, 0.7) for _ in range(n)] for _ in range(row.vectors)]
        static = float(rng.randrange(n)) if row.static and not row.family else None
    else:
        operands = [operand(rng, 0.85) for _ in row.children]
    if row.name in ("where", "take"):
        static = float(rng.randrange(2))
    elif row.integer_static and not row.vectors:
        static = float(rng.randint(1, 3))
    elif row.static and not row.vectors:
        static = plain(rng)
    return row.name, operands, static


class Play:
    """A script's run on one engine; ``values`` are the Values in order, ``floats`` the plain results."""

    def __init__(self, engine: Any, steps: list[Step]) -> None:
        self.engine = engine
        self.values: list[Any] = []
        self.log: list[Any] = []
        self.mode = 0
        for step in steps:
            token = modes.variable.set(self.mode)
            modes._count(1)
            try:
                getattr(self, f"do_{step[0]}")(*step[1:])
            finally:
                modes._count(-1)
                modes.variable.reset(token)

    def pick(self, operand: Any) -> Any:
        if isinstance(operand, list):
            return [self.pick(one) for one in operand]
        kind, what = operand
        if kind == "plain":
            return what
        return self.values[-1 - int(what * what * len(self.values))]  # rather a newer one

    def keep(self, out: Any) -> None:
        for one in out if isinstance(out, list) else [out]:
            if type(one) is self.engine.Value:
                self.values.append(one)
            else:
                self.log.append(bits(one))

    def do_leaf(self, number: float, name: str | None) -> None:
        self.keep(self.engine.Value(number, name=name))

    def do_operator(self, sign: str, a: Any, b: Any) -> None:
        a, b = self.pick(a), self.pick(b)
        if type(a) is self.engine.Value or type(b) is self.engine.Value:
            self.keep(OPERATORS[sign](a, b))

    def do_method(self, name: str, a: Any, b: Any) -> None:
        self.keep(getattr(self.pick(a), name)(self.pick(b)))

    def do_row(self, name: str, operands: list[Any], static: float | None) -> None:
        args = [self.pick(one) for one in operands]
        if name == "round" and type(args[0]) is not self.engine.Value:
            return
        self.keep(call(self.engine, TABLE[name], (*args, static) if static is not None else tuple(args)))

    def do_custom(self, number: float, parts: list[Any]) -> None:
        children = [self.pick(child) for child, _ in parts]
        self.keep(self.engine.Value(number, children, [grad for _, grad in parts]))

    def do_name(self, which: Any, name: str | None) -> None:
        self.pick(which).name = name

    def do_look(self, which: Any) -> None:
        self.log.append([child.op for child in self.pick(which).children])

    def do_again(self, which: Any) -> None:
        children = self.pick(which).children
        if children:
            self.keep(children[-1] * 1.5)

    def do_mode(self, mode: int) -> None:
        self.mode = mode

    def do_backward(self, which: Any) -> None:
        self.pick(which).backward()
        self.log.append(all_bits(value.grad for value in self.values))

    def do_data(self, which: Any, number: float) -> None:
        value = self.pick(which)
        if not value.children:
            value.data = number

    def summary(self) -> list[Any]:
        """All that the Values show; children by their place among the Values, or as what a constant shows."""
        place = {id(value): i for i, value in enumerate(self.values)}
        return [
            (
                bits(value.data),
                bits(value.grad),
                value.op,
                value.name,
                None if value.static is None else bits(value.static),
                all_bits(value.local_grads),
                tuple(place.get(id(child), (child.op, bits(child.data), bits(child.grad))) for child in value.children),
                repr(value),
            )
            for value in self.values
        ]


def disagreement(steps: list[Step]) -> str | None:
    readable, native = Play(reference, steps), Play(NATIVE, steps)
    if len(readable.values) != len(native.values):
        return "different numbers of Values"
    for i, (a, b) in enumerate(zip(readable.summary(), native.summary())):
        if a != b:
            return f"Value {i}: readable {a}, native {b}"
    if readable.log != native.log:
        return "what was seen on the way differs"
    return None


@pytest.mark.parametrize("seed", range(20))
def test_random_graphs_agree_in_everything_a_value_shows(seed: int) -> None:
    """20 times 150 graphs of up to 60 steps over all operators, functions, methods, modes and names."""
    rng = random.Random(seed)
    for number in range(150):
        steps = script(rng, rng.randint(3, 60))
        message = disagreement(steps)
        assert message is None, f"seed {seed}, graph {number}: {message}\n" + "\n".join(map(repr, steps))


def test_the_scripts_reach_every_row_and_every_kind_of_step() -> None:
    rng = random.Random(0)
    steps = [step for _ in range(300) for step in script(rng, 60)]
    assert {step[1] for step in steps if step[0] == "row"} == set(TABLE) - {"identity", "detach"}
    kinds = {name[3:] for name in dir(Play) if name.startswith("do_")}
    assert {step[0] for step in steps} == kinds


def test_a_disagreement_would_be_seen() -> None:
    steps = [("leaf", 1.0, None), ("row", "exp", [("old", 0.0)], None), ("backward", ("old", 0.0))]
    a, b = Play(reference, steps), Play(NATIVE, steps)
    assert a.summary() == b.summary()
    b.values[0].grad = math.nextafter(b.values[0].grad, 9.0)
    assert a.summary() != b.summary()


GAPS = [1, 2, 4095, 4096, 4097, 8191, 8192, 100_000, 1_000_000]


def aged(engine: Any, rng: random.Random, gaps: list[int]) -> list[Any]:
    """Values created far apart: the native sweep's windows and buckets are crossed."""
    kept = [engine.Value(rng.uniform(-1, 1)) for _ in range(3)]
    for gap in gaps:
        for _ in range(gap):
            engine.Value(0.0)
        for _ in range(rng.randint(1, 6)):
            a, b = rng.choice(kept), rng.choice(kept)
            kept.append(rng.choice((a * b, a + b, a - 0.5 * b, engine.sum([a, b, a]), engine.tanh(a))))
    return kept


@pytest.mark.parametrize("seed", range(12))
def test_gradients_agree_across_gaps_of_any_age(seed: int) -> None:
    rng = random.Random(seed)
    gaps = [rng.choice(GAPS[:7]) for _ in range(25)]
    if seed == 0:
        gaps = [*GAPS, *gaps]
    seeds = rng.random()
    graphs = [aged(engine, random.Random(seeds), gaps) for engine in (reference, NATIVE)]
    for root in (-1, -3, len(graphs[0]) // 2, -1):
        for kept in graphs:
            kept[root].backward()
        assert all_bits(v.grad for v in graphs[0]) == all_bits(v.grad for v in graphs[1])


def test_gradients_agree_in_wide_and_deep_random_graphs() -> None:
    for seed in range(3):
        grads = []
        for engine in (reference, NATIVE):
            rng = random.Random(seed)
            values = [engine.Value(rng.uniform(-1, 1)) for _ in range(50)]
            for _ in range(20_000):
                near, far = rng.randrange(max(0, len(values) - 20), len(values)), rng.randrange(len(values))
                values.append(values[near] * 0.5 + values[far] * rng.uniform(-1, 1))
            engine.sum(values[-1000:]).backward()
            grads.append(all_bits(v.grad for v in values))
        assert grads[0] == grads[1]


@pytest.mark.parametrize("seen", [False, True], ids=["constants never seen", "constants seen first"])
def test_graph_lists_the_same_values_children_before_parents(seen: bool) -> None:
    """Constants too, whenever they were made: the native engine makes them when somebody looks."""
    orders = []
    for engine in (reference, NATIVE):
        rng = random.Random(3)
        values = [engine.Value(rng.uniform(-1, 1)) for _ in range(3)]
        for i in range(300):
            a, b = rng.choice(values[-9:]), rng.choice(values)
            mixed = engine.sum([a, 1.0, b]), engine.softmax([a, 3.0])[0], 1.0 / (2.0 + a)
            values.append(rng.choice((a * 2.0, a + b, *mixed)))
            if seen and i % 7 == 0:
                assert values[rng.randrange(len(values))].children is not None
        if seen:
            for _ in range(5000):
                engine.Value(0.0)
            assert all(v.children is not None for v in values)
        values.append(values[-1] + values[-2])
        order = engine.graph([values[-1]])
        place = {id(v): i for i, v in enumerate(order)}
        assert len(place) == len(order)
        for v in order:
            assert all(place[id(child)] < place[id(v)] for child in v.children)
        orders.append([(v.op, bits(v.data)) for v in order if v.op != "constant"])
        orders.append(sorted((v.op, str(bits(v.data))) for v in order if v.op == "constant"))
        again = engine.graph([values[-1]])
        assert [id(v) for v in again] == [id(v) for v in order]
    assert orders[0] == orders[2]
    assert orders[1] == orders[3]
