"""Open files that Keras 2 wrote: HDF5 files, and the ``.keras`` archives of TensorFlow 2.12 to 2.15."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import h5py

from xedge.errors import InputError
from xedge.sources.keras.keras2.building import Piece, built
from xedge.sources.keras.keras2.weights import load_archive, load_hdf5

ARCHIVE_WEIGHTS = "model.weights.h5"


def keras_2_model(path: Path, *, allow_code: bool) -> tuple[Any, list[str]] | None:
    """Return the model of a file that Keras 2 wrote, as layers of Keras 3, and what the user should know of it.

    It is None for a file of Keras 3.

    Args:
        path: The file, whose container has been checked.
        allow_code: Whether the file may bring code of its own (Lambda layers).

    Raises:
        InputError: The file is damaged, has weights without a model, or brings code that was not allowed.
        UnsupportedError: A layer or function is not known; the message names it.
    """
    if zipfile.is_zipfile(path):
        return _of_archive(path, allow_code=allow_code)
    with h5py.File(path) as file:
        if "model_config" not in file.attrs or not _is_2(file.attrs.get("keras_version", "2")):
            return None  # Keras 3 says what is missing
        model, piece = _built(_text(file.attrs["model_config"]), allow_code=allow_code)
        load_hdf5(file.get("model_weights", file), piece)
    return model, piece.notes()


def _of_archive(path: Path, *, allow_code: bool) -> tuple[Any, list[str]] | None:
    with zipfile.ZipFile(path) as archive:
        known = json.loads(archive.read("metadata.json")) if "metadata.json" in archive.namelist() else {}
        if not _is_2(known.get("keras_version", "3")):
            return None
        model, piece = _built(archive.read("config.json").decode(), allow_code=allow_code)
        with h5py.File(io.BytesIO(archive.read(ARCHIVE_WEIGHTS))) as file:
            load_archive(file, piece)
    return model, piece.notes()


def _built(text: str, *, allow_code: bool) -> tuple[Any, Piece]:
    try:
        return built(json.loads(text, object_hook=_plain), allow_code=allow_code)
    except (KeyError, TypeError, IndexError, ValueError, AttributeError, RecursionError) as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:150]}"
        raise InputError(f"what Keras 2 wrote of the model is damaged ({reason})") from error


def _plain(value: dict[str, Any]) -> Any:
    """Return numbers and lists for what Keras 2 wrote of arrays and tuples."""
    kind = value.get("class_name")
    if kind in ("__numpy__", "__tensor__"):
        return value["config"]["value"]
    return value["items"] if kind in ("__tuple__", "TensorShape") and "items" in value else value


def _is_2(version: Any) -> bool:
    return _text(version).split(".")[0] in ("1", "2")


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
