"""What commands print, of fabricated reports: boards that are not here, runs that took hours, machines elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import fabricated
from tests.conftest import Command
from xedge.bundle.manifest import Speed
from xedge.cli import values
from xedge.cli.run_text import text
from xedge.device.contention import Contention
from xedge.device.jetson import Jetson
from xedge.device.power import Power
from xedge.device.throttling import Throttling
from xedge.errors import CheckError, UsageError
from xedge.measuring.against import Against
from xedge.measuring.recommendation import recommend
from xedge.measuring.report import Frames
from xedge.measuring.verdict import Verdict


def test_everything_that_a_board_says_is_told() -> None:
    jetson = Jetson(release="R36.4.0", jetpack="6", power_mode="15W", clocks_fixed=True)
    hot = Throttling(now=("throttled",), since_boot=("under-voltage", "throttled"))
    power = Power(watts=6.0, meter="INA3221 VDD_IN")
    warm = fabricated.reading(at_s=1.0, temperatures_c={"CPU-therm": 71.5}, throttling=hot, power=power)
    run = fabricated.run(
        board=fabricated.board(model="Jetson Orin", jetson=jetson),
        readings=(fabricated.reading(), warm),
        contention=Contention(processes=0.04, stolen=0.02),
        energy_j=0.012,
        throttled_at_s=3.0,
        execution=fabricated.execution(options={"INFERENCE_PRECISION_HINT": "f32"}),
    )
    words = text(run)
    for expected in (
        "6 (L4T R36.4.0), mode 15W",
        "40.0 to 71.5 C, 71.5 at most",
        "now throttled; since boot under-voltage, throttled",
        "4 % of the cores' time, 2 % stolen by the hypervisor",
        "6.00 W (INA3221 VDD_IN); 12 mJ an inference",
        "INFERENCE_PRECISION_HINT=f32",
        "throttling began after 3 s",
        "XNNPACK: 90 of 90 operators, 1 partition\n",
    ):
        assert expected in words
    assert words.endswith("VALID")


def test_a_run_that_was_not_scored_and_cannot_be_believed_says_so() -> None:
    reasons = ("too few samples: 5, a p90 needs 64", "emulated: timings under an emulator mean nothing")
    run = fabricated.run(
        samples_ns=fabricated.steady_ns(2.0, 5),
        accuracy=None,
        answers=None,
        host_top1=None,
        execution=fabricated.execution(delegate=None, delegated=None, partitions=None),
        verdict=Verdict(valid=False, reasons=reasons),
    )
    words = text(run)
    assert "not measured: give --data" in words
    assert "none: 90 operators on the runtime's own kernels" in words
    assert "too few samples" in words
    assert words.endswith("\n".join(f"  - {reason}" for reason in reasons))
    silent = fabricated.run(execution=fabricated.execution(operators=None, delegate=None))
    assert "not told by the runtime" in text(silent)


def test_a_long_run_shows_its_course_and_what_became_of_frames() -> None:
    run = fabricated.run(series=fabricated.course(40), frames=Frames(rate=30.0, done=1100, dropped=60, late=80))
    words = text(run)
    assert "30/s: 1100 done, 80 late, 60 dropped" in words
    assert "27.5 of 30 frames/s" in words
    course = [line.split() for line in words.splitlines() if " s " in line and line[0].isdigit()]
    assert [row[0] for row in course] == [str(second) for second in range(1, 41, 4)]
    assert course[0][2:] == ["2.0", "2.6", "40.0"]


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [(0.4, 0.6, "int8 pays here"), (1.1, 1.3, "int8 does not pay here"), (0.9, 1.2, "int8 may not pay here")],
    ids=["faster", "slower", "undecided"],
)
def test_whether_a_precision_pays_is_told(low: float, high: float, words: str) -> None:
    speed = Speed(ms=1.0, float_ms=2.0, ratio=((low + high) / 2, low, high), threads=2)
    against = Against(other="tflite_fp32", precision="fp32", speed=speed, agreement=fabricated.agreement())
    told = text(fabricated.int8_run(against=against, budget="met"))
    assert words in told
    assert "98.00 % [89.5, 99.6] with it on 50 photos" in told
    assert "met on the host" in told


def test_runs_elsewhere_are_told_beside_the_hosts_figures(here: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """The exit code is that of what failed there."""
    given: dict[str, Any] = {}

    def run_on(destination: str, *bundles: Path, **named: Any) -> object:
        given.update(named, destination=destination, bundles=bundles)
        return fabricated.remote_run(fabricated.run(), doctor={"findings": [], "install": None})

    monkeypatch.setattr("xedge.cli.run.run_on", run_on)
    timing = ("--threads", 3, "--rate", 30, "--duration", "2m", "--cooldown", "50C", "--no-accuracy")
    done = here("run", "a", "b", "--on", "pi@pi", *timing, "--runtime", "litert", "--provider", "cpu")
    assert done.returncode == 7
    assert "FAILED     big: killed" in done.stdout
    assert "tflite_fp32" in done.stdout
    assert (given["destination"], given["bundles"]) == ("pi@pi", (Path("a"), Path("b")))
    asked = dict(zip(given["arguments"][:-1:2], given["arguments"][1:-1:2], strict=True))
    assert asked == {
        "--threads": "3",
        "--rate": "30.0",
        "--duration": "120.0s",
        "--cooldown": "50.0C",
        "--runtime": "litert",
        "--provider": "cpu",
    }
    assert given["arguments"][-1] == "--no-accuracy"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        pytest.param(("a", "b"), "one bundle runs at a time", id="two bundles"),
        pytest.param(("a", "--on", "pi", "--against", "b"), "--against", id="against one elsewhere"),
        pytest.param(
            ("a", "--no-accuracy", "--data", "photos"), "--data has no effect with --no-accuracy", id="scored and not"
        ),
    ],
)
def test_runs_that_make_no_sense(here: Command, arguments: tuple[str, ...], words: str) -> None:
    done = here("run", *arguments)
    assert done.returncode == UsageError.exit_code
    assert words in done.stderr


def test_the_benchmark_writes_its_page_and_fails_if_nothing_ran(
    here: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = (fabricated.row("tflite", "fp32", (2.0, 2.01, 2.02)), fabricated.failed_row("tflite", "int8"))
    found = fabricated.benchmark(*rows, recommendation=recommend(rows))
    monkeypatch.setattr("xedge.cli.benchmark.benchmark", lambda **given: found)
    command = ("benchmark", "--target", "tflite", "--report", tmp_path / "page.html")
    done = here(*command)
    assert done.returncode == 0, done.stderr
    assert "On this machine take tflite fp32" in done.stdout
    assert "make it: xedge convert --target tflite --precision fp32\n" in done.stdout
    options = ("model.keras", "--calibration", "my photos", "--allow-code", "--size", "64x48")
    told = here("benchmark", *options, "--report", tmp_path / "page.html").stdout
    made = (
        "xedge convert model.keras --target tflite --precision fp32 --size 64x48 --calibration 'my photos' --allow-code"
    )
    assert f"make it: {made}\n" in told
    assert f"report: {tmp_path / 'page.html'}" in done.stdout
    assert "tflite int8" in (tmp_path / "page.html").read_text()
    found = fabricated.benchmark(fabricated.failed_row("tflite", "int8"))
    done = here(*command, "--markdown")
    assert done.returncode == CheckError.exit_code
    assert "| tflite int8 | failed |" in done.stdout


@pytest.mark.parametrize(
    ("parse", "text", "value"),
    [
        pytest.param(values.positive, "3", 3, id="a number"),
        pytest.param(values.batch, "dynamic", "dynamic", id="any batch"),
        pytest.param(values.batch, "4", 4, id="a batch"),
        pytest.param(values.share, "99.5", 0.995, id="a share"),
        pytest.param(values.points, "1.5", 1.5, id="points"),
        pytest.param(values.rate, "30", 30.0, id="a rate"),
        pytest.param(values.seconds, "90", 90.0, id="seconds"),
        pytest.param(values.seconds, "1.5h", 5400.0, id="hours"),
        pytest.param(values.cooldown, "50C", ("temperature_c", 50.0), id="a temperature"),
        pytest.param(values.cooldown, "10m", ("seconds", 600.0), id="a time to cool"),
    ],
)
def test_values_on_the_command_line(parse: Callable[[str], object], text: str, value: object) -> None:
    assert parse(text) == value


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        pytest.param(values.positive, "0", id="no number"),
        pytest.param(values.positive, "-3", id="a negative number"),
        pytest.param(values.batch, "many", id="no batch"),
        pytest.param(values.share, "101", id="more than all"),
        pytest.param(values.rate, "0", id="no frames"),
        pytest.param(values.seconds, "soon", id="no time"),
        pytest.param(values.cooldown, "200C", id="too hot"),
    ],
)
def test_values_that_are_none(parse: Callable[[str], object], text: str) -> None:
    with pytest.raises(UsageError, match=text.removesuffix("C")):
        parse(text)
