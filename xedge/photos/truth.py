"""What photos show, as indices of a model's classes: the one rule from class folders to outputs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from xedge.errors import InputError, parameter
from xedge.photos.sets import PhotoSet
from xedge.types import IntArray


def truth_of(photos: PhotoSet, labels: Sequence[str] | None, classes: int) -> IntArray:
    """Return each photo's class index (N,) among a model's outputs.

    Folders are matched with the labels by name. Without labels the folders are taken in alphabetical order, as Keras
    numbers them.

    Args:
        photos: Labelled photos.
        labels: The class names in the order of the outputs; None if they are not known.
        classes: The number of outputs.

    Raises:
        InputError: The folders are not the model's classes, or a folder's name is that of several classes.
    """
    if labels is None:
        if len(photos.classes) != classes:
            raise InputError(
                f"{photos.root}: has {len(photos.classes)} class folders for a model of {classes} classes; give photos "
                f"of all its classes, or convert with {parameter('labels')}, a file with their order"
            )
        return np.array(photos.truth, np.int64)
    index = {label: i for i, label in enumerate(labels)}
    for name in photos.classes:
        if name not in index:
            raise InputError(
                f"{photos.root}: the class folder {name!r} is none of the model's {classes} labels "
                f"({', '.join(labels[:5])}{', ...' if classes > 5 else ''}); rename it, or convert with "
                f"{parameter('labels')}"
            )
        if list(labels).count(name) > 1:
            places = ", ".join(str(i) for i, label in enumerate(labels) if label == name)
            raise InputError(
                f"{photos.root}: the class folder {name!r} could be any of the classes {places}, which have the same "
                f"label; convert with {parameter('labels')}, a file in which every label is different"
            )
    return np.array([index[photos.classes[i]] for i in photos.truth], np.int64)
