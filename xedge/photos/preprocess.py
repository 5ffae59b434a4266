"""Preprocessing from a photo file to the model's input. Host and device use this same implementation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, cast, get_args

import numpy as np
from PIL import Image

from xedge.errors import UsageError, parameter
from xedge.photos.decoding import open_photo, upright, with_eight_bits
from xedge.photos.fitting import Filter, Resized, center_cut, resized
from xedge.photos.keras_resizing import keras_cut, keras_resized
from xedge.photos.stored import Photo
from xedge.types import FloatArray, Int8Array, UInt8Array
from xedge.vocabulary import Crop, Resize

# The filters of Pillow, and Keras' way without antialiasing.
Resizing = Literal["nearest", "bilinear", "bicubic", "lanczos", "box", "hamming", "keras"]
Colour = Literal["RGB", "BGR", "L"]
# Networks take photos of a few hundred pixels.
LARGEST_SIDE = 1 << 14


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """How a photo becomes the input: it is resized and cropped, its colours ordered, then pixel * scale + offset.

    Args:
        height: The height of the input in pixels.
        width: The width of the input in pixels.
        colour: The order of the colour channels; ``L`` is a single grey channel.
        crop: ``none`` resizes the whole photo to the shape of the input; ``center`` first crops the centre of the photo
            to the aspect ratio of the input. The others resize the photo to ``resized`` first and then cut the centre
            in the shape of the input, as torchvision and timm do: ``short`` keeps the aspect ratio and covers
            ``resized`` (torchvision's Resize and CenterCrop, timm's crop_mode center), ``squash`` stretches the photo
            to it, and ``border`` keeps the aspect ratio and fits the photo into it. What the centre has beyond the
            photo is filled.
        resize: The filter of Pillow with which the photo is resized, always with antialiasing; or ``keras``, which is
            bilinear without antialiasing, as Keras' image_dataset_from_directory resizes, with values rounded to whole
            pixels. The crop ``center`` then is its crop_to_aspect_ratio.
        resized: The height and width that the photo is resized to before its centre is cut; None for ``none`` and
            ``center``.
        fill: The value 0 to 255 of each channel around a photo with the crop ``border``; None for the others, which
            fill with 0.
        scale: The factors for the pixels, one per channel or one for all channels.
        offset: The values that are added after scaling, one per channel or one for all channels.
        exif: Whether photos are first turned and mirrored as their EXIF orientation says, which Keras does not do.
    """

    height: int
    width: int
    colour: Colour = "RGB"
    crop: Crop | Resized = "none"
    resize: Resizing = "bilinear"
    scale: tuple[float, ...] = (1 / 127.5,)
    offset: tuple[float, ...] = (-1.0,)
    exif: bool = False
    resized: tuple[int, int] | None = None
    fill: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        channels = self.channels
        if not (len(self.scale) in (1, channels) and len(self.offset) in (1, channels)):
            raise ValueError(f"scale and offset need 1 or {channels} values, but got {self.scale} and {self.offset}")
        if not (1 <= self.height <= LARGEST_SIDE and 1 <= self.width <= LARGEST_SIDE):
            raise ValueError(f"photos of {self.height}x{self.width} pixels; a side has 1 to {LARGEST_SIDE}")
        if (self.resized is not None) != (self.crop in get_args(Resized)):
            raise ValueError(f"resized is {self.resized}, which does not go with the crop {self.crop}")
        if self.resized is not None and self.resize == "keras":
            raise ValueError(f"resize is keras, which does not go with the crop {self.crop}")
        if self.resized is not None and not all(1 <= side <= LARGEST_SIDE for side in self.resized):
            raise ValueError(f"resized is {self.resized}; a side has 1 to {LARGEST_SIDE}")
        if (self.fill is not None) != (self.crop == "border"):
            raise ValueError(f"fill is {self.fill}, which does not go with the crop {self.crop}")
        if self.fill is not None and not (len(self.fill) == channels and all(0 <= one <= 255 for one in self.fill)):
            raise ValueError(f"fill is {self.fill}; it needs {channels} values from 0 to 255")

    @property
    def channels(self) -> int:
        """The number of colour channels: 1 for ``L``, otherwise 3."""
        return 1 if self.colour == "L" else 3

    def bounds(self) -> tuple[float, float]:
        """Return the least and the greatest value that pixels of 0 to 255 become."""
        scale, offset = np.broadcast_arrays(np.array(self.scale), np.array(self.offset))
        ends = np.concatenate([offset, 255 * scale + offset])
        return float(ends.min()), float(ends.max())

    @property
    def pixel(self) -> tuple[float, float] | None:
        """The scale and the offset if they are the same for all channels, otherwise None."""
        if len(set(self.scale)) == 1 and len(set(self.offset)) == 1:
            return self.scale[0], self.offset[0]
        return None

    @property
    def fitting(self) -> str:
        """How a photo is brought to the shape of the input, in words."""
        size, turned = f"{self.height}x{self.width}", "turned by EXIF, " if self.exif else ""
        if self.resized is None:
            way = "bilinear without antialiasing (keras)" if self.resize == "keras" else self.resize
            return f"{turned}{way} to {size}, crop {self.crop}"
        high, wide = self.resized
        covered = "the short side to" if high == wide else "to cover"
        ways = {"short": covered, "squash": "stretched to", "border": "to fit into"}
        to = f"{high}" if self.crop == "short" and high == wide else f"{high}x{wide}"
        filled = f" filled with {', '.join(map(str, self.fill))}" if self.fill is not None else ""
        return f"{turned}{self.resize} {ways[self.crop]} {to}, then the centre of {size}{filled}"

    def pixels(self, photo: Photo | Image.Image) -> UInt8Array:
        """Return the pixels of a photo (height, width, channels) uint8 after cropping and resizing.

        Args:
            photo: Where the photo is stored, or the decoded photo.

        Raises:
            InputError: The file is missing, it is not a photo, or its sides differ too much to be resized.
        """
        image = photo if isinstance(photo, Image.Image) else open_photo(photo)
        if self.exif:
            image = upright(image)
        image = with_eight_bits(image, "L" if self.colour == "L" else "RGB")
        pixels = self._as_keras(image) if self.resize == "keras" else np.asarray(self._fitted(image), np.uint8)
        pixels = pixels.reshape(self.height, self.width, self.channels)
        return pixels[:, :, ::-1] if self.colour == "BGR" else pixels

    def _as_keras(self, image: Image.Image) -> UInt8Array:
        pixels: UInt8Array = np.asarray(image, np.uint8).reshape(image.height, image.width, self.channels)
        if self.crop == "center":
            pixels = keras_cut(pixels, self.height, self.width)
        return keras_resized(pixels, self.height, self.width)

    def _fitted(self, image: Image.Image) -> Image.Image:
        by = cast("Filter", self.resize)  # keras is done elsewhere
        if self.resized is not None:
            how = cast("Resized", self.crop)  # as __post_init__ checks
            image = resized(image, self.resized, how, by)
            return center_cut(image, self.height, self.width, self.fill or (0,) * self.channels)
        box = _center_box(image.size, self.width / self.height) if self.crop == "center" else None
        return image.resize((self.width, self.height), Image.Resampling[by.upper()], box=box)

    def scaled(self, pixels: UInt8Array) -> FloatArray:
        """Return pixel * scale + offset as (..., height, width, channels) float32.

        Args:
            pixels: The pixels (..., height, width, channels) uint8.
        """
        scale, offset = (np.asarray(values, np.float32) for values in (self.scale, self.offset))
        values: FloatArray = pixels.astype(np.float32)
        # The arithmetic is in place, because on a small board another copy of the photo would cost time and memory.
        values *= scale
        values += offset
        return values

    def photo(self, photo: Photo | Image.Image) -> FloatArray:
        """Return a photo as (height, width, channels) float32, ready for a float input.

        Args:
            photo: Where the photo is stored, or the decoded photo.

        Raises:
            InputError: The file is missing, or it is not a photo.
        """
        return self.scaled(self.pixels(photo))


def pixels_as_int8(pixels: UInt8Array) -> Int8Array:
    """Return pixel - 128 as int8, which is what an int8 input with exact pixels takes."""
    flipped: UInt8Array = pixels ^ np.uint8(0x80)
    return flipped.view(np.int8)


def _center_box(size: tuple[int, int], aspect: float) -> tuple[float, float, float, float]:
    width, height = size
    wide, high = (height * aspect, float(height)) if width / height > aspect else (float(width), width / aspect)
    left, top = (width - wide) / 2, (height - high) / 2
    return left, top, left + wide, top + high


def normalization(mean: Sequence[float], deviation: Sequence[float]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the scale and the offset that do to pixels what torchvision's ToTensor and Normalize do.

    Args:
        mean: The mean of each channel, where pixels are from 0 to 1.
        deviation: The standard deviation of each channel, where pixels are from 0 to 1.
    """
    scale = tuple(1 / 255 / one for one in deviation)
    return scale, tuple(-m / one for m, one in zip(mean, deviation, strict=True))


# The names of the schemes are those of ``preprocess_input(mode=...)`` in Keras Applications, plus ``unit`` and ``raw``.
_IMAGENET_SCALE, _IMAGENET_OFFSET = normalization((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
SCHEMES: dict[str, dict[str, object]] = {
    "tf": {"scale": (1 / 127.5,), "offset": (-1.0,)},
    "unit": {"scale": (1 / 255,), "offset": (0.0,)},
    "raw": {"scale": (1.0,), "offset": (0.0,)},
    "caffe": {"colour": "BGR", "scale": (1.0,) * 3, "offset": (-103.939, -116.779, -123.68)},
    "torch": {"scale": _IMAGENET_SCALE, "offset": _IMAGENET_OFFSET},
}


def scheme(
    name: str,
    height: int,
    width: int,
    channels: int,
    crop: Crop = "none",
    *,
    exif: bool = False,
    resize: Resize = "pillow",
) -> Preprocessing:
    """Return the preprocessing of a named scheme.

    Args:
        name: The name of the scheme, a key of ``SCHEMES``.
        height: The height of the input in pixels.
        width: The width of the input in pixels.
        channels: The number of channels of the input, 1 or 3.
        crop: The cropping of the photo, as for ``Preprocessing``.
        exif: Whether photos are turned as their EXIF orientation says.
        resize: ``pillow`` resizes with antialiasing, and ``keras`` without, as for ``Preprocessing``.

    Raises:
        UsageError: The scheme does not fit the number of channels.
    """
    values = dict(SCHEMES[name])
    if channels == 1:
        if name in ("caffe", "torch"):
            raise UsageError(
                f"{parameter('preprocess')} {name} is for 3 channels, but the model takes 1; use tf, unit or raw"
            )
        values["colour"] = "L"
    values["resize"] = "keras" if resize == "keras" else "bilinear"
    return Preprocessing(height=height, width=width, crop=crop, exif=exif, **values)  # type: ignore[arg-type]
