#!/usr/bin/env python3
"""What int8 makes of few, broken and unlike calibration photos: the full-size Xception, every target.

    XEDGE_SHARED=DIR python benchmarks/calibration_sets.py

About 25 minutes on two cores. docs/calibration.md has the table.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
import tempfile
from pathlib import Path

import numpy as np

from xedge.photos.sets import PhotoSet, read_folder
from xedge.graph.fold import without_softmax
from xedge.metrics import agreement, softmax
from xedge.quantization import recipe
from xedge.quantization.calibration import calibrate
from xedge.quantization.coverage import coverage
from xedge.quantization.statistics import Statistics
from xedge.runtimes import Settings, choose_runtime
from xedge.sources.sources import find_source
from xedge.converters import Form, find_target
from xedge.types import FloatArray
from xedge.vocabulary import TARGETS
from xedge.conversion.work import Request, Stages, Work

DOCS = Path(__file__).resolve().parent.parent / "docs"
HEADER = """# What calibration photos do

Written by `XEDGE_SHARED=DIR python benchmarks/calibration_sets.py`: int8 of the full-size Xception against float on
the {photos} photos of the test and validation splits; agreement and tv in percent. "Beyond" is the share of 16 of these
photos' values outside the calibrated ranges, over that of the calibration photos, both in percent; `convert` says so
where it does not fit. The broken photo is noise of full contrast whose values were multiplied by ten.

| calibration photos | beyond | fits | {targets} |
|---|---|---|{lines}|"""


def main() -> int:
    """Quantize with every set, score, write the table."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    data = Path(os.environ["XEDGE_SHARED"]) / "data"
    source = find_source(str(data / "xception_clothing.keras"), None)
    request = Request(source=source, targets=TARGETS, precisions=("int8",))
    with tempfile.TemporaryDirectory() as scratch:
        work = Work(request, Path(scratch), Stages(report=print), lambda line: None)
        files = [file for split in ("test", "validation") for file in read_folder(data / "clothing" / split).files]
        reference = work.reference.predict(work.preprocessing.photo(file) for file in files)
        lines = [
            HEADER.format(
                photos=len(files),
                targets=" | ".join(f"{find_target(name).title}: agreement, tv" for name in TARGETS),
                lines="---|" * (len(TARGETS) - 1) + "---",
            )
        ]
        assert work.reference.graph is not None
        some = [work.preprocessing.photo(file) for file in files[:: len(files) // 16][:16]]
        evaluated = calibrate(work.reference.graph, some, products=False)
        for name, photos in sets(work, read_folder(data / "clothing" / "train")).items():
            lines.append(row(work, name, photos, evaluated, files, reference))
            print(lines[-1], flush=True)
    (DOCS / "calibration.md").write_text("\n".join(lines) + "\n")
    return 0


def sets(work: Work, train: PhotoSet) -> dict[str, list[FloatArray]]:
    """Return the calibration photos by what they are called."""
    rng = np.random.default_rng(0)
    photo = work.preprocessing.photo
    hundred = [photo(file) for file in train.sample(100, 0).files]
    shape = hundred[0].shape
    noise = [rng.integers(0, 256, shape).astype(np.float32) / 127.5 - 1 for _ in range(100)]
    hats = train.only([i for i, truth in enumerate(train.truth) if train.classes[truth] == "hat"])
    return {
        "100": hundred,
        "100 others (seed 1)": [photo(file) for file in train.sample(100, 1).files],
        "20": [photo(file) for file in train.sample(20, 0).files],
        "99 and a broken one": [*hundred[:99], noise[0] * 10],
        "100 of one class": [photo(file) for file in hats.sample(100, 0).files],
        "100, dark: a quarter of the light": [(one + 1) / 4 - 1 for one in hundred],
        "100 of noise": noise,
    }


def row(
    work: Work, name: str, photos: list[FloatArray], evaluated: Statistics, files: list[Path], reference: FloatArray
) -> str:
    """Quantize for every target and return the line of the table."""
    graph = work.reference.graph
    assert graph is not None
    seen = recipe.statistics(graph, photos)
    cells, fits = [], ""
    for target in map(find_target, TARGETS):
        equal, plan = recipe.int8(
            without_softmax(graph),
            seen,
            pixel=work.preprocessing.pixel,
            dynamic=target.dynamic_branches,
            fit_pairs=target.pairs,
        )
        if not target.dynamic_branches and not fits:
            found = coverage(equal, plan, seen, evaluated)
            assert found is not None
            fits = f"{100 * found.evaluated:.3f} / {100 * found.calibrated:.3f} | {'yes' if found.fits else 'no'}"
        with tempfile.TemporaryDirectory() as folder:
            paths = []
            for suffix, contents in target.convert(equal, Form(precision="int8"), plan).items():
                paths.append(Path(folder) / f"artifact{suffix}")
                paths[-1].write_bytes(contents)
            session = choose_runtime(target.name).open(paths[0], Settings(threads=2, exact=True))
            rows = []
            for file in files:
                photo = work.preprocessing.photo(file)[None]
                fed = np.ascontiguousarray(photo.transpose(0, 3, 1, 2)) if target.layout == "NCHW" else photo
                rows.append(session.run(fed)[0])
        same = dataclasses.asdict(agreement(softmax(np.stack(rows)), reference))
        cells.append(f"{100 * same['agreement']:.2f}, {100 * same['total_variation']:.2f}")
    return f"| {name} | {fits} | {' | '.join(cells)} |"


if __name__ == "__main__":
    sys.exit(main())
