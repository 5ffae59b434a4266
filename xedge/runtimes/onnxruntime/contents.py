"""What an .onnx file holds, read with onnx: its inputs and outputs, its files, and in what its products compute."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from math import prod
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from xedge.errors import BundleError, InputError
from xedge.runtimes import Contents, End
from xedge.vocabulary import Precision

# The places of weights and photos among the inputs of products: those in float or between conversions, those of
# integers with fixed ranges, and those of integers whose ranges another node finds.
FLOATS = {"Conv": (0, 1), "ConvTranspose": (0, 1), "MatMul": (0, 1), "Gemm": (0, 1), "FusedConv": (0, 1)}
INTEGERS = {"QLinearConv": (0, 3), "QLinearMatMul": (0, 3), "QGemm": (0, 3)}
FOUND = {
    "ConvInteger": (0, 1),
    "MatMulInteger": (0, 1),
    "DynamicQuantizeMatMul": (0, 1),
    "MatMulIntegerToFloat": (0, 1),
}
PACKED = {"MatMulNBits": (0, 1)}
PRODUCTS = {**FLOATS, **INTEGERS, **FOUND, **PACKED}
# What may stand between weights and the product, and between the conversion of a photo and the product.
UNPACKING = ("DequantizeLinear", "QuantizeLinear", "Cast", "Transpose", "Reshape", "Identity", "Squeeze", "Unsqueeze")
MOVING = ("Transpose", "Reshape", "Identity", "Squeeze", "Unsqueeze", "Pad", "MaxPool", "Flatten")

# The names of 100,000 classes are shorter.
LONGEST_NAMES = 4 << 20


def companions(artifact: Path) -> tuple[str, ...]:
    """Return the names of the files beside an .onnx file that hold its weights.

    Raises:
        BundleError: One of the names leads out of the folder of the file.
        InputError: One of the files is missing.
    """
    names: dict[str, None] = {}
    for tensor in _tensors(onnx.load(artifact, load_external_data=False)):
        for entry in tensor.external_data:
            if entry.key == "location":
                names[entry.value] = None
    folder = artifact.parent.resolve()
    for name in names:
        path = PurePosixPath(name)
        place = (folder / path).resolve() if name and "\0" not in name else folder
        if path.is_absolute() or ".." in path.parts or place == folder or not place.is_relative_to(folder):
            raise BundleError(
                f"{artifact}: its weights are said to be in {name!r}, outside of its folder; do not trust it"
            )
        if not place.is_file():
            raise InputError(
                f"{artifact}: its weights are said to be in {name!r}, which is not beside it; put it there"
            )
    return tuple(names)


def _tensors(message: Any) -> Iterator[Any]:
    """Yield every tensor in a model, those of its nodes' attributes and inner graphs too."""
    if isinstance(message, onnx.TensorProto):
        yield message
        return
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        for one in value if not hasattr(value, "ListFields") else (value,):
            if hasattr(one, "ListFields"):
                yield from _tensors(one)


class _Graph:
    """The nodes of a graph by what they make, and its constants."""

    def __init__(self, graph: Any) -> None:
        self.nodes = list(graph.node)
        self.made = {name: node for node in self.nodes for name in node.output if name}
        self.constants: Mapping[str, Any] = {
            **{one.name: one for one in graph.initializer},
            **{
                node.output[0]: attribute.t
                for node in self.nodes
                if node.op_type == "Constant"
                for attribute in node.attribute
                if attribute.name == "value"
            },
        }

    def behind(self, name: str, kinds: tuple[str, ...]) -> str:
        """Follow the first inputs of nodes of some kinds from a tensor, and return the tensor where that ends."""
        seen = set()
        while name in self.made and self.made[name].op_type in kinds and self.made[name].input and name not in seen:
            seen.add(name)
            name = self.made[name].input[0]
        return name

    def kind(self, name: str) -> str:
        """Return the kind of the node that makes a tensor; an empty text if there is none."""
        return self.made[name].op_type if name in self.made else ""

    def scale(self, node: Any) -> tuple[float, int] | None:
        """Return the scale and the zero point of a conversion; None if they are not single constants of the file."""
        names = list(node.input)[1:3]
        given = [self.constants[name] for name in names if name in self.constants]
        if not given or len(given) != len(names):
            return None
        if any(one.data_location == onnx.TensorProto.EXTERNAL or prod(one.dims) != 1 for one in given):
            return None
        values = [numpy_helper.to_array(one).reshape(-1)[0] for one in given]
        return float(values[0]), int(values[1]) if len(values) == 2 else 0


def contents(artifact: Path) -> Contents:
    """Return what an .onnx file holds."""
    model = onnx.load(artifact, load_external_data=False)
    graph = _Graph(model.graph)
    initial = {one.name for one in model.graph.initializer}
    return Contents(
        inputs=tuple(_input(graph, one) for one in model.graph.input if one.name not in initial),
        outputs=tuple(replace(_output(graph, one), labels=_labels(model)) for one in model.graph.output),
        weights=_weights(graph),
    )


def _labels(model: Any) -> str | None:
    """Return the labels, one on each line, where the file names them by their indices, as that of Ultralytics does."""
    for entry in model.metadata_props:
        if entry.key == "names" and len(entry.value) <= LONGEST_NAMES:
            # A text that is no literal raises errors of several kinds.
            with suppress(Exception):
                names = ast.literal_eval(entry.value)
                labels = [names[index] for index in range(len(names))]
                if all(isinstance(label, str) and "\n" not in label for label in labels):
                    return "\n".join(labels)
    return None


def _input(graph: _Graph, value: Any) -> End:
    readers = [node for node in graph.nodes if value.name in node.input]
    scales = {
        graph.scale(node) if node.op_type == "DequantizeLinear" and node.input[0] == value.name else None
        for node in readers
    }
    return _end(value, scales.pop() if len(scales) == 1 else None)


def _output(graph: _Graph, value: Any) -> End:
    name = graph.behind(value.name, ("Reshape", "Identity", "Squeeze", "Unsqueeze", "Flatten"))
    return _end(value, graph.scale(graph.made[name]) if graph.kind(name) == "QuantizeLinear" else None)


def _end(value: Any, scale: tuple[float, int] | None) -> End:
    tensor = value.type.tensor_type
    shape = tuple(int(size.dim_value) if size.HasField("dim_value") else -1 for size in tensor.shape.dim)
    try:
        dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)).name
    except (KeyError, TypeError):
        dtype = "of no tensor"
    whole = scale is not None and dtype in ("int8", "uint8")
    return End(
        name=value.name,
        shape=tuple(size if size > 0 else -1 for size in shape),
        dtype=dtype,
        scale=scale[0] if scale is not None and whole else None,
        zero_point=scale[1] if scale is not None and whole else None,
    )


def _weights(graph: _Graph) -> dict[Precision, int]:
    """Count the weights of products by the precision in which they compute."""
    counts: Counter[Precision] = Counter()
    for node in graph.nodes:
        places = PRODUCTS.get(node.op_type)
        if places is None or len(node.input) <= max(places):
            continue
        # Of a matrix product, either side may be the weights.
        for kernel, photo in ((places[1], places[0]), places):
            stored = graph.constants.get(graph.behind(node.input[kernel], UNPACKING))
            if stored is not None:
                rounded = graph.kind(graph.behind(node.input[kernel], MOVING)) == "DequantizeLinear"
                counts[_precision(graph, node, stored, node.input[photo], rounded=rounded)] += prod(stored.dims)
                break
    return dict(counts)


def _precision(graph: _Graph, node: Any, stored: Any, photo: str, *, rounded: bool) -> Precision:
    """Return in what a product computes; ``rounded`` says that float weights are rounded to integers before it."""
    kinds = onnx.TensorProto
    if not rounded and stored.data_type in (kinds.FLOAT16, kinds.BFLOAT16):
        return "fp16"
    if not rounded and stored.data_type in (kinds.FLOAT, kinds.DOUBLE):
        return "fp32"
    if node.op_type in INTEGERS:
        return "int8"
    source = graph.behind(photo, MOVING)
    if node.op_type in FLOATS and graph.kind(source) != "DequantizeLinear":
        return "dynamic"
    if node.op_type in FLOATS:
        source = graph.made[source].input[0]
    found = graph.kind(source) == "DynamicQuantizeLinear"
    return "dynamic" if found or node.op_type in PACKED or node.op_type.startswith("Dynamic") else "int8"
