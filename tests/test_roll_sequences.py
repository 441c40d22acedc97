"""A loop over time that Python unrolled runs as a loop again, and to the bit as if it had not been noticed."""

import os
from contextlib import contextmanager
from itertools import pairwise

import numpy as np
import pytest
from engines import ONCE
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import valuegrad as vg
from valuegrad.lower import rolled
from valuegrad.primitives.opcodes import OPCODE
from valuegrad.roll.packs import packs_of
from valuegrad.roll.sequences import Chain, Sequence

pytestmark = [ONCE, pytest.mark.skipif(not rolled.HAS_LLVM, reason="loops need llvmlite")]
try:
    from valuegrad._replay import Code

    REGISTER = Code.register_function(OPCODE["exp"], "float64", False)[1]
except ImportError:
    REGISTER = 0

DT = 0.01


@contextmanager
def rolling(wish):
    before = os.environ.get("VALUEGRAD_ROLL")
    os.environ["VALUEGRAD_ROLL"] = wish
    try:
        yield
    finally:
        if before is None:
            del os.environ["VALUEGRAD_ROLL"]
        else:
            os.environ["VALUEGRAD_ROLL"] = before


def results(f, inputs, wish, gradient=True, **options):
    with rolling(wish):
        program = vg.compile(f, cache=False, **options)
        found = program.value_and_grad(*inputs) if gradient else program(*inputs)
        flat = [found[0], *found[1]] if gradient else found if isinstance(found, tuple) else [found]
        return np.concatenate([np.ravel(np.asarray(x, dtype=float)) for x in flat])


def agree(f, inputs, gradient=True, **options):
    for strict in (True, False):
        single = [float(x[0]) for x in inputs]
        for some in (inputs, single, [*single[:-1], inputs[-1]]):
            expected = results(f, some, "off", gradient, strict=strict, **options)
            found = results(f, some, "on", gradient, strict=strict, **options)
            np.testing.assert_array_equal(found, expected)


def lanes(count, n=43, seed=0):
    return list(np.random.default_rng(seed).uniform(0.5, 1.5, (count, n)))


def lorenz(steps):
    def slope(x, y, z, s, r, b):
        return s * (y - x), x * (r - z) - y, x * y - b * z

    def f(x, y, z, s, r, b):
        for _ in range(steps):
            ax, ay, az = slope(x, y, z, s, r, b)
            bx, by, bz = slope(x + DT / 2 * ax, y + DT / 2 * ay, z + DT / 2 * az, s, r, b)
            x, y, z = x + DT * (ax + bx), y + DT * (ay + by), z + DT * (az + bz)
        return x + y + z

    return f


def test_an_integration_becomes_a_loop_and_its_adjoint_the_loop_back(kernels):
    results(lorenz(40), lanes(6), "on")
    loops = [kernel for kernel in kernels if isinstance(kernel, Sequence)]
    assert len(loops) == 2
    assert min(loop.members for loop in loops) > 30
    assert any(isinstance(kernel, Chain) for kernel in kernels)


def test_a_loop_s_code_does_not_grow_with_its_steps(kernels):
    counts = []
    for steps in (30, 300):
        del kernels[:]
        results(lorenz(steps), lanes(6), "on")
        counts.append(sum(len(kernel.bodies) for kernel in kernels))
    assert counts[0] == counts[1]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("steps", [5, 30])
def test_an_integration_is_the_same_to_the_bit(steps, dtype):
    agree(lorenz(steps), lanes(6), dtype=dtype)
    agree(lorenz(steps), lanes(6), gradient=False, dtype=dtype)


def test_a_filter_that_reads_a_number_each_step(kernels):
    def f(q, r, *seen):
        mean, variance, total = 0.0, 1.0, 0.0
        for x in seen:
            variance = variance + q
            gain = variance / (variance + r)
            error = x - mean
            total = total + error * error / (variance + r) + vg.log(variance + r)
            mean = mean + gain * error
            variance = (1.0 - gain) * variance
        return total

    agree(f, lanes(2 + 40))
    assert any(isinstance(kernel, Sequence) for kernel in kernels)


def test_a_loop_that_leaves_a_number_each_step(kernels):
    def f(x, a):
        out = []
        for _ in range(30):
            x = a * x * (1.0 - x)
            out.append(x)
        return tuple(out)

    agree(f, lanes(2), gradient=False)
    assert any(isinstance(kernel, Sequence) for kernel in kernels)


def test_a_recurrent_cell_over_time(kernels):
    def f(*weights):
        w, u, b = weights[:4], weights[4:8], weights[8:10]
        h = [0.0, 0.0]
        for t in range(20):
            x = [np.sin(t), np.cos(t)]
            h = [
                vg.tanh(w[2 * i] * x[0] + w[2 * i + 1] * x[1] + u[2 * i] * h[0] + u[2 * i + 1] * h[1] + b[i])
                for i in range(2)
            ]
        return h[0] * h[0] + h[1]

    agree(f, lanes(10))
    assert any(isinstance(kernel, Sequence) for kernel in kernels)


def test_a_dense_recurrent_layer_is_one_loop_though_its_units_are_alike(kernels):
    def f(*w):
        h = [0.1] * 8
        for _ in range(12):
            h = [vg.tanh(sum(w[8 * i + j] * h[j] for j in range(8))) for i in range(8)]
        return sum(h)

    inputs = [float(x) for x in np.random.default_rng(1).normal(size=64) * 0.4]
    for gradient in (False, True):
        expected, found = (results(f, inputs, wish, gradient) for wish in ("off", "on"))
        np.testing.assert_array_equal(found, expected)
    assert any(isinstance(kernel, Sequence) and len(kernel.bodies) > 64 for kernel in kernels)


def rod(states, steps):
    def f(*u):
        for _ in range(steps):
            ends = [0.0, *u, 0.0]
            u = [b + 0.2 * (a - 2 * b + c) + 0.1 * vg.exp(b / (1 + b)) for a, b, c in zip(ends, ends[1:], ends[2:])]
        return sum(u) / states

    return f


def test_steps_of_many_states_are_loops_over_the_states(kernels):
    inputs = [float(x) for x in np.random.default_rng(1).uniform(0.5, 1.5, 400)]
    f = rod(400, 6)
    expected, found = (results(f, inputs, wish) for wish in ("off", "on"))
    np.testing.assert_array_equal(found, expected)
    assert not any(isinstance(kernel, Sequence) for kernel in kernels)
    wide = [kernel for kernel in kernels if kernel.members > 300]
    assert len(wide) <= 6 * 6  # of a step forwards and back; what is at the ends is apart
    assert sum(kernel.members * len(kernel.bodies) for kernel in wide) > 30_000


def test_many_steps_of_few_states_are_a_loop_over_the_steps(kernels):
    inputs = [float(x) for x in np.random.default_rng(1).uniform(0.5, 1.5, 12)]
    expected, found = (results(rod(12, 100), inputs, wish) for wish in ("off", "on"))
    np.testing.assert_array_equal(found, expected)
    assert sum(isinstance(kernel, Sequence) and kernel.members > 80 for kernel in kernels) == 2


def test_members_that_share_a_product_with_their_neighbours_are_no_run(kernels):
    def f(*u):
        doubled = [2 * vg.exp(x) for x in u]
        return sum(vg.sin(x * y) for x, y in pairwise(doubled))

    inputs = [float(x) for x in np.random.default_rng(1).uniform(0.5, 1.5, 600)]
    expected, found = (results(f, inputs, wish) for wish in ("off", "on"))
    np.testing.assert_array_equal(found, expected)
    assert not any(isinstance(kernel, Sequence) for kernel in kernels)


def recurrent(units, steps):
    """Gates for each unit, as an LSTM has them; the loss looks at all units."""

    def f(*w):
        h, c, total = [0.1 * i for i in range(units)], [0.2] * units, 0.0
        for _ in range(steps):
            for i in range(units):
                gate = vg.sigmoid(h[i] * w[i] + w[units + i])
                c[i] = c[i] * gate + (1.0 - gate) * vg.tanh(w[2 * units + i] * h[i])
                h[i] = vg.tanh(c[i]) * gate
            total = total + vg.log(sum(vg.exp(x) for x in h))
        return total

    return f, 3 * units


@pytest.mark.parametrize(("units", "dtype"), [(4, "float64"), (5, "float32"), (14, "float64"), (19, "float32")])
def test_units_of_a_time_loop_run_side_by_side_to_the_same_bits(units, dtype):
    f, count = recurrent(units, 30)
    for some in (lanes(count), [float(x[0]) for x in lanes(count)]):
        for gradient in (False, True):
            expected, found = (results(f, some, wish, gradient, dtype=dtype) for wish in ("off", "on"))
            np.testing.assert_array_equal(found, expected)


def test_alike_units_are_packs_and_an_iteration_begins_where_the_loop_does(kernels):
    f, count = recurrent(14, 40)
    results(f, [float(x[0]) for x in lanes(count)], "on")
    forward, back = (kernel for kernel in kernels if isinstance(kernel, Sequence))
    packs = packs_of(forward, 8, lambda op: False)
    assert sorted(i for pack in packs for i in pack) == list(range(len(forward.bodies)))
    assert {len(pack) for pack in packs} == {8, 6, 1}
    assert sum(len(pack) == 1 for pack in packs) == 2  # the sum over the units and its logarithm
    packs = packs_of(back, 8, lambda op: False)
    assert sum(len(pack) for pack in packs if len(pack) > 1) > 0.9 * len(back.bodies)


def test_a_pack_comes_after_all_that_it_reads(kernels):
    f, count = recurrent(6, 40)
    results(f, [float(x[0]) for x in lanes(count)], "on")
    for loop in (kernel for kernel in kernels if isinstance(kernel, Sequence)):
        done = set()
        for pack in packs_of(loop, 4, lambda op: True):
            assert {x for i in pack for what, x in loop.bodies[i].args if what == "value"} <= done
            done |= set(pack)


def test_the_gradient_of_a_parameter_is_a_total_of_the_loop_back(kernels):
    results(lorenz(40), lanes(6), "on")
    (back,) = [kernel for kernel in kernels if isinstance(kernel, Sequence) and kernel.accumulators]
    assert len(back.accumulators) == 3
    assert not any(step.stored and not step.last for step in back.bodies)


def test_terms_before_and_after_the_loop_s_keep_their_order():
    def f(x, a, *w):
        total = 0.0
        for t in range(30):
            x = vg.sin(a * x) + w[0] * (3.0 if t < 2 or t > 26 else 1.0)
            total = total + x * w[1] * (1.0 if t % 2 else 1e8)
        return total * a

    agree(f, lanes(4))


def test_a_call_that_reads_what_the_one_beside_it_left_an_iteration_before():
    def f(x, y, a):
        total = 0.0
        for _ in range(12):
            x, y = a * vg.tanh(x + x), vg.tanh(y)
            total = total + x
        return total + y

    agree(f, lanes(3))


@pytest.mark.parametrize("copies", [3, 6])
def test_what_repeats_itself_without_a_loop_takes_no_longer(copies):
    def f(x, a):
        for _ in range(copies):
            random = np.random.default_rng(3)
            values = [x, a]
            for _ in range(2000):
                i, j = random.integers(1, 1 + min(50, len(values)), 2)
                values.append(values[-i] * values[-j] if random.random() < 0.5 else values[-i] - 0.5 * values[-j])
            x = vg.tanh(values[-1])
        return x

    agree(f, lanes(2))


def test_a_first_step_of_its_own_stays_outside(kernels):
    def f(x, a):
        x = vg.exp(x * a) + a
        for _ in range(20):
            x, a = x + DT * vg.sin(a), a - DT * x * a
        return vg.log(x * x + 1.0) + a

    agree(f, lanes(2))
    assert any(isinstance(kernel, Sequence) for kernel in kernels)


def test_a_value_of_two_steps_ago(kernels):
    def f(x, y, a):
        for _ in range(30):
            x, y = y, a * y - 0.5 * x
        return x * y

    agree(f, lanes(3))
    assert any(isinstance(kernel, Sequence) and kernel.carried for kernel in kernels)


def begins_with_another_value_of_its_own_step(x, a, y):
    before = x
    for t in range(20):
        x = vg.sin(a * x)
        twice = vg.cos(x) * a
        y = y * (twice if t == 0 else before)
        before = twice
    return x * y


def takes_one_step_ago_and_then_two(x, a, y):
    states = [x, y]
    for t in range(30):
        states.append(vg.sin(states[-1] * a))
        y = y + states[-1] * a * (states[-2] if t == 1 else states[-3])
    return y + states[-1]


def takes_another_value_of_one_step_ago_and_then_two(x, a, y):
    states, others = [x, y], [x, y]
    for t in range(30):
        state = vg.sin(states[-1] * a)
        other = vg.cos(others[-1] + state)
        y = y + other * (others[-1] if t == 1 else states[-2])
        states.append(state)
        others.append(other)
    return y + states[-1]


@pytest.mark.parametrize(
    "f",
    [
        begins_with_another_value_of_its_own_step,
        takes_one_step_ago_and_then_two,
        takes_another_value_of_one_step_ago_and_then_two,
    ],
)
def test_first_steps_that_begin_with_the_loop_s_own_results_stay_outside(kernels, f):
    agree(f, lanes(3))
    agree(f, lanes(3), gradient=False)
    assert any(isinstance(kernel, Sequence) for kernel in kernels)


def test_a_list_that_begins_at_the_last_step_reads_the_steps_before_too(kernels):
    def f(x, a, b):
        for i in range(5):
            x = x * a + i
        return vg.exp((x + 1.0) * b)

    agree(f, lanes(3))
    assert any(isinstance(kernel, Sequence) for kernel in kernels)


def test_a_condition_in_each_step():
    def f(x, a):
        for _ in range(20):
            x = a * x if x < 0.9 else x * 0.25 + a * 0.1
        return x

    agree(f, lanes(2, 9))  # a path for each


def test_two_loops_one_after_the_other():
    def f(x, a):
        for _ in range(12):
            x = x + DT * vg.sin(x * a)
        for _ in range(9):
            x = x * a - DT * vg.cos(a - x) * x
        return x

    agree(f, lanes(2))


OPERATIONS = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "mean": lambda a, b: 0.5 * a + 0.25 * b,
    "div": lambda a, b: a / (2.0 + b * b),
    "tanh": lambda a, b: vg.tanh(a - b),
    "max": lambda a, b: vg.maximum(a, b, 0.1),
    "sum": lambda a, b: vg.fsum([a, b, a * b, 0.5]) if hasattr(vg, "fsum") else a + b + a * b + 0.5,
    "sqrt": lambda a, b: vg.sqrt(a * a + 0.5) * b,
}


@st.composite
def bodies(draw):
    """A body with a state, parameters and perhaps something new in each step."""
    state, parameters = draw(st.integers(1, 3)), draw(st.integers(1, 2))
    reads, damped = draw(st.booleans()), draw(st.booleans())
    known = state + parameters + reads
    steps = draw(
        st.lists(
            st.tuples(st.sampled_from(sorted(OPERATIONS)), st.integers(0, 99), st.integers(0, 99)),
            min_size=1,
            max_size=9,
        )
    )
    nexts = draw(st.lists(st.integers(0, 99), min_size=state, max_size=state))
    times, peeled = draw(st.integers(5, 17)), draw(st.booleans())
    begins, other = draw(st.integers(0, 2)), draw(st.integers(0, 99))  # steps whose last operation reads another value

    def f(*inputs):
        now, rest = list(inputs[:state]), list(inputs[state : state + parameters])
        total = 0.0
        for t in range(times):
            values = [*now, *rest, *([inputs[state + parameters + t]] if reads else [])]
            assert len(values) == known
            for i, (op, a, b) in enumerate(steps):
                a = other if t < begins and i == len(steps) - 1 else a
                values.append(OPERATIONS[op](values[a % len(values)], values[b % len(values)]))
            if peeled and t == 0:
                values[-1] = values[-1] * 0.5 + 1.0
            now = [vg.tanh(values[-1 - k % len(values)]) if damped else values[-1 - k % len(values)] for k in nexts]
            total = total + now[0] * 0.125
        return total + now[-1] * rest[0]

    return f, state + parameters + (times if reads else 0)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(bodies(), st.sampled_from(["float64", "float32"]), st.booleans(), st.integers(0, 99), st.integers(1, 43))
def test_any_body_is_the_same_to_the_bit(body, dtype, strict, uniform, n):
    f, inputs = body
    some = [float(x[0]) if i < uniform else x for i, x in enumerate(lanes(inputs, n))]
    for gradient in (False, True):
        expected = results(f, some, "off", gradient, strict=strict, dtype=dtype)
        found = results(f, some, "on", gradient, strict=strict, dtype=dtype)
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_two_kinds_of_terms_of_each_step_of_many_paths_are_a_loop(dtype, kernels):
    """At a step within a path their places are apart as far as elsewhere, between paths not."""

    def price(volatility, draws):
        total = 0.0
        for path in draws:
            x = 0.1
            for z in path:
                x = x + volatility**2
                x = x + volatility * z
            total = total + vg.exp(x)
        return total

    draws = np.random.default_rng(0).normal(size=(30, 12)).tolist()
    found = [results(price, (0.2, draws), wish, dtype=dtype) for wish in ("off", "on")]
    np.testing.assert_array_equal(*found)
    assert max(len(kernel.sections) for kernel in kernels if isinstance(kernel, Chain)) < 5


# --------------------------------------------------------------------------------- two vectors of lanes in a loop
needs_512_bits = pytest.mark.skipif(
    REGISTER != 8,
    reason="a vector of lanes is one register with AVX-512 alone",
)


def block(f, inputs, **options):
    """How many lanes a program computes at a time, in vectors."""
    with rolling("on"):
        program = vg.compile(f, cache=False, **options)
        program(*inputs)
        (code,) = [lowered.code for path in program.graph.paths for lowered in path.lowered.values()]
        return code.block * (8 if options.get("dtype", "float64") == "float64" else 4) // 64


@needs_512_bits
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_loop_that_waits_for_its_own_results_runs_two_vectors_of_lanes(dtype):
    assert block(lorenz(30), lanes(6), dtype=dtype) == 2


@needs_512_bits
@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_two_vectors_of_lanes_give_the_same_bits_as_one(dtype, strict):
    batches = [lanes(6, n) for n in (1, 2, 7, 8, 9, 15, 16, 17, 31, 32, 33, 200)]
    for threads in (1, 2):
        found = []
        for wish in ("off", "on"):
            with rolling(wish):
                program = vg.compile(lorenz(30), cache=False, dtype=dtype, strict=strict, threads=threads)
                found.append([program(*batch) for batch in batches])
        for expected, got in zip(*found):
            np.testing.assert_array_equal(got, expected)


@needs_512_bits
def test_a_loop_that_stores_its_results_for_the_way_back_runs_one_vector_of_lanes():
    f = vg.compile(lorenz(30)).value_and_grad
    with rolling("on"):
        f(*lanes(6))
    assert {lowered.code.block for path in f.graph.paths for lowered in path.lowered.values()} == {8}


@needs_512_bits
def test_a_loop_whose_operations_do_not_wait_runs_one_vector_of_lanes():
    def f(*x):
        x = list(x)
        for _ in range(40):
            x = [a * 0.9 + 0.1 for a in x]
        return vg.sum(x)

    assert block(f, lanes(12)) == 1


@needs_512_bits
def test_guards_and_exponentials_of_two_vectors_of_lanes():
    def f(x, y):
        for _ in range(40):
            x = x + 0.1 * (vg.exp(-x * y) - x)
        return x if x < 0.83 else -x

    with rolling("on"):
        assert block(f, lanes(2)) == 2
        for n in (9, 16, 43, 100):
            x, y = lanes(2, n)
            both = vg.compile(f, cache=False)(x, y)
            one_by_one = vg.compile(f, cache=False)
            assert both.tolist() == [one_by_one(a, b) for a, b in zip(x.tolist(), y.tolist())]


@needs_512_bits
def test_two_vectors_of_lanes_come_back_from_the_disk_cache(tmp_path):
    with rolling("on"):
        found, blocks = [], []
        for _ in range(2):
            program = vg.compile(lorenz(30), cache=str(tmp_path))
            found.append(program(*lanes(6)).tolist())
            blocks += [lowered.code.block for path in program.graph.paths for lowered in path.lowered.values()]
    assert found[0] == found[1]
    assert blocks == [16, 16]
