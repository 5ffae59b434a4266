"""Weight clipping: a scale that cuts a filter's largest weights off where that loses less than coarse steps do.

Banner et al., "Post-training 4-bit quantization of convolution networks for rapid-deployment", 2019, section 4, choose
such a bound for a distribution; here it is searched for each filter, with the error that its output sees. The recipe
does without: at 8 bits it gains next to nothing (docs/ablation.md).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from xedge.quantization.affine import WEIGHT_LIMIT
from xedge.types import FloatArray

# Shares of a filter's largest weight that are tried for its bound.
CANDIDATES = (1.0, 0.97, 0.94, 0.9, 0.86, 0.82, 0.78, 0.74, 0.7)


def clipped_scales(kernel: FloatArray, scales: FloatArray, variance: npt.NDArray[np.float64]) -> FloatArray:
    """Return scales (outputs,) with the least expected squared error at the output.

    Args:
        kernel: (height, width, inputs, outputs).
        scales: (outputs,) that hold every weight.
        variance: (height * width * inputs,) of what an output sees; errors are taken for independent.
    """
    rows = kernel.reshape(-1, kernel.shape[-1]).astype(np.float64)
    errors = []
    for share in CANDIDATES:
        tried = scales * share
        held = np.clip(np.rint(rows / tried), -WEIGHT_LIMIT, WEIGHT_LIMIT) * tried
        errors.append(((held - rows) ** 2 * variance[:, None]).sum(0))
    best = np.asarray(CANDIDATES)[np.argmin(errors, axis=0)]
    return np.asarray(scales * best, dtype=np.float32)
