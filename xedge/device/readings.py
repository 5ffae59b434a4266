"""Read the changing state of the board while something runs: temperatures, clocks, throttling, memory and power."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from xedge.device.board import memory
from xedge.device.power import Power
from xedge.device.system import System
from xedge.device.throttling import Throttling
from xedge.device.vendors import read_power, read_throttling

# About one reading per second is often enough to see the effect of a fan, and rare enough to cost nothing.
INTERVAL_S = 1.0
# More readings than this would show nothing that fewer do not.
MOST_READINGS = 1024
# Thermal zones that report a constant instead of a temperature.
CONSTANT_ZONES = ("PMIC-Die",)
PLAUSIBLE_C = (-40.0, 150.0)


@dataclass(frozen=True, kw_only=True)
class Reading:
    """The state of the board at one moment. A field is None if it is unknown.

    Args:
        at_s: The time of the reading, in seconds since the first reading.
        temperatures_c: The temperature of each thermal zone in degrees Celsius, by the name of the zone.
        core_mhz: The clock in MHz of each core that reports it, in the order of their paths.
        throttling: What slows the board down.
        memory_available_bytes: The available memory of the system in bytes.
        swap_used_bytes: The swap space in use in bytes.
        power: The power by the board's own meter.
    """

    at_s: float
    temperatures_c: Mapping[str, float]
    core_mhz: tuple[float, ...]
    throttling: Throttling | None
    memory_available_bytes: int | None
    swap_used_bytes: int | None
    power: Power | None

    @property
    def temperature_c(self) -> float | None:
        """The temperature of the warmest zone in degrees Celsius; None if no zone reports one."""
        return max(self.temperatures_c.values(), default=None)


def read_now(system: System, at_s: float = 0.0) -> Reading:
    """Return the current state of the board.

    Args:
        system: The system whose files are read.
        at_s: The time of the reading, in seconds since the first reading.
    """
    known = memory(system)
    swap = known["SwapTotal"] - known["SwapFree"] if {"SwapTotal", "SwapFree"} <= known.keys() else None
    clocks = (system.number(p) for p in system.paths("sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_cur_freq"))
    return Reading(
        at_s=at_s,
        temperatures_c=_temperatures(system),
        core_mhz=tuple(clock / 1e3 for clock in clocks if clock is not None and clock > 0),
        throttling=read_throttling(system),
        memory_available_bytes=known.get("MemAvailable"),
        swap_used_bytes=swap,
        power=read_power(system),
    )


def _temperatures(system: System) -> dict[str, float]:
    found: dict[str, float] = {}
    for path in system.paths("sys/class/thermal/thermal_zone*/temp"):
        zone = path.rsplit("/", 2)[1]
        name = system.text(f"sys/class/thermal/{zone}/type") or zone
        millidegrees = system.number(path)
        if millidegrees is None or name in CONSTANT_ZONES:
            continue
        if PLAUSIBLE_C[0] <= millidegrees / 1e3 <= PLAUSIBLE_C[1]:
            found[name if name not in found else f"{name} {zone}"] = millidegrees / 1e3
    return found


@contextmanager
def watching(
    system: System, clock: Callable[[], float] = time.monotonic, interval_s: float = INTERVAL_S
) -> Iterator[list[Reading]]:
    """Read the board on entering the context, about once a second inside it, and on leaving it.

    In a long run every second reading is dropped from time to time, and the pauses become longer, so that the readings
    take bounded memory.

    Args:
        system: The system whose files are read.
        clock: A function that returns the time in seconds.
        interval_s: The time between two readings in seconds.

    Yields:
        The list of readings, which grows inside the context; the last one is added on leaving it.
    """
    start, stop = clock(), threading.Event()
    readings = [read_now(system)]

    def watch() -> None:
        pause = interval_s
        while not stop.wait(pause):
            readings.append(read_now(system, clock() - start))
            if len(readings) == MOST_READINGS:
                del readings[1::2]
                pause *= 2

    thread = threading.Thread(target=watch, name="board", daemon=True)
    thread.start()
    try:
        yield readings
    finally:
        stop.set()
        thread.join()
        readings.append(read_now(system, clock() - start))
