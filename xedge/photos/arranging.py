"""From the names of photos to a set: class folders or a flat folder, by the rule for folders on this machine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import PurePosixPath

from xedge.errors import InputError, parameter
from xedge.photos.sets import PhotoSet, is_label
from xedge.photos.stored import StoredPhoto
from xedge.photos.truth_files import Truth


def arranged(address: str, photos: Sequence[StoredPhoto], truth: Truth | None) -> PhotoSet:
    """Return the set of photos whose names are paths.

    Args:
        address: The folder, file or address that was read.
        photos: The photos. What their paths begin with in common does not count.
        truth: The classes, if a file has them; None takes them from class folders.

    Raises:
        InputError: There are no photos, two have the same name, or some are in class folders and some are not.
    """
    if not photos:
        raise InputError(f"{address}: no photos here, neither in class folders nor flat")
    twice = [name for name, count in Counter(photo.name for photo in photos).items() if count > 1]
    if twice:
        raise InputError(f"{address}: has {twice[0]} twice; give each photo once")
    photos = _without_common(sorted(photos, key=lambda photo: photo.name))
    folders = ["/".join(PurePosixPath(photo.name).parts[:-1]) for photo in photos]
    if not any(folders):
        if truth is None:
            return PhotoSet(root=address, files=tuple(photos))
        classes, indices = truth.of([photo.name for photo in photos])
        return PhotoSet(root=address, files=tuple(photos), classes=classes, truth=indices)
    if truth is not None:
        raise InputError(f"{address}: has class folders already; leave {parameter('truth')} out")
    return _in_folders(address, photos, folders)


def _in_folders(address: str, photos: Sequence[StoredPhoto], folders: Sequence[str]) -> PhotoSet:
    if not all(folders):
        raise InputError(f"{address}: has both photos and class folders; keep only one kind, or name another folder")
    nested = next((folder for folder in folders if "/" in folder), None)
    if nested is not None:
        raise InputError(f"{address}: has photos in {nested}, which is inside a folder; name the folder above classes")
    classes = tuple(sorted(set(folders)))
    for name in classes:
        if not is_label(name):
            raise InputError(f"{address}: the name of the class folder {name!r} is not one line of Unicode; rename it")
    index = {name: place for place, name in enumerate(classes)}
    truth = tuple(index[folder] for folder in folders)
    return PhotoSet(root=address, files=tuple(photos), classes=classes, truth=truth)


def _without_common(photos: Sequence[StoredPhoto]) -> list[StoredPhoto]:
    """Return the photos without the folders that all of them are in, one class folder at the end excepted.

    Photos of a single class folder are flat, as for a folder of this machine that is named itself.
    """
    parts = [PurePosixPath(photo.name).parts[:-1] for photo in photos]
    common = 0
    while all(len(one) > common and one[common] == parts[0][common] for one in parts):
        common += 1
    if not common:
        return list(photos)
    return [replace(photo, name="/".join(PurePosixPath(photo.name).parts[common:])) for photo in photos]
