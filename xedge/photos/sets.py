"""Photos on disk: folders by class or flat, and arrays."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from xedge.errors import InputError
from xedge.photos.preprocess import EXTENSIONS, Preprocessing
from xedge.types import FloatArray, UInt8Array


@dataclass(frozen=True, kw_only=True)
class PhotoSet:
    """Photo files, with the index of each one's class where the folder says it.

    Args:
        root: the folder.
        files: sorted.
        classes: names of the class folders, sorted; empty for a flat folder.
        truth: for each file the index into ``classes``; empty for a flat folder.
    """

    root: Path
    files: tuple[Path, ...]
    classes: tuple[str, ...] = ()
    truth: tuple[int, ...] = ()

    @property
    def labelled(self) -> bool:
        """Whether the folder says what each photo shows."""
        return bool(self.classes)

    def sample(self, count: int, seed: int) -> PhotoSet:
        """Return ``count`` photos chosen by the seed, in file order; all of them if there are not more."""
        if count >= len(self.files):
            return self
        return self.only(sorted(random.Random(seed).sample(range(len(self.files)), count)))

    def only(self, chosen: Sequence[int]) -> PhotoSet:
        """Return the photos of these indices."""
        return PhotoSet(
            root=self.root,
            files=tuple(self.files[i] for i in chosen),
            classes=self.classes,
            truth=tuple(self.truth[i] for i in chosen) if self.truth else (),
        )

    def digest(self) -> str:
        """Return a sha256 over the photos' bytes; the order of the files does not matter."""
        hashes = sorted(hashlib.sha256(file.read_bytes()).digest() for file in self.files)
        return hashlib.sha256(b"".join(hashes)).hexdigest()


def read_folder(folder: Path) -> PhotoSet:
    """Return the photos of a folder: one folder per class, or photos side by side.

    Raises:
        InputError: there is no such folder, or no photo in it.
    """
    if not folder.is_dir():
        what = "is a file, not a folder of photos" if folder.exists() else "no such folder of photos"
        raise InputError(f"{folder}: {what}")
    try:
        classes = tuple(sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and _photos(entry)))
        files = [(file, index) for index, name in enumerate(classes) for file in _photos(folder / name)]
        flat = _photos(folder)
    except PermissionError as error:
        raise InputError(f"{error.filename}: no permission to read this folder") from error
    if files and flat:
        raise InputError(f"{folder}: holds photos and class folders; keep one kind, or name the folder that is meant")
    if not files and not flat:
        raise InputError(f"{folder}: no photos here ({', '.join(sorted(EXTENSIONS))}), in class folders or flat")
    if flat:
        return PhotoSet(root=folder, files=tuple(flat))
    return PhotoSet(root=folder, files=tuple(f for f, _ in files), classes=classes, truth=tuple(i for _, i in files))


def _photos(folder: Path) -> list[Path]:
    return sorted(
        entry for entry in folder.iterdir() if entry.suffix.lower() in EXTENSIONS and not entry.name.startswith(".")
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class CalibrationSet:
    """What calibration looks at: photo files, or an array of pixels or of finished inputs.

    Args:
        source: what to call it in reports.
        photos: files, or (N, H, W, C) uint8 pixels, or (N, H, W, C) float32 inputs.
        seed: what chose them among more, if anything did.
    """

    source: str
    photos: Sequence[Path] | UInt8Array | FloatArray
    seed: int | None = None

    def __len__(self) -> int:
        return len(self.photos)

    def inputs(self, preprocessing: Preprocessing) -> Iterator[FloatArray]:
        """Yield each photo as the model's input (H, W, C) float32."""
        for photo in self.photos:
            if isinstance(photo, Path):
                yield preprocessing.photo(photo)
            else:
                yield preprocessing.scaled(photo) if photo.dtype == np.uint8 else np.asarray(photo, np.float32)

    def digest(self) -> str:
        """Return a sha256 of the contents; for files it does not depend on their order."""
        if isinstance(self.photos, np.ndarray):
            return hashlib.sha256(np.ascontiguousarray(self.photos).tobytes()).hexdigest()
        return PhotoSet(root=Path(), files=tuple(self.photos)).digest()


def read_calibration(path: Path, count: int, seed: int, shape: tuple[int, ...]) -> CalibrationSet:
    """Return ``count`` calibration photos from a folder, or from an .npy or .npz array.

    Args:
        path: the folder or file.
        count: how many to take, chosen by the seed.
        seed: chooses.
        shape: (H, W, C) that an array's photos must have.

    Raises:
        InputError: nothing usable is there.
    """
    if path.suffix in (".npy", ".npz"):
        array = _read_array(path, shape)
        if count < len(array):
            array = array[sorted(random.Random(seed).sample(range(len(array)), count))]
        return CalibrationSet(source=path.name, photos=array, seed=seed)
    photos = read_folder(path).sample(count, seed)
    return CalibrationSet(source=path.name, photos=photos.files, seed=seed)


def _read_array(path: Path, shape: tuple[int, ...]) -> UInt8Array | FloatArray:
    try:
        loaded = np.load(path, allow_pickle=False)
        array = loaded if isinstance(loaded, np.ndarray) else loaded[loaded.files[0]]
    except FileNotFoundError:
        raise InputError(f"{path}: no such file of calibration photos") from None
    except (OSError, ValueError, IndexError, EOFError) as error:
        raise InputError(f"{path}: not a readable array ({error})") from error
    if array.ndim != 4 or array.shape[1:] != shape or not len(array):
        raise InputError(f"{path}: holds {array.shape}; the model takes photos (N, {', '.join(map(str, shape))})")
    if array.dtype == np.uint8:
        return array
    if not np.issubdtype(array.dtype, np.floating) or not np.isfinite(array).all():
        raise InputError(f"{path}: holds {array.dtype}; give uint8 pixels, or finite floats that are inputs already")
    return array.astype(np.float32)
