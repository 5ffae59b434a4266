"""ONNX files, as PyTorch, timm, tf2onnx and Keras export them: their operators are read one by one."""

from pathlib import Path

from xedge.plugins import deferred
from xedge.sources import SourceKind


def takes(path: Path) -> bool:
    """Return whether a path is a file with the suffix of ONNX."""
    return path.is_file() and path.suffix.lower() == ".onnx"


SOURCE = SourceKind(
    name="onnx",
    words="an .onnx file",
    takes=takes,
    read=deferred("xedge.sources.onnx.reading:read"),
    rank=30,
    float_file=deferred("xedge.sources.onnx.floats:write_float_file"),
)
