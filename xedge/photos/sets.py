"""Read sets of photos: folders with one folder for each class, flat folders, and arrays."""

from __future__ import annotations

import hashlib
import os
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import TypeVar, overload

import numpy as np

from xedge.errors import InputError
from xedge.photos.decoding import photo_suffixes
from xedge.photos.preprocess import Preprocessing
from xedge.photos.stored import Photo, StoredPhoto, photo_bytes
from xedge.types import FloatArray, UInt8Array
from xedge.untrusted import is_unicode

# What systems put into folders without being asked.
SYSTEM_FILES = frozenset({"Thumbs.db", "desktop.ini", "Icon\r"})


Photos = TypeVar("Photos", bound="PhotoSet")


@dataclass(frozen=True, kw_only=True)
class PhotoSet:
    """A set of photos, with the class of each photo if it is known.

    Args:
        root: The folder, file or address that was read.
        files: The photos: files, sorted, or photos inside other files in the order in which these have them.
        classes: The names of the classes, sorted; empty if the photos have no classes, or only numbers of classes.
        truth: The index into ``classes`` for each photo, or the index of the model's output if the classes have only
            numbers; empty for photos without classes.
        left_out: What in the folder was not taken, in words, such as ``3 files .heic``.
    """

    root: Path | str
    files: Sequence[Photo]
    classes: tuple[str, ...] = ()
    truth: tuple[int, ...] = ()
    left_out: tuple[str, ...] = ()

    @property
    def labelled(self) -> bool:
        """Whether the class of each photo is known."""
        return bool(self.classes or self.truth)

    @property
    def numbered(self) -> bool:
        """Whether the classes of the photos are numbers of a model's outputs, which have no names here."""
        return bool(self.truth) and not self.classes

    def name_of(self, photo: Photo) -> str:
        """Return the name of a photo in this set: its path in the folder, or its name inside a file."""
        return photo.name if isinstance(photo, StoredPhoto) else photo.relative_to(self.root).as_posix()

    @property
    def name(self) -> str:
        """The name of the set in reports: that of the folder, or the last part of the address."""
        return str(self.root).rstrip("/").rpartition("/")[2]

    def sample(self: Photos, count: int, seed: int) -> Photos:
        """Return a random sample of the photos, in the order of the files.

        Args:
            count: The number of photos; all of them are returned if there are not more.
            seed: The seed of the random choice.
        """
        if count >= len(self.files):
            return self
        return self.only(sorted(random.Random(seed).sample(range(len(self.files)), count)))

    def only(self: Photos, chosen: Sequence[int]) -> Photos:
        """Return the photos with these indices."""
        truth = tuple(self.truth[i] for i in chosen) if self.truth else ()
        return replace(self, files=tuple(self.files[i] for i in chosen), truth=truth)

    def without(self: Photos, refusals: Sequence[InputError]) -> Photos:
        """Return the same photos, and tell of others that they could not be read.

        Args:
            refusals: Why each of the others could not be read.
        """
        if not refusals:
            return self
        noun = "photo" if len(refusals) == 1 else "photos"
        words = f"{len(refusals)} {noun} that cannot be read, such as {refusals[0]}"
        return replace(self, left_out=(*self.left_out, words))

    def digest(self) -> str:
        """Return a sha256 over the bytes of the photos, which does not depend on the order of the files."""
        return digest_of(hashlib.sha256(photo_bytes(file)).digest() for file in self.files)


class FolderFiles(Sequence[Path]):
    """The files of a folder, of which only the names are kept: a million paths would take a gigabyte.

    Args:
        folder: The folder.
        names: The path of each file in the folder.
    """

    def __init__(self, folder: Path, names: Iterable[str]) -> None:
        self._folder, self._names = folder, tuple(names)

    def __len__(self) -> int:
        return len(self._names)

    @overload
    def __getitem__(self, index: int) -> Path: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[Path, ...]: ...

    def __getitem__(self, index: int | slice) -> Path | tuple[Path, ...]:
        """Return the path of one file, or those of several."""
        if isinstance(index, slice):
            return tuple(self._folder / name for name in self._names[index])
        return self._folder / self._names[index]

    def __eq__(self, other: object) -> bool:
        """Whether another sequence has the same paths."""
        return isinstance(other, Sequence) and tuple(self) == tuple(other)

    def __hash__(self) -> int:
        """Return the number that a tuple of the same paths has."""
        return hash(tuple(self))


@dataclass(frozen=True, kw_only=True)
class PhotoFolder(PhotoSet):
    """A set of photos that are files of this machine; its fields are those of ``PhotoSet``."""

    root: Path
    files: Sequence[Path]


def digest_of(hashes: Iterable[bytes]) -> str:
    """Return the digest of a set of photos from the sha256 of each photo, in any order; one item may hold several."""
    return hashlib.sha256(np.sort(np.frombuffer(b"".join(hashes), "S32")).tobytes()).hexdigest()


def read_folder(folder: Path) -> PhotoFolder:
    """Return the photos of a folder, which has one folder for each class or is flat.

    Hidden files and folders do not count. Other files and folders that are not taken are told in ``left_out``.

    Raises:
        InputError: The folder does not exist, cannot be read or has no photos, it has both photos and class folders, or
            the name of a class cannot be a label.
    """
    if not folder.is_dir():
        what = "is a file, not a folder of photos" if folder.exists() else "no such folder of photos"
        raise InputError(f"{folder}: {what}")
    try:
        flat = _listed(folder)
        inside = {name: _listed(folder / name) for name in flat.folders}
    except OSError as error:
        raise InputError(f"{error.filename or folder}: this folder cannot be read ({error.strerror})") from error
    classes = tuple(name for name, listed in inside.items() if listed.photos)
    if classes and flat.photos:
        raise InputError(f"{folder}: has both photos and class folders; keep only one kind, or name another folder")
    left_out = _left_out(flat, inside)
    if not classes and not flat.photos:
        seen = f"; there are {', '.join(left_out)}" if left_out else ""
        raise InputError(f"{folder}: no photos here, neither in class folders nor flat{seen}")
    for name in classes:
        if not is_label(name):
            raise InputError(f"{folder / name}: the name of this class folder is not one line of Unicode; rename it")
    if flat.photos:
        return PhotoFolder(root=folder, files=FolderFiles(folder, flat.photos), left_out=left_out)
    return PhotoFolder(
        root=folder,
        files=FolderFiles(folder, (f"{name}/{photo}" for name in classes for photo in inside[name].photos)),
        classes=classes,
        truth=tuple(index for index, name in enumerate(classes) for _ in inside[name].photos),
        left_out=left_out,
    )


def is_label(text: str) -> bool:
    """Whether a text can be the name of a class: one line, which can be written as UTF-8."""
    return bool(text.strip()) and "\n" not in text and is_unicode(text)


@dataclass(frozen=True, kw_only=True)
class _Listing:
    """What is directly in a folder, sorted: the names of photos and folders, and the suffixes of the other files."""

    photos: list[str]
    folders: list[str]
    others: list[str]


def _listed(folder: Path) -> _Listing:
    photos, folders, others = [], [], []
    taken = photo_suffixes()
    with os.scandir(folder) as entries:  # a path for each of a million entries would take a gigabyte
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                folders.append(entry.name)
            elif PurePath(entry.name).suffix.lower() in taken and entry.is_file():
                photos.append(entry.name)
            elif entry.name not in SYSTEM_FILES:
                others.append(entry.name)
    kinds = [PurePath(name).suffix.lower() or "without a suffix" for name in sorted(others)]
    return _Listing(photos=sorted(photos), folders=sorted(folders), others=kinds)


def _left_out(flat: _Listing, inside: Mapping[str, _Listing]) -> tuple[str, ...]:
    """Return in words what of a folder is not taken."""
    counts = Counter([*flat.others, *(kind for listed in inside.values() for kind in listed.others)])
    words = [f"{count} {'files' if count > 1 else 'file'} {kind}" for kind, count in counts.most_common()]
    empty = [name for name, listed in inside.items() if not listed.photos]
    if empty:
        words.append(f"{_few(empty)} without photos")
    nested = [f"{name}/{place}" for name, listed in inside.items() for place in listed.folders]
    if nested:
        words.append(f"{_few(nested)} inside a folder")
    return tuple(words)


def _few(names: Sequence[str]) -> str:
    noun = "folder" if len(names) == 1 else "folders"
    return f"{len(names)} {noun} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"


@dataclass(frozen=True, kw_only=True, eq=False)
class CalibrationSet:
    """The calibration photos: photo files, or an array of pixels or of preprocessed inputs.

    Args:
        source: The name of the set in reports.
        photos: The photo files, or the pixels (N, H, W, C) uint8, or the preprocessed inputs (N, H, W, C) float32.
        seed: The seed with which the photos were drawn from a larger set; None if none were drawn.
    """

    source: str
    photos: Sequence[Photo] | UInt8Array | FloatArray
    seed: int | None = None

    def __len__(self) -> int:
        return len(self.photos)

    def inputs(self, preprocessing: Preprocessing) -> Iterator[FloatArray]:
        """Yield each photo as the model's input (H, W, C) float32.

        Args:
            preprocessing: The preprocessing for photo files and pixels.
        """
        for photo in self.photos:
            if isinstance(photo, Path | StoredPhoto):
                yield preprocessing.photo(photo)
            else:
                yield preprocessing.scaled(photo) if photo.dtype == np.uint8 else np.asarray(photo, np.float32)

    def digest(self) -> str:
        """Return a sha256 over the contents; for files it does not depend on their order."""
        if isinstance(self.photos, np.ndarray):
            return hashlib.sha256(np.ascontiguousarray(self.photos).tobytes()).hexdigest()
        return PhotoSet(root="", files=tuple(self.photos)).digest()
