"""The operators of ONNX that are read, one small function each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod, sqrt
from typing import Any

import numpy as np

from xedge.errors import UnsupportedError
from xedge.graph.composed import between, celu, elu, gelu_by_tanh, leaky, power
from xedge.graph.gates import SIXTH
from xedge.graph.ir import (
    NO_PADDING,
    Concat,
    Conv,
    Crop,
    Depthwise,
    Pad,
    Padding,
    Pool,
    Resize,
    Scale,
    TransposedConv,
    same_padding,
)
from xedge.graph.taking import moves_only_channels, permuted, taken
from xedge.sources.onnx.network import (
    MOST_MOVED,
    Expanded,
    Held,
    NetworkBuilder,
    Normal,
    Operator,
    Padded,
    Value,
    reads,
)
from xedge.sources.onnx.shapes import bounds, reshaped
from xedge.types import FloatArray, Shape

BINARY = {"Add": "add", "Sub": "subtract", "Mul": "multiply", "Div": "divide"}
VARIADIC = {"Sum": "add", "Max": "maximum", "Min": "minimum"}
UNARY = {"Sqrt": "sqrt", "Exp": "exp", "Log": "log", "Neg": "negative", "Abs": "abs", "Sign": "sign"}
ACTIVATIONS = {
    "Relu": "relu",
    "Sigmoid": "sigmoid",
    "Tanh": "tanh",
    "Softplus": "softplus",
    "Softsign": "softsign",
    "HardSwish": "hard_silu",
    "Mish": "mish",
}
REDUCTIONS = {"ReduceMean": "mean", "ReduceMax": "max", "ReduceMin": "min", "ReduceSum": "sum"}
# The axes of a photo in the graph, for each axis that ONNX counts.
PHOTO = (None, 2, 0, 1)


def _applied(builder: NetworkBuilder, value: Held) -> str:
    return builder.whole(value.name)


def _constant(name: str, value: Value, what: str) -> FloatArray:
    if not isinstance(value, np.ndarray):
        raise UnsupportedError(f"{name}: {what} is not constant")
    return np.asarray(value, np.float32)


# A padding of this or less is below every value of a photo; the least number in float32 is one.
LOWEST = -3e38


def _scalar(value: Value, otherwise: float) -> float:
    if value is None:
        return otherwise
    return float(_constant("a bound", value, "it").reshape(-1)[0])


@reads("Identity", "Dropout")
def _same(builder: NetworkBuilder, operator: Operator, inputs: list[Any]) -> Value:
    del builder
    if len(inputs) > 2 and inputs[2] is not None and np.any(inputs[2]):
        raise UnsupportedError(f"{operator.name}: {operator.kind} acts at random; export the model in inference")
    result: Value = inputs[0]
    return result


@reads("Cast")
def _cast(builder: NetworkBuilder, operator: Operator, inputs: list[Any]) -> Value:
    del builder
    if operator.attributes["to"] not in (1, 10, 11):
        raise UnsupportedError(f"{operator.name}: Cast to something else than floats")
    result: Value = inputs[0]
    return result


@reads("Shape")
def _shape(builder: NetworkBuilder, operator: Operator, inputs: list[Any]) -> Value:
    given = operator.attributes
    return np.array(builder.onnx_shape(inputs[0])[given.get("start", 0) : given.get("end")], np.int64)


def _padding(operator: Operator, shape: Shape, window: tuple[int, int], strides: tuple[int, int]) -> Padding:
    given = operator.attributes
    kind = given.get("auto_pad", "NOTSET")
    if kind in ("SAME_UPPER", "SAME_LOWER"):
        vertical, horizontal = same_padding(shape, window, strides)
        return (vertical, horizontal) if kind == "SAME_UPPER" else (vertical[::-1], horizontal[::-1])
    if kind == "VALID":
        return NO_PADDING
    top, left, bottom, right = given.get("pads") or (0, 0, 0, 0)
    return (top, bottom), (left, right)


def _cropped(builder: NetworkBuilder, name: str, photo: str, padding: Padding) -> tuple[str, Padding]:
    """Cut off what negative padding takes away."""
    if min(min(pads) for pads in padding) >= 0:
        return photo, padding
    begin = (max(0, -padding[0][0]), max(0, -padding[1][0]))
    end = (max(0, -padding[0][1]), max(0, -padding[1][1]))
    height, width, _ = builder.shapes[photo]
    size = (height - begin[0] - end[0], width - begin[1] - end[1])
    photo = builder.add(Crop(name=builder.unique(f"{name}/crop"), inputs=(photo,), begin=begin, size=size))
    (top, bottom), (left, right) = padding
    return photo, ((max(0, top), max(0, bottom)), (max(0, left), max(0, right)))


def _pair(given: Any) -> tuple[int, int]:
    height, width = given or (1, 1)
    return int(height), int(width)


@reads("Conv")
def _convolution(builder: NetworkBuilder, operator: Operator, inputs: list[Any]) -> Value:
    name, given = operator.name, operator.attributes
    kernel = _constant(name, inputs[1], "the kernel of a convolution")
    if kernel.ndim == 3:
        return _of_a_row(builder, operator, inputs, kernel)
    if kernel.ndim != 4:
        raise UnsupportedError(f"{name}: a convolution over {kernel.ndim - 2} axes")
    photo = builder.photo(name, inputs[0])
    bias = inputs[2] if len(inputs) > 2 and inputs[2] is not None else np.zeros(len(kernel), np.float32)
    groups, channels = given.get("group", 1), builder.shapes[photo][-1]
    if kernel.shape[1] * groups != channels or kernel.shape[0] % groups:
        raise ValueError(f"a kernel {kernel.shape} in {groups} groups over {channels} channels")
    strides, dilation = _pair(given.get("strides")), _pair(given.get("dilations"))
    window = tuple((size - 1) * step + 1 for size, step in zip(kernel.shape[2:], dilation, strict=True))
    photo, padding = _cropped(
        builder, name, photo, _padding(operator, builder.shapes[photo], (window[0], window[1]), strides)
    )
    rest: dict[str, Any] = {"name": name, "inputs": (photo,), "strides": strides, "dilation": dilation}
    rest.update(padding=padding, bias=_constant(name, bias, "the bias of a convolution").reshape(-1))
    if groups > 1 and groups == channels:
        flat = np.ascontiguousarray(kernel[:, 0].transpose(1, 2, 0))
        return Held(builder.add(Depthwise(kernel=flat, **rest)), PHOTO)
    turned = np.ascontiguousarray(kernel.transpose(2, 3, 1, 0))
    return Held(builder.add(Conv(kernel=turned, groups=groups, **rest)), PHOTO)


def _of_a_row(builder: NetworkBuilder, operator: Operator, inputs: list[Any], kernel: FloatArray) -> Value:
    """A convolution over one axis is that of a photo with one row."""
    value, given = inputs[0], dict(operator.attributes)
    row = Held(value.name, (*value.axes[:2], None, value.axes[2]))
    begin, end = given.get("pads") or (0, 0)
    given["pads"] = (0, begin, 0, end)
    for key in ("strides", "dilations"):
        given[key] = (1, *(given.get(key) or (1,)))
    held = _convolution(builder, replace(operator, attributes=given), [row, kernel[:, :, None], *inputs[2:]])
    assert isinstance(held, Held)
    _, height, width, channels = (1, *builder.shapes[held.name])
    name = builder.formed(f"{operator.name}/row", held.name, (height * width, channels))
    return Held(name, (None, 1, 0))


@reads("ConvTranspose")
def _transposed(builder: NetworkBuilder, operator: Operator, inputs: list[Any]) -> Value:
    name, given = operator.name, operator.attributes
    kernel = _constant(name, inputs[1], "the kernel of a convolution")
    plain = given.get("auto_pad", "NOTSET") == "NOTSET" and not any(given.get("output_padding") or ())
    if kernel.ndim != 4 or given.get("group", 1) != 1 or not plain or given.get("output_shape"):
        raise UnsupportedError(f"{name}: a transposed convolution with groups or with a size of its own")
    if any(one != 1 for one in given.get("dilations") or ()):
        raise UnsupportedError(f"{name}: a dilated transposed convolution")
    photo = builder.photo(name, inputs[0])
    bias = inputs[2] if len(inputs) > 2 and inputs[2] is not None else np.zeros(kernel.shape[1], np.float32)
    strides = _pair(given.get("strides"))
    node = TransposedConv(
        name=name,
        inputs=(photo,),
        kernel=np.ascontiguousarray(kernel.transpose(2, 3, 0, 1)),
        bias=_constant(name, bias, "the bias of a convolution").reshape(-1),
        strides=strides,
        padding=_padding(operator, builder.shapes[photo], (1, 1), strides),
    )
    return Held(builder.add(node), PHOTO)


@reads("BatchNormalization")
def _normalization(builder: NetworkBuilder, operator: Operator, inputs: list[Any]) -> Value:
    name, value = operator.name, inputs[0]
    if operator.attributes.get("training_mode") or (operator.opset < 7 and not operator.attributes.get("is_test")):
        raise UnsupportedError(f"{name}: normalizes by the statistics of the batch; export the model in inference")
    scale, offset, mean, variance = (
        _constant(name, one, "a statistic of a normalization").astype(np.float64) for one in inputs[1:5]
    )
    with np.errstate(invalid="ignore"):  # a negative variance is told with its layer when the whole model is read
        factor = scale / np.sqrt(variance + operator.attributes.get("epsilon", 1e-5))
    offset = offset - mean * factor
    if value.axes[1] == len(builder.shapes[value.name]) - 1:
        return Held(builder.scaled(name, _applied(builder, value), factor, offset), value.axes)
    shape = (-1, *(1,) * (len(value.axes) - 2))
    product = _binary_of(builder, f"{name}/factor", "multiply", value, factor.reshape(shape))
    return _binary_of(builder, name, "add", product, offset.reshape(shape))


@reads("MaxPool", "AveragePool")
def _pool(builder: NetworkBuilder, operator: Operator, inputs: list[Any]) -> Value:
    name, given = operator.name, operator.attributes
    size, strides = _pair(given["kernel_shape"]), _pair(given.get("strides"))
    if any(one != 1 for one in given.get("dilations") or ()):
        raise UnsupportedError(f"{name}: a dilated pool")
    if isinstance(inputs[0], Padded):
        photo, padding = inputs[0].photo, inputs[0].padding
        if any(map(any, _padding(operator, builder.shapes[photo], size, strides))) or given.get("ceil_mode"):
            raise UnsupportedError(f"{name}: a pool with padding of its own of a photo that is padded already")
        if any(max(pads) >= one for pads, one in zip(padding, size, strict=True)):
            raise UnsupportedError(f"{name}: a maximum over nothing but padding")
    else:
        photo = builder.photo(name, inputs[0])
        padding = _padding(operator, builder.shapes[photo], size, strides)
    if operator.kind == "AveragePool" and given.get("count_include_pad") and padding != NO_PADDING:
        photo = builder.add(Pad(name=builder.unique(f"{name}/pad"), inputs=(photo,), padding=padding))
        begun, padding = padding, NO_PADDING
    else:
        begun = NO_PADDING
    if given.get("ceil_mode"):
        padding = _up(builder.shapes[photo], size, strides, padding, begun)
    if operator.kind == "MaxPool":
        node = Pool(name=name, inputs=(photo,), kind="max", size=size, strides=strides, padding=padding)
        return Held(builder.add(node), PHOTO)
    return Held(_average(builder, name, photo, size, strides, padding), PHOTO)


def _average(
    builder: NetworkBuilder,
    name: str,
    photo: str,
    size: tuple[int, int],
    strides: tuple[int, int],
    padding: Padding,
) -> str:
    """Add an average that does not count its padding, which TFLite only has for TensorFlow's own padding."""
    shape = builder.shapes[photo]
    if padding in (NO_PADDING, same_padding(shape, size, strides)):
        node = Pool(name=name, inputs=(photo,), kind="average", size=size, strides=strides, padding=padding)
        return builder.add(node)
    counts = []
    for axis in (0, 1):
        starts = np.arange((shape[axis] + sum(padding[axis]) - size[axis]) // strides[axis] + 1) * strides[axis]
        starts = starts - padding[axis][0]
        counts.append(np.minimum(starts + size[axis], shape[axis]) - np.maximum(starts, 0))
    factor = prod(size) / np.maximum(1, np.outer(*counts))[..., None]
    padded = builder.add(Pad(name=builder.unique(f"{name}/pad"), inputs=(photo,), padding=padding))
    pool = Pool(name=builder.unique(f"{name}/pool"), inputs=(padded,), kind="average", size=size, strides=strides)
    return builder.elementwise("multiply", name, builder.add(pool), factor)


def _up(shape: Shape, size: tuple[int, int], strides: tuple[int, int], padding: Padding, inside: Padding) -> Padding:
    """Add padding at the end for windows that begin in the photo or in the padding before it, and end outside.

    Args:
        shape: The photo, with the padding inside.
        size: The height and width of the window.
        strides: The strides.
        padding: The padding that the pool itself has.
        inside: The padding that is in the photo already.
    """
    sides = []
    for axis in (0, 1):
        begin, end = padding[axis]
        whole = shape[axis] + begin + end
        count = -(-(whole - size[axis]) // strides[axis]) + 1
        last = (count - 1) * strides[axis]
        if last >= begin + shape[axis] - inside[axis][1]:
            count, last = count - 1, last - strides[axis]
        sides.append((begin, end + max(0, last + size[axis] - whole)))
    return sides[0], sides[1]


@reads("GlobalAveragePool", "GlobalMaxPool")
def _global_pool(builder: NetworkBuilder, operator: Operator, inputs: list[Any]) -> Value:
    kind = "mean" if operator.kind == "GlobalAveragePool" else "max"
    photo = builder.photo(operator.name, inputs[0])
    return Held(builder.reduced(operator.name, kind, photo, (0, 1), keepdims=True), PHOTO)


@reads(*REDUCTIONS, "ReduceL2")
def _reduction(builder: NetworkBuilder, operator: Operator, inputs: list[Any]) -> Value:
    name, given, value = operator.name, operator.attributes, inputs[0]
    rank, keep = len(value.axes), bool(operator.attributes.get("keepdims", 1))
    axes = inputs[1] if len(inputs) > 1 and inputs[1] is not None else given.get("axes")
    if axes is None and given.get("noop_with_empty_axes"):
        return value  # type: ignore[no-any-return]
    counted = sorted(builder.axis(value, one) for one in (range(rank) if axes is None else np.atleast_1d(axes)))
    inner = tuple(sorted(axis for one in counted if (axis := value.axes[one]) is not None))
    tensor = _applied(builder, value)
    if operator.kind == "ReduceL2":
        tensor = builder.elementwise("multiply", f"{name}/squares", tensor, tensor)
    kind = REDUCTIONS.get(operator.kind, "sum")
    if inner:
        tensor = builder.reduced(name, kind, tensor, inner, keepdims=True)
    if operator.kind == "ReduceL2":
        tensor = builder.unary("sqrt", f"{name}/root", tensor)
    if keep:
        return Held(tensor, value.axes)
    shape = tuple(size for axis, size in enumerate(builder.shapes[tensor]) if axis not in inner)
    tensor = builder.formed(f"{name}/reduced", tensor, shape)
    return _without(Held(tensor, value.axes), counted, inner)


def _without(value: Held, dropped: Sequence[int], gone: Sequence[int]) -> Held:
    """Return a tensor without some axes of ONNX, of which ``gone`` are no longer in the graph's tensor."""
    kept = [axis for at, axis in enumerate(value.axes) if at not in dropped]
    return Held(value.name, tuple(None if a is None else a - sum(one < a for one in gone) for a in kept))


@reads("Flatten")
def _flatten(builder: NetworkBuilder, operator: Operator, inputs: list[Any]) -> Value:
    shape = builder.onnx_shape(inputs[0])
    axis = operator.attributes.get("axis", 1) % (len(shape) + 1)
    return _reformed(builder, operator.name, inputs[0], (prod(shape[:axis]), prod(shape[axis:])))


@reads("Reshape")
def _reshape(builder: NetworkBuilder, operator: Operator, inputs: list[Any]) -> Value:
    wanted = inputs[1] if len(inputs) > 1 else operator.attributes["shape"]
    if not isinstance(wanted, np.ndarray | list):
        raise UnsupportedError(f"{operator.name}: a shape that depends on the photo")
    shape = reshaped(builder.onnx_shape(inputs[0]), wanted, operator.attributes)
    return _reformed(builder, operator.name, inputs[0], shape)


def _reformed(builder: NetworkBuilder, name: str, value: Held, shape: Shape) -> Value:
    """Take axes apart and put them together, group by group, wherever they stand in the graph."""
    before = builder.onnx_shape(value)
    groups = _groups(before, shape)
    if len(groups) > 2 and all(len(old) == len(new) == 1 for old, new in groups):
        return _counted_anew(value, groups, before, shape)
    if sum(axis is not None for axis in value.axes) < len(builder.shapes[value.name]):
        value = _without_hidden(builder, f"{name}/counted", value)
    # A batch that has an axis in the graph keeps it.
    lead = [0] if value.axes[0] == 0 and before[0] == shape[0] == 1 else []
    # Each group: its axes in the graph, and those of ONNX that it becomes.
    parts = [([axis for one in old if (axis := value.axes[one]) is not None], new) for old, new in groups]
    parts = [(inner, new) for inner, new in parts if inner]
    ordered = sorted(parts, key=lambda part: min(part[0]))
    order = [*lead, *(axis for inner, _ in ordered for axis in inner)]
    tensor = value.name
    if order != sorted(order):
        narrow = [at for at, axis in enumerate(value.axes) if axis not in (None, *lead) and before[at] == 1]
        if narrow:
            return _reformed(builder, name, _dropped(builder, f"{name}/narrow", value, narrow), shape)
        if len(ordered) == 1 and len(ordered[0][1]) <= 1:
            row = _flattened(builder, name, tensor, order)
            return Held(row, tuple(0 if at in ordered[0][1] else None for at in range(len(shape))))
        if not moves_only_channels(builder.view(tensor), order):
            # Values move in any case, so that they may as well stand as ONNX has them.
            ordered = parts
            order = [*lead, *(axis for inner, _ in ordered for axis in inner)]
        tensor = permuted(builder, builder.unique(f"{name}/moved"), tensor, order)
    return _in_groups(builder, name, tensor, shape, [one for _, new in ordered for one in new], batch=bool(lead))


def _in_groups(builder: NetworkBuilder, name: str, tensor: str, shape: Shape, order: list[int], *, batch: bool) -> Held:
    """Return a tensor whose axes are those of ONNX in this order, after the batch where that has an axis.

    A sequence (1, positions, channels) is held as a photo of one row, over which dense layers are convolutions.
    """
    if batch and len(order) == 3:
        # A photo needs no batch, but channels that are only taken apart do not leave their place.
        lead = builder.view(tensor).lead
        batch = (1, *(shape[at] for at in order))[: len(lead)] == lead
    if batch or (len(shape) == 3 and shape[0] == 1 and len(order) == 2):
        order = [0, *order]
    axes = tuple(order.index(at) if at in order else None for at in range(len(shape)))
    return Held(builder.formed(name, tensor, tuple(shape[at] for at in order)), axes)


def _counted_anew(value: Held, groups: list[tuple[list[int], list[int]]], before: Shape, shape: Shape) -> Held:
    """Return a tensor of which ONNX counts the axes in another way, because only axes of size 1 come and go."""
    axes: list[int | None] = [None] * len(shape)
    for old, new in groups:
        axes[new[0]] = value.axes[old[0]]
    if shape[0] == 1 and 0 not in axes and (0 not in value.axes or before[value.axes.index(0)] == 1):
        axes[0] = 0
    return Held(value.name, tuple(axes))


def _without_hidden(builder: NetworkBuilder, name: str, value: Held) -> Held:
    """Return a tensor without the axes of size 1 that it has in the graph alone."""
    shown = sorted(axis for axis in value.axes if axis is not None)
    tensor = builder.formed(name, value.name, tuple(builder.shapes[value.name][axis] for axis in shown))
    return Held(tensor, tuple(None if axis is None else shown.index(axis) for axis in value.axes))


def _groups(before: Shape, after: Shape) -> list[tuple[list[int], list[int]]]:
    """Return which axes of a shape become which of another one, in the smallest groups; axes of size 1 are left out."""
    old, new = ([axis for axis, size in enumerate(shape) if size != 1] for shape in (before, after))
    groups: list[tuple[list[int], list[int]]] = []
    while old or new:
        left, right = [old.pop(0)], [new.pop(0)]
        while (taken_ := prod(before[one] for one in left)) != (made := prod(after[one] for one in right)):
            (left.append(old.pop(0)) if taken_ < made else right.append(new.pop(0)))
        groups.append((left, right))
    return groups


def _flattened(builder: NetworkBuilder, name: str, tensor: str, order: list[int]) -> str:
    """Return the values in the order in which ONNX flattens them, as a view: a dense layer's rows follow it."""
    whole = builder.whole(tensor)
    shape = builder.shapes[whole]
    places = np.arange(prod(shape)).reshape(shape).transpose(order).reshape(-1)
    row = builder.formed(f"{name}/row", whole, (prod(shape),))
    return builder.viewed(name, row, (), places)


def _dense(builder: NetworkBuilder, name: str, tensor: str, kernel: FloatArray, bias: FloatArray) -> str:
    """Add a dense layer over the last axis; the rows of its kernel follow a tensor that is in another order."""
    view = builder.view(tensor)
    if view.lead == () and len(view.order.shape) == 1 and len(view.order) == builder.shapes[view.source][0]:
        rows = np.zeros_like(kernel)
        rows[view.order] = kernel
        return builder.dense(name, view.source, rows, bias)
    if view.source != tensor and len(view.order.reshape(-1)) > MOST_MOVED:
        raise UnsupportedError(f"{name}: reads values in another order than they are computed in")
    return builder.dense(name, builder.whole(tensor), np.ascontiguousarray(kernel), bias)


@reads("Gemm")
def _gemm(builder: NetworkBuilder, operator: Operator, inputs: list[Any]) -> Value:
    name, given = operator.name, operator.attributes
    kernel = _constant(name, inputs[1], "the matrix of a product")
    if given.get("transA") or not isinstance(inputs[0], Held):
        raise UnsupportedError(f"{name}: a product with something else than one constant matrix")
    kernel = (kernel.T if given.get("transB") else kernel) * np.float32(given.get("alpha", 1.0))
    bias = np.zeros(kernel.shape[-1], np.float32)
    if len(inputs) > 2 and inputs[2] is not None:
        offset = _constant(name, inputs[2], "the bias of a product") * np.float32(given.get("beta", 1.0))
        bias = np.broadcast_to(offset.reshape(-1), bias.shape).copy()
    tensor = builder.arranged(name, inputs[0], [1])
    return Held(_dense(builder, name, tensor, kernel, bias), (None, 0))


@reads("MatMul")
def _product(builder: NetworkBuilder, operator: Operator, inputs: list[Any]) -> Value:
    name, (value, given) = operator.name, inputs
    if isinstance(value, Held) and isinstance(given, Held):
        return _product_of_two(builder, name, value, given)
    if not isinstance(value, Held) or not isinstance(given, np.ndarray) or max(given.shape[:-2], default=1) != 1:
        raise UnsupportedError(f"{name}: MatMul with something else than one constant matrix")
    kernel = np.asarray(given, np.float32).reshape(given.shape[-2:])
    others = [at for at, axis in enumerate(value.axes[:-1]) if axis is not None]
    others.sort(key=lambda at: value.axes[at] or 0)
    order = [*others, len(value.axes) - 1]
    tensor = builder.arranged(name, value, order)
    places = {at: place for place, at in enumerate(order)}
    axes = tuple(places.get(at) for at in range(len(value.axes)))
    result = _dense(builder, name, tensor, kernel, np.zeros(kernel.shape[-1], np.float32))
    return Held(result, axes)


def _product_of_two(builder: NetworkBuilder, name: str, left: Held, right: Held) -> Held:
    """The product of two tensors, as attention has it."""
    rank = max(4, len(left.axes), len(right.axes))
    matrices = []
    for one in (left, right):
        spread = Held(one.name, (*(None,) * (rank - len(one.axes)), *one.axes))
        matrices.append(builder.whole(builder.arranged(name, spread, range(rank))))
    product = builder.product(name, *matrices)
    return Held(product, tuple(range(rank))[-max(len(left.axes), len(right.axes)) :])


@reads(*BINARY)
def _binary(builder: NetworkBuilder, operator: Operator, inputs: list[Any]) -> Value:
    kind = BINARY[operator.kind]
    if any(isinstance(one, Expanded) for one in inputs):
        inputs = _spread(builder, operator.name, inputs)
    if any(isinstance(one, Normal) for one in inputs):
        return _gelu_step(builder, operator.name, kind, inputs)
    if operator.opset < 7 and operator.attributes.get("broadcast") and "axis" in operator.attributes:
        raise UnsupportedError(f"{operator.name}: broadcasts as ONNX did before opset 7")
    return _binary_of(builder, operator.name, kind, *inputs)


def _spread(builder: NetworkBuilder, name: str, inputs: list[Any]) -> list[Any]:
    """Return operands without an Expand to the shape that the other one has."""
    shapes = [builder.onnx_shape(one) for one in inputs if isinstance(one, Held)]
    shapes += [one.shape for one in inputs if isinstance(one, np.ndarray)]
    if any(isinstance(one, Expanded) and one.shape not in shapes for one in inputs):
        raise UnsupportedError(f"{name}: an Expand to a shape that nothing else has")
    return [one.source if isinstance(one, Expanded) else one for one in inputs]


@reads("Expand")
def _expand(builder: NetworkBuilder, operator: Operator, inputs: list[Any]) -> Value:
    if not isinstance(inputs[1], np.ndarray):
        raise UnsupportedError(f"{operator.name}: a shape that depends on the photo")
    before = builder.onnx_shape(inputs[0])
    shape = np.broadcast_shapes(before, tuple(int(one) for one in inputs[1]))
    return inputs[0] if shape == before else Expanded(inputs[0], shape)


@reads(*VARIADIC)
def _variadic(builder: NetworkBuilder, operator: Operator, inputs: list[Any]) -> Value:
    result = inputs[0]
    for index, one in enumerate(inputs[1:], start=1):
        last = index == len(inputs) - 1
        name = operator.name if last else builder.unique(f"{operator.name}/{index}")
        result = _binary_of(builder, name, VARIADIC[operator.kind], result, one)
    return result  # type: ignore[no-any-return]


def _binary_of(builder: NetworkBuilder, name: str, kind: str, *operands: Any) -> Held:
    """Add an operation on two operands, which are broadcast as ONNX does: from the last axis on."""
    rank = max(len(one.axes) if isinstance(one, Held) else np.ndim(one) for one in operands)
    spread = [
        Held(one.name, (*(None,) * (rank - len(one.axes)), *one.axes)) if isinstance(one, Held)
        else np.asarray(one).reshape((1,) * (rank - np.ndim(one)) + np.shape(one))
        for one in operands
    ]  # fmt: skip
    held = sorted((one for one in spread if isinstance(one, Held)), key=lambda one: -prod(builder.shapes[one.name]))
    shapes = [builder.onnx_shape(one) if isinstance(one, Held) else one.shape for one in spread]
    main = held[0]
    order = builder.order_of(main)
    grown = [at for at in range(rank) if at not in order and any(shape[at] != 1 for shape in shapes)]
    if grown:
        order = [2, 3, 1] if rank == 4 else sorted([*order, *grown])
    given: list[Any] = []
    for one in spread:
        if isinstance(one, Held):
            given.append(builder.whole(builder.arranged(name, one, order)))
        else:
            rest = [at for at in range(rank) if at not in order]
            given.append(one.transpose(*rest, *order).reshape([one.shape[at] for at in order]))
    axes: list[int | None] = [None] * rank
    for place, at in enumerate(order):
        axes[at] = place
    if len(held) == 2:
        result = builder.combined(kind, builder.unique(name), *given)
    else:
        result = _undone(builder, kind, given) or builder.with_constant(kind, builder.unique(name), *given)
    return Held(result, tuple(axes))


def _undone(builder: NetworkBuilder, kind: str, given: list[Any]) -> str | None:
    """Return what a tensor was before a factor, if the constant takes that back, as at the end of a GELU."""
    (tensor,) = (one for one in given if isinstance(one, str))
    (constant,) = (one for one in given if not isinstance(one, str))
    node = builder.nodes[-1]
    if kind != "multiply" or node.name != tensor or not isinstance(node, Scale) or node.offset.any():
        return None
    return node.inputs[0] if constant.size == 1 and bool(np.all(node.factor * constant.reshape(-1) == 1)) else None


def _scaled_source(builder: NetworkBuilder, value: Held, factor: float) -> Held | None:
    """Return what a tensor is a multiple of, if it is that multiple."""
    node = next((one for one in reversed(builder.nodes) if one.name == value.name), None)
    if not isinstance(node, Scale) or node.offset.any() or not np.allclose(node.factor, factor, rtol=1e-4):
        return None
    return Held(node.inputs[0], value.axes)


@reads("Erf")
def _error_function(builder: NetworkBuilder, operator: Operator, inputs: list[Any]) -> Value:
    source = _scaled_source(builder, inputs[0], sqrt(0.5))
    if source is None:
        raise UnsupportedError(f"{operator.name}: an error function outside of a GELU")
    return Normal(source)


def _gelu_step(builder: NetworkBuilder, name: str, kind: str, inputs: list[Any]) -> Value:
    """A step towards x / 2 * (1 + erf(x / sqrt(2))); Hendrycks and Gimpel, "Gaussian Error Linear Units", 2016."""
    (normal,) = (one for one in inputs if isinstance(one, Normal))
    (other,) = (one for one in inputs if not isinstance(one, Normal))
    if kind == "add" and isinstance(other, np.ndarray) and not normal.plus_one and np.all(other == 1):
        return replace(normal, plus_one=True)
    if kind == "multiply" and normal.plus_one and isinstance(other, np.ndarray) and other.size == 1:
        return replace(normal, factor=normal.factor * float(other.reshape(-1)[0]))
    if kind == "multiply" and normal.plus_one and isinstance(other, Held):
        half = _scaled_source(builder, other, 0.5)
        for tensor, factor in ((other, 2 * normal.factor), (half, normal.factor)):
            if tensor is not None and tensor.name == normal.source.name and tensor.axes == normal.source.axes:
                gelu = builder.activation("gelu", builder.whole(tensor.name), builder.unique(name))
                if factor != 1:
                    gelu = builder.scaled(builder.unique(f"{name}/factor"), gelu, factor, 0.0)
                return Held(gelu, tensor.axes)
    raise UnsupportedError(f"{name}: an error function outside of a GELU")


@reads("Gelu", "FastGelu")
def _gelu(builder: NetworkBuilder, operator: Operator, inputs: list[Any]) -> Value:
    tensor = _applied(builder, inputs[0])
    if len(inputs) > 1:
        raise UnsupportedError(f"{operator.name}: {operator.kind} with a bias")
    if operator.kind == "FastGelu" or operator.attributes.get("approximate") == "tanh":
        return Held(gelu_by_tanh(builder, operator.name, tensor), inputs[0].axes)
    return Held(builder.activation("gelu", tensor, operator.name), inputs[0].axes)


@reads(*ACTIVATIONS)
def _activation(builder: NetworkBuilder, operator: Operator, inputs: list[Any]) -> Value:
    result = builder.activation(ACTIVATIONS[operator.kind], _applied(builder, inputs[0]), operator.name)
    return Held(result, inputs[0].axes)


@reads(*UNARY)
def _unary(builder: NetworkBuilder, operator: Operator, inputs: list[Any]) -> Value:
    return Held(builder.unary(UNARY[operator.kind], operator.name, _applied(builder, inputs[0])), inputs[0].axes)


@reads("Reciprocal")
def _reciprocal(builder: NetworkBuilder, operator: Operator, inputs: list[Any]) -> Value:
    return _binary_of(builder, operator.name, "divide", np.ones((), np.float32), inputs[0])


@reads("Pow")
def _power(builder: NetworkBuilder, operator: Operator, inputs: list[Any]) -> Value:
    if not isinstance(inputs[0], Held) or np.size(inputs[1]) != 1:
        raise UnsupportedError(f"{operator.name}: a power whose exponent is not one constant")
    exponent = _scalar(inputs[1], 1.0)
    return Held(power(builder, operator.name, _applied(builder, inputs[0]), exponent), inputs[0].axes)


@reads("LeakyRelu", "Elu", "Selu", "Celu", "HardSigmoid", "ThresholdedRelu")
def _curve(builder: NetworkBuilder, operator: Operator, inputs: list[Any]) -> Value:
    name, given, tensor = operator.name, operator.attributes, _applied(builder, inputs[0])
    if operator.kind == "LeakyRelu":
        slope = given.get("alpha", 0.01)
        result = builder.activation("leaky_relu" if slope else "relu", tensor, name, slope)
    elif operator.kind == "Elu":
        result = builder.activation("elu", tensor, name, given.get("alpha", 1.0))
    elif operator.kind == "Selu":
        result = elu(builder, name, tensor, given.get("alpha", 1.67326319), given.get("gamma", 1.05070102))
    elif operator.kind == "Celu":
        result = celu(builder, name, tensor, given.get("alpha", 1.0))
    elif operator.kind == "HardSigmoid":
        alpha, beta = given.get("alpha", 0.2), given.get("beta", 0.5)
        if abs(alpha - SIXTH) < 1e-4 and beta == 0.5:
            result = builder.activation("hard_sigmoid", tensor, name)
        else:
            result = between(builder, name, builder.scaled(f"{name}/line", tensor, alpha, beta), 0.0, 1.0)
    else:
        raise UnsupportedError(f"{name}: {operator.kind} is not in the reference graph's set")
    return Held(result, inputs[0].axes)


@reads("PRelu")
def _learned_slope(builder: NetworkBuilder, operator: Operator, inputs: list[Any]) -> Value:
    name, value = operator.name, inputs[0]
    slope = _constant(name, inputs[1], "the slope of a PRelu")
    if slope.size == 1:
        alpha = float(slope.reshape(-1)[0])
        return Held(
            builder.activation("leaky_relu" if alpha else "relu", _applied(builder, value), name, alpha), value.axes
        )
    rank = len(value.axes)
    slope = slope.reshape((1,) * (rank - slope.ndim) + slope.shape)
    order = sorted((at for at, axis in enumerate(value.axes) if axis is not None), key=lambda at: value.axes[at] or 0)
    rest = [at for at in range(rank) if at not in order]
    spread = slope.transpose(*rest, *order).reshape([slope.shape[at] for at in order])
    return Held(leaky(builder, name, _applied(builder, value), spread), value.axes)


@reads("Clip")
def _clip(builder: NetworkBuilder, operator: Operator, inputs: list[Any]) -> Value:
    name, given = operator.name, operator.attributes
    low, high = (*inputs[1:], None, None)[:2]
    least = _scalar(low, given.get("min", -np.inf))
    most = _scalar(high, given.get("max", np.inf))
    tensor = _applied(builder, inputs[0])
    if (least == 0 and most in (6, np.inf)) or (least == 0 and most >= np.finfo(np.float32).max):
        result = builder.activation("relu6" if most == 6 else "relu", tensor, name)
    elif abs(least) < 1e30 and abs(most) < 1e30:
        result = between(builder, name, tensor, least, most)
    elif abs(least) < 1e30:
        result = builder.elementwise("maximum", name, tensor, least)
    else:
        result = builder.elementwise("minimum", name, tensor, most) if abs(most) < 1e30 else tensor
    return Held(result, inputs[0].axes)


@reads("Softmax", "LogSoftmax")
def _softmax(builder: NetworkBuilder, operator: Operator, inputs: list[Any]) -> Value:
    name, value = operator.name, inputs[0]
    shape = builder.onnx_shape(value)
    axis = builder.axis(value, operator.attributes.get("axis", 1 if operator.opset < 13 else -1))
    if operator.opset < 13:  # over all axes from the given one on
        wide = [at for at in range(axis, len(shape)) if shape[at] != 1] or [axis]
        if len(wide) != 1:
            raise UnsupportedError(f"{name}: {operator.kind} over several axes")
        axis = wide[0]
    others = [at for at, one in enumerate(value.axes) if one is not None and at != axis]
    others.sort(key=lambda at: value.axes[at] or 0)
    tensor = builder.whole(builder.arranged(name, value, [*others, axis]))
    places = {at: place for place, at in enumerate([*others, axis])}
    result = builder.activation("softmax" if operator.kind == "Softmax" else "log_softmax", tensor, name)
    return Held(result, tuple(places.get(at) for at in range(len(shape))))


@reads("LayerNormalization")
def _layer_normalization(builder: NetworkBuilder, operator: Operator, inputs: list[Any]) -> Value:
    """Ba et al., "Layer Normalization", 2016, over the axes from the given one on."""
    name, value, given = operator.name, inputs[0], operator.attributes
    axes = range(builder.axis(value, given.get("axis", -1)), len(value.axes))
    inner = tuple(sorted(axis for one in axes if (axis := value.axes[one]) is not None))
    result = _normalized(builder, name, value, inner, given.get("epsilon", 1e-5))
    offset = inputs[2] if len(inputs) > 2 else None
    if inner == (len(builder.shapes[result.name]) - 1,):
        # One scale rather than a product and a sum, so that what does not fold away is one operation.
        scale = builder.unique(f"{name}/scale")
        return Held(builder.scaled(scale, result.name, inputs[1], 0.0 if offset is None else offset), result.axes)
    result = _binary_of(builder, f"{name}/scale", "multiply", result, inputs[1])
    return result if offset is None else _binary_of(builder, f"{name}/offset", "add", result, offset)


def _normalized(builder: NetworkBuilder, name: str, value: Held, axes: tuple[int, ...], epsilon: float) -> Held:
    """(x - mean) / sqrt(variance + epsilon) over axes of the graph."""
    tensor = _applied(builder, value)
    mean = builder.reduced(f"{name}/mean", "mean", tensor, axes, keepdims=True)
    moved = builder.elementwise("subtract", f"{name}/moved", tensor, mean)
    squares = builder.elementwise("multiply", f"{name}/squares", moved, moved)
    variance = builder.reduced(f"{name}/square_mean", "mean", squares, axes, keepdims=True)
    root = builder.unary("sqrt", f"{name}/deviation", builder.elementwise("add", f"{name}/variance", variance, epsilon))
    return Held(builder.elementwise("divide", name, moved, root), value.axes)


@reads("InstanceNormalization")
def _instance_normalization(builder: NetworkBuilder, operator: Operator, inputs: list[Any]) -> Value:
    name, value = operator.name, inputs[0]
    inner = tuple(sorted(axis for axis in value.axes[2:] if axis is not None))
    view = builder.view(value.name)
    if view.source != value.name and not view.lead and len(inner) == len(view.order.shape) == 1:
        # All values of a photo together, in whatever order they are.
        whole = _normalized(builder, name, Held(view.source, (0,)), (0,), operator.attributes.get("epsilon", 1e-5))
        result = Held(builder.viewed(f"{name}/flat", whole.name, (), view.order), value.axes)
    else:
        result = _normalized(builder, name, value, inner, operator.attributes.get("epsilon", 1e-5))
    shape = (-1, *(1,) * (len(value.axes) - 2))
    scale, offset = (_constant(name, one, "the scale of a normalization").reshape(shape) for one in inputs[1:3])
    for kind, constant, neutral in (("multiply", scale, 1.0), ("add", offset, 0.0)):
        if (constant != neutral).any():
            result = _binary_of(builder, f"{name}/{kind}", kind, result, constant)
    return result


@reads("Concat")
def _concat(builder: NetworkBuilder, operator: Operator, inputs: list[Any]) -> Value:
    name = operator.name
    if any(not isinstance(one, Held) for one in inputs):
        return _beside_constants(builder, operator, inputs)
    first: Held = max(inputs, key=lambda one: sum(axis is not None for axis in one.axes))
    axis, rank = builder.axis(first, operator.attributes["axis"]), len(first.axes)
    order = sorted((at for at, one in enumerate(first.axes) if one is not None), key=lambda at: first.axes[at] or 0)
    if axis not in order:
        order = [2, 3, 1] if rank == 4 and axis != 0 else sorted([*order, axis])
    tensors = [builder.arranged(name, one, order) for one in inputs]
    axes: list[int | None] = [None] * rank
    for place, at in enumerate(order):
        axes[at] = place
    views = [builder.view(one) for one in tensors]
    place = order.index(axis)
    if place == len(order) - 1 and len({(view.source, view.lead) for view in views}) == 1:
        joined = np.concatenate([view.order for view in views], axis=-1)
        return Held(builder.viewed(name, views[0].source, views[0].lead, joined), tuple(axes))
    whole = tuple(map(builder.whole, tensors))
    return Held(builder.add(Concat(name=name, inputs=whole, axis=place - len(order))), tuple(axes))


def _beside_constants(builder: NetworkBuilder, operator: Operator, inputs: list[Any]) -> Held:
    """A tensor with constants before and after it, such as a class token: zeros around it, and a sum."""
    name, at = operator.name, [isinstance(one, Held) for one in inputs].index(True)
    value, arrays = inputs[at], [*inputs[:at], *inputs[at + 1 :]]
    axis = builder.axis(value, operator.attributes["axis"])
    place, shape = value.axes[axis], builder.shapes[value.name]
    if not all(isinstance(one, np.ndarray) for one in arrays) or len(shape) != 3 or place not in (0, 1):
        raise UnsupportedError(f"{name}: puts a constant beside a tensor")
    counts = [sum(one.shape[axis] for one in some) for some in (inputs[:at], inputs[at + 1 :])]
    sides = [(0, 0), (0, 0)]
    sides[place] = (counts[0], counts[1])
    padded = Pad(name=f"{name}/zeros", inputs=(builder.whole(value.name),), padding=(sides[0], sides[1]))
    held = Held(builder.add(padded), value.axes)
    zeros = np.zeros(builder.onnx_shape(value), np.float32)
    constant = np.concatenate([*inputs[:at], zeros, *inputs[at + 1 :]], axis=axis)
    return _binary_of(builder, name, "add", held, constant)


@reads("Transpose")
def _transpose(builder: NetworkBuilder, operator: Operator, inputs: list[Any]) -> Value:
    del builder
    axes = inputs[0].axes
    order = operator.attributes.get("perm") or range(len(axes))[::-1]
    if sorted(order) != list(range(len(axes))):
        raise ValueError(f"the order {list(order)}")
    return Held(inputs[0].name, tuple(axes[one] for one in order))


@reads("Unsqueeze")
def _unsqueeze(builder: NetworkBuilder, operator: Operator, inputs: list[Any]) -> Value:
    del builder
    given = inputs[1] if len(inputs) > 1 else operator.attributes["axes"]
    axes: list[int | None] = list(inputs[0].axes)
    rank = len(axes) + np.size(given)
    for at in sorted(int(one) % rank for one in np.atleast_1d(given)):
        axes.insert(at, None)
    return Held(inputs[0].name, tuple(axes))


@reads("Squeeze")
def _squeeze(builder: NetworkBuilder, operator: Operator, inputs: list[Any]) -> Value:
    value = inputs[0]
    given = inputs[1] if len(inputs) > 1 and inputs[1] is not None else operator.attributes.get("axes")
    shape = builder.onnx_shape(value)
    chosen = [at for at, size in enumerate(shape) if size == 1] if given is None else np.atleast_1d(given)
    dropped = [builder.axis(value, one) for one in chosen]
    if any(shape[at] != 1 for at in dropped):
        raise ValueError(f"squeezes the axes {dropped} of {shape}")
    return _dropped(builder, operator.name, value, dropped)


def _dropped(builder: NetworkBuilder, name: str, value: Held, dropped: Sequence[int]) -> Held:
    """Return a tensor without axes of size 1."""
    gone = [axis for at in dropped if (axis := value.axes[at]) is not None]
    kept = tuple(size for axis, size in enumerate(builder.shapes[value.name]) if axis not in gone)
    return _without(Held(builder.formed(name, value.name, kept), value.axes), dropped, gone)


def _part(builder: NetworkBuilder, name: str, value: Held, parts: dict[int, Any]) -> Held:
    """Return what slices take along axes of ONNX."""
    shape = builder.onnx_shape(value)
    inner: list[Any] = [slice(None)] * len(builder.shapes[value.name])
    for at, part in parts.items():
        axis = value.axes[at]
        if range(shape[at])[part] == range(shape[at]):
            continue
        if axis is None:
            raise UnsupportedError(f"{name}: takes photos out of the batch")
        first = range(shape[at])[part]
        inner[axis] = slice(first.start, first.stop if first.stop >= 0 else None, first.step)
    if all(one == slice(None) for one in inner):
        return value
    return Held(taken(builder, builder.unique(name), value.name, inner), value.axes)


@reads("Slice")
def _slice(builder: NetworkBuilder, operator: Operator, inputs: list[Any]) -> Value:
    value = inputs[0]
    parts = {builder.axis(value, axis): part for axis, part in bounds(inputs, operator.attributes)}
    return _part(builder, operator.name, value, parts)


@reads("Split")
def _split(builder: NetworkBuilder, operator: Operator, inputs: list[Any]) -> Value | list[Value]:
    value = inputs[0]
    axis = builder.axis(value, operator.attributes.get("axis", 0))
    size = builder.onnx_shape(value)[axis]
    given = inputs[1] if len(inputs) > 1 and inputs[1] is not None else operator.attributes.get("split")
    each = -(-size // operator.outputs)
    sizes = [min(each, size - at * each) for at in range(operator.outputs)] if given is None else list(map(int, given))
    ends = np.cumsum([0, *sizes]).tolist()
    if ends[-1] != size or min(sizes) < 1:
        raise ValueError(f"splits {size} into {sizes}")
    return [
        _part(builder, f"{operator.name}/{at}", value, {axis: slice(ends[at], ends[at + 1])})
        for at in range(len(sizes))
    ]


@reads("Gather")
def _gather(builder: NetworkBuilder, operator: Operator, inputs: list[Any]) -> Value:
    name, (value, given) = operator.name, inputs
    if isinstance(value, Held) and isinstance(given, Held):
        return _product_of_two(builder, name, value, given)
    if not isinstance(value, Held) or not isinstance(given, np.ndarray):
        raise UnsupportedError(f"{name}: takes what depends on the photo")
    axis = builder.axis(value, operator.attributes.get("axis", 0))
    size = builder.onnx_shape(value)[axis]
    places = [int(one) % size for one in given.reshape(-1)]
    if given.ndim == 0:
        one = _part(builder, name, value, {axis: slice(places[0], places[0] + 1)})
        return _dropped(builder, f"{name}/index", one, [axis])
    if len(value.axes) == 1 and places == list(range(size)):
        # PyTorch's as_strided, where it takes all values in their order.
        return _reformed(builder, name, value, given.shape)
    view, inner = builder.view(value.name), value.axes[axis]
    if given.ndim != 1 or inner is None or inner < len(view.lead):
        raise UnsupportedError(f"{name}: takes positions in another order")
    order = np.take(view.order, places, axis=inner - len(view.lead))
    return Held(builder.viewed(name, view.source, view.lead, order), value.axes)


@reads("GatherND")
def _repeated(builder: NetworkBuilder, operator: Operator, inputs: list[Any]) -> Value:
    """Repeat rows and columns, as PyTorch averages a photo that is smaller than the windows that are asked for."""
    name, (value, places) = operator.name, inputs
    mesh = isinstance(places, np.ndarray) and places.shape[-1] == 2 and not operator.attributes.get("batch_dims")
    if not mesh or not isinstance(value, Held) or value.axes[:2] != (0, 1) or len(builder.shapes[value.name]) != 3:
        raise UnsupportedError(f"{name}: takes something else than rows and columns of a photo")
    wide = [axis for axis, size in enumerate(places.shape[:-1]) if size > 1]
    height, width, _ = builder.shapes[value.name]
    times = [places.shape[axis] // size for axis, size in zip(wide, (height, width), strict=True)]
    lines = [np.arange(size).repeat(times[at]) for at, size in enumerate((height, width))]
    if not np.array_equal(np.moveaxis(places, -1, 0).squeeze(), np.meshgrid(*lines, indexing="ij")):
        raise UnsupportedError(f"{name}: takes rows and columns in another order")
    size = (height * times[0], width * times[1])
    larger = Resize(name=name, inputs=(builder.whole(value.name),), size=size, kind="nearest")
    before = tuple(wide.index(axis) if axis in wide else None for axis in range(places.ndim - 1))
    return Held(builder.add(larger), (*before, *value.axes[2:]))


@reads("Pad")
def _pad(builder: NetworkBuilder, operator: Operator, inputs: list[Any]) -> Value:
    name, given, value = operator.name, operator.attributes, inputs[0]
    pads = inputs[1] if len(inputs) > 1 else given.get("pads", given.get("paddings"))
    fill = _scalar(inputs[2] if len(inputs) > 2 else None, given.get("value", 0.0))
    named = inputs[3] if len(inputs) > 3 and inputs[3] is not None else range(len(value.axes))
    if not isinstance(pads, np.ndarray | list):
        raise UnsupportedError(f"{name}: pads by what depends on the photo")
    half = len(pads) // 2
    sides = {builder.axis(value, axis): (int(pads[at]), int(pads[at + half])) for at, axis in enumerate(named)}
    sides = {axis: pair for axis, pair in sides.items() if any(pair)}
    if not sides:
        return value  # type: ignore[no-any-return]
    photo = builder.whole(value.name)
    inner = {value.axes[axis]: pair for axis, pair in sides.items()}
    low = fill <= LOWEST and len(builder.shapes[photo]) == 3 and not set(inner) - {0, 1}
    if low and given.get("mode", "constant") == "constant" and min(min(pair) for pair in inner.values()) >= 0:
        return Padded(builder.photo(name, value), (inner.get(0, (0, 0)), inner.get(1, (0, 0))))
    if given.get("mode", "constant") != "constant" or fill or len(builder.shapes[photo]) != 3 or set(inner) - {0, 1}:
        raise UnsupportedError(f"{name}: pads a tensor with something else than zeros around height and width")
    photo, padding = _cropped(builder, name, photo, (inner.get(0, (0, 0)), inner.get(1, (0, 0))))
    if padding == NO_PADDING:
        return Held(photo, value.axes)
    return Held(builder.add(Pad(name=builder.unique(name), inputs=(photo,), padding=padding)), value.axes)


@reads("Resize", "Upsample")
def _resize(builder: NetworkBuilder, operator: Operator, inputs: list[Any]) -> Value:
    name, given = operator.name, operator.attributes
    photo = builder.photo(name, inputs[0])
    height, width, _ = builder.shapes[photo]
    if len(inputs) > 3 and inputs[3] is not None:
        size = tuple(int(one) for one in np.asarray(inputs[3])[-2:])
    else:
        scales = given.get("scales") or (inputs[2] if len(inputs) > 2 else inputs[1])
        size = tuple(int(np.floor(s * float(f))) for s, f in zip((height, width), scales[-2:], strict=True))
    if size == (height, width):
        return inputs[0]  # type: ignore[no-any-return]
    mode = given.get("mode", "nearest")
    how = given.get("coordinate_transformation_mode", "half_pixel" if operator.opset > 10 else "asymmetric")
    multiple = size[0] % height == 0 and size[1] % width == 0
    floors = given.get("nearest_mode", "round_prefer_floor") == "floor" or how != "asymmetric" or operator.opset < 11
    if mode == "nearest" and multiple and how in ("asymmetric", "half_pixel", "pytorch_half_pixel") and floors:
        kind = "nearest"
    elif (
        mode == "linear"
        and how in ("half_pixel", "pytorch_half_pixel")
        and min(size) > 1
        and not (given.get("antialias") and (size[0] < height or size[1] < width))
    ):
        kind = "bilinear"
    else:
        raise UnsupportedError(f"{name}: {mode} from {(height, width)} to {size} with {how} corners")
    return Held(builder.add(Resize(name=name, inputs=(photo,), size=(size[0], size[1]), kind=kind)), PHOTO)  # type: ignore[arg-type]
