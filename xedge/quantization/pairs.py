"""Weights whose products do not overflow 16 bits where kernels add them in pairs.

x86 without VNNI multiplies uint8 activations by int8 weights with PMADDUBSW (Intel 64 and IA-32 Architectures Software
Developer's Manual, volume 2): two neighbouring products are added in 16 bits, and what does not fit is cut off. Two
activations are 255 at most and 255 * 128 fits, so nothing is cut off while neighbouring weights of one sign add up to
128 at most. ONNX Runtime and OpenVINO name halved weights as the remedy (``reduce_range``, ``overflow_fix``), which
costs every weight a bit; few pairs need it, so filters get a slightly larger scale instead. Neighbours are inputs 2i
and 2i + 1 of a position; where the number of inputs is odd, a kernel may pair across positions, and every neighbour
counts.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from xedge.quantization.affine import SMALLEST_SCALE, WEIGHT_LIMIT
from xedge.types import FloatArray

LIMIT = 128


def fitting_scales(kernel: FloatArray) -> FloatArray:
    """Return the least scales (outputs,) with which the nearest integers of a kernel fit.

    Args:
        kernel: (height, width, inputs, outputs) or (inputs, outputs).
    """
    rows = kernel.reshape(-1, kernel.shape[-1]).astype(np.float64)
    found = neighbours(kernel.shape)
    reach = np.abs(rows).max(axis=0) / WEIGHT_LIMIT
    for sign in (1, -1):
        part = np.concatenate([np.maximum(sign * rows, 0), np.zeros((1, rows.shape[1]))])
        for column in found.T:
            reach = np.maximum(reach, (part[:-1] + part[column]).max(axis=0) / LIMIT)
    # Rounding the scale itself to float32 must not make a pair one step too large.
    return np.asarray(np.maximum(reach * (1 + 1e-6), SMALLEST_SCALE), dtype=np.float32)


def neighbours(shape: tuple[int, ...]) -> npt.NDArray[np.int64]:
    """Return the indices (weights of an output, 1 or 2) of those that a kernel may pair each weight with.

    Args:
        shape: of the kernel, inputs and outputs last. -1 stands for none.
    """
    weights, inputs = int(np.prod(shape[:-1])), shape[-2]
    index = np.arange(weights)
    if inputs % 2 == 0:
        return (index ^ 1)[:, None]
    return np.stack([index - 1, np.where(index + 1 < weights, index + 1, -1)], axis=1)


def bounds(around: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the least and the greatest integer (outputs,) that fit beside neighbours (1 or 2, outputs)."""
    highest = np.minimum(WEIGHT_LIMIT, LIMIT - np.maximum(around, 0).max(axis=0))
    lowest = np.maximum(-WEIGHT_LIMIT, -LIMIT - np.minimum(around, 0).min(axis=0))
    return lowest, highest
