"""Read sets of photos from Parquet files as Hugging Face publishes them: a column of photos, a column of classes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any

from xedge.errors import InputError, XedgeError, brief
from xedge.photos.archives import labelled
from xedge.photos.sets import PhotoSet
from xedge.photos.stored import Cell, StoredPhoto, opened, parquet, stamp_of

# The names of columns, the first one that a file has is taken.
PHOTOS = ("image", "img", "photo")
CLASSES = ("label", "labels", "cls", "fine_label")
# Hugging Face's number for a photo whose class is not published.
_HIDDEN = -1


def read_tables(address: str, places: Sequence[str]) -> PhotoSet:
    """Return the photos of Parquet files.

    Args:
        address: What the user named.
        places: The paths or addresses of the files.

    Raises:
        InputError: A file is no Parquet file or has no column of photos, or some photos have classes and some have not.
        MissingRuntimeError: pyarrow is not installed.
    """
    reader = parquet()
    photos: list[StoredPhoto] = []
    labels: list[str | int | None] = []
    for place in places:
        with opened(place) as file:
            try:
                found, classes = _listed(place, reader.ParquetFile(file))
            except XedgeError:
                raise
            except Exception as error:  # Arrow raises errors of many kinds for damaged files
                raise InputError(f"{place}: not a readable Parquet file ({brief(error)}); copy it again") from error
        photos += found
        labels += classes
    if all(label is None for label in labels):
        return PhotoSet(root=address, files=tuple(photos))
    return labelled(address, photos, labels)


def _listed(place: str, file: Any) -> tuple[list[StoredPhoto], list[str | int | None]]:
    names = file.schema_arrow.names
    column = next((one for one in PHOTOS if one in names), None)
    if column is None:
        raise InputError(f"{place}: has the columns {', '.join(names)}, but none named {', '.join(PHOTOS)}")
    stamp, shard = stamp_of(place), PurePosixPath(place).name
    photos: list[StoredPhoto] = []
    for group in range(file.num_row_groups):
        for row in range(file.metadata.row_group(group).num_rows):
            cell = Cell(group=group, row=row, column=column)
            photos.append(StoredPhoto(name=f"{shard}#{len(photos)}", place=place, stamp=stamp, within=cell))
    return photos, _classes(place, file, names, len(photos))


def _classes(place: str, file: Any, names: Sequence[str], count: int) -> list[str | int | None]:
    """Return the class of each row: a name where the file tells the names of its numbers."""
    column = next((one for one in CLASSES if one in names), None)
    if column is None:
        return [None] * count
    known = _class_names(file.schema_arrow.metadata, column)
    found: list[str | int | None] = []
    for value in file.read(columns=[column])[column].to_pylist():
        if value is None or value == _HIDDEN:
            found.append(None)
        elif isinstance(value, int) and known is not None:
            if value >= len(known):
                raise InputError(f"{place}: has class {value}, but names for {len(known)} classes; publish it again")
            found.append(known[value])
        elif isinstance(value, str | int):
            found.append(value)
        else:
            raise InputError(f"{place}: the column {column} has {str(value)[:60]!r}; give one class for each photo")
    return found


def _class_names(metadata: dict[bytes, bytes] | None, column: str) -> list[str] | None:
    """Return the names of classes that Hugging Face's ``ClassLabel`` keeps in the file; None if there are none."""
    try:
        features = json.loads((metadata or {})[b"huggingface"])["info"]["features"]
        names = features[column]["names"]
    except (KeyError, TypeError, ValueError):
        return None
    return [str(name) for name in names] if isinstance(names, list) else None
