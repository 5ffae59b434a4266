"""A small typed graph of an image classifier in inference: NHWC, float32, batch left out.

A node makes one tensor, which has the node's name. Nodes stand in topological order, the input first.
Batch normalization is folded and a ReLU that has its producer for itself is part of it (``activation``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from xedge.errors import UnsupportedError
from xedge.types import FloatArray, Shape

Padding = tuple[tuple[int, int], tuple[int, int]]
Fused = Literal["none", "relu", "relu6"]
ActivationKind = Literal[
    "relu", "relu6", "leaky_relu", "elu", "sigmoid", "tanh", "silu", "hard_silu", "hard_sigmoid", "gelu"
]
NO_PADDING: Padding = ((0, 0), (0, 0))


@dataclass(frozen=True, kw_only=True, eq=False)
class Node:
    """What all nodes have: a unique name and the names of the tensors that it reads."""

    name: str
    inputs: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class Input(Node):
    """The photo: shape (height, width, channels)."""

    shape: Shape
    inputs: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, eq=False)
class Weighted(Node):
    """A node with a kernel and one bias per output channel."""

    kernel: FloatArray
    bias: FloatArray
    activation: Fused = "none"

    @property
    def channels(self) -> int:
        """Output channels."""
        return int(self.kernel.shape[-1])


@dataclass(frozen=True, kw_only=True, eq=False)
class Conv(Weighted):
    """A convolution; kernel (height, width, input channels / groups, output channels)."""

    strides: tuple[int, int] = (1, 1)
    padding: Padding = NO_PADDING
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1


@dataclass(frozen=True, kw_only=True, eq=False)
class Depthwise(Weighted):
    """A depthwise convolution; kernel (height, width, input channels * multiplier)."""

    strides: tuple[int, int] = (1, 1)
    padding: Padding = NO_PADDING
    dilation: tuple[int, int] = (1, 1)


@dataclass(frozen=True, kw_only=True, eq=False)
class Dense(Weighted):
    """A matrix product over a vector; kernel (inputs, outputs)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Scale(Node):
    """x * factor + offset per channel (C,). Only in graphs that are being read: folding removes it."""

    factor: FloatArray
    offset: FloatArray


@dataclass(frozen=True, kw_only=True, eq=False)
class Add(Node):
    """The sum of two tensors of one shape."""

    activation: Fused = "none"


@dataclass(frozen=True, kw_only=True, eq=False)
class Multiply(Node):
    """The product of two tensors; the second may be (1, 1, C) beside (H, W, C)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Concat(Node):
    """Tensors side by side along the channels."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Activation(Node):
    """A non-linearity of its own; ``alpha`` is the slope of leaky_relu below zero."""

    kind: ActivationKind
    alpha: float = 0.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Pool(Node):
    """Maximum or average over windows; the average leaves padding out of the count."""

    kind: Literal["max", "average"]
    size: tuple[int, int]
    strides: tuple[int, int]
    padding: Padding = NO_PADDING


@dataclass(frozen=True, kw_only=True, eq=False)
class Mean(Node):
    """The average over height and width; (C,) or, with ``keepdims``, (1, 1, C)."""

    keepdims: bool = False


@dataclass(frozen=True, kw_only=True, eq=False)
class Pad(Node):
    """Zeros around height and width."""

    padding: Padding


@dataclass(frozen=True, kw_only=True, eq=False)
class Reshape(Node):
    """The same values in NHWC order under another shape (without batch)."""

    shape: Shape


@dataclass(frozen=True, kw_only=True, eq=False)
class Softmax(Node):
    """Probabilities over the last axis."""


@dataclass(frozen=True, kw_only=True)
class Graph:
    """A whole classifier.

    Args:
        name: the model's name.
        nodes: in topological order, the ``Input`` first.
        output: the name of the node that makes the output.
        output_name: what the output is called in artifacts (Keras' output name).
    """

    name: str
    nodes: tuple[Node, ...]
    output: str
    output_name: str
    _by_name: Mapping[str, Node] = field(init=False, repr=False, compare=False)
    _consumers: Mapping[str, tuple[Node, ...]] = field(init=False, repr=False, compare=False)
    _shapes: Mapping[str, Shape] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        by_name: dict[str, Node] = {}
        consumers: dict[str, list[Node]] = {}
        shapes: dict[str, Shape] = {}
        for node in self.nodes:
            if node.name in by_name or any(name not in by_name for name in node.inputs):
                raise ValueError(f"graph {self.name}: {node.name} is there twice or reads a tensor not made yet")
            by_name[node.name] = node
            consumers[node.name] = []
            for name in node.inputs:
                consumers[name].append(node)
            shapes[node.name] = output_shape(node, [shapes[name] for name in node.inputs])
        object.__setattr__(self, "_by_name", by_name)
        object.__setattr__(self, "_consumers", {name: tuple(nodes) for name, nodes in consumers.items()})
        object.__setattr__(self, "_shapes", shapes)

    @property
    def input(self) -> Input:
        """The photo's node."""
        node = self.nodes[0]
        assert isinstance(node, Input)
        return node

    def __getitem__(self, name: str) -> Node:
        return self._by_name[name]

    def __contains__(self, name: str) -> bool:
        return name in self._by_name

    def __iter__(self) -> Iterator[Node]:
        return iter(self.nodes)

    def consumers(self, name: str) -> tuple[Node, ...]:
        """Return the nodes that read a tensor, once per reading."""
        return self._consumers[name]

    def shape(self, name: str) -> Shape:
        """Return a tensor's shape without batch: (H, W, C) or (C,)."""
        return self._shapes[name]

    def sole_consumer(self, name: str) -> Node | None:
        """Return the only reader of a tensor, or None if there are several or it is the output."""
        readers = self.consumers(name)
        return readers[0] if len(readers) == 1 and name != self.output else None

    def rewritten(self, changed: Mapping[str, Node], removed: Mapping[str, str] | None = None) -> Graph:
        """Return a graph with nodes replaced by name and others removed.

        Args:
            changed: node name to the node that takes its place.
            removed: node name to the tensor that its readers read instead.
        """
        removed = removed or {}

        def target(name: str) -> str:
            while name in removed:
                name = removed[name]
            return name

        nodes = []
        for node in self.nodes:
            if node.name in removed:
                continue
            kept = changed.get(node.name, node)
            nodes.append(replace(kept, inputs=tuple(target(name) for name in kept.inputs)))
        return replace_graph(self, nodes, target(self.output))


def replace_graph(graph: Graph, nodes: Iterable[Node], output: str | None = None) -> Graph:
    """Return the graph with other nodes, checked anew."""
    return Graph(name=graph.name, nodes=tuple(nodes), output=output or graph.output, output_name=graph.output_name)


def output_shape(node: Node, inputs: list[Shape]) -> Shape:
    """Return the shape that a node makes from its inputs' shapes.

    Raises:
        UnsupportedError: the shapes do not fit together.
    """
    match node:
        case Input() | Reshape():
            return node.shape
        case Conv() | Depthwise():
            height, width = node.kernel.shape[:2]
            size = ((height - 1) * node.dilation[0] + 1, (width - 1) * node.dilation[1] + 1)
            return (*_windows(inputs[0], size, node.strides, node.padding), node.channels)
        case Pool():
            return (*_windows(inputs[0], node.size, node.strides, node.padding), inputs[0][-1])
        case Dense():
            return (*inputs[0][:-1], node.channels)
        case Mean():
            return (1, 1, inputs[0][-1]) if node.keepdims else (inputs[0][-1],)
        case Pad():
            (top, bottom), (left, right) = node.padding
            height, width, channels = inputs[0]
            return (height + top + bottom, width + left + right, channels)
        case Concat():
            return (*inputs[0][:-1], sum(shape[-1] for shape in inputs))
        case Add() if any(shape != inputs[0] for shape in inputs):
            raise UnsupportedError(f"{node.name}: adds tensors of different shapes {inputs}")
        case _:
            return inputs[0]


def _windows(shape: Shape, size: tuple[int, int], strides: tuple[int, int], padding: Padding) -> tuple[int, int]:
    height, width = ((shape[axis] + sum(padding[axis]) - size[axis]) // strides[axis] + 1 for axis in (0, 1))
    return height, width


def same_padding(shape: Shape, size: tuple[int, int], strides: tuple[int, int]) -> Padding:
    """Return TensorFlow's SAME padding: (top, bottom), (left, right), the odd pixel at the end."""
    pads = []
    for axis in (0, 1):
        out = -(-shape[axis] // strides[axis])
        total = max(0, (out - 1) * strides[axis] + size[axis] - shape[axis])
        pads.append((total // 2, total - total // 2))
    return pads[0], pads[1]
