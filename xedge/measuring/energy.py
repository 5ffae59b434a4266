"""Joules for an inference, by the board's own meter, with and without the power that the idle board takes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import mean

from xedge.device.readings import Reading
from xedge.device.system import System
from xedge.device.vendors import read_power
from xedge.metrics import mean95

# The idle power is read so often, with so many seconds between two readings.
IDLE_READINGS, IDLE_PAUSE_S = 6, 0.5


@dataclass(frozen=True, kw_only=True)
class Energy:
    """The energy of an inference. Its interval is one of noise, not of the meter's own error.

    Args:
        joules: The energy in joules, the idle power included: mean power times mean latency.
        idle_watts: The mean power in watts before anything was loaded.
        above_idle_j: The energy in joules without the idle power, and its 95 % interval; None if there were fewer than
            two readings during the timing.
    """

    joules: float
    idle_watts: float
    above_idle_j: tuple[float, float, float] | None


def idle_watts(system: System, sleep: Callable[[float], object] = time.sleep) -> tuple[float, ...]:
    """Return readings of the board's power in watts, before anything is loaded; none without a meter.

    Args:
        system: The system whose files are read.
        sleep: A function that waits for a number of seconds.
    """
    found = []
    for number in range(IDLE_READINGS):
        if number:
            sleep(IDLE_PAUSE_S)
        power = read_power(system)
        if power is None:
            break
        found.append(power.watts)
    return tuple(found)


def energy_of(idle: Sequence[float], readings: Sequence[Reading], mean_ms: float) -> Energy | None:
    """Return the energy of an inference; None without a meter.

    Args:
        idle: Readings of the power in watts before anything was loaded.
        readings: The readings around the timing, of which the first and the last are taken while no inference runs.
        mean_ms: The mean latency in milliseconds.
    """
    busy = [reading.power.watts for reading in readings[1:-1] if reading.power is not None]
    if not busy or not idle:
        return None
    above = None
    if len(busy) > 1 and len(idle) > 1:
        (first, low, _), (second, other, _) = mean95(busy), mean95(idle)
        # Two independent means: their half-widths add up as their variances do.
        difference, half = first - second, sqrt((first - low) ** 2 + (second - other) ** 2)
        watts = (difference, difference - half, difference + half)
        above = (watts[0] * mean_ms / 1000, watts[1] * mean_ms / 1000, watts[2] * mean_ms / 1000)
    return Energy(joules=mean(busy) * mean_ms / 1000, idle_watts=mean(idle), above_idle_j=above)
