"""Operators between layers: what is refused or judged; the conformance tests compute them on every target."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from xedge import convert
from xedge.errors import UnsuitableModelError, UnsupportedError
from xedge.graph.evaluate import Evaluator
from xedge.sources._raw_pixels import takes_raw_pixels
from xedge.sources.keras.layers import read_keras, read_unfolded

CAFFE_MEAN = np.array([103.939, 116.779, 123.68], np.float32)


def classifier(start: Callable[[Any], Any]) -> Any:
    """Return a small classifier that begins with ``start``."""
    photo = keras.Input((16, 16, 3))
    x = layers.Conv2D(4, 3, activation="relu")(start(photo))
    return keras.Model(photo, layers.Dense(3)(layers.GlobalAveragePooling2D()(x)))


@pytest.mark.parametrize(
    ("start", "raw"),
    [
        pytest.param(lambda x: x / 127.5 - 1, True, id="operators"),
        pytest.param(lambda x: x[..., ::-1] - CAFFE_MEAN, True, id="caffe"),
        pytest.param(keras.applications.resnet.preprocess_input, True, id="preprocess_input"),
        pytest.param(layers.Rescaling(1 / 255), True, id="rescaling"),
        pytest.param(lambda x: layers.Rescaling(1 / 127.5, -1)(layers.Resizing(12, 12)(x)), True, id="resized"),
        pytest.param(layers.Normalization(mean=[120.0] * 3, variance=[3600.0] * 3), True, id="normalization"),
        pytest.param(lambda x: 2 * x - 1, False, id="photos-of-0-to-1"),
        pytest.param(layers.Normalization(mean=[0.5] * 3, variance=[0.06] * 3), False, id="normalization-of-0-to-1"),
        pytest.param(lambda x: layers.Rescaling(0.2)(layers.Conv2D(3, 1)(x)), False, id="scale-of-a-branch"),
        pytest.param(layers.Identity(), False, id="none"),
    ],
)
def test_a_model_that_scales_its_input_takes_raw_pixels(start: Callable[[Any], Any], raw: bool) -> None:
    assert takes_raw_pixels(read_unfolded(classifier(start)).nodes) is raw


@pytest.mark.parametrize(
    "start",
    [
        pytest.param(keras.applications.resnet.preprocess_input, id="caffe"),
        pytest.param(keras.applications.mobilenet_v2.preprocess_input, id="tf"),
        pytest.param(keras.applications.densenet.preprocess_input, id="torch"),
    ],
)
def test_preprocess_input_inside_the_model_is_read(start: Callable[[Any], Any]) -> None:
    keras.utils.set_random_seed(1)
    model = classifier(start)
    photos = np.random.default_rng(0).uniform(0, 255, (4, 16, 16, 3)).astype(np.float32)
    expected = np.asarray(model(photos, training=False))
    assert np.abs(Evaluator(read_keras(model)).output(photos) - expected).max() <= 1e-4 * np.abs(expected).max()


@pytest.mark.parametrize(
    ("start", "named"),
    [
        pytest.param(lambda x: x[:, ::-1], "or turns it", id="turned"),
        pytest.param(lambda x: x[:2, :, :], "out of the batch", id="photos"),
        pytest.param(layers.RandomCrop(12, 12), "crops nothing in inference", id="random-crop"),
        pytest.param(layers.AutoContrast(), "AutoContrast", id="auto-contrast"),
        pytest.param(layers.UpSampling2D(2, interpolation="bicubic"), "bicubic", id="bicubic"),
        pytest.param(layers.Resizing(8, 12, pad_to_aspect_ratio=True), "aspect ratio", id="aspect-ratio"),
        pytest.param(layers.Resizing(11, 11, interpolation="nearest"), "not a multiple", id="nearest"),
        pytest.param(lambda x: keras.ops.mean(x, axis=0, keepdims=True), "the batch", id="batch"),
        pytest.param(keras.ops.sin, "Sin", id="unknown-function"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_reason(start: Callable[[Any], Any], named: str) -> None:
    with pytest.raises(UnsupportedError, match=named):
        read_keras(classifier(start))


def _two_outputs() -> Any:
    model = classifier(layers.Identity())
    return keras.Model(model.inputs, [model.outputs[0], layers.Dense(2)(model.layers[-2].output)])


def _two_inputs() -> Any:
    photos = [keras.Input((16, 16, 3)) for _ in range(2)]
    x = layers.GlobalAveragePooling2D()(layers.Add()(photos))
    return keras.Model(photos, layers.Dense(3)(x))


def _any_size() -> Any:
    photo = keras.Input((None, None, 3))
    return keras.Model(photo, layers.Dense(3)(layers.GlobalAveragePooling2D()(photo)))


def _channels_first() -> Any:
    photo = keras.Input((16, 16, 3))
    x = layers.Conv2D(4, 3, data_format="channels_first")(photo)
    return keras.Model(photo, layers.Dense(3)(layers.GlobalAveragePooling2D()(x)))


def _quantized_by_keras() -> Any:
    model = classifier(layers.Identity())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Keras warns of each layer that it leaves as it is
        model.quantize("int8")
    return model


@pytest.mark.parametrize(
    ("build", "said"),
    [
        pytest.param(_channels_first, "is channels_first; save the model with channels_last", id="channels-first"),
        pytest.param(_quantized_by_keras, "was quantized by Keras", id="quantized"),
        pytest.param(_two_outputs, "has 1 input and 2 outputs", id="two-outputs"),
        pytest.param(_two_inputs, "has 2 inputs and 1 output", id="two-inputs"),
        pytest.param(_any_size, "photos of any size", id="any-size"),
    ],
)
def test_models_that_no_converter_should_take_are_refused_before_any_work(
    build: Callable[[], Any], said: str, tmp_path: Path
) -> None:
    file, out = tmp_path / "model.keras", tmp_path / "out"
    build().save(file)
    for target in ("tflite", "onnx", "openvino"):
        with pytest.raises(UnsuitableModelError, match=said):
            convert(file, target=target, precision="fp32", output=out)
    assert not out.exists()
