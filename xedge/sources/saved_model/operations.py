"""The operations of TensorFlow that are read, one small function each."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from xedge.errors import UnsupportedError
from xedge.graph.composed import between, power
from xedge.graph.ir import (
    NO_PADDING,
    Concat,
    Conv,
    Crop,
    Depthwise,
    Pad,
    Padding,
    Pool,
    Reshape,
    Resize,
    Scale,
    TransposedConv,
    Unary,
    same_padding,
)
from xedge.graph.taking import into, permuted, stacked, taken
from xedge.sources.saved_model.function import SAME, FunctionBuilder, Normal, Spread, Value, reads
from xedge.types import FloatArray, Shape

BINARY = {
    "Add": "add",
    "AddV2": "add",
    "BiasAdd": "add",
    "Sub": "subtract",
    "Mul": "multiply",
    "RealDiv": "divide",
    "Div": "divide",
    "Maximum": "maximum",
    "Minimum": "minimum",
}
UNARY = {"Sqrt": "sqrt", "Exp": "exp", "Log": "log", "Neg": "negative", "Abs": "abs", "Sign": "sign"}
ACTIVATIONS = {
    "Relu": "relu",
    "Relu6": "relu6",
    "Elu": "elu",
    "Selu": "selu",
    "Sigmoid": "sigmoid",
    "Tanh": "tanh",
    "Softplus": "softplus",
    "Softsign": "softsign",
    "Softmax": "softmax",
    "LogSoftmax": "log_softmax",
}
ROOT_OF_HALF = 0.7071067811865476
REDUCTIONS = {"Mean": "mean", "Max": "max", "Min": "min", "Sum": "sum"}


@reads(*SAME, views=True)
def _same(builder: FunctionBuilder, name: str, inputs: list[Value], attributes: dict[str, Any], kind: str) -> Value:
    del builder, name, attributes, kind
    return inputs[0]


@reads("Round", "Cast")
def _cast(builder: FunctionBuilder, name: str, inputs: list[Value], attributes: dict[str, Any], kind: str) -> Value:
    # What a photo itself becomes as an integer is the pixel.
    if inputs[0] != builder.nodes[0].name and (kind == "Round" or "float" not in str(attributes.get("DstT"))):
        raise UnsupportedError(f"{name}: {kind} to {attributes.get('DstT')}")
    return inputs[0]


def _padding(
    name: str, attributes: dict[str, Any], shape: Shape, window: tuple[int, int], strides: tuple[int, int]
) -> Padding:
    kind = attributes["padding"]
    if kind == "EXPLICIT":
        _, _, top, bottom, left, right, *_ = attributes["explicit_paddings"]
        return (top, bottom), (left, right)
    if kind not in ("SAME", "VALID"):
        raise UnsupportedError(f"{name}: padding {kind}")
    return same_padding(shape, window, strides) if kind == "SAME" else NO_PADDING


@reads("Conv2D", "DepthwiseConv2dNative")
def _convolution(
    builder: FunctionBuilder, name: str, inputs: list[Value], attributes: dict[str, Any], kind: str
) -> Value:
    given, kernel = inputs
    if isinstance(kernel, str):
        raise UnsupportedError(f"{name}: a convolution whose kernel is not constant")
    source = given.source if isinstance(given, Spread) else given
    shape = builder.shapes[source]
    strides = attributes["strides"][1], attributes["strides"][2]
    dilation = tuple((attributes.get("dilations") or [1, 1, 1, 1])[1:3])
    dilation = given.block if isinstance(given, Spread) else dilation
    window = tuple((size - 1) * step + 1 for size, step in zip(kernel.shape[:2], dilation, strict=True))
    rest: dict[str, Any] = {
        "name": name,
        "inputs": (source,),
        "strides": strides,
        "dilation": dilation,
        "padding": given.padding
        if isinstance(given, Spread)
        else _padding(name, attributes, shape, (window[0], window[1]), strides),
    }
    if kind == "Conv2D":
        groups = shape[-1] // kernel.shape[2]
        bias = np.zeros(kernel.shape[-1], np.float32)
        return builder.add(Conv(kernel=np.asarray(kernel, np.float32), bias=bias, groups=groups, **rest))
    flat = np.asarray(kernel, np.float32).reshape(*kernel.shape[:2], -1)
    return builder.add(Depthwise(kernel=flat, bias=np.zeros(flat.shape[-1], np.float32), **rest))


@reads("SpaceToBatchND")
def _spread(builder: FunctionBuilder, name: str, inputs: list[Value], attributes: dict[str, Any], kind: str) -> Value:
    del builder, attributes
    (height, width), padding = (int(one) for one in inputs[1]), np.asarray(inputs[2]).tolist()
    if len(padding) != 2:
        raise UnsupportedError(f"{name}: {kind} along other axes than height and width")
    (top, bottom), (left, right) = padding
    return Spread(inputs[0], (height, width), ((top, bottom), (left, right)))


@reads("BatchToSpaceND")
def _gathered(builder: FunctionBuilder, name: str, inputs: list[Value], attributes: dict[str, Any], kind: str) -> Value:
    del attributes, kind
    height, width, _ = builder.shapes[inputs[0]]
    (top, bottom), (left, right) = np.asarray(inputs[2]).tolist()
    if not any((top, bottom, left, right)):
        return inputs[0]
    size = (height - top - bottom, width - left - right)
    return builder.add(Crop(name=name, inputs=(inputs[0],), begin=(top, left), size=size))


@reads("Conv2DBackpropInput")
def _transposed(
    builder: FunctionBuilder, name: str, inputs: list[Value], attributes: dict[str, Any], kind: str
) -> Value:
    size, kernel, source = inputs
    if isinstance(size, str) or isinstance(kernel, str) or not isinstance(source, str):
        raise UnsupportedError(f"{name}: {kind} whose kernel or size is not constant")
    strides = attributes["strides"][1], attributes["strides"][2]
    full = [
        (builder.shapes[source][axis] - 1) * strides[axis] + kernel.shape[axis] - int(size[axis + 1]) for axis in (0, 1)
    ]
    if min(full) < 0:
        raise UnsupportedError(f"{name}: {kind} whose kernel is smaller than its stride")
    (top, left), (bottom, right) = ([one // 2 for one in full], [one - one // 2 for one in full])
    return builder.add(
        TransposedConv(
            name=name,
            inputs=(source,),
            kernel=np.ascontiguousarray(np.asarray(kernel, np.float32).transpose(0, 1, 3, 2)),
            bias=np.zeros(kernel.shape[2], np.float32),
            strides=strides,
            padding=((top, bottom), (left, right)),
        )
    )


@reads("MatMul", "BatchMatMulV2")
def _product(builder: FunctionBuilder, name: str, inputs: list[Value], attributes: dict[str, Any], kind: str) -> Value:
    source, kernel = inputs
    if isinstance(source, str) and isinstance(kernel, str) and kind == "BatchMatMulV2":
        turned = [
            _turned(builder, name, one, attributes.get(key)) for one, key in ((source, "adj_x"), (kernel, "adj_y"))
        ]
        return builder.product(name, *turned)
    if isinstance(kernel, str) or not isinstance(source, str) or kernel.ndim != 2 or attributes.get("transpose_a"):
        raise UnsupportedError(f"{name}: {kind} with something else than one constant matrix")
    matrix = np.asarray(kernel.T if attributes.get("transpose_b") else kernel, np.float32)
    return builder.dense(name, source, np.ascontiguousarray(matrix), np.zeros(matrix.shape[-1], np.float32))


def _turned(builder: FunctionBuilder, name: str, tensor: str, adjoint: bool | None) -> str:
    """Return matrices, whose rows become columns if the operation asks for that."""
    if not adjoint:
        return tensor
    rank = len(builder.shapes[tensor])
    return permuted(builder, builder.unique(f"{name}/turned"), tensor, [*range(rank - 2), rank - 1, rank - 2])


@reads("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3")
def _normalization(
    builder: FunctionBuilder, name: str, inputs: list[Value], attributes: dict[str, Any], kind: str
) -> Value:
    source, *statistics = inputs
    if attributes.get("is_training") or any(isinstance(one, str) for one in statistics):
        raise UnsupportedError(f"{name}: {kind} by the statistics of the batch")
    scale, offset, mean, variance = (np.asarray(one, np.float64) for one in statistics)
    factor = scale / np.sqrt(variance + attributes["epsilon"])
    return builder.scaled(name, source, factor, offset - mean * factor)


@reads(*BINARY)
def _binary(builder: FunctionBuilder, name: str, inputs: list[Value], attributes: dict[str, Any], kind: str) -> Value:
    del attributes
    operation, (left, right) = BINARY[kind], inputs
    if any(isinstance(one, Normal) for one in inputs):
        return _gelu(builder, name, inputs, operation)
    if isinstance(left, str) and isinstance(right, str):
        return builder.combined(operation, name, left, right)
    tensor = left if isinstance(left, str) else right
    rank = builder.rank(tensor)
    operands = [one if isinstance(one, str) else _without_batch(builder, name, one, tensor, rank) for one in inputs]
    return builder.with_constant(operation, name, *operands)


def _gelu(builder: FunctionBuilder, name: str, inputs: list[Value], operation: str) -> Value:
    """A step towards x / 2 * (1 + erf(x / sqrt(2))); Hendrycks and Gimpel, "Gaussian Error Linear Units", 2016.

    TensorFlow moves constants that follow, such as those of a normalization, into the product.
    """
    (normal,) = (one for one in inputs if isinstance(one, Normal))
    (other,) = (one for one in inputs if not isinstance(one, Normal))
    if operation == "add" and isinstance(other, np.ndarray) and not normal.plus_one and np.all(other == 1):
        return replace(normal, plus_one=True)
    if operation == "multiply" and normal.plus_one:
        if isinstance(other, np.ndarray):
            return replace(normal, factor=normal.factor * np.asarray(other, np.float32).reshape(-1))
        half = _scaled_source(builder, other, 0.5) == normal.source
        if half or other == normal.source:
            factor = normal.factor if half else 2 * normal.factor
            if np.all(factor == 1):
                return builder.activation("gelu", normal.source, name)
            return builder.scaled(name, builder.activation("gelu", normal.source, f"{name}/gelu"), factor, 0.0)
    raise UnsupportedError(f"{name}: an error function outside of a GELU")


def _scaled_source(builder: FunctionBuilder, tensor: str, factor: float) -> str | None:
    """Return what a tensor is a multiple of, if it is the given one."""
    node = next((one for one in builder.nodes if one.name == tensor), None)
    if not isinstance(node, Scale) or node.offset.any() or not np.allclose(node.factor, factor, rtol=1e-5):
        return None
    return node.inputs[0]


@reads("Erf", "Erfc")
def _error_function(
    builder: FunctionBuilder, name: str, inputs: list[Value], attributes: dict[str, Any], kind: str
) -> Value:
    """erf(x / sqrt(2)), or erfc(-x / sqrt(2)), which is one more."""
    del attributes
    source = _scaled_source(builder, inputs[0], -ROOT_OF_HALF if kind == "Erfc" else ROOT_OF_HALF)
    if source is None and kind == "Erfc" and (turned := _scaled_source(builder, inputs[0], ROOT_OF_HALF)) is not None:
        node = next(one for one in builder.nodes if one.name == turned)
        source = node.inputs[0] if isinstance(node, Unary) and node.kind == "negative" else None
    if source is None:
        raise UnsupportedError(f"{name}: an error function outside of a GELU")
    return Normal(source, plus_one=kind == "Erfc")


def _without_batch(builder: FunctionBuilder, name: str, constant: FloatArray, tensor: str, rank: int) -> FloatArray:
    value = np.asarray(constant, np.float32)
    if value.ndim == rank and tensor not in builder.bare:
        if value.shape[0] != 1:
            raise UnsupportedError(f"{name}: a constant for several photos")
        value = value[0]
    return value


@reads(*UNARY)
def _unary(builder: FunctionBuilder, name: str, inputs: list[Value], attributes: dict[str, Any], kind: str) -> Value:
    del attributes
    return builder.unary(UNARY[kind], name, inputs[0])


@reads("Pow")
def _whole_power(
    builder: FunctionBuilder, name: str, inputs: list[Value], attributes: dict[str, Any], kind: str
) -> Value:
    del attributes, kind
    base, exponent = inputs
    if not isinstance(base, str) or isinstance(exponent, str) or np.size(exponent) != 1:
        raise UnsupportedError(f"{name}: a power whose exponent is not one constant")
    return power(builder, name, base, float(np.reshape(exponent, -1)[0]))


@reads("Square", "Rsqrt", "Reciprocal", "SquaredDifference")
def _power(builder: FunctionBuilder, name: str, inputs: list[Value], attributes: dict[str, Any], kind: str) -> Value:
    del attributes
    if kind == "SquaredDifference":
        left, right = (one if isinstance(one, str) else np.asarray(one, np.float32) for one in inputs)
        if isinstance(left, str) and isinstance(right, str):
            moved = builder.combined("subtract", f"{name}/difference", left, right)
        else:
            moved = builder.with_constant("subtract", f"{name}/difference", left, right)
        return builder.elementwise("multiply", name, moved, moved)
    if kind == "Square":
        return builder.elementwise("multiply", name, inputs[0], inputs[0])
    root = builder.unary("sqrt", f"{name}/root", inputs[0]) if kind == "Rsqrt" else inputs[0]
    return builder.elementwise("divide", name, 1.0, root)


@reads(*ACTIVATIONS)
def _activation(
    builder: FunctionBuilder, name: str, inputs: list[Value], attributes: dict[str, Any], kind: str
) -> Value:
    del attributes
    return builder.activation(ACTIVATIONS[kind], inputs[0], name)


@reads("LeakyRelu")
def _leaky(builder: FunctionBuilder, name: str, inputs: list[Value], attributes: dict[str, Any], kind: str) -> Value:
    del kind
    return builder.activation("leaky_relu", inputs[0], name, float(attributes["alpha"]))


@reads("ClipByValue")
def _clip(builder: FunctionBuilder, name: str, inputs: list[Value], attributes: dict[str, Any], kind: str) -> Value:
    del attributes, kind
    low, high = (float(one) for one in inputs[1:])
    return between(builder, name, inputs[0], low, high)


@reads(*REDUCTIONS)
def _reduction(
    builder: FunctionBuilder, name: str, inputs: list[Value], attributes: dict[str, Any], kind: str
) -> Value:
    axes = builder.axes(name, inputs[0], inputs[1])
    return builder.reduced(name, REDUCTIONS[kind], inputs[0], axes, keepdims=bool(attributes.get("keep_dims")))


@reads("MaxPool", "AvgPool")
def _pool(builder: FunctionBuilder, name: str, inputs: list[Value], attributes: dict[str, Any], kind: str) -> Value:
    size = attributes["ksize"][1], attributes["ksize"][2]
    strides = attributes["strides"][1], attributes["strides"][2]
    padding = _padding(name, attributes, builder.shapes[inputs[0]], size, strides)
    what = "max" if kind == "MaxPool" else "average"
    return builder.add(
        Pool(name=name, inputs=(inputs[0],), kind=what, size=size, strides=strides, padding=padding)  # type: ignore[arg-type]
    )


@reads("Pad", "PadV2")
def _pad(builder: FunctionBuilder, name: str, inputs: list[Value], attributes: dict[str, Any], kind: str) -> Value:
    del attributes, kind
    batch, *sides, channels = np.asarray(inputs[1]).tolist()
    if len(sides) != 2 or any((*batch, *channels)) or (len(inputs) > 2 and np.any(inputs[2])):
        raise UnsupportedError(f"{name}: pads a tensor with something else than zeros around height and width")
    (top, bottom), (left, right) = sides
    return builder.add(Pad(name=name, inputs=(inputs[0],), padding=((top, bottom), (left, right))))


@reads("Reshape", views=True)
def _reshape(builder: FunctionBuilder, name: str, inputs: list[Value], attributes: dict[str, Any], kind: str) -> Value:
    del attributes, kind
    source, wanted = inputs[0], [int(one) for one in np.atleast_1d(inputs[1])]
    size = int(np.prod(builder.shapes[source]))
    known = int(np.prod([one for one in wanted if one != -1]))
    whole = [size // known if one == -1 else one for one in wanted]
    if whole[0] == 1 and len(whole) > 1:
        result = into(builder, name, source, tuple(whole[1:]))
        # What has its batch again needs a name of its own.
        return (
            result
            if result not in builder.bare
            else builder.add(Reshape(name=name, inputs=(result,), shape=tuple(whole[1:])))
        )
    result = builder.reshaped(name, builder.whole(source), tuple(whole))
    builder.bare.add(result)
    return result


@reads("Squeeze", "ExpandDims", views=True)
def _axis(builder: FunctionBuilder, name: str, inputs: list[Value], attributes: dict[str, Any], kind: str) -> Value:
    source = inputs[0]
    shape = builder.shapes[source]
    if kind == "ExpandDims":
        place = int(inputs[1]) % (len(shape) + 2) - 1
        if place < 0:
            raise UnsupportedError(f"{name}: adds an axis before the batch")
        return into(builder, name, source, (*shape[:place], 1, *shape[place:]))
    axes = builder.axes(name, source, attributes.get("squeeze_dims") or [i + 1 for i, s in enumerate(shape) if s == 1])
    return into(builder, name, source, tuple(size for at, size in enumerate(shape) if at not in axes))


@reads("Transpose", views=True)
def _transpose(
    builder: FunctionBuilder, name: str, inputs: list[Value], attributes: dict[str, Any], kind: str
) -> Value:
    del attributes, kind
    order = [int(one) for one in inputs[1]]
    if order[0] != 0:
        raise UnsupportedError(f"{name}: moves the batch")
    return permuted(builder, name, inputs[0], [one - 1 for one in order[1:]])


@reads("ReverseV2", views=True)
def _reverse(builder: FunctionBuilder, name: str, inputs: list[Value], attributes: dict[str, Any], kind: str) -> Value:
    del attributes, kind
    view = builder.view(inputs[0])
    places = tuple(one - len(view.lead) for one in builder.axes(name, inputs[0], inputs[1]))
    if min(places) < 0:
        raise UnsupportedError(f"{name}: turns photos, not channels")
    return builder.viewed(name, view.source, view.lead, np.flip(view.order, places))


@reads("StridedSlice", views=True)
def _slice(builder: FunctionBuilder, name: str, inputs: list[Value], attributes: dict[str, Any], kind: str) -> Value:
    del kind
    source, *bounds = inputs
    begins, ends, steps = ([int(one) for one in np.atleast_1d(bound)] for bound in bounds)
    masks = {key: attributes.get(f"{key}_mask") or 0 for key in ("begin", "end", "ellipsis", "new_axis", "shrink_axis")}
    parts: list[Any] = []
    for at, (begin, end, step) in enumerate(zip(begins, ends, steps, strict=True)):
        if masks["ellipsis"] >> at & 1:
            others = sum(not masks["new_axis"] >> one & 1 for one in range(len(begins)) if one != at)
            parts += [slice(None)] * (builder.rank(source) - others)
        elif masks["new_axis"] >> at & 1:
            parts.append(None)
        elif masks["shrink_axis"] >> at & 1:
            parts.append(begin)
        else:
            parts.append(
                slice(None if masks["begin"] >> at & 1 else begin, None if masks["end"] >> at & 1 else end, step)
            )
    parts += [slice(None)] * (builder.rank(source) - sum(part is not None for part in parts))
    if parts[0] not in (slice(None), slice(None, None, 1), slice(0, 1, 1)):
        raise UnsupportedError(f"{name}: takes photos out of the batch")
    return taken(builder, name, source, [slice(None) if one == slice(None, None, 1) else one for one in parts[1:]])


@reads("ConcatV2", views=True)
def _concat(builder: FunctionBuilder, name: str, inputs: list[Value], attributes: dict[str, Any], kind: str) -> Value:
    del attributes, kind
    *tensors, axis = inputs
    if any(not isinstance(one, str) for one in tensors):
        raise UnsupportedError(f"{name}: puts a constant beside a tensor")
    (place,) = builder.axes(name, tensors[0], int(axis))
    rank = len(builder.shapes[tensors[0]])
    views = [builder.view(one) for one in tensors]
    if place == rank - 1 and len({(view.source, view.lead) for view in views}) == 1:
        order = np.concatenate([view.order for view in views], axis=-1)
        return builder.viewed(name, views[0].source, views[0].lead, order)
    return builder.add(Concat(name=name, inputs=tuple(map(builder.whole, tensors)), axis=place - rank))


@reads("Pack", views=True)
def _pack(builder: FunctionBuilder, name: str, inputs: list[Value], attributes: dict[str, Any], kind: str) -> Value:
    del kind
    rank = builder.rank(inputs[0])
    place = int(attributes.get("axis") or 0) % (rank + 1) - 1
    if place < 0 or any(not isinstance(one, str) for one in inputs):
        raise UnsupportedError(f"{name}: stacks photos or constants")
    return stacked(builder, name, inputs, place)


@reads("Split", "SplitV", views=True)
def _split(
    builder: FunctionBuilder, name: str, inputs: list[Value], attributes: dict[str, Any], kind: str
) -> list[Value]:
    source, axis = (inputs[1], inputs[0]) if kind == "Split" else (inputs[0], inputs[2])
    view = builder.view(source)
    (place,) = builder.axes(name, source, int(axis))
    if place < len(view.lead):
        raise UnsupportedError(f"{name}: splits photos, not channels")
    sizes = attributes["num_split"] if kind == "Split" else np.cumsum(inputs[1])[:-1].tolist()
    parts = np.split(view.order, sizes, axis=place - len(view.lead))
    return [builder.viewed(f"{name}/{at}", view.source, view.lead, part) for at, part in enumerate(parts)]


@reads("ResizeBilinear", "ResizeNearestNeighbor")
def _resize(builder: FunctionBuilder, name: str, inputs: list[Value], attributes: dict[str, Any], kind: str) -> Value:
    height, width = (int(one) for one in inputs[1])
    shape, nearest = builder.shapes[inputs[0]], kind == "ResizeNearestNeighbor"
    multiple = height % shape[0] == 0 and width % shape[1] == 0
    if attributes.get("align_corners") or not attributes.get("half_pixel_centers") or (nearest and not multiple):
        raise UnsupportedError(f"{name}: {kind} from {shape[:2]} to {(height, width)} with other corners")
    if (height, width) == shape[:2]:
        return inputs[0]
    what = "nearest" if nearest else "bilinear"
    return builder.add(Resize(name=name, inputs=(inputs[0],), size=(height, width), kind=what))  # type: ignore[arg-type]
