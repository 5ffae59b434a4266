"""Files that say how photos are prepared for networks of timm and torchvision, as these libraries say it themselves.

Each kind of file is a dataclass of what is taken from it; what it says besides is looked at only where it would change
what the library does to photos. Nothing is guessed: a value that is missing is an error.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from xedge.codec import from_json, parse_json
from xedge.errors import BundleError, InputError, UsageError, brief, parameter
from xedge.files import read_text
from xedge.photos.fitting import Filter, Resized
from xedge.photos.preprocess import Preprocessing, normalization
from xedge.vocabulary import SCHEME_FILES, SCHEMES, scheme_file

# Such a file has a few hundred bytes.
LARGEST_BYTES = 1 << 20
# Some networks of timm have 1.15, which leaves a border; beyond this the share was probably given in percent.
LARGEST_SHARE = 2
# timm's names of ways to crop, and what the manifest calls them.
CROP_MODES: dict[str, Resized] = {"center": "short", "squash": "squash", "border": "border"}


class DataConfig(Protocol):
    """What a file says about preprocessing."""

    def preprocessing(self, shape: tuple[int, int, int], *, exif: bool) -> Preprocessing:
        """Return how photos become the input of a model.

        Args:
            shape: The model's input: (height, width, channels).
            exif: Whether photos are first turned as their EXIF orientation says.

        Raises:
            ValueError: The file is for another input.
        """


@dataclass(frozen=True, kw_only=True)
class TimmConfig:
    """The data config of a model of timm, as ``timm.data.resolve_model_data_config`` returns it.

    Args:
        input_size: The shape of the input: (channels, height, width).
        interpolation: The filter with which photos are resized.
        mean: The mean of each channel, where pixels are from 0 to 1.
        std: The standard deviation of each channel, where pixels are from 0 to 1.
        crop_pct: The side of the centre over that of the resized photo, above 0 and up to ``LARGEST_SHARE``.
        crop_mode: How photos are fitted; timm takes ``center`` where nothing is said.
        color: The order of the colours, where it is said.
    """

    input_size: tuple[int, int, int]
    interpolation: Filter
    mean: tuple[float, ...]
    std: tuple[float, ...]
    crop_pct: float
    crop_mode: Literal["center", "squash", "border"] = "center"
    color: Literal["RGB", "BGR", "L"] | None = None

    def __post_init__(self) -> None:
        channels = self.input_size[0]
        if channels not in (1, 3):
            raise ValueError(
                f"input_size is {list(self.input_size)}, and photos have 1 or 3 channels, which come first"
            )
        _check_normalization(self.mean, self.std, channels)
        if not 0 < self.crop_pct <= LARGEST_SHARE:
            raise ValueError(f"crop_pct is {self.crop_pct:g}, and not above 0 and up to {LARGEST_SHARE}")
        if self.color is not None and (self.color == "L") != (channels == 1):
            raise ValueError(f"color is {self.color}, which does not go with {channels} channels")
        _ = self.preprocessing((*self.input_size[1:], channels), exif=False)

    def preprocessing(self, shape: tuple[int, int, int], *, exif: bool) -> Preprocessing:
        """Return what timm's ``create_transform(is_training=False)`` does; as ``DataConfig`` says."""
        channels, height, width = self.input_size
        scale, offset = normalization(self.mean, self.std)
        if (height, width, channels) != shape:
            raise ValueError(f"input_size is {channels}x{height}x{width}, but the model takes {_shown(shape)}")
        return Preprocessing(
            height=height,
            width=width,
            colour=self.color or ("L" if channels == 1 else "RGB"),
            crop=CROP_MODES[self.crop_mode],
            resize=self.interpolation,
            resized=(math.floor(height / self.crop_pct), math.floor(width / self.crop_pct)),
            fill=tuple(round(255 * one) for one in self.mean) if self.crop_mode == "border" else None,
            scale=scale,
            offset=offset,
            exif=exif,
        )


@dataclass(frozen=True, kw_only=True)
class TorchvisionConfig:
    """The values of the transforms of a network's weights in torchvision, ``torchvision.transforms._presets``.

    Args:
        resize_size: The length of the short side of a resized photo, one number.
        crop_size: The side of the centre that is cut, one number.
        mean: The mean of each channel, where pixels are from 0 to 1.
        std: The standard deviation of each channel, where pixels are from 0 to 1.
        interpolation: The filter with which photos are resized.
    """

    resize_size: tuple[int]
    crop_size: tuple[int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: Filter

    def __post_init__(self) -> None:
        _check_normalization(self.mean, self.std, len(self.mean))
        _ = self.preprocessing((*self.crop_size * 2, len(self.mean)), exif=False)

    def preprocessing(self, shape: tuple[int, int, int], *, exif: bool) -> Preprocessing:
        """Return what ``weights.transforms()`` does to a photo of Pillow; as ``DataConfig`` says."""
        (side,), channels = self.crop_size, len(self.mean)
        scale, offset = normalization(self.mean, self.std)
        if (side, side, channels) != shape:
            raise ValueError(
                f"crop_size is {side} and there are {channels} channels, but the model takes {_shown(shape)}"
            )
        return Preprocessing(
            height=side,
            width=side,
            colour="L" if channels == 1 else "RGB",
            crop="short",
            resize=self.interpolation,
            resized=self.resize_size * 2,
            scale=scale,
            offset=offset,
            exif=exif,
        )


def read_data_config(preprocess: str | None, crop: str, resize: str = "pillow") -> DataConfig | None:
    """Return what the file says that the option ``preprocess`` names; None if it names a scheme, or is None.

    Args:
        preprocess: The name of a scheme, or a kind of file, a colon and a path.
        crop: The option ``crop``, which such a file leaves no room for.
        resize: The option ``resize``, which such a file leaves no room for.

    Raises:
        UsageError: There is no such scheme or kind of file, or the file contradicts ``crop`` or ``resize``.
        InputError: The file is missing, damaged, or says what xedge does not do.
    """
    if preprocess is None or preprocess in SCHEMES:
        return None
    kind, path = scheme_file(preprocess)
    if crop != "none":
        raise UsageError(
            f"{parameter('crop')} {crop} and {parameter('preprocess')} {preprocess} both say how photos are cropped; "
            f"leave {parameter('crop')} out"
        )
    if resize != "pillow":
        raise UsageError(
            f"{parameter('resize')} {resize} and {parameter('preprocess')} {preprocess} both say how photos are "
            f"resized; leave {parameter('resize')} out"
        )
    try:
        text = read_text(Path(path), LARGEST_BYTES)
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file of preprocessing") from None
    except (OSError, ValueError) as error:  # a path with a zero byte, or text that is no UTF-8
        raise InputError(f"{path}: cannot be read as UTF-8 text ({brief(error)}); give a JSON file") from error
    try:
        return _READERS[kind](parse_json(text))
    except BundleError as error:
        raise InputError(f"{path}: {error}") from error


def applied(config: DataConfig, preprocess: str, shape: tuple[int, int, int], *, exif: bool) -> Preprocessing:
    """Return how photos become the input of a model, as a file says.

    Args:
        config: What the file says.
        preprocess: The option that names the file.
        shape: The model's input: (height, width, channels).
        exif: Whether photos are first turned as their EXIF orientation says.

    Raises:
        InputError: The file is for another input.
    """
    try:
        return config.preprocessing(shape, exif=exif)
    except ValueError as error:
        _, path = scheme_file(preprocess)
        raise InputError(f"{path}: {error}; give the file of this model, or export the model at this size") from error


def _timm(data: Any) -> DataConfig:
    path = "$"
    if isinstance(data, dict) and "pretrained_cfg" in data:
        data, path = data["pretrained_cfg"], "$.pretrained_cfg"
    _refuse(data, path, "crop_border_pixels", (None, 0))
    _refuse(data, path, "tf_preprocessing", (None, False))
    return from_json(TimmConfig, _known(TimmConfig, data), path)


def _torchvision(data: Any) -> DataConfig:
    _refuse(data, "$", "antialias", (None, True))
    return from_json(TorchvisionConfig, _known(TorchvisionConfig, data))


_READERS: dict[str, Callable[[Any], DataConfig]] = {"timm": _timm, "torchvision": _torchvision}
assert tuple(_READERS) == SCHEME_FILES


def _refuse(data: Any, path: str, name: str, harmless: tuple[Any, ...]) -> None:
    """Refuse what would change photos in a way that xedge does not have."""
    value = data.get(name) if isinstance(data, dict) else None
    if value not in harmless:
        raise BundleError(f"{path}.{name}: is {str(value)[:60]!r}, which xedge does not do; {_INSTEAD[name]}")


_INSTEAD = {
    "antialias": "Pillow always antialiases, and so does torchvision with photos of Pillow",
    "crop_border_pixels": "cut the border off the photos first",
    "tf_preprocessing": "leave it out if photos may be prepared as timm does without TensorFlow",
}


def _known(kind: type[TimmConfig | TorchvisionConfig], data: Any) -> Any:
    """Return what of a JSON object a dataclass has fields for; other values stay for the error that they cause."""
    return {one.name: data[one.name] for one in fields(kind) if one.name in data} if isinstance(data, dict) else data


def _check_normalization(mean: tuple[float, ...], std: tuple[float, ...], channels: int) -> None:
    if channels not in (1, 3) or len(mean) != channels or len(std) != channels:
        raise ValueError(f"mean has {len(mean)} and std {len(std)} values, and photos of 1 or 3 channels need as many")
    if not all(0 <= one <= 1 for one in mean):
        raise ValueError(f"mean is {list(mean)}, and not from 0 to 1, as pixels are divided by 255 first")
    # What is finite here may not be in float32, in which photos are scaled.
    with np.errstate(all="ignore"):
        if not all(one > 0 and np.isfinite(np.float32(1 / one)) for one in std):
            raise ValueError(f"std is {list(std)}, and pixels cannot be divided by that")


def _shown(shape: tuple[int, int, int]) -> str:
    height, width, channels = shape
    return f"{channels}x{height}x{width} (channels, height, width)"
