"""Count the multiply-accumulates of nodes and the values of tensors."""

from __future__ import annotations

from math import prod

from xedge.graph.ir import Dense, Graph, MatMul, Weighted


def multiply_accumulates(graph: Graph, name: str) -> int:
    """Return the number of multiply-accumulates of a node for one photo; 0 for what is no product of matrices."""
    node = graph[name]
    if isinstance(node, MatMul):
        return prod(graph.shape(name)) * graph.shape(node.inputs[0])[-1]
    if not isinstance(node, Weighted):
        return 0
    positions = 1 if isinstance(node, Dense) else prod(graph.shape(name)[:2])
    return positions * int(node.kernel.size)


def values(graph: Graph, name: str) -> int:
    """Return the number of values in a tensor for one photo."""
    return prod(graph.shape(name))
