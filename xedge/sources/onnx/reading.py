"""Read an ONNX file into the reference graph."""

from __future__ import annotations

from pathlib import Path

from xedge.errors import UnsuitableModelError, UnsupportedError, parameter
from xedge.graph.fold import simplify
from xedge.graph.spill import spilled
from xedge.memory import give_memory_back
from xedge.sources import OutsideSetError, ReadModel, Source
from xedge.sources._raw_pixels import takes_raw_pixels
from xedge.sources.onnx.file import OnnxFile, open_file
from xedge.sources.onnx.network import NetworkBuilder
from xedge.sources.onnx.original import OnnxModel

RESTORED = (
    "the file is quantized already, and its float model was restored: the weights are those of its integers, and "
    "everything is compared with that float model; it held {held}"
)


def read(source: Source, scratch: Path, *, allow_code: bool) -> ReadModel:
    """Read the operators of an ONNX file, which runs no code; arguments and errors are those of ``Reader``."""
    del allow_code
    assert source.path is not None, "an ONNX model is a file"
    file = open_file(source.path, source.size, dequantize=source.dequantize)
    notes = (RESTORED.format(held=file.restored),) if file.restored else ()
    builder = NetworkBuilder(source.name, file)
    try:
        unfolded = builder.read()
    except UnsuitableModelError:
        raise
    except UnsupportedError as error:
        raise OutsideSetError(f"{source}: {error.worded(parameter)}", _scheme(builder, file), notes) from error
    scheme = _scheme(builder, file)
    graph = spilled(simplify(unfolded), scratch / "kernels")
    del unfolded, builder
    give_memory_back()
    return ReadModel(graph=graph, original=OnnxModel(file), name=source.name, scheme=scheme, notes=notes)


def _scheme(builder: NetworkBuilder, file: OnnxFile) -> tuple[str, str] | None:
    if file.dtype.kind == "u":
        return "raw", "the model takes integers"
    raw = bool(builder.nodes) and takes_raw_pixels(builder.nodes)
    return ("raw", "the model scales its input itself") if raw else None
