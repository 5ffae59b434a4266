"""Adaptive rounding of kernels: the weights that are still to be rounded compensate the error of each rounded weight.

This is algorithm 1 of Frantar et al., "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained
Transformers", 2022, with the covariance of the inputs in place of their second moments, because the bias absorbs the
mean of the error. Errors that would add up over correlated inputs then cancel. The integers cost nothing at run time.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from xedge.quantization import pairs
from xedge.quantization.affine import WEIGHT_LIMIT
from xedge.types import FloatArray, Int8Array

# This share of the mean variance is added to every variance, because the covariance is estimated from a sample.
DAMPING = 0.01
BLOCK = 64


def rounded(
    kernel: FloatArray,
    scales: FloatArray,
    covariance: npt.NDArray[np.float64],
    noise: float,
    *,
    fit_pairs: bool = False,
    limits: tuple[int, int] = (-WEIGHT_LIMIT, WEIGHT_LIMIT),
) -> Int8Array:
    """Round a kernel to integers and return them in the shape of the kernel.

    Args:
        kernel: The kernel (height, width, inputs, outputs).
        scales: The scales of the integers, (outputs,), or (height * width * inputs, outputs) where inputs have scales
            of their own.
        covariance: The covariance of the inputs from which one output is computed, a square matrix with
            height * width * inputs rows.
        noise: The variance that the quantization of the activations adds to every input.
        fit_pairs: Whether to keep the products of pairs of weights within 16 bits. The scales must leave room for this
            (``pairs.fitting_scales``).
        limits: The lowest and the highest integer.
    """
    rows = kernel.reshape(-1, kernel.shape[-1]).astype(np.float64)
    # The weights in steps of one size, where there is one; otherwise as they are, and the size of each one's step.
    alike = scales.ndim == 1
    steps = rows / scales if alike else rows
    sizes = np.broadcast_to(np.float64(1.0), rows.shape) if alike else scales.astype(np.float64)
    variances = np.diag(covariance)
    order = np.argsort(-variances, kind="stable")
    damped = covariance[np.ix_(order, order)] + np.eye(len(order)) * (noise + DAMPING * variances.mean() + 1e-12)
    try:
        # The inverse is factor.T @ factor.
        factor = np.linalg.cholesky(np.linalg.inv(damped)).T
    except np.linalg.LinAlgError:
        # If the inputs hardly vary, the covariance holds nothing but rounding errors and carries no information.
        return np.clip(np.rint(steps / sizes), *limits).reshape(kernel.shape).astype(np.int8)
    integers = np.empty(steps.shape)
    neighbours = _moved(pairs.neighbours(kernel.shape), order, fit_pairs)
    integers[order] = _compensated(steps[order], sizes[order], factor, neighbours, limits)
    return integers.reshape(kernel.shape).astype(np.int8)


def _moved(
    neighbours: npt.NDArray[np.int64], order: npt.NDArray[np.int64], fit_pairs: bool
) -> npt.NDArray[np.int64] | None:
    """Return the neighbours of the rows as positions in an order; the last position stands for no neighbour."""
    if not fit_pairs:
        return None
    place = np.full(len(order) + 1, len(order))
    place[order] = np.arange(len(order))
    return np.asarray(place[neighbours[order]])


def _compensated(
    steps: npt.NDArray[np.float64],
    sizes: npt.NDArray[np.float64],
    factor: npt.NDArray[np.float64],
    neighbours: npt.NDArray[np.int64] | None,
    limits: tuple[int, int],
) -> npt.NDArray[np.float64]:
    """Round one row (outputs,) of (inputs, outputs) after another; the following rows compensate the error."""
    # The last row stands for a neighbour that does not exist.
    steps, integers = steps.copy(), np.zeros((len(steps) + 1, steps.shape[1]))
    lowest, highest = (np.full(steps.shape[1], limit) for limit in limits)
    for start in range(0, len(steps), BLOCK):
        stop = min(len(steps), start + BLOCK)
        errors = np.empty((stop - start, steps.shape[1]))
        for row in range(start, stop):
            if neighbours is not None:
                # Neighbours that are not rounded yet are zero, so they do not restrict the range of this row.
                lowest, highest = pairs.bounds(integers[neighbours[row]])
            integers[row] = np.clip(np.rint(steps[row] / sizes[row]), lowest, highest)
            errors[row - start] = (steps[row] - integers[row] * sizes[row]) / factor[row, row]
            steps[row + 1 : stop] -= np.outer(factor[row, row + 1 : stop], errors[row - start])
        steps[stop:] -= factor[start:stop, stop:].T @ errors
    return integers[:-1]
