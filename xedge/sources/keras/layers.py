"""Read a Keras model into the reference graph: walk its operations and let the reader of each add its nodes."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from math import prod
from typing import Any, get_args

import keras
import numpy as np

from xedge.errors import UnsuitableModelError, UnsupportedError
from xedge.graph import fold
from xedge.graph.builder import Builder
from xedge.graph.ir import ActivationKind, Conv, Elementwise, Graph, Input, Reshape, Scale, Unary
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
from xedge.types import IntArray, Shape

# Layers that only do something in training.
IDENTITY = (
    *("Dropout", "SpatialDropout1D", "SpatialDropout2D", "AlphaDropout", "GaussianNoise", "GaussianDropout"),
    *("ActivityRegularization", "Identity", "StochasticDepth", "AugMix", "CutMix", "MixUp", "RandAugment"),
    "Equalization",
)
ACTIVATIONS = ("linear", "softmax", *get_args(ActivationKind))
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
    return fold.prune(fold.simplify(read_unfolded(model)))


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


@dataclass(frozen=True, kw_only=True, eq=False)
class View:
    """A tensor that is not computed yet, because it only has the channels of another one in another order.

    Args:
        source: The name of the other tensor (*lead, channels).
        lead: The sizes of the axes before the channels, which stay as they are.
        order: The indices of the channels, in the shape that stands in place of the channels' axis.
    """

    source: str
    lead: Shape
    order: IntArray

    @property
    def shape(self) -> Shape:
        """The shape of the tensor, without the batch."""
        return (*self.lead, *self.order.shape)


class LayerBuilder(Builder):
    """A graph in the making from Keras layers.

    Each layer is read by the function that is registered for its class (``reading.reads``).
    """

    def __init__(self) -> None:
        super().__init__()
        # What the operation at hand was called with: names of tensors, and constants.
        self.arguments: list[Any] = []
        self._views: dict[str, View] = {}

    def view(self, name: str) -> View:
        """Return a tensor as a view: what it stands for, or all of its own channels."""
        shape = self.shapes[name]
        return self._views.get(name) or View(source=name, lead=tuple(shape[:-1]), order=np.arange(shape[-1]))

    def viewed(self, name: str, source: str, lead: Shape, order: IntArray) -> str:
        """Add a view and return its name, or that of the source itself if all channels are in their order."""
        if np.array_equal(order, np.arange(self.shapes[source][-1])) and lead == self.shapes[source][:-1]:
            return source
        name = self.unique(name)
        self._views[name] = View(source=source, lead=lead, order=np.asarray(order))
        self.shapes[name] = self._views[name].shape
        return name

    def whole(self, name: str) -> str:
        """Return the name of a tensor, which is computed now if it was a view."""
        view = self._views.pop(name, None)
        if view is None:
            return name
        del self.shapes[name]
        source, shape = view.source, self.shapes[view.source]
        order = view.order.reshape(-1)
        if not np.array_equal(order, np.arange(shape[-1])):
            source = self.reshaped(
                f"{name}/photo", source, shape if len(shape) == 3 else (prod(shape[:-1]), 1, shape[-1])
            )
            kernel = np.zeros((1, 1, shape[-1], len(order)), np.float32)
            kernel[0, 0, order, range(len(order))] = 1
            inner = name if self.shapes[source][:-1] + order.shape == view.shape else f"{name}/channels"
            bias = np.zeros(len(order), np.float32)
            source = self.add(Conv(name=inner, inputs=(source,), kernel=kernel, bias=bias))
        if source == name:
            return name
        return self.add(Reshape(name=name, inputs=(source,), shape=view.shape))

    def reshaped(self, name: str, tensor: str, shape: Shape) -> str:
        """Add a reshape, if the tensor has another shape, and return the name of the result."""
        if self.shapes[tensor] == tuple(shape):
            return tensor
        return self.add(Reshape(name=self.unique(name), inputs=(tensor,), shape=tuple(shape)))

    def scaled(self, name: str, source: str, factor: Any, offset: Any) -> str:
        """Add a scale x * factor + offset, with one value or one for each channel, and return its name."""
        channels = self.shapes[source][-1]
        vectors = [np.broadcast_to(np.asarray(v, np.float32).reshape(-1), (channels,)).copy() for v in (factor, offset)]
        return self.add(Scale(name=name, inputs=(source,), factor=vectors[0], offset=vectors[1]))

    def elementwise(self, kind: str, name: str, *operands: str | float | np.ndarray) -> str:
        """Add an operation on two operands, at least one of which is a tensor; the other may be a constant."""
        tensors = tuple(one for one in operands if isinstance(one, str))
        constants = [np.asarray(one, np.float32) for one in operands if not isinstance(one, str)]
        node: dict[str, Any] = {"name": self.unique(name), "inputs": tensors, "kind": kind}
        if constants:
            rank, value = len(self.shapes[tensors[0]]), constants[0]
            # Keras' constants may have a batch of one; tensors here have none.
            value = value.reshape(value.shape[1:]) if value.ndim == rank + 1 else value
            node["constant"] = value.reshape((1,) * (rank - value.ndim) + value.shape)
            node["constant_first"] = not isinstance(operands[0], str)
        return self.add(Elementwise(**node))

    def unary(self, kind: str, name: str, tensor: str) -> str:
        """Add a function of one value at a time."""
        return self.add(Unary(name=self.unique(name), inputs=(tensor,), kind=kind))  # type: ignore[arg-type]

    def activated(self, function: Any, tensor: str) -> str:
        """Add a Keras activation, a function or a layer, behind a tensor."""
        if isinstance(function, keras.layers.Layer):
            return self.operation(function, f"{tensor}/", [tensor])[0]
        return self.activation(function_name(function), tensor)

    def activation(self, kind: str, tensor: str, name: str | None = None, alpha: float = 0.0) -> str:
        """Add an activation by the name that Keras has for it, with Keras' defaults."""
        if kind in activations.COMPOSED:
            return activations.COMPOSED[kind](self, name or self.unique(f"{tensor}/{kind}"), tensor)
        if kind not in ACTIVATIONS:
            raise UnsupportedError(f"{tensor}: activation {kind!r} is not in the reference graph's set")
        if kind == "leaky_relu":
            alpha = alpha or activations.LEAKY_SLOPE
        if kind == "elu" and alpha not in (0.0, 1.0):
            return activations.elu(self, name or self.unique(f"{tensor}/{kind}"), tensor, alpha)
        return super().activation(kind, tensor, name, alpha)

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
        result = reader(self, operation, self.unique(name), inputs)
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
