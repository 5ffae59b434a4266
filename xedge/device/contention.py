"""What else the processor did while something was measured."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import mean

from xedge.device.system import System

# Columns of the first line of /proc/stat (proc(5)).
USER, NICE, SYSTEM, IDLE, IOWAIT, IRQ, SOFTIRQ, STEAL = range(8)
TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, kw_only=True)
class Contention:
    """Shares of the time of all cores, 0 to 1.

    Args:
        processes: that other processes, and the kernel for them, worked.
        stolen: that a hypervisor gave to other machines.
    """

    processes: float
    stolen: float


@dataclass(frozen=True, kw_only=True)
class Ticks:
    """Time of all cores since the start of the system.

    Args:
        total: that passed, idle or not.
        busy: in which some process or the kernel worked.
        stolen: that a hypervisor gave to other machines.
        own: of ``busy``, this process' and that of processes which it started and which have ended.
    """

    total: int
    busy: int
    stolen: int
    own: int


def read_ticks(system: System, times: Callable[[], Sequence[float]] = os.times) -> Ticks | None:
    """Return the time until now; None where the system does not tell.

    Args:
        system: whose ``/proc/stat`` is read.
        times: of this process, in seconds: user, system, and both of children that have ended. Not from
            ``/proc/self/stat``, which is empty under QEMU.
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
    """Return what others had between two moments; None where that is unknown."""
    if before is None or after is None:
        return None
    total, busy, own = after.total - before.total, after.busy - before.busy, after.own - before.own
    # Some sandboxes show a file that stands still.
    if total <= 0 or busy < own / 2:
        return None
    return Contention(processes=max(0, busy - own) / total, stolen=max(0, after.stolen - before.stolen) / total)


def average(turns: Sequence[Contention | None]) -> Contention | None:
    """Return what others had over several turns; None if it is unknown of one."""
    known = [turn for turn in turns if turn is not None]
    if not known or len(known) < len(turns):
        return None
    return Contention(processes=mean(turn.processes for turn in known), stolen=mean(turn.stolen for turn in known))
