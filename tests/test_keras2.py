"""Files that Keras 2 wrote: each is read, and computes what Keras 2 computed, or is refused with its reason."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable
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

# Made by make.py there, with each version of TensorFlow.
ZIPS = sorted((Path(__file__).parent / "data" / "keras2").glob("*.zip"))
REFUSED = ("own_layer", "own_dense", "with_code")
NAMES = [f"{packed.stem}/{name}" for packed in ZIPS for name in zipfile.ZipFile(packed).namelist()]
READ = [name for name in NAMES if Path(name).suffix in (".h5", ".keras") and Path(name).stem not in REFUSED]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder that has the files of each version in a folder of its own."""
    folder = tmp_path_factory.mktemp("keras2")
    for packed in ZIPS:
        zipfile.ZipFile(packed).extractall(folder / packed.stem)
    return folder


def loaded(file: Path, **options: Any) -> Any:
    return load_keras(Source(name=file.stem, path=file, kind=SOURCE), **options)


@pytest.mark.parametrize("name", READ)
def test_a_file_of_keras_2_computes_what_keras_2_computed(name: str, files: Path) -> None:
    file = files / name
    known = np.load(file.parent / "expected.npz")
    photos, expected = known["photos"].astype(np.float32), known[file.stem]
    assert np.ptp(expected, axis=0).max() > 1e-4, "every photo has the same answer"
    # Keras 2 computed this one in half precision.
    tolerance = 2e-3 if file.stem == "mixed_precision" else 1e-5 * max(1.0, float(np.abs(expected).max()))
    model = loaded(file)
    graph = Evaluator(read_keras(model)).output(photos)
    assert np.abs(graph - expected).max() < tolerance
    if file.suffix == ".h5" and file.parent.name == "2.15":  # the graph's answers are those of the model, too
        original = np.asarray(for_inference(model)(photos, training=False))
        assert np.abs(original - expected).max() < tolerance


def test_hdf5_under_the_name_of_an_archive_is_read(tmp_path: Path, files: Path) -> None:
    """As TensorFlow 2.12 wrote it by default."""
    shutil.copy(files / "2.15" / "deep.h5", tmp_path / "model.keras")
    graphs = [read_keras(loaded(file)) for file in (files / "2.15" / "deep.h5", tmp_path / "model.keras")]
    photos = np.load(files / "2.15" / "expected.npz")["photos"].astype(np.float32)
    first, second = (Evaluator(graph).output(photos) for graph in graphs)
    assert np.array_equal(first, second)


@pytest.mark.parametrize("name", ["2.15/teachable.h5", "2.12/teachable.keras", "2.3/operators.h5"])
def test_a_file_of_keras_2_is_converted_to_int8(name: str, tmp_path: Path, files: Path) -> None:
    (done,) = convert(files / name, target="tflite", precision="int8", output=tmp_path / "out")
    assert done.manifest.precision == "int8"


def test_loading_imports_no_tensorflow(xedge: Command, files: Path) -> None:
    done = xedge("info", files / "2.15" / "flat.h5", "--verbose")
    assert done.returncode == 0, done.stderr
    assert "tensorflow" not in done.stderr.lower()


@pytest.mark.parametrize("suffix", ["h5", "keras"])
def test_code_in_a_file_of_keras_2_is_not_run(suffix: str, tmp_path: Path, files: Path) -> None:
    with pytest.raises(InputError, match="allow_code"):
        convert(files / "2.15" / f"with_code.{suffix}", target="onnx", precision="fp32", output=tmp_path / "out")


def test_the_command_line_is_told_of_its_own_option(files: Path, xedge: Command, tmp_path: Path) -> None:
    done = xedge("convert", files / "2.15" / "with_code.h5", "--target", "onnx", cwd=tmp_path)
    assert done.returncode == 3
    assert done.stderr.rstrip().endswith("give --allow-code")


def test_a_model_of_a_class_of_its_own_is_told(files: Path, xedge: Command, tmp_path: Path) -> None:
    done = xedge("convert", files / "2.15" / "own_model.h5", "--target", "onnx", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert any("NOTE" in line and "as they are listed" in line for line in done.stdout.splitlines())


def test_a_class_that_is_not_registered_is_named_with_what_to_do(files: Path) -> None:
    with pytest.raises(UnsupportedError, match="shop>Doubled is not known here; convert with"):
        loaded(files / "2.15" / "own_layer.h5")


@pytest.mark.parametrize("suffix", ["h5", "keras"])
def test_a_class_that_is_called_as_one_of_keras_is_not_taken_for_it(suffix: str, files: Path) -> None:
    with pytest.raises(UnsupportedError, match="shop>Dense is not known here; convert with"):
        loaded(files / "2.15" / f"own_dense.{suffix}")


def test_a_class_that_is_registered_is_read(files: Path) -> None:
    @keras.saving.register_keras_serializable("shop")
    class Doubled(keras.layers.Layer):  # type: ignore[misc]
        def call(self, x: Any) -> Any:
            return 2.0 * x

    file = files / "2.15" / "own_layer.h5"
    known = np.load(file.parent / "expected.npz")
    try:
        got = Evaluator(read_keras(loaded(file))).output(known["photos"].astype(np.float32))
    finally:
        keras.saving.get_custom_objects().pop("shop>Doubled")
    assert np.abs(got - known["own_layer"]).max() < 1e-5


def test_weights_that_are_not_those_of_the_model_are_refused(tmp_path: Path, files: Path) -> None:
    import h5py

    file = tmp_path / "model.h5"
    shutil.copy(files / "2.15" / "flat.h5", file)
    with h5py.File(file, "a") as opened:
        group = opened["model_weights"]["dense"]["dense"]
        kernel = np.asarray(group["kernel:0"])
        del group["kernel:0"]
        group["kernel:0"] = kernel[:-1]
    with pytest.raises(InputError, match="do not fit"):
        loaded(file)


def test_a_layer_without_weights_in_the_file_is_refused(tmp_path: Path, files: Path) -> None:
    import h5py

    file = tmp_path / "model.h5"
    shutil.copy(files / "2.15" / "flat.h5", file)
    with h5py.File(file, "a") as opened:
        del opened["model_weights"]["dense"].attrs["weight_names"]
    with pytest.raises(InputError, match="dense: the file has no weights of this layer"):
        loaded(file)


def test_a_sequential_that_tells_no_shape_is_refused_with_what_to_do(tmp_path: Path, files: Path) -> None:
    file = _changed(files / "2.15" / "sequential.h5", tmp_path, _without_shapes)
    with pytest.raises(UnsupportedError, match=r"call model.build\(\(None, height, width, channels\)\)"):
        loaded(file)


def test_a_function_that_is_not_known_is_named(tmp_path: Path, files: Path) -> None:
    def renamed(config: Any) -> Any:
        for one in config["config"]["layers"]:
            if one["config"].get("function") == "nn.relu6":
                one["config"]["function"] = "random.normal"
        return config

    with pytest.raises(UnsupportedError, match=r"the function tf\.random\.normal of Keras 2 is not known here"):
        loaded(_changed(files / "2.15" / "operators.h5", tmp_path, renamed))


def _without_shapes(config: Any) -> Any:
    if isinstance(config, dict):
        return {key: _without_shapes(one) for key, one in config.items() if not key.endswith("input_shape")}
    return [_without_shapes(one) for one in config] if isinstance(config, list) else config


def _changed(file: Path, folder: Path, change: Callable[[Any], Any]) -> Path:
    """Return a copy of an HDF5 file with another configuration."""
    import h5py

    copy = folder / file.name
    shutil.copy(file, copy)
    with h5py.File(copy, "a") as opened:
        opened.attrs["model_config"] = json.dumps(change(json.loads(opened.attrs["model_config"])))
    return copy


def test_a_damaged_archive_is_refused_in_one_line(xedge: Command, tmp_path: Path, files: Path) -> None:
    file = tmp_path / "model.keras"
    with zipfile.ZipFile(files / "2.15" / "flat.keras") as old, zipfile.ZipFile(file, "w") as new:
        for name in old.namelist():
            new.writestr(name, old.read(name)[:500] if name == "config.json" else old.read(name))
    done = xedge("convert", file, "--target", "onnx", cwd=tmp_path)
    assert done.returncode == 3
    assert "damaged" in done.stderr.splitlines()[-1]
