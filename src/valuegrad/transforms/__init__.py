"""Transforms: graph to graph.

Why: derivatives of a recorded function, and its form for the machine, are graphs again; so they compose to any
order, and everything that can be done with a graph can be done with them.

  * ``adjoint``  reverse mode: adds gradients to a graph;
  * ``tangent``  forward mode: adds directional derivatives;
  * ``machine``  expands every row into what a lowered program executes, simplifies (exactly, to the last bit),
                 leaves out what nobody needs, and turns sums of products into dots.

The passes are compiled code (``_passes.pyx`` and its headers) and linear in the graph.  What they know of an operation
comes from the primitives table, as templates (``templates.py``).

Where to start reading: ``adjoint``, then ``vg_adjoint`` in ``_transforms.h``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from valuegrad import _passes
from valuegrad.graph import Graph, Guard
from valuegrad.primitives.opcodes import OPS
from valuegrad.transforms.templates import LOCAL_GRADS, QUICK_VALUES, VALUES, Pool

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["adjoint", "derivatives", "machine", "tangent"]

# Inputs of a derivative must stay nodes of their own, so what only repeats its operand is not found again.
_SHARED = np.array([op not in ("input", "identity", "detach", "take", "call") for op in OPS], dtype=np.uint8)

TOGETHER = ("softmax",)
"""Of these the adjoint needs no template if it is not strict: of a list of n there would be n, of n entries each."""


def _positions(nodes: Sequence[int]) -> NDArray[np.int32]:
    return np.ascontiguousarray(nodes, dtype=np.int32)


def _builder(graph: Graph, shared: NDArray[np.uint8] | None = _SHARED) -> Any:
    return _passes.Builder(graph.ops, graph.starts, graph.operands, graph.numbers, shared)


def _templates(graph: Graph, pool: Pool, but: tuple[str, ...] = ()) -> tuple[Any, NDArray[np.int32]]:
    wanted = pool.wanted.copy()
    wanted[[OPS.index(op) for op in but]] = 0
    which = _passes.which_templates(graph.ops, graph.starts, graph.numbers, wanted, pool.find)
    return _passes.Templates(pool.arrays()), which


def _with_nodes(graph: Graph, arrays: tuple[NDArray[Any], ...]) -> Graph:
    ops, starts, operands, numbers = arrays
    return replace(graph, ops=ops, starts=starts, operands=operands, numbers=numbers)


def adjoint(
    graph: Graph, outputs: Sequence[int], seeds: Sequence[int], wrt: Sequence[int], *, strict: bool = True
) -> tuple[Graph, list[int]]:
    """Reverse mode: the gradients of the sum of seed * output.

    Args:
        graph: the calculation; its nodes stay where they are in the result.
        outputs: nodes to differentiate.
        seeds: for each output the node of its cotangent (a constant 1 for a plain gradient).
        wrt: nodes to differentiate by; nothing is handed on past them.
        strict: to the last bit what the engines compute; else the entries of a softmax hand on together.

    Returns:
        The graph with more nodes at its end, and for each of ``wrt`` the node of its gradient.

    Example:
        >>> from valuegrad.graph import Nodes
        >>> nodes = Nodes(inputs=1)
        >>> y, one = nodes.add("sin", [0]), nodes.const(1.0)
        >>> graph, [dy] = adjoint(nodes.graph([y]), [y], [one], [0])
        >>> OPS[graph.ops[dy]], graph.operands_of(dy)
        ('cos', [0])

    Source: Griewank and Walther, Evaluating Derivatives, 2nd ed. (2008), chapter 3.
    """
    if not len(wrt):
        return graph, []
    builder = _builder(graph)
    templates, which = _templates(graph, LOCAL_GRADS, () if strict else TOGETHER)
    found = builder.adjoint(templates, which, _positions(outputs), _positions(seeds), _positions(wrt), not strict)
    return _with_nodes(graph, builder.arrays()), found.tolist()


def tangent(
    graph: Graph, inputs: Sequence[int], tangents: Sequence[int], outputs: Sequence[int]
) -> tuple[Graph, list[int]]:
    """Forward mode: how outputs move when inputs move in one direction.

    Args:
        graph: the calculation; its nodes stay where they are in the result.
        inputs: nodes that move.
        tangents: for each of them the node that says by how much.
        outputs: nodes whose tangents are wanted.

    Returns:
        The graph with more nodes at its end, and for each output the node of its tangent.

    Source: Griewank and Walther (2008), chapter 3.
    """
    if not len(outputs):
        return graph, []
    builder = _builder(graph)
    templates, which = _templates(graph, LOCAL_GRADS)
    found = builder.tangent(templates, which, _positions(inputs), _positions(tangents), _positions(outputs))
    return _with_nodes(graph, builder.arrays()), found.tolist()


def derivatives(
    graph: Graph, wanted: Sequence[tuple[bool, Sequence[int], Sequence[int], Sequence[int]]], *, strict: bool = True
) -> tuple[Graph, list[NDArray[np.int32]]]:
    """Many derivatives of one calculation, such as the rows of a Jacobian, in one go.

    Args:
        graph: the calculation; its nodes stay where they are in the result.
        wanted: for each derivative whether it is an adjoint (True) or a tangent (False), and its three lists of nodes.
        strict: as for ``adjoint``.

    Returns:
        The graph with more nodes at its end, and what ``adjoint`` and ``tangent`` give for each.
    """
    builder = _builder(graph)
    reverse_only = all(reverse for reverse, *_ in wanted)
    templates, which = _templates(graph, LOCAL_GRADS, TOGETHER if reverse_only and not strict else ())
    found: list[NDArray[np.int32]] = []
    for reverse, *lists in wanted:
        nodes = tuple(map(_positions, lists))
        if not len(lists[2]):
            found.append(np.zeros(0, dtype=np.int32))
        elif reverse:
            found.append(builder.adjoint(templates, which, *nodes, not strict))
        else:
            found.append(builder.tangent(templates, which, *nodes))
    return _with_nodes(graph, builder.arrays()), found


def machine(graph: Graph, *, strict: bool = True, selected: int = 64) -> Graph:
    """The same calculation in machine operations alone, simplified.

    Args:
        graph: rows and structural operations.
        strict: to the last bit what the engines compute; else within 4 ulp an operation.
        selected: a gather of so many entries or fewer becomes a chain of selects.

    Returns:
        A graph of ``MACHINE`` operations with the same inputs, outputs and guards, in the same order.
    """
    if not len(graph.outputs) and not graph.guards:
        return graph
    pool = VALUES if strict else QUICK_VALUES
    templates, which = _templates(graph, pool)
    _, _, references, _, node_end, _, _ = pool.arrays()
    room = int(np.diff(node_end).max(initial=0)) + len(references) + 4
    roots = np.array([*graph.outputs.tolist(), *[guard.node for guard in graph.guards]], dtype=np.int32)
    arrays = _builder(graph, None).machine(templates, which, room, graph.inputs, roots, selected)
    outputs, conditions = roots[: len(graph.outputs)], roots[len(graph.outputs) :].tolist()
    guards = tuple([Guard(node, guard.expected, guard.line) for node, guard in zip(conditions, graph.guards)])
    return replace(_with_nodes(graph, arrays), outputs=outputs, guards=guards)
