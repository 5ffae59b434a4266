#!/usr/bin/env python3
"""Train a new head for your photos on a trained Xception, and take the result to a Raspberry Pi.

    python examples/fine_tune_head.py PHOTOS OUT [--model xception.keras] [--size 224x224] [--on pi@raspberrypi.local]

PHOTOS contains train/ and test/, each with a folder for each class. The convolutions stay as they are; without --model
they are those of the compact Xception that comes with xedge. The program trains a new last layer on the features that
the convolutions compute for the training photos. It writes model.keras and an int8 TFLite bundle to OUT, and measures
the accuracy on the test photos, on this machine and, with --on, on the other machine too. With --size, the network
takes photos of another size than it was trained for: smaller photos cost less, and the new head makes up for some of
what they lose.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

os.environ["KERAS_BACKEND"] = "tensorflow"  # the light backend that xedge uses for converting cannot train
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

try:
    import keras
except ImportError as error:
    raise SystemExit(f"{error.name} is not installed: pip install 'xedge[host,tensorflow]'") from None
import numpy as np

import xedge
from xedge.cli.values import size
from xedge.errors import UsageError
from xedge.models.compact import embedded
from xedge.photos.preprocess import scheme
from xedge.photos.sets import PhotoSet, read_folder

STEPS, BATCH = 720, 128


def main() -> int:
    """Train the head, convert the model, and run the bundle."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path, help="a folder with train/ and test/, each with a folder for each class")
    parser.add_argument("out", type=Path, help="the folder for the model and the bundle")
    parser.add_argument("--model", type=Path, default=embedded.MODEL, help="a trained Xception with inputs in [-1, 1]")
    parser.add_argument(
        "--size", type=photo_size, metavar="HxW", help="the size of the photos that the network is to take"
    )
    parser.add_argument("--limit", type=int, help="train on only this number of photos, for a quick try")
    parser.add_argument("--on", metavar="USER@HOST", help="also run the bundle on this machine, over ssh")
    parser.add_argument("--on-limit", type=int, metavar="N", help="with --on, score only N of the test photos")
    parser.add_argument("--on-runs", type=int, metavar="N", help="with --on, time N inferences")
    options = parser.parse_args()
    keras.utils.set_random_seed(0)
    train = read_folder(options.photos / "train")
    if options.limit is not None:
        train = train.sample(options.limit, seed=0)
    model = keras.models.load_model(options.model, compile=False)
    if options.size is not None:
        model = at_size(model, *options.size)
    model = with_new_head(model, train)
    options.out.mkdir(parents=True, exist_ok=True)
    model.save(options.out / "model.keras")
    (options.out / "labels.txt").write_text("\n".join(train.classes) + "\n")
    (made,) = xedge.convert(
        options.out / "model.keras",
        target="tflite",
        precision="int8",
        preprocess="tf",
        labels=options.out / "labels.txt",
        calibration=options.photos / "train",
        data=options.photos / "test",
        output=options.out / "bundle",
        report=print,
    )
    accuracy = made.manifest.accuracy
    assert accuracy is not None
    assert accuracy.reference is not None
    top1 = f"float {100 * accuracy.reference.top1:.2f} %, int8 {100 * accuracy.artifact.top1:.2f} %"
    print(f"{top1} of {accuracy.artifact.photos} photos")
    if options.on is not None:
        run_there(options.on, made.path, options)
    return 0


def run_there(destination: str, bundle: Path, options: argparse.Namespace) -> None:
    """Run the bundle on another machine and print what was measured there.

    Args:
        destination: The other machine, as user@host.
        bundle: The folder of the bundle.
        options: The options of the command line.
    """
    runs = ("--runs", str(options.on_runs)) if options.on_runs is not None else ()
    photos, limit = options.photos / "test", options.on_limit
    run = xedge.run_on(destination, bundle, data=photos, limit=limit, arguments=runs, report=print).runs[0]
    assert run.accuracy is not None
    print(f"on {destination}: {run.latency.p50_ms:.1f} ms, {run.verdict.word} {'; '.join(run.verdict.reasons)}")
    print(f"top-1 {100 * run.accuracy.top1:.2f} % of {run.accuracy.photos} photos")


def photo_size(text: str) -> tuple[int, int]:
    """Return a height and a width in pixels, such as 224x160; one number stands for both."""
    try:
        return size(text)
    except UsageError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def at_size(model: Any, height: int, width: int) -> Any:
    """Return a fully convolutional model with the same weights for photos of another size.

    Args:
        model: The trained model.
        height: The height of the photos in pixels.
        width: The width of the photos in pixels.
    """
    other = keras.models.clone_model(model, input_tensors=keras.Input((height, width, model.input_shape[-1])))
    other.set_weights(model.get_weights())
    return other


def with_new_head(model: Any, train: PhotoSet) -> Any:
    """Return the model with a new last layer, which is a logistic regression on the output of the layer before it.

    Args:
        model: The trained model.
        train: The training photos with their classes.
    """
    base = keras.Model(model.input, model.layers[-2].output)
    features = extracted(base, train)
    truth = np.array(train.truth)
    center, scale = features.mean(0), features.std(0) + 1e-6
    dense = keras.layers.Dense(len(train.classes), activation="softmax", name="predictions")
    head = keras.Sequential([keras.Input(features.shape[1:]), dense])
    # There are few photos and thousands of features, hence the strong weight decay. Its value was chosen on the
    # validation split of the clothing photos.
    head.compile(keras.optimizers.AdamW(1e-3, weight_decay=10.0), "sparse_categorical_crossentropy")
    epochs = -(-STEPS * BATCH // len(truth))
    head.fit((features - center) / scale, truth, epochs=epochs, batch_size=BATCH, verbose=0)
    kernel, bias = dense.get_weights()
    # The layer includes the scaling of the features, so that the network needs no separate one.
    kernel = kernel / scale[:, None]
    output = keras.layers.Dense(len(train.classes), activation="softmax", name="predictions")
    whole = keras.Model(model.input, output(base.output), name="xception")
    output.set_weights([kernel, bias - center @ kernel])
    return whole


def extracted(base: Any, photos: PhotoSet, batch: int = 16) -> Any:
    """Return the features of every photo as an array (N, channels).

    Args:
        base: The model without its last layer.
        photos: The photos.
        batch: The number of photos in a batch.
    """
    _, height, width, channels = base.input_shape
    preprocessing = scheme("tf", height, width, channels)
    rows = []
    for start in range(0, len(photos.files), batch):
        files = photos.files[start : start + batch]
        rows.append(np.asarray(base(np.stack([preprocessing.photo(file) for file in files]), training=False)))
        if sys.stdout.isatty():
            print(f"\rfeatures of {len(rows) * batch} of {len(photos.files)} photos", end="\r", flush=True)
    print(f"features of {len(photos.files)} photos")
    return np.concatenate(rows)


if __name__ == "__main__":
    raise SystemExit(main())
