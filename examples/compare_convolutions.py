#!/usr/bin/env python3
"""Measure the effect of separable convolutions, their order, a non-linearity between them, and residual connections.

    python examples/compare_convolutions.py PHOTOS FOLDER [--epochs 12] [--seeds 5]

The program builds the same compact Xception eight times, each time with one thing changed. It trains all of them on
PHOTOS/train for the same number of epochs from the same random starts, and converts them to TFLite in fp32 and int8. It
times the bundles in turns on this machine, scores them on PHOTOS/test, and writes FOLDER/comparison.md. Trained models
are kept in FOLDER, so if the program is interrupted, a second call continues where the first one stopped.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

os.environ["KERAS_BACKEND"] = "tensorflow"  # the light backend that xedge uses for converting cannot train
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

try:
    import keras
    import tensorflow as tf
except ImportError as error:
    raise SystemExit(f"{error.name} is not installed: pip install 'xedge[host,tensorflow]'") from None
import numpy as np
from PIL import Image

import xedge
from xedge.cli.console import markdown
from xedge.inspection.costing import Cost
from xedge.measuring.comparison import latency_difference
from xedge.measuring.rounds import Measured, Plan, measure_in_rounds
from xedge.metrics import mean95
from xedge.models.xception import XceptionConfig, xception

VARIANTS: dict[str, dict[str, Any]] = {
    "separable, depthwise first": {},
    "ReLU between": {"intermediate": "relu"},
    "ELU between": {"intermediate": "elu"},
    "pointwise first": {"order": "pointwise_first"},
    "pointwise first, ReLU between": {"order": "pointwise_first", "intermediate": "relu"},
    "pointwise first, ELU between": {"order": "pointwise_first", "intermediate": "elu"},
    "no skip connections": {"residual": False},
    "ordinary convolutions": {"convolution": "ordinary"},
}
# Changes that were made in several variants: pairs of variants with the change and without it.
CHANGES: dict[str, list[tuple[str, str]]] = {
    "nothing between instead of ReLU": [
        ("separable, depthwise first", "ReLU between"),
        ("pointwise first", "pointwise first, ReLU between"),
    ],
    "nothing between instead of ELU": [
        ("separable, depthwise first", "ELU between"),
        ("pointwise first", "pointwise first, ELU between"),
    ],
    "pointwise first instead of depthwise first": [
        ("pointwise first", "separable, depthwise first"),
        ("pointwise first, ReLU between", "ReLU between"),
        ("pointwise first, ELU between", "ELU between"),
    ],
}


@dataclass(frozen=True, kw_only=True)
class Budget:
    """The settings that all variants share.

    Args:
        size: The height and width of a photo in pixels.
        width: The width of the network, as a factor on the published numbers of channels.
        epochs: The number of passes over the training photos.
    """

    size: int
    width: float
    epochs: int


def main() -> int:
    """Train the models that are missing, convert and measure all of them, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path, help="a folder with train/ and test/, each with a folder for each class")
    parser.add_argument("folder", type=Path, help="the folder for the trained models and the results")
    parser.add_argument("--epochs", type=int, default=12, help="the number of epochs of each training (12)")
    parser.add_argument("--seeds", type=int, default=5, help="the number of random starts of each variant (5)")
    parser.add_argument("--size", type=int, default=96, help="the height and width of a photo in pixels (96)")
    parser.add_argument("--width", type=float, default=0.25, help="the factor on the published channels (0.25)")
    parser.add_argument(
        "--only",
        nargs="+",
        choices=VARIANTS,
        default=list(VARIANTS),
        help="the variants to compare, of which the first is the one that the others are compared with (all)",
    )
    parser.add_argument("--rounds", type=int, default=5, help="the number of turns in which each bundle is timed (5)")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    budget = Budget(size=options.size, width=options.width, epochs=options.epochs)
    for seed in range(options.seeds):
        for name in options.only:
            path = file_of(options.folder, name, seed)
            if not path.exists():
                train(name, seed, budget, options.photos / "train", path)
    variants = [
        variant(name, options.folder, options.seeds, options.photos / "train", options.photos / "test")
        for name in options.only
    ]
    timed = measure_in_rounds([path for one in variants for path in one.bundles], Plan(rounds=options.rounds, runs=50))
    table = written(variants, timed, budget, options.seeds)
    (options.folder / "comparison.md").write_text(table)
    print(table)
    return 0


def file_of(folder: Path, name: str, seed: int) -> Path:
    """Return the file in which a trained variant is kept."""
    return folder / f"{name.replace(',', '').replace(' ', '_').lower()}_{seed}.keras"


def config_of(name: str, budget: Budget, classes: int) -> XceptionConfig:
    """Return the configuration of a variant. The variants differ only in what they change."""
    return XceptionConfig(
        input_shape=(budget.size, budget.size, 3),
        classes=classes,
        width_multiplier=budget.width,
        middle_blocks=2,
        **VARIANTS[name],
    )


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One variant of the network, trained from several random starts.

    Args:
        name: The name of the variant.
        cost: The number of parameters and multiply-accumulates.
        bundles: The fp32 and the int8 bundle of the first start.
        top1: The top-1 of fp32 on the test photos for each start, from 0 to 1.
        int8_top1: The top-1 of int8 on the test photos for each start, from 0 to 1.
        photos: The number of photos on which each bundle was scored.
    """

    name: str
    cost: Cost
    bundles: tuple[Path, ...]
    top1: tuple[float, ...]
    int8_top1: tuple[float, ...]
    photos: int


def variant(name: str, folder: Path, seeds: int, photos: Path, test: Path) -> Variant:
    """Convert and score a variant, once for each start.

    Args:
        name: The name of the variant.
        folder: The folder with the trained models.
        seeds: The number of random starts.
        photos: The folder of calibration photos.
        test: The folder of test photos.
    """
    paths, runs = [], []
    for seed in range(seeds):
        model = file_of(folder, name, seed)
        made = xedge.convert(
            model,
            target="tflite",
            precision=("fp32", "int8"),
            preprocess="tf",
            calibration=photos,
            data=test,
            output=folder / "bundles" / model.stem,
        )
        paths.append([one.path for one in made])
        runs.append([xedge.run(one.path, data=test, runs=3) for one in made])
    scored = [[run.accuracy for run in pair if run.accuracy is not None] for pair in runs]
    return Variant(
        name=name,
        cost=xedge.cost(file_of(folder, name, 0)),
        bundles=tuple(paths[0]),
        top1=tuple(pair[0].top1 for pair in scored),
        int8_top1=tuple(pair[1].top1 for pair in scored),
        photos=scored[0][0].photos,
    )


HEADER = ["network", "parameters, M", "MACs, M"]
HEADER += ["fp32, ms", "fp32, ratio to the first", "int8, ms", "int8, ratio to the first", "fp32 top-1, %"]
HEADER += ["points against the first [95 %]", "int8 top-1, %", "points against fp32 [95 %]"]


def written(variants: list[Variant], timed: list[Measured | xedge.XedgeError], budget: Budget, seeds: int) -> str:
    """Return the table in Markdown, which compares every variant with the first."""
    first, pairs = variants[0], list(zip(timed[::2], timed[1::2], strict=True))
    rows = []
    for one, pair in zip(variants, pairs, strict=True):
        times = []
        for now, then in zip(pair, pairs[0], strict=True):
            assert isinstance(now, Measured)
            assert isinstance(then, Measured)
            times += [f"{now.run.latency.p50_ms:.2f}", beside(now, then)]
        costs = [f"{one.cost.total.parameters / 1e6:.2f}", f"{one.cost.total.multiply_accumulates / 1e6:.0f}"]
        gained = "" if one is first else points(one.top1, first.top1)
        int8 = points(one.int8_top1, one.top1)
        rows.append([one.name, *costs, *times, starts(one.top1), gained, starts(one.int8_top1), int8])
    found = first.cost
    ratios = [layer.separable.ratio for layer in found.layers if layer.separable is not None]
    setting = (
        f"The networks take photos of {budget.size}x{budget.size} pixels, have a width of {budget.width:g} and two "
        f"middle blocks, and were trained for {budget.epochs} epochs"
    )
    random_starts = f"from {seeds} random start{'s' if seeds > 1 else ''} each"
    scored = f"They were scored on {first.photos} test photos, and their TFLite artifacts were timed in turns."
    sums = (
        f"By the number of multiply-accumulates, the first network costs {found.ratio:.3f} of one with ordinary "
        f"convolutions. Each of its {len(ratios)} separable convolutions costs {min(ratios):.3f} to {max(ratios):.3f} "
        "of an ordinary one, which is 1/N + 1/9."
    )
    told = "\n".join(changes({one.name: one.top1 for one in variants}))
    return f"{setting} {random_starts}. {scored}\n\n{markdown(rows, HEADER)}\n\n{told}\n\n{sums}\n"


def changes(top1: dict[str, tuple[float, ...]]) -> list[str]:
    """Return one line for each change: the points that it gained, over all pairs of networks that were trained."""
    lines = []
    for change, pairs in CHANGES.items():
        there = [(ours, theirs) for ours, theirs in pairs if ours in top1 and theirs in top1]
        if there:
            ours, theirs = ([share for pair in there for share in top1[pair[side]]] for side in (0, 1))
            lines.append(f"- {change}: {points(ours, theirs)} points, {len(ours)} pairs")
    return lines


def points(shares: Sequence[float], first: Sequence[float]) -> str:
    """Return the gain in top-1 in percentage points, with Student's 95 % interval over the random starts.

    Args:
        shares: The top-1 of a network for each start, from 0 to 1.
        first: The top-1 of the network that it is compared with, for the same starts.
    """
    gained = [100 * (ours - theirs) for ours, theirs in zip(shares, first, strict=True)]
    if len(gained) < 2:
        return f"{gained[0]:+.1f}"
    middle, low, high = mean95(gained)
    return f"{middle:+.1f} [{low:+.1f}, {high:+.1f}]"


def beside(now: Measured, then: Measured) -> str:
    """Return the ratio of a latency to that of the first row, with its 95 % interval."""
    if now is then:
        return ""
    found = latency_difference(now, then)
    return f"{found.ratio:.2f} [{found.interval95[0]:.2f}, {found.interval95[1]:.2f}]"


def starts(shares: tuple[float, ...]) -> str:
    """Return the mean over the random starts as a percentage, followed by the lowest and the highest value."""
    told = f"{100 * mean(shares):.1f}"
    return f"{told} ({100 * min(shares):.1f}–{100 * max(shares):.1f})" if len(shares) > 1 else told


def train(name: str, seed: int, budget: Budget, folder: Path, path: Path) -> None:
    """Train one variant from scratch and save it.

    Args:
        name: The name of the variant.
        seed: The seed of the random start.
        budget: The settings that all variants share.
        folder: The folder of training photos.
        path: The file in which the trained model is saved.
    """
    keras.utils.set_random_seed(seed)
    labels = sorted(entry.name for entry in folder.iterdir() if entry.is_dir())
    # The photos are larger than the network's input, because training crops pieces out of them.
    photos, truth = load(folder, labels, budget.size * 9 // 8)
    model = xception(config_of(name, budget, len(labels)))
    batch = min(32, len(photos))
    data = tf.data.Dataset.from_tensor_slices((photos, truth)).shuffle(len(photos), seed=seed)
    data = data.map(lambda photo, label: (augmented(photo, budget.size), label)).batch(batch, drop_remainder=True)
    steps = budget.epochs * (len(photos) // batch)
    schedule = keras.optimizers.schedules.CosineDecay(
        1e-4, steps, alpha=0.01, warmup_target=2e-3, warmup_steps=steps // 8
    )
    model.compile(keras.optimizers.AdamW(schedule, weight_decay=0.02), "sparse_categorical_crossentropy")
    seen = model.fit(data.prefetch(2), epochs=budget.epochs, shuffle=False, verbose=0).history["loss"]
    # The weights are copied to a new model, because the trained one would be saved with its optimizer.
    kept = xception(config_of(name, budget, len(labels)))
    kept.set_weights(model.get_weights())
    kept.save(path)
    # Without this, Keras would keep all models in memory until the end.
    keras.backend.clear_session()
    print(f"{name}, start {seed}: loss {seen[0]:.3f} to {seen[-1]:.3f}", flush=True)


def load(folder: Path, labels: list[str], size: int) -> tuple[Any, Any]:
    """Return the photos of the class folders as uint8 (N, size, size, 3), and their class indices (N,)."""
    files = [(file, index) for index, label in enumerate(labels) for file in sorted((folder / label).iterdir())]
    photos = [np.asarray(Image.open(file).convert("RGB").resize((size, size))) for file, _ in files]
    return np.stack(photos), np.array([index for _, index in files])


def augmented(photo: Any, size: int) -> Any:
    """Mirror a photo at random, crop it at random, and scale it to [-1, 1]."""
    photo = tf.image.random_crop(tf.image.random_flip_left_right(photo), (size, size, 3))
    return tf.cast(photo, tf.float32) / 127.5 - 1


if __name__ == "__main__":
    raise SystemExit(main())
