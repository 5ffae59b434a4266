"""Lay out a kernel with scales of groups, as formats without such scales multiply it: grouped, scaled, and reshaped."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from xedge.graph.ir import Dense, Weighted
from xedge.quantization.affine import GroupedKernel
from xedge.types import FloatArray, Int8Array


@dataclass(frozen=True, kw_only=True, eq=False)
class Groups:
    """The integers of a kernel and its scales, which are broadcast over them.

    Args:
        values: The integers, (outputs, groups, weights of a group), or (groups, inputs of a group, outputs) for dense
            layers. In both cases they are in the order in which the format stores the kernel.
        scales: The scales (outputs, groups, 1), or (groups, 1, outputs), float16 or float32.
    """

    values: Int8Array
    scales: npt.NDArray[np.float16] | FloatArray


def grouped(node: Weighted, kernel: GroupedKernel, laid_out: Int8Array) -> Groups:
    """Return a kernel's groups.

    Args:
        node: The node of the kernel, a convolution or a dense layer.
        kernel: The kernel.
        laid_out: Its integers as the format stores them: outputs first and inputs before the window, or (inputs,
            outputs) for dense layers.
    """
    count, outputs = kernel.scales.shape
    if isinstance(node, Dense):
        return Groups(values=laid_out.reshape(count, -1, outputs), scales=kernel.scales[:, None])
    scales = np.ascontiguousarray(kernel.scales.T)[..., None]
    return Groups(values=np.ascontiguousarray(laid_out).reshape(outputs, count, -1), scales=scales)
