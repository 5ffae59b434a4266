"""Start Python in processes of its own, so that nothing in the working folder is taken for a module.

With ``-m`` or ``-c``, Python looks for modules in the working folder first. That is where users keep downloads and
photos, and a file ``numpy.py`` there would run as if it were NumPy.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence

Finished = subprocess.CompletedProcess[str]
# An empty entry of the path stands for the working folder. ``sys`` is part of the interpreter, so that importing it
# reads no file; ``-P`` does the same only from Python 3.11 on.
_SAFE = "import sys; sys.path = [place for place in sys.path if place]; "
_MODULE = f"{_SAFE}sys.argv.pop(0); import runpy; runpy.run_module(sys.argv[0], run_name='__main__', alter_sys=True)"
TIMED_OUT = 124
SIGNALS = {
    signal.SIGILL: "illegal instruction: it was built for a newer processor",
    signal.SIGKILL: "killed: most likely there was too little memory",
    signal.SIGSEGV: "crashed (segmentation fault)",
    signal.SIGBUS: "crashed (bus error)",
    signal.SIGFPE: "crashed (arithmetic error)",
    signal.SIGABRT: "crashed (abort)",
}


def python_module(name: str, *arguments: str) -> list[str]:
    """Return the arguments with which this Python runs a module.

    Args:
        name: The name of the module.
        arguments: The arguments of the module.
    """
    return ["-c", _MODULE, name, *arguments]


def python_program(program: str) -> list[str]:
    """Return the arguments with which this Python runs the text of a program."""
    return ["-c", f"{_SAFE}exec(compile({program!r}, '<xedge>', 'exec'))"]


def run_python(arguments: Sequence[str], seconds: float | None = None, **variables: str) -> Finished:
    """Run this Python in a process of its own, without input, and capture what it prints.

    Args:
        arguments: What ``python_module`` or ``python_program`` returned.
        seconds: How long it may take; afterwards it is ended, and its return code is 124. None sets no limit.
        variables: Environment variables to add to those of this process.
    """
    # Its own children look for no modules in the working folder either, and a message may have any character.
    environment = {**os.environ, "PYTHONSAFEPATH": "1", "PYTHONIOENCODING": "utf-8", **variables}
    # An empty entry is the working folder, from which even the interpreter's own modules would be taken.
    places = [place for place in environment.pop("PYTHONPATH", "").split(os.pathsep) if place]
    if places:
        environment["PYTHONPATH"] = os.pathsep.join(places)
    command = [sys.executable, *arguments]
    try:
        return subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Finished(command, TIMED_OUT, "", f"no answer within {seconds:g} s")


def reason(done: Finished) -> str:
    """Return in a few words why a process failed: the signal that ended it, or the last line of its error output."""
    if done.returncode < 0:
        number = signal.Signals(-done.returncode)
        return SIGNALS.get(number, f"ended by {number.name}")
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    return lines[-1].strip() if lines else f"ended with {done.returncode}"
