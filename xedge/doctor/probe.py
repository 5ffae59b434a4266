"""Try a runtime in a process of its own, so that an illegal instruction can be reported."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from xedge.processes import Finished, python_program, reason, run_python

SECONDS = 120
Start = Callable[[Sequence[str]], Finished]

# The program imports the runtime together with NumPy, which the first inference of a classifier needs too.
PROGRAM = "import {name}, numpy; print(getattr({name}, '__version__', ''), numpy.__version__)"


@dataclass(frozen=True, kw_only=True)
class Probe:
    """The result of one attempt.

    Args:
        works: Whether the attempt succeeded.
        output: The text that the process printed, stripped of surrounding blanks.
        cause: The reason for the failure in a few words; None if the attempt succeeded.
    """

    works: bool
    output: str
    cause: str | None


def start(arguments: Sequence[str]) -> Finished:
    """Run this Python with arguments and capture what it prints; a program that hangs counts as failed."""
    return run_python(arguments, SECONDS)


def probe_import(name: str, begin: Start = start) -> Probe:
    """Try to import a package in a process of its own.

    Args:
        name: The name of the package in Python.
        begin: A function that runs Python with arguments.
    """
    return probed(begin(python_program(PROGRAM.format(name=name))))


def probed(done: Finished) -> Probe:
    """Return the result of a process that has ended."""
    if done.returncode == 0:
        return Probe(works=True, output=done.stdout.strip(), cause=None)
    return Probe(works=False, output=done.stdout.strip(), cause=_cause(done))


def _cause(done: Finished) -> str:
    if done.returncode < 0:
        return reason(done)
    for pattern, words in CAUSES:
        found = re.search(pattern, done.stderr)
        if found:
            return words.format(*found.groups())
    return reason(done)[:200]


# The messages of linkers and interpreters, those that explain most first.
CAUSES = (
    (r"version `(GLIBC_[\d.]+)' not found", "{0} is needed, but this system's C library is older"),
    (r"version `((?:GLIBCXX|CXXABI)_[\d.]+)' not found", "{0} is needed, but this system's libstdc++ is older"),
    (r"(?:compiled using NumPy 1\.x|_ARRAY_API not found)", "built for NumPy 1, but NumPy 2 is installed"),
    (r"(lib\S+\.so\S*): cannot open shared object file", "{0} is missing"),
    (r"wrong ELF class|cannot open shared object file: No such file", "built for another architecture"),
)
