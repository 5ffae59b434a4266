"""Read sets of photos from .tar files without unpacking them: folders in a .tar, and WebDataset's shards."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import IO

from xedge.errors import InputError, brief, parameter
from xedge.photos.arranging import arranged
from xedge.photos.decoding import photo_suffixes
from xedge.photos.sets import PhotoSet, is_label
from xedge.photos.stored import StoredPhoto, opened, stamp_of
from xedge.photos.truth_files import Truth

# What WebDataset's shards have beside each photo, and the keys of the JSON that are taken for its class.
_CLASS, _JSON = ".cls", ".json"
KEYS = ("label", "cls")
LARGEST_LABEL_BYTES = 1 << 20


@dataclass(kw_only=True)
class _Shard:
    """What is in a .tar: photos by their names, and the classes by the names of photos without their suffixes."""

    photos: list[StoredPhoto] = field(default_factory=list)
    labels: dict[str, str | int] = field(default_factory=dict)


def read_archives(address: str, places: Sequence[str], truth: Truth | None) -> PhotoSet:
    """Return the photos of .tar files.

    Args:
        address: What the user named.
        places: The paths or addresses of the files.
        truth: The classes, if a file has them.

    Raises:
        InputError: A file is no .tar or is compressed, or some photos have classes and some have not.
    """
    shards = [_listed(place, several=len(places) > 1) for place in places]
    photos = [photo for shard in shards for photo in shard.photos]
    labels = {name: label for shard in shards for name, label in shard.labels.items()}
    if not labels:
        return arranged(address, photos, truth)
    if truth is not None:
        raise InputError(f"{address}: has the classes of its photos; leave {parameter('truth')} out")
    return labelled(address, photos, [labels.get(_key(photo.name)) for photo in photos])


def labelled(address: str, photos: Sequence[StoredPhoto], labels: Sequence[str | int | None]) -> PhotoSet:
    """Return photos with their classes.

    Args:
        address: What the user named.
        photos: The photos.
        labels: The name of each photo's class, or the number of its output; None for photos without a class.

    Raises:
        InputError: Some photos have no class, or some have a name and some a number.
    """
    if not photos:
        raise InputError(f"{address}: has no photos")
    without = next((photo for photo, label in zip(photos, labels, strict=True) if label is None), None)
    if without is not None:
        raise InputError(f"{address}: the photo {without.name} has no class, but others have; add it")
    if all(isinstance(label, int) for label in labels):
        return PhotoSet(root=address, files=tuple(photos), truth=tuple(int(str(label)) for label in labels))
    strange = next((one for one in labels if not isinstance(one, str) or not is_label(one)), None)
    if strange is not None:
        raise InputError(f"{address}: has the class {strange!r} beside names of classes; name all of them")
    classes = tuple(sorted({str(label) for label in labels}))
    index = {name: place for place, name in enumerate(classes)}
    truth = tuple(index[str(label)] for label in labels)
    return PhotoSet(root=address, files=tuple(photos), classes=classes, truth=truth)


def _listed(place: str, *, several: bool) -> _Shard:
    shard, stamp = _Shard(), stamp_of(place)
    before = f"{PurePosixPath(place).name}/" if several else ""
    with opened(place) as file:
        for member in _members(place, file):
            path = PurePosixPath(member.name.removeprefix("./"))
            suffix = path.suffix.lower()
            name = f"{before}{path}"
            if suffix in photo_suffixes():
                within = (member.offset_data, member.size)
                shard.photos.append(StoredPhoto(name=name, place=place, stamp=stamp, within=within))
            elif suffix in (_CLASS, _JSON):
                label = _label(f"{place}: {path}", suffix, _content(file, member))
                if label is not None:
                    shard.labels[_key(name)] = label
    return shard


def _members(place: str, file: IO[bytes]) -> Iterator[tarfile.TarInfo]:
    """Yield the plain files of a .tar. What tarfile remembers of each is dropped: there may be a million."""
    try:
        with tarfile.open(fileobj=file, mode="r:") as archive:
            while (member := archive.next()) is not None:
                if member.isfile() and not PurePosixPath(member.name).name.startswith("."):
                    yield member
                archive.members.clear()  # type: ignore[attr-defined]
    except tarfile.TarError as error:
        raise InputError(
            f"{place}: is not a .tar whose photos can be read one by one ({brief(error)}); unpack or copy it again"
        ) from error


def _content(file: IO[bytes], member: tarfile.TarInfo) -> bytes:
    if member.size > LARGEST_LABEL_BYTES:
        return b""
    file.seek(member.offset_data)
    return file.read(member.size)


def _key(name: str) -> str:
    """Return the name of a sample: WebDataset's is everything up to the first dot behind the last stroke."""
    folder, stroke, file = name.rpartition("/")
    return f"{folder}{stroke}{file.partition('.')[0]}"


def _label(named: str, suffix: str, content: bytes) -> str | int | None:
    """Return the class in a file beside a photo; None if it says none."""
    try:
        text = content.decode("utf-8")
        if suffix == _CLASS:
            return int(text) if text.strip().isdigit() else text.strip()
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{named}: cannot be read ({brief(error)}); write the class of the photo there") from error
    found = [data[key] for key in KEYS if key in data] if isinstance(data, dict) else []
    if not found:
        return None
    if isinstance(found[0], bool) or not isinstance(found[0], str | int):
        raise InputError(f"{named}: has the class {str(found[0])[:60]!r}; give its name or the number of the output")
    return found[0]
