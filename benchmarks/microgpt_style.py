"""A GPT in one file, written as people write one on scalar Values, for whichever class of Value.

It keeps to what every such class has (+ - * / ** log exp relu, ``sum`` and lists; ``.data``, ``.grad`` and
``backward()``) and uses nothing that is special to ours, so that the same script runs with a plain
class, with micrograd's and with ours.  The model, the initialisation and the optimiser are those of the
original microgpt, draw for draw, so its losses are known.

Run alone it trains with one class and prints the losses:

    python benchmarks/microgpt_style.py --contestant "plain class" --steps 5

Where to start reading: ``losses``.
"""

import argparse
import random
from collections.abc import Iterator
from time import process_time
from typing import Any

EMBD, HEADS, LAYERS, BLOCK = 16, 4, 1, 16
LEARNING_RATE, BETA1, BETA2, EPSILON = 0.01, 0.85, 0.99, 1e-8


def linear(x, weights):
    """weights times x."""
    return [sum(w * xi for w, xi in zip(row, x)) for row in weights]


def softmax(logits):
    """exp of each, shifted by the largest, over their sum."""
    largest = max(logit.data for logit in logits)
    exps = [(logit - largest).exp() for logit in logits]
    total = sum(exps)
    return [e / total for e in exps]


def rmsnorm(x):
    """x over its root mean square."""
    mean_square = sum(xi * xi for xi in x) / len(x)
    scale = (mean_square + 1e-5) ** -0.5
    return [xi * scale for xi in x]


def forward(weights, token, position, keys, values):
    """The logits at one position; keys and values of the positions so far grow by one."""
    x = [t + p for t, p in zip(weights["wte"][token], weights["wpe"][position])]
    x = rmsnorm(x)
    head_dim = EMBD // HEADS
    for layer in range(LAYERS):
        residual = x
        x = rmsnorm(x)
        q = linear(x, weights[f"wq{layer}"])
        keys[layer].append(linear(x, weights[f"wk{layer}"]))
        values[layer].append(linear(x, weights[f"wv{layer}"]))
        attended = []
        for start in range(0, EMBD, head_dim):
            mine = slice(start, start + head_dim)
            qh = q[mine]
            kh = [k[mine] for k in keys[layer]]
            vh = [v[mine] for v in values[layer]]
            scores = [sum(a * b for a, b in zip(qh, k)) / head_dim**0.5 for k in kh]
            attention = softmax(scores)
            attended += [sum(a * v[j] for a, v in zip(attention, vh)) for j in range(head_dim)]
        x = [a + b for a, b in zip(linear(attended, weights[f"wo{layer}"]), residual)]
        residual = x
        x = linear(rmsnorm(x), weights[f"fc1{layer}"])
        x = linear([xi.relu() for xi in x], weights[f"fc2{layer}"])
        x = [a + b for a, b in zip(x, residual)]
    return linear(x, weights["lm_head"])


def document_loss(weights, tokens):
    """The mean over the positions of -log of the probability of the token that follows."""
    n = min(BLOCK, len(tokens) - 1)
    keys, values = [[] for _ in range(LAYERS)], [[] for _ in range(LAYERS)]
    losses = []
    for position in range(n):
        probabilities = softmax(forward(weights, tokens[position], position, keys, values))
        losses.append(-probabilities[tokens[position + 1]].log())
    return (1 / n) * sum(losses)


def losses(Value: Any, documents: list[str], total_steps: int = 1000) -> Iterator[tuple[float, float]]:
    """Train, one document a step.

    Args:
        Value: the class, or whatever makes a Value from a float.
        documents: what to learn from.
        total_steps: the steps over which the learning rate falls to 0.

    Yields:
        For each step its loss, and the seconds of processor time from making the graph until it was freed.
    """
    random.seed(42)
    documents = list(documents)
    random.shuffle(documents)
    characters = sorted(set("".join(documents)))
    bos = len(characters)

    def matrix(rows, columns):
        return [[Value(random.gauss(0, 0.08)) for _ in range(columns)] for _ in range(rows)]

    vocabulary = bos + 1
    weights = {"wte": matrix(vocabulary, EMBD), "wpe": matrix(BLOCK, EMBD), "lm_head": matrix(vocabulary, EMBD)}
    for layer in range(LAYERS):
        for name in ("wq", "wk", "wv", "wo"):
            weights[f"{name}{layer}"] = matrix(EMBD, EMBD)
        weights[f"fc1{layer}"] = matrix(4 * EMBD, EMBD)
        weights[f"fc2{layer}"] = matrix(EMBD, 4 * EMBD)
    parameters = [p for rows in weights.values() for row in rows for p in row]
    first, second = [0.0] * len(parameters), [0.0] * len(parameters)

    for step in range(total_steps):
        document = documents[step % len(documents)]
        tokens = [bos, *map(characters.index, document), bos]
        start = process_time()
        loss = document_loss(weights, tokens)
        loss.backward()
        rate = LEARNING_RATE * (1 - step / total_steps)
        for i, p in enumerate(parameters):
            grad = p.grad
            first[i] = BETA1 * first[i] + (1 - BETA1) * grad
            second[i] = BETA2 * second[i] + (1 - BETA2) * grad**2
            mean = first[i] / (1 - BETA1 ** (step + 1))
            square = second[i] / (1 - BETA2 ** (step + 1))
            p.data -= rate * mean / (square**0.5 + EPSILON)
            p.grad = 0
        number = loss.data
        del loss
        yield number, process_time() - start


def main() -> None:
    import contestants as field
    from documents import documents
    from harness import with_deep_stack

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--contestant", default="valuegrad", choices=list(field.LOADERS), help="whose Value")
    parser.add_argument("--steps", type=int, default=10, help="how many steps to train")
    arguments = parser.parse_args()
    contestant = field.load(arguments.contestant)

    def train() -> None:
        for step, (loss, seconds) in zip(range(arguments.steps), losses(contestant.leaf, documents()[1])):
            print(f"step {step + 1:4d}  loss {loss!r:20}  {seconds * 1e3:8.2f} ms", flush=True)

    with_deep_stack(train)


if __name__ == "__main__":
    main()
