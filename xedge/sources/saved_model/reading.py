"""Read a SavedModel into the reference graph, by the operations of its function with all variables as constants."""

from __future__ import annotations

from pathlib import Path

from xedge.errors import UnsuitableModelError, UnsupportedError, parameter
from xedge.graph.fold import simplify
from xedge.graph.spill import spilled
from xedge.memory import give_memory_back
from xedge.sources import OutsideSetError, ReadModel, Source
from xedge.sources._raw_pixels import takes_raw_pixels
from xedge.sources._tensorflow import TensorFlowModel
from xedge.sources.saved_model.function import FunctionBuilder

MODULE = "xedge.sources.saved_model.library"


def read(source: Source, scratch: Path, *, allow_code: bool) -> ReadModel:
    """Freeze a SavedModel in TensorFlow's process and read it; arguments and errors are those of ``Reader``."""
    original = TensorFlowModel(MODULE, source, allow_code=allow_code)
    original.freeze(scratch / "frozen")
    builder = FunctionBuilder(source.name)
    try:
        unfolded = builder.read(scratch / "frozen")
    except UnsuitableModelError:
        raise
    except UnsupportedError as error:
        raise OutsideSetError(error.worded(parameter), _scheme(builder)) from error
    graph = spilled(simplify(unfolded), scratch / "kernels")
    scheme = _scheme(builder)
    del unfolded, builder
    give_memory_back()
    return ReadModel(graph=graph, original=original, name=source.name, scheme=scheme)


def _scheme(builder: FunctionBuilder) -> tuple[str, str] | None:
    raw = bool(builder.nodes) and takes_raw_pixels(builder.nodes)
    return ("raw", "the model scales its input itself") if raw else None
