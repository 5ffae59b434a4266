"""Why a board runs slower than it could: what it says of now, of the time since it booted, and counted events."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from xedge.device.system import System

# Bits of the Raspberry Pi's get_throttled; 16 places higher they mean "since boot".
BITS = {0: "under-voltage", 1: "frequency capped", 2: "throttled", 3: "soft temperature limit"}
SINCE_BOOT = 16
# The firmware's own file, by kernel; then its program.
PI_FILES = (
    "sys/devices/platform/soc/soc:firmware/get_throttled",
    "sys/devices/platform/axi/axi:firmware/get_throttled",
)
JETSON_EVENTS = "sys/devices/platform/*soctherm*/hwmon/hwmon*/oc*_event_cnt"


@dataclass(frozen=True, kw_only=True)
class Throttling:
    """What slows a board.

    Args:
        now: names of what does so now.
        since_boot: of what did since the board booted.
        events: over-current events of a Jetson by name, counted since it booted.
    """

    now: tuple[str, ...] = ()
    since_boot: tuple[str, ...] = ()
    events: Mapping[str, int] = field(default_factory=dict)


def read_throttling(system: System) -> Throttling | None:
    """Return what the board says; None where it says nothing, which is not the same as no throttling."""
    bits = _pi_bits(system)
    if bits is not None:
        return Throttling(
            now=tuple(name for bit, name in BITS.items() if bits >> bit & 1),
            since_boot=tuple(name for bit, name in BITS.items() if bits >> (bit + SINCE_BOOT) & 1),
        )
    events = {}
    for path in system.paths(JETSON_EVENTS):
        count = system.number(path)
        if count is not None:
            events[path.rsplit("/", 1)[1].removesuffix("_event_cnt")] = int(count)
    return Throttling(events=events) if events else None


def new_throttling(before: Throttling | None, after: Throttling | None) -> tuple[str, ...]:
    """Return what began between two looks, or was there at the second."""
    if after is None:
        return ()
    before = before or Throttling()
    names = [*after.now, *(name for name in after.since_boot if name not in before.since_boot)]
    names += [f"over-current {name}" for name, count in after.events.items() if count > before.events.get(name, 0)]
    return tuple(dict.fromkeys(names))


def _pi_bits(system: System) -> int | None:
    for path in PI_FILES:
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
