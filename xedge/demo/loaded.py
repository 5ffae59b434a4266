"""A bundle on its runtime, with the times of its last inferences."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from statistics import median

import numpy as np
from PIL import Image

from xedge.bundle.reading import Bundle
from xedge.measuring.starting import RunOptions
from xedge.photos.decoding import upright, with_eight_bits
from xedge.photos.labels import told_apart
from xedge.runtimes.classifier import open_bundle_classifier
from xedge.types import FloatArray

# The median is that of so many inferences: few enough to follow the board as it gets hot, enough to be steady.
WINDOW = 100
# The first inferences allocate memory, and are not among the times.
WARMUPS = 3


class LoadedBundle:
    """A bundle that answers photos and keeps the times of its last ``WINDOW`` inferences.

    Args:
        bundle: The bundle.
        options: The threads, the runtime and the provider.
        clock: A function that returns the time in seconds.
    """

    def __init__(self, bundle: Bundle, options: RunOptions, clock: Callable[[], float] = time.perf_counter) -> None:
        self.bundle = bundle
        self.labels = told_apart(bundle.labels)
        self._clock = clock
        self._classifier, _ = open_bundle_classifier(bundle, options.settings(bundle), options.runtime)
        self._times_ms: deque[float] = deque(maxlen=WINDOW)
        photo = bundle.manifest.preprocessing
        pixels = np.zeros((photo.height, photo.width, photo.channels), np.uint8)
        for _ in range(WARMUPS):
            self._classifier.classify(pixels)

    @property
    def name(self) -> str:
        """The name of the bundle's folder or zip."""
        return self.bundle.source.resolve().name

    @property
    def runtime(self) -> str:
        """The runtime and its version."""
        execution = self._classifier.session.execution()
        return f"{execution.runtime} {execution.version}"

    @property
    def samples(self) -> int:
        """The number of inferences whose median ``p50_ms`` is."""
        return len(self._times_ms)

    @property
    def p50_ms(self) -> float:
        """The median time of the last inferences in milliseconds, the preparation of the photo not included."""
        return median(self._times_ms)

    def probabilities(self, image: Image.Image) -> FloatArray:
        """Return the probabilities (classes,) float32 of a picture, and keep the time of its inference.

        Raises:
            InputError: The picture cannot be prepared.
            BundleError: The runtime cannot compute the artifact.
        """
        photo = self._classifier.input(self.bundle.manifest.preprocessing.pixels(image))
        begin = self._clock()
        output = self._classifier.output(photo)
        self._times_ms.append(1000 * (self._clock() - begin))
        return self._classifier.probabilities(output)

    def seen(self, image: Image.Image) -> Image.Image:
        """Return the whole picture in RGB, held as the bundle's preprocessing holds it.

        Raises:
            InputError: The picture cannot be turned or has values of no fixed range.
        """
        return with_eight_bits(upright(image) if self.bundle.manifest.preprocessing.exif else image, "RGB")
