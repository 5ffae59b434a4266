"""Arithmetic: merging layers, operators with constants, functions of one value, reductions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from xedge.errors import UnsupportedError
from xedge.graph.ir import Add, Mean, Multiply, Reduce, Reshape, broadcast
from xedge.sources.keras.readers.activations import between
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
        return _with_constant(builder, kind, name, operands)
    if kind == "average":
        total = _folded(builder, "add", f"{name}/sum", operands)
        return builder.scaled(name, total, 1 / len(operands), 0.0)
    return _folded(builder, kind, name, operands)


def _with_constant(builder: LayerBuilder, kind: str, name: str, operands: list[Any]) -> str:
    """An operation on a tensor and a constant: a scale, which folds away, if it is linear in each channel."""
    (tensor,) = (one for one in operands if isinstance(one, str))
    (constant,) = (one for one in operands if not isinstance(one, str))
    shape, constant_first = builder.shapes[tensor], not isinstance(operands[0], str)
    value = constant.astype(np.float64)
    if constant.size not in (1, shape[-1]) or constant.size not in (1, *constant.shape[-1:]):
        return builder.elementwise(kind, name, *operands)
    if kind == "add":
        return builder.scaled(name, tensor, 1.0, value)
    if kind == "subtract":
        return builder.scaled(name, tensor, *((-1.0, value) if constant_first else (1.0, -value)))
    if kind == "multiply":
        return builder.scaled(name, tensor, value, 0.0)
    if kind == "divide" and not constant_first:
        return builder.scaled(name, tensor, 1 / value, 0.0)
    return builder.elementwise(kind, name, *operands)


def _folded(builder: LayerBuilder, kind: str, name: str, operands: list[str]) -> str:
    """Combine tensors from the left to the right."""
    left = operands[0]
    for index, right in enumerate(operands[1:], start=2):
        step = name if index == len(operands) else f"{name}/{index}"
        left = _combined(builder, kind, step, left, right)
    return left


def _combined(builder: LayerBuilder, kind: str, name: str, left: str, right: str) -> str:
    left, right = (_of_rank(builder, name, one, (left, right)) for one in (left, right))
    shapes = builder.shapes[left], builder.shapes[right]
    if kind == "add" and shapes[0] == shapes[1]:
        return builder.add(Add(name=name, inputs=(left, right)))
    if kind == "multiply":
        ordered = sorted((left, right), key=lambda tensor: -int(np.prod(builder.shapes[tensor])))
        if broadcast(name, shapes) == builder.shapes[ordered[0]]:
            return builder.add(Multiply(name=name, inputs=tuple(ordered)))
    return builder.elementwise(kind, name, left, right)


def _of_rank(builder: LayerBuilder, name: str, tensor: str, together: tuple[str, str]) -> str:
    """A vector beside a photo's tensor becomes (1, 1, C), as broadcasting takes it."""
    rank = max(len(builder.shapes[one]) for one in together)
    shape = builder.shapes[tensor]
    if len(shape) == rank:
        return tensor
    spread = (1,) * (rank - len(shape)) + tuple(shape)
    return builder.add(Reshape(name=builder.unique(f"{name}/spread"), inputs=(tensor,), shape=spread))


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
    power = float(np.reshape(exponent, -1)[0])
    if power in (0.5, -0.5):
        root = builder.unary("sqrt", f"{name}/root" if power < 0 else name, base)
        return builder.elementwise("divide", name, 1.0, root) if power < 0 else root
    if power not in (-2.0, -1.0, 1.0, 2.0, 3.0, 4.0):
        raise UnsupportedError(f"{name}: the power {power:g} is not in the reference graph's set")
    result, times = base, int(abs(power))
    for step in range(2, times + 1):
        last = step == times and power > 0
        result = builder.elementwise("multiply", name if last else f"{name}/{step}", result, base)
    return result if power > 0 else builder.elementwise("divide", name, 1.0, result)


@reads("Clip")
def _clip(builder: LayerBuilder, layer: Any, name: str, inputs: list[str]) -> str:
    low, high = (float(getattr(layer, bound)) for bound in ("x_min", "x_max"))
    if low == 0 and high == 6:
        return builder.activation("relu6", inputs[0], name)
    return between(builder, name, inputs[0], low, high)


@reads("Mean", "Max", "Sum", "Min", "Amax", "Amin")
def _reduce(builder: LayerBuilder, layer: Any, name: str, inputs: list[str]) -> str:
    """keras.ops.mean, max, min and sum over height and width, over the channels, or over both."""
    axes = axes_of(builder, name, inputs[0], layer.axis)
    kind = type(layer).__name__.lower().removeprefix("a")
    if kind == "min":
        mirrored = builder.unary("negative", f"{name}/mirrored", inputs[0])
        largest = reduced(builder, f"{name}/largest", "max", mirrored, axes, keepdims=bool(layer.keepdims))
        return builder.unary("negative", name, largest)
    return reduced(builder, name, kind, inputs[0], axes, keepdims=bool(layer.keepdims))


@reads("GlobalAveragePooling1D", "GlobalMaxPooling1D")
def _over_tokens(builder: LayerBuilder, layer: Any, name: str, inputs: list[str]) -> str:
    """The mean or the maximum over the tokens of (tokens, channels)."""
    tokens, channels = builder.shapes[inputs[0]]
    kind = "mean" if "Average" in type(layer).__name__ else "max"
    column = builder.add(Reshape(name=f"{name}/column", inputs=(inputs[0],), shape=(tokens, 1, channels)))
    pooled = reduced(builder, f"{name}/pooled", kind, column, (0, 1), keepdims=False)
    shape = (1, channels) if layer.keepdims else (channels,)
    return builder.add(Reshape(name=name, inputs=(pooled,), shape=shape))


def axes_of(builder: LayerBuilder, name: str, tensor: str, given: Any) -> tuple[int, ...]:
    """Return axes as the graph counts them, without the batch, of those that Keras was given.

    Raises:
        UnsupportedError: The batch is among them.
    """
    rank = len(builder.shapes[tensor])
    axes = given if isinstance(given, list | tuple) else [given]
    if given is None or any(axis % (rank + 1) == 0 for axis in axes):
        raise UnsupportedError(f"{name}: reduces the batch")
    return tuple(sorted(axis % (rank + 1) - 1 for axis in axes))


def reduced(builder: LayerBuilder, name: str, kind: str, tensor: str, axes: tuple[int, ...], *, keepdims: bool) -> str:
    """Add a reduction over axes, counted without the batch, and return the name of its result."""
    shape = builder.shapes[tensor]
    if kind == "mean" and axes == (0, 1) and len(shape) == 3:
        return builder.add(Mean(name=name, inputs=(tensor,), keepdims=keepdims))
    kept_name = name if keepdims else f"{name}/kept"
    kept = builder.add(Reduce(name=kept_name, inputs=(tensor,), kind=kind, axes=axes))  # type: ignore[arg-type]
    if keepdims:
        return kept
    rest = tuple(size for axis, size in enumerate(shape) if axis not in axes)
    return builder.add(Reshape(name=name, inputs=(kept,), shape=rest))
