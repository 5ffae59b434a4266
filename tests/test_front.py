"""The front of mobile networks in int8: what stays in float, and photos that enter without being rounded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import openvino
import pytest
from keras import layers

from tests.networks import known
from xedge import convert
from xedge.bundle.opening import opened
from xedge.converters import Form, find_target
from xedge.graph.fold import without_head
from xedge.graph.ir import Graph
from xedge.quantization import recipe
from xedge.quantization.calibration import calibrate
from xedge.quantization.front import front
from xedge.quantization.rules import Rules
from xedge.quantization.static import float_by_default, static_int8
from xedge.runtimes import Settings
from xedge.runtimes.classifier import open_classifier
from xedge.sources.keras.layers import read_keras
from xedge.types import UInt8Array


def model(*, scaled: bool, wide: int = 64, sum_beside: bool = False) -> Any:
    """A Keras model that begins as mobile networks do: with a convolution, and a depthwise one behind it."""
    x = source = keras.Input((32, 32, 3))
    if scaled:
        x = layers.Rescaling(1 / 127.5, offset=-1, name="scaling")(x)
    stem = layers.Conv2D(8, 3, strides=2, padding="same", name="stem")(x)
    stem = layers.Activation("silu", name="swish")(stem)
    x = layers.DepthwiseConv2D(3, padding="same", activation="relu6", name="depthwise")(stem)
    x = layers.Conv2D(8, 1, name="pointwise")(x)
    if sum_beside:
        x = layers.Add(name="sum")([stem, x])
    x = layers.Conv2D(wide, 3, padding="same", activation="relu", name="wide")(x)
    x = layers.Conv2D(wide, 3, padding="same", activation="relu", name="wider")(x)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(source, layers.Dense(3, name="dense")(x))


def mobile(*, scaled: bool, wide: int = 64, sum_beside: bool = False) -> Graph:
    """The graph of ``model``."""
    return without_head(read_keras(model(scaled=scaled, wide=wide, sum_beside=sum_beside)))


@pytest.mark.parametrize("sum_beside", [False, True])
@pytest.mark.parametrize("scaled", [False, True])
def test_the_front_of_a_mobile_network_stays_in_float(*, scaled: bool, sum_beside: bool) -> None:
    graph = mobile(scaled=scaled, sum_beside=sum_beside)
    assert front(graph) == {"stem", "swish", "depthwise", *(["scaling"] if scaled else [])}
    assert front(graph) <= float_by_default(graph)
    assert not front(graph) & float_by_default(graph, "sums")
    plan = static_int8(graph, calibrate(graph, np.random.default_rng(0).uniform(0, 255, (4, 32, 32, 3))))
    assert {"pointwise", "wide", "wider"} <= set(plan.kernels)
    assert not front(graph) & set(plan.kernels)
    assert not front(graph) & recipe.branches(graph)


def test_a_front_with_most_of_the_arithmetic_computes_in_integers() -> None:
    assert front(mobile(scaled=True, wide=1)) == {"scaling"}


def test_a_normalization_of_the_photo_is_a_front_of_its_own() -> None:
    x = source = keras.Input((32, 32, 3))
    x = layers.Rescaling(1 / 127.5, offset=-1, name="scaling")(x)
    x = layers.Conv2D(8, 3, strides=2, padding="same", activation="relu")(x)
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(8, 3)(x))
    graph = without_head(read_keras(keras.Model(source, layers.Dense(3)(x))))
    assert front(graph) == {"scaling"}
    assert not front(without_head(known("xception")[1]))


def test_openvino_keeps_the_front_in_float32_where_it_prefers_bfloat16() -> None:
    graph = mobile(scaled=True)
    seen = calibrate(graph, np.random.default_rng(0).uniform(0, 255, (4, 32, 32, 3)))
    equal, plan = recipe.int8(graph, seen, rules=Rules(pairs=True))
    files = find_target("openvino").convert(equal, Form(precision="int8"), plan)
    read = openvino.Core().read_model(files[".xml"], files[".bin"])
    marked = {node.get_friendly_name() for node in read.get_ops() if list(node.get_rt_info())}
    assert {"scaling", "stem", "depthwise"} <= marked
    assert not {"pointwise", "wide", "dense"} & marked


@pytest.mark.parametrize(
    "form",
    [
        {"target": "tflite"},
        {"target": "onnx"},
        {"target": "openvino"},
        {"target": "tflite", "ranges": "fixed"},
        {"target": "tflite", "io": "int8"},
        {"target": "onnx", "io": "uint8"},
        {"target": "openvino", "io": "uint8"},
        {"target": "tflite", "pixels": True},
        {"target": "tflite", "pixels": True, "ranges": "fixed"},
        {"target": "onnx", "pixels": True},
        {"target": "openvino", "pixels": True},
    ],
    ids=lambda form: "-".join(map(str, form.values())),
)
def test_every_form_of_input_gives_the_answers_of_float(
    form: dict[str, Any], pixels: UInt8Array, tmp_path: Path
) -> None:
    """Pixels enter a convolution with padding as floats, as the integers of the artifact, or as they are."""
    keras.utils.set_random_seed(0)
    model(scaled=False).save(tmp_path / "model.keras")
    few = np.ascontiguousarray(pixels[:, ::4, ::4])
    np.save(tmp_path / "pixels.npy", few)
    common: dict[str, Any] = {"preprocess": "tf", "calibration": tmp_path / "pixels.npy", "output_kind": "logits"}
    rows = {}
    for precision, more in (("fp32", {"target": form["target"]}), ("int8", form)):
        (made,) = convert(tmp_path / "model.keras", precision=precision, output=tmp_path / precision, **more, **common)
        with opened(made.path) as bundle:
            classifier = open_classifier(bundle.artifact, bundle.manifest, Settings(threads=1))
            outputs = [classifier.session.run(classifier.input(photo)) for photo in few]
            rows[precision] = np.stack([classifier.values(output) for output in outputs])
    exact = rows["fp32"] - rows["fp32"].mean(0)
    noise = rows["int8"] - rows["fp32"]
    assert 10 * np.log10((exact**2).sum() / (noise**2).sum()) > 20
