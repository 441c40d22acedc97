"""Random functions with loops, as people write them: what rolling must find and must not change.

A function is a list of steps, each of which makes one more list of numbers from earlier ones; hypothesis draws and
shrinks it.  ``Loopy`` runs it on anything that behaves like a number.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

import valuegrad as vg

UNARY = {
    "neg": lambda a: -a,
    "abs": abs,
    "tanh": vg.tanh,
    "exp": lambda a: vg.exp(vg.minimum(a, 3.0)),
    "relu": vg.relu,
    "sqrt": lambda a: vg.sqrt(abs(a)),
    "sin": vg.sin,
    "square": lambda a: a * a,
    "sigmoid": vg.sigmoid,
    "inverse": lambda a: 1.0 / (a * a + 1.0),
    "small": lambda a: a * 1e-200,
    "nan": lambda a: vg.log(a),
}
BINARY = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a / b,
    "where": lambda a, b: vg.where(a < b, a * b, b),
    "less": lambda a, b: vg.where((a < b) | (a <= 0.0), 1.0, b - a),
    "hypot": vg.hypot,
    "mixed": lambda a, b: a * 0.5 + b * a - 1.0,
}
LISTS = {
    "sum": vg.sum,
    "prod": vg.prod,
    "maximum": lambda xs: vg.maximum(*xs),
    "minimum": lambda xs: vg.minimum(*xs),
    "logsumexp": vg.logsumexp,
}

ENTRIES = 7  # of the lists that are indexed: any index from -ENTRIES to ENTRIES - 1 will do


@dataclass(frozen=True)
class Step:
    """One more list of numbers: its kind, which earlier ones it reads, which operation, a number for sizes."""

    kind: str
    x: int
    y: int
    op: str
    size: int


def steps() -> st.SearchStrategy[list[Step]]:
    """Lists of steps."""

    def one(kind: str, ops: Any) -> st.SearchStrategy[Step]:
        numbers = st.integers(0, 7)
        return st.builds(Step, st.just(kind), numbers, numbers, st.sampled_from(sorted(ops)), st.integers(1, 11))

    kinds = {
        "map": UNARY,
        "zip": BINARY,
        "outer": BINARY,
        "reverse": BINARY,
        "matvec": ["dot"],
        "triangle": ["dot", *LISTS],
        "windows": LISTS,
        "ragged": LISTS,
        "take": ["take"],
        "guard": ["guard"],
        "scan": BINARY,
        "softmax": ["softmax"],
    }
    return st.lists(st.one_of([one(kind, ops) for kind, ops in kinds.items()]), min_size=1, max_size=7)


class Loopy:
    """A function of a vector ``w`` that all lanes share, a list ``x`` of numbers of a lane, an index of a lane."""

    def __init__(self, plan: list[Step], gradient: bool, mean: bool) -> None:
        self.plan, self.gradient, self.mean = plan, gradient, mean

    def __call__(self, w: Any, x: Any, index: Any) -> Any:
        self.index = index
        if not self.gradient:
            results = self.values(w, x)
            return [*results, *[vg.batch_sum(result) for result in results[:9]]] if self.mean else results
        loss, grads = vg.value_and_grad(lambda w: vg.sum(self.values(w, x)))(list(w))
        return [loss, *[vg.batch_mean(g) if self.mean else g for g in grads]]

    def values(self, w: Any, x: Any) -> list[Any]:
        """All of the last two lists."""
        lists = [list(x), list(w)]
        for step in self.plan:
            lists.append(self.step(step, lists[step.x % len(lists)], lists[step.y % len(lists)])[:80])
        return [*lists[-1], *lists[-2]]

    def step(self, step: Step, a: list[Any], b: list[Any]) -> list[Any]:
        """One more list."""
        n = step.size
        match step.kind:
            case "map":
                return [UNARY[step.op](p) for p in a]
            case "zip":
                return [BINARY[step.op](p, q) for p, q in zip(a, b)]
            case "reverse":
                return [BINARY[step.op](p, q) for p, q in zip(a, reversed(b))]
            case "outer":
                return [BINARY[step.op](p, q) for p in a[:9] for q in b[:9]]
            case "matvec":
                rows = max(1, min(len(a) // n, 9))
                return [vg.dot(a[i * n : i * n + len(b)], b[: len(a[i * n : i * n + len(b)])]) for i in range(rows)]
            case "triangle":
                size = range(min(len(a), len(b), 9))
                if step.op == "dot":
                    return [vg.dot(a[: i + 1], b[i::-1]) for i in size]
                return [LISTS[step.op](*[a[: i + 1]]) for i in size]
            case "windows":
                return [LISTS[step.op](a[i : i + n]) for i in range(max(1, min(len(a) - n, 9)))]
            case "ragged":
                return [LISTS[step.op](a[i % 3 : i + 1 + i % 3] or a[:1]) for i in range(min(len(a), 9))]
            case "take":
                return [vg.take((a * ENTRIES)[i : i + ENTRIES], self.index) for i in range(min(len(a), n))]
            case "guard":
                return [p * 2.0 if p < q else p - q for p, q in zip(a[:3], b)] + a[3:]
            case "scan":
                total, found = a[0], []
                for p in a[:12]:
                    total = BINARY[step.op](total, p)
                    found.append(total)
                return found
            case "softmax":
                return list(vg.softmax(a[: 2 * n]))
        raise AssertionError(step.kind)
