"""The power that a board measures with its own meter."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Power:
    """One reading of a board's own meter.

    Args:
        watts: The power in watts of the board, or of the part of it that is metered.
        meter: The name of the meter, and what it leaves out.
    """

    watts: float
    meter: str
