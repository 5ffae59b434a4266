"""Models outside the reference graph's set go through the libraries' own converters, and the bundle says so."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import pytest
from keras import layers

from tests.conftest import Command
from xedge.converters import target_names
from xedge.vocabulary import PRECISIONS

TARGETS = target_names("all")

WAYS = {"tflite": "TensorFlow's converter", "onnx": "tf2onnx", "openvino": "OpenVINO's converter"}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model that takes a sine, as .keras and as SavedModel, and one with a Lambda layer."""
    folder = tmp_path_factory.mktemp("models")
    keras.utils.set_random_seed(0)
    photo = keras.Input((32, 32, 3))
    model = keras.Model(photo, _head(_with_sine(photo)))
    model.save(folder / "sine.keras")
    model.export(folder / "saved", verbose=False)
    x = layers.GlobalAveragePooling2D()(layers.Lambda(lambda t: t * 2)(photo))
    keras.Model(photo, layers.Dense(3)(x)).save(folder / "code.keras")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sine.keras", "saved"])
def test_bundles_run_and_name_their_way(xedge: Command, models: Path, tmp_path: Path, name: str) -> None:
    done = xedge(
        "convert", models / name, "--target", "all", "--precision", "all", "--output", tmp_path / "out", "--json"
    )
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout)
    kinds = [(one["manifest"]["target"], one["manifest"]["precision"]) for one in made]
    assert kinds == [(target, precision) for target in TARGETS for precision in PRECISIONS]
    for one in made:
        recipe = one["manifest"]["recipe"]
        assert recipe["way"].startswith(WAYS[one["manifest"]["target"]])
        assert ("and" in recipe["way"]) == (one["manifest"]["precision"] in ("dynamic", "int8"))
        assert recipe["reason"]
    for one in made[::4]:
        assert xedge("run", one["path"], "--runs", 3).returncode == 0
    compared = xedge("verify", *(one["path"] for one in made), "--min-agreement", 50, "--json")
    assert compared.returncode == 0, compared.stderr
    by_name = {(p["first"], p["second"]): p["outputs"] for p in json.loads(compared.stdout)["pairs"]}
    assert by_name["tflite fp32", "onnx fp32"]["max_difference"] < 1e-4
    assert by_name["tflite fp32", "openvino fp32"]["max_difference"] < 1e-4


def _with_sine(photo: Any) -> Any:
    """What no graph of xedge holds, so that a model with it takes the libraries' way."""
    return keras.ops.sin(layers.Conv2D(8, 3, activation="relu")(photo))


def _head(x: Any) -> Any:
    return layers.Dense(3, activation="softmax")(layers.GlobalAveragePooling2D()(x))


def _of_integers() -> Any:
    photo = keras.Input((32, 32, 3), dtype="uint8")
    return keras.Model(photo, _head(_with_sine(layers.Rescaling(1 / 255.0)(photo))))


def _of_four_photos() -> Any:
    photo = keras.Input(batch_shape=(4, 32, 32, 3))
    return keras.Model(photo, _head(_with_sine(photo)))


def _acting_at_random() -> Any:
    photo = keras.Input((32, 32, 3))
    x = layers.RandomZoom(0.3)(layers.Rescaling(1 / 127.5, -1)(photo))
    x = layers.Dropout(0.5)(layers.BatchNormalization()(_with_sine(x)))
    return keras.Model(photo, _head(x))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("build", "scale"),
    [
        pytest.param(_of_integers, 1.0, id="integers"),
        pytest.param(_of_four_photos, 1 / 127.5, id="four-photos"),
        pytest.param(_acting_at_random, 1.0, id="random"),
    ],
)
def test_what_goes_to_a_library_is_inference_in_float32(
    build: Callable[[], Any], scale: float, xedge: Command, tmp_path: Path
) -> None:
    keras.utils.set_random_seed(3)
    build().save(tmp_path / "model.keras")
    done = xedge("convert", tmp_path / "model.keras", "--target", "all", "--output", tmp_path / "out", "--json")
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout)
    assert [one["manifest"]["preprocessing"]["scale"] for one in made] == [[pytest.approx(scale)]] * len(TARGETS)
    compared = xedge("verify", *(one["path"] for one in made), "--min-agreement", 100, "--json")
    assert max(pair["outputs"]["max_difference"] for pair in json.loads(compared.stdout)["pairs"]) < 1e-4


def _two_outputs() -> Any:
    photo = keras.Input((32, 32, 3))
    x = layers.GlobalAveragePooling2D()(photo)
    return keras.Model(photo, [layers.Dense(3)(x), layers.Dense(4)(x)])


def _two_inputs() -> Any:
    photos = [keras.Input((32, 32, 3)) for _ in range(2)]
    return keras.Model(photos, _head(layers.Add()(photos)))


def _of_any_size() -> Any:
    photo = keras.Input((None, None, 3))
    return keras.Model(photo, _head(photo))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("build", "said"),
    [
        pytest.param(_two_outputs, "one output", id="two-outputs"),
        pytest.param(_two_inputs, "one photo as the input", id="two-inputs"),
        pytest.param(_of_any_size, "not one photo of a fixed", id="any-size"),
        pytest.param(_acting_at_random, "at random", id="random"),
    ],
)
def test_saved_models_that_no_converter_should_take_are_refused_in_one_line(
    build: Callable[[], Any], said: str, xedge: Command, tmp_path: Path
) -> None:
    build().export(str(tmp_path / "saved"), verbose=False)
    done = xedge("convert", "saved", "--target", "all", "--output", "out", cwd=tmp_path)
    assert done.returncode == 4
    (line,) = done.stderr.strip().splitlines()[-1:]
    assert said in line
    assert not (tmp_path / "out").exists()


def test_code_in_a_model_is_not_run(xedge: Command, models: Path, tmp_path: Path) -> None:
    done = xedge("convert", models / "code.keras", "--target", "tflite", cwd=tmp_path)
    assert done.returncode == 3
    assert "--allow-code" in done.stderr.strip().splitlines()[-1]
    assert not list(tmp_path.iterdir())
