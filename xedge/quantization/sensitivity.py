"""Measure which layers cause the noise of an int8 plan, by quantizing only one layer, or all layers but one."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np

from xedge.graph.cost import multiply_accumulates
from xedge.graph.ir import Conv, Depthwise, Graph, Weighted
from xedge.metrics import centred_outputs
from xedge.quantization.plan import Plan
from xedge.quantization.simulator import rounded_tensors, simulator
from xedge.types import FloatArray
from xedge.vocabulary import OutputKind


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One layer: nodes that are moved to float together.

    Args:
        name: The name of the convolution or dense layer.
        nodes: The names of this node and of a depthwise convolution whose result it alone reads.
        tensors: The names of the tensors that are rounded because of the layer: the results of its nodes, or their
            inputs if these are quantized dynamically.
        multiply_accumulates: The number of multiply-accumulates for one photo.
    """

    name: str
    nodes: tuple[str, ...]
    tensors: tuple[str, ...]
    multiply_accumulates: int


def layers(graph: Graph, plan: Plan) -> tuple[Layer, ...]:
    """Return the layers that compute in integers, in the order of the graph."""
    rounded = set(rounded_tensors(graph, plan))
    found, taken = [], set[str]()
    for node in graph:
        if not isinstance(node, Weighted) or node.name not in plan.kernels or node.name in taken:
            continue
        nodes = [node.name]
        behind = graph.sole_consumer(node.name)
        if isinstance(node, Depthwise) and isinstance(behind, Conv) and behind.name in plan.kernels:
            nodes.append(behind.name)
        taken.update(nodes)
        found.append(
            Layer(
                name=nodes[-1],
                nodes=tuple(nodes),
                tensors=_on_account_of(graph, plan, nodes, rounded),
                multiply_accumulates=sum(multiply_accumulates(graph, name) for name in nodes),
            )
        )
    return tuple(found)


def _on_account_of(graph: Graph, plan: Plan, nodes: list[str], rounded: set[str]) -> tuple[str, ...]:
    read = [graph[name].inputs[0] for name in nodes if plan.is_dynamic(name)]
    return tuple(name for name in (*read, *nodes) if name in rounded)


@dataclass(frozen=True, kw_only=True)
class Noise:
    """The power of the noise in the centred logits, divided by the power of the logits themselves.

    Args:
        layer: The layer.
        alone: The noise if only this layer is quantized.
        weights: The noise if only the kernels of this layer are quantized.
        activations: The noise if only the tensors of this layer are quantized.
        without: The noise if everything but this layer is quantized.
    """

    layer: Layer
    alone: float
    weights: float
    activations: float
    without: float


class NoiseMeter:
    """A meter of the noise that the rounding of a plan causes at the output.

    Args:
        graph: The graph of the plan.
        plan: The plan, which says how tensors and kernels are rounded.
        photos: The preprocessed photos (N, H, W, C) float32.
        kind: What the graph's output holds.
    """

    def __init__(self, graph: Graph, plan: Plan, photos: FloatArray, kind: OutputKind) -> None:
        self.graph, self.plan, self._photos = graph, plan, photos
        self._kind = kind
        self.tensors = rounded_tensors(graph, plan)
        self._exact = self._logits((), ())

    def _logits(self, tensors: Collection[str], kernels: Collection[str]) -> FloatArray:
        session = simulator(self.graph, self.plan, tensors, kernels)
        rows = np.concatenate([session.output(photo[None]) for photo in self._photos])
        return centred_outputs(rows, self._kind)

    def noise(self, tensors: Collection[str], kernels: Collection[str]) -> float:
        """Return the noise if only these tensors and kernels are quantized.

        Args:
            tensors: The names of the tensors.
            kernels: The names of the nodes whose kernels are quantized.
        """
        difference = self._logits(tensors, kernels) - self._exact
        return float((difference**2).sum() / (self._exact**2).sum())

    def everything(self) -> float:
        """Return the noise if everything is quantized."""
        return self.noise(self.tensors, self.plan.kernels)

    def alone(self, layer: Layer) -> float:
        """Return the noise if only this layer is quantized."""
        return self.noise(layer.tensors, layer.nodes)

    def of(self, layer: Layer) -> Noise:
        """Return all figures of a layer."""
        others = [name for name in self.tensors if name not in layer.tensors]
        kernels = [name for name in self.plan.kernels if name not in layer.nodes]
        return Noise(
            layer=layer,
            alone=self.alone(layer),
            weights=self.noise((), layer.nodes),
            activations=self.noise(layer.tensors, ()),
            without=self.noise(others, kernels),
        )


def worst_first(
    meter: NoiseMeter, candidates: Sequence[Layer], progress: Callable[[int], None] = lambda done: None
) -> list[Layer]:
    """Return the layers sorted by the noise that each causes alone, divided by its multiply-accumulates, worst first.

    Args:
        meter: The meter of the noise.
        candidates: The layers to sort.
        progress: A function that is called with the number of layers done so far.
    """
    rates = []
    for done, layer in enumerate(candidates, start=1):
        rates.append((meter.alone(layer) / layer.multiply_accumulates, layer))
        progress(done)
    return [layer for _, layer in sorted(rates, key=lambda pair: -pair[0])]
