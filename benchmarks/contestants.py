"""The libraries that run against each other, each behind the same few functions.

A contestant is loaded in a process of its own (``harness.py``), so that one library's objects, threads
or garbage-collector settings cannot slow another.

Where to start reading: ``Contestant``, then ``load``.
"""

import gc
import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any


def nothing() -> None:
    """What a library does to begin a graph or to release one, where that needs no call."""


@dataclass
class Contestant:
    """What a benchmark needs of a library.

    Args:
        version: the package's version, for the record.
        leaf: makes the library's number from a float.
        gradient: runs the backward pass from a root.
        grad: reads a leaf's gradient after it.
        begin: called before a graph is recorded, with its leaves.
        release: called after the last reference to a graph is gone; frees it where that alone did not.
    """

    version: str
    leaf: Callable[[float], Any]
    gradient: Callable[[Any], None]
    grad: Callable[[Any], float]
    begin: Callable[..., None] = lambda *leaves: None
    release: Callable[[], Any] = nothing


def valuegrad(engine: str) -> Contestant:
    os.environ["VALUEGRAD_ENGINE"] = engine
    import valuegrad as vg

    if vg.engine != engine:
        raise SystemExit(f"valuegrad runs on the {vg.engine} engine instead of the {engine} one: {vg.engine_reason}")
    return Contestant(vg.__version__, vg.Value, vg.Value.backward, lambda leaf: leaf.grad)


def plain(collector: bool) -> Contestant:
    from plain_value import Value

    if not collector:
        gc.disable()
    return Contestant("plain_value.py", Value, Value.backward, lambda leaf: leaf.grad)


def micrograd() -> Contestant:
    """micrograd has no exp and no log; they are added here in its own manner, for the GPT."""
    from micrograd.engine import Value

    def unary(value, local_grad):
        def method(self):
            out = Value(value(self.data), (self,))

            def _backward():
                self.grad += local_grad(self.data, out.data) * out.grad

            out._backward = _backward
            return out

        return method

    Value.exp = unary(math.exp, lambda x, out: out)
    Value.log = unary(math.log, lambda x, out: 1 / x)
    # A Value of micrograd and its _backward refer to each other: only the collector frees them.
    return Contestant(version("micrograd"), Value, Value.backward, lambda leaf: leaf.grad, release=gc.collect)


def xad() -> Contestant:
    from xad.adj_1st import Real, Tape

    tape = Tape()
    tape.activate()

    def begin(*leaves):
        for leaf in leaves:
            tape.registerInput(leaf)
        tape.newRecording()

    def gradient(root):
        tape.registerOutput(root)
        root.setDerivative(1.0)
        tape.computeAdjoints()

    return Contestant(version("xad"), Real, gradient, lambda leaf: leaf.getDerivative(), begin, tape.newRecording)


def torch() -> Contestant:
    import torch

    torch.set_num_threads(1)  # for single numbers more threads only add noise
    return Contestant(
        torch.__version__,
        lambda x: torch.tensor(x, dtype=torch.float64, requires_grad=True),
        lambda root: root.backward(),
        lambda leaf: leaf.grad.item(),
    )


LOADERS: dict[str, Callable[[], Contestant]] = {
    "valuegrad": lambda: valuegrad("native"),
    "valuegrad, readable engine": lambda: valuegrad("readable"),
    "plain class": lambda: plain(collector=True),
    "plain class, no collector": lambda: plain(collector=False),
    "micrograd": micrograd,
    "xad": xad,
    "torch": torch,
}
OURS = "valuegrad"


def load(name: str) -> Contestant:
    """The contestant of this name.

    Raises:
        ImportError: its package is not installed.
    """
    return LOADERS[name]()
