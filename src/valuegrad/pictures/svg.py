"""A picture as SVG, drawn here: it needs no program, no font and no network.

Its boxes carry ``data-node`` (a node's id) or ``data-group`` (a box's key) and ``data-members``, its edges
``data-edge`` (``operand-user``, by these keys), so that a page can react to clicks.

Where to start reading: ``svg``.
"""

from __future__ import annotations

from itertools import pairwise

from valuegrad.pictures.appearance import COLOURS, ORDERED
from valuegrad.pictures.faces import Board, Face
from valuegrad.pictures.grouping import REST, Box
from valuegrad.pictures.layout import Layout
from valuegrad.pictures.markup import STYLE, cut, escaped, text_width

__all__ = ["svg"]

SIZE = 13  # pixels of a letter in boxes
SMALL = 11  # of labels and captions
LEADING = 17  # from line to line
PADDING = 9  # around a box's text
GAP = 16  # between boxes
BETWEEN = 18  # between layers
MARGIN = 14
LONGEST = 28  # characters of a name
LONGEST_NUMBER = 26
FONT = 'system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans","DejaVu Sans",sans-serif'
_RULES = f"""
.vg-diagram{{max-width:100%;height:auto;font:{SIZE}px {FONT}}}
.vg-diagram .vg-paper{{fill:var(--vg-paper)}}
.vg-diagram text{{fill:var(--vg-ink)}}
.vg-diagram .vg-name{{font-weight:600}}
.vg-diagram .vg-label{{fill:var(--vg-muted);font-size:{SMALL}px}}
.vg-diagram .vg-box .vg-label{{fill:var(--vg-ink);opacity:.82}}
.vg-diagram .vg-bad{{fill:var(--vg-bad);font-weight:600}}
.vg-diagram .vg-frame{{stroke:var(--vg-edge);stroke-width:1}}
.vg-diagram .vg-result>.vg-frame{{stroke:var(--vg-ink);stroke-width:2}}
.vg-diagram .vg-isbad>.vg-frame{{stroke:var(--vg-bad);stroke-width:2;fill:var(--vg-bad-paper)}}
.vg-diagram .vg-rest>.vg-frame{{fill:none;stroke-dasharray:4 3}}
.vg-diagram .vg-edge path{{fill:none;stroke:var(--vg-line);stroke-width:1.2}}
.vg-diagram .vg-edge .vg-tip{{fill:var(--vg-line);stroke:none}}
.vg-diagram .vg-edge .vg-ground{{fill:var(--vg-paper)}}
"""
_KINDS = "".join(f".vg-diagram .vg-{name}>.vg-frame{{fill:var(--vg-{name})}}\n" for name in COLOURS)
# What is bad is red on its own ground, whatever it computes: so this rule comes after those of the kinds.
_BAD = ".vg-diagram .vg-isbad>.vg-frame{fill:var(--vg-bad-paper)}\n"


def svg(board: Board, title: str, direction: str = "down") -> str:
    """The picture as an SVG element.

    Args:
        board: what is to be drawn.
        title: what it is, for those who hear it.
        direction: where edges lead: "down" or "right".
    """
    down = direction == "down"
    sizes = [_size(box, face) for box, face in zip(board.boxes, board.faces)]
    edges = [(tie.operand, tie.user) for tie in board.ties]
    across = [size[0 if down else 1] for size in sizes]
    labels = {
        (tie.operand, tie.user): text_width(tie.text, SMALL) + 6 if down else SMALL + 6.0
        for tie in board.ties
        if tie.text
    }
    ports = {(tie.operand, tie.user): _port(board, tie.user, tie.slot) for tie in board.ties}
    layout = Layout(dict(enumerate(across)), edges, labels, ports, gap=GAP, thin=8)
    # How far each layer reaches along the way, and where its middle is.
    along = [0.0] * len(layout.rows)
    for i, size in enumerate(sizes):
        along[layout.layers[i]] = max(along[layout.layers[i]], size[1 if down else 0])
    for tie in board.ties:
        if tie.text:
            layer = layout.layers[layout.label_places[tie.operand, tie.user]]
            along[layer] = max(along[layer], SMALL + 3 if down else text_width(tie.text, SMALL) + 6)
    middles, at = [], 0.0
    for extent in along:
        middles.append(at + extent / 2)
        at += extent + (BETWEEN if extent else 0) * (0.75 if labels else 2)
    length = middles[-1] + along[-1] / 2 if along else 0.0
    breadth = max((layout.x[i] + layout.widths[i] / 2 for i in layout.x), default=0.0)

    def point(place: object) -> tuple[float, float]:
        a, b = layout.x[place], middles[layout.layers[place]]
        return (a + MARGIN, b + MARGIN) if down else (b + MARGIN, a + MARGIN)

    drawn = []
    for tie, route in zip(board.ties, layout.routes):
        points = [point(place) for place in route]
        (x0, y0), (x1, y1) = points[0], points[-1]
        port = ports[tie.operand, tie.user] * across[tie.user]
        wide, high = sizes[tie.operand], sizes[tie.user]
        if down:
            points[0], points[-1] = (x0, y0 + wide[1] / 2), (x1 + port, y1 - high[1] / 2)
        else:
            points[0], points[-1] = (x0 + wide[0] / 2, y0), (x1 - high[0] / 2, y1 + port)
        key = f"{board.boxes[tie.operand].key}-{board.boxes[tie.user].key}"
        label = ""
        if tie.text:
            x, y = point(layout.label_places[tie.operand, tie.user])
            half = text_width(tie.text, SMALL) / 2 + 2
            red = " vg-bad" if tie.bad else ""
            label = (
                f'<rect class="vg-ground" x="{x - half:.1f}" y="{y - 8:.1f}" width="{2 * half:.1f}" height="16"/>'
                f'<text class="vg-label{red}" x="{x:.1f}" y="{y + 4:.1f}" text-anchor="middle">'
                f"{escaped(tie.text)}</text>"
            )
        about = f"local gradient {tie.text}" if tie.text else key
        drawn.append(
            f'<g class="vg-edge" data-edge="{key}"><title>{escaped(about)}</title>'
            f'<path d="{_curve(points, down)}"/>{_tip(points[-1], down)}{label}</g>'
        )
    for i, (box, face) in enumerate(zip(board.boxes, board.faces)):
        drawn.append(_box(box, face, point(i), sizes[i]))
    width, height = (breadth, length) if down else (length, breadth)
    caption = board.caption()
    lines = _wrapped(caption, max(width, 260.0)) if caption else []
    width = max([width, *[text_width(line, SMALL) for line in lines], 40.0]) + 2 * MARGIN
    for n, line in enumerate(lines):
        y = height + 2 * MARGIN + 4 + 15 * n
        drawn.append(f'<text class="vg-label vg-caption" x="{MARGIN}" y="{y:.1f}">{escaped(line)}</text>')
    height += 2 * MARGIN + (15 * len(lines))
    about = caption or board.shown.summary()
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="vg vg-diagram" role="img" width="{width:.0f}" '
        f'height="{height:.0f}" viewBox="0 0 {width:.0f} {height:.0f}">'
        f"<title>{escaped(title)}</title><desc>{escaped(about)}</desc>"
        f"<style>{STYLE}{_RULES}{_KINDS}{_BAD}</style>"
        f'<rect class="vg-paper" width="100%" height="100%" rx="6"/>{"".join(drawn)}</svg>'
    )


def _title_width(face: Face) -> float:
    name = text_width(cut(face.name, LONGEST), SIZE) * 1.06
    sign, badge = text_width(face.sign, SIZE), text_width(face.badge, SMALL)
    parts = [part for part in (name, sign, badge + 8 if badge else 0.0) if part]
    return sum(parts) + 6 * (len(parts) - 1) if parts else 0.0


def _line_width(label: str, text: str) -> float:
    return text_width(label, SMALL) + 6 + text_width(cut(text, LONGEST_NUMBER), SIZE)


def _size(box: Box, face: Face) -> tuple[float, float]:
    widths = [_title_width(face), *[_line_width(line.label, line.text) for line in face.lines]]
    if face.note:
        widths.append(text_width(cut(face.note, LONGEST), SMALL))
    lines = bool(face.name or face.sign or face.badge) + len(face.lines) + bool(face.note)
    stack = 0 if box.is_node or box.key == REST else 6
    return max(36.0, max(widths) + 2 * PADDING) + stack, lines * LEADING + 11 + stack


def _box(box: Box, face: Face, middle: tuple[float, float], size: tuple[float, float]) -> str:
    stack = 0 if box.is_node or box.key == REST else 6
    width, height = size[0] - stack, size[1] - stack
    left, top = middle[0] - size[0] / 2, middle[1] - size[1] / 2 + stack
    classes = ["vg-box", f"vg-{face.kind}"]
    classes += ["vg-isbad"] * face.bad + ["vg-result"] * face.result
    which = f'data-node="{box.key}"' if box.is_node else f'data-group="{box.key}" data-members="{len(box.members)}"'
    parts = [f'<g class="{" ".join(classes)}" {which}><title>{escaped(face.about)}</title>']
    for shift in (6, 3) if stack else ():
        parts.append(_frame(left + shift, top - shift, width, height))
    parts.append(_frame(left, top, width, height))
    y = top + LEADING + 1
    x = left + width / 2
    if face.name or face.sign or face.badge:
        spans = [("vg-name", cut(face.name, LONGEST)), ("vg-sign", face.sign), ("vg-label", face.badge)]
        title: list[str] = []
        for group, text in spans:
            if text:
                apart = ' dx="6"' if title else ""
                title.append(f'<tspan class="{group}"{apart}>{escaped(text)}</tspan>')
        parts.append(f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="middle">{"".join(title)}</text>')
        y += LEADING
    for line in face.lines:
        red = ' class="vg-bad"' if line.bad else ""
        parts.append(
            f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="middle"><tspan class="vg-label">{escaped(line.label)}</tspan>'
            f'<tspan dx="6"{red}>{escaped(cut(line.text, LONGEST_NUMBER))}</tspan></text>'
        )
        y += LEADING
    if face.note:
        note = escaped(cut(face.note, LONGEST))
        parts.append(f'<text class="vg-label" x="{x:.1f}" y="{y:.1f}" text-anchor="middle">{note}</text>')
    return "".join([*parts, "</g>"])


def _frame(x: float, y: float, width: float, height: float) -> str:
    return f'<rect class="vg-frame" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" rx="6"/>'


def _port(board: Board, user: int, slot: tuple[int, int] | None) -> float:
    """Where an operand enters a box, from the middle of its side, as a part of it."""
    if slot is None or board.shown.ops[board.boxes[user].members[-1]] not in ORDERED:
        return 0.0
    place, count = slot
    return (place - (count - 1) / 2) * 0.5 / count


def _curve(points: list[tuple[float, float]], down: bool) -> str:
    parts = [f"M{points[0][0]:.1f} {points[0][1]:.1f}"]
    for (x0, y0), (x1, y1) in pairwise(points):
        if down:
            middle = (y0 + y1) / 2
            parts.append(f"C{x0:.1f} {middle:.1f} {x1:.1f} {middle:.1f} {x1:.1f} {y1:.1f}")
        else:
            middle = (x0 + x1) / 2
            parts.append(f"C{middle:.1f} {y0:.1f} {middle:.1f} {y1:.1f} {x1:.1f} {y1:.1f}")
    return "".join(parts)


def _tip(point: tuple[float, float], down: bool) -> str:
    x, y = point
    shape = f"M{x:.1f} {y:.1f}l-3.5 -6h7z" if down else f"M{x:.1f} {y:.1f}l-6 -3.5v7z"
    return f'<path class="vg-tip" d="{shape}"/>'


def _wrapped(text: str, width: float) -> list[str]:
    lines: list[str] = []
    for word in text.split():
        if lines and text_width(f"{lines[-1]} {word}", SMALL) <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines
