"""Find out from labelled photos whether a model was trained with another scaling than the one that is assumed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from xedge.conversion.reference import Reference
from xedge.conversion.stages import Stages
from xedge.errors import InputError, UsageError, parameter
from xedge.metrics import mcnemar
from xedge.photos.preprocess import SCHEMES, Preprocessing, scheme
from xedge.photos.sets import PhotoSet
from xedge.types import BoolArray, IntArray

PHOTOS = 50
# With so many of them right, no other scaling can be a clear winner.
GOOD_SHARE = 0.8
# A clear winner has so many more photos right, and would rarely have by chance.
MORE_SHARE, MOST_P = 0.1, 0.01


def check_scaling(
    reference: Reference, assumed: Preprocessing, photos: PhotoSet, truth: IntArray, stages: Stages
) -> None:
    """Refuse a scaling that was assumed if the model has clearly more photos right with another one.

    Args:
        reference: The model in float.
        assumed: The preprocessing that is assumed.
        photos: Labelled photos.
        truth: The index (N,) of each photo's class.
        stages: Told what is done.

    Raises:
        InputError: Another scaling is clearly better; the message names it.
    """
    sample = [int(index) for index in np.linspace(0, len(photos.files) - 1, min(PHOTOS, len(photos.files)))]
    few, classes = photos.only(sample), truth[sample]
    with stages.stage("scaling") as words:
        right = _right(reference, assumed, few, classes)
        words.append(f"{right.sum()} of {len(classes)} photos are right with the assumed preprocessing")
        if right.mean() >= GOOD_SHARE:
            return
        others = {name: _right(reference, other, few, classes) for name, other in _others(assumed).items()}
        best = max(others, key=lambda name: int(others[name].sum()))
        words.append(f"and {others[best].sum()} with {best}, the best of the others")
    lost, won = int((right & ~others[best]).sum()), int((others[best] & ~right).sum())
    if won - lost >= MORE_SHARE * len(classes) and mcnemar(lost, won) < MOST_P:
        raise InputError(
            f"the model has {right.sum()} of {len(classes)} photos right with the assumed preprocessing, and "
            f"{others[best].sum()} with {best}; give {parameter('preprocess')} {best} if it was trained with it, or "
            "the assumed one to keep it"
        )


def _others(assumed: Preprocessing) -> dict[str, Preprocessing]:
    found = {}
    for name in SCHEMES:
        try:
            given = scheme(name, assumed.height, assumed.width, assumed.channels)
        except UsageError:  # It is for colour photos only.
            continue
        other = replace(assumed, colour=given.colour, scale=given.scale, offset=given.offset)
        if other != assumed:
            found[name] = other
    return found


def _right(reference: Reference, preprocessing: Preprocessing, photos: PhotoSet, truth: IntArray) -> BoolArray:
    """Return which photos (N,) bool the model has right."""
    rows = reference.predict(preprocessing.photo(file) for file in photos.files)
    right: BoolArray = rows.argmax(1) == truth
    return right
