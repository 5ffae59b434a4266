"""A bundle's artifact on a runtime: pixels in, probabilities out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from xedge.bundle.manifest import Manifest
from xedge.bundle.reading import Bundle
from xedge.errors import BundleError, XedgeError
from xedge.metrics import class_probabilities
from xedge.photos.preprocess import pixels_as_int8
from xedge.runtimes import Runtime, Session, Settings, choose_runtime, refusal
from xedge.runtimes.trial import tried
from xedge.types import FloatArray, Tensor, UInt8Array

# What is added before fractions are cut off. Files of TensorFlow's converter often have a scale of one pixel and a zero
# point half a pixel beside it, so that every pixel lies in the middle between two integers. Rounding to even would make
# one integer of each two pixels, and float32's own rounding would choose at random; so the middle always goes upwards.
UPWARDS = 0.5 + 1e-3
# Less than this share of an integer is a rounding error of float32.
NO_STEP = 1e-3


class Classifier:
    """The steps around a session that the manifest prescribes.

    Args:
        session: The loaded artifact.
        manifest: What the artifact expects.
    """

    def __init__(self, session: Session, manifest: Manifest) -> None:
        self.session, self.manifest = session, manifest

    def classify(self, pixels: UInt8Array) -> FloatArray:
        """Return probabilities (classes,) for the pixels (H, W, C) of one photo.

        Raises:
            BundleError: The runtime cannot compute the artifact, or it gives something else than the manifest says.
        """
        return self.probabilities(self.output(self.input(pixels)))

    def output(self, photo: Tensor) -> Tensor:
        """Return the artifact's output (batch, ..., classes) for its input (batch, ...), which is the inference alone.

        Raises:
            BundleError: The runtime cannot compute the artifact, or it gives something else than the manifest says.
        """
        try:
            output = self.session.run(photo)
        except (XedgeError, MemoryError):
            raise
        except Exception as error:  # runtimes raise errors of many kinds
            raise refusal(self.manifest.artifact, "the runtime cannot compute it", error) from error
        spec = self.manifest.output
        # The sizes behind the batch; a vector has no batch.
        sizes = slice(0 if len(spec.shape) == 1 else 1, None)
        if output.ndim != len(spec.shape) or output.shape[sizes] != spec.shape[sizes] or output.dtype != spec.dtype:
            raise BundleError(
                f"{self.manifest.artifact}: gives {output.shape} {output.dtype}, but the manifest says {spec.shape} "
                f"{spec.dtype}; convert again"
            )
        return output

    def input(self, pixels: UInt8Array) -> Tensor:
        """Return the artifact's input (batch, ...) for the pixels (H, W, C) of one photo, which fills the batch."""
        spec = self.manifest.input
        photo = self._photo(pixels)[None]
        if spec.layout == "NCHW":
            photo = photo.transpose(0, 3, 1, 2)
        return np.ascontiguousarray(np.repeat(photo, max(spec.shape[0], 1), axis=0))

    def _photo(self, pixels: UInt8Array) -> Tensor:
        spec, preprocessing = self.manifest.input, self.manifest.preprocessing
        if spec.scale is None:
            return preprocessing.scaled(pixels).astype(spec.dtype, copy=False)
        assert spec.zero_point is not None
        bounds = np.iinfo(spec.dtype)
        scale, offset = preprocessing.pixel or (0.0, 0.0)
        if scale == spec.scale and abs(offset / scale + spec.zero_point - bounds.min) < NO_STEP:
            return pixels if spec.dtype == "uint8" else pixels_as_int8(pixels)
        values = np.floor(preprocessing.scaled(pixels) / spec.scale + UPWARDS) + spec.zero_point
        integers: Tensor = np.clip(values, bounds.min, bounds.max).astype(spec.dtype)
        return integers

    def probabilities(self, output: Tensor) -> FloatArray:
        """Return probabilities (classes,) of the first photo of the artifact's output (batch, ..., classes)."""
        return class_probabilities(self.values(output), self.manifest.output_kind)

    def values(self, output: Tensor) -> FloatArray:
        """Return the real values (width,) of the first photo of the artifact's output (batch, ..., width)."""
        spec = self.manifest.output
        values = output.reshape(-1)[: spec.photo_values].astype(np.float32)
        if spec.scale is not None:
            assert spec.zero_point is not None
            values = (values - spec.zero_point) * np.float32(spec.scale)
        return values


def open_classifier(
    artifact: Path, manifest: Manifest, settings: Settings, runtime: Runtime | str | None = None
) -> Classifier:
    """Load an artifact into a runtime.

    Args:
        artifact: The artifact's file.
        manifest: What is known of the artifact.
        settings: How it is to be run.
        runtime: The runtime or its name; None takes the first installed one that opens the artifact.

    Raises:
        UsageError: The runtime does not open the artifact, or has no such provider.
        MissingRuntimeError: No runtime for the artifact is installed.
        BundleError: The runtime does not take the artifact.
    """
    chosen = runtime if isinstance(runtime, Runtime) else choose_runtime(artifact, runtime)
    session = chosen.open(artifact, replace(settings, shape=manifest.input.shape, output=manifest.output.name))
    found, expected = session.input_shape(), manifest.input.shape
    pairs = zip(found, expected, strict=False)
    if len(found) != len(expected) or any(-1 not in pair and pair[0] != pair[1] for pair in pairs):
        raise BundleError(
            f"{artifact}: takes {found}, but the manifest says {expected}; convert again, or copy the bundle again"
        )
    return Classifier(session, manifest)


def open_bundle_classifier(bundle: Bundle, settings: Settings, runtime: str | None = None) -> tuple[Classifier, float]:
    """Load a bundle's artifact, after it was tried in a process of its own if it is new on this machine.

    Args:
        bundle: The bundle, whoever made it.
        settings: How the artifact is to be run.
        runtime: The name of the runtime; None takes the first installed one that opens the artifact.

    Returns:
        The classifier, and the seconds that trying the artifact took.

    Raises:
        UsageError: The runtime does not open the artifact, or has no such provider.
        MissingRuntimeError: No runtime for the artifact is installed.
        BundleError: The runtime does not take the artifact, or crashes on it.
    """
    chosen = choose_runtime(bundle.artifact, runtime)
    chosen.load()
    seconds = try_bundle(bundle, settings, runtime)
    return open_classifier(bundle.artifact, bundle.manifest, settings, chosen), seconds


def try_bundle(bundle: Bundle, settings: Settings, runtime: str | None = None) -> float:
    """Try a bundle's artifact in a process of its own if it is new on this machine; return the seconds that it took.

    Once a runtime has started its threads, nothing can be tried any more. A program that opens several bundles
    therefore tries all of them first. Arguments and errors are those of ``open_bundle_classifier``.
    """
    chosen, manifest = choose_runtime(bundle.artifact, runtime), bundle.manifest
    photo = manifest.preprocessing
    pixels = np.zeros((photo.height, photo.width, photo.channels), np.uint8)

    def attempt() -> None:
        chosen.load()
        open_classifier(bundle.artifact, manifest, settings, chosen).classify(pixels)

    contents = " ".join(f"{name} {digest}" for name, digest in sorted(manifest.files.items()))
    return tried(bundle.artifact, contents, chosen, settings, attempt)
