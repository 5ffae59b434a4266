"""Which operator of a .tflite file each kernel of an inference belongs to."""

from __future__ import annotations

import re
from collections.abc import Sequence

from xedge.runtimes.litert.profiling import KernelTime

# How the names of an operator's kernels begin; kernels of an operator that is not here are not known.
MAIN = {
    "CONV_2D": "Convolution|Fully Connected",
    "DEPTHWISE_CONV_2D": "Convolution",
    "FULLY_CONNECTED": "Fully Connected",
    "ADD": "Add",
    "SUB": "Subtract",
    "MUL": "Multiply",
    "DIV": "Divide",
    "MAXIMUM": "Maximum",
    "MINIMUM": "Minimum",
    "MAX_POOL_2D": "Max Pooling",
    "AVERAGE_POOL_2D": "Average Pooling|Global Average|Mean",
    "MEAN": "Mean|Global Average",
    "SOFTMAX": "Softmax",
    "QUANTIZE": r"Convert \(NC\)",
    "DEQUANTIZE": r"Convert \(NC\)",
    "PAD": "Constant Pad",
    "RESHAPE": "Static Reshape|Copy",
    "CONCATENATION": "Concatenate|Copy",
    "RELU": "Clamp",
    "RELU6": "Clamp",
    "LOGISTIC": "Sigmoid",
    "HARD_SWISH": "HardSwish|Hard Swish",
    "TANH": "Tanh",
    # XNNPACK has kernels for these without a name for them.
    "SIN": "Sine|Invalid Unary Op",
    "COS": "Cosine|Invalid Unary Op",
    "ABS": "Absolute Value|Abs",
    "NEG": "Negate",
    "EXP": "Exp",
    "SQRT": "Square Root",
    "RSQRT": "Reciprocal Square Root",
    "SQUARE": "Square",
    "SQUARED_DIFFERENCE": "Squared Difference",
    "ELU": "ELU",
    "GELU": "GELU",
    "LEAKY_RELU": "Leaky ReLU",
    "PRELU": "PReLU",
    "TRANSPOSE": "Transpose",
    "TRANSPOSE_CONV": "Deconvolution",
    "RESIZE_BILINEAR": "Resize Bilinear",
    "BATCH_MATMUL": "Batch Matrix Multiply",
    "SPACE_TO_DEPTH": "Space To Depth",
    "DEPTH_TO_SPACE": "Depth To Space",
    "STRIDED_SLICE": "Static Slice|Slice",
    "SLICE": "Static Slice|Slice",
}
# Kernels that XNNPACK puts before an operator, and behind it.
BEFORE, BEHIND = re.compile(r"Convert|Static Reshape|Copy"), re.compile(r"Clamp|Static Reshape|Copy")
# Operators that XNNPACK makes part of others, or computes when it loads the file.
WITHOUT_KERNEL = ("QUANTIZE", "DEQUANTIZE", "PAD", "RESHAPE", "RELU", "RELU6")


def placed(
    operators: Sequence[str], partitions: Sequence[Sequence[int]], kernels: Sequence[KernelTime]
) -> list[int] | None:
    """Return the place of the operator that each kernel of an inference belongs to; None if they do not go together.

    A kernel of the interpreter itself tells its operator. Those of XNNPACK tell their order within a partition, which
    ends where the interpreter's kernels begin or the order starts anew.

    Args:
        operators: The operators' kinds, for example ``CONV_2D``.
        partitions: The places of the operators that each partition of XNNPACK took.
        kernels: The kernels in the order of execution.
    """
    runs: list[list[int]] = []
    before: KernelTime | None = None
    for number, kernel in enumerate(kernels):
        if kernel.delegated and (before is None or not before.delegated or kernel.index <= before.index):
            runs.append([])
        if kernel.delegated:
            runs[-1].append(number)
        before = kernel
    taken = [places for places in sorted(partitions, key=list) if places]
    if len(runs) != len(taken):
        return None
    found = [kernel.index for kernel in kernels]
    for run, places in zip(runs, taken, strict=True):
        matched = match([operators[place] for place in places], [kernels[number].kernel for number in run])
        if matched is None:
            return None
        for number, which in zip(run, matched, strict=True):
            found[number] = places[which]
    return found if all(place < len(operators) for place in found) else None


def match(operators: Sequence[str], kernels: Sequence[str]) -> list[int] | None:
    """Return the place of the operator that each kernel belongs to; None if they do not go together.

    Operators and kernels are in the order of execution. An operator has one kernel, which may have others before and
    behind it, for example one that finds the ranges of a photo.

    Args:
        operators: The operators' kinds, for example ``CONV_2D``.
        kernels: The kernels' names, for example ``Convolution (NHWC, F32) IGEMM``.
    """
    places: list[int] = []
    for place, kind in enumerate(operators):
        main = MAIN.get(kind)
        if main is None:
            return None
        ahead = _ahead(main, kernels, len(places))
        if ahead is None:
            if kind not in WITHOUT_KERNEL:
                return None
            continue
        places += [place] * ahead
        # An activation that the file has within the operator may be a kernel of its own.
        following = operators[place + 1] if place + 1 < len(operators) else ""
        if following not in ("RELU", "RELU6") and re.match("Clamp", "".join(kernels[len(places) : len(places) + 1])):
            places.append(place)
    behind = kernels[len(places) :]
    if not places or not all(BEHIND.match(name) for name in behind):
        return None
    return places + [places[-1]] * len(behind)


def _ahead(main: str, kernels: Sequence[str], start: int) -> int | None:
    """Return how many kernels are passed up to and with the operator's own; None if it has none here."""
    for index in range(start, len(kernels)):
        if re.match(main, kernels[index]):
            return index - start + 1
        if not BEFORE.match(kernels[index]):
            return None
    return None
