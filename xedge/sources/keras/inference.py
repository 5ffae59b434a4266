"""A Keras model as it is in inference: no layer trains, and everything computes in float32.

Keras traces a model for export with ``training`` unset, which lets random layers act and layers that were called with
``training=True`` use the statistics of the batch. Called with ``training=False``, every layer is in inference, those of
nested models and those with an argument of their own included.
"""

from __future__ import annotations

from typing import Any

import keras


def for_inference(model: Any) -> Any:
    """Return a model that computes what the given one does in inference, in float32; the given one is changed.

    Args:
        model: A built Keras model with one input. The dtype policy of its layers becomes float32, whatever was saved.
    """
    for layer in model._flatten_layers():
        if layer.dtype_policy.compute_dtype != "float32":
            layer.dtype_policy = "float32"
        _take_float32(layer)
    photo = keras.Input(model.inputs[0].shape[1:], dtype=model.inputs[0].dtype)
    return keras.Model(photo, model(photo, training=False), name=model.name)


def _take_float32(layer: Any) -> None:
    """Let a nested model take its inputs as they come: one built under mixed precision rounds them to half."""
    for tensor in getattr(getattr(layer, "_functional", None) or layer, "_inputs", []):
        if tensor.dtype in ("float16", "bfloat16"):
            tensor._dtype = "float32"
