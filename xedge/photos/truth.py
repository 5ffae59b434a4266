"""Find the true class of each photo among a model's outputs, by the one rule from class folders to classes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from xedge.errors import InputError, parameter
from xedge.photos.labels import classes_by_name, lines_of
from xedge.photos.sets import PhotoFolder, PhotoSet
from xedge.types import IntArray


def truth_of(photos: PhotoSet, labels: Sequence[str] | None, classes: int) -> IntArray:
    """Return the index (N,) of each photo's true class among a model's outputs.

    The class folders are matched with the labels by name. Without labels, they are taken in alphabetical order, which
    is the order in which Keras numbers them. Numbers of classes are those of the outputs.

    Args:
        photos: The labelled photos.
        labels: The names of the classes in the order of the outputs; None if they are not known.
        classes: The number of outputs.

    Raises:
        InputError: The classes of the photos are not those of the model, or several classes of it have the same name.
    """
    if photos.numbered:
        return _numbers(photos, classes)
    noun = "class folder" if isinstance(photos, PhotoFolder) else "class name"
    if labels is None:
        if len(photos.classes) != classes:
            raise InputError(
                f"{photos.root}: has {len(photos.classes)} classes for a model of {classes} classes; give photos "
                f"of all its classes, or convert with {parameter('labels')}, a file with their order"
            )
        return np.array(photos.truth, np.int64)
    named = classes_by_name(labels)
    for name in photos.classes:
        if name not in named:
            raise InputError(
                f"{photos.root}: the {noun} {name!r} is none of the model's {classes} labels "
                f"({', '.join(labels[:5])}{', ...' if classes > 5 else ''}); rename it, or convert with "
                f"{parameter('labels')}"
            )
        if len(named[name]) > 1:
            raise InputError(
                f"{photos.root}: the {noun} {name!r} could be several classes, because {lines_of(named[name])} "
                f"of the labels have this name (blank lines do not count); convert with {parameter('labels')}, a file "
                "in which every label is different"
            )
    return np.array([named[photos.classes[i]][0] for i in photos.truth], np.int64)


def _numbers(photos: PhotoSet, classes: int) -> IntArray:
    numbers = np.array(photos.truth, np.int64)
    strange = numbers[(numbers < 0) | (numbers >= classes)]
    if strange.size:
        raise InputError(
            f"{photos.root}: has class {strange[0]}, but the model's {classes} classes are numbered from 0 to "
            f"{classes - 1}; give the numbers of the outputs, or the names of the classes"
        )
    return numbers
