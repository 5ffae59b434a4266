"""From the reference graph to artifacts: one folder for each target, and what every target has in common.

A target's folder declares it (``TARGET`` in ``__init__.py``, which imports nothing heavy) and holds the module that
writes its files. Other packages add targets by the entry-point group ``xedge.targets``.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, cast

from xedge.errors import UnsupportedError, UsageError, not_known
from xedge.plugins import parts
from xedge.quantization.rules import Rules
from xedge.vocabulary import RANGES, Batch, IoType, Precision, Ranges

if TYPE_CHECKING:
    from xedge.bundle.manifest import Manifest
    from xedge.graph.ir import Graph
    from xedge.quantization.plan import Plan
    from xedge.types import FloatArray

# How far a probability may be from the host's on another machine, because kernels round differently.
GOLDEN_TOLERANCE: dict[Precision, float] = {"fp32": 1e-3, "fp16": 0.02, "dynamic": 0.1, "int8": 0.1, "w4": 0.02}
# The same for fp16 artifacts that compute in half precision on one machine and in float32 on the other.
HALF_TOLERANCE = 0.05
# Noise over signal that a precision may bring to the outputs of an untrained network, in the conformance suite. In w4
# these are the outputs of the network with weights that were rounded already.
CONFORMANCE_NOISE: dict[Precision, float] = {"fp32": 1e-4, "fp16": 0.05, "dynamic": 0.4, "int8": 0.35, "w4": 0.02}


@dataclass(frozen=True, kw_only=True)
class Pixels:
    """The last step of preprocessing inside an artifact that takes uint8 pixels: pixel * scale + offset.

    Args:
        scale: The factors, one for each channel or one for all.
        offset: What is added, one value for each channel or one for all.
    """

    scale: tuple[float, ...]
    offset: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Form:
    """The form in which an artifact is asked for.

    Args:
        precision: The precision of weights and activations.
        io: The type of the artifact's input and output. Integers go with int8.
        batch: The number of photos that the artifact takes at once, or ``dynamic`` for any number.
        pixels: The preprocessing that the artifact does itself, so that it takes uint8 pixels. None takes what ``io``
            says.
        half: Whether the artifact lets a processor compute in half precision; goes with fp16, for targets whose
            ``in_half`` says how.
        ranges: Where the ranges of an int8 artifact come from, for targets that offer a choice; None for the others.
    """

    precision: Precision
    io: IoType = "float32"
    batch: Batch = 1
    pixels: Pixels | None = None
    half: bool = False
    ranges: Ranges | None = None


class Convert(Protocol):
    """A function that writes a graph in a target's format."""

    def __call__(self, graph: Graph, form: Form, plan: Plan | None = None) -> Mapping[str, bytes]:
        """Return the artifact's files by suffix, the one that a runtime opens first."""


class Library(Protocol):
    """A module that converts, with a library's own converter, what the reference graph cannot hold."""

    WAY: str
    QUANTIZER: str
    LAYOUT: Literal["NHWC", "NCHW"]

    def convert(self, folder: Path, form: Form, photos: Callable[[], Iterable[FloatArray]]) -> Mapping[str, bytes]:
        """Return the artifact's files by suffix, the one that a runtime opens first."""


class FileLibrary(Protocol):
    """A module that converts, with a library, an ONNX file that the reference graph cannot hold."""

    WAY: str
    QUANTIZER: str

    def convert(self, file: Path, form: Form, photos: Callable[[], Iterable[FloatArray]]) -> Mapping[str, bytes]:
        """Return the artifact's files by suffix, the one that a runtime opens first."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """A format that xedge converts to.

    Args:
        name: The name as users type it.
        title: The name as people write it.
        layout: The layout of the photo at the artifact's input.
        precisions: The precisions that the format can hold, each with how weights and activations are kept, in words.
        convert: The function that writes the artifact's files.
        suffix: The suffix of the file that a runtime opens, such as ``.onnx``.
        aliases: Other names that users may type.
        rank: The target's place in lists; smaller numbers come first.
        by_name_only: Whether ``all`` leaves the target out.
        ends: The types that the input and output of an int8 artifact can have besides float32.
        batches: Whether artifacts can take batches other than 1.
        rules: What the target's integer kernels ask of quantization.
        in_half: How weights and activations are kept, in words, in an fp16 artifact that may compute in half precision
            (``Form.half``). None if the target leaves no choice.
        marks_half: Whether an fp16 artifact is made so wherever the model's values fit, because it costs nothing on
            processors without half precision. Otherwise it is made so if users ask for it.
        freedom: How far a probability may differ from the host's because the runtime chooses its own float type, at all
            precisions but fp32.
        noise: The noise over signal that the conformance suite allows at a precision, where it differs from
            ``CONFORMANCE_NOISE``.
        library: The module of the way around for models outside the reference graph, which has what ``Library`` says.
            None if there is no such way.
        file_library: The module of the way around for ONNX files, which has what ``FileLibrary`` says. None if there is
            no such way.
        colours: The colours of the target in charts, on a light and on a dark page.
        next_steps: A function that returns lines to print after a conversion, from the bundle's path and its manifest.
    """

    name: str
    title: str
    layout: Literal["NHWC", "NCHW"]
    precisions: Mapping[Precision, tuple[str | None, str | None]]
    convert: Convert
    suffix: str
    aliases: tuple[str, ...] = ()
    rank: int = 100
    by_name_only: bool = False
    ends: tuple[IoType, ...] = ()
    batches: bool = False
    rules: Rules = field(default_factory=Rules)
    in_half: tuple[str | None, str | None] | None = None
    marks_half: bool = False
    freedom: float = 0.0
    noise: Mapping[Precision, float] = field(default_factory=dict)
    library: str | None = None
    file_library: str | None = None
    colours: tuple[str, str] = ("#57606a", "#a3adb8")
    next_steps: Callable[[Path, Manifest], Sequence[str]] | None = None

    def kept(self, form: Form) -> tuple[str | None, str | None]:
        """Return how weights and activations are kept in a form, in words; None for what is in float."""
        return self.in_half if form.half and self.in_half is not None else self.precisions[form.precision]

    @property
    def ranges(self) -> tuple[Ranges, ...]:
        """Where the ranges of an int8 artifact with float ends can come from, what is taken by default first."""
        return RANGES if self.rules.dynamic_branches else ("fixed",)

    def tolerance(self, precision: Precision, *, half: bool = False) -> float:
        """Return how far a probability of an artifact may be from the host's, 0 to 1.

        Args:
            precision: The artifact's precision.
            half: Whether it may compute in half precision.
        """
        freedom = self.freedom if precision != "fp32" else 0.0
        return max(GOLDEN_TOLERANCE[precision], freedom, HALF_TOLERANCE if half else 0.0)

    def conformance_noise(self, precision: Precision) -> float:
        """Return the noise over signal that the conformance suite allows at a precision."""
        return self.noise.get(precision, CONFORMANCE_NOISE[precision])

    def check(self, form: Form) -> None:
        """Refuse a form that the target does not have.

        Raises:
            UnsupportedError: The target has no such form; the message says what it has instead.
        """
        if form.precision not in self.precisions:
            raise UnsupportedError(f"{self.name} has no {form.precision}; it has {', '.join(self.precisions)}")
        if form.io != "float32" and (form.io not in self.ends or form.precision != "int8"):
            has = " or ".join(("float32", *self.ends))
            raise UnsupportedError(
                f"{self.name} has no {form.io} input and output with {form.precision}; int8 artifacts have {has}"
            )
        if form.half and (self.in_half is None or form.precision != "fp16"):
            raise UnsupportedError(f"{self.name} {form.precision} has no choice of arithmetic in half precision")
        if form.batch != 1 and not self.batches:
            others = ", ".join(target.name for target in targets() if target.batches)
            raise UnsupportedError(
                f"{self.name} artifacts take one photo at a time, not a batch of {form.batch}; "
                f"these targets take batches: {others}"
            )


def targets() -> tuple[Target, ...]:
    """Return all targets, xedge's own and those that other packages add, in the order of their ranks."""
    return parts("xedge.converters", "TARGET", "xedge.targets")


def find_target(name: str) -> Target:
    """Return a target by its name or one of its aliases.

    Raises:
        UsageError: There is no such target.
    """
    for target in targets():
        if name == target.name or name in target.aliases:
            return target
    known = [word for target in targets() for word in (target.name, *target.aliases)]
    raise UsageError(not_known("target", name, [*known, "all"]))


def target_names(named: str | Sequence[str]) -> tuple[str, ...]:
    """Return the names of targets as users give them: one, several with commas or in a sequence, aliases, or ``all``.

    Each target is returned once. ``all`` leaves out the targets that are made only when they are asked for by name.

    Raises:
        UsageError: There is no such target.
    """
    names: list[str] = []
    for word in named.split(",") if isinstance(named, str) else named:
        if word.strip() == "all":
            names += [target.name for target in targets() if not target.by_name_only]
        else:
            names.append(find_target(word.strip()).name)
    return tuple(dict.fromkeys(names))


def find_library(target: Target) -> Library:
    """Return the module that converts to a target what the reference graph cannot hold.

    Raises:
        UnsupportedError: There is no such way to the target.
    """
    if target.library is None:
        others = ", ".join(one.name for one in targets() if one.library is not None)
        raise UnsupportedError(
            f"{target.name} takes operations of the reference graph only; these targets take others: {others}"
        )
    return cast("Library", importlib.import_module(target.library))


def find_file_library(target: Target) -> FileLibrary:
    """Return the module that converts to a target what the reference graph cannot hold of an ONNX file.

    Raises:
        UnsupportedError: There is no such way to the target.
    """
    if target.file_library is None:
        others = ", ".join(one.name for one in targets() if one.file_library is not None)
        raise UnsupportedError(
            f"{target.name} takes ONNX operators of the reference graph only; these targets take others: {others}"
        )
    return cast("FileLibrary", importlib.import_module(target.file_library))
