"""Copy the files of an artifact of others, and only these, so that nothing else beside it can be read by a runtime."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from xedge.bundle.reading import CHANGES, CONFUSION, LABELS, MANIFEST, OUTPUTS
from xedge.bundle.writing import is_file_name
from xedge.errors import BundleError, InputError
from xedge.files import refusals_explained, sha256
from xedge.runtimes import Runtime

# What a bundle has of its own, as the first parts of names.
OWN = {PurePosixPath(name).parts[0] for name in (MANIFEST, LABELS, OUTPUTS, CHANGES, CONFUSION)}


@dataclass(frozen=True, kw_only=True)
class Copied:
    """A copy of an artifact.

    Args:
        artifact: The copy of the file that a runtime opens.
        files: The copies of all files, by their names in the bundle.
        digest: The sha256 over the names and hashes of the files.
    """

    artifact: Path
    files: dict[str, Path]
    digest: str


def copied(artifact: Path, runtime: Runtime, folder: Path) -> Copied:
    """Copy an artifact with all files that it consists of.

    Args:
        artifact: The file that a runtime opens.
        runtime: The runtime, which knows what other files belong to it.
        folder: An empty folder for the copy.

    Raises:
        InputError: A file is missing, damaged, or has a name that a bundle cannot hold.
    """
    try:
        names = (artifact.name, *runtime.companions(artifact))
    except BundleError as error:
        raise unreadable(error, artifact) from error
    files = {}
    for name in names:
        if PurePosixPath(name).parts[0] in OWN or not all(is_file_name(part) for part in PurePosixPath(name).parts):
            raise InputError(f"{artifact}: a bundle cannot hold a file with the name {name!r}; rename it")
        files[name] = folder / name
        with refusals_explained(folder):
            files[name].parent.mkdir(parents=True, exist_ok=True)
            try:
                shutil.copyfile(artifact.parent / name, files[name])
            except PermissionError as error:
                raise InputError(f"{artifact.parent / name}: cannot be read ({error.strerror})") from error
    hashes = " ".join(f"{name} {sha256(file)}" for name, file in sorted(files.items()))
    return Copied(artifact=folder / artifact.name, files=files, digest=hashlib.sha256(hashes.encode()).hexdigest())


def unreadable(error: BundleError, artifact: Path, copy: Path | None = None) -> InputError:
    """Return what is wrong with a file of others as an error of the user's input: there is no bundle yet.

    Args:
        error: What a runtime said. What to do stands behind the last semicolon; here it is not to convert again.
        artifact: The user's file.
        copy: Its copy, which the runtime may have named.
    """
    words = str(error).rpartition("; ")[0] or str(error)
    words = words.replace(str(copy), str(artifact)) if copy is not None else words
    return InputError(f"{words}; it is damaged or of another kind, and cannot be wrapped")
