"""The models of well-known tutorials as they are typed: what the bundle scores is what ``model.evaluate`` says."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers
from PIL import Image

from tests.conftest import Command
from xedge.converters import target_names
from xedge.models.compact import embedded


def guide(size: int, classes: int) -> Any:
    """Keras' guide to transfer learning: augmentation and scaling inside, a frozen base in inference."""
    base = keras.applications.Xception(weights=None, input_shape=(size, size, 3), include_top=False)
    base.trainable = False
    inputs = keras.Input(shape=(size, size, 3))
    x = inputs
    for augmentation in (layers.RandomFlip("horizontal"), layers.RandomRotation(0.1)):
        x = augmentation(x)
    x = layers.Rescaling(scale=1 / 127.5, offset=-1)(x)
    x = base(x, training=False)
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Dropout(0.2)(x)
    return keras.Model(inputs, layers.Dense(1 if classes == 2 else classes)(x))


def classification(size: int, classes: int) -> Any:
    """TensorFlow's tutorial on image classification: a Sequential with augmentation, which ends in logits."""
    augmentation = keras.Sequential(
        [
            layers.RandomFlip("horizontal", input_shape=(size, size, 3)),
            layers.RandomRotation(0.1),
            layers.RandomZoom(0.1),
        ]
    )
    return keras.Sequential(
        [
            augmentation,
            layers.Rescaling(1.0 / 255),
            layers.Conv2D(16, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(32, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(64, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Dropout(0.2),
            layers.Flatten(),
            layers.Dense(128, activation="relu"),
            layers.Dense(classes, name="outputs"),
        ]
    )


def transfer(size: int, classes: int) -> Any:
    """TensorFlow's tutorial on transfer learning: preprocess_input as operators, cats against dogs by one sigmoid."""
    base = keras.applications.MobileNetV2(input_shape=(size, size, 3), include_top=False, weights=None)
    base.trainable = False
    augmentation = keras.Sequential([layers.RandomFlip("horizontal"), layers.RandomRotation(0.2)])
    inputs = keras.Input(shape=(size, size, 3))
    x = augmentation(inputs)
    x = keras.applications.mobilenet_v2.preprocess_input(x)
    x = base(x, training=False)
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Dropout(0.2)(x)
    outputs = layers.Dense(1, activation="sigmoid")(x) if classes == 2 else layers.Dense(classes)(x)
    return keras.Model(inputs, outputs)


def from_scratch(size: int, classes: int) -> Any:
    """Keras' example of image classification from scratch: a small Xception that ends in one logit."""
    inputs = keras.Input(shape=(size, size, 3))
    x = layers.Rescaling(1.0 / 255)(inputs)
    x = layers.Conv2D(32, 3, strides=2, padding="same")(x)
    x = layers.BatchNormalization()(x)
    x = layers.Activation("relu")(x)
    before = x
    for filters in (48, 64):
        x = layers.Activation("relu")(x)
        x = layers.SeparableConv2D(filters, 3, padding="same")(x)
        x = layers.BatchNormalization()(x)
        x = layers.MaxPooling2D(3, strides=2, padding="same")(x)
        residual = layers.Conv2D(filters, 1, strides=2, padding="same")(before)
        x = layers.add([x, residual])
        before = x
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Dropout(0.25)(x)
    return keras.Model(inputs, layers.Dense(1 if classes == 2 else classes, activation=None)(x))


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Class folders of photos of the models' size, so that nobody resizes them: two classes, and five."""
    folder = tmp_path_factory.mktemp("photos")
    chosen = embedded.test_photos()
    for classes in (2, 5):
        for label in chosen.classes[-classes:]:
            (folder / str(classes) / label).mkdir(parents=True)
        for file in chosen.files:
            if file.parent.name in chosen.classes[-classes:]:
                with Image.open(file) as image:
                    fitted = image.convert("RGB").resize((96, 96))
                fitted.save(folder / str(classes) / file.parent.name / f"{file.stem}.png")
    return {classes: folder / str(classes) for classes in (2, 5)}


# Keras warns of what its own tutorials do.
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.slow
@pytest.mark.parametrize(
    ("build", "classes"),
    [
        *((guide, 2), (classification, 5), (transfer, 2), (from_scratch, 2)),
        pytest.param(transfer, 5, marks=pytest.mark.further),
    ],
)
def test_a_tutorial_scores_in_a_bundle_what_keras_says(
    build: Callable[[int, int], Any], classes: int, photos: dict[int, Path], xedge: Command, tmp_path: Path
) -> None:
    keras.utils.set_random_seed(9)
    data = keras.utils.image_dataset_from_directory(
        photos[classes], image_size=(96, 96), batch_size=16, shuffle=True, seed=1, verbose=False
    )
    model = build(96, classes)
    single, logits = model.output_shape[-1] == 1, model.layers[-1].activation.__name__ == "linear"
    if single:
        loss: Any = keras.losses.BinaryCrossentropy(from_logits=logits)
        metric: Any = keras.metrics.BinaryAccuracy(threshold=0.0 if logits else 0.5)
    else:
        loss, metric = keras.losses.SparseCategoricalCrossentropy(from_logits=logits), "accuracy"
    model.compile(optimizer=keras.optimizers.Adam(1e-3), loss=loss, metrics=[metric])
    model.fit(data, epochs=2, verbose=0)
    _, expected = model.evaluate(data, verbose=0)
    model.save(tmp_path / "model.keras")
    command = ("convert", "model.keras", "--target", "all", "--precision", "fp32,int8", "--data", photos[classes])
    done = xedge(*command, "--calibration", photos[classes], "--output", "out", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout)
    assert len(made) == 2 * len(target_names("all"))
    for one in made:
        manifest = one["manifest"]
        assert manifest["recipe"]["way"] == "reference graph"
        assert manifest["preprocessing"]["scale"] == [1.0]
        scored = manifest["accuracy"]
        assert scored["reference"]["top1"] == pytest.approx(expected, abs=1e-6)
        if manifest["precision"] == "fp32":
            assert scored["artifact"]["top1"] == pytest.approx(expected, abs=1e-6)
        else:
            assert scored["agreement"]["total_variation"] < 0.05
    assert np.isfinite(expected)
