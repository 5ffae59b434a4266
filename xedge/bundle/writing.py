"""Write a bundle: the artifact's files, the manifest, the labels and the golden photos, in one folder or one zip."""

from __future__ import annotations

import hashlib
import io
import shutil
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from xedge.bundle.manifest import HostConfusion, Manifest
from xedge.bundle.reading import (
    CHANGES,
    CONFUSION,
    LABELS,
    LARGEST_TEXT_BYTES,
    MANIFEST,
    OUTPUTS,
    Changes,
    GoldenData,
)
from xedge.codec import parse_json
from xedge.errors import BundleError, InputError, parameter
from xedge.files import check_writable, new_folder, read_text, refusals_explained, sha256, write_file
from xedge.types import FloatArray
from xedge.untrusted import shown

# The names of a bundle and its files are made of the name of the model, and are allowed 255 bytes.
LONGEST_STEM = 120


def write_bundle(
    destination: Path,
    manifest: Manifest,
    labels: tuple[str, ...],
    files: Mapping[str, Path],
    golden: GoldenData,
    changes: Changes | None = None,
    confusion: HostConfusion | None = None,
    *,
    zipped: bool = False,
) -> Path:
    """Write a bundle and return its path; if this fails, nothing is left half-written.

    Args:
        destination: The folder to make or replace; with ``zipped``, ``.zip`` is appended to the name.
        manifest: The manifest, whose ``files`` are filled in here.
        labels: The names of the classes in the order of the outputs.
        files: The artifact's files by their names in the bundle; they are copied.
        golden: The data of the self-test.
        changes: The scale and the shift (channels,) of each tensor of the artifact that holds
            (reference - shift) / scale, by the tensor's name.
        confusion: What was answered to the photos of each class on the host; None without labelled photos.
        zipped: Whether to write one zip instead of a folder.

    Raises:
        InputError: The destination exists and is not a bundle.
    """
    contents = {LABELS: ("\n".join(labels) + "\n").encode(), **_golden_files(manifest, golden)}
    if changes:
        contents[CHANGES] = _npz({name: np.stack(change) for name, change in changes.items()})
    if confusion is not None:
        contents[CONFUSION] = confusion.dumps().encode()
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in contents.items()}
    hashes |= {name: sha256(file) for name, file in files.items()}
    contents[MANIFEST] = replace(manifest, files=dict(sorted(hashes.items()))).dumps().encode()
    if zipped:
        path = destination.with_name(destination.name + ".zip")
        write_file(path, _zip(destination.name, files, contents))
        return path
    check_destination(destination)
    with new_folder(destination) as folder:
        _write_folder(folder, files, contents)
    return destination


def check_destination(destination: Path, *, zipped: bool = False) -> None:
    """Fail if a bundle cannot be written to a folder, without making the folder.

    Args:
        destination: The folder to make or replace.
        zipped: Whether a zip beside it is written instead of the folder.

    Raises:
        InputError: The destination exists and is not a bundle.
        ResourceError: There is no permission to write there.
    """
    name = destination.name
    if name in ("", ".."):
        raise InputError(f"{destination}: {parameter('output')} has to end in the name of the bundle to make")
    if not is_file_name(name):
        raise InputError(
            f"{name!r}: a bundle with this name could not be copied everywhere; choose another {parameter('output')}, "
            "without backslashes and control characters"
        )
    path = destination.with_name(f"{name}.zip") if zipped else destination
    with refusals_explained(path):
        if path.exists():
            reason = _reason_to_keep(path, zipped=zipped)
            if reason is not None:
                raise InputError(f"{path}: {reason}; choose another {parameter('output')}, or remove it")
    check_writable(destination.parent)


def is_file_name(name: str) -> bool:
    """Whether a file in a bundle, or the bundle itself, can have this name on every system and in every zip."""
    return shown(name) == name and not set("\\/\n\t") & set(name)


def file_name(text: str) -> str:
    """Return a text, such as the name of a model, as a name that a file in a bundle can have everywhere.

    Args:
        text: The text; characters that a name cannot have become ``_``, and of a long text the beginning is taken.
    """
    kept = "".join(one if is_file_name(one) else "_" for one in text)
    return kept.encode()[:LONGEST_STEM].decode(errors="ignore") or "_"


def _reason_to_keep(path: Path, *, zipped: bool) -> str | None:
    """Return why what exists is not to be replaced; None if it is a bundle, or empty."""
    if zipped:
        return None if path.is_file() and _is_bundle_zip(path) else "it exists and is not a bundle's zip"
    if not path.is_dir():
        return "it exists and is not a bundle"
    if not any(path.iterdir()):
        return None
    if not (path / MANIFEST).is_file():
        return "it exists and is not a bundle"
    try:
        data = parse_json(read_text(path / MANIFEST, LARGEST_TEXT_BYTES))
        known = {MANIFEST, *data["files"]} if {"schema_version", "xedge_version"} <= set(data) else set()
    except (OSError, UnicodeDecodeError, BundleError, TypeError, KeyError):
        known = set()
    if not known:
        return f"its {MANIFEST} is not that of a bundle"
    found = (file.relative_to(path).as_posix() for file in sorted(path.rglob("*")) if not file.is_dir())
    other = next((name for name in found if name not in known), None)
    return None if other is None else f"the bundle there also holds {other}, which would be lost"


def _is_bundle_zip(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return any(PurePosixPath(name).name == MANIFEST for name in archive.namelist())
    except Exception:  # zipfile raises many kinds for what is no zip
        return False


def _write_folder(folder: Path, files: Mapping[str, Path], contents: Mapping[str, bytes]) -> None:
    for name, file in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, folder / name)
    for name, data in contents.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def _golden_files(manifest: Manifest, golden: GoldenData) -> dict[str, bytes]:
    files = {}
    for name, pixels in zip(manifest.golden.photos, golden.pixels, strict=True):
        buffer = io.BytesIO()
        Image.fromarray(pixels[:, :, 0] if pixels.shape[-1] == 1 else pixels).save(buffer, "PNG")
        files[name] = buffer.getvalue()
    known = {} if golden.reference is None else {"reference": golden.reference}
    return {**files, OUTPUTS: _npz({**known, "expected": golden.expected})}


def _npz(arrays: Mapping[str, FloatArray]) -> bytes:
    buffer = io.BytesIO()
    # An array may have any name, but NumPy's stub takes the names for keyword arguments such as allow_pickle.
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def _zip(folder: str, files: Mapping[str, Path], contents: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted([*files, *contents]):
            archive.writestr(f"{folder}/{name}", contents[name] if name in contents else files[name].read_bytes())
    return buffer.getvalue()
