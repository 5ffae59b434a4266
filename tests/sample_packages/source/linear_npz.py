"""A kind of model in one module of another package: a linear classifier, as NumPy saves its arrays."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from xedge.errors import InputError
from xedge.graph.ir import Dense, Graph, Input, Reshape, Softmax
from xedge.metrics import softmax
from xedge.sources import ReadModel, Source, SourceKind
from xedge.types import FloatArray


@dataclass(frozen=True, kw_only=True, eq=False)
class Linear:
    """The classifier itself: kernel (height, width, channels, classes) and bias (classes,)."""

    kernel: FloatArray
    bias: FloatArray

    def output(self, photos: Iterable[FloatArray]) -> FloatArray:
        """Return probabilities (N, classes) for preprocessed photos (H, W, C)."""
        rows = np.stack([photo.reshape(-1) for photo in photos])
        return softmax(rows @ self.kernel.reshape(rows.shape[1], -1) + self.bias)


def takes(path: Path) -> bool:
    """Return whether a path has the suffix of such models."""
    return path.is_file() and path.name.endswith(".linear.npz")


def read(source: Source, scratch: Path, *, allow_code: bool) -> ReadModel:
    """Return the classifier as a reference graph."""
    assert source.path is not None
    try:
        stored = np.load(source.path, allow_pickle=False)
        model = Linear(kernel=stored["kernel"].astype(np.float32), bias=stored["bias"].astype(np.float32))
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{source.path}: is not a linear classifier ({error})") from error
    shape, classes = model.kernel.shape[:3], model.kernel.shape[3]
    size = int(np.prod(shape))
    nodes = (
        Input(name="photo", shape=shape),
        Reshape(name="values", inputs=("photo",), shape=(size,)),
        Dense(name="scores", inputs=("values",), kernel=model.kernel.reshape(size, classes), bias=model.bias),
        Softmax(name="classes", inputs=("scores",)),
    )
    graph = Graph(name=source.name, nodes=nodes, output="classes", output_name="classes")
    return ReadModel(
        graph=graph, original=model, name=source.name, scheme=("unit", "as linear classifiers are trained")
    )


SOURCE = SourceKind(name="linear", words="a .linear.npz file", takes=takes, read=read)
