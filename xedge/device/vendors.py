"""Boards with meters and flags of their own: one module for each vendor."""

from __future__ import annotations

from typing import Protocol, cast

from xedge.device import jetson, raspberry_pi
from xedge.device.power import Power
from xedge.device.system import System
from xedge.device.throttling import Throttling


class Vendor(Protocol):
    """A module that reads one vendor's boards; where its files are missing it returns None."""

    def read_power(self, system: System) -> Power | None:
        """Return what the board measures of its own power now."""

    def read_throttling(self, system: System) -> Throttling | None:
        """Return what slows the board; None says nothing, which is not the same as no throttling."""


VENDORS = cast("tuple[Vendor, ...]", (jetson, raspberry_pi))


def read_power(system: System) -> Power | None:
    """Return what the board measures of its own power now; None where it has no meter."""
    return next((found for vendor in VENDORS if (found := vendor.read_power(system)) is not None), None)


def read_throttling(system: System) -> Throttling | None:
    """Return what slows the board; None where it says nothing, which is not the same as no throttling."""
    return next((found for vendor in VENDORS if (found := vendor.read_throttling(system)) is not None), None)
