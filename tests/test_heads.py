"""How a model ends and in which mode it is asked: two classes from one output, inference, float32, parity on logits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers
from PIL import Image

from xedge import convert, run
from xedge.conversion.reference import parity
from xedge.converters import target_names
from xedge.errors import UnsupportedError, UsageError
from xedge.graph.evaluate import Evaluator
from xedge.graph.ir import Conv
from xedge.sources.keras.layers import read_keras

SIZE = 24


def binary(activation: str | None, units: int = 1) -> Any:
    """Return a small model that scales its photo and ends in ``units`` outputs."""
    keras.utils.set_random_seed(4)
    photo = keras.Input((SIZE, SIZE, 3))
    x = layers.Conv2D(8, 3, activation="relu")(layers.Rescaling(1 / 127.5, -1)(photo))
    return keras.Model(photo, layers.Dense(units, activation=activation)(layers.GlobalAveragePooling2D()(x)))


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty photos of the input's size in two class folders."""
    folder, rng = tmp_path_factory.mktemp("cats_and_dogs"), np.random.default_rng(0)
    for label in ("cats", "dogs"):
        (folder / label).mkdir()
        for index in range(20):
            colour = rng.integers(0, 200, 3)
            pixels = (colour + rng.integers(0, 55, (SIZE, SIZE, 3))).astype(np.uint8)
            Image.fromarray(pixels).save(folder / label / f"{index:02}.png")
    return folder


def centred(model: Any, folder: Path) -> tuple[Any, float]:
    """Shift the last bias so that half of the photos are answered with each class; return Keras' accuracy too."""
    files = sorted(folder.glob("*/*.png"))
    values = np.stack([np.asarray(Image.open(file), np.float32) for file in files])
    logits = keras.Model(model.input, model.layers[-2].output)(values) @ model.layers[-1].kernel
    middle = float(np.median(np.asarray(logits)))
    model.layers[-1].bias.assign([-middle])
    truth = np.array([file.parent.name == "dogs" for file in files])
    return model, float(((np.asarray(logits)[:, 0] > middle) == truth).mean())


@pytest.mark.parametrize("target", target_names("all"))
@pytest.mark.parametrize(("activation", "kind"), [("sigmoid", "probability"), (None, "logit")])
def test_one_output_is_a_classifier_of_two_classes(
    target: str, activation: str | None, kind: str, photos: Path, tmp_path: Path
) -> None:
    model, expected = centred(binary(activation), photos)
    (made,) = convert(model, target=target, precision="fp32", output=tmp_path / "out", data=photos)
    report = run(made.path, data=photos, runs=3)
    assert made.manifest.output_kind == kind
    assert made.manifest.preprocessing.scale == (1.0,)
    assert report.accuracy is not None
    assert report.accuracy.top1 == pytest.approx(expected)


def test_several_sigmoids_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="multi-label"):
        convert(binary("sigmoid", 4), target="onnx", precision="fp32", output=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def _halved_softmax(scale: float) -> Any:
    """A model whose outputs are probabilities times a scale, after which no last layer tells what they are."""
    inner = binary("softmax", 3)
    return keras.Model(inner.input, layers.Rescaling(scale)(layers.Reshape((3,))(inner.output)))


def test_what_the_user_says_of_the_output_decides_where_values_may_mislead(tmp_path: Path) -> None:
    lines: list[str] = []
    for kind in (None, "logits"):
        (made,) = convert(
            _halved_softmax(0.9998), target="onnx", output=tmp_path / str(kind), output_kind=kind, report=lines.append
        )
        assert made.manifest.output_kind == (kind or "probabilities")
    assert sum(line.startswith("output") and "softmax" in line for line in lines) == 1


@pytest.mark.parametrize(
    ("model", "kind", "words"),
    [
        (lambda: binary("softmax", 3), "logits", "last layer gives probabilities, but output_kind is logits"),
        (lambda: binary("sigmoid"), "logit", "last layer gives probability, but output_kind is logit"),
        (lambda: binary(None, 3), "probability", "has 3 outputs, but output_kind is probability"),
        (lambda: binary(None), "logits", "has 1 output, but output_kind is logits"),
        (lambda: binary(None, 3), "probabilities", "its output has values from"),
        (lambda: _halved_softmax(0.5), "probabilities", "do not add up to 1"),
    ],
)
def test_what_the_output_cannot_be_is_refused(model: Any, kind: Any, words: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=words):
        convert(model(), target="onnx", output=tmp_path / "out", output_kind=kind)
    assert not (tmp_path / "out").exists()


def _guide() -> Any:
    """Keras' transfer-learning guide: augmentation inside, a base called in inference, dropout."""
    base = keras.Sequential([keras.Input((SIZE, SIZE, 3)), layers.Conv2D(8, 3), layers.BatchNormalization()])
    photo = keras.Input((SIZE, SIZE, 3))
    x = keras.Sequential([layers.RandomFlip("horizontal"), layers.RandomRotation(0.2), layers.RandomZoom(0.3)])(photo)
    x = base(layers.Rescaling(1 / 127.5, -1)(x), training=False)
    x = layers.Dropout(0.2)(layers.GlobalAveragePooling2D()(x))
    return keras.Model(photo, layers.Dense(3, activation="softmax")(x))


def _always_training() -> Any:
    photo = keras.Input((SIZE, SIZE, 3))
    x = layers.BatchNormalization()(layers.Conv2D(8, 3)(photo), training=True)
    x = layers.Dropout(0.5)(layers.GlobalAveragePooling2D()(x), training=True)
    return keras.Model(photo, layers.Dense(3)(x))


def _mixed_precision() -> Any:
    keras.mixed_precision.set_dtype_policy("mixed_float16")
    try:
        return _guide()
    finally:
        keras.mixed_precision.set_dtype_policy("float32")


@pytest.mark.parametrize("build", [_guide, _always_training, _mixed_precision])
def test_the_original_is_asked_in_inference_and_in_float32(build: Any, tmp_path: Path) -> None:
    keras.utils.set_random_seed(5)
    build().save(tmp_path / "model.keras")
    (made,) = convert(
        tmp_path / "model.keras", target="onnx", precision="fp32", output=tmp_path / "out", preprocess="raw"
    )
    assert made.manifest.recipe.way == "reference graph"


def test_parity_holds_for_logits_of_any_size_and_finds_one_percent_in_one_kernel() -> None:
    model = binary(None, 5)
    photos = np.random.default_rng(1).uniform(0, 255, (16, SIZE, SIZE, 3)).astype(np.float32)
    graph = read_keras(model)
    (first,) = (node for node in graph if isinstance(node, Conv))
    wrong = graph.rewritten({first.name: replace(first, kernel=first.kernel * np.float32(1.01))})
    expected = np.asarray(model(photos, training=False), np.float32)
    for size in np.array([1e-3, 1, 1e4], np.float32):
        assert parity(Evaluator(graph).output(photos) * size, expected * size, "logits") < 1
        assert parity(Evaluator(wrong).output(photos) * size, expected * size, "logits") > 10
