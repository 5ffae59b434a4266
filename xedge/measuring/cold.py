"""Start a bundle in fresh processes, one after another: what an application pays before its first answer.

Each process imports the runtime, loads the artifact and classifies one photo. The system may still hold the files in
memory; what a board needs after it was switched on is longer by the time that its disk takes.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from xedge.bundle.reading import Bundle, open_bundle
from xedge.device.process import peak_memory_bytes
from xedge.errors import CheckError, XedgeError
from xedge.measuring.starting import RunOptions, start
from xedge.processes import python_module, reason, run_python

# A process that takes longer is not measured to its end.
LONGEST_S = 600.0


@dataclass(frozen=True, kw_only=True)
class ColdStart:
    """A process from its start to its first answer.

    Args:
        import_ms: The time to import the runtime's package in milliseconds.
        load_ms: The time to read and prepare the artifact in milliseconds.
        first_ms: The latency of the first inference in milliseconds.
        start_to_first_result_ms: The time from the start of the process to the first probabilities in milliseconds.
        peak_memory_bytes: The peak memory of the process in bytes.
    """

    import_ms: float
    load_ms: float
    first_ms: float
    start_to_first_result_ms: float
    peak_memory_bytes: int


@dataclass(frozen=True, kw_only=True)
class ColdStarts:
    """Several processes that were started one after another.

    Args:
        starts: Each of them, in order.
        median: The median of each figure.
    """

    starts: tuple[ColdStart, ...]
    median: ColdStart


def cold_starts(
    bundle: Bundle, options: RunOptions, count: int, progress: Callable[[str], None] = lambda line: None
) -> ColdStarts:
    """Start a bundle in fresh processes.

    Args:
        bundle: The bundle.
        options: The threads, the runtime and the provider.
        count: The number of processes, at least 1.
        progress: A function that is called with one line of text before each process.

    Raises:
        CheckError: A process gave no answer.
    """
    chosen = {"threads": options.thread_count(), "runtime": options.runtime, "provider": options.provider}
    arguments = python_module(__name__, str(bundle.root.resolve()), json.dumps(chosen))
    found = []
    for number in range(count):
        progress(f"cold start {number + 1}/{count}")
        done = run_python(arguments, LONGEST_S)
        if done.returncode:
            raise CheckError(f"{bundle.root}: cold start {number + 1} of {count} failed: {reason(done)}")
        found.append(ColdStart(**json.loads(done.stdout.splitlines()[-1])))
    middle = {name: median(getattr(one, name) for one in found) for name in asdict(found[0])}
    peak = int(middle.pop("peak_memory_bytes"))
    return ColdStarts(starts=tuple(found), median=ColdStart(**middle, peak_memory_bytes=peak))


def main() -> int:
    """Open the bundle that is named first with the options that follow as JSON, and print the figures as JSON."""
    root, chosen = sys.argv[1:]
    try:
        bundle = open_bundle(Path(root))
        pixels = bundle.golden().pixels[0]
        started = start(bundle, pixels, RunOptions(**json.loads(chosen)), time.perf_counter_ns)
    except XedgeError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    figures = ColdStart(
        import_ms=started.import_ms,
        load_ms=started.load_ms,
        first_ms=started.first_ms,
        start_to_first_result_ms=started.start_to_first_result_ms,
        peak_memory_bytes=peak_memory_bytes(),
    )
    print(json.dumps(asdict(figures)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
