"""A small typed graph of an image classifier in inference: NHWC, float32, batch left out.

A node makes one tensor, which has the node's name. Nodes stand in topological order, the input first. Batch
normalization is folded, and a ReLU that has its producer for itself is part of it (``activation``).

A node's class is the one place that says what the operation is: its attributes, the shape that it makes, and the traits
that simplification and quantization go by. How it is read and written is registered by each source (``reads``) and each
format (``graph.writing.writes``). Another package adds an operation by a class, its readers and its writers in one
module, which it registers under the entry-point group ``xedge.operations``.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal

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
    """What all nodes have: a unique name and the names of the tensors that they read.

    The traits of an operation are class attributes and properties. Their values here are the cautious ones, with which
    an operation is correct though not fast: it computes in float, and nothing is moved through it.
    """

    name: str
    inputs: tuple[str, ...]

    # The operation only moves values about, so that integers keep their scale and zero point through it.
    moves_values: ClassVar[bool] = False
    # Noise on a channel passes through to the same channel of the result.
    keeps_channels: ClassVar[bool] = False
    # The operation may stand behind the global average, where float costs next to nothing.
    ends_a_classifier: ClassVar[bool] = False

    @property
    def has_integer_form(self) -> bool:
        """Whether int8 kernels compute this operation without losing its resolution."""
        return False

    @property
    def is_homogeneous(self) -> bool:
        """Whether f(x / s) = f(x) / s for every s > 0, channel by channel."""
        return False

    @property
    def fixed_parameters(self) -> tuple[float, int] | None:
        """The scale and zero point that int8 kernels prescribe for the result; None if they are free."""
        return None

    @property
    def is_never_negative(self) -> bool:
        """Whether no value of the result is below zero."""
        return False

    @abstractmethod
    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """Return the shape that the node makes from its inputs' shapes, batch left out.

        Raises:
            UnsupportedError: The shapes do not fit together.
        """

    def parts(self, inputs: Sequence[Shape]) -> tuple[Node, ...]:
        """Return nodes that compute the same, the last one under this node's name; empty if there are none.

        A format that has no form for the operation writes these instead.
        """
        del inputs
        return ()


@dataclass(frozen=True, kw_only=True, eq=False)
class Input(Node):
    """The photo: shape (height, width, channels)."""

    shape: Shape
    inputs: tuple[str, ...] = ()

    @property
    def has_integer_form(self) -> bool:
        """A photo can come as integers."""
        return True

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """Return the photo's shape."""
        del inputs
        return self.shape


@dataclass(frozen=True, kw_only=True, eq=False)
class Weighted(Node):
    """A node with a kernel and one bias for each output channel."""

    kernel: FloatArray
    bias: FloatArray
    activation: Fused = "none"

    @property
    def channels(self) -> int:
        """The number of output channels."""
        return int(self.kernel.shape[-1])

    @property
    def has_integer_form(self) -> bool:
        """Products are what int8 kernels are for."""
        return True


@dataclass(frozen=True, kw_only=True, eq=False)
class _Windowed(Weighted):
    """A convolution of any kind: a window that slides over height and width."""

    strides: tuple[int, int] = (1, 1)
    padding: Padding = NO_PADDING
    dilation: tuple[int, int] = (1, 1)

    @property
    def window(self) -> tuple[int, int]:
        """The height and width that one output sees, dilation included."""
        height, width = self.kernel.shape[:2]
        return (height - 1) * self.dilation[0] + 1, (width - 1) * self.dilation[1] + 1

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """Return (height, width, output channels)."""
        return (*_windows(inputs[0], self.window, self.strides, self.padding), self.channels)


@dataclass(frozen=True, kw_only=True, eq=False)
class Conv(_Windowed):
    """A convolution; kernel (height, width, input channels / groups, output channels)."""

    groups: int = 1


@dataclass(frozen=True, kw_only=True, eq=False)
class Depthwise(_Windowed):
    """A depthwise convolution; kernel (height, width, input channels * multiplier)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Dense(Weighted):
    """A matrix product over a vector; kernel (inputs, outputs)."""

    ends_a_classifier: ClassVar[bool] = True

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """Return the input's shape with the outputs in place of the inputs."""
        return (*inputs[0][:-1], self.channels)


@dataclass(frozen=True, kw_only=True, eq=False)
class Scale(Node):
    """x * factor + offset for each channel (C,). It is only in graphs that are being read: folding removes it."""

    factor: FloatArray
    offset: FloatArray

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """Return the input's shape."""
        return inputs[0]


@dataclass(frozen=True, kw_only=True, eq=False)
class Add(Node):
    """The sum of two tensors of one shape."""

    activation: Fused = "none"

    @property
    def has_integer_form(self) -> bool:
        """Sums of integers are rescaled and added."""
        return True

    @property
    def is_homogeneous(self) -> bool:
        """A sum is, unless a bound is part of it."""
        return self.activation != "relu6"

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """Return the shape that all inputs have."""
        if any(shape != inputs[0] for shape in inputs):
            raise UnsupportedError(f"{self.name}: adds tensors of different shapes {list(inputs)}")
        return inputs[0]


@dataclass(frozen=True, kw_only=True, eq=False)
class Multiply(Node):
    """The product of two tensors; the second may be (1, 1, C) beside (H, W, C)."""

    @property
    def has_integer_form(self) -> bool:
        """Products of integers are rescaled."""
        return True

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """Return the shape of the first tensor."""
        first, second = inputs
        if second != first and second != (1,) * (len(first) - 1) + first[-1:]:
            raise UnsupportedError(f"{self.name}: multiplies tensors of shapes {first} and {second}")
        return first


@dataclass(frozen=True, kw_only=True, eq=False)
class Concat(Node):
    """Tensors side by side along the channels."""

    @property
    def has_integer_form(self) -> bool:
        """Integers are requantized to one scale and set side by side."""
        return True

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """Return the common shape with the sum of the channels."""
        if any(shape[:-1] != inputs[0][:-1] for shape in inputs):
            raise UnsupportedError(f"{self.name}: concatenates tensors of different heights or widths {list(inputs)}")
        return (*inputs[0][:-1], sum(shape[-1] for shape in inputs))


# Activations without a fast int8 kernel, or without one that keeps resolution.
_FLOAT_ACTIVATIONS = ("hard_sigmoid", "gelu", "elu")
# Scale and zero point that the int8 kernels of bounded activations have by TFLite's specification.
_FIXED_PARAMETERS = {"sigmoid": (1 / 256, -128), "tanh": (1 / 128, 0)}


@dataclass(frozen=True, kw_only=True, eq=False)
class Activation(Node):
    """A non-linearity of its own; ``alpha`` is the slope of leaky_relu below zero."""

    keeps_channels: ClassVar[bool] = True
    kind: ActivationKind
    alpha: float = 0.0

    @property
    def has_integer_form(self) -> bool:
        """Most activations have int8 kernels."""
        return self.kind not in _FLOAT_ACTIVATIONS

    @property
    def is_homogeneous(self) -> bool:
        """ReLU and leaky ReLU are."""
        return self.kind in ("relu", "leaky_relu")

    @property
    def fixed_parameters(self) -> tuple[float, int] | None:
        """The int8 kernels of sigmoid and tanh have parameters fixed by the format."""
        return _FIXED_PARAMETERS.get(self.kind)

    @property
    def is_never_negative(self) -> bool:
        """ReLUs and the sigmoid cut off what is below zero."""
        return self.kind in ("relu", "relu6", "sigmoid")

    @property
    def only_saturates(self) -> bool:
        """Whether integers whose range ends where the activation does compute it by saturating."""
        return self.kind in ("relu", "relu6")

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """Return the input's shape."""
        return inputs[0]


@dataclass(frozen=True, kw_only=True, eq=False)
class Pool(Node):
    """Maximum or average over windows; the average leaves padding out of the count."""

    moves_values: ClassVar[bool] = True
    keeps_channels: ClassVar[bool] = True
    kind: Literal["max", "average"]
    size: tuple[int, int]
    strides: tuple[int, int]
    padding: Padding = NO_PADDING

    @property
    def has_integer_form(self) -> bool:
        """Pools of integers keep their scale."""
        return True

    @property
    def is_homogeneous(self) -> bool:
        """Maxima and averages are."""
        return True

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """Return (height, width, channels)."""
        return (*_windows(inputs[0], self.size, self.strides, self.padding), inputs[0][-1])


@dataclass(frozen=True, kw_only=True, eq=False)
class Mean(Node):
    """The average over height and width; (C,) or, with ``keepdims``, (1, 1, C)."""

    keeps_channels: ClassVar[bool] = True
    ends_a_classifier: ClassVar[bool] = True
    keepdims: bool = False

    @property
    def has_integer_form(self) -> bool:
        """Averages of integers are rescaled."""
        return True

    @property
    def is_homogeneous(self) -> bool:
        """An average is."""
        return True

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """Return the channels, with or without height and width of 1."""
        return (1, 1, inputs[0][-1]) if self.keepdims else (inputs[0][-1],)


@dataclass(frozen=True, kw_only=True, eq=False)
class Pad(Node):
    """Zeros around height and width."""

    moves_values: ClassVar[bool] = True
    keeps_channels: ClassVar[bool] = True
    padding: Padding

    @property
    def has_integer_form(self) -> bool:
        """Integers are padded with their zero point."""
        return True

    @property
    def is_homogeneous(self) -> bool:
        """Zeros stay zeros."""
        return True

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """Return (height, width, channels) with the padding."""
        (top, bottom), (left, right) = self.padding
        height, width, channels = inputs[0]
        return (height + top + bottom, width + left + right, channels)


@dataclass(frozen=True, kw_only=True, eq=False)
class Reshape(Node):
    """The same values in NHWC order under another shape (without batch)."""

    moves_values: ClassVar[bool] = True
    ends_a_classifier: ClassVar[bool] = True
    shape: Shape

    @property
    def has_integer_form(self) -> bool:
        """Integers are reshaped as they are."""
        return True

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """Return the new shape."""
        del inputs
        return self.shape


@dataclass(frozen=True, kw_only=True, eq=False)
class Softmax(Node):
    """Probabilities over the last axis."""

    ends_a_classifier: ClassVar[bool] = True

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """Return the input's shape."""
        return inputs[0]


@dataclass(frozen=True, kw_only=True)
class Graph:
    """A whole classifier.

    Args:
        name: The model's name.
        nodes: The nodes in topological order, the ``Input`` first.
        output: The name of the node that makes the output.
        output_name: The name of the output in artifacts, which is Keras' output name.
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
            shapes[node.name] = node.output_shape([shapes[name] for name in node.inputs])
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
        """Return the nodes that read a tensor, once for each reading."""
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
            changed: For the name of a node, the node that takes its place.
            removed: For the name of a node, the tensor that its readers read instead.
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
