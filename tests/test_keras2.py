"""Files that Keras 2 wrote: each is read, and computes what Keras 2 computed, or is refused with its reason."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from tests.conftest import Command
from xedge import convert
from xedge.errors import InputError, UnsupportedError
from xedge.graph.evaluate import Evaluator
from xedge.sources import Source
from xedge.sources.keras import SOURCE
from xedge.sources.keras.file import load_keras
from xedge.sources.keras.inference import for_inference
from xedge.sources.keras.layers import read_keras

# Made by make.py there, in a folder for each version of TensorFlow.
FILES = Path(__file__).parent / "data" / "keras2"
REFUSED = ("own_layer", "with_code")
READ = sorted(file for file in FILES.glob("*/*.*") if file.suffix in (".h5", ".keras") and file.stem not in REFUSED)


def loaded(file: Path, **options: Any) -> Any:
    return load_keras(Source(name=file.stem, path=file, kind=SOURCE), **options)


@pytest.mark.parametrize("file", READ, ids=lambda file: f"{file.parent.name}-{file.name}")
def test_a_file_of_keras_2_computes_what_keras_2_computed(file: Path) -> None:
    known = np.load(file.parent / "expected.npz")
    photos, expected = known["photos"].astype(np.float32), known[file.stem]
    assert np.ptp(expected, axis=0).max() > 1e-4, "every photo has the same answer"
    # Keras 2 computed this one in half precision.
    tolerance = 2e-3 if file.stem == "mixed_precision" else 1e-5 * max(1.0, float(np.abs(expected).max()))
    model = loaded(file)
    graph = Evaluator(read_keras(model)).output(photos)
    original = np.asarray(for_inference(model)(photos, training=False))
    assert np.abs(graph - expected).max() < tolerance
    assert np.abs(original - expected).max() < tolerance


def test_hdf5_under_the_name_of_an_archive_is_read(tmp_path: Path) -> None:
    """As TensorFlow 2.12 wrote it by default."""
    shutil.copy(FILES / "2.15" / "deep.h5", tmp_path / "model.keras")
    graphs = [read_keras(loaded(file)) for file in (FILES / "2.15" / "deep.h5", tmp_path / "model.keras")]
    photos = np.load(FILES / "2.15" / "expected.npz")["photos"].astype(np.float32)
    first, second = (Evaluator(graph).output(photos) for graph in graphs)
    assert np.array_equal(first, second)


@pytest.mark.parametrize("name", ["2.15/teachable.h5", "2.12/teachable.keras", "2.15/operators.h5"])
def test_a_file_of_keras_2_is_converted_to_int8(name: str, xedge: Command, tmp_path: Path) -> None:
    done = xedge("convert", FILES / name, "--target", "tflite", "--precision", "int8", "--output", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "reference graph" in done.stdout
    assert xedge("run", "out", "--runs", 3, cwd=tmp_path).returncode == 0


def test_loading_imports_no_tensorflow(xedge: Command) -> None:
    done = xedge("info", FILES / "2.15" / "flat.h5", "--verbose")
    assert done.returncode == 0, done.stderr
    assert "tensorflow" not in done.stderr.lower()


@pytest.mark.parametrize("suffix", ["h5", "keras"])
def test_code_in_a_file_of_keras_2_is_not_run(suffix: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="allow_code"):
        convert(FILES / "2.15" / f"with_code.{suffix}", target="onnx", precision="fp32", output=tmp_path / "out")


def test_a_class_that_is_not_registered_is_named_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="shop>Doubled is not known here; convert with"):
        convert(FILES / "2.15" / "own_layer.h5", target="onnx", precision="fp32", output=tmp_path / "out")


def test_a_class_that_is_registered_is_read() -> None:
    @keras.saving.register_keras_serializable("shop")
    class Doubled(keras.layers.Layer):  # type: ignore[misc]
        def call(self, x: Any) -> Any:
            return 2.0 * x

    file = FILES / "2.15" / "own_layer.h5"
    known = np.load(file.parent / "expected.npz")
    try:
        got = Evaluator(read_keras(loaded(file))).output(known["photos"].astype(np.float32))
    finally:
        keras.saving.get_custom_objects().pop("shop>Doubled")
    assert np.abs(got - known["own_layer"]).max() < 1e-5


def test_weights_that_are_not_those_of_the_model_are_refused(tmp_path: Path) -> None:
    import h5py

    file = tmp_path / "model.h5"
    shutil.copy(FILES / "2.15" / "flat.h5", file)
    with h5py.File(file, "a") as opened:
        group = opened["model_weights"]["dense"]["dense"]
        kernel = np.asarray(group["kernel:0"])
        del group["kernel:0"]
        group["kernel:0"] = kernel[:-1]
    with pytest.raises(InputError, match="do not fit"):
        loaded(file)


def test_a_damaged_archive_is_refused_in_one_line(xedge: Command, tmp_path: Path) -> None:
    file = tmp_path / "model.keras"
    with zipfile.ZipFile(FILES / "2.15" / "flat.keras") as old, zipfile.ZipFile(file, "w") as new:
        for name in old.namelist():
            new.writestr(name, old.read(name)[:500] if name == "config.json" else old.read(name))
    done = xedge("convert", file, "--target", "onnx", cwd=tmp_path)
    assert done.returncode == 3
    assert "damaged" in done.stderr.splitlines()[-1]
