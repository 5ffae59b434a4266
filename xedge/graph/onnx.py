"""Write the reference graph as float ONNX (NCHW inside): the executable form of the reference."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from xedge.errors import UnsupportedError
from xedge.graph.ir import (
    Activation,
    Add,
    Concat,
    Conv,
    Depthwise,
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

OPSET = 13
IR_VERSION = 8
SIMPLE_ACTIVATIONS = {"relu": "Relu", "elu": "Elu", "sigmoid": "Sigmoid", "tanh": "Tanh"}


def float_model(graph: Graph, outputs: Iterable[str] = ()) -> Any:
    """Return an ``onnx.ModelProto`` that computes the graph in float32.

    Its input is NCHW (N, C, H, W); the tensors named in ``outputs`` are outputs beside the graph's own,
    NCHW where they have height and width.
    """
    writer = OnnxWriter(graph)
    for node in graph:
        writer.write(node)
    return writer.model((graph.output, *(name for name in outputs if name != graph.output)))


class OnnxWriter:
    """Nodes and initializers in the making."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.nodes: list[Any] = []
        self.initializers: list[Any] = []

    def constant(self, name: str, value: np.ndarray) -> str:
        """Add an initializer and return its name."""
        self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def emit(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """Add one ONNX node and return its output's name."""
        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def write(self, node: Node) -> None:
        """Add what one node of the reference graph needs."""
        inputs = list(node.inputs)
        match node:
            case Input():
                pass
            case Weighted():
                self._weighted(node)
            case Add():
                self._fused("Add", node, inputs)
            case Multiply():
                self.emit("Mul", inputs, node.name)
            case Concat():
                self.emit("Concat", inputs, node.name, axis=1)
            case Activation():
                self._activation(node)
            case Pool():
                self._pool(node)
            case Mean():
                self._mean(node)
            case Pad():
                (top, bottom), (left, right) = node.padding
                pads = self.constant(f"{node.name}/pads", np.array([0, 0, top, left, 0, 0, bottom, right], np.int64))
                self.emit("Pad", [*inputs, pads], node.name)
            case Reshape():
                self._reshape(node)
            case Softmax():
                self.emit("Softmax", inputs, node.name, axis=1)
            case _:
                raise UnsupportedError(f"{node.name}: {type(node).__name__} has no ONNX form here")

    def model(self, outputs: Iterable[str]) -> Any:
        """Return the finished model."""
        source = self.graph.input
        height, width, channels = source.shape
        inputs = [helper.make_tensor_value_info(source.name, TensorProto.FLOAT, ["N", channels, height, width])]
        values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
        graph = helper.make_graph(self.nodes, self.graph.name, inputs, values, self.initializers)
        return helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="xedge"
        )

    def _fused(self, kind: str, node: Add | Weighted, inputs: list[str], **attributes: Any) -> None:
        if node.activation == "none":
            self.emit(kind, inputs, node.name, **attributes)
            return
        linear = self.emit(kind, inputs, f"{node.name}/linear", **attributes)
        self._rectified(node.activation, linear, node.name)

    def _rectified(self, kind: str, source: str, output: str) -> None:
        if kind == "relu":
            self.emit("Relu", [source], output)
            return
        low = self.constant(f"{output}/low", np.float32(0.0).reshape(()))
        high = self.constant(f"{output}/high", np.float32(6.0).reshape(()))
        self.emit("Clip", [source, low, high], output)

    def _weighted(self, node: Weighted) -> None:
        kernel, attributes = node.kernel, {}
        kind = "Conv"
        if isinstance(node, Conv):
            kernel = kernel.transpose(3, 2, 0, 1)
            attributes = {"group": node.groups, **_convolution(node)}
        elif isinstance(node, Depthwise):
            kernel = kernel.transpose(2, 0, 1)[:, None]
            attributes = {"group": self.graph.shape(node.inputs[0])[-1], **_convolution(node)}
        else:
            kind = "Gemm"
        weight = self.constant(f"{node.name}/kernel", kernel)
        bias = self.constant(f"{node.name}/bias", node.bias)
        self._fused(kind, node, [node.inputs[0], weight, bias], **attributes)

    def _activation(self, node: Activation) -> None:
        source = node.inputs[0]
        match node.kind:
            case "relu" | "relu6":
                self._rectified(node.kind, source, node.name)
            case "leaky_relu":
                self.emit("LeakyRelu", [source], node.name, alpha=node.alpha)
            case "silu":
                gate = self.emit("Sigmoid", [source], f"{node.name}/gate")
                self.emit("Mul", [source, gate], node.name)
            case "hard_sigmoid":
                self.emit("HardSigmoid", [source], node.name, alpha=1 / 6, beta=0.5)
            case "hard_silu":
                gate = self.emit("HardSigmoid", [source], f"{node.name}/gate", alpha=1 / 6, beta=0.5)
                self.emit("Mul", [source, gate], node.name)
            case "gelu":
                self._gelu(node)
            case kind:
                self.emit(SIMPLE_ACTIVATIONS[kind], [source], node.name)

    def _gelu(self, node: Activation) -> None:
        """Compute x / 2 * (1 + erf(x / sqrt 2)); Hendrycks and Gimpel, 2016, section 2."""
        source, name = node.inputs[0], node.name
        root, one, half = (
            self.constant(f"{name}/{key}", np.float32(value).reshape(()))
            for key, value in (("root", np.sqrt(0.5)), ("one", 1.0), ("half", 0.5))
        )
        scaled = self.emit("Mul", [source, root], f"{name}/scaled")
        error = self.emit("Erf", [scaled], f"{name}/erf")
        gate = self.emit("Add", [error, one], f"{name}/gate")
        product = self.emit("Mul", [source, gate], f"{name}/product")
        self.emit("Mul", [product, half], name)

    def _pool(self, node: Pool) -> None:
        attributes = {"kernel_shape": node.size, "strides": node.strides, "pads": _pads(node.padding)}
        if node.kind == "average":
            self.emit("AveragePool", list(node.inputs), node.name, count_include_pad=0, **attributes)
        else:
            self.emit("MaxPool", list(node.inputs), node.name, **attributes)

    def _mean(self, node: Mean) -> None:
        if node.keepdims:
            self.emit("GlobalAveragePool", list(node.inputs), node.name)
        else:
            pooled = self.emit("GlobalAveragePool", list(node.inputs), f"{node.name}/pool")
            self.emit("Flatten", [pooled], node.name)

    def _reshape(self, node: Reshape) -> None:
        source, shape = node.inputs[0], node.shape
        if len(self.graph.shape(source)) == 3:
            source = self.emit("Transpose", [source], f"{node.name}/nhwc", perm=[0, 2, 3, 1])
        wanted = self.constant(f"{node.name}/shape", np.array([-1, *shape], np.int64))
        if len(shape) == 3:
            nhwc = self.emit("Reshape", [source, wanted], f"{node.name}/values")
            self.emit("Transpose", [nhwc], node.name, perm=[0, 3, 1, 2])
        else:
            self.emit("Reshape", [source, wanted], node.name)


def _pads(padding: Padding) -> list[int]:
    (top, bottom), (left, right) = padding
    return [top, left, bottom, right]


def _convolution(node: Conv | Depthwise) -> dict[str, Any]:
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


__all__ = ["IR_VERSION", "OPSET", "OnnxWriter", "float_model", "onnx", "serialized"]
