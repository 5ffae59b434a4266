"""Keras models: ``.keras`` files and the HDF5 files of Keras 2 and 3."""

from pathlib import Path

from xedge.plugins import deferred
from xedge.sources import SourceKind

SUFFIXES = (".keras", ".h5", ".hdf5")


def takes(path: Path) -> bool:
    """Return whether a path has a suffix that Keras gives its files."""
    return path.is_file() and path.suffix.lower() in SUFFIXES


SOURCE = SourceKind(
    name="keras",
    words="a .keras, .h5 or .hdf5 file",
    takes=takes,
    read=deferred("xedge.sources.keras.file:read"),
    rank=10,
    library="xedge.sources.keras.library",
)
