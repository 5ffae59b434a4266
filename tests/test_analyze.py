"""``xedge analyze`` on the embedded default: every layer, by its name, with noise that adds up."""

from __future__ import annotations

import json
from collections.abc import Callable
from math import log10
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests import fabricated
from tests.conftest import CALIBRATION, Command
from tests.networks import known, xception_variant
from xedge.cli.analyze import text
from xedge.converters import find_target
from xedge.errors import InputError, UsageError
from xedge.inspection.analysis import _times


def test_analyze(document: Callable[[str], Path]) -> None:
    report = json.loads(document("analyze").read_text())
    layers = {one["layer"]: one for one in report["layers"]}
    assert {"block1_conv1", "block2_sepconv1", "block4_sepconv2"} <= set(layers)
    assert sum(one["multiply_accumulates"] for one in layers.values()) == pytest.approx(1)
    assert report["photos"] == 4
    # All layers together make more noise than any alone; weights and results make it between them, give or take
    # what they undo of each other.
    assert report["everything_db"] < min(one["alone_db"] for one in layers.values())
    parts = -10 * log10(10 ** (-report["weights_db"] / 10) + 10 ** (-report["activations_db"] / 10))
    assert report["everything_db"] == pytest.approx(parts, abs=3)
    for one in layers.values():
        assert one["weights_db"] > 20, one
        assert 0 <= one["clipped"] < 0.05, one
    # ONNX Runtime tells its times; what is left is pools, sums and the ends.
    assert all(one["time"] > 0 for one in layers.values())
    assert sum(one["time"] for one in layers.values()) < 1
    equalized = [one for one in layers.values() if "sepconv" in one["layer"]]
    assert sum(one["spread"] for one in equalized) < sum(one["spread_before"] for one in equalized)


def test_times_go_to_the_nodes_that_operations_are_named_after(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shares of a whole, of which what belongs to no node is left over."""
    times = {"conv1_conv_quant": 6.0, "conv1_conv": 1.0, "conv2": 2.0, "predictions/softmax": 0.5, "reorder": 0.5}
    session = SimpleNamespace(timed=lambda photo: [SimpleNamespace(name=n, ms=ms) for n, ms in times.items()])
    classifier = SimpleNamespace(session=session, input=lambda pixels: pixels)
    monkeypatch.setattr("xedge.inspection.analysis.manifest_of", lambda *given: None)
    monkeypatch.setattr("xedge.inspection.analysis.open_classifier", lambda *given: classifier)
    calibrated: Any = SimpleNamespace(subject=SimpleNamespace(golden_pixels=[None]))
    artifact: Any = SimpleNamespace(files=[Path("artifact.onnx")])
    shares = _times(calibrated, find_target("onnx"), artifact, known("padded")[1])
    expected = {"conv1_conv": 0.7, "conv2": 0.2, "predictions/softmax": 0.05, "": 0.05}
    assert shares == pytest.approx(expected)
    times.clear()
    assert _times(calibrated, find_target("onnx"), artifact, known("padded")[1]) == {}


def test_an_error_of_analyze_names_an_option_of_analyze(here: Command, few_photos: Path) -> None:
    done = here("analyze", "--calibration", few_photos, "--data", few_photos)
    assert done.returncode == InputError.exit_code
    assert "every photo is calibrated on or reported; give others with --data" in done.stderr
    assert "calibrate" not in done.stdout, "it is found out before the calibration"


def test_analyze_of_tflite_takes_its_plan_and_its_times(here: Command, tmp_path: Path) -> None:
    """Of a network with few layers, for each of them is rounded alone."""
    xception_variant(middle_blocks=0).save(tmp_path / "small.keras")
    model = (tmp_path / "small.keras", "--preprocess", "tf", "--calibration", CALIBRATION)
    done = here("analyze", *model, "--target", "litert", "--photos", 2, "--calibration-count", 8, "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["target"] == "tflite"
    # LiteRT's profiler counts whole microseconds, of which the smallest layers of this network take less than one.
    large = [one for one in report["layers"] if one["multiply_accumulates"] >= 0.05]
    assert len(large) >= 5
    assert all(one["time"] > 0 for one in large)
    assert all(one["time"] >= 0 for one in report["layers"])
    assert sum(one["time"] for one in report["layers"]) <= 1
    assert {"block2_sepconv1", "block4_sepconv2"} <= {one["layer"] for one in report["layers"]}
    refused = here("analyze", "--target", "all")
    assert refused.returncode == UsageError.exit_code
    assert "one is analyzed at a time" in refused.stderr


def test_the_noisiest_are_printed_first_and_a_layer_without_noise_last() -> None:
    report = fabricated.analysis()
    layers = [line.split() for line in text(report).splitlines() if "%" in line]
    assert [row[0] for row in layers] == ["block2_sepconv1", "predictions", "block1_conv1", "block2_sepconv2"]
    rows = [line.split() for line in text(report, top=3).splitlines() if "%" in line]
    assert len(rows) == 3
    alone = [float(row[3]) for row in rows]
    assert alone == sorted(alone)
    assert "everything" in text(report, top=3).splitlines()[-1]


def test_the_command_prints_so_many_layers(here: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xedge.cli.analyze.analyze", lambda **given: fabricated.analysis())
    done = here("analyze", "--top", 3, "--quiet")
    assert done.returncode == 0, done.stderr
    assert len([line for line in done.stdout.splitlines() if "%" in line]) == 3
