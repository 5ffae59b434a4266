"""ONNX in float16: what the file holds, what is told of it, and what is refused."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx
import pytest
from keras import layers

from tests.conftest import Command
from tests.networks import network
from xedge import convert
from xedge.bundle.reading import open_bundle
from xedge.converters import Form, find_target
from xedge.device.processor import has_half_arithmetic
from xedge.errors import UnsupportedError
from xedge.sources.keras.layers import read_keras

FLOAT, HALF = onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16
IN_HALF: dict[str, Any] = {"target": "onnx", "precision": "fp16", "arithmetic": "float16"}


def _model(bias: float = 1.0, *, sine: bool = False) -> Any:
    photo = keras.Input((24, 24, 3))
    x = layers.Conv2D(4, 3, activation="relu", bias_initializer=keras.initializers.Constant(bias))(photo)
    if sine:  # no graph of xedge holds it
        x = keras.ops.sin(x)
    return keras.Model(photo, layers.Dense(3, activation="softmax")(layers.GlobalAveragePooling2D()(x)))


def test_the_file_is_half_from_the_first_cast_to_the_last() -> None:
    data = find_target("onnx").convert(read_keras(network("xception")), Form(precision="fp16", half=True))[".onnx"]
    model = onnx.shape_inference.infer_shapes(onnx.load_from_string(data))
    onnx.checker.check_model(model)
    kinds = {value.name: value.type.tensor_type.elem_type for value in model.graph.value_info}
    made = {name: node.op_type for node in model.graph.node for name in node.output}
    in_float = Counter(made[name] for name, kind in kinds.items() if kind == FLOAT)
    # The logits are cast before the softmax, whose result is the output and thus not among the tensors inside.
    assert in_float == {"Cast": 1}
    assert {kind for name, kind in kinds.items() if made[name] in ("Conv", "Gemm")} == {HALF}
    assert {one.data_type for one in model.graph.initializer} <= {HALF, onnx.TensorProto.INT64}
    assert [end.type.tensor_type.elem_type for end in (*model.graph.input, *model.graph.output)] == [FLOAT, FLOAT]
    assert {one.key: one.value for one in model.metadata_props} == {"arithmetic": "float16"}


def test_without_the_option_weights_alone_are_half() -> None:
    data = find_target("onnx").convert(read_keras(network("xception")), Form(precision="fp16"))[".onnx"]
    model = onnx.shape_inference.infer_shapes(onnx.load_from_string(data))
    assert {v.type.tensor_type.elem_type for v in model.graph.value_info if v.name.endswith("#kernel")} == {FLOAT}
    assert not model.metadata_props


def test_the_compact_default_keeps_its_answers(xedge: Command, tmp_path: Path) -> None:
    """Convert, info, run and verify tell of the arithmetic, and that it costs no accuracy."""
    out = tmp_path / "half"
    options = ("--target", "onnx", "--precision", "fp16", "--arithmetic", "float16", "--output", out)
    done = xedge("convert", *options)
    assert done.returncode == 0, done.stderr
    manifest = open_bundle(out).manifest
    assert manifest.recipe.weights == "fp16"
    assert manifest.golden.tolerance == 0.05
    assert manifest.accuracy is not None
    assert manifest.accuracy.agreement is not None
    assert manifest.accuracy.artifact.photos == 372
    assert manifest.accuracy.agreement.agreement >= 0.99
    assert manifest.accuracy.agreement.total_variation <= 0.01
    assert "half precision where ONNX Runtime has kernels for it" in xedge("info", out).stdout
    ran = xedge("run", out, "--runs", 3, "--json")
    assert ran.returncode == 0, ran.stderr
    told = json.loads(ran.stdout)["execution"]["options"]["arithmetic"]
    assert told == ("float16" if has_half_arithmetic() else "float32")
    checked = xedge("verify", out)
    assert checked.returncode == 0, checked.stderr


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("tflite", "fp16"), "--arithmetic float16 is for onnx; tflite computes in float16 without it"),
        (("tensorrt", "fp16"), "--arithmetic float16 is for onnx; tensorrt computes in float16 without it"),
        (("onnx", "fp32,int8"), "--arithmetic float16 is about fp16; add fp16 to --precision"),
    ],
)
def test_where_it_has_no_effect_it_is_refused(
    options: tuple[str, str], words: str, xedge: Command, tmp_path: Path
) -> None:
    target, precision = options
    asked = ("--target", target, "--precision", precision, "--arithmetic", "float16", "--output", tmp_path / "out")
    done = xedge("convert", *asked)
    assert done.returncode == 2
    assert words in done.stderr
    assert not (tmp_path / "out").exists()


def test_values_near_the_end_of_half_precision_are_refused(tmp_path: Path) -> None:
    options = {**IN_HALF, "preprocess": "unit"}
    with pytest.raises(UnsupportedError, match=r"reach 2e\+04, too near the end of half precision \(65504\); leave"):
        convert(_model(2e4), output=tmp_path / "out", **options)
    (made,) = convert(_model(1.0), output=tmp_path / "out", **options)
    assert made.manifest.recipe.activations is not None


@pytest.mark.slow
def test_a_model_that_a_library_converts_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="this model is converted by a library, whose fp16 computes in fp32"):
        convert(_model(sine=True), output=tmp_path / "out", preprocess="unit", **IN_HALF)


def test_pixels_inside_are_scaled_in_float(tmp_path: Path) -> None:
    """Scaled pixels are rounded once: 255 values take more than the 11 bits that half precision has."""
    (made,) = convert(_model(), output=tmp_path / "out", preprocess="caffe", pixels=True, **IN_HALF)
    model = onnx.shape_inference.infer_shapes(onnx.load(tmp_path / "out" / made.manifest.artifact))
    kinds = {value.name: value.type.tensor_type.elem_type for value in model.graph.value_info}
    scaled = [node for node in model.graph.node if node.op_type in ("Mul", "Add")]
    assert scaled
    assert {kinds[node.output[0]] for node in scaled} == {FLOAT}
    assert model.graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert np.abs(open_bundle(tmp_path / "out").golden().expected.sum(1) - 1).max() < 1e-5
