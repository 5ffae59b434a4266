"""Which runtime's wheels fit a system, and what to install on this one."""

from __future__ import annotations

from xedge.doctor.place import Place
from xedge.runtimes import Runtime, runtimes


def pip_line(place: Place) -> str | None:
    """Return what installs the best runtime for this board and Python; None if no wheel fits."""
    for runtime in runtimes():
        if not misfits(runtime, place):
            line = f"pip install 'xedge[{runtime.name}]'"
            return line if place.virtual else f"python3 -m venv ~/xedge && ~/xedge/bin/{line}"
    return None


def remedy(runtime: Runtime, cause: str, misfit: str) -> str:
    """Return what to do about a runtime that is installed and does not import.

    Args:
        runtime: The runtime.
        cause: Why it does not import.
        misfit: Why its wheels do not fit this system; empty if they do.
    """
    if "NumPy 1" in cause or runtime.wheel.numpy_1:
        return f"pip install 'xedge[{runtime.name}]', which brings numpy<2"
    if "illegal instruction" in cause:
        return f"an older or another runtime: pip install '{runtime.package}' of an earlier release, or another extra"
    if "C library" in cause or "libstdc++" in cause:
        return "a newer system (Raspberry Pi OS Bookworm, JetPack 6), or an older release of the package"
    return f"pip install --force-reinstall '{runtime.package}'" + (f" ({misfit})" if misfit else "")


def misfits(runtime: Runtime, place: Place) -> str:
    """Return why a runtime's wheels do not fit this system; empty if they do."""
    wheel, (major, minor) = runtime.wheel, place.python
    if place.machine not in wheel.machines:
        return f"none for {place.machine}"
    if major != 3 or not wheel.oldest_python <= minor <= wheel.newest_python:
        return f"for Python 3.{wheel.oldest_python} to 3.{wheel.newest_python}"
    name, version = place.libc
    if name == "glibc" and tuple(map(int, version.split(".")[:2])) < wheel.glibc:
        return f"needs glibc {wheel.glibc[0]}.{wheel.glibc[1]}"
    return ""
