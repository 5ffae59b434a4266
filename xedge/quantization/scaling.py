"""Choose factors for the channels of a tensor so that they use its integers more evenly."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

# To keep dead channels from being amplified, the share FLOOR of the median range is added to each range, and no factor
# is greater than LARGEST or less than its inverse.
FLOOR, LARGEST = 0.05, 10.0


def even_scales(reaches: Sequence[npt.NDArray[np.float64]], strength: float) -> npt.NDArray[np.float64]:
    """Return the factors (channels,), around 1, by which the channels are to be divided.

    Args:
        reaches: The greatest absolute values (channels,) of the channels, for each tensor that shares the factors.
        strength: The strength of the scaling: 0 changes nothing, and 1 gives all channels the same range.
    """
    shares = []
    for reach in reaches:
        raised = reach + max(float(np.median(reach)) * FLOOR, 1e-12)
        shares.append(np.log(raised / np.median(raised)))
    scales = np.exp(strength * np.mean(shares, axis=0))
    return np.asarray(np.clip(scales, 1 / LARGEST, LARGEST))
