#!/usr/bin/env python3
"""Measure int8 for every family of Keras Applications and for trained networks, and write the table in docs/models.md.

    XEDGE_SHARED=DIR PYTHONPATH=. python benchmarks/families.py FOLDER [NAME ...]

The families have random weights and the statistics of real photos (``tests/families.py``). The networks with trained
weights are in XEDGE_SHARED; without it they are left out. Each network is measured in a process of its own, and what
was measured is kept in FOLDER: a network that is there already is not measured again. If one fails, the reason is in
the table, and the next call tries it again. The smallest networks take a minute each on two idle cores.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from against_peers import processor
from family_figures import (
    COMPARED,
    MEASURED,
    bundle_answers,
    cells_of,
    figures,
    fitting,
    measured_apart,
    megabytes,
    write_section,
)

from tests.families import FAMILIES, network, prepared
from xedge import convert
from xedge.conversion.reference import parity, read_reference
from xedge.converters import Form, find_library, find_target, target_names
from xedge.converters.tflite import library as tensorflow
from xedge.metrics import class_probabilities
from xedge.models.compact import embedded
from xedge.photos.preprocess import Preprocessing, scheme
from xedge.runtimes import Settings, choose_runtime
from xedge.sources import Source
from xedge.sources._tensorflow import TensorFlowModel
from xedge.sources.keras import SOURCE
from xedge.types import FloatArray, UInt8Array

TARGETS = target_names("all")
# The names of networks with trained weights; paths in XEDGE_SHARED, or those of the package.
TRAINED = {
    "Compact Xception, clothing weights": (str(embedded.MODEL), "tf", 128),
    "MobileNet, ImageNet weights": ("models/imagenet_mobilenet_v1.keras", "tf", 224),
    "EfficientNet-Lite0, ImageNet weights": ("models/efficientnet_lite0.keras", "tf", 224),
    "Xception, clothing weights": ("data/xception_clothing.keras", "tf", 299),
}
HEADER = """| network | input | way | difference | parity | target | agreement, % | tv, % | MB | \
peer: agreement, % | peer: tv, % | peer: MB |
|---|---|---|---|---|---|---|---|---|---|---|---|"""


def main() -> int:
    """Measure what is missing, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="the folder that keeps what was measured")
    parser.add_argument("names", nargs="*", help="measure only these networks, and do not write the table")
    parser.add_argument("--table", action="store_true", help="only write the table of what was measured")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    if options.one:
        measure(options.names[0], options.folder)
        return 0
    names = options.names or [*FAMILIES, *(TRAINED if "XEDGE_SHARED" in os.environ else ())]
    for name in names if not options.table else ():
        command = [__file__, str(options.folder), name, "--one"]
        measured_apart(name, result(options.folder, name), command)
    if not options.names:
        files = [result(options.folder, one) for one in names]
        write_page([json.loads(file.read_text()) for file in files if file.exists()])
    return 0


def result(folder: Path, name: str) -> Path:
    """Return the file that keeps what was measured of a network."""
    return folder / f"{name.partition(',')[0].replace(' ', '_')}{'_trained' if name in TRAINED else ''}.json"


def measure(name: str, folder: Path) -> None:
    """Measure one network and keep the figures."""
    file, kind, preprocessing = model_of(name, folder)
    pixels = [preprocessing.pixels(photo) for photo in np.array(embedded.test_photos().files)[[*MEASURED]]]
    made = convert(file, target="all", precision="fp32,int8", preprocess=kind, output=folder / "bundles" / file.stem)
    answers = {(one.manifest.target, one.manifest.precision): bundle_answers(one.path, pixels) for one in made}
    # One float artifact is the reference of every target's int8.
    reference = answers["onnx", "fp32"]
    int8 = {one.manifest.target: one.path for one in made if one.manifest.precision == "int8"}
    rows = {
        target: figures(answers[target, "int8"], reference)
        | {"mb": megabytes(int8[target]), "peer": peer(target, file, preprocessing, pixels, reference)}
        for target in TARGETS
    }
    kept = {
        "name": name,
        "processor": processor()[0],
        "input": f"{preprocessing.height}x{preprocessing.width}",
        **compared(file, np.stack([preprocessing.scaled(one[None])[0] for one in pixels[:COMPARED]])),
        "targets": rows,
    }
    result(folder, name).write_text(json.dumps(kept, indent=1) + "\n")


def model_of(name: str, folder: Path) -> tuple[Path, str, Preprocessing]:
    """Return the file of a network, which is made for a family, the name of its preprocessing, and that itself."""
    if name in TRAINED:
        place, kind, size = TRAINED[name]
        return Path(os.environ["XEDGE_SHARED"]) / place, kind, scheme(kind, size, size, 3)
    family = FAMILIES[name]
    file = folder / f"{name}.keras"
    if not file.exists():
        plain, photos = scheme("raw", family.size, family.size, 3), embedded.test_photos()
        fitted = fitting()
        pixels = np.stack([plain.pixels(photos.files[at]) for at in fitted])
        network(name, prepared(name, pixels), np.array(photos.truth)[fitted]).save(file)
    return file, family.preprocess, scheme(family.preprocess, family.size, family.size, 3)


def compared(file: Path, photos: FloatArray) -> dict[str, Any]:
    """Return the way that a network takes, and how far its float reference is from Keras.

    Args:
        file: The network.
        photos: Preprocessed photos (N, H, W, C).
    """
    with tempfile.TemporaryDirectory(prefix="xedge-") as scratch:
        reference = read_reference(Source(name=file.stem, path=file, kind=SOURCE), Path(scratch))
        got, expected = reference.predict(photos), reference.original_predict(photos)
    difference = float(np.abs(got - expected).max())
    return {"way": reference.way, "difference": difference, "parity": parity(got, expected, "probabilities")}


def peer(
    target: str, file: Path, preprocessing: Preprocessing, pixels: list[UInt8Array], reference: FloatArray
) -> dict[str, Any]:
    """Return the figures of the target's own library with the same calibration photos, or why there are none."""
    folder = Path("build") / "peers" / file.stem
    source = Source(name=file.stem, path=file, kind=SOURCE)
    try:
        if not (folder / "fp32.tflite").exists():
            folder.mkdir(parents=True, exist_ok=True)
            TensorFlowModel("xedge.sources.keras.library", source, allow_code=False).export(folder / "saved_model")
            tensorflow.prepare(source, folder, ("fp32",))
        photos = embedded.calibration_photos().photos
        library = find_library(find_target(target))
        parts = library.convert(folder, Form(precision="int8"), lambda: (preprocessing.photo(one) for one in photos))
        for suffix, data in parts.items():
            (folder / f"int8{suffix}").write_bytes(data)
        artifact = folder / f"int8{find_target(target).suffix}"
        session = choose_runtime(artifact).open(artifact, Settings(threads=2, exact=True))
        inputs = preprocessing.scaled(np.stack(pixels))
        rows = np.concatenate([session.run(one[None]) for one in inputs])
    except Exception as error:  # the libraries have no exceptions in common
        # A reason may have the path of a scratch folder, which means nothing to readers.
        words = re.sub(r"/\S*/", "", " ".join(str(error).split()))
        return {"reason": words[:60].replace("|", "/")}
    size = sum(len(data) for data in parts.values()) / 1e6
    return figures(class_probabilities(rows, "probabilities"), reference) | {"mb": size}


def lines_of(one: dict[str, Any]) -> list[str]:
    """Return the lines of one network, one for each target."""
    if "failed" in one:
        return [f"| {one['name']} | {one['failed']} |{' |' * 10}"]
    first = (one["name"], one["input"], one["way"], f"{one['difference']:.0e}", f"{one['parity']:.1g}")
    cells = [
        [*(first if target == TARGETS[0] else [""] * len(first)), target, *cells_of(row), *cells_of(row["peer"])]
        for target, row in one["targets"].items()
    ]
    return [f"| {' | '.join(row)} |" for row in cells]


def write_page(results: list[dict[str, Any]]) -> None:
    """Write the table between its marks in the page."""
    write_section("families", results, [HEADER, *(line for one in results for line in lines_of(one))])


if __name__ == "__main__":
    sys.exit(main())
