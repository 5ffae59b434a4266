"""Read a set of photos in any of the forms that people have them in."""

from __future__ import annotations

from pathlib import Path

from xedge.photos.sets import PhotoSet, read_folder


def read_photos(data: str | Path, truth: str | Path | None = None) -> PhotoSet:
    """Return the photos of a folder, a file or an address.

    Raises:
        InputError: There is no such thing, or it has no photos.
    """
    del truth
    return read_folder(Path(data))
