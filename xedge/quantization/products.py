"""Collect the covariance of the inputs of convolutions, which adaptive rounding needs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal

import numpy as np
import numpy.typing as npt

from xedge.graph.ir import NO_PADDING, Conv, Depthwise, Graph, Padding
from xedge.types import FloatArray

# The number of output positions that are sampled in each photo. More would add little, because neighbours are alike.
POSITIONS = 100
# A depthwise convolution has few weights for each channel, and a sample of this size shows how its inputs vary.
DEPTHWISE_POSITIONS = 10
# The greatest number of inputs of one output, kernel height * width * channels; the matrix has the square of it.
LARGEST = 1600
# The greatest number of inputs of one output of a depthwise convolution, for each channel of which there is a matrix.
MOST_TAPS = 49
# Sums of floats depend on the order of the terms. Sums of whole steps of this size do not, as long as float64
# represents them exactly.
ROOT_OF_STEPS = 1 << 10
STEPS = ROOT_OF_STEPS**2
ROWS = 128


class Products(ABC):
    """The running second moments of the inputs from which one output of a convolution is computed.

    Args:
        reader: The convolution.
        positions: The rows and columns (2, n) of the output positions that are sampled.
        inside: Whether no window at these positions reaches into the padding, so that the tensor need not be padded.
    """

    def __init__(self, reader: Conv | Depthwise, positions: npt.NDArray[np.int64], *, inside: bool = False) -> None:
        self.reader, self._conv, self._positions, self._inside = reader.name, reader, positions, inside

    @abstractmethod
    def add(self, patches: FloatArray) -> None:
        """Add the patches (inputs, positions) of one photo.

        The inputs are in the order of the kernel: height, width, channel.
        """

    @abstractmethod
    def covariance(self) -> FloatArray:
        """Return the covariance of the patches that were added."""

    @property
    def padding(self) -> Padding:
        """Return the zeros ((top, bottom), (left, right)) around the tensor of which the patches are taken."""
        return NO_PADDING if self._inside else self._conv.padding

    def places(self, width: int) -> npt.NDArray[np.int64]:
        """Return the places (taps, positions) of the patches among the pixels of the padded tensor, row by row.

        Args:
            width: The width of the padded tensor.
        """
        conv = self._conv
        height, across = conv.kernel.shape[:2]
        (top, _), (left, _) = conv.padding if self._inside else NO_PADDING
        rows, columns = self._positions[0] * conv.strides[0] - top, self._positions[1] * conv.strides[1] - left
        taps = [
            (rows + y * conv.dilation[0]) * width + columns + x * conv.dilation[1]
            for y in range(height)
            for x in range(across)
        ]
        return np.stack(taps)


class ConvProducts(Products):
    """The products of a convolution of a single group, with the covariance (inputs, inputs) of all its inputs."""

    def __init__(self, conv: Conv, positions: npt.NDArray[np.int64]) -> None:
        super().__init__(conv, positions)
        inputs = int(np.prod(conv.kernel.shape[:3]))
        # Only the upper half of the symmetric matrix is filled. The system allocates no memory for pages that are never
        # touched.
        self._moments = np.zeros((inputs, inputs))
        self._sums = np.zeros(inputs)
        self._count = 0

    def add(self, patches: FloatArray) -> None:
        """Add the patches (inputs, positions) of one photo."""
        seen = patches * np.float32(ROOT_OF_STEPS)
        for start in range(0, len(seen), ROWS):
            rows = seen[start : start + ROWS] @ seen[start:].T
            self._moments[start : start + ROWS, start:] += np.rint(rows, out=rows)
        self._sums += np.rint(seen.sum(1, dtype=np.float64) * ROOT_OF_STEPS)
        self._count += seen.shape[1]

    def covariance(self) -> FloatArray:
        """Return the covariance (inputs, inputs) of the patches that were added."""
        count = max(1, self._count) * STEPS
        mean = self._sums / count
        moments = np.triu(self._moments / count)
        moments += np.triu(moments, 1).T
        return np.asarray(moments - np.outer(mean, mean), dtype=np.float32)


class DepthwiseProducts(Products):
    """The products of a depthwise convolution, with the covariance (channels, taps, taps) of each input channel."""

    def __init__(self, conv: Depthwise, channels: int, positions: npt.NDArray[np.int64], *, inside: bool) -> None:
        super().__init__(conv, positions, inside=inside)
        taps = int(np.prod(conv.kernel.shape[:2]))
        self._moments = np.zeros((channels, taps, taps))
        self._sums = np.zeros((channels, taps))
        self._count = 0

    def add(self, patches: FloatArray) -> None:
        """Add the patches (taps * channels, positions) of one photo."""
        channels, taps = self._sums.shape
        seen = (patches * np.float32(ROOT_OF_STEPS)).reshape(taps, channels, -1).transpose(1, 0, 2)
        self._moments += np.rint(seen @ seen.transpose(0, 2, 1))
        self._sums += np.rint(seen.sum(2, dtype=np.float64) * ROOT_OF_STEPS)
        self._count += seen.shape[2]

    def covariance(self) -> FloatArray:
        """Return the covariance (channels, taps, taps) of the patches that were added."""
        count = max(1, self._count) * STEPS
        mean = self._sums / count
        return np.asarray(self._moments / count - mean[:, :, None] * mean[:, None], dtype=np.float32)


def products_of_readers(graph: Graph, name: str) -> list[Products]:
    """Return empty products for the convolutions that read a tensor, except for those that would be too large.

    Args:
        graph: The graph.
        name: The name of the tensor.
    """
    found: list[Products] = []
    for reader in dict.fromkeys(graph.consumers(name)):
        if not isinstance(reader, Conv | Depthwise):
            continue
        height, width, channels = graph.shape(name)
        rows, columns = (range(side) for side in graph.shape(reader.name)[:2])
        if isinstance(reader, Conv) and reader.groups == 1 and np.prod(reader.kernel.shape[:3]) <= LARGEST:
            found.append(ConvProducts(reader, _drawn(rows, columns, POSITIONS)))
        elif isinstance(reader, Depthwise) and 1 < np.prod(reader.kernel.shape[:2]) <= MOST_TAPS:
            inner = _inside(reader, 0, height, rows), _inside(reader, 1, width, columns)
            inside = all(inner)
            drawn = _drawn(*(inner if inside else (rows, columns)), DEPTHWISE_POSITIONS)
            found.append(DepthwiseProducts(reader, channels, drawn, inside=inside))
    return found


def _inside(reader: Depthwise, axis: Literal[0, 1], side: int, outputs: range) -> range:
    """Return the outputs along height or width whose window does not reach into the padding."""
    stride, (before, _) = reader.strides[axis], reader.padding[axis]
    last = (side + before - reader.window[axis]) // stride
    return range(-(-before // stride), min(len(outputs), last + 1))


def _drawn(rows: range, columns: range, count: int) -> npt.NDArray[np.int64]:
    """Return the rows and columns (2, n) of so many output positions, drawn at random, in order."""
    chosen = np.random.default_rng(0).permutation(len(rows) * len(columns))[:count]
    down, across = np.divmod(np.sort(chosen), len(columns))
    return np.stack([down + rows.start, across + columns.start])
