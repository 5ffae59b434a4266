"""Open a bundle, given as a folder or a zip, for a command, and find the photos on which it can be scored."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from xedge.bundle.reading import Bundle, open_bundle
from xedge.errors import UsageError, parameter
from xedge.models.compact import embedded
from xedge.photos.reading import read_photos
from xedge.photos.sets import PhotoSet


@contextmanager
def opened(path: Path) -> Iterator[Bundle]:
    """Yield the bundle after checking it; a zip is unpacked for the duration of the command."""
    with tempfile.TemporaryDirectory(prefix="xedge-") as scratch:
        yield open_bundle(path, Path(scratch))


@contextmanager
def opened_all(paths: Sequence[Path]) -> Iterator[list[Bundle]]:
    """Yield several bundles after checking them; zips are unpacked for the duration of the command."""
    with ExitStack() as stack:
        yield [stack.enter_context(opened(path)) for path in paths]


def photos_for(bundle: Bundle, data: Path | None, limit: int | None, truth: Path | None = None) -> PhotoSet | None:
    """Return the photos on which a bundle is scored.

    Args:
        bundle: The bundle.
        data: The photos, in a form that ``read_photos`` takes; None takes the test photos of the embedded model if the
            bundle was made from it.
        truth: A file with the classes of the photos; None if the photos have their own.
        limit: The greatest number of photos, which are drawn with a fixed seed; None takes all of them.

    Returns:
        The photos; None if no folder was named and the bundle is not of the embedded model.

    Raises:
        UsageError: A file of classes or a number is given for photos that are not.
    """
    photos = None
    if truth is not None and data is None:
        raise UsageError(f"{parameter('truth')} is about the photos of {parameter('data')}; give them too")
    if data is not None:
        photos = read_photos(data, truth)
    elif bundle.manifest.model.file_sha256 == embedded.card()["model_sha256"]:
        photos = embedded.test_photos()
    if photos is None and limit is not None:
        raise UsageError(f"{bundle.source}: {parameter('limit')} needs photos to choose from; give {parameter('data')}")
    return photos.sample(limit, seed=0) if photos is not None and limit is not None else photos
