"""``xedge analyze`` on the embedded default: every layer, by its name, with noise that adds up."""

from __future__ import annotations

import json
from math import log10

import pytest

from tests.conftest import Command


def test_analyze(xedge: Command) -> None:
    done = xedge("analyze", "--photos", 4, "--calibration-count", 20, "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
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
    assert 0.6 < sum(one["time"] for one in layers.values()) < 1
    equalized = [one for one in layers.values() if "sepconv" in one["layer"]]
    assert sum(one["spread"] for one in equalized) < sum(one["spread_before"] for one in equalized)


def test_analyze_of_tflite_takes_its_plan_and_knows_no_times(xedge: Command) -> None:
    done = xedge("analyze", "--target", "litert", "--photos", 2, "--calibration-count", 20, "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["target"] == "tflite"
    assert all(one["time"] is None for one in report["layers"])
    assert "block7_sepconv1" in {one["layer"] for one in report["layers"]}
    refused = xedge("analyze", "--target", "all")
    assert refused.returncode == 2
    assert "one target" in refused.stderr


def test_analyze_prints_the_noisiest_first(xedge: Command) -> None:
    done = xedge("analyze", "--photos", 2, "--calibration-count", 8, "--top", 3, "--quiet")
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines() if "%" in line]
    assert len(rows) == 3
    alone = [float(row[3]) for row in rows]
    assert alone == sorted(alone)
