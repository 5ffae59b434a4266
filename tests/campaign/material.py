"""What the cases begin with: a small model, photos, bundles of it, and documents that commands wrote about them."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ("hat", "shoe", "skirt")
SIZE = 24
PER_CLASS = 4
MODEL = """
import sys, numpy as np, keras
from keras import layers
keras.utils.set_random_seed(3)
model = keras.Sequential([
    keras.Input((24, 24, 3)),
    layers.Conv2D(8, 3, strides=2, padding="same", activation="relu"),
    layers.SeparableConv2D(12, 3, padding="same"),
    layers.BatchNormalization(),
    layers.ReLU(),
    layers.GlobalAveragePooling2D(),
    layers.Dense(3, activation="softmax"),
], name="tiny")
model.save(sys.argv[1] + "/tiny.keras")
model.save(sys.argv[1] + "/tiny.h5")
model.export(sys.argv[1] + "/saved", verbose=False)
model.export(sys.argv[1] + "/tiny.onnx", format="onnx", verbose=False)
"""


@dataclass(frozen=True, kw_only=True)
class Material:
    """A folder with everything.

    Args:
        root: The folder.
    """

    root: Path

    @property
    def photos(self) -> Path:
        """Labelled photos in class folders."""
        return self.root / "photos"

    @property
    def models(self) -> tuple[Path, ...]:
        """The same model in each kind of file."""
        return tuple(self.root / name for name in ("tiny.keras", "tiny.h5", "saved"))

    @property
    def network(self) -> Path:
        """The same model as an ONNX file."""
        return self.root / "tiny.onnx"

    @property
    def bundles(self) -> tuple[Path, ...]:
        """A bundle of each target in float and in int8."""
        return tuple(sorted(path for path in (self.root / "bundles").iterdir() if path.is_dir()))

    @property
    def zip(self) -> Path:
        """A bundle as a zip."""
        return self.root / "zipped.zip"

    @property
    def documents(self) -> tuple[Path, ...]:
        """What commands wrote with ``--json``."""
        return tuple(sorted((self.root / "documents").glob("*.json")))


def made(root: Path) -> Material:
    """Make everything in a folder that is empty, or find it there."""
    material = Material(root=root)
    if (root / "complete").exists():
        return material
    root.mkdir(parents=True, exist_ok=True)
    draw = np.random.default_rng(5)
    for index, name in enumerate(CLASSES):
        for number in range(PER_CLASS):
            path = material.photos / name / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            # Neighbouring pixels are alike, as in photos; generated noise would be refused.
            coarse = draw.integers(0, 80, (SIZE // 4 + 2, SIZE // 4 + 1, 3)).repeat(4, axis=0).repeat(4, axis=1)
            pixels = coarse[: SIZE + 7, :SIZE] + 80 * np.eye(3, dtype=int)[index]
            Image.fromarray(pixels.astype(np.uint8)).save(path)
    environment = {**os.environ, "KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"}
    subprocess.run([sys.executable, "-c", MODEL, str(root)], env=environment, check=True, capture_output=True)
    photos = ("--data", str(material.photos))
    calibration = ("--calibration", str(material.photos))
    both = ("--target", "all", "--precision", "fp32,int8")
    _xedge(root, "convert", "tiny.keras", *both, *photos, *calibration, "--output", "bundles")
    _xedge(root, "convert", "tiny.keras", "--target", "tflite", *photos, "--output", "zipped", "--zip")
    (root / "documents").mkdir()
    one, other = (str(root / "bundles" / name) for name in ("tflite_fp32", "tflite_int8"))
    fast = ("--runs", "5")
    _xedge(root, "run", one, *fast, *photos, "--json=documents/run.json")
    _xedge(root, "run", other, *fast, *photos, "--against", one, "--json=documents/against.json")
    _xedge(root, "verify", one, other, *photos, "--min-agreement", "0", "--json=documents/verify.json")
    _xedge(root, "analyze", "tiny.keras", *calibration, "--calibration-count", "6", "--json=documents/analyze.json")
    _xedge(root, "compare", "documents/run.json", "documents/against.json", "--json=documents/compare.json")
    _xedge(root, "cost", "tiny.keras", "--json=documents/cost.json")
    turns = ("--rounds", "2", "--runs", "3")
    _xedge(root, "benchmark", "tiny.keras", "--target", "tflite", *photos, *turns, "--json=documents/benchmark.json")
    _xedge(root, "doctor", "--json=documents/doctor.json", may_fail=True)
    (root / "complete").touch()
    return material


def _xedge(root: Path, *words: str, may_fail: bool = False) -> None:
    program = Path(sys.executable).with_name("xedge")
    environment = {name: value for name, value in os.environ.items() if name != "KERAS_BACKEND"}
    done = subprocess.run([program, *words, "--quiet"], cwd=root, env=environment, capture_output=True, text=True)
    if done.returncode and not may_fail:
        raise RuntimeError(f"xedge {' '.join(words)}: {done.stderr[-500:]}")


def mend(bundle: Path) -> None:
    """Make the hashes in a bundle's manifest those of its files."""
    path = bundle / "manifest.json"
    data = json.loads(path.read_text())
    for name in data["files"]:
        if (bundle / name).is_file():
            data["files"][name] = hashlib.sha256((bundle / name).read_bytes()).hexdigest()
    path.write_text(json.dumps(data))
