"""Descent: training steps in native code against their programs called one after another, bit for bit."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
from engines import ONCE

import valuegrad as vg
from valuegrad.errors import ShapeError, ValueArgumentError, ValueTypeError
from valuegrad.lower.rolled import stream

replay = pytest.importorskip("valuegrad._replay")
pytestmark = ONCE

PARAMETERS = 700
MOMENTUM = 0.75


def gradient(data: Any, xs: Any, y: Any) -> Any:
    """Sums over the lanes of the gradient, by a few sums of parameters, and of the loss."""
    picked = [data[i * 7 % PARAMETERS] for i in range(len(xs))]
    error = sum(a * x for a, x in zip(picked, xs)) + vg.sum(list(data)) / PARAMETERS - y
    grads = [error / PARAMETERS for _ in range(PARAMETERS)]
    for i, x in enumerate(xs):
        grads[i * 7 % PARAMETERS] = grads[i * 7 % PARAMETERS] + error * x
    return [*map(vg.batch_sum, grads), vg.batch_sum(0.5 * error * error)]


def update(data: Any, grad: Any, velocity: Any, rate: Any, t: Any, share: Any, scale: Any) -> Any:
    velocity = MOMENTUM * velocity + grad * share * scale
    return data - rate * velocity / vg.sqrt(t), velocity


def scale(grads: Any, share: Any) -> Any:
    length = vg.norm([grad * share for grad in grads])
    return vg.where(length > 0.5, 0.5 / length, 1.0)


def code_of(program: Any, *example: Any) -> Any:
    paths, call = program.taken_apart(example)
    return paths.lower(paths.first(call), call).code


class Case:
    """Some steps: ragged blocks of lanes, each block a program for its number of inputs."""

    def __init__(self, dtype: str, seed: int = 0, *, alone: bool = False, clips: bool = False) -> None:
        rng = np.random.default_rng(seed)
        self.dtype, self.alone, self.steps = dtype, alone, 6
        self.programs = [vg.compile(gradient, vectors=("data",), dtype=dtype) for _ in (2, 3)]
        self.update = vg.compile(update, dtype=dtype)
        self.scale = vg.compile(scale, vectors=("grads",), dtype=dtype) if clips else None
        self.state = np.zeros((2, PARAMETERS + 8), dtype=dtype)
        self.state[:, :PARAMETERS] = rng.normal(size=(2, PARAMETERS))
        self.rates = 0.01 * rng.random(self.steps)
        self.blocks = []
        for _ in range(self.steps):
            kinds = rng.integers(0, 2, 1 if alone else int(rng.integers(1, 6)))
            self.blocks.append([(k, rng.normal(size=(k + 3, self.lanes(rng))).astype(dtype)) for k in kinds.tolist()])

    def lanes(self, rng: Any) -> int:
        return 1 if self.alone else int(rng.integers(2, 40))

    def one_by_one(self) -> tuple[Any, list[float]]:
        """By calls of the programs."""
        data, velocity = self.state[:, :PARAMETERS].copy()
        losses = []
        for step, blocks in enumerate(self.blocks):
            found = [np.array(self.programs[k](data, list(x[:-1]), x[-1]), dtype=self.dtype).ravel() for k, x in blocks]
            total = found[0][:-1]
            for other in found[1:]:
                total = total + other[:-1]
            lanes = sum(x.shape[1] for _, x in blocks)
            share = 1.0 / lanes
            factor = 1.0 if self.scale is None else float(self.scale(total, share))
            losses.append(sum(float(x[-1]) for x in found) / lanes)
            if not np.isfinite(losses[-1]):
                return (data, velocity), losses
            data, velocity = self.update(data, total, velocity, self.rates[step], step + 1.0, share, factor)
        return (data, velocity), losses

    def arguments(self) -> dict[str, Any]:
        """What Descent.run takes."""
        lanes = 1 if self.alone else 2
        every = [x for blocks in self.blocks for x in blocks]
        sizes = np.array([x.size for _, x in every])
        counts = [sum(x.shape[1] for _, x in blocks) for blocks in self.blocks]
        return {
            "state": self.state.copy(),
            "codes": [
                code_of(p, self.state[0, :PARAMETERS], [np.ones(lanes)] * (k + 2), np.ones(lanes))
                for k, p in enumerate(self.programs)
            ],
            "code_of": np.array([k for k, _ in every], dtype=np.int32),
            "lanes": np.array([x.shape[1] for _, x in every], dtype=np.int32),
            "begins": np.cumsum(sizes) - sizes,
            "numbers": np.concatenate([x.ravel() for _, x in every]),
            "first": np.cumsum([0, *map(len, self.blocks)]),
            "rows": np.stack([self.rates, np.arange(1.0, self.steps + 1), np.array(counts, dtype=float)], axis=1),
            "losses": np.full(self.steps, -1.0),
        }

    def descent(self) -> Any:
        rows = self.state[:, :2]
        clip = None if self.scale is None else code_of(self.scale, self.state[0, :PARAMETERS], 1.0)
        return replay.Descent(code_of(self.update, rows[0], rows[0], rows[1], 1.0, 1.0, 1.0, 1.0), PARAMETERS, clip)


def assert_done(case: Case, arguments: dict[str, Any], done: int) -> None:
    (data, velocity), losses = case.one_by_one()
    assert done == sum(np.isfinite(losses))
    assert arguments["losses"][: len(losses)].tobytes() == np.array(losses).tobytes()
    assert arguments["state"][0, :PARAMETERS].tobytes() == data.tobytes()
    assert arguments["state"][1, :PARAMETERS].tobytes() == velocity.tobytes()


@pytest.mark.parametrize("clips", [False, True])
@pytest.mark.parametrize("alone", [False, True])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_steps_are_their_programs_one_after_another(dtype: str, alone: bool, clips: bool) -> None:
    case = Case(dtype, alone=alone, clips=clips)
    for threads in (1, 2, 3, 9):
        arguments = case.arguments()
        done = case.descent().run(*arguments.values(), threads)
        assert_done(case, arguments, done)


@pytest.mark.parametrize("clips", [False, True])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_an_update_on_the_arrays_themselves_is_the_same_to_the_last_bit(dtype: str, clips: bool) -> None:
    pytest.importorskip("llvmlite")
    case = Case(dtype, seed=7, clips=clips)
    copied = case.arguments()
    case.descent().run(*copied.values(), 1)
    rows = case.state[:, :2]
    assert stream(code_of(case.update, rows[0], rows[0], rows[1], 1.0, 1.0, 1.0, 1.0), strict=False)
    for threads in (1, 2, 3):
        arguments = case.arguments()
        assert case.descent().run(*arguments.values(), threads) == case.steps
        assert arguments["state"].tobytes() == copied["state"].tobytes()


STREAMED = {
    "arithmetic": lambda w, x, y: (x * w + y / x - w, x * y, vg.where(x < y, x, y)),
    "lists": lambda w, x, y: (vg.dot([w, x, y], [x, y, y]), vg.maximum(x, y), -abs(y) + vg.sqrt(abs(x))),
    "functions": lambda w, x, y: (vg.exp(x) ** w, vg.tanh(y)),
    "scalars": lambda w, x, y: (x + vg.exp(w),),
}


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", STREAMED)
def test_a_program_on_the_arrays_is_the_same_to_the_last_bit(name: str, dtype: str, strict: bool) -> None:
    pytest.importorskip("llvmlite")
    rng = np.random.default_rng(4)
    program = vg.compile(STREAMED[name], dtype=dtype, strict=strict)
    for n in (2, 8, 16, 37, 4192):
        x, y = (rng.normal(size=n).astype(dtype) for _ in "xy")
        x[0], y[-1] = -0.0, np.inf
        before = program(0.25, x, y)
        code = code_of(program, 0.25, x, y)
        assert stream(code, strict) == (name in ("arithmetic", "scalars", "lists"))
        after = program(0.25, x, y)
        assert [a.tobytes() for a in before] == [a.tobytes() for a in after], n


def near_the_middle() -> list[float]:
    """All doubles in [1, 4) whose roots are within 2**-46 ulp of the middle of two doubles.

    With x = A 2**-52 or A 2**-51 and a root between m 2**-52 and (m + 1) 2**-52, that is A 2**k = m (m + 1) + c for
    k = 52 or 53 and a c that is small.  Modulo 2**k such m are found by Newton's iteration.
    """
    found = []
    for k in (52, 53):
        for c in range(-256, 257, 2):
            for m in (0, 1):
                for _ in range(7):
                    m = (m - (m * m + m + c) * pow(2 * m + 1, -1, 2**k)) % 2**k
                for whole in (m, m + 2**k):
                    a, rest = divmod(whole * (whole + 1) + c, 2**k)
                    if rest == 0 and 2**52 <= a < 2**53:
                        found.append(a * 2.0 ** (k - 104))
    return found


def test_roots_of_streams_are_rounded_correctly() -> None:
    pytest.importorskip("llvmlite")
    rng = np.random.default_rng(3)
    hard = near_the_middle()
    assert len(hard) > 256
    ordinary = np.concatenate([hard, rng.uniform(1.0, 4.0, 200_000)])
    edges = [0.0, -0.0, np.inf, -np.inf, np.nan, -1.0, 5e-324, 1e-310, 1.7e308, 2.0**-960, 2.0**1020]
    every = [ordinary * 2.0 ** (2 * e) for e in (-511, -480, -479, -1, 0, 50, 508, 509, 510)]
    x = np.concatenate([*every, rng.permutation(edges * 40), rng.permutation([*edges, *hard])])
    program = vg.compile(lambda x: vg.sqrt(x))
    program(x[:8])
    assert stream(code_of(program, x[:8]), strict=False)
    with np.errstate(invalid="ignore"):
        assert program(x).tobytes() == np.sqrt(x).tobytes()


def test_programs_with_sums_guards_or_an_input_that_goes_out_keep_their_blocks() -> None:
    pytest.importorskip("llvmlite")
    x = np.linspace(0.1, 0.9, 20)
    for f in (lambda x: (x * x, vg.batch_sum(x)), lambda x: x * 2 if x < 2 else -x, lambda x: (x, x * x)):
        program = vg.compile(f)
        program(x)
        assert not stream(code_of(program, x), strict=False)


@pytest.mark.parametrize("step", [0, 2, 5])
@pytest.mark.parametrize("number", [np.inf, np.nan])
def test_steps_end_before_one_whose_loss_is_not_finite(step: int, number: float) -> None:
    case = Case("float64", seed=3)
    case.blocks[step][-1][1][0, -1] = number
    for threads in (1, 2, 3):
        arguments = case.arguments()
        done = case.descent().run(*arguments.values(), threads)
        assert done == step
        assert_done(case, arguments, done)


def test_no_steps_are_no_work() -> None:
    case = Case("float64")
    arguments = case.arguments()
    arguments.update(first=np.array([0]), rows=np.empty((0, 3)), losses=np.empty(0))
    assert case.descent().run(*arguments.values()) == 0
    assert arguments["state"].tobytes() == case.state.tobytes()


def test_many_python_threads_run_steps_of_the_same_programs() -> None:
    case = Case("float32", seed=5)
    descent, codes = case.descent(), case.arguments()["codes"]
    (data, _), _ = case.one_by_one()
    wrong: list[int] = []

    def work(i: int) -> None:
        for k in range(15):
            arguments = {**case.arguments(), "codes": codes}
            descent.run(*arguments.values(), 1 + (i + k) % 4)
            if arguments["state"][0, :PARAMETERS].tobytes() != data.tobytes():
                wrong.append(i)

    callers = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert not wrong


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"state": np.zeros((2, PARAMETERS - 1))}, ShapeError),
        ({"state": np.zeros((3, PARAMETERS))}, ShapeError),
        ({"state": np.zeros((2, PARAMETERS + 8), dtype=np.float32)}, ValueTypeError),
        ({"state": np.zeros((2, 2 * PARAMETERS + 8))[:, ::2]}, ValueArgumentError),
        ({"state": None}, ShapeError),
        ({"numbers": np.zeros(3)}, ShapeError),
        ({"numbers": np.zeros(3, dtype=np.float32)}, ValueTypeError),
        ({"first": np.arange(6)}, ShapeError),
        ({"first": np.array([0, 0, 1, 2, 3, 4, 5])}, ShapeError),
        ({"first": np.array([0, 5, 4, 6, 7, 8, 9])}, ShapeError),
        ({"first": np.array([0, 1, 2, 3, 4, 5, 1000])}, ShapeError),
        ({"first": np.array([-1, 1, 2, 3, 4, 5, 6])}, ShapeError),
        ({"losses": np.zeros(5)}, ShapeError),
        ({"rows": np.zeros((6, 2))}, ShapeError),
        ({"codes": []}, ShapeError),
        ({"threads": 0}, ShapeError),
    ],
)
def test_arrays_that_do_not_fit_are_refused(change: dict[str, Any], error: type[Exception]) -> None:
    case = Case("float64")
    with pytest.raises(error, match="run"):
        case.descent().run(*{**case.arguments(), **change}.values())


@pytest.mark.parametrize(("name", "number"), [("lanes", 0), ("lanes", 10**6), ("begins", -1), ("begins", 10**9)])
def test_blocks_beyond_their_numbers_are_refused(name: str, number: int) -> None:
    case = Case("float64")
    arguments = case.arguments()
    arguments[name][-1] = number
    with pytest.raises(ShapeError, match="block"):
        case.descent().run(*arguments.values())


@pytest.mark.parametrize("number", [-1, 2])
def test_a_program_that_is_not_there_is_refused(number: int) -> None:
    case = Case("float64")
    arguments = case.arguments()
    arguments["code_of"][0] = number
    with pytest.raises(ShapeError, match="program"):
        case.descent().run(*arguments.values())


def test_a_program_for_one_lane_has_a_step_of_its_own() -> None:
    case = Case("float64", alone=True)
    arguments = case.arguments()
    with pytest.raises(ShapeError, match="one lane"):
        case.descent().run(*{**arguments, "state": arguments["state"][:, :PARAMETERS].copy()}.values())
    arguments.update(first=np.array([0, 2]), rows=np.ones((1, 3)), losses=np.zeros(1))
    with pytest.raises(ShapeError, match="one lane"):
        case.descent().run(*arguments.values())


def test_programs_of_another_kind_are_refused() -> None:
    case = Case("float64")
    arguments = case.arguments()
    own = code_of(case.update, *[np.ones(2)] * 3, 1.0, 1.0, 1.0, 1.0)
    with pytest.raises(ValueArgumentError, match="an update"):
        replay.Descent(arguments["codes"][0], PARAMETERS)
    with pytest.raises(ValueArgumentError, match="a clip"):
        replay.Descent(own, PARAMETERS, own)
    with pytest.raises(ShapeError, match="program 0"):
        case.descent().run(*{**arguments, "codes": [own, own]}.values())
    branching = code_of(vg.compile(lambda a, g, v, r, t, s, c: (a if a > 0 else -a, v)), *[np.ones(2)] * 3, *[1.0] * 4)
    with pytest.raises(ValueArgumentError, match="1 guards"):
        replay.Descent(branching, PARAMETERS)
    with pytest.raises(ValueArgumentError, match="float32"):
        case.descent().run(*{**arguments, "codes": Case("float32").arguments()["codes"]}.values())
