"""Models as users name them: one folder for each kind of model that can be read.

A kind's folder declares it (``SOURCE`` in ``__init__.py``, which imports nothing heavy) and holds the modules that read
it. Other packages add kinds by the entry-point group ``xedge.sources``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from xedge.errors import UnsupportedError
from xedge.plugins import parts

if TYPE_CHECKING:
    from xedge.graph.ir import Graph
    from xedge.types import FloatArray
    from xedge.vocabulary import OutputKind


class FloatModel(Protocol):
    """Something that computes a model in float32."""

    def output(self, photos: Iterable[FloatArray]) -> FloatArray:
        """Return outputs (N, classes) for preprocessed photos (H, W, C)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ReadModel:
    """What was read of a model.

    Args:
        graph: The reference graph.
        original: The model as its own framework computes it in inference, which the graph is checked against.
        name: The model's own name.
        scheme: The preprocessing scheme that the model itself suggests, and the reason; None if it suggests none.
        size_reason: Why photos have the size that they have, where the model takes others too; None where it does not.
        notes: What the user should know of how the model was taken.
        own_size: The height and width of photos that the model itself has, where another size was asked for; None if
            it has none, or this is it.
    """

    graph: Graph
    original: FloatModel
    name: str
    scheme: tuple[str, str] | None = None
    size_reason: str | None = None
    notes: tuple[str, ...] = ()
    own_size: tuple[int, int] | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class FloatFile:
    """A model outside the reference graph, as an ONNX file that libraries' converters take.

    Args:
        path: The file: one float32 photo in a batch of one, and one float32 row.
        layout: The layout of the photo.
        original: The model as ONNX Runtime computes it from the user's own file.
    """

    path: Path
    layout: Literal["NHWC", "NCHW"]
    original: FloatModel


class WritesFloat(Protocol):
    """A function that writes a model as an ONNX file."""

    def __call__(self, source: Source, folder: Path) -> FloatFile:
        """Return the file, which is written into a folder; errors are those of ``Reader``."""


class OutsideSetError(UnsupportedError):
    """A model that is not in the reference graph's set, with what was learnt of it before that was found.

    Args:
        message: The layer, and why.
        scheme: The preprocessing scheme that the model suggests, and the reason; None if it suggests none.
        notes: What the user should know of how the model was taken.
    """

    def __init__(self, message: str, scheme: tuple[str, str] | None = None, notes: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.scheme, self.notes = scheme, notes


class Reader(Protocol):
    """A function that reads a model."""

    def __call__(self, source: Source, scratch: Path, *, allow_code: bool) -> ReadModel:
        """Return what the model is.

        Args:
            source: The model as the user named it.
            scratch: A folder that stays as long as what is returned is used.
            allow_code: Whether the model may bring code of its own.

        Raises:
            InputError: The file is damaged, is not a model, or brings code that was not allowed.
            UnsupportedError: The model cannot be read into the reference graph, though a library may take it.
        """


class Takes(Protocol):
    """A function that tells whether a path is a model of a kind."""

    def __call__(self, path: Path) -> bool:
        """Return whether this kind reads the file or folder, by its name and without opening large files."""


@dataclass(frozen=True, kw_only=True)
class SourceKind:
    """A kind of model that can be read.

    Args:
        name: The kind's name.
        words: What to give, for messages, such as "a .keras file".
        takes: A function that tells whether a path is a model of this kind.
        read: A function that reads it.
        rank: The kind's place in messages, and among kinds that take the same path; smaller numbers come first.
        library: The module that TensorFlow's process runs for such models outside the reference graph, for libraries'
            converters (``_tensorflow``); None if there is no such way.
        float_file: A function that writes such models as ONNX files, for libraries' converters of these; None if there
            is no such way.
    """

    name: str
    words: str
    takes: Takes
    read: Reader
    rank: int = 100
    library: str | None = None
    float_file: WritesFloat | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Source:
    """A model as the user named it.

    Args:
        name: The name for files and reports.
        path: The model's file or folder; None for a built-in name.
        kind: The kind of model, which reads it.
        scheme: The preprocessing scheme that the model was trained with, if that is known.
        embedded: Whether it is the embedded default.
        weights: Where the weights come from, for a built-in name.
        size: The height and width of photos that the user asks for; None takes the model's own.
        output_kind: What the output holds, as the user says; None finds out.
        dequantize: Whether the float model of a file that is quantized already is to be restored.
    """

    name: str
    path: Path | None
    kind: SourceKind
    scheme: str | None = None
    embedded: bool = False
    weights: str | None = None
    size: tuple[int, int] | None = None
    output_kind: OutputKind | None = None
    dequantize: bool = False

    def __str__(self) -> str:
        return self.name if self.path is None or self.embedded else self.path.name


def source_kinds() -> tuple[SourceKind, ...]:
    """Return all kinds of models, xedge's own and those that other packages add, in the order of their ranks."""
    return parts("xedge.sources", "SOURCE", "xedge.sources")
