"""TFLite: write the reference graph straight into a flatbuffer, as float, fp16, dynamic-range, int8 or w4."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from xedge.converters import Form, Pixels
from xedge.converters._pixels import factors
from xedge.converters.tflite import TARGET
from xedge.converters.tflite.flatbuffer import Quantization, TfliteBuilder
from xedge.errors import UnsupportedError
from xedge.graph.ir import (
    NO_PADDING,
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
    same_padding,
)
from xedge.graph.writing import writer_of, writes
from xedge.quantization.affine import LOWEST, Affine, GroupedKernel, QuantizedKernel, bias_steps, quantize_kernel
from xedge.quantization.plan import Plan, fitted
from xedge.runtimes._interpreter import HALF_MARK

FUSED: dict[Fused, int] = {
    "none": schema.ActivationFunctionType.NONE,
    "relu": schema.ActivationFunctionType.RELU,
    "relu6": schema.ActivationFunctionType.RELU6,
}


@dataclass(frozen=True)
class Operator:
    """An operator of the format.

    Args:
        code: Its name in the schema.
        float_version: The version of its float form, from TensorFlow's op_version.cc.
        int8_version: The version of its int8 form, from the same file; None if there is none.
        options: Its options' type in the schema; None if it has none.
    """

    code: str
    float_version: int = 1
    int8_version: int | None = 2
    options: Any = None

    def version(self, held: Held) -> int:
        """Return the version of the operator for a result in a form."""
        if held.affine is None:
            return self.float_version
        if self.int8_version is None:
            raise UnsupportedError(f"{self.code} has no int8 form in TFLite")
        return self.int8_version


ADD = Operator("ADD", options=schema.AddOptionsT)
AVERAGE_POOL = Operator("AVERAGE_POOL_2D", options=schema.Pool2DOptionsT)
BATCH_MATMUL = Operator("BATCH_MATMUL", int8_version=None, options=schema.BatchMatMulOptionsT)
CAST = Operator("CAST", int8_version=None, options=schema.CastOptionsT)
CONCATENATION = Operator("CONCATENATION", options=schema.ConcatenationOptionsT)
CONV = Operator("CONV_2D", int8_version=3, options=schema.Conv2DOptionsT)
DEPTHWISE_CONV = Operator("DEPTHWISE_CONV_2D", int8_version=3, options=schema.DepthwiseConv2DOptionsT)
FULLY_CONNECTED = Operator("FULLY_CONNECTED", int8_version=None, options=schema.FullyConnectedOptionsT)
LOGISTIC = Operator("LOGISTIC")
MAX_POOL = Operator("MAX_POOL_2D", options=schema.Pool2DOptionsT)
MEAN = Operator("MEAN", options=schema.ReducerOptionsT)
MUL = Operator("MUL", options=schema.MulOptionsT)
PAD = Operator("PAD", options=schema.PadOptionsT)
PAD_WITH = Operator("PADV2", options=schema.PadV2OptionsT)
RESHAPE = Operator("RESHAPE", int8_version=1, options=schema.ReshapeOptionsT)
SOFTMAX = Operator("SOFTMAX", int8_version=None, options=schema.SoftmaxOptionsT)
ACTIVATIONS = {
    "relu": Operator("RELU"),
    "relu6": Operator("RELU6"),
    "elu": Operator("ELU"),
    "sigmoid": LOGISTIC,
    "tanh": Operator("TANH"),
    "gelu": Operator("GELU"),
    "hard_silu": Operator("HARD_SWISH", int8_version=1),
    "leaky_relu": Operator("LEAKY_RELU", options=schema.LeakyReluOptionsT),
}
ELEMENTWISE = {
    "add": ADD,
    "subtract": Operator("SUB", int8_version=None, options=schema.SubOptionsT),
    "multiply": MUL,
    "divide": Operator("DIV", int8_version=None, options=schema.DivOptionsT),
    "maximum": Operator("MAXIMUM", int8_version=None, options=schema.MaximumMinimumOptionsT),
    "minimum": Operator("MINIMUM", int8_version=None, options=schema.MaximumMinimumOptionsT),
}
UNARY = {
    "exp": Operator("EXP", int8_version=None, options=schema.ExpOptionsT),
    "log": Operator("LOG", int8_version=None),
    "sqrt": Operator("SQRT", int8_version=None),
    "abs": Operator("ABS", int8_version=None, options=schema.AbsOptionsT),
    "negative": Operator("NEG", int8_version=None, options=schema.NegOptionsT),
    "sign": Operator("SIGN", int8_version=None),
}
REDUCTIONS = {
    "mean": MEAN,
    "max": Operator("REDUCE_MAX", int8_version=None, options=schema.ReducerOptionsT),
    "sum": Operator("SUM", int8_version=None, options=schema.ReducerOptionsT),
}
RESIZE_NEAREST = Operator("RESIZE_NEAREST_NEIGHBOR", int8_version=None, options=schema.ResizeNearestNeighborOptionsT)
RESIZE_BILINEAR = Operator("RESIZE_BILINEAR", float_version=3, int8_version=None, options=schema.ResizeBilinearOptionsT)
SLICE = Operator("SLICE", int8_version=None, options=schema.SliceOptionsT)
TRANSPOSE = Operator("TRANSPOSE", int8_version=None, options=schema.TransposeOptionsT)
TRANSPOSE_CONV = Operator("TRANSPOSE_CONV", int8_version=None, options=schema.TransposeConvOptionsT)
# A convolution of float ends with an integer kernel that has a scale for each output channel.
PER_CHANNEL_DYNAMIC_CONV_VERSION = 5
# A product of float ends with a kernel of 4 bits. ai-edge-litert knows this version of the operator from 2.1 on; older
# releases would compute wrong numbers with such a kernel, and refuse the file for the version.
FOUR_BIT_VERSION = 14


def convert(graph: Graph, form: Form, plan: Plan | None = None) -> dict[str, bytes]:
    """Return the .tflite file.

    Args:
        graph: The reference graph.
        form: How weights, activations, input and output are stored.
        plan: The quantization plan of this graph, for int8 and w4.

    Raises:
        UnsupportedError: TFLite has no form for an operation.
    """
    TARGET.check(form)
    graph, plan = fitted("tflite", graph, plan)
    planned = form.precision in ("int8", "w4")
    assert planned == (plan is not None), "a plan goes with int8 and w4, and these with a plan"
    return {".tflite": Writer(graph, form, plan).write()}


@dataclass(frozen=True)
class Held:
    """How a tensor's values are held: as real values, or as integers with these parameters."""

    affine: Affine | None = None


FLOAT = Held()


@dataclass(frozen=True)
class Value:
    """A tensor of the file: its index, and how it holds its values."""

    index: int
    held: Held = FLOAT


class Writer:
    """One conversion: which tensors of the file hold which tensor of the graph.

    The function that is registered for a node's class (``writes("tflite", ...)``) is called with this writer, the node,
    the values that it reads, and how its result is to be held.
    """

    def __init__(self, graph: Graph, form: Form, plan: Plan | None) -> None:
        self.graph, self.plan = graph, plan
        self.precision, self.io, self.pixels = form.precision, form.io, form.pixels
        self.builder = TfliteBuilder(graph.name)
        if form.half:
            self.builder.note(*HALF_MARK)
        # For each tensor of the graph, what holds it so far; the first is what its node made.
        self.made: dict[str, dict[Held, Value]] = {}
        self.photo = Value(-1)

    def write(self) -> bytes:
        """Write every node and return the file."""
        for node in self.graph:
            if isinstance(node, Input):
                self._input(node)
            elif self.plan is not None and self.plan.is_integer(node.name):
                inputs = [self.value(name, self._wanted(node, name, self.plan)) for name in node.inputs]
                writer_of("tflite", node)(self, node, inputs, self.integers(node.name))
            else:
                writer_of("tflite", node)(self, node, [self.value(name, FLOAT) for name in node.inputs], FLOAT)
        output = self.value(self.graph.output, self.integers(self.graph.output) if self.io == "int8" else FLOAT)
        return self.builder.serialized(
            {self.graph.input.name: self.photo.index},
            {self.graph.output_name: output.index},
            f"xedge {self.precision}",
        )

    # Tensors

    def integers(self, name: str) -> Held:
        """Return the integer form that the plan gives a tensor."""
        assert self.plan is not None
        return Held(self.plan.activations[name])

    def new(self, name: str, shape: tuple[int, ...], held: Held = FLOAT) -> Value:
        """Add an empty tensor; the batch of 1 is put before the shape."""
        if held.affine is None:
            return Value(self.builder.tensor(name, (1, *shape), np.float32))
        parameters = Quantization(scales=np.array([held.affine.scale]), zero_points=np.array([held.affine.zero_point]))
        return Value(self.builder.tensor(name, (1, *shape), np.int8, parameters), held)

    def result(self, node: Node, held: Held = FLOAT) -> Value:
        """Add the tensor that a node makes and remember it."""
        name = self.graph.output_name if node.name == self.graph.output else node.name
        return self._remember(node.name, self.new(name, self.graph.shape(node.name), held))

    def _remember(self, name: str, value: Value) -> Value:
        self.made.setdefault(name, {})[value.held] = value
        return value

    def value(self, name: str, held: Held) -> Value:
        """Return a tensor of the graph in a form, converting it once if nothing has made it so."""
        made = self.made[name]
        if held not in made:
            first = next(iter(made.values()))
            source = self._shifted(name, first, held)
            to = "real" if held.affine is None else "integer" if first.held.affine is None else "requantized"
            self._remember(name, self.converted(source, self.new(f"{name}#{to}", self.graph.shape(name), held)))
        return made[held]

    def converted(self, source: Value, target: Value) -> Value:
        """Add what converts one tensor's values to the form of another, and return that one."""
        if target.held.affine is None:
            self.builder.operator("DEQUANTIZE", 2, [source.index], target.index, schema.DequantizeOptionsT())
        else:
            version = 1 if source.held.affine is None else 2
            self.builder.operator("QUANTIZE", version, [source.index], target.index, schema.QuantizeOptionsT())
        return target

    def _shifted(self, name: str, source: Value, held: Held) -> Value:
        """Return the photo plus the plan's shift, with which the integers hold every pixel value exactly."""
        if self.plan is None or name != self.graph.input.name or not self.plan.input_shift or held.affine is None:
            return source
        shift = self.constant(f"{name}#shift", np.full((1,), self.plan.input_shift, np.float32))
        return self.emit(ADD, [source, shift], self.new(f"{name}#shifted", self.graph.shape(name)))

    def constant(self, name: str, data: np.ndarray, quantization: Quantization | None = None) -> Value:
        """Add a constant tensor."""
        return Value(self.builder.tensor(name, data.shape, data.dtype, quantization, data))

    def weight(self, name: str, data: np.ndarray) -> Value:
        """Add a float weight; at fp16, and where int8 and w4 have floats, it is kept as fp16 and unpacked at load."""
        if self.precision in ("fp32", "dynamic"):
            return self.constant(name, data.astype(np.float32))
        half = self.constant(f"{name}#fp16", data.astype(np.float16))
        full = Value(self.builder.tensor(name, data.shape, np.float32))
        self.builder.operator("DEQUANTIZE", 3, [half.index], full.index, schema.DequantizeOptionsT())
        return full

    # Operators

    def emit(
        self, operator: Operator, inputs: list[Value], output: Value, *, version: int | None = None, **options: Any
    ) -> Value:
        """Add an operator and return its output.

        Args:
            operator: Which one.
            inputs: What it reads.
            output: The tensor that it makes; how that holds its values decides the version.
            version: The operator's version where the output does not decide it.
            options: Fields of the operator's options.
        """
        chosen = None if operator.options is None else operator.options()
        for name, value in options.items():
            setattr(chosen, name, value)
        number = operator.version(output.held) if version is None else version
        self.builder.operator(operator.code, number, [one.index for one in inputs], output.index, chosen)
        return output

    def reshaped(self, source: Value, shape: tuple[int, ...], output: Value) -> Value:
        """Add a reshape to a shape without batch."""
        wanted = self.constant(f"#shape{output.index}", np.array((1, *shape), np.int32))
        return self.emit(RESHAPE, [source, wanted], output, version=1, newShape=np.array((1, *shape), np.int32))

    def pad(self, source: Value, padding: Padding, output: Value) -> Value:
        """Put zeros around a tensor; PAD itself takes the zero point for zero."""
        amounts = self.constant(f"#pads{output.index}", np.array([(0, 0), *padding, (0, 0)], np.int32))
        return self.emit(PAD, [source, amounts], output)

    def padded(
        self, node: Node, padding: Padding, size: tuple[int, int], strides: tuple[int, int], source: Value
    ) -> tuple[Value, int]:
        """Return the tensor to read and TFLite's padding; what the format has no name for becomes a PAD before."""
        shape = self.graph.shape(node.inputs[0])
        if padding == NO_PADDING:
            return source, schema.Padding.VALID
        if padding == same_padding(shape, size, strides):
            return source, schema.Padding.SAME
        (top, bottom), (left, right) = padding
        larger = (shape[0] + top + bottom, shape[1] + left + right, shape[2])
        output = self.new(f"{node.name}#padded", larger, source.held)
        if isinstance(node, Pool) and node.kind == "max" and not self.graph[node.inputs[0]].is_never_negative:
            return self._pad_with_least(source, padding, output), schema.Padding.VALID
        return self.pad(source, padding, output), schema.Padding.VALID

    def _pad_with_least(self, source: Value, padding: Padding, output: Value) -> Value:
        """Put the least value around a tensor, which no maximum takes."""
        amounts = self.constant(f"#pads{output.index}", np.array([(0, 0), *padding, (0, 0)], np.int32))
        if (affine := source.held.affine) is None:
            least = self.constant(f"#least{output.index}", np.array(np.finfo(np.float32).min, np.float32))
        else:
            same = Quantization(scales=np.array([affine.scale]), zero_points=np.array([affine.zero_point]))
            least = self.constant(f"#least{output.index}", np.array(-128, np.int8), same)
        return self.emit(PAD_WITH, [source, amounts, least], output)

    def kernel_and_bias(self, node: Weighted, held: Held) -> tuple[Value, Value, int]:
        """Return the kernel, the bias and the version of the convolution that reads them."""
        name = node.name
        if held.affine is not None:
            assert self.plan is not None
            quantized = self.plan.kernels[name]
            kernel = self._integer_kernel(node, quantized)
            scales = quantized.scales * np.float32(self.plan.activations[node.inputs[0]].scale)
            bias = self.constant(f"{name}#bias", bias_steps(quantized.bias, scales), _per_channel(scales, 0))
            return kernel, bias, CONV.version(held)
        if (hybrid := self._hybrid_kernel(node)) is not None:
            kernel = self._integer_kernel(node, hybrid)
            return kernel, self.constant(f"{name}#bias", hybrid.bias), PER_CHANNEL_DYNAMIC_CONV_VERSION
        bias = self.constant(f"{name}#bias", node.bias)
        return self.weight(f"{name}#kernel", _kernel_layout(node, node.kernel)), bias, 1

    def _hybrid_kernel(self, node: Weighted) -> QuantizedKernel | None:
        """The integer kernel of a node with float ends, for which the runtime finds the range of each photo."""
        if self.plan is not None:
            if (small := self.plan.weights.get(node.name)) is not None:
                return QuantizedKernel(values=small.values, scales=small.scales[0].astype(np.float32), bias=small.bias)
            return self.plan.kernels[node.name] if self.plan.is_dynamic(node.name) else None
        if self.precision == "dynamic" and not isinstance(node, Depthwise):
            return quantize_kernel(node.kernel, node.bias)
        return None

    def four_bits(self, node: Node) -> GroupedKernel | None:
        """Return the kernel of a node if it has 4 bits."""
        kernel = None if self.plan is None else self.plan.weights.get(node.name)
        return kernel if kernel is not None and kernel.bits == 4 else None

    def _integer_kernel(self, node: Weighted, kernel: QuantizedKernel) -> Value:
        scales = _per_channel(kernel.scales, 3 if isinstance(node, Depthwise) else 0)
        return self.constant(f"{node.name}#kernel", _kernel_layout(node, kernel.values), scales)

    # The photo, and what nodes read

    def _wanted(self, node: Node, name: str, plan: Plan) -> Held:
        """The form in which an integer node reads a tensor."""
        if isinstance(node, Concat):
            return self.integers(node.name)
        if isinstance(node, Activation) and node.only_saturates and not plan.is_integer(name):
            return FLOAT
        return self.integers(name)

    def _input(self, node: Input) -> None:
        if self.pixels is None:
            self.photo = self.result(node, self.integers(node.name) if self.io == "int8" else FLOAT)
        elif self.plan is not None and self.plan.input_shift:
            self._exact_pixels(node, self.plan)
        else:
            self._scaled_pixels(node, self.pixels)

    def _exact_pixels(self, node: Input, plan: Plan) -> None:
        """Take uint8 pixels, which are the photo's integers once a QUANTIZE has moved them by 128."""
        affine = plan.activations[node.name]
        zero = np.array([affine.zero_point - LOWEST])
        parameters = Quantization(scales=np.array([affine.scale]), zero_points=zero)
        self.photo = Value(self.builder.tensor(node.name, (1, *node.shape), np.uint8, parameters))
        moved = self._remember(node.name, self.new(f"{node.name}#integer", node.shape, self.integers(node.name)))
        self.builder.operator("QUANTIZE", 2, [self.photo.index], moved.index, schema.QuantizeOptionsT())

    def _scaled_pixels(self, node: Input, pixels: Pixels) -> None:
        self.photo = Value(self.builder.tensor(node.name, (1, *node.shape), np.uint8))
        scale, offset = factors(pixels, node.shape[-1])
        real, scaled, moved = (self.new(f"{node.name}#{part}", node.shape) for part in ("real", "scaled", "moved"))
        types = {"inDataType": schema.TensorType.UINT8, "outDataType": schema.TensorType.FLOAT32}
        self.emit(CAST, [self.photo], real, **types)
        self.emit(MUL, [real, self.constant(f"{node.name}#scale", scale)], scaled)
        self.emit(ADD, [scaled, self.constant(f"{node.name}#offset", offset)], moved)
        self._remember(node.name, moved)


@writes("tflite", Conv, Depthwise)
def _convolution(writer: Writer, node: Conv | Depthwise, inputs: list[Value], held: Held) -> None:
    if (small := writer.four_bits(node)) is not None:
        assert isinstance(node, Conv), "depthwise kernels have no 4 bits"
        _product_of_four_bits(writer, node, small, _strided(writer, node, inputs[0]))
        return
    source, padding = writer.padded(node, node.padding, node.window, node.strides, inputs[0])
    kernel, bias, version = writer.kernel_and_bias(node, held)
    options = {
        "padding": padding,
        "strideH": node.strides[0],
        "strideW": node.strides[1],
        "dilationHFactor": node.dilation[0],
        "dilationWFactor": node.dilation[1],
        "fusedActivationFunction": FUSED[node.activation],
    }
    if isinstance(node, Depthwise):
        options["depthMultiplier"] = node.channels // writer.graph.shape(node.inputs[0])[-1]
    operator = DEPTHWISE_CONV if isinstance(node, Depthwise) else CONV
    writer.emit(operator, [source, kernel, bias], writer.result(node, held), version=version, **options)


def _strided(writer: Writer, node: Conv, source: Value) -> Value:
    """Return the positions that a pointwise convolution reads: all of them, or those that its strides choose."""
    if node.strides == (1, 1):
        return source
    channels = writer.graph.shape(node.inputs[0])[-1]
    ones = writer.constant(f"{node.name}#ones", np.ones((1, 1, 1, channels), np.float32))
    zeros = writer.constant(f"{node.name}#zeros", np.zeros(channels, np.float32))
    read = writer.new(f"{node.name}#read", (*writer.graph.shape(node.name)[:-1], channels))
    options = {"padding": schema.Padding.VALID, "strideH": node.strides[0], "strideW": node.strides[1]}
    return writer.emit(DEPTHWISE_CONV, [source, ones, zeros], read, depthMultiplier=1, **options)


def _product_of_four_bits(writer: Writer, node: Conv | Dense, kernel: GroupedKernel, source: Value) -> None:
    """Write a product of all positions; zeros fill the inputs up to full blocks.

    The activation is an operator of its own, because the built-in kernel for blocks leaves out a fused one. XNNPACK
    fuses them.
    """
    shape = writer.graph.shape(node.name)[:-1]
    values = kernel.values.reshape(-1, node.channels).T
    inputs = values.shape[1]
    missing = len(kernel.scales) * kernel.size - inputs
    if missing:
        amounts = writer.constant(f"{node.name}#pads", np.array([(0, 0)] * (len(shape) + 1) + [(0, missing)], np.int32))
        whole = writer.new(f"{node.name}#blocks", (*shape, inputs + missing))
        source = writer.emit(PAD, [source, amounts], whole)
    filled = np.pad(values, ((0, 0), (0, missing)))
    index = writer.builder.four_bit_kernel(f"{node.name}#kernel", filled, np.ascontiguousarray(kernel.scales.T))
    bias = writer.constant(f"{node.name}#bias", kernel.bias)
    activation = None if node.activation == "none" else ACTIVATIONS[node.activation]
    product = writer.result(node) if activation is None else writer.new(f"{node.name}#product", (*shape, node.channels))
    writer.emit(FULLY_CONNECTED, [source, Value(index), bias], product, version=FOUR_BIT_VERSION, keepNumDims=True)
    if activation is not None:
        writer.emit(activation, [product], writer.result(node))


@writes("tflite", Dense)
def _dense(writer: Writer, node: Dense, inputs: list[Value], held: Held) -> None:
    if (small := writer.four_bits(node)) is not None:
        _product_of_four_bits(writer, node, small, inputs[0])
        return
    if held.affine is not None or writer.precision in ("dynamic", "w4"):
        _dense_as_convolution(writer, node, inputs[0], held)
        return
    kernel = writer.weight(f"{node.name}#kernel", node.kernel.T)
    bias = writer.constant(f"{node.name}#bias", node.bias)
    fused = FUSED[node.activation]
    writer.emit(FULLY_CONNECTED, [inputs[0], kernel, bias], writer.result(node), fusedActivationFunction=fused)


def _dense_as_convolution(writer: Writer, node: Dense, source: Value, held: Held) -> None:
    """Write a dense layer as a 1x1 convolution, because older runtimes have per-channel scales only there."""
    size = writer.graph.shape(node.inputs[0])[-1]
    pixel = writer.reshaped(source, (1, 1, size), writer.new(f"{node.name}#pixel", (1, 1, size), source.held))
    kernel, bias, version = writer.kernel_and_bias(node, held)
    options = {
        "padding": schema.Padding.VALID,
        "strideH": 1,
        "strideW": 1,
        "fusedActivationFunction": FUSED[node.activation],
    }
    product = writer.new(f"{node.name}#pixels", (1, 1, node.channels), held)
    writer.emit(CONV, [pixel, kernel, bias], product, version=version, **options)
    writer.reshaped(product, (node.channels,), writer.result(node, held))


@writes("tflite", Activation)
def _activation(writer: Writer, node: Activation, inputs: list[Value], held: Held) -> None:
    if held.affine is not None and node.only_saturates:
        # Integers saturate at the zero point -128, which is the ReLU; int8 RELU has no fast kernel.
        writer.converted(inputs[0], writer.result(node, held))
    elif node.kind == "silu":
        _gated(writer, node, inputs[0], held)
    elif node.kind == "hard_sigmoid":
        _hard_sigmoid(writer, node, inputs[0])
    else:
        options: dict[str, Any] = {"alpha": node.alpha} if node.kind == "leaky_relu" else {}
        writer.emit(ACTIVATIONS[node.kind], inputs, writer.result(node, held), **options)


def _gated(writer: Writer, node: Activation, source: Value, held: Held) -> None:
    """Write a product with the sigmoid; int8 LOGISTIC has the fixed scale 1/256 and zero point -128."""
    gate_held = FLOAT if held.affine is None else Held(Affine(scale=1 / 256, zero_point=-128))
    gate = writer.new(f"{node.name}#gate", writer.graph.shape(node.name), gate_held)
    writer.emit(LOGISTIC, [source], gate)
    writer.emit(MUL, [source, gate], writer.result(node, held))


def _hard_sigmoid(writer: Writer, node: Activation, source: Value) -> None:
    """Write relu6(x + 3) / 6, which is how Keras defines the hard sigmoid."""
    three = writer.constant(f"{node.name}#three", np.full((1,), 3.0, np.float32))
    sixth = writer.constant(f"{node.name}#sixth", np.full((1,), 1 / 6, np.float32))
    clipped = writer.new(f"{node.name}#clipped", writer.graph.shape(node.name))
    writer.emit(ADD, [source, three], clipped, fusedActivationFunction=FUSED["relu6"])
    writer.emit(MUL, [clipped, sixth], writer.result(node))


@writes("tflite", Softmax)
def _softmax(writer: Writer, node: Softmax, inputs: list[Value], held: Held) -> None:
    shape = writer.graph.shape(node.name)
    if len(shape) < 4:
        writer.emit(SOFTMAX, inputs, writer.result(node, held), beta=1.0)
        return
    # The kernel takes no more than four axes with the batch.
    rows = (prod(shape[:-1]), shape[-1])
    flat = writer.reshaped(inputs[0], rows, writer.new(f"{node.name}#rows", rows))
    probabilities = writer.emit(SOFTMAX, [flat], writer.new(f"{node.name}#probabilities", rows), beta=1.0)
    writer.reshaped(probabilities, shape, writer.result(node, held))


@writes("tflite", Transpose)
def _transpose(writer: Writer, node: Transpose, inputs: list[Value], held: Held) -> None:
    order = writer.constant(f"{node.name}#order", np.array([0, *(axis + 1 for axis in node.order)], np.int32))
    writer.emit(TRANSPOSE, [inputs[0], order], writer.result(node, held))


@writes("tflite", MatMul)
def _product(writer: Writer, node: MatMul, inputs: list[Value], held: Held) -> None:
    """Write the product with one axis before the matrices; XNNPACK and older runtimes take few."""
    matrices = []
    for place, name in enumerate(node.inputs):
        shape = writer.graph.shape(name)
        few = (prod(shape[:-2]), *shape[-2:])
        matrices.append(writer.reshaped(inputs[place], few, writer.new(f"{node.name}#matrices{place}", few)))
    shape = writer.graph.shape(node.name)
    few = (prod(shape[:-2]), *shape[-2:])
    product = writer.emit(BATCH_MATMUL, matrices, writer.new(f"{node.name}#products", few))
    writer.reshaped(product, shape, writer.result(node, held))


@writes("tflite", Add)
def _add(writer: Writer, node: Add, inputs: list[Value], held: Held) -> None:
    writer.emit(ADD, inputs, writer.result(node, held), fusedActivationFunction=FUSED[node.activation])


@writes("tflite", Multiply)
def _multiply(writer: Writer, node: Multiply, inputs: list[Value], held: Held) -> None:
    writer.emit(MUL, inputs, writer.result(node, held))


@writes("tflite", Concat)
def _concat(writer: Writer, node: Concat, inputs: list[Value], held: Held) -> None:
    axis = node.axis % len(writer.graph.shape(node.name)) + 1
    writer.emit(CONCATENATION, inputs, writer.result(node, held), axis=axis)


@writes("tflite", Pool)
def _pool(writer: Writer, node: Pool, inputs: list[Value], held: Held) -> None:
    source, padding = writer.padded(node, node.padding, node.size, node.strides, inputs[0])
    options = {
        "padding": padding,
        "strideH": node.strides[0],
        "strideW": node.strides[1],
        "filterHeight": node.size[0],
        "filterWidth": node.size[1],
    }
    writer.emit(MAX_POOL if node.kind == "max" else AVERAGE_POOL, [source], writer.result(node, held), **options)


@writes("tflite", Mean)
def _mean(writer: Writer, node: Mean, inputs: list[Value], held: Held) -> None:
    axes = writer.constant(f"{node.name}#axes", np.array([1, 2], np.int32))
    writer.emit(MEAN, [inputs[0], axes], writer.result(node, held), keepDims=node.keepdims)


@writes("tflite", Pad)
def _pad(writer: Writer, node: Pad, inputs: list[Value], held: Held) -> None:
    writer.pad(inputs[0], node.padding, writer.result(node, held))


@writes("tflite", Reshape)
def _reshape(writer: Writer, node: Reshape, inputs: list[Value], held: Held) -> None:
    writer.reshaped(inputs[0], node.shape, writer.result(node, held))


@writes("tflite", Elementwise)
def _elementwise(writer: Writer, node: Elementwise, inputs: list[Value], held: Held) -> None:
    if node.constant is not None:
        constant = writer.constant(f"{node.name}#constant", node.constant.astype(np.float32))
        inputs = [constant, *inputs] if node.constant_first else [*inputs, constant]
    writer.emit(ELEMENTWISE[node.kind], inputs, writer.result(node, held))


@writes("tflite", Unary)
def _unary(writer: Writer, node: Unary, inputs: list[Value], held: Held) -> None:
    writer.emit(UNARY[node.kind], inputs, writer.result(node, held))


@writes("tflite", Reduce)
def _reduce(writer: Writer, node: Reduce, inputs: list[Value], held: Held) -> None:
    axes = writer.constant(f"{node.name}#axes", np.array([axis + 1 for axis in node.axes], np.int32))
    writer.emit(REDUCTIONS[node.kind], [inputs[0], axes], writer.result(node, held), keepDims=True)


@writes("tflite", Resize)
def _resize(writer: Writer, node: Resize, inputs: list[Value], held: Held) -> None:
    size = writer.constant(f"{node.name}#size", np.array(node.size, np.int32))
    if node.kind == "nearest":
        writer.emit(RESIZE_NEAREST, [inputs[0], size], writer.result(node, held))
    else:
        writer.emit(RESIZE_BILINEAR, [inputs[0], size], writer.result(node, held), halfPixelCenters=True)


@writes("tflite", Crop)
def _crop(writer: Writer, node: Crop, inputs: list[Value], held: Held) -> None:
    channels = writer.graph.shape(node.name)[-1]
    begin = writer.constant(f"{node.name}#begin", np.array((0, *node.begin, 0), np.int32))
    size = writer.constant(f"{node.name}#size", np.array((1, *node.size, channels), np.int32))
    writer.emit(SLICE, [inputs[0], begin, size], writer.result(node, held))


@writes("tflite", TransposedConv)
def _transposed_convolution(writer: Writer, node: TransposedConv, inputs: list[Value], held: Held) -> None:
    """Write the full result, cut what the padding takes off, and add the bias with the activation.

    The format pads on its own only for the result sizes of SAME and VALID.
    """
    height, width, channels = writer.graph.shape(node.name)
    (top, bottom), (left, right) = node.padding
    whole = (height + top + bottom, width + left + right, channels)
    shape = writer.constant(f"{node.name}#size", np.array((1, *whole), np.int32))
    kernel = writer.weight(f"{node.name}#kernel", np.ascontiguousarray(node.kernel.transpose(3, 0, 1, 2)))
    options = {"padding": schema.Padding.VALID, "strideH": node.strides[0], "strideW": node.strides[1]}
    full = writer.emit(TRANSPOSE_CONV, [shape, kernel, inputs[0]], writer.new(f"{node.name}#whole", whole), **options)
    if node.padding != NO_PADDING:
        begin = writer.constant(f"{node.name}#begin", np.array((0, top, left, 0), np.int32))
        size = writer.constant(f"{node.name}#kept", np.array((1, height, width, channels), np.int32))
        full = writer.emit(SLICE, [full, begin, size], writer.new(f"{node.name}#cut", (height, width, channels)))
    bias = writer.constant(f"{node.name}#bias", node.bias)
    writer.emit(ADD, [full, bias], writer.result(node, held), fusedActivationFunction=FUSED[node.activation])


def _kernel_layout(node: Weighted, kernel: np.ndarray) -> np.ndarray:
    """Return a kernel as TFLite stores it: (out, h, w, in), depthwise (1, h, w, channels)."""
    if isinstance(node, Depthwise):
        return np.asarray(kernel[None])
    if isinstance(node, Dense):
        return np.asarray(kernel.T[:, None, None])
    return np.asarray(kernel.transpose(3, 0, 1, 2))


def _per_channel(scales: np.ndarray, axis: int) -> Quantization:
    return Quantization(scales=scales, zero_points=np.zeros(len(scales), np.int64), axis=axis)
