"""Intervals of means over photos and networks, by bootstrap, and differences that are paired photo by photo."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from xedge.types import DoubleArray

DRAWS = 4000
SEED = 0
# A mean and the bounds of its 95 % interval.
Mean = tuple[float, float, float]


def over_photos95(sets: Sequence[DoubleArray]) -> Mean:
    """Return the mean of all values and its 95 % interval for other photos, with the networks as they are.

    Photos are drawn anew from each set (Efron, 1979, percentile bootstrap). A photo that is drawn counts in all
    networks that were measured on it, because a photo that is hard for one network is often hard for others.

    Args:
        sets: For each set of photos, the values (networks, photos).
    """
    rng = np.random.default_rng(SEED)
    total = sum(values.size for values in sets)
    drawn = sum(_counts(rng, values.shape[1]) @ values.sum(0) for values in sets) / total
    return _interval(sum(float(values.sum()) for values in sets) / total, np.asarray(drawn))


def over_networks95(sets: Sequence[DoubleArray]) -> Mean:
    """Return the mean of all values and its 95 % interval for other networks, with the photos as they are.

    Arguments are those of ``over_photos95``; networks are drawn anew, each with all its photos.
    """
    sums = np.concatenate([values.sum(1) for values in sets])
    sizes = np.concatenate([np.full(values.shape[0], values.shape[1]) for values in sets])
    counts = _counts(np.random.default_rng(SEED), len(sums))
    return _interval(float(sums.sum() / sizes.sum()), (counts @ sums) / (counts @ sizes))


def _counts(rng: np.random.Generator, items: int) -> DoubleArray:
    """Return how often each item is drawn (draws, items)."""
    return rng.multinomial(items, np.full(items, 1 / items), size=DRAWS).astype(np.float64)


def _interval(mean: float, drawn: DoubleArray) -> Mean:
    low, high = np.quantile(drawn, (0.025, 0.975))
    return mean, float(low), float(high)
