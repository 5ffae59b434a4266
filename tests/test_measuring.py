"""Timing, verdicts and the board, without a clock, a board or a sleep."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from xedge.bench.latency import Latency, Schedule, in_turns, measure, summarize
from xedge.bench.verdict import judge
from xedge.device.board import Board, read_board
from xedge.manifest import Speed


class Clock:
    """Nanoseconds that pass only when an inference says so."""

    def __init__(self) -> None:
        self.now = 0

    def __call__(self) -> int:
        return self.now

    def inference(self, milliseconds: float) -> Callable[[], None]:
        def spend() -> None:
            self.now += int(milliseconds * 1e6)

        return spend


def test_warm_up_is_not_counted() -> None:
    clock = Clock()
    measured = measure(clock.inference(10), Schedule(warmup_s=0.5, runs=7), clock)
    assert measured.samples_ns == (10_000_000,) * 7
    assert measured.warmups == 50


@pytest.mark.parametrize(
    ("milliseconds", "schedule", "expected"),
    [(1, Schedule(), 662), (100, Schedule(), 100), (1000, Schedule(), 64), (10, Schedule(duration_s=3), 300)],
)
def test_schedules(milliseconds: float, schedule: Schedule, expected: int) -> None:
    clock = Clock()
    samples = measure(clock.inference(milliseconds), schedule, clock).samples_ns
    assert len(samples) == expected


def test_percentiles_need_samples() -> None:
    assert summarize([1_000_000] * 63).p90_ms is None
    latency = summarize([1_000_000] * 130)
    assert (latency.p90_ms, latency.p95_ms, latency.p99_ms) == (1.0, 1.0, None)


QUIET = Board(
    model="test board",
    machine="aarch64",
    cores=4,
    governor="performance",
    temperature_c=40.0,
    load_1min=0.1,
    memory_bytes=1 << 30,
    swap_used_bytes=0,
    emulated=False,
)


def steady() -> Latency:
    return summarize([1_000_000 + i % 3 for i in range(200)])


def test_a_quiet_board_is_valid() -> None:
    assert judge(steady(), QUIET, QUIET).valid
    unknown = replace(QUIET, governor=None, load_1min=None, swap_used_bytes=None)
    assert judge(steady(), unknown, unknown).valid


@pytest.mark.parametrize(
    ("before", "after", "word"),
    [
        (replace(QUIET, governor="ondemand"), QUIET, "governor"),
        (replace(QUIET, load_1min=3.0), QUIET, "load"),
        (QUIET, replace(QUIET, swap_used_bytes=1 << 25), "swap"),
        (replace(QUIET, emulated=True), QUIET, "emulated"),
    ],
)
def test_a_troubled_board_is_not(before: Board, after: Board, word: str) -> None:
    verdict = judge(steady(), before, after)
    assert not verdict.valid
    assert [reason.split(":")[0] for reason in verdict.reasons] == [word]


def test_troubled_samples_are_not() -> None:
    assert "too few samples" in judge(summarize([1_000_000] * 10), QUIET, QUIET).reasons[0]
    slower = summarize([1_000_000 + 2_000 * i for i in range(200)])
    assert any(reason.startswith("drift") for reason in judge(slower, QUIET, QUIET).reasons)


def test_the_board_is_read_under_a_root(tmp_path: Path) -> None:
    for path, text in {
        "proc/device-tree/model": "Raspberry Pi 4 Model B Rev 1.4\0",
        "proc/loadavg": "0.42 0.30 0.20 1/100 1234\n",
        "proc/meminfo": "MemTotal: 4000 kB\nSwapTotal: 100 kB\nSwapFree: 60 kB\n",
        "sys/class/thermal/thermal_zone0/temp": "48312\n",
        "sys/class/thermal/thermal_zone1/temp": "broken\n",
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "ondemand\n",
    }.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    board = read_board(tmp_path)
    assert board.model == "Raspberry Pi 4 Model B Rev 1.4"
    assert (board.load_1min, board.governor, board.temperature_c) == (0.42, "ondemand", 48.312)
    assert (board.memory_bytes, board.swap_used_bytes) == (4_096_000, 40_960)


def test_what_is_not_there_is_unknown_not_zero(tmp_path: Path) -> None:
    board = read_board(tmp_path)
    assert board.model is board.governor is board.temperature_c is board.load_1min is None
    assert board.memory_bytes is board.swap_used_bytes is None


def test_two_inferences_are_timed_in_turns() -> None:
    now, log = 0, []

    def taking(name: str, ns: int) -> Callable[[], None]:
        def inference() -> None:
            nonlocal now
            now += ns
            log.append(name)

        return inference

    got = in_turns(taking("a", 2_000_000), taking("b", 8_000_000), lambda: now)
    assert (got.first_ms, got.second_ms) == (2.0, 8.0)
    assert got.ratio == (0.25, 0.25, 0.25)
    assert log[:8] == ["a", "a", "b", "b", "a", "a", "b", "b"]


def test_whether_quantization_pays_is_said_only_where_the_turns_agree() -> None:
    def speed(low: float, high: float) -> Speed:
        return Speed(ms=1.0, float_ms=2.0, ratio=((low + high) / 2, low, high), threads=2)

    assert speed(0.4, 0.6).pays is True
    assert speed(1.1, 1.3).pays is False
    assert speed(0.9, 1.2).pays is None
