"""A bundle is made again from its manifest: with the same bytes, or with what drifted and by how much."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import xedge
from tests.conftest import ALL_CORES, CALIBRATION, FURTHER, Command
from tests.networks import one_channel
from xedge.bundle.manifest import loads
from xedge.bundle.reading import read_manifest
from xedge.errors import BundleError, CheckError, InputError, UnsupportedError, UsageError
from xedge.inspection.reproduction import differences
from xedge.models.compact import embedded
from xedge.runtimes import choose_runtime
from xedge.types import Tensor


def changed(bundle: Path, to: Path, change: Any) -> Path:
    """Copy a bundle and change its manifest."""
    shutil.copytree(bundle, to)
    file = to / "manifest.json"
    document = json.loads(file.read_text())
    change(document)
    file.write_text(json.dumps(document))
    return to


def with_options(bundle: Path, to: Path, **options: Any) -> Path:
    """Copy a bundle and change the options in its manifest."""
    return changed(bundle, to, lambda one: one["making"]["options"].update(options))


def test_the_same_inputs_make_the_same_bytes(xedge: Command, bundles: Path, tmp_path: Path) -> None:
    """Made alone, though it was made as one of many, and by another process."""
    written = tmp_path / "again.json"
    done = xedge("reproduce", bundles / "tflite_int8", "--json", written)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(written.read_text())
    assert found["same"]
    assert found["drifts"] == []
    assert set(found["same_files"]) == set(read_manifest(bundles / "tflite_int8").files)
    assert "PASSED     tflite_int8: the same bytes" in done.stdout


@pytest.mark.slow
@pytest.mark.further
@pytest.mark.parametrize("name", ["onnx_fp16", "tflite_dynamic", "openvino_fp32"])
def test_so_do_other_targets_and_precisions(bundles: Path, name: str) -> None:
    assert xedge.reproduce(bundles / name).same


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    ["tflite_int8", *(pytest.param(f"{target}_int8", marks=pytest.mark.further) for target in ("onnx", "openvino"))],
)
def test_so_does_another_number_of_cores(bundles: Path, name: str, tmp_path: Path) -> None:
    """With one core or with more than the bundle was made with, the manifest says so and the bytes are the same."""
    if len(ALL_CORES) < 2:
        pytest.skip("needs two cores")
    making = read_manifest(bundles / name).making
    assert making is not None
    cores = ALL_CORES if making.cores == 1 else ALL_CORES[:1]
    program = (
        f"import os, sys; os.sched_setaffinity(0, {cores}); from xedge.cli.main import program; sys.exit(program())"
    )
    written = tmp_path / "again.json"
    command = [sys.executable, "-c", program, "reproduce", str(bundles / name), "--json", str(written)]
    done = subprocess.run(command, capture_output=True, text=True)
    found = json.loads(written.read_text())
    assert [one["what"] for one in found["drifts"]] == ["cores"]
    assert found["changed_files"] == [], done.stdout


def test_what_drifted_is_told_and_by_how_much(xedge: Command, tmp_path: Path) -> None:
    """Other calibration photos of the same number, and a version that was another one."""
    photos = tmp_path / "photos"
    photos.mkdir()
    files = sorted(CALIBRATION.rglob("*.jpg"))
    for file in files[:6]:
        shutil.copy(file, photos / file.name)
    command = ("convert", "--target", "onnx", "--precision", "int8", "--output", tmp_path / "made")
    done = xedge(*command, "--calibration", photos, "--calibration-count", 6)
    assert done.returncode == 0, done.stderr
    manifest = read_manifest(tmp_path / "made")
    assert manifest.making is not None
    assert manifest.making.options == {"calibration": str(photos), "calibration_count": 6}
    (photos / files[0].name).unlink()
    shutil.copy(files[7], photos / files[7].name)
    old = changed(tmp_path / "made", tmp_path / "old", lambda one: one["tools"].update(numpy="1.0"))
    done = xedge("reproduce", old, "--json", tmp_path / "again.json")
    assert done.returncode == CheckError.exit_code, done.stderr
    found = json.loads((tmp_path / "again.json").read_text())
    assert [one["what"] for one in found["drifts"]] == ["calibration photos (sha256)", "version of numpy"]
    assert found["drifts"][1]["before"] == "1.0"
    assert manifest.artifact in found["changed_files"]
    assert found["constants"]["unmatched"] == 0
    assert 0 < found["constants"]["changed_floats"] < found["constants"]["floats"]
    assert 0 < found["constants"]["largest_ratio"] < 1
    assert 0 < found["output_difference"] < 0.5
    assert 0.5 < found["top1"][1] <= 1
    for words in ("FAILED     old", "drifted    version of numpy: 1.0 -> ", "integers ", "accuracy   top-1"):
        assert words in done.stdout


def test_a_model_in_memory_is_named_afterwards(tmp_path: Path) -> None:
    model = one_channel()
    (made,) = xedge.convert(model, target="onnx", output=tmp_path / "made", preprocess="unit")
    assert made.manifest.making is not None
    assert made.manifest.making.model_in_memory
    with pytest.raises(UsageError, match="was in memory"):
        xedge.reproduce(made.path)
    model.save(tmp_path / "saved.keras")
    found = xedge.reproduce(made.path, model=tmp_path / "saved.keras")
    assert made.manifest.artifact in found.same_files, "the name of the file is not the model's"


def test_a_model_that_moved_is_asked_for_and_taken_where_it_is(here: Command, tmp_path: Path) -> None:
    one_channel().save(tmp_path / "there.keras")
    convert = ("convert", "there.keras", "--target", "onnx", "--preprocess", "unit", "--output", "made")
    assert here(*convert, cwd=tmp_path).returncode == 0
    (tmp_path / "there.keras").rename(tmp_path / "here.keras")
    done = here("reproduce", "made", cwd=tmp_path)
    assert done.returncode == InputError.exit_code
    assert done.stderr.splitlines()[-1].endswith(
        "made: was made with --model there.keras, which is not there; say with --model where it is now"
    )
    done = here("reproduce", "made", "--model", "here.keras", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["drifts"] == []


def test_another_model_is_a_drift(tmp_path: Path) -> None:
    model = one_channel()
    (made,) = xedge.convert(model, target="onnx", output=tmp_path / "made", preprocess="unit")
    model.set_weights([1.25 * weights for weights in model.get_weights()])
    model.save(tmp_path / "other.keras")
    found = xedge.reproduce(made.path, model=tmp_path / "other.keras")
    assert not found.same
    assert "weights (sha256)" in [one.what for one in found.drifts]
    assert found.constants is not None
    assert (found.constants.unmatched, found.constants.largest_steps) == (0, {})
    assert found.constants.changed_floats > 0
    assert found.constants.largest_ratio > 0.2


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        pytest.param({"target": "tflite", "size": (96, 96), "crop": "scale"}, {"size", "crop"}, id="size"),
        pytest.param({"target": "openvino", "pixels": True, "logits": True}, {"pixels", "logits"}, id="ends"),
        pytest.param({"target": "onnx", "batch": "dynamic"}, {"batch"}, id="batch", marks=FURTHER),
        pytest.param(
            {"target": "onnx", "precision": "fp16", "arithmetic": "float16"},
            {"arithmetic"},
            id="arithmetic",
            marks=FURTHER,
        ),
        pytest.param(
            {"target": "tflite", "precision": "int8", "board": "pi4", "calibration_count": 10},
            {"calibration_count"},
            id="board",
            marks=FURTHER,
        ),
        pytest.param(
            {"target": "tflite", "precision": "int8", "io": "int8", "seed": 3, "calibration_count": 10},
            {"io", "seed", "calibration_count"},
            id="integers",
        ),
    ],
)
def test_every_option_that_changes_bytes_is_kept(
    options: dict[str, Any], kept: set[str], few_photos: Path, tmp_path: Path
) -> None:
    (made,) = xedge.convert(**options, data=few_photos, output=tmp_path / "made")
    assert made.manifest.making is not None
    assert set(made.manifest.making.options) == kept | {"data"}
    found = xedge.reproduce(made.path)
    assert found.changed_files == ()
    assert found.drifts == ()


def test_what_others_of_the_same_command_need_is_not_asked_of_a_bundle(few_photos: Path, tmp_path: Path) -> None:
    """Budgets are of int8 and arithmetic is of fp16, and fp32 would be refused with either."""
    both: dict[str, Any] = {
        "target": "onnx",
        "precision": "fp32,fp16,int8",
        "arithmetic": "float16",
        "min_agreement": 0.1,
    }
    calibration: dict[str, Any] = {"calibration": CALIBRATION, "calibration_count": 6, "selection_count": 4}
    made = xedge.convert(**both, **calibration, data=few_photos, output=tmp_path / "made")
    for one in made:
        assert one.manifest.making is not None
        found = xedge.reproduce(one.path)
        assert (found.changed_files, found.drifts) == ((), ())
    assert [len(one.manifest.making.options) for one in made if one.manifest.making is not None] == [3, 4, 5]


def test_what_a_budget_led_to_is_made_again(few_photos: Path, tmp_path: Path) -> None:
    """The artifact may have a larger precision than int8, which was asked for."""
    budget: dict[str, Any] = {"target": "onnx", "precision": "int8", "min_agreement": 1.0, "selection_count": 8}
    calibration: dict[str, Any] = {"calibration": CALIBRATION, "calibration_count": 6}
    (made,) = xedge.convert(**budget, **calibration, data=few_photos, output=tmp_path / "made")
    assert made.manifest.making is not None
    assert made.manifest.making.precision == "int8"
    assert made.manifest.gate is not None
    assert made.manifest.gate.sha256 is not None
    found = xedge.reproduce(made.path)
    assert (found.changed_files, found.drifts) == ((), ())


def test_what_cannot_be_made_again_is_refused(here: Command, bundles: Path, tmp_path: Path) -> None:
    artifact = next((bundles / "tflite_fp32").glob("*.tflite"))
    xedge.wrap(artifact, preprocess="tf", output=tmp_path / "wrapped")
    done = here("reproduce", tmp_path / "wrapped")
    assert done.returncode == UnsupportedError.exit_code
    assert "was wrapped and not made by xedge" in done.stderr
    coded = with_options(bundles / "onnx_fp32", tmp_path / "coded", allow_code=True)
    done = here("reproduce", coded)
    assert done.returncode == UsageError.exit_code
    assert "give --allow-code to run it again" in done.stderr


@pytest.mark.parametrize(
    ("name", "value"), [("calibration_count", "many"), ("size", 96), ("model", 3), ("io", "bool"), ("exif", 1)]
)
def test_an_option_of_the_wrong_type_is_named(name: str, value: Any, bundles: Path, tmp_path: Path) -> None:
    wrong = with_options(bundles / "onnx_fp32", tmp_path / "wrong", **{name: value})
    with pytest.raises(BundleError, match=f"making.options.{name}"):
        xedge.reproduce(wrong)


def test_older_manifests_are_read_and_say_what_is_missing(bundles: Path, tmp_path: Path) -> None:
    old = changed(bundles / "tflite_int8", tmp_path / "old", lambda one: one.pop("making"))
    assert loads((old / "manifest.json").read_text()).making is None
    with xedge.load(old) as model:
        assert model.classify(embedded.test_photos().files[0])
    with pytest.raises(UnsupportedError, match="did not keep the options"):
        xedge.reproduce(old)
    later = with_options(bundles / "onnx_int8", tmp_path / "later", later=1)
    with pytest.raises(UnsupportedError, match="names options that this version of xedge does not have"):
        xedge.reproduce(later)


@pytest.mark.parametrize("name", ["tflite_int8", "onnx_int8", "openvino_int8"])
def test_constants_are_those_of_the_file(bundles: Path, name: str) -> None:
    """Nearly all parameters of the model are there; nothing differs from itself."""
    artifact = bundles / name / read_manifest(bundles / name).artifact
    found = choose_runtime(artifact).constants(artifact)
    parameters = read_manifest(bundles / name).model.parameters
    same = differences(found, found)
    assert same.integers + same.floats >= parameters
    assert (same.unmatched, same.changed_integers, same.changed_floats) == (0, 0, 0)
    again = choose_runtime(artifact).constants(artifact)
    assert again.keys() == found.keys()
    assert all(np.array_equal(again[one], found[one]) for one in found), "memory that nobody filled is no constant"


def test_differences_are_counted() -> None:
    old: dict[str, Tensor] = {"w": np.array([1, -128, 3], np.int8), "s": np.array([0.5, 2.0], np.float32)}
    new: dict[str, Tensor] = {"w": np.array([1, 127, 4], np.int8), "s": np.array([0.5, 1.0], np.float32)}
    old["gone"], new["new"] = np.zeros(2), np.zeros(3)
    found = differences(old, new)
    assert (found.integers, found.changed_integers, found.largest_steps) == (3, 2, {"int8": 255})
    assert (found.floats, found.changed_floats, found.largest_ratio) == (2, 1, 0.5)
    assert (found.tensors, found.unmatched) == (3, 2)
