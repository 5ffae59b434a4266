"""Identify the board: its properties that do not change while it runs."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path

from xedge.device.jetson import Jetson, read_jetson
from xedge.device.system import System


@dataclass(frozen=True, kw_only=True)
class Board:
    """The machine. A field is None if it is unknown.

    Args:
        model: The model of the board, or of the processor if the board does not report its own.
        soc: The chip, as the device tree names it.
        machine: The architecture, as ``uname -m`` prints it.
        cores: The number of cores that this process may use.
        core_mhz: The highest clock of each core in MHz, in the order of the cores; cores with equal clocks belong to
            the same cluster.
        governors: The governors of the clocks, each of them once.
        memory_bytes: The memory of the system in bytes.
        jetson: What NVIDIA's system says about a Jetson; None on other boards.
        emulated: Whether the processor that programs see is emulated on one of another architecture.
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
    """Identify the board from the system's files.

    Args:
        system: The system whose files are read; None takes this machine.
    """
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
    """Return whether an x86 processor is visible underneath QEMU's user mode.

    It is always visible in /sys, and in /proc/cpuinfo up to version 8 of QEMU.
    """
    known = system.text("sys/devices/system/cpu/modalias") or ""
    return known.startswith("cpu:type:x86") or "vendor_id" in system.fields("proc/cpuinfo")


def usable_cores() -> int:
    """Return the number of cores that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1


def memory(system: System) -> dict[str, int]:
    """Return the values of /proc/meminfo in bytes, by their names."""
    values = {}
    for name, value in system.fields("proc/meminfo").items():
        parts = value.split()
        if parts and parts[0].isdigit():
            values[name] = int(parts[0]) * 1024
    return values


def _per_core(system: System, file: str) -> list[str]:
    """Return the paths of a file about the clock of each core, in the order of the cores."""
    found = system.paths(f"sys/devices/system/cpu/cpu[0-9]*/cpufreq/{file}")
    return sorted(found, key=lambda path: int(Path(path).parts[4].removeprefix("cpu")))


def _soc(system: System) -> str | None:
    """Return the last name in the device tree, which is the most general: ``brcm,bcm2711`` or ``nvidia,tegra234``."""
    names = (system.text("proc/device-tree/compatible") or "").split("\0")
    return names[-1] or None
