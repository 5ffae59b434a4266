"""Read a Keras model into the reference graph: the layers of common image classifiers, one small function each."""

from __future__ import annotations

from typing import Any, get_args

import keras
import numpy as np

from xedge.errors import UnsupportedError
from xedge.graph import fold
from xedge.graph.builder import Builder
from xedge.graph.ir import (
    NO_PADDING,
    ActivationKind,
    Add,
    Concat,
    Conv,
    Dense,
    Depthwise,
    Graph,
    Input,
    Mean,
    Multiply,
    Pad,
    Padding,
    Pool,
    Reshape,
    Scale,
    same_padding,
)
from xedge.sources.keras.reading import reader_of, reads
from xedge.types import Shape

IDENTITY = ("Dropout", "SpatialDropout2D", "GaussianNoise", "GaussianDropout", "ActivityRegularization", "Identity")
AUGMENTATION = ("RandomFlip", "RandomRotation", "RandomZoom", "RandomTranslation", "RandomContrast", "RandomBrightness")
# keras.activations.leaky_relu's default; the LeakyReLU layer tells its own.
KERAS_LEAKY_SLOPE = 0.2
ACTIVATIONS = ("linear", "softmax", *get_args(ActivationKind))


def read_keras(model: Any) -> Graph:
    """Return the model's inference as a reference graph, batch normalization folded.

    Raises:
        UnsupportedError: the model is not a functional classifier over one photo, or has a layer outside the set;
            the message names the layer.
    """
    functional = _functional(model)
    if len(functional.inputs) != 1 or len(functional.outputs) != 1:
        raise UnsupportedError(
            f"{model.name} has {len(functional.inputs)} inputs and {len(functional.outputs)} outputs, not one of each"
        )
    shape = tuple(functional.inputs[0].shape[1:])
    if len(shape) != 3 or None in shape:
        raise UnsupportedError(f"{model.name} takes {shape}, not photos of a fixed (height, width, channels)")
    builder = LayerBuilder()
    start = builder.add(Input(name=functional.inputs[0]._keras_history.operation.name, shape=shape))
    output = builder.read(functional, start, "")
    name = str(functional.output_names[0])
    graph = Graph(name=model.name, nodes=tuple(builder.nodes), output=output, output_name=name)
    return fold.prune(fold.simplify(graph))


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

    def activated(self, function: Any, tensor: str) -> str:
        """Add a Keras activation function behind a tensor."""
        return self.activation(_function_name(function), tensor)

    def activation(self, kind: str, tensor: str, name: str | None = None, alpha: float = 0.0) -> str:
        """Add an activation by the name that Keras has for it, with Keras' defaults."""
        if kind not in ACTIVATIONS:
            raise UnsupportedError(f"{tensor}: activation {kind!r} is not in the reference graph's set")
        if kind == "leaky_relu":
            alpha = alpha or KERAS_LEAKY_SLOPE
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
                made[id(node.outputs[0])] = self.operation(operation, prefix, inputs)
        return made[id(model.outputs[0])]

    def operation(self, operation: Any, prefix: str, inputs: list[str]) -> str:
        """Add what one operation of the model computes and return the name of its result.

        Raises:
            UnsupportedError: The operation is outside the reference graph's set; the message names the layer.
        """
        kind, name = type(operation).__name__, prefix + operation.name
        if isinstance(operation, keras.Model):
            return self.read(_functional(operation), inputs[0], f"{name}/")
        if kind in IDENTITY or kind in AUGMENTATION:
            return inputs[0]
        reader = reader_of(operation)
        if reader is None:
            raise UnsupportedError(f"{name}: {kind} is not in the reference graph's set")
        if getattr(operation, "data_format", "channels_last") == "channels_first":
            raise UnsupportedError(f"{name}: channels_first; save the model with channels_last")
        return reader(self, operation, self.unique(name), inputs)


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
    if layer.threshold or maximum not in (None, 6.0) or (slope and maximum):
        raise UnsupportedError(f"{name}: ReLU with max_value {maximum}, slope {slope}, threshold {layer.threshold}")
    if slope:
        return builder.activation("leaky_relu", inputs[0], name, slope)
    return builder.activation("relu" if maximum is None else "relu6", inputs[0], name)


@reads("LeakyReLU")
def _leaky_relu(builder: LayerBuilder, layer: Any, name: str, inputs: list[str]) -> str:
    return builder.activation("leaky_relu", inputs[0], name, float(layer.negative_slope))


@reads("ELU")
def _elu(builder: LayerBuilder, layer: Any, name: str, inputs: list[str]) -> str:
    if float(layer.alpha) != 1.0:
        raise UnsupportedError(f"{name}: ELU with alpha {layer.alpha}; 1 is in the set")
    return builder.activation("elu", inputs[0], name)


@reads("Softmax")
def _softmax(builder: LayerBuilder, layer: Any, name: str, inputs: list[str]) -> str:
    if layer.axis not in (-1, len(builder.shapes[inputs[0]])):
        raise UnsupportedError(f"{name}: softmax over axis {layer.axis}, not the last")
    return builder.activation("softmax", inputs[0], name)


@reads("Add")
def _add(builder: LayerBuilder, layer: Any, name: str, inputs: list[str]) -> str:
    _same_kind(name, layer, inputs)
    return _pairwise(builder, Add, name, inputs)


@reads("Multiply")
def _multiply(builder: LayerBuilder, layer: Any, name: str, inputs: list[str]) -> str:
    _same_kind(name, layer, inputs)
    ordered = sorted(inputs, key=lambda tensor: -int(np.prod(builder.shapes[tensor])))
    return _pairwise(builder, Multiply, name, ordered)


def _same_kind(name: str, layer: Any, inputs: list[str]) -> None:
    if len(inputs) < 2:
        raise UnsupportedError(f"{name}: {type(layer).__name__} with a constant is not in the reference graph's set")


def _pairwise(builder: LayerBuilder, kind: type[Add] | type[Multiply], name: str, inputs: list[str]) -> str:
    left = inputs[0]
    for index, right in enumerate(inputs[1:], start=2):
        step = name if index == len(inputs) else f"{name}/{index}"
        left = builder.add(kind(name=step, inputs=(left, right)))
    return left


@reads("Concatenate")
def _concatenate(builder: LayerBuilder, layer: Any, name: str, inputs: list[str]) -> str:
    if layer.axis not in (-1, len(builder.shapes[inputs[0]])):
        raise UnsupportedError(f"{name}: concatenates axis {layer.axis}, not the channels")
    return builder.add(Concat(name=name, inputs=tuple(inputs)))


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
