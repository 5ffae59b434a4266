"""A Keras model as it is in inference: no layer trains, and everything computes in float32.

Keras traces a model for export with ``training`` unset, which lets random layers act and layers that were called with
``training=True`` use the statistics of the batch. Called with ``training=False``, every layer is in inference, those of
nested models and those with an argument of their own included.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import keras

from xedge.errors import UnsuitableModelError, parameter
from xedge.types import Shape


def photo_shape(model: Any) -> Shape:
    """Return the shape of a photo that a model takes: (height, width, channels).

    Raises:
        UnsuitableModelError: The model has several inputs or outputs, takes something else than photos or photos of any
            size, or was quantized by Keras.
    """
    inputs, outputs = getattr(model, "inputs", None), getattr(model, "outputs", None)
    if inputs is None:  # a subclassed model, which knows only what it was built with
        built = getattr(model, "_build_shapes_dict", None) or {}
        shapes = [tuple(shape) for shape in built.values() if isinstance(shape, list | tuple)]
    else:
        shapes = [tuple(one.shape) for one in inputs]
    ends = len(shapes), len(outputs or [None])
    if ends != (1, 1):
        raise UnsuitableModelError(
            f"{model.name} has {_counted(ends[0], 'input')} and {_counted(ends[1], 'output')}; xedge takes models with "
            "one photo as the input and one output, so save a model with only these"
        )
    shape = shapes[0][1:]
    if len(shape) == 3 and None in shape:
        raise UnsuitableModelError(
            f"{model.name} takes photos of any size {shape}; choose one with {parameter('size')}, such as 224x224"
        )
    if len(shape) != 3:
        raise UnsuitableModelError(f"{model.name} takes {shape}, not photos of a fixed (height, width, channels)")
    for layer in model._flatten_layers():
        if getattr(layer, "quantization_mode", None):
            raise UnsuitableModelError(
                f"{layer.name}: was quantized by Keras ({layer.quantization_mode}), which xedge does by itself; give "
                "the model as it was before quantize()"
            )
    return tuple(int(size) for size in shape)


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'s' if count != 1 else ''}"


def for_inference(model: Any) -> Any:
    """Return a model that computes what the given one does in inference, in float32; the given one is changed.

    Args:
        model: A built Keras model with one input. The dtype policy of its layers becomes float32, whatever was saved,
            and so does its input; one that takes integers gets the whole part of each value.
    """
    shape = photo_shape(model)
    for layer in model._flatten_layers():
        if layer.dtype_policy.compute_dtype != "float32":
            layer.dtype_policy = "float32"
        _take_float32(layer)
    photo = keras.Input(shape)
    given = keras.ops.cast(photo, model.inputs[0].dtype) if takes_integers(model) else photo
    return keras.Model(photo, model(given, training=False), name=model.name)


def takes_any_size(model: Any) -> bool:
    """Return whether a model with one input leaves the height or the width of photos open."""
    inputs: Any = getattr(model, "inputs", None) or ()
    return len(inputs) == 1 and len(inputs[0].shape) == 4 and None in inputs[0].shape[1:3]


def own_size(model: Any) -> tuple[int, int] | None:
    """Return the height and width of photos that a model was made for; None if it takes any size."""
    shape: tuple[int | None, ...] = tuple(model.inputs[0].shape) if len(model.inputs) == 1 else ()
    if len(shape) != 4 or shape[1] is None or shape[2] is None:
        return None
    return shape[1], shape[2]


def at_size(model: Any, size: tuple[int, int]) -> Any:
    """Return a model of the same layers that takes photos of another size; the same model if that is its own.

    Args:
        model: A built Keras model with one input (height, width, channels).
        size: The height and width.

    Raises:
        UnsuitableModelError: The model is not fully convolutional, or photos of this size are too small for it.
    """
    inputs: Any = getattr(model, "inputs", None) or ()
    if len(inputs) != 1 or len(inputs[0].shape) != 4 or tuple(inputs[0].shape[1:3]) == size:
        return model
    # Named as it was: Keras counts the inputs of a process, and a number would be in the artifact.
    photo = keras.Input((*size, inputs[0].shape[3]), dtype=inputs[0].dtype, name=inputs[0].name)
    try:
        return keras.Model(photo, _called(model, photo), name=model.name)
    except Exception as error:  # each layer refuses in its own way
        reason = " ".join(str(error).split())[:200]
        raise UnsuitableModelError(
            f"{model.name} does not take photos of {size[0]}x{size[1]} ({reason}); only fully convolutional models "
            "take other sizes"
        ) from error


def _called(operation: Any, *inputs: Any, **named: Any) -> Any:
    """Call an operation; the layers of nested models one by one, because these insist on their own input's shape."""
    if isinstance(operation, keras.Sequential) and operation.built:
        operation = getattr(operation, "_functional", operation)
    if isinstance(operation, keras.src.models.functional.Functional):
        return operation._run_through_graph(inputs, operation_fn=lambda one: partial(_called, one))
    return operation(*inputs, **named)


def takes_integers(model: Any) -> bool:
    """Return whether a model with one input takes integers, which only pixels are."""
    return any("int" in one.dtype for one in getattr(model, "inputs", None) or ())


def _take_float32(layer: Any) -> None:
    """Let a nested model take its inputs as they come: one built under mixed precision rounds them to half."""
    for tensor in getattr(getattr(layer, "_functional", None) or layer, "_inputs", []):
        if tensor.dtype in ("float16", "bfloat16"):
            tensor._dtype = "float32"
