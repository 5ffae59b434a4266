"""Pools, and photos or tensors that are resized or cropped to a size."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from xedge.errors import UnsupportedError
from xedge.graph.ir import Crop, Mean, Pool, Resize
from xedge.sources.keras.attributes import padding_of, pair
from xedge.sources.keras.reading import reads

if TYPE_CHECKING:
    from xedge.sources.keras.layers import LayerBuilder


@reads("MaxPooling2D", "AveragePooling2D", "MaxPool", "AveragePool")
def _pool(builder: LayerBuilder, layer: Any, name: str, inputs: list[str]) -> str:
    kind = "max" if type(layer).__name__.startswith("Max") else "average"
    size = pair(layer.pool_size)
    strides = size if layer.strides is None else pair(layer.strides)
    if len(builder.shapes[inputs[0]]) != 3:
        raise UnsupportedError(f"{name}: a pool over {builder.shapes[inputs[0]]}")
    padding = padding_of(name, layer.padding, builder.shapes[inputs[0]], size, strides)
    return builder.add(
        Pool(name=name, inputs=(inputs[0],), kind=kind, size=size, strides=strides, padding=padding)  # type: ignore[arg-type]
    )


@reads("MaxPooling1D", "AveragePooling1D")
def _pool_of_tokens(builder: LayerBuilder, layer: Any, name: str, inputs: list[str]) -> str:
    tokens, channels = builder.shapes[inputs[0]]
    column = builder.reshaped(f"{name}/column", inputs[0], (tokens, 1, channels))
    size, strides = (int(layer.pool_size[0]), 1), (int(layer.strides[0]), 1)
    padding = padding_of(name, layer.padding, (tokens, 1, channels), size, strides)
    kind = "max" if type(layer).__name__.startswith("Max") else "average"
    pooled = builder.add(
        Pool(name=f"{name}/pool", inputs=(column,), kind=kind, size=size, strides=strides, padding=padding)  # type: ignore[arg-type]
    )
    return builder.reshaped(name, pooled, (builder.shapes[pooled][0], channels))


@reads("GlobalAveragePooling2D")
def _global_average(builder: LayerBuilder, layer: Any, name: str, inputs: list[str]) -> str:
    return builder.add(Mean(name=name, inputs=(inputs[0],), keepdims=bool(layer.keepdims)))


@reads("GlobalMaxPooling2D")
def _global_max(builder: LayerBuilder, layer: Any, name: str, inputs: list[str]) -> str:
    height, width, channels = builder.shapes[inputs[0]]
    size = (height, width)
    pooled_name = name if layer.keepdims else f"{name}/pool"
    pooled = builder.add(Pool(name=pooled_name, inputs=(inputs[0],), kind="max", size=size, strides=size))
    return pooled if layer.keepdims else builder.reshaped(name, pooled, (channels,))


@reads("UpSampling2D")
def _up_sampling(builder: LayerBuilder, layer: Any, name: str, inputs: list[str]) -> str:
    height, width = builder.shapes[inputs[0]][:2]
    size = (height * layer.size[0], width * layer.size[1])
    return _resized(builder, name, inputs[0], size, layer.interpolation)


@reads("Resizing", "Resize")
def _resizing(builder: LayerBuilder, layer: Any, name: str, inputs: list[str]) -> str:
    size = pair(layer.size) if hasattr(layer, "size") else (int(layer.height), int(layer.width))
    if getattr(layer, "pad_to_aspect_ratio", False) or getattr(layer, "antialias", False):
        raise UnsupportedError(f"{name}: a Resizing that pads to the aspect ratio or antialiases")
    if layer.crop_to_aspect_ratio:
        return _fitted(builder, name, inputs[0], size, layer.interpolation)
    return _resized(builder, name, inputs[0], size, layer.interpolation)


def _fitted(builder: LayerBuilder, name: str, source: str, size: tuple[int, int], kind: str) -> str:
    """Resize the largest window in the middle that has the new aspect ratio."""
    height, width = builder.shapes[source][:2]
    window = (
        max(1, min(height, int(width * size[0] / size[1]))),
        max(1, min(width, int(height * size[1] / size[0]))),
    )
    if window != (height, width):
        begin = (height - window[0]) // 2, (width - window[1]) // 2
        source = builder.add(Crop(name=f"{name}/window", inputs=(source,), begin=begin, size=window))
    return _resized(builder, name, source, size, kind)


def _resized(builder: LayerBuilder, name: str, source: str, size: tuple[int, int], kind: str) -> str:
    shape = builder.shapes[source]
    if kind not in ("nearest", "bilinear"):
        raise UnsupportedError(f"{name}: interpolation {kind!r} is not in the reference graph's set")
    if size == tuple(shape[:2]):
        return source
    if kind == "nearest" and any(new % old for new, old in zip(size, shape, strict=False)):
        raise UnsupportedError(f"{name}: repeats pixels to {size} out of {shape[:2]}, which is not a multiple")
    return builder.add(Resize(name=name, inputs=(source,), size=size, kind=kind))  # type: ignore[arg-type]


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
        return _fitted(builder, name, inputs[0], size, "bilinear")
    begin = (height - size[0]) // 2, (width - size[1]) // 2
    return builder.add(Crop(name=name, inputs=(inputs[0],), begin=begin, size=size))
