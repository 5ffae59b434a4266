"""What a board measures of its own power, in watts; None where it has no meter."""

from __future__ import annotations

import re
from dataclasses import dataclass

from xedge.device.system import System

PMIC_LINE = re.compile(r"(\S+)_([AV]) (?:current|volt)\(\d+\)=([0-9.]+)[AV]")
# Rails that hold everything else, by the names of the boards' makers.
TOTALS = ("VDD_IN", "POM_5V_IN", "VIN_SYS_5V0", "VDD_5V_IN")


@dataclass(frozen=True, kw_only=True)
class Power:
    """A reading.

    Args:
        watts: of the board, or of what is metered of it.
        meter: what measured it, and what it leaves out.
    """

    watts: float
    meter: str


def read_power(system: System) -> Power | None:
    """Return what the board's meter says now."""
    return _ina3221(system) or _iio(system) or _pi_pmic(system)


def _pi_pmic(system: System) -> Power | None:
    """A Raspberry Pi 5: voltage times current of each rail of its power chip."""
    if "Raspberry Pi 5" not in (system.text("proc/device-tree/model") or ""):
        return None
    rails: dict[str, dict[str, float]] = {}
    for name, unit, value in PMIC_LINE.findall(system.run(["vcgencmd", "pmic_read_adc"]) or ""):
        rails.setdefault(name, {})[unit] = float(value)
    products = [rail["A"] * rail["V"] for rail in rails.values() if {"A", "V"} <= rail.keys()]
    return Power(watts=sum(products), meter="PMIC rails, without peripherals") if products else None


def _ina3221(system: System) -> Power | None:
    """A Jetson with JetPack 5 or later: millivolts and milliamperes of each channel."""
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
    """A Jetson with JetPack 4: milliwatts of each channel."""
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
    # Boards without a rail for the whole: what is metered, rails named so that nobody takes it for more.
    return Power(watts=sum(rails.values()), meter=f"{meter} {' + '.join(sorted(rails))}") if rails else None
