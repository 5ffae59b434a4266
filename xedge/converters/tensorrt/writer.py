"""Write the reference graph as TensorRT's ONNX parser wants it: fp32, all in half precision, or symmetric Q/DQ int8.

TensorRT quantizes symmetrically and takes biases in float (Developer Guide, "Working with Quantized Types"). ONNX
Runtime runs these files too, on its TensorRT provider or, for a check on any machine, on the CPU.
"""

from __future__ import annotations

import numpy as np

from xedge.converters import Form
from xedge.converters._onnx_artifact import ArtifactWriter, WholeHalfWriter
from xedge.converters.tensorrt import TARGET
from xedge.graph.ir import Dense, Graph, Node, Weighted
from xedge.graph.onnx import kernel_layout, serialized
from xedge.memory import give_memory_back
from xedge.quantization.plan import Plan, fitted


def convert(graph: Graph, form: Form, plan: Plan | None = None) -> dict[str, bytes]:
    """Return the .onnx file.

    Args:
        graph: The reference graph.
        form: The precision, and the type of input and output.
        plan: The symmetric quantization plan of this graph, for int8.

    Raises:
        UnsupportedError: TensorRT has no such form.
    """
    TARGET.check(form)
    graph, plan = fitted("onnx", graph, plan)
    writer: ArtifactWriter
    if form.precision == "int8":
        assert plan is not None
        writer = _SymmetricWriter(graph, plan, form)
    else:
        writer = {"fp32": ArtifactWriter, "fp16": WholeHalfWriter}[form.precision](graph, form)
    for node in graph:
        writer.write(node)
    give_memory_back()
    return {".onnx": serialized(writer.finished(form.batch))}


class _SymmetricWriter(ArtifactWriter):
    """Write integer nodes that read integers through DequantizeLinear and give float, which their readers quantize.

    TensorRT fuses the pairs of QuantizeLinear and DequantizeLinear into the products around them. Where it does not,
    the numbers stay the same.
    """

    def __init__(self, graph: Graph, plan: Plan, form: Form) -> None:
        super().__init__(graph, form)
        self.plan = plan
        self._integer_reader = False
        self._dequantized: dict[str, str] = {}

    def write(self, node: Node) -> None:
        # A pool or an activation between products is not rounded separately.
        self._integer_reader = self.plan.is_integer(node.name) and isinstance(node, Weighted)
        super().write(node)

    def read(self, name: str) -> str:
        if not self._integer_reader:
            return self.label(name)
        if name not in self._dequantized:
            self._dequantized[name] = self._rounded(name)
        return self._dequantized[name]

    def _rounded(self, name: str) -> str:
        source = self.label(name)
        if name == self.graph.input.name and self.plan.input_shift:
            shift = self.constant(f"{name}#shift", np.float32(self.plan.input_shift).reshape(()))
            source = self.emit("Add", [source, shift], f"{name}#shifted")
        scale = self.constant(f"{name}#scale", np.float32(self.plan.activations[name].scale).reshape(()))
        zero = self.constant(f"{name}#zero_point", np.int8(0).reshape(()))
        integers = self.emit("QuantizeLinear", [source, scale, zero], f"{name}#integers")
        return self.emit("DequantizeLinear", [integers, scale, zero], f"{name}#dequantized")

    def kernel_and_bias(self, node: Weighted) -> tuple[str, str]:
        if not self._integer_reader:
            return super().kernel_and_bias(node)
        name, quantized = node.name, self.plan.kernels[node.name]
        values = kernel_layout(node, quantized.values)
        parts = [
            self.constant(f"{name}#kernel#integers", values),
            self.constant(f"{name}#kernel#scale", quantized.scales.astype(np.float32)),
            self.constant(f"{name}#kernel#zero_point", np.zeros(len(quantized.scales), np.int8)),
        ]
        axis = 1 if isinstance(node, Dense) else 0
        kernel = self.emit("DequantizeLinear", parts, f"{name}#kernel", axis=axis)
        return kernel, self.constant(f"{name}#bias", quantized.bias)
