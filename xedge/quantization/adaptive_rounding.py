"""Adaptive rounding of kernels: each weight's error is taken up by those that are still to be rounded.

Frantar et al., "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained Transformers", 2022, algorithm 1,
with the covariance of the inputs in place of their second moments: what is left of the mean goes into the bias. Errors
that correlated inputs would add up then cancel; the integers cost nothing at run time.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from xedge.quantization import pairs
from xedge.quantization.affine import WEIGHT_LIMIT
from xedge.types import FloatArray, Int8Array

# Added to every variance, as a share of the mean one: the covariance comes from a sample.
DAMPING = 0.01
BLOCK = 64


def rounded(
    kernel: FloatArray,
    scales: FloatArray,
    covariance: npt.NDArray[np.float64],
    noise: float,
    *,
    fit_pairs: bool = False,
) -> Int8Array:
    """Return the integers of a kernel, in its shape.

    Args:
        kernel: (height, width, inputs, outputs).
        scales: (outputs,) of the integers.
        covariance: (height * width * inputs, the same) of what an output sees.
        noise: the variance that rounding adds to every input.
        fit_pairs: keep pairs of weights within 16 bits; the scales must leave room for it (``pairs.fitting_scales``).
    """
    steps = kernel.reshape(-1, kernel.shape[-1]).astype(np.float64) / scales
    variances = np.diag(covariance)
    order = np.argsort(-variances, kind="stable")
    damped = covariance[np.ix_(order, order)] + np.eye(len(order)) * (noise + DAMPING * variances.mean() + 1e-12)
    try:
        # inverse = factor.T @ factor
        factor = np.linalg.cholesky(np.linalg.inv(damped)).T
    except np.linalg.LinAlgError:
        # Inputs that hardly vary leave a covariance of nothing but its own rounding, which tells nothing.
        return np.clip(np.rint(steps), -WEIGHT_LIMIT, WEIGHT_LIMIT).reshape(kernel.shape).astype(np.int8)
    integers = np.empty(steps.shape)
    integers[order] = _compensated(steps[order], factor, _moved(pairs.neighbours(kernel.shape), order, fit_pairs))
    return integers.reshape(kernel.shape).astype(np.int8)


def _moved(
    neighbours: npt.NDArray[np.int64], order: npt.NDArray[np.int64], fit_pairs: bool
) -> npt.NDArray[np.int64] | None:
    """Return the neighbours of rows in an order, as places in it; the last place is that of none."""
    if not fit_pairs:
        return None
    place = np.full(len(order) + 1, len(order))
    place[order] = np.arange(len(order))
    return np.asarray(place[neighbours[order]])


def _compensated(
    steps: npt.NDArray[np.float64], factor: npt.NDArray[np.float64], neighbours: npt.NDArray[np.int64] | None
) -> npt.NDArray[np.float64]:
    """Round row after row (inputs, outputs); the rows behind take up the error."""
    # The last row stands for a neighbour that there is not.
    steps, integers = steps.copy(), np.zeros((len(steps) + 1, steps.shape[1]))
    lowest, highest = np.full(steps.shape[1], -WEIGHT_LIMIT), np.full(steps.shape[1], WEIGHT_LIMIT)
    for start in range(0, len(steps), BLOCK):
        stop = min(len(steps), start + BLOCK)
        errors = np.empty((stop - start, steps.shape[1]))
        for row in range(start, stop):
            if neighbours is not None:
                # Those not rounded yet are zero and leave this one its whole range.
                lowest, highest = pairs.bounds(integers[neighbours[row]])
            integers[row] = np.clip(np.rint(steps[row]), lowest, highest)
            errors[row - start] = (steps[row] - integers[row]) / factor[row, row]
            steps[row + 1 : stop] -= np.outer(factor[row, row + 1 : stop], errors[row - start])
        steps[stop:] -= factor[start:stop, stop:].T @ errors
    return integers[:-1]
