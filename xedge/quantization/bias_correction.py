"""Bias correction: subtract from the bias the mean error that the rounding of the weights adds to the output.

Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction", 2019, section 4.2:
E[W^ a] - E[W a] = (W^ - W) E[a].
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from xedge.graph.ir import Conv, Depthwise, Weighted
from xedge.quantization.affine import GroupedKernel, QuantizedKernel
from xedge.types import FloatArray


def corrected_bias(
    node: Weighted, quantized: QuantizedKernel | GroupedKernel, input_mean: npt.NDArray[np.float64]
) -> FloatArray:
    """Return the bias (channels,) that preserves the mean of every output channel.

    Args:
        node: The layer in float.
        quantized: The integer kernel of the layer.
        input_mean: The mean (input channels,) of each input channel over the calibration photos.
    """
    error = quantized.real - node.kernel
    if isinstance(node, Depthwise):
        multiplier = node.channels // len(input_mean)
        moved = error.sum((0, 1)) * np.repeat(input_mean, multiplier)
    elif isinstance(node, Conv) and node.groups != 1:
        per_group = error.sum((0, 1))
        group = np.arange(node.channels) // (node.channels // node.groups)
        moved = (per_group.T * input_mean.reshape(node.groups, -1)[group]).sum(1)
    else:
        flat = error.reshape(-1, error.shape[-2], error.shape[-1]).sum(0)
        moved = input_mean @ flat
    return np.asarray(node.bias - moved, dtype=np.float32)
