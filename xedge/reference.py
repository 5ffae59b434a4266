"""The float reference of a model, whichever way it was read, and what converters need to know of it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np

from xedge.converters import tflite_library
from xedge.device.board import usable_cores
from xedge.errors import CheckError, UnsupportedError
from xedge.graph.evaluate import Evaluator
from xedge.graph.fold import without_softmax
from xedge.graph.ir import Graph
from xedge.graph.spill import spilled
from xedge.memory import give_memory_back
from xedge.metrics import softmax
from xedge.native_log import native_log
from xedge.runtimes import Session, Settings, choose_runtime
from xedge.sources import Source, layer_kinds, load_keras, parameter_count, weights_digest
from xedge.types import FloatArray
from xedge.vocabulary import Precision

# Largest difference of one output between Keras and the graph that was read from it.
PARITY = 1e-4


class FloatModel(Protocol):
    """Something that computes the model in float32."""

    def output(self, photos: Iterable[FloatArray]) -> FloatArray:
        """Return outputs (N, classes) for preprocessed photos (H, W, C)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Reference:
    """A model in float, ready to be converted and compared with.

    Args:
        source: what the user named.
        graph: the reference graph, or None if a library's converter has to do it.
        library_folder: where the library's artifacts lie, if there is no graph.
        reason: why there is no graph.
        model: computes it.
        name: the model's own name.
        input_shape: (H, W, C).
        classes: width of the output.
        probabilities: whether the output sums to one.
        weights_sha256, parameters: of the weights.
        kinds: class names of the Keras layers, empty if unknown.
        original: the model as Keras computes it; None on the library's way.
    """

    source: Source
    graph: Graph | None
    library_folder: Path | None
    reason: str | None
    model: FloatModel
    name: str
    input_shape: tuple[int, int, int]
    classes: int
    probabilities: bool
    weights_sha256: str
    parameters: int
    kinds: frozenset[str]
    original: FloatModel | None

    def predict(self, photos: Iterable[FloatArray]) -> FloatArray:
        """Return probabilities (N, classes) for preprocessed photos (H, W, C), one at a time."""
        return self._probabilities(self.model.output(photos))

    def original_predict(self, photos: Iterable[FloatArray]) -> FloatArray:
        """Return Keras' own probabilities (N, classes) for preprocessed photos (H, W, C)."""
        assert self.original is not None
        return self._probabilities(self.original.output(photos))

    def without_graph(self) -> Reference:
        """Return the reference without its weights in memory; it can then predict no more, nor be converted."""
        return replace(self, graph=None, model=self.original or self.model)

    def checked_predict(self, photos: FloatArray) -> tuple[FloatArray, float | None]:
        """Return probabilities of a few photos, and how far the graph's outputs are from Keras'.

        Args:
            photos: preprocessed, (N, H, W, C).

        Raises:
            CheckError: an output differs by more than ``PARITY``.
        """
        got = self.model.output(photos) if self.graph is None else _GraphModel(self.graph, few=True).output(photos)
        if self.original is None:
            return self._probabilities(got), None
        expected = self.original.output(photos)
        difference = float(np.abs(got - expected).max()) / max(1.0, float(np.abs(expected).max()))
        if not difference <= PARITY:
            raise CheckError(
                f"{self.name}: the reference graph differs from Keras by {difference:.2g}; please report this model"
            )
        return self._probabilities(got), difference

    def _probabilities(self, rows: FloatArray) -> FloatArray:
        return rows if self.probabilities else softmax(rows)


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What a library's converter would have to prepare.

    Args:
        precisions: of TFLite artifacts.
        saved_model: whether other targets' libraries will ask for a SavedModel.
    """

    precisions: tuple[Precision, ...] = ("fp32",)
    saved_model: bool = False


def read_reference(source: Source, scratch: Path, wanted: Wanted, *, allow_code: bool = False) -> Reference:
    """Load a model and read it into the reference graph, or have TensorFlow's converter prepare it.

    Args:
        source: what the user named.
        scratch: a folder that stays as long as the reference is used.
        wanted: that a library's converter would have to prepare.
        allow_code: let the file bring code of its own.

    Raises:
        XedgeError: neither way takes the model.
    """
    if source.path is not None and source.path.is_dir():
        return _by_library(source, scratch, wanted, "a SavedModel", allow_code=allow_code)
    try:
        return _by_graph(source, scratch, allow_code=allow_code)
    except UnsupportedError as error:
        if source.path is None:
            raise
        return _by_library(source, scratch, wanted, str(error), allow_code=allow_code)


def _by_graph(source: Source, scratch: Path, *, allow_code: bool) -> Reference:
    with native_log():  # Keras imports TensorFlow for .h5 files, which greets at length
        keras_model = load_keras(source, allow_code=allow_code)
        # They import keras, whose backend is chosen by now.
        from xedge.graph.from_keras import read_keras  # noqa: PLC0415
        from xedge.original import Original  # noqa: PLC0415

        graph = spilled(read_keras(keras_model), scratch / "kernels")
        original = Original(keras_model, scratch)
    name, kinds = keras_model.name, layer_kinds(keras_model)
    del keras_model
    give_memory_back()
    height, width, channels = graph.input.shape
    return Reference(
        source=source,
        graph=graph,
        library_folder=None,
        reason=None,
        model=_GraphModel(graph),
        name=name,
        input_shape=(height, width, channels),
        classes=_classes(source, graph.shape(graph.output)),
        probabilities=without_softmax(graph) is not graph,
        weights_sha256=weights_digest(graph),
        parameters=parameter_count(graph),
        kinds=kinds,
        original=original,
    )


def _classes(source: Source, shape: tuple[int, ...]) -> int:
    if len(shape) != 1 or shape[0] < 2:
        raise UnsupportedError(f"{source}: its output is {shape}; a classifier's is one value for each of its classes")
    return shape[0]


def _by_library(source: Source, scratch: Path, wanted: Wanted, reason: str, *, allow_code: bool) -> Reference:
    assert source.path is not None
    tflite_library.prepare(
        source.path, scratch, wanted.precisions, saved_model=wanted.saved_model, allow_code=allow_code
    )
    artifact = scratch / "fp32.tflite"
    session = choose_runtime("tflite").open(artifact, Settings(threads=usable_cores()))
    model = _LibraryModel(session)
    shape = model.input_shape
    if len(shape) != 3 or min(shape) < 1:
        raise UnsupportedError(f"{source}: takes {shape}, not photos of a fixed (height, width, channels)")
    height, width, channels = shape
    sample = model.output([np.zeros(shape, np.float32)])
    return Reference(
        source=source,
        graph=None,
        library_folder=scratch,
        reason=reason,
        model=model,
        name=source.name,
        input_shape=(height, width, channels),
        classes=_classes(source, sample.shape[1:]),
        probabilities=bool(sample.min() >= 0 and abs(float(sample.sum()) - 1) < 1e-3),
        weights_sha256=hashlib.sha256(artifact.read_bytes()).hexdigest(),
        parameters=artifact.stat().st_size // 4,
        kinds=frozenset(),
        original=None,
    )


class _GraphModel:
    """The reference graph on ONNX Runtime, in memory only while it is asked."""

    def __init__(self, graph: Graph, *, few: bool = False) -> None:
        self._graph, self._few = graph, few

    def output(self, photos: Iterable[FloatArray]) -> FloatArray:
        evaluator = Evaluator(self._graph, few=self._few)
        rows = np.concatenate([evaluator.output(photo[None]) for photo in photos])
        del evaluator
        give_memory_back()
        return rows


class _LibraryModel:
    """The library's float artifact as the reference."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.input_shape = session.input_shape()[1:]

    def output(self, photos: Iterable[FloatArray]) -> FloatArray:
        return np.concatenate([self._session.run(photo[None]) for photo in photos]).astype(np.float32)
