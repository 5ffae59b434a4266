"""ONNX Runtime's quantizer on an ONNX file that the reference graph cannot hold; in float, the file is the artifact."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

import onnx

from xedge.converters import Form
from xedge.converters.onnx.library import QUANTIZER, half, quantize
from xedge.types import FloatArray

__all__ = ["QUANTIZER", "WAY", "convert"]
WAY = "the ONNX file itself"


def convert(file: Path, form: Form, photos: Callable[[], Iterable[FloatArray]]) -> dict[str, bytes]:
    """Return the artifact of an ONNX file in float32.

    Args:
        file: The file, whose batch is one.
        form: The form of the artifact; its input and output are float, and its batch is one.
        photos: A function that gives preprocessed calibration photos as the file takes them, for int8.
    """
    if form.precision == "fp32":
        return {".onnx": file.read_bytes()}
    if form.precision == "fp16":
        return {".onnx": half(onnx.load(file))}
    with tempfile.TemporaryDirectory(prefix="xedge-") as scratch:
        quantized = Path(scratch) / "quantized.onnx"
        quantize(file, quantized, photos() if form.precision == "int8" else None)
        return {".onnx": quantized.read_bytes()}
