"""Read what the system says about this process."""

from __future__ import annotations

import resource
import sys
import time
from pathlib import Path

from xedge.device.system import System


def peak_memory_bytes() -> int:
    """Return the peak memory of this process in bytes.

    On Linux, it is not taken from getrusage, which would also count the memory of the process that started this one.
    """
    told = System().fields("proc/self/status").get("VmHWM")
    if told is not None:
        return int(told.split()[0]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def age_ms() -> float:
    """Return the milliseconds since this process started.

    If the system keeps no record of it, this is the processor time that the process has used.
    """
    try:
        started_ticks = int(Path("/proc/self/stat").read_text().rsplit(")", 1)[1].split()[19])
        return 1000 * (time.clock_gettime(time.CLOCK_BOOTTIME) - started_ticks / 100)
    except (OSError, ValueError, IndexError, AttributeError):
        return 1000 * time.process_time()
