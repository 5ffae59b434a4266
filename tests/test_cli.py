"""The commands as a user types them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import Command
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
