"""Which runtimes have wheels for which systems, and what to install on this one."""

from __future__ import annotations

from dataclasses import dataclass

from xedge.device.place import Place


@dataclass(frozen=True, kw_only=True)
class RuntimeWheel:
    """What is known of a runtime's wheels.

    Args:
        name: of xedge's extra.
        import_name: what to import.
        package: on PyPI.
        glibc: the C library that it really needs, whatever its tag says.
        oldest_python, newest_python: minor versions of the Pythons with wheels.
        machines: architectures with wheels.
        numpy_1: whether it was built for NumPy 1.
    """

    name: str
    import_name: str
    package: str
    glibc: tuple[int, int]
    oldest_python: int = 10
    newest_python: int = 14
    machines: tuple[str, ...] = ("x86_64", "aarch64")
    numpy_1: bool = False


# As found in November 2026, by import on such systems where a tag is wrong.
WHEELS = (
    RuntimeWheel(
        name="litert",
        import_name="ai_edge_litert.interpreter",
        package="ai-edge-litert",
        glibc=(2, 34),
    ),
    RuntimeWheel(
        name="tflite",
        import_name="tflite_runtime.interpreter",
        package="tflite-runtime",
        oldest_python=8,
        newest_python=11,
        glibc=(2, 28),
        machines=("x86_64", "aarch64", "armv7l"),
        numpy_1=True,
    ),
    RuntimeWheel(
        name="onnxruntime",
        import_name="onnxruntime",
        package="onnxruntime",
        glibc=(2, 27),
    ),
    RuntimeWheel(
        name="openvino",
        import_name="openvino",
        package="openvino",
        glibc=(2, 28),
    ),
)


def pip_line(place: Place) -> str | None:
    """Return what installs the best runtime for this board and Python; None if no wheel fits."""
    for wheel in WHEELS:
        if not misfits(wheel, place):
            line = f"pip install 'xedge[{wheel.name}]'"
            return line if place.virtual else f"python3 -m venv ~/xedge && ~/xedge/bin/{line}"
    return None


def remedy(wheel: RuntimeWheel, cause: str, misfit: str) -> str:
    """Return what to do about a runtime that is installed and does not import.

    Args:
        wheel: the runtime.
        cause: why it does not.
        misfit: why its wheels do not fit this system; empty if they do.
    """
    if "NumPy 1" in cause or wheel.numpy_1:
        return f"pip install 'xedge[{wheel.name}]', which brings numpy<2"
    if "illegal instruction" in cause:
        return f"an older or another runtime: pip install '{wheel.package}' of an earlier release, or another extra"
    if "C library" in cause or "libstdc++" in cause:
        return "a newer system (Raspberry Pi OS Bookworm, JetPack 6), or an older release of the package"
    return f"pip install --force-reinstall '{wheel.package}'" + (f" ({misfit})" if misfit else "")


def misfits(wheel: RuntimeWheel, place: Place) -> str:
    """Why a runtime's wheels do not fit this system; empty if they do."""
    major, minor = place.python
    if place.machine not in wheel.machines:
        return f"none for {place.machine}"
    if major != 3 or not wheel.oldest_python <= minor <= wheel.newest_python:
        return f"for Python 3.{wheel.oldest_python} to 3.{wheel.newest_python}"
    name, version = place.libc
    if name == "glibc" and tuple(map(int, version.split(".")[:2])) < wheel.glibc:
        return f"needs glibc {wheel.glibc[0]}.{wheel.glibc[1]}"
    return ""
