"""A training step of valuegrad's GPT, next to PyTorch running the same model on tensors.

Ours is scalar code in which every number is a Value; PyTorch's works on whole matrices.  A step is one
document: loss, backward pass, Adam, and letting go of the graph.  Losses must agree, with the
original microgpt's where those are known (to 1e-9 in float64, 1e-3 in float32).

Where to start reading: ``prepare``.
"""

from collections.abc import Iterator
from pathlib import Path
from time import process_time
from typing import Any

import contestants as field
import harness
from documents import check_losses, documents

METRICS = {"step": "ms a step"}


def ours(names: list[str], total_steps: int = 1000) -> Iterator[float]:
    """valuegrad's GPT with its optimiser; yields the losses."""
    import random

    from valuegrad import gpt, optim

    field.load("valuegrad")  # sees to it that the native engine runs
    random.seed(42)
    names = list(names)
    random.shuffle(names)
    tokenizer = gpt.Tokenizer.of(names)
    model = gpt.GPT(tokenizer.vocabulary, gpt.ModelSettings(), random)
    adam = optim.Adam(model.parameters(), optim.linear(0.01, total_steps), beta1=0.85, beta2=0.99, epsilon=1e-8)
    for step in range(total_steps):
        loss = model.loss(tokenizer.document(names[step % len(names)]))
        loss.backward()
        adam.step()
        adam.zero_grad()
        yield loss.data


def on_tensors(names: list[str], dtype: str, fused: bool) -> Iterator[float]:
    import torch
    import torch_gpt

    torch.set_num_threads(1)  # the matrices are small: more threads take longer
    return torch_gpt.losses(names, getattr(torch, dtype), fused)


LOADERS = {
    "valuegrad": ours,
    "torch, float64": lambda names: on_tensors(names, "float64", fused=False),
    "torch, float32": lambda names: on_tensors(names, "float32", fused=False),
    "torch, float32, fused Adam": lambda names: on_tensors(names, "float32", fused=True),
}


def version(name: str) -> str:
    from importlib import import_module

    return import_module(name.split(",")[0]).__version__


def prepare(name: str, settings: dict[str, Any]) -> tuple[str, harness.Measure]:
    installed = version(name)
    training = LOADERS[name](documents()[1])
    seen: list[float] = []

    def measure() -> dict[str, float]:
        seen.append(next(training))  # waking up after the others' turns is nobody's work: not timed
        start = process_time()
        seen.extend(next(training) for _ in range(settings["steps_a_round"]))
        seconds = process_time() - start
        if "float32" not in name:
            check_losses(name, seen)
        return {"step": seconds / settings["steps_a_round"] * 1e3, "check": sum(seen)}

    return installed, measure


def run(rounds: int, steps: int, contestants: list[str] | None = None) -> harness.Report:
    settings = {"steps_a_round": steps}
    runs, missing = harness.race(Path(__file__), contestants or list(LOADERS), rounds, settings, agree_within=1e-3)
    shown = {**settings, "rounds": rounds, "data": documents()[0]}
    return harness.Report("A step of our GPT", METRICS, shown, runs, missing)


if __name__ == "__main__":
    options = {"rounds": (9, "measurements of each contestant"), "steps": (20, "training steps a measurement")}
    harness.main(prepare, run, __doc__.splitlines()[0], options)
