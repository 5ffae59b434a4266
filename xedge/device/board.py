"""Read the board with the standard library alone; every path lies under a root that tests can replace."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Board:
    """The machine at one moment; None is unknown, never zero.

    Args:
        model: of the board or the processor.
        machine: the architecture, as ``uname -m`` says.
        cores: that this process may use.
        governor: of the first core's clock.
        temperature_c: the warmest thermal zone.
        load_1min: processes that ran or waited, averaged over the last minute.
        memory_bytes, swap_used_bytes: of the system.
        emulated: whether the processor is not of the architecture that programs see.
    """

    model: str | None
    machine: str
    cores: int
    governor: str | None
    temperature_c: float | None
    load_1min: float | None
    memory_bytes: int | None
    swap_used_bytes: int | None
    emulated: bool


def read_board(root: Path = Path("/")) -> Board:
    """Return what the files under ``root`` say now."""
    memory = _memory(root)
    swap = None
    if "SwapTotal" in memory and "SwapFree" in memory:
        swap = memory["SwapTotal"] - memory["SwapFree"]
    load = _text(root / "proc/loadavg")
    machine = platform.machine()
    return Board(
        model=_text(root / "proc/device-tree/model") or _cpu_field(root, "model name"),
        machine=machine,
        cores=usable_cores(),
        governor=_text(root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        temperature_c=_temperature(root),
        load_1min=_number(load.split()[0]) if load else None,
        memory_bytes=memory.get("MemTotal"),
        swap_used_bytes=swap,
        # QEMU's user mode shows the host's processor in /proc/cpuinfo.
        emulated=machine.startswith(("aarch64", "arm")) and _cpu_field(root, "vendor_id") is not None,
    )


def usable_cores() -> int:
    """Return how many cores this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1


def _text(path: Path) -> str | None:
    try:
        return path.read_text(errors="replace").rstrip("\0\n ") or None
    except OSError:
        return None


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _cpu_field(root: Path, name: str) -> str | None:
    for line in (_text(root / "proc/cpuinfo") or "").splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return None


def _memory(root: Path) -> dict[str, int]:
    values = {}
    for line in (_text(root / "proc/meminfo") or "").splitlines():
        key, _, value = line.partition(":")
        parts = value.split()
        if parts and parts[0].isdigit():
            values[key] = int(parts[0]) * 1024
    return values


def _temperature(root: Path) -> float | None:
    zones = (root / "sys/class/thermal").glob("thermal_zone*/temp")
    readings = [reading for zone in zones if (reading := _number(_text(zone) or "")) is not None]
    return max(readings) / 1000 if readings else None
