"""Layers as Keras 2 wrote them into .h5 files, where Keras 3 does not take them back."""

from __future__ import annotations

from typing import Any

import keras


def _without(base: type[Any], *arguments: str) -> type[Any]:
    """Return a layer class that ignores arguments which Keras 2 wrote and Keras 3 refuses."""

    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807 - it becomes the class's own
        for name in arguments:
            kwargs.pop(name, None)
        base.__init__(self, *args, **kwargs)

    # Keras takes the class for its own by module and name; it computes what the base computes.
    return type(base.__name__, (base,), {"__init__": __init__, "__module__": base.__module__})


KERAS_2_LAYERS = {
    "DepthwiseConv2D": _without(keras.layers.DepthwiseConv2D, "groups"),
    "SeparableConv2D": _without(
        keras.layers.SeparableConv2D, "groups", "kernel_initializer", "kernel_regularizer", "kernel_constraint"
    ),
}
