"""Where the boxes of a picture stand: in layers, with edges that lead from each layer to a later one.

Why: one layout for every picture of a graph, needing neither a program beside Python nor NumPy.

Data structures: ``Layout`` gives places to boxes.  A box's layer is one after its last operand's; an edge that spans
several layers passes through an invisible place in each, so that it goes around boxes.  Within the layers the
order is that of neighbours' mean positions (swept down and up), which leaves few crossings; then each box moves
as near as it can to the mean of its neighbours (Sugiyama, Tagawa and Toda 1981).  An edge with a label has a
place as wide as the label in a layer of its own, so that labels do not lie on boxes or on each other.

"Width" is an extent along a layer, whichever way the picture is turned.

Where to start reading: ``Layout``.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

__all__ = ["Layout"]

SWEEPS = 24
MOST_PLACES = 1500  # with more, layers are swept less often, so that the time is bounded


class Layout:
    """Where the boxes are.

    Args:
        widths: a box's width, by node (any key that is no tuple).
        edges: pairs (operand, node), without circles.
        labels: widths of the labels of edges; where some edge has one, labels have layers of their own (the odd ones).
        ports: for edges whose place on the node's side matters, where that is: from -0.5, left, to 0.5.
        gap: least distance between boxes of a layer.
        thin: the width that a passing edge takes.

    Attributes:
        x: the middle of each place, the leftmost box beginning at 0.
        layers: the layer of each place.
        rows: the places of each layer, in order.
        routes: for each edge the places that it passes, from the operand to the node.
        label_places: for each edge with a label its place.

    Example:
        >>> layout = Layout({"a": 1.0, "b": 1.0, "y": 2.0}, [("a", "y"), ("b", "y")], gap=0.5)
        >>> layout.layers, layout.x
        ({'a': 0, 'b': 0, 'y': 1}, {'a': 0.5, 'b': 2.0, 'y': 1.25})
    """

    def __init__(
        self,
        widths: Mapping[Any, float],
        edges: Sequence[tuple[Any, Any]],
        labels: Mapping[tuple[Any, Any], float] | None = None,
        ports: Mapping[tuple[Any, Any], float] | None = None,
        *,
        gap: float = 0.22,
        thin: float = 0.1,
    ) -> None:
        self.widths: dict[Any, float] = dict(widths)
        self.gap, self.thin = gap, thin
        self.layers: dict[Any, int] = dict.fromkeys(widths, 0)
        for a, b in in_order(widths, edges):
            self.layers[b] = max(self.layers[b], self.layers[a] + 1)
        self._lower_sources(edges)
        self.label_places: dict[tuple[Any, Any], Any] = {}
        if labels:
            self.layers = {node: 2 * layer for node, layer in self.layers.items()}
        self.above: dict[Any, list[Any]] = {node: [] for node in widths}
        self.below: dict[Any, list[Any]] = {node: [] for node in widths}
        self.routes = [self._route(a, b, (labels or {}).get((a, b))) for a, b in edges]
        self.ports: dict[Any, dict[Any, float]] = {route[-2]: {} for route in self.routes}
        for edge, route in zip(edges, self.routes):
            if ports and edge in ports:
                self.ports[route[-2]][edge[1]] = ports[edge]
        self.rows = self._first_rows()
        self.sweeps = max(4, SWEEPS * MOST_PLACES // max(len(self.layers), MOST_PLACES))
        self._order()
        self.x: dict[Any, float] = {}
        self._place()

    def _lower_sources(self, edges: Sequence[tuple[Any, Any]]) -> None:
        """What has no operands stands right above its first user."""
        users: dict[Any, list[int]] = {}
        has_operands = {b for _, b in edges}
        for a, b in edges:
            users.setdefault(a, []).append(self.layers[b])
        for node, layers in users.items():
            if node not in has_operands:
                self.layers[node] = min(layers) - 1

    def _route(self, a: Any, b: Any, label: float | None) -> list[Any]:
        """An edge's places; those between its ends are added."""
        route: list[Any] = [a]
        for layer in range(self.layers[a] + 1, self.layers[b]):
            place: Any = (a, layer)  # the edges of one node share their way as long as it is the same
            width = self.thin
            if label is not None and layer == self.layers[b] - 1:  # the label stands right above the node
                place, width = (a, layer, b), max(label, self.thin)
                self.label_places[a, b] = place
            if place not in self.layers:
                self.layers[place] = layer
                self.widths[place] = width
                self.above[place], self.below[place] = [], []
            route.append(place)
        route.append(b)
        for upper, lower in pairwise(route):
            if lower not in self.below[upper]:
                self.below[upper].append(lower)
                self.above[lower].append(upper)
        return route

    def _first_rows(self) -> list[list[Any]]:
        """The places of each layer as they are met from the results up, the first operand leftmost."""
        rows: list[list[Any]] = [[] for _ in range(max(self.layers.values(), default=0) + 1)]
        met = set()
        stack = [place for place in self.layers if not self.below[place]][::-1]
        while stack:
            place = stack.pop()
            if place not in met:
                met.add(place)
                rows[self.layers[place]].append(place)
                stack += self.above[place][::-1]
        return rows

    def _order(self) -> None:
        """Order each layer by the mean position of neighbours, keeping the order with the fewest crossings."""
        best, fewest = [list(row) for row in self.rows], self._crossings()
        for sweep in range(self.sweeps):
            if not fewest:
                break
            down = sweep % 2 == 0
            neighbours = self.above if down else self.below
            pairs = list(pairwise(self.rows)) if down else [(b, a) for a, b in pairwise(self.rows)][::-1]
            for fixed, row in pairs:
                at = {place: i for other in (fixed, row) for i, place in enumerate(other)}
                wishes = {
                    place: _mean([at[n] + (not down and self._port(place, n)) for n in neighbours[place]], at[place])
                    for place in row
                }
                row.sort(key=wishes.__getitem__)
            crossings = self._crossings()
            if crossings < fewest:
                best, fewest = [list(row) for row in self.rows], crossings
        self.rows = best

    def _crossings(self) -> int:
        total = 0
        for upper, lower in pairwise(self.rows):
            at = {place: i for i, place in enumerate(lower)}
            before: list[float] = []  # where the edges so far end
            for place in upper:
                ends = [at[n] + self._port(place, n) for n in self.below[place]]
                total += sum(len(before) - bisect_right(before, end) for end in ends)
                for end in ends:
                    insort(before, end)
        return total

    def _port(self, place: Any, node: Any) -> float:
        """Where an edge enters a node, from its middle, as a part of its width."""
        return self.ports[place].get(node, 0.0) if place in self.ports else 0.0

    def _place(self) -> None:
        """Give each row its order's positions, then move boxes towards their neighbours."""
        for row in self.rows:
            self._spread(row, dict.fromkeys(row, 0.0))
        for sweep in range(self.sweeps):
            rows = self.rows if sweep % 2 else self.rows[::-1]
            for row in rows:
                self._spread(row, {place: self._wish(place, sweep, sweep >= self.sweeps - 8) for place in row})
        for row in self.rows:  # what has one neighbour above, and is its only one below, stands right under it
            alone = {place: self.above[place][0] for place in row if len(self.above[place]) == 1}
            alone = {place: upper for place, upper in alone.items() if len(self.below[upper]) == 1}
            if alone:
                self._spread(row, {place: self.x[alone.get(place, place)] for place in row})
        left = min((self.x[place] - self.widths[place] / 2 for place in self.x), default=0.0)
        self.x = {place: x - left for place, x in self.x.items()}

    def _wish(self, place: Any, sweep: int, both: bool) -> float:
        """Where a box would like to be: between its neighbours, those of one side or of both; straight edges matter
        most where they pass."""
        neighbours = self.above[place] if sweep % 2 else self.below[place]
        if not neighbours or type(place) is tuple or both:
            neighbours = self.above[place] + self.below[place]
        if type(place) is tuple:
            straight = [n for n in neighbours if type(n) is tuple]
            neighbours = neighbours + 3 * straight
        return _mean([self.x[n] for n in neighbours], self.x[place])

    def _spread(self, row: list[Any], wishes: dict[Any, float]) -> None:
        """Positions in the row's order, without overlap, near the wishes; boxes that touch move as one block."""
        blocks: list[tuple[float, int, float]] = []  # sum of (wish - offset), boxes, width up to the last middle
        members: list[list[tuple[Any, float]]] = []  # with offsets from the block's first box
        for place in row:
            block, own = (wishes[place], 1, 0.0), [(place, 0.0)]
            while blocks:
                total, count, width = blocks[-1]
                last, first = members[-1][-1][0], own[0][0]
                distance = width + (self.widths[last] + self.widths[first]) / 2 + self.gap
                if total / count + distance <= block[0] / block[1]:
                    break
                blocks.pop()
                own = members.pop() + [(member, offset + distance) for member, offset in own]
                block = (total + block[0] - distance * block[1], count + block[1], distance + block[2])
            blocks.append(block)
            members.append(own)
        for (total, count, _), own in zip(blocks, members):
            for place, offset in own:
                self.x[place] = total / count + offset


def in_order(nodes: Iterable[Any], edges: Iterable[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    """The edges, those into a node before those out of it (Kahn 1962)."""
    following: dict[Any, list[Any]] = {node: [] for node in nodes}
    waiting = dict.fromkeys(following, 0)
    for a, b in edges:
        following[a].append(b)
        waiting[b] += 1
    ready = [node for node, count in waiting.items() if not count]
    found = []
    for node in ready:  # it grows
        for user in following[node]:
            found.append((node, user))
            waiting[user] -= 1
            if not waiting[user]:
                ready.append(user)
    return found


def _mean(numbers: Sequence[float], default: float) -> float:
    return sum(numbers) / len(numbers) if numbers else default
