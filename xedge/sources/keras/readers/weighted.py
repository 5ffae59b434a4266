"""Layers with a kernel: convolutions of every kind, dense layers, and the operations that compute the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from xedge.errors import UnsupportedError
from xedge.graph.ir import Conv, Depthwise, Reshape, TransposedConv
from xedge.sources.keras.attributes import array_of, bias_of, kernel_of, padding_of, pair, window_of
from xedge.sources.keras.reading import reads
from xedge.types import FloatArray

if TYPE_CHECKING:
    from xedge.sources.keras.layers import LayerBuilder


@reads("Conv2D")
def _conv_layer(builder: LayerBuilder, layer: Any, name: str, inputs: list[str]) -> str:
    kernel = kernel_of(layer.kernel)
    tensor = _conv(builder, layer, name, inputs[0], kernel, bias_of(layer, kernel.shape[-1]), layer.groups)
    return builder.activated(layer.activation, tensor)


def _conv(
    builder: LayerBuilder, layer: Any, name: str, source: str, kernel: FloatArray, bias: FloatArray, groups: int = 1
) -> str:
    """Add a convolution with the strides, padding and dilation of a layer or an operation."""
    strides, dilation = pair(layer.strides), pair(layer.dilation_rate)
    window = window_of((kernel.shape[0], kernel.shape[1]), dilation)
    return builder.add(
        Conv(
            name=name,
            inputs=(source,),
            kernel=kernel,
            bias=bias,
            strides=strides,
            padding=padding_of(name, layer.padding, builder.shapes[source], window, strides),
            dilation=dilation,
            groups=groups,
        )
    )


def _depthwise(builder: LayerBuilder, layer: Any, name: str, source: str, kernel: FloatArray, bias: FloatArray) -> str:
    strides, dilation = pair(layer.strides), pair(layer.dilation_rate)
    window = window_of((kernel.shape[0], kernel.shape[1]), dilation)
    return builder.add(
        Depthwise(
            name=name,
            inputs=(source,),
            kernel=kernel.reshape(*kernel.shape[:2], -1),
            bias=bias,
            strides=strides,
            padding=padding_of(name, layer.padding, builder.shapes[source], window, strides),
            dilation=dilation,
        )
    )


@reads("DepthwiseConv2D")
def _depthwise_layer(builder: LayerBuilder, layer: Any, name: str, inputs: list[str]) -> str:
    kernel = kernel_of(layer.kernel)
    bias = bias_of(layer, kernel.shape[2] * kernel.shape[3])
    return builder.activated(layer.activation, _depthwise(builder, layer, name, inputs[0], kernel, bias))


@reads("SeparableConv2D")
def _separable_layer(builder: LayerBuilder, layer: Any, name: str, inputs: list[str]) -> str:
    kernel, pointwise = array_of(layer.depthwise_kernel), kernel_of(layer.pointwise_kernel)
    none = np.zeros(kernel.shape[2] * kernel.shape[3], np.float32)
    inner = _depthwise(builder, layer, f"{name}/depthwise", inputs[0], kernel, none)
    tensor = builder.add(Conv(name=name, inputs=(inner,), kernel=pointwise, bias=bias_of(layer, pointwise.shape[-1])))
    return builder.activated(layer.activation, tensor)


@reads("Conv", "DepthwiseConv")
def _conv_operation(builder: LayerBuilder, layer: Any, name: str, inputs: list[str]) -> str:
    """keras.ops.conv and depthwise_conv, whose kernel is a constant."""
    kernel, source = builder.arguments[1], inputs[0]
    if not isinstance(kernel, np.ndarray) or kernel.ndim != 4:
        raise UnsupportedError(f"{name}: a convolution whose kernel is not a constant over height and width")
    if type(layer).__name__ == "DepthwiseConv":
        none = np.zeros(kernel.shape[2] * kernel.shape[3], np.float32)
        return _depthwise(builder, layer, name, source, kernel_of(kernel), none)
    groups = builder.shapes[source][-1] // kernel.shape[2]
    return _conv(builder, layer, name, source, kernel_of(kernel), np.zeros(kernel.shape[-1], np.float32), groups)


@reads("Conv1D")
def _conv_over_a_row(builder: LayerBuilder, layer: Any, name: str, inputs: list[str]) -> str:
    """A convolution over (length, channels), which is one over a row of pixels, as channel attention has it."""
    length, channels = builder.shapes[inputs[0]]
    if layer.padding == "causal":
        raise UnsupportedError(f"{name}: padding 'causal' is not in the reference graph's set")
    kernel = kernel_of(array_of(layer.kernel)[None])
    (stride,), (dilation,), size = layer.strides, layer.dilation_rate, layer.kernel_size[0]
    window = (1, (size - 1) * dilation + 1)
    row = builder.add(Reshape(name=f"{name}/row", inputs=(inputs[0],), shape=(1, length, channels)))
    tensor = builder.add(
        Conv(
            name=f"{name}/conv",
            inputs=(row,),
            kernel=kernel,
            bias=bias_of(layer, kernel.shape[-1]),
            strides=(1, stride),
            padding=padding_of(name, layer.padding, (1, length, channels), window, (1, stride)),
            dilation=(1, dilation),
            groups=layer.groups,
        )
    )
    tensor = builder.activated(layer.activation, tensor)
    return builder.add(Reshape(name=name, inputs=(tensor,), shape=builder.shapes[tensor][1:]))


@reads("Dense")
def _dense_layer(builder: LayerBuilder, layer: Any, name: str, inputs: list[str]) -> str:
    kernel = array_of(layer.kernel)
    tensor = builder.dense(name, inputs[0], kernel, bias_of(layer, kernel.shape[-1]))
    return builder.activated(layer.activation, tensor)


@reads("Matmul")
def _product(builder: LayerBuilder, layer: Any, name: str, inputs: list[str]) -> str:
    """keras.ops.matmul of two tensors, or with a constant, which is a dense layer without a bias."""
    if len(inputs) == 2:
        return builder.product(name, *inputs)
    kernel = builder.arguments[1] if len(builder.arguments) > 1 else None
    if not isinstance(kernel, np.ndarray) or kernel.ndim != 2 or not isinstance(builder.arguments[0], str):
        raise UnsupportedError(f"{name}: multiplies a matrix that is not a constant")
    return builder.dense(name, inputs[0], kernel, np.zeros(kernel.shape[-1], np.float32))


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
    kernel = array_of(layer.kernel).transpose(0, 1, 3, 2)
    tensor = builder.add(
        TransposedConv(
            name=name,
            inputs=(inputs[0],),
            kernel=np.ascontiguousarray(kernel),
            bias=bias_of(layer, kernel.shape[-1]),
            strides=strides,
            padding=(padding[0], padding[1]),
        )
    )
    return builder.activated(layer.activation, tensor)


@reads("SpectralNormalization")
def _wrapper(builder: LayerBuilder, layer: Any, name: str, inputs: list[str]) -> list[str]:
    """A layer whose kernel is normalized in training, and is in inference what training left."""
    return builder.operation(layer.layer, f"{name}/", inputs)
