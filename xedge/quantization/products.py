"""How the inputs of a convolution vary together, which is what adaptive rounding needs to know."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from xedge.graph.ir import Conv, Graph
from xedge.types import FloatArray

# Output positions of one photo that are looked at: neighbours tell little new.
POSITIONS = 100
# Inputs of one output, kernel height * width * channels; the matrix has the square of it.
LARGEST = 1600
# Sums of floats depend on order; whole numbers of this fine a step do not, as long as float64 holds them.
ROOT_OF_STEPS = 1 << 10
STEPS = ROOT_OF_STEPS**2
ROWS = 128


class Products:
    """The running second moments of what one output of a convolution sees.

    Args:
        conv: the convolution, ungrouped.
        positions: (2, n) rows and columns of the output that are looked at.
    """

    def __init__(self, conv: Conv, positions: npt.NDArray[np.int64]) -> None:
        self.reader, self._conv, self._positions = conv.name, conv, positions
        inputs = int(np.prod(conv.kernel.shape[:3]))
        # Only the upper half of a symmetric matrix is filled; the system gives no memory for what is never touched.
        self._moments = np.zeros((inputs, inputs))
        self._sums = np.zeros(inputs)
        self._count = 0

    def add(self, patches: FloatArray) -> None:
        """Count one photo's patches."""
        seen = patches * np.float32(ROOT_OF_STEPS)
        for start in range(0, len(seen), ROWS):
            rows = seen[start : start + ROWS] @ seen[start:].T
            self._moments[start : start + ROWS, start:] += np.rint(rows, out=rows)
        self._sums += np.rint(seen.sum(1, dtype=np.float64) * ROOT_OF_STEPS)
        self._count += seen.shape[1]

    def patches(self, tensor: FloatArray) -> FloatArray:
        """Return (inputs, positions) of one photo's tensor (C, H, W), in the kernel's order: height, width, channel."""
        conv, (rows, columns) = self._conv, self._positions
        padded = np.pad(tensor, ((0, 0), *conv.padding)) if any(map(any, conv.padding)) else tensor
        height, width = conv.kernel.shape[:2]
        taps = [
            padded[:, rows * conv.strides[0] + y * conv.dilation[0], columns * conv.strides[1] + x * conv.dilation[1]]
            for y in range(height)
            for x in range(width)
        ]
        return np.concatenate(taps)

    def covariance(self) -> FloatArray:
        """Return (inputs, inputs)."""
        count = max(1, self._count) * STEPS
        mean = self._sums / count
        moments = np.triu(self._moments / count)
        moments += np.triu(moments, 1).T
        return np.asarray(moments - np.outer(mean, mean), dtype=np.float32)


def products_of_readers(graph: Graph, name: str) -> list[Products]:
    """Return the empty products of the convolutions that read a tensor, where they are not too large to keep."""
    found = []
    for reader in dict.fromkeys(graph.consumers(name)):
        if isinstance(reader, Conv) and reader.groups == 1 and np.prod(reader.kernel.shape[:3]) <= LARGEST:
            height, width, _ = graph.shape(reader.name)
            chosen = np.random.default_rng(0).permutation(height * width)[:POSITIONS]
            found.append(Products(reader, np.stack(np.divmod(np.sort(chosen), width))))
    return found
