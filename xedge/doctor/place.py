"""The machine on which xedge runs: its system, its Python, and what is installed. Tests can replace it."""

from __future__ import annotations

import importlib.metadata
import platform
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from xedge.device.system import System
from xedge.doctor.probe import Start, start


def _installed(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


@dataclass(frozen=True, kw_only=True)
class Place:
    """A machine as a program that runs on it sees it.

    Args:
        system: The files and programs of the board.
        begin: A function that runs this Python with arguments.
        machine: The architecture, as ``uname -m`` prints it.
        python: The major and minor version of Python.
        libc: The name and the version of the C library.
        home: A folder on the storage whose free space is checked.
        virtual: Whether this Python is in a virtual environment.
        installed: A function that returns the version of an installed package, or None if it is not installed.
    """

    system: System = field(default_factory=System)
    begin: Start = start
    machine: str = field(default_factory=platform.machine)
    python: tuple[int, int] = (sys.version_info.major, sys.version_info.minor)
    libc: tuple[str, str] = field(default_factory=platform.libc_ver)
    home: Path = field(default_factory=Path.cwd)
    virtual: bool = sys.prefix != sys.base_prefix
    installed: Callable[[str], str | None] = _installed
