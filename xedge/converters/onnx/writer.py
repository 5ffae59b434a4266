"""Write the reference graph as ONNX: float, fp16, dynamic range, Q/DQ int8, or 4-bit weights; NCHW inside."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto, helper

from xedge.converters import Form
from xedge.converters._grouped import grouped
from xedge.converters._onnx_artifact import ArtifactWriter, HalfWriter, WholeHalfWriter
from xedge.converters.onnx import TARGET
from xedge.graph.ir import NO_PADDING, Activation, Conv, Dense, Fused, Graph, Input, Node, Weighted
from xedge.graph.onnx import convolution, kernel_layout, serialized
from xedge.memory import give_memory_back
from xedge.quantization.affine import LOWEST, bias_steps, quantize_kernel
from xedge.quantization.plan import Plan, fitted
from xedge.runtimes.onnxruntime import HALF_MARK
from xedge.vocabulary import Batch

# A uint8 value is the plan's int8 value plus 128. Activations are uint8, because the fast kernels on x86 multiply uint8
# by int8, and because a ReLU is then the saturation at 0. The weights of dynamic range are uint8, because ConvInteger
# runs them five times as fast as int8 ones (ONNX Runtime 1.32), and because products of two uint8 values do not
# overflow on x86 without VNNI (pairs.py), so that weights keep all their steps.
UINT8_SHIFT = 128


def convert(graph: Graph, form: Form, plan: Plan | None = None) -> dict[str, bytes]:
    """Return the .onnx file.

    Args:
        graph: The reference graph.
        form: The form of the artifact. ``fp16`` stores weights in half precision and computes in float; with
            ``half`` it computes in half precision too. ``w4`` stores weights in 4 bits and computes in float.
        plan: The quantization plan of this graph, for int8 and w4.

    Raises:
        UnsupportedError: ONNX has no such form.
    """
    TARGET.check(form)
    graph, plan = fitted("onnx", graph, plan)
    writer: ArtifactWriter
    if form.precision == "int8":
        assert plan is not None
        writer = _QdqWriter(graph, plan, form)
    elif form.precision == "w4":
        assert plan is not None
        writer = _SmallWeightWriter(graph, plan, form)
    elif form.half:
        writer = WholeHalfWriter(graph, form)
        writer.note(*HALF_MARK)
    else:
        writer = {"fp32": ArtifactWriter, "fp16": HalfWriter, "dynamic": _DynamicWriter}[form.precision](graph, form)
    for node in graph:
        writer.write(node)
    give_memory_back()
    return {".onnx": serialized(writer.finished(form.batch))}


class _SmallWeightWriter(HalfWriter):
    """Unpack weights from 4 or 8 bits to float, of constants alone, so that ONNX Runtime does it once, when it loads.

    Two integers of 4 bits are in one byte, and operations of the opset that all artifacts have take them apart.
    ONNX' own type int4 needs ONNX Runtime 1.18, whose DequantizeLinear unpacks it again for every photo. ONNX Runtime
    keeps every step until all are done, so the integers stay bytes as long as they can.
    """

    def __init__(self, graph: Graph, plan: Plan, form: Form) -> None:
        super().__init__(graph, form)
        self._kernels = plan.weights

    def kernel_and_bias(self, node: Weighted) -> tuple[str, str]:
        if node.name not in self._kernels:
            return super().kernel_and_bias(node)
        kernel, name = self._kernels[node.name], f"{node.name}#kernel"
        laid_out = kernel_layout(node, kernel.values)
        groups = grouped(node, kernel, laid_out)
        scales = self.constant(f"{name}#scales", groups.scales)
        if groups.scales.dtype == np.float16:
            scales = self.emit("Cast", [scales], f"{name}#unpacked_scales", to=TensorProto.FLOAT)
        if kernel.bits == 4:
            integers = self._reshaped(self._high_bits(name, groups.values), groups.values.shape, f"{name}#grouped")
            sixteenth = self.constant(f"{name}#sixteenth", np.float32(1 / 16).reshape(()))
            scales = self.emit("Mul", [scales, sixteenth], f"{name}#scales_of_bytes")
        else:
            integers = self.constant(f"{name}#integers", groups.values)
        steps = self.emit("Cast", [integers], f"{name}#steps", to=TensorProto.FLOAT)
        scaled = self.emit("Mul", [steps, scales], f"{name}#scaled")
        return self._reshaped(scaled, laid_out.shape, name), self.constant(f"{node.name}#bias", kernel.bias)

    def _high_bits(self, name: str, values: np.ndarray) -> str:
        """Store integers from -8 to 7 in halves of bytes, and return 16 times each of them, as flat int8.

        The first half of the integers is in the low bits. In the high bits of a byte, 4 bits are 16 times an integer,
        the sign included.
        """
        low, high = np.split(values.reshape(-1).view(np.uint8) & 15, 2)
        stored = self.constant(f"{name}#integers", low | high << 4)
        shift = self.constant(f"{name}#shift", np.uint8(4).reshape(()))
        first = self.emit("BitShift", [stored, shift], f"{name}#first", direction="LEFT")
        lowered = self.emit("BitShift", [stored, shift], f"{name}#lowered", direction="RIGHT")
        second = self.emit("BitShift", [lowered, shift], f"{name}#second", direction="LEFT")
        both = self.emit("Concat", [first, second], f"{name}#bytes", axis=0)
        return self.emit("Cast", [both], f"{name}#signed", to=TensorProto.INT8)

    def _reshaped(self, source: str, shape: tuple[int, ...], output: str) -> str:
        return self.emit("Reshape", [source, self.constant(f"{output}#shape", np.array(shape, np.int64))], output)


class _DynamicWriter(ArtifactWriter):
    """Write int8 weights, and activations that are quantized as they come; depthwise convolutions stay in float."""

    def __init__(self, graph: Graph, form: Form) -> None:
        super().__init__(graph, form)
        self._quantized: set[str] = set()

    def write(self, node: Node) -> None:
        if isinstance(node, Conv) and _is_product(node):
            self._matrix_product(node, self.read(node.inputs[0]), self.result(node))
        elif isinstance(node, Dense) or (isinstance(node, Conv) and node.groups == 1):
            self._integer_product(node, self.read(node.inputs[0]), self.result(node))
        else:
            super().write(node)

    def _matrix_product(self, node: Conv, source: str, output: str) -> None:
        """Write a pointwise convolution over rows of pixels, which ONNX Runtime fuses with its scales and its bias."""
        name, quantized = node.name, quantize_kernel(node.kernel, node.bias)
        integers, scale, source_zero = self._quantize(source)
        photo = self.emit("Transpose", [integers], f"{name}#nhwc", perm=[0, 2, 3, 1])
        kernel = self.constant(f"{name}#kernel", _as_uint8(quantized.values[0, 0]))
        zero = self.constant(f"{name}#kernel_zero_point", np.uint8(UINT8_SHIFT).reshape(()))
        total = self.emit("MatMulInteger", [photo, kernel, source_zero, zero], f"{name}#sums")
        real = self.emit("Cast", [total], f"{name}#steps", to=TensorProto.FLOAT)
        scales = self.constant(f"{name}#kernel_scales", quantized.scales)
        product = self.emit("Mul", [real, self.emit("Mul", [scale, scales], f"{name}#step_size")], f"{name}#product")
        with_bias = self.emit("Add", [product, self.constant(f"{name}#bias", node.bias)], f"{name}#biased")
        self.fused("Transpose", node.activation, [with_bias], output, perm=[0, 3, 1, 2])

    def _integer_product(self, node: Conv | Dense, source: str, output: str) -> None:
        """Write a product of integers, and the return to real values with both scales."""
        name, quantized = node.name, quantize_kernel(node.kernel, node.bias)
        kernel = self.constant(f"{name}#kernel", _as_uint8(kernel_layout(node, quantized.values)))
        zero = self.constant(f"{name}#kernel_zero_point", np.uint8(UINT8_SHIFT).reshape(()))
        integers, scale, source_zero = self._quantize(source)
        inputs = [integers, kernel, source_zero, zero]
        shape: tuple[int, ...] = (1, -1)
        if isinstance(node, Conv):
            shape = (1, -1, 1, 1)
            total = self.emit("ConvInteger", inputs, f"{name}#total", **convolution(node))
        else:
            total = self.emit("MatMulInteger", inputs, f"{name}#total")
        real = self.emit("Cast", [total], f"{name}#steps", to=TensorProto.FLOAT)
        scales = self.constant(f"{name}#kernel_scales", quantized.scales.reshape(shape))
        product = self.emit("Mul", [real, self.emit("Mul", [scale, scales], f"{name}#step_size")], f"{name}#product")
        self.fused("Add", node.activation, [product, self.constant(f"{name}#bias", node.bias.reshape(shape))], output)

    def _quantize(self, source: str) -> tuple[str, str, str]:
        names = (f"{source}#integers", f"{source}#scale", f"{source}#zero_point")
        if source not in self._quantized:
            self._quantized.add(source)
            self.add(helper.make_node("DynamicQuantizeLinear", [source], names, name=f"{source}#quantized"))
        return names


class _QdqWriter(HalfWriter):
    """Write integer nodes between DequantizeLinear and QuantizeLinear, with scales that the plan fixed.

    A node that computes in integers makes its float result as ``name#real``, its integers as ``name`` and, for its
    readers, ``name#dequantized``. Nodes that are left in float have weights in half precision.
    """

    def __init__(self, graph: Graph, plan: Plan, form: Form) -> None:
        super().__init__(graph, form)
        self.plan, self.integer_ends = plan, form.io == "uint8"
        # The integers of the shifted photo are the pixels themselves.
        self._integer_photo = self.integer_ends or (form.pixels is not None and plan.input_shift != 0)
        self._integer_reader = False
        # For each tensor of the graph, the ONNX tensors that hold it so far: real values, integers, and dequantized.
        self._real: dict[str, str] = {}
        self._integers: dict[str, str] = {}
        self._dequantized: dict[str, str] = {}
        self._with_parameters: set[str] = set()

    def write(self, node: Node) -> None:
        name = node.name
        self._integer_reader = self.plan.is_integer(name) and not isinstance(node, Input)
        if isinstance(node, Input):
            if self._integer_photo:
                self._integers[name] = name
            else:
                self._real[name] = name if self.pixels is None else self.scaled(node, self.pixels)
        elif isinstance(node, Conv) and _is_product(node) and self.plan.gives_float(self.graph, name):
            self._real[name] = self._product(node)
        elif self._integer_reader and isinstance(node, Activation) and self._saturates(node.name, node.kind):
            self._integers[name] = self._quantize(self.real(node.inputs[0]), name)
        else:
            super().write(node)
            self._real[name] = self.result(node)
            if self._integer_reader:
                self._integers[name] = self._quantize(self._real.pop(name), name)

    def _product(self, node: Conv) -> str:
        """Write a pointwise convolution as a matrix product, which ONNX Runtime computes from integers to float.

        The bias is added after the second transposition. Directly after the product, ONNX Runtime would fuse both into
        a float Gemm.
        """
        name, quantized = node.name, self.plan.kernels[node.name]
        photo = self.emit("Transpose", [self.dequantized(node.inputs[0])], f"{name}#nhwc", perm=[0, 2, 3, 1])
        kernel = self._constant_dequantized(f"{name}#kernel", quantized.values[0, 0], quantized.scales, 1)
        product = self.emit("MatMul", [photo, kernel], f"{name}#product")
        moved = self.emit("Transpose", [product], f"{name}#nchw", perm=[0, 3, 1, 2])
        bias = self.constant(f"{name}#bias", quantized.bias.reshape(1, -1, 1, 1))
        super().fused("Add", node.activation, [moved, bias], name)
        return name

    def finished(self, batch: Batch) -> Any:
        if not self.integer_ends:
            self.real(self.graph.output)
        return super().finished(batch)

    def read(self, name: str) -> str:
        return self.dequantized(name) if self._integer_reader else self.real(name)

    def result(self, node: Node) -> str:
        return f"{node.name}#real" if self._integer_reader else self.label(node.name)

    def real(self, name: str) -> str:
        """Return a tensor of the graph in float, as exact as its node made it."""
        return self._real[name] if name in self._real else self.dequantized(name)

    def dequantized(self, name: str) -> str:
        """Return a tensor of the graph in float, rounded to its integers."""
        if name not in self._integers:
            self._integers[name] = self._quantize(self._shifted(name), name)
        if name not in self._dequantized:
            is_output = name == self.graph.output and not self.integer_ends
            label = self.graph.output_name if is_output else f"{name}#dequantized"
            inputs = [self._integers[name], *self._parameters(name)]
            self._dequantized[name] = self.emit("DequantizeLinear", inputs, label)
        return self._dequantized[name]

    def _quantize(self, real: str, name: str) -> str:
        """Round a float tensor to the integers of a tensor of the graph."""
        own_name_is_free = name not in self._real and (name != self.graph.output or self.integer_ends)
        label = self.label(name) if own_name_is_free else f"{name}#integers"
        return self.emit("QuantizeLinear", [real, *self._parameters(name)], label)

    def _parameters(self, name: str) -> list[str]:
        names = [f"{name}#scale", f"{name}#zero_point"]
        if name not in self._with_parameters:
            self._with_parameters.add(name)
            affine = self.plan.activations[name]
            self.constant(names[0], np.float32(affine.scale).reshape(()))
            self.constant(names[1], np.uint8(affine.zero_point + UINT8_SHIFT).reshape(()))
        return names

    def _shifted(self, name: str) -> str:
        """Return the photo plus the plan's shift, with which the integers hold every pixel value exactly."""
        if name != self.graph.input.name or not self.plan.input_shift:
            return self._real[name]
        shift = self.constant(f"{name}#shift", np.float32(self.plan.input_shift).reshape(()))
        return self.emit("Add", [self._real[name], shift], f"{name}#shifted")

    def _saturates(self, name: str, kind: str) -> bool:
        """Whether an activation cuts off exactly the values that the integers of a tensor cannot hold."""
        affine = self.plan.activations[name]
        return affine.zero_point == LOWEST and (kind == "relu" or (kind == "relu6" and affine.high < 6.05))

    def fused(self, kind: str, activation: Fused, inputs: list[str], output: str, **attributes: Any) -> None:
        if self._integer_reader and self._saturates(output.removesuffix("#real"), activation):
            activation = "none"
        super().fused(kind, activation, inputs, output, **attributes)

    def kernel_and_bias(self, node: Weighted) -> tuple[str, str]:
        if not self._integer_reader:
            return super().kernel_and_bias(node)
        name, quantized = node.name, self.plan.kernels[node.name]
        scales = quantized.scales * np.float32(self.plan.activations[node.inputs[0]].scale)
        kernel, axis = kernel_layout(node, quantized.values), 1 if isinstance(node, Dense) else 0
        return (
            self._constant_dequantized(f"{name}#kernel", kernel, quantized.scales, axis),
            self._constant_dequantized(f"{name}#bias", bias_steps(quantized.bias, scales), scales, 0),
        )

    def _constant_dequantized(self, name: str, values: np.ndarray, scales: np.ndarray, axis: int) -> str:
        parts = [
            self.constant(f"{name}#integers", values),
            self.constant(f"{name}#scale", scales.astype(np.float32)),
            self.constant(f"{name}#zero_point", np.zeros(len(scales), values.dtype)),
        ]
        return self.emit("DequantizeLinear", parts, name, axis=axis)


def _as_uint8(values: np.ndarray) -> np.ndarray:
    return (values.astype(np.int16) + UINT8_SHIFT).astype(np.uint8)


def _is_product(node: Conv) -> bool:
    """Whether a convolution is a matrix product over the channels of each pixel."""
    pixel = node.kernel.shape[:2] == (1, 1) and node.strides == (1, 1)
    return pixel and node.groups == 1 and node.padding == NO_PADDING
