"""Try an artifact in a process of its own before it is opened here, because a damaged one can crash a runtime.

Whether an artifact passed is remembered by its contents and the runtime, so that it is tried only once on a machine.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import resource
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from xedge.errors import BundleError, MissingRuntimeError, ResourceError, XedgeError
from xedge.files import cache_folder
from xedge.processes import SIGNALS
from xedge.runtimes import Runtime, Settings

SECONDS = 120.0
PASSED, UNDECIDED = 0, 1


def tried(artifact: Path, contents: str, runtime: Runtime, settings: Settings, attempt: Callable[[], object]) -> float:
    """Make an attempt in a copy of this process, unless it is known to succeed; return the seconds that this took.

    Nothing is tried if this process has more threads than one, because a copy of it would lack the others, or if the
    artifact is for an accelerator, for which it may be compiled for minutes. Exceptions in the copy are ignored: the
    same call will raise them here.

    Args:
        artifact: The artifact, for messages.
        contents: A hash of everything that the runtime reads.
        runtime: The runtime that opens the artifact; it is imported already.
        settings: How the artifact is to be run.
        attempt: A function that opens the artifact and runs it once.

    Raises:
        BundleError: The attempt ended in a crash, or not at all.
        ResourceError: It was killed, most likely because there was too little memory.
        MissingRuntimeError: The runtime was built for a newer processor.
    """
    start = time.perf_counter()
    mark = _mark(contents, runtime)
    if settings.provider not in (None, "cpu") or _threads() != 1 or (mark is not None and mark.exists()):
        return 0.0
    child = os.fork()
    if child == 0:
        _attempted(attempt)
    status = _ended(child)
    if status is None:
        raise BundleError(f"{artifact}: {runtime.package} did not end within {SECONDS:g} s on it; convert again")
    if os.WIFSIGNALED(status):
        raise _crashed(artifact, runtime, signal.Signals(os.WTERMSIG(status)))
    if mark is not None and os.WEXITSTATUS(status) == PASSED:
        with suppress(OSError):
            mark.parent.mkdir(parents=True, exist_ok=True)
            mark.touch()
    return time.perf_counter() - start


def _crashed(artifact: Path, runtime: Runtime, number: signal.Signals) -> XedgeError:
    words = f"{artifact}: {runtime.package} {SIGNALS.get(number, 'ended')}, {number.name}"
    if number == signal.SIGKILL:
        return ResourceError(f"{words}; close other programs, or take a smaller artifact")
    if number == signal.SIGILL:
        return MissingRuntimeError(f"{words}; xedge doctor says which runtimes work here")
    return BundleError(f"{words}; do not trust it, and convert again")


def _attempted(attempt: Callable[[], object]) -> None:
    """Make the attempt and end this process, the copy, without anything that the end of a program does."""
    code = UNDECIDED
    try:
        nowhere = os.open(os.devnull, os.O_RDWR)
        for number in (0, 1, 2):
            os.dup2(nowhere, number)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        for known in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(known, signal.SIG_DFL)
        attempt()
        code = PASSED
    finally:
        os._exit(code)


def _ended(child: int) -> int | None:
    """Wait for a process and return its status; None if it had to be killed."""
    until = time.monotonic() + SECONDS
    pause = 0.001
    try:
        while time.monotonic() < until:
            found, status = os.waitpid(child, os.WNOHANG)
            if found:
                return status
            time.sleep(pause)
            pause = min(1.2 * pause, 0.05)
    except BaseException:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        raise
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def _threads() -> int:
    try:
        return sum(1 for _ in Path("/proc/self/task").iterdir())
    except OSError:
        return 0


def _mark(contents: str, runtime: Runtime) -> Path | None:
    """Return the file whose existence says that the runtime once computed an artifact with these contents."""
    folder = cache_folder()
    if folder is None:
        return None
    try:
        version = importlib.metadata.version(runtime.package)
    except importlib.metadata.PackageNotFoundError:  # A build for a board may have another name.
        return None
    name = hashlib.sha256(f"{contents} {runtime.package} {version}".encode()).hexdigest()
    return folder / "opened" / name[:32]
