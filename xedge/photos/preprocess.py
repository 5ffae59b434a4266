"""From a photo file to the model's input: the one implementation, on host and device alike."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image, UnidentifiedImageError

from xedge.errors import InputError, UsageError, parameter
from xedge.types import FloatArray, Int8Array, UInt8Array
from xedge.vocabulary import Crop

Colour = Literal["RGB", "BGR", "L"]
# The suffixes of files that count as photos in a folder.
EXTENSIONS = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff"})


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """How a photo becomes input: resize, crop, colour order, then pixel * scale + offset.

    Args:
        height, width: the input's size in pixels.
        colour: order of the channels; ``L`` for one channel.
        crop: ``none`` resizes the whole photo to the input's shape; ``center`` keeps the aspect ratio and cuts.
        resize: the filter.
        scale, offset: one per channel, or one for all.
    """

    height: int
    width: int
    colour: Colour = "RGB"
    crop: Crop = "none"
    resize: Literal["bilinear"] = "bilinear"
    scale: tuple[float, ...] = (1 / 127.5,)
    offset: tuple[float, ...] = (-1.0,)

    def __post_init__(self) -> None:
        channels = self.channels
        if not (len(self.scale) in (1, channels) and len(self.offset) in (1, channels)):
            raise ValueError(f"scale and offset need 1 or {channels} values, got {self.scale} and {self.offset}")

    @property
    def channels(self) -> int:
        """1 for ``L``, else 3."""
        return 1 if self.colour == "L" else 3

    @property
    def pixel(self) -> tuple[float, float] | None:
        """(scale, offset) when they hold for all channels, else None."""
        if len(set(self.scale)) == 1 and len(set(self.offset)) == 1:
            return self.scale[0], self.offset[0]
        return None

    def pixels(self, photo: Path | Image.Image) -> UInt8Array:
        """Return the photo as (height, width, channels) uint8.

        Raises:
            InputError: the file is missing or no photo.
        """
        image = open_photo(photo) if isinstance(photo, Path) else photo
        image = image.convert("L" if self.colour == "L" else "RGB")
        box = _center_box(image.size, self.width / self.height) if self.crop == "center" else None
        image = image.resize((self.width, self.height), Image.Resampling.BILINEAR, box=box)
        pixels = np.asarray(image, np.uint8).reshape(self.height, self.width, self.channels)
        return pixels[:, :, ::-1] if self.colour == "BGR" else pixels

    def scaled(self, pixels: UInt8Array) -> FloatArray:
        """Return (..., height, width, channels) float32 of uint8 pixels: pixel * scale + offset."""
        scale, offset = (np.asarray(values, np.float32) for values in (self.scale, self.offset))
        values: FloatArray = pixels.astype(np.float32)
        # In place: on a small board another copy of the photo is time and memory.
        values *= scale
        values += offset
        return values

    def photo(self, photo: Path | Image.Image) -> FloatArray:
        """Return the photo as (height, width, channels) float32, ready for a float input."""
        return self.scaled(self.pixels(photo))


def pixels_as_int8(pixels: UInt8Array) -> Int8Array:
    """Return pixel - 128, which is how an int8 input with exact pixels takes a photo."""
    flipped: UInt8Array = pixels ^ np.uint8(0x80)
    return flipped.view(np.int8)


def open_photo(path: Path) -> Image.Image:
    """Return the decoded photo.

    Raises:
        InputError: the file is missing, unreadable or no photo.
    """
    try:
        image = Image.open(path)
        image.load()
    except FileNotFoundError:
        raise InputError(f"{path}: no such photo") from None
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(f"{path}: not a readable photo ({error}); remove or replace it") from error
    return image


def _center_box(size: tuple[int, int], aspect: float) -> tuple[float, float, float, float]:
    width, height = size
    wide, high = (height * aspect, float(height)) if width / height > aspect else (float(width), width / aspect)
    left, top = (width - wide) / 2, (height - high) / 2
    return left, top, left + wide, top + high


# Names as in Keras Applications' ``preprocess_input(mode=...)``, and the plain ones.
_IMAGENET_MEAN, _IMAGENET_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SCHEMES: dict[str, dict[str, object]] = {
    "tf": {"scale": (1 / 127.5,), "offset": (-1.0,)},
    "unit": {"scale": (1 / 255,), "offset": (0.0,)},
    "raw": {"scale": (1.0,), "offset": (0.0,)},
    "caffe": {"colour": "BGR", "scale": (1.0,) * 3, "offset": (-103.939, -116.779, -123.68)},
    "torch": {
        "scale": tuple(1 / 255 / d for d in _IMAGENET_DEVIATION),
        "offset": tuple(-m / d for m, d in zip(_IMAGENET_MEAN, _IMAGENET_DEVIATION, strict=True)),
    },
}


def scheme(name: str, height: int, width: int, channels: int, crop: Crop = "none") -> Preprocessing:
    """Return the preprocessing of a named scheme.

    Raises:
        UsageError: the scheme does not fit the number of channels.
    """
    values = dict(SCHEMES[name])
    if channels == 1:
        if name in ("caffe", "torch"):
            raise UsageError(
                f"{parameter('preprocess')} {name} is for 3 channels, and the model takes 1; use tf, unit or raw"
            )
        values["colour"] = "L"
    return Preprocessing(height=height, width=width, crop=crop, **values)  # type: ignore[arg-type]
