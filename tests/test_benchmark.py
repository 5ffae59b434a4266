"""Every target and precision in one table, and the recommendation."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

import xedge
from tests import fabricated
from tests.conftest import Command
from xedge.api.documents import read_document
from xedge.cli.benchmark import text
from xedge.measuring.recommendation import BenchmarkReport, beside_float, recommend
from xedge.measuring.rounds import Plan
from xedge.measuring.verdict import Verdict

TURNS = ("--rounds", 3, "--runs", 25, "--limit", 60)


@pytest.fixture(scope="module")
def written(xedge: Command, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A benchmark's JSON, and what it printed; one of its rows cannot be made."""
    path = tmp_path_factory.mktemp("benchmark") / "benchmark.json"
    done = xedge(
        *("benchmark", "--target", "tflite,tensorrt", "--precision", "fp32,dynamic,int8", *TURNS, "--json", path)
    )
    assert done.returncode == 0, done.stderr
    return path, done.stdout


@pytest.fixture(scope="module")
def report(written: tuple[Path, str]) -> BenchmarkReport:
    found: BenchmarkReport = read_document(written[0])
    return found


@pytest.mark.slow
def test_every_pair_has_a_row(report: BenchmarkReport, written: tuple[Path, str]) -> None:
    precisions = {"tflite": ("fp32", "dynamic", "int8", "int8 fixed"), "tensorrt": ("fp32", "dynamic", "int8")}
    assert [row.name for row in report.rows] == [f"{t} {p}" for t, made in precisions.items() for p in made]
    failed = [row for row in report.rows if row.error is not None]
    assert [(row.target, row.precision) for row in failed] == [("tensorrt", "dynamic")]
    for row in report.rows:
        if row.measured is not None:
            assert len(row.measured.rounds_ms) == 3
            assert row.measured.run.latency.samples == 75
            assert row.measured.run.accuracy is not None
            assert row.measured.run.accuracy.photos == 60
            assert row.points is not None
    words = written[1]
    assert "tensorrt dynamic failed:" in words
    for column in ("format", "status", "size, MB", "top-1", "ms", "FPS"):
        assert column in words
    assert "On this machine take" in words


@pytest.mark.slow
def test_peak_memory_is_the_runs_own(report: BenchmarkReport) -> None:
    """A process starts with the peak of the one that started it in getrusage's eyes, and converting takes 400 MB."""
    for row in report.rows:
        if row.measured is not None:
            assert row.measured.run.peak_memory_bytes < 300e6


@pytest.mark.slow
def test_what_is_recommended_keeps_the_accuracy_and_is_fastest(report: BenchmarkReport) -> None:
    chosen = report.recommendation
    assert chosen is not None
    row = next(r for r in report.rows if r.name == chosen.name)
    assert row.points is not None
    assert row.points >= -1.0


def test_a_fast_one_that_loses_is_not_recommended() -> None:
    slow = fabricated.row("tflite", "fp32", (2.0, 2.01, 2.02), points=0.0, accuracy="within noise")
    middle = fabricated.row("tflite", "dynamic", (1.0, 1.01, 1.02), points=-0.4, accuracy="within noise")
    losing = fabricated.row("tflite", "int8", (0.5, 0.501, 0.502), points=-9.0, accuracy="worse")
    found = recommend([slow, middle, losing])
    assert found is not None
    assert found.precision == "dynamic"
    assert any("lose accuracy: tflite int8" in reason for reason in found.reasons)
    tolerant = recommend([slow, middle, replace(losing, accuracy="within noise")], tolerated_points=10)
    assert tolerant is not None
    assert tolerant.precision == "int8"


def test_of_those_as_fast_within_noise_the_smallest_is_taken() -> None:
    large = fabricated.row("tflite", "fp32", (1.0, 1.05, 0.99), points=0.0, accuracy="within noise")
    small = fabricated.row("tflite", "int8", (1.02, 1.0, 1.04), points=0.0, accuracy="within noise")
    found = recommend([large, small])
    assert found is not None
    assert found.precision == "int8"


def test_without_accuracy_nothing_quantized_is_promised() -> None:
    slow = fabricated.row("tflite", "fp32", (2.0, 2.01, 2.02))
    fast = fabricated.row("tflite", "int8", (1.0, 1.01, 1.02))
    found = recommend([slow, fast])
    assert found is not None
    assert found.precision == "fp32"
    assert any("accuracy was not measured" in reason for reason in found.reasons)
    assert recommend([]) is None


def test_rows_are_held_against_the_first_fp32_that_ran() -> None:
    failed = fabricated.failed_row("tflite", "fp32")
    whole = fabricated.row("onnx", "fp32")
    changed = fabricated.row("onnx", "int8", measured=fabricated.in_turns(fabricated.int8_run(), (1.0,)))
    first, reference, other = beside_float([failed, whole, changed])
    assert (first.points, first.accuracy) == (None, None)
    assert (reference.points, reference.accuracy) == (0.0, "within noise")
    assert other.points == pytest.approx(-100 * len(fabricated.CHANGED_BY_INT8) / len(fabricated.photos().files))
    assert other.accuracy == "within noise"


def test_the_table_tells_failures_verdicts_and_the_recommendation() -> None:
    """The words of the command, for a benchmark in which everything happens that can."""
    shaky = Verdict(valid=False, reasons=("load: other processes had 25 % of the cores' time meanwhile",))
    valid = fabricated.row("tflite", "fp32", (2.0, 2.01, 2.02), points=0.0, accuracy="within noise")
    run = fabricated.run(1.0, bundle="tflite_int8", precision="int8", accuracy=None, answers=None, verdict=shaky)
    invalid = fabricated.row("tflite", "int8", measured=fabricated.in_turns(run, (1.0, 1.01, 1.02)))
    rows = (valid, invalid, fabricated.failed_row("tensorrt", "dynamic", "tensorrt has no dynamic"))
    words = text(fabricated.benchmark(*rows, rounds=3, recommendation=recommend(rows)))
    for column in ("format", "status", "size, MB", "top-1", "ms", "FPS"):
        assert column in words
    assert "tensorrt dynamic failed: tensorrt has no dynamic" in words
    assert "INVALID: these latencies should not be quoted\n  - load: tflite int8" in words
    assert "On this machine take tflite fp32" in words


@pytest.mark.slow
def test_bundles_are_kept_where_asked_and_a_single_one_too(tmp_path: Path) -> None:
    found = xedge.benchmark(target="tflite", precision="int8", output=tmp_path, plan=Plan(rounds=1, runs=5, limit=5))
    assert found.rows[0].bundle is not None
    assert json.loads((Path(found.rows[0].bundle) / "manifest.json").read_text())["precision"] == "int8"


@pytest.mark.slow
def test_a_page_that_cannot_be_written_takes_no_figures_with_it(xedge: Command, tmp_path: Path) -> None:
    path, turns = tmp_path / "benchmark.json", ("--rounds", 1, "--runs", 5, "--limit", 5, "--report", "/dev/full")
    done = xedge("benchmark", "--target", "tflite", "--precision", "fp16", *turns, "--json", path)
    assert done.returncode == 7
    assert "no space left" in done.stderr
    assert "On this machine take tflite fp16" in done.stdout
    assert read_document(path).rows[0].measured is not None


@pytest.mark.slow
def test_options_of_the_photos_reach_every_run_and_the_command_that_makes_the_bundle(
    xedge: Command, few_photos: Path, tmp_path: Path
) -> None:
    """The classes come from a file, and the photos are resized as Keras does it."""
    photos, truth = tmp_path / "photos", tmp_path / "truth.csv"
    photos.mkdir()
    rows = []
    for file in sorted(few_photos.rglob("*.jpg")):
        shutil.copy(file, photos)
        rows.append(f"{file.name},{file.parent.name}")
    truth.write_text("\n".join(["file,label", *rows]) + "\n")
    given = ("--data", photos, "--truth", truth, "--resize", "keras", "--exif")
    turns = ("--rounds", 1, "--runs", 5)
    found = xedge(
        "benchmark", "--target", "tflite", "--precision", "fp32", *given, *turns, "--json", tmp_path / "b.json"
    )
    assert found.returncode == 0, found.stderr
    (row,) = read_document(tmp_path / "b.json").rows
    assert row.measured.run.accuracy.photos == len(rows)
    assert f"--data {photos} --truth {truth} --resize keras --exif" in found.stdout
