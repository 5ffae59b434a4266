"""Where the ranges of int8 come from: each photo or calibration, chosen by name or by the board."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import xedge
from tests.conftest import Command
from xedge.bundle.reading import open_bundle
from xedge.conversion.pipeline import Converted
from xedge.errors import UsageError
from xedge.measuring.rounds import Plan
from xedge.runtimes import Settings, choose_runtime
from xedge.runtimes.audit import audit
from xedge.vocabulary import BOARD_RANGES

RESIDUAL_SUMS = 6


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> dict[str | None, Converted]:
    """The compact default with each kind of ranges, by its name."""
    folder = tmp_path_factory.mktemp("ranges")
    made = xedge.convert(target="tflite", precision="int8", ranges="all", output=folder)
    return {one.manifest.recipe.ranges: one for one in made}


def executed(bundle: Path) -> dict[str, int]:
    """Return how often the runtime executes each operation, by its name and the type of its result."""
    artifact = open_bundle(bundle).artifact
    return audit(choose_runtime(artifact).open(artifact, Settings(threads=1))).kinds


def test_each_kind_has_its_folder_and_says_what_it_is(both: dict[str | None, Converted]) -> None:
    assert {one.path.name: kind for kind, one in both.items()} == {"tflite_int8": "photo", "tflite_int8_fixed": "fixed"}
    assert "ranges of each photo" in str(both["photo"].manifest.recipe.activations)
    assert "residual sums in integers" in str(both["fixed"].manifest.recipe.activations)
    assert both["fixed"].manifest.artifact_name == "tflite int8 fixed"


def test_fixed_ranges_leave_only_the_tail_in_float(both: dict[str | None, Converted]) -> None:
    fixed, photo = (executed(both[kind].path) for kind in ("fixed", "photo"))
    # In both, one more sum moves the photo before it is rounded.
    assert fixed["ADD int8"] == photo["ADD float32"] - 1 == RESIDUAL_SUMS
    assert fixed["ADD float32"] == 1
    assert "ADD int8" not in photo
    assert not [name for name in fixed if re.match(r"(CONV_2D|DEPTHWISE_CONV_2D|MAX_POOL_2D|RELU) float32", name)]


def test_both_keep_the_accuracy(both: dict[str | None, Converted]) -> None:
    for kind, least in (("photo", 0.985), ("fixed", 0.97)):
        accuracy = both[kind].manifest.accuracy
        assert accuracy is not None
        assert accuracy.agreement is not None
        assert accuracy.agreement.agreement >= least


@pytest.mark.parametrize(("board", "ranges"), BOARD_RANGES.items())
def test_a_board_chooses_its_ranges(board: str, ranges: str, few_photos: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"target": "tflite", "calibration_count": 5, "data": few_photos}
    (made,) = xedge.convert(**options, precision="int8", board=board, output=tmp_path / "b")
    assert made.manifest.recipe.ranges == ranges


def test_targets_without_a_choice_say_nothing_of_it(few_photos: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"target": "onnx", "calibration_count": 5, "data": few_photos}
    (made,) = xedge.convert(**options, precision="int8", ranges="fixed", output=tmp_path / "b")
    assert made.manifest.recipe.ranges is None
    assert made.manifest.artifact_name == "onnx int8"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"precision": "fp32", "ranges": "fixed"}, "ranges is about int8; add int8 to precision"),
        ({"precision": "fp32", "board": "pi4"}, "board is about int8"),
        ({"precision": "int8", "ranges": "fixed", "board": "pi4"}, "board chooses ranges; give one of them"),
        ({"precision": "int8", "ranges": "foto"}, "there is no ranges 'foto'|did you mean photo|photo, fixed"),
        ({"precision": "int8", "board": "pi9"}, "pi3, pi4, pi5, jetson, x86"),
        ({"precision": "int8", "ranges": "photo", "io": "int8"}, "leave out io int8"),
    ],
)
def test_a_choice_without_effect_is_refused(options: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=words):
        xedge.convert(target="tflite", output=tmp_path / "b", **options)
    assert not (tmp_path / "b").exists()


def test_ranges_of_each_photo_are_refused_where_no_target_has_them(xedge: Command, tmp_path: Path) -> None:
    done = xedge("convert", "--target", "onnx,openvino", "--precision", "int8", "--ranges", "photo", cwd=tmp_path)
    assert done.returncode == 2
    assert "--ranges: ranges of each photo are for tflite; onnx, openvino has fixed ranges" in done.stderr


@pytest.mark.slow
def test_benchmark_measures_both(tmp_path: Path) -> None:
    plan = Plan(rounds=1, runs=5, limit=20)
    found = xedge.benchmark(target="tflite", precision="fp32,int8", output=tmp_path, plan=plan)
    assert [row.name for row in found.rows] == ["tflite fp32", "tflite int8", "tflite int8 fixed"]
    assert all(row.measured is not None for row in found.rows)
