"""Cold starts, and several photos at once, on the real runtimes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import Command
from xedge import convert, run
from xedge.errors import UsageError
from xedge.measuring.cold import ColdStart


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
        (made,) = convert(target="onnx", batch=batch, output=tmp_path / str(batch))  # type: ignore[arg-type]
        report = run(made.path, data=None, runs=5, threads=2, streams=2)
        assert report.streams is not None
        assert (report.streams.sessions, report.streams.threads) == (1, 2)
    with pytest.raises(UsageError, match="the artifact takes 2 photos at once; give 2"):
        run(tmp_path / "2", data=None, runs=5, streams=3)


def test_the_report_has_a_table_of_cold_starts(here: Command, bundles: Path) -> None:
    done = here("run", bundles / "tflite_fp32", "--no-accuracy", "--runs", 5, "--cold-starts", 2, "--streams", 2)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    header = next(index for index, line in enumerate(lines) if line.startswith("cold start "))
    assert [line.split()[0] for line in lines[header + 2 : header + 5]] == ["1", "2", "median"]
    assert any(line.startswith("offline") and "photos/s" in line for line in lines)
