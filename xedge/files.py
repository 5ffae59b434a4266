"""Write files and folders without losing data: write beside the destination, then rename.

Errors of the system, such as a full disk, become messages of one line.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from xedge.errors import InputError, ResourceError


@contextmanager
def refusals_explained(path: Path) -> Iterator[None]:
    """Turn errors of the system inside the context into errors whose message names the path.

    Raises:
        ResourceError: There is no space or no permission.
        InputError: The path cannot be written.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ResourceError(f"{path}: no space left on the disk; free some space, or write elsewhere") from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise ResourceError(f"{path}: no permission to write here; write elsewhere") from error
        if error.errno in (errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.EISDIR):
            raise InputError(f"{path}: cannot be written ({error.strerror}); choose another place") from error
        raise


def check_writable(folder: Path) -> None:
    """Fail if files cannot be made in a folder, or in the nearest one above it if it does not exist yet.

    Args:
        folder: The folder, which is left as it is.

    Raises:
        ResourceError: There is no space or no permission.
        InputError: Something above the folder is not a folder.
    """
    with refusals_explained(folder):
        nearest = folder
        while not nearest.exists():
            nearest = nearest.parent
        if not nearest.is_dir():
            raise InputError(f"{nearest}: it is not a folder; choose another place")
        try:
            with tempfile.TemporaryFile(dir=nearest):
                pass
        except FileNotFoundError as error:  # An example is /proc.
            raise InputError(f"{folder}: cannot be written ({error.strerror}); choose another place") from error


@contextmanager
def new_folder(destination: Path) -> Iterator[Path]:
    """Yield an empty folder beside ``destination``, which is renamed to it when the context ends without an error.

    After an error or an interruption, the new folder is removed, and what was at ``destination`` before is kept.
    """
    with refusals_explained(destination):
        destination.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{destination.name}.", dir=destination.parent))
        try:
            # mkdtemp makes private folders, but a bundle should be as readable as any other new folder.
            temporary.chmod(0o777 & ~_umask())
            yield temporary
            _swap(temporary, destination)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _swap(new: Path, destination: Path) -> None:
    if not destination.exists():
        new.rename(destination)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{destination.name}.old.", dir=destination.parent))
    try:
        destination.rename(old / destination.name)
        try:
            new.rename(destination)
        except OSError:
            (old / destination.name).rename(destination)
            raise
    finally:
        shutil.rmtree(old, ignore_errors=True)


def write_file(path: Path, data: bytes) -> None:
    """Write a file beside its destination and rename it; if the path is not a plain file, write to it directly.

    An example of the latter is /dev/stdout.

    Args:
        path: The path of the file.
        data: The content of the file.

    Raises:
        ResourceError: There is no space or no permission.
        InputError: The path cannot be written.
    """
    with refusals_explained(path):
        if path.exists() and not path.is_file():
            path.write_bytes(data)
            return
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        except FileNotFoundError as error:  # An example is a path below /proc.
            raise InputError(f"{path}: cannot be written ({error.strerror}); choose another place") from error
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
            Path(name).chmod(0o666 & ~_umask())
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise


def sha256(path: Path) -> str:
    """Return the sha256 of a file, which is read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()
