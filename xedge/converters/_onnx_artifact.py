"""What the ONNX files of every target have in common: their ends, and half precision."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto, helper

from xedge.converters import Form, Pixels
from xedge.converters._pixels import factors
from xedge.graph.ir import Graph, Input, Node, Softmax
from xedge.graph.onnx import OnnxWriter
from xedge.vocabulary import Batch


class ArtifactWriter(OnnxWriter):
    """A model with the ends that an artifact has: Keras' names and a chosen batch. As it stands, fp32."""

    def __init__(self, graph: Graph, form: Form) -> None:
        super().__init__(graph)
        self.pixels = form.pixels
        integers = form.io == "uint8"
        self.input_type = TensorProto.UINT8 if integers or form.pixels is not None else TensorProto.FLOAT
        self.output_type = TensorProto.UINT8 if integers else TensorProto.FLOAT

    def write(self, node: Node) -> None:
        """Add what one node needs; behind the input, what makes a photo of pixels."""
        if isinstance(node, Input) and self.pixels is not None:
            self.scaled(node, self.pixels)
        super().write(node)

    def scaled(self, node: Input, pixels: Pixels) -> str:
        """Add what makes the float photo of uint8 pixels."""
        scale, offset = (factor.reshape(1, -1, 1, 1) for factor in factors(pixels, node.shape[-1]))
        real = self.emit("Cast", [node.name], f"{node.name}#real", to=TensorProto.FLOAT)
        scaled = self.emit("Mul", [real, self.constant(f"{node.name}#scale_of_pixels", scale)], f"{node.name}#scaled")
        return self.emit("Add", [scaled, self.constant(f"{node.name}#offset", offset)], f"{node.name}#photo")

    def label(self, name: str) -> str:
        """Return what a tensor of the graph is called: the output keeps the name that it has in Keras."""
        if name == self.graph.output:
            return self.graph.output_name
        if name == self.graph.input.name and self.pixels is not None:
            return f"{name}#photo"
        return f"{name}#before" if name == self.graph.output_name else name

    def read(self, name: str) -> str:
        """Return the float ONNX tensor that holds a tensor of the graph."""
        return self.label(name)

    def result(self, node: Node) -> str:
        """Return what the float ONNX tensor is called that a node makes."""
        return self.label(node.name)

    def finished(self, batch: Batch) -> Any:
        """Return the model."""
        photos: int | str = "N" if batch == "dynamic" else batch
        height, width, channels = self.graph.input.shape
        shapes = {
            self.graph.input.name: (channels, height, width),
            self.graph.output_name: self.graph.shape(self.graph.output),
        }
        types = (self.input_type, self.output_type)
        start, end = (
            helper.make_tensor_value_info(name, kind, [photos, *shape])
            for kind, (name, shape) in zip(types, shapes.items(), strict=True)
        )
        return self.with_ends(start, [end])


class HalfWriter(ArtifactWriter):
    """Weights in half precision; runtimes unpack them once, when they load."""

    def weight(self, name: str, value: np.ndarray) -> str:
        """Add a weight in half precision and what unpacks it."""
        stored = self.constant(f"{name}#fp16", value.astype(np.float16))
        return self.emit("Cast", [stored], name, to=TensorProto.FLOAT)


class WholeHalfWriter(ArtifactWriter):
    """Half precision from the photo to the logits, for runtimes that take the types as they are written.

    The photo is cast at the input, and the output's node, which is most often a softmax, is computed in float.
    """

    def __init__(self, graph: Graph, form: Form) -> None:
        super().__init__(graph, form)
        self._in_float = True

    def write(self, node: Node) -> None:
        """Add what one node needs, and the casts at both ends."""
        self._in_float = isinstance(node, Input) or (isinstance(node, Softmax) and node.name == self.graph.output)
        super().write(node)
        if isinstance(node, Input):
            self.emit("Cast", [self.label(node.name)], f"{node.name}#half", to=TensorProto.FLOAT16)
        elif node.name == self.graph.output and not self._in_float:
            self.emit("Cast", [f"{node.name}#half"], self.label(node.name), to=TensorProto.FLOAT)

    def constant(self, name: str, value: np.ndarray) -> str:
        """Add values to compute with, in the type in which the node computes."""
        half = value.dtype == np.float32 and not self._in_float
        return super().constant(name, value.astype(np.float16) if half else value)

    def read(self, name: str) -> str:
        """Return the ONNX tensor that holds a tensor of the graph in the type in which the node computes."""
        half = f"{name}#half" if name == self.graph.input.name else self.label(name)
        return self.emit("Cast", [half], f"{name}#float", to=TensorProto.FLOAT) if self._in_float else half

    def result(self, node: Node) -> str:
        """Return what the ONNX tensor is called that a node makes, before the last cast."""
        return f"{node.name}#half" if node.name == self.graph.output and not self._in_float else self.label(node.name)
