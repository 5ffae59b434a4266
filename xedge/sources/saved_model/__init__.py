"""SavedModel folders, which hold no Keras layers: TensorFlow's converter takes them."""

from pathlib import Path

from xedge.errors import UnsupportedError
from xedge.sources import ReadModel, Source, SourceKind


def takes(path: Path) -> bool:
    """Return whether a folder holds what TensorFlow writes into a SavedModel."""
    return path.is_dir() and (path / "saved_model.pb").is_file()


def read(source: Source, scratch: Path, *, allow_code: bool) -> ReadModel:
    """Refuse: the reference graph is read from Keras layers."""
    del source, scratch, allow_code
    raise UnsupportedError("a SavedModel")


SOURCE = SourceKind(
    name="saved_model",
    words="a SavedModel folder",
    takes=takes,
    read=read,
    rank=20,
    library="xedge.sources.saved_model.library",
)
