"""Compare a bundle with another one of the same model on this machine: is it faster, and are its answers the same?"""

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
from xedge.runtimes.classifier import Classifier, open_bundle_classifier
from xedge.types import FloatArray


@dataclass(frozen=True, kw_only=True)
class Against:
    """How a bundle compares with another bundle of the same model.

    Args:
        other: The name of the other bundle's folder.
        precision: The precision of the other bundle.
        speed: The latencies of both bundles, timed in turns. Its fields that are named after float hold the figures of
            the other bundle.
        agreement: The agreement between the answers of the two bundles on the photos; None without photos.
    """

    other: str
    precision: str
    speed: Speed
    agreement: Agreement | None


def check_same_model(bundle: Bundle, other: Bundle) -> None:
    """Refuse to compare bundles of different models.

    Raises:
        InputError: The other bundle was made from another model.
    """
    if other.manifest.model.weights_sha256 != bundle.manifest.model.weights_sha256:
        raise InputError(
            f"{parameter('against')} {other.root}: its weights are not those of {bundle.root}; "
            "give a bundle of the same model"
        )


def hold_against(
    bundle: Bundle, classifier: Classifier, other: Bundle, photos: PhotoSet | None, settings: Settings, clock: Clock
) -> Against:
    """Compare a bundle that is already loaded with another bundle.

    Args:
        bundle: The bundle that is loaded.
        classifier: The classifier that runs this bundle.
        other: A bundle with the same weights.
        photos: The photos on which the answers are compared; None compares the speed alone.
        settings: The settings of the other bundle's session.
        clock: A function that returns the time in nanoseconds.
    """
    second, _ = open_bundle_classifier(other, settings)
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
