"""Equalization of depthwise outputs: each channel gets its own scale and centre, exactly, at no cost at run time.

Between a depthwise and a pointwise convolution a channel a_c may be replaced by (a_c - m_c) / s_c when the depthwise
filter and bias are divided by s_c, its bias is lowered by m_c / s_c, the pointwise column is multiplied by s_c and
m_c times the column is added to its bias. The idea of scaling is that of Nagel et al., "Data-Free Quantization Through
Weight Equalization and Bias Correction", 2019, section 4.1; the shift is theirs of section 4.2 turned to use.

The shift is a whole number of the tensor's quantization steps, so that zero, which half of the inputs of a depthwise
convolution are, stays exact. Without that rounding the shift loses more than it gains.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from xedge.graph.ir import NO_PADDING, Conv, Depthwise, Graph, Node
from xedge.quantization.affine import Affine
from xedge.quantization.energy import consumer_energy
from xedge.quantization.scaling import even_scales
from xedge.quantization.statistics import Statistics, TensorStatistics

RangeRule = Callable[[TensorStatistics], tuple[float, float]]
# Between scaling nothing (0) and giving every channel the same range (1), which is hard on the pointwise weights.
STRENGTH = 0.5


def candidates(graph: Graph) -> dict[str, str]:
    """Return the depthwise convolutions that can be equalized, each with the convolution behind it."""
    found = {}
    for node in graph:
        if isinstance(node, Depthwise) and node.activation == "none":
            behind = graph.sole_consumer(node.name)
            if isinstance(behind, Conv) and behind.groups == 1 and behind.padding == NO_PADDING:
                found[node.name] = behind.name
    return found


def equalized(
    graph: Graph, statistics: Statistics, range_rule: RangeRule, kept: Collection[str] = ()
) -> tuple[Graph, Statistics]:
    """Return an equal graph with equalized depthwise outputs, and the statistics that it would have shown.

    Args:
        graph: the reference graph.
        statistics: its statistics.
        range_rule: how a tensor's range comes from its statistics.
        kept: depthwise convolutions to leave as they are.
    """
    changed: dict[str, Node] = {}
    seen = dict(statistics)
    for name, behind in candidates(graph).items():
        if name in kept:
            continue
        depthwise, pointwise = graph[name], graph[behind]
        assert isinstance(depthwise, Depthwise)
        assert isinstance(pointwise, Conv)
        scale, shift, seen[name] = _change(graph, name, pointwise, statistics[name], range_rule)
        changed[name] = replace(
            depthwise,
            kernel=(depthwise.kernel / scale).astype(np.float32),
            bias=((depthwise.bias - shift) / scale).astype(np.float32),
        )
        moved = np.einsum("hwio,i->o", pointwise.kernel.astype(np.float64), shift)
        changed[behind] = replace(
            pointwise,
            kernel=(pointwise.kernel * scale[:, None]).astype(np.float32),
            bias=(pointwise.bias + moved).astype(np.float32),
        )
    return graph.rewritten(changed), seen


def _change(
    graph: Graph, name: str, pointwise: Conv, seen: TensorStatistics, range_rule: RangeRule
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], TensorStatistics]:
    """Return the scale and the shift of a tensor's channels (channels,), and its statistics behind that."""
    low, high = np.minimum(seen.channel_low, 0), np.maximum(seen.channel_high, 0)
    scale = even_scales([(high - low) / 2], STRENGTH)
    centre = (low + high) / 2
    scaled_column = replace(pointwise, kernel=(pointwise.kernel * scale[:, None]).astype(np.float32))
    energy = consumer_energy(graph.rewritten({pointwise.name: scaled_column}), name)
    affine = Affine.of_range(*range_rule(seen.changed(scale, centre, energy)))
    steps = np.rint(centre / (scale * affine.scale))
    shift = steps * affine.scale * scale
    return scale, shift, replace(seen.changed(scale, shift, energy), fixed=(affine.low, affine.high))
