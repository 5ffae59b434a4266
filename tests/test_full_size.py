"""The real thing: the 84 MB Xception, on real photos."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conftest import Command
from xedge.vocabulary import PRECISIONS

pytestmark = pytest.mark.full_size


def test_every_precision_keeps_the_accuracy(xedge: Command, shared: Path, tmp_path: Path) -> None:
    """Float top-1 is 0.9059 on these 372 photos; TFLiteConverter's int8 has 0.1452 (shared quantization.md)."""
    clothing = shared / "clothing"
    done = xedge(
        *("convert", shared / "xception_clothing.keras", "--target", "tflite", "--precision", "all"),
        *("--calibration", clothing / "train", "--data", clothing / "test", "--output", tmp_path, "--json"),
        timeout=900,
    )
    assert done.returncode == 0, done.stderr
    made = {one["manifest"]["precision"]: one["manifest"]["accuracy"] for one in json.loads(done.stdout)}
    assert list(made) == list(PRECISIONS)
    for precision, accuracy in made.items():
        assert accuracy["reference"]["top1"] == pytest.approx(0.9059, abs=0.0001)
        assert accuracy["artifact"]["top1"] >= 0.9059 - 2 / 372, precision
        assert accuracy["agreement"]["agreement"] >= (0.98 if precision in ("dynamic", "int8") else 0.997), precision
    ran = xedge("run", tmp_path / "tflite_int8", "--data", clothing / "test", "--limit", 50, "--runs", 10, "--json")
    assert json.loads(ran.stdout)["execution"]["partitions"] == 1
