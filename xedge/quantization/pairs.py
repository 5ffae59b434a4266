"""Keep weights so small that their products do not overflow 16 bits where kernels add them in pairs.

x86 processors without VNNI multiply uint8 activations by int8 weights with PMADDUBSW (Intel 64 and IA-32 Architectures
Software Developer's Manual, volume 2): two neighbouring products are added in 16 bits, and the sum saturates. An
activation is at most 255, and 255 * 128 fits into 16 bits, so nothing saturates as long as two neighbouring weights of
the same sign add up to at most 128. ONNX Runtime and OpenVINO recommend halving all weights (``reduce_range``,
``overflow_fix``), which costs every weight one bit. Few pairs need it, so here only the filters that have such pairs
get a slightly larger scale. Neighbours are the inputs 2i and 2i + 1 at the same position. If the number of inputs is
odd, a kernel may form pairs across positions, so both neighbours of a weight count.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from xedge.quantization.affine import SMALLEST_SCALE, WEIGHT_LIMIT
from xedge.types import FloatArray

LIMIT = 128


def fitting_scales(kernel: FloatArray) -> FloatArray:
    """Return the smallest scales (outputs,) with which the nearest integers of a kernel do not overflow.

    Args:
        kernel: The kernel (height, width, inputs, outputs) or (inputs, outputs).
    """
    rows = kernel.reshape(-1, kernel.shape[-1]).astype(np.float64)
    found = neighbours(kernel.shape)
    reach = np.abs(rows).max(axis=0) / WEIGHT_LIMIT
    for sign in (1, -1):
        part = np.concatenate([np.maximum(sign * rows, 0), np.zeros((1, rows.shape[1]))])
        for column in found.T:
            reach = np.maximum(reach, (part[:-1] + part[column]).max(axis=0) / LIMIT)
    # The factor keeps the rounding of the scale to float32 from making a pair one step too large.
    return np.asarray(np.maximum(reach * (1 + 1e-6), SMALLEST_SCALE), dtype=np.float32)


def neighbours(shape: tuple[int, ...]) -> npt.NDArray[np.int64]:
    """Return the indices (weights of an output, 1 or 2) of the weights that may form a pair with each weight.

    The index -1 stands for no neighbour.

    Args:
        shape: The shape of the kernel, inputs and outputs last.
    """
    weights, inputs = int(np.prod(shape[:-1])), shape[-2]
    index = np.arange(weights)
    if inputs % 2 == 0:
        return (index ^ 1)[:, None]
    return np.stack([index - 1, np.where(index + 1 < weights, index + 1, -1)], axis=1)


def bounds(around: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the lowest and the highest integer (outputs,) that do not overflow together with their neighbours.

    Args:
        around: The integers (1 or 2, outputs) of the neighbours.
    """
    highest = np.minimum(WEIGHT_LIMIT, LIMIT - np.maximum(around, 0).max(axis=0))
    lowest = np.maximum(-WEIGHT_LIMIT, -LIMIT - np.minimum(around, 0).min(axis=0))
    return lowest, highest
