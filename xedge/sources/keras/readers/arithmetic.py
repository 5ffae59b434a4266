"""Arithmetic: merging layers, operators with constants, functions of one value, reductions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from xedge.errors import UnsupportedError
from xedge.graph.composed import between, power
from xedge.sources.keras.attributes import axes_of
from xedge.sources.keras.reading import reads

if TYPE_CHECKING:
    from xedge.sources.keras.layers import LayerBuilder


@reads("Add", "Subtract", "Multiply", "Divide", "TrueDivide", "Maximum", "Minimum", "Average", "BiasAdd")
def _arithmetic(builder: LayerBuilder, layer: Any, name: str, inputs: list[str]) -> str:
    """A merging layer of several tensors, or an operation on two operands, of which one may be a constant."""
    kind = {"TrueDivide": "divide", "BiasAdd": "add"}.get(type(layer).__name__, type(layer).__name__.lower())
    merged = len(builder.arguments) == 1
    operands = builder.arguments[0] if merged else builder.arguments[:2]
    constants = [one for one in operands if not isinstance(one, str)]
    if constants:
        return builder.with_constant(kind, name, *operands)
    if kind == "average":
        total = _folded(builder, "add", f"{name}/sum", operands)
        return builder.scaled(name, total, 1 / len(operands), 0.0)
    return _folded(builder, kind, name, operands)


@reads("Sqrt", "Log", "Abs", "Absolute", "Negative", "Sign")
def _unary_operation(builder: LayerBuilder, layer: Any, name: str, inputs: list[str]) -> str:
    kind = type(layer).__name__.lower()
    return builder.unary("abs" if kind == "absolute" else kind, name, inputs[0])


@reads("Square")
def _square(builder: LayerBuilder, layer: Any, name: str, inputs: list[str]) -> str:
    del layer
    return builder.elementwise("multiply", name, inputs[0], inputs[0])


@reads("Rsqrt", "Reciprocal")
def _inverse(builder: LayerBuilder, layer: Any, name: str, inputs: list[str]) -> str:
    tensor = inputs[0]
    if type(layer).__name__ == "Rsqrt":
        tensor = builder.unary("sqrt", f"{name}/root", tensor)
    return builder.elementwise("divide", name, 1.0, tensor)


@reads("Power")
def _power(builder: LayerBuilder, layer: Any, name: str, inputs: list[str]) -> str:
    """A whole power up to four, or a square root, of a tensor."""
    del layer
    base, exponent = builder.arguments[:2]
    if not isinstance(base, str) or isinstance(exponent, str) or np.size(exponent) != 1:
        raise UnsupportedError(f"{name}: a power whose exponent is not one constant")
    return power(builder, name, base, float(np.reshape(exponent, -1)[0]))


@reads("Clip")
def _clip(builder: LayerBuilder, layer: Any, name: str, inputs: list[str]) -> str:
    low, high = (float(getattr(layer, bound)) for bound in ("x_min", "x_max"))
    if low == 0 and high == 6:
        return builder.activation("relu6", inputs[0], name)
    return between(builder, name, inputs[0], low, high)


@reads("Mean", "Max", "Sum", "Min", "Amax", "Amin")
def _reduce(builder: LayerBuilder, layer: Any, name: str, inputs: list[str]) -> str:
    """keras.ops.mean, max, min and sum over height and width, over the channels, or over both."""
    axes = axes_of(name, len(builder.shapes[inputs[0]]), layer.axis)
    kind = type(layer).__name__.lower().removeprefix("a")
    return builder.reduced(name, kind, inputs[0], axes, keepdims=bool(layer.keepdims))


@reads("GlobalAveragePooling1D", "GlobalMaxPooling1D")
def _over_tokens(builder: LayerBuilder, layer: Any, name: str, inputs: list[str]) -> str:
    """The mean or the maximum over the tokens of (tokens, channels)."""
    tokens, channels = builder.shapes[inputs[0]]
    kind = "mean" if "Average" in type(layer).__name__ else "max"
    column = builder.reshaped(f"{name}/column", inputs[0], (tokens, 1, channels))
    pooled = builder.reduced(f"{name}/pooled", kind, column, (0, 1), keepdims=False)
    return builder.reshaped(name, pooled, (1, channels) if layer.keepdims else (channels,))


def _folded(builder: LayerBuilder, kind: str, name: str, operands: list[str]) -> str:
    """Combine tensors from the left to the right."""
    left = operands[0]
    for index, right in enumerate(operands[1:], start=2):
        left = builder.combined(kind, name if index == len(operands) else f"{name}/{index}", left, right)
    return left
