"""Affine int8 quantization: real = scale * (integer - zero_point). Jacob et al., 2018, section 2.1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from xedge.types import FloatArray, Int8Array

LOWEST, HIGHEST = -128, 127
STEPS = HIGHEST - LOWEST
# Symmetric weights do not use -128, because kernels that multiply pairs in 16 bits overflow on -128 * -128.
WEIGHT_LIMIT = 127
SMALLEST_SCALE = 1e-9


@dataclass(frozen=True, kw_only=True)
class Affine:
    """The parameters of one int8 tensor.

    Args:
        scale: The real value of one step, greater than 0.
        zero_point: The integer that stands for zero, from -128 to 127.
    """

    scale: float
    zero_point: int

    def __post_init__(self) -> None:
        if not (self.scale > 0 and np.isfinite(self.scale) and LOWEST <= self.zero_point <= HIGHEST):
            raise ValueError(f"invalid int8 parameters: scale {self.scale}, zero point {self.zero_point}")

    @staticmethod
    def of_range(low: float, high: float) -> Affine:
        """Return the parameters that cover [low, high] and represent zero exactly.

        Args:
            low: The lower bound of the range; 0 if it is positive.
            high: The upper bound of the range; 0 if it is negative.
        """
        low, high = min(low, 0.0), max(high, 0.0)
        # Artifacts store scales as float32, so the plan computes with the value that the runtime will use.
        scale = float(np.float32(max((high - low) / STEPS, SMALLEST_SCALE)))
        return Affine(scale=scale, zero_point=int(np.clip(round(LOWEST - low / scale), LOWEST, HIGHEST)))

    @staticmethod
    def symmetric(bound: float) -> Affine:
        """Return the parameters that cover [-bound, bound] with zero point 0, for runtimes without zero points."""
        return Affine(scale=float(np.float32(max(bound / HIGHEST, SMALLEST_SCALE))), zero_point=0)

    @property
    def low(self) -> float:
        """The lowest real value that can be represented."""
        return self.scale * (LOWEST - self.zero_point)

    @property
    def high(self) -> float:
        """The highest real value that can be represented."""
        return self.scale * (HIGHEST - self.zero_point)

    def quantize(self, values: FloatArray) -> Int8Array:
        """Return the nearest integers; ties are rounded to even, and values outside the range saturate."""
        integers = np.clip(np.rint(values / self.scale) + self.zero_point, LOWEST, HIGHEST)
        return np.asarray(integers, dtype=np.int8)

    def dequantize(self, integers: Int8Array) -> FloatArray:
        """Return the real values that integers stand for."""
        return np.asarray((integers.astype(np.float32) - self.zero_point) * np.float32(self.scale), dtype=np.float32)


@dataclass(frozen=True, kw_only=True, eq=False)
class QuantizedKernel:
    """A kernel in integers.

    Args:
        values: The integers in the shape of the kernel, output channels last, from -127 to 127.
        scales: The scales (output channels,) float32.
        bias: The bias (output channels,) float32 that the integer layer adds.
    """

    values: Int8Array
    scales: FloatArray
    bias: FloatArray

    @property
    def real(self) -> npt.NDArray[np.float64]:
        """The real values that the integers stand for, in the shape of the kernel."""
        return np.asarray(self.values * self.scales.astype(np.float64))


@dataclass(frozen=True, kw_only=True, eq=False)
class GroupedKernel:
    """A kernel in integers whose groups of inputs have own scales, for products with inputs in float.

    Args:
        values: The integers (height, width, inputs, outputs), or (inputs, outputs) for dense layers.
        scales: The scales (groups, outputs), float16 or float32. Each is for inputs that follow each other, at all
            positions of the kernel.
        size: The number of inputs of a group; the last one may have fewer.
        bits: The number of bits, 4 or 8. With 4, the integers are from -8 to 7 and their number is even.
        bias: The bias (outputs,) float32.
    """

    values: Int8Array
    scales: npt.NDArray[np.float16] | FloatArray
    size: int
    bits: Literal[4, 8]
    bias: FloatArray

    @property
    def real(self) -> npt.NDArray[np.float64]:
        """The real values that the integers stand for, in the shape of the kernel."""
        return np.asarray(self.values * of_inputs(self.scales, self.size, self.values.shape[-2]).astype(np.float64))


def of_inputs(scales: npt.NDArray[np.float16] | FloatArray, size: int, inputs: int) -> FloatArray:
    """Return the scales (inputs, outputs) float32 of all inputs.

    Args:
        scales: The scales (groups, outputs).
        size: The number of inputs of a group; the last one may have fewer.
        inputs: The number of inputs.
    """
    return np.repeat(scales.astype(np.float32), size, axis=0)[:inputs]


def quantize_kernel(kernel: FloatArray, bias: FloatArray, scales: FloatArray | None = None) -> QuantizedKernel:
    """Round a kernel to the nearest integers, symmetrically and with one scale per output channel.

    Args:
        kernel: The kernel, output channels last.
        bias: The bias (output channels,), which is kept as it is.
        scales: The scales (output channels,); None takes max|w| / 127 of each channel.
    """
    if scales is None:
        axes = tuple(range(kernel.ndim - 1))
        scales = np.maximum(np.abs(kernel).max(axis=axes) / WEIGHT_LIMIT, SMALLEST_SCALE).astype(np.float32)
    values = np.clip(np.rint(kernel / scales), -WEIGHT_LIMIT, WEIGHT_LIMIT).astype(np.int8)
    return QuantizedKernel(values=values, scales=scales, bias=bias)


def bias_steps(bias: FloatArray, scales: FloatArray) -> npt.NDArray[np.int32]:
    """Return a bias as int32 multiples of the accumulator's scales.

    Args:
        bias: The bias (channels,).
        scales: The scales (channels,) of the accumulator.
    """
    limit = np.iinfo(np.int32).max
    return np.clip(np.rint(bias.astype(np.float64) / scales), -limit, limit).astype(np.int32)
