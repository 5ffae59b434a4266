"""Replace a bundle and end the process at each step of it: the name always holds the old bundle or the new one, whole.

Python tells an audit hook of each call that changes files before it is made, and of each call into the C library, by
which two folders are exchanged. ``python -m tests.campaign.kill_points MATERIAL`` tries every signal at every such
step, and then again as on a file system that cannot exchange folders, where the old bundle may be set aside for a
moment.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path

from tests.campaign.material import made
from xedge import files
from xedge.bundle.reading import Bundle, open_bundle
from xedge.bundle.writing import write_bundle
from xedge.cli.main import interruptible
from xedge.files import set_aside

# Events of audit hooks (https://docs.python.org/3/library/audit_events.html) that come before a file is changed.
STEPS = (
    *("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.chmod", "os.truncate", "shutil.rmtree"),
    *("shutil.copyfile", "tempfile.mkdtemp", "tempfile.mkstemp", "fcntl.flock", "ctypes.dlsym", "ctypes.call_function"),
)
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
FINISHED, INTERRUPTED = 0, 130


def replace(bundle: Bundle, destination: Path) -> None:
    """Write a bundle again over what is at a destination."""
    artifact = {bundle.artifact.name: bundle.artifact}
    write_bundle(destination, bundle.manifest, bundle.labels, artifact, bundle.golden(), None, bundle.confusion())


def ended_at(step: int, number: int, new: Bundle, destination: Path) -> int:
    """Replace a bundle in a copy of this process that gets a signal at a step; return the process' status."""
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1]
    code = 99
    try:
        seen = 0

        def hook(event: str, arguments: object) -> None:
            nonlocal seen
            del arguments
            if event in STEPS:
                if seen == step:
                    seen += 1
                    os.kill(os.getpid(), number)
                seen += 1

        for known in SIGNALS[1:]:  # A shell may have started this in the background, where it ignores some.
            signal.signal(known, signal.SIG_DFL)
        interruptible()
        sys.addaudithook(hook)
        replace(new, destination)
        code = FINISHED
    except KeyboardInterrupt:
        code = INTERRUPTED
    finally:
        os._exit(code)


def main() -> int:
    """Try every signal at every step, and say how many there were and which of them lost something."""
    material = made(Path(sys.argv[1]).resolve())
    old, new = (open_bundle(material.root / "bundles" / name) for name in ("tflite_int8", "tflite_fp32"))
    versions = {str(bundle.manifest.precision) for bundle in (old, new)}
    tried, lost = 0, []
    for number, exchanging in [(number, True) for number in SIGNALS] + [(number, False) for number in SIGNALS]:
        if not exchanging:
            files._exchange = lambda one, other: False
        finished = False
        step = 0
        while not finished:
            with tempfile.TemporaryDirectory(prefix="campaign-") as scratch:
                destination = Path(scratch) / "bundle"
                shutil.copytree(old.root, destination)
                status = ended_at(step, number, new, destination)
                finished = os.WIFEXITED(status) and os.WEXITSTATUS(status) == FINISHED
                words = _checked(destination, versions, new, killed=number == signal.SIGKILL)
                if words is not None:
                    lost.append(f"signal {number} at step {step}: {words}")
            tried += 1
            step += 1
    print("\n".join([*lost, f"{tried} steps tried, {len(lost)} lost something"]))
    return 1 if lost else 0


def _checked(destination: Path, versions: set[str], new: Bundle, *, killed: bool) -> str | None:
    """Return what is wrong with what a process left; None if the bundle is whole and can be replaced again."""
    beside = [path for path in destination.parent.iterdir() if path != destination]
    try:
        aside = set_aside(destination)
        if aside is not None and not destination.exists():
            open_bundle(aside)
        elif open_bundle(destination).manifest.precision not in versions:
            return "it is neither the old nor the new bundle"
        if beside and not killed:
            return f"left {', '.join(path.name for path in beside)}"
        replace(new, destination)
        open_bundle(destination)
    except Exception as error:
        return str(error)
    beside = [path for path in destination.parent.iterdir() if path != destination]
    return f"the next call left {beside[0].name}" if beside else None


if __name__ == "__main__":
    sys.exit(main())
