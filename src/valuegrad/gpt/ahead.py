"""Training ahead of what was asked: many compiled steps in one go, reported one by one.

Why: to ask for a step takes longer than the step.  But whoever asks for one may look at the model after it.

How: the state at the beginning of a go is kept.  Whoever looks in the middle of it gets the state of that moment, by
going there again from the beginning: steps are deterministic, so it is the same to the last bit.  A go is a single
step at first and twice as long each time, up to some hundredths of a second; so nobody waits for what he does not want,
an interrupt is heard soon, and whoever changes the weights at each step has no step taken in vain.  How long a go is
changes no number.

Data structures: an ``Ahead`` has the compiled steps of a run, and its latest ``_Go``.

Where to start reading: ``Ahead.take``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import isfinite
from time import perf_counter
from typing import Any

import numpy as np

from valuegrad.gpt.batches import Documents, Plan, fineness
from valuegrad.gpt.compiled import Steps
from valuegrad.optim import Schedule

__all__ = ["Ahead", "Taken"]

QUICK = 0.03  # seconds that a go takes, about


@dataclass(frozen=True, eq=False)
class Taken:
    """Steps that were taken.

    Args:
        losses: the loss before each.
        rates: the learning rate of each.
        tokens: how many tokens each one predicted.
        failed: the loss of the next step, if it is not finite and no step could be taken.
    """

    losses: list[float]
    rates: list[float]
    tokens: list[int]
    failed: float | None = None


@dataclass(frozen=True, eq=False)
class _Go:
    """Steps that were taken in one go.

    Args:
        first: how many steps were done before.
        state: what it began with.
        plan: the steps' documents.
        rates: the steps' learning rates.
        losses: of those that were done.
        failed: the loss of the step after them, if it is not finite.
        after: the state after them.
    """

    first: int
    state: Any
    plan: Plan
    rates: list[float]
    losses: list[float]
    failed: float | None
    after: Any

    @property
    def end(self) -> int:
        """How many steps are done after it."""
        return self.first + len(self.losses)


class Ahead:
    """The compiled steps of a run, taken ahead.

    Args:
        steps: they, with the state of this moment.
        documents: what is learned from.
        count: how many documents there are; after the last one the first one comes again.
        batch: how many a step learns from.
        schedule: gives the optimiser's schedule, which gives the learning rate of a step, 0 for the first.
    """

    def __init__(
        self, steps: Steps, documents: Documents, count: int, batch: int, schedule: Callable[[], Schedule]
    ) -> None:
        self.steps = steps
        self.documents = documents
        self.count = count
        self.batch = batch
        self.schedule = schedule
        self._go: _Go | None = None
        self._size = 1

    def take(self, step: int, until: int, known: int) -> Taken:
        """The steps after ``step``, as far as they are taken in one go.

        Args:
            step: how many were reported.
            until: not beyond this step.
            known: likewise, but what is taken beyond ``until`` is kept for the next time.
        """
        go = self._go
        if go is None or go.end == step:
            self._go = go = self._taken(step, known)
        if go.end == step:
            return Taken([], [], [], go.failed)
        which = slice(step - go.first, min(until, go.end) - go.first)
        return Taken(go.losses[which], go.rates[which], go.plan.tokens[which].tolist())

    def write_back(self, step: int) -> None:
        """Put the numbers after so many steps into the model's Values and the optimiser."""
        go = self._go
        if go is None:
            self.steps.write_back()
            return
        if go.end != step:
            k = step - go.first
            state, _ = self.steps.run(go.plan.part(0, k), go.rates[:k], go.first + 1, go.state)
            # The rest is kept, and begins here: it is not gone over again for the next who looks.
            plan = go.plan.part(k, len(go.plan))
            self._go = go = _Go(step, state, plan, go.rates[k:], go.losses[k:], go.failed, go.after)
            self.steps.write_back(state)
        else:
            self.steps.write_back(go.after)

    def forget(self) -> None:
        """Others may have changed the model: take over its numbers; what was taken ahead does not count."""
        self._go = None
        self._size = 1
        self.steps.read()

    def _taken(self, step: int, known: int) -> _Go:
        """One more go."""
        finest, end = fineness(step * self.batch)
        size = max(min(self._size, known - step), 1)
        if size * self.batch > end - step * self.batch:  # which it is, depends on the step alone
            size = -(-int(end - step * self.batch) // self.batch)
        state = self.steps.state if self._go is None else self._go.after
        first = step * self.batch
        batches = np.arange(first, first + size * self.batch).reshape(size, self.batch) % self.count
        plan = self.documents.plan(batches, self.steps.dtype, finest, self.steps.threads)
        rates = list(map(self.schedule(), range(step, step + size)))
        self.steps.prepare(plan)
        began = perf_counter()
        after, found = self.steps.run(plan, rates, step + 1, state)
        seconds = max(perf_counter() - began, 1e-9)
        self._size = max(min(2 * self._size, int(QUICK / seconds * len(found))), 1)
        losses = found.tolist()
        failed = None if isfinite(losses[-1]) else losses.pop()
        return _Go(step, state, plan, rates, losses, failed, after)
