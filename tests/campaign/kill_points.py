"""Replace a bundle and break each system call of it: the name always holds the old bundle or the new one, whole.

strace ends the process at a system call that may change files, or lets that call fail as on a full or broken disk.
``python -m tests.campaign.kill_points MATERIAL`` does so at each call in turn, with every signal and every error, and
then with signals again as on a file system that cannot exchange folders, where the old bundle may be set aside for a
moment.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from tests.campaign.material import made
from xedge import files
from xedge.bundle.opening import opened
from xedge.bundle.reading import Bundle, open_bundle
from xedge.bundle.writing import write_bundle
from xedge.cli.main import interruptible
from xedge.errors import XedgeError
from xedge.files import set_aside

# The system calls that may change files; not every processor has those with a question mark.
CALLS = (
    *("openat", "write", "?pwrite64", "?sendfile", "?copy_file_range", "close", "fsync", "?ftruncate", "flock"),
    *("?mkdir", "mkdirat", "?rename", "?renameat", "renameat2", "?unlink", "unlinkat", "?rmdir", "?chmod", "fchmodat"),
)
SIGNALS = ("KILL", "TERM", "INT", "HUP")
# A disk that is full, one that breaks, one that is read-only, and a process without free file handles.
ERRORS = ("ENOSPC", "EIO", "EROFS", "EMFILE")
FINISHED, INTERRUPTED, REFUSED = 0, 130, 3


@dataclass(frozen=True, kw_only=True)
class Break:
    """What happens at the system calls of a process.

    Args:
        happens: What strace does at the call: ``signal=KILL``, or ``error=ENOSPC``.
        exchanging: Whether the file system can exchange two folders.
        zipped: Whether a bundle is replaced that is one zip.
    """

    happens: str
    exchanging: bool = True
    zipped: bool = False

    def __str__(self) -> str:
        return f"{self.happens}{'' if self.exchanging else ', no exchange'}{', a zip' if self.zipped else ''}"


BREAKS = (
    *(Break(happens=f"signal={name}") for name in SIGNALS),
    *(Break(happens=f"signal={name}", exchanging=False) for name in SIGNALS),
    *(Break(happens=f"error={name}") for name in ERRORS),
    *(Break(happens=f"signal={name}", zipped=True) for name in SIGNALS),
    *(Break(happens=f"error={name}", zipped=True) for name in ERRORS),
)


def replace(bundle: Bundle, destination: Path) -> None:
    """Write a bundle again over what is at a destination, a folder or a zip."""
    artifact, zipped = {bundle.artifact.name: bundle.artifact}, destination.suffix == ".zip"
    content = (bundle.manifest, bundle.labels, artifact, bundle.golden(), None, bundle.confusion())
    write_bundle(destination.with_suffix(""), *content, zipped=zipped)


def broken_at(number: int, what: Break, new: Bundle, destination: Path) -> tuple[int, bool]:
    """Replace a bundle in a copy of this process, of which a system call is broken.

    Args:
        number: The number of the call, from 1 on.
        what: What happens there.
        new: The bundle to write.
        destination: The folder to write it to.

    Returns:
        The process' status, and whether the call was reached.
    """
    begin, go = os.pipe()
    child = os.fork()
    if not child:
        os.close(go)
        _become(what, new, destination, begin)
    os.close(begin)
    calls = ",".join(CALLS)
    log = destination.parent.with_suffix(".strace")
    words = ["strace", "-f", "-o", str(log), "-p", str(child), "-e", f"trace={calls}"]
    tracing = subprocess.Popen([*words, "-e", f"inject={calls}:{what.happens}:when={number}"], stderr=subprocess.PIPE)
    assert tracing.stderr is not None
    attached = tracing.stderr.readline().decode()
    os.write(go, b"x")
    os.close(go)
    status = os.waitpid(child, 0)[1]
    tracing.communicate()
    if "attached" not in attached:
        raise RuntimeError(f"strace cannot trace a process here: {attached}")
    text = log.read_text()
    log.unlink()
    return status, "(INJECTED)" in text or "--- SIG" in text or "+++ killed" in text


def _become(what: Break, new: Bundle, destination: Path, begin: int) -> NoReturn:
    code = 99
    try:
        # A shell may have started this in the background, where it ignores some.
        for known in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(known, signal.SIG_DFL)
        interruptible()
        if not what.exchanging:
            files._exchange = lambda one, other: False
        os.read(begin, 1)
        replace(new, destination)
        code = FINISHED
    except KeyboardInterrupt:
        code = INTERRUPTED
    except (XedgeError, OSError):  # Commands end with one line after either.
        code = REFUSED
    except BaseException as error:
        os.write(2, f"{error!r}\n".encode())
    finally:
        os._exit(code)


def main() -> int:
    """Break every system call in every way, and say how many there were and which of them lost something."""
    material = made(Path(sys.argv[1]).resolve())
    old, new = (open_bundle(material.root / "bundles" / name) for name in ("tflite_int8", "tflite_fp32"))
    versions = {str(bundle.manifest.precision) for bundle in (old, new)}
    tried, lost = 0, []
    for what in BREAKS:
        number, reached = 1, True
        while reached:
            with tempfile.TemporaryDirectory(prefix="campaign-") as scratch:
                destination = Path(scratch) / "place" / ("bundle.zip" if what.zipped else "bundle")
                replace(old, destination)
                status, reached = broken_at(number, what, new, destination)
                words = _checked(destination, versions, new, status, what)
                if words is not None:
                    lost.append(f"{what} at call {number}: {words}")
            tried += reached
            number += 1
    print("\n".join([*lost, f"{tried} calls broken, {len(lost)} lost something"]))
    return 1 if lost else 0


def _checked(destination: Path, versions: set[str], new: Bundle, status: int, what: Break) -> str | None:
    """Return what is wrong with what a process left; None if the bundle is whole and can be replaced again."""
    killed = os.WIFSIGNALED(status)
    if not killed and os.WEXITSTATUS(status) not in (FINISHED, INTERRUPTED, REFUSED):
        return f"a fault of its own, exit status {os.WEXITSTATUS(status)}"
    beside = [path for path in destination.parent.iterdir() if path != destination]
    try:
        aside = set_aside(destination)
        whole = aside if aside is not None and not destination.exists() else destination
        with opened(whole) as bundle:
            if bundle.manifest.precision not in versions:
                return "it is neither the old nor the new bundle"
        # A disk on which nothing can be removed keeps what was to be removed.
        if beside and not killed and not what.happens.startswith("error"):
            return f"left {', '.join(path.name for path in beside)}"
        replace(new, destination)
        with opened(destination):
            pass
    except Exception as error:
        return str(error)
    beside = [path for path in destination.parent.iterdir() if path != destination]
    return f"the next call left {beside[0].name}" if beside else None


if __name__ == "__main__":
    sys.exit(main())
