"""Other packages add targets, runtimes, operations and kinds of models: each sample here is one module."""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import FEW_FOR_CALIBRATION
from xedge.converters import target_names
from xedge.vocabulary import PRECISIONS

SAMPLES = Path(__file__).parent / "sample_packages"
PHOTO_SIZE = 32


def run(sample: str, *arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run Python with one of the sample packages installed."""
    environment = {name: value for name, value in os.environ.items() if name != "KERAS_BACKEND"}
    environment["PYTHONPATH"] = os.pathsep.join([str(SAMPLES / sample), str(SAMPLES.parents[1])])
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment, timeout=600, check=False)


def test_every_sample_is_one_module_of_at_most_a_hundred_lines() -> None:
    modules = [list(folder.glob("*.py")) for folder in SAMPLES.iterdir() if folder.is_dir()]
    assert len(modules) == 3
    assert all(len(found) == 1 for found in modules)
    assert all(len(found[0].read_text().splitlines()) <= 100 for found in modules)


def test_a_target_is_converted_to_run_and_listed(few_photos: Path, tmp_path: Path) -> None:
    few = ("--data", few_photos, *FEW_FOR_CALIBRATION)
    done = run("target", "-m", "xedge", "convert", "--target", "onnx.gz", "--precision", "int8", *few, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (bundle,) = tmp_path.iterdir()
    ran = run("target", "-m", "xedge", "run", bundle, "--runs", 3, "--limit", 5, "--json", "--quiet", cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert (json.loads(ran.stdout)["target"], json.loads(ran.stdout)["execution"]["runtime"]) == (
        "packed",
        "onnxruntime",
    )
    assert "packed (onnx.gz)" in " ".join(
        run("target", "-m", "xedge", "convert", "--help", cwd=tmp_path).stdout.split()
    )
    without = run("source", "-m", "xedge", "run", bundle, "--runs", 3, cwd=tmp_path)
    assert without.returncode == 4
    assert without.stderr == (
        "xedge: error: no runtime opens .packed files; there are runtimes for .tflite, .onnx, .xml\n"
    )


@pytest.mark.slow
def test_a_target_inherits_the_conformance_suite(tmp_path: Path) -> None:
    suite = Path(__file__).with_name("test_conformance.py")
    chosen = ["-k", "packed and (xception or activations or one_channel or overflow)", "-m", "not emulated"]
    done = run(
        "target", "-m", "pytest", "-q", "-n", 0, "-p", "no:cacheprovider", suite, *chosen, cwd=SAMPLES.parents[1]
    )
    assert done.returncode == 0, done.stdout
    assert "passed" in done.stdout.splitlines()[-1]


def test_an_operation_is_read_quantized_and_written_for_every_target(tmp_path: Path) -> None:
    """ONNX has its own form, the others make the operation of its parts; all agree with Keras."""
    build = """
        import keras, squared_relu
        from keras import layers
        keras.utils.set_random_seed(0)
        photo = keras.Input((40, 40, 3))
        x = squared_relu.SquaredReLU(name="squared")(layers.Conv2D(8, 3, strides=2)(photo))
        x = layers.Conv2D(8, 3, activation="relu")(x)
        x = layers.GlobalAveragePooling2D()(x)
        keras.Model(photo, layers.Dense(10, activation="softmax")(x)).save("model.keras")
    """
    script = "\n".join(line.strip() for line in build.splitlines())
    made = run("operation", "-c", f"import os; os.environ['KERAS_BACKEND'] = 'tensorflow'\n{script}", cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    everywhere = ("--target", "all,tensorrt", "--precision", "fp32,int8", "--output", "out", "--quiet")
    done = run("operation", "-m", "xedge", "convert", "model.keras", *everywhere, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    bundles = sorted((tmp_path / "out").iterdir())
    assert len(bundles) == 2 * (len(target_names("all")) + 1)
    compared = run("operation", "-m", "xedge", "verify", *bundles, "--json", "--quiet", cwd=tmp_path)
    pairs = {(one["first"], one["second"]): one for one in json.loads(compared.stdout)["pairs"]}
    for target in (*target_names("all"), "tensorrt"):
        assert pairs["keras", f"{target} fp32"]["outputs"]["max_difference"] < 1e-5
        assert pairs["keras", f"{target} int8"]["outputs"]["logit_snr_db"] > 25
    onnx = pairs["keras", "onnx fp32"]
    assert onnx["tensors"] > 3


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_kind_of_model_is_found_read_checked_and_converted(tmp_path: Path, precision: str) -> None:
    kernel = np.random.default_rng(0).normal(size=(PHOTO_SIZE, PHOTO_SIZE, 3, 10)) * 0.01
    np.savez(tmp_path / "model.linear.npz", kernel=kernel, bias=np.zeros(10))
    arguments = ("convert", "model.linear.npz", "--target", "all", "--precision", precision, "--output", "out")
    done = run("source", "-m", "xedge", *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "preprocessing unit: as linear classifiers are trained" in done.stdout
    assert "of the original model on 4 photos" in done.stdout
    bundles = sorted((tmp_path / "out").iterdir())
    assert len(bundles) == len(target_names("all"))
    assert run("source", "-m", "xedge", "run", bundles[0], "--runs", 3, cwd=tmp_path).returncode == 0
    unknown = run("target", "-m", "xedge", *arguments, cwd=tmp_path)
    assert unknown.returncode == 3
    assert (
        "is not a model that xedge reads; give a .keras, .h5 or .hdf5 file, or a SavedModel folder, or an .onnx file"
        in unknown.stderr
    )


def test_a_package_that_cannot_be_imported_is_named_and_left_out(tmp_path: Path) -> None:
    folder = tmp_path / "broken-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text("[xedge.targets]\nbroken = nowhere_to_be_found:TARGET\n")
    assert importlib.metadata.Distribution.at(folder).entry_points
    code = "from xedge.converters import targets; print(len(targets()))"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(SAMPLES.parents[1])])}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert int(done.stdout) >= 4
    assert "the entry point 'broken' cannot be loaded (No module named 'nowhere_to_be_found')" in done.stderr
