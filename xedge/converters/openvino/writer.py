"""Write the reference graph as an OpenVINO IR (.xml and .bin): float, int8, or with small weights; NCHW inside."""

from __future__ import annotations

import html
import re
import tempfile
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
from openvino import opset13 as ops

from xedge.converters import Form, Pixels
from xedge.converters._grouped import grouped
from xedge.converters._pixels import factors
from xedge.converters.openvino import TARGET
from xedge.graph.ir import (
    Activation,
    Add,
    Concat,
    Conv,
    Crop,
    Dense,
    Depthwise,
    Elementwise,
    Graph,
    Input,
    MatMul,
    Mean,
    Multiply,
    Node,
    Pad,
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
from xedge.graph.writing import writer_of, writes
from xedge.quantization.affine import STEPS, GroupedKernel, QuantizedKernel, quantize_kernel
from xedge.quantization.front import front
from xedge.quantization.plan import Plan, fitted
from xedge.types import Int8Array, Tensor
from xedge.vocabulary import PART, Batch

# What keeps a layer of the IR in the precision that it has.
PRECISE = '<rt_info>\n\t\t\t\t<attribute name="precise" version="0" />\n\t\t\t</rt_info>\n\t\t\t'
# A uint8 value is the plan's int8 value plus 128.
UINT8_SHIFT = 128
ELEMENTWISE: dict[str, Any] = {
    "add": ops.add,
    "subtract": ops.subtract,
    "multiply": ops.multiply,
    "divide": ops.divide,
    "maximum": ops.maximum,
    "minimum": ops.minimum,
}
UNARY: dict[str, Any] = {
    "exp": ops.exp,
    "log": ops.log,
    "sqrt": ops.sqrt,
    "abs": ops.abs,
    "negative": ops.negative,
    "sign": ops.sign,
}
SIMPLE_ACTIVATIONS: dict[str, Any] = {
    "relu": ops.relu,
    "sigmoid": ops.sigmoid,
    "tanh": ops.tanh,
    "silu": ops.swish,
    "hard_silu": ops.hswish,
}


def convert(graph: Graph, form: Form, plan: Plan | None = None) -> dict[str, bytes]:
    """Return the .xml and .bin files.

    Args:
        graph: The reference graph.
        form: The form of the artifact. ``fp16`` stores weights in half precision, ``dynamic`` in int8 and ``w4`` in 4
            bits; all compute in the precision that the device prefers.
        plan: The quantization plan of this graph, for int8 and w4.

    Raises:
        UnsupportedError: The IR has no such form.
    """
    TARGET.check(form)
    kept = front(graph) & plan.float_nodes if plan is not None and form.precision == "int8" else frozenset[str]()
    graph, plan = fitted("openvino", graph, plan)
    planned = form.precision in ("int8", "w4")
    assert planned == (plan is not None), "a plan goes with int8 and w4, and these with a plan"
    model = Writer(graph, form, plan).model(form.batch)
    with tempfile.TemporaryDirectory(prefix="xedge-") as scratch:
        files = [Path(scratch) / f"model{suffix}" for suffix in (".xml", ".bin")]
        ov.serialize(model, *files)
        written = {file.suffix: file.read_bytes() for file in files}
    return {**written, ".xml": _kept_precise(written[".xml"].decode(), kept).encode()} if kept else written


def _kept_precise(xml: str, names: Collection[str]) -> str:
    """Mark the layers of nodes so that a processor with bfloat16 computes them in float32 all the same.

    With three digits, the first layers of a MobileNet make more noise than in integers. The mark is what OpenVINO's own
    tools put at layers that must not be compressed to half precision.

    Args:
        xml: The graph of the IR.
        names: The names of the nodes.
    """

    def marked(layer: re.Match[str]) -> str:
        node = html.unescape(layer["name"]).partition(PART)[0]
        return f"{layer['start']}{PRECISE if node in names else ''}<input>"

    return re.sub(r'(?P<start><layer [^>]*name="(?P<name>[^"]*)"(?:(?!</layer>).)*?)<input>', marked, xml, flags=re.S)


class Writer:
    """One conversion: which outputs of the IR hold a tensor of the graph, as real values and rounded to its integers.

    Integers are written as FakeQuantize, which the CPU plugin turns into uint8 kernels. A convolution's result is
    rounded only for readers that compute in integers; a float sum reads it unrounded, because the integer kernel can
    give float.

    The function that is registered for a node's class (``writes("openvino", ...)``) is called with this writer, the
    node and the values that it reads, and returns the OpenVINO node that makes its result.
    """

    def __init__(self, graph: Graph, form: Form, plan: Plan | None) -> None:
        self.graph, self.form, self.plan = graph, form, plan
        self.real: dict[str, Any] = {}
        self.rounded: dict[str, Any] = {}

    def model(self, batch: Batch) -> Any:
        """Return the finished ``openvino.Model``."""
        photos = -1 if batch == "dynamic" else batch
        height, width, channels = self.graph.input.shape
        name, pixels, integer_ends = self.graph.input.name, self.form.pixels, self.form.io == "uint8"
        dtype = np.uint8 if integer_ends or pixels is not None else np.float32
        parameter = ops.parameter([photos, channels, height, width], dtype, name=name)
        parameter.output(0).set_names({name})
        photo = parameter.output(0)
        # The integers of the shifted photo are the pixels themselves.
        if integer_ends or (pixels is not None and self.plan is not None and self.plan.input_shift):
            self._take_integers(name, photo)
        elif pixels is not None:
            photo = self._scaled(name, photo, pixels)
        for node in self.graph:
            self.real[node.name] = photo if isinstance(node, Input) else self._write(node)
        output = self._integers(self.graph.output) if integer_ends else self.real[self.graph.output]
        output.set_names({self.graph.output_name})
        return ov.Model([ops.result(output, name=f"{self.graph.output_name}#result")], [parameter], self.graph.name)

    def _write(self, node: Node) -> Any:
        integer = self.plan is not None and self.plan.is_integer(node.name) and not self._is_left_real(node)
        inputs = [self._rounded(name) if integer else self.real[name] for name in node.inputs]
        made = writer_of("openvino", node)(self, node, inputs)
        made.set_friendly_name(node.name)
        return made.output(0)

    def _is_left_real(self, node: Node) -> bool:
        """Whether a node is a maximum between a convolution and float readers, so that nothing has to be rounded."""
        if self.plan is None or not isinstance(node, Pool) or node.kind != "max" or node.name == self.graph.output:
            return False
        alone = isinstance(self.graph[node.inputs[0]], Conv) and self.graph.sole_consumer(node.inputs[0]) is node
        return alone and not any(self.plan.is_integer(reader.name) for reader in self.graph.consumers(node.name))

    def _scaled(self, name: str, photo: Any, pixels: Pixels) -> Any:
        """Return the float photo of uint8 pixels."""
        scale, offset = (factor.reshape(1, -1, 1, 1) for factor in factors(pixels, self.graph.input.shape[-1]))
        real = ops.convert(photo, np.float32, name=f"{name}#real")
        scaled = ops.multiply(real, self.constant(f"{name}#scale_of_pixels", scale), name=f"{name}#scaled")
        return ops.add(scaled, self.constant(f"{name}#offset", offset), name=f"{name}#photo").output(0)

    def _take_integers(self, name: str, integers: Any) -> None:
        """Read a tensor that comes as uint8."""
        assert self.plan is not None
        affine = self.plan.activations[name]
        values = ops.convert(integers, np.float32, name=f"{name}#values")
        if affine.zero_point + UINT8_SHIFT:
            zero = self.constant(f"{name}#zero_point", np.float32(affine.zero_point + UINT8_SHIFT))
            values = ops.subtract(values, zero, name=f"{name}#centred")
        scale = self.constant(f"{name}#scale", np.float32(affine.scale))
        self.rounded[name] = ops.multiply(values, scale, name=f"{name}#quantized").output(0)

    def _integers(self, name: str) -> Any:
        """Return a tensor as uint8."""
        assert self.plan is not None
        affine = self.plan.activations[name]
        scale = self.constant(f"{name}#scale", np.float32(affine.scale))
        zero = self.constant(f"{name}#zero_point", np.float32(affine.zero_point + UINT8_SHIFT))
        moved = ops.add(ops.divide(self._rounded(name), scale, name=f"{name}#steps"), zero, name=f"{name}#moved")
        return ops.convert(ops.round(moved, name=f"{name}#whole"), np.uint8, name=f"{name}#integers").output(0)

    def _rounded(self, name: str) -> Any:
        """Return a tensor's values as its integers can hold them, rounding it once."""
        if name not in self.rounded:
            self.rounded[name] = self.real[name] if self._is_rounded(name) else self._fake_quantized(name)
        return self.rounded[name]

    def _is_rounded(self, name: str) -> bool:
        """Whether a node only moves integers, so that its result is rounded if what it read is."""
        node = self.graph[name]
        averages = isinstance(node, Pool) and node.kind == "average"
        return node.moves_values and not averages and self.plan is not None and self.plan.is_integer(name)

    def _fake_quantized(self, name: str) -> Any:
        assert self.plan is not None
        source, affine = self.real[name], self.plan.activations[name]
        if name == self.graph.input.name and self.plan.input_shift:
            shift = self.constant(f"{name}#shift", np.float32(self.plan.input_shift))
            source = ops.add(source, shift, name=f"{name}#shifted")
        low = self.constant(f"{name}#low", np.float32(affine.low))
        high = self.constant(f"{name}#high", np.float32(affine.high))
        return ops.fake_quantize(source, low, high, low, high, STEPS + 1, name=f"{name}#quantized").output(0)

    def constant(self, name: str, value: Any) -> Any:
        """Add a constant; every node is named, so that the same graph gives the same bytes."""
        return ops.constant(np.asarray(value, order="C"), name=name)

    def weight(self, name: str, value: np.ndarray) -> Any:
        """Add a float weight, stored in half precision except at fp32 and dynamic, and unpacked at compilation."""
        if self.form.precision in ("fp32", "dynamic"):
            return self.constant(name, value)
        stored = self.constant(f"{name}#fp16", value.astype(np.float16))
        return ops.convert(stored, np.float32, name=name)

    def fused(self, node: Weighted | Add, linear: Any) -> Any:
        """Return a node's result with the activation that is part of it."""
        if node.activation == "none":
            return linear
        linear.set_friendly_name(f"{node.name}#linear")
        return ops.relu(linear) if node.activation == "relu" else ops.clamp(linear, 0.0, 6.0)

    def kernel_and_bias(self, node: Weighted) -> tuple[Any, np.ndarray]:
        """Return the kernel's node, float or unpacked from integers, and the bias."""
        if self.plan is not None and node.name in self.plan.weights:
            kernel = self.plan.weights[node.name]
            return self._unpacked(node, kernel), kernel.bias
        name, quantized = f"{node.name}#kernel", self._quantized(node)
        if quantized is None:
            return self.weight(name, self._layout(node, node.kernel)), node.bias
        integers = self.constant(f"{name}#integers", self._layout(node, quantized.values))
        values = ops.convert(integers, np.float32, name=f"{name}#values")
        per_channel = quantized.scales.reshape((1,) * (node.kernel.ndim - 1) + (-1,))
        scales = self.constant(f"{name}#scales", self._layout(node, per_channel))
        return ops.multiply(values, scales, name=name), quantized.bias

    def _unpacked(self, node: Weighted, kernel: GroupedKernel) -> Any:
        """Return the node of a kernel that is unpacked from 4 or 8 bits to float at compilation."""
        name, laid_out = f"{node.name}#kernel", self._layout(node, kernel.values)
        groups = grouped(node, kernel, laid_out)
        if kernel.bits == 4:
            integers = _four_bit_constant(f"{name}#integers", groups.values)
        else:
            integers = self.constant(f"{name}#integers", groups.values)
        values = ops.convert(integers, np.float32, name=f"{name}#values")
        scales = self.constant(f"{name}#scales", groups.scales)
        if groups.scales.dtype == np.float16:
            scales = ops.convert(scales, np.float32, name=f"{name}#unpacked_scales")
        scaled = ops.multiply(values, scales, name=f"{name}#scaled")
        if isinstance(node, Dense):
            # OpenVINO would multiply by a dense layer's packed weights as they are. It then rounds the activations, and
            # where groups have 40, 80 or 90 inputs its results are wrong (2026.4). Adding zero makes it unpack them.
            scaled = ops.add(scaled, self.constant(f"{name}#nothing", np.float32(0)), name=f"{name}#unpacked")
        wanted = self.constant(f"{name}#shape", np.array(laid_out.shape, np.int64))
        return ops.reshape(scaled, wanted, False, name=name)

    def _quantized(self, node: Weighted) -> QuantizedKernel | None:
        if self.plan is not None and self.plan.is_integer(node.name):
            return self.plan.kernels[node.name]
        if self.form.precision == "dynamic" and not isinstance(node, Depthwise):
            return quantize_kernel(node.kernel, node.bias)
        return None

    def _layout(self, node: Weighted, kernel: Tensor) -> Tensor:
        """Return a kernel as OpenVINO stores it: (out, in, h, w), with groups before it, dense (in, out)."""
        if isinstance(node, Dense):
            return kernel
        if isinstance(node, TransposedConv):
            return np.asarray(kernel.transpose(2, 3, 0, 1))
        if isinstance(node, Depthwise):
            height, width, channels = kernel.shape
            groups = self.graph.shape(node.inputs[0])[-1]
            return np.asarray(kernel.transpose(2, 0, 1).reshape(groups, channels // groups, 1, height, width))
        kernel = np.asarray(kernel.transpose(3, 2, 0, 1))
        groups = node.groups if isinstance(node, Conv) else 1
        return kernel if groups == 1 else kernel.reshape(groups, -1, *kernel.shape[1:])


def _four_bit_constant(name: str, values: Int8Array) -> Any:
    """Add integers from -8 to 7 as OpenVINO's i4, two in a byte, the first in the low bits."""
    tensor = ov.Tensor(ov.Type.i4, ov.Shape(values.shape))
    bits = values.reshape(-1).view(np.uint8) & 15
    packed = tensor.data.reshape(-1).view(np.uint8)
    packed[:] = bits[::2] | bits[1::2] << 4
    constant = ov.op.Constant(tensor, shared_memory=False)
    constant.set_friendly_name(name)
    return constant


@writes("openvino", Conv, Depthwise)
def _convolution(writer: Writer, node: Conv | Depthwise, inputs: list[Any]) -> Any:
    kernel, bias = writer.kernel_and_bias(node)
    (top, bottom), (left, right) = node.padding
    attributes = (list(node.strides), [top, left], [bottom, right], list(node.dilation))
    grouped = isinstance(node, Depthwise) or node.groups != 1
    convolution = ops.group_convolution if grouped else ops.convolution
    product = convolution(inputs[0], kernel, *attributes, name=f"{node.name}#product")
    return writer.fused(node, ops.add(product, writer.constant(f"{node.name}#bias", bias.reshape(1, -1, 1, 1))))


@writes("openvino", Dense)
def _dense(writer: Writer, node: Dense, inputs: list[Any]) -> Any:
    kernel, bias = writer.kernel_and_bias(node)
    product = ops.matmul(inputs[0], kernel, False, False, name=f"{node.name}#product")
    return writer.fused(node, ops.add(product, writer.constant(f"{node.name}#bias", bias.reshape(1, -1))))


@writes("openvino", Add)
def _add(writer: Writer, node: Add, inputs: list[Any]) -> Any:
    return writer.fused(node, ops.add(*inputs))


@writes("openvino", Multiply)
def _multiply(writer: Writer, node: Multiply, inputs: list[Any]) -> Any:
    del writer, node
    return ops.multiply(*inputs)


@writes("openvino", Concat)
def _concat(writer: Writer, node: Concat, inputs: list[Any]) -> Any:
    rank = len(writer.graph.shape(node.name))
    return ops.concat(inputs, channels_first(node.axis % rank, rank))


@writes("openvino", Elementwise)
def _elementwise(writer: Writer, node: Elementwise, inputs: list[Any]) -> Any:
    if node.constant is not None:
        value = node.constant.astype(np.float32)
        value = np.ascontiguousarray(value.transpose(2, 0, 1)[None]) if value.ndim == 3 else value
        constant = writer.constant(f"{node.name}#constant", value)
        inputs = [constant, *inputs] if node.constant_first else [*inputs, constant]
    return ELEMENTWISE[node.kind](*inputs)


@writes("openvino", Unary)
def _unary(writer: Writer, node: Unary, inputs: list[Any]) -> Any:
    del writer
    return UNARY[node.kind](inputs[0])


@writes("openvino", Reduce)
def _reduce(writer: Writer, node: Reduce, inputs: list[Any]) -> Any:
    rank = len(writer.graph.shape(node.inputs[0]))
    places = [channels_first(axis, rank) for axis in node.axes]
    axes = writer.constant(f"{node.name}#axes", np.array(places, np.int64))
    return {"mean": ops.reduce_mean, "max": ops.reduce_max, "sum": ops.reduce_sum}[node.kind](inputs[0], axes, True)


@writes("openvino", Resize)
def _resize(writer: Writer, node: Resize, inputs: list[Any]) -> Any:
    size = writer.constant(f"{node.name}#size", np.array(node.size, np.int64))
    axes = writer.constant(f"{node.name}#axes", np.array([2, 3], np.int64))
    nearest = node.kind == "nearest"
    return ops.interpolate(
        inputs[0],
        size,
        "nearest" if nearest else "linear_onnx",
        "sizes",
        coordinate_transformation_mode="asymmetric" if nearest else "half_pixel",
        nearest_mode="floor",
        axes=axes,
    )


@writes("openvino", Crop)
def _crop(writer: Writer, node: Crop, inputs: list[Any]) -> Any:
    end = np.array(node.begin) + np.array(node.size)
    parts = {"begin": node.begin, "end": end, "step": (1, 1), "axes": (2, 3)}
    return ops.slice(
        inputs[0], *(writer.constant(f"{node.name}#{key}", np.array(v, np.int64)) for key, v in parts.items())
    )


@writes("openvino", TransposedConv)
def _transposed_convolution(writer: Writer, node: TransposedConv, inputs: list[Any]) -> Any:
    kernel, bias = writer.kernel_and_bias(node)
    (top, bottom), (left, right) = node.padding
    product = ops.convolution_backprop_data(
        inputs[0], kernel, list(node.strides), None, [top, left], [bottom, right], name=f"{node.name}#product"
    )
    return writer.fused(node, ops.add(product, writer.constant(f"{node.name}#bias", bias.reshape(1, -1, 1, 1))))


@writes("openvino", Softmax)
def _softmax(writer: Writer, node: Softmax, inputs: list[Any]) -> Any:
    rank = len(writer.graph.shape(node.name))
    return ops.softmax(inputs[0], channels_first(rank - 1, rank))


@writes("openvino", Mean)
def _mean(writer: Writer, node: Mean, inputs: list[Any]) -> Any:
    axes = writer.constant(f"{node.name}#axes", np.array([2, 3], np.int64))
    return ops.reduce_mean(inputs[0], axes, node.keepdims)


@writes("openvino", Pad)
def _pad(writer: Writer, node: Pad, inputs: list[Any]) -> Any:
    (top, bottom), (left, right) = node.padding
    begin = writer.constant(f"{node.name}#begin", np.array([0, 0, top, left], np.int64))
    end = writer.constant(f"{node.name}#end", np.array([0, 0, bottom, right], np.int64))
    return ops.pad(inputs[0], begin, end, "constant", writer.constant(f"{node.name}#zero", np.float32(0)))


@writes("openvino", Activation)
def _activation(writer: Writer, node: Activation, inputs: list[Any]) -> Any:
    (source,) = inputs
    match node.kind:
        case "relu6":
            return ops.clamp(source, 0.0, 6.0)
        case "leaky_relu":
            return ops.prelu(source, writer.constant(f"{node.name}#alpha", np.array([node.alpha], np.float32)))
        case "elu":
            return ops.elu(source, 1.0)
        case "hard_sigmoid":
            alpha = writer.constant(f"{node.name}#alpha", np.float32(1 / 6))
            return ops.hard_sigmoid(source, alpha, writer.constant(f"{node.name}#beta", np.float32(0.5)))
        case "gelu":
            return ops.gelu(source, "erf")
        case kind:
            return SIMPLE_ACTIVATIONS[kind](source)


@writes("openvino", Pool)
def _pool(writer: Writer, node: Pool, inputs: list[Any]) -> Any:
    del writer
    (top, bottom), (left, right) = node.padding
    begin, end = [top, left], [bottom, right]
    if node.kind == "average":
        return ops.avg_pool(inputs[0], list(node.strides), begin, end, list(node.size), True)
    return ops.max_pool(inputs[0], list(node.strides), [1, 1], begin, end, list(node.size))


@writes("openvino", Reshape)
def _reshape(writer: Writer, node: Reshape, inputs: list[Any]) -> Any:
    (source,) = inputs
    if len(writer.graph.shape(node.inputs[0])) == 3:
        order = writer.constant(f"{node.name}#to_nhwc", np.array([0, 2, 3, 1], np.int64))
        source = ops.transpose(source, order, name=f"{node.name}#nhwc")
    wanted = writer.constant(f"{node.name}#shape", np.array([0, *node.shape], np.int64))
    values = ops.reshape(source, wanted, True, name=f"{node.name}#values")
    if len(node.shape) != 3:
        return values
    return ops.transpose(values, writer.constant(f"{node.name}#to_nchw", np.array([0, 3, 1, 2], np.int64)))


@writes("openvino", Transpose)
def _transpose(writer: Writer, node: Transpose, inputs: list[Any]) -> Any:
    return ops.transpose(
        inputs[0], writer.constant(f"{node.name}#order", np.array(transposition(node.order), np.int64))
    )


@writes("openvino", MatMul)
def _product(writer: Writer, node: MatMul, inputs: list[Any]) -> Any:
    del writer, node
    return ops.matmul(*inputs, False, False)
