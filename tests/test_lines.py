"""``remember_lines``: which source line made a Value."""

from __future__ import annotations

import copy
import sys
import threading

import pytest
from engines import ENGINES

import valuegrad as vg
from valuegrad import lines, nn

HERE = __file__


def line_number() -> int:
    return sys._getframe(1).f_lineno


def test_the_line_of_an_operation_is_remembered():
    x = vg.Value(3.0)
    with vg.remember_lines():
        y = x * 2
    assert y.line == f"{HERE}:{line_number() - 1}, in test_the_line_of_an_operation_is_remembered"
    assert x.line is None


@pytest.mark.parametrize("engine", ENGINES)
def test_every_kind_of_operation_remembers_its_line(engine):
    x = engine.Value(0.5)
    with vg.remember_lines():
        made = [engine.Value(1.0), engine.Value(1.0, [x], [2.0]), x + x, x + 1, x.exp(), x**3, engine.clamp(x, 0, 1)]
        made += [engine.sum([x, x, 1.0]), *engine.softmax([x, 2.0]), engine.where(True, x, 1.0), engine.detach(x)]
        made += [engine.take([x], 0), engine.dot([x, x], [1.0, 2.0]), engine.maximum(x, 1), round(x, 1)]
        made += [(x + 1).children[1]]
    assert {value.line.rpartition("/")[2].partition(":")[0] for value in made} == {"test_lines.py"}
    assert len({value.line for value in made}) == 4


def test_operations_of_one_line_share_it_and_other_lines_do_not():
    x = vg.Value(3.0)
    with vg.remember_lines():
        a = x * x + x
        b = x * x + x
    assert a.line == a.children[0].line != b.line


def test_no_line_is_remembered_outside_the_block():
    x = vg.Value(3.0)
    with vg.remember_lines():
        x * 2
    assert (x * 2).line is None
    assert vg.Value(1.0).line is None


def test_the_line_is_the_one_outside_this_package():
    layer = nn.MLP(2, [3, 1])
    with vg.remember_lines():
        y = layer([1.0, 2.0])
    assert y.line == f"{HERE}:{line_number() - 1}, in test_the_line_is_the_one_outside_this_package"
    assert {value.line for value in vg.value.graph([y]) if value.op not in (None, "constant")} == {y.line}


def test_a_loop_is_one_line():
    x = vg.Value(1.0)
    with vg.remember_lines():
        for _ in range(10):
            x = x + 1
    assert {value.line for value in vg.value.graph([x]) if value.children} == {x.line}


def test_other_threads_do_not_remember():
    seen = []
    with vg.remember_lines():
        thread = threading.Thread(target=lambda: seen.append((vg.Value(1.0) + 1).line))
        thread.start()
        thread.join()
        mine = (vg.Value(1.0) + 1).line
    assert seen == [None]
    assert mine is not None


def test_the_modes_can_be_together():
    with vg.remember_lines(), vg.no_grad():
        y = vg.Value(1.0) + 1
    assert y.children == ()
    assert y.line is not None
    with vg.remember_lines(), vg.strict(), pytest.raises(vg.StrictError):
        vg.log(vg.Value(0.0))


def test_a_value_that_takes_a_freed_ones_place_has_no_line_of_it():
    with vg.remember_lines():
        values = [vg.Value(1.0) + 1 for _ in range(1000)]
    assert all(value.line for value in values)
    del values
    assert not any((vg.Value(1.0) + 1).line for _ in range(1000))


def test_a_copy_of_a_leaf_is_a_new_value():
    with vg.remember_lines():
        x = vg.Value(1.0)
    assert x.line is not None
    assert copy.copy(x).line is None


def test_functions_that_come_and_go_do_not_get_each_others_lines():
    """A piece of code may come to lie where another one was."""
    for i in range(300):
        namespace = {"vg": vg}
        exec(compile("\n" * i + f"def f{i}(x): return x + 1", f"made_{i}.py", "exec"), namespace)
        with vg.remember_lines():
            y = namespace[f"f{i}"](vg.Value(1.0))
        assert y.line == f"made_{i}.py:{i + 1}, in f{i}"


def test_lines_beyond_the_last_number_are_unknown(monkeypatch):
    monkeypatch.setattr(lines, "MOST", len(lines._texts) - 1)
    namespace = {"vg": vg}
    exec(compile("def f(x): return x + 1", "one_too_many.py", "exec"), namespace)
    with vg.remember_lines():
        assert namespace["f"](vg.Value(1.0)).line is None


def test_a_package_beside_this_one_with_a_longer_name_is_outside():
    code = compile("pass", lines._PACKAGE.rstrip("/\\") + "_more/module.py", "exec")
    assert not lines.is_inside(code)


def test_inside_a_recorded_function_lines_may_be_remembered():
    @vg.compile
    def double(x):
        with vg.remember_lines():
            return x * 2

    assert double(3.0) == 6.0


def test_a_choice_in_a_recording_still_compiles_while_lines_are_remembered():
    with vg.remember_lines():
        f = vg.compile(lambda x: x * 2 if x > 0 else -x)
        assert (f(3.0), f(-3.0)) == (6.0, 3.0)


def test_what_is_not_finite_is_told_with_its_line_by_strict():
    with vg.strict(), pytest.raises(vg.StrictError, match=r"test_lines\.py:\d+, in test_what"):
        1 / vg.Value(0.0)
