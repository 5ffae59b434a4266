"""Layers that take tensors apart and put them together: slices, reshapes, channels in another order, concatenations."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from xedge.errors import UnsupportedError
from xedge.graph.ir import Concat, Crop, Pad
from xedge.graph.taking import WHOLE, into, permuted, stacked, taken
from xedge.sources.keras.attributes import array_of
from xedge.sources.keras.reading import reads

if TYPE_CHECKING:
    from xedge.sources.keras.layers import LayerBuilder


@reads("Concatenate")
def _concatenate(builder: LayerBuilder, layer: Any, name: str, inputs: list[str]) -> str:
    rank = len(builder.shapes[inputs[0]])
    # Keras counts from the batch; here there is none, and axes count from the last.
    axis = layer.axis if layer.axis < 0 else layer.axis - 1 - rank
    if not -rank <= axis < 0:
        raise UnsupportedError(f"{name}: concatenates axis {layer.axis}, which is the batch")
    views = [builder.view(one) for one in inputs]
    if axis == -1 and len({(view.source, view.lead) for view in views}) == 1:
        first = views[0]
        return builder.viewed(name, first.source, first.lead, np.concatenate([view.order for view in views], axis=-1))
    return builder.add(Concat(name=name, inputs=tuple(map(builder.whole, inputs)), axis=axis))


@reads("Stack")
def _stack(builder: LayerBuilder, layer: Any, name: str, inputs: list[str]) -> str:
    axis = layer.axis % (len(builder.shapes[inputs[0]]) + 2) - 1
    if axis < 0:
        raise UnsupportedError(f"{name}: stacks along the batch")
    return stacked(builder, name, inputs, axis)


@reads("GetItem")
def _get_item(builder: LayerBuilder, layer: Any, name: str, inputs: list[str]) -> str:
    """A part of a tensor by indices and slices, with new axes."""
    del layer
    return taken(builder, name, inputs[0], _parts(builder, name, inputs[0]))


def _parts(builder: LayerBuilder, name: str, tensor: str) -> list[Any]:
    """Return what is taken along each axis of a tensor and where new ones stand, without the batch."""
    key = builder.arguments[1]
    parts = list(key) if isinstance(key, list | tuple) else [key]
    if any(isinstance(one, str) for one in parts):
        raise UnsupportedError(f"{name}: takes a part of a tensor by another tensor")
    rank = len(builder.shapes[tensor]) + 1
    missing = rank - sum(part is not None and part is not Ellipsis for part in parts)
    place = next((at for at, part in enumerate(parts) if part is Ellipsis), len(parts))
    parts = [*parts[:place], *[WHOLE] * missing, *parts[place + 1 :]]
    if parts[0] != WHOLE:
        raise UnsupportedError(f"{name}: takes photos out of the batch")
    return parts[1:]


@reads("Split")
def _split(builder: LayerBuilder, layer: Any, name: str, inputs: list[str]) -> list[str]:
    view = builder.view(inputs[0])
    axis = layer.axis % (len(view.shape) + 1) - 1
    if axis < len(view.lead):
        raise UnsupportedError(f"{name}: splits axis {layer.axis}, not the channels")
    parts = np.split(view.order, layer.indices_or_sections, axis=axis - len(view.lead))
    return [builder.viewed(f"{name}/{at}", view.source, view.lead, part) for at, part in enumerate(parts)]


@reads("Flip")
def _flip(builder: LayerBuilder, layer: Any, name: str, inputs: list[str]) -> str:
    view = builder.view(inputs[0])
    axes = layer.axis if isinstance(layer.axis, list | tuple) else [layer.axis]
    places = tuple(-1 if axis is None else axis % (len(view.shape) + 1) - 1 - len(view.lead) for axis in axes)
    if min(places) < 0:
        raise UnsupportedError(f"{name}: turns axis {layer.axis}, not the channels")
    return builder.viewed(name, view.source, view.lead, np.flip(view.order, places))


@reads("Permute", "Transpose", "Swapaxes", "Moveaxis")
def _permute(builder: LayerBuilder, layer: Any, name: str, inputs: list[str]) -> str:
    """Axes in another order."""
    rank, kind = len(builder.shapes[inputs[0]]), type(layer).__name__
    axes = np.arange(rank + 1)
    if kind == "Permute":
        order = [0, *layer.dims]
    elif kind == "Transpose":
        order = list(axes[::-1] if layer.axes is None else layer.axes)
    elif kind == "Swapaxes":
        order = list(np.swapaxes(np.zeros(axes), layer.axis1, layer.axis2).shape)
    else:
        order = list(np.moveaxis(np.zeros(axes), layer.source, layer.destination).shape)
    if order[0] % (rank + 1) != 0:
        raise UnsupportedError(f"{name}: moves the batch")
    return permuted(builder, name, inputs[0], [axis % (rank + 1) - 1 for axis in order[1:]])


@reads("Flatten", "Reshape", "Ravel")
def _reshape(builder: LayerBuilder, layer: Any, name: str, inputs: list[str]) -> str:
    size = prod(builder.shapes[inputs[0]])
    if hasattr(layer, "newshape"):  # the operation, whose shape begins with the batch
        wanted = tuple(-1 if one is None else int(one) for one in layer.newshape)
        if wanted[0] not in (-1, 1) or (-1 in wanted[1:] and wanted[0] == -1) or len(wanted) < 2:
            raise UnsupportedError(f"{name}: reshapes the batch")
        wanted = wanted[1:]
    else:
        wanted = (size,) if type(layer).__name__ == "Flatten" else tuple(layer.target_shape)
    known = prod(d for d in wanted if d != -1)
    return into(builder, name, inputs[0], tuple(size // known if d == -1 else int(d) for d in wanted))


@reads("ExpandDims")
def _expand(builder: LayerBuilder, layer: Any, name: str, inputs: list[str]) -> str:
    shape = builder.shapes[inputs[0]]
    for axis in layer.axis if isinstance(layer.axis, list | tuple) else [layer.axis]:
        place = axis % (len(shape) + 2) - 1
        if place < 0:
            raise UnsupportedError(f"{name}: adds an axis before the batch")
        shape = (*shape[:place], 1, *shape[place:])
    return into(builder, name, inputs[0], shape)


@reads("Squeeze")
def _squeeze(builder: LayerBuilder, layer: Any, name: str, inputs: list[str]) -> str:
    shape = builder.shapes[inputs[0]]
    given = layer.axis if isinstance(layer.axis, list | tuple) else [layer.axis]
    axes = (
        [at for at, size in enumerate(shape) if size == 1]
        if layer.axis is None
        else [axis % (len(shape) + 1) - 1 for axis in given]
    )
    return into(builder, name, inputs[0], tuple(size for at, size in enumerate(shape) if at not in axes))


@reads("ZeroPadding2D")
def _zero_padding(builder: LayerBuilder, layer: Any, name: str, inputs: list[str]) -> str:
    (top, bottom), (left, right) = layer.padding
    return builder.add(Pad(name=name, inputs=(inputs[0],), padding=((top, bottom), (left, right))))


@reads("Pad")
def _pad(builder: LayerBuilder, layer: Any, name: str, inputs: list[str]) -> str:
    """keras.ops.pad with zeros around height and width."""
    value = builder.arguments[1] if len(builder.arguments) > 1 else None
    width = np.broadcast_to(np.asarray(layer.pad_width), (len(builder.shapes[inputs[0]]) + 1, 2)).tolist()
    if layer.mode != "constant" or np.any(0.0 if value is None else array_of(value)) or len(width) != 4:
        raise UnsupportedError(f"{name}: pads a tensor with something else than zeros around height and width")
    batch, (top, bottom), (left, right), channels = width
    if any((*batch, *channels)):
        raise UnsupportedError(f"{name}: pads the batch or the channels")
    return builder.add(Pad(name=name, inputs=(inputs[0],), padding=((top, bottom), (left, right))))


@reads("Cropping2D")
def _cropping(builder: LayerBuilder, layer: Any, name: str, inputs: list[str]) -> str:
    (top, bottom), (left, right) = layer.cropping
    height, width = builder.shapes[inputs[0]][:2]
    size = (height - top - bottom, width - left - right)
    return builder.add(Crop(name=name, inputs=(inputs[0],), begin=(top, left), size=size))


@reads("Cast")
def _cast(builder: LayerBuilder, layer: Any, name: str, inputs: list[str]) -> str:
    del builder
    if "float" not in str(layer.dtype):
        raise UnsupportedError(f"{name}: makes {layer.dtype} of a tensor")
    return inputs[0]


@reads("StopGradient")
def _as_it_is(builder: LayerBuilder, layer: Any, name: str, inputs: list[str]) -> str:
    del builder, layer, name
    return inputs[0]
