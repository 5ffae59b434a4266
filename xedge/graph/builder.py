"""Build a graph node by node, as every source does."""

from __future__ import annotations

from xedge.graph.ir import Activation, Node, Softmax
from xedge.types import Shape


class Builder:
    """A graph that is being built: the nodes that were added so far, and the shape of each."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.shapes: dict[str, Shape] = {}

    def add(self, node: Node) -> str:
        """Add a node and return the name of its result.

        Raises:
            UnsupportedError: The shapes of its inputs do not fit together.
        """
        self.shapes[node.name] = node.output_shape([self.shapes[name] for name in node.inputs])
        self.nodes.append(node)
        return node.name

    def unique(self, name: str) -> str:
        """Return a name that no node has yet: the given one, with a number appended if necessary."""
        candidate, count = name, 0
        while candidate in self.shapes:
            count += 1
            candidate = f"{name}_{count}"
        return candidate

    def activation(self, kind: str, tensor: str, name: str | None = None, alpha: float = 0.0) -> str:
        """Add an activation after a tensor and return the name of its result.

        Args:
            kind: The kind of activation: one of ``ActivationKind``, ``softmax``, or ``linear``, which adds nothing.
            tensor: The name of the tensor that the activation reads.
            name: The name of the node; None makes one from the tensor and the kind.
            alpha: The slope of leaky_relu below zero.
        """
        if kind == "linear":
            return tensor
        name = self.unique(name or f"{tensor}/{kind}")
        if kind == "softmax":
            return self.add(Softmax(name=name, inputs=(tensor,)))
        return self.add(Activation(name=name, inputs=(tensor,), kind=kind, alpha=alpha))  # type: ignore[arg-type]
