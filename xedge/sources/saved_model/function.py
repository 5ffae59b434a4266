"""A graph in the making from the operations of a TensorFlow function, which ``operations`` reads one by one."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from xedge.errors import UnsuitableModelError, UnsupportedError
from xedge.graph.builder import Builder
from xedge.graph.ir import Graph, Input, Padding
from xedge.sources._freezing import CONSTANTS, OPERATIONS
from xedge.types import FloatArray, Shape

# A tensor by its name in the graph, a constant with its batch, or a part of an operation.
Value = Any
SAME = ("Identity", "IdentityN", "StopGradient", "PreventGradient", "CheckNumerics", "Snapshot", "EnsureShape")


@dataclass(frozen=True, eq=False)
class Normal:
    """A part of the GELU of x: erf(x / sqrt(2)), or a factor times one plus that.

    Args:
        source: The name of x.
        plus_one: Whether one was added.
        factor: The factor, of all channels or of each.
    """

    source: str
    plus_one: bool
    factor: FloatArray = field(default_factory=lambda: np.ones(1, np.float32))


@dataclass(frozen=True)
class Spread:
    """A tensor that was cut into several for a dilated convolution."""

    source: str
    block: tuple[int, int]
    padding: Padding


class FunctionBuilder(Builder):
    """A graph in the making from the operations of a TensorFlow function.

    Args:
        name: The name of the model.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name
        self._shape: Shape = ()
        # What each result is: the name of a tensor, or a constant with its batch.
        self.values: dict[str, Value] = {}
        # Tensors that have lost their batch of one, as a product over the last axis of several takes them.
        self.bare: set[str] = set()

    def read(self, folder: Path) -> Graph:
        """Return the graph of a frozen function, in which each scale is a node of its own.

        Raises:
            UnsupportedError: An operation is outside the reference graph's set; the message names it.
        """
        from xedge.sources.saved_model import operations  # noqa: F401, PLC0415 - they register themselves with this module

        function = json.loads((folder / OPERATIONS).read_text())
        self._shape = tuple(function["shape"])
        with np.load(folder / CONSTANTS) as constants:
            self.values = {f"{name}:0": constants[name] for name in constants.files}
        for operation in function["operations"]:
            self._operation(operation)
        output = self.values[_result(function["output"])]
        if not isinstance(output, str):
            raise UnsupportedError(f"{self._name}: the output does not depend on the photo")
        output = self.whole(output)
        return Graph(name=self._name, nodes=tuple(self.nodes), output=output, output_name=output)

    def _operation(self, operation: dict[str, Any]) -> None:
        kind, name = operation["op"], operation["name"]
        short = self.unique(_short(name))
        missing = next((one for one in operation["inputs"] if _result(one) not in self.values), None)
        if missing is not None:  # Constants that are no numbers are not kept.
            raise UnsupportedError(f"{short}: {kind} of {missing}, which is no number")
        inputs = [self.values[_result(one)] for one in operation["inputs"]]
        if kind == "Placeholder":
            self.values[f"{name}:0"] = self.add(Input(name=short, shape=self._shape))
            return
        if kind == "NoOp":
            return
        if kind not in OF_VIEWS:
            inputs = [self.whole(one) if isinstance(one, str) else one for one in inputs]
        if kind == "Shape" and isinstance(inputs[0], str):
            bare, shape = inputs[0] in self.bare, self.shapes[inputs[0]]
            self.values[f"{name}:0"] = np.array(shape if bare else (1, *shape))
            return
        if kind.startswith(("Random", "StatelessRandom")):
            raise UnsuitableModelError(
                f"{self._name} acts at random ({kind}), which no artifact should; export "
                "keras.Model(inputs, model(inputs, training=False)) instead, or give the .keras file"
            )
        if all(isinstance(one, np.ndarray) for one in inputs) and kind not in SAME:
            if kind not in OF_CONSTANTS:
                raise UnsupportedError(f"{short}: {kind} of constants alone")
            self.values[f"{name}:0"] = np.asarray(OF_CONSTANTS[kind](inputs, operation["attributes"]))
            return
        reader = READERS.get(kind)
        if reader is None:
            raise UnsupportedError(f"{short}: {kind} is not in the reference graph's set")
        if any(isinstance(one, Normal | Spread) for one in inputs) and kind not in OF_PARTS:
            raise UnsupportedError(f"{short}: {kind} of a part of another operation")
        if operation["attributes"].get("data_format", "NHWC") not in ("NHWC", ""):
            raise UnsupportedError(f"{short}: {kind} is channels_first; save the model with channels_last")
        try:
            result = reader(self, short, inputs, operation["attributes"], kind)
        except (ArithmeticError, AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            # A use of the operation that its reader does not know; the libraries may take it.
            raise UnsupportedError(
                f"{short}: this use of {kind} is not in the reference graph's set ({error})"
            ) from error
        results = result if isinstance(result, list) else [result]
        for index, one in enumerate(results):
            self.values[f"{name}:{index}"] = one
            if isinstance(one, str) and kind not in ("Reshape",) and any(self._is_bare(given) for given in inputs):
                self.bare.add(one)

    def _is_bare(self, value: Value) -> bool:
        return isinstance(value, str) and value in self.bare

    def rank(self, tensor: str) -> int:
        """Return how many axes TensorFlow counts of a tensor, with the batch if it has one."""
        return len(self.shapes[tensor]) + (tensor not in self.bare)

    def axes(self, name: str, tensor: str, given: Any) -> tuple[int, ...]:
        """Return axes without the batch of those that TensorFlow counts.

        Raises:
            UnsupportedError: The batch is among them.
        """
        rank = self.rank(tensor)
        shift = 0 if tensor in self.bare else 1
        axes = sorted(int(one) % rank - shift for one in np.atleast_1d(given))
        if axes and axes[0] < 0:
            raise UnsupportedError(f"{name}: works along the batch")
        return tuple(axes)


def _slice_of_constant(inputs: list[FloatArray], attributes: dict[str, Any]) -> FloatArray:
    value, begin, end, step = (np.atleast_1d(one) for one in inputs)
    begins, ends, shrinks = (attributes.get(f"{key}_mask") or 0 for key in ("begin", "end", "shrink_axis"))
    first, last = None if begins & 1 else int(begin[0]), None if ends & 1 else int(end[0])
    part: FloatArray = value[int(begin[0])] if shrinks & 1 else value[first : last : int(step[0])]
    return part


# The arithmetic of shapes, which TensorFlow leaves where it does not know the batch.
OF_CONSTANTS: dict[str, Callable[[list[FloatArray], dict[str, Any]], Any]] = {
    "GatherV2": lambda inputs, given: np.take(inputs[0], inputs[1].astype(int), axis=int(inputs[2])),
    "Prod": lambda inputs, given: np.prod(inputs[0], axis=tuple(np.atleast_1d(inputs[1]).tolist())),
    "Pack": lambda inputs, given: np.stack(inputs, axis=given.get("axis") or 0),
    "ConcatV2": lambda inputs, given: np.concatenate(inputs[:-1], axis=int(inputs[-1])),
    "StridedSlice": _slice_of_constant,
    "ExpandDims": lambda inputs, given: np.expand_dims(inputs[0], int(inputs[1])),
    "Squeeze": lambda inputs, given: np.squeeze(inputs[0]),
    "Reshape": lambda inputs, given: np.reshape(inputs[0], inputs[1]),
    "Fill": lambda inputs, given: np.full(inputs[0], inputs[1]),
    "Mul": lambda inputs, given: inputs[0] * inputs[1],
    "AddV2": lambda inputs, given: inputs[0] + inputs[1],
    "Sub": lambda inputs, given: inputs[0] - inputs[1],
    "Cast": lambda inputs, given: inputs[0].astype(given["DstT"]),
}
Reading = Callable[[FunctionBuilder, str, list[Value], dict[str, Any], str], "Value | list[Value]"]
READERS: dict[str, Reading] = {}
OF_VIEWS: set[str] = set()
# What may read a part of an operation that TensorFlow writes as several.
OF_PARTS = ("Add", "AddV2", "Mul", "Conv2D", "DepthwiseConv2dNative")


def reads(*kinds: str, views: bool = False) -> Callable[[Reading], Reading]:
    """Register the decorated function as what reads operations of these kinds, and whether it takes views."""

    def register(reading: Reading) -> Reading:
        READERS.update(dict.fromkeys(kinds, reading))
        OF_VIEWS.update(kinds if views else ())
        return reading

    return register


def _result(name: str) -> str:
    return name if ":" in name else f"{name}:0"


def _short(name: str) -> str:
    """Return a name without the calls in which it stands."""
    parts = [one for one in name.split("/") if not one.startswith(("StatefulPartitionedCall", "PartitionedCall"))]
    return "/".join(parts) or name
