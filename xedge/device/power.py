"""What a board measures of its own power."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Power:
    """One reading of a board's own meter.

    Args:
        watts: The power of the board, or of the part of it that is metered.
        meter: What measured it, and what it leaves out.
    """

    watts: float
    meter: str
