"""Where xedge runs: the system, its Python, and what is installed; tests put another in its place."""

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
    """A machine as a program on it sees it.

    Args:
        system: the board's files and programs.
        begin: starts this Python.
        machine, python, libc: of the system.
        home: whose storage is looked at.
        virtual: whether this Python is in a virtual environment.
        installed: version of a package, or None.
    """

    system: System = field(default_factory=System)
    begin: Start = start
    machine: str = field(default_factory=platform.machine)
    python: tuple[int, int] = (sys.version_info.major, sys.version_info.minor)
    libc: tuple[str, str] = field(default_factory=platform.libc_ver)
    home: Path = field(default_factory=Path.cwd)
    virtual: bool = sys.prefix != sys.base_prefix
    installed: Callable[[str], str | None] = _installed
