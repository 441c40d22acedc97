"""The paths through a function's branches: which lanes take which, and what each gives them.

Why: a recording holds for the lanes that decide every comparison as the recorded call did.  Guards check that, and
a lane that decides otherwise needs the recording of its own path; every path runs as a program of its own, on the
lanes that take it.

Data structures: the paths of one structure of arguments are a trie.  ``Path.branches[k]`` is the path that decides
the guards before k in the same way and guard k the other way.  ``Paths`` holds the trie and evaluates a call:
all lanes start on the first path; lanes whose first failing guard is k go on with its branch k.

Where to start reading: ``Paths.evaluate``.
"""

from __future__ import annotations

import warnings
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from threading import RLock
from typing import Any

import numpy as np
import optree

from valuegrad.calls import Call
from valuegrad.errors import PathsError, PathsWarning, ShapeError
from valuegrad.graph import Graph
from valuegrad.lower.lowering import Lowered, lower
from valuegrad.modes import no_grad
from valuegrad.outputs import Structure
from valuegrad.primitives.opcodes import OPCODE
from valuegrad.record import record
from valuegrad.value import Value

__all__ = ["Options", "Path", "Paths"]


@dataclass(frozen=True)
class Options:
    """What ``compile`` was asked for; see there."""

    threads: int = 1
    dtype: str = "float64"
    cache: bool = True
    strict: bool = False
    static: tuple[int | str, ...] = ()
    max_paths: int = 64
    beyond: str = "eager"
    reduce: str = "sum"


class Path:
    """One way through the branches: a recording, and what was lowered from it.

    Args:
        graph: what was recorded.
        captured: the leaf Values that the function closed over: the inputs after the arguments'.
    """

    def __init__(self, graph: Graph, captured: tuple[Any, ...] = ()) -> None:
        self.graph = graph
        self.captured = captured
        self.branches: dict[int, Path] = {}
        self.lowered: dict[tuple[bytes, tuple[int, ...]], Lowered] = {}
        sums = graph.ops == OPCODE["batch_sum"]
        self.sums_over_lanes = bool(np.any(sums) or np.any(graph.ops == OPCODE["lanes"]))
        # Outputs that are nothing but a sum over the lanes add up over paths too; other uses of a sum do not.
        self.sum_outputs = [i for i, node in enumerate(graph.outputs.tolist()) if sums[node]]
        self.divisible = not self.sums_over_lanes or not (
            np.any(sums[graph.operands]) or np.any(graph.ops == OPCODE["lanes"])
        )

    def outcomes(self) -> list[bool]:
        """How it decides its guards."""
        return [guard.expected for guard in self.graph.guards]

    def walk(self) -> Iterator[Path]:
        """This path and all that branch off."""
        waiting = [self]
        while waiting:
            path = waiting.pop()
            yield path
            waiting += reversed(path.branches.values())


@dataclass
class _Beyond:
    """Lanes for which no path may be recorded any more."""

    lanes: list[Any] = field(default_factory=list)
    lines: Counter[str] = field(default_factory=Counter)


class Paths:
    """All paths of a function for one structure of arguments.

    Args:
        name: the function's, for messages.
        function: what a lane computes, on Values.
        derivative: whether it is a derivative, which takes plain numbers where nothing is recorded.
        options: what ``compile`` was asked for.
        lock: held while a path is recorded or lowered.
        gradients: if the last outputs are gradients: the positions of the leaves they belong to.
    """

    def __init__(
        self,
        name: str,
        function: Callable[..., Any],
        derivative: bool,
        options: Options,
        lock: RLock,
        warned: list[bool],
        gradients: tuple[int, ...] = (),
    ) -> None:
        self.name = name
        self.function = function
        self.derivative = derivative
        self.options = options
        self.gradients = gradients
        self.root: Path | None = None
        self.structure: Structure | None = None
        self.build: Callable[[tuple[float, ...]], Any] | None = None
        self.count = 0
        self.latest: Path | None = None  # the path of the latest call on numbers: the first to be tried
        self._lock = lock
        self._warned = warned

    # -------------------------------------------------------------------------------------- recording, lowering
    def _record(self, call: Call, lane: int, outcomes: list[bool]) -> Path:
        """A new path: that of a lane, or that which decides its first comparisons as ``outcomes`` says."""
        found: list[Structure] = []

        def flat(numbers: list[Value]) -> list[Any]:
            args, kwargs = call.build(numbers)
            found.append(Structure(self.name, self.function(*args, **kwargs)))
            return found[-1].taken()

        recording = record(flat, call.lane(lane), list(call.integer), f"{self.name}()", outcomes)
        structure = found[-1]
        if self.structure is None:
            self.structure = structure
            self.build = structure.quick()
        elif structure != self.structure:
            raise ShapeError(
                f"{self.name}() gave {structure} on one path through its branches and {self.structure} on another; "
                "return the same structure whichever way the function takes"
            )
        self.count += 1
        return Path(recording.graph, tuple(recording.captured))

    def first(self, call: Call) -> Path:
        """The path that all lanes start on."""
        with self._lock:
            if self.root is None:
                self.root = self._record(call, 0, [])
            return self.root

    def branch(self, path: Path, k: int, call: Call, lane: int) -> Path | None:
        """The path that decides guard k the other way; None if there may be no more paths."""
        found = path.branches.get(k)
        if found is None:
            with self._lock:
                found = path.branches.get(k)
                if found is None and self.count < self.options.max_paths:
                    outcomes = path.outcomes()[:k] + [not path.graph.guards[k].expected]
                    found = self._record(call, lane, outcomes)
                    if found.outcomes()[: k + 1] != outcomes:
                        return None  # the function does not decide by its arguments alone
                    path.branches[k] = found
        return found

    def lower(self, path: Path, uniform: bytes, summed: tuple[int, ...]) -> Lowered:
        """A path's code for a layout of the arguments."""
        key = (uniform, summed)
        found = path.lowered.get(key)
        if found is None:
            with self._lock:
                found = path.lowered.get(key)
                if found is None:
                    all_uniform = uniform + b"\1" * len(path.captured)
                    found = lower(path.graph, all_uniform, summed, self.options.dtype, self.options.strict)
                    path.lowered[key] = found
        return found

    # ----------------------------------------------------------------------------------------------- evaluating
    def evaluate(self, call: Call) -> Any:
        """The result of a call, in the function's own structure."""
        root = self.root or self.first(call)
        if call.shape is None:
            path = self.latest or root
            args = (*map(float, call.leaves), *[value.data for value in path.captured])
            numbers = self.lower(path, call.uniform, ()).code.call(args)
            if numbers is not None:
                assert self.build is not None
                return self.build(numbers)
        batch = _Batch(self, call)
        batch.run(root)
        return batch.result()

    def summed(self, call: Call) -> dict[int, int]:
        """Which outputs are gradients by leaves that are the same for all lanes, and by which."""
        assert self.structure is not None
        first = len(self.structure.shapes) - len(self.gradients)
        return {first + i: leaf for i, leaf in enumerate(self.gradients) if leaf >= 0 and call.uniform[leaf]}

    def eager(self, call: Call, lane: int) -> list[float]:
        """The plain function for one lane."""
        numbers = call.lane(lane)
        if self.derivative:
            args, kwargs = call.build(numbers)
            result = self.function(*args, **kwargs)
        else:
            args, kwargs = call.build([Value(x) if type(x) is float else x for x in numbers])
            with no_grad():
                result = self.function(*args, **kwargs)
        structure = Structure(self.name, result)
        if structure != self.structure:
            raise ShapeError(f"{self.name}() gave {structure} for one lane and {self.structure} for another")
        return [x.data if type(x) is Value else x for x in structure.taken()]

    def warn(self, beyond: _Beyond, lanes: int) -> None:
        """Say once that there are more paths than there may be."""
        assert self.root is not None
        lines: Counter[str] = Counter()
        for path in self.root.walk():
            lines.update(path.graph.guards[k].line for k in path.branches)
        lines.update(beyond.lines.keys())
        line, _ = lines.most_common(1)[0]
        left = sum(map(len, beyond.lanes))
        text = (
            f"{self.name}() took {self.count} paths through its branches, as many as max_paths={self.options.max_paths} "
            f"lets it record, and {left} of {lanes} lanes need others; most paths part at the comparison in {line}: "
            "decide it without a branch, vg.where(condition, a, b), or raise max_paths"
        )
        if self.options.beyond == "error":
            raise PathsError(text)
        if not self._warned[0]:
            self._warned[0] = True
            warnings.warn(f"{text}; these lanes run uncompiled: right, but slower", PathsWarning, stacklevel=2)


class _Batch:
    """One call on its way through the paths: arrays of results that fill up.

    Args:
        paths: the paths.
        call: the call.
    """

    def __init__(self, paths: Paths, call: Call) -> None:
        self.paths = paths
        self.call = call
        self.dtype = np.dtype(paths.options.dtype)
        self.inputs = call.arrays(self.dtype)
        self.by_leaf = paths.summed(call) if call.lanes != 1 or 0 in call.uniform else {}
        self.summed = tuple(self.by_leaf)
        assert paths.structure is not None
        self.numbers: list[Any] = [None] * sum(int(np.prod(shape or (), dtype=int)) for shape in paths.structure.shapes)
        self.totals: set[int] = set(self.summed)

    def run(self, root: Path) -> None:
        """All lanes, each on its path."""
        beyond = _Beyond()
        waiting = deque([(root, k, lanes) for k, lanes in self._run(root, None)])
        while waiting:
            parent, k, lanes = waiting.popleft()
            path = self.paths.branch(parent, k, self.call, 0 if lanes is None else int(lanes[0]))
            if path is not None:
                waiting.extend((path, k, leaving) for k, leaving in self._run(path, lanes))
            else:
                beyond.lanes.append(np.arange(self.call.lanes) if lanes is None else lanes)
                beyond.lines[parent.graph.guards[k].line] += 1
        if beyond.lanes:
            self.paths.warn(beyond, self.call.lanes)
            for lanes in beyond.lanes:
                self._eager(lanes)

    def _execute(self, path: Path, lanes: Any) -> tuple[Any, list[Any], Lowered]:
        """Run a path's code on some lanes (None: all); which guard each lane fails at first, and the outputs."""
        lowered = self.paths.lower(path, self.call.uniform, self.summed)
        code = lowered.code
        count = self.call.lanes if lanes is None else len(lanes)
        inputs = self.inputs
        if lanes is not None:
            inputs = [x if same else x[lanes] for x, same in zip(inputs, self.call.uniform)]
        captured = [np.array([value.data], dtype=self.dtype) for value in path.captured]
        outputs = [np.empty(1 if same else count, dtype=self.dtype) for same in code.uniform_outputs]
        failed = code.run(count, [*inputs, *captured], outputs, self.paths.options.threads)
        return failed, outputs, lowered

    def _run(self, path: Path, lanes: Any) -> list[tuple[int, Any]]:
        """Run a path; which lanes leave it, and at which guard (None for the lanes: all there are)."""
        failed, outputs, lowered = self._execute(path, lanes)
        if failed is None:
            self._place(path, lanes, outputs, lowered)
            if self.call.shape is None:
                self.paths.latest = path
            return []
        guards = np.unique(failed)
        leaving = [int(k) for k in guards if k >= 0]
        if len(guards) == 1:
            return [(int(lowered.guards[leaving[0]]), lanes)]
        everyone = np.arange(self.call.lanes) if lanes is None else lanes
        if not path.divisible:
            k = lowered.guards[leaving[0]]
            raise PathsError(
                f"{self.paths.name}() sums over its lanes (batch_sum, batch_mean) and the lanes take different paths at "
                f"{path.graph.guards[k].line}; decide there without a branch: vg.where(condition, a, b)"
            )
        staying = everyone[failed < 0]
        if len(staying):
            if self.totals or path.sum_outputs:  # the sums have the lanes in them that leave
                _, outputs, lowered = self._execute(path, staying)
            else:
                outputs = [out if same else out[failed < 0] for out, same in zip(outputs, lowered.code.uniform_outputs)]
            self._place(path, staying, outputs, lowered)
        return [(int(lowered.guards[k]), everyone[failed == k]) for k in leaving]

    def _place(self, path: Path, lanes: Any, outputs: list[Any], lowered: Lowered) -> None:
        """Enter the outputs of some lanes into the results."""
        for i, (out, same) in enumerate(zip(outputs, lowered.code.uniform_outputs)):
            if i in self.totals or (path.sums_over_lanes and (i in path.sum_outputs or (same and lanes is None))):
                self.totals.add(i)
                self.numbers[i] = out[0] if self.numbers[i] is None else self.numbers[i] + out[0]
            elif lanes is None:
                self.numbers[i] = np.full(self.call.lanes, out[0]) if same else out
            else:
                if self.numbers[i] is None:
                    self.numbers[i] = np.empty(self.call.lanes, dtype=self.dtype)
                self.numbers[i][lanes] = out

    def _eager(self, lanes: Any) -> None:
        for lane in lanes.tolist():
            for i, x in enumerate(self.paths.eager(self.call, lane)):
                if i in self.totals:
                    self.numbers[i] = x if self.numbers[i] is None else self.numbers[i] + x
                else:
                    if self.numbers[i] is None:
                        self.numbers[i] = np.empty(self.call.lanes, dtype=self.dtype)
                    self.numbers[i][lane] = x

    def result(self) -> Any:
        """The results in the function's structure."""
        paths, call = self.paths, self.call
        assert paths.structure is not None
        if call.shape is None:
            return paths.structure.build([float(x[0]) if type(x) is np.ndarray else float(x) for x in self.numbers])
        mean = paths.options.reduce == "mean"
        first = len(self.numbers) - len(paths.gradients)
        finished: list[Any] = []
        for i, x in enumerate(self.numbers):
            leaf = paths.gradients[i - first] if i >= first else -1
            if i in self.totals:
                x = float(x)
                if leaf >= 0:
                    x = call.whole(leaf, x / call.lanes if mean and call.lanes else x, self.dtype)
            elif leaf >= 0:
                x = call.folded(leaf, x, mean)
            else:
                x = x.reshape(call.shape)
            finished.append(x)
        return paths.structure.build(finished, self.dtype)


def gradient_leaves(call: Call, positions: tuple[int, ...]) -> tuple[int, ...]:
    """For each number in the arguments at these positions which leaf it is; -1 if it is none."""

    args, _ = call.build([_Place(i) for i in range(len(call.leaves))])
    entries = optree.tree_leaves(tuple(args[position] for position in positions))
    return tuple(entry.leaf if type(entry) is _Place else -1 for entry in entries)


@dataclass(frozen=True)
class _Place:
    leaf: int
