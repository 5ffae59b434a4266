"""The commands as a user types them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import Command
from xedge.models.compact import embedded
from xedge.photos.camera import camera_photo
from xedge.vocabulary import PRECISIONS


def test_help_imports_no_framework() -> None:
    heavy = "{'tensorflow', 'keras', 'onnx', 'onnxruntime', 'openvino', 'ai_edge_litert', 'numpy'}"
    code = f"import sys; from xedge.cli.parser import parser; parser(); assert not {heavy} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_default_keeps_its_accuracy(xedge: Command, bundles: Path, precision: str) -> None:
    done = xedge("run", bundles / f"tflite_{precision}", "--runs", 70, "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["accuracy"]["photos"] == 372
    assert report["accuracy"]["top1"] >= 0.85
    assert report["latency"]["samples"] == 70
    assert report["latency"]["p99_ms"] is None


def test_a_changed_file_is_refused(xedge: Command, bundles: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(bundles / "tflite_int8", copy)
    (copy / "labels.txt").write_text("other\n")
    done = xedge("run", copy)
    assert done.returncode == 5
    assert "labels.txt" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        pytest.param(("convert", "nothing.keras", "--target", "tflite"), 3, "no such model file", id="no file"),
        pytest.param(("convert", "xeption", "--target", "tflite"), 2, "did you mean xception", id="no such name"),
        pytest.param(("convert", "--target", "tflte"), 2, "did you mean tflite", id="no such target"),
        pytest.param(("convert", "--target", "tflite", "--precision", "int4"), 2, "int8", id="no such precision"),
        pytest.param(("convert", "xception", "--target", "tflite"), 2, "--weights", id="no weights"),
        pytest.param(("run", "nothing"), 3, "no such bundle", id="no bundle"),
    ],
)
def test_errors_are_one_line(xedge: Command, tmp_path: Path, arguments: tuple[str, ...], code: int, words: str) -> None:
    done = xedge(*arguments, cwd=tmp_path)
    assert done.returncode == code
    assert words in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_predict_takes_folders_patterns_and_cameras(here: Command, bundles: Path, tmp_path: Path) -> None:
    bundle = bundles / "tflite_int8"
    for label in ("pants", "hat"):
        (tmp_path / "photos" / label).mkdir(parents=True)
        for photo in sorted((embedded.ROOT / "test" / label).glob("*.jpg"))[:2]:
            shutil.copy(photo, tmp_path / "photos" / label / photo.name)

    def photos(*words: object) -> list[str]:
        done = here("predict", bundle, *words, "--json", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return [one["photo"] for one in json.loads(done.stdout)]

    assert photos("photos") == photos("photos/hat", "photos/pants") == photos("photos/*/*.jpg") != []
    assert photos("photos/**/*.jpg") == photos("photos")
    lines = here("predict", bundle, "photos", cwd=tmp_path).stdout.splitlines()
    assert len(lines) == 4
    assert len({line.index(" %") for line in lines}) == 1
    for word, words in (("x/*.jpg", "no file matches this pattern"), ("62", "camera 62: cannot be opened")):
        done = here("predict", bundle, word, cwd=tmp_path)
        assert done.returncode == 3
        assert words in done.stderr


def test_a_frame_is_read_in_rgb(tmp_path: Path) -> None:
    """A video of red frames stands for a camera, which OpenCV reads in the same way."""
    import cv2

    red = np.zeros((48, 64, 3), np.uint8)
    red[..., 2] = 255  # OpenCV has blue first
    video = cv2.VideoWriter(str(tmp_path / "red.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    for _ in range(5):
        video.write(red)
    video.release()
    photo = camera_photo(str(tmp_path / "red.avi"))
    assert photo.shape == (48, 64, 3)
    assert photo[..., 0].min() > 200
    assert photo[..., 1:].max() < 60


def test_predict_names_the_class(xedge: Command, bundles: Path) -> None:
    from xedge.models.compact import embedded

    photo = next(file for file in embedded.test_photos().files if file.parent.name == "pants")
    done = xedge("predict", bundles / "tflite_int8", photo, "--json")
    assert json.loads(done.stdout)[0]["classes"][0]["label"] == "pants"


def test_the_documented_exit_codes_are_the_programs() -> None:
    from xedge.errors import EXIT_CODES

    documented = (Path(__file__).parent.parent / "docs" / "exit-codes.md").read_text()
    for code, meaning in EXIT_CODES.items():
        assert f"| {code} | {meaning} |" in documented


def test_integers_at_both_ends_keep_the_accuracy(xedge: Command, integers: Path) -> None:
    manifest = json.loads((integers / "manifest.json").read_text())
    assert (manifest["input"]["dtype"], manifest["output"]["dtype"]) == ("int8", "int8")
    assert (manifest["input"]["zero_point"], manifest["preprocessing"]["offset"]) == (-128, [0.0])
    assert manifest["accuracy"]["artifact"]["top1"] >= 0.85
    assert xedge("run", integers, "--runs", 3).returncode == 0
