"""What the readers take from Keras layers: arrays, kernels in the order of formats, padding, names of functions."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from xedge.errors import UnsupportedError
from xedge.graph.ir import NO_PADDING, Padding, same_padding
from xedge.types import FloatArray, Shape


def array_of(variable: Any) -> FloatArray:
    """Return a variable's values in float32."""
    return np.asarray(keras.ops.convert_to_numpy(variable), dtype=np.float32)


def kernel_of(weight: Any) -> FloatArray:
    """Return a kernel (height, width, in, out) that lies in memory as (out, in, height, width).

    That is how ONNX and OpenVINO store it and, for a pointwise kernel, TFLite too, so that they need no copy.
    """
    kernel = array_of(weight)
    order = (*range(kernel.ndim - 1, 1, -1), *range(2))
    stored = np.ascontiguousarray(kernel.transpose(order))
    return np.asarray(stored.transpose(np.argsort(order)))


def bias_of(layer: Any, channels: int) -> FloatArray:
    """Return the bias (channels,) of a layer, which is zero if the layer has none."""
    return array_of(layer.bias) if layer.use_bias else np.zeros(channels, np.float32)


def pair(value: Any) -> tuple[int, int]:
    """Return a size along height and width, which Keras' operations may give as one number."""
    height, width = (value, value) if isinstance(value, int) else value
    return int(height), int(width)


def window_of(size: tuple[int, int], dilation: tuple[int, int]) -> tuple[int, int]:
    """Return the height and width of a window with its dilation."""
    return (size[0] - 1) * dilation[0] + 1, (size[1] - 1) * dilation[1] + 1


def padding_of(name: str, kind: str, shape: Shape, window: tuple[int, int], strides: tuple[int, int]) -> Padding:
    """Return the zeros that a layer adds around its input.

    Args:
        name: The layer's name, for the message.
        kind: Keras' name for the padding.
        shape: The shape of the input (height, width, channels).
        window: The height and width of the window, dilation included.
        strides: The strides along height and width.

    Raises:
        UnsupportedError: The padding is neither "valid" nor "same".
    """
    if kind == "valid":
        return NO_PADDING
    if kind == "same":
        return same_padding(shape, window, strides)
    raise UnsupportedError(f"{name}: padding {kind!r} is not in the reference graph's set")


def axes_of(name: str, rank: int, given: Any) -> tuple[int, ...]:
    """Return axes as the graph counts them, without the batch, of those that Keras was given.

    Args:
        name: The layer's name, for the message.
        rank: The number of axes of the tensor, without the batch.
        given: One axis or several, counted with the batch.

    Raises:
        UnsupportedError: The batch is among them.
    """
    axes = given if isinstance(given, list | tuple) else [given]
    if given is None or any(axis % (rank + 1) == 0 for axis in axes):
        raise UnsupportedError(f"{name}: reduces the batch")
    return tuple(sorted(axis % (rank + 1) - 1 for axis in axes))


def function_name(function: Any) -> str:
    """Return the name of one of Keras' own activation functions; its ``serialize`` would import TensorFlow."""
    if function is None:
        return "linear"
    name = getattr(function, "__name__", type(function).__name__)
    return str(name) if getattr(function, "__module__", "").startswith("keras.") else f"{name} (not Keras' own)"
