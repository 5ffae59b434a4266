"""Compute how strongly noise on each channel of a tensor affects the nodes that read the tensor."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from xedge.graph.ir import Conv, Dense, Depthwise, Graph, Node, Weighted

ENERGY_STEPS = 1 << 16


def consumer_energy(graph: Graph, name: str) -> npt.NDArray[np.int64]:
    """Return the weight (channels,) of noise on each channel of a tensor in the nodes that read it, in whole steps.

    An error on channel c reaches output o of a reader multiplied by W_oc, so its weight there is sum_o W_oc^2.

    Args:
        graph: The graph.
        name: The name of the tensor.
    """
    channels = graph.shape(name)[-1]
    energy = np.zeros(channels)
    for reader in graph.consumers(name):
        energy += _reader_energy(graph, reader, channels)
    if not energy.any():
        energy += 1.0
    # The weights are clipped to between a hundredth of and a hundred times that of the median channel, so that dead
    # filters and outliers do not dominate.
    typical = float(np.median(energy[energy > 0]))
    return np.maximum(1, np.rint(np.clip(energy / typical, 0.01, 100.0) * ENERGY_STEPS / 100)).astype(np.int64)


def _reader_energy(graph: Graph, reader: Node, channels: int) -> npt.NDArray[np.float64]:
    if reader.keeps_channels:
        return np.asarray(consumer_energy(graph, reader.name), dtype=np.float64) / ENERGY_STEPS
    if not isinstance(reader, Weighted):
        return np.zeros(channels)
    kernel = reader.kernel.astype(np.float64)
    if isinstance(reader, Depthwise):
        own = (kernel**2).sum((0, 1)).reshape(channels, -1)
        return np.asarray(own.sum(1) * _depthwise_gain(graph, reader))
    if isinstance(reader, Conv) and reader.groups != 1:
        return np.ones(channels)
    axes = (0, 1, 3) if isinstance(reader, Conv) else (1,)
    return np.asarray((kernel**2).sum(axes)) if isinstance(reader, Conv | Dense) else np.ones(channels)


def _depthwise_gain(graph: Graph, reader: Depthwise) -> npt.NDArray[np.float64]:
    """Return how much the pointwise convolution after a depthwise one amplifies the noise of each channel."""
    behind = graph.sole_consumer(reader.name)
    if isinstance(behind, Conv) and behind.groups == 1 and len(behind.kernel[0, 0]) == len(reader.kernel[0, 0]):
        gain = (behind.kernel.astype(np.float64) ** 2).sum((0, 1, 3))
        return np.asarray(gain.reshape(graph.shape(reader.inputs[0])[-1], -1).mean(1))
    return np.ones(graph.shape(reader.inputs[0])[-1])
