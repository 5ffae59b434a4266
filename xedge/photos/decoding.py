"""Decode photos of every kind that Pillow reads to eight bits for each colour, or say which kind is not taken."""

from __future__ import annotations

import io
import warnings
from functools import cache
from typing import IO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from xedge.errors import InputError
from xedge.photos.stored import Photo, photo_bytes

# Formats that Pillow registers, but reads only with another program, or which are no photos.
NO_PHOTOS = frozenset({"BUFR", "EPS", "FITS", "GRIB", "HDF5", "MPEG", "PDF", "WMF"})
# The tag of EXIF that says how the camera was held; 1 means upright.
ORIENTATION, UPRIGHT = 0x0112, 1
# The tag of TIFF with the number of bits; scanners write 12.
BITS_PER_SAMPLE = 258


@cache
def photo_suffixes() -> frozenset[str]:
    """Return the suffixes of the files that count as photos in a folder, which are those that Pillow reads here."""
    Image.init()
    return frozenset(
        suffix for suffix, kind in Image.registered_extensions().items() if kind in Image.OPEN and kind not in NO_PHOTOS
    )


def open_photo(photo: Photo) -> Image.Image:
    """Read a photo and return it decoded; of several pictures in a file, the first.

    Raises:
        InputError: The file is missing, or it is not a photo.
        ResourceError: The file cannot be read now.
        MissingRuntimeError: A package that reads such files is not installed.
    """
    return decoded(io.BytesIO(photo_bytes(photo)), str(photo))


def decoded(file: IO[bytes], name: str) -> Image.Image:
    """Return the photo that a file holds, decoded; of several pictures in a file, the first.

    Args:
        file: The open file.
        name: The name of the photo for messages.

    Raises:
        InputError: It is not a photo.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of large photos and of odd metadata.
            image = Image.open(file)
            image.filename = name
            image.load()
    except UnidentifiedImageError as error:
        raise InputError(f"{name}: not a readable photo (Pillow knows no such format); remove or replace it") from error
    except MemoryError as error:
        raise InputError(f"{name}: is too large for the memory of this machine; make it smaller") from error
    except Exception as error:  # Pillow's readers raise errors of many kinds for damaged files
        words = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{name}: not a readable photo ({words[:200]}); remove or replace it") from error
    return image


def is_turned(photo: Photo) -> bool:
    """Whether a photo has an EXIF orientation by which a viewer would turn or mirror it; unreadable ones have not."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(photo_bytes(photo))) as image:
                return image.getexif().get(ORIENTATION, UPRIGHT) not in (UPRIGHT, 0)
    except Exception:  # Whoever needs the photo tells what is wrong with it.
        return False


def upright(image: Image.Image) -> Image.Image:
    """Return a photo turned and mirrored as its EXIF orientation says."""
    try:
        return ImageOps.exif_transpose(image)
    except Exception as error:  # The metadata may be damaged in many ways
        raise InputError(f"{named(image)}: its EXIF orientation cannot be read ({error}); remove it") from error


def with_eight_bits(image: Image.Image, mode: str) -> Image.Image:
    """Return a photo in mode ``RGB`` or ``L``, with the values that a copy of eight bits would have.

    Transparency is left out, as Keras does.

    Args:
        image: The decoded photo.
        mode: ``RGB`` or ``L``.

    Raises:
        InputError: The pixels have no such values, for example if they are floating-point numbers.
    """
    if image.mode == mode:
        return image
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
        # Pillow would clip these 16 bits to 8, and a photo would become nearly white.
        values = np.asarray(image).astype(np.int64)
        if values.size and not 0 <= values.min() <= values.max() < 1 << 16:
            raise _not_taken(image)
        bits = 12 if getattr(image, "tag_v2", {}).get(BITS_PER_SAMPLE) == (12,) else 16
        image = Image.fromarray((values >> (bits - 8)).astype(np.uint8))
    elif image.mode in ("I", "F"):
        raise _not_taken(image)
    try:
        if image.mode in ("RGBa", "La"):
            image = image.convert("RGBA" if image.mode == "RGBa" else "LA")
        elif image.mode in ("P", "PA", "LAB") and mode == "L":
            image = image.convert("RGB")
        return image.convert(mode)
    except ValueError as error:
        raise _not_taken(image) from error


def _not_taken(image: Image.Image) -> InputError:
    return InputError(
        f"{named(image)}: has pixels of mode {image.mode}, whose values have no fixed range; save it with 8 or 16 bits"
    )


def named(image: Image.Image) -> str:
    """Return the name of a photo's file for messages, or words for a photo without one."""
    return str(getattr(image, "filename", "") or "the photo")
