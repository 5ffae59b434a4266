#!/usr/bin/env python3
"""Measure what it changes that int8 multiplies a large last dense layer in integers, on each target.

    python benchmarks/large_head.py TRAIN MODEL [--photos 300]

The model takes photos in [-1, 1]. Its artifacts are calibrated and measured as those of ``ablation.py`` are. Time is
the ratio of the median latency to that with the layer in float, on one thread, measured in turns.
"""

from __future__ import annotations

import argparse
import sys
from contextlib import ExitStack
from pathlib import Path

from ablation import TARGETS, in_turns, read_model, row

from xedge.conversion.reference import graph_of
from xedge.converters import find_target
from xedge.graph import fold
from xedge.quantization import recipe


def main() -> int:
    """Measure a model and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("train", type=Path, help="the folder of training photos")
    parser.add_argument("model", type=Path, help="the Keras model")
    parser.add_argument("--photos", type=int, default=300, help="the number of photos to measure on (300)")
    options = parser.parse_args()
    with ExitStack() as stack:
        large, models = fold.LARGE_HEAD, []
        # Whether the layer is a convolution is decided when a model is read.
        for least in (sys.maxsize, large):
            fold.LARGE_HEAD = least
            models.append(read_model(options.model, options.train, options.photos, stack))
        photos = [models[0].subject.preprocessing.photo(file) for file in models[0].selection.files]
        reference = models[0].subject.reference.predict(photos)
        print("| artifact | agreement, % | tv, % | dB | time |\n|---|---|---|---|---|")
        for name in TARGETS:
            plans = []
            for one in models:
                graph, pixel = (
                    fold.without_head(graph_of(one.subject.reference, "int8")),
                    one.subject.preprocessing.pixel,
                )
                plans.append(recipe.int8(graph, one.statistics, rules=find_target(name).rules, pixel=pixel))
            outputs, ratio = in_turns(plans, name, photos)
            for form, rows, end in zip(("float", "integers"), outputs, ("1.00", f"{ratio:.3f}"), strict=True):
                row(f"{name}, {form}", rows, reference, end)
    return 0


if __name__ == "__main__":
    sys.exit(main())
