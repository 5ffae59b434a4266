"""TensorFlow's functions between the layers of Keras 2, as Keras 3 computes them; none of them is code of the file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from keras import ops

from xedge.errors import UnsupportedError
from xedge.sources.keras.keras2.windows import WINDOWS

ELLIPSIS = "__ellipsis__"


def getitem(tensor: Any, slice_spec: Any) -> Any:
    """Return a part of a tensor, as Keras 2 writes ``tensor[...]``."""
    parts = [_part(one) for one in _listed(slice_spec)]
    if parts and parts[-1] == slice(None, None, -1) and all(one in (Ellipsis, slice(None)) for one in parts[:-1]):
        return ops.flip(tensor, axis=-1 if Ellipsis in parts else len(parts) - 1)
    return tensor[tuple(parts)]


def _part(one: Any) -> Any:
    if not isinstance(one, dict):
        return one
    if one.get("class_name") == ELLIPSIS or one.get("value") == "Ellipsis":
        return Ellipsis
    start, step = one.get("start"), one.get("step")
    return slice(None if start == 0 and (step or 1) > 0 else start, one.get("stop"), step)


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


def _cast(x: Any, dtype: Any) -> Any:
    """Keras 2 casts to half precision under a mixed policy; everything computes in float32 here."""
    name = str(dtype["config"] if isinstance(dtype, dict) else dtype)
    if "float" not in name:
        return ops.cast(x, name)
    return x if "float" in str(x.dtype) else ops.cast(x, "float32")


def _clip(t: Any, clip_value_min: Any, clip_value_max: Any) -> Any:
    return ops.clip(t, clip_value_min, clip_value_max)


def _expand_dims(input: Any, axis: int) -> Any:  # noqa: A002 - TensorFlow's name
    return ops.expand_dims(input, axis)


def _squeeze(input: Any, axis: Any = None) -> Any:  # noqa: A002 - TensorFlow's name
    return ops.squeeze(input, axis=tuple(axis) if isinstance(axis, list) else axis)


def _split(value: Any, num_or_size_splits: Any, axis: int = 0) -> Any:
    sizes = num_or_size_splits
    if isinstance(sizes, list):
        sizes = [sum(sizes[: at + 1]) for at in range(len(sizes) - 1)]
    return ops.split(value, sizes, axis=axis)


def _unstack(value: Any, num: Any = None, axis: int = 0) -> Any:
    del num
    size = value.shape[axis]
    return [ops.squeeze(one, axis=axis) for one in ops.split(value, size, axis=axis)]


def _softmax(logits: Any, axis: int | None = None) -> Any:
    return ops.softmax(logits, axis=-1 if axis is None else axis)


def _shape(input: Any, **_: Any) -> Any:  # noqa: A002 - TensorFlow's name
    """Return the sizes as numbers, -1 for that of the batch, as reshaping takes them."""
    if None in input.shape[1:]:
        raise UnsupportedError("it asks for a size that the model leaves open; save the model with a fixed size")
    return np.asarray([-1 if size is None else size for size in input.shape], np.int32)


def _reshape(tensor: Any, shape: Any) -> Any:
    # A multiple of the batch is as open as the batch.
    return ops.reshape(tensor, tuple(max(int(size), -1) for size in np.asarray(shape).ravel()))


def _matmul(a: Any, b: Any, **named: Any) -> Any:
    first, second = (_operand(one) for one in (a, b))
    if named.get("transpose_a") or named.get("adjoint_a"):
        first = ops.swapaxes(first, -1, -2)
    if named.get("transpose_b") or named.get("adjoint_b"):
        second = ops.swapaxes(second, -1, -2)
    return ops.matmul(first, second)


def _gather(params: Any, indices: Any, axis: int | None = None, batch_dims: int = 0, **_: Any) -> Any:
    if batch_dims:
        raise UnsupportedError("tf.gather over batches is not known here")
    return ops.take(params, np.asarray(indices, np.int32), axis=0 if axis is None else axis)


def _einsum(equation: Any, *operands: Any) -> Any:
    if isinstance(equation, list):
        equation, *operands = equation  # type: ignore[assignment]
    if not operands:
        raise UnsupportedError("Keras 2 did not write the operands of tf.einsum into the file; save it with Keras 3")
    return ops.einsum(equation, *(_operand(one) for one in operands))


def _tile(input: Any, multiples: Any) -> Any:  # noqa: A002 - TensorFlow's name
    return ops.tile(input, tuple(int(one) for one in multiples))


def _where(condition: Any, x: Any, y: Any) -> Any:
    return ops.where(condition, _operand(x), _operand(y))


def _crelu(features: Any, axis: int = -1) -> Any:
    return ops.concatenate([ops.relu(features), ops.relu(ops.negative(features))], axis=axis)


def _silu(features: Any, beta: float = 1.0) -> Any:
    return ops.silu(features) if beta == 1.0 else ops.multiply(features, ops.sigmoid(ops.multiply(features, beta)))


def _reduction(function: Callable[..., Any]) -> Callable[..., Any]:
    def reduce(input_tensor: Any, axis: Any = None, keepdims: bool = False, **older: Any) -> Any:
        axis, kept = older.get("reduction_indices", axis), bool(older.get("keep_dims", keepdims))
        return function(input_tensor, axis=tuple(axis) if isinstance(axis, list) else axis, keepdims=kept)

    return reduce


def _pair(function: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    """A function of two operands, the second of which may be given by its name; constants come as lists."""

    def of(x: Any, y: Any) -> Any:
        return function(_operand(x), _operand(y))

    return of


def _operand(value: Any) -> Any:
    return np.asarray(value, np.float32) if isinstance(value, list) else value


def _whole(value: Any) -> Any:
    """Return a list of sizes as numbers that tensors can be joined with."""
    if not isinstance(value, list):
        return value
    return np.asarray(value, np.int32 if all(isinstance(one, int) for one in value) else np.float32)


def _single(function: Callable[[Any], Any]) -> Callable[..., Any]:
    """A function of one tensor, however TensorFlow calls it."""
    return lambda *given, **named: function(next(iter((*given, *named.values()))))


# By the last part of the name; tf.math.add, tf.__operators__.add and tf.add are the same.
FUNCTIONS: dict[str, Callable[..., Any]] = {
    "add": _pair(ops.add),
    "subtract": _pair(ops.subtract),
    "sub": _pair(ops.subtract),
    "multiply": _pair(ops.multiply),
    "mul": _pair(ops.multiply),
    "truediv": _pair(ops.divide),
    "divide": _pair(ops.divide),
    "realdiv": _pair(ops.divide),
    "div": _pair(ops.divide),
    "radd": _pair(ops.add),
    "rsub": _pair(lambda x, y: ops.subtract(y, x)),
    "rmul": _pair(ops.multiply),
    "rtruediv": _pair(lambda x, y: ops.divide(y, x)),
    "maximum": _pair(ops.maximum),
    "minimum": _pair(ops.minimum),
    "pow": _pair(ops.power),
    "squared_difference": _pair(lambda x, y: ops.square(ops.subtract(x, y))),
    "add_n": lambda inputs: sum(inputs[1:], inputs[0]),
    "bias_add": lambda value, bias, data_format=None: ops.add(value, _operand(bias)),
    "matmul": _matmul,
    "einsum": _einsum,
    "floormod": _pair(ops.mod),
    "mod": _pair(ops.mod),
    "floor_div": _pair(ops.floor_divide),
    "floordiv": _pair(ops.floor_divide),
    "greater": _pair(ops.greater),
    "greater_equal": _pair(ops.greater_equal),
    "less": _pair(ops.less),
    "less_equal": _pair(ops.less_equal),
    "equal": _pair(ops.equal),
    "not_equal": _pair(ops.not_equal),
    "logical_and": _pair(ops.logical_and),
    "logical_or": _pair(ops.logical_or),
    "where": _where,
    "where_v2": _where,
    "gather": _gather,
    "tile": _tile,
    "shape": _shape,
    "crelu": _crelu,
    "floor": _single(ops.floor),
    "ceil": _single(ops.ceil),
    "round": _single(ops.round),
    "sin": _single(ops.sin),
    "cos": _single(ops.cos),
    "erf": _single(ops.erf),
    "log1p": _single(ops.log1p),
    "zeros_like": _single(ops.zeros_like),
    "ones_like": _single(ops.ones_like),
    "reduce_prod": _reduction(ops.prod),
    "reduce_std": _reduction(ops.std),
    "reduce_variance": _reduction(ops.var),
    "relu": _single(ops.relu),
    "relu6": _single(ops.relu6),
    "sigmoid": _single(ops.sigmoid),
    "tanh": _single(ops.tanh),
    "elu": _single(ops.elu),
    "selu": _single(ops.selu),
    "softplus": _single(ops.softplus),
    "softsign": _single(ops.softsign),
    "leaky_relu": lambda features, alpha=0.2: ops.leaky_relu(features, alpha),
    "gelu": lambda features, approximate=False: ops.gelu(features, approximate=bool(approximate)),
    "silu": _silu,
    "swish": _silu,
    "softmax": _softmax,
    "log_softmax": lambda logits, axis=-1: ops.log_softmax(logits, axis=-1 if axis is None else axis),
    "exp": _single(ops.exp),
    "log": _single(ops.log),
    "sqrt": _single(ops.sqrt),
    "rsqrt": _single(ops.rsqrt),
    "square": _single(ops.square),
    "abs": _single(ops.abs),
    "negative": _single(ops.negative),
    "neg": _single(ops.negative),
    "sign": _single(ops.sign),
    "reciprocal": _single(ops.reciprocal),
    "identity": _single(lambda x: x),
    "stop_gradient": _single(lambda x: x),
    "convert_to_tensor": lambda value, **rest: value,
    "clip_by_value": _clip,
    "cast": _cast,
    "reduce_mean": _reduction(ops.mean),
    "reduce_max": _reduction(ops.max),
    "reduce_min": _reduction(ops.min),
    "reduce_sum": _reduction(ops.sum),
    "concat": lambda values, axis: ops.concatenate([_whole(one) for one in values], axis=axis),
    "stack": lambda values, axis=0: ops.stack(values, axis=axis),
    "unstack": _unstack,
    "split": _split,
    "reshape": _reshape,
    "expand_dims": _expand_dims,
    "squeeze": _squeeze,
    "transpose": lambda a, perm=None, **rest: ops.transpose(a, perm),
    "reverse": lambda tensor, axis: ops.flip(tensor, axis=axis[0] if isinstance(axis, list) else axis),
    "pad": lambda tensor, paddings, mode="CONSTANT", constant_values=0: ops.pad(
        tensor, paddings, mode.lower(), constant_values if mode == "CONSTANT" else None
    ),
    "l2_normalize": lambda x, axis=-1, epsilon=1e-12: ops.normalize(x, axis=axis, order=2, epsilon=epsilon**0.5),
    **WINDOWS,
}
