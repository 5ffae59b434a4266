"""Normalizations: those that are a scale of each channel in inference, and those that look at the values."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from xedge.errors import UnsupportedError
from xedge.graph.ir import Conv, Mean
from xedge.sources.keras.attributes import array_of, axes_of
from xedge.sources.keras.reading import reads
from xedge.types import FloatArray

if TYPE_CHECKING:
    from xedge.sources.keras.layers import LayerBuilder


@reads("BatchNormalization")
def _batch_normalization(builder: LayerBuilder, layer: Any, name: str, inputs: list[str]) -> str:
    shape = builder.shapes[inputs[0]]
    if layer.axis not in (-1, len(shape)):
        raise UnsupportedError(f"{name}: normalizes axis {layer.axis}, not the channels")
    mean, variance = (array_of(v).astype(np.float64) for v in (layer.moving_mean, layer.moving_variance))
    with np.errstate(invalid="ignore"):  # a negative variance is told with its layer when the whole model is read
        factor = (array_of(layer.gamma) if layer.scale else 1.0) / np.sqrt(variance + layer.epsilon)
    offset = (array_of(layer.beta) if layer.center else 0.0) - mean * factor
    return builder.scaled(name, inputs[0], factor, offset)


@reads("BatchNorm")
def _batch_norm(builder: LayerBuilder, layer: Any, name: str, inputs: list[str]) -> str:
    """keras.ops.batch_normalization with constant statistics."""
    mean, variance, offset, scale = (*builder.arguments[1:], None, None)[:4]
    axis = layer.axis if isinstance(layer.axis, int) else layer.axis[0]
    if axis not in (-1, len(builder.shapes[inputs[0]])) or any(isinstance(one, str) for one in (mean, variance)):
        raise UnsupportedError(f"{name}: a batch normalization that is not over the channels with constants")
    factor = (1.0 if scale is None else scale) / np.sqrt(variance.astype(np.float64) + layer.epsilon)
    return builder.scaled(name, inputs[0], factor, (0.0 if offset is None else offset) - mean * factor)


@reads("Rescaling")
def _rescaling(builder: LayerBuilder, layer: Any, name: str, inputs: list[str]) -> str:
    return builder.scaled(name, inputs[0], layer.scale, layer.offset)


@reads("Normalization")
def _normalization(builder: LayerBuilder, layer: Any, name: str, inputs: list[str]) -> str:
    if layer.invert or np.size(array_of(layer.mean)) not in (1, builder.shapes[inputs[0]][-1]):
        raise UnsupportedError(f"{name}: a Normalization that is inverted or not per channel")
    deviation = np.maximum(np.sqrt(array_of(layer.variance)), keras.config.epsilon())
    return builder.scaled(name, inputs[0], 1 / deviation, -array_of(layer.mean) / deviation)


@reads("LayerScale")
def _layer_scale(builder: LayerBuilder, layer: Any, name: str, inputs: list[str]) -> str:
    """A factor for each channel, as ConvNeXt has it."""
    return builder.scaled(name, inputs[0], array_of(layer.gamma), 0.0)


@reads("LayerNormalization")
def _layer_normalization(builder: LayerBuilder, layer: Any, name: str, inputs: list[str]) -> str:
    """Ba et al., "Layer Normalization", 2016, over the channels of each position or over more axes."""
    axes = axes_of(name, len(builder.shapes[inputs[0]]), layer.axis)
    gamma, beta = (
        _spread(builder, inputs[0], array, axes) if wanted else None
        for array, wanted in ((layer.gamma, layer.scale), (layer.beta, layer.center))
    )

    def mean(part: str, tensor: str) -> str:
        return builder.reduced(f"{name}/{part}", "mean", tensor, axes, keepdims=True)

    return _normalized(builder, name, inputs[0], mean, float(layer.epsilon), gamma, beta)


def _spread(builder: LayerBuilder, tensor: str, variable: Any, axes: tuple[int, ...]) -> FloatArray:
    """Return a variable over some axes of a tensor, with size 1 along the others."""
    shape = builder.shapes[tensor]
    return array_of(variable).reshape([size if axis in axes else 1 for axis, size in enumerate(shape)])


def _normalized(
    builder: LayerBuilder,
    name: str,
    tensor: str,
    mean: Callable[[str, str], str],
    epsilon: float,
    gamma: FloatArray | None,
    beta: FloatArray | None,
) -> str:
    """(x - mean) / sqrt(variance + epsilon) * gamma + beta, with the means that ``mean`` computes."""
    moved = builder.elementwise("subtract", f"{name}/moved", tensor, mean("mean", tensor))
    squares = builder.elementwise("multiply", f"{name}/squares", moved, moved)
    variance = builder.elementwise("add", f"{name}/variance", mean("square_mean", squares), epsilon)
    return _divided(builder, name, moved, builder.unary("sqrt", f"{name}/deviation", variance), gamma, beta)


def _divided(
    builder: LayerBuilder, name: str, tensor: str, by: str, gamma: FloatArray | None, beta: FloatArray | None
) -> str:
    """X / by * gamma + beta."""
    steps: list[tuple[str, Any]] = [("divide", by)]
    steps += [("multiply", gamma)] if gamma is not None else []
    steps += [("add", beta)] if beta is not None else []
    result = tensor
    for index, (kind, operand) in enumerate(steps, start=1):
        result = builder.elementwise(kind, name if index == len(steps) else f"{name}/{kind}", result, operand)
    return result


@reads("RMSNormalization")
def _rms_normalization(builder: LayerBuilder, layer: Any, name: str, inputs: list[str]) -> str:
    """X / sqrt(mean of squares + epsilon) * scale; Zhang and Sennrich, 2019, equation 4."""
    axes = axes_of(name, len(builder.shapes[inputs[0]]), layer.axis)
    squares = builder.elementwise("multiply", f"{name}/squares", inputs[0], inputs[0])
    mean = builder.reduced(f"{name}/square_mean", "mean", squares, axes, keepdims=True)
    under = builder.elementwise("add", f"{name}/under", mean, float(layer.epsilon))
    scale = _spread(builder, inputs[0], layer.scale, axes)
    return _divided(builder, name, inputs[0], builder.unary("sqrt", f"{name}/root", under), scale, None)


@reads("GroupNormalization")
def _group_normalization(builder: LayerBuilder, layer: Any, name: str, inputs: list[str]) -> str:
    """Wu and He, "Group Normalization", 2018: the mean of a group is a 1x1 convolution of its channels' means."""
    shape = builder.shapes[inputs[0]]
    groups = shape[-1] if layer.groups == -1 else int(layer.groups)
    if len(shape) != 3 or layer.axis not in (-1, 3):
        raise UnsupportedError(f"{name}: a GroupNormalization over axis {layer.axis} of {shape}")
    size = shape[-1] // groups
    same = np.kron(np.eye(groups), np.full((size, size), 1 / size)).astype(np.float32)

    def mean(part: str, tensor: str) -> str:
        each = builder.add(Mean(name=f"{name}/{part}_of_channels", inputs=(tensor,), keepdims=True))
        bias = np.zeros(shape[-1], np.float32)
        return builder.add(Conv(name=f"{name}/{part}", inputs=(each,), kernel=same[None, None], bias=bias))

    gamma = array_of(layer.gamma) if layer.scale else None
    beta = array_of(layer.beta) if layer.center else None
    return _normalized(builder, name, inputs[0], mean, float(layer.epsilon), gamma, beta)


@reads("UnitNormalization", "Normalize")
def _unit_normalization(builder: LayerBuilder, layer: Any, name: str, inputs: list[str]) -> str:
    """X / sqrt(max(sum of squares, least)), over the channels of each position or over more axes."""
    if getattr(layer, "order", 2) != 2:
        raise UnsupportedError(f"{name}: a norm of order {layer.order}, not 2")
    axes = axes_of(name, len(builder.shapes[inputs[0]]), layer.axis)
    squares = builder.elementwise("multiply", f"{name}/squares", inputs[0], inputs[0])
    total = builder.reduced(f"{name}/sum", "sum", squares, axes, keepdims=True)
    # The layer bounds the sum of squares, the operation its root.
    least = float(layer.epsilon or keras.config.epsilon()) ** 2 if hasattr(layer, "epsilon") else 1e-12
    length = builder.unary("sqrt", f"{name}/length", builder.elementwise("maximum", f"{name}/least", total, least))
    return builder.elementwise("divide", name, inputs[0], length)
