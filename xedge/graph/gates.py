"""Recognize activations that a model writes out in arithmetic: x * relu6(x + 3) / 6 and x * sigmoid(x)."""

from __future__ import annotations

import numpy as np

from xedge.graph.ir import Activation, ActivationKind, Graph, Multiply, Node, Scale

SIXTH = float(np.float32(1 / 6))
# What the product of a tensor and an activation of the same tensor is called.
GATED: dict[str, ActivationKind] = {"sigmoid": "silu", "hard_sigmoid": "hard_silu"}


def recognize_gates(graph: Graph) -> Graph:
    """Return an equivalent graph in which hard sigmoids, and products of a tensor and its own sigmoid, are one node.

    The formats have operators for them, with integer kernels for some, and a normalization in front of them folds.

    Args:
        graph: A graph in which each scale is a node of its own.
    """
    graph = _hard_sigmoids(graph)
    changed: dict[str, Node] = {}
    for node in graph:
        if isinstance(node, Multiply) and len(node.inputs) == 2:
            for tensor, gate in (node.inputs, node.inputs[::-1]):
                kind = GATED.get(getattr(graph[gate], "kind", ""))
                if kind and graph[gate].inputs == (tensor,) and graph.sole_consumer(gate) is node:
                    changed[node.name] = Activation(name=node.name, inputs=(tensor,), kind=kind)
    return graph.rewritten(changed)


def _hard_sigmoids(graph: Graph) -> Graph:
    """relu6(x + 3) / 6, where nothing else reads its parts, and x * relu6(x + 3) / 6 with the division at the end."""
    changed: dict[str, Node] = {}
    removed: dict[str, str] = {}
    for node in graph:
        if not (isinstance(node, Activation) and node.kind == "relu6"):
            continue
        moved, reader = graph[node.inputs[0]], graph.sole_consumer(node.name)
        if not (_is_scale(moved, 1.0, 3.0) and graph.sole_consumer(moved.name) is node):
            continue
        tensor = moved.inputs[0]
        if reader is not None and _is_scale(reader, SIXTH, 0.0):
            changed[reader.name] = Activation(name=reader.name, inputs=(tensor,), kind="hard_sigmoid")
        elif isinstance(reader, Multiply) and tensor in reader.inputs:
            sixth = graph.sole_consumer(reader.name)
            if sixth is not None and _is_scale(sixth, SIXTH, 0.0):
                changed[node.name] = Activation(name=node.name, inputs=(tensor,), kind="hard_sigmoid")
                removed[sixth.name] = reader.name
    return graph.rewritten(changed, removed)


def _is_scale(node: Node, factor: float, offset: float) -> bool:
    return (
        isinstance(node, Scale)
        and bool(np.allclose(node.factor, factor, rtol=1e-6, atol=0))
        and bool(np.allclose(node.offset, offset, rtol=1e-6, atol=0))
    )
