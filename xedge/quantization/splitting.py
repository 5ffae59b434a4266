"""Outlier channel splitting: the widest channels of depthwise outputs become two of half the range each, exactly.

Zhao et al., "Improving Neural Network Quantization without Retraining using Outlier Channel Splitting", 2019,
section 3. A channel is doubled from the convolution that makes it through its depthwise filter, whose two copies are
halved, to the pointwise convolution, whose column is doubled. The recipe does without: once channels are equalized
there is nothing to split, and channels cost time (docs/ablation.md).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from xedge.graph.ir import Conv, Depthwise, Graph, Node
from xedge.quantization.equalization import candidates
from xedge.quantization.statistics import Statistics

# Of the channels of a tensor.
SHARE = 0.02


def split_outliers(graph: Graph, statistics: Statistics, share: float = SHARE) -> Graph:
    """Return an equal graph with the widest channels split; its statistics have to be collected anew.

    Args:
        graph: the reference graph.
        statistics: its statistics.
        share: of the channels to split, at least one of each tensor.
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
