"""The type stubs say what both engines offer, and type checkers understand programs that use them."""

import ast
import importlib
import inspect
from pathlib import Path

import pytest
from mypy import api
from trees import ROOT

import valuegrad as vg
from valuegrad import value
from valuegrad.primitives import TABLE, stubs
from valuegrad.primitives.methods import METHODS as METHODS_THAT_EXPLAIN

PACKAGE = Path(inspect.getfile(vg)).parent
REGENERATE = "run: python -m valuegrad.primitives.stubs"
RAISING = {"__float__", "__int__", "__complex__"}  # left out so that type checkers refuse float(v) and math.sin(v)


def stub(name):
    return ast.parse((PACKAGE / name).read_text(encoding="utf-8"))


def definitions(body):
    """Names of what a stub defines, with the last overload of each."""
    return {node.name: node for node in body if isinstance(node, (ast.FunctionDef, ast.ClassDef))}


ENGINE = definitions(stub("_native.pyi").body)
METHODS = definitions(ENGINE["Value"].body)
FUNCTIONS = sorted(set(ENGINE) - {"Value"})


@pytest.mark.parametrize(("name", "generate"), [("_native.pyi", stubs.engine), ("__init__.pyi", stubs.package)])
def test_stubs_follow_from_the_table(name, generate):
    assert (PACKAGE / name).read_text(encoding="utf-8") == generate(), REGENERATE


def test_stub_of_value_has_every_public_attribute_and_no_other():
    public = {name for name in dir(vg.Value) if not name.startswith("_")}
    assert public == {name for name in METHODS if not name.startswith("_")}


def test_stub_of_value_has_every_operator_and_no_other():
    # Both engines answer the reflected operators; in the native one they are the same slot.
    operators = {
        name
        for cls in vg.Value.__mro__[:-1]  # the readable engine's has a base
        for name in vars(cls)
        if name.startswith("__") and callable(getattr(vg.Value, name)) and name != "__new__"
    }
    internals = {"__init__", "__init_subclass__", "__repr__", "__class__"}
    internals |= {"__reduce__", "__getstate__", "__setstate__", "__pyx_vtable__"}
    written = {name for name in METHODS if name.startswith("__")} - internals
    assert operators - internals - RAISING == written


def test_stub_has_every_function_of_the_engine():
    missing = [name for name in FUNCTIONS if not callable(getattr(value, name))]
    assert missing == []
    assert set(value.NAMES) <= set(FUNCTIONS)


def test_stub_of_the_package_lists_its_public_names():
    listed = next(node.value for node in stub("__init__.pyi").body if isinstance(node, ast.Assign))
    assert sorted(ast.literal_eval(listed)) == sorted(vg.__all__)


SCALAR_OR_LIST = [row for row in TABLE.values() if row.function and not row.variadic]


@pytest.mark.parametrize("row", SCALAR_OR_LIST, ids=lambda row: row.name)
def test_function_takes_as_many_arguments_as_its_stub_says(row):
    count = len(ENGINE[row.name].args.posonlyargs)
    static = row.static != "" and not row.family
    lists, scalars = row.vectors, count - row.vectors - static
    arguments = [[vg.Value(0.5), vg.Value(0.25)]] * lists + [vg.Value(0.5)] * scalars + [1] * static
    assert getattr(vg, row.name)(*arguments) is not None
    for wrong in ([*arguments, 1.0], arguments[:-1]):
        with pytest.raises(TypeError, match="argument"):
            getattr(vg, row.name)(*wrong)


# diagram's parameters are those of its function, whatever they are
EXPLAINING = [name for name in METHODS_THAT_EXPLAIN if name != "diagram"]


@pytest.mark.parametrize("name", EXPLAINING)
def test_methods_that_explain_have_their_functions_parameters(name):
    method = METHODS_THAT_EXPLAIN[name]
    function = inspect.signature(getattr(importlib.import_module(method.module), name))
    shown = [str(parameter).replace("'", "") for parameter in list(function.parameters.values())[1:]]
    listed = [parameter for parameter in method.parameters if parameter != "*"]
    assert listed == shown[: len(listed)]
    assert function.return_annotation == method.result


PROGRAM = """
import math

from typing_extensions import assert_type

import valuegrad as vg
from valuegrad.inspect.influence import Why
from valuegrad.inspect.origin import Poison
from valuegrad.inspect.stepping import Steps

v = vg.Value(1.0)
vs = [v, v]
assert_type(vg.exp(v), vg.Value)
assert_type(vg.exp(1.0), float)
assert_type(vg.exp(1), float)
assert_type(v.exp(), vg.Value)
assert_type(2 * v - 1, vg.Value)
assert_type(v**2, vg.Value)
assert_type(2**v, vg.Value)
assert_type(abs(v), vg.Value)
assert_type(round(v, 2), vg.Value)
assert_type(math.floor(v), vg.Value)
assert_type(divmod(v, 2), tuple[vg.Value, vg.Value])
assert_type(v > 0, bool)
assert_type(v.data, float)
assert_type(v.children, tuple[vg.Value, ...])
assert_type(vg.atan2(1.0, v), vg.Value)
assert_type(vg.atan2(1.0, 2.0), float)
assert_type(vg.clamp(v, 0, 1), vg.Value)
assert_type(vg.maximum(0.0, v), vg.Value)
assert_type(vg.maximum(0.0, 1.0), float)
assert_type(vg.maximum(vs), vg.Value)
assert_type(vg.sum(vs), vg.Value)
assert_type(vg.sum([1.0, 2.0]), float)
assert_type(vg.sum([v, 2.0]), vg.Value | float)
assert_type(vg.dot([1, 2], vs), vg.Value)
assert_type(vg.softmax(vs), list[vg.Value])
assert_type(vg.cross_entropy(vs, 1), vg.Value)
assert_type(vg.where(v > 0, v, 0.0), vg.Value)
assert_type(vg.take(vs, 1), vg.Value)
assert_type(vg.take([vs], 0), list[vg.Value])
assert_type(vg.detach(v), vg.Value)
with vg.no_grad(), vg.strict(), vg.remember_lines():
    pass
assert_type(v.line, str | None)
assert_type(vg.why(v), Why)
assert_type(v.steps("order"), Steps)
assert_type(v.poison(), Poison)


def either(x: vg.Value | float) -> vg.Value | float:
    return vg.exp(x) * 2


float(v)  # type: ignore[arg-type]
math.sin(v)  # type: ignore[arg-type]
vg.exp("1")  # type: ignore[call-overload]
v.exponential()  # type: ignore[attr-defined]
"""


@pytest.mark.skipif(vg.engine == "readable", reason="type checkers see the same stubs whichever engine runs")
def test_type_checker_knows_what_functions_and_operators_give(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    # --strict also reports the "type: ignore" comments that are not needed: what must be refused, is.
    # The cache is that of `make types`, which has looked at all that the program imports.
    report, errors, status = api.run(["--strict", f"--cache-dir={ROOT / '.mypy_cache'}", str(program)])
    assert (status, errors) == (0, ""), report
