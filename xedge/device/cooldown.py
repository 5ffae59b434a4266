"""Wait until a board has cooled down, so that a run is not slowed by the heat of the previous one."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from xedge.device.readings import read_now
from xedge.device.system import System
from xedge.errors import ResourceError, parameter

LONGEST_S = 1800.0


@dataclass(frozen=True, kw_only=True)
class Cooldown:
    """How long to wait: either for a time or for a temperature.

    Args:
        seconds: The time to wait in seconds; None waits for a temperature.
        temperature_c: The temperature in degrees Celsius that the warmest zone must not exceed, for which half an hour
            is waited at most; None waits for a time.
    """

    seconds: float | None = None
    temperature_c: float | None = None

    def __post_init__(self) -> None:
        if (self.seconds is None) == (self.temperature_c is None):
            raise ValueError("a cooldown is either a time or a temperature")


def cool_down(
    cooldown: Cooldown,
    system: System,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], object] = time.sleep,
) -> float:
    """Wait, and return how many seconds it took.

    Args:
        cooldown: What to wait for.
        system: The system whose temperature is read.
        clock: A function that returns the time in seconds.
        sleep: A function that waits for a number of seconds.

    Raises:
        ResourceError: The board does not report its temperature, or it does not cool down far enough.
    """
    start = clock()
    if cooldown.seconds is not None:
        sleep(cooldown.seconds)
        return clock() - start
    assert cooldown.temperature_c is not None
    while True:
        warmest = read_now(system).temperature_c
        if warmest is None:
            raise ResourceError(
                f"{parameter('cooldown')}: this board does not report its temperature; wait for a time instead, such "
                "as 60 s"
            )
        if warmest <= cooldown.temperature_c:
            return clock() - start
        if clock() - start > LONGEST_S:
            raise ResourceError(
                f"{parameter('cooldown')}: the board is still at {warmest:.0f} C after {LONGEST_S / 60:.0f} minutes; "
                "give a higher temperature"
            )
        sleep(1.0)
