"""A bundle on a runtime: pixels in, probabilities out."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from xedge.manifest import Manifest
from xedge.metrics import softmax
from xedge.preprocess import pixels_as_int8
from xedge.runtimes import Session, Tensor
from xedge.types import FloatArray, UInt8Array


class Classifier:
    """The steps around a session that the manifest prescribes.

    Args:
        session: the loaded artifact.
        manifest: what it expects.
    """

    def __init__(self, session: Session, manifest: Manifest) -> None:
        self.session, self.manifest = session, manifest

    def classify(self, pixels: UInt8Array) -> FloatArray:
        """Return probabilities (classes,) for the pixels (H, W, C) of one photo."""
        return self.probabilities(self.session.run(self.input(pixels)))

    def input(self, pixels: UInt8Array) -> Tensor:
        """Return the artifact's input (1, ...) for the pixels (H, W, C) of one photo."""
        spec, preprocessing = self.manifest.input, self.manifest.preprocessing
        if spec.dtype == "int8":
            assert spec.scale is not None
            assert spec.zero_point is not None
            if preprocessing.pixel == (spec.scale, 0.0) and spec.zero_point == -128:
                return _batched(pixels_as_int8(pixels))
            values = np.rint(preprocessing.scaled(pixels) / spec.scale) + spec.zero_point
            return _batched(np.clip(values, -128, 127).astype(np.int8))
        photo = _batched(preprocessing.scaled(pixels))
        return np.ascontiguousarray(photo.transpose(0, 3, 1, 2)) if spec.layout == "NCHW" else photo

    def probabilities(self, output: Tensor) -> FloatArray:
        """Return probabilities (classes,) of the artifact's output (1, classes)."""
        spec = self.manifest.output
        values = output[0].astype(np.float32)
        if spec.dtype == "int8":
            assert spec.scale is not None
            assert spec.zero_point is not None
            values = (values - spec.zero_point) * np.float32(spec.scale)
        return softmax(values) if self.manifest.output_kind == "logits" else values


def _batched(photo: npt.NDArray[Any]) -> Tensor:
    return np.ascontiguousarray(photo[None])
