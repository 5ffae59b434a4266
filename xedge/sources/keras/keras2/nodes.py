"""Operations of TensorFlow between the layers of Keras 2 as TensorFlow 2.0 to 2.3 wrote them: as nodes of its graph.

Such a ``TensorFlowOpLayer`` names the operation, has its attributes as the JSON of a NodeDef, and its constants by the
places at which they stand among the inputs.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

from xedge.errors import UnsupportedError
from xedge.sources.keras.keras2.functions import FUNCTIONS, getitem

MASKS = ("ellipsis", "new_axis", "shrink_axis", "begin", "end")


def _pairs(text: str) -> dict[str, str]:
    return dict(one.split() for one in text.split(", "))


# Operations that take their inputs as the functions take their arguments, without attributes.
PLAIN = _pairs(
    "RealDiv truediv, Div truediv, Sub subtract, Mul multiply, Add add, AddV2 add, Maximum maximum, "
    "Minimum minimum, Pow pow, SquaredDifference squared_difference, FloorMod floormod, FloorDiv floor_div, "
    "Greater greater, GreaterEqual greater_equal, Less less, LessEqual less_equal, Equal equal, "
    "NotEqual not_equal, LogicalAnd logical_and, LogicalOr logical_or, Select where, SelectV2 where, "
    "Neg negative, Abs abs, Square square, Sqrt sqrt, Rsqrt rsqrt, Exp exp, Log log, Relu relu, Relu6 relu6, "
    "Elu elu, Selu selu, Sigmoid sigmoid, Tanh tanh, Softplus softplus, Softsign softsign, Softmax softmax, "
    "Sign sign, LogSoftmax log_softmax, Reciprocal reciprocal, Floor floor, Ceil ceil, Erf erf, "
    "Identity identity, StopGradient stop_gradient, Shape shape, Reshape reshape, ExpandDims expand_dims, "
    "Transpose transpose, ReverseV2 reverse, Tile tile, ClipByValue clip_by_value, BiasAdd bias_add"
)
REDUCTIONS = _pairs("Mean reduce_mean, Sum reduce_sum, Max reduce_max, Min reduce_min, Prod reduce_prod")
TYPES = _pairs(
    "DT_FLOAT float32, DT_HALF float16, DT_DOUBLE float64, DT_UINT8 uint8, DT_INT32 int32, DT_INT64 int64, "
    "DT_INT8 int8, DT_BOOL bool"
)


def operation(name: str, config: dict[str, Any]) -> Callable[..., Any]:
    """Return what computes a node of TensorFlow's graph out of the tensors that the layer is called with.

    Args:
        name: The layer's name.
        config: Its configuration.

    Raises:
        UnsupportedError: The operation is not known here.
    """
    node = config["node_def"]
    if not isinstance(node, dict):
        raise UnsupportedError(f"{name}: its operation is not written as JSON; save the model with TensorFlow 2.4 on")
    kind, constants = node["op"], {int(key): value for key, value in config.get("constants", {}).items()}
    attributes = {key: _attribute(value) for key, value in node.get("attr", {}).items()}
    count = len(node.get("input", []))
    if kind not in PLAIN and kind not in REDUCTIONS and kind not in WITH_ATTRIBUTES:
        raise UnsupportedError(f"{name}: TensorFlow's operation {kind} is not known here")

    def call(given: Any) -> Any:
        tensors = iter(given if isinstance(given, list) else [given])
        inputs = [constants[at] if at in constants else next(tensors) for at in range(count)]
        if kind in PLAIN:
            return FUNCTIONS[PLAIN[kind]](*inputs)
        if kind in REDUCTIONS:
            return FUNCTIONS[REDUCTIONS[kind]](*inputs, keepdims=bool(attributes.get("keep_dims")))
        return WITH_ATTRIBUTES[kind](inputs, attributes)

    return call


def _attribute(value: dict[str, Any]) -> Any:
    """Return an attribute as Python has it: numbers of 64 bits are written as text, and text in base 64."""
    if "list" in value:
        return [_attribute({kind: one}) for kind, listed in value["list"].items() for one in listed]
    for kind, one in value.items():
        if kind == "i":
            return int(one)
        if kind == "s":
            return base64.b64decode(one).decode()
        if kind == "type":
            return TYPES.get(one, one)
        return one
    return None


def _strided_slice(inputs: list[Any], attributes: dict[str, Any]) -> Any:
    tensor, *bounds = inputs
    parts: list[Any] = []
    for at, (start, stop, step) in enumerate(zip(*(list(one) for one in bounds), strict=True)):
        masked = {key: bool(attributes.get(f"{key}_mask", 0) >> at & 1) for key in MASKS}
        if masked["ellipsis"]:
            parts.append({"class_name": "__ellipsis__"})
        elif masked["new_axis"]:
            parts.append(None)
        elif masked["shrink_axis"]:
            parts.append(int(start))
        else:
            ends = (None if masked["begin"] else int(start)), (None if masked["end"] else int(stop))
            parts.append({"start": ends[0], "stop": ends[1], "step": int(step) if step != 1 else None})
    if len(parts) == 1 and isinstance(parts[0], int):
        return getitem(tensor, parts[0])
    return getitem(tensor, parts)


def _slice(inputs: list[Any], attributes: dict[str, Any]) -> Any:
    del attributes
    tensor, begin, size = inputs
    parts = [
        {"start": start, "stop": None if count == -1 else start + count, "step": None}
        for start, count in zip(begin, size, strict=True)
    ]
    return getitem(tensor, parts)


def _resized(method: str) -> Callable[..., Any]:
    def resize(inputs: list[Any], attributes: dict[str, Any]) -> Any:
        if attributes.get("align_corners") or not attributes.get("half_pixel_centers"):
            raise UnsupportedError("it resizes photos with other centers of pixels than TensorFlow 2")
        return FUNCTIONS["image.resize"](*inputs, method=method)

    return resize


def _window(function: str) -> Callable[..., Any]:
    keys = ("ksize", "strides", "padding", "dilations", "data_format")

    def window(inputs: list[Any], attributes: dict[str, Any]) -> Any:
        named = {key: attributes[key] for key in keys if key in attributes}
        return FUNCTIONS[function](*inputs, **named)

    return window


def _named(given: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: given[key] for key in keys if key in given}


def _batch_matmul(inputs: list[Any], given: dict[str, Any]) -> Any:
    return FUNCTIONS["matmul"](*inputs, transpose_a=bool(given.get("adj_x")), transpose_b=bool(given.get("adj_y")))


# Operations with attributes: a function of the inputs and of these.
WITH_ATTRIBUTES: dict[str, Callable[[list[Any], dict[str, Any]], Any]] = {
    "LeakyRelu": lambda inputs, given: FUNCTIONS["leaky_relu"](*inputs, alpha=given.get("alpha", 0.2)),
    "Squeeze": lambda inputs, given: FUNCTIONS["squeeze"](*inputs, axis=given.get("squeeze_dims") or None),
    "Cast": lambda inputs, given: FUNCTIONS["cast"](*inputs, given["DstT"]),
    "AddN": lambda inputs, given: FUNCTIONS["add_n"](inputs),
    "ConcatV2": lambda inputs, given: FUNCTIONS["concat"](inputs[:-1], axis=inputs[-1]),
    "Pack": lambda inputs, given: FUNCTIONS["stack"](inputs, axis=given.get("axis", 0)),
    "Unpack": lambda inputs, given: FUNCTIONS["unstack"](*inputs, axis=given.get("axis", 0)),
    "Split": lambda inputs, given: FUNCTIONS["split"](inputs[1], given["num_split"], axis=inputs[0]),
    "SplitV": lambda inputs, given: FUNCTIONS["split"](inputs[0], inputs[1], axis=inputs[2]),
    "Pad": lambda inputs, given: FUNCTIONS["pad"](*inputs),
    "PadV2": lambda inputs, given: FUNCTIONS["pad"](*inputs[:2], constant_values=inputs[2]),
    "MirrorPad": lambda inputs, given: FUNCTIONS["pad"](*inputs, mode=given["mode"]),
    "MatMul": lambda inputs, given: FUNCTIONS["matmul"](*inputs, **_named(given, "transpose_a", "transpose_b")),
    "BatchMatMul": _batch_matmul,
    "BatchMatMulV2": _batch_matmul,
    "Einsum": lambda inputs, given: FUNCTIONS["einsum"](given["equation"], *inputs),
    "GatherV2": lambda inputs, given: FUNCTIONS["gather"](*inputs, batch_dims=given.get("batch_dims", 0)),
    "StridedSlice": _strided_slice,
    "Slice": _slice,
    "ResizeBilinear": _resized("bilinear"),
    "ResizeNearestNeighbor": _resized("nearest"),
    "MaxPool": _window("max_pool"),
    "AvgPool": _window("avg_pool"),
    "Conv2D": _window("conv2d"),
    "DepthwiseConv2dNative": _window("depthwise_conv2d"),
    "SpaceToDepth": lambda inputs, given: FUNCTIONS["space_to_depth"](*inputs, **_named(given, "block_size")),
    "DepthToSpace": lambda inputs, given: FUNCTIONS["depth_to_space"](*inputs, **_named(given, "block_size")),
}
