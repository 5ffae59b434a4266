"""Take tensors apart and put them together; where only channels are concerned, as views that cost nothing yet."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from xedge.errors import UnsupportedError
from xedge.graph.builder import Builder, View
from xedge.graph.ir import Concat, Crop, Pool, Reshape, Transpose
from xedge.types import Shape

WHOLE = slice(None)


def taken(builder: Builder, name: str, tensor: str, parts: Sequence[Any]) -> str:
    """Add what indices, slices and new axes take of a tensor, and return the name of the result.

    Args:
        builder: The graph in the making.
        name: The name of the result.
        tensor: The tensor.
        parts: What is taken along each axis, without the batch: a slice, a whole number, or None for a new axis among
            those of the channels.

    Raises:
        UnsupportedError: The part is outside of what the graph can take.
    """
    view = builder.view(tensor)
    lead, rest = parts[: len(view.lead)], parts[len(view.lead) :]
    if None in lead:
        raise UnsupportedError(f"{name}: adds an axis before those that it takes a part of")
    source, kept = _sliced(builder, name, view.source, view.lead, lead)
    order = view.order[tuple(one if isinstance(one, slice) or one is None else int(one) for one in rest)]
    sizes = builder.shapes[source][: len(view.lead)]
    if kept == sizes:
        return builder.viewed(name, source, sizes, order)
    whole = builder.whole(builder.viewed(f"{name}/taken", source, sizes, order))
    return builder.reshaped(name, whole, (*kept, *order.shape))


def _sliced(builder: Builder, name: str, source: str, lead: Shape, parts: Sequence[Any]) -> tuple[str, Shape]:
    """Take a part along the leading axes of a tensor; return it and the sizes of the axes that stay."""
    if all(part == WHOLE for part in parts):
        return source, lead
    if len(lead) > 2 or not lead:
        raise UnsupportedError(f"{name}: takes a part of a tensor of shape {builder.shapes[source]}")
    taken = [range(size)[_as_slice(part, size)] for part, size in zip(parts, lead, strict=True)]
    if any(len(one) < 1 or one.step < 1 for one in taken):
        raise UnsupportedError(f"{name}: takes nothing of a tensor, or turns it")
    taken += [range(1)] * (2 - len(lead))
    channels = builder.shapes[source][-1]
    photo = builder.reshaped(f"{name}/photo", source, (*lead, *(1,) * (2 - len(lead)), channels))
    size = (taken[0][-1] - taken[0][0] + 1, taken[1][-1] - taken[1][0] + 1)
    window = builder.add(Crop(name=f"{name}/window", inputs=(photo,), begin=(taken[0][0], taken[1][0]), size=size))
    steps = (taken[0].step, taken[1].step)
    if steps != (1, 1):
        window = builder.add(Pool(name=f"{name}/steps", inputs=(window,), kind="max", size=(1, 1), strides=steps))
    sizes = tuple(len(one) for one in taken[: len(lead)])
    kept = tuple(size for size, part in zip(sizes, parts, strict=True) if isinstance(part, slice))
    return builder.reshaped(f"{name}/part", window, (*sizes, channels)), kept


def _as_slice(part: Any, size: int) -> slice:
    if isinstance(part, slice):
        return part
    index = int(part) % size
    return slice(index, index + 1)


def into(builder: Builder, name: str, tensor: str, shape: Shape) -> str:
    """Add a reshape; where only the channels are taken apart or put together, that is kept as a view."""
    view = builder.view(tensor)
    if prod(shape) != prod(view.shape):
        raise UnsupportedError(f"{name}: reshapes {view.shape} to {shape}, which has another number of values")
    if shape[: len(view.lead)] == view.lead and len(shape) > len(view.lead):
        return builder.viewed(name, view.source, view.lead, view.order.reshape(shape[len(view.lead) :]))
    return builder.reshaped(name, builder.whole(tensor), shape)


def permuted(builder: Builder, name: str, tensor: str, order: Sequence[int]) -> str:
    """Add axes in another order; where no value moves to another position, or only channels do, it costs nothing.

    Args:
        builder: The graph in the making.
        name: The name of the result.
        tensor: The tensor.
        order: The axes of the tensor in their new order, without the batch and counted from 0.
    """
    view = builder.view(tensor)
    lead, rank = len(view.lead), len(view.shape)
    if moves_only_channels(view, order):
        return builder.viewed(name, view.source, view.lead, view.order.transpose([one - lead for one in order[lead:]]))
    if [axis for axis in order if view.shape[axis] != 1] == [axis for axis in range(rank) if view.shape[axis] != 1]:
        return builder.reshaped(name, builder.whole(tensor), tuple(view.shape[axis] for axis in order))
    return builder.add(Transpose(name=name, inputs=(builder.whole(tensor),), order=tuple(map(int, order))))


def moves_only_channels(view: View, order: Sequence[int]) -> bool:
    """Return whether an order of a view's axes leaves those before the channels as they are."""
    lead = len(view.lead)
    return list(order[:lead]) == list(range(lead))


def stacked(builder: Builder, name: str, tensors: Sequence[str], axis: int) -> str:
    """Add tensors of one shape put together along a new axis, and return the name of the result.

    Args:
        builder: The graph in the making.
        name: The name of the result.
        tensors: The tensors.
        axis: The place of the new axis, without the batch.
    """
    views = [builder.view(one) for one in tensors]
    lead = views[0].lead
    if axis >= len(lead) and len({(view.source, view.lead) for view in views}) == 1:
        order = np.stack([view.order for view in views], axis=axis - len(lead))
        return builder.viewed(name, views[0].source, lead, order)
    shape = builder.shapes[tensors[0]]
    slim = (*shape[:axis], 1, *shape[axis:])
    parts = [
        builder.add(Reshape(name=f"{name}/{index}", inputs=(builder.whole(one),), shape=slim))
        for index, one in enumerate(tensors)
    ]
    return builder.add(Concat(name=name, inputs=tuple(parts), axis=axis - len(slim)))
