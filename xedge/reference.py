"""The float reference of a model, whichever way it was read, and what converters need to know of it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from xedge.converters import tensorflow_library
from xedge.device.board import usable_cores
from xedge.errors import CheckError, UnsupportedError
from xedge.graph.evaluate import Evaluator
from xedge.graph.fold import without_softmax
from xedge.graph.ir import Graph
from xedge.metrics import softmax
from xedge.native_log import native_log
from xedge.runtimes import Session, choose_runtime
from xedge.sources import Source, layer_kinds, load_keras, parameter_count, weights_digest
from xedge.types import FloatArray
from xedge.vocabulary import Precision

# Largest difference of one output between Keras and the graph that was read from it.
PARITY = 1e-4


class FloatModel(Protocol):
    """Something that computes the model in float32."""

    def output(self, photos: FloatArray) -> FloatArray:
        """Return outputs (N, classes) for preprocessed photos (N, H, W, C)."""


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

    def predict(self, photos: FloatArray) -> FloatArray:
        """Return probabilities (N, classes) for preprocessed photos (N, H, W, C), one at a time."""
        rows = np.concatenate([self.model.output(photo[None]) for photo in photos])
        return rows if self.probabilities else softmax(rows)


def read_reference(
    source: Source, precisions: tuple[Precision, ...], scratch: Path, *, allow_code: bool = False
) -> Reference:
    """Load a model and read it into the reference graph, or have TensorFlow's converter prepare it.

    Args:
        source: what the user named.
        precisions: that a library's converter would have to write.
        scratch: a folder for a library's artifacts.
        allow_code: let the file bring code of its own.

    Raises:
        XedgeError: neither way takes the model.
    """
    if source.path is not None and source.path.is_dir():
        return _by_library(source, precisions, scratch, "a SavedModel", allow_code=allow_code)
    try:
        return _by_graph(source, allow_code=allow_code)
    except UnsupportedError as error:
        if source.path is None:
            raise
        return _by_library(source, precisions, scratch, str(error), allow_code=allow_code)


def _by_graph(source: Source, *, allow_code: bool) -> Reference:
    with native_log():  # Keras imports TensorFlow for .h5 files, which greets at length
        keras_model = load_keras(source, allow_code=allow_code)
        from xedge.graph.from_keras import read_keras  # noqa: PLC0415 - imports keras, whose backend is chosen by now

        graph = read_keras(keras_model)
    model = Evaluator(graph)
    _check_parity(keras_model, graph, model)
    height, width, channels = graph.input.shape
    return Reference(
        source=source,
        graph=graph,
        library_folder=None,
        reason=None,
        model=model,
        name=keras_model.name,
        input_shape=(height, width, channels),
        classes=_classes(source, graph.shape(graph.output)),
        probabilities=without_softmax(graph) is not graph,
        weights_sha256=weights_digest(graph),
        parameters=parameter_count(graph),
        kinds=layer_kinds(keras_model),
    )


def _check_parity(keras_model: object, graph: Graph, model: FloatModel) -> None:
    """Hold the graph against Keras on one photo-like input before anything is built on it."""
    noise = np.random.default_rng(0).uniform(-1, 1, (1, *graph.input.shape)).astype(np.float32)
    expected = np.asarray(keras_model.predict(noise, verbose=0))  # type: ignore[attr-defined]
    got = model.output(noise)
    scale = max(1.0, float(np.abs(expected).max()))
    difference = float(np.abs(got - expected).max()) / scale
    if not difference <= PARITY:
        raise CheckError(
            f"{graph.name}: the reference graph differs from Keras by {difference:.2g}; please report this model"
        )


def _classes(source: Source, shape: tuple[int, ...]) -> int:
    if len(shape) != 1 or shape[0] < 2:
        raise UnsupportedError(f"{source}: its output is {shape}; a classifier's is one value for each of its classes")
    return shape[0]


def _by_library(
    source: Source, precisions: tuple[Precision, ...], scratch: Path, reason: str, *, allow_code: bool
) -> Reference:
    assert source.path is not None
    tensorflow_library.convert(source.path, scratch, precisions, allow_code=allow_code)
    artifact = scratch / "fp32.tflite"
    session = choose_runtime("tflite").open(artifact, usable_cores())
    model = _LibraryModel(session)
    shape = model.input_shape
    if len(shape) != 3 or min(shape) < 1:
        raise UnsupportedError(f"{source}: takes {shape}, not photos of a fixed (height, width, channels)")
    height, width, channels = shape
    sample = model.output(np.zeros((1, *shape), np.float32))
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
    )


class _LibraryModel:
    """The library's float artifact as the reference."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.input_shape = session.input_shape()[1:]

    def output(self, photos: FloatArray) -> FloatArray:
        return np.concatenate([self._session.run(photo[None]) for photo in photos]).astype(np.float32)
