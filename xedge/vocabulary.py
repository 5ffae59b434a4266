"""The names that users type, without importing anything heavy: ``xedge --help`` needs them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, cast

from xedge.errors import UsageError, not_known

Precision = Literal["fp32", "fp16", "dynamic", "int8", "w4"]
IoType = Literal["float32", "int8", "uint8"]
# The types of an artifact's input and output. xedge itself makes no float16.
ElementType = Literal["float32", "float16", "int8", "uint8"]
# In what an fp16 artifact may be asked to compute.
Arithmetic = Literal["float16"]
Layout = Literal["NHWC", "NCHW"]
Batch = int | Literal["dynamic"]
Crop = Literal["none", "center"]
# What users may ask for besides: the centre of a photo that is scaled as at the model's own size.
CropChoice = Literal["none", "center", "scale"]
# How users say that photos are resized: bilinear with antialiasing, or without, as Keras' data sets do.
Resize = Literal["pillow", "keras"]
# What a model's output holds: a value for each class, or one value for the second of two classes.
OutputKind = Literal["probabilities", "logits", "probability", "logit"]
# What has a scale of its own in the integer weights of a product.
ScaleKind = Literal["per group", "per channel", "per tensor"]
# Where the ranges of int8 activations come from: from each photo at run time, or from the calibration photos.
Ranges = Literal["photo", "fixed"]
RANGES: tuple[Ranges, ...] = ("photo", "fixed")
# The ranges that cost least on a board at little loss. Ranges of each photo leave residual streams in float, which
# Raspberry Pis have to move through slow memory (docs/choosing.md).
BOARD_RANGES: dict[str, Ranges] = {"pi3": "fixed", "pi4": "fixed", "pi5": "fixed", "jetson": "fixed", "x86": "photo"}
OUTPUT_KINDS: tuple[OutputKind, ...] = ("probabilities", "logits", "probability", "logit")
# What is left of an output without its softmax or sigmoid.
BARE: dict[OutputKind, OutputKind] = {
    "probabilities": "logits",
    "logits": "logits",
    "probability": "logit",
    "logit": "logit",
}

# Stands in artifacts between the name of a node of the reference graph and what is only a part of it.
PART = "#"
# The precisions that ``all`` stands for. Those that are made by name only lose more accuracy than int8, and not every
# target has them.
PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "dynamic", "int8")
BY_NAME_ONLY: tuple[Precision, ...] = ("w4",)
# The precisions that need calibration photos.
CALIBRATED: tuple[Precision, ...] = ("int8", "w4")
SCHEMES = ("tf", "torch", "caffe", "unit", "raw")
# Kinds of files that say how photos are prepared, by the library that writes them; a colon and the path follow.
SCHEME_FILES = ("timm", "torchvision")
COMPACT = "xception_compact"
# A drop of more percentage points than this is not worth any gain in speed, unless the user says otherwise.
TOLERATED_POINTS = 1.0
# Built-in networks, and the preprocessing that their published weights were trained with.
BUILT_IN = {"xception": "tf", "inception_v3": "tf", "resnet50": "caffe"}


def precision_names(named: str | Sequence[str]) -> tuple[Precision, ...]:
    """Return precisions as users give them: one, several with commas or in a sequence, or ``all``; each once.

    ``all`` stands for ``PRECISIONS``; those of ``BY_NAME_ONLY`` have to be named.

    Raises:
        UsageError: There is no such precision.
    """
    names: list[str] = []
    for word in named.split(",") if isinstance(named, str) else named:
        if word.strip() not in (*PRECISIONS, *BY_NAME_ONLY, "all"):
            raise UsageError(not_known("precision", word.strip(), [*PRECISIONS, *BY_NAME_ONLY, "all"]))
        names += PRECISIONS if word.strip() == "all" else [word.strip()]
    return cast("tuple[Precision, ...]", tuple(dict.fromkeys(names)))


def ranges_names(named: str | Sequence[str]) -> tuple[Ranges, ...]:
    """Return where ranges come from as users give it: one, several with commas or in a sequence, or ``all``; each once.

    Raises:
        UsageError: There are no such ranges.
    """
    names: list[str] = []
    for word in named.split(",") if isinstance(named, str) else named:
        if word.strip() != "all" and word.strip() not in RANGES:
            raise UsageError(not_known("ranges", word.strip(), [*RANGES, "all"]))
        names += RANGES if word.strip() == "all" else [word.strip()]
    return cast("tuple[Ranges, ...]", tuple(dict.fromkeys(names)))


def artifact_name(
    target: str, precision: str, ranges: Ranges | None = None, size: tuple[int, int] | None = None
) -> str:
    """Return the name of an artifact in tables; the ranges that int8 has by default are not named.

    Args:
        target: The target.
        precision: The precision.
        ranges: Where the ranges of int8 come from, for targets that offer a choice; None for the others.
        size: The height and width of photos, where there are several sizes; None otherwise.
    """
    fixed, sized = " fixed" if ranges == "fixed" else "", "" if size is None else f" {size_name(size)}"
    return f"{target} {precision}{fixed}{sized}"


def size_name(size: tuple[int, int] | None) -> str:
    """Return a height and a width as users type them; ``own`` for the model's own size."""
    return "own" if size is None else f"{size[0]}x{size[1]}"


def board_ranges(board: str) -> Ranges:
    """Return the ranges that int8 should have on a board.

    Raises:
        UsageError: There is no such board.
    """
    if board not in BOARD_RANGES:
        raise UsageError(not_known("board", board, list(BOARD_RANGES)))
    return BOARD_RANGES[board]


def scheme_file(named: str) -> tuple[str, str]:
    """Return the kind and the path of a file that says how photos are prepared, given as ``timm:FILE``.

    Raises:
        UsageError: It is no such file, and no scheme either.
    """
    kind, _, path = named.partition(":")
    if kind not in SCHEME_FILES or not path:
        raise UsageError(not_known("preprocessing", named, [*SCHEMES, *(f"{one}:FILE.json" for one in SCHEME_FILES)]))
    return kind, path


def scheme_name(text: str) -> str:
    """Return the name of a preprocessing scheme, or a kind of file with its path, as it was given.

    Raises:
        UsageError: There is no such scheme or kind of file.
    """
    if text not in SCHEMES:
        scheme_file(text)
    return text
