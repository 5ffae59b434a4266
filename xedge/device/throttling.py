"""Why a board runs slower than it could: what slows it now, what has slowed it since it booted, and counted events."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Throttling:
    """What slows a board down.

    Args:
        now: The names of the causes that slow it down now.
        since_boot: The names of the causes that have slowed it down since it booted.
        events: The number of over-current events since it booted, by name; Jetsons count these.
    """

    now: tuple[str, ...] = ()
    since_boot: tuple[str, ...] = ()
    events: Mapping[str, int] = field(default_factory=dict)


def new_throttling(before: Throttling | None, after: Throttling | None) -> tuple[str, ...]:
    """Return the names of the causes that began between two readings or are present in the second.

    Args:
        before: The first reading; None if it is unknown.
        after: The second reading; None if it is unknown.
    """
    if after is None:
        return ()
    before = before or Throttling()
    names = [*after.now, *(name for name in after.since_boot if name not in before.since_boot)]
    names += [f"over-current {name}" for name, count in after.events.items() if count > before.events.get(name, 0)]
    return tuple(dict.fromkeys(names))
