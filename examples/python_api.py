#!/usr/bin/env python3
"""Use xedge from Python, without the command line.

    python examples/python_api.py [FOLDER]

The bundles are written to FOLDER, or to a temporary folder if none is given.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import xedge
from xedge.models.compact import embedded


def main(folder: Path) -> None:
    """Convert the embedded model to fp32 and int8, classify a photo, run both bundles, compare them, make a page."""
    made = xedge.convert(target="tflite", precision=("fp32", "int8"), output=folder / "bundles", report=print)
    paths = [one.path for one in made]

    photo = embedded.test_photos().files[0]
    with xedge.load(paths[1]) as model:
        for prediction in model.classify(photo, top=3):
            print(f"{photo.name}: {prediction.label} {100 * prediction.probability:.1f} %")

    runs = [xedge.run(path, limit=100, runs=64) for path in paths]
    for run in runs:
        assert run.accuracy is not None
        print(f"{run.bundle}: {run.latency.p50_ms:.2f} ms, top-1 {100 * run.accuracy.top1:.1f} %, {run.verdict.word}")

    beside = xedge.compare(*paths).versus[0]
    assert beside.latency is not None
    assert beside.accuracy is not None
    print(f"int8 takes {beside.latency.ratio:.2f} of fp32's time: {beside.latency.judgement}")
    print(f"its accuracy is {beside.accuracy.judgement}, {beside.accuracy.agreement:.1%} of the answers are the same")

    saved = [xedge.save(run, folder / f"{run.bundle}.json") for run in runs]
    print(f"{xedge.report(*saved, output=folder / 'report.html')}: a page of both runs, which opens in a browser")

    try:
        xedge.load(folder / "nothing")
    except xedge.XedgeError as error:
        print(f"what goes wrong says so in a line: {error}")


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(tempfile.mkdtemp(prefix="xedge-example-")))
    except xedge.XedgeError as error:
        raise SystemExit(str(error)) from None
