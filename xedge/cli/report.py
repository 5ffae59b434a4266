"""``xedge report``."""

from __future__ import annotations

import argparse

from xedge.api.report import report
from xedge.cli.console import Console


def main(options: argparse.Namespace) -> int:
    """Make one page of runs."""
    console = Console(options.json, options.quiet)
    path = report(*options.documents, output=options.output, data=options.data, title=options.title)
    size = path.stat().st_size
    document = {"schema": "xedge.report/1", "path": str(path), "bytes": size}
    console.result(document, f"{path}: {size / 1e3:.0f} KB; open it in a browser")
    return 0
