"""What hardly any file says: how photos were scaled, what the classes are called, and what the output holds."""

from __future__ import annotations

from dataclasses import replace
from math import isclose, isfinite
from pathlib import Path

import numpy as np

from xedge.bundle.manifest import RANGES, TensorSpec
from xedge.bundle.reading import Bundle
from xedge.conversion.data_config import applied, read_data_config
from xedge.conversion.options import WrapOptions
from xedge.conversion.stages import Stages
from xedge.conversion.subject import labels_in, numbered, read_labels
from xedge.errors import InputError, UnsupportedError, UsageError, parameter
from xedge.photos.preprocess import Preprocessing, scheme
from xedge.photos.sets import PhotoSet
from xedge.photos.truth import truth_of
from xedge.types import FloatArray
from xedge.vocabulary import OutputKind, Precision
from xedge.wrapping.ends import Ends

# Schemes by the real values that their darkest and brightest pixels become.
BOUNDS = {(-1.0, 1.0): "tf", (0.0, 1.0): "unit", (0.0, 255.0): "raw"}
# How far the ends of an input's range may be from these, as a share of the range.
CLOSE = 0.01
# How far a sum of probabilities in float may be from one.
SUM = 1e-3
# The step of probabilities that are rounded to 8 bits, whose scale may come from photos that reach hardly less than 1.
EIGHT_BITS = 1 / 250


# What the options for the fitting of photos are where the user says nothing.
_UNSAID = ("none", "pillow")


def find_preprocessing(
    artifact: Path, ends: Ends, options: WrapOptions, reference: Bundle | None, stages: Stages
) -> Preprocessing:
    """Return how photos become the input: as asked, or as the file or the reference tells.

    Args:
        artifact: The artifact, for messages.
        ends: What it takes and gives.
        options: What the user says of it.
        reference: A bundle of the same model in float; None without one.
        stages: Told of the preprocessing.

    Raises:
        UsageError: Nothing tells how photos are scaled.
        InputError: What the file tells makes no sense.
    """
    found, reason = _preprocessing(artifact, ends, options, reference)
    if ends.takes_pixels:
        # The integers are the pixels themselves; whatever scaling there is, the artifact does.
        found = replace(found, scale=(1.0,), offset=(0.0,))
        reason = f"{reason}; the input has whole pixels, which the artifact scales itself"
    height, width, channels = ends.photo
    stages.tell("input", f"{height}x{width}x{channels} {ends.input.layout} {ends.input.dtype}, preprocessing {reason}")
    return found


def _preprocessing(
    artifact: Path, ends: Ends, options: WrapOptions, reference: Bundle | None
) -> tuple[Preprocessing, str]:
    height, width, channels = ends.photo

    def named(name: str) -> Preprocessing:
        return scheme(name, height, width, channels, options.crop, exif=options.exif, resize=options.resize)

    config = read_data_config(options.preprocess, options.crop, options.resize)
    if config is not None:
        assert options.preprocess is not None
        prepared = applied(config, options.preprocess, ends.photo, exif=options.exif)
        return prepared, f"{options.preprocess}: {prepared.fitting}"
    if options.preprocess is not None:
        return named(options.preprocess), f"{options.preprocess}: as asked"
    if ends.takes_pixels:
        return named("raw"), "raw"
    if ends.source.normalization is not None:
        return _normalized(artifact, named("raw"), *ends.source.normalization), "by the metadata in the file"
    if reference is not None and reference.manifest.input.dtype == "float32":
        return _as_reference(options, reference.manifest.preprocessing), "as that of the reference"
    name = _by_range(ends.input)
    if name is not None:
        low, high = _range(ends.input)
        return named(name), f"{name}: the integers of the input stand for {low:.4g} to {high:.4g}"
    raise UsageError(
        f"{artifact}: nothing in this file tells how photos were scaled in training; say it with "
        f"{parameter('preprocess')}"
    )


def _as_reference(options: WrapOptions, theirs: Preprocessing) -> Preprocessing:
    """Return the reference's preprocessing with what the user says besides.

    Raises:
        UsageError: The reference resizes photos before it cuts their centre, and the user says otherwise.
    """
    asked = {name: getattr(options, name) for name in ("crop", "resize") if getattr(options, name) not in _UNSAID}
    for name, value in asked.items():
        if theirs.resized is not None:
            raise UsageError(
                f"{parameter(name)} {value}: the reference has {theirs.fitting}; leave {parameter(name)} out"
            )
    return replace(theirs, exif=options.exif or theirs.exif, **asked)


def _normalized(
    artifact: Path, raw: Preprocessing, means: tuple[float, ...], deviations: tuple[float, ...]
) -> Preprocessing:
    try:
        if not all(isfinite(value) for value in (*means, *deviations)) or 0.0 in deviations:
            raise ValueError("it has values that are no numbers, or divides by zero")
        if len(deviations) not in (len(means), 1) and len(means) != 1:
            raise ValueError("it has another number of means than of deviations")
        count = max(len(means), len(deviations))
        means, deviations = (values * count if len(values) == 1 else values for values in (means, deviations))
        pairs = list(zip(means, deviations, strict=True))
        return replace(raw, scale=tuple(1 / d for _, d in pairs), offset=tuple(-m / d for m, d in pairs))
    except ValueError as error:
        raise InputError(
            f"{artifact}: the normalization in its metadata cannot be used ({error}); give {parameter('preprocess')}"
        ) from error


def _range(spec: TensorSpec) -> tuple[float, float]:
    """Return the real values of the least and the greatest integer of a tensor."""
    assert spec.scale is not None
    assert spec.zero_point is not None
    least, most = RANGES[spec.dtype]
    return (least - spec.zero_point) * spec.scale, (most - spec.zero_point) * spec.scale


def _by_range(spec: TensorSpec) -> str | None:
    if spec.scale is None:
        return None
    low, high = _range(spec)
    for (least, most), name in BOUNDS.items():
        if max(abs(low - least), abs(high - most)) <= CLOSE * (most - least):
            return name
    return None


def find_labels(
    artifact: Path, ends: Ends, options: WrapOptions, reference: Bundle | None, photos: PhotoSet | None
) -> tuple[tuple[str, ...], bool]:
    """Return the labels, and whether they are names.

    They are those of the user's file, else those that the artifact, the reference or the class folders bring, else
    numbers.

    Raises:
        InputError: There is another number of labels than of classes.
    """
    classes = ends.classes
    if options.labels is not None:
        return _checked(f"{options.labels}", read_labels(Path(options.labels)), artifact, classes), True
    if ends.result.labels is not None:
        return _checked(f"{artifact}, in its metadata,", labels_in(ends.result.labels), artifact, classes), True
    if reference is not None and reference.manifest.labels_known:
        return _checked(f"{reference.root}", reference.labels, artifact, classes), True
    if photos is not None and not photos.numbered:
        truth_of(photos, None, classes)  # refuses folders that are not the classes
        return photos.classes, True
    return numbered(classes), False


def _checked(where: str, labels: tuple[str, ...], artifact: Path, classes: int) -> tuple[str, ...]:
    if len(labels) == classes:
        return labels
    hint = f"give a file with one label for each class with {parameter('labels')}"
    if len(labels) + 1 == classes:
        hint = (
            "networks for ImageNet often have a class for the background first, so add a line for it at the beginning"
        )
    elif len(labels) - 1 == classes:
        hint = "if the first label is that of a background, which this network does not have, remove its line"
    raise InputError(f"{where}: has {len(labels)} labels, but {artifact.name} has {classes} classes; {hint}")


def find_kind(
    artifact: Path, output: TensorSpec, rows: FloatArray, precision: Precision, asked: OutputKind | None
) -> OutputKind:
    """Return what the output holds: as asked, or by the values that it gives.

    Args:
        artifact: The artifact, for messages.
        output: The output.
        rows: (N, width) real values for photos of several kinds.
        precision: The precision of the artifact.
        asked: What the user says; None if nothing.

    Raises:
        InputError: A value is no number.
        UnsupportedError: Every value is a probability of its own.
        UsageError: What the user says does not fit the number of values, or the values.
    """
    if not np.isfinite(rows).all():
        raise InputError(f"{artifact}: answers photos with values that are no numbers; it cannot be wrapped")
    width, bounded = rows.shape[1], bool(rows.min() >= 0 and rows.max() <= 1 + SUM)
    if asked is not None:
        if (asked in ("probability", "logit")) != (width == 1):
            raise UsageError(f"{parameter('output_kind')} {asked}: {artifact} gives {width} values for a photo")
        if asked in ("probability", "probabilities") and not bounded:
            raise UsageError(
                f"{parameter('output_kind')} {asked}: {artifact} gives values from {rows.min():.3g} to {rows.max():.3g}"
            )
        return asked
    if width == 1:
        return "probability" if bounded else "logit"
    # Each value is rounded by up to half a step. A float output may have been rounded to 8 bits in an int8 artifact.
    step = output.scale or (EIGHT_BITS if precision == "int8" else 0.0)
    allowed = SUM + width * step / 2
    if output.dtype == "float16":
        allowed += width * 2.0**-11
    if bounded and all(isclose(total, 1, abs_tol=allowed) for total in rows.sum(1).tolist()):
        return "probabilities"
    if bounded:
        raise UnsupportedError(
            f"{artifact}: gives values from 0 to 1 that do not sum to 1, as networks do that answer for each class "
            f"alone; if they are those of one answer, say with {parameter('output_kind')} what they are"
        )
    return "logits"
