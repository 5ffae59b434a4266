#!/usr/bin/env python3
"""Run a command, and write its exit code, its time and its peak memory to a JSON file.

    python -I -S benchmarks/process_cost.py FILE COMMAND ...

The system counts the memory of the process that starts a command as the command's own until the command's program is
loaded. So a process as small as this one starts it. The peak is that of the largest process, should the command start
others.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path


def main() -> None:
    """Run the command."""
    start = time.perf_counter()
    started = os.posix_spawn(sys.argv[2], sys.argv[2:], os.environ)
    _, status, used = os.wait4(started, 0)
    cost = {
        "returncode": os.waitstatus_to_exitcode(status),
        "seconds": time.perf_counter() - start,
        "processor_seconds": used.ru_utime + used.ru_stime,
        "peak_mb": used.ru_maxrss * 1024 / 1e6,
    }
    Path(sys.argv[1]).write_text(json.dumps(cost))


if __name__ == "__main__":
    main()
