"""Equalization of depthwise outputs: each channel gets its own scale and centre, exactly and at no cost at run time.

Between a depthwise and a pointwise convolution, a channel a_c can be replaced by (a_c - m_c) / s_c: the depthwise
filter and bias are divided by s_c, the depthwise bias is then lowered by m_c / s_c, the pointwise column is multiplied
by s_c, and m_c times the original column is added to the pointwise bias. The scaling is that of Nagel et al.,
"Data-Free Quantization Through Weight Equalization and Bias Correction", 2019, section 4.1; the shift follows from the
bias absorption in their section 4.2.

The shift is a whole number of the tensor's quantization steps, so that zero stays exact; half of the inputs of a
depthwise convolution are zero. Without this rounding, the shift loses more than it gains.
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
# The strength lies between no scaling (0) and the same range for every channel (1), which makes the pointwise weights
# hard to quantize.
STRENGTH = 0.5


def candidates(graph: Graph) -> dict[str, str]:
    """Return the names of the depthwise convolutions that can be equalized, each with that of the next convolution."""
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
    """Return an equivalent graph with equalized depthwise outputs, and the statistics of its tensors.

    Args:
        graph: The reference graph.
        statistics: The statistics of the reference graph.
        range_rule: A function that returns the range of a tensor from its statistics.
        kept: The names of the depthwise convolutions that are left as they are.
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
    """Return the scale (channels,) and the shift (channels,) of a tensor, and its statistics after the change."""
    low, high = np.minimum(seen.channel_low, 0), np.maximum(seen.channel_high, 0)
    scale = even_scales([(high - low) / 2], STRENGTH)
    centre = (low + high) / 2
    scaled_column = replace(pointwise, kernel=(pointwise.kernel * scale[:, None]).astype(np.float32))
    energy = consumer_energy(graph.rewritten({pointwise.name: scaled_column}), name)
    affine = Affine.of_range(*range_rule(seen.changed(scale, centre, energy)))
    steps = np.rint(centre / (scale * affine.scale))
    shift = steps * affine.scale * scale
    return scale, shift, replace(seen.changed(scale, shift, energy), fixed=(affine.low, affine.high))
