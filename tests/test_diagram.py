"""Diagrams of what Values remember: what they show, what they collapse, that they are drawn right."""

import math
import os
import random
import re
import xml.etree.ElementTree as ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from trees import ROOT, needs_source_tree

import valuegrad as vg
from valuegrad.inspect import diagrams
from valuegrad.pictures.appearance import COLOURS, DARK
from valuegrad.pictures.faces import Board
from valuegrad.pictures.grouping import REST, boxes_of, edges_between
from valuegrad.pictures.layout import in_order
from valuegrad.pictures.markup import _DARK_COLOURS, _LIGHT_COLOURS

SVG = "{http://www.w3.org/2000/svg}"
diagram = vg.inspect.diagram


def named(*names):
    return [vg.Value(float(i + 2), name=name) for i, name in enumerate(names)]


def drawn(picture):
    return ElementTree.fromstring(picture.svg())


def boxes_in(root):
    return {g.get("data-node") or g.get("data-group"): g for g in root.iter(f"{SVG}g") if "vg-box" in g.get("class")}


def text(element):
    return " ".join("".join(t.itertext()) for t in element.iter(f"{SVG}text"))


def neurons(count, width):
    rng = random.Random(1)
    xs = [vg.Value(rng.gauss(0, 1), name=f"x{i}") for i in range(width)]
    outs = []
    for j in range(count):
        total = vg.Value(rng.gauss(0, 1), name=f"bias[{j}]")
        for i, x in enumerate(xs):
            total = total + x * vg.Value(rng.gauss(0, 1), name=f"w[{j}][{i}]")
        outs.append(vg.tanh(total))
    return vg.sum(outs)


# ---------------------------------------------------------------------------------------- what is shown
def test_a_box_shows_name_operation_data_and_grad():
    a, b = named("a", "b")
    y = a * b
    y.name = "y"
    y.backward()
    boxes = {key: text(box) for key, box in boxes_in(drawn(diagram(y))).items()}
    assert boxes == {"0": "a data2 grad3", "1": "b data3 grad2", "2": "y× data6 grad1"}


def test_an_edge_shows_its_local_gradient_and_a_square_both():
    (a,) = named("a")
    root = drawn(diagram(a * a + 1))
    edges = {g.get("data-edge"): text(g) for g in root.iter(f"{SVG}g") if g.get("data-edge")}
    assert edges == {"0-1": "2, 2", "1-3": "1", "2-3": "1"}


def test_grads_can_be_left_out():
    a, b = named("a", "b")
    assert "grad" not in diagram(a * b, grads=False).svg().replace("local grad", "")


@pytest.mark.parametrize("as_names", [lambda a: {"apples": a}, lambda a: {a: "apples"}], ids=["by name", "by Value"])
def test_names_can_be_given(as_names):
    a = vg.Value(2.0)
    assert "apples" in text(drawn(diagram(a * 3, names=as_names(a) | {"other": 5})))


def test_a_name_of_its_own_comes_before_one_that_is_given():
    (a,) = named("a")
    assert "first" not in diagram(a * 3, names={"first": a}).svg()


def test_ids_are_positions_in_the_order_of_creation_on_either_engine():
    a, b = named("a", "b")
    y = (a * 2 + b) * 2
    found = diagrams.nodes(y)
    assert [(v.op, v.data) for v in found] == [
        (None, 2.0), (None, 3.0), ("constant", 2.0), ("mul", 4.0), ("add", 7.0), ("constant", 2.0), ("mul", 14.0),
    ]  # fmt: skip
    assert [box.key for box in diagram(y).boxes] == [str(i) for i in range(7)]


def test_the_branch_that_where_did_not_take_is_shown():
    a, b = named("a", "b")
    y = vg.where(a > 1.0, a * 2, b * 3)
    assert sorted(v.op for v in diagrams.nodes(y) if v.op not in (None, "constant")) == ["mul", "mul", "where"]


def test_several_results_make_one_picture():
    a, b = named("a", "b")
    picture = diagram([a * b, a + b])
    assert len(boxes_in(drawn(picture))) == 4


def test_nan_and_inf_are_red():
    (a,) = named("a")
    a.data = 0.0
    root = drawn(diagram(vg.log(a) * 0.0))
    red = [g.get("data-node") for g in root.iter(f"{SVG}g") if "vg-isbad" in (g.get("class") or "")]
    assert red == ["1", "3"]
    bad = [t.text for t in root.iter() if "vg-bad" in (t.get("class") or "").split() and t.text]
    assert sorted(bad)[:2] == ["-inf", "-inf"]
    assert "nan" in bad


def test_operands_enter_from_left_to_right_where_their_order_matters():
    a, b = named("a", "b")
    for y, left in ((a - b, "0"), (b - a, "1")):
        root = drawn(diagram(y))
        ends = {
            g.get("data-edge").split("-")[0]: float(re.findall(r"[\d.]+", g.find(f"{SVG}path").get("d"))[-2])
            for g in root.iter(f"{SVG}g")
            if g.get("data-edge")
        }
        assert min(ends, key=ends.get) == left


def test_a_screen_reader_hears_what_it_is():
    a, b = named("a", "b")
    root = drawn(diagram(a * b, names={}))
    assert root.get("role") == "img"
    assert [root[0].tag, root[1].tag] == [f"{SVG}title", f"{SVG}desc"]
    assert root[0].text
    assert root[1].text == "3 nodes: 2 input, 1 mul"
    assert boxes_in(root)["0"][0].text == "node 0: leaf, a"


# ------------------------------------------------------------------------------------ what is collapsed
def test_a_layer_of_neurons_is_a_few_boxes():
    y = neurons(8, 5)
    picture = diagram(y)
    by_key = {key: text(box) for key, box in boxes_in(drawn(picture)).items()}
    assert len(by_key) == 7
    assert any("×40" in shown and "w[0][0] … w[7][4]" in shown for shown in by_key.values())
    assert any("tanh" in shown and "×8" in shown for shown in by_key.values())
    assert any("+ in a row" in shown and "×8" in shown for shown in by_key.values())
    assert picture.left_out == 0
    assert "in 7 boxes" in picture.svg()


def test_a_dot_of_many_is_one_box_with_two_groups():
    w, x = ([vg.Value(float(i), name=f"{name}{i}") for i in range(16)] for name in "wx")
    assert sorted(len(box.members) for box in diagram(vg.dot(w, x)).boxes) == [1, 16, 16]


def test_the_entries_of_a_softmax_are_one_box():
    xs = [vg.Value(float(i), name=f"x{i}") for i in range(6)]
    picture = diagram(vg.dot(vg.softmax(xs), xs[::-1]), grads=False)
    assert [len(box.members) for box in picture.boxes] == [6, 6, 1]
    assert "softmax×6" in text(drawn(picture)).replace(" ", "")
    assert "softmax[" not in picture.mermaid()


def test_what_has_different_names_stays_apart():
    names = ["apples", "pears", "plums", "grapes", "figs"]
    assert len(diagram(vg.sum(named(*names))).boxes) == 6


def test_a_group_opens_when_its_key_or_one_of_its_nodes_is_asked_for():
    y = neurons(8, 5)
    group = next(box for box in diagram(y).boxes if len(box.members) == 8 and not box.parts)
    opened = diagram(y, expand=[group.key])
    assert len(opened.boxes) == len(diagram(y).boxes) + 7
    node = group.members[3]
    single = diagram(y, expand=[node])
    assert single.box(node).members == (node,)
    assert len(single.boxes) == len(diagram(y).boxes) + 1


def test_a_large_group_opens_by_and_by():
    xs = [vg.Value(float(i), name=f"x{i}") for i in range(60)]
    y = vg.sum([vg.exp(x) for x in xs])
    keys, sizes = [], []
    for _ in range(4):
        picture = diagram(y, expand=keys, most=400)
        groups = [box for box in picture.boxes if not box.is_node]
        sizes.append(len(picture.boxes))
        keys += [box.key for box in groups if box.key not in keys][:1]
    assert sizes == [3, 27, 51, 62]


def test_a_chain_of_additions_opens_to_its_single_ones():
    xs = [vg.Value(float(i), name=f"x{i}") for i in range(10)]
    y = sum(xs[1:], xs[0])
    (series,) = (box for box in diagram(y).boxes if box.key.startswith("s"))
    assert len(series.members) == 9
    assert len(diagram(y).boxes) == 2
    assert len(diagram(y, expand=[series.key]).boxes) == 1 + 9


def test_without_collapsing_each_node_has_a_box():
    y = neurons(4, 4)
    assert len(diagram(y, collapse=False, most=400).boxes) == len(diagrams.nodes(y))


def test_the_same_calculation_gives_the_same_picture():
    assert diagram(neurons(8, 5)).svg() == diagram(neurons(8, 5)).svg()


def test_a_large_graph_is_summed_up():
    (x,) = named("x")
    y = x
    for i in range(50_000):
        y = vg.sin(y) if i % 2 else y * x
    picture = diagram(y)
    assert len(picture.boxes) <= 60
    assert picture.left_out > 49_900
    root = drawn(picture)
    assert "older nodes" in text(boxes_in(root)[REST])
    assert f"{picture.left_out:,} of them, the oldest, left out" in picture.svg()


def test_of_a_larger_graph_only_the_newest_nodes_are_looked_at(monkeypatch):
    monkeypatch.setattr(diagrams, "MOST_READ", 100)
    (x,) = named("x")
    y = x
    for _ in range(1000):
        y = vg.sin(y)
    picture = diagram(y)
    assert len(picture) == 1001
    assert [box.key for box in picture.boxes][-1] == "1000"
    assert picture.left_out == 1001 - 59
    with pytest.raises(vg.IndexRangeError, match="box\\(\\) got node 3; expected an id from 901 to 1000"):
        picture.box(3)


# ------------------------------------------------------------------------------------------------- laws
@st.composite
def graphs(draw):
    count = draw(st.integers(1, 6))
    values = [vg.Value(draw(st.sampled_from([0.5, -1.0, 2.0, math.inf])), name=f"v{i}") for i in range(count)]
    for _ in range(draw(st.integers(1, 40))):
        op = draw(st.sampled_from(["add", "mul", "sub", "exp", "sum", "dot", "constant"]))
        a, b, c, d = (values[draw(st.integers(0, len(values) - 1))] for _ in range(4))
        values.append(
            a + b if op == "add" else a * b if op == "mul" else a - b if op == "sub" else vg.tanh(a) if op == "exp"
            else vg.sum([a, b, c]) if op == "sum" else vg.dot([a, b], [c, d]) if op == "dot" else a * 2.0
        )  # fmt: skip
    return values[-1]


MOST = st.sampled_from([1, 2, 5, 20, 400])


@given(graphs(), MOST, st.booleans(), st.sets(st.integers(0, 60)), st.sampled_from(["down", "right"]))
def test_every_node_is_in_one_box_and_boxes_do_not_overlap(y, most, collapse, expand, direction):
    picture = diagram(y, most=most, collapse=collapse, expand=expand, direction=direction)
    members = sorted(member for box in picture.boxes for member in box.members)
    assert members == list(range(len(diagrams.nodes(y))))
    assert len(picture.boxes) <= most
    root = drawn(picture)
    frames = []
    for g in boxes_in(root).values():
        around = [[float(r.get(k)) for k in ("x", "y", "width", "height")] for r in g.iter(f"{SVG}rect")]
        frames.append(
            (min(r[0] for r in around), min(r[1] for r in around), max(r[0] + r[2] for r in around),
             max(r[1] + r[3] for r in around))
        )  # fmt: skip
    assert len(frames) == len(picture.boxes)
    width, height = float(root.get("width")), float(root.get("height"))
    for i, (left, top, right, bottom) in enumerate(frames):
        assert left >= 0
        assert top >= 0
        assert right <= width
        assert bottom <= height
        for x0, y0, x1, y1 in frames[:i]:
            assert right <= x0 or x1 <= left or bottom <= y0 or y1 <= top


@given(graphs(), MOST, st.sets(st.one_of(st.integers(0, 60), st.integers(0, 60).map("g{}".format))))
def test_edges_between_boxes_make_no_circle(y, most, expand):
    shown = diagrams.shown([y])
    boxes = boxes_of(shown, most, expand=expand)
    edges = list(edges_between(shown, boxes))
    assert len(in_order(range(len(boxes)), edges)) == len(edges)


# -------------------------------------------------------------------------------------- other languages
NASTY = 'a<b>&"c"#`\\ \n\x00;]--> é 数'


def test_names_are_escaped_in_every_language():
    a = vg.Value(1.0, name=NASTY)
    picture = diagram(a * 2)
    assert "a<b>&" in text(drawn(picture))
    assert r"a<b>&\"c\"#`\\" in picture.dot()
    (line,) = (line for line in picture.mermaid().splitlines() if "n0(" in line)
    inside = re.fullmatch(r'  n0\("(.*)"\):::input', line).group(1)
    assert not set(inside.replace("<br/>", "")) & set('<>"`\\\n&')


def test_mermaid_is_a_flowchart_of_nodes_edges_and_classes():
    lines = diagram(neurons(8, 5), direction="right").mermaid().splitlines()
    assert lines[0] == "flowchart LR"
    node = r'  n[gs]?\d+(\("[^"]*"\)|\[\["[^"]*"\]\]):::\w+'
    edge = r'  n[gs]?\d+ -->(\|"[^"]*"\|)? n[gs]?\d+'
    style = r"  classDef \w+ fill:#\w{6},stroke:#\w{6},color:#\w{6}"
    assert all(re.fullmatch(f"{node}|{edge}|{style}", line) for line in lines[1:])
    known = {re.match(r"  (n\w+)", line).group(1) for line in lines[1:] if re.fullmatch(node, line)}
    ends = {end for line in lines if "-->" in line for end in re.findall(r"n[gs]?\d+", re.sub(r'\|".*?"\|', "", line))}
    assert ends <= known


def test_dot_is_a_digraph_whose_edges_join_its_nodes():
    text = diagram(neurons(8, 5), direction="right").dot()
    lines = text.splitlines()
    assert lines[0] == 'digraph "the graph of a Value" {'
    assert lines[-1] == "}"
    assert "  rankdir=LR;" in lines
    nodes = {m.group(1) for line in lines if (m := re.fullmatch(r'  (n\w+) \[label="[^"]*", .*\];', line))}
    edges = [m.groups() for line in lines if (m := re.match(r"  (n\w+) -> (n\w+)", line))]
    assert len(nodes) == 7
    assert {end for edge in edges for end in edge} == nodes


@pytest.mark.parametrize(
    ("ending", "begins"),
    [("svg", "<?xml"), ("html", "<!DOCTYPE html>"), ("mmd", "flowchart TB"), ("md", "```mermaid"), ("dot", "digraph"),
     ("gv", "digraph")],
)  # fmt: skip
def test_the_ending_chooses_what_is_saved(ending, begins, tmp_path):
    a, b = named("a", "数")
    path = tmp_path / f"y.{ending}"
    diagram(a * b).save(path)
    assert path.read_text(encoding="utf-8").startswith(begins)
    assert list(tmp_path.iterdir()) == [path]


def test_another_ending_is_refused(tmp_path):
    a, b = named("a", "b")
    with pytest.raises(vg.ValueArgumentError, match=r"save\(\) got the file .*y\.png'; give one that ends in"):
        diagram(a * b).save(tmp_path / "y.png")


# ----------------------------------------------------------------------------------------------- colours
def luminance(colour):
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    r, g, b = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


def contrast(a, b):
    light, dark = sorted([luminance(a), luminance(b)], reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize(("page", "kinds"), [(_LIGHT_COLOURS, COLOURS), (_DARK_COLOURS, DARK)], ids=["light", "dark"])
def test_texts_can_be_read_on_their_grounds(page, kinds):
    """WCAG 2.1, level AA: 4.5 for text."""
    for ground in (*kinds.values(), page["paper"], page["bad-paper"]):
        assert contrast(page["ink"], ground) >= 4.5
    for ink in ("muted", "bad", "accent"):
        assert contrast(page[ink], page["paper"]) >= 4.5
    assert contrast(page["bad"], page["bad-paper"]) >= 4.5
    assert contrast(page["line"], page["paper"]) >= 3.0


# ------------------------------------------------------------------------------------------- bad input
@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"y": 3.0}, vg.ValueTypeError, r"diagram\(\) got 3.0.*; expected a Value, or a list of Values"),
        ({"y": [1.0]}, vg.ValueTypeError, "expected a Value"),
        ({"y": []}, vg.ValueArgumentError, "got an empty list"),
        ({"most": 0}, vg.ValueArgumentError, "most got 0; expected a number of boxes from 1 to 400"),
        ({"most": 2.5}, vg.ValueTypeError, "most got 2.5; expected a whole number"),
        ({"direction": "up"}, vg.ValueArgumentError, "direction got 'up'; expected 'down' or 'right'"),
        ({"expand": ["x y"]}, vg.ValueArgumentError, "expand got 'x y'; expected ids such as 5, or keys such as 'g5'"),
    ],
)
def test_what_cannot_be_drawn_is_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        diagram(**({"y": vg.Value(2.0) * 3} | arguments))


def test_a_key_that_is_not_in_the_picture_changes_nothing():
    y = neurons(8, 5)
    assert diagram(y, expand=["g9999", 77777]).svg() == diagram(y).svg()


def test_a_leaf_and_a_constant_can_be_drawn():
    for y in (vg.Value(2.0), (vg.Value(2.0) * 3).children[1]):
        assert list(boxes_in(drawn(diagram(y)))) == ["0"]


def test_a_board_says_nothing_where_all_is_to_be_seen():
    a, b = named("a", "b")
    assert Board(diagrams.shown([a * b]), 60).caption() == ""


# --------------------------------------------------------------------------------------------- the docs' picture
PICTURE = ROOT / "docs" / "pictures" / "relu.svg"


@needs_source_tree
@pytest.mark.skipif(vg.engine != "native", reason="one picture is enough")
def test_the_picture_in_the_docs_is_what_the_library_draws(tmp_path):
    """To draw it anew: VALUEGRAD_DRAW=1 python -m pytest tests/test_diagram.py"""
    a, b, c = vg.Value(3.0, name="a"), vg.Value(5.0, name="b"), vg.Value(-10.0, name="c")
    y = vg.relu(a * b + c)
    y.backward()
    picture = y.diagram(names={"y": y})
    if os.environ.get("VALUEGRAD_DRAW"):
        picture.save(PICTURE)
    picture.save(tmp_path / "relu.svg")
    assert (tmp_path / "relu.svg").read_bytes() == PICTURE.read_bytes()
