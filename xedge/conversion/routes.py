"""The ways of models outside the reference graph through libraries' own converters: from a SavedModel, or from ONNX."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from xedge.converters import Form, Target, find_file_library, find_library
from xedge.converters.tflite import library as tensorflow
from xedge.sources import FloatFile
from xedge.types import FloatArray
from xedge.vocabulary import Layout

Photos = Callable[[], Iterable[FloatArray]]


class Route(Protocol):
    """How libraries convert a model."""

    @property
    def float_file(self) -> Path:
        """The float artifact that is the reference."""

    @property
    def made_by(self) -> str:
        """What made the float artifact, for messages."""

    @property
    def layout(self) -> Layout:
        """The layout of photos in the float artifact."""

    def artifact_layout(self, target: Target) -> Layout:
        """Return the layout of photos in a target's artifact."""

    def words(self, target: Target) -> tuple[str, str]:
        """Return the names of a target's converter and of its quantizer.

        Raises:
            UnsupportedError: The target has no such way.
        """

    def convert(self, target: Target, form: Form, photos: Photos) -> Mapping[str, bytes]:
        """Return an artifact's files by suffix.

        Args:
            target: The target.
            form: The form of the artifact.
            photos: A function that gives preprocessed calibration photos (H, W, C), for int8.
        """


@dataclass(frozen=True, kw_only=True)
class SavedModelRoute:
    """From a SavedModel of the inference, which TensorFlow wrote.

    Args:
        folder: Where it and what TensorFlow's converter made of it lie.
    """

    folder: Path
    made_by: str = tensorflow.WAY
    layout: Layout = "NHWC"

    @property
    def float_file(self) -> Path:
        """The float TFLite artifact."""
        return self.folder / "fp32.tflite"

    def artifact_layout(self, target: Target) -> Layout:
        """Return the layout that the target's library makes."""
        return find_library(target).LAYOUT

    def words(self, target: Target) -> tuple[str, str]:
        """Return the names of the converter and the quantizer; as ``Route`` says."""
        library = find_library(target)
        return library.WAY, library.QUANTIZER

    def convert(self, target: Target, form: Form, photos: Photos) -> Mapping[str, bytes]:
        """Have the target's library convert the SavedModel; as ``Route`` says."""
        return find_library(target).convert(self.folder, form, photos)


@dataclass(frozen=True, kw_only=True)
class FileRoute:
    """From the ONNX file itself.

    Args:
        file: The file in float32.
    """

    file: FloatFile
    made_by: str = "ONNX Runtime on the float file"

    @property
    def float_file(self) -> Path:
        """The ONNX file in float32."""
        return self.file.path

    @property
    def layout(self) -> Layout:
        """The layout of photos in the file."""
        return self.file.layout

    def artifact_layout(self, target: Target) -> Layout:
        """Return the layout of the file, which the libraries keep."""
        del target
        return self.file.layout

    def words(self, target: Target) -> tuple[str, str]:
        """Return the names of the converter and the quantizer; as ``Route`` says."""
        library = find_file_library(target)
        return library.WAY, library.QUANTIZER

    def convert(self, target: Target, form: Form, photos: Photos) -> Mapping[str, bytes]:
        """Have the target's library convert the file; as ``Route`` says."""
        library = find_file_library(target)
        return library.convert(self.file.path, form, lambda: (in_layout(photo, self.layout) for photo in photos()))


def in_layout(photo: FloatArray, layout: Layout) -> FloatArray:
    """Return a photo (H, W, C) as a batch of one in a layout."""
    return (photo if layout == "NHWC" else photo.transpose(2, 0, 1).copy())[None]
