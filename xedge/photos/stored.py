"""Photos where they are stored: files, parts of a .tar, cells of a Parquet file, here or at an address of fsspec."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

from xedge.errors import InputError, MissingRuntimeError, ResourceError, brief

EXTRA = "pip install 'xedge[cluster]'"


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """Where in a Parquet file a photo is.

    Args:
        group: The index of the row group.
        row: The index of the row in its group.
        column: The name of the column.
    """

    group: int
    row: int
    column: str


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredPhoto:
    """A photo that is not a file of its own on this machine.

    Args:
        name: The name that no other photo of the set has.
        place: The path or the fsspec address of the file that holds it.
        stamp: What changes when that file changes, such as its size and its time.
        within: The first byte and the number of bytes in a .tar, or the cell of a Parquet file; None for a whole file.
    """

    name: str
    place: str
    stamp: str
    within: tuple[int, int] | Cell | None = None

    def __str__(self) -> str:
        return self.place if self.within is None else f"{self.place}: {self.name}"

    def read_bytes(self) -> bytes:
        """Return the bytes of the encoded photo.

        Raises:
            InputError: The file that holds it is missing or is not what it was.
            ResourceError: The file cannot be read now.
            MissingRuntimeError: A package that reads such files is not installed.
        """
        if isinstance(self.within, Cell):
            return _cell(self.place, self.stamp, self.within)
        with opened(self.place) as file:
            if self.within is None:
                return file.read()
            start, size = self.within
            file.seek(start)
            data = file.read(size)
        if len(data) != size:
            raise InputError(f"{self}: the file ends before this photo does; copy the file again")
        return data

    def resolve(self) -> StoredPhoto:
        """Return the photo itself: unlike a path, it has one name only."""
        return self


Photo = Path | StoredPhoto


def photo_bytes(photo: Photo) -> bytes:
    """Return the bytes of an encoded photo, wherever it is stored.

    Raises:
        InputError: The photo is missing, or it is not a plain file.
        ResourceError: It cannot be read now.
        MissingRuntimeError: A package that reads such files is not installed.
    """
    if isinstance(photo, StoredPhoto):
        return photo.read_bytes()
    if not photo.exists():
        raise InputError(f"{photo}: no such photo")
    if not photo.is_file():  # Reading a pipe may never end.
        raise InputError(f"{photo}: not a plain file; give the file of a photo")
    with explained(str(photo)):
        return photo.read_bytes()


def is_remote(address: str) -> bool:
    """Whether an address is one of fsspec's, such as ``s3://bucket/val.tar``."""
    return "://" in address


@contextmanager
def opened(place: str) -> Iterator[IO[bytes]]:
    """Open a file for reading by its path or its fsspec address.

    Raises:
        InputError: There is no such file.
        ResourceError: It cannot be read now.
        MissingRuntimeError: fsspec, or the package for this kind of address, is not installed.
    """
    with explained(place):
        if is_remote(place):
            system, path = filesystem(place)
            file: IO[bytes] = system.open(path, "rb")
        else:
            file = Path(place).open("rb")  # noqa: SIM115 - closed below
        with file:
            yield file


def filesystem(address: str) -> tuple[Any, str]:
    """Return fsspec's file system for an address, and the path in it.

    Raises:
        InputError: fsspec knows no such kind of address.
        MissingRuntimeError: fsspec, or the package for this kind of address, is not installed.
    """
    try:
        import fsspec  # noqa: PLC0415 - only addresses need it
    except ImportError as error:
        raise MissingRuntimeError(f"{address}: fsspec is needed and not installed: {EXTRA}") from error
    try:
        system, path = fsspec.core.url_to_fs(address)
    except ImportError as error:
        raise MissingRuntimeError(f"{address}: {brief(error)}") from error
    except ValueError as error:
        raise InputError(f"{address}: {brief(error)}; give a path or an address that fsspec knows") from error
    return system, str(path)


def file_stamp(file: Path) -> str:
    """Return what changes when a file is replaced; a file that is gone is told by whoever reads it."""
    try:
        found = file.stat()
    except OSError:
        return "missing"
    return f"{found.st_size} {found.st_mtime_ns}"


def stamp_of(place: str) -> str:
    """Return what changes when the file at a path or an address is replaced; errors are those of ``opened``."""
    if not is_remote(place):
        return file_stamp(Path(place))
    with explained(place):
        system, path = filesystem(place)
        return remote_stamp(system.info(path))


def remote_stamp(info: Mapping[str, object]) -> str:
    """Return the same of what a file system of fsspec tells of a file; each tells the time under another name."""
    told = (info.get(name) for name in ("size", "ETag", "etag", "md5Hash", "LastModified", "last_modified", "mtime"))
    return " ".join(str(one) for one in told if one is not None)


@contextmanager
def explained(place: str) -> Iterator[None]:
    """Turn what file systems raise into xedge's errors; botocore's and aiohttp's have no base in common."""
    try:
        yield
    except (InputError, ResourceError, MissingRuntimeError, MemoryError):
        raise
    except FileNotFoundError as error:
        raise InputError(f"{place}: no such file") from error
    except Exception as error:
        raise ResourceError(f"{place}: cannot be read now ({brief(error)}); try again later") from error


def parquet() -> Any:
    """Return ``pyarrow.parquet``.

    Raises:
        MissingRuntimeError: pyarrow is not installed.
    """
    try:
        import pyarrow.parquet  # noqa: PLC0415 - only Parquet files need it
    except ImportError as error:
        raise MissingRuntimeError(f"pyarrow is needed and not installed: {EXTRA}") from error
    return pyarrow.parquet


# Photos are asked for in their order, and a row group can have hundreds of megabytes: one is kept.
@lru_cache(maxsize=1)
def _group(place: str, stamp: str, group: int, column: str) -> Any:
    del stamp  # a changed file is read again
    with opened(place) as file:
        return parquet().ParquetFile(file).read_row_group(group, columns=[column])[column]


def _cell(place: str, stamp: str, cell: Cell) -> bytes:
    value = _group(place, stamp, cell.group, cell.column)[cell.row].as_py()
    data = value.get("bytes") if isinstance(value, dict) else value
    if not isinstance(data, bytes):
        raise InputError(f"{place}: row {cell.row} of row group {cell.group} has no bytes of a photo; fill it in")
    return data
