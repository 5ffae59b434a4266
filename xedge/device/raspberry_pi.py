"""Read what a Raspberry Pi says about itself in addition to the usual Linux files."""

from __future__ import annotations

import re

from xedge.device.power import Power
from xedge.device.system import System
from xedge.device.throttling import Throttling

PMIC_LINE = re.compile(r"(\S+)_([AV]) (?:current|volt)\(\d+\)=([0-9.]+)[AV]")
# The meaning of the bits of get_throttled. The bits that are 16 places higher mean the same "since boot".
BITS = {0: "under-voltage", 1: "frequency capped", 2: "throttled", 3: "soft temperature limit"}
SINCE_BOOT = 16
# The firmware's own file, whose path depends on the kernel. If there is none, the firmware's program is asked.
THROTTLED_FILES = (
    "sys/devices/platform/soc/soc:firmware/get_throttled",
    "sys/devices/platform/axi/axi:firmware/get_throttled",
)


def read_power(system: System) -> Power | None:
    """Return the power of a Raspberry Pi 5, summed over the rails of its power chip; None on other boards."""
    if "Raspberry Pi 5" not in (system.text("proc/device-tree/model") or ""):
        return None
    rails: dict[str, dict[str, float]] = {}
    for name, unit, value in PMIC_LINE.findall(system.run(["vcgencmd", "pmic_read_adc"]) or ""):
        rails.setdefault(name, {})[unit] = float(value)
    products = [rail["A"] * rail["V"] for rail in rails.values() if {"A", "V"} <= rail.keys()]
    return Power(watts=sum(products), meter="PMIC rails, without peripherals") if products else None


def read_throttling(system: System) -> Throttling | None:
    """Return what the firmware says about throttling; None if it is unknown, which does not mean no throttling."""
    bits = _throttled_bits(system)
    if bits is None:
        return None
    return Throttling(
        now=tuple(name for bit, name in BITS.items() if bits >> bit & 1),
        since_boot=tuple(name for bit, name in BITS.items() if bits >> (bit + SINCE_BOOT) & 1),
    )


def _throttled_bits(system: System) -> int | None:
    for path in THROTTLED_FILES:
        bits = _hexadecimal(system.text(path))
        if bits is not None:
            return bits
    said = system.run(["vcgencmd", "get_throttled"])
    return _hexadecimal(said.strip().removeprefix("throttled=")) if said else None


def _hexadecimal(text: str | None) -> int | None:
    try:
        bits = int(text, 16) if text is not None else -1
    except ValueError:
        return None
    return bits if bits >= 0 else None
