"""Measure the steady-state latency of single inferences, one after another, and keep every sample."""

from __future__ import annotations

import gc
import time
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import mean, median, quantiles

from xedge.errors import UsageError, parameter
from xedge.measuring.percentile import early_stopping_estimate, samples_needed

Clock = Callable[[], int]
MINIMUM_SAMPLES = samples_needed(0.90)
# This number is enough for every percentile that is reported. More samples would only cost the user's time.
ENOUGH_SAMPLES = samples_needed(0.99)
# Of longer runs fewer samples are kept, so that they take a few megabytes however long a run is.
MOST_SAMPLES = 1 << 16


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How long to warm up, and how long to measure.

    Args:
        warmup_s: The least duration of the warm-up in seconds; it has at least three inferences in any case.
        runs: The exact number of samples; None lets the time decide.
        duration_s: The duration of the measurement in seconds; None stops at 662 samples, or after 10 s if there are at
            least 64 by then.
        rate: The number of frames that arrive per second, whether or not the previous one is done. None starts each
            inference as soon as the previous one is done.
    """

    warmup_s: float = 0.5
    runs: int | None = None
    duration_s: float | None = None
    rate: float | None = None

    def __post_init__(self) -> None:
        if self.runs is not None and self.duration_s is not None:
            raise UsageError(
                f"{parameter('runs')} and {parameter('duration_s')} both say when to stop; give one of them"
            )

    def done(self, samples: int, elapsed_s: float) -> bool:
        """Return whether enough was measured.

        Args:
            samples: The number of samples so far.
            elapsed_s: The seconds since the measurement began.
        """
        if self.runs is not None:
            return samples >= self.runs
        if self.duration_s is not None:
            return elapsed_s >= self.duration_s
        return samples >= ENOUGH_SAMPLES or (samples >= MINIMUM_SAMPLES and elapsed_s >= 10.0)


@dataclass(frozen=True, kw_only=True)
class Latency:
    """Figures that are derived from the samples. A percentile is None if there are too few samples for it.

    Args:
        samples: The number of timed inferences from which the figures are derived.
        min_ms: The lowest latency in milliseconds.
        mean_ms: The mean latency in milliseconds.
        p50_ms: The median latency in milliseconds.
        p90_ms: MLPerf's early-stopping estimate of the 90th percentile in milliseconds.
        p95_ms: MLPerf's early-stopping estimate of the 95th percentile in milliseconds.
        p99_ms: MLPerf's early-stopping estimate of the 99th percentile in milliseconds.
        spread: The interquartile range divided by the median.
        drift: The median of the last tenth of the samples divided by that of the first tenth, minus 1; None below 20
            samples.
        per_second: The throughput of inferences that run one after another, per second.
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
    """The raw samples. Of a run with more than ``MOST_SAMPLES`` inferences, every second, fourth or later one is kept.

    Args:
        samples_ns: The latency of each inference that was kept in nanoseconds, in order. With a frame rate it counts
            from the arrival of the frame.
        ends_ns: The end of each inference that was kept, in nanoseconds from the beginning of the measurement.
        slowest_ns: The highest latency in nanoseconds among each inference that was kept and those after it that were
            not.
        inferences: The number of inferences that were timed.
        warmups: The number of inferences in the warm-up.
        dropped: The number of frames that were skipped because a newer one had arrived; None without a frame rate.
        late: The number of frames that were done only after the next one had arrived; None without a frame rate.
    """

    samples_ns: tuple[int, ...]
    ends_ns: tuple[int, ...]
    slowest_ns: tuple[int, ...]
    inferences: int
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
        inference: A function that performs one inference.
        schedule: The duration of the warm-up and of the measurement, and the frame rate.
        clock: A function that returns the time in nanoseconds, such as ``time.perf_counter_ns``.
        sleep: A function that waits for a number of seconds; it is called to wait for the next frame.
    """
    start, warmups = clock(), 0
    while warmups < 3 or (clock() - start) / 1e9 < schedule.warmup_s:
        inference()
        warmups += 1
    frames = _Frames(schedule.rate, clock, sleep) if schedule.rate is not None else None
    kept, late = _Kept(), 0
    period_ns = 1e9 / schedule.rate if schedule.rate is not None else 0.0
    with _collector_off():
        begin = now = clock()
        while not schedule.done(kept.inferences, (now - begin) / 1e9):
            came = clock() if frames is None else frames.next()
            inference()
            now = clock()
            kept.add(now - came, now - begin)
            late += now - came > period_ns
    return Measured(
        samples_ns=tuple(kept.samples),
        ends_ns=tuple(kept.ends),
        slowest_ns=tuple(kept.slowest),
        inferences=kept.inferences,
        warmups=warmups,
        dropped=frames.dropped if frames is not None else None,
        late=late if frames is not None else None,
    )


class _Kept:
    """Samples in bounded memory, however long the run is.

    When there are ``MOST_SAMPLES``, every second one is dropped, and from then on only half as many are kept.
    """

    def __init__(self) -> None:
        self.samples, self.ends, self.slowest = array("q"), array("q"), array("q")
        self.inferences, self._every = 0, 1

    def add(self, sample: int, end: int) -> None:
        """Take the latency of an inference and its end, both in nanoseconds."""
        if self.inferences % self._every == 0:
            self.samples.append(sample)
            self.ends.append(end)
            self.slowest.append(sample)
        elif sample > self.slowest[-1]:
            self.slowest[-1] = sample
        self.inferences += 1
        if len(self.samples) == MOST_SAMPLES and self.inferences % self._every == 0:
            self.slowest = array("q", map(max, self.slowest[::2], self.slowest[1::2]))
            self.samples, self.ends = self.samples[::2], self.ends[::2]
            self._every *= 2


class _Frames:
    """Frames that arrive at a fixed rate.

    A consumer that falls behind gets the newest frame; the older frames that it did not take are dropped. The latency
    of a frame counts from its arrival, not from the moment at which the consumer was free; otherwise the time that the
    frame waited would not be measured (coordinated omission).
    """

    def __init__(self, rate: float, clock: Clock, sleep: Callable[[float], object]) -> None:
        self.period_ns, self.clock, self.sleep = 1e9 / rate, clock, sleep
        self.begin = clock()
        self.number = 0
        self.dropped = 0

    def next(self) -> int:
        """Take the newest frame, or wait for the next one, and return the time of its arrival in nanoseconds."""
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
    """The latencies of two inferences that were timed in turns, so that a drift of the machine affects both alike.

    Args:
        first_ms: The median latency of the first inference in milliseconds.
        second_ms: The median latency of the second inference in milliseconds.
        ratio: The median over the turns of the first latency divided by the second, then the 5 % and 95 % quantiles.
    """

    first_ms: float
    second_ms: float
    ratio: tuple[float, float, float]


def in_turns(first: Callable[[], object], second: Callable[[], object], clock: Clock) -> InTurns:
    """Time two inferences in turns.

    Each runs once untimed before it is timed, because the other one has displaced its data from the caches.

    Args:
        first: A function that performs the first inference.
        second: A function that performs the second inference.
        clock: A function that returns the time in nanoseconds.
    """
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
    """Return the figures that are derived from the samples.

    Args:
        samples_ns: One or more latencies in nanoseconds, in the order in which they were measured.
    """
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
