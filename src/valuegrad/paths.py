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

import re
import warnings
from collections import Counter, deque
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from threading import RLock
from typing import Any

import numpy as np

from valuegrad import arguments
from valuegrad.batch import one_lane_of_many
from valuegrad.calls import Call
from valuegrad.errors import PathsError, PathsWarning, ShapeError, ValueTypeError
from valuegrad.flattening import Names
from valuegrad.lines import caller_depth
from valuegrad.lower.lowering import HAS_PASSES, Lowered, lower, run_once
from valuegrad.modes import no_grad
from valuegrad.outputs import Structure
from valuegrad.record import record
from valuegrad.trie import Options, Path
from valuegrad.value import Value

__all__ = ["Options", "Path", "Paths"]


# What Python says of a Value as an index, or as the length of a range.
_NOT_AN_INTEGER = re.compile(r"integer.*\bValue\b|\bValue\b.*integer|non-int.*\bValue\b|^only integers, slices")

# What it says of a Value that is taken for an array: x[0], len(x), for y in x, x.sum().
_NOT_AN_ARRAY = re.compile(r"\bValue'.*(not subscriptable|not iterable|no len\(|no attribute|item assignment)")


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
        self.names: tuple[str, ...] = ()  # of the inputs, for pictures
        self.where: Names | None = None  # the names of the arguments' leaves, where there are any
        self.shapes: dict[int, tuple[int, ...]] = {}  # of the leaves that are vectors
        self.latest: Path | None = None  # the path of the latest call on numbers: the first to be tried
        self.have_parted = False  # whether lanes of a batch have ever left the first path
        self._sums: dict[bytes, Any] = {}  # for each layout which outputs are summed
        self._lock = lock
        self._warned = warned

    def leaves(self) -> list[tuple[str, tuple[int, ...] | None]]:
        """For each leaf of the arguments how the user would write it, and a vector's shape."""
        names = self.where.all() if self.where is not None else []
        return [(name, self.shapes.get(i)) for i, name in enumerate(names)]

    # -------------------------------------------------------------------------------------- recording, lowering
    def _record(self, call: Call, lane: int, outcomes: list[bool]) -> Path:
        """A new path: that of a lane, or that which decides its first comparisons as ``outcomes`` says."""
        found: list[Structure] = []

        def flat(numbers: list[Value]) -> list[Any]:
            args, kwargs = call.build(numbers)
            found.append(Structure(self.name, self.function(*args, **kwargs)))
            taken = found[-1].taken()
            if self.options.strict and self.gradients:  # the engines' grads begin at 0.0, so that none is -0.0
                values = len(taken) - len(self.gradients)
                taken[values:] = [x + 0.0 for x in taken[values:]]
            return taken

        try:
            with np.errstate(all="ignore"):  # NumPy's functions on Values: nothing is said of inf and nan here
                strict = self.options.strict
                recording = record(flat, call.lane(lane), call.integers(), f"{self.name}()", outcomes, strict=strict)
        except (TypeError, IndexError, AttributeError) as error:
            if any(call.integer) and _NOT_AN_INTEGER.search(str(error)):
                raise ValueTypeError(
                    f"{self.name}() used an integer argument where Python needs a plain integer ({error}); its "
                    "arguments are inputs of the program: choose an entry with vg.take(xs, i), or name an argument "
                    "that steers the function in static="
                ) from error
            kind = type(error)
            if call.shape is not None and kind in (TypeError, AttributeError) and _NOT_AN_ARRAY.search(str(error)):
                raise kind(
                    f"{self.name}() took one number of an array for the array ({error}): every element of an array is "
                    "a lane, a call of its own; name an argument that each call gets as a whole in vectors=, or give a "
                    "list of numbers"
                ) from error
            raise
        structure = found[-1]
        if not self._fits(structure):
            raise ShapeError(
                f"{self.name}() gave {structure} on one path through its branches and {self.structure} on another; "
                "return the same structure whichever way the function takes"
            )
        return Path(recording.graph, recording.captured, recording.integer_uses)

    def _fits(self, structure: Structure) -> bool:
        """Whether a result has the structure of the first one, which this may be."""
        if self.structure is None:
            self.build = structure.quick()
            self.structure = structure
        return structure == self.structure

    def first(self, call: Call) -> Path:
        """The path that all lanes start on."""
        with self._lock:
            if self.root is None:
                self.root = self._record(call, 0, [])
                self.count = 1
            return self.root

    def branch(self, path: Path, k: int, call: Call, lane: int) -> Path | None:
        """The path that decides guard k the other way; None if there may be no more paths."""
        found = path.branches.get(k)
        if found is None:
            with self._lock:
                found = path.branches.get(k)
                if found is None and self.count < self.options.max_paths:
                    outcomes = [*path.outcomes()[:k], not path.graph.guards[k].expected]
                    found = self._record(call, lane, outcomes)
                    self.count += 1
                    if found.outcomes()[: k + 1] != outcomes:
                        return None  # the function does not decide by its arguments alone
                    path.branches[k] = found
        return found

    def lower(self, path: Path, call: Call, waits: bool = True) -> Lowered:
        """A path's code for the layout of a call: which leaves are the same for all lanes.

        Args:
            path: one of these.
            call: a call that takes it.
            waits: whether its loops may be made when they pay, and not at once.
        """
        sums = self.sums(call)
        key = (call.uniform, sums is not None)
        found = path.lowered.get(key)
        if found is None:
            with self._lock:
                found = path.lowered.get(key)
                if found is None:
                    uniform = np.repeat(np.frombuffer(call.uniform, dtype=np.uint8), call.sizes()).tobytes()
                    uniform += b"\1" * len(path.captured)
                    summed = () if sums is None else np.flatnonzero(sums).tolist()
                    options = self.options
                    found = lower(path.graph, uniform, summed, options.dtype, options.strict, options.cache, waits)
                    path.lowered[key] = found
        return found

    def sums(self, call: Call) -> Any:
        """Which outputs are gradients by what all lanes share: their sums are wanted.  None if there are no lanes."""
        if not self.gradients or 0 not in call.uniform:
            return None
        found = self._sums.get(call.uniform)
        if found is None:
            assert self.structure is not None
            shared = np.array([leaf >= 0 and call.uniform[leaf] for leaf in self.gradients], dtype=bool)
            found = np.zeros(self.structure.size, dtype=bool)
            found[len(found) - len(shared) :] = shared
            self._sums[call.uniform] = found
        return found

    # ----------------------------------------------------------------------------------------------- evaluating
    def evaluate(self, call: Call) -> Any:
        """The result of a call, in the function's own structure."""
        if HAS_PASSES:
            return self._compiled(call)
        try:
            return self._compiled(call)
        except ImportError:  # a derivative, which needs the passes over graphs
            return self.uncompiled(call)

    def _compiled(self, call: Call) -> Any:
        root = self.root or self.first(call)
        if call.shape is None and not call.vectors:  # those are quicker as arrays than number by number
            path = self.latest or root
            args = (*map(float, call.lane(0)), *[value.data for value in path.captured])
            numbers = self.lower(path, call).call(args)
            if numbers is not None:
                assert self.build is not None
                self.check_integers(path, call, None)
                return self.build(numbers)
        with np.errstate(all="ignore"):  # numbers become inf and nan without a warning, as they do in C
            batch = _Batch(self, call)
            batch.run(root)
            return batch.result()

    def uncompiled(self, call: Call) -> Any:
        """Every lane by the plain function: inside strict(), and derivatives where the passes were not built."""
        with one_lane_of_many():
            if self.structure is None:
                self.eager(call, 0)
            with np.errstate(all="ignore"):
                batch = _Batch(self, call)
                batch.eager(np.arange(call.lanes))
                return batch.result()

    def check_integers(self, path: Path, call: Call, lanes: Any) -> None:
        """Every index of the lanes on a path (None: all) must point into its list."""
        for leaf, entries in path.indices(call):
            numbers = call.inputs_of(leaf, lanes)
            if type(numbers) is int:
                lowest = highest = numbers
            elif numbers.size == 1:
                lowest = highest = numbers.item()
            elif numbers.size:
                lowest, highest = int(numbers.min()), int(numbers.max())
            else:
                continue
            for x in (lowest, highest):
                if not -entries <= x < entries:
                    arguments.position(x, entries, f"{self.name}(), {call.where[leaf]}")

    def eager(self, call: Call, lane: int) -> list[float]:
        """The plain function for one lane."""
        numbers: list[Any] = call.lane(lane)
        if self.derivative and HAS_PASSES and any(call.integer):  # the engine cannot differentiate by an index
            path = self._record(call, lane, [])
            inputs = [*map(float, numbers), *[value.data for value in path.captured]]
            return run_once(path.graph, inputs)
        if not self.derivative:
            numbers = [x if integer else Value(x) for x, integer in zip(numbers, call.integers())]
        args, kwargs = call.build(numbers)
        with np.errstate(all="ignore"), nullcontext() if self.derivative else no_grad():
            result = self.function(*args, **kwargs)
        structure = Structure(self.name, result)
        if not self._fits(structure):
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
            f"{self.name}() took {self.count} path{'s' * (self.count != 1)} through its branches, as many as it may "
            f"record (max_paths={self.options.max_paths}), and {left} of {lanes} lanes need others; most paths part at "
            f"the comparison in {line}: decide it without a branch, vg.where(condition, a, b), or raise max_paths"
        )
        if self.options.beyond == "error":
            raise PathsError(text)
        if not self._warned[0]:
            self._warned[0] = True
            level = caller_depth()
            warnings.warn(f"{text}; these lanes run uncompiled: right, but slower", PathsWarning, stacklevel=level)


class _Batch:
    """One call on its way through the paths: results that fill up.

    Args:
        paths: the paths.
        call: the call.
    """

    def __init__(self, paths: Paths, call: Call) -> None:
        assert paths.structure is not None
        self.paths = paths
        self.call = call
        self.structure = paths.structure
        self.dtype = np.dtype(paths.options.dtype)
        self.uniform = call.uniform_inputs(self.dtype)
        self.inputs = call.lane_inputs(self.dtype)
        self.size = self.structure.size
        self.only_totals = False  # all outputs are such: large programs have a million of them
        self.sum_outputs: Any = None  # once a part of the lanes is done: which outputs are sums over the batch
        self.totals: Any = None  # for each output that is a total: its sum so far
        self.lanes: dict[int, Any] = {}  # for the others, by output: a number for each lane

    @cached_property
    def is_total(self) -> Any:
        """For each output whether it is one number for all lanes, not one for each."""
        sums = self.paths.sums(self.call)
        return np.zeros(self.size, dtype=bool) if sums is None else sums.copy()

    def run(self, root: Path) -> None:
        """All lanes, each on its path."""
        beyond = _Beyond()
        waiting = deque([(root, k, lanes) for k, lanes in self._run(root, None)])
        self.paths.have_parted |= bool(waiting) and self.call.shape is not None
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
            self._enter_sums(root)
            for lanes in beyond.lanes:
                self.eager(lanes)

    def _execute(self, path: Path, lanes: Any) -> tuple[Any, Any, list[Any], Lowered]:
        """Run a path's code on some lanes (None: all); which guard each lane fails at first, and the outputs."""
        lowered = self.paths.lower(path, self.call)
        inputs, uniform = self.inputs, self.uniform
        if lanes is not None:
            inputs = [x[lanes] for x in inputs]
        if path.captured:
            uniform = np.concatenate([uniform, np.array([v.data for v in path.captured], dtype=self.dtype)])
        count = self.call.lanes if lanes is None else len(lanes)
        return *lowered.run(count, uniform, inputs, self.paths.options.threads), lowered

    def _run(self, path: Path, lanes: Any) -> list[tuple[int, Any]]:
        """Run a path; which lanes leave it, and at which guard (None for the lanes: all there are)."""
        failed, own, others, lowered = self._execute(path, lanes)
        if failed is None or not len(failed):
            self.paths.check_integers(path, self.call, lanes)
            self._place(path, lanes, own, others, lowered)
            if self.call.shape is None:
                self.paths.latest = path
            return []
        guards = (np.flatnonzero(np.bincount(failed + 1)) - 1).tolist()
        if len(guards) == 1:
            return [(guards[0], lanes)]
        leaving = [k for k in guards if k >= 0]
        if not path.divisible:
            raise self._indivisible(path.graph.guards[leaving[0]].line)

        def those(which: Any) -> Any:
            found = np.flatnonzero(which)
            return found if lanes is None else lanes[found]

        if guards[0] < 0:
            stay = np.flatnonzero(failed < 0)
            staying = stay if lanes is None else lanes[stay]
            self.paths.check_integers(path, self.call, staying)
            if np.any(self.is_total) or np.any(path.sum_outputs):  # the sums have the lanes in them that leave
                _, own, others, lowered = self._execute(path, staying)
            else:
                others = [x[stay] for x in others]
            self._place(path, staying, own, others, lowered)
        return [(k, those(failed == k)) for k in leaving]

    def _indivisible(self, line: str) -> PathsError:
        return PathsError(
            f"{self.paths.name}() sums over its lanes (batch_sum, batch_mean) and they take different paths at "
            f"{line}; decide there without a branch: vg.where(condition, a, b)"
        )

    def _place(self, path: Path, lanes: Any, own: Any, others: list[Any], lowered: Lowered) -> None:
        """Enter the outputs of some lanes into the results."""
        if lanes is None and not others and (path.sums_over_lanes or self.call.shape is None):
            self.only_totals = True
            self._add(own)
            return
        if lanes is not None:
            self._enter_sums(path)
        elif path.sums_over_lanes or self.call.shape is None:  # what is the same for all lanes is one number then
            self.is_total |= lowered.same
        found = own
        if others:
            found = np.zeros(len(lowered.same), dtype=self.dtype)
            found[lowered.same] = own
        self._add(found)
        several = iter(others)
        for i in np.flatnonzero(~self.is_total).tolist():
            out = found[i] if lowered.same[i] else next(several)
            if lanes is None:
                self.lanes[i] = np.full(self.call.lanes, out) if lowered.same[i] else out
            else:
                self._lanes_of(i)[lanes] = out

    def _enter_sums(self, path: Path) -> None:
        """A part of the lanes has part sums, which must be the same outputs on every path."""
        if self.sum_outputs is None:
            self.sum_outputs = path.sum_outputs
            self.is_total |= path.sum_outputs
        if not path.divisible or np.any(self.sum_outputs != path.sum_outputs):
            lines = [guard.line for guard in path.graph.guards]
            raise self._indivisible(lines[-1] if lines else "some comparison")

    def _add(self, found: Any) -> None:
        self.totals = found if self.totals is None else self.totals + found

    def _lanes_of(self, output: int) -> Any:
        if output not in self.lanes:
            self.lanes[output] = np.empty(self.call.lanes, dtype=self.dtype)
        return self.lanes[output]

    def eager(self, lanes: Any) -> None:
        """Enter what the plain function gives for some lanes."""
        if self.totals is None:
            self._add(np.zeros(self.size, dtype=self.dtype))
        if not len(lanes):
            self.lanes = {i: np.empty(0, dtype=self.dtype) for i in range(self.size)}
        for lane in lanes.tolist():
            found = np.array(self.paths.eager(self.call, lane), dtype=self.dtype)
            self._add(found)
            for i in np.flatnonzero(~self.is_total).tolist():
                self._lanes_of(i)[lane] = found[i]

    # --------------------------------------------------------------------------------------------------- results
    def result(self) -> Any:
        """The results in the function's structure."""
        gradients = self.paths.gradients
        first = self.size - len(gradients)
        if self.paths.options.reduce == "mean" and gradients and self.totals is not None:
            self.totals[first:] /= max(self.call.lanes, 1)
        leaves = []
        for start, shape in self.structure.places():
            leaf = gradients[start - first] if gradients and start >= first and shape is None else -1
            if shape is None:
                leaves.append(self._number(start, leaf))
            else:
                leaves.append(self._array(start, shape))
        return self.structure.build_leaves(leaves)

    def _number(self, i: int, leaf: int) -> Any:
        """An output that is a number in each lane; of a gradient, the leaf to which it belongs."""
        call = self.call
        if self.only_totals or self.is_total[i]:
            x = float(self.totals[i])
            return x if leaf < 0 else call.whole(leaf, x, self.dtype)
        if call.shape is None:
            return float(self.lanes[i][0])
        if leaf < 0:
            return self.lanes[i].reshape(call.shape)
        return call.folded(leaf, self.lanes[i], self.paths.options.reduce == "mean")

    def _array(self, start: int, shape: tuple[int, ...]) -> Any:
        """An output that is an array in each lane; the lanes' axes come first."""
        end = start + prod(shape)
        if self.only_totals or np.all(self.is_total[start:end]):
            return self.totals[start:end].reshape(shape)
        whole = {i: np.full(self.call.lanes, self.totals[i]) for i in range(start, end) if self.is_total[i]}
        columns = [whole[i] if i in whole else self.lanes[i] for i in range(start, end)]
        return np.stack(columns, axis=-1).reshape((*(self.call.shape or ()), *shape))
