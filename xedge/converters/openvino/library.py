"""OpenVINO's own converter and NNCF, for models that the reference graph cannot hold."""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
from collections.abc import Callable, Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import openvino as ov

from xedge.converters import Form
from xedge.errors import MissingRuntimeError, UnsupportedError
from xedge.types import FloatArray

WAY = "OpenVINO's converter"
QUANTIZER = "NNCF"
LAYOUT = "NHWC"
SAVED_MODEL = "saved_model"


def convert(folder: Path, form: Form, photos: Callable[[], Iterable[FloatArray]]) -> dict[str, bytes]:
    """Return the artifact of the SavedModel in a folder.

    Args:
        folder: The folder with ``saved_model``.
        form: The form of the artifact; its input and output are float, and its batch is one.
        photos: A function that gives preprocessed calibration photos (H, W, C), for int8.

    Raises:
        MissingRuntimeError: NNCF is needed and not installed.
        UnsupportedError: OpenVINO does not take the model.
    """
    model = converted(folder / SAVED_MODEL)
    model.reshape([1, *model.input(0).partial_shape.to_string().strip("[]").split(",")[1:]])
    return saved(model, form, lambda: (photo[None] for photo in photos()))


def converted(path: Path) -> Any:
    """Return a SavedModel or an ONNX file as OpenVINO's model.

    Raises:
        UnsupportedError: OpenVINO does not take it.
    """
    try:
        return ov.convert_model(path)
    except Exception as error:  # OpenVINO's frontends have no common exception type
        raise UnsupportedError(
            f"OpenVINO's converter does not take the model ({' '.join(str(error).split())[:200]})"
        ) from error


def saved(model: Any, form: Form, photos: Callable[[], Iterable[FloatArray]]) -> dict[str, bytes]:
    """Return the artifact's files of OpenVINO's model.

    Args:
        model: The model, in float.
        form: The form of the artifact.
        photos: A function that gives preprocessed calibration photos as the model takes them, for int8.

    Raises:
        MissingRuntimeError: NNCF is needed and not installed.
    """
    if form.precision in ("int8", "dynamic"):
        model = _compressed(model, photos() if form.precision == "int8" else None)
    with tempfile.TemporaryDirectory(prefix="xedge-") as scratch:
        file = Path(scratch) / "model.xml"
        ov.save_model(model, file, compress_to_fp16=form.precision == "fp16")
        return {".xml": file.read_bytes(), ".bin": file.with_suffix(".bin").read_bytes()}


def _compressed(model: Any, photos: Iterable[FloatArray] | None) -> Any:
    """Return the int8 version: static if there are photos, and otherwise with only the weights in int8."""
    if find_spec("nncf") is None:
        raise MissingRuntimeError("int8 on OpenVINO's own way needs NNCF; pip install 'xedge[library]'")
    import nncf  # noqa: PLC0415 - only this way needs it

    logging.getLogger("nncf").setLevel(logging.ERROR)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        if photos is None:
            return nncf.compress_weights(model)
        samples = list(photos)
        # Without this, products overflow 16 bits on x86 processors without VNNI.
        advanced = nncf.AdvancedQuantizationParameters(overflow_fix=nncf.OverflowFix.ENABLE)
        return nncf.quantize(model, nncf.Dataset(samples), subset_size=len(samples), advanced_parameters=advanced)
