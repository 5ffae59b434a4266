"""Make the embedded default from a full-size trained Xception and a folder of labelled photos.

    python -m xedge.models.compact.train TEACHER.keras PHOTOS OUT [--epochs 30]

PHOTOS holds ``train``, ``validation`` and ``test``, each with one folder per class. The compact network is cut out
of the teacher (``xedge.models.compact.cut``), then trained on the train photos with the labels and the teacher's
probabilities as targets. The validation photos choose nothing but tell the accuracy while it trains; the test photos
are looked at once, at the end. OUT receives model.keras, labels.txt, card.json, test/ and calibration/.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import zipfile
from pathlib import Path
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf
from PIL import Image

from xedge.models.compact.cut import cut
from xedge.models.xception import XceptionConfig, xception

SIZE = 128
CALIBRATION_PHOTOS = 100
# Calibration photos also serve larger models that come without their own; blown-up small ones would be too smooth.
CALIBRATION_SIZE = 256
Photos = npt.NDArray[np.uint8]


def main() -> None:
    """Parse the command line and make the model, printing the accuracies."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("teacher", type=Path)
    parser.add_argument("photos", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    keras.utils.set_random_seed(arguments.seed)
    labels = sorted(folder.name for folder in (arguments.photos / "train").iterdir())
    teacher = keras.models.load_model(arguments.teacher, compile=False)
    train, truth = load(arguments.photos / "train", labels, SIZE * 5 // 4)
    targets = soft_targets(teacher, arguments.photos / "train", labels, truth)
    config = config_of(labels)
    sample = np.random.default_rng(arguments.seed).choice(len(train), 256, replace=False)
    student = cut(teacher, config, scaled(np.stack([resized(photo) for photo in train[sample]])))
    validation, validation_truth = load(arguments.photos / "validation", labels, SIZE)
    print(f"cut out: validation {accuracy(student, validation, validation_truth):.4f}", flush=True)
    fit(student, train, targets, (scaled(validation), validation_truth), arguments.epochs)
    save(student, labels, arguments)


def config_of(labels: list[str]) -> XceptionConfig:
    """Return the compact network: three eighths of the width, two middle blocks of eight."""
    return XceptionConfig(input_shape=(SIZE, SIZE, 3), classes=len(labels), width_multiplier=0.375, middle_blocks=2)


def load(split: Path, labels: list[str], size: int) -> tuple[Photos, npt.NDArray[np.int64]]:
    """Return the split's photos (N, size, size, 3) uint8 and their class indices (N,)."""
    files = [(file, index) for index, label in enumerate(labels) for file in sorted((split / label).iterdir())]
    photos = [
        np.asarray(Image.open(file).convert("RGB").resize((size, size), Image.Resampling.BILINEAR)) for file, _ in files
    ]
    return np.stack(photos), np.array([index for _, index in files])


def resized(photo: Photos) -> Photos:
    """Return one photo at the network's size."""
    return np.asarray(Image.fromarray(photo).resize((SIZE, SIZE), Image.Resampling.BILINEAR))


def scaled(photos: Photos) -> npt.NDArray[np.float32]:
    """uint8 [0, 255] to float32 [-1, 1]."""
    return np.asarray(photos.astype(np.float32) / 127.5 - 1.0, dtype=np.float32)


def soft_targets(teacher: Any, split: Path, labels: list[str], truth: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """Return (N, classes): half the label, half the teacher's probabilities at temperature 2."""
    photos, _ = load(split, labels, teacher.input_shape[1])
    probabilities = np.concatenate(
        [teacher.predict(scaled(photos[i : i + 64]), batch_size=16, verbose=0) for i in range(0, len(photos), 64)]
    )
    softened = np.sqrt(probabilities)
    softened /= softened.sum(1, keepdims=True)
    one_hot = np.eye(len(labels), dtype=np.float32)[truth]
    return np.asarray((softened + one_hot) / 2, dtype=np.float32)


def augmented(photo: Any, target: Any) -> tuple[Any, Any]:
    """Mirror, crop 60 to 100 % of the area, and change brightness and contrast of one photo."""
    area = tf.random.uniform((), 0.6, 1.0)
    aspect = tf.exp(tf.random.uniform((), -0.15, 0.15))
    height = tf.minimum(tf.sqrt(area * aspect), 1.0)
    width = tf.minimum(tf.sqrt(area / aspect), 1.0)
    top, left = tf.random.uniform((), 0.0, 1.0 - height), tf.random.uniform((), 0.0, 1.0 - width)
    box = tf.stack([top, left, top + height, left + width])[None]
    x = tf.image.crop_and_resize(tf.cast(photo, tf.float32)[None], box, [0], (SIZE, SIZE))[0]
    x = tf.image.random_flip_left_right(x)
    x = tf.image.random_contrast(tf.image.random_brightness(x, 30.0), 0.75, 1.25)
    return tf.clip_by_value(x, 0.0, 255.0) / 127.5 - 1.0, target


def fit(student: Any, train: Photos, targets: npt.NDArray[np.float32], validation: Any, epochs: int) -> None:
    """Train in place: AdamW with a cosine schedule, and the moving average of the weights at the end."""
    batch = 32
    steps = epochs * (len(train) // batch)
    schedule = keras.optimizers.schedules.CosineDecay(1e-4, steps, alpha=0.01, warmup_target=1e-3, warmup_steps=200)
    optimizer = keras.optimizers.AdamW(schedule, weight_decay=0.02, use_ema=True, ema_momentum=0.998)
    student.compile(optimizer, keras.losses.CategoricalCrossentropy())
    data = tf.data.Dataset.from_tensor_slices((train, targets)).shuffle(len(train))
    data = data.map(augmented, num_parallel_calls=2).batch(batch, drop_remainder=True).prefetch(2)

    def report(epoch: int, logs: dict[str, float]) -> None:
        correct = (student.predict(validation[0], verbose=0).argmax(1) == validation[1]).mean()
        print(f"epoch {epoch + 1}: loss {logs['loss']:.4f} validation {correct:.4f}", flush=True)

    student.fit(data, epochs=epochs, verbose=0, callbacks=[keras.callbacks.LambdaCallback(on_epoch_end=report)])
    optimizer.finalize_variable_values(student.trainable_variables)


def accuracy(model: Any, photos: Photos, truth: npt.NDArray[np.int64]) -> float:
    """Return top-1 on photos (N, SIZE, SIZE, 3) uint8."""
    return float((model.predict(scaled(photos), verbose=0).argmax(1) == truth).mean())


def save(student: Any, labels: list[str], arguments: argparse.Namespace) -> None:
    """Write the model, its labels, photos and card."""
    out: Path = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    # Weights that fp16 can hold compress to half their size and cost no accuracy.
    rounded = [w.astype(np.float16).astype(np.float32) for w in student.get_weights()]
    # A fresh model: the trained one would be saved with its optimizer, four times the size.
    student = xception(config_of(labels))
    student.set_weights(rounded)
    stored = out / "stored.keras"
    student.save(stored)
    compress(stored, out / "model.keras")
    stored.unlink()
    (out / "labels.txt").write_text("\n".join(labels) + "\n")
    rng = np.random.default_rng(arguments.seed)
    train = sorted((arguments.photos / "train").glob("*/*.jpg"))
    chosen = [train[i] for i in sorted(rng.choice(len(train), CALIBRATION_PHOTOS, replace=False))]
    export_photos(chosen, out / "calibration", CALIBRATION_SIZE)
    export_photos(sorted((arguments.photos / "test").glob("*/*.jpg")), out / "test", SIZE)
    top1 = {split: accuracy(student, *load(out / split, labels, SIZE)) for split in ("test",)}
    top1["validation"] = accuracy(student, *load(arguments.photos / "validation", labels, SIZE))
    card = {
        "name": "xception_compact",
        "parameters": student.count_params(),
        "input": [SIZE, SIZE, 3],
        "epochs": arguments.epochs,
        "seed": arguments.seed,
        "top1": top1,
        "model_sha256": hashlib.sha256((out / "model.keras").read_bytes()).hexdigest(),
    }
    (out / "card.json").write_text(json.dumps(card, indent=2) + "\n")
    print(json.dumps(card, indent=2))


def compress(source: Path, destination: Path) -> None:
    """Copy a .keras archive, deflated."""
    with (
        zipfile.ZipFile(source) as old,
        zipfile.ZipFile(destination, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as new,
    ):
        for name in old.namelist():
            new.writestr(zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0)), old.read(name), zipfile.ZIP_DEFLATED, 9)


def export_photos(files: list[Path], out: Path, size: int) -> None:
    """Write photos at size x size, class folders kept."""
    for file in files:
        destination = out / file.parent.name / file.name
        destination.parent.mkdir(parents=True, exist_ok=True)
        photo = Image.open(file).convert("RGB").resize((size, size), Image.Resampling.BILINEAR)
        photo.save(destination, quality=90)


if __name__ == "__main__":
    main()
