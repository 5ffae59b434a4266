"""tf2onnx and ONNX Runtime's quantizer, for models that the reference graph cannot hold."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from xedge.converters import Form
from xedge.errors import MissingRuntimeError, UnsupportedError
from xedge.processes import python_module, reason, run_python
from xedge.types import FloatArray

WAY = "tf2onnx"
QUANTIZER = "ONNX Runtime's quantizer"
LAYOUT = "NHWC"
OPSET = 13
SAVED_MODEL = "saved_model"


def convert(folder: Path, form: Form, photos: Callable[[], Iterable[FloatArray]]) -> dict[str, bytes]:
    """Return the artifact of the SavedModel in a folder.

    Args:
        folder: The folder with ``saved_model``; the float model is kept there for the next precision.
        form: The form of the artifact; its input and output are float, and its batch is one.
        photos: A function that gives preprocessed calibration photos (H, W, C), for int8.

    Raises:
        MissingRuntimeError: tf2onnx is not installed.
        UnsupportedError: tf2onnx does not take the model.
    """
    file = folder / "fp32.onnx"
    if not file.exists():
        _convert(folder / SAVED_MODEL, file)
    if form.precision == "fp16":
        return {".onnx": half(onnx.load(file))}
    if form.precision == "fp32":
        return {".onnx": file.read_bytes()}
    with tempfile.TemporaryDirectory(prefix="xedge-") as scratch:
        quantized = Path(scratch) / "quantized.onnx"
        quantize(file, quantized, (photo[None] for photo in photos()) if form.precision == "int8" else None)
        return {".onnx": quantized.read_bytes()}


def _convert(saved_model: Path, file: Path) -> None:
    if find_spec("tf2onnx") is None:
        raise MissingRuntimeError(f"{saved_model.name}: needs tf2onnx; pip install 'xedge[library]'")
    named = {"--saved-model": saved_model, "--output": file, "--opset": OPSET}
    done = run_python(python_module("tf2onnx.convert", *(str(word) for pair in named.items() for word in pair)))
    if done.returncode or not file.exists():
        raise UnsupportedError(f"tf2onnx does not take the model ({reason(done)[:300]})")
    model = onnx.load(file)
    for end in (*model.graph.input, *model.graph.output):
        end.type.tensor_type.shape.dim[0].dim_value = 1
    onnx.save(model, file)


def half(model: Any) -> bytes:
    """Return a model with its float weights in half precision; a Cast unpacks them when the model is loaded."""
    casts = []
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if tensor.data_type == TensorProto.FLOAT and values.ndim > 1:
            name = tensor.name
            tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}#fp16"))
            casts.append(helper.make_node("Cast", [f"{name}#fp16"], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    data: bytes = model.SerializeToString()
    return data


def quantize(file: Path, quantized: Path, photos: Iterable[FloatArray] | None) -> None:
    """Write the int8 version: static if there are photos, and otherwise with the ranges of each photo as it comes.

    Args:
        file: The float model.
        quantized: The file to write.
        photos: Preprocessed calibration photos as the model takes them, each in a batch of one.
    """
    from onnxruntime import quantization  # noqa: PLC0415 - only this way needs it

    if photos is None:
        quantization.quantize_dynamic(file, quantized, weight_type=quantization.QuantType.QUInt8)
        return
    name = onnx.load(file).graph.input[0].name
    quantization.quantize_static(
        file,
        quantized,
        _Photos(name, photos),
        per_channel=True,
        activation_type=quantization.QuantType.QUInt8,
        weight_type=quantization.QuantType.QInt8,
        # Without this, products overflow 16 bits on x86 processors without VNNI.
        reduce_range=True,
        # One extreme photo decides plain extremes; moving averages are the best of the quantizer's cheap rules.
        extra_options={"CalibMovingAverage": True},
    )


class _Photos:
    """Calibration photos in the form in which ONNX Runtime's quantizer asks for them."""

    def __init__(self, name: str, photos: Iterable[FloatArray]) -> None:
        self._name, self._photos = name, iter(photos)

    def get_next(self) -> dict[str, FloatArray] | None:
        """Return the next photo, or None after the last."""
        photo = next(self._photos, None)
        return None if photo is None else {self._name: photo}

    def __iter__(self) -> Iterator[dict[str, FloatArray]]:
        return iter(self.get_next, None)

    def __len__(self) -> int:
        return 0

    def set_range(self, start_index: int, end_index: int) -> None:
        """Photos are streamed, so no range of them can be chosen."""
