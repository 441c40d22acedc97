"""The same GPT on PyTorch tensors, run eagerly: what our GPT's step is compared with.

Written as one writes it in PyTorch: all positions of a document at once, attention with a causal mask, the
library's own cross entropy and Adam.  The weights are drawn like ours.

Where to start reading: ``losses``.
"""

import random
from collections.abc import Iterator

import torch
import torch.nn.functional as F

EMBD, HEADS, BLOCK = 16, 4, 16


def rmsnorm(x):
    """x over its root mean square, position by position."""
    return x * (x.square().mean(-1, keepdim=True) + 1e-5).rsqrt()


def document_loss(weights, tokens):
    """The mean over the positions of -log of the probability of the token that follows."""
    n = min(BLOCK, len(tokens) - 1)
    x = rmsnorm(weights["wte"][tokens[:n]] + weights["wpe"][:n])
    h = rmsnorm(x)
    q, k, v = ((h @ weights[name].T).view(n, HEADS, EMBD // HEADS).transpose(0, 1) for name in ("wq", "wk", "wv"))
    attended = F.scaled_dot_product_attention(q[None], k[None], v[None], is_causal=True)[0]
    x = attended.transpose(0, 1).reshape(n, EMBD) @ weights["wo"].T + x
    x = (rmsnorm(x) @ weights["fc1"].T).relu() @ weights["fc2"].T + x
    return F.cross_entropy(x @ weights["lm_head"].T, tokens[1 : n + 1])


def losses(documents: list[str], dtype: torch.dtype, fused: bool, total_steps: int = 1000) -> Iterator[float]:
    """Train, one document a step.

    Args:
        documents: what to learn from.
        dtype: of the weights.
        fused: whether Adam runs as one fused kernel; otherwise it is the library's default.
        total_steps: the steps over which the learning rate falls to 0.

    Yields:
        Each step's loss.
    """
    random.seed(42)
    documents = list(documents)
    random.shuffle(documents)
    characters = sorted(set("".join(documents)))
    bos = len(characters)

    def matrix(rows, columns):
        numbers = [[random.gauss(0, 0.08) for _ in range(columns)] for _ in range(rows)]
        return torch.tensor(numbers, dtype=dtype, requires_grad=True)

    vocabulary = bos + 1
    weights = {"wte": matrix(vocabulary, EMBD), "wpe": matrix(BLOCK, EMBD), "lm_head": matrix(vocabulary, EMBD)}
    for name in ("wq", "wk", "wv", "wo"):
        weights[name] = matrix(EMBD, EMBD)
    weights["fc1"] = matrix(4 * EMBD, EMBD)
    weights["fc2"] = matrix(EMBD, 4 * EMBD)
    adam = torch.optim.Adam(weights.values(), lr=0.01, betas=(0.85, 0.99), eps=1e-8, fused=fused or None)
    token = {character: i for i, character in enumerate(characters)}
    for step in range(total_steps):
        document = documents[step % len(documents)]
        loss = document_loss(weights, torch.tensor([bos, *(token[c] for c in document), bos]))
        adam.param_groups[0]["lr"] = 0.01 * (1 - step / total_steps)
        adam.zero_grad()
        loss.backward()
        adam.step()
        yield loss.item()
