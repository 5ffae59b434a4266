"""Does int8 pay: a bundle beside its float sibling, and ranges beside the photos that they shall hold."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import Command
from xedge.errors import InputError, UsageError
from xedge.models.compact import embedded

TEST = Path(embedded.__file__).parent / "test"


def test_a_bundle_is_timed_in_turns_with_its_float_sibling(xedge: Command, bundles: Path) -> None:
    done = xedge("run", bundles / "tflite_int8", "--against", bundles / "tflite_fp32", "--limit", 40, "--json")
    assert done.returncode == 0, done.stderr
    against = json.loads(done.stdout)["against"]
    assert (against["other"], against["precision"]) == ("tflite_fp32", "fp32")
    assert against["agreement"]["photos"] == 40
    assert against["agreement"]["agreement"] >= 0.95
    low, high = against["speed"]["ratio"][1:]
    assert low <= against["speed"]["ratio"][0] <= high
    words = xedge("run", bundles / "onnx_int8", "--against", bundles / "onnx_fp32", "--limit", 5, "--runs", 5).stdout
    assert "against" in words
    assert "pay here" in words or "pays here" in words


def test_another_model_is_no_sibling(xedge: Command, bundles: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(bundles / "tflite_fp32", tmp_path / "other"))
    manifest = json.loads((other / "manifest.json").read_text())
    manifest["model"]["weights_sha256"] = "0" * 64
    (other / "manifest.json").write_text(json.dumps(manifest))
    done = xedge("run", bundles / "tflite_int8", "--against", other, "--limit", 5, "--runs", 5)
    assert done.returncode == InputError.exit_code
    assert "not of the weights" in done.stderr


def test_photos_of_another_kind_are_told_of(xedge: Command, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(110, 140, (20, 128, 128, 3)).astype(np.float32) / 127.5 - 1
    np.save(tmp_path / "grey.npy", noise)
    command = ("convert", "--target", "onnx", "--precision", "int8", "--output", tmp_path / "bundle", "--json")
    done = xedge(*command, "--calibration", tmp_path / "grey.npy")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)[0]["manifest"]["calibration"]["coverage"]
    assert not found["fits"]
    assert found["evaluated"] > 10 * found["calibrated"]
    assert "the calibration photos do not fit" in done.stderr


def test_photos_of_the_same_kind_fit(bundles: Path) -> None:
    for target in ("tflite", "onnx", "openvino"):
        found = json.loads((bundles / f"{target}_int8" / "manifest.json").read_text())["calibration"]["coverage"]
        assert found["fits"], target


@pytest.mark.slow
def test_artifacts_with_their_preprocessing_and_without_softmax(xedge: Command, bundles: Path, tmp_path: Path) -> None:
    """The user gets the same probabilities, and the bundle works like any other."""
    made = xedge(
        *("convert", "--target", "all", "--precision", "fp32,int8", "--pixels", "--logits"),
        *("--output", tmp_path, "--json"),
    )
    assert made.returncode == 0, made.stderr
    for one in json.loads(made.stdout):
        manifest = one["manifest"]
        plain = json.loads((bundles / Path(one["path"]).name / "manifest.json").read_text())
        assert (manifest["input"]["dtype"], manifest["output_kind"]) == ("uint8", "logits")
        assert manifest["accuracy"]["artifact"]["top1"] == plain["accuracy"]["artifact"]["top1"]
    done = xedge("run", tmp_path / "openvino_int8", "--limit", 20, "--runs", 5)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--pixels", "--io", "int8"), "give one of them"),
        (("--max-drop", "nan"), "percentage points"),
        (("--max-drop", "-1"), "percentage points"),
    ],
)
def test_options_that_make_no_sense(options: tuple[str, ...], words: str, xedge: Command) -> None:
    done = xedge("convert", "--target", "tflite", "--precision", "int8", *options)
    assert done.returncode == UsageError.exit_code
    assert words in done.stderr
