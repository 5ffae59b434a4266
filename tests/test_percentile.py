"""The percentile rule is MLPerf's."""

from __future__ import annotations

import pytest

from xedge.measuring.percentile import early_stopping_estimate, samples_needed


@pytest.mark.parametrize(("percentile", "samples"), [(0.90, 64), (0.95, 130), (0.99, 662)], ids=["p90", "p95", "p99"])
def test_samples_needed(percentile: float, samples: int) -> None:
    assert samples_needed(percentile) == samples
    values = [float(i) for i in range(samples)]
    assert early_stopping_estimate(values[1:], percentile) is None
    assert early_stopping_estimate(values, percentile) == values[-2]
