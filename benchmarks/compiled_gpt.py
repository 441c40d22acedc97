"""Training the GPT in batches: the same model, the same documents and the same Adam, each library's best way.

A step takes the next N documents; the loss is the mean over them of each one's mean over its positions.
Processor time a document, on one thread: forward, backward, Adam, and laying out the batch.  As many steps go before
those that are measured, as in training: the caches have meanwhile been the other contestants'.  With two threads it is
the clock on the wall; as a thread takes a while to wake up, a measurement is as long as what training takes in one go.

- C by hand (``yardsticks/gpt.c``): gradients written out, all features of a position side by side.
- C++ tape (``tape.cpp``): a scalar Value in C++, a node an operation.
- PyTorch: tensors over the batch, padded to its longest document; Adam is the fused kernel.
- valuegrad: all steps of a measurement run in one go, as in training; laying out their documents is part of it.
  The two in C and C++ take theirs in one go as well.
- JAX: the step is one jitted program, padded likewise and compiled for each length beforehand; "scan" runs all steps
  of a measurement inside one program, padded to 16 positions.

Losses must agree, step for step; at batch 1 in float64 with the original microgpt's too.  In float32 roundings grow, so
there the first steps' losses must, and the means of those that are measured.

Where to start reading: ``prepare``, then ``Batches``, then a loader, for instance ``jax_steps``.
"""

import ctypes
import platform
import random
from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import compilers
import harness
import numpy as np
from documents import check_losses, documents
from yardsticks import C_FLAGS, CPP_FLAGS, FOLDER, library

METRICS = {"document": "µs a document", "compile": "compile, s", "memory": "peak memory, MB"}
TOTAL_STEPS = 1000
EMBD, HEADS, BLOCK = 16, 4, 16
WIDEST = ["-mprefer-vector-width=512"] if platform.machine() in ("x86_64", "AMD64") else []
BETA1, BETA2, EPSILON = 0.85, 0.99, 1e-8
TWO_THREADS = "valuegrad, two threads"
FIRST = 40  # steps: so long losses of float32 agree one by one
Train = Callable[[int], list[float]]  # trains so many steps; returns the losses


class Batches:
    """The documents in the original's order, and its starting weights.

    Args:
        size: documents a step.
        dtype: "float64" or "float32".
        longest: positions of a document; what is behind them is cut off.
    """

    def __init__(self, size: int, dtype: str, longest: int = BLOCK) -> None:
        self.size, self.dtype, self.longest, self.step = size, dtype, longest, 0
        self.names = list(documents()[1])
        random.seed(42)
        random.shuffle(self.names)
        characters = sorted(set("".join(self.names)))
        number, bos = {character: i for i, character in enumerate(characters)}, len(characters)
        self.vocabulary = bos + 1
        self.tokens = [[bos, *(number[c] for c in name), bos][: longest + 1] for name in self.names]
        self.lengths = np.array([len(tokens) - 1 for tokens in self.tokens], np.int32)
        self.padded = np.full((len(self.names), BLOCK + 1), bos, np.int32)
        for row, tokens in zip(self.padded, self.tokens):
            row[: len(tokens)] = tokens
        shapes = {"wte": (self.vocabulary, EMBD), "wpe": (BLOCK, EMBD), "lm_head": (self.vocabulary, EMBD)}
        shapes.update(dict.fromkeys(("wq", "wk", "wv", "wo"), (EMBD, EMBD)))
        shapes.update(fc1=(4 * EMBD, EMBD), fc2=(EMBD, 4 * EMBD))
        self.weights = {
            name: np.array([[random.gauss(0, 0.08) for _ in range(columns)] for _ in range(rows)])
            for name, (rows, columns) in shapes.items()
        }

    def next_steps(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        """The next steps' documents, (count, size), and their learning rates: a few calls for all steps."""
        steps = np.arange(self.step, self.step + count)
        self.step += count
        chosen = (steps[:, None] * self.size + np.arange(self.size)) % len(self.names)
        return chosen, 0.01 * np.maximum(0.0, 1 - steps / TOTAL_STEPS)

    def next(self) -> tuple[np.ndarray, float]:
        """The numbers of the next step's documents, and the learning rate."""
        (chosen,), (rate,) = self.next_steps(1)
        return chosen, float(rate)

    def next_padded(self) -> tuple[np.ndarray, np.ndarray, float]:
        """Tokens, padded to the longest of these documents, positions that count, and the learning rate."""
        chosen, rate = self.next()
        lengths = self.lengths[chosen]
        return self.padded[chosen, : lengths.max() + 1], lengths, rate


def steps_of(step: Callable[[], float]) -> Train:
    """Trains step by step."""
    return lambda count: [step() for _ in range(count)]


# ------------------------------------------------------------------------------------------ the contestants
def our_model(batches: Batches) -> tuple[Any, Any]:
    """The GPT with the starting weights, and its optimiser."""
    from valuegrad import gpt, optim

    model = gpt.GPT(batches.vocabulary, gpt.ModelSettings(), random.Random(0))
    for name, matrix in zip(batches.weights, model.matrices().values()):
        for row, numbers in zip(matrix, batches.weights[name].tolist()):
            for value, x in zip(row, numbers):
                value.data = x
    schedule = optim.linear(0.01, TOTAL_STEPS)
    return model, optim.Adam(model.parameters(), schedule, beta1=BETA1, beta2=BETA2, epsilon=EPSILON)


def ours(batches: Batches, threads: int = 1) -> tuple[str, Train]:
    """Compiled training: the same scalar code, recorded once for each length, and its optimiser; all steps of a
    measurement in one go, as ``valuegrad train`` takes them."""
    import valuegrad as vg

    if batches.size < 2 <= threads:
        raise ImportError("shown at batch 16 and 64: threads share a batch")

    if not hasattr(vg, "compile"):
        raise ImportError("this valuegrad has no compile()")
    from valuegrad.gpt.batches import Documents
    from valuegrad.gpt.compiled import Steps

    steps = Steps(*our_model(batches), dtype=batches.dtype, threads=threads)
    for longest in range(2, batches.longest + 1):  # so that no recording falls into a measurement
        steps.step([[0] * (longest + 1)] * batches.size, 0.0, 1)
    steps.read()
    documents = Documents.of_tokens(batches.tokens, BLOCK, batches.vocabulary)

    def train(count: int) -> list[float]:
        first = batches.step + 1
        chosen, rates = batches.next_steps(count)
        plan = documents.plan(chosen, batches.dtype, threads=threads)
        steps.state, losses = steps.run(plan, rates.tolist(), first, steps.state)
        return losses.tolist()

    return vg.__version__, train


def ours_eager(batches: Batches) -> tuple[str, Train]:
    """Every number a Value, made anew at every step, a document after the other."""
    import valuegrad as vg

    if batches.size > 1 or batches.dtype != "float64":
        raise ImportError("shown at batch 1 in float64")
    model, adam = our_model(batches)

    def step() -> float:
        (chosen,), _ = batches.next()
        loss = model.loss(batches.tokens[chosen])
        loss.backward()
        adam.step()
        adam.zero_grad()
        return loss.data

    return vg.__version__, steps_of(step)


def native(source: Path, compiler: str, flags: list[str]) -> Callable[[Batches], tuple[str, Train]]:
    """What a source in C or C++ makes of it; like ours, it takes all steps of a measurement in one go."""

    def load(batches: Batches) -> tuple[str, Train]:
        real = {"float32": "float", "float64": "double"}[batches.dtype]
        code = library(source, compiler, [*flags, f"-DREAL={real}"])
        code.new_gpt.restype = ctypes.c_void_p
        start = np.concatenate([matrix.ravel() for matrix in batches.weights.values()])
        gpt = ctypes.c_void_p(code.new_gpt(ctypes.c_void_p(start.ctypes.data), len(start), batches.vocabulary))

        def train(count: int) -> list[float]:
            rows, rates = batches.next_steps(count)
            losses = np.zeros(count)
            arrays = [batches.padded, batches.lengths, rows, rates, losses]
            tokens, lengths, documents, each, out = (ctypes.c_void_p(array.ctypes.data) for array in arrays)
            code.train(gpt, tokens, lengths, documents, batches.size, count, each, out)
            return losses.tolist()

        return source.name, train

    return load


def torch_steps(batches: Batches) -> tuple[str, Train]:
    import torch
    import torch.nn.functional as F

    torch.set_num_threads(1)
    dtype = getattr(torch, batches.dtype)
    weights = {name: torch.tensor(w, dtype=dtype, requires_grad=True) for name, w in batches.weights.items()}
    adam = torch.optim.Adam(weights.values(), lr=0.01, betas=(BETA1, BETA2), eps=EPSILON, fused=True)

    def rmsnorm(x):
        return x * (x.square().mean(-1, keepdim=True) + 1e-5).rsqrt()

    def loss_of(tokens, weight):
        documents, n = tokens.shape[0], tokens.shape[1] - 1
        x = rmsnorm(weights["wte"][tokens[:, :n]] + weights["wpe"][:n])
        h = rmsnorm(x)
        q, k, v = (
            F.linear(h, weights[name]).view(documents, n, HEADS, EMBD // HEADS).transpose(1, 2)
            for name in ("wq", "wk", "wv")
        )
        attended = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = F.linear(attended.transpose(1, 2).reshape(documents, n, EMBD), weights["wo"]) + x
        x = F.linear(F.linear(rmsnorm(x), weights["fc1"]).relu(), weights["fc2"]) + x
        logits = F.linear(x, weights["lm_head"])
        losses = F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten(), reduction="none")
        return losses @ weight.flatten()

    def step() -> float:
        tokens, lengths, rate = batches.next_padded()
        counted = np.arange(tokens.shape[1] - 1) < lengths[:, None]
        weight = torch.from_numpy(counted / (lengths[:, None] * len(lengths))).to(dtype)
        loss = loss_of(torch.from_numpy(tokens).long(), weight)
        adam.param_groups[0]["lr"] = rate
        adam.zero_grad()
        loss.backward()
        adam.step()
        return loss.item()

    return torch.__version__, steps_of(step)


def jax_training(batches: Batches) -> tuple[Any, Any, Any]:
    """jax, the state at the start (weights, Adam's two means, steps done) and the function from state to state."""
    jax = compilers.one_thread_jax()
    np_ = jax.numpy
    dtype = np_.dtype(batches.dtype)

    def rmsnorm(x):
        return x * jax.lax.rsqrt(np_.mean(x * x, -1, keepdims=True) + 1e-5)

    def loss_of(weights, tokens, lengths):
        documents, n = tokens.shape[0], tokens.shape[1] - 1
        x = rmsnorm(weights["wte"][tokens[:, :n]] + weights["wpe"][:n])
        h = rmsnorm(x)
        q, k, v = ((h @ weights[name].T).reshape(documents, n, HEADS, -1) for name in ("wq", "wk", "wv"))
        scores = np_.einsum("bqhd,bkhd->bhqk", q, k) * (EMBD // HEADS) ** -0.5
        scores = np_.where(np_.tril(np_.ones((n, n), bool)), scores, -np_.inf)
        attended = np_.einsum("bhqk,bkhd->bqhd", jax.nn.softmax(scores), v).reshape(documents, n, EMBD)
        x = attended @ weights["wo"].T + x
        x = jax.nn.relu(rmsnorm(x) @ weights["fc1"].T) @ weights["fc2"].T + x
        chances = jax.nn.log_softmax(x @ weights["lm_head"].T)
        losses = -np_.take_along_axis(chances, tokens[:, 1:, None], -1)[..., 0]
        counted = np_.arange(n) < lengths[:, None]
        return np_.mean(np_.sum(np_.where(counted, losses, 0), 1) / lengths.astype(dtype))

    def step(state, batch):
        weights, first, second, done = state
        tokens, lengths, rate = batch
        loss, grads = jax.value_and_grad(loss_of)(weights, tokens, lengths)
        done = done + 1
        correct1, correct2 = 1 - BETA1**done, 1 - BETA2**done
        first = jax.tree.map(lambda m, g: BETA1 * m + (1 - BETA1) * g, first, grads)
        second = jax.tree.map(lambda v, g: BETA2 * v + (1 - BETA2) * g * g, second, grads)
        weights = jax.tree.map(
            lambda w, m, v: w - rate * (m / correct1) / (np_.sqrt(v / correct2) + EPSILON), weights, first, second
        )
        return (weights, first, second, done), loss

    weights = {name: np_.asarray(w, dtype) for name, w in batches.weights.items()}
    zeros = jax.tree.map(np_.zeros_like, weights)
    return jax, (weights, zeros, jax.tree.map(np_.copy, zeros), dtype.type(0)), step


def jax_steps(batches: Batches) -> tuple[str, Train]:
    jax, state, step = jax_training(batches)
    compiled = jax.jit(step, donate_argnums=0)
    number = np.dtype(batches.dtype).type
    for longest in range(2, batches.longest + 1):  # so that no compilation falls into a measurement
        tokens, lengths = np.zeros((batches.size, longest + 1), np.int32), np.full(batches.size, longest, np.int32)
        compiled(jax.tree.map(jax.numpy.copy, state), (tokens, lengths, number(0)))
    states = [state]

    def once() -> float:
        tokens, lengths, rate = batches.next_padded()
        states[0], loss = compiled(states[0], (tokens, lengths, number(rate)))
        return loss

    return jax.__version__, lambda count: [float(loss) for loss in [once() for _ in range(count)]]


def jax_scan(batches: Batches) -> tuple[str, Train]:
    jax, state, step = jax_training(batches)
    compiled = jax.jit(lambda state, batch: jax.lax.scan(step, state, batch), donate_argnums=0)
    states = [state]

    def train(count: int) -> list[float]:
        rows, rates = batches.next_steps(count)
        batch = batches.padded[rows], batches.lengths[rows], rates.astype(batches.dtype)
        states[0], losses = compiled(states[0], batch)
        return np.asarray(losses).tolist()

    return jax.__version__, train


LOADERS: dict[str, Callable[[Batches], tuple[str, Train]]] = {
    "valuegrad": ours,
    TWO_THREADS: partial(ours, threads=2),
    "valuegrad, not compiled": ours_eager,
    "C by hand": native(FOLDER / "gpt.c", "gcc", [*C_FLAGS, *WIDEST]),
    "C++ tape": native(Path(__file__).with_name("tape.cpp"), "g++", CPP_FLAGS),
    "PyTorch": torch_steps,
    "JAX": jax_steps,
    "JAX, scan": jax_scan,
}


def prepare(name: str, settings: dict[str, Any]) -> tuple[str, harness.Measure]:
    batches = Batches(settings["batch"], settings["dtype"], settings["longest"])
    steps = settings["steps_a_round"]
    clock = perf_counter if name == TWO_THREADS else process_time
    start = harness.processor_seconds()
    version, train = LOADERS[name](batches)
    seen = train(steps)
    first = harness.processor_seconds()
    seen += train(steps)
    second = harness.processor_seconds()
    compilation = max(first - start - (second - first), 1e-6)  # ratios divide by it

    def measure() -> dict[str, Any]:
        before = train(steps)
        start = clock()
        losses = train(steps)
        seconds = clock() - start
        losses = before + losses
        seen.extend(losses)
        alike = losses if settings["dtype"] == "float64" else [*seen[:FIRST], sum(losses) / len(losses)]
        if settings["batch"] == 1 and settings["dtype"] == "float64" and settings["longest"] == BLOCK:
            check_losses(name, seen)
        return {
            "document": seconds / steps / settings["batch"] * 1e6,
            "compile": compilation,
            "memory": harness.peak_memory() / 1e6,
            "check": alike,
        }

    return version, measure


def run(
    batch: int,
    dtype: str,
    steps: int,
    rounds: int,
    limit: float,
    longest: int = BLOCK,
    contestants: list[str] | None = None,
) -> harness.Report:
    settings = {"batch": batch, "dtype": dtype, "steps_a_round": steps, "longest": longest}
    within = 1e-9 if dtype == "float64" else 1e-2  # roundings grow: after 100 steps of float32 losses differ by 0.2 %
    runs, missing = harness.race(Path(__file__), contestants or list(LOADERS), rounds, settings, within, limit)
    shown = {**settings, "rounds": rounds, "data": documents()[0]}
    return harness.Report(f"GPT training, batch {batch}, {dtype}", METRICS, shown, runs, missing)


if __name__ == "__main__":
    options = {
        "batch": (16, "documents a step"),
        "dtype": ("float64", "float64 or float32"),
        "steps": (300, "training steps a measurement"),
        "rounds": (7, "measurements of each contestant"),
        "limit": (60.0, "seconds until a contestant must be ready"),
        "longest": (BLOCK, "positions of a document, whose end is cut off"),
    }
    harness.main(prepare, run, __doc__.splitlines()[0], options)
