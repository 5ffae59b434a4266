"""Read calibration photos, which may be an array too."""

from __future__ import annotations

import random
import zipfile
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import IO

import numpy as np

from xedge.errors import InputError
from xedge.photos.reading import read_photos
from xedge.photos.sets import CalibrationSet
from xedge.types import FloatArray, UInt8Array

ARRAYS = (".npy", ".npz")
# Neighbouring pixels of photos are alike: their correlation is 0.98 in most clothing photos and 0.79 in the least
# regular one of a hundred. Generated noise has none, and 0.25 after it was made smaller.
LEAST_CORRELATION = 0.4
# Fewer pixels on a side tell nothing.
SMALLEST_SIDE = 8


def read_calibration(path: Path, count: int, seed: int, shape: tuple[int, ...]) -> CalibrationSet:
    """Return calibration photos in a form that ``read_photos`` takes, or from an array in an .npy or .npz file.

    Args:
        path: The path or the address.
        count: The number of photos to draw; all of them are taken if there are not more.
        seed: The seed with which the photos are drawn.
        shape: The shape (H, W, C) that the photos of an array must have.

    Raises:
        InputError: The path does not exist or holds nothing that can be used.
    """
    if path.suffix in ARRAYS:
        array = _read_array(path, shape)
        if count < len(array):
            array = array[sorted(random.Random(seed).sample(range(len(array)), count))]
        return CalibrationSet(source=path.name, photos=array, seed=seed)
    photos = read_photos(path).sample(count, seed)
    return CalibrationSet(source=path.name, photos=photos.files, seed=seed)


def _read_array(path: Path, shape: tuple[int, ...]) -> UInt8Array | FloatArray:
    if not path.exists():
        raise InputError(f"{path}: no such file of calibration photos")
    if not path.is_file():  # Reading a pipe may never end.
        raise InputError(f"{path}: not a plain file; give an .npy or .npz file")
    try:
        _check_header(path, shape)
        loaded = np.load(path, allow_pickle=False)
        array = loaded if isinstance(loaded, np.ndarray) else loaded[loaded.files[0]]
    except InputError:
        raise
    except MemoryError as error:
        raise InputError(f"{path}: does not fit into memory; give fewer photos") from error
    except Exception as error:  # NumPy and zipfile raise errors of many kinds for damaged and encrypted files
        words = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{path}: not a readable array ({words[:200]}); give an .npy or .npz file") from error
    _check_shape(path, array.shape, shape)
    if array.dtype == np.uint8:
        return array
    if array.dtype not in (np.float16, np.float32, np.float64):
        raise InputError(f"{path}: has dtype {array.dtype}; give uint8 pixels, or inputs as finite floats")
    # A float64 may be finite and still too large for the model's float32.
    with np.errstate(over="ignore"):
        floats: FloatArray = array.astype(np.float32)
    if not np.isfinite(floats).all():
        raise InputError(f"{path}: has values that are no finite float32 numbers; give inputs as the model takes them")
    return floats


def _check_header(path: Path, shape: tuple[int, ...]) -> None:
    """Refuse an array whose header tells another shape before its values take memory: the header may claim anything."""
    with ExitStack() as stack:
        if zipfile.is_zipfile(path):
            archive = stack.enter_context(zipfile.ZipFile(path))
            file: IO[bytes] = stack.enter_context(archive.open(archive.namelist()[0]))
        else:
            file = stack.enter_context(path.open("rb"))
        version = np.lib.format.read_magic(file)
        reader = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        _check_shape(path, reader(file)[0], shape)


def _check_shape(path: Path, found: tuple[int, ...], shape: tuple[int, ...]) -> None:
    if len(found) != 4 or found[1:] != shape or not found[0]:
        raise InputError(f"{path}: has shape {found}, but the model takes (N, {', '.join(map(str, shape))})")


def neighbours_correlation(photo: FloatArray) -> float:
    """Return the correlation of neighbouring pixels of a photo (H, W, C), -1 to 1; 1 if all pixels are the same."""
    found = []
    for first, second in ((photo[1:], photo[:-1]), (photo[:, 1:], photo[:, :-1])):
        one, other = (part - part.mean((0, 1), dtype=np.float64) for part in (first, second))
        spread = float(np.sqrt((one**2).sum() * (other**2).sum()))
        found.append(float((one * other).sum()) / spread if spread > 0 else 1.0)
    return float(np.mean(found))


def is_noise(photos: Iterable[FloatArray]) -> bool:
    """Return whether most of these photos (H, W, C) are generated noise, whose neighbouring pixels are not alike."""
    found = [neighbours_correlation(photo) for photo in photos if min(photo.shape[:2]) >= SMALLEST_SIDE]
    return bool(found) and float(np.median(found)) < LEAST_CORRELATION
