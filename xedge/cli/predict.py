"""``xedge predict``."""

from __future__ import annotations

import argparse

import numpy as np

from xedge.cli.console import Console, percent, table
from xedge.cli.opening import opened
from xedge.runner import RunOptions
from xedge.runtimes import choose_runtime
from xedge.runtimes.classifier import Classifier


def main(options: argparse.Namespace) -> int:
    """Print the top classes of each photo."""
    console = Console(options.json, options.quiet)
    with opened(options.bundle) as bundle:
        runtime = choose_runtime(bundle.manifest.target, options.runtime)
        run_options = RunOptions(threads=options.threads, provider=options.provider)
        classifier = Classifier(runtime.open(bundle.artifact, run_options.settings(bundle)), bundle.manifest)
        found = []
        for photo in options.photos:
            probabilities = classifier.classify(bundle.manifest.preprocessing.pixels(photo))
            order = np.argsort(-probabilities, kind="stable")[: options.top]
            classes = [{"label": bundle.labels[i], "probability": float(probabilities[i])} for i in order]
            found.append({"photo": str(photo), "classes": classes})
    rows = [[str(entry["photo"]), _words(entry["classes"])] for entry in found]
    console.result(found, table(rows))
    return 0


def _words(classes: object) -> str:
    assert isinstance(classes, list)
    return ", ".join(f"{entry['label']} {percent(entry['probability'])}" for entry in classes)
