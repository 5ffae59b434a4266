"""A graph in the making from the operators of an ONNX file, which ``operations`` reads one by one.

ONNX holds photos with their channels first, and the reference graph holds them last and without the batch. Which axis
of ONNX is which axis of the graph is kept beside each tensor (``Held``), so that a Transpose costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from onnx import helper

from xedge.errors import InputError, UnsuitableModelError, UnsupportedError
from xedge.graph.builder import Builder
from xedge.graph.ir import Graph, Input, Mean, Padding
from xedge.graph.taking import into, permuted
from xedge.sources.onnx.file import OnnxFile
from xedge.sources.onnx.shapes import OF_CONSTANTS
from xedge.types import FloatArray, Shape

DOMAINS = ("", "ai.onnx")
# A tensor whose values move is a product with a matrix of zeros and ones; larger ones are refused.
MOST_MOVED = 1024


@dataclass(frozen=True, eq=False)
class Held:
    """A tensor of ONNX that the graph computes.

    Args:
        name: The name of the tensor in the graph, where it has no batch.
        axes: For each axis of ONNX, the axis in the graph that it is; None if it has size 1 and is none there.
    """

    name: str
    axes: tuple[int | None, ...]


@dataclass(frozen=True, eq=False)
class Normal:
    """A part of the GELU of x: erf(x / sqrt(2)), or one plus that, or a factor times one plus that.

    Args:
        source: x.
        plus_one: Whether one was added.
        factor: What it was multiplied by.
    """

    source: Held
    plus_one: bool = False
    factor: float = 1.0


@dataclass(frozen=True, eq=False)
class Expanded:
    """A tensor that an Expand repeats; what combines it with a tensor of that shape broadcasts it anyway.

    Args:
        source: The tensor.
        shape: The shape that the Expand makes, as ONNX counts it.
    """

    source: Held
    shape: Shape


@dataclass(frozen=True, eq=False)
class Padded:
    """A photo with values around it that are below all others, so that only a maximum may read it.

    Args:
        photo: The photo's name in the graph.
        padding: The padding at (top, bottom) and (left, right).
    """

    photo: str
    padding: Padding


# A tensor that is computed, a constant with its batch, a part of an operation, or an input that is left out.
Value = Held | Normal | Expanded | Padded | FloatArray | None


@dataclass(frozen=True, eq=False)
class Operator:
    """One operator of the file.

    Args:
        kind: The operator's name in ONNX.
        name: A name for its node in the graph.
        attributes: Its attributes.
        opset: The version of ONNX's operators that the file is written in.
        outputs: The number of its outputs.
    """

    kind: str
    name: str
    attributes: dict[str, Any] = field(default_factory=dict)
    opset: int = 0
    outputs: int = 1


class NetworkBuilder(Builder):
    """A graph in the making from the operators of an ONNX file.

    Args:
        name: The name of the model.
        file: The file.
    """

    def __init__(self, name: str, file: OnnxFile) -> None:
        super().__init__()
        self._name, self._file = name, file
        self._initializers = {tensor.name: tensor for tensor in file.model.graph.initializer}
        self._opset = max((one.version for one in file.model.opset_import if one.domain in DOMAINS), default=1)
        self.values: dict[str, Value] = {}

    def read(self) -> Graph:
        """Return the graph of the file, in which each scale is a node of its own.

        Raises:
            InputError: An operator reads what no earlier one computes.
            UnsupportedError: An operator is outside the reference graph's set; the message names it.
        """
        from xedge.sources.onnx import operations  # noqa: F401, PLC0415 - they register themselves with this module

        file = self._file
        photo = self.add(Input(name=file.photo, shape=file.shape))
        self.values[file.photo] = Held(photo, (None, 2, 0, 1) if file.channels_first else (None, 0, 1, 2))
        for node in file.model.graph.node:
            self._operator(node)
        output = self._value(file.model.graph.output[0].name, self._name)
        if not isinstance(output, Held):
            raise UnsupportedError("the output does not depend on the photo")
        shape = self.onnx_shape(output)
        wide = [axis for axis, size in enumerate(shape) if size > 1] or [len(shape) - 1]
        name = self.whole(self.arranged("output", output, wide))
        return Graph(name=self._name, nodes=tuple(self.nodes), output=name, output_name=name)

    def _operator(self, node: Any) -> None:
        short = self.unique((node.name or (node.output[0] if node.output else "") or node.op_type).strip("/"))
        if node.domain not in DOMAINS and not (node.domain == "com.microsoft" and node.op_type in ("Gelu", "FastGelu")):
            raise UnsupportedError(f"{short}: {node.op_type} of {node.domain} is not in the reference graph's set")
        inputs = [self._value(one, short) for one in node.input]
        attributes = {one.name: self._attribute(one) for one in node.attribute}
        operator = Operator(node.op_type, short, attributes, self._opset, len(node.output))
        if not any(isinstance(one, Held | Normal | Expanded | Padded) for one in inputs):
            results: Any = self._of_constants(operator, inputs)
        elif operator.kind not in READERS:
            raise UnsupportedError(f"{short}: {operator.kind} is not in the reference graph's set")
        elif any(isinstance(one, Normal | Expanded) for one in inputs) and operator.kind not in OF_PARTS:
            raise UnsupportedError(f"{short}: {operator.kind} of a part of another operation")
        elif any(isinstance(one, Padded) for one in inputs) and operator.kind != "MaxPool":
            raise UnsupportedError(f"{short}: {operator.kind} of a photo that is padded with other values than zeros")
        else:
            try:
                results = READERS[operator.kind](self, operator, inputs)
            except (ArithmeticError, AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
                raise UnsupportedError(
                    f"{short}: this use of {operator.kind} is not in the reference graph's set ({error})"
                ) from error
        results = results if isinstance(results, list) else [results]
        # Further outputs, such as a pool's indices, are refused where they are read.
        self.values.update(zip(node.output, results, strict=False))

    def _of_constants(self, operator: Operator, inputs: list[Value]) -> Value:
        if operator.kind not in OF_CONSTANTS:
            raise UnsupportedError(f"{operator.name}: {operator.kind} of constants is not in the reference graph's set")
        try:
            return np.asarray(OF_CONSTANTS[operator.kind](inputs, operator.attributes))
        except UnsuitableModelError as error:
            raise error.within(f"{operator.name}: {operator.kind}") from error
        except (ArithmeticError, AttributeError, IndexError, KeyError, TypeError, ValueError, MemoryError) as error:
            raise UnsupportedError(f"{operator.name}: this {operator.kind} of constants fails ({error})") from error

    def _attribute(self, attribute: Any) -> Any:
        if attribute.HasField("t"):
            return self._file.array(attribute.t)
        value = helper.get_attribute_value(attribute)
        return value.decode() if isinstance(value, bytes) else value

    def _value(self, name: str, reader: str) -> Value:
        if not name:
            return None
        if name not in self.values:
            if name not in self._initializers:
                raise InputError(f"{self._file.path}: {reader} reads {name}, which no operator before it computes")
            array = self._file.array(self._initializers[name])
            # Not kept, for each weight is read once; what is small is a shape or a scalar.
            if array.size > 1024:
                return array
            self.values[name] = array
        return self.values[name]

    def whole(self, name: str) -> str:
        """Return the name of a tensor, which is computed now if it was a view.

        Raises:
            UnsupportedError: Many values would move to other positions.
        """
        view = self.view(name)
        order = view.order.reshape(-1)
        if view.source != name and not view.lead and len(order) > MOST_MOVED and (np.diff(order) != 1).any():
            raise UnsupportedError(f"{name}: reads values in another order than they are computed in")
        return super().whole(name)

    def order_of(self, value: Held) -> list[int]:
        """Return the axes of ONNX in the order in which the graph has them, or has to have them to be computed."""
        view = self.view(value.name)
        if view.source != value.name and not view.lead and len(value.axes) == 4:
            return [2, 3, 1]
        places = {axis: at for at, axis in enumerate(value.axes) if axis is not None}
        return [places[axis] for axis in sorted(places)]

    def onnx_shape(self, value: Held) -> Shape:
        """Return the shape that ONNX sees, with the batch."""
        sizes = self.shapes[value.name]
        return tuple(1 if axis is None else sizes[axis] for axis in value.axes)

    def arranged(self, name: str, value: Held, order: Sequence[int]) -> str:
        """Return a tensor of the graph with these axes of ONNX, in this order; the other axes have size 1.

        Args:
            name: A name for what has to be computed for it.
            value: The tensor.
            order: The axes, as ONNX counts them.

        Raises:
            UnsupportedError: Another axis has more than one value.
        """
        wanted = [value.axes[axis] for axis in order]
        if wanted == list(range(len(self.shapes[value.name]))):
            return value.name
        shape = self.onnx_shape(value)
        present = [axis for axis in wanted if axis is not None]
        rest = [axis for axis in range(len(self.shapes[value.name])) if axis not in present]
        if any(self.shapes[value.name][axis] != 1 for axis in rest):
            raise UnsupportedError(f"{name}: reads {shape} by its axes {tuple(order)} only")
        result, moved = value.name, [*present, *rest]
        if moved != sorted(moved):
            result = permuted(self, self.unique(f"{name}/moved"), result, moved)
        return self.formed(f"{name}/shape", result, tuple(shape[axis] for axis in order))

    def formed(self, name: str, tensor: str, shape: Shape) -> str:
        """Return a tensor in another shape; the average of a photo is computed without its axes at once."""
        if self.shapes[tensor] == shape:
            return tensor
        node = next((one for one in reversed(self.nodes) if one.name == tensor), None)
        if isinstance(node, Mean) and node.keepdims and len(shape) == 1:
            return self.add(Mean(name=self.unique(name), inputs=node.inputs))
        return into(self, self.unique(name), tensor, shape)

    def photo(self, name: str, value: Value, rank: int = 4) -> str:
        """Return a tensor as (height, width, channels), of which ONNX has the channels first.

        Raises:
            UnsupportedError: It is none.
        """
        if not isinstance(value, Held) or len(value.axes) != rank:
            raise UnsupportedError(f"{name}: works on something else than photos")
        return self.whole(self.arranged(name, value, [2, 3, 1]))

    def axis(self, value: Held, given: Any) -> int:
        """Return an axis as ONNX counts it, from the first one."""
        return int(given) % len(value.axes)


Reading = Callable[[NetworkBuilder, Operator, list[Any]], "Value | list[Value]"]
READERS: dict[str, Reading] = {}
# What may read a part of an operation that exporters write as several.
OF_PARTS = ("Add", "Sub", "Mul", "Div", "Identity", "Cast")


def reads(*kinds: str) -> Callable[[Reading], Reading]:
    """Register the decorated function as what reads operators of these kinds."""

    def register(reading: Reading) -> Reading:
        READERS.update(dict.fromkeys(kinds, reading))
        return reading

    return register
