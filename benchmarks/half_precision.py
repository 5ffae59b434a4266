"""Measure what half-precision arithmetic changes in the answers of a TFLite or ONNX fp16 bundle on a Cortex-A76.

    xedge convert MODEL --target tflite --precision fp16 --output BUNDLE
    xedge convert MODEL --target onnx --precision fp16 --arithmetic float16 --output BUNDLE
    python benchmarks/half_precision.py BUNDLE PHOTOS --photos 24

The real aarch64 wheel of ai-edge-litert or ONNX Runtime computes the photos in QEMU as a Cortex-A76, which has
half-precision arithmetic, and as a Cortex-A72, which has none. The program needs root on an x86-64 Debian, and for a
full-size model about a minute for each photo.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from instructions import RUNNER, built, packages

from xedge.bundle.reading import open_bundle
from xedge.metrics import agreement, class_probabilities
from xedge.photos.sets import read_folder
from xedge.runtimes import Settings
from xedge.runtimes.classifier import open_classifier

CORES = ("cortex-a72", "cortex-a76")
PROGRAM = (
    RUNNER
    + """
import sys
model, inputs, outputs = sys.argv[1:]
_, _, run = opened(model, 1)
np.save(outputs, np.stack([run(photo[None])[0] for photo in np.load(inputs)]))
"""
)


def main() -> None:
    """Print a line for each processor."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path, help="a TFLite or ONNX bundle in fp16")
    parser.add_argument("photos", type=Path, help="a folder of photos")
    parser.add_argument("--photos", dest="count", type=int, default=24, help="how many photos to compute")
    parser.add_argument("--on", nargs="+", choices=CORES, default=CORES, help="the processors; both without it")
    options = parser.parse_args()
    bundle = open_bundle(options.bundle)
    classifier = open_classifier(bundle.artifact, bundle.manifest, Settings(threads=1))
    files = read_folder(options.photos).sample(options.count, seed=0).files
    pixels = [bundle.manifest.preprocessing.pixels(file) for file in files]
    here = np.stack([classifier.classify(one) for one in pixels])
    system = built("build")
    site, root = packages(system), system / "root"
    assert site.is_dir()
    with tempfile.TemporaryDirectory() as scratch:
        inputs, outputs = Path(scratch) / "inputs.npy", Path(scratch) / "outputs.npy"
        np.save(inputs, np.concatenate([classifier.input(one) for one in pixels]))
        for core in options.on:
            given = ["-E", "PYTHONPATH=/opt/counting", "-U", "PYTHONHOME,VIRTUAL_ENV"]
            command: list[str | Path] = [
                system / "qemu",
                "-cpu",
                core,
                "-L",
                root,
                *given,
                root / "usr" / "bin" / "python3.11",
            ]
            program: list[str | Path] = ["-c", PROGRAM, bundle.artifact.resolve(), inputs, outputs]
            subprocess.run([*command, *program], env={"PATH": os.environ["PATH"]}, check=True)
            there = class_probabilities(np.load(outputs), bundle.manifest.output_kind)
            found = agreement(there, here)
            print(
                f"{core}: {found.photos} photos, agreement with this machine {100 * found.agreement:.2f} %, "
                f"total variation {100 * found.total_variation:.3f} %, largest difference {found.max_difference:.4f}"
            )


if __name__ == "__main__":
    main()
