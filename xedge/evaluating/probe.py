"""What a worker's process has, asked before work starts; it imports nothing that the worker may lack.

This module is sent to workers by value, for a worker may not have xedge.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform

# The processor's name is told, because other processors may round otherwise in the last bit.
_NOT_INSTALLED = "not installed"


def probed(packages: tuple[str, ...], place: str | None) -> dict[str, str]:
    """Return the versions that results depend on, each as a text.

    Args:
        packages: The names of packages.
        place: A path that the worker has to be able to read; None asks for none.
    """
    found = {"python": platform.python_version(), "machine": platform.machine()}
    for package in packages:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = _NOT_INSTALLED
    if place is not None:
        found["photos"] = "readable" if os.access(place, os.R_OK) else "not readable"
    found["processor"] = _processor()
    return found


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:  # noqa: PTH123 - sent by value
            for line in file:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return "unknown"
