"""What notebooks show: HTML and SVG that are well-formed, escaped, quick, and never in the way."""

import math
import sys
import types
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from engines import needs_replay

import valuegrad as vg
from valuegrad.gpt import Trainer, TrainingSettings
from valuegrad.gpt.settings import ModelSettings
from valuegrad.pictures.cards import card, details, joined, paragraph, table
from valuegrad.pictures.chart import Series, bars, chart, ticks
from valuegrad.pictures.markup import cut, escaped, themed

NASTY = "<script>alert('1')</script>&\"\x00"


def parsed(text):
    """HTML of ours is XML too."""
    return ElementTree.fromstring(text)


def words(text):
    return " ".join(" ".join(part for part in parsed(text).itertext() if "{" not in part).split())


def example():
    a, b = vg.Value(3.0, name="a"), vg.Value(5.0, name=NASTY)
    y = vg.relu(a * b - 2.0)
    y.backward()
    return a, b, y


# ------------------------------------------------------------------------------------------------ Values
def test_a_value_shows_its_number_its_grad_and_its_graph():
    a, b, y = example()
    y.name = "y"
    shown = words(y._repr_html_())
    assert shown.startswith("y data 13.0 · grad 1.0 · relu")
    assert "<svg" in y._repr_html_()
    assert parsed(y._repr_svg_()).tag.endswith("svg")
    assert words(a._repr_html_()) == "a data 3.0 · grad 5.0 · a leaf"
    assert a._repr_svg_() is None
    assert words((a * 2).children[1]._repr_html_()) == "data 2.0 · a plain number"
    assert NASTY not in y._repr_html_() + b._repr_html_()


def test_nan_and_inf_stand_out():
    x = vg.log(vg.Value(-1.0))
    assert '<span class="vg-wrong">nan</span>' in x._repr_html_()


def test_a_long_calculation_is_summed_up():
    x = y = vg.Value(0.5)
    for _ in range(20_000):
        y = vg.sin(y) * x
    assert len(y._repr_html_()) < 100_000
    assert "left out" in words(y._repr_html_())


def test_a_value_in_a_recording_shows_nothing_instead_of_raising():
    seen = []

    @vg.compile
    def f(x):
        y = x * 2
        seen.append((y._repr_html_(), y._repr_svg_()))
        return y

    assert f(3.0) == 6.0
    assert seen == [(None, None)]


def test_a_display_changes_nothing():
    a, b, y = example()
    before = (a.grad, b.grad, y.grad, y.data)
    y._repr_html_()
    y.backward()
    assert (a.grad / 2, b.grad / 2, y.grad, y.data) == before


def test_own_operations_are_shown():
    a = vg.Value(2.0, name="a")
    y = vg.Value(math.sin(2.0), [a], [math.cos(2.0)])
    assert "custom" in words(y._repr_html_())


# ---------------------------------------------------------------------------------------------- programs
def test_a_program_shows_its_paths_operations_guards_and_graph():
    program = vg.compile(lambda x, rate: vg.exp(x) * rate if x < 2 else x + 2)
    assert "nothing recorded yet" in words(program._repr_html_())
    program(1.0, 2.0)
    program(3.0, 2.0)
    shown = words(program._repr_html_())
    assert "2 paths, 12 nodes" in shown
    assert "guards: 2 at" in shown
    assert "path 1 of 2" in shown
    assert "is true" in shown
    assert program._repr_html_() == program.graph._repr_html_()
    assert parsed(program.graph._repr_svg_()) is not None


@needs_replay
def test_a_program_shows_its_loops(monkeypatch):
    monkeypatch.setenv("VALUEGRAD_ROLL", "on")

    @vg.compile(vectors="w")
    def step(w, x):
        _, grads = vg.value_and_grad(lambda w: vg.sum([(a - x) ** 2 for a in w]))(list(w))
        return w - 0.1 * np.array([vg.batch_mean(g) for g in grads])

    step(np.zeros(100), np.ones(8))
    assert len(step.graph.loops) > 0
    assert f"the loops that run ({len(step.graph.loops)})" in words(step._repr_html_())
    assert "100 members" in words(step._repr_html_())


def test_a_program_without_recordings_has_no_picture():
    assert vg.compile(lambda x: x).graph._repr_svg_() is None


def test_a_recorded_graph_is_a_diagram_whose_ids_are_its_nodes():
    program = vg.compile(lambda x, y: vg.sum([x * y, x / 2, y**3]))
    program(1.0, 2.0)
    picture = program.graph.diagram(direction="right")
    graph = program.graph.graphs[0]
    assert [box.key for box in picture.boxes] == [str(i) for i in range(len(graph))]
    assert "flowchart LR" in picture.mermaid()
    assert 'n0("x"):::input' in picture.mermaid()
    assert "output" in picture.mermaid()
    with pytest.raises(vg.IndexRangeError):
        program.graph.diagram(3)


def test_a_program_of_many_outputs_is_a_few_boxes():
    program = vg.compile(lambda w, x: [vg.tanh(a * x) for a in w], vectors="w")
    program(np.ones(50), 2.0)
    picture = program.graph.diagram()
    assert len(picture.boxes) == 4
    assert "50 outputs" in picture.svg()


# ---------------------------------------------------------------------------------------- gradient checks
def test_a_gradient_check_shows_what_is_wrong_in_red():
    wrong = vg.check_gradients(lambda x: vg.Value(x.data**2, [x], [3 * x.data]), 2.0, order=1)
    assert '<span class="vg-wrong">WRONG</span>' in wrong._repr_html_()
    right = vg.check_gradients(lambda x: x * x, 2.0)
    assert '<span class="vg-wrong">' not in right._repr_html_()
    assert "2 of 2 derivatives agree" in words(right._repr_html_())


# --------------------------------------------------------------------------------------------- training runs
def trained(steps):
    trainer = Trainer(
        ["anna", "bob", "carla", "dora"] * 5,
        ModelSettings(n_embd=4, n_head=1, block_size=4),
        TrainingSettings(steps=20, batch=2, eval_fraction=0.25),
        data_name=f"data <{NASTY}>",
    )
    for _ in range(steps):
        trainer.train_step()
    return trainer


def test_a_run_shows_its_loss_its_settings_and_what_it_writes():
    trainer = trained(6)
    trainer.evaluate()
    shown = words(trainer._repr_html_())
    assert "6 of 20 steps" in shown
    assert f"loss {trainer.losses[-1]:.4f}" in shown
    assert "held-out" in shown
    assert "batch 2" in shown
    assert "n_embd 4" in shown
    assert "writes: " in shown
    assert NASTY not in trainer._repr_html_()
    assert parsed(trainer._repr_svg_()).tag.endswith("svg")


def test_looking_at_a_run_does_not_disturb_it():
    watched, alone = trained(3), trained(3)
    watched._repr_html_()
    assert watched.train_step() == alone.train_step()
    assert watched.samples(3) == alone.samples(3)


def test_a_run_that_has_not_begun_is_shown_without_a_picture():
    trainer = trained(0)
    assert "0 of 20 steps" in words(trainer._repr_html_())
    assert trainer._repr_svg_() is None


def test_a_checkpoint_shows_its_run():
    checkpoint = trained(4).checkpoint()
    assert "4 of 20 steps" in words(checkpoint._repr_html_())
    assert parsed(checkpoint._repr_svg_()) is not None


# ------------------------------------------------------------------------------------------------- pieces
def test_texts_are_escaped_and_pieces_are_not_escaped_twice():
    text = card(
        paragraph("a<b", joined("&", paragraph("x"))), table(["<h>"], [["<c>", 3]], "<cap>"), details("<s>", "<p>")
    )
    assert words(text).split() == ["a<b&", "x", "<cap>", "<h>", "<c>", "3", "<s>", "<p>"]


@pytest.mark.parametrize("text", [NASTY, "\ud800", "\x1b[0m", "é 数"])
def test_what_is_escaped_is_good_xml(text):
    shown = parsed(f"<a b='{escaped(text)}'>{escaped(text)}</a>")
    assert shown.text == shown.get("b")


def test_a_text_is_cut_to_its_length():
    assert [cut("abcdef", 4), cut("abcd", 4), cut("a\nb", 4)] == ["abc…", "abcd", "a b"]


def test_dark_comes_from_the_system_or_the_page():
    css = themed(".x")
    assert "prefers-color-scheme:dark" in css
    for page in (".dark", ".body--dark", "[data-theme=dark]", "[data-jp-theme-light=false]", ".vscode-dark"):
        assert page in css


def test_a_chart_leaves_out_what_is_not_finite():
    points = [(1.0, 2.0), (2.0, math.nan), (3.0, math.inf), (4.0, 1.0)]
    root = parsed(chart([Series("loss", "line", points)], "the loss", "step", "nats"))
    (line,) = (e for e in root.iter() if e.tag.endswith("polyline"))
    assert len(line.get("points").split()) == 2
    assert root[1].text == "loss: from 2 at 1 to 1 at 4"


def test_a_chart_of_nothing_is_a_chart():
    assert "nothing to draw yet" in chart([Series("loss", "line", [])], "the loss")
    assert parsed(chart([Series("one", "marks", [(1.0, 2.0)])], "one point")) is not None
    assert parsed(bars([], "none")) is not None


def test_a_chart_of_many_points_stays_small():
    many = [(float(i), math.sin(i)) for i in range(100_000)]
    assert len(chart([Series("a", "points", many), Series("b", "line", many)], "many")) < 50_000


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (1.83, 3.4), (-5.0, 5e6), (2.0, 2.0), (1e-9, 3e-9), (0.0, 0.0)])
def test_ticks_are_few_and_span_what_is_shown(low, high):
    marks = ticks(low, high)
    assert 2 <= len(marks) <= 12
    assert marks[0] <= low
    assert marks[-1] >= high


def test_a_line_in_a_notebook_is_named_by_its_cell(monkeypatch):
    """IPython compiles a cell under the name of a temporary file and knows which cell it is."""
    compiler = types.SimpleNamespace(format_code_name={"/tmp/cell.py": ("Cell", "In[3]")}.get)
    shell = types.SimpleNamespace(compile=compiler)
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: shell))
    namespace = {"vg": vg}
    exec(compile("\nwith vg.remember_lines():\n    y = vg.log(vg.Value(0.0))", "/tmp/cell.py", "exec"), namespace)
    assert namespace["y"].line == "In[3]:3, in <module>"


def test_a_prompt_shows_each_answer_as_its_text():
    x = vg.Value(2.0, name="x")
    y = x * x
    answers = [
        y.nudge_table(), vg.inspect.nudge_errors(y, x), y.why(), y.poison(), y.steps(),
        vg.check_gradients(lambda x: x * x, 2.0),
    ]  # fmt: skip
    for answer in answers:
        assert repr(answer) == str(answer)
