"""Runs side by side: what differs, what is noise, and what cannot be compared."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from math import exp, log
from pathlib import Path
from statistics import stdev
from typing import Any

import numpy as np
import pytest

import xedge
from tests import fabricated
from tests.conftest import Command
from xedge.api.compare import read_runs
from xedge.api.documents import read_document
from xedge.codec import from_json, to_json
from xedge.errors import InputError, UsageError
from xedge.measuring.comparison import _unpaired, compare_runs, latency_difference, names_of
from xedge.measuring.report import RunReport
from xedge.measuring.rounds import Measured, Plan
from xedge.metrics import mean95
from xedge.quantization.gate import Budget


@pytest.fixture(scope="module")
def runs() -> tuple[RunReport, RunReport]:
    """A float run and an int8 run of the same photos, which differ in three answers."""
    return fabricated.run(), fabricated.int8_run()


def alone(run: RunReport) -> Measured:
    return fabricated.in_turns(run)


def slowed(run: RunReport, factor: float) -> Measured:
    return alone(replace(run, samples_ns=tuple(int(sample * factor) for sample in run.samples_ns)))


def test_a_run_comes_back_as_it_was(document: Callable[[str], Path]) -> None:
    """What the command really wrote."""
    written = json.loads(document("run_fp32").read_text())
    read = read_document(document("run_fp32"))
    assert to_json(read) == written
    assert written["schema"] == "xedge.run/2"
    assert from_json(RunReport, written) == read


def test_a_run_beside_itself_is_within_noise(runs: tuple[RunReport, RunReport]) -> None:
    found = compare_runs([alone(runs[0]), alone(runs[0])]).versus[0]
    assert found.accuracy is not None
    assert found.latency is not None
    assert (found.accuracy.points, found.accuracy.mcnemar_p, found.accuracy.agreement) == (0, 1, 1)
    assert found.latency.ratio == 1
    assert (found.accuracy.judgement, found.latency.judgement) == ("within noise", "within noise")


def test_a_clear_difference_of_time_is_told(runs: tuple[RunReport, RunReport]) -> None:
    for factor, judgement in ((3.0, "worse"), (1 / 3, "better")):
        found = latency_difference(slowed(runs[0], factor), alone(runs[0]))
        assert found.ratio == pytest.approx(factor, rel=0.01)
        assert found.judgement == judgement
        assert not found.in_turns
        low, high = found.interval95
        assert low < found.ratio < high


def test_a_difference_as_small_as_between_two_processes_is_noise(runs: tuple[RunReport, RunReport]) -> None:
    assert latency_difference(slowed(runs[0], 1.1), alone(runs[0])).judgement == "within noise"


def test_turns_are_compared_turn_by_turn(runs: tuple[RunReport, RunReport]) -> None:
    """The machine slows down by half from turn to turn, and yet a tenth of difference shows."""
    ours, theirs = (1.1, 1.64, 2.21, 3.29), (1.0, 1.5, 2.0, 3.0)
    pair = Measured(run=runs[1], rounds_ms=ours), Measured(run=runs[0], rounds_ms=theirs)
    found = latency_difference(*pair)
    logs = [log(a / b) for a, b in zip(ours, theirs, strict=True)]
    assert found.in_turns
    assert found.ratio == pytest.approx(exp(np.mean(logs)))
    # Student's t with 3 degrees of freedom: 3.182.
    half = 3.182 * np.std(logs, ddof=1) / 2
    assert found.interval95 == pytest.approx((exp(np.mean(logs) - half), exp(np.mean(logs) + half)))
    assert found.judgement == "worse"


def test_photos_are_paired_by_name_and_not_by_place(runs: tuple[RunReport, RunReport]) -> None:
    first, other = runs
    assert other.answers is not None
    order = np.random.default_rng(0).permutation(len(other.answers.photos))

    def shuffled(values: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(values[i] for i in order)

    answers = other.answers
    mixed = replace(
        answers,
        photos=shuffled(answers.photos),
        truth=shuffled(answers.truth),
        first=shuffled(answers.first),
        probability=shuffled(answers.probability),
    )
    straight = compare_runs([alone(first), alone(other)])
    assert compare_runs([alone(first), alone(replace(other, answers=mixed))]) == straight
    found = straight.versus[0].accuracy
    assert found is not None
    assert found.agreement is not None
    assert found.agreement >= 0.98
    before, after = (side.top1 for side in straight.sides)
    assert before is not None
    assert after is not None
    assert found.points == pytest.approx(100 * (after - before))


def test_other_photos_are_no_pairs(runs: tuple[RunReport, RunReport]) -> None:
    assert runs[1].answers is not None
    other = replace(runs[1], answers=replace(runs[1].answers, photos_sha256="0" * 64))
    found = compare_runs([alone(runs[0]), alone(other)])
    accuracy = found.versus[0].accuracy
    assert accuracy is not None
    assert accuracy.mcnemar_p is None
    assert accuracy.agreement is None
    assert any("not scored on the same photos" in note for note in found.notes)


def test_the_interval_of_unpaired_shares_is_newcombes() -> None:
    """Newcombe, 1998, table II, example (a): 56/70 against 48/80, method 10: 0.0524 to 0.3339."""

    found = _unpaired(fabricated.share(56, 70), fabricated.share(48, 80))
    assert found.points == pytest.approx(20)
    assert found.interval95 == pytest.approx((5.24, 33.39), abs=0.01)
    assert found.judgement == "better"


def test_timings_of_other_boards_are_not_compared_unless_asked(runs: tuple[RunReport, RunReport]) -> None:
    elsewhere = replace(
        runs[1], board=replace(runs[1].board, model="Raspberry Pi 5 Model B Rev 1.0", machine="aarch64")
    )
    found = compare_runs([alone(runs[0]), alone(elsewhere)])
    assert found.versus[0].latency is None
    assert found.versus[0].accuracy is not None
    assert any("not compared for runs on another board" in note for note in found.notes)
    assert compare_runs([alone(runs[0]), alone(elsewhere)], across=True).versus[0].latency is not None


def test_equal_bundles_get_names_of_their_own(runs: tuple[RunReport, RunReport]) -> None:
    pi = replace(runs[0], board=replace(runs[0].board, model="Raspberry Pi 5"))
    assert len(set(names_of([runs[0], pi, runs[0], runs[1]]))) == 4
    assert names_of([runs[0], runs[1]]) == ["tflite_fp32", "tflite_int8"]


@pytest.mark.parametrize(
    ("options", "code", "verdict"),
    [
        (("--max-drop", 5, "--min-agreement", 90), 0, "met"),
        (("--min-agreement", 100), 8, "not met"),
        (("--max-drop", 0.4), 9, "too few photos to decide"),
    ],
)
def test_a_budget_against_the_first_run_is_an_exit_code(
    options: tuple[object, ...], code: int, verdict: str, here: Command, document: Callable[[str], Path]
) -> None:
    done = here("compare", document("run_fp32"), document("run_int8"), *options)
    assert done.returncode == code, done.stdout + done.stderr
    assert f") {verdict}" in done.stdout
    found = json.loads(here("compare", document("run_fp32"), document("run_int8"), *options, "--json").stdout)
    assert [one["verdict"] for one in found["versus"]] == [verdict]


def test_a_budget_needs_what_it_is_judged_by(runs: tuple[RunReport, RunReport], bundles: Path, tmp_path: Path) -> None:
    unscored = replace(runs[1], accuracy=None, answers=None, confusion=None)
    with pytest.raises(InputError, match="max_drop_points needs runs that were scored on labelled photos"):
        compare_runs([alone(runs[0]), alone(unscored)], budget=Budget(max_drop_points=1))
    assert runs[1].answers is not None
    elsewhere = replace(runs[1], answers=replace(runs[1].answers, photos_sha256="0" * 64))
    with pytest.raises(InputError, match="min_agreement needs the answers of both runs to the same photos"):
        compare_runs([alone(runs[0]), alone(elsewhere)], budget=Budget(min_agreement=0.9))
    unpaired = compare_runs([alone(runs[0]), alone(elsewhere)], budget=Budget(max_drop_points=10))
    assert unpaired.verdicts == ("met",)
    stranger = tmp_path / "stranger"
    shutil.copytree(bundles / "tflite_fp32", stranger)
    manifest = json.loads((stranger / "manifest.json").read_text())
    manifest["model"]["file_sha256"] = "0" * 64
    (stranger / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(InputError, match="a budget needs labelled photos"):
        xedge.compare(stranger, stranger, max_drop_points=1)


def test_the_command_on_files_and_on_bundles(xedge: Command, document: Callable[[str], Path], bundles: Path) -> None:
    done = xedge("compare", document("run_fp32"), document("run_int8"), "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert [side["name"] for side in found["sides"]] == ["tflite_fp32", "tflite_int8"]
    assert found["versus"][0]["accuracy"]["agreement"] >= 0.98
    turns = ("--rounds", 3, "--runs", 10, "--limit", 20)
    done = xedge("compare", bundles / "onnx_fp32", bundles / "onnx_int8", *turns, "--markdown")
    assert done.returncode == 0, done.stderr
    assert "| against onnx_fp32 |" in done.stdout
    words = xedge("compare", document("run_fp32"), bundles / "onnx_int8", "--rounds", 1, "--runs", 10).stdout
    assert "McNemar p" in words


def test_a_bundle_beside_itself_is_run_twice(bundles: Path) -> None:
    found = xedge.compare(
        bundles / "tflite_int8", bundles / "tflite_int8", plan=Plan(rounds=3, runs=10, data=None, limit=5)
    )
    first, second = found.sides
    assert (first.name, second.name) == ("tflite_int8 #1", "tflite_int8 #2")
    assert first.rounds_ms != second.rounds_ms
    assert found.versus[0].latency is not None
    assert found.versus[0].latency.in_turns


def damaged(change: Callable[[dict[str, Any]], object]) -> Callable[[dict[str, Any]], str]:
    def text(document: dict[str, Any]) -> str:
        change(document)
        return json.dumps(document)

    return text


NO_RUNS = {
    "cut off": (lambda _: "{", "is not JSON"),
    "a list": (lambda _: "[]", "is a list"),
    "without a schema": (lambda _: "{}", r"\$.schema is missing"),
    "of a later version": (damaged(lambda d: d.update(schema="xedge.run/99")), "does not read"),
    "without a median": (damaged(lambda d: d["latency"].pop("p50_ms")), r"\$.latency.p50_ms: is missing"),
    "without samples": (damaged(lambda d: d.update(samples_ns=[])), "without samples"),
    "a photo too few": (damaged(lambda d: d["answers"]["photos"].pop()), "must have the same length"),
    "labels too few": (damaged(lambda d: d["answers"].update(labels=["one"])), "index of a label"),
    "words for a time": (
        damaged(lambda d: d.update(samples_ns=["fast"])),
        r"\$.samples_ns\[0\]: should be a whole number",
    ),
}


@pytest.mark.parametrize(("text", "words"), NO_RUNS.values(), ids=NO_RUNS)
def test_files_that_are_no_runs(
    text: Callable[[dict[str, Any]], str], words: str, runs: tuple[RunReport, RunReport], tmp_path: Path
) -> None:
    path = tmp_path / "run.json"
    path.write_text(text(to_json(runs[0])))
    with pytest.raises(InputError, match=words):
        read_runs(path)


def test_runs_are_taken_from_every_document_that_holds_some(runs: tuple[RunReport, RunReport], tmp_path: Path) -> None:
    there = fabricated.written(tmp_path / "there.json", fabricated.remote_run(*runs))
    assert [one.run for one in read_runs(there)] == list(runs)
    rows = (fabricated.row("tflite", "fp32", (1.0, 1.1)), fabricated.failed_row("tflite", "int8"))
    table = fabricated.written(tmp_path / "benchmark.json", fabricated.benchmark(*rows))
    assert [one.rounds_ms for one in read_runs(table)] == [(1.0, 1.1)]
    verified = fabricated.written(tmp_path / "verify.json", fabricated.verification())
    with pytest.raises(InputError, match=r"xedge\.verify/2"):
        read_runs(verified)


def test_too_few_and_missing_runs(runs: tuple[RunReport, RunReport], tmp_path: Path) -> None:
    run = fabricated.written(tmp_path / "run.json", runs[0])
    with pytest.raises(UsageError, match="at least two runs"):
        xedge.compare(run)
    with pytest.raises(InputError, match="no such"):
        xedge.compare(run, tmp_path / "nothing.json")
    with pytest.raises(xedge.XedgeError, match=r"not a bundle|manifest"):
        xedge.compare(run, tmp_path)


@pytest.mark.parametrize(
    ("values", "point"),
    [(2, 12.706), (6, 2.571), (12, 2.201), (21, 2.086), (121, 1.980)],
    ids=["2 values", "6 values", "12 values", "21 values", "121 values"],
)
def test_the_interval_of_a_mean_is_student_s(values: int, point: float) -> None:
    """The points of the printed table, for one degree of freedom less than there are values."""
    middle, low, high = mean95([float(i % 2) for i in range(values)])
    error = stdev([float(i % 2) for i in range(values)]) / values**0.5
    assert middle == pytest.approx((low + high) / 2)
    assert (high - middle) / error == pytest.approx(point, abs=0.001)
