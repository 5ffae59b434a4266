"""Summarize a long run as a time series: how the latency changed as the board warmed up, and when it throttled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from xedge.device.readings import Reading
from xedge.device.throttling import new_throttling
from xedge.measuring.latency import Measured

# This number of windows is enough to see a knee in the curve, however long the run is.
WINDOWS = 120
SHORTEST_S = 1.0


@dataclass(frozen=True, kw_only=True)
class Window:
    """One window of a run's time series.

    Args:
        at_s: The end of the window, in seconds from the beginning of the measurement.
        inferences: The number of inferences that ended in the window.
        median_ms: The median latency of these in milliseconds; None if there are none.
        max_ms: The highest latency of these in milliseconds; None if there are none.
        temperature_c: The temperature of the warmest zone at the end of the window, in degrees Celsius; None if the
            board does not report it.
        core_mhz: The clock of the fastest core at the end of the window in MHz; None if unknown.
    """

    at_s: float
    inferences: int
    median_ms: float | None
    max_ms: float | None
    temperature_c: float | None
    core_mhz: float | None


def time_series(measured: Measured, readings: Sequence[Reading]) -> tuple[Window, ...]:
    """Return the time series of a run in at most ``WINDOWS`` windows of equal length.

    Args:
        measured: The raw samples.
        readings: The readings of the board during the run, at least one.
    """
    total_s = measured.ends_ns[-1] / 1e9
    length_s = max(SHORTEST_S, total_s / WINDOWS)
    count = max(1, round(total_s / length_s))
    stretches: list[list[float]] = [[] for _ in range(count)]
    slowest: list[float] = [0.0] * count
    for end, sample, peak in zip(measured.ends_ns, measured.samples_ns, measured.slowest_ns, strict=True):
        index = min(count - 1, int(end / 1e9 / total_s * count))
        stretches[index].append(sample / 1e6)
        slowest[index] = max(slowest[index], peak / 1e6)
    each = measured.inferences / len(measured.samples_ns)
    windows = []
    for index, stretch in enumerate(stretches):
        at_s = total_s * (index + 1) / count
        reading = min(readings, key=lambda one: abs(one.at_s - at_s))
        windows.append(
            Window(
                at_s=at_s,
                inferences=round(each * len(stretch)),
                median_ms=median(stretch) if stretch else None,
                max_ms=slowest[index] if stretch else None,
                temperature_c=reading.temperature_c,
                core_mhz=max(reading.core_mhz, default=None),
            )
        )
    return tuple(windows)


def throttled_at_s(readings: Sequence[Reading]) -> float | None:
    """Return when throttling began, in seconds from the first reading; None if it did not, or if it is unknown."""
    for reading in readings[1:]:
        if new_throttling(readings[0].throttling, reading.throttling):
            return reading.at_s
    return None
