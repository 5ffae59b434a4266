"""Wait until a board is cool, so that one run does not pay for the heat of the last."""

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
    """Until when to wait; one of the two.

    Args:
        seconds: so long.
        temperature_c: until the warmest zone is no warmer, half an hour at most.
    """

    seconds: float | None = None
    temperature_c: float | None = None

    def __post_init__(self) -> None:
        if (self.seconds is None) == (self.temperature_c is None):
            raise ValueError("a cooldown is a time or a temperature")


def cool_down(
    cooldown: Cooldown,
    system: System,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], object] = time.sleep,
) -> float:
    """Wait, and return how many seconds.

    Raises:
        ResourceError: the board tells no temperature, or does not get that cool.
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
                f"{parameter('cooldown')}: this board does not tell its temperature; wait for a time "
                "instead, such as 60 s"
            )
        if warmest <= cooldown.temperature_c:
            return clock() - start
        if clock() - start > LONGEST_S:
            raise ResourceError(
                f"{parameter('cooldown')}: still {warmest:.0f} C after {LONGEST_S / 60:.0f} minutes; give a higher "
                "temperature"
            )
        sleep(1.0)
