"""What is refused, with which error, and that both engines say the same."""

from __future__ import annotations

import builtins
import math
import re
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from engines import NATIVE, ONCE, needs_native

import valuegrad as vg
from valuegrad import arguments, errors, optim, reference
from valuegrad import value as chosen
from valuegrad.value import NAMES

# (what is called, the error, what its message must tell); e is the engine, v a leaf, y a result
REFUSED: list[tuple[str, type, str]] = [
    # the constructor
    ("e.Value('3')", vg.ValueTypeError, r"Value\(\) got '3' \(str\); expected a real number"),
    ("e.Value(None)", vg.ValueTypeError, r"Value\(\) got None \(NoneType\)"),
    ("e.Value(1j)", vg.ValueTypeError, r"1j \(complex\)"),
    ("e.Value([3.0])", vg.ValueTypeError, r"\[3\.0\] \(list\)"),
    ("e.Value(np.array([3.0]))", vg.ValueTypeError, r"ndarray"),
    ("e.Value(np.complex128(1))", vg.ValueTypeError, r"complex"),
    ("e.Value(v)", vg.ValueTypeError, r"is a Value already.*v\.data"),
    ("e.Value(10**400)", vg.ValueArgumentError, r"larger than any float64; give a number up to 1\.8e308"),
    ("e.Value(Fraction(10**400, 3))", vg.ValueArgumentError, r"larger than any float64"),
    ("e.Value(1.0, [v], [])", vg.ShapeError, r"1 children and 0 local gradients; give one .* for each child"),
    ("e.Value(1.0, [], [2.0])", vg.ShapeError, r"0 children and 1 local gradients"),
    ("e.Value(1.0, [1.0], [2.0])", vg.ValueTypeError, r"children got 1\.0 \(float\).*wrap a number as Value\(number\)"),
    ("e.Value(1.0, [v], ['2'])", vg.ValueTypeError, r"local_grads got '2' \(str\)"),
    ("e.Value(1.0, [v], [10**400])", vg.ValueArgumentError, r"local_grads got 1000+"),
    ("e.Value(1.0, name=3)", vg.ValueTypeError, r"Value\.name got 3 \(int\); expected text or None"),
    # attributes
    ("setattr(v, 'data', '3')", vg.ValueTypeError, r"Value\.data got '3' \(str\)"),
    ("setattr(v, 'data', v)", vg.ValueTypeError, r"Value\.data got .*is a Value already"),
    ("setattr(v, 'grad', None)", vg.ValueTypeError, r"Value\.grad got None"),
    ("setattr(v, 'name', b'w')", vg.ValueTypeError, r"Value\.name got b'w' \(bytes\)"),
    ("setattr(y, 'data', 1.0)", vg.ComputedValueError, r"Value\.data was set on Value\(data=9\.0.*computed by 'mul'"),
    # operators
    ("v * 10**400", vg.ValueArgumentError, r"^mul\(\) got 1000+\.\.\. \(int\)"),
    ("10**400 - v", vg.ValueArgumentError, r"^sub\(\) got 1000+"),
    ("v ** 10**400", vg.ValueArgumentError, r"^pow\(\) got 1000+"),
    ("(10**400) ** v", vg.ValueArgumentError, r"^pow\(\) got 1000+"),
    ("divmod(v, 10**400)", vg.ValueArgumentError, r"^floordiv\(\) got 1000+"),
    ("v < 10**400", vg.ValueArgumentError, r"^comparison got 1000+"),
    ("v == -10**400", vg.ValueArgumentError, r"^comparison got -1000+"),
    ("v + np.complex128(1)", vg.ValueTypeError, r"^add\(\) got .*complex"),
    ("round(v, 1.5)", vg.ValueTypeError, r"round\(\) got 1\.5 \(float\); expected an integer"),
    # functions of numbers
    ("e.exp('1')", vg.ValueTypeError, r"^exp\(\) got '1' \(str\); expected a real number .* or a Value"),
    ("e.exp(np.array([1.0, 2.0]))", vg.ValueTypeError, r"^exp\(\) got array"),
    ("e.add(v, None)", vg.ValueTypeError, r"^add\(\) got None"),
    ("e.atan2([1], v)", vg.ValueTypeError, r"^atan2\(\) got \[1\]"),
    ("e.clamp(v, 0, 'high')", vg.ValueTypeError, r"^clamp\(\) got 'high'"),
    ("e.pow(v, 'a')", vg.ValueTypeError, r"^pow\(\) got 'a'"),
    ("e.pow('a', v)", vg.ValueTypeError, r"^pow\(\) got 'a'"),
    ("e.where(True, v, 'a')", vg.ValueTypeError, r"^where\(\) got 'a'"),
    ("e.detach('a')", vg.ValueTypeError, r"^detach\(\) got 'a'"),
    ("e.polygamma(v, 0)", vg.ValueArgumentError, r"polygamma\(\), n got 0; expected 1 or more"),
    ("e.polygamma(v, 1.5)", vg.ValueTypeError, r"polygamma\(\), n got 1\.5 \(float\); expected an integer"),
    ("e.polygamma(v, v)", vg.ValueTypeError, r"n got Value.*no gradient flows there"),
    ("v.add('2')", vg.ValueTypeError, r"^add\(\) got '2'"),
    # functions of lists
    ("e.sum(3)", vg.ValueTypeError, r"^sum\(\) got 3 \(int\); expected a list of numbers and Values"),
    ("e.sum('abc')", vg.ValueTypeError, r"^sum\(\) got 'abc'"),
    ("e.sum([v, 'a'])", vg.ValueTypeError, r"^sum\(\) got 'a' \(str\)"),
    ("e.sum([v, [v]])", vg.ValueTypeError, r"^sum\(\) got \[Value"),
    ("e.sum(np.ones((2, 2)))", vg.ValueTypeError, r"^sum\(\) got array"),
    ("e.sum(v)", vg.ValueTypeError, r"^sum\(\) got Value"),
    ("e.mean([])", vg.ShapeError, r"^mean\(\) got an empty list; give at least one number"),
    ("e.logsumexp(())", vg.ShapeError, r"^logsumexp\(\) got an empty list"),
    ("e.maximum()", vg.ShapeError, r"^maximum\(\) got an empty list"),
    ("e.dot([v], [1, 2])", vg.ShapeError, r"^dot\(\) got xs of length 1 and ys of length 2; give lists of one length"),
    ("e.dot([v], 3)", vg.ValueTypeError, r"^dot\(\) got 3"),
    ("e.softmax([v, None])", vg.ValueTypeError, r"^softmax\(\) got None"),
    ("e.cross_entropy([v, v], 2)", vg.IndexRangeError, r"target got index 2; there are 2 entries, so give -2 to 1"),
    ("e.cross_entropy([v, v], -3)", vg.IndexRangeError, r"target got index -3"),
    ("e.cross_entropy([v, v], 1.0)", vg.ValueTypeError, r"target got 1\.0 \(float\); expected an integer"),
    ("e.cross_entropy([v, v], v)", vg.ValueTypeError, r"no gradient flows there: give a plain number"),
    ("e.cross_entropy([], 0)", vg.ShapeError, r"empty list"),
    ("e.take([v], 1)", vg.IndexRangeError, r"^take\(\) got index 1; there are 1 entries"),
    ("e.take([v], 'a')", vg.ValueTypeError, r"^take\(\) got 'a' \(str\); expected an integer"),
    ("e.take('abc', 1)", vg.ValueTypeError, r"^take\(\) got 'abc'"),
    ("e.take(3, 1)", vg.ValueTypeError, r"^take\(\) got 3"),
    ("e.take([['a']], 0)", vg.ValueTypeError, r"^take\(\) got 'a'"),
    # many at a time
    ("e.write_data([v], np.zeros(2))", vg.ShapeError, r"^write_data\(\) got 1 Values and 2 numbers"),
    ("e.write_data([y], np.zeros(1))", vg.ComputedValueError, r"computed by 'mul'"),
    # forgetting
    ("float(v)", vg.ForgetError, r"v\.data, or stay differentiable with vg\.sin\(v\)"),
    ("int(v)", vg.ForgetError, r"^int\(v\) got Value\(data=3\.0"),
    ("math.sin(v)", vg.ForgetError, r"math's functions got Value"),
]


def outcome(engine: Any, source: str) -> Exception:
    v = engine.Value(3.0)
    scope = {"e": engine, "v": v, "y": v * v, "np": np, "math": math, "Fraction": Fraction}
    with pytest.raises(vg.ValuegradError) as caught:
        eval(source, scope)
    return caught.value


@pytest.mark.parametrize(("source", "error", "message"), REFUSED, ids=[source for source, _, _ in REFUSED])
def test_bad_arguments_get_our_error_and_a_message_that_helps(source: str, error: type, message: str) -> None:
    caught = outcome(chosen, source)
    assert type(caught) is error
    assert re.search(message, str(caught)), str(caught)


@ONCE
@needs_native
@pytest.mark.parametrize("source", [source for source, _, _ in REFUSED])
def test_both_engines_raise_the_same_error_word_for_word(source: str) -> None:
    readable, native = outcome(reference, source), outcome(NATIVE, source)
    assert type(readable) is type(native)
    assert str(readable) == str(native)


STRANGE = ["()", "('a',)", "([],)", "(None, None)", "('a', 1)", "([v], v)", "(v, 'a', [])", "(v, v, v, v)"]


@ONCE
@needs_native
@pytest.mark.parametrize("name", NAMES)
def test_both_engines_refuse_and_accept_the_same_strange_calls(name: str) -> None:
    """The same result or the same error; of Python's own TypeErrors about the number of arguments only the kind."""
    for args in STRANGE:
        outcomes = []
        for engine in (reference, NATIVE):
            try:
                outcomes.append(str(getattr(engine, name)(*eval(args, {"v": engine.Value(2.0)}))))
            except vg.ValuegradError as error:
                outcomes.append(f"{type(error).__name__}: {error}")
            except TypeError:
                outcomes.append("TypeError")
        assert outcomes[0] == outcomes[1], f"{name}{args}"


@pytest.mark.parametrize("name", errors.__all__)
def test_every_error_is_ours_and_a_built_in_one(name: str) -> None:
    error = getattr(vg, name)
    if issubclass(error, Warning):
        assert issubclass(error, UserWarning)
        return
    assert issubclass(error, vg.ValuegradError)
    if error is not vg.ValuegradError:
        assert any(base in vars(builtins).values() for base in error.__mro__[2:-3])


@pytest.mark.parametrize(
    "bad", [lambda: vg.Value(1.0, [vg.Value(1.0)], []), lambda: vg.exp("a"), lambda: vg.sum([vg.Value(1.0), "a"])]
)
def test_a_refused_call_leaves_everything_as_it_was(bad: Callable[[], Any]) -> None:
    x = vg.Value(2.0)
    before = x * x
    with pytest.raises(vg.ValuegradError):
        bad()
    before.backward()
    assert (x.grad, (x + 1).data) == (4.0, 3.0)


class Evil(Fraction):
    """A number whose reading changes the list that it stands in."""

    victim: list[Any]

    def __float__(self) -> float:
        for i in range(len(self.victim)):
            if type(self.victim[i]) is not Evil:
                self.victim[i] = 0.0
        return 1.0


@pytest.mark.parametrize("length", [2, 3, 8, 300])
def test_a_list_that_changes_while_it_is_read_does_no_harm(length: int) -> None:
    for call in (
        lambda xs: vg.sum(xs),
        lambda xs: vg.softmax(xs)[0],
        lambda xs: vg.dot(xs, [1.0] * len(xs)),
        lambda xs: vg.dot([vg.Value(1.0) for _ in xs], xs),
    ):
        xs: list[Any] = [vg.Value(float(i)) for i in range(length - 1)]
        evil = Evil(1)
        xs.append(evil)
        evil.victim = xs
        out = call(xs)
        assert len(out.children) in (length, 2 * length)
        assert all(type(child.data) is float for child in out.children)
        out.backward()


def test_a_list_that_shrinks_while_another_is_read_does_no_harm() -> None:
    xs = [vg.Value(float(i)) for i in range(5)]

    class Clearing(Fraction):
        def __float__(self) -> float:
            xs.clear()
            return 2.0

    out = vg.dot(xs, [Clearing(2), 1.0, 1.0, 1.0, 1.0])
    out.backward()
    assert [child.data for child in out.children[:5]] == [0.0, 1.0, 2.0, 3.0, 4.0]


def test_long_things_are_shown_short() -> None:
    assert len(arguments.shown(list(range(10_000)))) < 80


MASKED = np.ma.masked_array([1.0, 2.0, 4.0], mask=[False, True, False])
ONE = np.ma.masked
MASKED_NUMBERS = {
    "a lane": lambda: vg.compile(lambda x: x * x)(MASKED),
    "a vector": lambda: vg.compile(_total, vectors="xs")(MASKED),
    "a vector of objects": lambda: vg.compile(_total, vectors="xs")(MASKED.astype(object)),
    "a vector in a list": lambda: vg.compile(lambda rows: _total(rows[0]), vectors="rows")([MASKED]),
    "a vector like the one before": lambda: [f := vg.compile(_total, vectors="xs"), f(MASKED.data), f(MASKED)],
    "an entry of a list": lambda: vg.compile(_total)(list(MASKED)),
    "a list like the one before": lambda: [f := vg.compile(_total), f([1.0, 2.0, 4.0]), f(list(MASKED))],
    "inputs of steps": lambda: vg.compile(lambda s, x: s + x).iterate(0.0, (MASKED,)),
    "the first state": lambda: vg.compile(lambda s, x: s + x).iterate(MASKED, (1.0,), steps=2),
    "a result": lambda: vg.compile(lambda x: [x, ONE])(2.0),
    "an array of results": lambda: vg.compile(lambda x: np.ma.array([x, x], mask=[False, True]))(2.0),
    "a constant": lambda: vg.compile(lambda x: x * ONE)(2.0),
    "grad": lambda: vg.grad(_total)(MASKED),
    "grad by one": lambda: vg.grad(lambda x: x * x)(ONE),
    "grad by a list": lambda: vg.grad(_total)([1.0, ONE]),
    "grad of one": lambda: vg.grad(lambda x: (x * MASKED)[1])(2.0),
    "tangents": lambda: vg.jvp(_total)(([1.0, 1.0],), ([1.0, ONE],)),
    "a sparse derivative": lambda: vg.sparse_jacobian(lambda x: [a * a for a in x])(MASKED),
    "Value": lambda: vg.Value(ONE),
    "data": lambda: setattr(vg.Value(1.0), "data", ONE),
    "a sum": lambda: vg.Value(1.0) + ONE,
    "a comparison": lambda: vg.Value(1.0) < ONE,
    "a function": lambda: vg.exp(ONE),
    "a list": lambda: vg.sum(MASKED),
    "a static number": lambda: vg.Value(2.0) ** ONE,
    "an entry": lambda: vg.take(MASKED, 1),
    "many at a time": lambda: chosen.write_data([vg.Value(1.0)] * 3, MASKED),
    "an optimiser's state": lambda: optim.SGD([vg.Value(1.0)], 0.1).load_state({"steps": 0, "velocity": MASKED}),
}


def _total(xs):
    return vg.sum(list(xs))


@ONCE
@pytest.mark.parametrize("entering", MASKED_NUMBERS.values(), ids=MASKED_NUMBERS)
def test_a_masked_number_is_refused_wherever_numbers_enter(entering):
    with pytest.raises(vg.ValueTypeError, match="mask would be lost"):
        entering()
