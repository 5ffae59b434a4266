"""What nodes cost: multiply-accumulates and values."""

from __future__ import annotations

from math import prod

from xedge.graph.ir import Dense, Graph, Weighted


def multiply_accumulates(graph: Graph, name: str) -> int:
    """Return how many multiply-accumulates a weighted node does for one photo."""
    node = graph[name]
    assert isinstance(node, Weighted)
    positions = 1 if isinstance(node, Dense) else prod(graph.shape(name)[:2])
    return positions * int(node.kernel.size)


def values(graph: Graph, name: str) -> int:
    """Return how many values a tensor has for one photo."""
    return prod(graph.shape(name))
