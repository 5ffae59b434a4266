"""Restore the float model of an ONNX file that is quantized already, as far as the file still holds it.

Weights are the real values of their integers, so that their rounding stays. Activations are no longer rounded. Where a
tensor's integers begin at zero, quantization was the ReLU too, for quantizers leave the operator out then: there a ReLU
is put back, and a ReLU6 where the integers end at six.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from xedge.errors import UnsuitableModelError, brief
from xedge.types import FloatArray

# The end of a tensor's integers that is taken for six: half a percent of it.
SIX, NEAR = 6.0, 0.03
PAIRS = {"QLinearMatMul": "MatMul", "QLinearAdd": "Add", "QLinearMul": "Mul"}
SINGLE = {
    "QLinearGlobalAveragePool": "GlobalAveragePool",
    "QLinearAveragePool": "AveragePool",
    "QLinearSigmoid": "Sigmoid",
    "QLinearLeakyRelu": "LeakyRelu",
}
# Their ranges are those of each photo.
FOR_EACH_PHOTO = ("DynamicQuantizeLinear", "ConvInteger", "MatMulInteger")
# Integers of which several are in a byte, by the number of their bits.
SMALL = {4: (TensorProto.INT4, TensorProto.UINT4)}
Array = Callable[[Any], FloatArray]


@dataclass(kw_only=True, eq=False)
class _Restoring:
    """A graph in the making.

    Args:
        path: The file, for messages.
        array: A function that returns the values of a tensor of the file.
        constants: The file's constants by name.
        photo: The name of the input.
        nodes: The operators so far.
        made: The new constants.
        names: What stands for a tensor that is no longer computed.
        real: The tensors that were integers and hold real values now.
        ranges: The range (low, high) that the integers of a tensor span, by its name.
        kernels: The number of values in kernels, by the number of bits of their integers.
    """

    path: Path
    array: Array
    constants: dict[str, Any]
    photo: str
    nodes: list[Any] = field(default_factory=list)
    made: list[Any] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)
    real: set[str] = field(default_factory=set)
    ranges: dict[str, tuple[float, float]] = field(default_factory=dict)
    kernels: Counter[int] = field(default_factory=Counter)

    def refused(self, node: Any, why: str) -> UnsuitableModelError:
        """Return the error that names an operator."""
        return UnsuitableModelError(
            f"{self.path} is quantized, and its float model cannot be restored: {node.op_type} at "
            f"{node.name or node.output[0]} {why}; give the model in float"
        )

    def constant(self, name: str, node: Any) -> Any:
        """Return the values of a constant."""
        if name not in self.constants:
            raise self.refused(node, f"has a scale or a zero point, {name}, that is not constant")
        return self.array(self.constants[name])

    def values(self, node: Any, names: list[str], axis: int) -> FloatArray:
        """Return the real values of a quantized constant.

        Args:
            node: The operator, for messages.
            names: The names of the integers, the scale and the zero point, which may be empty.
            axis: The axis along which a scale of several values runs.
        """
        integers, scale = (np.asarray(self.constant(one, node)) for one in names[:2])
        zero = np.asarray(self.constant(names[2], node)) if names[2] else np.zeros((), np.int32)
        if scale.ndim > 1:
            raise self.refused(node, "has scales for blocks")
        shape = [1] * integers.ndim
        if scale.size > 1:
            shape[axis] = scale.size
        scale, zero = (
            one.astype(np.float64).reshape(shape if one.size > 1 else (1,) * integers.ndim) for one in (scale, zero)
        )
        if integers.ndim > 1:
            self.kernels[_bits(self.constants[names[0]])] += integers.size
        real: FloatArray = ((integers.astype(np.float64) - zero) * scale).astype(np.float32)
        return real

    def operand(self, node: Any, names: list[str], axis: int) -> str:
        """Return the name of an operand in float: a constant's real values, or a tensor that was integers."""
        if names[0] in self.constants:
            return self.new(f"{names[0]}#real", self.values(node, names, axis))
        name = self.names.get(names[0], names[0])
        if name not in self.real:
            raise self.refused(node, f"reads integers, {names[0]}, that were not made of real values")
        return name

    def new(self, name: str, values: FloatArray) -> str:
        """Add a constant and return its name."""
        if all(one.name != name for one in self.made):
            self.made.append(numpy_helper.from_array(values, name))
        return name

    def put(self, kind: str, inputs: list[str], output: str, attributes: list[Any]) -> None:
        """Add an operator."""
        node = helper.make_node(kind, inputs, [output], name=output)
        node.attribute.extend(attributes)
        self.nodes.append(node)

    def limited(self, node: Any, source: str, scale: str, zero: str, output: str) -> None:
        """Make a tensor real that is quantized, with the ReLU that its integers may be."""
        steps = np.asarray(self.constant(scale, node)).astype(np.float64)
        kind = next((one.i for one in node.attribute if one.name == "output_dtype" and one.i), TensorProto.UINT8)
        points = self.constant(zero, node) if zero else np.zeros((), helper.tensor_dtype_to_np_dtype(kind))
        if points.dtype.kind not in "iu":
            raise self.refused(node, f"has values of {points.dtype}")
        self.real.add(output)
        if source not in self.constants:
            ends = [float(((end(points.dtype) - points.astype(np.float64)) * steps).flat[0]) for end in (_least, _most)]
            self.ranges[source.removesuffix("#unlimited")] = (ends[0], ends[1])
        if source in self.constants or (points != _least(points.dtype)).any():
            self.names[output] = source
            self.real.add(source)
            return
        most = float(np.max((_most(points.dtype) - points.astype(np.float64)) * steps))
        if abs(most - SIX) <= NEAR:
            limits = [self.new(f"#{end:g}", np.float32(end)) for end in (0.0, SIX)]
            self.put("Clip", [source, *limits], output, [])
        else:
            self.put("Relu", [source], output, [])

    @property
    def held(self) -> str:
        """What the file held, in words: how many weights in integers, and the ranges of how many tensors."""
        weights = " and ".join(f"{count:,} weights of {bits} bits" for bits, count in sorted(self.kernels.items()))
        found = sorted(self.ranges.items(), key=lambda one: one[1][1] - one[1][0])
        if not found:
            return weights or "no integers"
        named = [f"{low:.3g} to {high:.3g} ({name})" for name, (low, high) in (found[0], found[-1])]
        ranges = (
            f"1 range, {named[0]}" if len(found) == 1 else f"{len(found)} ranges, from {named[0]}, up to {named[1]}"
        )
        return f"{weights or 'weights in float'}, and {ranges}"


def _bits(tensor: Any) -> int:
    """Return the number of bits of a constant's integers."""
    return next((bits for bits, kinds in SMALL.items() if tensor.data_type in kinds), 0) or (
        8 * helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    )


def _least(dtype: np.dtype[Any]) -> int:
    return int(np.iinfo(dtype).min)


def _most(dtype: np.dtype[Any]) -> int:
    return int(np.iinfo(dtype).max)


def restored(path: Path, model: Any, array: Array) -> tuple[Any, str]:
    """Return the float model of a quantized one, and what the file held, in words.

    Args:
        path: The file, for messages.
        model: The model, with its functions put in place of their calls.
        array: A function that returns the values of a tensor of the file.

    Raises:
        UnsuitableModelError: An operator has no float form here; the message names it.
    """
    graph = model.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        tensors = [one.t for one in node.attribute if one.name == "value"]
        constants.update({node.output[0]: tensors[0]} if node.op_type == "Constant" and tensors else {})
    photo = next((one.name for one in graph.input if one.name not in constants), "")
    made = _Restoring(path=path, array=array, constants=constants, photo=photo)
    for node in graph.node:
        try:
            _restore(made, node)
        except (ArithmeticError, AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            raise made.refused(node, f"does not fit together ({brief(error)})") from error
    (end,) = graph.output if len(graph.output) == 1 else (None,)
    if end is not None and (end.name in made.names or end.name in made.real):
        if end.name in made.names:
            made.put("Identity", [made.names[end.name]], end.name, [])
        end.type.tensor_type.elem_type = TensorProto.FLOAT
    read = {name for node in made.nodes for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in read]
    for part, content in ((graph.node, made.nodes), (graph.initializer, [*kept, *made.made]), (graph.value_info, [])):
        del part[:]
        part.extend(content)
    return model, made.held


def _restore(made: _Restoring, node: Any) -> None:
    kind, given = node.op_type, [*node.input, *[""] * 9]
    if kind == "QuantizeLinear":
        made.limited(node, made.names.get(given[0], given[0]), given[1], given[2], node.output[0])
    elif kind == "DequantizeLinear":
        _dequantize(made, node, given)
    elif kind in PAIRS:
        operands = [made.operand(node, given[at : at + 3], -1) for at in (0, 3)]
        _limited_by(made, node, PAIRS[kind], operands, given[6:8])
    elif kind in SINGLE:
        if any(one.name == "channels_last" and one.i for one in node.attribute):
            raise made.refused(node, "has its channels last")
        _limited_by(made, node, SINGLE[kind], [made.operand(node, given[:3], -1)], given[3:5])
    elif kind == "QLinearConcat":
        count = (len(node.input) - 2) // 3
        operands = [made.operand(node, given[2 + 3 * at : 5 + 3 * at], -1) for at in range(count)]
        _limited_by(made, node, "Concat", operands, given[:2])
    elif kind in ("QLinearConv", "QGemm"):
        _weighted(made, node, given)
    elif kind.startswith(("QLinear", "QAttention")) or kind in FOR_EACH_PHOTO:
        raise made.refused(node, "has no float form that xedge knows")
    else:
        copy = helper.make_node(kind, [], list(node.output))
        copy.CopyFrom(node)
        copy.input[:] = [made.names.get(one, one) for one in node.input]
        if any(one in made.real for one in copy.input):
            made.real.update(node.output)
        made.nodes.append(copy)


def _limited_by(made: _Restoring, node: Any, kind: str, operands: list[str], ends: list[str]) -> None:
    """Add an operator in float, and the limits of its quantized result."""
    output = node.output[0]
    attributes = [one for one in node.attribute if one.name != "channels_last"]
    made.put(kind, operands, f"{output}#unlimited", attributes)
    made.limited(node, f"{output}#unlimited", ends[0], ends[1], output)


def _weighted(made: _Restoring, node: Any, given: list[str]) -> None:
    """Add a convolution or a dense layer, whose bias has the scale of its products."""
    convolution = node.op_type == "QLinearConv"
    axis = 0 if convolution or any(one.name == "transB" and one.i for one in node.attribute) else -1
    operands = [made.operand(node, given[:3], -1), made.operand(node, given[3:6], axis)]
    bias, ends = (given[8], given[6:8]) if convolution else (given[6], given[7:9])
    if bias:
        scale = np.asarray(made.constant(given[1], node), np.float64) * made.constant(given[4], node)
        values = np.asarray(made.constant(bias, node)) * scale
        operands.append(made.new(f"{bias}#real", np.asarray(values, np.float32)))
    if ends[0]:
        _limited_by(made, node, "Conv" if convolution else "Gemm", operands, ends)
    else:
        made.put("Gemm", operands, node.output[0], list(node.attribute))


def _dequantize(made: _Restoring, node: Any, given: list[str]) -> None:
    axis = next((one.i for one in node.attribute if one.name == "axis"), 1)
    source, output = made.names.get(given[0], given[0]), node.output[0]
    if source in made.real:
        made.names[output] = source
    elif source in made.constants:
        whole = np.asarray(made.array(made.constants[source]))
        if whole.dtype.kind == "f":  # the weights of a training with simulated quantization are in float still
            made.names[output] = source
        else:
            made.new(output, made.values(node, given[:3], axis))
    elif source == made.photo:
        scale = np.asarray(made.constant(given[1], node), np.float32)
        zero = np.asarray(made.constant(given[2], node) if given[2] else 0, np.float32)
        cast = helper.make_attribute("to", TensorProto.FLOAT)
        made.put("Cast", [source], f"{output}#real", [cast])
        made.put("Sub", [f"{output}#real", made.new(f"{output}#zero", zero)], f"{output}#moved", [])
        made.put("Mul", [f"{output}#moved", made.new(f"{output}#scale", scale)], output, [])
    else:
        raise made.refused(node, f"reads integers, {given[0]}, that were not made of real values")
