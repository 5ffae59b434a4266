"""Collect the covariance of the inputs of convolutions, which adaptive rounding needs."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from xedge.graph.ir import Conv, Graph, Padding
from xedge.types import FloatArray

# The number of output positions that are sampled in each photo. More would add little, because neighbours are alike.
POSITIONS = 100
# The greatest number of inputs of one output, kernel height * width * channels; the matrix has the square of it.
LARGEST = 1600
# Sums of floats depend on the order of the terms. Sums of whole steps of this size do not, as long as float64
# represents them exactly.
ROOT_OF_STEPS = 1 << 10
STEPS = ROOT_OF_STEPS**2
ROWS = 128


class Products:
    """The running second moments of the inputs from which one output of a convolution is computed.

    Args:
        conv: The convolution, which has a single group.
        positions: The rows and columns (2, n) of the output positions that are sampled.
    """

    def __init__(self, conv: Conv, positions: npt.NDArray[np.int64]) -> None:
        self.reader, self._conv, self._positions = conv.name, conv, positions
        inputs = int(np.prod(conv.kernel.shape[:3]))
        # Only the upper half of the symmetric matrix is filled. The system allocates no memory for pages that are never
        # touched.
        self._moments = np.zeros((inputs, inputs))
        self._sums = np.zeros(inputs)
        self._count = 0

    def add(self, patches: FloatArray) -> None:
        """Add the patches (inputs, positions) of one photo.

        The inputs are in the order of the kernel: height, width, channel.
        """
        seen = patches * np.float32(ROOT_OF_STEPS)
        for start in range(0, len(seen), ROWS):
            rows = seen[start : start + ROWS] @ seen[start:].T
            self._moments[start : start + ROWS, start:] += np.rint(rows, out=rows)
        self._sums += np.rint(seen.sum(1, dtype=np.float64) * ROOT_OF_STEPS)
        self._count += seen.shape[1]

    @property
    def padding(self) -> Padding:
        """Return the zeros ((top, bottom), (left, right)) around the tensor of which the patches are taken."""
        return self._conv.padding

    def places(self, width: int) -> npt.NDArray[np.int64]:
        """Return the places (taps, positions) of the patches among the pixels of the padded tensor, row by row.

        Args:
            width: The width of the padded tensor.
        """
        (rows, columns), conv = self._positions, self._conv
        height, across = conv.kernel.shape[:2]
        taps = [
            (rows * conv.strides[0] + y * conv.dilation[0]) * width + columns * conv.strides[1] + x * conv.dilation[1]
            for y in range(height)
            for x in range(across)
        ]
        return np.stack(taps)

    def covariance(self) -> FloatArray:
        """Return the covariance (inputs, inputs) of the patches that were added."""
        count = max(1, self._count) * STEPS
        mean = self._sums / count
        moments = np.triu(self._moments / count)
        moments += np.triu(moments, 1).T
        return np.asarray(moments - np.outer(mean, mean), dtype=np.float32)


def products_of_readers(graph: Graph, name: str) -> list[Products]:
    """Return empty products for the convolutions that read a tensor, except for those that would be too large.

    Args:
        graph: The graph.
        name: The name of the tensor.
    """
    found = []
    for reader in dict.fromkeys(graph.consumers(name)):
        if isinstance(reader, Conv) and reader.groups == 1 and np.prod(reader.kernel.shape[:3]) <= LARGEST:
            height, width, _ = graph.shape(reader.name)
            chosen = np.random.default_rng(0).permutation(height * width)[:POSITIONS]
            found.append(Products(reader, np.stack(np.divmod(np.sort(chosen), width))))
    return found
