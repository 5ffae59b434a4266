"""Steady-state latency of one photo after another, every sample kept."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import mean, median, quantiles

from xedge.measuring.percentile import early_stopping_estimate, samples_needed

Clock = Callable[[], int]
MINIMUM_SAMPLES = samples_needed(0.90)
# Enough for every percentile that is reported; more only costs the user's time.
ENOUGH_SAMPLES = samples_needed(0.99)


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How long to warm up and to measure.

    Args:
        warmup_s: at least this long, and at least three inferences.
        runs: exactly this many samples; None lets the time decide.
        duration_s: measure this long; None stops at 662 samples, or after 10 s with at least 64.
        rate: frames per second that come whether the last is done or not; None takes one when the last is done.
    """

    warmup_s: float = 0.5
    runs: int | None = None
    duration_s: float | None = None
    rate: float | None = None

    def done(self, samples: int, elapsed_s: float) -> bool:
        """Whether enough was measured."""
        if self.runs is not None:
            return samples >= self.runs
        if self.duration_s is not None:
            return elapsed_s >= self.duration_s
        return samples >= ENOUGH_SAMPLES or (samples >= MINIMUM_SAMPLES and elapsed_s >= 10.0)


@dataclass(frozen=True, kw_only=True)
class Latency:
    """Figures derived from the samples, in milliseconds; a percentile is None when the samples are too few for it.

    Args:
        samples: number of timed inferences.
        p90_ms, p95_ms, p99_ms: MLPerf's early-stopping estimates.
        spread: interquartile range over the median.
        drift: median of the last tenth over that of the first, minus 1; None below 20 samples.
        per_second: inferences per second of wall time, one after another.
    """

    samples: int
    min_ms: float
    mean_ms: float
    p50_ms: float
    p90_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    spread: float
    drift: float | None
    per_second: float


@dataclass(frozen=True, kw_only=True)
class Measured:
    """The raw samples.

    Args:
        samples_ns: one for each inference, in order; with a rate, from when the frame came to when it was done.
        ends_ns: when each was done, from the beginning of the measurement.
        warmups: inferences before it.
        dropped: frames that were never looked at, because a newer one had come; None without a rate.
        late: frames that were done after the next had come; None without a rate.
    """

    samples_ns: tuple[int, ...]
    ends_ns: tuple[int, ...]
    warmups: int
    dropped: int | None = None
    late: int | None = None


def measure(
    inference: Callable[[], object],
    schedule: Schedule,
    clock: Clock,
    sleep: Callable[[float], object] = time.sleep,
) -> Measured:
    """Warm up, then time inferences.

    Args:
        inference: one inference.
        schedule: how many.
        clock: nanoseconds, as ``time.perf_counter_ns``.
        sleep: waits for seconds, until the next frame comes.
    """
    start, warmups = clock(), 0
    while warmups < 3 or (clock() - start) / 1e9 < schedule.warmup_s:
        inference()
        warmups += 1
    frames = _Frames(schedule.rate, clock, sleep) if schedule.rate is not None else None
    samples: list[int] = []
    ends: list[int] = []
    with _collector_off():
        begin = now = clock()
        while not schedule.done(len(samples), (now - begin) / 1e9):
            came = clock() if frames is None else frames.next()
            inference()
            now = clock()
            samples.append(now - came)
            ends.append(now - begin)
    period_ns = 1e9 / schedule.rate if schedule.rate is not None else 0.0
    return Measured(
        samples_ns=tuple(samples),
        ends_ns=tuple(ends),
        warmups=warmups,
        dropped=frames.dropped if frames is not None else None,
        late=sum(sample > period_ns for sample in samples) if frames is not None else None,
    )


class _Frames:
    """Frames that come at a fixed rate; who is late finds the newest, and the ones before it are lost.

    A frame's time counts from when it came, not from when somebody had time for it: otherwise waiting would not be
    measured (coordinated omission).
    """

    def __init__(self, rate: float, clock: Clock, sleep: Callable[[float], object]) -> None:
        self.period_ns, self.clock, self.sleep = 1e9 / rate, clock, sleep
        self.begin = clock()
        self.number = 0
        self.dropped = 0

    def next(self) -> int:
        """Wait for the next frame, or take the newest that waits; return when it came."""
        waiting = int((self.clock() - self.begin) // self.period_ns)
        if waiting > self.number:
            self.dropped += waiting - self.number
            self.number = waiting
        came = self.begin + int(self.number * self.period_ns)
        self.number += 1
        while (left := came - self.clock()) > 0:
            self.sleep(left / 1e9)
        return came


TURNS = 12


@dataclass(frozen=True, kw_only=True)
class InTurns:
    """Two inferences timed in turns, so that a drift of the machine falls on both alike.

    Args:
        first_ms, second_ms: medians.
        ratio: median of first over second, and the 5 % and 95 % quantiles over the turns.
    """

    first_ms: float
    second_ms: float
    ratio: tuple[float, float, float]


def in_turns(first: Callable[[], object], second: Callable[[], object], clock: Clock) -> InTurns:
    """Time two inferences in turns; before each is timed it runs once, for the other has taken the caches."""
    times: list[tuple[int, int]] = []
    with _collector_off():
        for _ in range(TURNS):
            turn = []
            for inference in (first, second):
                inference()
                start = clock()
                inference()
                turn.append(clock() - start)
            times.append((turn[0], turn[1]))
    ratios = quantiles([a / b for a, b in times], n=20)
    middle = median(a / b for a, b in times)
    return InTurns(
        first_ms=median(a for a, _ in times) / 1e6,
        second_ms=median(b for _, b in times) / 1e6,
        ratio=(middle, min(ratios[0], middle), max(ratios[-1], middle)),
    )


@contextmanager
def _collector_off() -> Iterator[None]:
    was_on = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def summarize(samples_ns: Sequence[int]) -> Latency:
    """Return the figures of the samples (at least one)."""
    ms = [sample / 1e6 for sample in samples_ns]
    ordered = sorted(ms)
    quarter = len(ms) // 4
    middle = median(ms)
    return Latency(
        samples=len(ms),
        min_ms=ordered[0],
        mean_ms=mean(ms),
        p50_ms=middle,
        p90_ms=early_stopping_estimate(ms, 0.90),
        p95_ms=early_stopping_estimate(ms, 0.95),
        p99_ms=early_stopping_estimate(ms, 0.99),
        spread=(ordered[-1 - quarter] - ordered[quarter]) / middle,
        drift=_drift(ms),
        per_second=1000 / mean(ms),
    )


def _drift(ms: list[float]) -> float | None:
    tenth = len(ms) // 10
    return None if tenth < 2 else median(ms[-tenth:]) / median(ms[:tenth]) - 1
