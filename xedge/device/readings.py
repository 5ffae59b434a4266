"""The board from moment to moment: temperatures, clocks, throttling, memory and power, while something runs."""

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

# About once a second: often enough to see a fan, seldom enough to cost nothing.
INTERVAL_S = 1.0
# A zone that tells a constant instead of a temperature.
CONSTANT_ZONES = ("PMIC-Die",)
PLAUSIBLE_C = (-40.0, 150.0)


@dataclass(frozen=True, kw_only=True)
class Reading:
    """The board at one moment; None is unknown, never zero.

    Args:
        at_s: when, in seconds since the first reading.
        temperatures_c: by thermal zone.
        core_mhz: the clock of each core that tells it, in order of their paths.
        throttling: what slows it.
        memory_available_bytes, swap_used_bytes: of the system.
        power: of its own meter.
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
        """The warmest zone's."""
        return max(self.temperatures_c.values(), default=None)


def read_now(system: System, at_s: float = 0.0) -> Reading:
    """Return what the board says now."""
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
    """Read the board before, about once a second during, and after what is done within.

    The list grows meanwhile; its last reading is taken on leaving.
    """
    start, stop = clock(), threading.Event()
    readings = [read_now(system)]

    def watch() -> None:
        while not stop.wait(interval_s):
            readings.append(read_now(system, clock() - start))

    thread = threading.Thread(target=watch, name="board", daemon=True)
    thread.start()
    try:
        yield readings
    finally:
        stop.set()
        thread.join()
        readings.append(read_now(system, clock() - start))
