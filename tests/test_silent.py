"""What would give wrong numbers without a word is refused, or told in a line."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers
from PIL import Image

from tests.conftest import CALIBRATION, Command
from xedge import convert
from xedge.conversion.pipeline import _check_answers
from xedge.conversion.stages import Stages
from xedge.converters import Form, find_target
from xedge.errors import CheckError, InputError, UnsupportedError
from xedge.models.compact import embedded
from xedge.photos.sets import read_folder
from xedge.types import UInt8Array
from xedge.vocabulary import PRECISIONS

MINUS = keras.initializers.Constant(-1.0)


def _small(variance: float = 1.0, weight: float = 0.1) -> Any:
    photo = keras.Input((24, 24, 3))
    x = layers.Conv2D(4, 3, name="first")(photo)
    x = layers.GlobalAveragePooling2D()(layers.BatchNormalization(name="normalized")(x))
    model = keras.Model(photo, layers.Dense(3, activation="softmax")(x))
    model.get_layer("normalized").moving_variance.assign([variance] * 4)
    model.get_layer("first").kernel.assign(np.full((3, 3, 3, 4), weight))
    return model


@pytest.mark.parametrize(
    ("variance", "weight", "named"), [(-5.0, 0.1, "first"), (1.0, float("nan"), "first"), (1.0, float("inf"), "first")]
)
def test_a_model_whose_training_diverged_is_refused_with_its_layer(
    variance: float, weight: float, named: str, tmp_path: Path
) -> None:
    _small(variance, weight).save(tmp_path / "model.keras")
    with pytest.raises(InputError, match=f"the layer {named} has values that are no numbers"):
        convert(tmp_path / "model.keras", target="onnx", precision="fp32", output=tmp_path / "out")


@pytest.mark.parametrize("target", ["tflite", "onnx", "openvino"])
def test_a_weight_that_half_precision_cannot_hold_makes_no_bundle(target: str, tmp_path: Path) -> None:
    model = _small()
    kernel = np.full((4, 3), 0.1)
    kernel[0, 0] = 1e5
    model.layers[-1].kernel.assign(kernel)
    model.save(tmp_path / "model.keras")
    with pytest.raises(UnsupportedError, match=r"has a weight of 1e\+05, and half precision ends at 65504"):
        convert(tmp_path / "model.keras", target=target, precision="fp16", output=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_calibration_values_that_no_photo_has_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "pixels.npy", np.random.default_rng(0).uniform(0, 255, (8, 128, 128, 3)).astype(np.float32))
    with pytest.raises(InputError, match=r"to 255, where photos have -1 to 1"):
        convert(target="tflite", precision="int8", calibration=tmp_path / "pixels.npy", output=tmp_path / "out")


def test_calibration_values_that_cover_little_and_the_collapse_that_follows_are_told(
    pixels: UInt8Array, tmp_path: Path
) -> None:
    np.save(tmp_path / "unit.npy", pixels[:8].astype(np.float32) / 255 * 0.01)
    told: list[str] = []
    convert(
        target="tflite",
        precision="int8",
        calibration=tmp_path / "unit.npy",
        output=tmp_path / "out",
        report=told.append,
    )
    assert any("scaled otherwise" in line for line in told)
    assert any("of the photos as float does" in line for line in told), "a collapse is told"


def test_generated_noise_is_refused_before_it_fixes_ranges(here: Command, tmp_path: Path) -> None:
    """As files, which are made smaller for the model, and as an array."""
    random, folder = np.random.default_rng(0), tmp_path / "noise"
    folder.mkdir()
    for number in range(5):
        Image.fromarray(random.integers(0, 256, (300, 260, 3), dtype=np.uint8)).save(folder / f"{number}.png")
    np.save(tmp_path / "noise.npy", random.integers(0, 256, (5, 128, 128, 3), dtype=np.uint8))
    for given in (folder, tmp_path / "noise.npy"):
        asked = ("--target", "onnx", "--precision", "int8", "--calibration", given, "--output", tmp_path / "out")
        done = here("convert", *asked)
        assert done.returncode == InputError.exit_code
        assert f"{given.name}: is generated noise" in done.stderr
        assert "--calibration" in done.stderr
        assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("alone", [True, False])
def test_calibration_photos_of_one_class_are_told(alone: bool, tmp_path: Path) -> None:
    folder = CALIBRATION / "pants" if alone else CALIBRATION
    told: list[str] = []
    convert(
        target="onnx",
        precision="int8",
        calibration=folder,
        calibration_count=10,
        output=tmp_path / "out",
        report=told.append,
    )
    assert any("calibration photos for the class pants" in line for line in told) == alone


def test_a_model_that_guesses_is_told(xedge: Command, tmp_path: Path) -> None:
    command = ("convert", "--target", "onnx", "--preprocess", "raw", "--output", "out")
    done = xedge(*command, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "where guessing has 10.0 %" in done.stdout


def test_hidden_folders_are_no_classes(tmp_path: Path) -> None:
    photo = embedded.test_photos().files[0]
    for name in ("hat", "shoes", ".ipynb_checkpoints"):
        (tmp_path / name).mkdir()
        shutil.copy(photo, tmp_path / name / "photo.jpg")
    assert read_folder(tmp_path).classes == ("hat", "shoes")


def test_float_answers_unlike_the_models_are_refused_in_fp32_and_told_in_fp16() -> None:
    target, told = find_target("onnx"), list[str]()
    stages = Stages(report=told.append, progress=told.append)
    answers, expected = np.full((1, 2), 0.5, np.float32), np.array([[0.4, 0.6]], np.float32)
    with pytest.raises(CheckError, match=r"a probability is 0\.1 from"):
        _check_answers(stages, target, Form(precision="fp32"), answers, expected)
    assert not told
    _check_answers(stages, target, Form(precision="fp16"), answers, expected)
    assert any("sensitive to rounding" in line for line in told)
    for precision in PRECISIONS:
        with pytest.raises(CheckError, match="no numbers"):
            _check_answers(stages, target, Form(precision=precision), answers * np.float32("nan"), expected)


def test_a_scaling_that_was_assumed_wrongly_stops_before_the_work(tmp_path: Path) -> None:
    """The compact default behind a layer by which it takes pixels from 0 to 1, which no name or layer tells."""
    photo = keras.Input((128, 128, 3))
    spread = layers.DepthwiseConv2D(1, depthwise_initializer=keras.initializers.Constant(2.0), bias_initializer=MINUS)
    model = keras.Model(photo, keras.models.load_model(embedded.MODEL, compile=False)(spread(photo)))
    file, data, out = tmp_path / "mine.keras", embedded.test_photos().root, tmp_path / "out"
    model.save(file)
    with pytest.raises(InputError, match=r"with the assumed preprocessing, and 4\d with unit; give preprocess unit"):
        convert(file, target="tflite", data=data, output=out)
    told: list[str] = []
    convert(file, target="tflite", data=data, output=out, preprocess="tf", report=told.append)
    assert not any(line.startswith("scaling") for line in told)


def test_a_scaling_that_was_assumed_rightly_is_kept(tmp_path: Path) -> None:
    shutil.copy(embedded.MODEL, tmp_path / "mine.keras")
    told: list[str] = []
    data = embedded.test_photos().root
    convert(tmp_path / "mine.keras", target="tflite", data=data, output=tmp_path / "out", report=told.append)
    (line,) = (line for line in told if line.startswith("scaling"))
    assert "of 50 photos are right with the assumed preprocessing" in line
