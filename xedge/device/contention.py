"""Measure what else the processor did during a measurement."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import mean

from xedge.device.system import System

# The columns of the first line of /proc/stat (proc(5)).
USER, NICE, SYSTEM, IDLE, IOWAIT, IRQ, SOFTIRQ, STEAL = range(8)
TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, kw_only=True)
class Contention:
    """The shares of the time of all cores that others used, 0 to 1.

    Args:
        processes: The share in which other processes ran, or the kernel on their behalf.
        stolen: The share that a hypervisor gave to other machines.
    """

    processes: float
    stolen: float


@dataclass(frozen=True, kw_only=True)
class Ticks:
    """The time of all cores since the start of the system, in clock ticks.

    Args:
        total: The total time, idle or not.
        busy: The time in which a process or the kernel ran.
        stolen: The time that a hypervisor gave to other machines.
        own: The part of ``busy`` that this process used, together with processes that it started and that have ended.
    """

    total: int
    busy: int
    stolen: int
    own: int


def read_ticks(system: System, times: Callable[[], Sequence[float]] = os.times) -> Ticks | None:
    """Return the time of all cores up to now; None if the system does not report it.

    Args:
        system: The system whose ``/proc/stat`` is read.
        times: A function that returns the times of this process in seconds: user and system, then both for children
            that have ended. They are not read from ``/proc/self/stat``, which is empty under QEMU.
    """
    first = (system.text("proc/stat") or "").splitlines()[:1]
    own = round(sum(times()[:4]) * TICKS_A_SECOND)
    try:
        columns = [int(word) for word in first[0].split()[1 : STEAL + 2]]
        busy = sum(columns[column] for column in (USER, NICE, SYSTEM, IRQ, SOFTIRQ))
        return Ticks(total=sum(columns), busy=busy, stolen=columns[STEAL], own=own)
    except (IndexError, ValueError):
        return None


def contention_between(before: Ticks | None, after: Ticks | None) -> Contention | None:
    """Return the shares that others used between two moments; None if they are unknown.

    Args:
        before: The time up to the first moment; None if it is unknown.
        after: The time up to the second moment; None if it is unknown.
    """
    if before is None or after is None:
        return None
    total, busy, own = after.total - before.total, after.busy - before.busy, after.own - before.own
    # In some sandboxes, the file never changes.
    if total <= 0 or busy < own / 2:
        return None
    return Contention(processes=max(0, busy - own) / total, stolen=max(0, after.stolen - before.stolen) / total)


def average(turns: Sequence[Contention | None]) -> Contention | None:
    """Return the mean of the shares that others used over several turns; None if that of one turn is unknown."""
    known = [turn for turn in turns if turn is not None]
    if not known or len(known) < len(turns):
        return None
    return Contention(processes=mean(turn.processes for turn in known), stolen=mean(turn.stolen for turn in known))
