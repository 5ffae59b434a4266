"""Operators on constants alone, computed when the file is read: mostly the arithmetic of shapes."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np
from onnx import helper

from xedge.errors import UnsuitableModelError

# A shape has few values, and a damaged file may ask for any number of them.
MOST = 1 << 26


def _limited(shape: Any) -> tuple[int, ...]:
    sizes = tuple(int(one) for one in np.atleast_1d(shape))
    if prod(sizes) > MOST or min(sizes, default=0) < 0:
        # No library should be asked to make it either.
        raise UnsuitableModelError(f"a constant of the shape {sizes}, which no classifier has")
    return sizes


def _constant(inputs: list[Any], given: dict[str, Any]) -> Any:
    del inputs
    for key, dtype in (("value_float", np.float32), ("value_floats", np.float32), ("value_int", np.int64)):
        if key in given:
            return np.asarray(given[key], dtype)
    return np.asarray(given["value_ints"], np.int64) if "value_ints" in given else given["value"]


def _axes(inputs: list[Any], given: dict[str, Any], at: int = 1) -> tuple[int, ...] | None:
    axes = inputs[at] if len(inputs) > at and inputs[at] is not None else given.get("axes")
    return None if axes is None else tuple(int(one) for one in np.atleast_1d(axes))


def bounds(inputs: list[Any], given: dict[str, Any]) -> list[tuple[int, slice]]:
    """Return what a Slice takes along each axis that it names; before opset 10 the bounds are attributes."""
    if len(inputs) == 1:
        starts, ends = given["starts"], given["ends"]
        axes, steps = given.get("axes", range(len(starts))), [1] * len(starts)
    else:
        starts, ends = inputs[1], inputs[2]
        axes = inputs[3] if len(inputs) > 3 and inputs[3] is not None else range(len(starts))
        steps = inputs[4] if len(inputs) > 4 and inputs[4] is not None else [1] * len(starts)
    whole = zip(starts, ends, steps, strict=True)
    # The end of a slice that goes back to the first value is beyond the first one.
    parts = [slice(int(a), None if s < 0 and b < -(1 << 31) + 2 else int(b), int(s)) for a, b, s in whole]
    return [(int(axis), part) for axis, part in zip(axes, parts, strict=True)]


def _slice(inputs: list[Any], given: dict[str, Any]) -> Any:
    parts = [slice(None)] * inputs[0].ndim
    for axis, part in bounds(inputs, given):
        parts[axis] = part
    return inputs[0][tuple(parts)]


def reshaped(shape: tuple[int, ...], wanted: Any, given: dict[str, Any]) -> tuple[int, ...]:
    """Return the shape that a Reshape makes, in which 0 keeps a size and -1 takes what is left."""
    sizes = [int(one) for one in np.atleast_1d(wanted)]
    if not given.get("allowzero"):
        sizes = [shape[at] if one == 0 else one for at, one in enumerate(sizes)]
    if -1 in sizes:
        sizes[sizes.index(-1)] = prod(shape) // max(1, prod(one for one in sizes if one != -1))
    if prod(sizes) != prod(shape):
        raise ValueError(f"reshapes {shape} to {tuple(sizes)}")
    return tuple(sizes)


def _unsqueeze(inputs: list[Any], given: dict[str, Any]) -> Any:
    return np.expand_dims(inputs[0], _axes(inputs, given) or 0)


def _cast(inputs: list[Any], given: dict[str, Any]) -> Any:
    return inputs[0].astype(helper.tensor_dtype_to_np_dtype(given["to"]))


def _divide(inputs: list[Any], given: dict[str, Any]) -> Any:
    del given
    left, right = inputs
    if np.issubdtype(left.dtype, np.integer):
        return (np.sign(left) * np.sign(right) * (abs(left) // abs(right))).astype(left.dtype)
    return left / right


def _filled(inputs: list[Any], given: dict[str, Any]) -> Any:
    value = np.atleast_1d(given.get("value", np.zeros(1, np.float32)))
    return np.full(_limited(inputs[0]), value[0], value.dtype)


def _normalized(inputs: list[Any], given: dict[str, Any]) -> Any:
    """A normalization of weights, as networks without normalization have it: by the weights' own statistics."""
    values, scale, offset, mean, variance = inputs
    others = tuple(axis for axis in range(values.ndim) if axis != 1)
    if given.get("training_mode"):
        mean, variance = values.mean(others), values.var(others)
    shape = (-1, *(1,) * (values.ndim - 2))
    factor = scale / np.sqrt(variance + given.get("epsilon", 1e-5))
    return values * factor.reshape(shape) + (offset - mean * factor).reshape(shape)


def _running_sum(inputs: list[Any], given: dict[str, Any]) -> Any:
    if given.get("exclusive") or given.get("reverse"):
        raise ValueError("a sum from the end, or without the value itself")
    return np.cumsum(inputs[0], axis=int(np.reshape(inputs[1], ())), dtype=inputs[0].dtype)


def _pointwise(inputs: list[Any], given: dict[str, Any]) -> Any:
    """A convolution of one pixel, as it projects constant codes of positions."""
    values, kernel, bias = (*inputs, None)[:3]
    if (
        kernel.ndim != 4
        or kernel.shape[2:] != (1, 1)
        or kernel.shape[1] != values.shape[1]
        or any(given.get("pads", ()))
    ):
        raise ValueError(f"a convolution of {values.shape} with {kernel.shape}")
    if any(one != 1 for one in given.get("strides", ())):
        raise ValueError(f"a convolution with the strides {given['strides']}")
    product = np.einsum("nchw,oc->nohw", values, kernel[:, :, 0, 0])
    return product if bias is None else product + bias.reshape(1, -1, 1, 1)


def _clipped(inputs: list[Any], given: dict[str, Any]) -> Any:
    low, high = (*inputs[1:], None, None)[:2]
    return np.clip(inputs[0], given.get("min") if low is None else low, given.get("max") if high is None else high)


def _range(inputs: list[Any], given: dict[str, Any]) -> Any:
    del given
    start, end, step = (one.reshape(-1)[0] for one in inputs)
    _limited([max(0, int((end - start) / step) + 1)])
    return np.arange(start, end, step, dtype=inputs[0].dtype)


def _expand(inputs: list[Any], given: dict[str, Any]) -> Any:
    del given
    return np.broadcast_to(inputs[0], np.broadcast_shapes(inputs[0].shape, _limited(inputs[1])))


def _permuted(inputs: list[Any], given: dict[str, Any]) -> Any:
    return np.transpose(inputs[0], given.get("perm"))


def _reduced(function: Callable[..., Any]) -> Callable[[list[Any], dict[str, Any]], Any]:
    return lambda inputs, given: function(inputs[0], axis=_axes(inputs, given), keepdims=bool(given.get("keepdims", 1)))


def _of_two(function: Callable[..., Any]) -> Callable[[list[Any], dict[str, Any]], Any]:
    return lambda inputs, given: function(*inputs)


OF_CONSTANTS: dict[str, Callable[[list[Any], dict[str, Any]], Any]] = {
    "BatchNormalization": _normalized,
    "Constant": _constant,
    "Conv": _pointwise,
    "CumSum": _running_sum,
    "ConstantOfShape": _filled,
    "Identity": lambda inputs, given: inputs[0],
    "Shape": lambda inputs, given: np.array(inputs[0].shape[given.get("start", 0) : given.get("end")], np.int64),
    "Size": lambda inputs, given: np.array(inputs[0].size, np.int64),
    "Gather": lambda inputs, given: np.take(inputs[0], inputs[1], axis=given.get("axis", 0)),
    "Concat": lambda inputs, given: np.concatenate(inputs, axis=given["axis"]),
    "Slice": _slice,
    "Squeeze": lambda inputs, given: np.squeeze(inputs[0], _axes(inputs, given)),
    "Unsqueeze": _unsqueeze,
    "Reshape": lambda inputs, given: inputs[0].reshape(reshaped(inputs[0].shape, inputs[1], given)),
    "Flatten": lambda inputs, given: inputs[0].reshape(prod(inputs[0].shape[: given.get("axis", 1)]), -1),
    "Transpose": _permuted,
    "Cast": _cast,
    "Expand": _expand,
    "Range": _range,
    "Where": _of_two(np.where),
    "Equal": _of_two(np.equal),
    "Less": _of_two(np.less),
    "Greater": _of_two(np.greater),
    "Not": _of_two(np.logical_not),
    "Add": _of_two(np.add),
    "Sub": _of_two(np.subtract),
    "Mul": _of_two(np.multiply),
    "Div": _divide,
    "Mod": _of_two(np.mod),
    "Min": lambda inputs, given: np.minimum.reduce(np.broadcast_arrays(*inputs)),
    "Max": lambda inputs, given: np.maximum.reduce(np.broadcast_arrays(*inputs)),
    "Clip": _clipped,
    "Neg": _of_two(np.negative),
    "Abs": _of_two(np.abs),
    "Sqrt": _of_two(np.sqrt),
    "Exp": _of_two(np.exp),
    "Sin": _of_two(np.sin),
    "Cos": _of_two(np.cos),
    "Pow": _of_two(np.power),
    "Reciprocal": _of_two(np.reciprocal),
    "Floor": _of_two(np.floor),
    "Ceil": _of_two(np.ceil),
    "ReduceProd": _reduced(np.prod),
    "ReduceSum": _reduced(np.sum),
    "ReduceMean": _reduced(np.mean),
    "ReduceMax": _reduced(np.max),
    "ReduceMin": _reduced(np.min),
}
