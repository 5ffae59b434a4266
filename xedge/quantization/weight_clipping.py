"""Weight clipping: choose a scale that clips the largest weights of a filter if that loses less than coarse steps do.

Banner et al., "Post-training 4-bit quantization of convolution networks for rapid-deployment", 2019, section 4, choose
such a bound for a distribution. Here it is searched for each filter, by the error at the output of the filter. The
recipe does not use this for int8, because it gains next to nothing at 8 bits (docs/ablation.md); weights of 4 bits need
it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from xedge.quantization.affine import WEIGHT_LIMIT
from xedge.types import FloatArray

# The shares of a filter's largest weight that are tried as its bound.
CANDIDATES = (1.0, 0.97, 0.94, 0.9, 0.86, 0.82, 0.78, 0.74, 0.7)
# The same where there are so few steps that they fit the weights in between too, and that more is clipped.
OF_FEW_STEPS = tuple(np.linspace(0.5, 1.05, 23))


def clipped_scales(
    kernel: FloatArray,
    scales: FloatArray,
    variance: npt.NDArray[np.float64],
    *,
    limits: tuple[int, int] = (-WEIGHT_LIMIT, WEIGHT_LIMIT),
    candidates: Sequence[float] = CANDIDATES,
) -> FloatArray:
    """Return the scales (outputs,) with the least expected squared error at the output.

    Args:
        kernel: The kernel (height, width, inputs, outputs).
        scales: The scales (outputs,) with which no weight is clipped.
        variance: The variances (height * width * inputs,) of the inputs from which one output is computed. The errors
            of the weights are assumed to be independent.
        limits: The lowest and the highest integer.
        candidates: The shares of ``scales`` that are tried.
    """
    rows = kernel.reshape(-1, kernel.shape[-1]).astype(np.float64)
    errors = []
    for share in candidates:
        tried = scales * share
        held = np.clip(np.rint(rows / tried), *limits) * tried
        errors.append(((held - rows) ** 2 * variance[:, None]).sum(0))
    best = np.asarray(candidates)[np.argmin(errors, axis=0)]
    return np.asarray(scales * best, dtype=np.float32)
