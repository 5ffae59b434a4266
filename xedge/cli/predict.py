"""``xedge predict``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from xedge.api.model import Predicted, Prediction, load
from xedge.cli.console import Console, percent, table
from xedge.errors import InputError
from xedge.photos.labels import told_apart


def main(options: argparse.Namespace) -> int:
    """Print the top classes of each photo."""
    console = Console(options.json, options.quiet)
    found: list[tuple[Path, tuple[Prediction, ...]]] = []
    refusals: list[InputError] = []
    with load(options.bundle, threads=options.threads, runtime=options.runtime, provider=options.provider) as model:
        names = told_apart(model.labels)
        for photo in options.photos:
            try:
                found.append((photo, model.classify(photo, options.top)))
            except InputError as error:
                refusals.append(error)
    if found:
        document = [Predicted(photo=str(photo), classes=classes) for photo, classes in found]
        console.result(document, table([[str(photo), _words(classes, names)] for photo, classes in found]))
    if refusals:
        others = f" ({len(refusals)} of {len(options.photos)} photos cannot be read)" if len(refusals) > 1 else ""
        raise InputError(f"{refusals[0]}{others}")
    return 0


def _words(classes: Sequence[Prediction], names: Sequence[str]) -> str:
    return ", ".join(f"{names[entry.index]} {percent(entry.probability)}" for entry in classes)
