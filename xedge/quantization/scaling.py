"""How much to scale the channels of a tensor so that they use its integers more evenly."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

# Dead channels must not become loud: a share of the typical range is added to each, and scales stay within this.
FLOOR, LARGEST = 0.05, 10.0


def even_scales(reaches: Sequence[npt.NDArray[np.float64]], strength: float) -> npt.NDArray[np.float64]:
    """Return (channels,) factors, around 1, to divide channels by.

    Args:
        reaches: for each tensor that shares the factors, (channels,) how far its channels reach.
        strength: 0 changes nothing, 1 gives all channels the same range.
    """
    shares = []
    for reach in reaches:
        raised = reach + max(float(np.median(reach)) * FLOOR, 1e-12)
        shares.append(np.log(raised / np.median(raised)))
    scales = np.exp(strength * np.mean(shares, axis=0))
    return np.asarray(np.clip(scales, 1 / LARGEST, LARGEST))
