#!/usr/bin/env python3
"""Measure int8 for networks that are trained for a short time, and write their table in docs/models.md.

    pip install --no-deps tf_keras
    XEDGE_SHARED=DIR python benchmarks/other_models.py FOLDER

The script trains the networks on real photos and converts them to every target. The trained models are kept in FOLDER;
a model that is already there is not trained again. Training takes half an hour on two cores. ResNet-50 and Inception V3
are those of Keras Applications with small inputs. The network with one input channel is written to an .h5 file by
Keras 2.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

PAGE = Path(__file__).resolve().parent.parent / "docs" / "models.md"
MODELS = {"resnet50": "resnet50.keras", "inception_v3": "inception_v3.keras", "one_channel": "one_channel.h5"}
SIZES = {"resnet50": (64, 64, 3), "inception_v3": (96, 96, 3), "one_channel": (64, 64, 1)}
EPOCHS = {"resnet50": 14, "inception_v3": 8, "one_channel": 40}
BATCH = 32
START, END = "<!-- trained -->", "<!-- /trained -->"
HEADER = """| network | target | float top-1, % | int8 top-1, % | drop, points | agreement, % | tv, % | \
int8 / fp32 latency |
|---|---|---|---|---|---|---|---|"""


def main() -> int:
    """Train the models that are missing, convert everything, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="the folder that keeps the trained models")
    parser.add_argument("--train", choices=MODELS, help="train only this model, and stop")
    options = parser.parse_args()
    photos = Path(os.environ["XEDGE_SHARED"]) / "data" / "clothing"
    options.folder.mkdir(parents=True, exist_ok=True)
    if options.train:
        train(options.train, photos, options.folder / MODELS[options.train])
        return 0
    lines = [HEADER]
    for name, file in MODELS.items():
        path = options.folder / file
        if not path.exists():
            # Keras 2 and Keras 3 cannot be used in the same process.
            run(sys.executable, __file__, options.folder, "--train", name)
        lines += rows(name, path, photos, options.folder)
    before, _, rest = PAGE.read_text().partition(START)
    PAGE.write_text("\n".join([before + START, "", *lines, "", END]) + rest.partition(END)[2])
    return 0


def rows(name: str, model: Path, photos: Path, folder: Path) -> list[str]:
    """Convert a model to every target in int8, and return its lines of the table."""
    which = [model, "--preprocess", "tf"]
    data = ["--calibration", photos / "train", "--data", photos / "test"]
    output = folder / "bundles" / name
    command = [sys.executable, "-m", "xedge", "convert", *which, "--target", "all", "--precision", "int8", *data]
    made = json.loads(run(*command, "--output", output, "--json"))
    found = []
    for one in made:
        manifest: dict[str, Any] = one["manifest"]
        scored, speed = manifest["accuracy"], manifest["speed"]
        top1, reference = scored["artifact"]["top1"], scored["reference"]["top1"]
        same = scored["agreement"]
        found.append(
            f"| {name} | {manifest['target']} | {100 * reference:.2f} | {100 * top1:.2f} | "
            f"{100 * (reference - top1):+.2f} | {100 * same['agreement']:.2f} | {100 * same['total_variation']:.2f} | "
            f"{speed['ratio'][0]:.2f} |"
        )
        print(found[-1], flush=True)
    return found


def run(*command: object) -> str:
    """Run a command and return what it printed. A command that fails ends the benchmark."""
    return subprocess.run([str(part) for part in command], check=True, stdout=subprocess.PIPE, text=True).stdout


def train(name: str, photos: Path, file: Path) -> None:
    """Train one network for a short time and save it."""
    os.environ["KERAS_BACKEND"] = "tensorflow"
    keras: Any = importlib.import_module("tf_keras" if file.suffix == ".h5" else "keras")
    keras.utils.set_random_seed(0)
    pixels, truth = split(photos / "train", SIZES[name])
    model = network(keras, name)
    steps = EPOCHS[name] * (len(pixels) // BATCH)
    schedule = keras.optimizers.schedules.CosineDecay(1e-3, steps)
    optimizer = keras.optimizers.Adam(schedule)
    model.compile(optimizer=optimizer, loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    rng = np.random.default_rng(0)
    for _ in range(EPOCHS[name]):
        order = rng.permutation(len(pixels))
        flipped = np.where(rng.random((len(pixels), 1, 1, 1)) < 0.5, pixels, pixels[:, :, ::-1])[order]
        model.fit(flipped.astype(np.float32) / 127.5 - 1, truth[order], batch_size=BATCH, verbose=2)
    values, classes = split(photos / "test", SIZES[name])
    print(name, model.evaluate(values.astype(np.float32) / 127.5 - 1, classes, verbose=0), flush=True)
    keras.Model(model.inputs, model.outputs, name=name).save(file)


def split(folder: Path, size: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Return the photos of a split as uint8 (N, H, W, C) and their class indices (N,)."""
    from xedge.photos.preprocess import scheme  # noqa: PLC0415
    from xedge.photos.sets import read_folder  # noqa: PLC0415

    found, preprocessing = read_folder(folder), scheme("tf", *size)
    return np.stack([preprocessing.pixels(file) for file in found.files]), np.array(found.truth)


def network(keras: Any, name: str) -> Any:
    """Return a network with untrained weights."""
    size, layers = SIZES[name], keras.layers
    if name != "one_channel":
        build = {"resnet50": "ResNet50", "inception_v3": "InceptionV3"}[name]
        return getattr(keras.applications, build)(weights=None, input_shape=size, classes=10)
    parts: list[Any] = [keras.Input(size)]
    for channels in (32, 64, 128, 128):
        parts += [layers.Conv2D(channels, 3, padding="same", use_bias=False), layers.BatchNormalization()]
        parts += [layers.ReLU(), layers.MaxPooling2D(2)]
    parts += [layers.GlobalAveragePooling2D(), layers.Dropout(0.3), layers.Dense(10, activation="softmax")]
    return keras.Sequential(parts)


if __name__ == "__main__":
    sys.exit(main())
