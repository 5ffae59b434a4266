"""Read the metadata of a .tflite file: how pixels are normalized, and the files of labels that are appended to it.

The metadata is a flatbuffer in a buffer of the model's own flatbuffer. Only its few fields that say something of an
image classifier are read, by the numbers that they have in ``schema.fbs`` of TensorFlow and ``metadata_schema.fbs`` of
tflite-support. The files are in a zip that is appended to the model. All of it may be damaged or hostile: what leads
out of the buffer, or is larger than it should be, counts as not there.
"""

from __future__ import annotations

import mmap
import struct
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

Buffer = bytes | mmap.mmap
Normalization = tuple[tuple[float, ...], tuple[float, ...]]
NAME = "TFLITE_METADATA"
# A model has one or two inputs and outputs, and each of these a few files and steps.
MOST_ENTRIES = 1000
# The greatest number of channels of a photo.
MOST_CHANNELS = 4
LARGEST_LABELS_BYTES = 64 << 20
# ProcessUnitOptions.NormalizationOptions and AssociatedFileType.TENSOR_AXIS_LABELS.
NORMALIZATION, AXIS_LABELS = 1, 2


@dataclass(frozen=True, kw_only=True)
class Metadata:
    """What the metadata of a .tflite file says.

    Args:
        normalizations: For each input, the means and deviations of pixels; None where there are none.
        labels: For each output, the text of its file of labels; None where there is none.
    """

    normalizations: tuple[Normalization | None, ...] = ()
    labels: tuple[str | None, ...] = ()


class _Table:
    """A table of a flatbuffer.

    Args:
        buffer: The flatbuffer.
        at: The place of the table.
    """

    def __init__(self, buffer: Buffer, at: int) -> None:
        self.buffer, self.at = buffer, at
        self._fields = at - _unpacked("<i", buffer, at)

    def _place(self, number: int) -> int | None:
        """Return the place of a field; None if the table does not have it."""
        if 4 + 2 * number >= _unpacked("<H", self.buffer, self._fields):
            return None
        offset = _unpacked("<H", self.buffer, self._fields + 4 + 2 * number)
        return self.at + offset if offset else None

    def number(self, number: int, kind: str) -> int:
        """Return a field that is an integer; 0 if the table does not have it."""
        place = self._place(number)
        return 0 if place is None else _unpacked(f"<{kind}", self.buffer, place)

    def target(self, number: int) -> int | None:
        """Return the place that a field points to; None if the table does not have it."""
        place = self._place(number)
        return None if place is None else place + _unpacked("<I", self.buffer, place)

    def table(self, number: int) -> _Table | None:
        """Return a field that is a table."""
        target = self.target(number)
        return None if target is None else _Table(self.buffer, target)

    def tables(self, number: int) -> Iterator[_Table]:
        """Yield the tables of a field that is a vector of them."""
        target = self.target(number)
        if target is None:
            return
        for index in range(min(_unpacked("<I", self.buffer, target), MOST_ENTRIES)):
            place = target + 4 + 4 * index
            yield _Table(self.buffer, place + _unpacked("<I", self.buffer, place))

    def bytes(self, number: int) -> bytes:
        """Return a field that is a text or a vector of bytes."""
        target = self.target(number)
        if target is None:
            return b""
        size = _unpacked("<I", self.buffer, target)
        found = bytes(self.buffer[target + 4 : target + 4 + size])
        if len(found) != size:
            raise ValueError("a vector leads out of the buffer")
        return found

    def floats(self, number: int) -> tuple[float, ...]:
        """Return a field that is a vector of float32, of which there is one for each channel."""
        target = self.target(number)
        count = 0 if target is None else min(_unpacked("<I", self.buffer, target), MOST_CHANNELS)
        return () if target is None else struct.unpack_from(f"<{count}f", self.buffer, target + 4)


def _unpacked(kind: str, buffer: Buffer, at: int) -> int:
    if at < 0:  # struct would count from the end
        raise ValueError("an offset leads out of the buffer")
    (value,) = struct.unpack_from(kind, buffer, at)
    return int(value)


def read_metadata(artifact: Path) -> Metadata:
    """Return what the metadata of a .tflite file says; what is damaged or missing counts as not said."""
    with suppress(ValueError, struct.error, OSError), artifact.open("rb") as file:
        content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        try:
            found = _metadata(content)
        finally:
            content.close()
        return _read(found, artifact) if found is not None else Metadata()
    return Metadata()


def _metadata(model: Buffer) -> bytes | None:
    """Return the flatbuffer with the metadata; None if the model has none."""
    root = _Table(model, _unpacked("<I", model, 0))
    for entry in root.tables(6):
        if entry.bytes(0) == NAME.encode():
            wanted = entry.number(1, "I")
            buffers = root.target(4)
            if buffers is None or wanted >= _unpacked("<I", model, buffers):
                return None
            place = buffers + 4 + 4 * wanted
            return _Table(model, place + _unpacked("<I", model, place)).bytes(0)
    return None


def _read(metadata: bytes, artifact: Path) -> Metadata:
    root = _Table(metadata, _unpacked("<I", metadata, 0))
    graph = next(root.tables(3), None)
    if graph is None:
        return Metadata()
    return Metadata(
        normalizations=tuple(_normalization(tensor) for tensor in graph.tables(2)),
        labels=tuple(_labels(tensor, artifact) for tensor in graph.tables(3)),
    )


def _normalization(tensor: _Table) -> Normalization | None:
    for step in tensor.tables(4):
        options = step.table(1)
        if step.number(0, "B") == NORMALIZATION and options is not None:
            return options.floats(0), options.floats(1)
    return None


def _labels(tensor: _Table, artifact: Path) -> str | None:
    """Return the text of the first file of labels of a tensor that names no language, or else of the first one."""
    files = [(bool(one.bytes(3)), one.bytes(0)) for one in tensor.tables(6) if one.number(2, "b") == AXIS_LABELS]
    for _, name in sorted(files, key=lambda file: file[0]):
        # zipfile raises errors of many kinds for what is damaged, encrypted or no zip.
        with suppress(Exception), zipfile.ZipFile(artifact) as archive, archive.open(name.decode()) as member:
            data = member.read(LARGEST_LABELS_BYTES + 1)
            if len(data) <= LARGEST_LABELS_BYTES:
                return data.decode("utf-8")
    return None
