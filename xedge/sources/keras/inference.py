"""A Keras model as it is in inference: no layer trains, and everything computes in float32.

Keras traces a model for export with ``training`` unset, which lets random layers act and layers that were called with
``training=True`` use the statistics of the batch. Called with ``training=False``, every layer is in inference, those of
nested models and those with an argument of their own included.
"""

from __future__ import annotations

from typing import Any

import keras

from xedge.errors import UnsuitableModelError
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
            f"{model.name} takes photos of any size {shape}; save it with a fixed size, such as "
            "keras.Input((224, 224, 3))"
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


def takes_integers(model: Any) -> bool:
    """Return whether a model with one input takes integers, which only pixels are."""
    return any("int" in one.dtype for one in getattr(model, "inputs", None) or ())


def _take_float32(layer: Any) -> None:
    """Let a nested model take its inputs as they come: one built under mixed precision rounds them to half."""
    for tensor in getattr(getattr(layer, "_functional", None) or layer, "_inputs", []):
        if tensor.dtype in ("float16", "bfloat16"):
            tensor._dtype = "float32"
