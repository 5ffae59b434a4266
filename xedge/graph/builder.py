"""Build a graph node by node, as every source does."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import Any, get_args

import numpy as np

from xedge.errors import UnsupportedError
from xedge.graph import composed
from xedge.graph.ir import (
    NO_PADDING,
    Activation,
    ActivationKind,
    Add,
    Conv,
    Dense,
    Elementwise,
    MatMul,
    Mean,
    Multiply,
    Node,
    Reduce,
    Reshape,
    Scale,
    Softmax,
    Unary,
    broadcast,
)
from xedge.types import FloatArray, IntArray, Shape

ACTIVATIONS = ("linear", "softmax", *get_args(ActivationKind))
# The slope below zero of a leaky ReLU that tells none, in Keras and in TensorFlow.
LEAKY_SLOPE = 0.2


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


class Builder:
    """A graph that is being built: the nodes that were added so far, and the shape of each."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.shapes: dict[str, Shape] = {}
        self._views: dict[str, View] = {}

    def add(self, node: Node) -> str:
        """Add a node and return the name of its result.

        Raises:
            UnsupportedError: The shapes of its inputs do not fit together.
        """
        self.shapes[node.name] = node.output_shape([self.shapes[name] for name in node.inputs])
        self.nodes.append(node)
        return node.name

    def unique(self, name: str) -> str:
        """Return a name that no node has yet: the given one, with a number appended if necessary."""
        candidate, count = name, 0
        while candidate in self.shapes:
            count += 1
            candidate = f"{name}_{count}"
        return candidate

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
            if len(shape) != 3:
                source = self.reshaped(f"{name}/photo", source, (prod(shape[:-1]), 1, shape[-1]))
            inner = name if self.shapes[source][:-1] + order.shape == view.shape else f"{name}/channels"
            source = self._part_of_dense(inner, source, order) or self._chosen(inner, source, order)
        if source == name:
            return name
        return self.add(Reshape(name=name, inputs=(source,), shape=view.shape))

    def _chosen(self, name: str, source: str, order: IntArray) -> str:
        """Add channels of a tensor (H, W, C) in another order, as a product with a matrix of zeros and ones."""
        kernel = np.zeros((1, 1, self.shapes[source][-1], len(order)), np.float32)
        kernel[0, 0, order, range(len(order))] = 1
        bias = np.zeros(len(order), np.float32)
        return self.add(Conv(name=name, inputs=(source,), kernel=kernel, bias=bias))

    def _part_of_dense(self, name: str, source: str, order: IntArray) -> str | None:
        """Add a dense layer that computes these channels only; None if another one does not cost less than choosing.

        Three of these are the queries, keys and values of attention, which nothing needs to cut apart then.
        """
        nodes = {node.name: node for node in self.nodes}
        scale = nodes[source] if isinstance(nodes[source], Scale) else None
        dense = nodes[source if scale is None else scale.inputs[0]]
        if not isinstance(dense, Conv) or dense.groups != 1 or dense.kernel.shape[:2] != (1, 1):
            return None
        if dense.kernel.shape[2] > dense.channels or dense.strides != (1, 1) or dense.padding != NO_PADDING:
            return None
        kernel, bias = np.ascontiguousarray(dense.kernel[..., order]), dense.bias[order]
        part = name if scale is None else self.unique(f"{name}/part")
        self.add(replace(dense, name=part, kernel=kernel, bias=bias))
        if not isinstance(scale, Scale):
            return part
        return self.scaled(name, part, scale.factor[order], scale.offset[order])

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

    def activation(self, kind: str, tensor: str, name: str | None = None, alpha: float = 0.0) -> str:
        """Add an activation after a tensor and return the name of its result.

        Args:
            kind: The kind of activation: one of ``ActivationKind`` or ``composed.COMPOSED``, ``softmax``, or
                ``linear``, which adds nothing.
            tensor: The name of the tensor that the activation reads.
            name: The name of the node; None makes one from the tensor and the kind.
            alpha: The slope of leaky_relu below zero, or the limit of elu; 0 is the usual one.

        Raises:
            UnsupportedError: There is no such activation.
        """
        if kind == "linear":
            return tensor
        if kind in composed.COMPOSED:
            return composed.COMPOSED[kind](self, name or self.unique(f"{tensor}/{kind}"), tensor)
        if kind not in ACTIVATIONS:
            raise UnsupportedError(f"{tensor}: activation {kind!r} is not in the reference graph's set")
        if kind == "leaky_relu":
            alpha = alpha or LEAKY_SLOPE
        name = self.unique(name or f"{tensor}/{kind}")
        if kind == "elu" and alpha not in (0.0, 1.0):
            return composed.elu(self, name, tensor, alpha)
        if kind == "softmax":
            return self.add(Softmax(name=name, inputs=(tensor,)))
        return self.add(Activation(name=name, inputs=(tensor,), kind=kind, alpha=alpha))  # type: ignore[arg-type]

    def with_constant(self, kind: str, name: str, *operands: str | FloatArray) -> str:
        """Add an operation on a tensor and a constant: a scale, which folds away, if it is linear in each channel.

        Args:
            kind: The kind of operation, as in ``Elementwise``.
            name: The name of the node.
            operands: The tensor and the constant, in the order in which they stand.
        """
        (tensor,) = (one for one in operands if isinstance(one, str))
        (constant,) = (one for one in operands if not isinstance(one, str))
        shape, constant_first = self.shapes[tensor], not isinstance(operands[0], str)
        value = constant.astype(np.float64)
        if constant.size not in (1, shape[-1]) or constant.size not in (1, *constant.shape[-1:]):
            return self.elementwise(kind, name, *operands)
        if kind == "add":
            return self.scaled(name, tensor, 1.0, value)
        if kind == "subtract":
            return self.scaled(name, tensor, *((-1.0, value) if constant_first else (1.0, -value)))
        if kind == "multiply":
            return self.scaled(name, tensor, value, 0.0)
        if kind == "divide" and not constant_first:
            return self.scaled(name, tensor, 1 / value, 0.0)
        return self.elementwise(kind, name, *operands)

    def combined(self, kind: str, name: str, left: str, right: str) -> str:
        """Add an operation on two tensors, which are broadcast; arguments are those of ``with_constant``."""
        left, right = (self._of_rank(name, one, (left, right)) for one in (left, right))
        shapes = self.shapes[left], self.shapes[right]
        if kind == "add" and shapes[0] == shapes[1]:
            return self.add(Add(name=name, inputs=(left, right)))
        if kind == "multiply":
            ordered = sorted((left, right), key=lambda tensor: -prod(self.shapes[tensor]))
            if broadcast(name, shapes) == self.shapes[ordered[0]]:
                return self.add(Multiply(name=name, inputs=tuple(ordered)))
        return self.elementwise(kind, name, left, right)

    def _of_rank(self, name: str, tensor: str, together: tuple[str, str]) -> str:
        """A vector beside a photo's tensor becomes (1, 1, C), as broadcasting takes it."""
        rank = max(len(self.shapes[one]) for one in together)
        return self.reshaped(f"{name}/spread", tensor, (1,) * (rank - len(self.shapes[tensor])) + self.shapes[tensor])

    def reduced(self, name: str, kind: str, tensor: str, axes: tuple[int, ...], *, keepdims: bool) -> str:
        """Add a reduction and return the name of its result.

        Args:
            name: The name of the node.
            kind: The kind of reduction: ``mean``, ``max``, ``min`` or ``sum``.
            tensor: The tensor.
            axes: The axes, counted without the batch.
            keepdims: Whether they stay with size 1.
        """
        shape = self.shapes[tensor]
        if kind == "min":
            mirrored = self.unary("negative", f"{name}/mirrored", tensor)
            largest = self.reduced(f"{name}/largest", "max", mirrored, axes, keepdims=keepdims)
            return self.unary("negative", name, largest)
        if kind == "mean" and axes == (0, 1) and len(shape) == 3:
            return self.add(Mean(name=name, inputs=(tensor,), keepdims=keepdims))
        if kind == "mean" and axes == (1,) and keepdims and len(shape) == 3 and shape[0] == 1:
            return self.add(Mean(name=name, inputs=(tensor,), keepdims=True))
        kept_name = name if keepdims else f"{name}/kept"
        kept = self.add(Reduce(name=kept_name, inputs=(tensor,), kind=kind, axes=axes))  # type: ignore[arg-type]
        if keepdims:
            return kept
        rest = tuple(size for axis, size in enumerate(shape) if axis not in axes)
        return self.add(Reshape(name=name, inputs=(kept,), shape=rest))

    def product(self, name: str, left: str, right: str) -> str:
        """Add the product of tensors (..., m, k) and (..., k, n) and return the name of its result.

        Raises:
            UnsupportedError: They do not fit together, or only one of them has an axis before its matrices.
        """
        shapes = self.shapes[left], self.shapes[right]
        few = max(0, 4 - len(shapes[0]))
        wide = [self.reshaped(f"{name}/matrices", one, (1,) * few + self.shapes[one]) for one in (left, right)]
        product = self.add(MatMul(name=name if not few else f"{name}/product", inputs=tuple(wide)))
        return self.reshaped(name, product, (*shapes[0][:-1], shapes[1][-1]))

    def dense(self, name: str, source: str, kernel: FloatArray, bias: FloatArray) -> str:
        """Add a dense layer over the last axis: over (H, W, C), and over (tokens, C), it is a 1x1 convolution."""
        shape = self.shapes[source]
        if len(shape) == 1:
            return self.add(Dense(name=name, inputs=(source,), kernel=kernel, bias=bias))
        if len(shape) == 3:
            return self.add(Conv(name=name, inputs=(source,), kernel=kernel[None, None], bias=bias))
        if len(shape) != 2:
            raise UnsupportedError(f"{name}: a dense layer over {shape}")
        row = self.reshaped(f"{name}/row", source, (1, *shape))
        tensor = self.add(Conv(name=f"{name}/conv", inputs=(row,), kernel=kernel[None, None], bias=bias))
        return self.add(Reshape(name=name, inputs=(tensor,), shape=(shape[0], kernel.shape[-1])))
