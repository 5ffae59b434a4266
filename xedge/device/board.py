"""Which board this is: what does not change while it runs."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path

from xedge.device.jetson import Jetson, read_jetson
from xedge.device.system import System


@dataclass(frozen=True, kw_only=True)
class Board:
    """The machine; None is unknown, never zero.

    Args:
        model: of the board or the processor.
        soc: the chip, as the device tree names it.
        machine: the architecture, as ``uname -m`` says.
        cores: that this process may use.
        core_mhz: the highest clock of each core, in the cores' order; equal ones are of one cluster.
        governors: of the clocks, each once.
        memory_bytes: of the system.
        jetson: on a Jetson.
        emulated: whether the processor is not of the architecture that programs see.
    """

    model: str | None
    soc: str | None
    machine: str
    cores: int
    core_mhz: tuple[float, ...]
    governors: tuple[str, ...]
    memory_bytes: int | None
    jetson: Jetson | None
    emulated: bool


def read_board(system: System | None = None) -> Board:
    """Return what the board's files say."""
    system = system or System()
    machine, processor = platform.machine(), system.fields("proc/cpuinfo")
    clocks = [system.number(path) for path in _per_core(system, "cpuinfo_max_freq")]
    governors = [system.text(path) for path in _per_core(system, "scaling_governor")]
    return Board(
        model=system.text("proc/device-tree/model") or processor.get("model name"),
        soc=_soc(system),
        machine=machine,
        cores=usable_cores(),
        core_mhz=tuple(clock / 1e3 for clock in clocks if clock is not None and clock > 0),
        governors=tuple(dict.fromkeys(governor for governor in governors if governor is not None)),
        memory_bytes=memory(system).get("MemTotal"),
        jetson=read_jetson(system),
        emulated=machine.startswith(("aarch64", "arm")) and _is_x86(system),
    )


def _is_x86(system: System) -> bool:
    """Whether the processor under QEMU's user mode shows: through versions 8 in /proc/cpuinfo, always in /sys."""
    known = system.text("sys/devices/system/cpu/modalias") or ""
    return known.startswith("cpu:type:x86") or "vendor_id" in system.fields("proc/cpuinfo")


def usable_cores() -> int:
    """Return how many cores this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1


def memory(system: System) -> dict[str, int]:
    """Return /proc/meminfo in bytes."""
    values = {}
    for name, value in system.fields("proc/meminfo").items():
        parts = value.split()
        if parts and parts[0].isdigit():
            values[name] = int(parts[0]) * 1024
    return values


def _per_core(system: System, file: str) -> list[str]:
    """Return the paths of a file of every core's clock, in the cores' order."""
    found = system.paths(f"sys/devices/system/cpu/cpu[0-9]*/cpufreq/{file}")
    return sorted(found, key=lambda path: int(Path(path).parts[4].removeprefix("cpu")))


def _soc(system: System) -> str | None:
    """The last of the device tree's names is the most general: ``brcm,bcm2711``, ``nvidia,tegra234``."""
    names = (system.text("proc/device-tree/compatible") or "").split("\0")
    return names[-1] or None
