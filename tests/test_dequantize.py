"""A file that is quantized already is told as such; its float model is restored where that is asked for."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper
from onnxruntime import quantization
from onnxruntime.quantization import QuantFormat, QuantType

from tests.conftest import Command
from tests.test_onnx_source import ops, weights, written
from xedge.errors import UnsuitableModelError
from xedge.graph.evaluate import Evaluator
from xedge.sources import ReadModel
from xedge.sources.finding import find_source

PHOTOS = np.random.default_rng(3).standard_normal((16, 3, 12, 12)).astype(np.float32)


def network(path: Path) -> Path:
    """Write a network with what quantizers treat in their own ways: ReLU and ReLU6, sums, pools, parts, a dense end."""
    random = np.random.default_rng(5)

    def drawn(*shape: int) -> np.ndarray:
        return np.asarray(random.standard_normal(shape) / max(1, prod(shape[1:])) ** 0.5, np.float32)

    arrays: dict[str, Any] = {
        "stem": drawn(8, 3, 3, 3) * 2,
        "bias": drawn(8),
        "low": np.float32(0),
        "six": np.float32(6),
        "wide": drawn(8, 8, 1, 1) * 6,
        "other": drawn(8, 8, 1, 1),
        "head": drawn(16, 5),
        "end": drawn(5),
    }
    rows: list[Any] = [
        ("Conv", ("x", "stem", "bias"), "a", {"pads": [1, 1, 1, 1]}),
        ("Relu", "a", "b"),
        ("Conv", ("b", "wide"), "c"),
        ("Clip", ("c", "low", "six"), "d"),
        ("Add", "bd", "e"),
        ("MaxPool", "e", "f", {"kernel_shape": [2, 2], "strides": [2, 2]}),
        ("Conv", ("b", "other"), "l"),
        ("LeakyRelu", "l", "g"),
        ("AveragePool", "g", "h", {"kernel_shape": [2, 2], "strides": [2, 2]}),
        ("Concat", "fh", "i", {"axis": 1}),
        ("GlobalAveragePool", "i", "j"),
        ("Flatten", "j", "k"),
        ("Gemm", ("k", "head", "end"), "y"),
    ]
    return written(path, ops(*rows), arrays)


class Reader(quantization.CalibrationDataReader):  # type: ignore[misc] # ONNX Runtime has no types
    """The calibration photos, one after the other."""

    def __init__(self) -> None:
        self._photos = iter(PHOTOS)

    def get_next(self) -> dict[str, np.ndarray] | None:
        photo = next(self._photos, None)
        return None if photo is None else {"x": photo[None]}


def quantized(path: Path, file: Path, *, form: QuantFormat, per_channel: bool, kind: QuantType) -> Path:
    """Write what ONNX Runtime's quantizer makes of a file."""
    quantization.quantize_static(
        file,
        path,
        Reader(),
        quant_format=form,
        per_channel=per_channel,
        activation_type=kind,
        weight_type=QuantType.QInt8,
        extra_options={"ActivationSymmetric": False},
    )
    return path


def outputs(path: Path) -> np.ndarray:
    session = onnxruntime.InferenceSession(str(path))
    return np.concatenate([session.run(None, {"x": photo[None]})[0] for photo in PHOTOS])


def read(path: Path, scratch: Path, *, dequantize: bool = True) -> ReadModel:
    source = replace(find_source(str(path)), dequantize=dequantize)
    return source.kind.read(source, scratch, allow_code=False)


def noise(got: np.ndarray, expected: np.ndarray) -> float:
    return float(np.sqrt(np.mean((got - expected) ** 2)) / expected.std())


QDQ, QOPERATOR = QuantFormat.QDQ, QuantFormat.QOperator


@pytest.mark.parametrize("kind", [QuantType.QUInt8, QuantType.QInt8])
@pytest.mark.parametrize("per_channel", [False, True], ids=["tensor", "channel"])
@pytest.mark.parametrize("form", [QDQ, QOPERATOR], ids=["qdq", "qoperator"])
def test_the_float_model_is_restored(form: QuantFormat, per_channel: bool, kind: QuantType, tmp_path: Path) -> None:
    file = network(tmp_path / "float.onnx")
    path = quantized(tmp_path / "model.onnx", file, form=form, per_channel=per_channel, kind=kind)
    kinds = {node.op_type for node in onnx.load(path).graph.node}
    assert ("QLinearConv" in kinds) == (form == QOPERATOR)
    assert "Relu" not in kinds, "the quantizer leaves it out, so that this tests what puts it back"
    model = read(path, tmp_path)
    rows = np.concatenate([Evaluator(model.graph).output(photo.transpose(1, 2, 0)[None]) for photo in PHOTOS])
    original = model.original.output(photo.transpose(1, 2, 0) for photo in PHOTOS)
    assert noise(rows, original) < 1e-5
    # The rounding of weights is left of the noise that quantization made; a ReLU too few is far beyond it.
    expected = outputs(file)
    assert noise(rows, expected) <= noise(outputs(path), expected)
    assert noise(rows, expected) < (0.006 if per_channel else 0.0095)
    (note,) = (note for note in model.notes if "quantized already, and its float model was restored" in note)
    ranges = 12 if form == QDQ else 10
    assert re.search(rf"it held 424 weights of 8 bits, and {ranges} ranges, from .* up to -11\.\d to 8\.\d+ \(l", note)


def test_a_quantized_file_is_told_with_what_to_do(here: Command, tmp_path: Path) -> None:
    file = network(tmp_path / "float.onnx")
    quantized(tmp_path / "model.onnx", file, form=QDQ, per_channel=True, kind=QuantType.QUInt8)
    command = ("convert", "model.onnx", "--target", "tflite", "--preprocess", "torch", "--output", "out")
    done = here(*command, "--precision", "int8", cwd=tmp_path)
    assert done.returncode == 4
    line = done.stderr.strip().splitlines()[-1]
    assert "model.onnx is quantized already (DequantizeLinear at " in line
    assert "--dequantize" in line
    done = here(*command, "--dequantize", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "quantized already, and its float model was restored" in done.stdout
    assert here("run", "out", "--runs", 3, cwd=tmp_path).returncode == 0


def test_dequantize_changes_nothing_of_a_float_file(tmp_path: Path) -> None:
    model = read(network(tmp_path / "float.onnx"), tmp_path)
    assert not model.notes
    assert "Relu" not in {type(node).__name__ for node in model.graph}


def _of_integers() -> list[Any]:
    ends = ops(("Conv", ("a", "w"), "b"), ("GlobalAveragePool", "b", "c"), ("Flatten", "c", "y"))
    return [helper.make_node("DequantizeLinear", ["x", "s", "z"], ["a"]), *ends]


def test_integers_at_the_input_and_the_output_become_real_values(tmp_path: Path) -> None:
    """The scale of the photo stays in the model, which then takes pixels."""
    arrays = {"w": weights(4, 3, 3, 3), "s": np.float32(0.02), "z": np.uint8(120), "t": np.float32(0.5)}
    nodes = [*_of_integers()[:-1], *ops(("Flatten", "c", "d"), ("QuantizeLinear", ("d", "t", "z"), "y"))]
    written(tmp_path / "model.onnx", nodes, arrays)
    model = onnx.load(tmp_path / "model.onnx")
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.UINT8
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.UINT8
    onnx.save(model, tmp_path / "model.onnx")
    restored = read(tmp_path / "model.onnx", tmp_path)
    assert restored.scheme == ("raw", "the model takes integers")
    photo = np.random.default_rng(0).integers(0, 256, (1, 12, 12, 3)).astype(np.float32)
    (row,) = Evaluator(restored.graph).output(photo)
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"))
    (integers,) = session.run(None, {"x": photo.transpose(0, 3, 1, 2).astype(np.uint8)})[0]
    np.testing.assert_allclose(row, (integers.astype(np.float32) - 120) * 0.5, atol=0.26)


def _dynamic() -> list[Any]:
    first = helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"])
    return [first, *ops(("ConvInteger", ("q", "w"), "a"), ("Flatten", "a", "y"))]


def _stray() -> list[Any]:
    return ops(("Cast", "x", "a", {"to": TensorProto.UINT8}), ("DequantizeLinear", ("a", "s", "z"), "y"))


def _scaled_by_the_photo() -> list[Any]:
    return ops(("ReduceMax", "x", "a", {"keepdims": 0}), ("QuantizeLinear", ("x", "a", "z"), "y"))


@pytest.mark.parametrize(
    ("nodes", "words"),
    [
        (_dynamic, "DynamicQuantizeLinear at q has no float form"),
        (_stray, "DequantizeLinear at y reads integers, a, that were not made of real values"),
        (_scaled_by_the_photo, "QuantizeLinear at y has a scale or a zero point, a, that is not constant"),
    ],
)
def test_what_cannot_be_restored_is_named(nodes: Callable[[], list[Any]], words: str, tmp_path: Path) -> None:
    arrays = {"w": np.ones((4, 3, 3, 3), np.int8), "s": np.float32(0.02), "z": np.uint8(120)}
    written(tmp_path / "model.onnx", nodes(), arrays)
    with pytest.raises(UnsuitableModelError, match=words) as error:
        read(tmp_path / "model.onnx", tmp_path)
    assert "\n" not in str(error.value)
