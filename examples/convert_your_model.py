#!/usr/bin/env python3
"""Convert a Keras model of your own to int8 bundles for every target.

    python examples/convert_your_model.py PHOTOS [--output FOLDER] [--epochs 20]

PHOTOS contains a folder for each class. The program trains a small network on four fifths of the photos. The same
photos calibrate the int8 ranges, and the accuracy is measured on the remaining fifth. To convert your own model, put it
in the place of ``network`` and leave the rest as it is.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import tempfile
from pathlib import Path
from typing import Any

os.environ["KERAS_BACKEND"] = "tensorflow"  # the light backend that xedge uses for converting cannot train
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

try:
    import keras
    from keras import layers
except ImportError as error:
    raise SystemExit(f"{error.name} is not installed: pip install 'xedge[host,tensorflow]'") from None

import xedge

SIZE = 64


def main() -> int:
    """Train the network, convert it, and print how much accuracy int8 loses."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path, help="a folder of photos with a folder for each class")
    parser.add_argument("--output", type=Path, default=Path("your_model_bundles"), help="the folder for the bundles")
    parser.add_argument("--epochs", type=int, default=20, help="the number of epochs of the training (20)")
    options = parser.parse_args()
    keras.utils.set_random_seed(0)
    with tempfile.TemporaryDirectory() as scratch:
        train, test = split(options.photos, Path(scratch))
        data = keras.utils.image_dataset_from_directory(train, image_size=(SIZE, SIZE), batch_size=16, verbose=False)
        model = network(len(data.class_names))
        model.compile("adam", "sparse_categorical_crossentropy")
        model.fit(data, epochs=options.epochs, verbose=0)
        # The model scales its own input, and xedge notices that. For a model that does not, give preprocess=.
        made = xedge.convert(
            model, target="all", precision="int8", calibration=train, data=test, output=options.output, report=print
        )
    for one in made:
        accuracy = one.manifest.accuracy
        assert accuracy is not None
        assert accuracy.agreement is not None
        print(
            f"{one.path}: {one.artifact_bytes / 1e3:.0f} KB, top-1 {100 * accuracy.artifact.top1:.1f} %, "
            f"drop {accuracy.drop_points:+.1f} points, agreement {100 * accuracy.agreement.agreement:.1f} %"
        )
    print(f"next: xedge run {made[0].path}")
    return 0


def network(classes: int) -> Any:
    """Return a small untrained network that takes pixels from 0 to 255."""
    photo = keras.Input((SIZE, SIZE, 3))
    x = layers.Rescaling(1 / 127.5, offset=-1)(photo)
    for filters in (16, 32, 64):
        x = layers.Conv2D(filters, 3, padding="same", use_bias=False)(x)
        x = layers.BatchNormalization()(x)
        x = layers.MaxPooling2D()(layers.ReLU()(x))
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(photo, layers.Dense(classes, activation="softmax")(x), name="your_model")


def split(photos: Path, scratch: Path) -> tuple[Path, Path]:
    """Copy four fifths of every class into one folder and the rest into another, and return the two folders.

    Args:
        photos: A folder of photos with a folder for each class.
        scratch: The folder in which the two folders are made.
    """
    for folder in sorted(entry for entry in photos.iterdir() if entry.is_dir()):
        files = sorted(folder.iterdir())
        random.Random(0).shuffle(files)
        for index, file in enumerate(files):
            destination = scratch / ("test" if index % 5 == 0 else "train") / folder.name / file.name
            destination.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, destination)
    return scratch / "train", scratch / "test"


if __name__ == "__main__":
    raise SystemExit(main())
