"""``xedge predict``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from xedge.api.model import Prediction, load
from xedge.cli.console import Console, percent, table
from xedge.photos.labels import told_apart


def main(options: argparse.Namespace) -> int:
    """Print the top classes of each photo."""
    console = Console(options.json, options.quiet)
    with load(options.bundle, threads=options.threads, runtime=options.runtime, provider=options.provider) as model:
        classes = [model.classify(photo, options.top) for photo in options.photos]
        names = told_apart(model.labels)
    found = [{"photo": str(p), "classes": c} for p, c in zip(options.photos, classes, strict=True)]
    rows = [[str(p), _words(c, names)] for p, c in zip(options.photos, classes, strict=True)]
    console.result(found, table(rows))
    return 0


def _words(classes: Sequence[Prediction], names: Sequence[str]) -> str:
    return ", ".join(f"{names[entry.index]} {percent(entry.probability)}" for entry in classes)
