#!/usr/bin/env python3
"""What separable convolutions, their order, a non-linearity between them and skip connections are worth.

    python examples/compare_convolutions.py PHOTOS FOLDER [--epochs 12] [--seeds 5]

builds the same compact Xception eight times, each time with one thing changed, trains every one for the same number of
epochs from the same random start on PHOTOS/train, converts it to TFLite in fp32 and int8, times the bundles in turns on
this machine, scores them on PHOTOS/test, and writes FOLDER/comparison.md. Trained models are kept in FOLDER: a second
call goes on where the first was interrupted.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

os.environ["KERAS_BACKEND"] = "tensorflow"  # the light backend that xedge takes for converting cannot train
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from PIL import Image

import xedge
from xedge.cli.console import markdown
from xedge.measuring.comparison import latency_difference
from xedge.inspection.costing import Cost
from xedge.metrics import mean95
from xedge.models.xception import XceptionConfig, xception
from xedge.measuring.rounds import Measured, Plan, measure_in_rounds

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
# One change, wherever it was made: pairs of variants with and without it.
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
    """What every variant gets.

    Args:
        size: height and width of a photo.
        width: of the network, as a factor on the published channels.
        epochs: over the training photos.
    """

    size: int
    width: float
    epochs: int


def main() -> int:
    """Train what is missing, convert, measure, write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path, help="holds train/ and test/, each with a folder for each class")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument(
        "--seeds", type=int, default=5, help="random starts of each variant; the intervals are over these"
    )
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--width", type=float, default=0.25)
    parser.add_argument(
        "--only", nargs="+", choices=VARIANTS, default=list(VARIANTS), help="the others beside the first"
    )
    parser.add_argument("--rounds", type=int, default=5, help="turns that each bundle is timed in")
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
    """Return where a trained variant is kept."""
    return folder / f"{name.replace(',', '').replace(' ', '_').lower()}_{seed}.keras"


def config_of(name: str, budget: Budget, classes: int) -> XceptionConfig:
    """Return one of the networks: all but the change is the same."""
    return XceptionConfig(
        input_shape=(budget.size, budget.size, 3),
        classes=classes,
        width_multiplier=budget.width,
        middle_blocks=2,
        **VARIANTS[name],
    )


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A network in all its starts.

    Args:
        cost: by arithmetic.
        bundles: of the first start, fp32 and int8.
        top1: of fp32 on the test photos, 0 to 1, by start.
        int8_top1: likewise of int8.
        photos: that each was scored on.
    """

    name: str
    cost: Cost
    bundles: tuple[Path, ...]
    top1: tuple[float, ...]
    int8_top1: tuple[float, ...]
    photos: int


def variant(name: str, folder: Path, seeds: int, photos: Path, test: Path) -> Variant:
    """Convert every start of a variant and score it."""
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


HEADER = ["network", "parameters, M", "MACs, M", "fp32, ms", "of the first's", "int8, ms", "of the first's"]
HEADER += ["top-1 fp32, %", "points [95 %]", "top-1 int8, %", "points of int8"]


def written(variants: list[Variant], timed: list[Measured | xedge.XedgeError], budget: Budget, seeds: int) -> str:
    """Return the table in Markdown: every variant beside the first."""
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
    setting = f"{budget.size}x{budget.size}, width {budget.width:g}, two middle blocks, {budget.epochs} epochs"
    scored = f"{first.photos} test photos, {seeds} random start{'s' if seeds > 1 else ''}"
    sums = (
        f"By arithmetic the first costs {found.ratio:.3f} of ordinary convolutions; its {len(ratios)} separable ones "
    )
    sums += f"{min(ratios):.3f} to {max(ratios):.3f} each, which is 1/N + 1/9."
    told = "\n".join(changes({one.name: one.top1 for one in variants}))
    return f"{setting}; {scored}; TFLite, timed in turns.\n\n{markdown(rows, HEADER)}\n\n{told}\n\n{sums}\n"


def changes(top1: dict[str, tuple[float, ...]]) -> list[str]:
    """Return the points that each change gained, over all pairs of networks that were trained."""
    lines = []
    for change, pairs in CHANGES.items():
        there = [(ours, theirs) for ours, theirs in pairs if ours in top1 and theirs in top1]
        if there:
            ours, theirs = ([share for pair in there for share in top1[pair[side]]] for side in (0, 1))
            lines.append(f"- {change}: {points(ours, theirs)} points, {len(ours)} pairs")
    return lines


def points(shares: Sequence[float], first: Sequence[float]) -> str:
    """Return the points of top-1 gained against the first, with Student's 95 % interval over the random starts."""
    gained = [100 * (ours - theirs) for ours, theirs in zip(shares, first, strict=True)]
    if len(gained) < 2:
        return f"{gained[0]:+.1f}"
    middle, low, high = mean95(gained)
    return f"{middle:+.1f} [{low:+.1f}, {high:+.1f}]"


def beside(now: Measured, then: Measured) -> str:
    """Return a time over the first row's, with its 95 % interval."""
    if now is then:
        return ""
    found = latency_difference(now, then)
    return f"{found.ratio:.2f} [{found.interval95[0]:.2f}, {found.interval95[1]:.2f}]"


def starts(shares: tuple[float, ...]) -> str:
    """Return the mean percentage over the random starts, and from where to where they are."""
    told = f"{100 * mean(shares):.1f}"
    return f"{told} ({100 * min(shares):.1f}–{100 * max(shares):.1f})" if len(shares) > 1 else told


def train(name: str, seed: int, budget: Budget, folder: Path, path: Path) -> None:
    """Train one variant from scratch and keep it."""
    keras.utils.set_random_seed(seed)
    labels = sorted(entry.name for entry in folder.iterdir() if entry.is_dir())
    # Larger than the network's photos: training cuts pieces out of them.
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
    # A fresh model: the trained one would be saved with its optimizer.
    kept = xception(config_of(name, budget, len(labels)))
    kept.set_weights(model.get_weights())
    kept.save(path)
    # Keras would keep all of them until the end.
    keras.backend.clear_session()
    print(f"{name}, start {seed}: loss {seen[0]:.3f} to {seen[-1]:.3f}", flush=True)


def load(folder: Path, labels: list[str], size: int) -> tuple[Any, Any]:
    """Return the photos (N, size, size, 3) uint8 of the class folders and their class indices (N,)."""
    files = [(file, index) for index, label in enumerate(labels) for file in sorted((folder / label).iterdir())]
    photos = [np.asarray(Image.open(file).convert("RGB").resize((size, size))) for file, _ in files]
    return np.stack(photos), np.array([index for _, index in files])


def augmented(photo: Any, size: int) -> Any:
    """Mirror and cut one photo, and scale it to [-1, 1]."""
    photo = tf.image.random_crop(tf.image.random_flip_left_right(photo), (size, size, 3))
    return tf.cast(photo, tf.float32) / 127.5 - 1


if __name__ == "__main__":
    raise SystemExit(main())
