"""Open an ONNX file, and refuse what is damaged, quantized already, or no classifier of one photo."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, external_data_helper, helper, numpy_helper

from xedge.errors import InputError, UnsuitableModelError, brief, parameter
from xedge.sources.onnx.dequantize import restored
from xedge.types import FloatArray, Shape

# Operators that only quantized models have.
QUANTIZED = ("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "ConvInteger", "MatMulInteger")
FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE)
# No photo that a classifier takes has more values, and a damaged file may claim any number.
MOST_VALUES = 1 << 27


@dataclass(frozen=True, kw_only=True, eq=False)
class OnnxFile:
    """An ONNX file that was opened.

    Args:
        path: The file.
        model: What it holds, with the model's own functions put in place of their calls; external data is not in it.
        photo: The name of the input.
        sizes: The sizes of the input as ONNX has them, with a batch of one.
        channels_first: Whether the input is (batch, channels, height, width).
        dtype: The type of the input's values.
        restored: What the file held, in words, if it is quantized and the model is its float model; empty otherwise.
    """

    path: Path
    model: Any
    photo: str
    sizes: Shape
    channels_first: bool
    dtype: np.dtype[Any]
    restored: str = ""

    @property
    def shape(self) -> Shape:
        """The shape of a photo: (height, width, channels)."""
        return (*self.sizes[2:], self.sizes[1]) if self.channels_first else self.sizes[1:]

    def array(self, tensor: Any) -> FloatArray:
        """Return the values of a tensor of the file, from its external data if it has some.

        Raises:
            InputError: The values are missing, or are not as many as the tensor says.
        """
        return _array(self.path, tensor)


def _array(path: Path, tensor: Any) -> FloatArray:
    try:
        values: FloatArray = numpy_helper.to_array(tensor, base_dir=str(path.parent))
    except Exception as error:  # onnx has no exceptions in common
        raise InputError(f"{path}: the values of {tensor.name} are damaged ({brief(error)})") from error
    return values


def open_file(path: Path, size: tuple[int, int] | None, *, dequantize: bool = False) -> OnnxFile:
    """Open an ONNX file.

    Args:
        path: The file.
        size: The height and width of photos that the user asks for; None takes the model's own.
        dequantize: Whether the float model of a quantized file is restored.

    Raises:
        InputError: The file is damaged, or names data outside its folder.
        UnsuitableModelError: It is quantized, or does not take one photo and give one output.
    """
    model = _loaded(path)
    _check_locations(path, model)
    if model.functions:
        model = onnx.inliner.inline_local_functions(model)
    quantized = _first_quantized(model)
    held_words = ""
    if quantized is not None and dequantize:
        model, held_words = restored(path, model, lambda tensor: _array(path, tensor))
        quantized = _first_quantized(model)  # inside of a branch
    if quantized is not None:
        raise UnsuitableModelError(
            f"{path} is quantized already ({quantized.op_type} at {quantized.name or quantized.output[0]}), which "
            f"xedge does by itself; give the model in float, or restore it from this file with "
            f"{parameter('dequantize')}, which keeps the rounding of its weights, or take it as it is with xedge wrap"
        )
    held = {tensor.name for tensor in model.graph.initializer}
    inputs = [one for one in model.graph.input if one.name not in held]
    if len(inputs) != 1 or len(model.graph.output) != 1:
        raise UnsuitableModelError(
            f"{path} has the inputs {_named(inputs)} and the outputs {_named(model.graph.output)}; xedge takes models "
            "with one photo as the input and one output, so export a model with only these"
        )
    kind = inputs[0].type.tensor_type
    if kind.elem_type not in (*FLOATS, TensorProto.UINT8):
        raise UnsuitableModelError(f"{path} takes {_type_name(kind.elem_type)}, not photos of floats or of pixels")
    sizes, first = _sizes(path, kind, size)
    return OnnxFile(
        path=path,
        model=model,
        photo=inputs[0].name,
        sizes=sizes,
        channels_first=first,
        dtype=np.dtype(helper.tensor_dtype_to_np_dtype(kind.elem_type)),
        restored=held_words,
    )


def _first_quantized(model: Any) -> Any:
    """Return the first operator that only quantized models have; None if there is none."""
    beginnings = ("QLinear", "QGemm", "QAttention")
    found = (one for one in _nodes(model.graph) if one.op_type in QUANTIZED or one.op_type.startswith(beginnings))
    return next(found, None)


def _loaded(path: Path) -> Any:
    try:
        model = onnx.load(path, load_external_data=False)
    except Exception as error:  # protobuf's own errors among others
        raise InputError(f"{path}: is no ONNX file, or a damaged one ({brief(error)})") from error
    if not model.graph.node or not model.graph.output:
        raise InputError(f"{path}: is no ONNX file, or a damaged one (it has no operators)")
    if any(isinstance(text, bytes) for text in _names(model)):
        raise InputError(f"{path}: is a damaged ONNX file (it has a name that is not UTF-8)")
    return model


def _names(model: Any) -> Iterator[Any]:
    """Return the names in a model; protobuf gives those that are not UTF-8 as bytes."""
    for graph in _graphs(model.graph):
        yield from (one.name for one in (*graph.input, *graph.output, *graph.initializer))
        for node in graph.node:
            yield from (node.name, node.op_type, node.domain, *node.input, *node.output)
            yield from (attribute.name for attribute in node.attribute)


def _check_locations(path: Path, model: Any) -> None:
    """Refuse data that is not a file in the model's folder, before anything opens it."""
    folder = path.parent.resolve()
    for tensor in tensors(model):
        if not external_data_helper.uses_external_data(tensor):
            continue
        location = next((one.value for one in tensor.external_data if one.key == "location"), "")
        outside = any(
            one(location).is_absolute() or ".." in one(location).parts for one in (PurePosixPath, PureWindowsPath)
        )
        if not location or outside or not (folder / location).resolve().is_relative_to(folder):
            raise InputError(f"{path}: the values of {tensor.name} are in {location!r}, outside the model's folder")
        if not (folder / location).is_file():
            raise InputError(f"{path}: the values of {tensor.name} are in {location}, which is missing beside it")


def tensors(model: Any) -> Iterator[Any]:
    """Return all tensors with values in a model, those in attributes included."""
    for graph in _graphs(model.graph):
        yield from graph.initializer
        yield from (part for sparse in graph.sparse_initializer for part in (sparse.values, sparse.indices))
        yield from _attribute_tensors(graph.node)
    for function in model.functions:
        yield from _attribute_tensors(function.node)


def _attribute_tensors(nodes: Iterable[Any]) -> Iterator[Any]:
    for node in nodes:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors


def _graphs(graph: Any) -> Iterator[Any]:
    """Return a graph and those inside its operators, without recursion, which a hostile file could exhaust."""
    waiting = [graph]
    while waiting:
        one = waiting.pop()
        yield one
        for node in one.node:
            for attribute in node.attribute:
                waiting += [attribute.g] if attribute.HasField("g") else []
                waiting += attribute.graphs


def _nodes(graph: Any) -> Iterator[Any]:
    return (node for one in _graphs(graph) for node in one.node)


def _named(ends: Iterable[Any]) -> str:
    return ", ".join(one.name for one in ends) or "none"


def _type_name(kind: int) -> str:
    return TensorProto.DataType.Name(kind).lower() if kind in TensorProto.DataType.values() else f"type {kind}"


def _sizes(path: Path, kind: Any, asked: tuple[int, int] | None) -> tuple[Shape, bool]:
    """Return the sizes of the input with a batch of one, and whether the channels come first."""
    given = [one.dim_value if one.HasField("dim_value") else 0 for one in kind.shape.dim]
    if len(given) != 4 or given[0] > 1:
        raise UnsuitableModelError(
            f"{path} takes {tuple(given)}, not one photo of (height, width, channels); export it with a batch of 1"
        )
    first = given[1] in (1, 3, 4) or given[3] not in (1, 3, 4)
    places = (2, 3) if first else (1, 2)
    for at, wanted in zip(places, asked or (0, 0), strict=True):
        if wanted and given[at] not in (0, wanted):
            height, width = (given[one] for one in places)
            raise UnsuitableModelError(f"{path} takes photos of {height}x{width}, not of {asked[0]}x{asked[1]}")  # type: ignore[index]
        given[at] = given[at] or wanted
    given[0] = 1
    if min(given) < 1:
        raise UnsuitableModelError(
            f"{path} takes photos of any size; choose one with {parameter('size')}, such as 224x224"
        )
    if prod(given) > MOST_VALUES:
        raise UnsuitableModelError(
            f"{path} takes photos of {tuple(given[1:])}, which is more than any classifier takes"
        )
    return tuple(given), first
