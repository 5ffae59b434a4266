"""The host side without TensorFlow: a fresh environment with what ``pip install xedge[host]`` takes alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from xedge.bundle.reading import open_bundle
from xedge.errors import MissingRuntimeError

pytestmark = pytest.mark.installs
ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / "tests" / "data"


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of the environment."""
    folder = tmp_path_factory.mktemp("host")
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", f"{ROOT}[host]"], check=True, capture_output=True)
    return python


def xedge(python: Path, *arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name not in ("KERAS_BACKEND", "PYTHONPATH")}
    return subprocess.run(
        [python, "-m", "xedge", *arguments], capture_output=True, text=True, cwd=cwd, check=False, env=environment
    )


def test_it_has_no_tensorflow(host: Path) -> None:
    listed = subprocess.run([host, "-m", "pip", "list", "--format=json"], check=True, capture_output=True, text=True)
    names = {package["name"].lower() for package in json.loads(listed.stdout)}
    assert {"keras", "onnxruntime", "openvino", "ai-edge-litert"} <= names
    assert not {name for name in names if name.startswith(("tensorflow", "torch", "jax", "nvidia"))}


@pytest.mark.parametrize("model", ["xception_compact", "old_keras.h5", "exports/mobilenetv3_torchscript.onnx"])
def test_models_of_each_kind_are_converted_for_every_target(host: Path, tmp_path: Path, model: str) -> None:
    source = DATA / model if (DATA / model).exists() else model
    arguments = ["convert", source, "--target", "all", "--output", tmp_path / "bundles", "--preprocess", "tf"]
    done = xedge(host, *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for target in ("tflite", "onnx", "openvino"):
        assert open_bundle(tmp_path / "bundles" / f"{target}_fp32").manifest.target == target


def test_a_saved_model_names_what_to_install(host: Path, tmp_path: Path) -> None:
    program = (
        "import sys, tensorflow as tf\n"
        "class Net(tf.Module):\n"
        "    @tf.function(input_signature=[tf.TensorSpec([None, 24, 24, 3])])\n"
        "    def __call__(self, photo):\n"
        "        return tf.nn.softmax(tf.reduce_mean(photo, [1, 2]))\n"
        "tf.saved_model.save(Net(), sys.argv[1])\n"
    )
    refusal(host, program, tmp_path / "saved")


def test_a_layer_outside_the_set_is_named_with_what_to_install(host: Path, tmp_path: Path) -> None:
    program = (
        "import sys, keras\n"
        "layers = keras.layers\n"
        "rows = [layers.Input((8, 8, 3)), layers.Reshape((8, 24)), layers.LSTM(4, name='memory')]\n"
        "keras.Sequential([*rows, layers.Dense(3, activation='softmax')]).save(sys.argv[1])\n"
    )
    assert "memory" in refusal(host, program, tmp_path / "rows.keras")


def refusal(host: Path, program: str, model: Path) -> str:
    """Let a program save a model that needs TensorFlow, and return the line that says what to install for it."""
    subprocess.run([sys.executable, "-c", program, model], check=True, capture_output=True)
    done = xedge(host, "convert", model, "--target", "tflite", cwd=model.parent)
    assert done.returncode == MissingRuntimeError.exit_code
    (line,) = done.stderr.strip().splitlines()
    assert "pip install 'xedge[tensorflow]'" in line
    return line
