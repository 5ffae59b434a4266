"""Affine arithmetic: real = scale * (integer - zero_point), int8. Jacob et al., 2018, section 2.1."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from xedge.types import FloatArray, Int8Array

LOWEST, HIGHEST = -128, 127
STEPS = HIGHEST - LOWEST
# Symmetric weights leave -128 out: kernels that multiply pairs in 16 bits overflow on -128 * -128.
WEIGHT_LIMIT = 127
SMALLEST_SCALE = 1e-9


@dataclass(frozen=True, kw_only=True)
class Affine:
    """The parameters of one int8 tensor."""

    scale: float
    zero_point: int

    def __post_init__(self) -> None:
        if not (self.scale > 0 and np.isfinite(self.scale) and LOWEST <= self.zero_point <= HIGHEST):
            raise ValueError(f"no int8 parameters: scale {self.scale}, zero point {self.zero_point}")

    @staticmethod
    def of_range(low: float, high: float) -> Affine:
        """Return the parameters that cover [low, high] and hold zero exactly."""
        low, high = min(low, 0.0), max(high, 0.0)
        # Artifacts keep scales as float32; the plan computes with what the runtime will see.
        scale = float(np.float32(max((high - low) / STEPS, SMALLEST_SCALE)))
        return Affine(scale=scale, zero_point=int(np.clip(round(LOWEST - low / scale), LOWEST, HIGHEST)))

    @staticmethod
    def symmetric(bound: float) -> Affine:
        """Return the parameters that cover [-bound, bound], for runtimes without zero points."""
        return Affine(scale=float(np.float32(max(bound / HIGHEST, SMALLEST_SCALE))), zero_point=0)

    @property
    def low(self) -> float:
        """The least real value that can be held."""
        return self.scale * (LOWEST - self.zero_point)

    @property
    def high(self) -> float:
        """The greatest real value that can be held."""
        return self.scale * (HIGHEST - self.zero_point)

    def quantize(self, values: FloatArray) -> Int8Array:
        """Return the nearest integers, saturated; ties to even."""
        integers = np.clip(np.rint(values / self.scale) + self.zero_point, LOWEST, HIGHEST)
        return np.asarray(integers, dtype=np.int8)

    def dequantize(self, integers: Int8Array) -> FloatArray:
        """Return the real values of integers."""
        return np.asarray((integers.astype(np.float32) - self.zero_point) * np.float32(self.scale), dtype=np.float32)


@dataclass(frozen=True, kw_only=True, eq=False)
class QuantizedKernel:
    """A kernel in integers.

    Args:
        values: the kernel's shape, output channels last, in [-127, 127].
        scales: (output channels,) float32.
        bias: (output channels,) float32, as the integer layer shall add it.
    """

    values: Int8Array
    scales: FloatArray
    bias: FloatArray


def quantize_kernel(kernel: FloatArray, bias: FloatArray, scales: FloatArray | None = None) -> QuantizedKernel:
    """Round a kernel symmetrically with one scale per output channel, max|w| / 127 if none are given."""
    if scales is None:
        axes = tuple(range(kernel.ndim - 1))
        scales = np.maximum(np.abs(kernel).max(axis=axes) / WEIGHT_LIMIT, SMALLEST_SCALE).astype(np.float32)
    values = np.clip(np.rint(kernel / scales), -WEIGHT_LIMIT, WEIGHT_LIMIT).astype(np.int8)
    return QuantizedKernel(values=values, scales=scales, bias=bias)


def bias_steps(bias: FloatArray, scales: FloatArray) -> npt.NDArray[np.int32]:
    """Return a bias (channels,) as int32 multiples of the accumulator's scales (channels,)."""
    limit = np.iinfo(np.int32).max
    return np.clip(np.rint(bias.astype(np.float64) / scales), -limit, limit).astype(np.int32)
