"""Which operator of a .tflite file each kernel of XNNPACK belongs to."""

from __future__ import annotations

import re
from collections.abc import Sequence

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
}
# Kernels that XNNPACK puts before an operator, and behind it.
BEFORE, BEHIND = re.compile(r"Convert|Static Reshape|Copy"), re.compile(r"Clamp|Static Reshape|Copy")
# Operators that XNNPACK makes part of others, or computes when it loads the file.
WITHOUT_KERNEL = ("DEQUANTIZE", "PAD", "RESHAPE", "RELU", "RELU6")


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
