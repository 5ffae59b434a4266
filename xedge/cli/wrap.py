"""``xedge wrap``."""

from __future__ import annotations

import argparse
import shlex

from xedge.api.wrap import wrap
from xedge.cli.console import Console
from xedge.cli.convert import bundles_table
from xedge.cli.options import chosen
from xedge.conversion.options import WrapOptions
from xedge.conversion.pipeline import Converted, bundle_document


def main(options: argparse.Namespace) -> int:
    """Make a bundle of an artifact of others and say what was made."""
    console = Console(options.json, options.quiet)
    made = wrap(**chosen(options, WrapOptions), report=console.stage, progress=console.progress)
    console.result([bundle_document(made)], f"\n{bundles_table([made])}\n{_notes(made)}\n{_next(made, options)}")
    return 0


def _notes(made: Converted) -> str:
    measured = made.manifest.accuracy
    if measured is None:
        return "Accuracy was not measured: give --data with labelled photos in class folders.\n"
    if measured.reference is None:
        return "What was lost is not known: give --reference with a bundle of the same model in float.\n"
    return "Drop and agreement are against the reference on the same photos.\n"


def _next(made: Converted, options: argparse.Namespace) -> str:
    path = shlex.quote(str(made.path))
    data = f" --data {shlex.quote(str(options.data))}" if options.data else ""
    return f"Next:\n  xedge run {path}{data}\n  xedge compare {path} OTHER_BUNDLE{data}\n  xedge info {path}"
