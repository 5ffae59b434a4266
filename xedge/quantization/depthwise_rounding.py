"""Adaptive rounding of depthwise kernels, together with the choice of their scales.

The few weights of a channel read neighbouring pixels, which are much alike, so their rounding errors nearly add up. As
in adaptive_rounding.py, the weights that are still to be rounded compensate the errors of those before, here for all
channels at once. As the matrices are small, this is tried with several scales, and after it every weight is moved to
the neighbouring integer as long as this lessens the error.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from xedge.quantization.adaptive_rounding import DAMPING
from xedge.quantization.affine import WEIGHT_LIMIT, QuantizedKernel
from xedge.types import FloatArray

# The scales that are tried, in units of the one with which the greatest weight is 127. Larger ones may fit the weights
# by chance.
SCALES = np.linspace(0.96, 1.2, 13)
SWEEPS = 3

Matrix = npt.NDArray[np.float64]


def rounded(
    kernel: FloatArray, bias: FloatArray, scales: FloatArray, covariance: Matrix, noise: float
) -> QuantizedKernel:
    """Round a depthwise kernel to integers.

    Args:
        kernel: The kernel (height, width, channels * multiplier).
        bias: The bias (channels * multiplier,), which is kept as it is.
        scales: The scales (channels * multiplier,) with which the greatest weight of each output is 127.
        covariance: The covariance (channels, taps, taps) of the inputs from which one output is computed.
        noise: The variance that the quantization of the activations adds to every input.
    """
    outputs = kernel.shape[-1]
    weights = kernel.reshape(-1, outputs).T.astype(np.float64)
    damped = np.repeat(_damped(covariance, noise), outputs // len(covariance), axis=0)
    factor = np.linalg.cholesky(np.linalg.inv(damped)).transpose(0, 2, 1)
    best = np.full(outputs, np.inf)
    values, chosen = np.zeros(weights.shape), scales.astype(np.float32)
    for one in SCALES:
        scale = (scales * one).astype(np.float32)
        steps = weights / scale[:, None]
        integers = _refined(steps, _compensated(steps, factor), damped)
        error = _error(steps - integers, damped) * scale.astype(np.float64) ** 2
        better = error < best
        best[better], values[better], chosen[better] = error[better], integers[better], scale[better]
    return QuantizedKernel(values=values.T.reshape(kernel.shape).astype(np.int8), scales=chosen, bias=bias)


def _damped(covariance: Matrix, noise: float) -> Matrix:
    """Return positive definite matrices (channels, taps, taps) with the variance of noise added.

    Rounding errors may leave small negative variances in a covariance, if values hardly vary around a large mean.
    """
    variances, directions = np.linalg.eigh(covariance)
    variances = np.maximum(variances, 0.0)
    variances = variances + noise + DAMPING * variances.mean(axis=1, keepdims=True) + 1e-12
    return np.asarray((directions * variances[:, None, :]) @ directions.transpose(0, 2, 1))


def _compensated(steps: Matrix, factor: Matrix) -> Matrix:
    """Round one weight of every output (outputs, taps) after another; the following ones compensate the error."""
    steps, integers = steps.copy(), np.empty(steps.shape)
    for tap in range(steps.shape[1]):
        integers[:, tap] = _limited(np.rint(steps[:, tap]))
        error = (steps[:, tap] - integers[:, tap]) / factor[:, tap, tap]
        steps[:, tap + 1 :] -= factor[:, tap, tap + 1 :] * error[:, None]
    return integers


def _refined(steps: Matrix, integers: Matrix, damped: Matrix) -> Matrix:
    """Set one weight after another to the best integer for all others as they are, several times."""
    gradient = np.einsum("ots,os->ot", damped, integers - steps)
    for _ in range(SWEEPS):
        for tap in range(steps.shape[1]):
            own = damped[:, tap, tap]
            best = _limited(np.rint(integers[:, tap] - gradient[:, tap] / own))
            moved = best - integers[:, tap]
            integers[:, tap] = best
            gradient += damped[:, :, tap] * moved[:, None]
    return integers


def _limited(integers: Matrix) -> Matrix:
    return np.clip(integers, -WEIGHT_LIMIT, WEIGHT_LIMIT)


def _error(difference: Matrix, damped: Matrix) -> npt.NDArray[np.float64]:
    """Return the variance (outputs,) that differences of the weights (outputs, taps) cause."""
    return np.asarray(np.einsum("ot,ots,os->o", difference, damped, difference))
