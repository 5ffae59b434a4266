"""TFLite: write the reference graph straight into a flatbuffer, as float, fp16, dynamic-range or int8."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from xedge.errors import UnsupportedError
from xedge.formats.tflite import Quantization, TfliteBuilder
from xedge.graph.ir import (
    NO_PADDING,
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
    same_padding,
)
from xedge.quantization.affine import Affine, QuantizedKernel, bias_steps, quantize_kernel
from xedge.quantization.plan import Plan
from xedge.target import Form, Pixels, Target

FUSED: dict[Fused, int] = {
    "none": schema.ActivationFunctionType.NONE,
    "relu": schema.ActivationFunctionType.RELU,
    "relu6": schema.ActivationFunctionType.RELU6,
}
# Float operators of one input, and whether their int8 form exists.
UNARY = {
    "relu": "RELU",
    "relu6": "RELU6",
    "elu": "ELU",
    "sigmoid": "LOGISTIC",
    "tanh": "TANH",
    "gelu": "GELU",
    "hard_silu": "HARD_SWISH",
    "leaky_relu": "LEAKY_RELU",
}
# The versions of int8 operators, from TensorFlow's op_version.cc.
INT8_VERSION = {"CONV_2D": 3, "DEPTHWISE_CONV_2D": 3, "RESHAPE": 1, "HARD_SWISH": 1}
PER_CHANNEL_DYNAMIC_CONV_VERSION = 5


def convert(graph: Graph, form: Form, plan: Plan | None = None) -> dict[str, bytes]:
    """Return the .tflite file.

    Args:
        graph: the reference graph.
        form: how weights, activations and ends are stored.
        plan: the quantization plan of this graph, for int8.

    Raises:
        UnsupportedError: TFLite has no form for an operation.
    """
    TARGET.check(form)
    assert (form.precision == "int8") == (plan is not None), "a plan goes with int8, and int8 with a plan"
    return {".tflite": _Writer(graph, form, plan).write()}


@dataclass(frozen=True)
class _Held:
    """How a tensor is asked for: real values, or integers with these parameters."""

    affine: Affine | None = None


FLOAT = _Held()


class _Writer:
    """One conversion: which TFLite tensor holds which graph tensor in which form."""

    def __init__(self, graph: Graph, form: Form, plan: Plan | None) -> None:
        self.graph, self.plan = graph, plan
        self.precision, self.io, self.pixels = form.precision, form.io, form.pixels
        self.builder = TfliteBuilder(graph.name)
        self.made: dict[tuple[str, _Held], int] = {}
        self.photo = -1

    def write(self) -> bytes:
        for node in self.graph:
            if isinstance(node, Input):
                self._input(node)
            elif self.plan is not None and self.plan.is_integer(node.name):
                self._integer(node, self.plan)
            else:
                self._float(node)
        form = self.form(self.graph.output) if self.io == "int8" else FLOAT
        output = self.value(self.graph.output, form)
        return self.builder.serialized(
            {self.graph.input.name: self.photo}, {self.graph.output_name: output}, f"xedge {self.precision}"
        )

    # Tensors in the form that a reader asks for

    def form(self, name: str) -> _Held:
        """The integer form that the plan gives a tensor."""
        assert self.plan is not None
        return _Held(self.plan.activations[name])

    def new(self, name: str, shape: tuple[int, ...], form: _Held = FLOAT) -> int:
        """Add an empty tensor; the batch of 1 is put before the shape."""
        if form.affine is None:
            return self.builder.tensor(name, (1, *shape), np.float32)
        parameters = Quantization(scales=np.array([form.affine.scale]), zero_points=np.array([form.affine.zero_point]))
        return self.builder.tensor(name, (1, *shape), np.int8, parameters)

    def result(self, node: Node, form: _Held = FLOAT) -> int:
        """Add the tensor that a node makes and remember it."""
        name = self.graph.output_name if node.name == self.graph.output else node.name
        tensor = self.new(name, self.graph.shape(node.name), form)
        self.made[node.name, form] = tensor
        return tensor

    def value(self, name: str, form: _Held) -> int:
        """Return a graph tensor in a form, converting it once if nobody has made it."""
        if (name, form) not in self.made:
            source_form, source = next((f, t) for (n, f), t in self.made.items() if n == name)
            source = self._unshifted_or_shifted(name, source, form)
            to = "real" if form.affine is None else "integer" if source_form.affine is None else "requantized"
            target = self.new(f"{name}#{to}", self.graph.shape(name), form)
            self._convert(source, source_form, target, form)
            self.made[name, form] = target
        return self.made[name, form]

    def _convert(self, source: int, source_form: _Held, target: int, form: _Held) -> None:
        if form.affine is None:
            self.builder.operator("DEQUANTIZE", 2, [source], target, schema.DequantizeOptionsT())
        else:
            version = 1 if source_form.affine is None else 2
            self.builder.operator("QUANTIZE", version, [source], target, schema.QuantizeOptionsT())

    def _unshifted_or_shifted(self, name: str, source: int, form: _Held) -> int:
        """The photo's integers hold photo + shift, which makes every pixel value exact."""
        if self.plan is None or name != self.graph.input.name or not self.plan.input_shift or form.affine is None:
            return source
        shift = self.constant(f"{name}#shift", np.full((1,), self.plan.input_shift, np.float32))
        shifted = self.new(f"{name}#shifted", self.graph.shape(name))
        return self.builder.operator("ADD", 1, [source, shift], shifted, schema.AddOptionsT())

    def constant(self, name: str, data: np.ndarray, quantization: Quantization | None = None) -> int:
        """Add a constant tensor."""
        return self.builder.tensor(name, data.shape, data.dtype, quantization, data)

    def weight(self, name: str, data: np.ndarray) -> int:
        """Add a float weight; at fp16, and in the float tail of int8, it is kept as fp16 and unpacked at load."""
        if self.precision in ("fp32", "dynamic"):
            return self.constant(name, data.astype(np.float32))
        half = self.constant(f"{name}#fp16", data.astype(np.float16))
        full = self.builder.tensor(name, data.shape, np.float32)
        return self.builder.operator("DEQUANTIZE", 3, [half], full, schema.DequantizeOptionsT())

    def _input(self, node: Input) -> None:
        if self.pixels is None:
            self.photo = self.result(node, self.form(node.name) if self.io == "int8" else FLOAT)
        elif self.plan is not None and self.plan.input_shift:
            self._exact_pixels(node, self.plan)
        else:
            self._scaled_pixels(node, self.pixels)

    def _exact_pixels(self, node: Input, plan: Plan) -> None:
        """uint8 pixels are the photo's integers, but for the 128 that a QUANTIZE moves them by."""
        scale = np.array([plan.activations[node.name].scale])
        parameters = Quantization(scales=scale, zero_points=np.array([0]))
        self.photo = self.builder.tensor(node.name, (1, *node.shape), np.uint8, parameters)
        form = self.form(node.name)
        moved = self.made[node.name, form] = self.new(f"{node.name}#integer", node.shape, form)
        self.builder.operator("QUANTIZE", 2, [self.photo], moved, schema.QuantizeOptionsT())

    def _scaled_pixels(self, node: Input, pixels: Pixels) -> None:
        self.photo = self.builder.tensor(node.name, (1, *node.shape), np.uint8)
        scale, offset = pixels.factors(node.shape[-1])
        real, scaled, moved = (self.new(f"{node.name}#{part}", node.shape) for part in ("real", "scaled", "moved"))
        options = schema.CastOptionsT()
        options.inDataType, options.outDataType = schema.TensorType.UINT8, schema.TensorType.FLOAT32
        self.builder.operator("CAST", 1, [self.photo], real, options)
        factor = self.constant(f"{node.name}#scale", scale)
        self.builder.operator("MUL", 1, [real, factor], scaled, schema.MulOptionsT())
        addend = self.constant(f"{node.name}#offset", offset)
        self.builder.operator("ADD", 1, [scaled, addend], moved, schema.AddOptionsT())
        self.made[node.name, FLOAT] = moved

    # Float operators

    def _float(self, node: Node) -> None:
        inputs = [self.value(name, FLOAT) for name in node.inputs]
        match node:
            case Conv() | Depthwise():
                self._convolution(node, inputs[0], FLOAT)
            case Dense():
                self._dense(node, inputs[0])
            case Activation():
                self._float_activation(node, inputs[0])
            case Softmax():
                options = schema.SoftmaxOptionsT()
                options.beta = 1.0
                self.builder.operator("SOFTMAX", 1, inputs, self.result(node), options)
            case _:
                self._shared(node, inputs, FLOAT)

    def _dense(self, node: Dense, source: int) -> None:
        if self.precision == "dynamic":
            self._dense_as_convolution(node, source, FLOAT)
            return
        options = schema.FullyConnectedOptionsT()
        options.fusedActivationFunction = FUSED[node.activation]
        kernel = self.weight(f"{node.name}#kernel", node.kernel.T)
        bias = self.constant(f"{node.name}#bias", node.bias)
        self.builder.operator("FULLY_CONNECTED", 1, [source, kernel, bias], self.result(node), options)

    def _float_activation(self, node: Activation, source: int) -> None:
        if node.kind == "silu":
            self._gated(node, source, FLOAT)
        elif node.kind == "hard_sigmoid":
            self._hard_sigmoid(node, source)
        else:
            self._unary(node, source, FLOAT)

    def _hard_sigmoid(self, node: Activation, source: int) -> None:
        """relu6(x + 3) / 6, as Keras defines it."""
        three = self.constant(f"{node.name}#three", np.full((1,), 3.0, np.float32))
        sixth = self.constant(f"{node.name}#sixth", np.full((1,), 1 / 6, np.float32))
        options = schema.AddOptionsT()
        options.fusedActivationFunction = FUSED["relu6"]
        clipped = self.new(f"{node.name}#clipped", self.graph.shape(node.name))
        self.builder.operator("ADD", 1, [source, three], clipped, options)
        self.builder.operator("MUL", 1, [clipped, sixth], self.result(node), schema.MulOptionsT())

    # Integer operators

    def _integer(self, node: Node, plan: Plan) -> None:
        form = self.form(node.name)
        inputs = [self.value(name, self._wanted(node, name, plan)) for name in node.inputs]
        match node:
            case Conv() | Depthwise():
                self._convolution(node, inputs[0], form)
            case Dense():
                self._dense_as_convolution(node, inputs[0], form)
            case Activation(kind="relu" | "relu6"):
                # Integers saturate at the zero point -128, which is the ReLU; int8 RELU has no fast kernel.
                version = 2 if plan.is_integer(node.inputs[0]) else 1
                self.builder.operator("QUANTIZE", version, inputs, self.result(node, form), schema.QuantizeOptionsT())
            case Activation(kind="silu"):
                self._gated(node, inputs[0], form)
            case Activation():
                self._unary(node, inputs[0], form)
            case _:
                self._shared(node, inputs, form)

    def _wanted(self, node: Node, name: str, plan: Plan) -> _Held:
        """The form in which an integer node reads a tensor."""
        if isinstance(node, Concat):
            return self.form(node.name)
        if isinstance(node, Activation) and node.kind in ("relu", "relu6") and not plan.is_integer(name):
            return FLOAT
        return self.form(name)

    # Operators whose float and integer forms differ in their tensors alone

    def _shared(self, node: Node, inputs: list[int], form: _Held) -> None:
        match node:
            case Add():
                options = schema.AddOptionsT()
                options.fusedActivationFunction = FUSED[node.activation]
                self._simple("ADD", inputs, self.result(node, form), form, options)
            case Multiply():
                self._simple("MUL", inputs, self.result(node, form), form, schema.MulOptionsT())
            case Concat():
                options = schema.ConcatenationOptionsT()
                options.axis = len(self.graph.shape(node.name))
                self._simple("CONCATENATION", inputs, self.result(node, form), form, options)
            case Pool():
                self._pool(node, inputs[0], form)
            case Mean():
                self._mean(node, inputs[0], form)
            case Pad():
                self.result_of_pad(inputs[0], node.padding, self.result(node, form), form)
            case Reshape():
                self._reshape(inputs[0], node.shape, self.result(node, form))
            case _:
                raise UnsupportedError(f"{node.name}: {type(node).__name__} has no {self.precision} form in TFLite")

    def _simple(self, code: str, inputs: list[int], output: int, form: _Held, options: Any) -> int:
        version = 1 if form.affine is None else INT8_VERSION.get(code, 2)
        return self.builder.operator(code, version, inputs, output, options)

    def _convolution(self, node: Conv | Depthwise, source: int, form: _Held) -> None:
        source, padding = self._padded(node, node.inputs[0], node.padding, _window(node), node.strides, source)
        kernel, bias, version = self._kernel_and_bias(node, form)
        if isinstance(node, Conv):
            code, options = "CONV_2D", schema.Conv2DOptionsT()
        else:
            code, options = "DEPTHWISE_CONV_2D", schema.DepthwiseConv2DOptionsT()
            options.depthMultiplier = node.channels // self.graph.shape(node.inputs[0])[-1]
        options.padding = padding
        options.strideH, options.strideW = node.strides
        options.dilationHFactor, options.dilationWFactor = node.dilation
        options.fusedActivationFunction = FUSED[node.activation]
        self.builder.operator(code, version, [source, kernel, bias], self.result(node, form), options)

    def _dense_as_convolution(self, node: Dense, source: int, form: _Held) -> None:
        """A dense layer as a 1x1 convolution: older runtimes have scales per channel there alone."""
        size = self.graph.shape(node.inputs[0])[-1]
        source_tensor = self.new(f"{node.name}#pixel", (1, 1, size), self._form_of(node.inputs[0], form))
        self._reshape(source, (1, 1, size), source_tensor)
        kernel, bias, version = self._kernel_and_bias(node, form)
        options = schema.Conv2DOptionsT()
        options.padding, options.strideH, options.strideW = schema.Padding.VALID, 1, 1
        options.fusedActivationFunction = FUSED[node.activation]
        pixel = self.new(f"{node.name}#pixels", (1, 1, node.channels), form)
        self.builder.operator("CONV_2D", version, [source_tensor, kernel, bias], pixel, options)
        self._reshape(pixel, (node.channels,), self.result(node, form))

    def _form_of(self, name: str, form: _Held) -> _Held:
        return FLOAT if form.affine is None else self.form(name)

    def _kernel_and_bias(self, node: Weighted, form: _Held) -> tuple[int, int, int]:
        """Return the kernel's and bias' tensors and the operator's version."""
        name = node.name
        if form.affine is not None:
            assert self.plan is not None
            quantized = self.plan.kernels[name]
            kernel = self._integer_kernel(node, quantized.values, quantized.scales)
            scales = quantized.scales * np.float32(self.plan.activations[node.inputs[0]].scale)
            bias = self.constant(f"{name}#bias", bias_steps(quantized.bias, scales), _per_channel(scales, 0))
            return kernel, bias, INT8_VERSION["CONV_2D"]
        if (hybrid := self._hybrid_kernel(node)) is not None:
            kernel = self._integer_kernel(node, hybrid.values, hybrid.scales)
            return kernel, self.constant(f"{name}#bias", hybrid.bias), PER_CHANNEL_DYNAMIC_CONV_VERSION
        bias = self.constant(f"{name}#bias", node.bias)
        return self.weight(f"{name}#kernel", _kernel_layout(node, node.kernel)), bias, 1

    def _hybrid_kernel(self, node: Weighted) -> QuantizedKernel | None:
        """The integer kernel of a node with float ends, for which the runtime finds the range of each photo."""
        if self.plan is not None:
            return self.plan.kernels[node.name] if self.plan.is_dynamic(node.name) else None
        if self.precision == "dynamic" and not isinstance(node, Depthwise):
            return quantize_kernel(node.kernel, node.bias)
        return None

    def _integer_kernel(self, node: Weighted, values: np.ndarray, scales: np.ndarray) -> int:
        axis = 3 if isinstance(node, Depthwise) else 0
        return self.constant(f"{node.name}#kernel", _kernel_layout(node, values), _per_channel(scales, axis))

    def _pool(self, node: Pool, source: int, form: _Held) -> None:
        source, padding = self._padded(node, node.inputs[0], node.padding, node.size, node.strides, source)
        options = schema.Pool2DOptionsT()
        options.padding = padding
        options.strideH, options.strideW = node.strides
        options.filterHeight, options.filterWidth = node.size
        code = "MAX_POOL_2D" if node.kind == "max" else "AVERAGE_POOL_2D"
        self._simple(code, [source], self.result(node, form), form, options)

    def _padded(
        self, node: Node, name: str, padding: Padding, size: tuple[int, int], strides: tuple[int, int], source: int
    ) -> tuple[int, int]:
        """Return the tensor to read and TFLite's padding; what it has no name for becomes a PAD before."""
        shape = self.graph.shape(name)
        if padding == NO_PADDING:
            return source, schema.Padding.VALID
        if padding == same_padding(shape, size, strides):
            return source, schema.Padding.SAME
        form = next(form for (n, form), tensor in self.made.items() if n == name and tensor == source)
        (top, bottom), (left, right) = padding
        padded = self.new(f"{node.name}#padded", (shape[0] + top + bottom, shape[1] + left + right, shape[2]), form)
        return self.result_of_pad(source, padding, padded, form), schema.Padding.VALID

    def result_of_pad(self, source: int, padding: Padding, output: int, form: _Held) -> int:
        """Zeros around a tensor; PAD itself takes the zero point for zero."""
        amounts = np.array([(0, 0), *padding, (0, 0)], np.int32)
        tensor = self.constant(f"#pads{output}", amounts)
        return self._simple("PAD", [source, tensor], output, form, schema.PadOptionsT())

    def _mean(self, node: Mean, source: int, form: _Held) -> None:
        options = schema.ReducerOptionsT()
        options.keepDims = node.keepdims
        axes = self.constant(f"{node.name}#axes", np.array([1, 2], np.int32))
        self._simple("MEAN", [source, axes], self.result(node, form), form, options)

    def _reshape(self, source: int, shape: tuple[int, ...], output: int) -> int:
        wanted = self.constant(f"#shape{output}", np.array((1, *shape), np.int32))
        options = schema.ReshapeOptionsT()
        options.newShape = np.array((1, *shape), np.int32)
        return self.builder.operator("RESHAPE", 1, [source, wanted], output, options)

    def _unary(self, node: Activation, source: int, form: _Held) -> None:
        options = None
        if node.kind == "leaky_relu":
            options = schema.LeakyReluOptionsT()
            options.alpha = node.alpha
        self._simple(UNARY[node.kind], [source], self.result(node, form), form, options)

    def _gated(self, node: Activation, source: int, form: _Held) -> None:
        """Multiply by the sigmoid; int8 LOGISTIC has the fixed parameters 1/256 and -128."""
        gate_form = FLOAT if form.affine is None else _Held(Affine(scale=1 / 256, zero_point=-128))
        gate = self.new(f"{node.name}#gate", self.graph.shape(node.name), gate_form)
        self._simple("LOGISTIC", [source], gate, form, None)
        self._simple("MUL", [source, gate], self.result(node, form), form, schema.MulOptionsT())


def _window(node: Conv | Depthwise) -> tuple[int, int]:
    height, width = node.kernel.shape[:2]
    return (height - 1) * node.dilation[0] + 1, (width - 1) * node.dilation[1] + 1


def _kernel_layout(node: Weighted, kernel: np.ndarray) -> np.ndarray:
    """Return a kernel as TFLite stores it: (out, h, w, in), depthwise (1, h, w, channels)."""
    if isinstance(node, Depthwise):
        return np.asarray(kernel[None])
    if isinstance(node, Dense):
        return np.asarray(kernel.T[:, None, None])
    return np.asarray(kernel.transpose(3, 0, 1, 2))


def _per_channel(scales: np.ndarray, axis: int) -> Quantization:
    return Quantization(scales=scales, zero_points=np.zeros(len(scales), np.int64), axis=axis)


TARGET = Target(
    name="tflite",
    title="TFLite",
    layout="NHWC",
    precisions={
        "fp32": (None, None),
        "fp16": ("fp16, unpacked when it is loaded", None),
        "dynamic": ("int8 per output channel, depthwise in float", "int8 per tensor, ranges of each photo"),
        "int8": ("int8 per output channel", "int8 per tensor"),
    },
    ends=("int8",),
    batches=False,
    dynamic_branches=True,
    convert=convert,
)
