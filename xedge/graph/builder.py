"""A graph in the making: what every source adds nodes to."""

from __future__ import annotations

from xedge.graph.ir import Activation, Node, Softmax
from xedge.types import Shape


class Builder:
    """The nodes added so far, with the shape of each."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.shapes: dict[str, Shape] = {}

    def add(self, node: Node) -> str:
        """Add a node and return the name of the tensor that it makes.

        Raises:
            UnsupportedError: The shapes of what it reads do not fit together.
        """
        self.shapes[node.name] = node.output_shape([self.shapes[name] for name in node.inputs])
        self.nodes.append(node)
        return node.name

    def unique(self, name: str) -> str:
        """Return a name that no node has yet: the given one, with a number if need be."""
        candidate, count = name, 0
        while candidate in self.shapes:
            count += 1
            candidate = f"{name}_{count}"
        return candidate

    def activation(self, kind: str, tensor: str, name: str | None = None, alpha: float = 0.0) -> str:
        """Add an activation behind a tensor and return the name of its result.

        Args:
            kind: One of ``ActivationKind``, ``softmax``, or ``linear``, which adds nothing.
            tensor: What it reads.
            name: The node's name; None makes one of the tensor and the kind.
            alpha: The slope of leaky_relu below zero.
        """
        if kind == "linear":
            return tensor
        name = self.unique(name or f"{tensor}/{kind}")
        if kind == "softmax":
            return self.add(Softmax(name=name, inputs=(tensor,)))
        return self.add(Activation(name=name, inputs=(tensor,), kind=kind, alpha=alpha))  # type: ignore[arg-type]
