"""SavedModel folders, which hold no Keras layers: the operations of their function are read."""

from pathlib import Path

from xedge.plugins import deferred
from xedge.sources import SourceKind


def takes(path: Path) -> bool:
    """Return whether a folder holds what TensorFlow writes into a SavedModel."""
    return path.is_dir() and (path / "saved_model.pb").is_file()


SOURCE = SourceKind(
    name="saved_model",
    words="a SavedModel folder",
    takes=takes,
    read=deferred("xedge.sources.saved_model.reading:read"),
    rank=20,
    library="xedge.sources.saved_model.library",
)
