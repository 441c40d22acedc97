"""Pieces of HTML for notebooks and pages: lines, tables, texts that open, and the card that they stand on.

Every text is escaped unless it is ``Html`` already, which only the functions here and the pictures make.

Where to start reading: ``card``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from valuegrad.pictures.markup import STYLE, escaped

__all__ = ["Html", "card", "details", "joined", "paragraph", "quiet", "red", "strong", "table"]

_CARD = """
.vg-card{background:var(--vg-paper);color:var(--vg-ink);font:13px/1.5 system-ui,sans-serif;display:inline-block;
max-width:100%;box-sizing:border-box;overflow-x:auto;border-radius:6px;padding:8px 14px}
.vg-card p,.vg-card summary{margin:.25em 0;color:var(--vg-ink)}
.vg-card .vg-quiet{color:var(--vg-muted)}
.vg-card .vg-wrong{color:var(--vg-bad);font-weight:600}
.vg-card pre{margin:.4em 0;color:var(--vg-ink);background:none;font:12px/1.45 ui-monospace,monospace;white-space:pre}
.vg-card table{border-collapse:collapse;margin:.4em 0;color:var(--vg-ink);background:none;border:0;font-size:13px}
.vg-card caption{caption-side:top;text-align:left;color:var(--vg-muted);padding:0}
.vg-card table tr,.vg-card table tbody tr:nth-child(n){background:none}
.vg-card th,.vg-card td{padding:2px 12px 2px 0!important;text-align:left!important;vertical-align:top;border:0;
border-bottom:1px solid var(--vg-edge)!important;color:var(--vg-ink);
font-variant-numeric:tabular-nums;white-space:nowrap}
.vg-card th{font-weight:600}
.vg-card svg{display:block;margin:.3em 0}
"""


class Html(str):
    """A text that is HTML already."""

    __slots__ = ()


def html(text: object) -> str:
    """A text as HTML; what is ``Html`` stays as it is."""
    return text if isinstance(text, Html) else escaped(text)


def paragraph(*parts: object, group: str = "") -> Html:
    """A line; its parts are escaped."""
    attribute = f' class="{group}"' if group else ""
    return Html(f"<p{attribute}>{''.join(map(html, parts))}</p>")


def joined(*parts: object) -> Html:
    """Parts one after another."""
    return Html("".join(map(html, parts)))


def quiet(text: object) -> Html:
    """What matters less."""
    return Html(f'<span class="vg-quiet">{html(text)}</span>')


def strong(text: object) -> Html:
    """What matters most in a line."""
    return Html(f"<strong>{html(text)}</strong>")


def red(text: object) -> Html:
    """A nan, an inf, something wrong."""
    return Html(f'<span class="vg-wrong">{html(text)}</span>')


def table(header: Sequence[object], lines: Iterable[Sequence[object]], caption: str = "") -> Html:
    """A table; its cells are escaped.

    Args:
        header: the columns' titles; none, and the first column has those of the lines.
        lines: the cells.
        caption: what it is.
    """
    text = f"<caption>{escaped(caption)}</caption>" if caption else ""
    if header:
        titles = "".join([f'<th scope="col">{html(cell)}</th>' for cell in header])
        text += f"<thead><tr>{titles}</tr></thead>"
    rows = []
    for line in lines:
        cells = [f"<td>{html(cell)}</td>" for cell in line]
        if not header and line:
            cells[0] = f'<th scope="row">{html(line[0])}</th>'
        rows.append(f"<tr>{''.join(cells)}</tr>")
    return Html(f"<table>{text}<tbody>{''.join(rows)}</tbody></table>")


def details(summary: str, text: str, opened: bool = False) -> Html:
    """A longer text that opens on demand, as it was written."""
    state = " open" if opened else ""
    return Html(f"<details{state}><summary>{escaped(summary)}</summary><pre>{escaped(text)}</pre></details>")


def card(*parts: str) -> str:
    """Parts of HTML as something complete, for a notebook or a page, light and dark."""
    return f'<div class="vg vg-card"><style>{STYLE}{_CARD}</style>{"".join(parts)}</div>'
