"""Read a Keras model into the reference graph: the layers of common image classifiers, one small function each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

import keras
import numpy as np

from xedge.errors import UnsuitableModelError, UnsupportedError
from xedge.graph import fold
from xedge.graph.builder import Builder
from xedge.graph.ir import (
    NO_PADDING,
    ActivationKind,
    Add,
    Concat,
    Conv,
    Crop,
    Dense,
    Depthwise,
    Elementwise,
    Graph,
    Input,
    Mean,
    Multiply,
    Pad,
    Padding,
    Pool,
    Reduce,
    Reshape,
    Resize,
    Scale,
    TransposedConv,
    Unary,
    broadcast,
    same_padding,
)
from xedge.sources.keras.reading import reader_of, reads
from xedge.types import Shape

# Layers that only do something in training.
IDENTITY = (
    *("Dropout", "SpatialDropout2D", "AlphaDropout", "GaussianNoise", "GaussianDropout", "ActivityRegularization"),
    *("Identity", "StochasticDepth", "AugMix", "CutMix", "MixUp", "RandAugment", "Equalization"),
)
# keras.activations.leaky_relu's default; the LeakyReLU layer tells its own.
KERAS_LEAKY_SLOPE = 0.2
ACTIVATIONS = ("linear", "softmax", *get_args(ActivationKind))


def read_keras(model: Any) -> Graph:
    """Return the model's inference as a reference graph, with batch normalization folded.

    Raises:
        UnsupportedError: The model is not a functional classifier over one photo, or it has a layer outside the
            reference graph's set; the message names the layer.
    """
    return fold.prune(fold.simplify(read_unfolded(model)))


def read_unfolded(model: Any) -> Graph:
    """Return the model's inference as a graph in which each scale is a node of its own.

    Raises:
        UnsupportedError: As for ``read_keras``.
    """
    functional = _functional(model)
    ends = len(functional.inputs), len(functional.outputs)
    if ends != (1, 1):
        raise UnsuitableModelError(
            f"{model.name} has {ends[0]} inputs and {ends[1]} outputs; xedge takes models with one photo as the input "
            "and one output, so save a model with only these"
        )
    shape = tuple(functional.inputs[0].shape[1:])
    if len(shape) == 3 and None in shape:
        raise UnsuitableModelError(
            f"{model.name} takes photos of any size {shape}; save it with a fixed size, such as "
            "keras.Input((224, 224, 3))"
        )
    if len(shape) != 3:
        raise UnsuitableModelError(f"{model.name} takes {shape}, not photos of a fixed (height, width, channels)")
    builder = LayerBuilder()
    start = builder.add(Input(name=functional.inputs[0]._keras_history.operation.name, shape=shape))
    output = builder.read(functional, start, "")
    name = str(functional.output_names[0])
    return Graph(name=model.name, nodes=tuple(builder.nodes), output=output, output_name=name)


def _functional(model: Any) -> Any:
    if isinstance(model, keras.Sequential) and model.built:
        model = getattr(model, "_functional", model)
    if not isinstance(model, keras.src.models.functional.Functional):
        raise UnsupportedError(f"{model.name} is a subclassed {type(model).__name__}, whose layers cannot be listed")
    return model


class LayerBuilder(Builder):
    """A graph in the making from Keras layers.

    Each layer is read by the function that is registered for its class (``reading.reads``).
    """

    def __init__(self) -> None:
        super().__init__()
        # What the operation at hand was called with: names of tensors, and constants.
        self.arguments: list[Any] = []
        # Single channels that were taken out of a tensor, and whose only use may be to be stacked again.
        self.taken: dict[str, tuple[str, int]] = {}

    def channels(self, name: str, source: str, order: list[int]) -> str:
        """Add a convolution that puts the channels of a tensor in another order, or leaves some out."""
        kernel = np.zeros((1, 1, self.shapes[source][-1], len(order)), np.float32)
        kernel[0, 0, order, range(len(order))] = 1
        return self.add(Conv(name=name, inputs=(source,), kernel=kernel, bias=np.zeros(len(order), np.float32)))

    def elementwise(self, kind: str, name: str, *operands: str | float | np.ndarray) -> str:
        """Add an operation on two operands, at least one of which is a tensor; the other may be a constant."""
        tensors = tuple(one for one in operands if isinstance(one, str))
        constants = [np.asarray(one, np.float32) for one in operands if not isinstance(one, str)]
        node: dict[str, Any] = {"name": self.unique(name), "inputs": tensors, "kind": kind}
        if constants:
            rank, value = len(self.shapes[tensors[0]]), constants[0]
            # Keras' constants may have a batch of one; tensors here have none.
            value = value.reshape(value.shape[1:]) if value.ndim == rank + 1 else value
            node["constant"] = value.reshape((1,) * (rank - value.ndim) + value.shape)
            node["constant_first"] = not isinstance(operands[0], str)
        return self.add(Elementwise(**node))

    def unary(self, kind: str, name: str, tensor: str) -> str:
        """Add a function of one value at a time."""
        return self.add(Unary(name=self.unique(name), inputs=(tensor,), kind=kind))  # type: ignore[arg-type]

    def activated(self, function: Any, tensor: str) -> str:
        """Add a Keras activation function behind a tensor."""
        return self.activation(_function_name(function), tensor)

    def activation(self, kind: str, tensor: str, name: str | None = None, alpha: float = 0.0) -> str:
        """Add an activation by the name that Keras has for it, with Keras' defaults."""
        if kind in COMPOSED:
            return COMPOSED[kind](self, name or self.unique(f"{tensor}/{kind}"), tensor)
        if kind not in ACTIVATIONS:
            raise UnsupportedError(f"{tensor}: activation {kind!r} is not in the reference graph's set")
        if kind == "leaky_relu":
            alpha = alpha or KERAS_LEAKY_SLOPE
        if kind == "elu" and alpha not in (0.0, 1.0):
            return _elu(self, name or self.unique(f"{tensor}/{kind}"), tensor, alpha)
        return super().activation(kind, tensor, name, alpha)

    def read(self, model: Any, start: str, prefix: str) -> str:
        """Walk a functional model whose input is the tensor ``start``; nested models are walked in place."""
        made = {id(model.inputs[0]): start}
        for depth in sorted(model._nodes_by_depth, reverse=True):
            for node in model._nodes_by_depth[depth]:
                operation = node.operation
                if all(id(tensor) in made for tensor in node.outputs):
                    continue
                inputs = [made[id(tensor)] for tensor in node.arguments.keras_tensors]
                self._refuse_single_channels(operation, inputs)
                self.arguments = [_argument(one, made) for one in node.arguments.args]
                made[id(node.outputs[0])] = self.operation(operation, prefix, inputs)
        return made[id(model.outputs[0])]

    def _refuse_single_channels(self, operation: Any, inputs: list[str]) -> None:
        """Refuse an operation other than ``Stack`` on a single channel that was taken out of a tensor."""
        single = [one for one in inputs if one in self.taken]
        if single and type(operation).__name__ != "Stack":
            raise UnsupportedError(f"{single[0]}: takes one channel out of a tensor; only all of them can be reordered")

    def operation(self, operation: Any, prefix: str, inputs: list[str]) -> str:
        """Add what one operation of the model computes and return the name of its result.

        Raises:
            UnsupportedError: The operation is outside the reference graph's set; the message names the layer.
        """
        kind, name = type(operation).__name__, prefix + operation.name
        if isinstance(operation, keras.Model):
            return self.read(_functional(operation), inputs[0], f"{name}/")
        if _only_trains(operation):
            return inputs[0]
        reader = reader_of(operation)
        if reader is None:
            raise UnsupportedError(f"{name}: {kind} is not in the reference graph's set")
        if getattr(operation, "data_format", "channels_last") == "channels_first":
            raise UnsupportedError(f"{name}: channels_first; save the model with channels_last")
        return reader(self, operation, self.unique(name), inputs)


def _only_trains(operation: Any) -> bool:
    """Whether an operation is a layer of Keras that computes nothing in inference."""
    kind = type(operation).__name__
    return (kind in IDENTITY or (kind.startswith("Random") and kind != "RandomCrop")) and _is_keras(operation)


def _is_keras(operation: Any) -> bool:
    return type(operation).__module__.startswith("keras.")


def _argument(one: Any, made: dict[int, str]) -> Any:
    """What an operation was called with: tensors by their names, constants as arrays, the rest as it is."""
    if id(one) in made:
        return made[id(one)]
    if isinstance(one, list | tuple):
        return type(one)(_argument(part, made) for part in one)
    if isinstance(one, slice | type(Ellipsis) | str | type(None) | bool):
        return one
    if isinstance(one, keras.KerasTensor):
        raise UnsupportedError(f"{one.name}: is a tensor of another model")
    return np.asarray(keras.ops.convert_to_numpy(one), dtype=np.float32)


def _function_name(function: Any) -> str:
    """The name of one of Keras' own activation functions; ``keras.activations.serialize`` would import TensorFlow."""
    if function is None:
        return "linear"
    name = getattr(function, "__name__", type(function).__name__)
    return str(name) if getattr(function, "__module__", "").startswith("keras.") else f"{name} (not Keras' own)"


def _padding(layer: Any, shape: Shape, size: tuple[int, int], strides: tuple[int, int]) -> Padding:
    if layer.padding == "valid":
        return NO_PADDING
    if layer.padding == "same":
        return same_padding(shape, size, strides)
    raise UnsupportedError(f"{layer.name}: padding {layer.padding!r} is not in the reference graph's set")


def _array(variable: Any) -> np.ndarray:
    return np.asarray(keras.ops.convert_to_numpy(variable), dtype=np.float32)


def _kernel(weight: Any) -> np.ndarray:
    """Return a kernel (height, width, in, out) that lies in memory as (out, in, height, width).

    That is how ONNX and OpenVINO store it and, for a pointwise kernel, TFLite too, so that they need no copy.
    """
    kernel = _array(weight)
    order = (*range(kernel.ndim - 1, 1, -1), *range(2))
    stored = np.ascontiguousarray(kernel.transpose(order))
    return np.asarray(stored.transpose(np.argsort(order)))


def _bias(layer: Any, channels: int) -> np.ndarray:
    return _array(layer.bias) if layer.use_bias else np.zeros(channels, np.float32)


def _dilated(layer: Any) -> tuple[int, int]:
    height, width = layer.kernel_size
    return (height - 1) * layer.dilation_rate[0] + 1, (width - 1) * layer.dilation_rate[1] + 1


@reads("Conv2D")
def _conv(builder: LayerBuilder, layer: Any, name: str, inputs: list[str]) -> str:
    kernel = _kernel(layer.kernel)
    tensor = builder.add(
        Conv(
            name=name,
            inputs=(inputs[0],),
            kernel=kernel,
            bias=_bias(layer, kernel.shape[-1]),
            strides=tuple(layer.strides),
            padding=_padding(layer, builder.shapes[inputs[0]], _dilated(layer), layer.strides),
            dilation=tuple(layer.dilation_rate),
            groups=layer.groups,
        )
    )
    return builder.activated(layer.activation, tensor)


def _depthwise(builder: LayerBuilder, layer: Any, name: str, source: str, kernel: np.ndarray, bias: np.ndarray) -> str:
    return builder.add(
        Depthwise(
            name=name,
            inputs=(source,),
            kernel=kernel.reshape(*kernel.shape[:2], -1),
            bias=bias,
            strides=tuple(layer.strides),
            padding=_padding(layer, builder.shapes[source], _dilated(layer), layer.strides),
            dilation=tuple(layer.dilation_rate),
        )
    )


@reads("DepthwiseConv2D")
def _depthwise_layer(builder: LayerBuilder, layer: Any, name: str, inputs: list[str]) -> str:
    kernel = _kernel(layer.kernel)
    bias = _bias(layer, kernel.shape[2] * kernel.shape[3])
    return builder.activated(layer.activation, _depthwise(builder, layer, name, inputs[0], kernel, bias))


@reads("SeparableConv2D")
def _separable(builder: LayerBuilder, layer: Any, name: str, inputs: list[str]) -> str:
    kernel, pointwise = _array(layer.depthwise_kernel), _kernel(layer.pointwise_kernel)
    none = np.zeros(kernel.shape[2] * kernel.shape[3], np.float32)
    inner = _depthwise(builder, layer, f"{name}/depthwise", inputs[0], kernel, none)
    tensor = builder.add(Conv(name=name, inputs=(inner,), kernel=pointwise, bias=_bias(layer, pointwise.shape[-1])))
    return builder.activated(layer.activation, tensor)


@reads("Dense")
def _dense(builder: LayerBuilder, layer: Any, name: str, inputs: list[str]) -> str:
    kernel, source, shape = _array(layer.kernel), inputs[0], builder.shapes[inputs[0]]
    bias = _bias(layer, kernel.shape[-1])
    if len(shape) == 3:  # over (H, W, C) a dense layer is a 1x1 convolution
        tensor = builder.add(Conv(name=name, inputs=(source,), kernel=kernel[None, None], bias=bias))
    else:
        tensor = builder.add(Dense(name=name, inputs=(source,), kernel=kernel, bias=bias))
    return builder.activated(layer.activation, tensor)


@reads("BatchNormalization")
def _batch_normalization(builder: LayerBuilder, layer: Any, name: str, inputs: list[str]) -> str:
    shape = builder.shapes[inputs[0]]
    if layer.axis not in (-1, len(shape)):
        raise UnsupportedError(f"{name}: normalizes axis {layer.axis}, not the channels")
    mean, variance = (_array(v).astype(np.float64) for v in (layer.moving_mean, layer.moving_variance))
    factor = (_array(layer.gamma) if layer.scale else 1.0) / np.sqrt(variance + layer.epsilon)
    offset = (_array(layer.beta) if layer.center else 0.0) - mean * factor
    return _scaled(builder, name, inputs[0], factor, offset)


def _scaled(builder: LayerBuilder, name: str, source: str, factor: Any, offset: Any) -> str:
    channels = builder.shapes[source][-1]
    vectors = [np.broadcast_to(np.asarray(v, np.float32).reshape(-1), (channels,)).copy() for v in (factor, offset)]
    return builder.add(Scale(name=name, inputs=(source,), factor=vectors[0], offset=vectors[1]))


@reads("Rescaling")
def _rescaling(builder: LayerBuilder, layer: Any, name: str, inputs: list[str]) -> str:
    return _scaled(builder, name, inputs[0], layer.scale, layer.offset)


@reads("Normalization")
def _normalization(builder: LayerBuilder, layer: Any, name: str, inputs: list[str]) -> str:
    if layer.invert or np.size(_array(layer.mean)) not in (1, builder.shapes[inputs[0]][-1]):
        raise UnsupportedError(f"{name}: a Normalization that is inverted or not per channel")
    deviation = np.maximum(np.sqrt(_array(layer.variance)), keras.config.epsilon())
    return _scaled(builder, name, inputs[0], 1 / deviation, -_array(layer.mean) / deviation)


@reads("Activation")
def _activation_layer(builder: LayerBuilder, layer: Any, name: str, inputs: list[str]) -> str:
    return builder.activation(_function_name(layer.activation), inputs[0], name)


@reads("ReLU")
def _relu(builder: LayerBuilder, layer: Any, name: str, inputs: list[str]) -> str:
    maximum = None if layer.max_value is None else float(layer.max_value)
    slope = float(layer.negative_slope)
    if layer.threshold:
        raise UnsupportedError(f"{name}: a ReLU with threshold {layer.threshold} is not in the reference graph's set")
    if maximum in (None, 6.0) and not slope:
        return builder.activation("relu" if maximum is None else "relu6", inputs[0], name)
    if maximum is None:
        return builder.activation("leaky_relu", inputs[0], name, slope)
    bounded = builder.elementwise("minimum", name if not slope else f"{name}/bounded", inputs[0], maximum)
    if not slope:
        return builder.activation("relu", bounded, f"{name}/rectified")
    return _leaky(builder, name, bounded, slope)


@reads("LeakyReLU")
def _leaky_relu(builder: LayerBuilder, layer: Any, name: str, inputs: list[str]) -> str:
    slope = float(layer.negative_slope)
    return builder.activation("leaky_relu" if slope else "relu", inputs[0], name, slope)


@reads("PReLU")
def _prelu(builder: LayerBuilder, layer: Any, name: str, inputs: list[str]) -> str:
    return _leaky(builder, name, inputs[0], _array(layer.alpha))


def _leaky(builder: LayerBuilder, name: str, tensor: str, slope: float | np.ndarray) -> str:
    """max(x, 0) + slope * min(x, 0)."""
    negative = builder.elementwise("minimum", f"{name}/negative", tensor, 0.0)
    scaled = builder.elementwise("multiply", f"{name}/scaled", negative, slope)
    positive = builder.activation("relu", tensor, f"{name}/positive")
    return builder.elementwise("add", name, positive, scaled)


@reads("ELU")
def _elu_layer(builder: LayerBuilder, layer: Any, name: str, inputs: list[str]) -> str:
    return builder.activation("elu", inputs[0], name, float(layer.alpha))


def _elu(builder: LayerBuilder, name: str, tensor: str, alpha: float, scale: float = 1.0) -> str:
    """Scale * (max(x, 0) + alpha * (exp(min(x, 0)) - 1))."""
    negative = builder.elementwise("minimum", f"{name}/negative", tensor, 0.0)
    curve = builder.elementwise("subtract", f"{name}/curve", builder.unary("exp", f"{name}/exp", negative), 1.0)
    curve = builder.elementwise("multiply", f"{name}/scaled", curve, scale * alpha)
    positive = builder.activation("relu", tensor, f"{name}/positive")
    if scale != 1.0:
        positive = builder.elementwise("multiply", f"{name}/scaled_positive", positive, scale)
    return builder.elementwise("add", name, positive, curve)


def _selu(builder: LayerBuilder, name: str, tensor: str) -> str:
    """Klambauer et al., "Self-Normalizing Neural Networks", 2017, equation 2."""
    return _elu(builder, name, tensor, 1.6732632423543772, 1.0507009873554805)


def _softplus(builder: LayerBuilder, name: str, tensor: str) -> str:
    """log(1 + exp(x)), as max(x, 0) + log(1 + exp(-|x|)), which does not overflow."""
    away = builder.unary("negative", f"{name}/away", builder.unary("abs", f"{name}/abs", tensor))
    grown = builder.elementwise("add", f"{name}/grown", builder.unary("exp", f"{name}/exp", away), 1.0)
    positive = builder.activation("relu", tensor, f"{name}/positive")
    return builder.elementwise("add", name, positive, builder.unary("log", f"{name}/log", grown))


def _mish(builder: LayerBuilder, name: str, tensor: str) -> str:
    """X * tanh(softplus(x)); Misra, "Mish: A Self Regularized Non-Monotonic Activation Function", 2019."""
    gate = builder.activation("tanh", _softplus(builder, f"{name}/softplus", tensor), f"{name}/gate")
    return builder.elementwise("multiply", name, tensor, gate)


def _softsign(builder: LayerBuilder, name: str, tensor: str) -> str:
    """X / (1 + |x|)."""
    size = builder.elementwise("add", f"{name}/size", builder.unary("abs", f"{name}/abs", tensor), 1.0)
    return builder.elementwise("divide", name, tensor, size)


def _hard_tanh(builder: LayerBuilder, name: str, tensor: str) -> str:
    """The value, cut to [-1, 1]."""
    return builder.elementwise("maximum", name, builder.elementwise("minimum", f"{name}/high", tensor, 1.0), -1.0)


def _exponential(builder: LayerBuilder, name: str, tensor: str) -> str:
    return builder.unary("exp", name, tensor)


# Activations that are made of other operations.
COMPOSED = {
    "selu": _selu,
    "softplus": _softplus,
    "mish": _mish,
    "softsign": _softsign,
    "hard_tanh": _hard_tanh,
    "exponential": _exponential,
}


@reads("Softmax")
def _softmax(builder: LayerBuilder, layer: Any, name: str, inputs: list[str]) -> str:
    if layer.axis not in (-1, len(builder.shapes[inputs[0]])):
        raise UnsupportedError(f"{name}: softmax over axis {layer.axis}, not the last")
    return builder.activation("softmax", inputs[0], name)


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
        return builder.elementwise("multiply", name, total, 1 / len(operands))
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
        return _scaled(builder, name, tensor, 1.0, value)
    if kind == "subtract":
        return _scaled(builder, name, tensor, *((-1.0, value) if constant_first else (1.0, -value)))
    if kind == "multiply":
        return _scaled(builder, name, tensor, value, 0.0)
    if kind == "divide" and not constant_first:
        return _scaled(builder, name, tensor, 1 / value, 0.0)
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


@reads("Concatenate")
def _concatenate(builder: LayerBuilder, layer: Any, name: str, inputs: list[str]) -> str:
    rank = len(builder.shapes[inputs[0]])
    # Keras counts from the batch; here there is none, and axes count from the last.
    axis = layer.axis if layer.axis < 0 else layer.axis - 1 - rank
    if not -rank <= axis < 0:
        raise UnsupportedError(f"{name}: concatenates axis {layer.axis}, which is the batch")
    return builder.add(Concat(name=name, inputs=tuple(inputs), axis=axis))


@reads("GetItem")
def _get_item(builder: LayerBuilder, layer: Any, name: str, inputs: list[str]) -> str:
    """Channels taken out of a tensor: one of them, or all in the reverse order, as ``preprocess_input`` does."""
    key = builder.arguments[1]
    parts = list(key) if isinstance(key, list | tuple) else [key]
    whole = all(part is Ellipsis or part == slice(None) for part in parts[:-1])
    source, last = inputs[0], parts[-1]
    channels = builder.shapes[source][-1]
    if whole and isinstance(last, slice):
        return builder.channels(name, source, list(range(channels))[last])
    if whole and isinstance(last, np.ndarray) and last.size == 1:
        builder.taken[name] = (source, int(last) % channels)
        return name
    raise UnsupportedError(f"{name}: takes {key} out of a tensor; only channels can be taken")


@reads("Stack")
def _stack(builder: LayerBuilder, layer: Any, name: str, inputs: list[str]) -> str:
    taken = [builder.taken.get(one) for one in inputs]
    sources = {one[0] for one in taken if one is not None}
    if None in taken or len(sources) != 1 or layer.axis not in (-1, 3):
        raise UnsupportedError(f"{name}: stacks tensors, which is not in the reference graph's set")
    return builder.channels(name, sources.pop(), [one[1] for one in taken if one is not None])


@reads("MaxPooling2D", "AveragePooling2D")
def _pool(builder: LayerBuilder, layer: Any, name: str, inputs: list[str]) -> str:
    kind = "max" if type(layer).__name__.startswith("Max") else "average"
    size, strides = tuple(layer.pool_size), tuple(layer.strides)
    padding = _padding(layer, builder.shapes[inputs[0]], size, strides)
    return builder.add(
        Pool(name=name, inputs=(inputs[0],), kind=kind, size=size, strides=strides, padding=padding)  # type: ignore[arg-type]
    )


@reads("GlobalAveragePooling2D")
def _global_average(builder: LayerBuilder, layer: Any, name: str, inputs: list[str]) -> str:
    return builder.add(Mean(name=name, inputs=(inputs[0],), keepdims=bool(layer.keepdims)))


@reads("GlobalMaxPooling2D")
def _global_max(builder: LayerBuilder, layer: Any, name: str, inputs: list[str]) -> str:
    height, width, channels = builder.shapes[inputs[0]]
    size = (height, width)
    pooled_name = name if layer.keepdims else f"{name}/pool"
    pooled = builder.add(Pool(name=pooled_name, inputs=(inputs[0],), kind="max", size=size, strides=size))
    return pooled if layer.keepdims else builder.add(Reshape(name=name, inputs=(pooled,), shape=(channels,)))


@reads("ZeroPadding2D")
def _zero_padding(builder: LayerBuilder, layer: Any, name: str, inputs: list[str]) -> str:
    (top, bottom), (left, right) = layer.padding
    return builder.add(Pad(name=name, inputs=(inputs[0],), padding=((top, bottom), (left, right))))


@reads("Flatten", "Reshape")
def _reshape(builder: LayerBuilder, layer: Any, name: str, inputs: list[str]) -> str:
    shape = builder.shapes[inputs[0]]
    size = int(np.prod(shape))
    wanted = (size,) if type(layer).__name__ == "Flatten" else tuple(layer.target_shape)
    known = -int(np.prod([d for d in wanted if d != -1])) if -1 in wanted else 0
    return builder.add(
        Reshape(name=name, inputs=(inputs[0],), shape=tuple(size // -known if d == -1 else int(d) for d in wanted))
    )


@reads("UpSampling2D")
def _up_sampling(builder: LayerBuilder, layer: Any, name: str, inputs: list[str]) -> str:
    height, width = builder.shapes[inputs[0]][:2]
    size = (height * layer.size[0], width * layer.size[1])
    return _resized(builder, name, inputs[0], size, layer.interpolation)


@reads("Resizing")
def _resizing(builder: LayerBuilder, layer: Any, name: str, inputs: list[str]) -> str:
    if layer.crop_to_aspect_ratio or getattr(layer, "pad_to_aspect_ratio", False) or getattr(layer, "antialias", False):
        raise UnsupportedError(f"{name}: a Resizing that keeps the aspect ratio or antialiases")
    return _resized(builder, name, inputs[0], (int(layer.height), int(layer.width)), layer.interpolation)


def _resized(builder: LayerBuilder, name: str, source: str, size: tuple[int, int], kind: str) -> str:
    shape = builder.shapes[source]
    if kind not in ("nearest", "bilinear"):
        raise UnsupportedError(f"{name}: interpolation {kind!r} is not in the reference graph's set")
    if kind == "nearest" and any(new % old for new, old in zip(size, shape, strict=False)):
        raise UnsupportedError(f"{name}: repeats pixels to {size} out of {shape[:2]}, which is not a multiple")
    if size == tuple(shape[:2]):
        return source
    return builder.add(Resize(name=name, inputs=(source,), size=size, kind=kind))  # type: ignore[arg-type]


@reads("Cropping2D")
def _cropping(builder: LayerBuilder, layer: Any, name: str, inputs: list[str]) -> str:
    (top, bottom), (left, right) = layer.cropping
    height, width = builder.shapes[inputs[0]][:2]
    size = (height - top - bottom, width - left - right)
    return builder.add(Crop(name=name, inputs=(inputs[0],), begin=(top, left), size=size))


@reads("RandomCrop")
def _random_crop(builder: LayerBuilder, layer: Any, name: str, inputs: list[str]) -> str:
    """Nothing is cropped in inference, whatever shape the layer declares."""
    size = (int(layer.height), int(layer.width))
    if size != builder.shapes[inputs[0]][:2]:
        raise UnsupportedError(f"{name}: declares {size} but crops nothing in inference; save the model without it")
    return inputs[0]


@reads("CenterCrop")
def _center_crop(builder: LayerBuilder, layer: Any, name: str, inputs: list[str]) -> str:
    height, width = builder.shapes[inputs[0]][:2]
    size = (int(layer.height), int(layer.width))
    if size == (height, width):
        return inputs[0]
    if size[0] > height or size[1] > width:
        raise UnsupportedError(f"{name}: crops {size} out of {(height, width)}, for which Keras resizes first")
    begin = (height - size[0]) // 2, (width - size[1]) // 2
    return builder.add(Crop(name=name, inputs=(inputs[0],), begin=begin, size=size))


@reads("Conv2DTranspose")
def _transposed(builder: LayerBuilder, layer: Any, name: str, inputs: list[str]) -> str:
    if tuple(layer.dilation_rate) != (1, 1) or layer.output_padding is not None:
        raise UnsupportedError(f"{name}: a Conv2DTranspose with dilation or output_padding")
    strides, sizes = tuple(layer.strides), tuple(layer.kernel_size)
    # Keras stores (height, width, out, in). SAME keeps input * stride of the full result, the odd pixel off the end.
    cut = [max(0, size - stride) if layer.padding == "same" else 0 for size, stride in zip(sizes, strides, strict=True)]
    if layer.padding == "same" and any(size < stride for size, stride in zip(sizes, strides, strict=True)):
        raise UnsupportedError(f"{name}: a Conv2DTranspose whose kernel is smaller than its stride")
    padding = tuple((total // 2, total - total // 2) for total in cut)
    kernel = _array(layer.kernel).transpose(0, 1, 3, 2)
    tensor = builder.add(
        TransposedConv(
            name=name,
            inputs=(inputs[0],),
            kernel=np.ascontiguousarray(kernel),
            bias=_bias(layer, kernel.shape[-1]),
            strides=strides,
            padding=(padding[0], padding[1]),
        )
    )
    return builder.activated(layer.activation, tensor)


@reads("Mean", "Max", "Sum")
def _reduce(builder: LayerBuilder, layer: Any, name: str, inputs: list[str]) -> str:
    """keras.ops.mean, max and sum over height and width or over the channels."""
    shape = builder.shapes[inputs[0]]
    rank = len(shape)
    given = layer.axis if isinstance(layer.axis, list | tuple) else [layer.axis]
    if layer.axis is None or any(axis == 0 for axis in given):
        raise UnsupportedError(f"{name}: reduces the batch")
    axes = tuple(sorted(axis % (rank + 1) - 1 for axis in given))
    kind = type(layer).__name__.lower()
    if kind == "mean" and axes == (0, 1) and rank == 3:
        return builder.add(Mean(name=name, inputs=(inputs[0],), keepdims=bool(layer.keepdims)))
    reduced_name = name if layer.keepdims else f"{name}/kept"
    reduced = builder.add(Reduce(name=reduced_name, inputs=(inputs[0],), kind=kind, axes=axes))  # type: ignore[arg-type]
    if layer.keepdims:
        return reduced
    kept = tuple(size for axis, size in enumerate(shape) if axis not in axes)
    return builder.add(Reshape(name=name, inputs=(reduced,), shape=kept))


@reads("LayerNormalization")
def _layer_normalization(builder: LayerBuilder, layer: Any, name: str, inputs: list[str]) -> str:
    """Ba et al., "Layer Normalization", 2016, over the channels of each position."""
    rank = len(builder.shapes[inputs[0]])
    axes = [layer.axis] if isinstance(layer.axis, int) else list(layer.axis)
    if [axis % (rank + 1) for axis in axes] != [rank]:
        raise UnsupportedError(f"{name}: normalizes axis {layer.axis}, not the channels")
    return _normalized(builder, layer, name, inputs[0], lambda part, x: _mean_over(builder, f"{name}/{part}", x))


def _mean_over(builder: LayerBuilder, name: str, tensor: str) -> str:
    last = len(builder.shapes[tensor]) - 1
    return builder.add(Reduce(name=name, inputs=(tensor,), kind="mean", axes=(last,)))


def _normalized(builder: LayerBuilder, layer: Any, name: str, tensor: str, mean: Callable[[str, str], str]) -> str:
    """(x - mean) / sqrt(variance + epsilon) * gamma + beta, with the means that ``mean`` computes."""
    moved = builder.elementwise("subtract", f"{name}/moved", tensor, mean("mean", tensor))
    squares = builder.elementwise("multiply", f"{name}/squares", moved, moved)
    variance = builder.elementwise("add", f"{name}/variance", mean("square_mean", squares), float(layer.epsilon))
    deviation = builder.unary("sqrt", f"{name}/deviation", variance)
    steps: list[tuple[str, Any]] = [("divide", deviation)]
    steps += [("multiply", _array(layer.gamma))] if layer.scale else []
    steps += [("add", _array(layer.beta))] if layer.center else []
    result = moved
    for index, (kind, operand) in enumerate(steps, start=1):
        result = builder.elementwise(kind, name if index == len(steps) else f"{name}/{kind}", result, operand)
    return result


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

    return _normalized(builder, layer, name, inputs[0], mean)


@reads("UnitNormalization")
def _unit_normalization(builder: LayerBuilder, layer: Any, name: str, inputs: list[str]) -> str:
    """X / sqrt(max(sum of squares, 1e-12)), over the channels of each position."""
    rank = len(builder.shapes[inputs[0]])
    axes = [layer.axis] if isinstance(layer.axis, int) else list(layer.axis)
    if [axis % (rank + 1) for axis in axes] != [rank]:
        raise UnsupportedError(f"{name}: normalizes axis {layer.axis}, not the channels")
    squares = builder.elementwise("multiply", f"{name}/squares", inputs[0], inputs[0])
    total = builder.add(Reduce(name=f"{name}/sum", inputs=(squares,), kind="sum", axes=(rank - 1,)))
    length = builder.unary("sqrt", f"{name}/length", builder.elementwise("maximum", f"{name}/least", total, 1e-12))
    return builder.elementwise("divide", name, inputs[0], length)


@reads("LayerScale")
def _layer_scale(builder: LayerBuilder, layer: Any, name: str, inputs: list[str]) -> str:
    """A factor for each channel, as ConvNeXt has it."""
    return _scaled(builder, name, inputs[0], _array(layer.gamma), 0.0)


def _named_activation(kind: str) -> Any:
    def read(builder: LayerBuilder, layer: Any, name: str, inputs: list[str]) -> str:
        slope = float(getattr(layer, "negative_slope", 0.0) or getattr(layer, "alpha", 0.0) or 0.0)
        return builder.activation(kind, inputs[0], name, slope)

    return read


# The functions of keras.ops that are activations.
for _operation, _kind in {
    "Relu": "relu",
    "Relu6": "relu6",
    "Sigmoid": "sigmoid",
    "Tanh": "tanh",
    "Silu": "silu",
    "LeakyRelu": "leaky_relu",
    "HardSigmoid": "hard_sigmoid",
    "HardSilu": "hard_silu",
    "Elu": "elu",
    "Selu": "selu",
    "Gelu": "gelu",
    "Softplus": "softplus",
    "Softsign": "softsign",
    "Mish": "mish",
    "HardTanh": "hard_tanh",
    "Exp": "exponential",
}.items():
    reads(_operation)(_named_activation(_kind))


@reads("Sqrt", "Log", "Abs", "Absolute", "Negative")
def _unary_operation(builder: LayerBuilder, layer: Any, name: str, inputs: list[str]) -> str:
    kind = type(layer).__name__.lower()
    return builder.unary("abs" if kind == "absolute" else kind, name, inputs[0])


@reads("Square")
def _square(builder: LayerBuilder, layer: Any, name: str, inputs: list[str]) -> str:
    return builder.elementwise("multiply", name, inputs[0], inputs[0])


@reads("Clip")
def _clip(builder: LayerBuilder, layer: Any, name: str, inputs: list[str]) -> str:
    low, high = (float(getattr(layer, bound)) for bound in ("x_min", "x_max"))
    return builder.elementwise("maximum", name, builder.elementwise("minimum", f"{name}/high", inputs[0], high), low)
