"""Fit a photo to the input as torchvision and timm do: resize it, then cut its centre, to the same pixel.

The sizes are those of torchvision's ``Resize`` and ``CenterCrop`` and of timm's ``ResizeKeepRatio`` and
``CenterCropOrPad`` on photos of Pillow, with their own rounding: what is resized to another size by one pixel has other
values everywhere. ``tests/data/torchvision/make.py`` compares the two.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from PIL import Image, ImageOps

from xedge.errors import InputError
from xedge.photos.decoding import named

Filter = Literal["nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"]
# How a photo is resized before its centre is cut: its short side, both sides, or its long side.
Resized = Literal["short", "squash", "border"]
# A photo of a few pixels' width would become one of any length, for which a small board has no memory.
MOST_PIXELS = 1 << 27


def resized_size(size: tuple[int, int], to: tuple[int, int], how: Resized) -> tuple[int, int]:
    """Return the width and height to which a photo is resized before its centre is cut.

    Args:
        size: The width and height of the photo.
        to: The height and width that are asked for.
        how: ``squash`` takes them as they are. The others keep the photo's aspect ratio, so that it covers (``short``)
            or fits into (``border``) a photo of this size.
    """
    (width, height), (high, wide) = size, to
    if how == "squash":
        return wide, high
    if how == "short" and wide == high:
        # torchvision cuts off what is left of the long side.
        short, long = sorted(size)
        longer = int(high * long / short)
        return (high, longer) if width <= height else (longer, high)
    ratios = height / high, width / wide
    ratio = max(ratios) if how == "border" else min(ratios)
    # timm rounds both sides.
    return round(width / ratio), round(height / ratio)


def resized(image: Image.Image, to: tuple[int, int], how: Resized, resample: Filter) -> Image.Image:
    """Return a photo resized as ``resized_size`` says.

    Args:
        image: The photo, of mode ``RGB`` or ``L``.
        to: The height and width that are asked for.
        how: How the photo is resized.
        resample: The filter. Pillow always makes it wider where a photo becomes smaller (antialiasing).

    Raises:
        InputError: The photo is so narrow that it would become empty, or too long for the memory.
    """
    width, height = resized_size(image.size, to, how)
    if not (width >= 1 and height >= 1 and width * height <= MOST_PIXELS):
        raise InputError(
            f"{named(image)}: has {image.width}x{image.height} pixels and would be resized to {width}x{height} before "
            "its centre is taken; remove it or crop it"
        )
    return image.resize((width, height), Image.Resampling[resample.upper()])


def center_cut(image: Image.Image, height: int, width: int, fill: Sequence[int]) -> Image.Image:
    """Return the centre of a photo.

    Args:
        image: The photo, of mode ``RGB`` or ``L``.
        height: The height of the centre in pixels.
        width: The width of the centre in pixels.
        fill: The values 0 to 255, one for each channel, of what is added where the photo is smaller.
    """
    missing = max(0, width - image.width), max(0, height - image.height)
    if any(missing):
        before = tuple(one // 2 for one in missing)
        after = tuple((one + 1) // 2 for one in missing)
        image = ImageOps.expand(image, (*before, *after), tuple(fill) if len(fill) > 1 else fill[0])
    # Python rounds halves to even numbers, and so do torchvision and timm.
    top, left = round((image.height - height) / 2), round((image.width - width) / 2)
    return image.crop((left, top, left + width, top + height))
