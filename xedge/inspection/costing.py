"""What a network costs by arithmetic: parameters, multiply-accumulates, memory, and what ordinary convolutions would.

An ordinary convolution of d x d over K x K positions from C to N channels does d^2 K^2 C N multiply-accumulates. A
depthwise one and then a pointwise one do d^2 K^2 C + K^2 C N, that is 1/N + 1/d^2 of it (Howard et al., "MobileNets",
2017, section 3.1).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import Literal

import numpy as np

from xedge.graph.cost import multiply_accumulates, values
from xedge.graph.ir import Activation, Conv, Depthwise, Graph, Input, Node, Weighted

FLOAT_BYTES = 4


@dataclass(frozen=True, kw_only=True)
class Separable:
    """A depthwise and a pointwise convolution that stand for an ordinary one.

    Args:
        depthwise, pointwise: names of the two.
        pointwise_first: whether they stand in Inception's order.
        kernel: d; side of the depthwise kernel.
        inputs, outputs: C and N, channels.
        multiply_accumulates: of both.
        ordinary: of the ordinary convolution.
        formula: what the ratio is by 1/N + 1/d^2; pointwise first it is 1/C + 1/d^2.
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
        """The name of the one that is computed last."""
        return self.depthwise if self.pointwise_first else self.pointwise

    @property
    def ratio(self) -> float:
        """Multiply-accumulates over those of the ordinary convolution."""
        return self.multiply_accumulates / self.ordinary


@dataclass(frozen=True, kw_only=True)
class LayerCost:
    """One node of the reference graph, for one photo.

    Args:
        kind: of the node.
        output: its shape, without batch.
        parameters: weights and biases, batch normalization folded.
        traffic_bytes: inputs, weights and output, each moved once, in float32.
        alive_bytes: tensors that exist while it computes: its inputs, its output, and what later nodes read; float32.
        separable: at the second of the two convolutions that stand for an ordinary one.
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
    """A whole network, for one photo.

    Args:
        parameters: weights and biases, batch normalization folded.
        multiply_accumulates: of its convolutions and dense layers.
        traffic_bytes: inputs, weights and outputs of all nodes, each moved once, in float32.
        activation_bytes: the most that live at once, in float32.
    """

    parameters: int
    multiply_accumulates: int
    traffic_bytes: int
    activation_bytes: int


@dataclass(frozen=True, kw_only=True)
class Cost:
    """A network, layer by layer and in total.

    Args:
        schema: which document this is, and its version.
        network: its name.
        input: height, width, channels.
        layers: in the order of computation.
        total: of the network as it is.
        ordinary: with an ordinary convolution in the place of each separable one, and nothing in between.
    """

    schema: Literal["xedge.cost/1"] = "xedge.cost/1"
    network: str
    input: tuple[int, ...]
    layers: tuple[LayerCost, ...]
    total: Totals
    ordinary: Totals

    @property
    def ratio(self) -> float:
        """Multiply-accumulates over those with ordinary convolutions."""
        return self.total.multiply_accumulates / self.ordinary.multiply_accumulates


def cost(graph: Graph, network: str | None = None) -> Cost:
    """Return what a graph costs for one photo.

    Args:
        graph: the reference graph.
        network: its name; None takes the graph's.
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
    """Return the network with ordinary convolutions in the place of pairs; their kernels hold zeros and no memory."""
    nodes: dict[str, Node | None] = {node.name: node for node in graph}
    for pair in pairs:
        depthwise, second = graph[pair.depthwise], graph[pair.second]
        assert isinstance(depthwise, Depthwise)
        assert isinstance(second, Weighted)
        first = graph[pair.pointwise if pair.pointwise_first else pair.depthwise]
        # The first of the two and what may stand between them go.
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
    """Return the depthwise and pointwise convolutions that belong together, all of one order.

    In a row of them each depthwise one stands between two pointwise ones. The order that pairs more of them is the
    network's, for at the ends of a row one is left over in the other order.
    """
    depthwise = [node for node in graph if isinstance(node, Depthwise)]
    first = [_pair(graph, node, found, pointwise_first=False) for node in depthwise if (found := _behind(graph, node))]
    second = [_pair(graph, node, found, pointwise_first=True) for node in depthwise if (found := _before(graph, node))]
    return first if len(first) >= len(second) else second


def _behind(graph: Graph, node: Node) -> Conv | None:
    """The pointwise convolution that alone reads a node, through an activation or not."""
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
    return node.kernel.shape[:2] == (1, 1) and node.groups == 1 and tuple(node.strides) == (1, 1)


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
    weighted = isinstance(node, Weighted)
    parameters = int(node.kernel.size + node.bias.size) if isinstance(node, Weighted) else 0
    moved = sum(values(graph, name) for name in (*node.inputs, node.name))
    return LayerCost(
        name=node.name,
        kind=type(node).__name__.lower(),
        output=graph.shape(node.name),
        parameters=parameters,
        multiply_accumulates=multiply_accumulates(graph, node.name) if weighted else 0,
        traffic_bytes=FLOAT_BYTES * (moved + parameters),
        alive_bytes=FLOAT_BYTES * alive[node.name],
        separable=pairs.get(node.name),
    )


def _alive(graph: Graph) -> dict[str, int]:
    """Values of the tensors that exist at once, by the node that is computed."""
    last = {name: step for step, node in enumerate(graph) for name in node.inputs}
    existing: dict[str, int] = {}
    found = {}
    for step, node in enumerate(graph):
        existing[node.name] = values(graph, node.name)
        found[node.name] = sum(existing.values())
        existing = {name: size for name, size in existing.items() if last.get(name, len(last)) > step}
    return found
