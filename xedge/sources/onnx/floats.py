"""Write an ONNX file in the form in which libraries' converters take it: one photo in, one row out, all in float32."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from onnx import TensorProto, helper

from xedge.errors import UnsupportedError
from xedge.sources import FloatFile, Source
from xedge.sources.onnx.file import OnnxFile, open_file, tensors
from xedge.sources.onnx.original import OnnxModel, in_float

# Protocol buffers hold no more.
MOST_BYTES = (1 << 31) - (1 << 20)


def write_float_file(source: Source, folder: Path) -> FloatFile:
    """Write a model as one ONNX file, with its weights, for a batch of one photo.

    Args:
        source: The model.
        folder: Where the file is put.

    Raises:
        InputError: The file is damaged.
        UnsupportedError: The model is too large for one file.
    """
    assert source.path is not None, "an ONNX model is a file"
    file = open_file(source.path, source.size, dequantize=source.dequantize)
    _check_size(source, file)
    model = in_float(file)
    _set_input(model, file)
    _set_output(model)
    del model.graph.value_info[:]  # sizes of the batch that was exported
    path = folder / "fp32.onnx"
    path.write_bytes(model.SerializeToString())
    return FloatFile(path=path, layout="NCHW" if file.channels_first else "NHWC", original=OnnxModel(file))


def _check_size(source: Source, file: OnnxFile) -> None:
    beside = {
        entry.value
        for tensor in tensors(file.model)
        for entry in tensor.external_data
        if tensor.data_location == TensorProto.EXTERNAL and entry.key == "location"
    }
    size = sum((file.path.parent / one).stat().st_size for one in beside) + file.path.stat().st_size
    if size > MOST_BYTES:
        raise UnsupportedError(f"{source}: has {size / 1e9:.1f} GB, and libraries' converters take 2 GB at most")


def _set_input(model: Any, file: OnnxFile) -> None:
    """Make the input float32 photos of one size; a cast follows where the model takes other values."""
    (photo,) = (one for one in model.graph.input if one.name == file.photo)
    kind = photo.type.tensor_type.elem_type
    name = file.photo if kind == TensorProto.FLOAT else f"{file.photo}#float"
    photo.CopyFrom(helper.make_tensor_value_info(name, TensorProto.FLOAT, file.sizes))
    if kind != TensorProto.FLOAT:
        model.graph.node.insert(0, helper.make_node("Cast", [name], [file.photo], to=kind))


def _set_output(model: Any) -> None:
    """Make the output one row of float32."""
    (end,) = model.graph.output
    last, kind = end.name, end.type.tensor_type
    if kind.elem_type != TensorProto.FLOAT:
        model.graph.node.append(helper.make_node("Cast", [last], [f"{last}#float"], to=TensorProto.FLOAT))
        last = f"{last}#float"
    if not kind.HasField("shape") or len(kind.shape.dim) != 2:
        model.graph.initializer.append(helper.make_tensor(f"{last}#sizes", TensorProto.INT64, [2], [1, -1]))
        model.graph.node.append(helper.make_node("Reshape", [last, f"{last}#sizes"], [f"{last}#row"]))
        last = f"{last}#row"
    width = kind.shape.dim[-1].dim_value if len(kind.shape.dim) == 2 else 0
    end.CopyFrom(helper.make_tensor_value_info(last, TensorProto.FLOAT, [1, width] if width else None))
