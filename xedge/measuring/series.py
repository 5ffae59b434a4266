"""A long run as a time series: what latency did while the board warmed up, and when throttling began."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from xedge.device.readings import Reading
from xedge.device.throttling import new_throttling
from xedge.measuring.latency import Measured

# So many points are enough to see a knee, however long the run.
WINDOWS = 120
SHORTEST_S = 1.0


@dataclass(frozen=True, kw_only=True)
class Window:
    """A stretch of a run.

    Args:
        at_s: its end, from the beginning of the measurement.
        inferences: that ended in it.
        median_ms, max_ms: of these; None without any.
        temperature_c: the warmest zone at its end.
        core_mhz: the fastest core's clock at its end.
    """

    at_s: float
    inferences: int
    median_ms: float | None
    max_ms: float | None
    temperature_c: float | None
    core_mhz: float | None


def time_series(measured: Measured, readings: Sequence[Reading]) -> tuple[Window, ...]:
    """Return the run in at most ``WINDOWS`` equal stretches."""
    total_s = measured.ends_ns[-1] / 1e9
    length_s = max(SHORTEST_S, total_s / WINDOWS)
    count = max(1, round(total_s / length_s))
    stretches: list[list[float]] = [[] for _ in range(count)]
    for end, sample in zip(measured.ends_ns, measured.samples_ns, strict=True):
        stretches[min(count - 1, int(end / 1e9 / total_s * count))].append(sample / 1e6)
    windows = []
    for index, stretch in enumerate(stretches):
        at_s = total_s * (index + 1) / count
        reading = min(readings, key=lambda one: abs(one.at_s - at_s))
        windows.append(
            Window(
                at_s=at_s,
                inferences=len(stretch),
                median_ms=median(stretch) if stretch else None,
                max_ms=max(stretch, default=None),
                temperature_c=reading.temperature_c,
                core_mhz=max(reading.core_mhz, default=None),
            )
        )
    return tuple(windows)


def throttled_at_s(readings: Sequence[Reading]) -> float | None:
    """Return when throttling began, in seconds from the first reading; None if it did not, or nobody tells."""
    for reading in readings[1:]:
        if new_throttling(readings[0].throttling, reading.throttling):
            return reading.at_s
    return None
