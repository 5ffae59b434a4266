"""A bundle that classifies photos."""

from __future__ import annotations

import tempfile
import weakref
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np
from PIL import Image

from xedge.bundle.manifest import Manifest
from xedge.bundle.reading import Bundle, open_bundle
from xedge.errors import InputError
from xedge.measuring.run import RunOptions
from xedge.runtimes import Execution
from xedge.runtimes.classifier import open_classifier
from xedge.types import FloatArray, UInt8Array

Photo = str | Path | Image.Image | UInt8Array


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """A class and its probability, 0 to 1."""

    label: str
    probability: float


class Model:
    """A bundle on its runtime, as ``xedge.load`` returns it; usable in a ``with`` block, which closes it.

    One inference at a time: runtimes keep buffers between calls.
    """

    def __init__(self, bundle: Bundle, options: RunOptions, scratch: tempfile.TemporaryDirectory[str]) -> None:
        self._bundle = bundle
        self._finalizer = weakref.finalize(self, scratch.cleanup)
        self._classifier = open_classifier(bundle.artifact, bundle.manifest, options.settings(bundle), options.runtime)

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names in the order of the outputs."""
        return self._bundle.labels

    @property
    def manifest(self) -> Manifest:
        """What the bundle says of itself."""
        return self._bundle.manifest

    @property
    def execution(self) -> Execution:
        """What the runtime really does with the artifact."""
        return self._classifier.session.execution()

    def classify(self, photo: Photo, top: int = 3) -> tuple[Prediction, ...]:
        """Return the most probable classes, best first.

        Args:
            photo: a file, a Pillow image, or pixels (H, W, 3) or (H, W) uint8, RGB, of any size.
            top: how many classes.

        Raises:
            InputError: no readable photo.
        """
        probabilities = self.probabilities(photo)
        order = np.argsort(-probabilities, kind="stable")[:top]
        return tuple(Prediction(label=self.labels[i], probability=float(probabilities[i])) for i in order)

    def probabilities(self, photo: Photo) -> FloatArray:
        """Return the probabilities (classes,) float32 of a photo, as ``classify`` takes it."""
        return self._classifier.classify(self.manifest.preprocessing.pixels(_image(photo)))

    def close(self) -> None:
        """Let go of what a zip was unpacked to."""
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
        bundle: a folder or zip that ``convert`` made; every file is checked against its hash.
        threads: None takes the cores, four at most.
        runtime: ``litert``, ``tflite``, ``onnxruntime`` or ``openvino``; None takes the first installed for the target.
        provider: ``cpu`` (None), ``cuda``, ``tensorrt``, ``gpu`` or ``npu``, as the runtime has it.

    Raises:
        InputError, BundleError: no bundle, or a damaged one.
        MissingRuntimeError: no runtime for it is installed.
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
