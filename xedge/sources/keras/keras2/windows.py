"""TensorFlow's functions over height and width between the layers of Keras 2, as Keras 3 computes them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from keras import ops

from xedge.errors import UnsupportedError

# What TensorFlow weighs red, green and blue with.
GREY = (0.2989, 0.5870, 0.1140)


def _of_two(value: Any, default: int = 1) -> tuple[int, int]:
    """Return the height and width of what TensorFlow gives as one number, as two, or with the batch and channels."""
    listed = [int(one) for one in (value if isinstance(value, list | tuple) else [default if value is None else value])]
    if len(listed) == 4:
        listed = listed[1:3]
    return listed[0], listed[-1]


def _same(padding: Any) -> str:
    if str(padding).upper() not in ("SAME", "VALID"):
        raise UnsupportedError(f"the padding {padding} is not known here")
    return str(padding).lower()


def _check_layout(named: dict[str, Any]) -> None:
    if str(named.get("data_format") or "NHWC") != "NHWC":
        raise UnsupportedError("it has the channels first; save the model with channels_last")


def _pool(function: Callable[..., Any]) -> Callable[..., Any]:
    def pool(tensor: Any, ksize: Any, strides: Any, padding: Any, **named: Any) -> Any:
        _check_layout(named)
        return function(tensor, _of_two(ksize), _of_two(strides), _same(padding), "channels_last")

    return lambda *given, **named: pool(*given, **_with_first(given, named, ("input", "value")))


def _with_first(given: tuple[Any, ...], named: dict[str, Any], first: tuple[str, ...]) -> dict[str, Any]:
    """Return the named arguments with the first one, which has several names, under that of ``tensor``."""
    if given:
        return named
    return {("tensor" if key in first else key): value for key, value in named.items()}


def _convolution(function: Callable[..., Any]) -> Callable[..., Any]:
    def convolve(x: Any, kernel: Any, strides: Any, padding: Any, dilations: Any, **named: Any) -> Any:
        _check_layout(named)
        window = {"strides": _of_two(strides), "padding": _same(padding), "dilation_rate": _of_two(dilations)}
        if function is ops.depthwise_conv and window["strides"][0] != window["strides"][1]:
            raise UnsupportedError("its strides differ between height and width")
        return function(x, np.asarray(kernel, np.float32), data_format="channels_last", **window)

    def called(input: Any, filter: Any = None, filters: Any = None, **named: Any) -> Any:  # noqa: A002
        kernel = filter if filters is None else filters
        if "KerasTensor" in type(kernel).__name__:
            raise UnsupportedError("its kernel is computed by the model")
        given = {"strides": named.pop("strides", 1), "padding": named.pop("padding", "VALID")}
        dilations = named.pop("dilations", None) or named.pop("rate", None)
        return convolve(input, kernel, dilations=dilations, **given, **named)

    return called


def resize(images: Any, size: Any, method: Any = "bilinear", antialias: bool = False, **named: Any) -> Any:
    """Return photos of another size, as ``tf.image.resize`` of TensorFlow 2 makes them.

    Raises:
        UnsupportedError: The ratio is kept, or the method is another one than bilinear and nearest.
    """
    if named.get("preserve_aspect_ratio") or str(method) not in ("bilinear", "nearest"):
        raise UnsupportedError(f"tf.image.resize with {method} or a kept aspect ratio is not known here")
    height, width = (int(one) for one in size)
    return ops.image.resize(images, (height, width), interpolation=str(method), antialias=antialias)


def _flip(axis: int) -> Callable[[Any], Any]:
    return lambda image: ops.flip(image, axis=axis)


def _grey(images: Any) -> Any:
    return ops.conv(images, np.asarray(GREY, np.float32).reshape(1, 1, 3, 1), data_format="channels_last")


def _central_crop(image: Any, central_fraction: float) -> Any:
    starts = [int((size - size * central_fraction) / 2) for size in image.shape[1:3]]
    (top, bottom), (left, right) = ((at, size - at) for at, size in zip(starts, image.shape[1:3], strict=True))
    return image[:, top:bottom, left:right, :]


def _standardized(image: Any) -> Any:
    mean = ops.mean(image, axis=(1, 2, 3), keepdims=True)
    centred = ops.subtract(image, mean)
    spread = ops.sqrt(ops.mean(ops.square(centred), axis=(1, 2, 3), keepdims=True))
    return ops.divide(centred, ops.maximum(spread, 1.0 / math.sqrt(math.prod(image.shape[1:]))))


def _as_fractions(image: Any, dtype: Any, **_: Any) -> Any:
    if "float" not in str(dtype) or image.dtype not in ("uint8", "float32"):
        raise UnsupportedError(f"tf.image.convert_image_dtype of {image.dtype} to {dtype} is not known here")
    return ops.multiply(ops.cast(image, "float32"), 1 / 255.0) if image.dtype == "uint8" else image


def space_to_depth(input: Any, block_size: int, **named: Any) -> Any:  # noqa: A002 - TensorFlow's name
    """Return (N, H / b, W / b, b b C): the pixels of a block one after the other."""
    _check_layout(named)
    height, width, channels = input.shape[1:]
    blocks = (-1, height // block_size, block_size, width // block_size, block_size, channels)
    x = ops.transpose(ops.reshape(input, blocks), (0, 1, 3, 2, 4, 5))
    return ops.reshape(x, (-1, height // block_size, width // block_size, block_size**2 * channels))


def depth_to_space(input: Any, block_size: int, **named: Any) -> Any:  # noqa: A002 - TensorFlow's name
    """Return (N, b H, b W, C / b / b): the reverse of ``space_to_depth``."""
    _check_layout(named)
    height, width, channels = input.shape[1:]
    x = ops.reshape(input, (-1, height, width, block_size, block_size, channels // block_size**2))
    x = ops.transpose(x, (0, 1, 3, 2, 4, 5))
    return ops.reshape(x, (-1, height * block_size, width * block_size, channels // block_size**2))


# By the last part of the name, but for those of tf.image.
WINDOWS: dict[str, Callable[..., Any]] = {
    "max_pool": _pool(ops.max_pool),
    "max_pool2d": _pool(ops.max_pool),
    "avg_pool": _pool(ops.average_pool),
    "avg_pool2d": _pool(ops.average_pool),
    "conv2d": _convolution(ops.conv),
    "depthwise_conv2d": _convolution(ops.depthwise_conv),
    "depthwise_conv2d_native": _convolution(ops.depthwise_conv),
    "space_to_depth": space_to_depth,
    "depth_to_space": depth_to_space,
    "image.resize": resize,
    "image.flip_left_right": _flip(2),
    "image.flip_up_down": _flip(1),
    "image.rgb_to_grayscale": _grey,
    "image.grayscale_to_rgb": lambda images: ops.concatenate([images, images, images], axis=-1),
    "image.central_crop": _central_crop,
    "image.per_image_standardization": _standardized,
    "image.convert_image_dtype": _as_fractions,
}
