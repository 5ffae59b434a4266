"""OpenVINO's reader of ONNX and NNCF, for ONNX files that the reference graph cannot hold."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from xedge.converters import Form
from xedge.converters.openvino.library import QUANTIZER, converted, saved
from xedge.types import FloatArray

__all__ = ["QUANTIZER", "WAY", "convert"]
WAY = "OpenVINO's reader of ONNX"


def convert(file: Path, form: Form, photos: Callable[[], Iterable[FloatArray]]) -> dict[str, bytes]:
    """Return the artifact of an ONNX file in float32.

    Args:
        file: The file, whose batch is one.
        form: The form of the artifact; its input and output are float, and its batch is one.
        photos: A function that gives preprocessed calibration photos as the file takes them, for int8.

    Raises:
        MissingRuntimeError: NNCF is needed and not installed.
        UnsupportedError: OpenVINO does not take the model.
    """
    return saved(converted(file), form, photos)
