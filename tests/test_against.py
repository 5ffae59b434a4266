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
from xedge.types import UInt8Array

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


def test_photos_without_labels_that_cannot_be_read_are_left_out(here: Command, bundles: Path, tmp_path: Path) -> None:
    for index, photo in enumerate(sorted(TEST.glob("*/*"))[:3]):
        shutil.copy(photo, tmp_path / f"{index}{photo.suffix}")
    (tmp_path / "broken.jpg").write_bytes(b"no photo")
    words = ("--against", bundles / "tflite_fp32", "--data", tmp_path, "--runs", 5, "--json")
    done = here("run", bundles / "tflite_int8", *words)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["against"]["agreement"]["photos"] == 3
    assert any("broken.jpg" in one for one in report["left_out"])


def test_another_model_is_no_sibling(here: Command, bundles: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(bundles / "tflite_fp32", tmp_path / "other"))
    manifest = json.loads((other / "manifest.json").read_text())
    manifest["model"]["weights_sha256"] = "0" * 64
    (other / "manifest.json").write_text(json.dumps(manifest))
    done = here("run", bundles / "tflite_int8", "--against", other, "--limit", 5, "--runs", 5)
    assert done.returncode == InputError.exit_code
    assert "its weights are not those of" in done.stderr


def test_photos_of_another_kind_are_told_of(
    here: Command, pixels: UInt8Array, few_photos: Path, tmp_path: Path
) -> None:
    pale = 110 + 30 * pixels.astype(np.float32) / 255
    np.save(tmp_path / "grey.npy", pale / 127.5 - 1)
    command = ("convert", "--target", "onnx", "--precision", "int8", "--output", tmp_path / "bundle", "--json")
    done = here(*command, "--calibration", tmp_path / "grey.npy", "--data", few_photos)
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
def test_artifacts_with_their_preprocessing_and_without_head(xedge: Command, bundles: Path, tmp_path: Path) -> None:
    """The user gets the same probabilities, and the bundle works like any other."""
    made = xedge(
        *("convert", "--target", "all", "--precision", "int8", "--pixels", "--logits"),
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
        pytest.param(("--pixels", "--io", "int8"), "choose one of them", id="pixels and integers"),
        pytest.param(("--max-drop", "nan"), "percentage points", id="a drop of nan"),
        pytest.param(("--max-drop", "-1"), "percentage points", id="a drop of -1"),
    ],
)
def test_options_that_make_no_sense(options: tuple[str, ...], words: str, here: Command) -> None:
    done = here("convert", "--target", "tflite", "--precision", "int8", *options)
    assert done.returncode == UsageError.exit_code
    assert words in done.stderr
