"""Find the bundles below a folder, such as those in a repository."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from xedge.bundle.reading import LABELS, MANIFEST, OUTPUTS
from xedge.errors import InputError

# What every manifest of a bundle has, and manifests of other programs do not.
OWN_FIELD = b'"xedge_version"'
# A manifest lists its own fields first; those of other programs may be large.
MOST_BYTES = 64 << 20


def find_bundles(paths: list[Path]) -> list[Path]:
    """Return the bundles that paths are, or that lie below them, each once.

    Hidden folders, such as that of Git, are left out. What was a bundle and lost its manifest is found by its labels
    and its golden outputs.

    Args:
        paths: Folders and zips.

    Raises:
        InputError: A path does not exist.
    """
    found: dict[Path, None] = {}
    for path in paths:
        if not path.exists():
            raise InputError(f"{path}: there is no such file or folder; name bundles, or folders that hold some")
        found.update(dict.fromkeys(_below(path)))
    return list(found)


def _below(path: Path) -> Iterator[Path]:
    if path.is_file():
        if _is_zip(path):
            yield path
        return
    for folder, names, files in os.walk(path):
        place = Path(folder)
        names[:] = sorted(name for name in names if not name.startswith("."))
        if _is_bundle(place):
            names.clear()
            yield place
        else:
            yield from (path for path in map(place.joinpath, sorted(files)) if _is_zip(path))


def _is_bundle(folder: Path) -> bool:
    if (folder / LABELS).is_file() and (folder / OUTPUTS).is_file():
        return True
    with suppress(OSError), (folder / MANIFEST).open("rb") as file:
        return OWN_FIELD in file.read(MOST_BYTES)
    return False


def _is_zip(path: Path) -> bool:
    """Whether a file is the zip of a bundle; of one that is cut off, the names of its members still stand in it."""
    if path.suffix.lower() != ".zip":
        return False
    with suppress(OSError):
        if not zipfile.is_zipfile(path):
            content = path.read_bytes()
            return MANIFEST.encode() in content and LABELS.encode() in content
    with suppress(OSError, zipfile.BadZipFile, RuntimeError, NotImplementedError), zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if name.rpartition("/")[2] == MANIFEST]
        return any(OWN_FIELD in archive.open(name).read(MOST_BYTES) for name in names)
    return False
