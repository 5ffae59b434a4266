"""``xedge deploy``: make another machine ready to run bundles, over ssh."""

from __future__ import annotations

import argparse
import tempfile
from contextlib import ExitStack
from pathlib import Path

from xedge.bundle.reading import open_bundle
from xedge.cli.console import Console
from xedge.cli.doctor import findings_text
from xedge.doctor.examination import Examination
from xedge.remote.deploy import deploy
from xedge.remote.ssh import Ssh


def main(options: argparse.Namespace) -> int:
    """Make another machine ready, and say what its doctor says."""
    console = Console(options.json, options.quiet)
    with ExitStack() as stack:
        folders = [stack.enter_context(tempfile.TemporaryDirectory(prefix="xedge-")) for _ in options.bundles]
        bundles = [open_bundle(path, Path(folder)) for path, folder in zip(options.bundles, folders, strict=True)]
        ready = deploy(Ssh(destination=options.destination), bundles, None, options.wheels, console.stage)
        _, doctor = ready.xedge(Examination, "doctor")
    document = {
        "schema": "xedge.deploy/1",
        "destination": options.destination,
        "bundles": list(ready.bundles),
        "doctor": doctor,
    }
    console.result(
        document, f"{options.destination} ({ready.machine}, Python {ready.python}) is ready\n{findings_text(doctor)}"
    )
    return 0
