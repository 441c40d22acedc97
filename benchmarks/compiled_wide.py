"""Training a wider GPT: floating-point operations a second, and how much of what the processor can do that is.

Embedding 64, 4 heads, 4 layers and a context of 64 by default: 208,640 parameters, each number of which is a Value in
the recording.  A step takes the next N documents, as in ``compiled_gpt.py``.

- valuegrad: all steps of a measurement in one go, as in training.
- PyTorch: tensors over the batch; Adam is the fused kernel.

The documents are Shakespeare's sonnets, which come with valuegrad: pieces of one length, the context's ("full"), or its
lines as they are ("lines"), which are filled up to the lengths that programs were recorded for.

Operations: a multiply-add counts as two.  A position has 12 d**2 multiply-adds in each layer (queries, keys, values and
their output 4, the small network 8) and d for each entry of the alphabet; each pair of positions 2 d in each layer.
The gradient takes twice as many as the loss: one by the inputs, one by the weights.  What is filled up, softmax,
normalisation and Adam count as nothing.

The peak is measured beside it, in the same process: ``yardsticks/tile.c``, multiply-adds in registers alone.

Where to start reading: ``operations``, then ``prepare``.
"""

import ctypes
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import process_time
from typing import Any

import harness
import numpy as np
from yardsticks import FOLDER, library

METRICS = {
    "rate": "GFLOP/s",
    "share": "of the peak",
    "document": "ms a document",
    "ready": "first step, s",
    "memory": "peak memory, MB",
}
TEXT = Path(__file__).parent.parent / "src" / "valuegrad" / "gpt" / "datasets" / "sonnets.txt"
RATE = 0.001
Train = Callable[[int], list[float]]  # trains so many steps; returns the losses


@dataclass(frozen=True)
class Sizes:
    """Of the model."""

    embedding: int
    heads: int
    layers: int
    context: int

    def operations(self, positions: np.ndarray, vocabulary: int) -> float:
        """Of loss and gradient of documents in which so many positions are predicted."""
        d, n = self.embedding, positions.astype(float)
        by_position = self.layers * 12 * d**2 + vocabulary * d
        by_pair = self.layers * 2 * d
        return float(2 * 3 * (by_position * n + by_pair * n * (n + 1) / 2).sum())


class Work:
    """The documents, in an order of its own, and the steps that were taken.

    Args:
        sizes: of the model.
        batch: documents a step.
        dtype: "float64" or "float32".
        documents: "full" or "lines".
    """

    def __init__(self, sizes: Sizes, batch: int, dtype: str, documents: str) -> None:
        self.sizes, self.batch, self.dtype, self.step = sizes, batch, dtype, 0
        lines = TEXT.read_text(encoding="utf-8").splitlines()
        characters = sorted(set("".join(lines)))
        number, bos = {character: i for i, character in enumerate(characters)}, len(characters)
        self.vocabulary = bos + 1
        if documents == "full":
            text = " ".join(lines)
            lines = [text[i : i + sizes.context] for i in range(0, len(text) - sizes.context, sizes.context)]
        random.Random(1).shuffle(lines)
        self.tokens = [[bos, *(number[c] for c in line), bos][: sizes.context + 1] for line in lines]
        self.lengths = np.array([len(tokens) - 1 for tokens in self.tokens])

    def take(self, steps: int) -> np.ndarray:
        """The numbers of the next steps' documents, [steps, batch]."""
        first = self.step * self.batch
        self.step += steps
        return np.arange(first, first + steps * self.batch).reshape(steps, self.batch) % len(self.tokens)

    def model(self) -> Any:
        """Our GPT, whose weights all begin with."""
        from valuegrad import gpt

        sizes = self.sizes
        settings = gpt.ModelSettings(
            n_embd=sizes.embedding, n_head=sizes.heads, n_layer=sizes.layers, block_size=sizes.context
        )
        return gpt.GPT(self.vocabulary, settings, random.Random(0))


# ------------------------------------------------------------------------------------------ the contestants
def ours(work: Work) -> tuple[str, Train]:
    import valuegrad as vg
    from valuegrad import optim
    from valuegrad.gpt.batches import Documents
    from valuegrad.gpt.compiled import Steps

    model = work.model()
    adam = optim.Adam(model.parameters(), optim.constant(RATE), beta1=0.9, beta2=0.99, epsilon=1e-8)
    steps = Steps(model, adam, dtype=work.dtype)
    documents = Documents.of_tokens(work.tokens, work.sizes.context, work.vocabulary)

    def train(count: int) -> list[float]:
        first = work.step + 1
        plan = documents.plan(work.take(count), work.dtype, finest=16)
        steps.state, losses = steps.run(plan, [RATE] * count, first, steps.state)
        return losses.tolist()

    return vg.__version__, train


def torch_steps(work: Work) -> tuple[str, Train]:
    import torch
    import torch.nn.functional as F

    torch.set_num_threads(1)
    dtype, sizes = getattr(torch, work.dtype), work.sizes
    weights = {
        name: torch.tensor([[value.data for value in row] for row in matrix], dtype=dtype, requires_grad=True)
        for name, matrix in work.model().matrices().items()
    }
    adam = torch.optim.Adam(weights.values(), lr=RATE, betas=(0.9, 0.99), eps=1e-8, fused=True)

    def rmsnorm(x):
        return x * (x.square().mean(-1, keepdim=True) + 1e-5).rsqrt()

    def loss_of(tokens, weight):
        documents, n = tokens.shape[0], tokens.shape[1] - 1
        x = rmsnorm(weights["wte"][tokens[:, :n]] + weights["wpe"][:n])
        for i in range(sizes.layers):
            layer = {name: weights[f"layer{i}.{name}"] for name in ("attn_wo", "mlp_fc1", "mlp_fc2")}
            h = rmsnorm(x)
            q, k, v = (
                F.linear(h, weights[f"layer{i}.attn_w{name}"]).view(documents, n, sizes.heads, -1).transpose(1, 2)
                for name in "qkv"
            )
            attended = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = F.linear(attended.transpose(1, 2).reshape(documents, n, -1), layer["attn_wo"]) + x
            x = F.linear(F.linear(rmsnorm(x), layer["mlp_fc1"]).relu(), layer["mlp_fc2"]) + x
        logits = F.linear(x, weights["lm_head"])
        losses = F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten(), reduction="none")
        return losses @ weight.flatten()

    def step() -> float:
        (chosen,) = work.take(1)
        lengths = work.lengths[chosen]
        tokens = np.zeros((len(chosen), int(lengths.max()) + 1), np.int64)
        for row, i in zip(tokens, chosen):
            row[: len(work.tokens[i])] = work.tokens[i]
        counted = np.arange(tokens.shape[1] - 1) < lengths[:, None]
        weight = torch.from_numpy(counted / (lengths[:, None] * len(lengths))).to(dtype)
        loss = loss_of(torch.from_numpy(tokens), weight)
        adam.zero_grad()
        loss.backward()
        adam.step()
        return loss.item()

    return torch.__version__, lambda count: [step() for _ in range(count)]


LOADERS: dict[str, Callable[[Work], tuple[str, Train]]] = {"valuegrad": ours, "PyTorch": torch_steps}


# ------------------------------------------------------------------------------------------ what is measured
def peak_of(dtype: str) -> Callable[[], float]:
    """What gives the operations a second of the register tile, each time anew."""
    flags = ["-O3", "-march=native", "-ffp-contract=fast"]
    tile = getattr(library(FOLDER / "tile.c", "gcc", flags), f"tile_{dtype}")
    tile.restype, tile.argtypes = ctypes.c_double, [ctypes.c_long]

    def peak() -> float:
        best = 0.0
        for _ in range(5):
            start = process_time()
            operations = tile(1_000_000)
            best = max(best, operations / max(process_time() - start, 1e-9))
        return best

    return peak


def prepare(name: str, settings: dict[str, Any]) -> tuple[str, harness.Measure]:
    sizes = Sizes(**{key: settings[key] for key in ("embedding", "heads", "layers", "context")})
    work = Work(sizes, settings["batch"], settings["dtype"], settings["documents"])
    peak = peak_of(work.dtype)
    steps = settings["steps_a_round"]
    start = harness.processor_seconds()
    version, train = LOADERS[name](work)
    train(1)
    ready = harness.processor_seconds() - start
    train(steps)  # meets the other lengths

    def measure() -> dict[str, Any]:
        operations = sizes.operations(
            work.lengths[np.arange(work.step * work.batch, (work.step + steps) * work.batch) % len(work.tokens)],
            work.vocabulary,
        )
        start = process_time()
        losses = train(steps)
        seconds = process_time() - start
        rate = operations / seconds
        return {
            "rate": rate / 1e9,
            "share": rate / peak(),
            "document": seconds / steps / work.batch * 1e3,
            "ready": ready,
            "memory": harness.peak_memory() / 1e6,
            "check": losses,
        }

    return version, measure


def run(
    batch: int,
    dtype: str,
    documents: str,
    steps: int,
    rounds: int,
    embedding: int = 64,
    heads: int = 4,
    layers: int = 4,
    context: int = 64,
    limit: float = 300.0,
    contestants: list[str] | None = None,
) -> harness.Report:
    sizes = {"embedding": embedding, "heads": heads, "layers": layers, "context": context}
    settings = {**sizes, "batch": batch, "dtype": dtype, "documents": documents, "steps_a_round": steps}
    within = 1e-8 if dtype == "float64" else 1e-3
    runs, missing = harness.race(Path(__file__), contestants or list(LOADERS), rounds, settings, within, limit)
    shown = {**settings, "rounds": rounds}
    return harness.Report(f"A wider GPT, batch {batch}, {dtype}, {documents}", METRICS, shown, runs, missing)


if __name__ == "__main__":
    options = {
        "batch": (16, "documents a step"),
        "dtype": ("float64", "float64 or float32"),
        "documents": ("full", "full: of the context's length; lines: as they come"),
        "steps": (5, "training steps a measurement"),
        "rounds": (7, "measurements of each contestant"),
        "embedding": (64, "numbers that a position has"),
        "heads": (4, "heads of the attention"),
        "layers": (4, "layers"),
        "context": (64, "positions"),
        "limit": (300.0, "seconds of processor time until a contestant must be ready"),
    }
    harness.main(prepare, run, __doc__.splitlines()[0], options)
