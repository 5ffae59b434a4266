"""Open a bundle for a command: folder or zip, and what it may be scored on."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from xedge.bundle.reading import Bundle, open_bundle
from xedge.models.compact import embedded
from xedge.photos.sets import PhotoSet, read_folder


@contextmanager
def opened(path: Path) -> Iterator[Bundle]:
    """Yield the checked bundle; a zip is unpacked for the time of the command."""
    with tempfile.TemporaryDirectory(prefix="xedge-") as scratch:
        yield open_bundle(path, Path(scratch))


def photos_for(bundle: Bundle, data: Path | None, limit: int | None) -> PhotoSet | None:
    """Return the photos to score on: those that were named, or the embedded model's own."""
    photos = None
    if data is not None:
        photos = read_folder(data)
    elif bundle.manifest.model.file_sha256 == embedded.card()["model_sha256"]:
        photos = embedded.test_photos()
    return photos.sample(limit, seed=0) if photos is not None and limit is not None else photos
