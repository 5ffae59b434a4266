"""The page of a report, in a real browser: it opens offline, is quiet, tells the JSON's numbers, and can be read."""

from __future__ import annotations

import json
import re
import shutil
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import xedge
from tests import fabricated
from tests.conftest import Command, Once
from tests.networks import network
from xedge import metrics
from xedge.api.documents import read_document
from xedge.api.report import report, report_bundles, write_report
from xedge.device.throttling import Throttling
from xedge.errors import InputError, XedgeError
from xedge.evaluating.report import EvaluateReport
from xedge.inspection.analysis import AnalyzeReport
from xedge.inspection.costing import cost
from xedge.inspection.verification import VerifyReport
from xedge.measuring.report import RunReport
from xedge.measuring.rounds import Plan
from xedge.measuring.verdict import Verdict
from xedge.models.compact import embedded
from xedge.reporting.figures import accuracy_against_latency, numbers
from xedge.reporting.gather import gather
from xedge.reporting.page import confusions, page
from xedge.reporting.summary import summary
from xedge.sources.keras.layers import read_keras

HOSTILE = '<img src=x onerror="alert(1)">'


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """What commands would have written: two runs, one of them too short for a p90, artifacts in pairs, the layers."""
    folder = tmp_path_factory.mktemp("documents")
    shaky = Verdict(valid=False, reasons=("too few samples: 40, a p90 needs 64",))
    reports = {
        "float": fabricated.run(),
        "int8": fabricated.int8_run(
            samples_ns=fabricated.steady_ns(1.0, 40), verdict=shaky, profile=fabricated.profile()
        ),
        "verify": fabricated.verification(),
        "analyze": fabricated.analysis(target="tflite"),
        "evaluate": fabricated.evaluation(),
    }
    return {name: fabricated.written(folder / f"{name}.json", one) for name, one in reports.items()}


def hot_pi(run: RunReport) -> RunReport:
    """The same run in stretches, as a Raspberry Pi that gets hot and is throttled would tell it."""
    throttled = Throttling(now=("throttled",), since_boot=("throttled",))
    readings = tuple(
        fabricated.reading(at_s=float(second), throttling=throttled if second > 3 else None) for second in range(8)
    )
    series = tuple(replace(w, temperature_c=60.0 + 3 * i, core_mhz=1800.0) for i, w in enumerate(fabricated.course()))
    board = replace(run.board, model=f"Raspberry Pi 4 {HOSTILE}", machine="aarch64")
    return replace(run, board=board, series=series, readings=readings, throttled_at_s=3.0)


@pytest.fixture(scope="module")
def written(documents: dict[str, Path], once: Once) -> Path:
    """The page that the tests in the browser share."""

    def make(folder: Path) -> None:
        read = [read_document(path) for path in documents.values()]
        read.insert(2, hot_pi(read[1]))
        read.append(fabricated.fleet_run(read[0], read[1], failed={HOSTILE: "busy with process 1"}))
        write_report(read, folder / "report.html", title=f"Two boards {HOSTILE}")

    return once("page", make) / "report.html"


def opened(browser: Any, path: Path, **context: Any) -> tuple[Any, list[str]]:
    """Open the page without a network; return it and everything it complained of or asked for."""
    found: list[str] = []

    def dismissed(dialog: Any) -> None:
        found.append(dialog.message)
        dialog.dismiss()

    def requested(request: Any) -> None:
        if not request.url.startswith(("file:", "data:")):
            found.append(request.url)

    tab = browser.new_context(offline=True, **context).new_page()
    tab.on("console", lambda message: found.append(message.text))
    tab.on("pageerror", lambda error: found.append(str(error)))
    tab.on("dialog", dismissed)
    tab.on("request", requested)
    tab.goto(path.as_uri())
    return tab, found


def test_it_opens_offline_and_is_quiet(browser: Any, written: Path) -> None:
    tab, complaints = opened(browser, written)
    assert complaints == []
    assert "Two boards <img" in tab.title()
    assert tab.locator("script").count() == 0
    headings = tab.locator("h2").all_inner_texts()
    expected = ["In short", "Accuracy on 1000 photos", "Machines", "Runs", "Latency", "Where the time goes"]
    expected += ["Photos whose answer changed", "Confusion between classes", "Do the artifacts agree?"]
    assert headings[: len(expected)] == expected
    assert written.stat().st_size < 1_000_000
    assert "http://" not in written.read_text().replace("http://www.w3.org", "")


def test_its_numbers_are_those_of_the_json(browser: Any, written: Path, documents: dict[str, Path]) -> None:
    tab, _ = opened(browser, written)
    for number, name in ((1, "float"), (2, "int8")):
        run = json.loads(documents[name].read_text())
        row = tab.locator(f'tr[data-run="{number}"]')
        cells = {
            field: row.locator(f'[data-field="{field}"]').inner_text() for field in ("size", "top1", "p50", "memory")
        }
        assert cells == {
            "size": f"{run['artifact_bytes'] / 1e6:.2f}",
            "top1": f"{100 * run['accuracy']['top1']:.2f}",
            "p50": f"{run['latency']['p50_ms']:.2f}",
            "memory": f"{run['peak_memory_bytes'] / 1e6:.0f}",
        }
        p90 = run["latency"]["p90_ms"]
        assert row.locator('[data-field="p90"]').inner_text() == ("too few" if p90 is None else f"{p90:.2f}")
        assert row.locator("td").last.inner_text() == ("VALID" if run["verdict"]["valid"] else "INVALID")
    first, second = (json.loads(documents[name].read_text())["accuracy"]["top1"] for name in ("float", "int8"))
    points = tab.locator('tr[data-run="2"] [data-field="points"]').inner_text()
    assert points.startswith(f"{100 * (second - first):+.2f}")
    matrix = tab.locator("table.matrix").first.locator("tbody tr")
    shown: dict[tuple[int, int], int] = {}
    for true in range(matrix.count()):
        cells = matrix.nth(true).locator("td").all_inner_texts()[:-1]
        shown |= {(true, answer): int(cell) for answer, cell in enumerate(cells) if cell != "·"}
    stored = json.loads(documents["float"].read_text())["confusion"]["cells"]
    assert shown == {(true, answer): count for true, answer, count in stored}
    pair = json.loads(documents["verify"].read_text())["pairs"][0]["outputs"]
    assert f"{100 * pair['agreement']:.2f}" in tab.locator("table.parity").inner_text()


def test_changed_photos_are_shown(browser: Any, written: Path, documents: dict[str, Path]) -> None:
    tab, _ = opened(browser, written)
    before, after = (json.loads(documents[name].read_text())["answers"] for name in ("float", "int8"))
    changed = {p for p, a, b in zip(before["photos"], before["first"], after["first"], strict=True) if a != b}
    assert changed, "int8 changes some of 372 photos"
    shown = tab.locator(".photos img")
    names = {shown.nth(i).get_attribute("alt") for i in range(shown.count())}
    assert names == changed
    widths = tab.evaluate("[...document.querySelectorAll('.photos img')].map(image => image.naturalWidth)")
    assert all(width > 0 for width in widths)
    assert f"{len(changed)} photo" in tab.locator("section[aria-labelledby=changed]").inner_text()


def test_a_course_with_heat_and_throttling_is_drawn(browser: Any, written: Path) -> None:
    tab, _ = opened(browser, written)
    chart = tab.locator("figure", has_text="Throttling began after 3 s")
    assert chart.count() == 1
    words = chart.locator("svg").text_content()
    for word in ("throttled", "median", "slowest", "MHz"):
        assert word in words
    described = tab.evaluate("[...document.querySelectorAll('svg')].every(s => s.getAttribute('aria-labelledby')"
                             ".split(' ').every(id => document.getElementById(id)?.textContent))")  # fmt: skip
    assert described


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_accessible(browser: Any, written: Path, scheme: str) -> None:
    from axe_playwright_python.sync_playwright import Axe

    tab, _ = opened(browser, written, color_scheme=scheme)
    tab.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    results = Axe().run(tab)
    assert results.violations_count == 0, results.generate_report()


def test_the_keyboard_reaches_what_folds_and_what_scrolls(browser: Any, written: Path) -> None:
    tab, _ = opened(browser, written)
    closed = tab.locator("details:not([open]) summary").first
    closed.focus()
    tab.keyboard.press("Enter")
    assert tab.evaluate("document.activeElement.parentElement.open")
    tab.locator(".wide").first.focus()
    assert tab.evaluate("document.activeElement.classList.contains('wide')")


def test_a_phone_shows_it_without_scrolling_sideways(browser: Any, written: Path) -> None:
    tab, _ = opened(browser, written, viewport={"width": 360, "height": 740}, is_mobile=True, has_touch=True)
    assert tab.evaluate("document.documentElement.scrollWidth") <= 360
    sizes = tab.evaluate(
        "[...document.querySelectorAll('figure svg text')].map(text => parseFloat(getComputedStyle(text).fontSize)"
        " * text.ownerSVGElement.clientWidth / text.ownerSVGElement.viewBox.baseVal.width)"
    )
    assert min(sizes) >= 9


def test_names_without_a_place_to_break_do_not_widen_it(
    browser: Any, documents: dict[str, Path], tmp_path: Path
) -> None:
    """Browsers break a path at none of its slashes, and how long it is differs from machine to machine."""
    endless = "/".join(["unbreakable"] * 12)
    read = [read_document(path) for path in documents.values()]
    for index, one in enumerate(read):
        if isinstance(one, RunReport):
            assert one.answers is not None
            labels = tuple(f"{endless}{label}" for label in one.answers.labels)
            answers = replace(one.answers, labels=labels)
            board = replace(one.board, model=endless)
            read[index] = replace(one, bundle=f"/{endless}", data=f"/{endless}", board=board, answers=answers)
        elif isinstance(one, VerifyReport):
            read[index] = replace(one, data=f"/{endless}", failures=(endless,))
        elif isinstance(one, EvaluateReport):
            bundles = tuple(replace(bundle, bundle=f"/{endless}") for bundle in one.bundles)
            read[index] = replace(one, data=f"/{endless}", reference=f"/{endless}", bundles=bundles)
        else:
            assert isinstance(one, AnalyzeReport)
            read[index] = replace(one, model=endless)
    path = write_report(read, tmp_path / "report.html", title=endless)
    tab, _ = opened(browser, path, viewport={"width": 360, "height": 740}, is_mobile=True, has_touch=True)
    tab.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    assert tab.evaluate("document.documentElement.scrollWidth") <= 360


def test_it_prints_with_everything_unfolded(browser: Any, written: Path, tmp_path: Path) -> None:
    tab, _ = opened(browser, written, color_scheme="dark")
    tab.emulate_media(media="print")
    assert tab.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    folded = tab.locator("details:not([open])").first
    assert folded.evaluate("one => getComputedStyle(one, '::details-content').contentVisibility") == "visible"
    tab.pdf(path=tmp_path / "page.pdf")
    assert (tmp_path / "page.pdf").stat().st_size > 20_000


def last_lines(tab: Any, path: Path, height_mm: int) -> list[str]:
    """Return the last line of each printed page but the last one, for paper of this height."""
    from pypdf import PdfReader

    tab.pdf(path=path, width="210mm", height=f"{height_mm}mm", margin={"top": "10mm", "bottom": "10mm"})
    pages = [one.extract_text().strip() for one in PdfReader(path).pages]
    return [text.splitlines()[-1].strip() for text in pages[:-1] if text]


@pytest.mark.slow
def test_headings_are_printed_on_the_page_of_what_follows(browser: Any, written: Path, tmp_path: Path) -> None:
    """On paper of several heights, so that without the rule some headings are last on their pages."""
    tab, _ = opened(browser, written)
    headings = {text.strip() for text in tab.locator("h2, h3").all_text_contents()}
    heights = range(180, 300, 16)
    printed = [line for height in heights for line in last_lines(tab, tmp_path / "page.pdf", height)]
    assert len(printed) > len(heights)
    assert headings.isdisjoint(printed)
    tab.add_style_tag(content="@media print { * { break-after: auto !important; } }")
    without = [line for height in heights for line in last_lines(tab, tmp_path / "page.pdf", height)]
    assert not headings.isdisjoint(without)


def test_the_verdicts_are_in_the_first_screen_of_a_phone(browser: Any, written: Path) -> None:
    tab, _ = opened(browser, written, viewport={"width": 390, "height": 844}, is_mobile=True, has_touch=True)
    box = tab.locator("section[aria-labelledby=short]").bounding_box()
    assert box["y"] + box["height"] <= 844
    assert tab.locator("main section").first.get_attribute("aria-labelledby") == "short"


def test_the_verdicts_are_those_of_the_documents(documents: dict[str, Path]) -> None:
    found = gather([read_document(path) for path in documents.values()])
    lines = {(line.about, line.verdict): line for line in summary(found)}
    run, checked = (json.loads(documents[name].read_text()) for name in ("int8", "verify"))
    first, second = found.entries
    assert second.difference is not None
    accuracy = lines[f"Accuracy against 1 {first.name}", second.difference.judgement]
    assert accuracy.words.startswith(f"2 {second.name} {second.difference.points:+.2f} points [")
    assert lines["Time", "VALID"].words == f"1 {first.name} {first.run.latency.p50_ms:.2f} ms"
    invalid = lines["Time", "INVALID"]
    assert invalid.words == f"2 {second.name} {run['latency']['p50_ms']:.2f} ms; not to be quoted"
    assert lines["Agreement", checked["verdict"].upper()].words == f"on {checked['photos']} photos"
    assert lines["Budget on 1000 photos", "not met"].words == "tflite_int8, drop +1.50 points [0.75, 2.50]"
    assert (invalid.tone, lines["Time", "VALID"].tone) == ("bad", "good")


def test_of_many_runs_the_numbers_stand_in_the_verdicts() -> None:
    runs = [fabricated.run(bundle=f"run{number}") for number in range(6)]
    lines = {line.about: line.words for line in summary(gather(runs))}
    assert lines == {"Accuracy against 1 run0": "runs 2–6", "Time": "runs 1–6"}


def test_noise_does_not_look_like_a_difference() -> None:
    """Runs a tenth of a point and two per cent of the time apart are drawn near each other, with their intervals."""
    first = replace(fabricated.run(), confusion=None, answers=None)
    assert first.accuracy is not None
    accuracy = replace(first.accuracy, top1=0.999, top5=1.0, interval95=(0.998, 1.0))
    other = replace(accuracy, top1=0.998, interval95=(0.997, 0.999))
    runs = [replace(first, accuracy=accuracy), replace(first, accuracy=other, precision="int8")]
    runs[1] = replace(runs[1], latency=replace(first.latency, p50_ms=1.02 * first.latency.p50_ms))
    root = ET.fromstring(accuracy_against_latency(gather(runs).entries))
    rows, columns = ticks(root, "ytick_"), ticks(root, "xtick_")
    assert max(rows) - min(rows) >= 8
    assert max(rows) <= 100
    assert min(columns) == 0
    assert sum(one.get("id", "").startswith("LineCollection") for one in root.iter()) == 2


def ticks(root: ET.Element, axis: str) -> list[float]:
    """Return the numbers along an axis of a chart."""
    marks = (one for one in root.iter() if re.fullmatch(rf"{axis}\d+", one.get("id", "")))
    return [float("".join(one.itertext()).strip().replace("−", "-")) for one in marks]


def test_photos_elsewhere_and_photos_gone(documents: dict[str, Path], tmp_path: Path) -> None:
    read = [read_document(documents[name]) for name in ("float", "int8")]
    moved = Path(shutil.copytree(embedded.test_photos().root, tmp_path / "moved"))
    elsewhere = [replace(run, data="/nowhere") for run in read]
    assert page(gather(elsewhere), moved).count("data:image/jpeg") == page(gather(read)).count("data:image/jpeg") > 0
    gone = [
        replace(run, answers=replace(run.answers, photos=tuple(f"gone/{photo}" for photo in run.answers.photos)))
        for run in elsewhere
    ]
    assert "not found" in page(gather(gone))


def test_an_evaluation_is_shown_with_its_verdict(browser: Any, written: Path) -> None:
    tab, _ = opened(browser, written)
    rows = tab.locator("table.evaluation tbody tr").all_inner_texts()
    assert [row.split()[0] for row in rows] == ["tflite_fp32", "tflite_int8"]
    assert "reference" in rows[0]
    for figure in ("86.00", "+1.50", "0.75–2.50", "0.0001", "98.50", "not met"):
        assert figure in rows[1]
    assert "dress: 15 photos lost, 0 won, p = 0.001" in tab.locator("main").inner_text()


def test_reports_are_saved_and_shown_as_objects_or_files(tmp_path: Path) -> None:
    run, verification = fabricated.run(), fabricated.verification()
    file = xedge.save(run, tmp_path / "run.json")
    assert read_document(file) == run
    page = xedge.report(file, verification, output=tmp_path / "page.html").read_text()
    assert run.bundle in page
    assert "PASSED" in page
    with pytest.raises(InputError, match="str: is no report of xedge"):
        xedge.save("run", tmp_path / "other.json")
    with pytest.raises(InputError, match="int"):
        xedge.report(3, output=tmp_path / "other.html")


def test_the_noise_of_layers_is_beside_their_times(browser: Any, written: Path) -> None:
    """Both operations of the separable convolution belong to the layer that was analyzed."""
    tab, _ = opened(browser, written)
    section = tab.locator("section[aria-labelledby=operations]")
    drawn = "".join(section.locator("svg").first.locator("text").all_text_contents())
    for words in ("block2_sepconv1/depthwise", "signal-to-noise ratio, dB", "integer", "float", "conversion"):
        assert words in drawn
    section.locator("summary").first.click()
    row = section.locator("tr", has=tab.get_by_role("rowheader", name="block2_sepconv1", exact=True))
    cells = row.first.inner_text()
    assert "50.0" in cells
    assert "kernel_of_integer" in cells


def test_an_evaluation_alone_is_a_page() -> None:
    text = page(gather([fabricated.evaluation(max_drop_points=None)]))
    assert "tflite_fp32, tflite_int8 on 1000 photos" in text


def test_what_commands_wrote_becomes_a_page(xedge: Command, document: Callable[[str], Path], tmp_path: Path) -> None:
    """Real runs, a real verification and a real analysis."""
    files = [document(name) for name in ("run_fp32", "run_int8", "verify", "analyze")]
    done = xedge("report", *files, "-o", tmp_path / "page.html")
    assert done.returncode == 0, done.stderr
    assert "open it in a browser" in done.stdout
    text = (tmp_path / "page.html").read_text()
    first, second, verified, analyzed = (json.loads(file.read_text()) for file in files)
    for run in (first, second):
        for figure in (f"{run['latency']['p50_ms']:.2f}", f"{100 * run['accuracy']['top1']:.2f}", run["bundle"]):
            assert figure in text
    assert f"{100 * verified['pairs'][0]['outputs']['agreement']:.2f}" in text
    assert all(layer["layer"] in text for layer in analyzed["layers"])


def test_the_command_says_where_it_is_and_refuses_what_it_cannot_show(
    here: Command, documents: dict[str, Path], tmp_path: Path
) -> None:
    done = here("report", documents["float"], documents["int8"], "-o", tmp_path / "page.html")
    assert done.returncode == 0, done.stderr
    assert "open it in a browser" in done.stdout
    other = fabricated.written(tmp_path / "cost.json", cost(read_keras(network("one_channel"))))
    done = here("report", other, "-o", tmp_path / "other.html")
    assert done.returncode == InputError.exit_code
    assert "not xedge.cost/1" in done.stderr
    assert not (tmp_path / "other.html").exists()


def test_a_bundle_that_does_not_run_is_named_beside_those_that_do(
    bundles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one round, for what is timed here is not looked at."""
    monkeypatch.setattr("xedge.api.report.Plan", partial(Plan, rounds=1, runs=5))
    monkeypatch.setattr("xedge.api.report.VERIFIED_PHOTOS", 10)
    broken = Path(shutil.copytree(bundles / "onnx_int8", tmp_path / "broken"))
    next(broken.glob("*.onnx")).write_bytes(b"cut off")
    text = report_bundles([bundles / "tflite_int8", broken], tmp_path / "page.html").read_text()
    assert "What did not run" in text
    assert "<strong>broken</strong>" in text
    assert text.count("<tr data-run=") == 1
    with pytest.raises(XedgeError, match="does not match its sha256"):
        report_bundles([broken], tmp_path / "other.html")
    assert not (tmp_path / "other.html").exists()


@pytest.mark.slow
def test_convert_writes_one_too(xedge: Command, tmp_path: Path) -> None:
    made = ("--output", tmp_path / "made", "--report", tmp_path / "page.html")
    done = xedge("convert", "--target", "tflite", "--precision", "fp32,dynamic", *made)
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "page.html").read_text()
    assert "tflite_dynamic" in text
    assert "Do the artifacts agree?" in text


def test_many_classes_become_a_list(documents: dict[str, Path], tmp_path: Path) -> None:
    run = read_document(documents["float"])
    labels = tuple(f"class {i}" for i in range(40))
    pairs = [(i, i) for i in range(40) for _ in range(9)] + [(i, i + 1) for i in range(39) for _ in range(i + 1)]
    truth, answers = np.array(pairs).T
    confusion = metrics.confusion(answers, truth, labels)
    assert confusions(confusion, labels)[0] == ("class 38", "class 39", 39)
    accuracy = replace(run.accuracy, photos=len(pairs), top1=360 / len(pairs), interval95=(0.2, 0.4), top5=None)
    given = replace(
        run.answers,
        labels=labels,
        photos=tuple(f"{number}.jpg" for number in range(len(pairs))),
        truth=tuple(truth.tolist()),
        first=tuple(answers.tolist()),
        probability=(0.5,) * len(pairs),
    )
    text = page(gather([replace(run, confusion=confusion, accuracy=accuracy, answers=given)]))
    assert "class 38 taken for class 39: 39" in text
    assert 'class="matrix"' not in text


def test_runs_of_another_machine_and_of_a_benchmark_are_shown(documents: dict[str, Path]) -> None:
    run = read_document(documents["float"])
    row = fabricated.row("tflite", "fp32", measured=fabricated.in_turns(run, (1.0,)))
    benchmark = fabricated.benchmark(row, fabricated.failed_row("tflite", "int8", "no such thing"))
    there = fabricated.remote_run(hot_pi(run))
    text = page(gather([benchmark, there]))
    for words in ("mine: 2 runs on", "pi@pi: big", "killed", "no such thing", "All boards together"):
        assert words in text
    assert HOSTILE not in text


def test_neighbours_become_a_range() -> None:
    assert numbers([9, 1, 2, 5, 6, 7, 8]) == "1, 2, 5–9"


def test_the_same_documents_make_the_same_page(documents: dict[str, Path], tmp_path: Path) -> None:
    first, second = (report(documents["float"], output=tmp_path / name).read_text() for name in ("a.html", "b.html"))
    stamp = first.index("UTC</p>")
    assert first[stamp:] == second[stamp:]


def test_hostile_names_neither_break_nor_act_on_the_page(documents: dict[str, Path]) -> None:
    run = read_document(documents["float"])
    names = ("$\\frac{1}{$", "a\x1b[31mb", "\u202egnp", "a\nb", "<script>", "\ufffe")
    for name in names:
        hostile = replace(run, target=name, bundle=name, board=replace(run.board, model=name))
        text = page(gather([run, hostile]))
        assert not set(text) & set("\x1b\u202e\ufffe")
        assert "<script" not in text
