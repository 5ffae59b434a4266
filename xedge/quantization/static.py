"""Static int8 quantization: per-channel weights, and per-tensor activations with fixed ranges from calibration."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from xedge.graph.fold import is_last_softmax
from xedge.graph.ir import (
    NO_PADDING,
    Activation,
    Add,
    Concat,
    Conv,
    Dense,
    Depthwise,
    Graph,
    Mean,
    Node,
    Pad,
    Pool,
    Reshape,
    Weighted,
)
from xedge.quantization import adaptive_rounding, depthwise_rounding, pairs
from xedge.quantization.affine import HIGHEST, LOWEST, Affine, QuantizedKernel, quantize_kernel
from xedge.quantization.bias_correction import corrected_bias
from xedge.quantization.concatenations import concatenated_streams
from xedge.quantization.front import front
from xedge.quantization.plan import Change, Plan
from xedge.quantization.ranges import least_squares_range, symmetric_least_squares_range
from xedge.quantization.rules import Rules
from xedge.quantization.statistics import Statistics, TensorStatistics
from xedge.quantization.weight_clipping import clipped_scales
from xedge.types import FloatArray

RangeRule = Callable[[TensorStatistics], tuple[float, float]]
# How far integers reach. With "products", the front, the sums of residual streams, concatenated streams, the averages
# before these and the tail (last average, dense layer, softmax) stay in float, where they keep their resolution. With
# "sums", only the tail does.
# With "everything", nothing is left in float that can compute in int8.
Reach = Literal["products", "sums", "everything"]
# Less than this share of a pixel is a rounding error of float32.
NO_STEP = 1e-3


def static_int8(
    graph: Graph,
    statistics: Statistics,
    *,
    rules: Rules | None = None,
    pixel: tuple[float, float] | None = None,
    range_rule: RangeRule = least_squares_range,
    reach: Reach = "products",
    in_float: Collection[str] = (),
    branches: Collection[str] = (),
    adapt_rounding: bool = True,
    correct_bias: bool = True,
    clip_weights: bool = False,
) -> Plan:
    """Return the int8 plan of a graph.

    Args:
        graph: The graph.
        statistics: The statistics that ``calibrate`` collected.
        rules: The rules of the target; None has no special rules.
        pixel: The scale and the offset with photo = pixel * scale + offset; None if they are not the same for all
            channels. With these, every pixel value is represented exactly if the first convolution allows it.
        range_rule: A function that returns the range of a tensor from its statistics.
        reach: How far integers reach.
        in_float: The names of more nodes that are left in float.
        branches: The names of the nodes in branches between float nodes. The convolutions among them have integer
            kernels and take their ranges from each photo.
        adapt_rounding: Whether weights compensate each other's rounding errors.
        correct_bias: Whether the mean error of rounded weights is subtracted from the biases.
        clip_weights: Whether the bound of a filter may be below its largest weight.
    """
    rules = rules or Rules()
    float_nodes = float_by_default(graph, reach) | frozenset(in_float) | frozenset(branches)
    float_nodes = _with_maxima(graph, float_nodes)
    if reach != "everything":
        averages = _averages(graph) if rules.float_averages else frozenset[str]()
        float_nodes = _with_movers(graph, float_nodes | averages)
    dynamic = {name for name in branches if isinstance(graph[name], Conv)} - set(in_float)
    activations = ranges_of(graph, statistics, rules, range_rule)
    shift = _take_exact_pixels(graph, activations, float_nodes, pixel, rules)
    rounding = _Rounding(adapt=adapt_rounding, correct=correct_bias, clip=clip_weights, fit_pairs=rules.pairs)
    kernels = {
        node.name: _kernel(graph, node, statistics, activations, shift, rounding)
        for node in graph
        if isinstance(node, Weighted) and (node.name not in float_nodes or node.name in dynamic)
    }
    return Plan(
        activations=activations,
        kernels=kernels,
        float_nodes=float_nodes,
        input_shift=shift,
        changes={
            name: Change(scale=seen.scale.astype(np.float32), shift=seen.shift.astype(np.float32))
            for name, seen in statistics.items()
            if seen.scale is not None and seen.shift is not None
        },
    )


def float_by_default(graph: Graph, reach: Reach = "products") -> frozenset[str]:
    """Return the names of the nodes that compute in float by default.

    Args:
        graph: The graph.
        reach: How far integers reach.
    """
    names = {node.name for node in graph if not node.has_integer_form}
    if reach != "everything":
        names |= _tail(graph)
    if reach == "products":
        sums = {node.name for node in graph if isinstance(node, Add)}
        names |= front(graph) | sums | concatenated_streams(graph)
        names |= _averages_before(graph, names)
    return frozenset(names)


def _averages(graph: Graph) -> frozenset[str]:
    """Return the names of the averages over windows."""
    return frozenset(node.name for node in graph if isinstance(node, Pool) and node.kind == "average")


def _averages_before(graph: Graph, names: Collection[str]) -> set[str]:
    """Return the names of the averages over windows that float nodes alone read, so that no average is rounded."""
    readers = {name: graph.consumers(name) for name in _averages(graph)}
    return {name for name in readers if readers[name] and all(reader.name in names for reader in readers[name])}


def _with_maxima(graph: Graph, names: frozenset[str]) -> frozenset[str]:
    """Add the maximum pools that lie between float nodes, because rounding for them alone would gain nothing."""
    between = {
        node.name
        for node in graph
        if isinstance(node, Pool)
        and node.kind == "max"
        and node.inputs[0] in names
        and graph.consumers(node.name)
        and all(reader.name in names for reader in graph.consumers(node.name))
    }
    return names | between


def _with_movers(graph: Graph, names: frozenset[str]) -> frozenset[str]:
    """Add what only moves values from a convolution to float nodes, because the convolution can give them as float."""
    found = set(names)
    for node in reversed(graph.nodes):
        readers = graph.consumers(node.name)
        if isinstance(node, Reshape | Pad) and readers and all(reader.name in found for reader in readers):
            found.add(node.name)
    return frozenset(found)


def _tail(graph: Graph) -> set[str]:
    """Return the names of the output node and of the nodes before it, back to the global average.

    A convolution in place of a dense layer is not among them: it has integer products, between float nodes.
    """
    names: set[str] = set()
    node = graph[graph.output]
    while node.ends_a_classifier or (isinstance(node, Activation) and not names) or _is_dense(graph, node):
        if _is_dense(graph, node):
            node = graph[node.inputs[0]]
            continue
        names.add(node.name)
        if isinstance(node, Mean) or (isinstance(node, Dense) and not isinstance(graph[node.inputs[0]], Mean)):
            break
        node = graph[node.inputs[0]]
    return names


def _is_dense(graph: Graph, node: Node) -> bool:
    """Return whether a node is a convolution of a single pixel, which is a dense layer."""
    return isinstance(node, Conv) and node.kernel.shape[:2] == (1, 1) and graph.shape(node.inputs[0])[:2] == (1, 1)


def ranges_of(
    graph: Graph, statistics: Statistics, rules: Rules, range_rule: RangeRule = least_squares_range
) -> dict[str, Affine]:
    """Return the parameters of every tensor by its name.

    Args:
        graph: The graph.
        statistics: The statistics of its tensors.
        rules: The rules of the target.
        range_rule: A function that returns the range of a tensor from its statistics, for targets with zero points.
    """
    return _symmetric(graph, statistics) if rules.symmetric else _activations(graph, statistics, range_rule)


def _activations(graph: Graph, statistics: Statistics, range_rule: RangeRule) -> dict[str, Affine]:
    activations: dict[str, Affine] = {}
    for node in graph:
        if is_last_softmax(graph, node):
            continue
        if node.moves_values:
            # The kernels move integers without rescaling them, so input and output have the same parameters.
            activations[node.name] = activations[node.inputs[0]]
        elif node.fixed_parameters is not None:
            scale, zero_point = node.fixed_parameters
            activations[node.name] = Affine(scale=scale, zero_point=zero_point)
        else:
            seen = statistics[node.name]
            activations[node.name] = Affine.of_range(*(seen.fixed or range_rule(seen)))
    return _tied_to_concatenations(graph, activations)


def _symmetric(graph: Graph, statistics: Statistics) -> dict[str, Affine]:
    """Return parameters without zero points; a node that only moves values keeps the parameters of its input."""
    activations: dict[str, Affine] = {}
    for node in graph:
        if node.moves_values:
            activations[node.name] = activations[node.inputs[0]]
        elif not is_last_softmax(graph, node):
            seen = statistics[node.name]
            low, high = seen.fixed or symmetric_least_squares_range(seen)
            activations[node.name] = Affine.symmetric(max(-low, high))
    return activations


def _tied_to_concatenations(graph: Graph, activations: dict[str, Affine]) -> dict[str, Affine]:
    """Give a tensor that only a concatenation reads the parameters of its result, which saves a requantization."""
    for node in graph:
        if not isinstance(node, Concat):
            continue
        for name in node.inputs:
            movable = not graph[name].moves_values and not isinstance(graph[name], Concat | Activation)
            if movable and graph.sole_consumer(name) is node:
                activations[name] = activations[node.name]
    return activations


def _take_exact_pixels(
    graph: Graph,
    activations: dict[str, Affine],
    float_nodes: Collection[str],
    pixel: tuple[float, float] | None,
    rules: Rules,
) -> float:
    """Give the input the parameters with which it holds pixels exactly, if that can be; return the shift for it."""
    in_float = any(reader.name in float_nodes for reader in graph.consumers(graph.input.name))
    exact = exact_pixels(graph, pixel, symmetric=rules.symmetric) if pixel is not None and not in_float else None
    if exact is None:
        return 0.0
    activations[graph.input.name], shift = exact
    return shift


def exact_pixels(graph: Graph, pixel: tuple[float, float], *, symmetric: bool = False) -> tuple[Affine, float] | None:
    """Return the parameters of an input whose integer is pixel - 128, and the shift that it needs for that.

    The integers hold photo + shift = (pixel - zero) * scale, where ``zero`` is the pixel that the zero point stands
    for. The biases of the first convolutions take the shift back. Padding is zero in the shifted photo as well, and the
    biases are wrong by what the shift makes of it. Therefore ``zero`` is the pixel that is nearest to zero if there is
    padding, so that the shift is at most half a step: this touches the border alone, where the rounding of every pixel
    would cost up to as much everywhere.

    Args:
        graph: The graph.
        pixel: The scale and the offset with photo = pixel * scale + offset.
        symmetric: Whether the integer 0 stands for zero.

    Returns:
        The parameters and the shift; None if the first nodes cannot take the shift back.
    """
    readers = graph.consumers(graph.input.name)
    if not all(isinstance(node, Conv) and node.groups == 1 for node in readers):
        return None
    scale, offset = float(np.float32(pixel[0])), pixel[1]
    padded = any(isinstance(node, Conv) and node.padding != NO_PADDING for node in readers)
    # If two pixels are equally near, this is the higher one, so that the integer 0 stands for it.
    zero = -LOWEST if symmetric else round(-offset / scale + NO_STEP) if padded else 0
    shift = -offset - zero * scale
    if padded and not (LOWEST <= zero + LOWEST <= HIGHEST and abs(shift) <= (0.5 + NO_STEP) * scale):
        return None
    return Affine(scale=scale, zero_point=zero + LOWEST), shift


@dataclass(frozen=True, kw_only=True)
class _Rounding:
    """How kernels are rounded, as described in ``static_int8``."""

    adapt: bool
    correct: bool
    clip: bool
    fit_pairs: bool


def _kernel(
    graph: Graph,
    node: Weighted,
    statistics: Statistics,
    activations: Mapping[str, Affine],
    shift: float,
    rounding: _Rounding,
) -> QuantizedKernel:
    source = node.inputs[0]
    # Depthwise convolutions have only one weight for each input and position, and their kernels add in 32 bits.
    fit_pairs = rounding.fit_pairs and not isinstance(node, Depthwise)
    fitting = pairs.fitting_scales(node.kernel) if fit_pairs else None
    quantized = quantize_kernel(node.kernel, node.bias, fitting)
    seen = node.name in statistics[source].covariances
    covariance = _covariance(node, statistics[source]) if seen else None
    exact = source == graph.input.name and shift
    noise = 0.0 if exact else activations[source].scale ** 2 / 12
    if covariance is not None and isinstance(node, Depthwise):
        if rounding.adapt:
            quantized = depthwise_rounding.rounded(node.kernel, node.bias, quantized.scales, covariance, noise)
    elif covariance is not None:
        if rounding.clip and not fit_pairs:
            scales = clipped_scales(node.kernel, quantized.scales, np.diag(covariance))
            quantized = quantize_kernel(node.kernel, node.bias, scales)
        if rounding.adapt:
            values = adaptive_rounding.rounded(node.kernel, quantized.scales, covariance, noise, fit_pairs=fit_pairs)
            quantized = replace(quantized, values=values)
    bias = node.bias
    if rounding.correct:
        bias = corrected_bias(node, quantized, statistics[source].mean)
    if source == graph.input.name and shift:
        bias = bias - _sum_over_inputs(node, quantized) * shift
    return replace(quantized, bias=bias.astype(np.float32))


def _covariance(node: Weighted, seen: TensorStatistics) -> npt.NDArray[np.float64]:
    """Return the covariance of the inputs from which one output is computed, after the change of their channels."""
    covariance = seen.covariances[node.name].astype(np.float64)
    if seen.scale is None:
        return covariance
    if isinstance(node, Depthwise):
        return np.asarray(covariance / (seen.scale**2)[:, None, None])
    scale = np.tile(seen.scale, len(covariance) // len(seen.scale))
    return np.asarray(covariance / np.outer(scale, scale))


def _sum_over_inputs(node: Node, quantized: QuantizedKernel) -> FloatArray:
    """Return what a constant 1 on every input adds to every output."""
    axes = tuple(range(quantized.values.ndim - 1))
    total: FloatArray = quantized.values.sum(axis=axes, dtype=np.int64).astype(np.float32) * quantized.scales
    return total
