"""Run this Python on an emulated x86 processor with AVX2 and no VNNI: qemu-x86_64, of Debian's package qemu-user."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PROGRAM = "qemu-x86_64"
CORE = "EPYC-Rome"  # Zen 2


def emulated(*arguments: object) -> None:
    """Run this Python with arguments on the emulated processor.

    Args:
        arguments: The arguments.

    Raises:
        subprocess.CalledProcessError: Python ended with an error.
    """
    # An emulated Python does not find its virtual environment by the link to itself.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    program = [PROGRAM, "-cpu", CORE, str(Path(sys.executable).resolve())]
    subprocess.run([*program, *map(str, arguments)], check=True, env=environment)
