#!/usr/bin/env python3
"""Measure how few, broken and unsuitable calibration photos affect int8, and write the table to docs/calibration.md.

    XEDGE_SHARED=DIR python benchmarks/calibration_sets.py

The script quantizes the full-size Xception for every target. It takes about 25 minutes on two cores.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from xedge.conversion.options import ConvertOptions
from xedge.conversion.reference import graph_of
from xedge.conversion.request import resolved
from xedge.conversion.stages import Stages
from xedge.conversion.subject import Subject, read_subject
from xedge.converters import Form, find_target, target_names
from xedge.graph.fold import without_head
from xedge.metrics import agreement, softmax
from xedge.photos.preprocess import Preprocessing
from xedge.photos.sets import PhotoSet, read_folder
from xedge.quantization import recipe
from xedge.quantization.calibration import calibrate
from xedge.quantization.coverage import coverage
from xedge.quantization.statistics import Statistics
from xedge.runtimes import Settings, choose_runtime
from xedge.types import FloatArray

TARGETS = target_names("all")
DOCS = Path(__file__).resolve().parent.parent / "docs"
HEADER = """# What calibration photos do

This page was written by `XEDGE_SHARED=DIR python benchmarks/calibration_sets.py`. It compares int8 artifacts of the
full-size Xception with float on the {photos} photos of the test and validation splits. Agreement (the share of photos
with the same first class as float) and total variation (tv) are percentages. The second and third columns are what
`convert` looks at, for 16 of the scored photos and ONNX's rules. The second gives the percentage of values outside the
calibrated ranges, first for these 16 photos and then for the calibration photos. The third gives the tv if tensors are
rounded in these ranges, and then the tv if the 16 photos were the calibration photos. `convert` warns you where the
ranges do not fit, and refuses noise. The broken photo is full-contrast noise whose values were multiplied by ten.

| calibration photos | outside the ranges: scored / calibration photos, % | tv of 16 photos: these / own ranges, % | \
ranges fit | {targets} |
|---|---|---|---|{lines}|"""


def main() -> int:
    """Quantize with every set of photos, score the artifacts, and write the table."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    data = Path(os.environ["XEDGE_SHARED"]) / "data"
    asked = ConvertOptions(model=data / "xception_clothing.keras", target=TARGETS, precision="int8")
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        stages = Stages(report=print, progress=lambda line: None)
        subject = read_subject(resolved(asked, stack), scratch, stages)
        graph = graph_of(subject.reference, "calibration")
        files = [file for split in ("test", "validation") for file in read_folder(data / "clothing" / split).files]
        reference = subject.reference.predict(subject.preprocessing.photo(file) for file in files)
        lines = [
            HEADER.format(
                photos=len(files),
                targets=" | ".join(f"{find_target(name).title}: agreement, tv" for name in TARGETS),
                lines="---|" * (len(TARGETS) - 1) + "---",
            )
        ]
        few = [subject.preprocessing.photo(file) for file in files[:: len(files) // 16][:16]]
        evaluated = calibrate(graph, few, products=False)
        for name, photos in sets(subject.preprocessing, read_folder(data / "clothing" / "train")).items():
            lines.append(row(subject, name, photos, (few, evaluated), files, reference))
            print(lines[-1], flush=True)
    (DOCS / "calibration.md").write_text("\n".join(lines) + "\n")
    return 0


def sets(preprocessing: Preprocessing, train: PhotoSet) -> dict[str, list[FloatArray]]:
    """Return the sets of calibration photos by their names in the table."""
    rng = np.random.default_rng(0)
    photo = preprocessing.photo
    hundred = [photo(file) for file in train.sample(100, 0).files]
    shape = hundred[0].shape
    noise = [rng.integers(0, 256, shape).astype(np.float32) / 127.5 - 1 for _ in range(100)]
    hats = train.only([i for i, truth in enumerate(train.truth) if train.classes[truth] == "hat"])
    return {
        "100 photos": hundred,
        "100 other photos (seed 1)": [photo(file) for file in train.sample(100, 1).files],
        "20 photos": [photo(file) for file in train.sample(20, 0).files],
        "99 photos and a broken one": [*hundred[:99], noise[0] * 10],
        "100 photos of one class": [photo(file) for file in hats.sample(100, 0).files],
        "100 photos with a quarter of the light": [np.asarray((one + 1) / 4 - 1, np.float32) for one in hundred],
        "100 images of noise": noise,
    }


def row(
    subject: Subject,
    name: str,
    photos: list[FloatArray],
    others: tuple[list[FloatArray], Statistics],
    files: list[Path],
    reference: FloatArray,
) -> str:
    """Quantize for every target with one set of photos and return its line of the table.

    Args:
        subject: The model.
        name: The name of the set.
        photos: The calibration photos.
        others: A few of the scored photos, and their statistics.
        files: The scored photos.
        reference: The probabilities (N, classes) of the scored photos in float.
    """
    few, evaluated = others
    graph, preprocessing = graph_of(subject.reference, "calibration"), subject.preprocessing
    seen = recipe.statistics(graph, photos)
    cells, fits = [], ""
    for target in map(find_target, TARGETS):
        bare = without_head(graph)
        equal, plan = recipe.int8(bare, seen, rules=target.rules, pixel=preprocessing.pixel)
        if not target.rules.dynamic_branches and not fits:
            found = coverage(equal, plan, seen, evaluated, few, reference=bare, rules=target.rules, kind="logits")
            outside = f"{100 * found.evaluated:.3f} / {100 * found.calibrated:.3f}"
            moved = f"{100 * found.moved:.2f} / {100 * found.moved_by_own:.2f}"
            fits = f"{outside} | {moved} | {'yes' if found.fits else 'no'}"
        with tempfile.TemporaryDirectory() as folder:
            paths = []
            for suffix, contents in target.convert(equal, Form(precision="int8"), plan).items():
                paths.append(Path(folder) / f"artifact{suffix}")
                paths[-1].write_bytes(contents)
            session = choose_runtime(paths[0]).open(paths[0], Settings(threads=2, exact=True))
            rows = []
            for file in files:
                photo = preprocessing.photo(file)[None]
                fed = np.ascontiguousarray(photo.transpose(0, 3, 1, 2)) if target.layout == "NCHW" else photo
                rows.append(session.run(fed)[0])
        same = dataclasses.asdict(agreement(softmax(np.stack(rows)), reference))
        cells.append(f"{100 * same['agreement']:.2f}, {100 * same['total_variation']:.2f}")
    return f"| {name} | {fits} | {' | '.join(cells)} |"


if __name__ == "__main__":
    sys.exit(main())
