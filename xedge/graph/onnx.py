"""Write the reference graph as ONNX (NCHW inside); in float it is the executable form of the reference."""

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
    Dense,
    Depthwise,
    Fused,
    Graph,
    Input,
    Mean,
    Multiply,
    Node,
    Pad,
    Padding,
    Pool,
    Reshape,
    Softmax,
    Weighted,
)
from xedge.graph.writing import expanded, writer_of, writes
from xedge.types import Tensor

# The first opset with scales per channel. Its IR version 7 is read by ONNX Runtime 1.6 and TensorRT 8, so by
# JetPack 4 and every Raspberry Pi OS that has ONNX Runtime at all.
OPSET = 13
IR_VERSION = 7
SIMPLE_ACTIVATIONS = {"relu": "Relu", "elu": "Elu", "sigmoid": "Sigmoid", "tanh": "Tanh"}


def shared_model(
    graph: Graph, outputs: Iterable[str] = (), writer: SharingWriter | None = None
) -> tuple[Any, dict[str, np.ndarray]]:
    """Return an ``onnx.ModelProto`` that computes the graph in float32, and its weights, which it only names.

    Its input is NCHW (N, C, H, W); the tensors named in ``outputs`` are outputs beside the graph's own,
    NCHW where they have height and width. Another ``writer`` of this graph may compute something else.
    """
    if writer is None:
        graph = expanded("onnx", graph)
        writer = SharingWriter(graph)
    for node in graph:
        writer.write(node)
    return writer.model((graph.output, *(name for name in outputs if name != graph.output))), writer.shared


class OnnxWriter:
    """Nodes and initializers in the making.

    Writers of other precisions change what a node reads, what its result is called and how weights are stored.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        # Weights are written where they stay: ONNX' helpers would copy each of them twice more.
        self._model = onnx.ModelProto(ir_version=IR_VERSION, producer_name="xedge")
        self._model.opset_import.append(helper.make_opsetid("", OPSET))
        self._model.graph.name = graph.name

    def constant(self, name: str, value: np.ndarray) -> str:
        """Add an initializer and return its name."""
        tensor = self.initializer(name, value)
        tensor.raw_data = value.tobytes()
        return name

    def initializer(self, name: str, value: np.ndarray) -> Any:
        """Add an initializer without its values."""
        kind = helper.np_dtype_to_tensor_dtype(value.dtype)
        return self._model.graph.initializer.add(name=name, data_type=kind, dims=value.shape)

    def emit(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """Add one ONNX node and return its output's name."""
        self.add(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def add(self, node: Any) -> None:
        """Add one ONNX node that is made already."""
        self._model.graph.node.append(node)

    def read(self, name: str) -> str:
        """Return the float ONNX tensor that holds a tensor of the graph."""
        return name

    def result(self, node: Node) -> str:
        """Return what the float ONNX tensor is called that a node makes."""
        return node.name

    def weight(self, name: str, value: np.ndarray) -> str:
        """Add a float weight and return the tensor that holds it."""
        return self.constant(name, value)

    def kernel_and_bias(self, node: Weighted) -> tuple[str, str]:
        """Add a node's weights and return the tensors that hold them."""
        return self.weight(f"{node.name}#kernel", kernel_layout(node, node.kernel)), self.constant(
            f"{node.name}#bias", node.bias
        )

    def write(self, node: Node) -> None:
        """Add what one node of the reference graph needs.

        The function that is registered for its class is called with this writer, the node, the float tensors that it
        reads, and what its float result is called.
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
        """Return the finished model with these inputs and outputs."""
        self._model.graph.input.append(start)
        self._model.graph.output.extend(ends)
        return self._model

    def fused(self, kind: str, activation: Fused, inputs: list[str], output: str, **attributes: Any) -> None:
        """Add a node and, behind it, the activation that is part of it."""
        if activation == "none":
            self.emit(kind, inputs, output, **attributes)
            return
        linear = self.emit(kind, inputs, f"{output}#linear", **attributes)
        self.rectified(activation, linear, output)

    def rectified(self, kind: str, source: str, output: str) -> None:
        """Add a ReLU, or one with the bound 6."""
        if kind == "relu":
            self.emit("Relu", [source], output)
            return
        low = self.constant(f"{output}#low", np.float32(0.0).reshape(()))
        high = self.constant(f"{output}#high", np.float32(6.0).reshape(()))
        self.emit("Clip", [source, low, high], output)

    def gate(self, node: Activation, kind: str, source: str, **attributes: Any) -> str:
        """Add the factor in [0, 1] of an activation that multiplies by one."""
        return self.emit(kind, [source], f"{node.name}#gate", **attributes)


@writes("onnx", Input)
def _input(writer: OnnxWriter, node: Input, inputs: list[str], output: str) -> None:
    del writer, node, inputs, output  # the ends of a model are written apart


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
    del node
    writer.emit("Concat", inputs, output, axis=1)


@writes("onnx", Softmax)
def _softmax(writer: OnnxWriter, node: Softmax, inputs: list[str], output: str) -> None:
    del node
    writer.emit("Softmax", inputs, output, axis=1)


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


class SharingWriter(OnnxWriter):
    """Keeps weights out of the model: a second copy of them would be the largest thing in memory.

    ``shared`` holds them by name.
    """

    def __init__(self, graph: Graph) -> None:
        super().__init__(graph)
        self.shared: dict[str, np.ndarray] = {}

    def weight(self, name: str, value: np.ndarray) -> str:
        """Name a float weight and keep it."""
        self.shared[name] = np.ascontiguousarray(value, np.float32)
        tensor = self.initializer(name, value)
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value="memory")
        return name


def kernel_layout(node: Weighted, kernel: Tensor) -> Tensor:
    """Return a kernel as ONNX stores it: (out, in, h, w), depthwise (channels, 1, h, w), dense (in, out)."""
    if isinstance(node, Conv):
        return np.asarray(kernel.transpose(3, 2, 0, 1))
    if isinstance(node, Depthwise):
        return np.asarray(kernel.transpose(2, 0, 1)[:, None])
    return kernel


def _pads(padding: Padding) -> list[int]:
    (top, bottom), (left, right) = padding
    return [top, left, bottom, right]


def convolution(node: Conv | Depthwise) -> dict[str, Any]:
    """Return the attributes that convolutions of floats and of integers share."""
    return {"strides": node.strides, "pads": _pads(node.padding), "dilations": node.dilation}


def serialized(model: Any) -> bytes:
    """Return the model's bytes.

    Raises:
        UnsupportedError: the model passes protobuf's 2 GB.
    """
    try:
        data: bytes = model.SerializeToString()
    except ValueError as error:
        raise UnsupportedError(f"{model.graph.name}: too large for one ONNX file (2 GB)") from error
    return data


__all__ = ["OnnxWriter", "SharingWriter", "convolution", "kernel_layout", "serialized", "shared_model"]
