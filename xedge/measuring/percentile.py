"""Estimate percentiles of the latency by the rule of MLPerf Inference for single-stream runs.

The percentile p of n samples is estimated by the smallest order statistic that, with confidence 0.99, is not below the
true percentile. At least one sample must lie above it (MLPerf Inference rules, appendix "Early stopping"). If there are
too few samples, there is no such order statistic and no figure is reported: p90 needs 64 samples, p95 130 and p99 662.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, lgamma, log

CONFIDENCE = 0.99


def samples_needed(percentile: float) -> int:
    """Return the least number of samples from which a percentile (0 to 1) can be estimated."""
    count = 2
    while _rank(count, percentile) is None:
        count += 1
    return count


def early_stopping_estimate(values: Sequence[float], percentile: float) -> float | None:
    """Return the estimate of a percentile (0 to 1), or None if there are too few samples."""
    rank = _rank(len(values), percentile)
    return None if rank is None else sorted(values)[rank - 1]


def _rank(count: int, percentile: float) -> int | None:
    """Return the smallest 1-based rank below ``count`` whose order statistic bounds the percentile, or None."""
    # The percentile lies above order statistic r if at least r samples lie below it. The loop sums the probability of
    # that from the top: of r = count, then of r = count - 1, and so on.
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
