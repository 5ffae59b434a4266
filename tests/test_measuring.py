"""Timing, verdicts and the board; all but the last tests without a clock, a board or a sleep."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from tests import fabricated
from tests.conftest import Command
from xedge.bundle.manifest import Speed
from xedge.device.board import Board
from xedge.device.contention import Contention, Ticks, average, contention_between, read_ticks
from xedge.device.cooldown import Cooldown, cool_down
from xedge.device.readings import Reading
from xedge.device.system import System
from xedge.device.throttling import Throttling
from xedge.errors import ResourceError, UsageError
from xedge.measuring import latency
from xedge.measuring.latency import Latency, Schedule, in_turns, measure, summarize
from xedge.measuring.series import throttled_at_s, time_series
from xedge.measuring.verdict import judge


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
    [
        pytest.param(1, Schedule(), 662, id="fast"),
        pytest.param(100, Schedule(), 100, id="ten seconds"),
        pytest.param(1000, Schedule(), 64, id="slow"),
        pytest.param(10, Schedule(duration_s=3), 300, id="for a time"),
    ],
)
def test_schedules(milliseconds: float, schedule: Schedule, expected: int) -> None:
    clock = Clock()
    samples = measure(clock.inference(milliseconds), schedule, clock).samples_ns
    assert len(samples) == expected


def test_percentiles_need_samples() -> None:
    assert summarize([1_000_000] * 63).p90_ms is None
    latency = summarize([1_000_000] * 130)
    assert (latency.p90_ms, latency.p95_ms, latency.p99_ms) == (1.0, 1.0, None)


BOARD, QUIET = fabricated.board(), fabricated.reading()


def steady() -> Latency:
    return summarize([1_000_000 + i % 3 for i in range(200)])


def test_a_quiet_board_is_valid() -> None:
    assert judge(steady(), BOARD, [QUIET, QUIET], Contention(processes=0.1, stolen=0.05)).valid
    unknown = replace(QUIET, throttling=None, swap_used_bytes=None, temperatures_c={}, core_mhz=())
    assert judge(steady(), replace(BOARD, governors=(), core_mhz=()), [unknown, unknown], None).valid
    old = replace(QUIET, throttling=Throttling(since_boot=("under-voltage",)))
    assert judge(steady(), BOARD, [old, old], None).valid


@pytest.mark.parametrize(
    ("board", "after", "word"),
    [
        pytest.param(replace(BOARD, governors=("ondemand",)), QUIET, "governor", id="governor"),
        pytest.param(replace(BOARD, emulated=True), QUIET, "emulated", id="emulated"),
        pytest.param(BOARD, replace(QUIET, swap_used_bytes=1 << 25), "swap", id="swap"),
        pytest.param(
            BOARD,
            replace(QUIET, throttling=Throttling(since_boot=("under-voltage",))),
            "throttling",
            id="under-voltage",
        ),
        pytest.param(BOARD, replace(QUIET, throttling=Throttling(events={"oc1": 1})), "throttling", id="over-current"),
    ],
)
def test_a_troubled_board_is_not(board: Board, after: Reading, word: str) -> None:
    verdict = judge(steady(), board, [QUIET, after], None)
    assert not verdict.valid
    assert [reason.split(":")[0] for reason in verdict.reasons] == [word]


@pytest.mark.parametrize(
    ("contention", "words"),
    [
        (
            Contention(processes=0.25, stolen=0),
            ["load: other processes used 25 % of the cores' time during the timing"],
        ),
        (
            Contention(processes=0, stolen=0.08),
            ["stolen: the hypervisor gave 8 % of the cores' time to other machines"],
        ),
    ],
    ids=["other processes", "other machines"],
)
def test_a_shared_processor_is_not(contention: Contention, words: list[str]) -> None:
    assert list(judge(steady(), BOARD, [QUIET, QUIET], contention).reasons) == words


STAT = "cpu  {user} 0 100 5000 10 0 5 {steal} 0 0\ncpu0 0 0 0 0 0 0 0 0 0 0\n"


def ticks(root: Path, user: int, own: int, steal: int = 0) -> Ticks | None:
    (root / "proc").mkdir(exist_ok=True)
    (root / "proc/stat").write_text(STAT.format(user=user, steal=steal))
    second = os.sysconf("SC_CLK_TCK")
    return read_ticks(System(root=root), lambda: (own / second, 20 / second, 3 / second, 4 / second, 900.0))


def test_what_others_do_is_what_is_busy_and_not_ours(tmp_path: Path) -> None:
    before = ticks(tmp_path, user=1000, own=50)
    assert before == Ticks(total=6115, busy=1105, stolen=0, own=77)
    after = ticks(tmp_path, user=1160, own=170, steal=40)
    assert contention_between(before, after) == Contention(processes=0.2, stolen=0.2)
    assert contention_between(before, None) is contention_between(None, after) is None
    stands_still = ticks(tmp_path, user=1000, own=170)
    assert contention_between(before, before) is contention_between(before, stands_still) is None
    for damage in ("", "cpu", "cpu  a b c d e f g h", "cpu 1 2 3"):
        (tmp_path / "proc/stat").write_text(damage)
        assert read_ticks(System(root=tmp_path)) is None


def test_turns_are_averaged_where_all_are_known() -> None:
    turns = [Contention(processes=0.1, stolen=0.0), Contention(processes=0.3, stolen=0.2)]
    found = average(turns)
    assert found is not None
    assert (found.processes, found.stolen) == pytest.approx((0.2, 0.1))
    assert average([*turns, None]) is average([]) is None


def test_troubled_samples_are_not() -> None:
    calm = [QUIET, QUIET]
    assert "too few samples" in judge(summarize([1_000_000] * 10), BOARD, calm, None).reasons[0]
    slower = summarize([1_000_000 + 2_000 * i for i in range(200)])
    assert any(reason.startswith("drift") for reason in judge(slower, BOARD, calm, None).reasons)


@pytest.mark.parametrize(
    ("milliseconds", "done", "dropped", "late"),
    [(5, 100, 0, 0), (10, 100, 0, 0), (15, 67, 32, 66), (40, 25, 72, 25)],
    ids=["5 ms", "10 ms", "15 ms", "40 ms"],
)
def test_frames_come_whether_the_last_is_done_or_not(milliseconds: float, done: int, dropped: int, late: int) -> None:
    """100 frames a second for a second; who is late takes the newest."""
    clock = Clock()

    def sleep(seconds: float) -> None:
        clock.now += round(seconds * 1e9)

    schedule = Schedule(warmup_s=0, duration_s=1.0, rate=100)
    measured = measure(clock.inference(milliseconds), schedule, clock, sleep)
    assert len(measured.samples_ns) == pytest.approx(done, abs=1)
    assert measured.dropped == pytest.approx(dropped, abs=2)
    assert measured.late == pytest.approx(late, abs=1)
    if late:
        # Waiting counts: a frame's time begins when it came.
        assert max(measured.samples_ns) >= milliseconds * 1e6


def test_a_time_series_shows_when_a_board_slows_down() -> None:
    clock = Clock()
    slow = Throttling(now=("throttled",))
    readings = [replace(QUIET, at_s=float(s), throttling=slow if s >= 6 else Throttling()) for s in range(11)]
    readings = [replace(r, temperatures_c={"cpu": 40.0 + 4 * r.at_s}, core_mhz=(600.0,)) for r in readings]

    def inference() -> None:
        clock.now += 20_000_000 if clock.now > 6e9 else 10_000_000

    measured = measure(inference, Schedule(warmup_s=0, duration_s=10), clock)
    series = time_series(measured, readings)
    assert [round(w.at_s) for w in series] == list(range(1, 11))
    assert series[0].median_ms == 10
    assert series[-1].median_ms == 20
    assert series[-1].temperature_c == pytest.approx(80, abs=4)
    assert throttled_at_s(readings) == 6
    assert throttled_at_s(readings[:5]) is None


def test_cooling_down(tmp_path: Path) -> None:
    zone = tmp_path / "sys/class/thermal/thermal_zone0/temp"
    zone.parent.mkdir(parents=True)
    zone.write_text("62000")
    seconds = 0.0

    def sleep(length: float) -> None:
        nonlocal seconds
        seconds += length
        zone.write_text(str(62_000 - int(1000 * seconds)))

    system = System(root=tmp_path, run=lambda arguments: None)
    assert cool_down(Cooldown(temperature_c=50), system, lambda: seconds, sleep) == pytest.approx(12, abs=1)
    zone.write_text("broken")
    with pytest.raises(ResourceError, match="does not report its temperature"):
        cool_down(Cooldown(temperature_c=50), system, lambda: seconds, sleep)
    assert cool_down(Cooldown(seconds=3), system, lambda: seconds, sleep) == 3


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


@pytest.mark.parametrize(
    "options",
    [("--cooldown", "nanC"), ("--cooldown", "hotC"), ("--cooldown", "-1s"), ("--rate", "0"), ("--rate", "inf")],
    ids=" ".join,
)
def test_times_temperatures_and_rates_that_are_none(options: tuple[str, str], xedge: Command) -> None:
    done = xedge("run", "bundle", *options)
    assert done.returncode == UsageError.exit_code
    assert len(done.stderr.strip().splitlines()) == 1


def test_another_program_beside_it_makes_it_invalid(xedge: Command, bundles: Path, tmp_path: Path) -> None:
    """Every core has company."""
    endless = [sys.executable, "-c", "while True: pass"]
    with ExitStack() as stack:
        for _ in range(os.cpu_count() or 1):
            company = stack.enter_context(subprocess.Popen(endless))
            stack.callback(company.kill)
        done = xedge("run", bundles / "tflite_int8", "--no-accuracy", "--json", tmp_path / "run.json")
    assert done.returncode == 0, done.stderr
    run = json.loads((tmp_path / "run.json").read_text())
    assert run["contention"]["processes"] > 0.2
    assert any(reason.startswith("load: ") for reason in run["verdict"]["reasons"])
    assert "of the cores' time" in done.stdout


def test_a_run_of_any_length_takes_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Later samples stand for several, but the slowest of them is kept."""
    monkeypatch.setattr(latency, "MOST_SAMPLES", 64)
    clock, warm = Clock(), [1.0] * 3
    milliseconds = iter([*warm, *(50.0 if number == 801 else 1 + number % 7 / 10 for number in range(1000))])

    def inference() -> None:
        clock.now += int(next(milliseconds) * 1e6)

    measured = measure(inference, Schedule(runs=1000, warmup_s=0.0), clock)
    assert measured.inferences == 1000
    assert 32 <= len(measured.samples_ns) < 64
    assert len(measured.samples_ns) == len(measured.ends_ns) == len(measured.slowest_ns)
    assert max(measured.slowest_ns) >= 50e6 > max(measured.samples_ns)
    assert sorted(measured.ends_ns) == list(measured.ends_ns)
    windows = time_series(measured, [fabricated.reading()])
    assert sum(window.inferences for window in windows) == pytest.approx(1000, rel=0.05)
    assert max(window.max_ms or 0.0 for window in windows) == pytest.approx(50.0, rel=0.05)
