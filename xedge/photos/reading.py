"""Read a set of photos in any of the forms that people have them in; the commands all read them here."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from glob import glob, has_magic
from pathlib import Path, PurePosixPath

from xedge.errors import InputError, parameter
from xedge.photos.archives import read_archives
from xedge.photos.arranging import arranged
from xedge.photos.decoding import photo_suffixes
from xedge.photos.sets import PhotoSet, read_folder
from xedge.photos.stored import StoredPhoto, explained, filesystem, is_remote, remote_stamp
from xedge.photos.tables import read_tables
from xedge.photos.truth_files import Truth, read_truth

_ARCHIVES, _TABLES = ".tar", ".parquet"


def read_photos(data: str | Path, truth: str | Path | None = None) -> PhotoSet:
    """Return the photos of a folder, of a file or of several files, here or at an address of fsspec.

    These are folders with one folder for each class, flat folders, .tar files of either, WebDataset's .tar shards and
    Parquet files as Hugging Face publishes them. A pattern such as ``val-*.tar`` names several files.

    Args:
        data: The path, the pattern or the address.
        truth: A file with the class of each photo where neither folders nor the files themselves have them.

    Raises:
        InputError: There is no such thing, it has no photos, or the classes do not fit the photos.
        ResourceError: It cannot be read now.
        MissingRuntimeError: A package that reads such files is not installed.
    """
    address = address_of(data)
    known = read_truth(Path(truth)) if truth is not None else None
    places = _places(address)
    if places:
        found = _read_files(address, places, known)
    elif is_remote(address):
        found = _read_remote_folder(address, known)
    else:
        folder = read_folder(Path(data))
        found = folder if known is None else _with_truth(folder, known)
    return found


def check_named(data: str | Path) -> None:
    """Refuse what can be seen to name no photos without reading any; addresses and patterns are looked up later.

    Raises:
        InputError: There is no such path.
    """
    address = address_of(data)
    if not (is_remote(address) or has_magic(address) or Path(data).exists()):
        raise InputError(f"{data}: there is no such folder of photos")


def address_of(data: str | Path) -> str:
    """Return a path or an address as text; ``Path`` makes one slash of the two in ``s3://bucket``."""
    text = str(data)
    scheme = re.match(r"([a-z][a-z0-9+.-]+):/(?=[^/])", text)
    return f"{scheme[1]}://{text[scheme.end() :]}" if scheme and not Path(text).exists() else text


def _places(address: str) -> list[str]:
    """Return the files of photos that are named: one, those that match a pattern, or the shards of a folder."""
    if is_remote(address):
        return _remote_places(address)
    path = Path(address)
    if path.is_dir():
        return _shards([str(entry) for entry in path.iterdir() if not entry.name.startswith(".")])
    if path.exists() or not has_magic(address):
        return [address] if path.is_file() and path.suffix.lower() in (_ARCHIVES, _TABLES) else []
    found = sorted(glob(address))  # noqa: PTH207 - the pattern may be absolute
    if not found:
        raise InputError(f"{address}: no file matches this pattern")
    return found


def _shards(entries: Sequence[str]) -> list[str]:
    """Return the files of a folder if all of them are shards; what else is beside shards is for people."""
    shards = sorted(entry for entry in entries if entry.lower().endswith((_ARCHIVES, _TABLES)))
    photos = any(PurePosixPath(entry).suffix.lower() in photo_suffixes() for entry in entries)
    return [] if photos else shards


def _remote_places(address: str) -> list[str]:
    with explained(address):
        system, path = filesystem(address)
        if has_magic(path):
            found = sorted(system.glob(path))
            if not found:
                raise InputError(f"{address}: no file matches this pattern")
        elif path.lower().endswith((_ARCHIVES, _TABLES)):
            found = [path]
        else:
            found = _shards(system.ls(path, detail=False))
        return [str(system.unstrip_protocol(one)) for one in found]


def _read_files(address: str, places: Sequence[str], truth: Truth | None) -> PhotoSet:
    kinds = {PurePosixPath(place).suffix.lower() for place in places}
    if kinds == {_TABLES}:
        if truth is not None:
            raise InputError(
                f"{address}: Parquet files have the classes of their photos; leave {parameter('truth')} out"
            )
        return read_tables(address, places)
    if kinds == {_ARCHIVES}:
        return read_archives(address, places, truth)
    raise InputError(
        f"{address}: has files of the kinds {', '.join(sorted(kinds))}; give only .tar files, only .parquet files, or "
        "a folder of photos"
    )


def _read_remote_folder(address: str, truth: Truth | None) -> PhotoSet:
    with explained(address):
        system, path = filesystem(address)
        listing: dict[str, dict[str, object]] = system.find(path, detail=True)
    photos = []
    for one, info in sorted(listing.items()):
        if PurePosixPath(one).suffix.lower() in photo_suffixes():
            name = one.removeprefix(path).lstrip("/")
            place = str(system.unstrip_protocol(one))
            photos.append(StoredPhoto(name=name, place=place, stamp=remote_stamp(info)))
    return arranged(address, photos, truth)


def _with_truth(folder: PhotoSet, truth: Truth) -> PhotoSet:
    if folder.labelled:
        raise InputError(f"{folder.root}: has class folders already; leave {parameter('truth')} out")
    classes, found = truth.of([folder.name_of(photo) for photo in folder.files])
    return replace(folder, classes=classes, truth=found)
