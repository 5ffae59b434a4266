"""Identify the NVIDIA accelerator and the version of TensorRT, because an engine is made for one device and version."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable
from typing import Any

from xedge.device.system import System

# The libraries of TensorRT 11, 10 and 8; the last name is that of JetPack's development packages.
LIBRARIES = ("libnvinfer.so.11", "libnvinfer.so.10", "libnvinfer.so.8", "libnvinfer.so")


def accelerator_name(system: System) -> str | None:
    """Return the model of a Jetson, or the name of the first GPU of a PC; None without an accelerator."""
    if system.text("etc/nv_tegra_release") is not None:
        return system.text("proc/device-tree/model")
    listed = system.run(["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"])
    return listed.splitlines()[0].strip() or None if listed else None


def tensorrt_version(load: Callable[[str], Any] = ctypes.CDLL) -> str | None:
    """Return the version of TensorRT, such as 8.6.2, as its library gives it; None without the library.

    Args:
        load: A function that loads a shared library by its name.
    """
    for name in LIBRARIES:
        try:
            number = int(load(name).getInferLibVersion())
        except (OSError, AttributeError):
            continue
        # The number 8602 means 8.6.2. From version 10 on, the major version counts ten thousands: 100300 means 10.3.0.
        unit = 1000 if number < 10_000 else 10_000
        return f"{number // unit}.{number % unit // 100}.{number % 100}"
    return None


def engine_key(system: System, load: Callable[[str], Any] = ctypes.CDLL) -> str | None:
    """Return a name for the folder of engines that were made for this accelerator and version of TensorRT.

    Args:
        system: The system on which the accelerator is looked for.
        load: A function that loads a shared library by its name.

    Returns:
        The name; None if the accelerator or the version is unknown, in which case no engine is kept.
    """
    device, version = accelerator_name(system), tensorrt_version(load)
    if device is None or version is None:
        return None
    return f"{re.sub('[^A-Za-z0-9]+', '-', device).strip('-').lower()}_tensorrt-{version}"
