"""Activations: those that formats have an operator for, and those that are made of other operations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from xedge.errors import UnsupportedError
from xedge.graph import composed
from xedge.sources.keras.attributes import array_of, function_name
from xedge.sources.keras.reading import reads

if TYPE_CHECKING:
    from xedge.sources.keras.layers import LayerBuilder


@reads("Activation")
def _activation_layer(builder: LayerBuilder, layer: Any, name: str, inputs: list[str]) -> str:
    return builder.activation(function_name(layer.activation), inputs[0], name)


@reads("ReLU")
def _relu(builder: LayerBuilder, layer: Any, name: str, inputs: list[str]) -> str:
    maximum = None if layer.max_value is None else float(layer.max_value)
    slope, threshold = float(layer.negative_slope), float(layer.threshold)
    if threshold:
        return composed.relu_from(builder, name, inputs[0], maximum, slope, threshold)
    if maximum in (None, 6.0) and not slope:
        return builder.activation("relu" if maximum is None else "relu6", inputs[0], name)
    if maximum is None:
        return builder.activation("leaky_relu", inputs[0], name, slope)
    bounded = builder.elementwise("minimum", name if not slope else f"{name}/bounded", inputs[0], maximum)
    if not slope:
        return builder.activation("relu", bounded, f"{name}/rectified")
    return composed.leaky(builder, name, bounded, slope)


@reads("LeakyReLU", "LeakyRelu")
def _leaky_relu(builder: LayerBuilder, layer: Any, name: str, inputs: list[str]) -> str:
    slope = float(layer.negative_slope)
    return builder.activation("leaky_relu" if slope else "relu", inputs[0], name, slope)


@reads("PReLU")
def _prelu(builder: LayerBuilder, layer: Any, name: str, inputs: list[str]) -> str:
    return composed.leaky(builder, name, inputs[0], array_of(layer.alpha))


@reads("ELU", "Elu")
def _elu_layer(builder: LayerBuilder, layer: Any, name: str, inputs: list[str]) -> str:
    return builder.activation("elu", inputs[0], name, float(layer.alpha))


@reads("Softmax", "LogSoftmax")
def _softmax(builder: LayerBuilder, layer: Any, name: str, inputs: list[str]) -> str:
    if layer.axis not in (-1, len(builder.shapes[inputs[0]])):
        raise UnsupportedError(f"{name}: softmax over axis {layer.axis}, not the last")
    return builder.activation("softmax" if type(layer).__name__ == "Softmax" else "log_softmax", inputs[0], name)


@reads("Gelu")
def _gelu(builder: LayerBuilder, layer: Any, name: str, inputs: list[str]) -> str:
    return (
        composed.gelu_by_tanh(builder, name, inputs[0])
        if layer.approximate
        else builder.activation("gelu", inputs[0], name)
    )


@reads("Celu")
def _celu_operation(builder: LayerBuilder, layer: Any, name: str, inputs: list[str]) -> str:
    return composed.celu(builder, name, inputs[0], float(layer.alpha))


@reads("SoftShrink")
def _soft_shrink_operation(builder: LayerBuilder, layer: Any, name: str, inputs: list[str]) -> str:
    return composed.soft_shrink(builder, name, inputs[0], float(layer.threshold))


@reads("HardShrink")
def _hard_shrink_operation(builder: LayerBuilder, layer: Any, name: str, inputs: list[str]) -> str:
    return composed.hard_shrink(builder, name, inputs[0], float(layer.threshold))


@reads("Threshold")
def _threshold_operation(builder: LayerBuilder, layer: Any, name: str, inputs: list[str]) -> str:
    """X where it is more than a threshold, and a default elsewhere."""
    gate, default = composed.exceeded(builder, name, inputs[0], float(layer.threshold)), float(layer.default_value)
    passed = builder.elementwise("multiply", f"{name}/passed", inputs[0], gate)
    rest = builder.elementwise("subtract", f"{name}/rest", 1.0, gate)
    return builder.elementwise("add", name, passed, builder.elementwise("multiply", f"{name}/away", rest, default))


@reads("Squareplus")
def _squareplus_operation(builder: LayerBuilder, layer: Any, name: str, inputs: list[str]) -> str:
    return composed.squareplus(builder, name, inputs[0], float(layer.b))


def _named_activation(kind: str) -> Any:
    def read(builder: LayerBuilder, layer: Any, name: str, inputs: list[str]) -> str:
        del layer
        return builder.activation(kind, inputs[0], name)

    return read


# The functions of keras.ops that are activations without parameters.
for _operation, _kind in {
    "Relu": "relu",
    "Relu6": "relu6",
    "Sigmoid": "sigmoid",
    "Tanh": "tanh",
    "Silu": "silu",
    "HardSigmoid": "hard_sigmoid",
    "HardSilu": "hard_silu",
    "Selu": "selu",
    "Softplus": "softplus",
    "LogSigmoid": "log_sigmoid",
    "Softsign": "softsign",
    "Mish": "mish",
    "HardTanh": "hard_tanh",
    "TanhShrink": "tanh_shrink",
    "SparsePlus": "sparse_plus",
    "SparseSigmoid": "sparse_sigmoid",
    "Exp": "exponential",
}.items():
    reads(_operation)(_named_activation(_kind))
