"""Derive the range of a tensor from its statistics: where to clip it so that int8 has the least error."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from xedge.quantization.affine import STEPS
from xedge.quantization.statistics import TensorStatistics

# The fractions of the observed extreme that are tried as a bound, about 7 % apart.
CANDIDATES = np.geomspace(0.02, 1.0, 60)
ROUNDS = 3


def least_squares_range(statistics: TensorStatistics) -> tuple[float, float]:
    """Return the range (low, high) with the least energy-weighted mean squared error with 255 steps.

    The mean squared error of a value inside the range is step^2 / 12; outside the range it is the squared distance from
    the bound. Both are weighted by how much the readers of the tensor amplify the channel. The two bounds are searched
    in turn.
    """
    centres, weights = statistics.histogram()
    low, high = min(statistics.low, 0.0), max(statistics.high, 0.0)
    full_low, full_high = low, high
    for _ in range(ROUNDS):
        if full_high > 0:
            high = _best(centres, weights, [(low, full_high * part) for part in CANDIDATES])[1]
        if full_low < 0:
            low = _best(centres, weights, [(full_low * part, high) for part in CANDIDATES])[0]
    return low, high


def symmetric_least_squares_range(statistics: TensorStatistics) -> tuple[float, float]:
    """Return the range (-bound, bound) with the least error as ``least_squares_range`` measures it."""
    centres, weights = statistics.histogram()
    full = max(-statistics.low, statistics.high, 0.0)
    return _best(centres, weights, [(-full * part, full * part) for part in CANDIDATES])


def _best(
    centres: npt.NDArray[np.float64], weights: npt.NDArray[np.float64], candidates: list[tuple[float, float]]
) -> tuple[float, float]:
    errors = [expected_error(centres, weights, low, high) for low, high in candidates]
    return candidates[int(np.argmin(errors))]


def expected_error(
    centres: npt.NDArray[np.float64], weights: npt.NDArray[np.float64], low: float, high: float
) -> float:
    """Return the weighted squared error of rounding and clipping to [low, high] with 255 steps.

    Args:
        centres: The centres of the histogram's bins.
        weights: The weights of the bins.
        low: The lower bound of the range.
        high: The upper bound of the range.
    """
    step = (high - low) / STEPS
    beyond = centres - np.clip(centres, low, high)
    inside = beyond == 0
    # A value of zero is represented exactly. After a ReLU, half of the values are zero.
    rounded = inside & (centres != 0) if step else inside
    return float((weights * beyond**2).sum() + weights[rounded].sum() * step**2 / 12)


def percentile_range(statistics: TensorStatistics, share: float = 0.9999) -> tuple[float, float]:
    """Return the range that holds the central share of the values, which are weighted as for the error.

    Args:
        statistics: The statistics of the tensor.
        share: The share of the values inside the range, 0 to 1; the others are clipped.
    """
    centres, weights = statistics.histogram()
    reached = np.cumsum(weights) / max(weights.sum(), 1.0)
    first, last = (int(np.searchsorted(reached, part)) for part in ((1 - share) / 2, (1 + share) / 2))
    low, high = centres[first], centres[min(last, len(centres) - 1)]
    return min(float(low), 0.0), max(float(high), 0.0)


def entropy_range(statistics: TensorStatistics) -> tuple[float, float]:
    """Return the range whose 256 levels lose the least information, measured as Kullback-Leibler divergence.

    Migacz, "8-bit Inference with TensorRT", GTC 2017. Both bounds are shortened by the same factor, so that it also
    works for signed tensors.
    """
    centres, weights = statistics.histogram()
    low, high = min(statistics.low, 0.0), max(statistics.high, 0.0)
    shares = [part for part in CANDIDATES if part >= 0.1]
    losses = [_divergence(centres, weights, low * part, high * part) for part in shares]
    best = shares[int(np.argmin(losses))]
    return low * best, high * best


def _divergence(centres: npt.NDArray[np.float64], weights: npt.NDArray[np.float64], low: float, high: float) -> float:
    """Return the divergence of the clipped distribution from the one that 256 levels represent.

    The weight of a level is distributed evenly over the bins that it represents.
    """
    inside = (centres >= low) & (centres <= high)
    if high <= low or not inside.any():
        return float("inf")
    held = weights[inside].copy()
    clipped = held.copy()
    clipped[0] += weights[centres < low].sum()
    clipped[-1] += weights[centres > high].sum()
    step = np.minimum(np.floor((centres[inside] - low) / (high - low) * (STEPS + 1)), STEPS).astype(np.int64)
    total, filled = np.bincount(step, held), np.bincount(step, held > 0)
    spread = np.where(held > 0, total[step] / np.maximum(filled[step], 1), 0.0)
    p, q = clipped / clipped.sum(), spread / spread.sum()
    used = (p > 0) & (q > 0)
    return float((p[used] * np.log(p[used] / q[used])).sum())


def moving_average_range(statistics: TensorStatistics) -> tuple[float, float]:
    """Return the moving averages of the photos' extremes, which depend on the order of the photos."""
    return statistics.moving


def min_max_range(statistics: TensorStatistics) -> tuple[float, float]:
    """Return the extremes over all photos, which a single extreme photo can determine."""
    return statistics.low, statistics.high
