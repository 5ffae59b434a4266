"""Types of arrays and shapes."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
DoubleArray = npt.NDArray[np.float64]
UInt8Array = npt.NDArray[np.uint8]
Int8Array = npt.NDArray[np.int8]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

Shape = tuple[int, ...]
Tensor = npt.NDArray[Any]
