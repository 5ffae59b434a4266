"""Models outside the reference graph's set go through the libraries' own converters, and the bundle says so."""

from __future__ import annotations

import json
from pathlib import Path

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
    """A folder with a model that turns its photo, as .keras and as SavedModel, and one with a Lambda layer."""
    folder = tmp_path_factory.mktemp("models")
    keras.utils.set_random_seed(0)
    photo = keras.Input((32, 32, 3))
    x = layers.Permute((2, 1, 3), name="turn")(layers.Conv2D(8, 3, activation="relu")(photo))
    x = layers.Dense(3, activation="softmax")(layers.GlobalAveragePooling2D()(x))
    model = keras.Model(photo, x)
    model.save(folder / "turn.keras")
    model.export(folder / "saved", verbose=False)
    x = layers.GlobalAveragePooling2D()(layers.Lambda(lambda t: t * 2)(photo))
    keras.Model(photo, layers.Dense(3)(x)).save(folder / "code.keras")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", ["turn.keras", "saved"])
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


def test_code_in_a_model_is_not_run(xedge: Command, models: Path, tmp_path: Path) -> None:
    done = xedge("convert", models / "code.keras", "--target", "tflite", cwd=tmp_path)
    assert done.returncode == 3
    assert "--allow-code" in done.stderr.strip().splitlines()[-1]
    assert not list(tmp_path.iterdir())
