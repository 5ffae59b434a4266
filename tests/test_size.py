"""Photos of another size than a model was saved with, and models that take photos of any size."""

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
from xedge import benchmark, convert, cost
from xedge.bundle.manifest import OwnSize
from xedge.bundle.reading import open_bundle
from xedge.conversion.reference import parity
from xedge.errors import UnsuitableModelError
from xedge.graph.evaluate import Evaluator
from xedge.measuring.rounds import Plan
from xedge.sources.keras.inference import at_size
from xedge.sources.keras.layers import read_keras, read_unfolded
from xedge.sources.keras.preprocessing import suggested_scheme, suggested_size


def _plain() -> Any:
    photo = keras.Input((None, None, 3))
    x = layers.SeparableConv2D(8, 3, strides=2, padding="same", activation="relu")(photo)
    return keras.Model(photo, layers.Dense(4)(layers.GlobalAveragePooling2D()(x)))


def _with_base() -> Any:
    base = keras.applications.MobileNetV2(weights=None, include_top=False, input_shape=(None, None, 3), alpha=0.35)
    photo = keras.Input((None, None, 3))
    return keras.Model(photo, layers.Dense(4)(layers.GlobalAveragePooling2D()(base(photo, training=False))))


def _resizing() -> Any:
    photo = keras.Input((None, None, 3))
    x = layers.Rescaling(1 / 255.0)(layers.Resizing(40, 30, name="fit")(photo))
    return keras.Model(photo, layers.Dense(4)(layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3)(x))))


@pytest.mark.parametrize(
    ("build", "size", "said"),
    [
        pytest.param(_with_base, (224, 224), "mobilenetv2_0.35_None was trained", id="application"),
        pytest.param(_resizing, (40, 30), "to which fit brings them", id="resizing"),
    ],
)
def test_the_size_is_guessed_where_the_model_tells_it(
    build: Callable[[], Any], size: tuple[int, int], said: str, tmp_path: Path
) -> None:
    build().save(tmp_path / "model.keras")
    told: list[str] = []
    (made,) = convert(
        tmp_path / "model.keras", target="onnx", precision="fp32", output=tmp_path / "out", report=told.append
    )
    assert made.manifest.input.shape[-2:] == size
    assert any(said in line for line in told)


def test_a_resizing_inside_a_network_tells_no_size_of_photos() -> None:
    photo = keras.Input((None, None, 3))
    x = layers.Resizing(7, 7)(layers.Conv2D(4, 3)(photo))
    assert suggested_size(keras.Model(photo, layers.Dense(4)(layers.GlobalAveragePooling2D()(x)))) is None


@pytest.mark.parametrize(
    ("name", "scheme"),
    [
        ("vgg16", "caffe"),
        ("resnet50v2", "tf"),
        ("mobilenetv2_0.35_None", "tf"),
        ("vgg_of_mine", None),
        ("resnet5", None),
    ],
)
def test_only_whole_names_of_applications_tell_how_photos_were_scaled(name: str, scheme: str | None) -> None:
    photo = keras.Input((24, 24, 3))
    base = keras.Model(photo, layers.Conv2D(4, 3)(photo), name=name)
    model = keras.Model(photo, layers.Dense(4)(layers.GlobalAveragePooling2D()(base(photo))), name="mine")
    suggested = suggested_scheme(model, read_unfolded(model).nodes)
    assert (suggested[0] if suggested is not None else None) == scheme


def test_a_model_of_any_size_takes_the_size_that_is_asked_for(xedge: Command, tmp_path: Path) -> None:
    _plain().save(tmp_path / "model.keras")
    refused = xedge("convert", "model.keras", "--target", "onnx", cwd=tmp_path)
    assert refused.returncode == 4
    assert "--size" in refused.stderr.splitlines()[-1]
    done = xedge("convert", "model.keras", "--target", "onnx", "--size", "24x40", "--output", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert open_bundle(tmp_path / "out").manifest.input.shape == (1, 3, 24, 40)
    assert xedge("verify", "out", "--model", "model.keras", "--min-agreement", 100, cwd=tmp_path).returncode == 0


@pytest.mark.parametrize("text", ["12x", "x12", "0", "a", "12x12x3", "-4"])
def test_a_size_that_is_none_is_refused(xedge: Command, text: str, tmp_path: Path) -> None:
    done = xedge("convert", "--target", "onnx", f"--size={text}", cwd=tmp_path)
    assert done.returncode == 2
    assert not list(tmp_path.iterdir())


def test_a_fully_convolutional_model_computes_the_same_at_another_size() -> None:
    model = keras.applications.Xception(weights=None, input_shape=(96, 96, 3), classes=5)
    other = at_size(model, (71, 80))
    photos = np.random.default_rng(0).uniform(-1, 1, (3, 71, 80, 3)).astype(np.float32)
    expected = keras.applications.Xception(weights=None, input_shape=(71, 80, 3), classes=5)
    expected.set_weights(model.get_weights())
    assert parity(Evaluator(read_keras(other)).output(photos), np.asarray(expected(photos)), "probabilities") < 1


def test_a_model_that_is_not_fully_convolutional_takes_no_other_size(tmp_path: Path) -> None:
    photo = keras.Input((32, 32, 3))
    keras.Model(photo, layers.Dense(3)(layers.Flatten()(photo))).save(tmp_path / "model.keras")
    with pytest.raises(UnsuitableModelError, match="only fully convolutional models"):
        convert(tmp_path / "model.keras", target="onnx", precision="fp32", size=(40, 40), output=tmp_path / "out")


def test_arithmetic_shrinks_with_the_photo() -> None:
    whole, half = (cost(size=size).total.multiply_accumulates for size in ((96, 96), (48, 48)))
    assert half < whole / 3


def test_the_centre_is_cut_at_the_scale_of_the_models_own_size(tmp_path: Path) -> None:
    told: list[str] = []
    options: dict[str, Any] = {"target": "tflite", "size": (96, 96), "crop": "scale", "report": told.append}
    (made,) = convert(**options, output=tmp_path / "small")
    prepared, own = made.manifest.preprocessing, made.manifest.own_size
    assert (prepared.height, prepared.width, prepared.resized, prepared.crop) == (96, 96, (128, 128), "squash")
    photo = Image.fromarray(np.random.default_rng(0).integers(0, 256, (200, 300, 3), np.uint8))
    whole = np.asarray(photo.resize((128, 128), Image.Resampling.BILINEAR))
    assert np.array_equal(prepared.pixels(photo), whole[16:112, 16:112])
    assert own is not None
    assert own.drop is not None
    assert own.agreement is not None
    assert made.manifest.accuracy is not None
    assert (own.height, own.width) == (128, 128)
    assert own.drop.points == pytest.approx(100 * (own.top1 or 0) - 100 * made.manifest.accuracy.artifact.top1, abs=0.3)
    assert 0.7 < own.agreement.agreement < 1
    assert any(line.startswith("own size") and "float at 96x96 has" in line for line in told)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--crop", "scale"], "--crop scale goes with a smaller --size than the model's own"),
        (["--crop", "scale", "--size", "160"], "--size 160x160: is larger than the model's own 128x128"),
        (["--crop", "scale", "--size", "128"], "so that nothing is cut off"),
    ],
)
def test_a_scale_without_a_smaller_size_is_told(
    here: Command, arguments: list[str], words: str, tmp_path: Path
) -> None:
    done = here("convert", "--target", "tflite", *arguments, "--output", tmp_path / "b")
    assert words in done.stderr + done.stdout
    assert (done.returncode == 0) == (tmp_path / "b").exists() == ("cut off" in words)


@pytest.mark.slow
def test_benchmark_compares_sizes_with_the_first(tmp_path: Path) -> None:
    plan = Plan(rounds=1, runs=5)
    sizes = ((128, 128), (96, 96))
    found = benchmark(target="tflite", precision="fp32", sizes=sizes, crop="scale", output=tmp_path, plan=plan)
    first, second = found.rows
    assert [row.name for row in found.rows] == ["tflite fp32 128x128", "tflite fp32 96x96"]
    assert first.points == 0
    assert second.points is not None
    assert second.points < 0
    assert found.recommendation is not None
    assert found.recommendation.size == (128, 128)
    assert (tmp_path / "96x96" / "tflite_fp32" / "manifest.json").is_file()


def test_a_file_of_preprocessing_is_for_one_size_alone(tmp_path: Path) -> None:
    """How photos would be fitted at the model's own size is not known then, and nothing is compared with it."""
    values = {"input_size": [3, 96, 96], "interpolation": "bilinear", "mean": [0.5] * 3, "std": [0.5] * 3}
    (tmp_path / "data.json").write_text(json.dumps({**values, "crop_pct": 0.875, "crop_mode": "center"}))
    named = f"timm:{tmp_path / 'data.json'}"
    (made,) = convert(target="tflite", size=(96, 96), preprocess=named, output=tmp_path / "bundle")
    assert made.manifest.preprocessing.crop == "short"
    assert made.manifest.own_size == OwnSize(height=128, width=128)


@pytest.mark.slow
def test_a_size_that_is_refused_takes_no_other_with_it() -> None:
    plan = Plan(rounds=1, runs=5, limit=5)
    found = benchmark(target="tflite", precision="fp32", sizes=((128, 128), (160, 160)), crop="scale", plan=plan)
    first, second = found.rows
    assert first.measured is not None
    assert second.measured is None
    assert "larger than the model's own 128x128" in str(second.error)
