"""Parts: what became of a chunk on a bundle, each in a Parquet file that is written beside its place and renamed."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from xedge.errors import ResourceError
from xedge.evaluating.chunks import Chunk
from xedge.evaluating.work import Evaluated, Rows
from xedge.files import write_file
from xedge.types import IntArray, Tensor

FOLDER = "parts"
# What identifies a part inside its file.
_DIGEST = b"xedge.chunk"
_FIGURES = ("same", "total_variation", "max_difference", "noise", "signal")


@dataclass(frozen=True, kw_only=True, eq=False)
class Part:
    """A part as it is read back.

    Args:
        truth: The index (N,) of each photo's true class; -1 without labels.
        rows: What the bundle answered.
    """

    truth: IntArray
    rows: Rows


@dataclass(frozen=True, kw_only=True)
class Bytes:
    """What is known of the photos of a part.

    Args:
        sha256: The sha256 of each photo's bytes.
        words: Why each photo could not be read; empty for photos that could.
    """

    sha256: tuple[bytes, ...]
    words: tuple[str, ...]


def parts_key(bundle: str, reference: str, environment: dict[str, str]) -> str:
    """Return the name that parts of a bundle have in common: results of other versions or references have another.

    Args:
        bundle: The sha256 of the bundle.
        reference: The sha256 of the bundle that it is compared with.
        environment: The versions that results depend on.
    """
    return hashlib.sha256(json.dumps([bundle, reference, sorted(environment.items())]).encode()).hexdigest()[:16]


@dataclass(frozen=True, kw_only=True)
class Shelf:
    """The folder with the parts of one bundle.

    Args:
        folder: The folder.
    """

    folder: Path

    def _file(self, index: int) -> Path:
        return self.folder / f"{index:06d}.parquet"

    def has(self, chunk: Chunk) -> bool:
        """Whether the part of a chunk is there and whole, and its photos are still the same."""
        return self.digest(chunk.index) == chunk.digest

    def digest(self, index: int) -> str | None:
        """Return the digest of the chunk of which a part is; None if the part is not there or not whole."""
        try:
            with pq.ParquetFile(self._file(index), page_checksum_verification=True) as file:
                file.read()
                return str((file.schema_arrow.metadata or {}).get(_DIGEST, b"").decode())
        except (OSError, pa.ArrowException):
            return None

    def write(self, chunk: Chunk, done: Evaluated, rows: Rows) -> None:
        """Write the part of a chunk.

        Raises:
            ResourceError: There is no space or no permission.
        """
        columns = {
            "photo": pa.array(_unicode(chunk.names), pa.string()),
            "sha256": pa.array(done.sha256, pa.binary(32)),
            "damage": pa.array(_unicode(done.damage), pa.string()),
            "truth": pa.array(chunk.truth or [-1] * len(chunk.names), pa.int32()),
            "top": _lists(rows.top.astype(np.int32)),
            "probability": _lists(rows.probability),
            **{name: pa.array(getattr(rows, name)) for name in _FIGURES},
        }
        table = pa.table(columns).replace_schema_metadata({_DIGEST: chunk.digest.encode()})
        buffer = io.BytesIO()
        pq.write_table(table, buffer, write_page_checksum=True)
        write_file(self._file(chunk.index), buffer.getvalue())

    def read(self, index: int) -> Part:
        """Return the part of a chunk.

        Raises:
            ResourceError: It cannot be read.
        """
        table = self._table(index)
        figures = {name: table[name].to_numpy() for name in _FIGURES}
        return Part(
            truth=table["truth"].to_numpy().astype(np.int64),
            rows=Rows(top=_matrix(table["top"]).astype(np.int64), probability=_matrix(table["probability"]), **figures),
        )

    def damage(self, index: int) -> Bytes:
        """Return what is known of the photos of a chunk; errors are those of ``read``."""
        table = self._table(index, ["sha256", "damage"])
        return Bytes(sha256=tuple(table["sha256"].to_pylist()), words=tuple(table["damage"].to_pylist()))

    def _table(self, index: int, columns: list[str] | None = None) -> Any:
        try:
            # Arrow's read_table would load its machinery for data sets, which takes memory.
            with pq.ParquetFile(self._file(index), page_checksum_verification=True) as file:
                return file.read(columns=columns)
        except (OSError, pa.ArrowException) as error:
            raise ResourceError(f"{self._file(index)}: cannot be read ({error}); evaluate again") from error

    def all(self, count: int) -> Iterator[Part]:
        """Yield the parts of all chunks in order."""
        return (self.read(index) for index in range(count))


def _unicode(texts: Sequence[str]) -> list[str]:
    """Return texts that Parquet can hold: the name of a file may be any bytes."""
    return [one.encode("utf-8", "backslashreplace").decode() for one in texts]


def _lists(values: Tensor) -> Any:
    return pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), values.shape[1])


def _matrix(column: Any) -> Tensor:
    array = column.combine_chunks()
    values: Tensor = array.flatten().to_numpy()
    return values.reshape(len(array), -1)
