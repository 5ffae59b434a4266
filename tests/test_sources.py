"""What users bring: files of every kind Keras wrote, old ones too, names with weights, calibration arrays."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest

from tests.conftest import FEW_FOR_CALIBRATION, Command
from tests.networks import network
from xedge.errors import InputError, XedgeError
from xedge.graph.evaluate import Evaluator
from xedge.models.xception import xception
from xedge.sources.finding import find_source
from xedge.sources.keras.file import load_keras
from xedge.sources.keras.layers import read_keras
from xedge.types import Tensor, UInt8Array

DATA = Path(__file__).parent / "data"


def test_keras_2_files_compute_what_keras_2_computed() -> None:
    graph = read_keras(load_keras(find_source(str(DATA / "old_keras.h5"))))
    photos = np.random.default_rng(0).uniform(-1, 1, (2, 28, 28, 1)).astype(np.float32)
    assert np.abs(Evaluator(graph).output(photos) - np.load(DATA / "old_keras_outputs.npy")).max() <= 1e-5


def test_the_command_takes_a_keras_2_file(xedge: Command, tmp_path: Path) -> None:
    """Without a word on standard error, where a slow machine would have progress without --quiet."""
    command = ("convert", DATA / "old_keras.h5", "--target", "tflite", "--precision", "int8", *FEW_FOR_CALIBRATION)
    done = xedge(*command, "--quiet", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    ran = xedge("predict", "old_keras_tflite_int8", DATA.parent.parent / "tests" / "data" / "none.jpg", cwd=tmp_path)
    assert (ran.returncode, "no such photo" in ran.stderr) == (3, True)


@pytest.mark.parametrize("suffix", [".keras", ".h5", ".hdf5"])
def test_every_file_kind_is_the_same_model(tmp_path: Path, suffix: str) -> None:
    model = network("one_channel")
    file = tmp_path / f"model{suffix}"
    model.save(file)
    photos = np.random.default_rng(0).uniform(-1, 1, (2, *model.input_shape[1:])).astype(np.float32)
    graph = read_keras(load_keras(find_source(str(file))))
    assert np.abs(Evaluator(graph).output(photos) - np.asarray(model(photos))).max() <= 1e-4


@pytest.mark.parametrize(
    ("name", "content"),
    [
        pytest.param("a.keras", b"PK\x03\x04 no zip", id="no zip"),
        pytest.param("a.h5", b"\x89HDF\r\n\x1a\n" + b"0" * 50, id="no HDF5"),
        pytest.param("a.h5", b"no", id="too short"),
        pytest.param("a.onnx", b"x", id="another kind"),
    ],
)
def test_files_that_are_no_model_are_named(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(XedgeError, match=name):
        load_keras(find_source(str(tmp_path / name)))


def test_weights_without_a_model_are_explained(tmp_path: Path) -> None:
    network("one_channel").save_weights(tmp_path / "only.weights.h5")
    with pytest.raises(InputError, match="weights without a model"):
        load_keras(find_source(str(tmp_path / "only.weights.h5")))


def test_a_name_takes_weights_from_a_file(tmp_path: Path) -> None:
    keras.utils.set_random_seed(3)
    trained = xception()
    trained.save_weights(tmp_path / "mine.weights.h5")
    loaded = load_keras(find_source("xception", str(tmp_path / "mine.weights.h5")))
    for ours, theirs in zip(loaded.get_weights(), trained.get_weights(), strict=True):
        assert np.array_equal(ours, theirs)


@pytest.mark.parametrize("name", ["pixels.npy", "inputs.npz"])
def test_calibration_takes_arrays(
    here: Command, few_photos: Path, tmp_path: Path, pixels: UInt8Array, name: str
) -> None:
    inputs = pixels.astype(np.float32) / 127.5 - 1
    np.save(tmp_path / name, pixels) if name.endswith("npy") else np.savez(tmp_path / name, photos=inputs)
    command = ("convert", "--target", "tflite", "--precision", "int8", "--calibration", name, "--data", few_photos)
    done = here(*command, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"8 photos from {name}" in done.stdout


@pytest.mark.parametrize(
    ("array", "words"),
    [
        pytest.param(np.zeros((2, 5, 5, 3)), "128, 128, 3", id="another size"),
        pytest.param(np.full((1, 128, 128, 3), np.nan), "finite", id="nan"),
    ],
)
def test_wrong_calibration_arrays_are_named(
    here: Command, few_photos: Path, tmp_path: Path, array: Tensor, words: str
) -> None:
    np.save(tmp_path / "wrong.npy", array)
    command = ("convert", "--target", "tflite", "--precision", "int8", "--calibration", "wrong.npy")
    done = here(*command, "--data", few_photos, cwd=tmp_path)
    assert done.returncode == 3
    assert words in done.stderr.strip().splitlines()[-1]


def test_labels_of_another_number_are_refused(here: Command, tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("one\ntwo\n")
    done = here("convert", "--target", "tflite", "--labels", "labels.txt", cwd=tmp_path)
    assert done.returncode == 3
    assert "2 labels for a model of 10 classes" in done.stderr
