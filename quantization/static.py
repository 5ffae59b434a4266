"""Static int8: per-channel weights, per-tensor activations with ranges fixed by calibration."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from xedge.graph.ir import (
    NO_PADDING,
    Activation,
    Add,
    Concat,
    Conv,
    Dense,
    Graph,
    Mean,
    Node,
    Pad,
    Pool,
    Reshape,
    Softmax,
    Weighted,
)
from xedge.quantization.affine import LOWEST, Affine, QuantizedKernel, quantize_kernel
from xedge.quantization.bias_correction import corrected_bias
from xedge.quantization.calibration import TensorStatistics
from xedge.quantization.plan import Plan
from xedge.quantization.ranges import least_squares_range
from xedge.types import FloatArray

# The integers of a tensor whose channels are scaled to [-1, 1] or [0, 1], and how little a channel's range counts for.
SIGNED_UNIT = Affine(scale=float(np.float32(1 / 127)), zero_point=0)
UNIT = Affine(scale=float(np.float32(1 / 255)), zero_point=LOWEST)
DEAD = 0.02
Statistics = Mapping[str, TensorStatistics]
RangeRule = Callable[[TensorStatistics], tuple[float, float]]
# These have no fast int8 kernel, or none that keeps resolution.
FLOAT_ACTIVATIONS = ("hard_sigmoid", "gelu", "elu")
# Their int8 kernels have parameters fixed by the format.
FIXED = {"sigmoid": Affine(scale=1 / 256, zero_point=-128), "tanh": Affine(scale=1 / 128, zero_point=0)}


def static_int8(
    graph: Graph,
    statistics: Statistics,
    *,
    pixel: tuple[float, float] | None = None,
    range_rule: RangeRule = least_squares_range,
    all_integer: bool = False,
    correct_bias: bool = True,
) -> Plan:
    """Return the int8 plan of a graph.

    Args:
        graph: the reference graph.
        statistics: what ``calibrate`` saw.
        pixel: (scale, offset) with photo = pixel * scale + offset, when the same hold for all channels; lets every
            pixel value be held exactly where the first convolution allows it.
        range_rule: how a tensor's range comes from its statistics.
        all_integer: leave nothing in float that int8 has a kernel for. Otherwise the sums of the residual stream and
            the tail (last average, dense layer, softmax) stay float: they cost next to nothing and keep resolution.
        correct_bias: take the mean error of rounded weights out of the biases.
    """
    float_nodes = _float_nodes(graph, all_integer)
    activations = _activations(graph, statistics, range_rule)
    shift = 0.0
    if pixel is not None and takes_exact_pixels(graph):
        activations[graph.input.name] = Affine(scale=float(np.float32(pixel[0])), zero_point=LOWEST)
        shift = -pixel[1]
    kernels = {
        node.name: _kernel(graph, node, statistics, shift, correct_bias)
        for node in graph
        if isinstance(node, Weighted) and node.name not in float_nodes
    }
    addends = _read_in_float(graph, float_nodes)
    for name in addends:
        activations[name] = SIGNED_UNIT if statistics[name].low < 0 else UNIT
    return Plan(
        activations=activations,
        kernels=kernels,
        float_nodes=float_nodes,
        result_scales={name: _channel_scales(statistics[source]) for name, source in addends.items()},
        input_shift=shift,
    )


def _read_in_float(graph: Graph, float_nodes: frozenset[str]) -> dict[str, str]:
    """Return the convolutions that sums and averages in float alone read, and maxima between, with the convolution.

    Each of their channels may have a range of its own: the reader multiplies, which is cheap beside what it reads.
    """
    found: dict[str, str] = {}
    for node in graph:
        readers = graph.consumers(node.name)
        if not isinstance(node, Conv) or node.name in float_nodes or node.name == graph.output:
            continue
        chain = [node.name]
        if len(readers) == 1 and isinstance(readers[0], Pool) and readers[0].kind == "max":
            chain.append(readers[0].name)
            readers = graph.consumers(chain[-1])
        if readers and chain[-1] != graph.output and all(_sums_in_float(r, float_nodes) for r in readers):
            found.update(dict.fromkeys(chain, node.name))
    return found


def _sums_in_float(node: Node, float_nodes: frozenset[str]) -> bool:
    return isinstance(node, Add | Mean) and node.name in float_nodes


def _channel_scales(seen: TensorStatistics) -> FloatArray:
    """Return how far each channel reaches; nearly dead ones count as a share of the typical one."""
    reach = seen.channel_reach
    return np.maximum(reach, max(float(np.median(reach)) * DEAD, 1e-9)).astype(np.float32)


def _float_nodes(graph: Graph, all_integer: bool) -> frozenset[str]:
    names = {n.name for n in graph if isinstance(n, Softmax)}
    names |= {n.name for n in graph if isinstance(n, Activation) and n.kind in FLOAT_ACTIVATIONS}
    if not all_integer:
        names |= _tail(graph) | {n.name for n in graph if isinstance(n, Add)}
    return frozenset(names)


def _tail(graph: Graph) -> set[str]:
    """The output's node and, going back, everything up to the global average."""
    names: set[str] = set()
    node = graph[graph.output]
    while isinstance(node, Softmax | Dense | Mean | Reshape) or (isinstance(node, Activation) and not names):
        names.add(node.name)
        if isinstance(node, Mean) or (isinstance(node, Dense) and not isinstance(graph[node.inputs[0]], Mean)):
            break
        node = graph[node.inputs[0]]
    return names


def _activations(graph: Graph, statistics: Statistics, range_rule: RangeRule) -> dict[str, Affine]:
    activations: dict[str, Affine] = {}
    for node in graph:
        if isinstance(node, Softmax):
            continue
        if isinstance(node, Pool | Pad | Reshape):
            # Kernels move integers without rescaling: one set of parameters on both sides.
            activations[node.name] = activations[node.inputs[0]]
        elif isinstance(node, Activation) and node.kind in FIXED:
            activations[node.name] = FIXED[node.kind]
        else:
            seen = statistics[node.name]
            activations[node.name] = Affine.of_range(*(seen.fixed or range_rule(seen)))
    return _tied_to_concatenations(graph, activations)


def _tied_to_concatenations(graph: Graph, activations: dict[str, Affine]) -> dict[str, Affine]:
    """What only a concatenation reads takes its parameters, which spares a requantization."""
    for node in graph:
        if not isinstance(node, Concat):
            continue
        for name in node.inputs:
            movable = not isinstance(graph[name], Pool | Pad | Reshape | Concat | Activation)
            if movable and graph.sole_consumer(name) is node:
                activations[name] = activations[node.name]
    return activations


def takes_exact_pixels(graph: Graph) -> bool:
    """Whether the input may hold photo + shift = pixel * scale, as the integer pixel - 128.

    The shift is taken back by the biases of the first convolutions, which is exact if they see no padding.
    """
    readers = graph.consumers(graph.input.name)
    return all(isinstance(n, Conv) and n.padding == NO_PADDING and n.groups == 1 for n in readers)


def _kernel(graph: Graph, node: Weighted, statistics: Statistics, shift: float, correct: bool) -> QuantizedKernel:
    quantized = quantize_kernel(node.kernel, node.bias)
    bias = node.bias
    if correct:
        bias = corrected_bias(node, quantized, statistics[node.inputs[0]].mean)
    if node.inputs[0] == graph.input.name and shift:
        bias = bias - _sum_over_inputs(node, quantized) * shift
    return QuantizedKernel(values=quantized.values, scales=quantized.scales, bias=bias.astype(np.float32))


def _sum_over_inputs(node: Node, quantized: QuantizedKernel) -> FloatArray:
    """What a constant 1 on every input adds to every output."""
    axes = tuple(range(quantized.values.ndim - 1))
    total: FloatArray = quantized.values.sum(axis=axes, dtype=np.int64).astype(np.float32) * quantized.scales
    return total
