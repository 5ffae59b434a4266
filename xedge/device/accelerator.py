"""Which NVIDIA accelerator and TensorRT this is: engines are made for one device and one version."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable
from typing import Any

from xedge.device.system import System

# Of TensorRT 8, 10 and 11; plain on JetPack's development packages.
LIBRARIES = ("libnvinfer.so.11", "libnvinfer.so.10", "libnvinfer.so.8", "libnvinfer.so")


def accelerator_name(system: System) -> str | None:
    """Return the Jetson's model, or the first GPU of a PC; None without one."""
    if system.text("etc/nv_tegra_release") is not None:
        return system.text("proc/device-tree/model")
    listed = system.run(["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"])
    return listed.splitlines()[0].strip() or None if listed else None


def tensorrt_version(load: Callable[[str], Any] = ctypes.CDLL) -> str | None:
    """Return TensorRT's version, such as 8.6.2, as its library says it; None without the library."""
    for name in LIBRARIES:
        try:
            number = int(load(name).getInferLibVersion())
        except (OSError, AttributeError):
            continue
        # 8602 is 8.6.2; from 10 on the major version counts ten thousands: 100300 is 10.3.0.
        unit = 1000 if number < 10_000 else 10_000
        return f"{number // unit}.{number % unit // 100}.{number % 100}"
    return None


def engine_key(system: System, load: Callable[[str], Any] = ctypes.CDLL) -> str | None:
    """Return a folder name that says for what an engine was made; None if that cannot be told, so that none is kept."""
    device, version = accelerator_name(system), tensorrt_version(load)
    if device is None or version is None:
        return None
    return f"{re.sub('[^A-Za-z0-9]+', '-', device).strip('-').lower()}_tensorrt-{version}"
