"""Words that every part of xedge shares."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
UInt8Array = npt.NDArray[np.uint8]
Int8Array = npt.NDArray[np.int8]
IntArray = npt.NDArray[np.int64]

Precision = Literal["fp32", "fp16", "dynamic", "int8"]
IoType = Literal["float32", "int8"]
Shape = tuple[int, ...]

PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "dynamic", "int8")
