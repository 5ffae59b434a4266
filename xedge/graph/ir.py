"""A small typed graph of an image classifier for inference: NHWC, float32, without the batch.

A node computes one tensor, which has the name of the node. The nodes are in topological order, the input first. Batch
normalization is folded, and a ReLU that alone reads a result is part of the node that computes it (``activation``).

The class of a node is the only place that defines the operation: its attributes, the shape of its result, and the
traits on which simplification and quantization rely. How it is read and written is registered by each source
(``reads``) and each format (``graph.writing.writes``). Another package adds an operation with a class, its readers and
its writers in one module, which it registers under the entry-point group ``xedge.operations``.
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
ElementwiseKind = Literal["add", "subtract", "multiply", "divide", "maximum", "minimum"]
UnaryKind = Literal["exp", "log", "sqrt", "abs", "negative", "sign"]
NO_PADDING: Padding = ((0, 0), (0, 0))


@dataclass(frozen=True, kw_only=True, eq=False)
class Node:
    """The base class of all nodes.

    The traits of an operation are class attributes and properties. Their values here are the cautious ones, with which
    an operation is correct but not fast: it computes in float, and no scaling is carried through it.

    Args:
        name: The name of the node, which is unique in the graph.
        inputs: The names of the tensors that the node reads.
    """

    name: str
    inputs: tuple[str, ...]

    # Whether the operation only moves values, so that integers keep their scale and zero point.
    moves_values: ClassVar[bool] = False
    # Whether noise on a channel reaches only the same channel of the result.
    keeps_channels: ClassVar[bool] = False
    # Whether the operation can follow the global average, where float costs next to nothing.
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
        """Return the shape of the result, without the batch.

        Args:
            inputs: The shapes of the inputs, without the batch.

        Raises:
            UnsupportedError: The shapes do not fit together.
        """

    def parts(self, inputs: Sequence[Shape]) -> tuple[Node, ...]:
        """Return nodes that together compute the same result, or none.

        A format that has no form for the operation writes these instead. The last one has the name of this node.

        Args:
            inputs: The shapes of the inputs, without the batch.
        """
        del inputs
        return ()


@dataclass(frozen=True, kw_only=True, eq=False)
class Input(Node):
    """The input node, which holds the photo.

    Args:
        shape: The shape of the photo: height, width, channels.
        inputs: An empty tuple, because the node reads nothing.
    """

    shape: Shape
    inputs: tuple[str, ...] = ()

    @property
    def has_integer_form(self) -> bool:
        """True, because the photo can be given as integers."""
        return True

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """Return the shape of the photo."""
        del inputs
        return self.shape


@dataclass(frozen=True, kw_only=True, eq=False)
class Weighted(Node):
    """A node with a kernel, and with one bias for each output channel.

    Args:
        kernel: The kernel, with the output channels last.
        bias: The bias (output channels,).
        activation: The activation that is fused into the node.
    """

    kernel: FloatArray
    bias: FloatArray
    activation: Fused = "none"

    @property
    def channels(self) -> int:
        """The number of output channels."""
        return int(self.kernel.shape[-1])

    @property
    def has_integer_form(self) -> bool:
        """True, because int8 kernels compute products."""
        return True


@dataclass(frozen=True, kw_only=True, eq=False)
class _Windowed(Weighted):
    """A convolution of any kind, whose window slides over height and width.

    Args:
        strides: The strides along height and width.
        padding: The zeros added at (top, bottom) and (left, right).
        dilation: The dilation along height and width.
    """

    strides: tuple[int, int] = (1, 1)
    padding: Padding = NO_PADDING
    dilation: tuple[int, int] = (1, 1)

    @property
    def window(self) -> tuple[int, int]:
        """The height and width of the window from which one output is computed, dilation included."""
        height, width = self.kernel.shape[:2]
        return (height - 1) * self.dilation[0] + 1, (width - 1) * self.dilation[1] + 1

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """Return (height, width, output channels)."""
        return (*_windows(inputs[0], self.window, self.strides, self.padding), self.channels)


@dataclass(frozen=True, kw_only=True, eq=False)
class Conv(_Windowed):
    """A convolution with a kernel (height, width, input channels / groups, output channels).

    Args:
        groups: The number of groups.
    """

    groups: int = 1

    @property
    def is_pointwise(self) -> bool:
        """Whether each output is a product of the kernel with all channels at one position of the input."""
        return self.window == (1, 1) and self.groups == 1 and self.padding == NO_PADDING


@dataclass(frozen=True, kw_only=True, eq=False)
class Depthwise(_Windowed):
    """A depthwise convolution with a kernel (height, width, input channels * multiplier)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Dense(Weighted):
    """A dense layer, which is a product of a vector and a kernel (inputs, outputs)."""

    ends_a_classifier: ClassVar[bool] = True

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """Return the shape of the input, with the number of outputs in place of that of inputs."""
        return (*inputs[0][:-1], self.channels)


@dataclass(frozen=True, kw_only=True, eq=False)
class Scale(Node):
    """The function x * factor + offset of each channel, which occurs only in graphs that have not been simplified yet.

    Args:
        factor: The factors (channels,).
        offset: The offsets (channels,).
    """

    factor: FloatArray
    offset: FloatArray

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """Return the input's shape."""
        return inputs[0]


@dataclass(frozen=True, kw_only=True, eq=False)
class Add(Node):
    """The sum of two tensors with the same shape.

    Args:
        activation: The activation that is fused into the node.
    """

    activation: Fused = "none"

    @property
    def has_integer_form(self) -> bool:
        """True, because integers can be rescaled and added."""
        return True

    @property
    def is_homogeneous(self) -> bool:
        """True for a sum without an upper bound."""
        return self.activation != "relu6"

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """Return the common shape of the inputs."""
        if any(shape != inputs[0] for shape in inputs):
            raise UnsupportedError(f"{self.name}: adds tensors of different shapes {list(inputs)}")
        return inputs[0]


@dataclass(frozen=True, kw_only=True, eq=False)
class Multiply(Node):
    """The product of two tensors; if the first is (H, W, C), the second may be (1, 1, C) or (H, W, 1)."""

    @property
    def has_integer_form(self) -> bool:
        """True, because products of integers can be rescaled."""
        return True

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """Return the shape of the first tensor."""
        if broadcast(self.name, inputs) != inputs[0]:
            raise UnsupportedError(f"{self.name}: multiplies tensors of shapes {inputs[0]} and {inputs[1]}")
        return inputs[0]


@dataclass(frozen=True, kw_only=True, eq=False)
class Concat(Node):
    """The concatenation of tensors along an axis.

    Args:
        axis: The axis, counted from the last one: -1 stands for the channels.
    """

    axis: int = -1

    @property
    def has_integer_form(self) -> bool:
        """True, because integers can be requantized to a common scale and concatenated."""
        return True

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """Return the common shape, with the sum of the sizes along the axis."""
        axis = self.axis % len(inputs[0])
        others = {(*shape[:axis], *shape[axis + 1 :]) for shape in inputs}
        if len(others) != 1:
            raise UnsupportedError(f"{self.name}: concatenates tensors of different shapes {list(inputs)}")
        total = sum(shape[axis] for shape in inputs)
        return (*inputs[0][:axis], total, *inputs[0][axis + 1 :])


# The activations that have no int8 kernel that is fast and keeps the resolution.
_FLOAT_ACTIVATIONS = ("hard_sigmoid", "gelu", "elu")
# The scale and the zero point that TFLite's specification prescribes for the int8 kernels of bounded activations.
_FIXED_PARAMETERS = {"sigmoid": (1 / 256, -128), "tanh": (1 / 128, 0)}


@dataclass(frozen=True, kw_only=True, eq=False)
class Activation(Node):
    """An activation that is a node of its own.

    Args:
        kind: The kind of activation.
        alpha: The slope of leaky_relu below zero.
    """

    keeps_channels: ClassVar[bool] = True
    kind: ActivationKind
    alpha: float = 0.0

    @property
    def has_integer_form(self) -> bool:
        """True for most activations, which have good int8 kernels."""
        return self.kind not in _FLOAT_ACTIVATIONS

    @property
    def is_homogeneous(self) -> bool:
        """True for ReLU and leaky ReLU."""
        return self.kind in ("relu", "leaky_relu")

    @property
    def fixed_parameters(self) -> tuple[float, int] | None:
        """The parameters that the format prescribes for sigmoid and tanh; None for other activations."""
        return _FIXED_PARAMETERS.get(self.kind)

    @property
    def is_never_negative(self) -> bool:
        """True for ReLUs and the sigmoid, whose results are not below zero."""
        return self.kind in ("relu", "relu6", "sigmoid")

    @property
    def only_saturates(self) -> bool:
        """Whether integers compute the activation by saturating, if their range ends at its bounds."""
        return self.kind in ("relu", "relu6")

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """Return the input's shape."""
        return inputs[0]


@dataclass(frozen=True, kw_only=True, eq=False)
class Pool(Node):
    """The maximum or the average over windows; the average does not count the padding.

    Args:
        kind: The kind of pool.
        size: The height and width of the window.
        strides: The strides along height and width.
        padding: The padding at (top, bottom) and (left, right).
    """

    moves_values: ClassVar[bool] = True
    keeps_channels: ClassVar[bool] = True
    kind: Literal["max", "average"]
    size: tuple[int, int]
    strides: tuple[int, int]
    padding: Padding = NO_PADDING

    @property
    def has_integer_form(self) -> bool:
        """True, because pools of integers keep their scale."""
        return True

    @property
    def is_homogeneous(self) -> bool:
        """True for maxima and averages."""
        return True

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """Return (height, width, channels)."""
        return (*_windows(inputs[0], self.size, self.strides, self.padding), inputs[0][-1])


@dataclass(frozen=True, kw_only=True, eq=False)
class Mean(Node):
    """The average over height and width.

    Args:
        keepdims: Whether the result is (1, 1, C) instead of (C,).
    """

    keeps_channels: ClassVar[bool] = True
    ends_a_classifier: ClassVar[bool] = True
    keepdims: bool = False

    @property
    def has_integer_form(self) -> bool:
        """True, because averages of integers can be rescaled."""
        return True

    @property
    def is_homogeneous(self) -> bool:
        """True for an average."""
        return True

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """Return (C,) or (1, 1, C)."""
        return (1, 1, inputs[0][-1]) if self.keepdims else (inputs[0][-1],)


@dataclass(frozen=True, kw_only=True, eq=False)
class Pad(Node):
    """A tensor with zeros added around height and width.

    Args:
        padding: The number of zeros at (top, bottom) and (left, right).
    """

    moves_values: ClassVar[bool] = True
    keeps_channels: ClassVar[bool] = True
    padding: Padding

    @property
    def has_integer_form(self) -> bool:
        """True, because integers can be padded with their zero point."""
        return True

    @property
    def is_homogeneous(self) -> bool:
        """True, because scaled zeros are still zeros."""
        return True

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """Return (height, width, channels), padding included."""
        (top, bottom), (left, right) = self.padding
        height, width, channels = inputs[0]
        return (height + top + bottom, width + left + right, channels)


@dataclass(frozen=True, kw_only=True, eq=False)
class Reshape(Node):
    """The same values in NHWC order with another shape.

    Args:
        shape: The new shape, without the batch.
    """

    moves_values: ClassVar[bool] = True
    ends_a_classifier: ClassVar[bool] = True
    shape: Shape

    @property
    def has_integer_form(self) -> bool:
        """True, because integers can be reshaped as they are."""
        return True

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """Return the new shape."""
        del inputs
        return self.shape


@dataclass(frozen=True, kw_only=True, eq=False)
class Elementwise(Node):
    """An elementwise operation on two tensors, or on a tensor and a constant, in float.

    The shapes are broadcast as in NumPy, so that (1, 1, C) and (H, W, 1) can be combined with (H, W, C).

    Args:
        kind: The kind of operation.
        constant: The constant operand; None if both operands are tensors.
        constant_first: Whether the constant is the first operand.
    """

    kind: ElementwiseKind
    constant: FloatArray | None = None
    constant_first: bool = False

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """Return the shape to which both operands are broadcast."""
        shapes = [*inputs] if self.constant is None else [inputs[0], self.constant.shape]
        return broadcast(self.name, shapes)


@dataclass(frozen=True, kw_only=True, eq=False)
class Unary(Node):
    """An elementwise function of one tensor, in float.

    Args:
        kind: The kind of function.
    """

    kind: UnaryKind

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """Return the input's shape."""
        return inputs[0]


@dataclass(frozen=True, kw_only=True, eq=False)
class Reduce(Node):
    """The mean, the maximum or the sum over axes, which are kept with size 1, in float.

    Args:
        kind: The kind of reduction.
        axes: The axes, counted from the first one of the shape without the batch: in (H, W, C), 0 stands for the height
            and 2 for the channels.
    """

    kind: Literal["mean", "max", "sum"]
    axes: tuple[int, ...]

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """Return the shape, with size 1 along the axes that were reduced."""
        return tuple(1 if axis in self.axes else size for axis, size in enumerate(inputs[0]))


@dataclass(frozen=True, kw_only=True, eq=False)
class Resize(Node):
    """A tensor resized to another height and width, in float.

    Args:
        size: The new height and width.
        kind: The kind of interpolation: ``nearest`` repeats values, and ``bilinear`` has half-pixel centres.
    """

    size: tuple[int, int]
    kind: Literal["nearest", "bilinear"]

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """Return (height, width, channels)."""
        return (*self.size, inputs[0][-1])


@dataclass(frozen=True, kw_only=True, eq=False)
class Crop(Node):
    """A window cropped from a tensor, in float.

    Args:
        begin: The top and left position of the window.
        size: The height and width of the window.
    """

    begin: tuple[int, int]
    size: tuple[int, int]

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """Return (height, width, channels)."""
        height, width, channels = inputs[0]
        if self.begin[0] + self.size[0] > height or self.begin[1] + self.size[1] > width or min(self.size) < 1:
            raise UnsupportedError(f"{self.name}: the crop of {self.size} at {self.begin} exceeds {inputs[0]}")
        return (*self.size, channels)


@dataclass(frozen=True, kw_only=True, eq=False)
class TransposedConv(Weighted):
    """A transposed convolution with a kernel (height, width, input channels, output channels), in float.

    Args:
        strides: The strides along height and width.
        padding: The number of values that are cropped at (top, bottom) and (left, right) from the full result, whose
            size is (input - 1) * stride + kernel.
    """

    strides: tuple[int, int]
    padding: Padding = NO_PADDING

    @property
    def has_integer_form(self) -> bool:
        """False, because the operation is computed in float."""
        return False

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """Return (height, width, output channels)."""
        height, width = (
            (inputs[0][axis] - 1) * self.strides[axis] + self.kernel.shape[axis] - sum(self.padding[axis])
            for axis in (0, 1)
        )
        return (height, width, self.channels)


@dataclass(frozen=True, kw_only=True, eq=False)
class Softmax(Node):
    """The softmax over the last axis, which gives probabilities."""

    ends_a_classifier: ClassVar[bool] = True

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """Return the input's shape."""
        return inputs[0]


@dataclass(frozen=True, kw_only=True, eq=False)
class Transpose(Node):
    """The same values with the axes in another order, in float.

    Args:
        order: The axes of the input in their new order, without the batch and counted from 0.
    """

    moves_values: ClassVar[bool] = True
    order: tuple[int, ...]

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """Return the sizes in the new order."""
        if sorted(self.order) != list(range(len(inputs[0]))):
            raise UnsupportedError(f"{self.name}: the order {self.order} is not one of the axes of {inputs[0]}")
        return tuple(inputs[0][axis] for axis in self.order)


@dataclass(frozen=True, kw_only=True, eq=False)
class MatMul(Node):
    """The product of two tensors (..., m, k) and (..., k, n) for each place in the axes before, in float.

    The tensors have four axes or more, because three axes are those of a photo: height, width and channels.
    """

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """Return (..., m, n)."""
        left, right = inputs
        if min(len(left), len(right)) < 4 or left[:-2] != right[:-2] or left[-1] != right[-2]:
            raise UnsupportedError(f"{self.name}: multiplies matrices {left} and {right}")
        return (*left[:-1], right[-1])


@dataclass(frozen=True, kw_only=True)
class Graph:
    """The graph of a whole classifier.

    Args:
        name: The name of the model.
        nodes: The nodes in topological order, the ``Input`` first.
        output: The name of the node that computes the output.
        output_name: The name of the output in artifacts, which is the name that Keras gives it.
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
                raise ValueError(
                    f"graph {self.name}: {node.name} exists twice or reads a tensor that is computed later"
                )
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
        """The input node, which holds the photo."""
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
        """Return the nodes that read a tensor; a node that reads it several times occurs several times."""
        return self._consumers[name]

    def shape(self, name: str) -> Shape:
        """Return the shape of a tensor without the batch: (H, W, C) or (C,)."""
        return self._shapes[name]

    def sole_consumer(self, name: str) -> Node | None:
        """Return the only reader of a tensor, or None if there are several or it is the output."""
        readers = self.consumers(name)
        return readers[0] if len(readers) == 1 and name != self.output else None

    def rewritten(self, changed: Mapping[str, Node], removed: Mapping[str, str] | None = None) -> Graph:
        """Return a graph in which some nodes are replaced and others are removed.

        Args:
            changed: The replacements, by the names of the nodes that they replace.
            removed: The tensors that the readers of removed nodes read instead, by the names of the removed nodes.
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
    """Return the graph with other nodes; its consistency is checked again.

    Args:
        graph: The graph whose names are kept.
        nodes: The new nodes in topological order.
        output: The name of the node that computes the output; None keeps the present one.
    """
    return Graph(name=graph.name, nodes=tuple(nodes), output=output or graph.output, output_name=graph.output_name)


def broadcast(name: str, shapes: Sequence[Shape]) -> Shape:
    """Return the shape to which tensors are broadcast.

    Args:
        name: The name of the node, for the message.
        shapes: The shapes of the tensors.

    Raises:
        UnsupportedError: The shapes do not fit together.
    """
    longest = max(len(shape) for shape in shapes)
    padded = [(1,) * (longest - len(shape)) + tuple(shape) for shape in shapes]
    result = []
    for sizes in zip(*padded, strict=True):
        several = {size for size in sizes if size != 1}
        if len(several) > 1:
            raise UnsupportedError(f"{name}: tensors of shapes {', '.join(map(str, shapes))} cannot be combined")
        result.append(several.pop() if several else 1)
    return tuple(result)


def channels_first(axis: int, rank: int) -> int:
    """Return an axis of a tensor with a batch and channels first, as ONNX and OpenVINO hold photos.

    Only (height, width, channels) is held so; other shapes keep their order.

    Args:
        axis: The axis of the shape without the batch, counted from the first one.
        rank: The number of axes of that shape.
    """
    return axis + 1 if rank != 3 else 1 if axis == 2 else axis + 2


def transposition(order: Sequence[int]) -> list[int]:
    """Return the order of axes in tensors with a batch and channels first, as ONNX and OpenVINO hold photos.

    Args:
        order: The order of the axes of the shape without the batch.
    """
    rank = len(order)
    held = (2, 0, 1) if rank == 3 else range(rank)
    return [0, *(channels_first(order[place], rank) for place in held)]


def _windows(shape: Shape, size: tuple[int, int], strides: tuple[int, int], padding: Padding) -> tuple[int, int]:
    height, width = ((shape[axis] + sum(padding[axis]) - size[axis]) // strides[axis] + 1 for axis in (0, 1))
    return height, width


def same_padding(shape: Shape, size: tuple[int, int], strides: tuple[int, int]) -> Padding:
    """Return TensorFlow's SAME padding as (top, bottom), (left, right), with an odd pixel at the end.

    Args:
        shape: The shape of the input; only its height and width matter.
        size: The height and width of the window.
        strides: The strides along height and width.
    """
    pads = []
    for axis in (0, 1):
        out = -(-shape[axis] // strides[axis])
        total = max(0, (out - 1) * strides[axis] + size[axis] - shape[axis])
        pads.append((total // 2, total - total // 2))
    return pads[0], pads[1]
