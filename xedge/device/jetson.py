"""Read what an NVIDIA Jetson says about itself in addition to the usual Linux files."""

from __future__ import annotations

import re
from dataclasses import dataclass

from xedge.device.power import Power
from xedge.device.system import System
from xedge.device.throttling import Throttling

# The major releases of NVIDIA's L4T, each with the JetPack to which it belongs.
JETPACKS = {"R32": "4", "R34": "5", "R35": "5", "R36": "6", "R38": "7", "R39": "7"}
RELEASE = re.compile(r"# (R\d+) \(release\), REVISION: ([0-9.]+)")
OVER_CURRENT = "sys/devices/platform/*soctherm*/hwmon/hwmon*/oc*_event_cnt"
# The names that makers of boards give to the rail that supplies the whole board.
TOTALS = ("VDD_IN", "POM_5V_IN", "VIN_SYS_5V0", "VDD_5V_IN")


@dataclass(frozen=True, kw_only=True)
class Jetson:
    """What NVIDIA's system says about a Jetson.

    Args:
        release: The release of L4T, such as ``R36.4.0``.
        jetpack: The JetPack to which the release belongs; None if it is unknown.
        power_mode: The power mode, as ``nvpmodel -q`` prints it; None if it is unknown.
        clocks_fixed: Whether ``jetson_clocks`` holds the processors at their highest clock; None if it is unknown.
    """

    release: str
    jetpack: str | None
    power_mode: str | None
    clocks_fixed: bool | None


def read_jetson(system: System) -> Jetson | None:
    """Return what NVIDIA's system says; None on other boards."""
    found = RELEASE.match(system.text("etc/nv_tegra_release") or "")
    if found is None:
        return None
    major, minor = found.groups()
    mode = re.search(r"NV Power Mode: (\S+)", system.run(["nvpmodel", "-q"]) or "")
    return Jetson(
        release=f"{major}.{minor}",
        jetpack=JETPACKS.get(major),
        power_mode=mode.group(1) if mode else None,
        clocks_fixed=_clocks_fixed(system.run(["jetson_clocks", "--show"])),
    )


def _clocks_fixed(told: str | None) -> bool | None:
    """Return whether the lowest clock of every online core is its highest one; None if it is unknown."""
    pairs = re.findall(r"^cpu\d+: +Online=1 .*?MinFreq=(\d+) MaxFreq=(\d+)", told or "", re.MULTILINE)
    return all(low == high for low, high in pairs) if pairs else None


def read_throttling(system: System) -> Throttling | None:
    """Return the counts of over-current events; None if the board does not count them."""
    events = {}
    for path in system.paths(OVER_CURRENT):
        count = system.number(path)
        if count is not None:
            events[path.rsplit("/", 1)[1].removesuffix("_event_cnt")] = int(count)
    return Throttling(events=events) if events else None


def read_power(system: System) -> Power | None:
    """Return the power that the board's INA3221 chip measures; None without this chip.

    JetPack 4 shows it in other files than the later ones.
    """
    return _ina3221(system) or _iio(system)


def _ina3221(system: System) -> Power | None:
    """Read the power on JetPack 5 or later, from the millivolts and milliamperes of each channel."""
    rails: dict[str, float] = {}
    for path in system.paths("sys/bus/i2c/devices/*/hwmon/hwmon*/in*_label"):
        folder, file = path.rsplit("/", 1)
        channel = file.removeprefix("in").removesuffix("_label")
        label = system.text(path)
        volts, amperes = (system.number(f"{folder}/{kind}{channel}_input") for kind in ("in", "curr"))
        if label and label != "NC" and volts is not None and amperes is not None and min(volts, amperes) >= 0:
            rails[label] = volts * amperes / 1e6
    return _total(rails, "INA3221")


def _iio(system: System) -> Power | None:
    """Read the power on JetPack 4, from the milliwatts of each channel."""
    rails: dict[str, float] = {}
    for path in system.paths("sys/bus/i2c/drivers/ina3221x/*/iio:device*/rail_name_*"):
        folder, file = path.rsplit("/", 1)
        label = system.text(path)
        milliwatts = system.number(f"{folder}/in_power{file.removeprefix('rail_name_')}_input")
        if label and milliwatts is not None and milliwatts >= 0:
            rails[label] = milliwatts / 1e3
    return _total(rails, "INA3221")


def _total(rails: dict[str, float], meter: str) -> Power | None:
    for name in TOTALS:
        if name in rails:
            return Power(watts=rails[name], meter=f"{meter} {name}")
    # If no rail supplies the whole board, the sum of the rails is returned. They are named, so that the sum cannot be
    # mistaken for the power of the whole board.
    return Power(watts=sum(rails.values()), meter=f"{meter} {' + '.join(sorted(rails))}") if rails else None
