"""Compute what a network costs: its parameters, multiply-accumulates and memory, also with ordinary convolutions.

An ordinary d x d convolution over K x K positions from C to N channels takes d^2 K^2 C N multiply-accumulates. A
depthwise convolution followed by a pointwise one takes d^2 K^2 C + K^2 C N, which is 1/N + 1/d^2 of that (Howard et
al., "MobileNets", 2017, section 3.1).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import Literal

import numpy as np

from xedge.graph.cost import multiply_accumulates, values
from xedge.graph.ir import Activation, Conv, Depthwise, Graph, Input, Node, Reshape, Weighted

FLOAT_BYTES = 4


@dataclass(frozen=True, kw_only=True)
class Separable:
    """A separable convolution: a depthwise and a pointwise convolution that replace an ordinary one.

    Args:
        depthwise: The name of the depthwise convolution.
        pointwise: The name of the pointwise convolution.
        pointwise_first: Whether the pointwise convolution comes first, as in Inception modules.
        kernel: The side length d of the depthwise kernel.
        inputs: The number of input channels, C.
        outputs: The number of output channels, N.
        multiply_accumulates: The number of multiply-accumulates of both convolutions together.
        ordinary: The number of multiply-accumulates of the ordinary convolution.
        formula: The ratio by the formula 1/N + 1/d^2, or 1/C + 1/d^2 if the pointwise convolution comes first.
    """

    depthwise: str
    pointwise: str
    pointwise_first: bool
    kernel: float
    inputs: int
    outputs: int
    multiply_accumulates: int
    ordinary: int
    formula: float

    @property
    def second(self) -> str:
        """The name of the convolution that is computed last."""
        return self.depthwise if self.pointwise_first else self.pointwise

    @property
    def ratio(self) -> float:
        """The multiply-accumulates of both convolutions divided by those of the ordinary convolution."""
        return self.multiply_accumulates / self.ordinary


@dataclass(frozen=True, kw_only=True)
class LayerCost:
    """The cost of one node of the reference graph for one photo.

    Args:
        name: The name of the node.
        kind: The kind of the node.
        output: The shape of the output, without the batch.
        parameters: The number of weights and biases after batch normalization was folded into them.
        multiply_accumulates: The number of multiply-accumulates; 0 for what is no product of matrices.
        traffic_bytes: The bytes of the inputs, the weights and the output in float32, each of them moved once; none for
            a reshape, whose values stay where they are.
        alive_bytes: The bytes of the tensors in float32 that exist while the node is computed: its inputs, its output,
            and what later nodes read.
        separable: The separable convolution whose second part this node is; None for all other nodes.
    """

    name: str
    kind: str
    output: tuple[int, ...]
    parameters: int
    multiply_accumulates: int
    traffic_bytes: int
    alive_bytes: int
    separable: Separable | None


@dataclass(frozen=True, kw_only=True)
class Totals:
    """The cost of a whole network for one photo.

    Args:
        parameters: The number of weights and biases after batch normalization was folded into them.
        multiply_accumulates: The number of multiply-accumulates of convolutions and matrix products.
        traffic_bytes: The bytes of the inputs, weights and outputs of all nodes in float32, each of them moved once.
        activation_bytes: The greatest number of bytes of tensors in float32 that exist at the same time.
    """

    parameters: int
    multiply_accumulates: int
    traffic_bytes: int
    activation_bytes: int


@dataclass(frozen=True, kw_only=True)
class Cost:
    """The cost of a network, layer by layer and in total.

    Args:
        schema: The kind of this document and its version.
        network: The name of the network.
        input: The shape of the input: height, width, channels.
        layers: The costs of the nodes, in the order of computation.
        total: The cost of the network as it is.
        ordinary: The cost of the network in which an ordinary convolution replaces each separable one, together with
            anything between its two parts.
    """

    schema: Literal["xedge.cost/1"] = "xedge.cost/1"
    network: str
    input: tuple[int, ...]
    layers: tuple[LayerCost, ...]
    total: Totals
    ordinary: Totals

    @property
    def ratio(self) -> float:
        """The multiply-accumulates of the network divided by those with ordinary convolutions."""
        return self.total.multiply_accumulates / self.ordinary.multiply_accumulates


def cost(graph: Graph, network: str | None = None) -> Cost:
    """Return the cost of a graph for one photo.

    Args:
        graph: The reference graph.
        network: The name of the network; None takes the name of the graph.
    """
    pairs = separables(graph)
    layers = _layers(graph, pairs)
    ordinary = _layers(with_ordinary(graph, pairs), [])
    return Cost(
        network=network or graph.name,
        input=graph.input.shape,
        layers=layers,
        total=_totals(layers),
        ordinary=_totals(ordinary),
    )


def _layers(graph: Graph, pairs: list[Separable]) -> tuple[LayerCost, ...]:
    by_second, alive = {pair.second: pair for pair in pairs}, _alive(graph)
    return tuple(_layer(graph, node, by_second, alive) for node in graph if not isinstance(node, Input))


def _totals(layers: tuple[LayerCost, ...]) -> Totals:
    return Totals(
        parameters=sum(layer.parameters for layer in layers),
        multiply_accumulates=sum(layer.multiply_accumulates for layer in layers),
        traffic_bytes=sum(layer.traffic_bytes for layer in layers),
        activation_bytes=max(layer.alive_bytes for layer in layers),
    )


def with_ordinary(graph: Graph, pairs: list[Separable]) -> Graph:
    """Return the network with an ordinary convolution in place of each separable one.

    The kernels of the ordinary convolutions are zeros that take no memory.

    Args:
        graph: The reference graph.
        pairs: The separable convolutions in this graph.
    """
    nodes: dict[str, Node | None] = {node.name: node for node in graph}
    for pair in pairs:
        depthwise, second = graph[pair.depthwise], graph[pair.second]
        assert isinstance(depthwise, Depthwise)
        assert isinstance(second, Weighted)
        first = graph[pair.pointwise if pair.pointwise_first else pair.depthwise]
        # The first of the two convolutions is removed, and so is an activation between them.
        nodes.update({first.name: None, second.inputs[0]: None})
        nodes[second.name] = Conv(
            name=second.name,
            inputs=first.inputs,
            kernel=np.broadcast_to(np.float32(0), (*depthwise.kernel.shape[:2], pair.inputs, pair.outputs)),
            bias=np.broadcast_to(np.float32(0), (pair.outputs,)),
            activation=second.activation,
            strides=depthwise.strides,
            padding=depthwise.padding,
            dilation=depthwise.dilation,
        )
    return replace(graph, nodes=tuple(node for node in nodes.values() if node is not None))


def separables(graph: Graph) -> list[Separable]:
    """Return the separable convolutions of a graph, all of them in the same order.

    In a chain of them, each depthwise convolution lies between two pointwise ones, so that it could belong to either.
    The order that gives more pairs is that of the network, because in the other order a convolution is left over at
    each end of a chain.
    """
    depthwise = [node for node in graph if isinstance(node, Depthwise)]
    first = [_pair(graph, node, found, pointwise_first=False) for node in depthwise if (found := _behind(graph, node))]
    second = [_pair(graph, node, found, pointwise_first=True) for node in depthwise if (found := _before(graph, node))]
    return first if len(first) >= len(second) else second


def _behind(graph: Graph, node: Node) -> Conv | None:
    """Return the pointwise convolution that alone reads a node, directly or through an activation, if there is one."""
    reader = graph.sole_consumer(node.name)
    if isinstance(reader, Activation):
        reader = graph.sole_consumer(reader.name)
    return reader if isinstance(reader, Conv) and _is_pointwise(reader) else None


def _before(graph: Graph, node: Node) -> Conv | None:
    source = graph[node.inputs[0]]
    if isinstance(source, Activation):
        source = graph[source.inputs[0]]
    return source if isinstance(source, Conv) and _is_pointwise(source) else None


def _is_pointwise(node: Conv) -> bool:
    return node.is_pointwise and node.strides == (1, 1)


def _pair(graph: Graph, depthwise: Depthwise, pointwise: Conv, *, pointwise_first: bool) -> Separable:
    first, second = (pointwise, depthwise) if pointwise_first else (depthwise, pointwise)
    inputs, outputs = graph.shape(first.inputs[0])[-1], graph.shape(second.name)[-1]
    area = prod(depthwise.kernel.shape[:2])
    return Separable(
        depthwise=depthwise.name,
        pointwise=pointwise.name,
        pointwise_first=pointwise_first,
        kernel=area**0.5,
        inputs=inputs,
        outputs=outputs,
        multiply_accumulates=sum(multiply_accumulates(graph, n.name) for n in (depthwise, pointwise)),
        ordinary=area * prod(graph.shape(depthwise.name)[:2]) * inputs * outputs,
        formula=1 / (inputs if pointwise_first else outputs) + 1 / area,
    )


def _layer(graph: Graph, node: Node, pairs: dict[str, Separable], alive: dict[str, int]) -> LayerCost:
    parameters = int(node.kernel.size + node.bias.size) if isinstance(node, Weighted) else 0
    moved = 0 if isinstance(node, Reshape) else sum(values(graph, name) for name in (*node.inputs, node.name))
    return LayerCost(
        name=node.name,
        kind=type(node).__name__.lower(),
        output=graph.shape(node.name),
        parameters=parameters,
        multiply_accumulates=multiply_accumulates(graph, node.name),
        traffic_bytes=FLOAT_BYTES * (moved + parameters),
        alive_bytes=FLOAT_BYTES * alive[node.name],
        separable=pairs.get(node.name),
    )


def _alive(graph: Graph) -> dict[str, int]:
    """Return the number of values in the tensors that exist while a node is computed, by the name of the node."""
    last = {name: step for step, node in enumerate(graph) for name in node.inputs}
    existing: dict[str, int] = {}
    found = {}
    for step, node in enumerate(graph):
        existing[node.name] = values(graph, node.name)
        found[node.name] = sum(existing.values())
        existing = {name: size for name, size in existing.items() if last.get(name, len(last)) > step}
    return found
