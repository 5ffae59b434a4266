"""Hold a bundle against another of the same model on this machine: is it faster, and does it answer the same?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from xedge.bundle.manifest import Speed
from xedge.bundle.reading import Bundle
from xedge.errors import InputError, parameter
from xedge.measuring.latency import Clock, in_turns
from xedge.metrics import Agreement, agreement
from xedge.photos.sets import PhotoSet
from xedge.runtimes import Settings
from xedge.runtimes.classifier import Classifier, open_classifier
from xedge.types import FloatArray


@dataclass(frozen=True, kw_only=True)
class Against:
    """One bundle beside another.

    Args:
        other: the other bundle's folder.
        precision: the other's.
        speed: both, timed in turns; the other is what its words call float.
        agreement: of their answers on the photos; None without photos.
    """

    other: str
    precision: str
    speed: Speed
    agreement: Agreement | None


def check_same_model(bundle: Bundle, other: Bundle) -> None:
    """Refuse a bundle that cannot be held against.

    Raises:
        InputError: it is of another model.
    """
    if other.manifest.model.weights_sha256 != bundle.manifest.model.weights_sha256:
        raise InputError(
            f"{parameter('against')} {other.root}: is not of the same model as {bundle.root}, for the weights differ"
        )


def hold_against(
    bundle: Bundle, classifier: Classifier, other: Bundle, photos: PhotoSet | None, settings: Settings, clock: Clock
) -> Against:
    """Compare a bundle that is loaded with another.

    Args:
        bundle: the one.
        classifier: it, loaded.
        other: of the same weights.
        photos: to compare answers on.
        settings: of the other's session.
        clock: nanoseconds.
    """
    second = open_classifier(other.artifact, other.manifest, settings)
    pixels = bundle.golden().pixels[0]
    first_input, second_input = classifier.input(pixels), second.input(pixels)
    pair = in_turns(lambda: classifier.session.run(first_input), lambda: second.session.run(second_input), clock)
    return Against(
        other=other.root.name,
        precision=other.manifest.precision,
        speed=Speed(ms=pair.first_ms, float_ms=pair.second_ms, ratio=pair.ratio, threads=settings.threads),
        agreement=agreement(_answers(classifier, photos), _answers(second, photos)) if photos is not None else None,
    )


def _answers(classifier: Classifier, photos: PhotoSet) -> FloatArray:
    pixels = classifier.manifest.preprocessing.pixels
    return np.stack([classifier.classify(pixels(file)) for file in photos.files])
