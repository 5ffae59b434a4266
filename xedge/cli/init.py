"""``xedge init``."""

from __future__ import annotations

import argparse

from xedge.api.check import init
from xedge.cli.console import Console
from xedge.cli.options import chosen
from xedge.conversion.options import ConvertOptions


def main(options: argparse.Namespace) -> int:
    """Write a file of budgets for a model and its photos, and print it."""
    console = Console(options.json, options.quiet)
    given = ConvertOptions(**chosen(options, ConvertOptions), report=console.stage, progress=console.progress)
    path = init(given, options.file, force=options.force)
    text = path.read_text(encoding="utf-8")
    document = {"schema": "xedge.init/1", "path": str(path), "text": text}
    console.result(document, f"\n{text}\n{path}: written; now run xedge check {path}")
    return 0
