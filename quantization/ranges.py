"""From statistics to ranges: where to clip a tensor so that int8 loses the least energy."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from xedge.quantization.affine import STEPS
from xedge.quantization.statistics import TensorStatistics

# Fractions of the observed extreme that are tried for a bound, about 7 % apart.
CANDIDATES = np.geomspace(0.02, 1.0, 60)
ROUNDS = 3


def least_squares_range(statistics: TensorStatistics) -> tuple[float, float]:
    """Return (low, high) with the least energy-weighted mean squared error of 255 steps.

    Within the range a value errs by step^2 / 12 on average, beyond it by its distance from the bound; both are
    weighted by how much the readers of the tensor amplify the channel. The two bounds are searched in turn.
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


def _best(
    centres: npt.NDArray[np.float64], weights: npt.NDArray[np.float64], candidates: list[tuple[float, float]]
) -> tuple[float, float]:
    errors = [expected_error(centres, weights, low, high) for low, high in candidates]
    return candidates[int(np.argmin(errors))]


def expected_error(
    centres: npt.NDArray[np.float64], weights: npt.NDArray[np.float64], low: float, high: float
) -> float:
    """Return the weighted squared error of rounding and clipping to [low, high] in 255 steps."""
    step = (high - low) / STEPS
    beyond = centres - np.clip(centres, low, high)
    inside = beyond == 0
    # A value that is exactly zero is held exactly: after a ReLU that is half of them.
    rounded = inside & (centres != 0) if step else inside
    return float((weights * beyond**2).sum() + weights[rounded].sum() * step**2 / 12)


def min_max_range(statistics: TensorStatistics) -> tuple[float, float]:
    """Return the extremes that were seen; one extreme photo decides them."""
    return statistics.low, statistics.high
