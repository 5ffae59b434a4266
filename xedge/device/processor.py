"""What the processor's instructions can do, as far as it matters to networks."""

from __future__ import annotations

from xedge.device.system import System

# What Linux calls vector arithmetic in half precision on Arm.
HALF = "asimdhp"
# What it calls instructions for products of 8-bit integers, on Arm and on x86.
DOT_PRODUCTS = ("asimddp", "i8mm", "avx512_vnni", "avx_vnni", "avx_vnni_int8", "amx_int8")


def has_half_arithmetic(system: System | None = None) -> bool:
    """Whether this processor is an Arm one with vector arithmetic in half precision.

    Args:
        system: The system whose files are read; None takes this machine.
    """
    return HALF in _features(system)


def has_dot_product(system: System | None = None) -> bool | None:
    """Whether the processor has instructions for products of 8-bit integers; None if it does not tell.

    Args:
        system: The system whose files are read; None takes this machine.
    """
    features = _features(system)
    return any(name in features for name in DOT_PRODUCTS) if features else None


def is_arm_without_dot_product(system: System | None = None) -> bool:
    """Whether this is known to be an Arm processor without instructions for products of 8-bit integers.

    Args:
        system: The system whose files are read; None takes this machine.
    """
    told = (system or System()).fields("proc/cpuinfo")
    return "Features" in told and has_dot_product(system) is False  # x86 calls them flags


def _features(system: System | None) -> list[str]:
    told = (system or System()).fields("proc/cpuinfo")
    return (told.get("Features") or told.get("flags") or "").split()
