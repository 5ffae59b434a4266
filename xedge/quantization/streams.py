"""Equalization of streams: tensors that are connected by sums, maxima, averages and ReLUs share a scale per channel.

All of these operations are positively homogeneous: f(x / s) = f(x) / s for s > 0. Therefore channel c of the whole
stream can be divided by s_c if row c of the convolutions that write it is divided by s_c and column c of those that
read it is multiplied by s_c. This is the scaling of Nagel et al., "Data-Free Quantization Through Weight Equalization
and Bias Correction", 2019, section 4.1, carried through residual connections. A depthwise convolution that reads the
stream keeps its integers, because its weights have a scale per channel.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from xedge.graph.ir import Add, Conv, Dense, Depthwise, Graph, Node, Weighted
from xedge.quantization.energy import consumer_energy
from xedge.quantization.equalization import candidates
from xedge.quantization.scaling import even_scales
from xedge.quantization.statistics import Statistics

STRENGTH = 0.35


@dataclass(frozen=True, kw_only=True)
class Stream:
    """A stream: tensors that share one set of channels.

    Args:
        tensors: The names of the tensors, in the order of the graph.
        readers: The names of the weighted nodes that read these tensors and do not belong to the stream.
    """

    tensors: tuple[str, ...]
    readers: tuple[str, ...]


def streams(graph: Graph) -> list[Stream]:
    """Return the streams of a graph whose channels can be scaled, in the order of the graph."""
    groups = _groups(graph)
    return [stream for names in groups if (stream := _scalable(graph, names)) is not None]


def _groups(graph: Graph) -> Iterator[list[str]]:
    """Yield the names of the tensors in each set that homogeneous nodes connect."""
    parent = {node.name: node.name for node in graph}

    def root(name: str) -> str:
        while parent[name] != name:
            name = parent[name]
        return name

    for node in graph:
        if node.is_homogeneous:
            for source in node.inputs:
                parent[root(source)] = root(node.name)
    groups: dict[str, list[str]] = {}
    for node in graph:
        groups.setdefault(root(node.name), []).append(node.name)
    yield from groups.values()


def _scalable(graph: Graph, names: list[str]) -> Stream | None:
    inside, readers = set(names), []
    for name in names:
        node = graph[name]
        if not node.is_homogeneous and not (isinstance(node, Conv | Depthwise) and node.activation != "relu6"):
            return None
        if name == graph.output:
            return None
        for reader in graph.consumers(name):
            if reader.name in inside:
                continue
            if not isinstance(reader, Weighted) or (isinstance(reader, Conv) and reader.groups != 1):
                return None
            if isinstance(reader, Dense) and graph.shape(name) != (len(reader.kernel),):
                return None
            readers.append(reader.name)
    return Stream(tensors=tuple(names), readers=tuple(dict.fromkeys(readers)))


def equalized_streams(graph: Graph, statistics: Statistics) -> tuple[Graph, Statistics]:
    """Return an equivalent graph whose streams have more even channels, and the statistics of its tensors."""
    others = candidates(graph)
    for stream in streams(graph):
        if stream.tensors[0] in others or not _pays(graph, stream):
            continue  # Depthwise outputs are scaled and shifted in equalization.py.
        scale = even_scales([statistics[name].channel_reach for name in stream.tensors], STRENGTH)
        graph = graph.rewritten(_scaled(graph, stream, scale))
        none = np.zeros_like(scale)
        seen = {n: statistics[n].changed(scale, none, consumer_energy(graph, n)) for n in stream.tensors}
        statistics = {**statistics, **seen}
    return graph, statistics


def _pays(graph: Graph, stream: Stream) -> bool:
    """Return whether the tensors gain more than the weights of the readers lose.

    The weights of a depthwise convolution have a scale per channel and lose nothing, and the terms of a sum are read by
    the sum alone. Ordinary convolutions lose about as much in their columns as the tensor gains.
    """
    depthwise = any(isinstance(graph[name], Depthwise) for name in stream.readers)
    return depthwise or any(isinstance(graph[name], Add) for name in stream.tensors)


def _scaled(graph: Graph, stream: Stream, scale: npt.NDArray[np.float64]) -> dict[str, Node]:
    """Return the nodes that write and read a stream, with kernels for channels that are divided by ``scale``."""
    changed: dict[str, Node] = {}
    for name in stream.tensors:
        node = graph[name]
        if isinstance(node, Weighted):
            kernel, bias = node.kernel / scale, node.bias / scale
            changed[name] = replace(node, kernel=kernel.astype(np.float32), bias=bias.astype(np.float32))
    for name in stream.readers:
        node = changed.get(name, graph[name])
        assert isinstance(node, Weighted)
        columns = isinstance(node, Depthwise)
        factor = np.repeat(scale, node.channels // len(scale)) if columns else scale[:, None]
        changed[name] = replace(node, kernel=(node.kernel * factor).astype(np.float32))
    return changed
