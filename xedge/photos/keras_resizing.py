"""Resize a photo as Keras' ``image_dataset_from_directory`` does, with NumPy alone.

Keras calls ``tf.image.resize`` with bilinear interpolation and without antialiasing: each pixel of the result is made
of the four pixels of the photo around its centre, however much smaller the result is. The arithmetic is that of
TensorFlow's kernel in float32 (half-pixel centres), so that the values are the same; then they are rounded, because
artifacts and golden inputs have whole pixels.
"""

from __future__ import annotations

import numpy as np

from xedge.types import FloatArray, UInt8Array


def keras_resized(pixels: UInt8Array, height: int, width: int) -> UInt8Array:
    """Return a photo resized as Keras does, with its values rounded to whole numbers.

    Args:
        pixels: The photo (H, W, C) uint8.
        height: The height of the result in pixels.
        width: The width of the result in pixels.

    Returns:
        Pixels (height, width, C) uint8.
    """
    rounded: UInt8Array = np.rint(bilinear(pixels, height, width)).astype(np.uint8)
    return rounded


def bilinear(pixels: UInt8Array, height: int, width: int) -> FloatArray:
    """Return the values (height, width, C) float32, 0 to 255, of ``tf.image.resize``; arguments as above."""
    top, bottom, down = _neighbours(pixels.shape[0], height)
    left, right, across = _neighbours(pixels.shape[1], width)
    across = across[:, None]

    def row(of: np.ndarray[tuple[int], np.dtype[np.intp]]) -> FloatArray:
        first = pixels[of[:, None], left].astype(np.float32)
        values: FloatArray = first + (pixels[of[:, None], right].astype(np.float32) - first) * across
        return values

    upper = row(top)
    values: FloatArray = upper + (row(bottom) - upper) * down[:, None, None]
    return values


def _neighbours(
    size: int, to: int
) -> tuple[np.ndarray[tuple[int], np.dtype[np.intp]], np.ndarray[tuple[int], np.dtype[np.intp]], FloatArray]:
    """Return the two pixels of the photo on either side of each of the result, and how far it lies from the first."""
    half = np.float32(0.5)
    place = (np.arange(to, dtype=np.float32) + half) * (np.float32(size) / np.float32(to)) - half
    floor = np.floor(place)
    before = np.maximum(floor.astype(np.intp), 0)
    after = np.minimum(np.ceil(place).astype(np.intp), size - 1)
    return before, after, place - floor


def keras_cut(pixels: UInt8Array, height: int, width: int) -> UInt8Array:
    """Return the centre of a photo with the aspect ratio of the input, as ``crop_to_aspect_ratio=True`` does.

    Args:
        pixels: The photo (H, W, C) uint8.
        height: The height of the input in pixels.
        width: The width of the input in pixels.
    """
    high, wide = pixels.shape[:2]
    cut_high = max(1, min(high, int(float(wide * height) / width)))
    cut_wide = max(1, min(wide, int(float(high * width) / height)))
    top, left = int((high - cut_high) / 2), int((wide - cut_wide) / 2)
    return pixels[top : top + cut_high, left : left + cut_wide]
