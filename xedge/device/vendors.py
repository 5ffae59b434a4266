"""The vendors whose boards have their own meters and throttling flags, with one module for each vendor."""

from __future__ import annotations

from typing import Protocol, cast

from xedge.device import jetson, raspberry_pi
from xedge.device.power import Power
from xedge.device.system import System
from xedge.device.throttling import Throttling


class Vendor(Protocol):
    """A module that reads the boards of one vendor; its functions return None on other boards."""

    def read_power(self, system: System) -> Power | None:
        """Return the current power by the board's own meter."""

    def read_throttling(self, system: System) -> Throttling | None:
        """Return what slows the board down; None if it is unknown, which does not mean no throttling."""


VENDORS = cast("tuple[Vendor, ...]", (jetson, raspberry_pi))


def read_power(system: System) -> Power | None:
    """Return the current power by the board's own meter; None without a meter."""
    return next((found for vendor in VENDORS if (found := vendor.read_power(system)) is not None), None)


def read_throttling(system: System) -> Throttling | None:
    """Return what slows the board down; None if it is unknown, which does not mean no throttling."""
    return next((found for vendor in VENDORS if (found := vendor.read_throttling(system)) is not None), None)
