"""The gate: statistics that hold, a ladder that stops where it should, and verdicts with their exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import Command, Once
from tests.networks import known
from xedge.bundle.reading import open_bundle
from xedge.errors import UNDECIDED, CheckError, InputError, UsageError
from xedge.metrics import drop, mcnemar
from xedge.models.compact import embedded
from xedge.quantization.gate import (
    Budget,
    Climb,
    Outcome,
    Rung,
    Scored,
    climb,
    judge,
    least_photos,
    selection_photos,
)
from xedge.types import FloatArray

FOLDER = Path(embedded.__file__).parent


def rows(answers: list[int]) -> FloatArray:
    return np.eye(3, dtype=np.float32)[answers] * 0.9 + 0.03


def test_mcnemar_is_exact() -> None:
    assert mcnemar(0, 0) == 1
    assert mcnemar(5, 5) == 1
    assert mcnemar(0, 5) == pytest.approx(2 / 2**5)
    assert mcnemar(1, 9) == pytest.approx(2 * 11 / 2**10)


def test_a_drop_has_an_interval_that_holds_it() -> None:
    truth = np.zeros(400, np.int64)
    artifact = rows([1] * 8 + [0] * 392)
    lost = drop(artifact, rows([0] * 400), truth)
    assert lost.points == pytest.approx(2.0)
    assert (lost.lost, lost.won) == (8, 0)
    low, high = lost.interval95
    assert 0.9 <= low <= 1.1  # Wilson's interval of 8 in 400 is 1.02 to 3.89
    assert 3.8 <= high <= 4.0
    assert lost.mcnemar_p == pytest.approx(2 / 2**8)
    same = drop(artifact, artifact, truth)
    assert (same.points, same.mcnemar_p) == (0.0, 1.0)
    assert same.interval95 == pytest.approx((-0.951, 0.951), abs=1e-3)


@pytest.mark.parametrize(
    ("wrong", "photos", "verdict", "holds"),
    [
        pytest.param(0, 2000, "met", True, id="met"),
        pytest.param(60, 2000, "not met", False, id="not met"),
        pytest.param(2, 400, "too few photos to decide", True, id="undecided"),
    ],
)
def test_a_verdict_says_what_the_interval_allows(wrong: int, photos: int, verdict: str, holds: bool) -> None:
    reference, got = rows([0] * photos), rows([1] * wrong + [0] * (photos - wrong))
    outcome = judge(Budget(min_agreement=0.99), got, reference, None)
    assert (outcome.verdict, outcome.holds) == (verdict, holds)


def test_the_worst_of_two_verdicts_counts() -> None:
    truth = np.zeros(2000, np.int64)
    got = rows([1] * 60 + [0] * 1940)
    outcome = judge(Budget(min_agreement=0.9, max_drop_points=1.0), got, rows([0] * 2000), truth)
    assert outcome.verdict == "not met"
    assert not outcome.holds


def climbed(wrong: list[int], time_s: float | None = None) -> Climb[int]:
    """A ladder whose rungs get so many of 100 photos wrong; each takes ten seconds."""
    seconds = iter(range(0, 10_000, 10))
    reference = rows([0] * 100)

    def rung(index: int) -> Rung[int]:
        got = rows([1] * wrong[index] + [0] * (100 - wrong[index]))
        return Rung(name=f"rung {index}", make=lambda: Scored(made=index, rows=got, ms=1.0))

    def judged(got: FloatArray) -> Outcome:
        return judge(Budget(min_agreement=0.95), got, reference, None)

    return climb(map(rung, range(len(wrong))), judged, time_s, lambda: float(next(seconds)), lambda one: None)


def test_the_climb_stops_at_the_first_rung_that_holds() -> None:
    got = climbed([20, 4, 0])
    assert (got.chosen, got.made, len(got.tries), got.out_of_time) == (1, 1, 2, False)


def test_the_climb_keeps_the_best_when_none_holds() -> None:
    got = climbed([20, 8, 12])
    assert (got.chosen, got.made, len(got.tries)) == (1, 1, 3)
    assert got.outcome.verdict == "too few photos to decide"
    assert not got.outcome.holds


def test_no_rung_begins_after_the_time_is_up() -> None:
    got = climbed([20, 8, 0], time_s=15)
    assert (got.chosen, len(got.tries), got.out_of_time) == (0, 1, True)


# The compact model as somebody's file, judged on its 372 test photos.
PHOTOS = (
    *("--precision", "int8", "--preprocess", "tf"),
    *("--calibration", FOLDER / "calibration", "--calibration-count", 20),
    *("--selection", FOLDER / "test", "--selection-count", 372),
)
SOMEBODYS = ("convert", FOLDER / "model.keras", *PHOTOS)


@pytest.mark.parametrize(
    ("budget", "least"),
    [
        (Budget(min_agreement=0.99), 381),
        (Budget(min_agreement=0.95), 73),
        (Budget(max_drop_points=1), 381),
        (Budget(max_drop_points=0.5, min_agreement=0.9), 765),
        (Budget(min_agreement=0), 1),
        (Budget(), 1),
    ],
)
def test_the_least_photos_are_met_without_a_change_and_one_fewer_are_not(budget: Budget, least: int) -> None:
    assert least_photos(budget) == least
    for photos, verdict in ((least, "met"), (least - 1, "too few photos to decide")):
        if photos:
            same = rows([0] * photos)
            assert judge(budget, same, same, np.zeros(photos, np.int64)).verdict == verdict
    assert selection_photos(budget) == max(300, 3 * least)


@pytest.mark.parametrize("budget", [Budget(min_agreement=1), Budget(max_drop_points=0)])
def test_no_number_of_photos_shows_that_none_is_lost(budget: Budget) -> None:
    assert least_photos(budget) is None
    assert selection_photos(budget) == 300


def test_as_many_selection_photos_are_taken_as_the_budget_needs(here: Command, tmp_path: Path) -> None:
    """Of 372 photos, 20 are calibrated on; 3 times 73 show 95 %, at least 300 are taken, and 99 % takes all."""
    known("xception")[0].save(tmp_path / "small.keras")
    shared = ("--target", "onnx", "--precision", "int8", "--preprocess", "tf", "--time-budget", "0.01s")
    photos = ("--calibration", FOLDER / "test", "--calibration-count", 20)
    for agreement, taken, words in ((95, 300, None), (99, 352, "at least 381 are needed")):
        out = tmp_path / str(agreement)
        command = ("convert", tmp_path / "small.keras", *shared, *photos, "--min-agreement", agreement, "--output", out)
        done = here(*command)
        assert done.returncode in (0, 8, 9), done.stderr
        gate = open_bundle(out).manifest.gate
        assert gate is not None
        assert gate.photos == taken
        assert "if the model was trained on them, they flatter" in done.stdout
        notes = [line for line in done.stdout.splitlines() if line.startswith("NOTE") and "selection photos" in line]
        assert (words in done.stdout) if words else not any("at least" in note for note in notes)


@pytest.fixture(scope="module")
def met(xedge: Command, once: Once) -> Path:
    """Bundles of all targets within a budget that int8 keeps, and what the command said."""

    def make(folder: Path) -> None:
        budget = ("--min-agreement", 95, "--max-drop", 5)
        done = xedge(*SOMEBODYS, "--target", "all", *budget, "--output", ".", cwd=folder)
        assert done.returncode == 0, done.stderr
        (folder / "said").write_text(done.stdout)

    return once("within_budget", make)


@pytest.mark.parametrize("target", ["tflite", "onnx", "openvino"])
def test_a_budget_that_int8_keeps_takes_int8(target: str, met: Path) -> None:
    gate = open_bundle(met / f"{target}_int8").manifest.gate
    assert gate is not None
    assert [rung.name for rung in gate.rungs] == ["int8"]
    assert (gate.photos, gate.verdict) == (372, "met")
    lines = (met / "said").read_text().splitlines()
    assert any(line.startswith(f"{target}_int8: ") and " met: int8" in line for line in lines)


@pytest.mark.slow
def test_a_budget_that_int8_misses_is_climbed_for(xedge: Command, tmp_path: Path) -> None:
    output = tmp_path / "bundle"
    done = xedge(*SOMEBODYS, "--target", "tflite", "--min-agreement", 99.9, "--output", output)
    assert done.returncode == UNDECIDED, done.stderr
    manifest = open_bundle(output).manifest
    gate = manifest.gate
    assert gate is not None
    names = [rung.name for rung in gate.rungs]
    assert names[:2] == ["int8", "int8, 1 worst in float"]
    assert gate.chosen == len(names) - 1
    assert gate.rungs[-1].agreement.agreement >= 0.999
    assert gate.rungs[0].agreement.agreement < 0.999
    assert manifest.precision == names[-1].split(",")[0]
    assert "too few photos to decide" in done.stdout


def test_out_of_time_the_best_is_kept_and_the_code_says_so(here: Command, tmp_path: Path) -> None:
    """Of a small network that was never trained: many of its photos lie near a tie, so that int8 changes some."""
    output = tmp_path / "bundle"
    known("xception")[0].save(tmp_path / "small.keras")
    budget = ("--min-agreement", 100, "--time-budget", "0.01s")
    done = here("convert", tmp_path / "small.keras", *PHOTOS, "--target", "onnx", *budget, "--output", output)
    assert done.returncode == CheckError.exit_code, done.stderr
    gate = open_bundle(output).manifest.gate
    assert gate is not None
    assert gate.out_of_time
    assert "left rungs untried" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        pytest.param(
            ("--precision", "fp16", "--max-drop", "1"), UsageError.exit_code, "add int8 to --precision", id="no int8"
        ),
        pytest.param(("--precision", "int8", "--max-drop", "1"), InputError.exit_code, "--selection", id="no photos"),
        pytest.param(
            ("--precision", "int8", "--max-drop", "1", "--selection", FOLDER / "test"),
            InputError.exit_code,
            "every photo is calibrated on or reported",
            id="no photos left",
        ),
    ],
)
def test_a_budget_without_photos_to_judge_it_on(
    options: tuple[object, ...], code: int, words: str, xedge: Command, tmp_path: Path
) -> None:
    done = xedge("convert", "--target", "tflite", *options, "--output", tmp_path / "bundle", "--json")
    assert done.returncode == code
    assert words in done.stderr
    assert not (tmp_path / "bundle").exists()
    assert not done.stdout or json.loads(done.stdout)
