"""Budgets in a file: what is refused, what is judged how, and every form in which the verdicts are told."""

from __future__ import annotations

import json
import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import jsonschema
import keras
import numpy as np
import pytest
from junitparser import Error, Failure, JUnitXml, Skipped
from PIL import Image

import xedge
from tests.conftest import Command, Once
from tests.test_onnx_library import attention
from xedge.checking.badge import COLOURS, badge
from xedge.checking.baseline import find_baselines
from xedge.checking.config import read_config
from xedge.checking.draft import provable_agreement, provable_drop
from xedge.checking.judging import Budgets, closeness, judge_closeness, judged, skipped, worst
from xedge.checking.junit import junit
from xedge.checking.report import CheckedBundle, CheckReport
from xedge.checking.summary import summary
from xedge.cli.check import _all_of
from xedge.errors import InputError, ResourceError
from xedge.metrics import paired_interval, wilson

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
FLOAT = """
targets = ["tflite"]
precisions = ["fp32"]
"""


def written(folder: Path, text: str) -> Path:
    file = folder / "xedge.toml"
    file.write_text(text)
    return file


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("targets = = 3", "is not TOML.*line 1"),
        ('targets = ["tflite"]', 'precisions: is missing; write precisions = ."int8".'),
        ('target = ["tflite"]', "target: unknown key 'target'; did you mean targets"),
        ('targets = 3\nprecisions = ["int8"]', "targets: should be a list of names, but is 3"),
        ('targets = ["tflit"]\nprecisions = ["int8"]', "did you mean tflite"),
        ('targets = ["tflite"]\nprecisions = ["int4"]', "unknown precision 'int4'"),
        ('targets = ["tensorrt"]\nprecisions = ["dynamic"]', "tensorrt has no dynamic.*take one of them out"),
        (FLOAT, "budget: has no limit"),
        (FLOAT + "[budget]\nmax_drop = 1", "budget.max_drop: unknown key.*did you mean max_drop_points"),
        (FLOAT + "[budget]\nmax_drop_points = '1'", "budget.max_drop_points: should be a number, but is '1'"),
        (FLOAT + "[budget]\nmax_drop_points = true", "budget.max_drop_points: should be a number"),
        (FLOAT + "[budget]\nmax_drop_points = nan", "a finite number"),
        (FLOAT + "[budget]\nmax_drop_points = -1", "max_drop_points = -1: .* give a number from 0 to 100"),
        (FLOAT + "[budget]\nmin_agreement_percent = 101", "give a number from 0 to 100"),
        (FLOAT + "[budget]\nmin_agreement_percent = 100", "no number of photos can show it"),
        (FLOAT + "[budget]\nmax_total_variation = 2", "give a number from 0 to 1"),
        (FLOAT + "[budget]\nmax_size_mb = 0", "give a number above 0"),
        (FLOAT + "[budget]\nmax_latency_ratio = 1.1", "budget.max_latency_ratio: compares with a baseline"),
        (FLOAT + "[budget]\nint8 = 3", "budget.int8: should be a table"),
        (FLOAT + "[budget.int8]\nmax_size_mb = 1", "budget.int8: no bundle has this precision"),
        (FLOAT + "budget = 3", "budget: should be a table"),
        (FLOAT + "[measure]\nrounds = 2\n[budget]\nmax_size_mb = 9", "rounds = 2: give at least 3"),
        (FLOAT + "[measure]\nround = 5\n[budget]\nmax_size_mb = 9", "did you mean rounds"),
        (FLOAT + "[convert]\nexif = 1\n[budget]\nmax_size_mb = 9", "convert.exif: should be true or false"),
        (FLOAT + "[convert]\nsize = '9x9'\n[budget]\nmax_size_mb = 9", "convert.size: should be a list"),
        (FLOAT + "[convert]\ndata = 'x'\n[budget]\nmax_size_mb = 9", "convert.data: unknown key"),
        (FLOAT + "[convert]\npreprocess = 'tff'\n[budget]\nmax_size_mb = 9", "did you mean tf"),
        ("data = 'gone'" + FLOAT + "[budget]\nmax_size_mb = 9", "data: .*gone"),
        ("labels = 'gone.txt'" + FLOAT + "[budget]\nmax_size_mb = 9", "labels: .*gone.txt: there is no such file"),
        ("baseline = 'gone'" + FLOAT + "[budget]\nmax_size_mb = 9", "baseline: .*there is no such bundle"),
        (
            "model = 'm.keras'" + FLOAT + "[budget]\nmax_drop_points = 1",
            "budget.max_drop_points: needs labelled photos",
        ),
    ],
)
def test_what_is_wrong_in_the_file_is_one_line(here: Command, tmp_path: Path, text: str, words: str) -> None:
    file = written(tmp_path, text)
    done = here("check", file)
    assert done.returncode == 3, done.stderr
    assert re.fullmatch(rf"xedge: error: {re.escape(str(file))}: .*{words}.*\n", done.stderr), done.stderr


def test_without_a_file_the_line_says_how_to_get_one(here: Command, tmp_path: Path) -> None:
    done = here("check", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == "xedge: error: xedge.toml: there is no such file; `xedge init` writes one\n"


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    (tmp_path / "photos" / "a").mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(tmp_path / "photos" / "a" / "one.png")
    text = "model = 'm.keras'\ndata = 'photos'\n" + FLOAT + "[convert]\nsize = [9, 8]\n[budget]\nmax_drop_points = 1\n"
    config = read_config(written(tmp_path, text))
    assert config.model == str(tmp_path / "m.keras")
    assert config.places == {"data": str(tmp_path / "photos")}
    assert config.options == {"size": (9, 8)}


def test_the_limits_of_a_precision_go_before_those_of_all(tmp_path: Path) -> None:
    text = 'targets = "tflite"\nprecisions = ["fp32", "int8"]\n[budget]\nmax_drop_points = 1\nmax_size_mb = 9\n'
    config = read_config(written(tmp_path, text + "[budget.int8]\nmax_size_mb = 3\n"))
    assert config.budgets("fp32") == Budgets(max_drop_points=1, max_size_mb=9)
    assert config.budgets("int8") == Budgets(max_drop_points=1, max_size_mb=3)


def one_hot(classes: list[int]) -> Any:
    return np.eye(4, dtype=np.float32)[np.array(classes)]


@pytest.mark.parametrize(
    ("wrong", "photos", "limit", "verdict"),
    [(0, 300, 98.0, "met"), (0, 100, 98.0, "undecided"), (20, 300, 98.0, "not met"), (6, 300, 98.0, "undecided")],
)
def test_agreement_is_judged_by_its_interval(wrong: int, photos: int, limit: float, verdict: str) -> None:
    truth = np.arange(photos) % 4
    answers = truth.copy()
    answers[:wrong] = (answers[:wrong] + 1) % 4
    found = closeness(one_hot(list(answers)), one_hot(list(truth)), truth)
    (one,) = judge_closeness(Budgets(min_agreement_percent=limit), found)
    assert one.verdict == verdict
    low, high = wilson(photos - wrong, photos)
    assert one.interval95 == pytest.approx((100 * low, 100 * high))
    assert one.value == pytest.approx(100 * (photos - wrong) / photos)
    assert ("too few" in one.words) == (verdict == "undecided")


def test_a_drop_and_a_total_variation_are_judged_by_their_intervals() -> None:
    truth = np.arange(400) % 4
    answers = truth.copy()
    answers[:8] = (answers[:8] + 1) % 4
    found = closeness(one_hot(list(answers)), one_hot(list(truth)), truth)
    low, high = paired_interval(8, 0, 400)
    for limit, verdict in ((100 * high + 0.01, "met"), (100 * high - 0.01, "undecided"), (100 * low - 0.01, "not met")):
        (one,) = judge_closeness(Budgets(max_drop_points=limit), found)
        assert one.verdict == verdict
    assert found.total_variation95 is not None
    assert found.total_variation95[0] < 0.02 < found.total_variation95[1]
    for limit, verdict in ((0.05, "met"), (0.02, "undecided"), (0.001, "not met")):
        (one,) = judge_closeness(Budgets(max_total_variation=limit), found)
        assert one.verdict == verdict


def test_a_single_photo_decides_no_total_variation() -> None:
    found = closeness(one_hot([1]), one_hot([1]), np.array([1]))
    (one,) = judge_closeness(Budgets(max_total_variation=0.5), found)
    assert (one.verdict, one.value) == ("undecided", 0.0)


def test_the_worst_verdict_counts_and_nothing_judged_is_no_pass() -> None:
    assert worst(["met", "undecided", "skipped"]) == "undecided"
    assert worst(["undecided", "not met", "met"]) == "not met"
    assert worst(["met", "skipped"]) == "met"
    assert worst(["skipped"]) == "skipped"


def test_the_budgets_that_init_proposes_can_be_shown() -> None:
    for photos in (1, 2, 10, 50, 372, 3781, 50_000):
        drop, agreement = provable_drop(photos), provable_agreement(photos)
        changed = round(0.015 * photos)
        assert 100 * wilson(photos - changed, photos)[0] >= agreement
        assert 0 <= agreement <= 97
        wrong = max(1, round(0.0075 * photos)) if photos > 1 else 0
        assert 100 * paired_interval(wrong, wrong, photos)[1] <= drop
        assert 1 <= drop <= 100
    assert (provable_drop(50_000), provable_agreement(50_000)) == (1.0, 97)


@pytest.fixture(scope="module")
def report() -> CheckReport:
    """One bundle of each verdict, with texts that no format may take for its own syntax."""
    truth = np.arange(300) % 4
    close = closeness(one_hot(list(truth)), one_hot(list(truth)), truth)
    base = CheckedBundle(
        name="tflite int8",
        path=None,
        artifact_bytes=1000,
        accuracy=None,
        closeness=close,
        against=None,
        judged=(judged("max_size_mb", 1.0, 0.5, None),),
        error=None,
    )
    hint = "300 photos are too few to decide"
    others = (
        replace(base, name="onnx fp32", judged=(judged("max_size_mb", 1.0, 2.5, None),)),
        replace(base, name="onnx int8", judged=(judged("min_agreement_percent", 99.5, 99.6, (98.0, 99.9), hint),)),
        replace(base, name="openvino fp32", judged=(skipped("max_latency_ratio", 1.1, "no <b>bundle</b> | & here"),)),
        replace(base, name="openvino int8", artifact_bytes=None, closeness=None, judged=(), error="broken \x01 <file>"),
    )
    return CheckReport(file="a.toml", model="m<&>", data="te|st", bundles=(base, *others), verdict="not met")


def test_junit_is_read_by_a_reader_of_others(report: CheckReport, tmp_path: Path) -> None:
    (tmp_path / "junit.xml").write_bytes(junit(report))
    read = JUnitXml.fromfile(str(tmp_path / "junit.xml"))
    assert (read.tests, read.failures, read.errors, read.skipped) == (5, 1, 2, 1)
    cases = {(case.classname, case.name): case for suite in read for case in suite}
    assert cases["tflite int8", "max_size_mb = 1"].result == []
    (failure,) = cases["onnx fp32", "max_size_mb = 1"].result
    assert isinstance(failure, Failure)
    assert "2.500 MB; the budget is at most 1 MB" in failure.message
    (undecided,) = cases["onnx int8", "min_agreement_percent = 99.5"].result
    assert isinstance(undecided, Error)
    assert undecided.type == "undecided"
    assert "99.60 [98.00, 99.90] %" in undecided.message
    (left_out,) = cases["openvino fp32", "max_latency_ratio = 1.1"].result
    assert isinstance(left_out, Skipped)
    (broken,) = cases["openvino int8", "is made and runs"].result
    assert isinstance(broken, Error)
    assert "<file>" in broken.message


def test_the_summary_is_a_table_with_a_row_for_each_limit(report: CheckReport) -> None:
    lines = summary(report).splitlines()
    assert lines[1] == "### xedge check: ❌ not met"
    rows = [line for line in lines if line.startswith("| ")][1:]
    assert len(rows) == 5
    for row in rows:
        assert len(re.split(r"(?<!\\)\|", row)) == 6, row
    assert "❔ undecided" in rows[2]
    assert "<b>" not in re.sub(r"\\.", "", summary(report))


def test_the_badge_shows_the_least_agreement_in_the_colour_of_the_verdict(report: CheckReport) -> None:
    good = replace(report, bundles=report.bundles[:1], verdict="met")
    drawn = ET.fromstring(badge(good))
    texts = [one.text for one in drawn.iter("{http://www.w3.org/2000/svg}text")]
    assert texts == ["tflite int8 agreement", "100.0 %"]
    assert COLOURS["met"] in badge(good)
    failed = ET.fromstring(badge(report))
    assert [one.text for one in failed.iter("{http://www.w3.org/2000/svg}text")] == ["xedge check", "not met"]
    assert COLOURS["not met"] in badge(report)


def test_what_cannot_be_written_takes_nothing_with_it() -> None:
    taken: list[int] = []

    def refused() -> None:
        raise ResourceError("no space")

    with pytest.raises(ResourceError, match="no space"):
        _all_of([lambda: taken.append(1), refused, lambda: taken.append(2)])
    assert taken == [1, 2]


def test_a_full_disk_takes_no_result_with_it(here: Command, tmp_path: Path) -> None:
    file = written(tmp_path, FLOAT + "[budget]\nmax_size_mb = 7\n")
    done = here("check", file, "--junit", "/dev/full", "--summary", tmp_path / "s.md", "--badge", tmp_path / "b.svg")
    assert done.returncode == 7
    assert "/dev/full: no space left" in done.stderr
    assert "PASSED" in done.stdout
    assert "✅ met" in (tmp_path / "s.md").read_text()
    assert (tmp_path / "b.svg").is_file()


PASSING = FLOAT + "[budget]\nmax_drop_points = 1.5\nmin_agreement_percent = 98\nmax_size_mb = 7\n"


@pytest.fixture(scope="module")
def passing(xedge: Command, once: Once) -> Path:
    """The folder of a check that passes, with every file that it writes."""

    def make(folder: Path) -> None:
        written(folder, PASSING)
        forms = ("--junit", "j.xml", "--summary", "s.md", "--badge", "b.svg", "--report", "r.html", "--json", "c.json")
        done = xedge("check", "--output", "out", *forms, cwd=folder)
        (folder / "said.txt").write_text(f"{done.returncode}\n{done.stdout}\n{done.stderr}")

    return once("check_passing", make)


def test_a_check_that_passes_says_so_in_every_form(passing: Path) -> None:
    said = (passing / "said.txt").read_text()
    assert said.startswith("0\n"), said
    assert "PASSED: xception_compact, by the budgets in xedge.toml" in said
    assert re.search(r"met: agreement with float 100\.00 \[98\.98, 100\.00\] %; the budget is at least 98 %", said)
    document = json.loads((passing / "c.json").read_text())
    assert document == json.loads((passing / "out" / "check.json").read_text())
    jsonschema.validate(document, json.loads((ROOT / "docs" / "schemas" / "check.json").read_text()))
    (bundle,) = document["bundles"]
    assert xedge.load(passing / bundle["path"]).manifest.artifact_name == bundle["name"] == "tflite fp32"
    size = sum(file.stat().st_size for file in (passing / bundle["path"]).glob("*.tflite"))
    assert bundle["artifact_bytes"] == size
    assert [one["budget"] for one in bundle["judged"]] == ["max_drop_points", "min_agreement_percent", "max_size_mb"]
    assert JUnitXml.fromfile(str(passing / "j.xml")).tests == 3
    assert "✅ met" in (passing / "s.md").read_text()
    assert "100.0 %" in (passing / "b.svg").read_text()
    assert "<html" in (passing / "r.html").read_text()


def test_a_second_check_replaces_its_own_files_and_no_others(here: Command, passing: Path, tmp_path: Path) -> None:
    file = written(tmp_path, PASSING)
    (tmp_path / "mine.md").write_text("my notes\n")
    done = here("check", file, "--summary", tmp_path / "mine.md")
    assert done.returncode == 3
    assert "xedge check did not write the file that is there" in done.stderr
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "check.json").write_text('{"mine": 1}')
    done = here("check", file, "--output", tmp_path / "kept")
    assert "xedge check did not write the file that is there" in done.stderr
    done = here("check", file, "--summary", file)
    assert "this is also an input" in done.stderr
    (tmp_path / "own.md").write_text((passing / "s.md").read_text())
    (tmp_path / "bad.toml").write_text("nothing = 1\n")
    done = here("check", tmp_path / "bad.toml", "--summary", tmp_path / "own.md")
    assert "unknown key" in done.stderr


@pytest.fixture(scope="module")
def released(bundles: Path, once: Once) -> Path:
    """A folder of released bundles without TFLite's fp32."""

    def make(folder: Path) -> None:
        (folder / "onnx").symlink_to(bundles / "onnx_fp32")

    return once("check_released", make)


def test_budgets_are_missed_undecided_and_skipped_with_the_worst_as_exit_code(
    here: Command, released: Path, tmp_path: Path
) -> None:
    text = f"""
baseline = "{released}"
targets = ["tflite", "onnx"]
precisions = ["fp32"]
[measure]
rounds = 3
runs = 5
[budget]
max_size_mb = 3
min_agreement_percent = 99.5
max_latency_ratio = 0.01
max_baseline_drop_points = 2
"""
    done = here("check", written(tmp_path, text), "--json=-")
    assert done.returncode == 8, done.stderr
    tflite, onnx = json.loads(done.stdout)["bundles"]
    verdicts = {one["budget"]: one["verdict"] for one in tflite["judged"]}
    assert verdicts == {
        "min_agreement_percent": "undecided",
        "max_size_mb": "not met",
        "max_latency_ratio": "skipped",
        "max_baseline_drop_points": "skipped",
    }
    verdicts = {one["budget"]: one["verdict"] for one in onnx["judged"]}
    assert verdicts["max_latency_ratio"] == "not met"
    assert verdicts["max_baseline_drop_points"] == "met"
    assert onnx["against"]["latency"]["in_turns"]
    assert onnx["against"]["accuracy"]["agreement"] == 1
    assert onnx["path"] is None


def test_too_few_photos_alone_are_exit_code_9(here: Command, tmp_path: Path) -> None:
    done = here("check", written(tmp_path, FLOAT + "[budget]\nmin_agreement_percent = 99.5\n"))
    assert done.returncode == 9, done.stderr
    assert "UNDECIDED" in done.stdout
    assert "372 photos are too few to decide" in done.stdout


def test_a_bundle_that_cannot_be_made_is_told_beside_the_others(here: Command, tmp_path: Path) -> None:
    text = """
targets = ["tflite", "onnx"]
precisions = ["fp32"]
[convert]
batch = 2
[budget]
max_size_mb = 9
"""
    done = here("check", written(tmp_path, text), "--json=-")
    assert done.returncode == 8, done.stderr
    tflite, onnx = json.loads(done.stdout)["bundles"]
    assert "tflite" in tflite["error"]
    assert onnx["error"] is None
    assert onnx["judged"][0]["verdict"] == "met"


def test_what_convert_refuses_is_told_with_the_keys_of_the_file(here: Command, tmp_path: Path) -> None:
    file = written(tmp_path, FLOAT + "[convert]\nranges = 'photo'\n[budget]\nmax_size_mb = 9\n")
    done = here("check", file)
    assert done.returncode == 2
    assert done.stderr == f"xedge: error: {file}: convert.ranges is about int8; add int8 to precisions\n"


def test_a_baseline_that_fits_no_bundle_is_refused(bundles: Path, released: Path, tmp_path: Path) -> None:
    assert find_baselines(released, ["onnx fp32", "tflite fp32"]) == {"onnx fp32": released / "onnx"}
    single = bundles / "tflite_int8"
    assert find_baselines(single, ["onnx fp32", "tflite fp32"]) == {"onnx fp32": single, "tflite fp32": single}
    with pytest.raises(InputError, match=r"has onnx fp32, and none of tflite fp32"):
        find_baselines(released, ["tflite fp32"])
    for name in ("a", "b"):
        (tmp_path / name).symlink_to(single)
    with pytest.raises(InputError, match="two bundles for tflite int8, a and b"):
        find_baselines(tmp_path, ["tflite int8"])


def test_no_bundle_replaces_the_baseline_that_it_is_compared_with(here: Command, bundles: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    shutil.copytree(bundles / "tflite_fp32", tmp_path / "out" / "tflite_fp32")
    before = (tmp_path / "out" / "tflite_fp32" / "manifest.json").read_bytes()
    file = written(tmp_path, 'baseline = "out"\n' + FLOAT + "[budget]\nmax_latency_ratio = 1.5\n")
    done = here("check", file, "--output", tmp_path / "out")
    assert done.returncode == 3
    assert "is the baseline, which the new bundle would replace; choose another --output" in done.stderr
    assert (tmp_path / "out" / "tflite_fp32" / "manifest.json").read_bytes() == before


def test_a_file_with_the_classes_serves_the_page_too(here: Command, few_photos: Path, tmp_path: Path) -> None:
    (tmp_path / "flat").mkdir()
    rows = ["file,label"]
    for photo in sorted(few_photos.rglob("*.jpg")):
        shutil.copy(photo, tmp_path / "flat" / photo.name)
        rows.append(f"{photo.name},{photo.parent.name}")
    (tmp_path / "truth.csv").write_text("\n".join(rows) + "\n")
    text = 'data = "flat"\ntruth = "truth.csv"\n' + FLOAT + "[budget]\nmin_agreement_percent = 80\n"
    done = here("check", written(tmp_path, text), "--report", tmp_path / "r.html", "--quiet")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "tflite_fp32" in (tmp_path / "r.html").read_text()


def test_python_keeps_bundles_only_where_it_is_told_to(tmp_path: Path) -> None:
    lines: list[str] = []
    found = xedge.check(written(tmp_path, PASSING), report=lines.append)
    assert found.verdict == "met"
    assert [one.path for one in found.bundles] == [None]
    assert any(line.startswith("convert") for line in lines)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["xedge.toml"]


def test_init_writes_what_check_takes(xedge: Command, tmp_path: Path) -> None:
    done = xedge("init", "--target", "tflite", "--precision", "fp32", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "xedge.toml").read_text()
    assert text in done.stdout
    document = tomllib.loads(text)
    assert document["model"] == "xception_compact"
    assert document["convert"] == {"preprocess": "tf"}
    assert document["budget"]["min_agreement_percent"] == provable_agreement(372)
    assert read_config(tmp_path / "xedge.toml").budgets("fp32").max_size_mb == document["budget"]["fp32"]["max_size_mb"]
    again = xedge("init", cwd=tmp_path)
    assert (again.returncode, again.stdout) == (3, "")
    assert "is there already; name another file with --output, or replace it with --force" in again.stderr
    assert (tmp_path / "xedge.toml").read_text() == text
    done = xedge("check", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


def test_init_says_what_it_cannot_find_out(here: Command, tmp_path: Path) -> None:
    photo = keras.Input((16, 16, 3))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3)(photo))
    keras.Model(photo, keras.layers.Dense(3, activation="softmax")(x)).save(tmp_path / "tiny.keras")
    (tmp_path / "conf").mkdir()
    file = tmp_path / "conf" / "xedge.toml"
    done = here("init", tmp_path / "tiny.keras", "--output", file)
    assert done.returncode == 0, done.stderr
    text = file.read_text()
    assert tomllib.loads(text)["model"] == "../tiny.keras"
    assert "# It takes photos of 16x16x3, has 3 classes" in text
    assert "# How photos are prepared: assumed, for nothing in the model tells" in text
    assert '\n# preprocess = "tf"\n' in text
    assert '# labels = "..."  # The names of the classes could not be found out' in text
    assert "# Labelled photos were not named, so that these cannot be judged:" in text
    assert set(tomllib.loads(text)["budget"]) == {"int8"}
    assert read_config(file).model == str(file.parent / "../tiny.keras")
    before = (tmp_path / "tiny.keras").read_bytes()
    done = here("init", tmp_path / "tiny.keras", "--output", tmp_path / "tiny.keras", "--force")
    assert "this is also an input, which would be lost" in done.stderr
    assert (tmp_path / "tiny.keras").read_bytes() == before


def test_init_leaves_out_targets_that_do_not_take_the_model(here: Command, tmp_path: Path) -> None:
    attention(tmp_path / "einsum.onnx")
    done = here("init", tmp_path / "einsum.onnx", "--output", tmp_path / "xedge.toml")
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "xedge.toml").read_text()
    assert tomllib.loads(text)["targets"] == ["onnx", "openvino"]
    assert "# Not tflite: tflite takes ONNX operators of the reference graph only" in text


def test_init_takes_labels_and_their_order_from_the_class_folders(
    here: Command, few_photos: Path, tmp_path: Path
) -> None:
    from xedge.models.compact import embedded

    done = here(
        *("init", embedded.MODEL, "--data", few_photos, "--calibration", few_photos, "--preprocess", "tf"),
        *("--output", tmp_path / "x.toml", "--target", "tflite"),
    )
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "x.toml").read_text()
    assert '# labels = "..."  # As in the class folders: "dress", "hat"' in text
    assert (tmp_path / tomllib.loads(text)["data"]).resolve() == few_photos.resolve()
    assert "# How photos are prepared: as asked." in text
    assert read_config(tmp_path / "x.toml").options == {"preprocess": "tf"}
