"""Divide a set of photos into chunks, the units of work; the same set has the same chunks on any cluster."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass

from xedge.photos.sets import PhotoSet
from xedge.photos.stored import Photo, StoredPhoto, file_stamp
from xedge.types import IntArray

# Around a second of work for a network of some 10 ms: long beside what a scheduler costs, short beside what a killed
# worker loses.
PHOTOS = 64


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """Photos that are evaluated together.

    Args:
        index: The place of the chunk among all chunks, from 0.
        names: The names of the photos in the set.
        photos: Where the photos are stored.
        truth: The index of the model's output for the true class of each photo; None without labels.
        digest: A sha256 over the names, the true classes, and the sizes and times of the files; if it is the same, the
            photos are.
    """

    index: int
    names: tuple[str, ...]
    photos: tuple[Photo, ...]
    truth: tuple[int, ...] | None
    digest: str


def chunk_count(photos: PhotoSet) -> int:
    """Return the number of chunks of a set."""
    return -(-len(photos.files) // PHOTOS)


def chunks_of(photos: PhotoSet, truth: IntArray | None) -> Iterator[Chunk]:
    """Yield the chunks of a set in order.

    Args:
        photos: The photos.
        truth: The index (N,) of the model's output for the true class of each photo; None without labels.
    """
    for index in range(chunk_count(photos)):
        within = slice(index * PHOTOS, (index + 1) * PHOTOS)
        files = photos.files[within]
        names = tuple(photos.name_of(photo) for photo in files)
        classes = tuple(int(one) for one in truth[within]) if truth is not None else None
        listing = [[name, _stamp(photo)] for name, photo in zip(names, files, strict=True)]
        digest = hashlib.sha256(json.dumps([listing, classes]).encode()).hexdigest()
        yield Chunk(index=index, names=names, photos=tuple(files), truth=classes, digest=digest)


def _stamp(photo: Photo) -> str:
    """Return what changes when a photo is replaced."""
    if isinstance(photo, StoredPhoto):
        return f"{photo.stamp} {photo.within}"
    return file_stamp(photo)
