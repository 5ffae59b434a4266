#!/usr/bin/env python3
"""Measure parity and int8 for families of timm and torchvision from ONNX files, and write the table in docs/models.md.

    PYTHONPATH=. python benchmarks/onnx_families.py photos FOLDER
    PYTHONPATH=. python benchmarks/onnx_exports.py FOLDER
    PYTHONPATH=. python benchmarks/onnx_families.py measure FOLDER [NAME ...]

The second call needs PyTorch, torchvision and timm, and no xedge. Each network is measured in a process of its own, and
what was measured is kept in FOLDER: a network that is there already is not measured again. The table is written anew
after each network.
"""

from __future__ import annotations

import argparse
import json
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
from onnx_exports import FAMILIES

from xedge import convert
from xedge.conversion.reference import parity, read_reference
from xedge.converters import target_names
from xedge.errors import XedgeError
from xedge.models.compact import embedded
from xedge.photos.preprocess import scheme
from xedge.sources.finding import find_source
from xedge.types import FloatArray

TARGETS = target_names("all")
CALIBRATION = 50
# Every sixth of the embedded test photos is measured, half of those of the Keras families.
PHOTOS = MEASURED[::2]
HEADER = """| network | input | way | target | parity | agreement, % | tv, % | MB |
|---|---|---|---|---|---|---|---|"""


def main() -> None:
    """Write the photos for the export, or measure what was exported."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["photos", "measure", "one", "table"])
    parser.add_argument("folder", type=Path, help="the folder with the photos and the exported files")
    parser.add_argument("names", nargs="*", help="measure only these networks, as their files are named")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    if options.what == "photos":
        write_photos(options.folder)
    elif options.what == "one":
        measure(options.folder / f"{options.names[0]}.onnx")
    else:
        exported = [
            name for one in FAMILIES if (options.folder / f"{name_of(one)}.onnx").exists() for name in [name_of(one)]
        ]
        for name in (options.names or exported) if options.what == "measure" else ():
            measured_apart(name, options.folder / f"{name}.json", [__file__, "one", str(options.folder), name])
            write_page(options.folder)
        write_page(options.folder)


def name_of(family: str) -> str:
    """Return the name of a family's file."""
    return family.replace(":", "_")


def write_photos(folder: Path) -> None:
    """Write the photos (N, size, size, 3) to which heads are fitted, and their classes, for each size."""
    photos = embedded.test_photos()
    for size in sorted(set(FAMILIES.values())):
        plain = scheme("raw", size, size, 3)
        pixels = np.stack([plain.pixels(photos.files[at]) for at in fitting()])
        np.savez(folder / f"photos_{size}.npz", pixels=pixels, truth=np.array(photos.truth)[fitting()])


def measure(file: Path) -> None:
    """Measure one network and keep the figures beside its file."""
    with tempfile.TemporaryDirectory(prefix="xedge-") as scratch:
        reference = read_reference(find_source(str(file)), Path(scratch))
        height, width, channels = reference.input_shape
        preprocessing = scheme("torch", height, width, channels)
        pixels = [preprocessing.pixels(photo) for photo in np.array(embedded.test_photos().files)[[*PHOTOS]]]
        inputs = np.stack([preprocessing.scaled(one[None])[0] for one in pixels[:COMPARED]])
        expected = reference.original_predict(inputs)
        rows = targets_of(file, Path(scratch), pixels, expected)
        kept = {
            "name": file.stem,
            "processor": processor()[0],
            "input": f"{height}x{width}",
            "way": reference.way,
            "targets": rows,
        }
    file.with_suffix(".json").write_text(json.dumps(kept, indent=1) + "\n")


def targets_of(file: Path, scratch: Path, pixels: list[Any], expected: FloatArray) -> dict[str, Any]:
    """Return the figures of each target, or why there are none.

    Args:
        file: The network.
        scratch: A folder for its bundles.
        pixels: The photos (H, W, C) uint8.
        expected: The probabilities of the original model for the first of these.
    """
    reasons: dict[str, str] = {}

    def failed(target: str, precision: str, error: XedgeError) -> None:
        del precision
        reasons.setdefault(target, first_words(error))

    made = convert(
        file,
        target="all",
        precision="fp32,int8",
        preprocess="torch",
        calibration_count=CALIBRATION,
        output=scratch / "bundles",
        failed=failed,
    )
    paths = {(one.manifest.target, one.manifest.precision): one.path for one in made}
    answers = {key: bundle_answers(path, pixels) for key, path in paths.items()}
    rows: dict[str, Any] = {}
    for target in TARGETS:
        if (target, "int8") not in answers or (target, "fp32") not in answers:
            rows[target] = {"reason": reasons.get(target, "not made")}
            continue
        rows[target] = {
            "parity": parity(answers[target, "fp32"][:COMPARED], expected, "probabilities"),
            **figures(answers[target, "int8"], answers["onnx", "fp32"]),
            "mb": megabytes(paths[target, "int8"]),
        }
    return rows


def first_words(error: XedgeError) -> str:
    """Return the beginning of a reason as a cell of the table."""
    return " ".join(str(error).split())[:80].replace("|", "/")


def lines_of(one: dict[str, Any]) -> list[str]:
    """Return the lines of one network, one for each target."""
    if "failed" in one:
        return [f"| {one['name']} | {one['failed']} |{' |' * 6}"]
    first = (one["name"], one["input"], one["way"])
    lines = []
    for target, row in one["targets"].items():
        close = f"{row['parity']:.1g}" if "parity" in row else "-"
        cells = [*(first if target == TARGETS[0] else ("", "", "")), target, close, *cells_of(row)]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def write_page(folder: Path) -> None:
    """Write the table of what was measured so far between its marks in the page."""
    files = [folder / f"{name_of(one)}.json" for one in FAMILIES]
    results = [json.loads(file.read_text()) for file in files if file.exists()]
    write_section("onnx-families", results, [HEADER, *(line for one in results for line in lines_of(one))])


if __name__ == "__main__":
    main()
