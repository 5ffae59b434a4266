"""Open a bundle: a folder or a zip with everything that a device needs to run an artifact and to check it."""

from __future__ import annotations

import errno
import stat
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from xedge.bundle import manifest as manifests
from xedge.bundle.manifest import HostConfusion, Manifest
from xedge.codec import from_json, parse_json
from xedge.errors import BundleError, InputError, ResourceError, XedgeError
from xedge.files import read_text, set_aside, sha256
from xedge.types import FloatArray, UInt8Array

MANIFEST = "manifest.json"
LABELS = "labels.txt"
OUTPUTS = "golden/outputs.npz"
# The file that says what was done to the channels of tensors. It is used to compare tensors; no runtime needs it.
CHANGES = "changes.npz"
# The file that says what was answered to the photos of each class on the host. No runtime needs it either.
CONFUSION = "confusion.json"
Changes = Mapping[str, tuple[FloatArray, FloatArray]]
# A zip that would unpack to more than this is refused. The largest artifacts are a hundred times smaller.
LARGEST_ZIP_BYTES = 4 << 30
# The manifest and the labels of a model of 100,000 classes are a tenth of this.
LARGEST_TEXT_BYTES = 256 << 20


@dataclass(frozen=True, kw_only=True, eq=False)
class GoldenData:
    """The data of the self-test.

    Args:
        pixels: The golden photos (N, H, W, C) uint8, with the colours in the order that the model takes.
        reference: The probabilities (N, classes) of the float reference; None for an artifact that was wrapped without
            one.
        expected: The probabilities (N, classes) of the artifact itself on the host.
    """

    pixels: UInt8Array
    reference: FloatArray | None
    expected: FloatArray


@dataclass(frozen=True, kw_only=True, eq=False)
class Bundle:
    """An opened bundle whose files match their hashes.

    Args:
        root: The folder with the bundle's files; for a zip, the folder into which it was unpacked.
        source: The folder or zip that the user named.
        manifest: The bundle's manifest.
        labels: The names of the classes in the order of the outputs, from ``labels.txt``.
    """

    root: Path
    source: Path
    manifest: Manifest
    labels: tuple[str, ...]

    @property
    def artifact(self) -> Path:
        """The path of the artifact's main file, the one that a runtime opens."""
        return self.root / self.manifest.artifact

    @property
    def artifact_bytes(self) -> int:
        """The size of the artifact in bytes, weights included."""
        others = {LABELS, OUTPUTS, CHANGES, CONFUSION, *self.manifest.golden.photos}
        return sum((self.root / name).stat().st_size for name in self.manifest.files if name not in others)

    @property
    def engines(self) -> Path:
        """The folder beside the bundle for what a runtime compiles from the artifact; it is made when it is needed."""
        path = self.source.resolve()
        return path.with_name(f"{path.name if path.is_dir() else path.stem}.engines")

    def golden(self) -> GoldenData:
        """Read the golden photos and outputs.

        Raises:
            BundleError: They cannot be read.
        """
        expected = self.manifest.preprocessing
        try:
            outputs = np.load(self.root / OUTPUTS, allow_pickle=False)
            images = [Image.open(self.root / name) for name in self.manifest.golden.photos]
            shape = (expected.height, expected.width, expected.channels)
            pixels = np.stack([np.asarray(image, np.uint8).reshape(shape) for image in images])
            known = "reference" in outputs.files or not self.manifest.wrapped
            reference = np.asarray(outputs["reference"], np.float32) if known else None
            answers = np.asarray(outputs["expected"], np.float32)
        except Exception as error:  # NumPy and Pillow raise many kinds for damaged files
            words = str(error) or type(error).__name__
            raise BundleError(f"{self.root}: the golden photos cannot be read ({words}); convert again") from error
        shapes = {one.shape for one in (reference, answers) if one is not None}
        if shapes != {(len(pixels), self.manifest.model.classes)}:
            raise BundleError(f"{self.root}/{OUTPUTS}: has no answer for each photo and class; convert again")
        return GoldenData(pixels=pixels, reference=reference, expected=answers)

    def confusion(self) -> HostConfusion | None:
        """Read what was answered to the photos of each class on the host; None without labelled photos.

        Raises:
            BundleError: The file cannot be read.
        """
        if CONFUSION not in self.manifest.files:
            return None
        try:
            return from_json(HostConfusion, parse_json(read_text(self.root / CONFUSION, LARGEST_TEXT_BYTES)))
        except (OSError, UnicodeDecodeError, BundleError) as error:
            raise BundleError(f"{self.root}/{CONFUSION}: cannot be read ({error}); convert again") from error

    def changes(self) -> dict[str, tuple[FloatArray, FloatArray]]:
        """Read what was done to the channels of tensors.

        Returns:
            The scale and the shift (channels,) of each changed tensor, by its name; empty if none was changed.

        Raises:
            BundleError: The file cannot be read.
        """
        if CHANGES not in self.manifest.files:
            return {}
        try:
            stored = np.load(self.root / CHANGES, allow_pickle=False)
            return {name: (stored[name][0], stored[name][1]) for name in stored.files}
        except Exception as error:  # NumPy raises many kinds for damaged files
            raise BundleError(f"{self.root}/{CHANGES}: cannot be read ({error}); convert again") from error


def open_bundle(path: Path, scratch: Path | None = None) -> Bundle:
    """Open a bundle's folder or zip and check every file against its hash.

    Args:
        path: The folder or the zip.
        scratch: A folder into which a zip is unpacked; only a zip needs it.

    Raises:
        InputError: The path does not exist, or it is not a bundle.
        BundleError: The bundle is damaged.
    """
    if not path.exists():
        aside = set_aside(path)
        if aside is not None:
            raise InputError(f"{path}: a conversion that replaced it was killed; the bundle is whole in {aside}")
        raise InputError(f"{path}: no such bundle; `xedge convert` makes one and prints its name")
    source = path
    if path.is_file():
        path = _unpacked(path, scratch)
    if not (path / MANIFEST).is_file():
        raise InputError(f"{path}: not a bundle ({MANIFEST} is missing); name the folder that `xedge convert` printed")
    manifest = read_manifest(path)
    _check_files(path, manifest)
    labels = tuple(_text(path / LABELS, LARGEST_TEXT_BYTES).split("\n")[:-1])
    if len(labels) != manifest.model.classes:
        raise BundleError(f"{path}/{LABELS}: {len(labels)} labels for {manifest.model.classes} classes; convert again")
    return Bundle(root=path, source=source, manifest=manifest, labels=labels)


def read_manifest(path: Path) -> Manifest:
    """Return the manifest of a bundle's folder.

    Raises:
        BundleError: It cannot be read, or it has a wrong field.
    """
    try:
        return manifests.loads(_text(path / MANIFEST, LARGEST_TEXT_BYTES))
    except BundleError as error:
        raise BundleError(f"{path}/{MANIFEST}: {error}; convert again with this version") from error


def _text(file: Path, most: int) -> str:
    try:
        return read_text(file, most)
    except (OSError, UnicodeDecodeError) as error:
        raise BundleError(f"{file}: cannot be read ({error}); copy it again or convert again") from error


def _check_files(path: Path, manifest: Manifest) -> None:
    """Check that a bundle has the files that its manifest lists, with their hashes, and no others."""
    for name, expected in manifest.files.items():
        if not _inside(name):
            raise BundleError(f"{path}/{MANIFEST}: the file name {name!r} leads out of the bundle; do not trust it")
        file = path / name
        if not file.is_file():
            raise BundleError(f"{file}: is missing from the bundle; copy it again or convert again")
        try:
            found = sha256(file)
        except OSError as error:
            raise BundleError(f"{file}: cannot be read ({error.strerror}); copy it again or convert again") from error
        if found != expected:
            raise BundleError(f"{file}: does not match its sha256 in {MANIFEST}; copy it again or convert again")
    for name in (manifest.artifact, LABELS, OUTPUTS, *manifest.golden.photos):
        if name not in manifest.files:
            raise BundleError(f"{path}/{MANIFEST}: $.files: has no hash for {name}; convert again")
    # No hash looks at other files, but a runtime may: the weights of an ONNX model can be in a file beside it.
    for file in unlisted(path, manifest):
        raise BundleError(f"{file}: is not listed in {MANIFEST}; remove it, for no hash protects it")


def unlisted(path: Path, manifest: Manifest) -> list[Path]:
    """Return the files in a bundle's folder that its manifest does not list."""
    known = {path / name for name in (MANIFEST, *manifest.files)}
    return sorted(file for file in path.rglob("*") if file not in known and (file.is_symlink() or not file.is_dir()))


def _inside(name: str) -> bool:
    parts = PurePosixPath(name).parts
    return bool(parts) and not PurePosixPath(name).is_absolute() and ".." not in parts and not set("\\\0") & set(name)


def _unpacked(path: Path, scratch: Path | None) -> Path:
    assert scratch is not None, "a zip needs a place to be unpacked"
    try:
        if not zipfile.is_zipfile(path):
            raise InputError(f"{path}: neither a bundle's folder nor its zip; name what `xedge convert` printed")
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            if any(not _inside(member.filename) or stat.S_ISLNK(member.external_attr >> 16) for member in members):
                raise BundleError(f"{path}: the name of a member leads out of the bundle; do not trust this file")
            if sum(member.file_size for member in members) > LARGEST_ZIP_BYTES:
                raise BundleError(f"{path}: it unpacks to more than 4 GiB, as no bundle does; do not trust this file")
            archive.extractall(scratch)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ResourceError(f"{scratch}: no space left to unpack {path}; free some, or set TMPDIR") from error
        raise BundleError(f"{path}: the zip cannot be read ({error}); copy it again or convert again") from error
    except XedgeError:
        raise
    except Exception as error:  # zipfile raises many kinds for damaged, encrypted and odd archives
        words = (str(error) or type(error).__name__)[:200]  # they may quote the archive
        raise BundleError(f"{path}: the zip is damaged ({words}); copy it again or convert again") from error
    folders = [entry for entry in scratch.iterdir() if (entry / MANIFEST).is_file()]
    if len(folders) != 1:
        raise InputError(f"{path}: holds {len(folders)} bundles instead of one; name what `xedge convert` printed")
    return folders[0]
