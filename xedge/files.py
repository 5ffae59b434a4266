"""Write files and folders without losing data: write beside the destination, then put the result in its place.

At every moment the name holds what was there before or what is new, whole. Errors of the system, such as a full disk,
become messages of one line.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import hashlib
import os
import shutil
import signal
import stat
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from xedge.errors import InputError, ResourceError

# Between the name of a destination and what tells apart the folders beside it: what is being written, and what was
# there before.
NEW, OLD = ".xedge-new.", ".xedge-old."
# A longer name, in bytes, would become too long for a file system with what is put around it.
LONGEST_NAME = 180
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def refusals_explained(path: Path) -> Iterator[None]:
    """Turn errors of the system inside the context into errors whose message names the path.

    Raises:
        ResourceError: There is no space or no permission, or the system fails otherwise.
        InputError: The path cannot be written.
    """
    try:
        yield
    except BrokenPipeError:  # Whoever was to read it does not want more.
        raise
    except UnicodeEncodeError as error:
        raise InputError(f"{path}: the file system cannot store this name; choose another one") from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise ResourceError(f"{path}: no space left on the disk; free some space, or write elsewhere") from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise ResourceError(f"{path}: no permission to write here; write elsewhere") from error
        if error.errno in (
            errno.ENOTDIR,
            errno.EEXIST,
            errno.ENAMETOOLONG,
            errno.EISDIR,
            errno.ELOOP,
            errno.EINVAL,
            errno.EILSEQ,
            errno.ENXIO,
        ):
            raise InputError(f"{path}: cannot be written ({error.strerror}); choose another place") from error
        raise ResourceError(f"{path}: cannot be written ({error.strerror or error}); write elsewhere") from error


def check_writable(folder: Path, named: Path | None = None) -> None:
    """Fail if files cannot be made in a folder, or in the nearest one above it if it does not exist yet.

    Args:
        folder: The folder, which is left as it is.
        named: What the messages name; None names the folder.

    Raises:
        ResourceError: There is no space or no permission.
        InputError: Something above the folder is not a folder.
    """
    named = named or folder
    with refusals_explained(named):
        nearest = folder
        while not nearest.exists():
            nearest = nearest.parent
        if not nearest.is_dir():
            raise InputError(f"{nearest}: it is not a folder; choose another place")
        try:
            with tempfile.TemporaryFile(dir=nearest):
                pass
        except FileNotFoundError as error:  # An example is /proc.
            raise InputError(f"{named}: cannot be written ({error.strerror}); choose another place") from error


def check_file_writable(path: Path) -> None:
    """Fail if a file cannot be written, without writing it; errors are those of ``write_file``."""
    with refusals_explained(path):
        if path.is_dir():
            raise InputError(f"{path}: it is a folder; name a file")
        if path.exists() and not path.is_file():
            if not os.access(path, os.W_OK):
                raise ResourceError(f"{path}: no permission to write here; write elsewhere")
            return
    check_writable(path.parent, path)


@contextmanager
def new_folder(destination: Path) -> Iterator[Path]:
    """Yield an empty folder beside ``destination``, which takes its place when the context ends without an error.

    At every moment, ``destination`` is what was there before or what is new, whole, even if the process is killed or
    the power fails. After an error or an interruption, the new folder is removed. If a process was killed before it
    could remove what it had left beside the destination, the next call does.
    """
    with refusals_explained(destination):
        if destination.is_symlink():
            destination = Path(os.path.realpath(destination))
        destination.parent.mkdir(parents=True, exist_ok=True)
        _recover(destination)
        temporary: Path | None = None
        try:
            with signals_deferred():
                prefix = f"{_prefix(destination, NEW)}{os.getpid()}."
                temporary = Path(tempfile.mkdtemp(prefix=prefix, dir=destination.parent))
            with _held(temporary):
                # mkdtemp makes private folders, but a bundle should be as readable as any other new folder.
                temporary.chmod(0o777 & ~_umask())
                yield temporary
                _synchronize(temporary)
                with signals_deferred():
                    _put(temporary, destination)
        finally:
            # This is what is new if something failed, and otherwise what was there before.
            with signals_deferred():
                if temporary is not None:
                    shutil.rmtree(temporary, ignore_errors=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@contextmanager
def signals_deferred() -> Iterator[None]:
    """Let signals that would interrupt the program wait until the context ends; only the main thread gets them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    before = {}
    try:
        for number in _SIGNALS:
            if signal.getsignal(number) not in (signal.SIG_IGN, None):
                before[number] = signal.signal(number, lambda number, _: came.append(number))
        yield
    finally:
        for known, handler in before.items():
            signal.signal(known, handler)
        if came:
            signal.raise_signal(came[0])


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Lock a folder, so that other processes see that somebody is still writing it."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # Some network file systems have no locks.
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(handle)


def _prefix(destination: Path, kind: str) -> str:
    """Return how the names of folders and files of a kind begin that belong to a destination and stand beside it."""
    name = destination.name
    if len(os.fsencode(name)) > LONGEST_NAME:
        name = hashlib.sha256(os.fsencode(name)).hexdigest()[:32]
    return f".{name}{kind}"


def set_aside(destination: Path) -> Path | None:
    """Return where an interrupted process left what had been at a destination; None if it left nothing."""
    return next((place for place in _leftovers(destination) if OLD in place.name), None)


def _leftovers(destination: Path) -> list[Path]:
    """Return what processes that have ended left beside a destination."""
    prefixes = (_prefix(destination, NEW), _prefix(destination, OLD))
    try:
        with os.scandir(destination.parent) as entries:  # a path for each entry would be slow for many
            beside = sorted(entry.name for entry in entries if entry.name.startswith(prefixes))
    except OSError:
        return []
    return [place for name in beside if not _in_use(place := destination.parent / name)]


def _in_use(place: Path) -> bool:
    """Whether a process is still writing a folder or file: one with the number in its name, or one that has locked it.

    The lock tells it of a process on another machine that shares the disk.
    """
    number = place.name.rsplit(".", 2)[-2]
    if number.isdigit() and Path(f"/proc/{number}").exists():
        return True
    try:
        handle = os.open(place, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(handle)
    return False


def _recover(destination: Path) -> None:
    """Put back what an interrupted process had set aside, and remove what it left half-made."""
    for place in _leftovers(destination):
        if OLD in place.name and not destination.exists():
            place.rename(destination)
        elif place.is_dir():
            shutil.rmtree(place, ignore_errors=True)
        else:
            place.unlink(missing_ok=True)


def _synchronize(folder: Path) -> None:
    """Make sure that everything in a folder is on the disk."""
    for place in [*folder.rglob("*"), folder]:
        handle = os.open(place, os.O_RDONLY)
        try:
            with suppress(OSError):  # Some file systems cannot synchronize a folder.
                os.fsync(handle)
        finally:
            os.close(handle)


def _put(new: Path, destination: Path) -> None:
    """Put a folder in the place of another one; afterwards ``new`` is what was there before, if there was anything."""
    if not destination.exists():
        new.rename(destination)
    elif not _exchange(new, destination):
        # Without an exchange there is a moment in which nothing has the name. What was there before has a name that
        # the next call recognizes.
        old = destination.with_name(new.name.replace(NEW, OLD))
        destination.rename(old)
        try:
            new.rename(destination)
        except BaseException:
            old.rename(destination)
            raise
        shutil.rmtree(old, ignore_errors=True)
    with suppress(OSError):
        handle = os.open(destination.parent, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


# From linux/fs.h and fcntl.h.
_RENAME_EXCHANGE, _AT_FDCWD = 2, -100


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two paths in one step of the file system; return whether the system can do that."""
    try:
        call = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return False
    done = call(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), ctypes.c_uint(_RENAME_EXCHANGE))
    if done == 0:
        return True
    number = ctypes.get_errno()
    if number in (errno.ENOSYS, errno.EINVAL, errno.ENOTTY, errno.EOPNOTSUPP):
        return False
    raise OSError(number, os.strerror(number), str(other))


def write_file(path: Path, data: bytes) -> None:
    """Write a file beside its destination and rename it; if the path is not a plain file, write to it directly.

    An example of the latter is /dev/stdout. If the path is a symbolic link, the file that it points to is replaced.

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
        if path.is_symlink():
            path = Path(os.path.realpath(path))
        name: str | None = None
        try:
            with signals_deferred():
                handle, name = _beside(path)
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            Path(name).chmod(0o666 & ~_umask())
            Path(name).replace(path)
        finally:
            with signals_deferred():
                if name is not None:
                    Path(name).unlink(missing_ok=True)


def _beside(path: Path) -> tuple[int, str]:
    """Return the handle and the name of a new file that is to take the place of a path."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _recover(path)
        return tempfile.mkstemp(prefix=f"{_prefix(path, NEW)}{os.getpid()}.", dir=path.parent)
    except FileNotFoundError as error:  # An example is a path below /proc.
        raise InputError(f"{path}: cannot be written ({error.strerror}); choose another place") from error


def read_bytes(path: Path, most: int) -> bytes:
    """Return the content of a plain file; anything else, such as a pipe, may never end.

    Args:
        path: The file.
        most: The greatest size in bytes.

    Raises:
        OSError: The file cannot be read, is not a plain file, or is larger.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(handle, "rb") as file:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "it is not a plain file", str(path))
        if found.st_size > most:
            raise OSError(errno.EFBIG, f"it is larger than {most >> 20} MiB", str(path))
        return file.read()


def read_text(path: Path, most: int) -> str:
    """Return the text of a plain file in UTF-8, without a byte order mark; arguments and errors are as for bytes.

    Raises:
        OSError: The file cannot be read, is not a plain file, or is larger.
        UnicodeDecodeError: The file is not UTF-8.
    """
    return read_bytes(path, most).decode("utf-8-sig")


def cache_folder() -> Path | None:
    """Return the folder in which xedge keeps what can be made again; None if this user has no home."""
    named = os.environ.get("XDG_CACHE_HOME")
    if named:
        return Path(named) / "xedge"
    try:
        return Path.home() / ".cache" / "xedge"
    except RuntimeError:  # There is neither HOME nor an entry for this user.
        return None


def sha256(path: Path) -> str:
    """Return the sha256 of a file, which is read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()
