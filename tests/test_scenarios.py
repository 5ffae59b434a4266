"""Cold starts and several photos at once, on the real runtimes; energy by a board's meter."""

from __future__ import annotations

from math import sqrt
from pathlib import Path

import pytest

from tests import fabricated
from tests.conftest import Command
from xedge import convert, run
from xedge.cli.run_text import text
from xedge.device.power import Power
from xedge.device.system import System
from xedge.errors import UsageError
from xedge.measuring.cold import ColdStart
from xedge.measuring.energy import energy_of, idle_watts


@pytest.mark.parametrize("target", ["tflite", "onnx", "openvino"])
def test_photos_at_once_and_cold_starts_are_told(target: str, bundles: Path) -> None:
    bundle = bundles / f"{target}_int8"
    report = run(bundle, data=None, runs=20, threads=2, streams=3, cold_starts=2)
    streams, cold = report.streams, report.cold_starts
    assert streams is not None
    assert (streams.photos, streams.sessions, streams.threads) == (3, 3, 1)
    assert streams.queries.samples == 20
    assert streams.multistream_per_second == pytest.approx(3 * streams.queries.per_second)
    assert streams.offline_s >= 2
    # A query of three photos takes longer than one photo, and less than a second.
    assert report.latency.min_ms < streams.queries.p50_ms < 1000
    assert streams.offline_per_second > 1
    assert cold is not None
    assert len(cold.starts) == 2
    for one in cold.starts:
        assert 0 < one.first_ms < one.import_ms + one.load_ms + one.first_ms < one.start_to_first_result_ms
        assert one.peak_memory_bytes > 20e6
    middle = sum(one.load_ms for one in cold.starts) / 2
    assert isinstance(cold.median, ColdStart)
    assert cold.median.load_ms == pytest.approx(middle)


def test_an_artifact_for_several_photos_gets_them_in_one_call(tmp_path: Path) -> None:
    for batch in (2, "dynamic"):
        (made,) = convert(target="onnx", batch=batch, output=tmp_path / str(batch))
        report = run(made.path, data=None, runs=5, threads=2, streams=2)
        assert report.streams is not None
        assert (report.streams.sessions, report.streams.threads) == (1, 2)
    with pytest.raises(UsageError, match="the artifact takes 2 photos at once; give 2"):
        run(tmp_path / "2", data=None, runs=5, streams=3)


IIO = "sys/bus/i2c/drivers/ina3221x/6-0040/iio:device0"


def test_the_idle_power_is_taken_off(tmp_path: Path) -> None:
    meter = tmp_path / IIO / "in_power0_input"
    meter.parent.mkdir(parents=True)
    (meter.parent / "rail_name_0").write_text("VDD_IN\n")
    meter.write_text("4000\n")
    waits: list[float] = []

    def busier(seconds: float) -> None:
        waits.append(seconds)
        meter.write_text(f"{4000 + 20 * len(waits)}\n")

    idle = idle_watts(System(root=tmp_path), busier)
    assert idle == pytest.approx((4.0, 4.02, 4.04, 4.06, 4.08, 4.1))
    power = [Power(watts=watts, meter="INA3221") for watts in (4.1, 6.0, 6.2, 6.1, 4.2)]
    found = energy_of(idle, [fabricated.reading(power=one) for one in power], 20.0)
    assert found is not None
    assert found.joules == pytest.approx(6.1 * 0.02)
    assert found.idle_watts == pytest.approx(4.05)
    assert found.above_idle_j is not None
    # Student's t for 2 and 5 degrees of freedom, standard deviations 0.1 and 0.0374.
    half = sqrt((4.303 * 0.1 / sqrt(3)) ** 2 + (2.571 * 0.037417 / sqrt(6)) ** 2)
    assert found.above_idle_j == pytest.approx([0.02 * watts for watts in (2.05, 2.05 - half, 2.05 + half)], rel=1e-3)


def test_a_board_without_a_meter_is_not_waited_for(tmp_path: Path) -> None:
    waits: list[float] = []
    assert idle_watts(System(root=tmp_path), waits.append) == ()
    assert not waits
    assert energy_of((), [fabricated.reading()] * 4, 20.0) is None


def test_the_report_has_a_table_of_cold_starts(here: Command, bundles: Path) -> None:
    done = here("run", bundles / "tflite_fp32", "--no-accuracy", "--runs", 5, "--cold-starts", 2, "--streams", 2)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    header = next(index for index, line in enumerate(lines) if line.startswith("cold start "))
    assert [line.split()[0] for line in lines[header + 2 : header + 5]] == ["1", "2", "median"]
    assert any(line.startswith("offline") and "photos/s" in line for line in lines)


def test_what_else_fails_keeps_what_was_measured(bundles: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fresh processes that cannot be started, here because Python does not find what they need."""
    monkeypatch.setattr("xedge.processes._MODULE", "raise SystemExit('nothing is here')")
    report = run(bundles / "tflite_fp32", data=None, runs=5, cold_starts=2, profile=False)
    assert report.latency.samples == 5
    assert report.cold_starts is None
    (words,) = report.not_measured
    assert words.startswith("2 cold starts: ")
    assert "nothing is here" in words
    assert f"NOTE: not measured: {words}" in text(report)
