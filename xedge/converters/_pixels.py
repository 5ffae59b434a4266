"""The preprocessing inside artifacts that take uint8 pixels."""

from __future__ import annotations

import numpy as np

from xedge.converters import Pixels
from xedge.types import FloatArray


def factors(pixels: Pixels, channels: int) -> tuple[FloatArray, FloatArray]:
    """Return the scale and the offset of pixels, (channels,) each."""
    scale, offset = (np.resize(np.asarray(values, np.float32), channels) for values in (pixels.scale, pixels.offset))
    return scale, offset
