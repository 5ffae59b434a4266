"""A bundle that classifies photos."""

from __future__ import annotations

import tempfile
import weakref
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal

import numpy as np
from PIL import Image

from xedge.bundle.manifest import Manifest
from xedge.bundle.reading import Bundle, open_bundle
from xedge.errors import InputError
from xedge.measuring.starting import RunOptions
from xedge.metrics import most_probable
from xedge.runtimes import Execution
from xedge.runtimes.classifier import open_bundle_classifier
from xedge.types import FloatArray, UInt8Array

Photo = str | Path | Image.Image | UInt8Array


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """A class and its probability.

    Args:
        index: The index of the class among the outputs.
        label: The name of the class; several classes can have the same name.
        probability: The probability that the model gives it, 0 to 1.
    """

    index: int
    label: str
    probability: float


@dataclass(frozen=True, kw_only=True)
class Predicted:
    """The most probable classes of a photo, in a document.

    Args:
        schema: The kind of this document and its version.
        photo: The path of the photo.
        classes: The classes, the most probable first.
    """

    schema: Literal["xedge.predict/1"] = "xedge.predict/1"
    photo: str
    classes: tuple[Prediction, ...]


class Model:
    """A bundle on its runtime, as ``xedge.load`` returns it; usable in a ``with`` block, which closes it.

    It computes one inference at a time, because runtimes keep buffers between calls.
    """

    def __init__(self, bundle: Bundle, options: RunOptions, scratch: tempfile.TemporaryDirectory[str]) -> None:
        self._bundle = bundle
        self._finalizer = weakref.finalize(self, scratch.cleanup)
        self._classifier, _ = open_bundle_classifier(bundle, options.settings(bundle), options.runtime)

    @property
    def labels(self) -> tuple[str, ...]:
        """The class names in the order of the outputs."""
        return self._bundle.labels

    @property
    def manifest(self) -> Manifest:
        """What the bundle says about itself."""
        return self._bundle.manifest

    @property
    def execution(self) -> Execution:
        """What the runtime really does with the artifact."""
        return self._classifier.session.execution()

    def classify(self, photo: Photo, top: int = 3) -> tuple[Prediction, ...]:
        """Return the most probable classes, best first.

        Args:
            photo: A file, a Pillow image, or pixels (H, W, 3) or (H, W) uint8 in RGB, of any size.
            top: The number of classes to return.

        Raises:
            InputError: The photo cannot be read.
        """
        probabilities = self.probabilities(photo)
        order = most_probable(probabilities, top)
        return tuple(Prediction(index=int(i), label=self.labels[i], probability=float(probabilities[i])) for i in order)

    def probabilities(self, photo: Photo) -> FloatArray:
        """Return the probabilities (classes,) float32 of a photo, as ``classify`` takes it."""
        return self._classifier.classify(self.manifest.preprocessing.pixels(_image(photo)))

    def close(self) -> None:
        """Remove what a zip was unpacked to."""
        self._finalizer()

    def __enter__(self) -> Model:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def load(
    bundle: str | Path, *, threads: int | None = None, runtime: str | None = None, provider: str | None = None
) -> Model:
    """Open a bundle and load it into its runtime.

    Args:
        bundle: A folder or zip that ``convert`` made. Every file is checked against its hash.
        threads: The number of threads for one inference; None takes the number of cores, at most 4.
        runtime: The name of the runtime (``litert``, ``tflite``, ``onnxruntime`` or ``openvino``); None takes the first
            installed one that opens the artifact.
        provider: The processor or backend of the runtime (``cpu``, ``cuda``, ``tensorrt``, ``gpu`` or ``npu``); None
            takes its CPU.

    Raises:
        InputError: There is no bundle at this path.
        BundleError: The bundle is damaged.
        MissingRuntimeError: No runtime for the bundle is installed.
    """
    scratch = tempfile.TemporaryDirectory(prefix="xedge-")
    try:
        opened = open_bundle(Path(bundle), Path(scratch.name))
        return Model(opened, RunOptions(threads=threads, runtime=runtime, provider=provider), scratch)
    except BaseException:
        scratch.cleanup()
        raise


def _image(photo: Photo) -> Path | Image.Image:
    if isinstance(photo, np.ndarray):
        if photo.dtype != np.uint8 or photo.ndim not in (2, 3) or (photo.ndim == 3 and photo.shape[2] != 3):
            raise InputError(f"pixels {photo.dtype} {photo.shape}: give uint8, (H, W, 3) in RGB or (H, W)")
        return Image.fromarray(photo)
    return Path(photo) if isinstance(photo, str) else photo
