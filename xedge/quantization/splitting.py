"""Outlier channel splitting: each of the widest channels of depthwise outputs becomes two with half the range, exactly.

Zhao et al., "Improving Neural Network Quantization without Retraining using Outlier Channel Splitting", 2019,
section 3. The channel is duplicated in the convolution that computes it, in its depthwise filter, whose two copies are
halved, and in the pointwise convolution, whose column is duplicated. The recipe does not use this: after equalization
there is nothing left to split, and additional channels cost time (docs/ablation.md).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from xedge.graph.ir import Conv, Depthwise, Graph, Node
from xedge.quantization.equalization import candidates
from xedge.quantization.statistics import Statistics

# The share of the channels of a tensor that are split.
SHARE = 0.02


def split_outliers(graph: Graph, statistics: Statistics, share: float = SHARE) -> Graph:
    """Return an equivalent graph with the widest channels split; its statistics have to be collected again.

    Args:
        graph: The reference graph.
        statistics: The statistics of the reference graph.
        share: The share of the channels of each tensor that are split, 0 to 1; at least one channel is.
    """
    changed: dict[str, Node] = {}
    for name, behind in candidates(graph).items():
        depthwise, before = graph[name], graph[graph[name].inputs[0]]
        pointwise = changed.get(behind, graph[behind])
        assert isinstance(depthwise, Depthwise)
        assert isinstance(pointwise, Conv)
        single = depthwise.channels == graph.shape(before.name)[-1]
        if not (isinstance(before, Conv) and before.groups == 1 and graph.sole_consumer(before.name) and single):
            continue
        before = changed.get(before.name, before)
        assert isinstance(before, Conv)
        width = statistics[name].channel_high - statistics[name].channel_low
        widest = np.sort(np.argsort(width)[-max(1, round(share * len(width))) :])
        changed[before.name] = replace(
            before,
            kernel=np.concatenate([before.kernel, before.kernel[..., widest]], -1),
            bias=np.concatenate([before.bias, before.bias[widest]]),
        )
        halves = np.ones(depthwise.channels, np.float32)
        halves[widest] = 0.5
        kernel, bias = depthwise.kernel * halves, depthwise.bias * halves
        changed[name] = replace(
            depthwise,
            kernel=np.concatenate([kernel, kernel[..., widest]], -1),
            bias=np.concatenate([bias, bias[widest]]),
        )
        doubled = np.concatenate([pointwise.kernel, pointwise.kernel[:, :, widest]], 2)
        changed[behind] = replace(pointwise, kernel=doubled)
    return graph.rewritten(changed)
