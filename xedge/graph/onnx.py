"""Write the reference graph as ONNX, in NCHW layout; in float, this is the form in which the reference is run."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from xedge.errors import UnsupportedError
from xedge.graph.ir import (
    Activation,
    Add,
    Concat,
    Conv,
    Crop,
    Dense,
    Depthwise,
    Elementwise,
    Fused,
    Graph,
    Input,
    MatMul,
    Mean,
    Multiply,
    Node,
    Pad,
    Padding,
    Pool,
    Reduce,
    Reshape,
    Resize,
    Softmax,
    Transpose,
    TransposedConv,
    Unary,
    Weighted,
    channels_first,
    transposition,
)
from xedge.graph.writing import expanded, writer_of, writes
from xedge.types import Tensor

# The first opset with per-channel scales. Its IR version 7 is read by ONNX Runtime 1.6 and TensorRT 8, and thus by
# JetPack 4 and by every Raspberry Pi OS for which ONNX Runtime exists at all.
OPSET = 13
IR_VERSION = 7
ELEMENTWISE = {
    "add": "Add",
    "subtract": "Sub",
    "multiply": "Mul",
    "divide": "Div",
    "maximum": "Max",
    "minimum": "Min",
}
UNARY = {"exp": "Exp", "log": "Log", "sqrt": "Sqrt", "abs": "Abs", "negative": "Neg", "sign": "Sign"}
SIMPLE_ACTIVATIONS = {"relu": "Relu", "elu": "Elu", "sigmoid": "Sigmoid", "tanh": "Tanh"}


def shared_model(
    graph: Graph, outputs: Iterable[str] = (), writer: SharingWriter | None = None
) -> tuple[Any, dict[str, np.ndarray]]:
    """Return an ``onnx.ModelProto`` that computes the graph in float32, and its weights by name.

    The model contains only the names of the weights. Its input is (N, C, H, W).

    Args:
        graph: The graph.
        outputs: The names of tensors that become outputs in addition to the graph's own; they are NCHW if they have
            height and width.
        writer: A writer of this graph that computes something else; None computes the graph as it is.
    """
    if writer is None:
        graph = expanded("onnx", graph)
        writer = SharingWriter(graph)
    for node in graph:
        writer.write(node)
    return writer.model((graph.output, *(name for name in outputs if name != graph.output))), writer.shared


class OnnxWriter:
    """A writer of ONNX nodes and initializers.

    Writers for other precisions override what a node reads, the name of its result, and how weights are stored.

    Args:
        graph: The graph to write.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        # Weights are written directly into the model, because ONNX' helpers would copy each of them two more times.
        self._model = onnx.ModelProto(ir_version=IR_VERSION, producer_name="xedge")
        self._model.opset_import.append(helper.make_opsetid("", OPSET))
        self._model.graph.name = graph.name

    def constant(self, name: str, value: np.ndarray) -> str:
        """Add an initializer for values to compute with, and return its name; a writer may store them otherwise."""
        return self.parameter(name, value)

    def parameter(self, name: str, value: np.ndarray) -> str:
        """Add an initializer whose type the operation prescribes, such as the scales of a Resize; return its name."""
        tensor = self.initializer(name, value)
        tensor.raw_data = value.tobytes()
        return name

    def initializer(self, name: str, value: np.ndarray) -> Any:
        """Add an initializer without its values."""
        kind = helper.np_dtype_to_tensor_dtype(value.dtype)
        return self._model.graph.initializer.add(name=name, data_type=kind, dims=value.shape)

    def emit(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """Add one ONNX node and return the name of its output.

        Args:
            kind: The ONNX operation.
            inputs: The names of the ONNX tensors that it reads.
            output: The name of its output, which is also that of the node.
            attributes: The attributes of the ONNX node.
        """
        self.add(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def note(self, name: str, value: str) -> None:
        """Add an entry to the file's metadata."""
        self._model.metadata_props.add(key=name, value=value)

    def add(self, node: Any) -> None:
        """Add one ONNX node that already exists."""
        self._model.graph.node.append(node)

    def read(self, name: str) -> str:
        """Return the name of the float ONNX tensor that holds a tensor of the graph."""
        return name

    def result(self, node: Node) -> str:
        """Return the name of the float ONNX tensor that a node computes."""
        return node.name

    def weight(self, name: str, value: np.ndarray) -> str:
        """Add a float weight and return the name of the tensor that holds it."""
        return self.constant(name, value)

    def kernel_and_bias(self, node: Weighted) -> tuple[str, str]:
        """Add the kernel and the bias of a node and return the names of the tensors that hold them."""
        return self.weight(f"{node.name}#kernel", kernel_layout(node, node.kernel)), self.constant(
            f"{node.name}#bias", node.bias
        )

    def write(self, node: Node) -> None:
        """Write one node of the reference graph.

        The function that is registered for its class is called with this writer, the node, the names of the float
        tensors that it reads, and the name of its float result.
        """
        inputs, output = [self.read(name) for name in node.inputs], self.result(node)
        writer_of("onnx", node)(self, node, inputs, output)

    def model(self, outputs: Iterable[str]) -> Any:
        """Return the finished model."""
        source = self.graph.input
        height, width, channels = source.shape
        start = helper.make_tensor_value_info(source.name, TensorProto.FLOAT, ["N", channels, height, width])
        return self.with_ends(start, [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs])

    def with_ends(self, start: Any, ends: list[Any]) -> Any:
        """Return the finished model with this input and these outputs."""
        self._model.graph.input.append(start)
        self._model.graph.output.extend(ends)
        return self._model

    def fused(self, kind: str, activation: Fused, inputs: list[str], output: str, **attributes: Any) -> None:
        """Add a node and, after it, the activation that is fused into it.

        Args:
            kind: The ONNX operation.
            activation: The fused activation.
            inputs: The names of the ONNX tensors that the node reads.
            output: The name of the result after the activation.
            attributes: The attributes of the ONNX node.
        """
        if activation == "none":
            self.emit(kind, inputs, output, **attributes)
            return
        linear = self.emit(kind, inputs, f"{output}#linear", **attributes)
        self.rectified(activation, linear, output)

    def rectified(self, kind: str, source: str, output: str) -> None:
        """Add a ReLU, or a ReLU with upper bound 6."""
        if kind == "relu":
            self.emit("Relu", [source], output)
            return
        low = self.constant(f"{output}#low", np.float32(0.0).reshape(()))
        high = self.constant(f"{output}#high", np.float32(6.0).reshape(()))
        self.emit("Clip", [source, low, high], output)

    def gate(self, node: Activation, kind: str, source: str, **attributes: Any) -> str:
        """Add the gate of an activation that multiplies its input by a factor in [0, 1], and return its name."""
        return self.emit(kind, [source], f"{node.name}#gate", **attributes)


@writes("onnx", Input)
def _input(writer: OnnxWriter, node: Input, inputs: list[str], output: str) -> None:
    del writer, node, inputs, output  # The inputs and outputs of a model are written separately.


@writes("onnx", Conv, Depthwise)
def _convolution(writer: OnnxWriter, node: Conv | Depthwise, inputs: list[str], output: str) -> None:
    groups = node.groups if isinstance(node, Conv) else writer.graph.shape(node.inputs[0])[-1]
    read = [*inputs, *writer.kernel_and_bias(node)]
    writer.fused("Conv", node.activation, read, output, group=groups, **convolution(node))


@writes("onnx", Dense)
def _dense(writer: OnnxWriter, node: Dense, inputs: list[str], output: str) -> None:
    writer.fused("Gemm", node.activation, [*inputs, *writer.kernel_and_bias(node)], output)


@writes("onnx", Add)
def _add(writer: OnnxWriter, node: Add, inputs: list[str], output: str) -> None:
    writer.fused("Add", node.activation, inputs, output)


@writes("onnx", Multiply)
def _multiply(writer: OnnxWriter, node: Multiply, inputs: list[str], output: str) -> None:
    del node
    writer.emit("Mul", inputs, output)


@writes("onnx", Concat)
def _concat(writer: OnnxWriter, node: Concat, inputs: list[str], output: str) -> None:
    rank = len(writer.graph.shape(node.name))
    writer.emit("Concat", inputs, output, axis=channels_first(node.axis % rank, rank))


def _operand(writer: OnnxWriter, name: str, value: np.ndarray) -> str:
    """Add a constant that is broadcast with tensors and return its name; (H, W, C) becomes (1, C, H, W)."""
    value = value.astype(np.float32)
    return writer.constant(name, np.ascontiguousarray(value.transpose(2, 0, 1)[None] if value.ndim == 3 else value))


@writes("onnx", Elementwise)
def _elementwise(writer: OnnxWriter, node: Elementwise, inputs: list[str], output: str) -> None:
    if node.constant is not None:
        constant = _operand(writer, f"{node.name}#constant", node.constant)
        inputs = [constant, *inputs] if node.constant_first else [*inputs, constant]
    writer.emit(ELEMENTWISE[node.kind], inputs, output)


@writes("onnx", Unary)
def _unary(writer: OnnxWriter, node: Unary, inputs: list[str], output: str) -> None:
    writer.emit(UNARY[node.kind], inputs, output)


@writes("onnx", Reduce)
def _reduce(writer: OnnxWriter, node: Reduce, inputs: list[str], output: str) -> None:
    rank = len(writer.graph.shape(node.inputs[0]))
    axes = [channels_first(axis, rank) for axis in node.axes]
    if node.kind == "sum":  # From opset 13 on, the axes of ReduceSum are an input.
        writer.emit("ReduceSum", [*inputs, writer.constant(f"{node.name}#axes", np.array(axes, np.int64))], output)
    else:
        writer.emit({"mean": "ReduceMean", "max": "ReduceMax"}[node.kind], inputs, output, axes=axes)


@writes("onnx", Resize)
def _resize(writer: OnnxWriter, node: Resize, inputs: list[str], output: str) -> None:
    before = writer.graph.shape(node.inputs[0])
    factors = np.array([1, 1, node.size[0] / before[0], node.size[1] / before[1]], np.float32)
    scales = writer.parameter(f"{node.name}#scales", factors)
    if node.kind == "nearest":
        how = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    else:
        how = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
    writer.emit("Resize", [*inputs, "", scales], output, **how)


@writes("onnx", Crop)
def _crop(writer: OnnxWriter, node: Crop, inputs: list[str], output: str) -> None:
    begin, end = np.array(node.begin, np.int64), np.array(node.begin, np.int64) + np.array(node.size, np.int64)
    parts = {"begin": begin, "end": end, "axes": np.array([2, 3], np.int64)}
    writer.emit("Slice", [*inputs, *(writer.constant(f"{node.name}#{k}", v) for k, v in parts.items())], output)


@writes("onnx", TransposedConv)
def _transposed_convolution(writer: OnnxWriter, node: TransposedConv, inputs: list[str], output: str) -> None:
    read = [*inputs, *writer.kernel_and_bias(node)]
    writer.fused("ConvTranspose", node.activation, read, output, strides=node.strides, pads=_pads(node.padding))


@writes("onnx", Softmax)
def _softmax(writer: OnnxWriter, node: Softmax, inputs: list[str], output: str) -> None:
    rank = len(writer.graph.shape(node.name))
    writer.emit("Softmax", inputs, output, axis=channels_first(rank - 1, rank))


@writes("onnx", Pad)
def _pad(writer: OnnxWriter, node: Pad, inputs: list[str], output: str) -> None:
    (top, bottom), (left, right) = node.padding
    pads = writer.constant(f"{node.name}#pads", np.array([0, 0, top, left, 0, 0, bottom, right], np.int64))
    writer.emit("Pad", [*inputs, pads], output)


@writes("onnx", Activation)
def _activation(writer: OnnxWriter, node: Activation, inputs: list[str], output: str) -> None:
    (source,) = inputs
    match node.kind:
        case "relu" | "relu6":
            writer.rectified(node.kind, source, output)
        case "leaky_relu":
            writer.emit("LeakyRelu", [source], output, alpha=node.alpha)
        case "silu":
            writer.emit("Mul", [source, writer.gate(node, "Sigmoid", source)], output)
        case "hard_sigmoid":
            writer.emit("HardSigmoid", [source], output, alpha=1 / 6, beta=0.5)
        case "hard_silu":
            writer.emit("Mul", [source, writer.gate(node, "HardSigmoid", source, alpha=1 / 6, beta=0.5)], output)
        case "gelu":
            _gelu(writer, node.name, source, output)
        case kind:
            writer.emit(SIMPLE_ACTIVATIONS[kind], [source], output)


def _gelu(writer: OnnxWriter, name: str, source: str, output: str) -> None:
    """Compute x / 2 * (1 + erf(x / sqrt 2)); Hendrycks and Gimpel, 2016, section 2."""
    root, one, half = (
        writer.constant(f"{name}#{key}", np.float32(value).reshape(()))
        for key, value in (("root", np.sqrt(0.5)), ("one", 1.0), ("half", 0.5))
    )
    scaled = writer.emit("Mul", [source, root], f"{name}#scaled")
    error = writer.emit("Erf", [scaled], f"{name}#erf")
    gate = writer.emit("Add", [error, one], f"{name}#gate")
    product = writer.emit("Mul", [source, gate], f"{name}#product")
    writer.emit("Mul", [product, half], output)


@writes("onnx", Pool)
def _pool(writer: OnnxWriter, node: Pool, inputs: list[str], output: str) -> None:
    attributes = {"kernel_shape": node.size, "strides": node.strides, "pads": _pads(node.padding)}
    if node.kind == "average":
        writer.emit("AveragePool", inputs, output, count_include_pad=0, **attributes)
    else:
        writer.emit("MaxPool", inputs, output, **attributes)


@writes("onnx", Mean)
def _mean(writer: OnnxWriter, node: Mean, inputs: list[str], output: str) -> None:
    if node.keepdims:
        writer.emit("GlobalAveragePool", inputs, output)
    else:
        pooled = writer.emit("GlobalAveragePool", inputs, f"{node.name}#pool")
        writer.emit("Flatten", [pooled], output)


@writes("onnx", Reshape)
def _reshape(writer: OnnxWriter, node: Reshape, inputs: list[str], output: str) -> None:
    (source,) = inputs
    if len(writer.graph.shape(node.inputs[0])) == 3:
        source = writer.emit("Transpose", [source], f"{node.name}#nhwc", perm=[0, 2, 3, 1])
    wanted = writer.constant(f"{node.name}#shape", np.array([-1, *node.shape], np.int64))
    if len(node.shape) == 3:
        nhwc = writer.emit("Reshape", [source, wanted], f"{node.name}#values")
        writer.emit("Transpose", [nhwc], output, perm=[0, 3, 1, 2])
    else:
        writer.emit("Reshape", [source, wanted], output)


@writes("onnx", Transpose)
def _transpose(writer: OnnxWriter, node: Transpose, inputs: list[str], output: str) -> None:
    writer.emit("Transpose", inputs, output, perm=transposition(node.order))


@writes("onnx", MatMul)
def _product(writer: OnnxWriter, node: MatMul, inputs: list[str], output: str) -> None:
    del node
    writer.emit("MatMul", inputs, output)


class SharingWriter(OnnxWriter):
    """A writer that keeps the weights out of the model, because a second copy would be the largest object in memory.

    The attribute ``shared`` holds the weights by name.

    Args:
        graph: The graph to write.
    """

    def __init__(self, graph: Graph) -> None:
        super().__init__(graph)
        self.shared: dict[str, np.ndarray] = {}

    def weight(self, name: str, value: np.ndarray) -> str:
        """Keep a float weight in ``shared`` and return the name of the tensor that stands for it."""
        self.shared[name] = np.ascontiguousarray(value, np.float32)
        tensor = self.initializer(name, value)
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value="memory")
        return name


def kernel_layout(node: Weighted, kernel: Tensor) -> Tensor:
    """Return a kernel in the layout of ONNX.

    The layouts are (out, in, h, w) for convolutions, (channels, 1, h, w) for depthwise convolutions, (in, out, h, w)
    for transposed convolutions, and (in, out) for dense layers.

    Args:
        node: The node of the kernel.
        kernel: The kernel in the layout of the reference graph.
    """
    if isinstance(node, Conv):
        return np.asarray(kernel.transpose(3, 2, 0, 1))
    if isinstance(node, Depthwise):
        return np.asarray(kernel.transpose(2, 0, 1)[:, None])
    if isinstance(node, TransposedConv):
        return np.asarray(kernel.transpose(2, 3, 0, 1))
    return kernel


def _pads(padding: Padding) -> list[int]:
    (top, bottom), (left, right) = padding
    return [top, left, bottom, right]


def convolution(node: Conv | Depthwise) -> dict[str, Any]:
    """Return the attributes that float and integer convolutions have in common."""
    return {"strides": node.strides, "pads": _pads(node.padding), "dilations": node.dilation}


def serialized(model: Any) -> bytes:
    """Return the bytes of the model.

    Raises:
        UnsupportedError: The model exceeds protobuf's limit of 2 GB.
    """
    try:
        data: bytes = model.SerializeToString()
    except ValueError as error:
        raise UnsupportedError(f"{model.graph.name}: the model exceeds 2 GB, the limit for one ONNX file") from error
    return data


__all__ = ["OnnxWriter", "SharingWriter", "convolution", "kernel_layout", "serialized", "shared_model"]
