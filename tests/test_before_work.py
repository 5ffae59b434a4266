"""What a command sees to before its work: that the result can be written, that options fit, that nothing is sent."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import Command
from xedge import convert
from xedge.errors import InputError, UsageError
from xedge.models.compact import embedded

WORK = ("read", "calibrate", "convert")
# Runs a command and prints what was loaded of the package that sends OpenVINO's statistics.
LOADED = """
import sys
from xedge.cli.main import main
code = main(sys.argv[1:])
print("loaded:", [name for name in sys.modules if name.startswith("openvino_telemetry.")])
sys.exit(code)
"""


@pytest.mark.parametrize("place", ["folder", "folder/file/below"])
def test_a_place_that_cannot_be_written_to_is_refused_first(here: Command, tmp_path: Path, place: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").write_text("kept")
    done = here("convert", "--target", "tflite", "--precision", "int8", "--output", tmp_path / place)
    assert done.returncode == InputError.exit_code, done.stderr
    assert not any(line.startswith(WORK) for line in (done.stdout + done.stderr).splitlines())
    assert [path.name for path in tmp_path.rglob("*")] == ["folder", "file"]


def test_pixels_and_integers_at_the_ends_are_refused_before_the_work(here: Command, tmp_path: Path) -> None:
    given = ("convert", "--target", "onnx", "--precision", "int8", "--pixels", "--io", "uint8")
    done = here(*given, "--output", tmp_path / "out")
    assert done.returncode == UsageError.exit_code
    assert "--pixels and --io uint8" in done.stderr
    assert not any(line.startswith(WORK) for line in (done.stdout + done.stderr).splitlines())


@pytest.mark.parametrize(
    ("command", "option", "words"),
    [
        ("convert --target onnx --io uint8", "--io", "add int8 to --precision"),
        ("convert --target onnx --precision int8 --time-budget 5s", "--time-budget", "give --max-drop or"),
        ("convert --target onnx --precision int8 --selection .", "--selection", "give --max-drop or"),
        ("convert --target onnx --precision int8 --selection-count 9", "--selection-count", "give --max-drop or"),
        ("convert --target onnx --truth truth.csv", "--truth", "give them too"),
        ("wrap {artifact} --truth truth.csv", "--truth", "give them too"),
        ("run {bundle} --wheels .", "--wheels", "with --on or --fleet"),
        ("run {bundle} --no-accuracy --limit 5", "--limit", "with --no-accuracy"),
        ("run {bundle} --no-accuracy --truth x --on pi", "--truth", "with --no-accuracy"),
        ("run {bundle} --runs 5 --duration 5s", "--runs", "give one of them"),
        ("run {bundle} --runs 5 --duration 5s --on pi", "--duration", "give one of them"),
        ("run {bundle} --truth truth.csv", "--truth", "give them too"),
        ("verify {bundle} --truth truth.csv", "--truth", "give them too"),
        ("evaluate {bundle} --data . -o out --max-drop 1", "--max-drop", "give its fp32 too"),
        ("evaluate --plan --max-drop 1 -o out --limit 5", "--limit", "with --plan"),
        ("evaluate {bundle} --plan --max-drop 1 -o out", "BUNDLE", "with --plan"),
        ("compare a.json b.json --rounds 3", "--rounds", "it is for bundles"),
        ("compare a.json b.json --markdown --json", "--markdown", "with --json"),
        ("benchmark --markdown --json", "--markdown", "with --json"),
        ("cost --compare --top 3", "--top", "with --compare"),
        ("info {bundle} --size 64", "--size", "for models that are converted"),
    ],
)
def test_an_option_without_effect_is_refused_by_name(
    command: str, option: str, words: str, here: Command, bundles: Path, tmp_path: Path
) -> None:
    bundle = bundles / "tflite_fp32"
    (artifact,) = bundle.glob("*.tflite")
    done = here(*command.format(bundle=bundle, artifact=artifact).split(), cwd=tmp_path)
    assert done.returncode == UsageError.exit_code, done.stdout + done.stderr
    assert option in done.stderr
    assert words in done.stderr
    assert done.stdout == ""


def test_a_limit_needs_photos(here: Command, bundles: Path, tmp_path: Path) -> None:
    stranger = tmp_path / "stranger"
    shutil.copytree(bundles / "tflite_fp32", stranger)
    text = (stranger / "manifest.json").read_text()
    (stranger / "manifest.json").write_text(re.sub('"file_sha256": "[0-9a-f]+"', f'"file_sha256": "{"0" * 64}"', text))
    for command in (("run", stranger), ("verify", stranger), ("run", stranger, "--on", "nowhere.invalid")):
        done = here(*command, "--limit", 5)
        assert done.returncode == UsageError.exit_code, done.stderr
        assert "--limit needs photos to choose from; give --data" in done.stderr


def test_calibration_photos_without_int8_are_told(here: Command, tmp_path: Path) -> None:
    photos = ("--calibration", embedded.ROOT / "calibration")
    done = here("convert", "--target", "onnx", "--precision", "fp32", *photos, "--output", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "calibration photos have no effect" in done.stdout


def test_the_number_of_calibration_photos_holds_for_the_embedded_ones_too(tmp_path: Path) -> None:
    lines: list[str] = []
    (made,) = convert(
        target="tflite", precision="int8", calibration_count=7, output=tmp_path / "out", report=lines.append
    )
    assert any("7 photos from embedded clothing photos" in line for line in lines)
    assert made.manifest.calibration is not None
    assert made.manifest.calibration.photos == 7


def test_embedded_photos_are_drawn_by_the_seed() -> None:
    assert len(embedded.calibration_photos()) == embedded.CALIBRATION_PHOTOS
    drawn = [[str(path) for path in embedded.calibration_photos(10, seed).photos] for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_a_command_that_loads_openvino_sends_no_statistics(bundles: Path, few_photos: Path) -> None:
    photo = next(few_photos.rglob("*.jpg"))
    environment = {name: value for name, value in os.environ.items() if name not in ("CI", "KERAS_BACKEND")}
    done = subprocess.run(
        [sys.executable, "-c", LOADED, "predict", bundles / "openvino_int8", photo],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "loaded: []"
