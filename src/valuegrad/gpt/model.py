"""A GPT in which every number is a Value, in scalar code.

It reads a text one character (token) at a time and, after each, says how likely every token is to come
next.  The same ``GPT.__call__`` trains and samples.

    tokens     0 1 2 ...         the characters, by number
    vector     [x0, x1, ...]     what the model thinks of one position: n_embd Values
    logits     [l0, l1, ...]     one Value for each token; softmax makes probabilities of them
    loss       -log(probability given to the token that really came next), averaged over the text

Training nudges every weight against its grad, the one number that ``loss.backward()`` leaves in it.
The pieces are in ``nn.py``, a few lines each: ``Embedding``, ``Linear``, ``rmsnorm``, ``Attention``.

The architecture is GPT-2's (Radford et al. 2019) made smaller: RMSNorm for LayerNorm, ReLU for GELU,
no biases.

Where to start reading: ``GPT.__call__``, then ``Block``, then ``GPT.loss``.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import valuegrad as vg
from valuegrad import nn
from valuegrad.errors import ShapeError
from valuegrad.gpt.settings import ModelSettings
from valuegrad.value import Value

__all__ = ["GPT", "Block"]

START_STD = 0.08  # the starting weights' standard deviation


class GPT(nn.Module):
    """The model.

    Args:
        vocabulary: number of tokens.
        settings: its sizes.
        rng: where the starting weights are drawn from.

    Example:
        >>> model = GPT(27, ModelSettings(), random.Random(42))
        >>> len(model.parameters())
        4192
        >>> model.loss([26, 4, 12, 12, 0, 26]).backward()
    """

    def __init__(self, vocabulary: int, settings: ModelSettings, rng: random.Random) -> None:
        self.settings = settings
        size, draw = settings.n_embd, nn.gaussian(START_STD, rng)
        self.token_embedding = nn.Embedding(vocabulary, size, draw=draw)
        self.position_embedding = nn.Embedding(settings.block_size, size, draw=draw)
        self.lm_head = nn.Linear(size, vocabulary, bias=False, draw=draw)
        self.blocks = [Block(size, settings.n_head, draw) for _ in range(settings.n_layer)]

    def __call__(self, token: int | Value, position: int | Value, memories: Sequence[nn.Memory]) -> list[Value]:
        """The logits of the token that follows.

        Args:
            token: the token at this position; in a compiled function it may be an input.
            position: 0 for the first one, at most block_size - 1; it may be an input too.
            memories: what ``memories()`` gave at the start of the text; they hold the positions so far.
        """
        x = nn.add(self.token_embedding(token), self.position_embedding(position))
        x = nn.rmsnorm(x)
        for block, memory in zip(self.blocks, memories):
            x = block(x, memory)
        return self.lm_head(x)

    def memories(self) -> list[nn.Memory]:
        """Empty memories for a new text, one for each block."""
        return [nn.Memory() for _ in self.blocks]

    def loss(self, tokens: Sequence[int]) -> Value:
        """How surprised the model is by a text: the mean of -log(probability) over what it predicts, in nats.

        Args:
            tokens: the text, with the token that begins and ends it. The first block_size tokens that
                follow another one are predicted; a longer text is cut off there.
        """
        if len(tokens) < 2:
            raise ShapeError(f"GPT.loss() got {len(tokens)} tokens; give at least 2: one, and the one that follows it")
        return vg.mean(self.losses(tokens))

    def losses(self, tokens: Sequence[int | Value]) -> list[Value]:
        """The surprise at each token after the first, in nats; ``loss`` is their mean."""
        memories = self.memories()
        losses = []
        for position in range(min(self.settings.block_size, len(tokens) - 1)):
            logits = self(tokens[position], position, memories)
            losses.append(vg.cross_entropy(logits, tokens[position + 1]))  # type: ignore[arg-type]
        return losses

    def matrices(self) -> dict[str, list[list[Value]]]:
        """All weights by name, in the order in which they were drawn; the rows belong to the outputs."""
        named = {
            "wte": self.token_embedding.weight,
            "wpe": self.position_embedding.weight,
            "lm_head": self.lm_head.weight,
        }
        for i, block in enumerate(self.blocks):
            named[f"layer{i}.attn_wq"] = block.attention.query.weight
            named[f"layer{i}.attn_wk"] = block.attention.key.weight
            named[f"layer{i}.attn_wv"] = block.attention.value.weight
            named[f"layer{i}.attn_wo"] = block.attention.output.weight
            named[f"layer{i}.mlp_fc1"] = block.fc1.weight
            named[f"layer{i}.mlp_fc2"] = block.fc2.weight
        return named


class Block(nn.Module):
    """One layer: attention gathers from the earlier positions, then a small network works on each alone.

    Both *add* to the vector they read (a residual connection), so that gradients reach every layer.

    Args:
        size: length of the vectors.
        n_head: number of attention heads.
        draw: gives the starting weights, one a call.
    """

    def __init__(self, size: int, n_head: int, draw: nn.Draw) -> None:
        self.attention = nn.Attention(size, n_head, draw=draw)
        self.fc1 = nn.Linear(size, 4 * size, bias=False, draw=draw)
        self.fc2 = nn.Linear(4 * size, size, bias=False, draw=draw)

    def __call__(self, x: list[Value], memory: nn.Memory) -> list[Value]:
        """The vector of the next position after this layer."""
        x = nn.add(self.attention(nn.rmsnorm(x), memory), x)
        hidden = [vg.relu(h) for h in self.fc1(nn.rmsnorm(x))]
        return nn.add(self.fc2(hidden), x)
