"""Find the runtimes whose wheels fit a system, and what to install on it."""

from __future__ import annotations

from xedge.doctor.place import Place
from xedge.runtimes import Runtime, runtimes


def pip_line(place: Place) -> str | None:
    """Return the command that installs the best runtime for this board and Python; None if no wheel fits."""
    for runtime in runtimes():
        if not misfits(runtime, place):
            line = f"pip install 'xedge[{runtime.name}]'"
            return line if place.virtual else f"python3 -m venv ~/xedge && ~/xedge/bin/{line}"
    return None


def remedy(runtime: Runtime, cause: str, misfit: str) -> str:
    """Return what to do about a runtime that is installed but does not work.

    Args:
        runtime: The runtime.
        cause: The reason why it does not work.
        misfit: The reason why its wheels do not fit this system; empty if they fit.
    """
    if "NumPy 1" in cause or runtime.wheel.numpy_1:
        return f"pip install 'xedge[{runtime.name}]', which brings numpy<2"
    if "illegal instruction" in cause:
        return f"install an older release of '{runtime.package}' with pip, or another runtime"
    if "C library" in cause or "libstdc++" in cause:
        return "use a newer system (Raspberry Pi OS Bookworm, JetPack 6), or an older release of the package"
    return f"pip install --force-reinstall '{runtime.package}'" + (f" (no wheel fits: {misfit})" if misfit else "")


def misfits(runtime: Runtime, place: Place) -> str:
    """Return why the wheels of a runtime do not fit this system; empty if they fit.

    Args:
        runtime: The runtime.
        place: The machine.
    """
    wheel, (major, minor) = runtime.wheel, place.python
    if place.machine not in wheel.machines:
        return f"there are none for {place.machine}"
    if major != 3 or not wheel.oldest_python <= minor <= wheel.newest_python:
        return f"they are for Python 3.{wheel.oldest_python} to 3.{wheel.newest_python}"
    name, version = place.libc
    if name == "glibc" and tuple(map(int, version.split(".")[:2])) < wheel.glibc:
        return f"they need glibc {wheel.glibc[0]}.{wheel.glibc[1]}"
    return ""
