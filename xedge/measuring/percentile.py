"""Percentiles of latency that hold, by the rule of MLPerf Inference for single-stream runs.

From n samples the percentile p is estimated by the smallest order statistic that is, with confidence 0.99, not below
the true percentile, and at least one sample must lie above it (MLPerf Inference rules, appendix "Early stopping").
With too few samples there is no such statistic, and no figure: p90 needs 64 samples, p95 130, p99 662.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, lgamma, log

CONFIDENCE = 0.99


def samples_needed(percentile: float) -> int:
    """Return the least number of samples from which a percentile (0 to 1) can be told."""
    count = 2
    while _rank(count, percentile) is None:
        count += 1
    return count


def early_stopping_estimate(values: Sequence[float], percentile: float) -> float | None:
    """Return the estimate of a percentile (0 to 1), or None if there are too few samples."""
    rank = _rank(len(values), percentile)
    return None if rank is None else sorted(values)[rank - 1]


def _rank(count: int, percentile: float) -> int | None:
    """The smallest 1-based rank below ``count`` whose order statistic bounds the percentile."""
    # P(the percentile lies at or above order statistic r) = P(at most ... of the samples lie below it), from the top.
    above = 0.0
    rank = None
    for below in range(count, 0, -1):
        above += _binomial(below, count, percentile)
        if above > 1 - CONFIDENCE:
            break
        rank = below
    return rank if rank is not None and rank < count else None


def _binomial(successes: int, trials: int, share: float) -> float:
    ways = lgamma(trials + 1) - lgamma(successes + 1) - lgamma(trials - successes + 1)
    return exp(ways + successes * log(share) + (trials - successes) * log(1 - share))
