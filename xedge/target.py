"""What every target has: its name, what it can hold, and the function that writes its files."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, cast

import numpy as np

from xedge.errors import UnsupportedError, UsageError
from xedge.graph.ir import Graph
from xedge.quantization.plan import Plan
from xedge.types import FloatArray
from xedge.vocabulary import Batch, IoType, Precision


@dataclass(frozen=True, kw_only=True)
class Pixels:
    """The last step of preprocessing inside an artifact that takes uint8: pixel * scale + offset.

    Args:
        scale, offset: one per channel, or one for all.
    """

    scale: tuple[float, ...]
    offset: tuple[float, ...]

    def factors(self, channels: int) -> tuple[FloatArray, FloatArray]:
        """Return (scale, offset), (channels,) each."""
        return tuple(np.resize(np.asarray(v, np.float32), channels) for v in (self.scale, self.offset))  # type: ignore[return-value]


@dataclass(frozen=True, kw_only=True)
class Form:
    """In which form an artifact is asked for.

    Args:
        precision: of weights and activations.
        io: type of the ends; integers go with int8.
        batch: a fixed number of photos, or "dynamic".
        pixels: the artifact takes uint8 pixels and does this with them; None takes what ``io`` says.
    """

    precision: Precision
    io: IoType = "float32"
    batch: Batch = 1
    pixels: Pixels | None = None

    def __post_init__(self) -> None:
        if self.pixels is not None and self.io != "float32":
            raise UsageError(f"--pixels and --io {self.io} both say what an artifact takes; give one of them")


class Convert(Protocol):
    """Writes a graph in a target's format."""

    def __call__(self, graph: Graph, form: Form, plan: Plan | None = None) -> Mapping[str, bytes]:
        """Return the artifact's files by suffix, the one that a runtime opens first."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """One format.

    Args:
        name: as users type it.
        title: as people write it.
        layout: of the photo at the artifact's input.
        precisions: what it can hold, each with how weights and activations are kept, in words.
        ends: types that the ends of an int8 artifact can have beside float32.
        batches: whether it takes other batches than 1.
        convert: writes it.
        dynamic_branches: whether its int8 takes the ranges of each photo between float sums, which costs little there.
        symmetric: whether its int8 activations have no zero points.
        pairs: whether its int8 kernels add products in pairs, in 16 bits, on some processors.
        freedom: how far a probability may be from the host's because the runtime picks its float type, but at fp32.
    """

    name: str
    title: str
    layout: Literal["NHWC", "NCHW"]
    precisions: Mapping[Precision, tuple[str | None, str | None]]
    ends: tuple[IoType, ...]
    batches: bool
    convert: Convert
    dynamic_branches: bool = False
    symmetric: bool = False
    pairs: bool = False
    freedom: float = 0.0

    def check(self, form: Form) -> None:
        """Refuse a form that the target does not have.

        Raises:
            UnsupportedError: with what it has instead.
        """
        if form.precision not in self.precisions:
            raise UnsupportedError(f"{self.name}: no {form.precision}; it has {', '.join(self.precisions)}")
        if form.io != "float32" and (form.io not in self.ends or form.precision != "int8"):
            has = " or ".join(("float32", *self.ends))
            raise UnsupportedError(
                f"{self.name}: no {form.io} input and output with {form.precision}; int8 artifacts have {has}"
            )
        if form.batch != 1 and not self.batches:
            raise UnsupportedError(
                f"{self.name}: artifacts take one photo; --batch {form.batch} goes with onnx, openvino"
            )


def find_target(name: str) -> Target:
    """Return a target by name; its module, ``xedge.converters.NAME``, and its packages are imported now."""
    target: Target = importlib.import_module(f"xedge.converters.{name}").TARGET
    return target


class Library(Protocol):
    """A module, ``xedge.converters.NAME_library``, that converts what the reference graph cannot hold."""

    WAY: str
    QUANTIZER: str
    LAYOUT: Literal["NHWC", "NCHW"]

    def convert(self, folder: Path, form: Form, photos: Callable[[], Iterable[FloatArray]]) -> Mapping[str, bytes]:
        """Return the artifact's files by suffix, the one that a runtime opens first."""


def find_library(name: str) -> Library:
    """Return the library's way to a target.

    Raises:
        UnsupportedError: no library goes there.
    """
    if importlib.util.find_spec(f"xedge.converters.{name}_library") is None:
        raise UnsupportedError(f"{name}: takes operations of the reference graph only; --target onnx takes others")
    return cast("Library", importlib.import_module(f"xedge.converters.{name}_library"))
