"""Pictures as text for other programs: Mermaid, which pages and editors draw, and Graphviz's language.

Where to start reading: ``mermaid``.
"""

from __future__ import annotations

from valuegrad.pictures.appearance import COLOURS
from valuegrad.pictures.faces import Board, Face

__all__ = ["DOT_NODES", "dot", "mermaid", "quoted"]

DOT_NODES = 'node [shape=box, style="filled,rounded", fontname="Helvetica", color="#00000040"];'
BAD = "#b3261e"
_ENTITIES = str.maketrans({'"': "#quot;", "#": "#35;", "&": "#amp;", "<": "#lt;", ">": "#gt;", "`": "#96;",
                           "\\": "#92;", "\n": " ", "\r": " "})  # fmt: skip
_TURNED = {"down": ("TB", "TB"), "right": ("LR", "LR")}


def quoted(text: str) -> str:
    """A text in Graphviz's language."""
    plain = (
        text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\r", " ").replace("\0", "\ufffd")
    )
    return f'"{plain}"'


def _texts(face: Face) -> list[str]:
    title = " ".join(text for text in (face.name, face.sign, face.badge) if text)
    lines = [title] if title else []
    lines += [f"{line.label} {line.text}" for line in face.lines]
    return [*lines, face.note] if face.note else lines


def dot(board: Board, name: str, direction: str = "down") -> str:
    """The picture in Graphviz's language: ``dot -Tsvg y.dot -o y.svg`` draws it."""
    lines = [f"digraph {quoted(name)} {{", f"  {DOT_NODES}"]
    if direction != "down":
        lines.append(f"  rankdir={_TURNED[direction][1]};")
    for box, face in zip(board.boxes, board.faces):
        colour = COLOURS.get(face.kind, "#ffffff")
        attributes = [f"label={quoted(chr(10).join(_texts(face)))}", f'fillcolor="{colour}"']
        if face.bad:
            attributes += [f'color="{BAD}"', f'fontcolor="{BAD}"', "penwidth=2"]
        elif face.result:
            attributes += ["color=black", "penwidth=2"]
        if not box.is_node:
            attributes.append("peripheries=2")
        lines.append(f"  n{box.key} [{', '.join(attributes)}];")
    for tie in board.ties:
        label = f" [label={quoted(tie.text)}]" if tie.text else ""
        lines.append(f"  n{board.boxes[tie.operand].key} -> n{board.boxes[tie.user].key}{label};")
    return "\n".join([*lines, "}"])


def mermaid(board: Board, direction: str = "down") -> str:
    """The picture as Mermaid's flowchart."""
    lines = [f"flowchart {_TURNED[direction][0]}"]
    used = []
    for box, face in zip(board.boxes, board.faces):
        label = "<br/>".join(text.translate(_ENTITIES) for text in _texts(face))
        group = "bad" if face.bad else face.kind
        used.append(group)
        shape = '("{}")' if box.is_node else '[["{}"]]'
        lines.append(f"  n{box.key}{shape.format(label)}:::{group}")
    for tie in board.ties:
        label = f'|"{tie.text.translate(_ENTITIES)}"|' if tie.text else ""
        lines.append(f"  n{board.boxes[tie.operand].key} -->{label} n{board.boxes[tie.user].key}")
    for group in dict.fromkeys(used):
        colour = COLOURS.get(group, "#fdecea" if group == "bad" else "#ffffff")
        ink = BAD if group == "bad" else "#1b1f24"
        lines.append(f"  classDef {group} fill:{colour},stroke:{ink if group == 'bad' else '#7a8594'},color:{ink}")
    return "\n".join(lines)
