"""Read a Keras model into the reference graph: walk its operations and let the reader of each add its nodes."""

from __future__ import annotations

import inspect
from typing import Any

import keras
import numpy as np

from xedge.errors import UnsuitableModelError, UnsupportedError
from xedge.graph import fold
from xedge.graph.builder import Builder
from xedge.graph.ir import Graph, Input
from xedge.sources.keras.attributes import function_name
from xedge.sources.keras.inference import photo_shape
from xedge.sources.keras.readers import (  # noqa: F401 - they register their readers
    activations,
    arithmetic,
    normalizations,
    shapes,
    weighted,
    windows,
)
from xedge.sources.keras.reading import reader_of
from xedge.types import Shape

# Layers that only do something in training.
IDENTITY = (
    *("Dropout", "SpatialDropout1D", "SpatialDropout2D", "AlphaDropout", "GaussianNoise", "GaussianDropout"),
    *("ActivityRegularization", "Identity", "StochasticDepth", "AugMix", "CutMix", "MixUp", "RandAugment"),
    "Equalization",
)
# Operations that read views as they are; all others get the tensors that the views stand for.
OF_VIEWS = (
    *("GetItem", "Stack", "Split", "Concatenate", "Flip", "Reshape", "Flatten", "Ravel", "ExpandDims", "Squeeze"),
    *("Permute", "Transpose", "Swapaxes", "Moveaxis"),
)


def read_keras(model: Any) -> Graph:
    """Return the model's inference as a reference graph, with batch normalization folded.

    Raises:
        UnsupportedError: The model is not a functional classifier over one photo, or it has a layer outside the
            reference graph's set; the message names the layer.
    """
    return fold.simplify(read_unfolded(model))


def read_unfolded(model: Any, builder: LayerBuilder | None = None) -> Graph:
    """Return the model's inference as a graph in which each scale is a node of its own.

    Args:
        model: The built Keras model.
        builder: What the nodes are added to, so that those before a layer outside the set can be looked at.

    Raises:
        UnsupportedError: As for ``read_keras``.
    """
    shape = photo_shape(model)
    functional = _functional(model, shape)
    builder = builder or LayerBuilder()
    start = builder.add(Input(name=functional.inputs[0]._keras_history.operation.name, shape=shape))
    (output,) = builder.read(functional, [start], "")
    name = str(functional.output_names[0])
    return Graph(name=model.name, nodes=tuple(builder.nodes), output=builder.whole(output), output_name=name)


def _functional(model: Any, shape: Shape) -> Any:
    """Return a model whose operations can be listed; a subclassed one becomes one operation, which is traced."""
    if isinstance(model, keras.Sequential) and model.built:
        model = getattr(model, "_functional", model)
    if isinstance(model, keras.src.models.functional.Functional):
        return model
    photo = keras.Input(shape)
    return keras.Model(photo, model(photo, training=False), name=model.name)


class LayerBuilder(Builder):
    """A graph in the making from Keras layers.

    Each layer is read by the function that is registered for its class (``reading.reads``).
    """

    def __init__(self) -> None:
        super().__init__()
        # What the operation at hand was called with: names of tensors, and constants.
        self.arguments: list[Any] = []

    def activated(self, function: Any, tensor: str) -> str:
        """Add a Keras activation, a function or a layer, behind a tensor."""
        if isinstance(function, keras.layers.Layer):
            return self.operation(function, f"{tensor}/", [tensor])[0]
        return self.activation(function_name(function), tensor)

    def read(self, model: Any, starts: list[str], prefix: str) -> list[str]:
        """Walk a functional model and return the names of its outputs; nested models are walked in place.

        Args:
            model: The model, or a ``keras.Function``.
            starts: The names of the tensors that it is given.
            prefix: What the names of its nodes begin with.
        """
        made = {id(tensor): start for tensor, start in zip(model.inputs, starts, strict=True)}
        for depth in sorted(model._nodes_by_depth, reverse=True):
            for node in model._nodes_by_depth[depth]:
                if all(id(tensor) in made for tensor in node.outputs):
                    continue
                if type(node.operation).__name__ not in OF_VIEWS:
                    for tensor in node.arguments.keras_tensors:
                        made[id(tensor)] = self.whole(made[id(tensor)])
                inputs = [made[id(tensor)] for tensor in node.arguments.keras_tensors]
                self.arguments = [_argument(one, made) for one in node.arguments.args]
                results = self.operation(node.operation, prefix, inputs, node.arguments)
                made.update({id(tensor): result for tensor, result in zip(node.outputs, results, strict=True)})
        return [made[id(tensor)] for tensor in model.outputs]

    def operation(self, operation: Any, prefix: str, inputs: list[str], called: Any = None) -> list[str]:
        """Add what one operation of the model computes and return the names of its results.

        Args:
            operation: The layer, nested model or operation.
            prefix: What the names of its nodes begin with.
            inputs: The names of the tensors that it is given.
            called: The symbolic arguments with which it was called; None if it stands inside another layer.

        Raises:
            UnsupportedError: The operation is outside the reference graph's set; the message names the layer.
        """
        kind, name = type(operation).__name__, prefix + operation.name
        if isinstance(operation, keras.Sequential) and operation.built:
            operation = getattr(operation, "_functional", operation)
        if isinstance(operation, keras.src.models.functional.Functional):
            return self.read(operation, inputs, f"{name}/")
        if _only_trains(operation):
            return inputs
        reader = reader_of(operation)
        if reader is None:
            return self._traced(operation, name, inputs, called)
        if getattr(operation, "data_format", "channels_last") == "channels_first":
            raise UnsuitableModelError(f"{name}: {kind} is channels_first; save the model with channels_last")
        try:
            result = reader(self, operation, self.unique(name), inputs)
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            # A use of the layer that its reader does not know; the libraries may take it.
            raise UnsupportedError(
                f"{name}: this use of {kind} is not in the reference graph's set ({error})"
            ) from error
        return result if isinstance(result, list) else [result]

    def _traced(self, operation: Any, name: str, inputs: list[str], called: Any) -> list[str]:
        """Read a layer without a reader, or a subclassed model, by the operations that its ``call`` computes."""
        kind = type(operation).__name__
        if not isinstance(operation, keras.layers.Layer) or called is None:
            raise UnsupportedError(f"{name}: {kind} is not in the reference graph's set")
        try:
            function = _traced_call(operation, called)
            return self.read(function, inputs, f"{name}/")
        except UnsupportedError as error:
            raise UnsupportedError(f"{name}: {kind} is not in the reference graph's set ({error})") from error


def _traced_call(layer: Any, called: Any) -> Any:
    """Return what a layer's ``call`` computes in inference as a function of the tensors that it was called with.

    Raises:
        UnsupportedError: The layer's code is not made of Keras' operations.
    """
    fresh = [keras.KerasTensor(tensor.shape, dtype=tensor.dtype) for tensor in called.keras_tensors]
    arguments, named = called.fill_in({id(old): new for old, new in zip(called.keras_tensors, fresh, strict=True)})
    takes = inspect.signature(layer.call).parameters
    if "training" in takes:
        named["training"] = False
    try:
        return keras.Function(fresh, layer.call(*arguments, **named))
    except Exception as error:  # the code of a layer may raise anything
        raise UnsupportedError(f"its code cannot be traced: {' '.join(str(error).split())[:150]}") from error


def _only_trains(operation: Any) -> bool:
    """Whether an operation is a layer of Keras that computes nothing in inference."""
    kind = type(operation).__name__
    return (kind in IDENTITY or (kind.startswith("Random") and kind != "RandomCrop")) and _is_keras(operation)


def _is_keras(operation: Any) -> bool:
    return type(operation).__module__.startswith("keras.")


def _argument(one: Any, made: dict[int, str]) -> Any:
    """What an operation was called with: tensors by their names, constants as arrays, the rest as it is."""
    if id(one) in made:
        return made[id(one)]
    if isinstance(one, list | tuple):
        return type(one)(_argument(part, made) for part in one)
    if isinstance(one, slice | type(Ellipsis) | str | type(None) | bool):
        return one
    if isinstance(one, keras.KerasTensor):
        raise UnsupportedError(f"{one.name}: is a tensor of another model")
    return np.asarray(keras.ops.convert_to_numpy(one), dtype=np.float32)
