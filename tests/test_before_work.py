"""What a command sees to before its work: that the result can be written, that options fit, that nothing is sent."""

from __future__ import annotations

import os
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
