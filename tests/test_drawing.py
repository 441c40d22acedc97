"""How graphs are shown: as text, in Graphviz's language, as pictures."""

import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree
from itertools import pairwise

import pytest
from engines import ONCE
from hypothesis import given
from hypothesis import strategies as st

import valuegrad as vg
from valuegrad.drawing import GAP, MOST_NODES, THIN, draw
from valuegrad.graph import Guard, Nodes
from valuegrad.listing import graph_text, label, to_dot
from valuegrad.pictures.appearance import COLOURS, kind
from valuegrad.pictures.layout import Layout
from valuegrad.primitives.opcodes import OPS

pytestmark = ONCE  # no engine computes here


def tariff():
    nodes = Nodes(2)
    less = nodes.add("lt", [0, nodes.const(100.0)])
    dear = nodes.add("pow", [nodes.add("mul", [0, 1])], 1.5)
    whole = nodes.add("dot", [0, 1, dear, dear])
    graph = nodes.graph([dear, whole], [Guard(less, False, "tariff.py:2, in tariff")])
    return graph


def chain(count):
    nodes = Nodes(1)
    for i in range(count):
        nodes.add("exp" if i % 3 else "sin", [i])
    return nodes.graph([count])


# ------------------------------------------------------------------------------------------------ text
def test_a_small_graph_is_listed_line_by_line():
    assert graph_text(tariff(), "tariff", inputs=["kwh", "price"], outputs=["total"]).splitlines() == [
        "tariff: 2 inputs, 2 outputs, 1 guard, 1 constant, 4 operations",
        "  lt 1, mul 1, pow 1, dot 1",
        "  guards at tariff.py:2, in tariff: 1",
        "  %0 = input             kwh",
        "  %1 = input             price",
        "  %2 = const 100",
        "  %3 = lt %0 %2          is false at tariff.py:2, in tariff",
        "  %4 = mul %0 %1",
        "  %5 = pow[1.5] %4       output 0 total",
        "  %6 = dot %0 %1 %5 %5   output 1",
    ]


def test_a_large_graph_is_summed_up():
    text = graph_text(chain(100_000), "chain")
    assert text.splitlines() == [
        "chain: 1 input, 1 output, 100,000 operations",
        "  exp 66,666, sin 33,334",
    ]


def test_many_guards_and_operands_are_summed_up():
    nodes = Nodes(1)
    total = nodes.add("sum", [0] * 1000)
    guards = [Guard(total, True, f"f.py:{i}, in f") for i in range(100)]
    text = graph_text(nodes.graph([total], guards))
    assert "  guards at 94 more lines: 94" in text
    assert "... (1000 in all)" in text


def test_an_empty_graph_is_shown():
    assert graph_text(Nodes(0).graph([])) == "graph: 0 inputs, 0 outputs, 0 operations"


@pytest.mark.parametrize(
    ("op", "operands", "number", "expected"),
    [
        ("add", ["x", 2.0], 0.0, "+ 2"),
        ("mul", [2.0, "x"], 0.0, "× 2"),
        ("sub", [1.0, "x"], 0.0, "1 − ·"),
        ("sub", ["x", 1.0], 0.0, "− 1"),
        ("mul", ["x", "x"], 0.0, "square"),
        ("select", ["x", 3.0, "x"], 0.0, "select(·, 3, ·)"),
        ("sum", ["x"] * 5 + [1.0], 0.0, "Σ of 6"),
        ("pow", ["x"], 0.5, "^ 0.5"),
        ("softmax", ["x", "x"], 1.0, "softmax[1]"),
        ("exp", ["x"], 0.0, "exp"),
        ("exp", [1.0], 0.0, "exp(1)"),
    ],
)
def test_a_label_says_what_an_operation_does(op, operands, number, expected):
    nodes = Nodes(1)
    children = [0 if x == "x" else nodes.const(x) for x in operands]
    node = nodes.add(op, children, number)
    assert label(nodes.graph([node]), node) == expected


def test_every_operation_has_a_colour():
    assert {kind(op) for op in OPS} == set(COLOURS)


# --------------------------------------------------------------------------------------------- Graphviz
def test_graphviz_gets_every_node_and_edge():
    text = to_dot(tariff(), 'a "name"', inputs=["kwh\n"])
    assert text.startswith('digraph "a \\"name\\"" {')
    assert len(re.findall(r"^  n\d+ \[", text, re.M)) == 6  # the constant stands in a label
    assert len(re.findall(r"^  n\d+ -> n\d+;", text, re.M)) == 8
    assert 'tooltip="false at tariff.py:2, in tariff"' in text


@pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz is not installed")
def test_graphviz_understands_it():
    subprocess.run(["dot", "-Tsvg"], input=to_dot(tariff()), text=True, check=True, capture_output=True)


# --------------------------------------------------------------------------------------------- pictures
@st.composite
def layouts(draw):
    count = draw(st.integers(1, 25))
    widths = {node: draw(st.floats(0.3, 3.0)) for node in range(count)}
    edges = [(a, b) for b in range(count) for a in draw(st.sets(st.integers(0, max(0, b - 1)), max_size=3)) if a < b]
    return widths, edges


@given(layouts())
def test_boxes_do_not_overlap_and_edges_lead_downwards(given):
    widths, edges = given
    layout = Layout(widths, edges, gap=GAP, thin=THIN)
    for row in layout.rows:
        for left, right in pairwise(row):
            between = layout.x[right] - layout.x[left] - (layout.widths[left] + layout.widths[right]) / 2
            assert between >= GAP - 1e-9
    for (a, b), route in zip(edges, layout.routes):
        assert (route[0], route[-1]) == (a, b)
        assert [layout.layers[place] for place in route] == list(range(layout.layers[a], layout.layers[b] + 1))
    assert min(layout.x[place] - layout.widths[place] / 2 for place in layout.x) >= -1e-9


def drawn(graph, tmp_path, **names):
    pytest.importorskip("matplotlib")
    import matplotlib

    with matplotlib.rc_context({"svg.fonttype": "none"}):
        draw(graph, tmp_path / "graph.svg", **names)
    root = xml.etree.ElementTree.parse(tmp_path / "graph.svg").getroot()
    return ["".join(text.itertext()) for text in root.iter("{http://www.w3.org/2000/svg}text")]


def test_a_picture_shows_every_node_and_what_it_is_called(tmp_path):
    texts = drawn(tariff(), tmp_path, name="tariff", inputs=["kwh", "price"], outputs=["total"])
    for expected in ("tariff", "kwh", "price", "< 100", "×", "^ 1.5", "dot", "false", "total", "output 1", "guard"):
        assert expected in texts, texts


def test_a_large_graph_is_drawn_as_a_chart(tmp_path):
    texts = drawn(chain(100_000), tmp_path, name="chain")
    assert {"sin", "exp", "66,666"} <= set(texts)


def test_the_largest_picture_is_quick(tmp_path):
    nodes = Nodes(20)
    for i in range(MOST_NODES - 20):
        nodes.add("mul", [i, (7 * i) % (20 + i)])
    texts = drawn(nodes.graph([len(nodes.ops) - 1]), tmp_path)
    assert "input 19" in texts


@pytest.mark.parametrize("graph", [Nodes(0).graph([]), Nodes(1).graph([0, 0])], ids=["empty", "input"])
def test_graphs_without_operations_are_drawn(graph, tmp_path):
    assert "graph" in drawn(graph, tmp_path)


@pytest.mark.parametrize(("ending", "begins"), [("png", b"\x89PNG"), ("pdf", b"%PDF"), ("SVG", b"<?xml")])
def test_the_ending_chooses_the_format(ending, begins, tmp_path):
    pytest.importorskip("matplotlib")
    draw(tariff(), tmp_path / f"graph.{ending}")
    assert (tmp_path / f"graph.{ending}").read_bytes().startswith(begins)


def test_another_ending_is_refused(tmp_path):
    with pytest.raises(vg.ValueArgumentError, match=r"graph\.doc'; give one that ends in \.png, \.svg or \.pdf"):
        draw(tariff(), tmp_path / "graph.doc")


def test_without_matplotlib_there_is_advice(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"pip install 'valuegrad\[plot\]'"):
        draw(tariff(), tmp_path / "graph.png")


# --------------------------------------------------------------------------------------------- programs
def program():
    weight = vg.Value(2.0, name="weight")
    compiled = vg.compile(lambda x, options: weight * x if x < 1 else vg.exp(x) * options["rate"])
    compiled(0.5, {"rate": 2.0})
    compiled(1.5, {"rate": 2.0})
    return compiled


def test_a_program_shows_each_of_its_paths(tmp_path):
    shown = program().graph
    assert "x" in shown.listing().splitlines()[-6]
    assert "options['rate']" in shown.listing(1)
    assert "weight" in shown.listing(0)
    assert "captured" not in shown.listing(1)
    assert 'label="weight"' in shown.to_dot(0)
    pytest.importorskip("matplotlib")
    shown.draw(tmp_path / "path.svg", path=-1)
    assert (tmp_path / "path.svg").stat().st_size > 1000
    with pytest.raises(vg.IndexRangeError, match=r"the graph of <lambda>\(\), path got index 2; there are 2 entries"):
        shown.draw(tmp_path / "path.svg", path=2)


def test_a_loaded_program_knows_the_names_of_its_inputs(tmp_path):
    original = program()
    original.save(tmp_path / "program.vg")
    for i in (0, 1):
        mine, other = (
            re.sub(r"at .*:", "at ", p.graph.listing(i)) for p in (original, vg.load(tmp_path / "program.vg"))
        )
        assert mine == other


def test_nothing_recorded_is_nothing_to_show():
    with pytest.raises(vg.IndexRangeError, match="has recorded nothing yet; call it once"):
        vg.compile(lambda x: x).graph.listing()
