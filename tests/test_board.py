"""Boards as their makers' files and programs describe them, in a folder; with what is broken, missing and changing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import count
from pathlib import Path

import pytest

from tests.machine import until
from xedge.device.board import read_board
from xedge.device.readings import Reading, read_now, watching
from xedge.device.system import System
from xedge.device.throttling import new_throttling
from xedge.device.vendors import read_power, read_throttling

CPU = "sys/devices/system/cpu"
PMIC = """   3V7_WL_SW_A current(0)=0.10000000A
   3V3_SYS_A current(1)=0.20000000A
   VDD_CORE_A current(7)=3.00000000A
   3V7_WL_SW_V volt(8)=3.70000000V
   3V3_SYS_V volt(9)=3.30000000V
   VDD_CORE_V volt(15)=0.80000000V
   EXT5V_V volt(24)=5.10000000V
"""
JETSON_CLOCKS = """SOC family:tegra234  Machine:NVIDIA Jetson Orin Nano
Online CPUs: 0-1
cpu0:  Online=1 Governor=schedutil MinFreq=1510400 MaxFreq=1510400 CurrentFreq=1510400 IdleStates: WFI=0 c7=0
cpu1:  Online=1 Governor=schedutil MinFreq=1510400 MaxFreq=1510400 CurrentFreq=1510400 IdleStates: WFI=0 c7=0
"""


def cores(count: int, megahertz: int, governor: str = "ondemand") -> dict[str, str]:
    files = {}
    for core in range(count):
        folder = f"{CPU}/cpu{core}/cpufreq"
        files[f"{folder}/scaling_governor"] = governor
        files[f"{folder}/cpuinfo_max_freq"] = files[f"{folder}/scaling_cur_freq"] = str(megahertz * 1000)
    return files


def pi(name: str, soc: str, megahertz: int) -> dict[str, str]:
    return {
        "proc/device-tree/model": f"{name}\0",
        "proc/device-tree/compatible": f"raspberrypi,board\0brcm,{soc}\0",
        "sys/class/thermal/thermal_zone0/type": "cpu-thermal",
        "sys/class/thermal/thermal_zone0/temp": "48312",
        **cores(4, megahertz),
    }


INA = "sys/bus/i2c/devices/1-0040/hwmon/hwmon4"
IIO = "sys/bus/i2c/drivers/ina3221x/6-0040/iio:device0"
SOCTHERM = "sys/devices/platform/soctherm-oc-event/hwmon/hwmon1"
NV = "# {major} (release), REVISION: {minor}, GCID: 1, BOARD: generic, EABI: aarch64, DATE: Thu"


def jetson(name: str, major: str, minor: str) -> dict[str, str]:
    return {
        "proc/device-tree/model": f"{name}\0",
        "proc/device-tree/compatible": "nvidia,board\0nvidia,tegra\0",
        "etc/nv_tegra_release": NV.format(major=major, minor=minor),
        "sys/class/thermal/thermal_zone0/type": "CPU-therm",
        "sys/class/thermal/thermal_zone0/temp": "51500",
        "sys/class/thermal/thermal_zone1/type": "PMIC-Die",
        "sys/class/thermal/thermal_zone1/temp": "100000",
        **cores(4, 1479, "schedutil"),
    }


def orin(name: str, major: str, minor: str) -> dict[str, str]:
    return {
        **jetson(name, major, minor),
        f"{INA}/in1_label": "VDD_IN",
        f"{INA}/in1_input": "5000",
        f"{INA}/curr1_input": "1200",
        f"{INA}/in2_label": "VDD_CPU_GPU_CV",
        f"{INA}/in2_input": "5000",
        f"{INA}/curr2_input": "300",
        f"{SOCTHERM}/oc1_event_cnt": "0",
        f"{SOCTHERM}/oc3_event_cnt": "2",
    }


BOARDS: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    "pi3": (
        pi("Raspberry Pi 3 Model B Plus Rev 1.3", "bcm2837", 1400),
        {"vcgencmd get_throttled": "throttled=0x50005\n"},
    ),
    "pi4": (
        {
            **pi("Raspberry Pi 4 Model B Rev 1.4", "bcm2711", 1800),
            "sys/devices/platform/soc/soc:firmware/get_throttled": "50000\n",
        },
        {},
    ),
    "pi5": (
        pi("Raspberry Pi 5 Model B Rev 1.0", "bcm2712", 2400),
        {"vcgencmd get_throttled": "throttled=0x0\n", "vcgencmd pmic_read_adc": PMIC},
    ),
    "zero2": (pi("Raspberry Pi Zero 2 W Rev 1.0", "bcm2837", 1000), {"vcgencmd get_throttled": "throttled=0xe0008\n"}),
    "nano_jetpack4": (
        {
            **jetson("NVIDIA Jetson Nano Developer Kit", "R32", "7.4"),
            f"{IIO}/rail_name_0": "POM_5V_IN",
            f"{IIO}/in_power0_input": "3850",
            f"{IIO}/rail_name_1": "POM_5V_CPU",
            f"{IIO}/in_power1_input": "900",
        },
        {"nvpmodel -q": "NV Power Mode: MAXN\n0\n"},
    ),
    "xavier_jetpack5": (
        {
            **jetson("NVIDIA Jetson Xavier NX Developer Kit", "R35", "4.1"),
            f"{INA}/in1_label": "VDD_IN",
            f"{INA}/in1_input": "4960",
            f"{INA}/curr1_input": "880",
        },
        {"nvpmodel -q": "NV Power Mode: MODE_15W_6CORE\n2\n"},
    ),
    "orin_jetpack6": (
        orin("NVIDIA Jetson Orin Nano Developer Kit", "R36", "4.0"),
        {"nvpmodel -q": "NV Power Mode: 15W\n0\n", "jetson_clocks --show": JETSON_CLOCKS},
    ),
    "orin_jetpack7": (orin("NVIDIA Jetson AGX Orin", "R39", "1.0"), {}),
}


def board(folder: Path, files: Mapping[str, str], programs: Mapping[str, str]) -> System:
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)

    def run(arguments: Sequence[str]) -> str | None:
        return programs.get(" ".join(arguments))

    return System(root=folder, run=run)


@pytest.fixture
def system(request: pytest.FixtureRequest, tmp_path: Path) -> System:
    return board(tmp_path, *BOARDS[request.param])


@pytest.mark.parametrize("system", BOARDS, indirect=True)
def test_every_board_says_what_it_is(system: System) -> None:
    found, now = read_board(system), read_now(system)
    assert found.model is not None
    assert "\0" not in found.model
    assert found.soc is not None
    assert len(found.core_mhz) == len(now.core_mhz) == 4
    assert len(found.governors) == 1
    assert now.temperature_c in (48.312, 51.5)
    assert (found.jetson is not None) == ("Jetson" in found.model)


@pytest.mark.parametrize(
    ("system", "now", "since_boot"),
    [
        ("pi3", ("under-voltage", "throttled"), ("under-voltage", "throttled")),
        ("pi4", (), ("under-voltage", "throttled")),
        ("pi5", (), ()),
        ("zero2", ("soft temperature limit",), ("frequency capped", "throttled", "soft temperature limit")),
    ],
    indirect=["system"],
    ids=["pi3", "pi4", "pi5", "zero2"],
)
def test_a_pi_says_why_it_is_slow(system: System, now: tuple[str, ...], since_boot: tuple[str, ...]) -> None:
    found = read_throttling(system)
    assert found is not None
    assert (found.now, found.since_boot) == (now, since_boot)


@pytest.mark.parametrize(
    ("system", "watts", "meter"),
    [
        ("pi3", None, ""),
        ("pi4", None, ""),
        ("pi5", 0.1 * 3.7 + 0.2 * 3.3 + 3.0 * 0.8, "PMIC rails, without peripherals"),
        ("nano_jetpack4", 3.85, "INA3221 POM_5V_IN"),
        ("xavier_jetpack5", 4.96 * 0.88, "INA3221 VDD_IN"),
        ("orin_jetpack6", 6.0, "INA3221 VDD_IN"),
    ],
    indirect=["system"],
    ids=["pi3", "pi4", "pi5", "nano_jetpack4", "xavier_jetpack5", "orin_jetpack6"],
)
def test_power_is_what_the_board_meters_or_unknown(system: System, watts: float | None, meter: str) -> None:
    power = read_power(system)
    if watts is None:
        assert power is None
    else:
        assert power is not None
        assert power.watts == pytest.approx(watts)
        assert power.meter == meter


@pytest.mark.parametrize(
    ("system", "jetpack", "mode", "fixed"),
    [
        ("nano_jetpack4", "4", "MAXN", None),
        ("xavier_jetpack5", "5", "MODE_15W_6CORE", None),
        ("orin_jetpack6", "6", "15W", True),
        ("orin_jetpack7", "7", None, None),
    ],
    indirect=["system"],
    ids=["nano_jetpack4", "xavier_jetpack5", "orin_jetpack6", "orin_jetpack7"],
)
def test_a_jetson_says_its_jetpack_and_mode(system: System, jetpack: str, mode: str | None, fixed: bool | None) -> None:
    found = read_board(system).jetson
    assert found is not None
    assert (found.jetpack, found.power_mode, found.clocks_fixed) == (jetpack, mode, fixed)


def test_events_of_a_jetson_count_from_the_run_on(tmp_path: Path) -> None:
    system = board(tmp_path, *BOARDS["orin_jetpack6"])
    before = read_throttling(system)
    assert before is not None
    assert before.events == {"oc1": 0, "oc3": 2}
    assert new_throttling(before, read_throttling(system)) == ()
    (tmp_path / SOCTHERM / "oc3_event_cnt").write_text("5")
    assert new_throttling(before, read_throttling(system)) == ("over-current oc3",)


@pytest.mark.parametrize(
    "damage",
    ["", "garbage", "nan", "-256000", "0x", "\0"],
    ids=["empty", "garbage", "nan", "too little", "cut off", "a null byte"],
)
@pytest.mark.parametrize("name", BOARDS)
def test_broken_files_are_unknown_and_nothing_else(name: str, damage: str, tmp_path: Path) -> None:
    files, programs = BOARDS[name]
    system = board(tmp_path, dict.fromkeys(files, damage), dict.fromkeys(programs, damage))
    found, now = read_board(system), read_now(system)
    assert found.jetson is None
    assert now.temperature_c is None
    assert now.power is None
    assert now.throttling is None or not (now.throttling.now or now.throttling.since_boot)


def test_an_empty_board_is_unknown_not_zero(tmp_path: Path) -> None:
    system = board(tmp_path, {}, {})
    found, now = read_board(system), read_now(system)
    assert (found.model, found.soc, found.memory_bytes, found.jetson) == (None,) * 4
    assert (found.core_mhz, found.governors) == ((), ())
    assert (now.temperature_c, now.throttling, now.swap_used_bytes, now.power) == (None,) * 4


def _holds(readings: list[Reading], wanted: int) -> bool:
    return len(readings) >= wanted


def test_a_board_is_watched_while_it_changes(tmp_path: Path) -> None:
    system = board(tmp_path, *BOARDS["pi4"])
    zone, seconds = tmp_path / "sys/class/thermal/thermal_zone0/temp", count()
    with watching(system, lambda: float(next(seconds)), interval_s=0.01) as readings:
        for temperature in ("50000", "61000", "gone"):
            if temperature == "gone":
                zone.unlink()
            else:
                zone.write_text(temperature)
            wanted = len(readings) + 2
            until(partial(_holds, readings, wanted))
    told = [reading.temperature_c for reading in readings]
    assert told[0] == 48.312
    assert {50.0, 61.0} <= set(told)
    assert told[-1] is None
    assert [r.at_s for r in readings] == sorted(r.at_s for r in readings)
